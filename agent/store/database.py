"""One synchronous connection to the store's database, for statements of SQLAlchemy Core.

Each statement is compiled once and then goes straight to the driver: five of them make a commit of the gate,
and SQLAlchemy's own execution would cost more than SQLite's. Every driver error becomes RecordsUnavailable
with a sentence.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.sql.expression import ClauseElement

from agent.errors import BadSettings, StoreLocked, StoreUnreadable
from policies.errors import RecordsUnavailable

FORMAT = 1
"""The version of the tables, which is also the number of the last migration."""

BUSY_S = 5.0
_SENTENCES = {
    "SQLITE_FULL": "the disk that holds {0} is full; free some space and resume",
    "SQLITE_IOERR": "the disk that holds {0} does not take the write; check its space and its health, then resume",
    "SQLITE_BUSY": "another process has held {0} for more than 5 seconds; end it or try again",
    "SQLITE_LOCKED": "another process has held {0} for more than 5 seconds; end it or try again",
    "SQLITE_READONLY": "{0} may not be written; check the owner and the mode of the file and its folder",
    "SQLITE_CANTOPEN": "{0} cannot be opened; check the owner and the mode of the file and its folder",
    "SQLITE_CORRUPT": "{0} is damaged; restore it from a backup together with its -wal file",
    "SQLITE_NOTADB": "{0} is not a store or is damaged; restore it from a backup, or move it away",
}


def sentence(error: Exception, place: str) -> str:
    """What a driver error means and what to do; it never repeats the statement or its values."""
    name = "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
    return _SENTENCES.get(name, "the database {0} refused the statement ({1}); nothing was written").format(
        repr(place), name or type(error).__name__
    )


class Database:
    """A migrated database. `sqlite:///path` and `postgresql+psycopg://…` are the accepted URLs."""

    def __init__(self, url: str) -> None:
        """Opens, and creates or migrates what is there; safe for several processes at once.

        Raises BadSettings for the URL, StoreLocked, StoreUnreadable for a newer format, RecordsUnavailable.
        """
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() not in ("sqlite", "postgresql") or not parsed.database:
                raise ArgumentError
            self._sqlite = parsed.get_backend_name() == "sqlite"
            options = {"connect_args": {"timeout": BUSY_S}} if self._sqlite else {}
            self._engine = create_engine(url, isolation_level="AUTOCOMMIT", **options)
        except (ArgumentError, ModuleNotFoundError) as error:
            raise BadSettings(
                "the store's URL must be sqlite:///FILE or postgresql+psycopg://… with its driver"
            ) from error
        self.place = parsed.database or ""
        self._errors = self._engine.dialect.loaded_dbapi.Error
        self._compiled: dict[ClauseElement, tuple[str, tuple[str, ...] | None, dict[str, Any]]] = {}
        with _alone(Path(self.place)) if self._sqlite else nullcontext():
            try:
                self._connection = self._engine.connect()
                driver: Any = self._connection.connection.driver_connection
                self._cursor: Any = driver.cursor()
                self._prepare()
            except DBAPIError as error:
                raise RecordsUnavailable(sentence(error.orig or error, self.place)) from None

    def close(self) -> None:
        """Give the connection back; the object is of no use after that."""
        self._cursor.close()
        self._connection.close()
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that alone may write: all of it is kept when it ends, nothing when it raises."""
        with self._transaction("BEGIN IMMEDIATE" if self._sqlite else "BEGIN"):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A transaction whose reads all see the same moment."""
        with self._transaction("BEGIN" if self._sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ"):
            yield

    def scrub(self) -> None:
        """Take earlier versions of changed rows off the disk, as far as the file system does."""
        self._execute("PRAGMA wal_checkpoint(TRUNCATE)" if self._sqlite else "SELECT 1")

    def do(self, statement: ClauseElement, **values: Any) -> int:
        """Execute; the number of rows that were written."""
        return int(self._run(statement, values).rowcount)

    def one(self, statement: ClauseElement, **values: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        rows = self.all(statement, **values)
        return rows[0] if rows else None

    def all(self, statement: ClauseElement, **values: Any) -> Sequence[tuple[Any, ...]]:
        """Every row."""
        cursor = self._run(statement, values)
        try:
            return cursor.fetchall()  # type: ignore[no-any-return]
        except self._errors as error:
            raise RecordsUnavailable(sentence(error, self.place)) from None

    def _run(self, statement: ClauseElement, values: dict[str, Any]) -> Any:
        known = self._compiled.get(statement)
        if known is None:
            compiled: Any = statement.compile(dialect=self._engine.dialect)
            order = tuple(compiled.positiontup) if compiled.positional else None
            known = self._compiled[statement] = (str(compiled), order, compiled.params)
        sql, order, constants = known
        if order is None:
            return self._execute(sql, {**constants, **values})
        return self._execute(sql, [values[name] if name in values else constants[name] for name in order])

    def _execute(self, sql: str, values: Any = ()) -> Any:
        try:
            return self._cursor.execute(sql, values)
        except self._errors as error:
            raise RecordsUnavailable(sentence(error, self.place)) from None

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._execute(begin)
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # A failed COMMIT may leave the transaction open; if SQLite has already ended it, this fails.
            with suppress(self._errors):
                self._cursor.execute("ROLLBACK")
            raise

    def _prepare(self) -> None:
        if self._sqlite:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._execute(f"PRAGMA {pragma}")
        with self._connection.begin():
            self._execute("BEGIN IMMEDIATE" if self._sqlite else "BEGIN")
            if not self._sqlite:
                self._execute(f"SELECT pg_advisory_xact_lock({_LOCK_ID})")
            found = 0
            if inspect(self._connection).has_table("alembic_version"):
                row = self._connection.execute(text("SELECT version_num FROM alembic_version")).fetchone()
                found = int(row[0]) if row and row[0].isdigit() else FORMAT + 1
            if found > FORMAT:
                why = f"{self.place!r} was written by a newer Remit than this one (format {FORMAT}); install that"
                raise StoreUnreadable(why)
            if found < FORMAT:
                self._migrate()

    def _migrate(self) -> None:
        # Here, because Alembic costs 0.2 s to import and is needed once in a store's life.
        from alembic import command
        from alembic.config import Config

        config = Config()
        folder = Path(__file__).with_name("migrations")
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = self._connection
        command.upgrade(config, "head")


_LOCK_ID = 7236541
"""Any constant; it names our migration lock among Postgres's advisory locks."""


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else opens this SQLite file meanwhile: changing to WAL fails when two do it at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never open an existing one here: closing it would drop the locks of our other connections to it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        why = f"{str(path)!r} cannot be opened for writing ({error.strerror}); check owner, mode and space"
        raise RecordsUnavailable(why) from None
    try:
        until = time.monotonic() + BUSY_S
        while not _locked(descriptor):
            if time.monotonic() > until:
                raise StoreLocked(f"another process has been opening {str(path)!r} for 5 seconds; end it or try again")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stamp(at: datetime) -> str:
    """A time as it is stored: ISO 8601 in UTC with microseconds, comparable as text."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
