"""`remit policy sign` and `remit policy verify`: who put a policy, or the list of people, in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli import DONE, USAGE
from agent.cli.desk import JsonOption, desk

Files = Annotated[list[Path], typer.Argument(metavar="FILE…")]


def register(policy: typer.Typer) -> None:
    """Add the commands of this module."""
    policy.command("sign")(sign)
    policy.command("verify")(verify)


def sign(files: Files, json: JsonOption = False) -> int:
    """Sign policy files, or people.yaml, with your signing key. Each gets a signature beside it: FILE.sig."""
    with desk(as_json=json) as at:
        from agent.signing import signing_key, write_signature  # start-up time
        from policies.signing import public_key

        me, key = at.app.settings.principal, signing_key(at.app)
        for path in files:
            write_signature(path, me, key)
            at.tell("{path} is signed by {by}.", path=path, by=me)
        if at.app.settings.signers.get(me) != public_key(key):
            line = f'[signers]\n{me} = "{public_key(key)}"'
            at.tell("To let only signed files govern, put this into settings.toml:", lines=line)
            if not at.as_json:
                print(line)
    return DONE


def verify(files: Files, json: JsonOption = False) -> int:
    """Say who signed policy files; exit code 2 when one is not signed by a signer of the settings."""
    with desk(as_json=json) as at:
        from agent.governance import signer_of  # start-up time
        from policies.errors import BadPolicy

        code = DONE
        for path in files:
            try:
                at.tell("{path} is signed by {by}.", path=path, by=signer_of(at.app.settings, path))
            except BadPolicy as error:
                code = USAGE
                at.tell("{said}", said=at.say.told(str(error)))
    return code
