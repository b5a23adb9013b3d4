"""Who is who: persons, their accounts, units, groups and roles, and whose yes counts for a question.

These values are what `policies.load` makes of a file; they are read by the gate and by whatever takes an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from policies.action import Name, Text, Value
from policies.decision import Approvers
from policies.question import Answer

Where = tuple[str | int, ...]


def _many(given: Any) -> Any:
    return given if isinstance(given, tuple) else (given,)


Accounts = Annotated[tuple[Text, ...], BeforeValidator(_many)]


class Person(Value):
    """One human being. `accounts` are the names under which they come: by channel, one or several each."""

    name: Text = ""
    unit: Name | None = None
    roles: tuple[Name, ...] = ()
    accounts: dict[Literal["system", "dingtalk", "mail", "api", "practice"], Accounts]


class People(Value):
    """Everybody who is known. A rule's group is one of `groups`, or a role."""

    version: Literal[1]
    units: tuple[Name, ...] = ()
    persons: dict[Name, Person]
    groups: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)

    @cached_property
    def known(self) -> frozenset[str]:
        """The groups that a rule may name."""
        return frozenset(self.groups) | {role for person in self.persons.values() for role in person.roles}

    def who(self, account: str) -> str | None:
        """The id of the person whose account (`system:alice`, `mail:a@example.com`) this is."""
        return self._by_account.get(_plain(account))

    def unit(self, account: str) -> str | None:
        """The unit of the person whose account this is."""
        who = self.who(account)
        return self.persons[who].unit if who else None

    def is_in(self, person: str, group: str) -> bool:
        """True for a member of the group, or a person with the role of that name."""
        one = self.persons.get(person)
        return one is not None and (group in one.roles or person in self.groups.get(group, ()))

    def faults(self) -> Iterator[tuple[Where, str]]:
        """What is wrong beyond the shape: where, and a sentence."""
        found: dict[str, str] = {}
        for key, person in self.persons.items():
            if person.unit is not None and person.unit not in self.units:
                yield ("persons", key, "unit"), f"unit {person.unit!r} is not in 'units'; add it there, or correct it"
            for kind, names in person.accounts.items():
                for n, account in enumerate(names):
                    other = found.setdefault(_plain(f"{kind}:{account}"), key)
                    if other != key:
                        said = f"{kind} account {account!r} is that of {other!r} already; an account has one person"
                        yield ("persons", key, "accounts", kind, n), said
        for group, members in self.groups.items():
            twice = [member for member, count in Counter(members).items() if count > 1]
            for n, member in enumerate(members):
                if member not in self.persons:
                    yield ("groups", group, n), f"{member!r} is nobody under 'persons'; add the person, or correct it"
                elif member in twice and members.index(member) != n:
                    yield ("groups", group, n), f"{member!r} is in group {group!r} twice; keep one"

    @cached_property
    def _by_account(self) -> dict[str, str]:
        return {
            _plain(f"{kind}:{account}"): key
            for key, person in self.persons.items()
            for kind, names in person.accounts.items()
            for account in names
        }


def may_answer(account: str, approvers: Approvers, requester: str, people: People | None) -> str:
    """Why the answer of this account does not count; empty when it does.

    Where it matters who answers, only listed persons count: an account that nobody is known to have could be the
    second one of somebody. `requester` is the name of an account of the operating system.
    """
    if approvers.anyone:
        return ""
    if people is None:
        return _without_a_list(account, approvers, requester)
    if (who := people.who(account)) is None:
        return f"the account {account!r} belongs to nobody in people.yaml; somebody who is listed there must answer"
    for group in approvers.groups:
        if not people.is_in(who, group):
            return f"{who!r} is not in group {group!r}; somebody of that group must answer"
    asked = people.who(f"system:{requester}")
    if approvers.not_requester and asked in (None, who):
        if asked:
            return f"{who!r} asked for it; another person must answer"
        return f"the requester {requester!r} is nobody in people.yaml, so nobody is known to be another person"
    return ""


def counted(answers: Iterable[Answer], approvers: Approvers, requester: str, people: People | None) -> tuple[str, ...]:
    """The persons whose yes counts now, each once: also of those who answered, some may have left the group since."""
    yes = [a for a in answers if a.yes and not may_answer(a.from_account, approvers, requester, people)]
    return tuple(dict.fromkeys((people.who(a.from_account) if people else None) or a.by for a in yes))


def _without_a_list(account: str, approvers: Approvers, requester: str) -> str:
    for group in approvers.groups:
        return f"nobody is known to be in group {group!r}; list its people in people.yaml"
    if approvers.not_requester and account == f"system:{requester}":
        return f"{requester!r} asked for it; another person must answer"
    return ""


def _plain(account: str) -> str:
    return account.lower() if account.startswith("mail:") else account
