"""What governs the runs of a home, read anew from its files: the list of people, and the layers of policy.

All of it lies in the home, or where the settings say: nothing that a run can name, reach or change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.errors import BadSettings
from agent.settings import Settings
from policies.errors import BadPolicy
from policies.layers import layered
from policies.load import load_people, loads, read
from policies.people import People
from policies.rules import Policy


def people_of(settings: Settings) -> People | None:
    """The list of people; None when there is none, BadPolicy when it cannot be used."""
    path = settings.home / "people.yaml"
    return load_people(_in_force(settings, path), str(path)) if _is_there(path) else None


def groups_of(settings: Settings) -> frozenset[str] | None:
    """The groups that a rule may name; None when there is no list of people."""
    people = people_of(settings)
    return people.known if people else None


def policy_of(settings: Settings, path: Path, principal: str, *, job: str | None = None) -> Policy:
    """The policy at `path` under those of organisation, unit, user and job, where there are any, for a principal.

    BadPolicy says where one of them is wrong, and then none is in force.
    """
    if not path.exists():
        raise BadSettings(f"there is no policy {str(path)!r}; make one with: remit init, or name one: --policy FILE")
    people = people_of(settings)
    groups = people.known if people else None
    above = _above(settings, people, principal, job)
    return layered(
        [
            (name, loads(_in_force(settings, at), str(at), practice=settings.practice, groups=groups))
            for name, at in [*above, ("", path)]
        ]
    )


def signer_of(settings: Settings, path: Path) -> str:
    """Who signed the file as it is now; BadPolicy unless it is a signer of the settings."""
    return _signer(settings, path, read(path))


def signed(settings: Settings, path: Path) -> tuple[str, str]:
    """Who signed the file, else why it counts as unsigned; one of the two is empty."""
    try:
        return signer_of(settings, path), ""
    except BadPolicy as error:
        return "", str(error)


def _in_force(settings: Settings, path: Path) -> str:
    """The text of a file that governs; where the settings name signers, only what one of them signed."""
    text = read(path)
    if settings.signers:
        _signer(settings, path, text)
    return text


def _signer(settings: Settings, path: Path, text: str) -> str:
    from policies.signing import signer  # start-up time: an editor checks a policy at every save

    beside = path.with_name(f"{path.name}.sig")
    stored = read(beside).encode() if _is_there(beside) else None
    return signer(text.encode(), str(path), stored, settings.signers)


def _above(settings: Settings, people: People | None, principal: str, job: str | None) -> Iterator[tuple[str, Path]]:
    """Name and file of every layer above the home's own that there is."""
    folder = settings.policies or settings.home / "policies"
    if settings.policies and not folder.is_dir():
        raise BadSettings(f"there is no folder of policies {str(folder)!r}; correct 'policies' in settings.toml")
    account = f"system:{principal}"
    unit = people.unit(account) if people else None
    user = (people.who(account) if people else None) or principal
    for name, of, file in (
        ("organisation", "", "organisation.yaml"),
        ("unit", unit, f"units/{unit}.yaml"),
        ("user", user, f"users/{user}.yaml"),
        ("job", job, f"jobs/{job}.yaml"),
    ):
        if of is not None and _is_there(at := folder / file):
            yield f"{name} {of}".strip(), at


def _is_there(path: Path) -> bool:
    """False only where there certainly is nothing: what cannot be looked at is a layer that cannot be read."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
