"""One synchronous connection to the store's database, for statements of SQLAlchemy Core.

Each statement is compiled once and then goes straight to the driver: six of them make a commit of the gate,
and SQLAlchemy's own execution would cost more than SQLite's. Every driver error becomes RecordsUnavailable
with a sentence.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ClauseElement, Table, bindparam, create_engine, delete, inspect, make_url, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError

from agent.errors import BadSettings, StoreLocked, StoreUnreadable
from policies.errors import RecordsUnavailable

FORMAT = 3
"""The version of the tables, which is also the number of the last migration."""

BUSY_S = 5.0
_MIGRATING = 7236541
"""Any constant; it names our lock among Postgres's advisory locks."""

_SENTENCES = {
    "SQLITE_FULL": "the disk that holds {0} is full; free some space and resume",
    "SQLITE_IOERR": "the disk that holds {0} does not take the write; check its space and health, then resume",
    "SQLITE_BUSY": "another process has held {0} for more than 5 seconds; end it or try again",
    "SQLITE_READONLY": "{0} may not be written; check the owner and the mode of the file and its folder",
    "SQLITE_CANTOPEN": "{0} cannot be opened; check the owner and the mode of the file and its folder",
    "SQLITE_CORRUPT": "{0} is damaged; restore it from a backup together with its -wal file",
    "SQLITE_NOTADB": "{0} is not a store, or is damaged; restore it from a backup, or move it away",
}


def unavailable(error: BaseException, place: str) -> RecordsUnavailable:
    """A driver's error as a sentence that says what to do; it repeats neither statement nor values."""
    name = "_".join(getattr(error, "sqlite_errorname", type(error).__name__).split("_")[:2])
    sentence = _SENTENCES.get(name, "the database {0} refused the statement ({1}); nothing was written")
    return RecordsUnavailable(sentence.format(repr(place), name))


def private_file(path: Path) -> None:
    """Make an empty file, and its folder, that only their owner may read, unless they are there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never open one that is there: closing it would drop the locks of our other connections to it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        why = f"{str(path)!r} cannot be made ({error.strerror}); check the folder's owner, mode and space"
        raise RecordsUnavailable(why) from None


def write_ahead(cursor: Any, place: str) -> None:
    """Make SQLite keep every commit through a power cut, in a WAL, and erase what is deleted."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA secure_delete=ON")
            return
        except sqlite3.Error as error:
            # SQLite does not wait by itself when two processes turn the WAL on at once.
            if error.sqlite_errorname != "SQLITE_BUSY":
                raise unavailable(error, place) from None
            if time.monotonic() > until:
                raise StoreLocked(f"another process holds {place!r}; end it or try again") from None
            time.sleep(0.02)


def stamp(at: datetime) -> str:
    """A time as it is stored: ISO 8601 in UTC with microseconds, comparable as text."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


class Database:
    """A migrated database. `sqlite:///FILE` and `postgresql+psycopg://…` are the accepted URLs."""

    def __init__(self, url: str) -> None:
        """Opens, and creates or migrates what is there; several processes may do it at once.

        Raises BadSettings for the URL, StoreLocked, StoreUnreadable for a newer format, RecordsUnavailable.
        """
        try:
            parsed = make_url(url)
            self._sqlite = parsed.get_backend_name() == "sqlite"
            self.place = parsed.database or ""
            if not self.place or parsed.get_backend_name() not in ("sqlite", "postgresql"):
                raise ArgumentError
            options = {"connect_args": {"timeout": BUSY_S}} if self._sqlite else {}
            self._engine = create_engine(url, isolation_level="AUTOCOMMIT", **options)
        except (ArgumentError, ModuleNotFoundError):
            raise BadSettings(
                "the store's URL must be sqlite:///FILE or postgresql+psycopg://…, with its driver"
            ) from None
        if self._sqlite:
            private_file(Path(self.place))
        self.older = False
        """True when it was written by an older version and has just been migrated."""
        self._errors: Any = self._engine.dialect.loaded_dbapi.Error
        self._compiled: dict[Hashable, tuple[str, tuple[str, ...] | None, Mapping[str, Any]]] = {}
        try:
            self._connection = self._engine.connect()
            driver: Any = self._connection.connection.driver_connection
            self._cursor: Any = driver.cursor()
            self._prepare()
        except DBAPIError as error:
            raise unavailable(error.orig or error, self.place) from None

    def close(self) -> None:
        """Give the connection back; the object is of no use after that."""
        self._connection.close()
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that alone may write: all of it is kept when it ends, nothing when it raises."""
        self._execute("BEGIN IMMEDIATE" if self._sqlite else "BEGIN")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # A failed COMMIT may leave the transaction open; if SQLite has ended it already, this fails.
            with suppress(self._errors):
                self._cursor.execute("ROLLBACK")
            raise

    def scrub(self) -> bool:
        """Take earlier versions of changed rows off the disk, as far as the file system does; False if others read."""
        if self._sqlite:
            return not self._rows(self._execute("PRAGMA wal_checkpoint(TRUNCATE)"))[0][0]
        return True

    def add(self, table: Table, **values: Any) -> None:
        """Insert a row."""
        self._run(("add", table), lambda: insert(table), values)

    def put(self, table: Table, **values: Any) -> None:
        """Insert a row, or replace the one with its primary key."""
        self._run(("put", table), lambda: _upsert(table), values)

    def change(self, table: Table, key: Mapping[str, Any], **values: Any) -> int:
        """Set columns of the rows that equal `key`; how many there were."""
        given = {f"old_{n}": v for n, v in key.items()} | {f"new_{n}": v for n, v in values.items()}
        return int(self._run(("change", table, *given), lambda: _update(table, key, values), given).rowcount)

    def remove(self, table: Table, **equal: Any) -> int:
        """Delete the rows that equal; how many there were."""
        build = lambda: delete(table).where(*(table.c[n] == bindparam(n) for n in equal))  # noqa: E731
        return int(self._run(("remove", table, *equal), build, equal).rowcount)

    def find(self, table: Table, names: str, *, order: str = "", lock: bool = False, **equal: Any) -> list[Any]:
        """The columns `names` of the rows that equal; `lock` keeps others from them until the transaction ends."""
        build = lambda: _select(table, names, order, lock, equal)  # noqa: E731
        return self._rows(self._run(("find", table, names, order, lock, *equal), build, equal))

    def do(self, statement: ClauseElement, **values: Any) -> int:
        """Execute a statement; the number of rows it wrote."""
        return int(self._run(statement, lambda: statement, values).rowcount)

    def all(self, statement: ClauseElement, **values: Any) -> list[Any]:
        """The rows of a statement."""
        return self._rows(self._run(statement, lambda: statement, values))

    def _run(self, name: Hashable, build: Callable[[], ClauseElement], values: Mapping[str, Any]) -> Any:
        known = self._compiled.get(name)
        if known is None:
            compiled: Any = build().compile(dialect=self._engine.dialect)
            order = tuple(compiled.positiontup) if compiled.positional else None
            known = self._compiled[name] = (str(compiled), order, compiled.params)
        sql, order, constants = known
        if order is None:
            return self._execute(sql, {**constants, **values})
        return self._execute(sql, [values[n] if n in values else constants[n] for n in order])

    def _execute(self, sql: str, values: Any = ()) -> Any:
        try:
            return self._cursor.execute(sql, values)
        except self._errors as error:
            raise unavailable(error, self.place) from None

    def _rows(self, cursor: Any) -> list[Any]:
        try:
            return list(cursor.fetchall())
        except self._errors as error:
            raise unavailable(error, self.place) from None

    def _prepare(self) -> None:
        if self._sqlite:
            write_ahead(self._cursor, self.place)
        with self._connection.begin():
            if self._format() == FORMAT:
                return
        with self._connection.begin():
            self._execute("BEGIN IMMEDIATE" if self._sqlite else "BEGIN")
            if not self._sqlite:
                self._execute(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            found = self._format()  # again, as another process may have migrated while we waited
            if found > FORMAT:
                why = f"{self.place!r} was written by a newer Remit than this one (format {FORMAT}); install that"
                raise StoreUnreadable(why)
            if found < FORMAT:
                self._migrate()
                self.older = found > 0

    def _format(self) -> int:
        """The version that is there, 0 for an empty database; what is no number counts as newer."""
        if not inspect(self._connection).has_table("alembic_version"):
            return 0
        row = self._connection.execute(text("SELECT version_num FROM alembic_version")).fetchone()
        return int(row[0]) if row and row[0].isdigit() else FORMAT + 1

    def _migrate(self) -> None:
        # Here, because Alembic takes 0.4 s to import and is needed once in a store's life.
        from alembic import command
        from alembic.config import Config

        config = Config()
        folder = Path(__file__).with_name("migrations")
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = self._connection
        command.upgrade(config, "head")


def _upsert(table: Table) -> ClauseElement:
    # Postgres's INSERT … ON CONFLICT is also SQLite's; SQLAlchemy compiles this one for both.
    new, key = insert(table), [c.name for c in table.primary_key]
    return new.on_conflict_do_update(
        index_elements=key, set_={c.name: new.excluded[c.name] for c in table.c if c.name not in key}
    )


def _update(table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> ClauseElement:
    matching = [table.c[n] == bindparam(f"old_{n}") for n in key]
    return update(table).where(*matching).values({n: bindparam(f"new_{n}") for n in values})


def _select(table: Table, names: str, order: str, lock: bool, equal: Mapping[str, Any]) -> ClauseElement:
    statement = select(*(table.c[n] for n in names.split())).where(*(table.c[n] == bindparam(n) for n in equal))
    statement = statement.order_by(*(table.c[n] for n in order.split()))
    return statement.with_for_update() if lock else statement
