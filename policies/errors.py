"""Everything `policies` raises.

PolicyError
├── BadPolicy              operator: a policy file is wrong; carries file:line:column
├── BadAction              model: arguments that have no canonical form
├── RecordsUnavailable     operator: the ledger cannot be written, so nothing may happen
├── StaleEpoch             this process lost the run to another one
├── SubmissionConflict     the same key came with another action; the run parks
├── LimitReached           a limit of a rule or of the run is used up
├── AnswerRefused          person: the answer came late, twice, or from the wrong person
├── ActionFailed           an executor could not do a permitted action
└── RedactionError         a handle may not be restored here
    ├── HandleNotAllowed
    ├── UnknownHandle
    └── SecretTooShort
"""

from __future__ import annotations


class PolicyError(Exception):
    """Base of all errors of this package."""


class BadPolicy(PolicyError):
    """A policy file that must not be used; the message begins with `file:line:column`."""


class BadAction(PolicyError):
    """An argument without a canonical form; the sentence is for the model."""


class RecordsUnavailable(PolicyError):
    """The store refused a write. Nothing has happened and nothing may."""


class StaleEpoch(PolicyError):
    """Another process took this run over; this one must stop without a further effect."""


class SubmissionConflict(PolicyError):
    """The key (run, seq) already stands for another action."""


class LimitReached(PolicyError):
    """A limit is used up; the message says how much is left."""


class AnswerRefused(PolicyError):
    """An answer that does not count, and why."""


class ActionFailed(PolicyError):
    """A permitted action did not succeed.

    `may_have_acted` is False only when it is certain that nothing changed outside: then what it
    would have spent of the mandate is given back.
    """

    def __init__(self, sentence: str, *, may_have_acted: bool) -> None:
        super().__init__(sentence)
        self.may_have_acted = may_have_acted


# redaction


class RedactionError(PolicyError):
    """A text whose handles may not be restored at this sink."""


class HandleNotAllowed(RedactionError):
    """The handle is ours, but its type may not be restored here."""


class UnknownHandle(RedactionError):
    """A well-formed handle that this run never made: forged, foreign or expired."""


class SecretTooShort(RedactionError):
    """A secret of fewer than four characters cannot be searched for."""
