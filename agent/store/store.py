"""The store: one database with everything that is true about runs."""

from __future__ import annotations

from agent.store import tables
from agent.store.contents import Documents, Messages, RunHandles
from agent.store.database import Database
from agent.store.erasure import Erasure
from agent.store.ledger import Ledger
from agent.store.mandates import Mandates
from agent.store.questions import Questions
from agent.store.records import SubmissionRecords
from agent.store.runs import Runs
from agent.store.seal import Keys
from policies.ports import Clock


class Store:
    """An open store, with one part per noun. Synchronous, for the thread that opened it.

    All parts raise RecordsUnavailable when the database refuses, StoreUnreadable when a value cannot be
    opened, and NoSuchRun for an unknown run.
    """

    def __init__(self, database: Database, keys: Keys, clock: Clock) -> None:
        self._db = database
        self.runs = Runs(database, keys, clock)
        self.ledger = Ledger(database, keys, self.runs)
        self.questions = Questions(database, self.runs, self.ledger)
        self.documents = Documents(database, self.runs)
        self.messages = Messages(database, self.runs)
        self.mandates = Mandates(self.runs, self.documents)
        self.erasure = Erasure(database, keys, self.runs, self.ledger)
        self.records = SubmissionRecords(database, keys, self.runs, self.ledger, self.questions, self.mandates)

    @classmethod
    def open(cls, url: str, keys: Keys, clock: Clock) -> Store:
        """The store at `url`, made or migrated when needed.

        Raises BadSettings for the URL, StoreLocked, StoreUnreadable for a wrong key or a newer format, and
        RecordsUnavailable when the database cannot be opened for writing.
        """
        database = Database(url)
        try:
            # A value that only shows, before anything else is written, that we hold the right key.
            if not (rows := database.find(tables.canary, "canary_sealed", id=1)):
                with database.writing():
                    database.put(tables.canary, id=1, canary_sealed=keys.wrap(b"remit", "canary"))
            for (sealed,) in rows:
                keys.unwrap(sealed, "canary")
        except BaseException:
            database.close()
            raise
        store = cls(database, keys, clock)
        if database.older:
            store.ledger.attest_all(clock.now())
        return store

    def handles(self, run: str) -> RunHandles:
        """The run's vault of handles."""
        return RunHandles(self._db, self.runs, run)

    def run_key(self, run: str) -> bytes:
        """The key under which the run's handles are made; it goes when the run's contents are erased."""
        return self.runs.seal(run).derived("handles")

    def close(self) -> None:
        """Give the connection back."""
        self._db.close()
