"""Everything `agent` raises.

AgentError
├── BadSettings            operator: a setting is wrong; the message names it and its file
├── BadTask                person: a task that cannot be begun
├── StoreLocked            operator: another process kept the store to itself for too long
├── StoreUnreadable        operator: wrong key, a newer format, or a value that was changed
├── RunBusy                person: another live process works on this run
├── NoSuchRun              person: there is no run with this id
└── NoSuchQuestion         person: an id or a row that names no single question
"""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors of this package."""


class BadSettings(AgentError):
    """A setting that cannot be used."""


class BadTask(AgentError):
    """A task that cannot be begun, and what to change."""


# store


class StoreLocked(AgentError):
    """The store could not be opened because another process holds it."""


class StoreUnreadable(AgentError):
    """The store, or a value in it, cannot be read with what this process has."""


class RunBusy(AgentError):
    """A live process holds the run's lease."""


class NoSuchRun(AgentError):
    """The id names no run of this store."""


class NoSuchQuestion(AgentError):
    """What was given names no single question, or no row of it."""
