"""Checks an export of a ledger without Remit: this one file, Python and the package `cryptography` are enough.

    python verifier.py EXPORT.jsonl [--key HEX ...] [--checkpoint HASH]

`remit audit verify` uses the same functions. Found, each at its first place: entries that were changed, removed,
added, swapped or cut off, a chain that forks, a run that is missing, checkpoints that were changed or are missing.
`--key` gives the public keys that you trust (see: remit audit key); without it the keys named in the export are
used, which shows only that it agrees with itself. `--checkpoint` gives the hash of a checkpoint that you noted
earlier: a store that was set back to before it is found. Exit code 0: intact, 6: broken, 2: not an export.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
"""`prev` of the first entry of a run, and of the first checkpoint."""
EVERY = 64
"""A chain is signed with its first entry, at least after so many more, and when its run ends."""
ENTRY = ("version", "run", "index", "at", "event", "seq", "facts", "body_digest", "prev")
CHECKPOINT = ("version", "n", "at", "run", "length", "head", "prev", "key")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Flaw:
    """The first place that does not hold; `run` is empty when it is in the chain of checkpoints, at `index`."""

    run: str
    index: int
    why: str


def digest(value: Json, names: Sequence[str]) -> str:
    """SHA-256, in hex, over the canonical JSON of these fields: sorted keys, no spaces, UTF-8."""
    text = json.dumps({name: value[name] for name in names}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def chain_fault(run: str, entries: Iterable[Json], *, length: int, head: str) -> Flaw | None:
    """None when the chain holds from its beginning to `head`, which is its entry number `length`."""
    prev, index, last_at = GENESIS, -1, ""
    for index, entry in enumerate(entries):
        if entry["index"] == index - 1 and entry["run"] == run:
            return Flaw(run, index, f"there is a second entry {index - 1}: the chain forks")
        if entry["index"] != index or entry["run"] != run:
            return Flaw(run, index, f"entry {index} is missing or out of place")
        if entry["prev"] != prev:
            return Flaw(run, index, "it does not follow the entry before it")
        if digest(entry, ENTRY) != entry["hash"]:
            return Flaw(run, index, "its content was changed")
        if _comparable(entry["at"]) < last_at:
            return Flaw(run, index, "its time lies before the entry before it")
        prev, last_at = entry["hash"], _comparable(entry["at"])
    if index + 1 != length or prev != head:
        return Flaw(run, index + 1, f"the chain ends after {index + 1} of {length} entries")
    return None


def checkpoint_fault(checkpoints: Iterable[Json], signed: Callable[[Json], bool]) -> Flaw | None:
    """None when the checkpoints follow one another from number 1 on and each is signed."""
    prev = GENESIS
    for n, checkpoint in enumerate(checkpoints, 1):
        if checkpoint["n"] == n - 1:
            return Flaw("", n, f"there is a second checkpoint {n - 1}: the record forks")
        if checkpoint["n"] != n or checkpoint["prev"] != prev:
            return Flaw("", n, f"checkpoint {n} is missing or out of place")
        if digest(checkpoint, CHECKPOINT) != checkpoint["hash"] or not signed(checkpoint):
            return Flaw("", n, f"checkpoint {n} is not signed as it stands")
        prev = checkpoint["hash"]
    return None


def covered_fault(run: str, entries: Sequence[Json], checkpoints: Iterable[Json]) -> Flaw | None:
    """None when the run's checkpoints name places of this chain, and are there for all but its last entries."""
    reached = 0
    for checkpoint in checkpoints:
        reached = checkpoint["length"]
        if reached > len(entries):
            return Flaw(run, len(entries), f"the chain ends after {len(entries)} of {reached} signed entries")
        if entries[reached - 1]["hash"] != checkpoint["head"]:
            return Flaw(run, reached - 1, f"it is not the entry that checkpoint {checkpoint['n']} names")
    ended = max((entry["index"] for entry in entries if entry["event"] == "ended"), default=-1)
    if entries and (reached == 0 or reached <= ended or len(entries) - reached >= EVERY):
        return Flaw(run, reached, "the checkpoint that should be here is missing")
    return None


def signer(keys: Mapping[str, str]) -> Callable[[Json], bool]:
    """Whether a checkpoint is signed by one of these public keys (hex by id)."""
    from cryptography.exceptions import InvalidSignature  # start-up time of those who check no signature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    known = {name: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for name, key in keys.items()}

    def signed(checkpoint: Json) -> bool:
        try:
            known[checkpoint["key"]].verify(bytes.fromhex(checkpoint["signature"]), statement(checkpoint["hash"]))
        except (InvalidSignature, KeyError, ValueError):
            return False
        return True

    return signed


def statement(checkpoint_hash: str) -> bytes:
    """The bytes that are signed."""
    return b"remit checkpoint 1\n" + checkpoint_hash.encode()


def key_id(public: bytes) -> str:
    """The name of a public key."""
    return hashlib.sha256(b"remit checkpoint key" + public).hexdigest()[:16]


def faults(lines: Iterable[Json], trusted: Sequence[str] = (), noted: str = "") -> Iterator[Flaw]:
    """What is wrong with an export, given as its parsed lines: the first fault of each run and of the checkpoints."""
    head: Json = {}
    runs: dict[str, Json] = {}
    entries: dict[str, list[Json]] = {}
    checkpoints: list[Json] = []
    for line in lines:
        match line["type"]:
            case "export":
                head = line
            case "run":
                runs[line["run"]] = line
            case "entry":
                entries.setdefault(str(line["run"]), []).append(line)
            case "checkpoint":
                checkpoints.append(line)
    keys = {key_id(bytes.fromhex(key)): key for key in trusted} or head["keys"]
    if fault := checkpoint_fault(checkpoints, signer(keys)):
        yield fault
    if noted and noted not in {checkpoint["hash"] for checkpoint in checkpoints}:
        yield Flaw("", len(checkpoints) + 1, "the checkpoint that was noted is missing: the store was set back")
    of_run: dict[str, list[Json]] = {}
    for checkpoint in checkpoints:
        of_run.setdefault(checkpoint["run"], []).append(checkpoint)
    if head["whole"]:
        for run in of_run:
            if run not in runs:
                yield Flaw(run, 0, "the whole run is missing")
    for run in {**runs, **entries}:
        chain, about = entries.get(run, []), runs.get(run, {"length": -1, "head": ""})
        fault = chain_fault(run, chain, length=about["length"], head=about["head"])
        if fault := fault or covered_fault(run, chain, of_run.get(run, [])):
            yield fault


def main(arguments: Sequence[str]) -> int:
    """Check the export that the arguments name; the exit code."""
    parser = argparse.ArgumentParser(description="Check an export of a ledger.")
    parser.add_argument("export")
    parser.add_argument("--key", action="append", default=[], help="a public key that you trust, in hex")
    parser.add_argument("--checkpoint", default="", help="the hash of a checkpoint that you noted")
    given, write = parser.parse_args(arguments), sys.stdout.write
    try:
        with open(given.export, encoding="utf-8") as file:  # noqa: PTH123  one file that stands alone
            found = [*faults(map(json.loads, file), given.key, given.checkpoint)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        write(f"not an export that can be read: {error}\n")
        return 2
    for fault in found:
        write(f"BROKEN: {'run ' + fault.run if fault.run else 'checkpoints'}, entry {fault.index}: {fault.why}\n")
    if not found:
        write("intact" + ("" if given.key else ", by the keys that the export itself names") + "\n")
    return 6 if found else 0


def _comparable(at: str) -> str:
    """A time in UTC, with or without its fraction, so that it compares as text."""
    plain = at.replace("Z", "").replace("+00:00", "")
    return plain if "." in plain else plain + ".000000"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
