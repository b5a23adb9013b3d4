"""Values out, handles in, and back: the one place where text is redacted and restored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from pydantic import JsonValue

from policies.errors import HandleNotAllowed, UnknownHandle
from policies.redact.detect import FAMILIES, LEARNED_TYPES, SECRET_TYPES, normal
from policies.redact.embedded import SHORTEST, Numbers
from policies.redact.folded import MASK, WIDE, Folded, fold
from policies.redact.handle import (
    ESCAPED_OPENING,
    HANDLE,
    OPENING,
    Handle,
    escape_lookalikes,
    handle_for,
    handles_in,
    identity,
    type_of,
)
from policies.redact.literal import MIN_CHARACTERS, Secrets
from policies.redact.vault import HandleVault

_Edit = tuple[int, int, bytes]
_NUMBER_WORTH_A_LOOK = 1_000_000
_ROUNDS = 4
_LEARN_FROM = 8  # characters; a shorter password met once in a file may be an ordinary word elsewhere
_LEARN_AT_MOST = 500  # values; enough for a run, and a file of nothing but passwords must not make it slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One value that was replaced."""

    type: str
    start: int
    end: int
    """Character offsets into the text that was given."""
    handle: Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """A text without the values, and what was taken out of it, in order."""

    text: str
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A candidate, in offsets of the text."""

    type: str
    start: int
    end: int
    value: str
    """In its normal form."""
    whole: bool = True
    """It does not begin inside an escape."""
    known: bool = False
    """It is a secret the run knew before."""

    def rank(self) -> tuple[bool, bool, int]:
        """Secrets win over personal data, whole ones over those that cut an escape, longer ones over shorter."""
        return self.type in SECRET_TYPES, self.whole, self.end - self.start


class Redactor:
    """Redacts and restores the texts of one run, in time linear in the text.

    Not a boundary for data that no detector and no known secret recognises.
    """

    def __init__(
        self, run_key: bytes, vault: HandleVault, secrets: Secrets, types: frozenset[str] | None = None
    ) -> None:
        """`types` limits what is looked for, for filters; a run looks for everything."""
        self._run_key = run_key
        self._types = types
        self._vault = vault
        self._secrets = secrets
        self._learned = Secrets()
        self._heard: set[str] = set()
        self._opened: set[str] = set()
        self._numbers = Numbers()
        self._identities: set[str] = set()
        for handle, value in vault.values():
            self._identities.add(identity(handle))
            self._learn(type_of(handle), value)
            self._numbers.add(type_of(handle), _meaning(type_of(handle), value))
            self._learn_opened(type_of(handle), value)  # an earlier process may have restored it

    def redact(self, text: str) -> Redacted:
        """The text with every value replaced by its handle; in the result nothing is found again.

        Handles of this run stay. Every other `⟦` becomes `(U+27E6)`, which is not reported as found.
        """
        base = Folded(fold(text))
        brackets = self._brackets(text)
        layer = base.replaced(brackets) if brackets else base
        taken = bytearray(len(text))
        found: list[Found] = []
        # Look again while something is found: for what was learned in this text, and for what a longer candidate hid.
        # The limit keeps the time linear for texts built to be peeled.
        for _ in range(_ROUNDS):
            wanted = (each for each in self._scan(layer, text) if self._types is None or each.type in self._types)
            spans = _chosen(wanted, taken)
            if not spans:
                break
            found += [self._found(span, text) for span in spans]
            brackets = [each for each in brackets if not taken[each[0]]]
            layer = base.replaced(sorted([*brackets, *((each.start, each.end, MASK) for each in found)]))
        found.sort(key=lambda each: each.start)
        return Redacted(text=_written(text, brackets, found), found=tuple(found))

    def restore(self, text: str, allowed: frozenset[str], *, secrets: bool = False) -> str:
        """The text with its handles replaced by their values, or an error and nothing.

        `allowed` names the types that may stand at this sink; a secret type also needs `secrets=True`, which only
        an executor passes. HandleNotAllowed for another type; UnknownHandle for a handle this run never made,
        and for a `⟦` that begins no handle (most likely a garbled one): none lands unresolved. What was restored is
        from then on looked for literally, wherever it stands.
        """
        restored = self._restored(text, allowed, secrets=secrets)
        for type_, handle in handles_in(text):
            self._learn_opened(type_, self._vault.get(handle) or "")
        return restored

    def _restored(self, text: str, allowed: frozenset[str], *, secrets: bool) -> str:

        def value_of(match: re.Match[str]) -> str:
            value = self._vault.get(Handle(match[0]))
            if value is None:
                raise UnknownHandle(f"The handle {match[0]} is not of this run: use a handle exactly as it was shown.")
            if match[1] not in allowed or (match[1] in SECRET_TYPES and not secrets):
                raise HandleNotAllowed(f"The handle {match[0]} is a {match[1]!r}, which may not be restored here.")
            return value

        if OPENING in HANDLE.sub("", text):
            raise UnknownHandle("A ⟦ in the text begins no handle of this run: write handles as they were shown.")
        return HANDLE.sub(value_of, text)

    def handles_in(self, text: str) -> tuple[tuple[str, Handle], ...]:
        """Type and handle of every well-formed handle, in order, made in this run or not."""
        return handles_in(text)

    def leaks(self, text: str) -> tuple[str, ...]:
        """The types of known secrets, and of values already behind handles, that stand openly in the text, sorted."""
        spans = self._scan(Folded(fold(text)).replaced(self._brackets(text)), text)
        return tuple(sorted({span.type for span in spans if span.known or self._is_kept(span)}))

    # The port that the gate uses (policies.ports.Redaction).

    def redact_text(self, text: str) -> str:
        """The redacted text alone."""
        return self.redact(text).text

    def redact_json(self, value: JsonValue) -> JsonValue:
        """Every string in the value redacted, keys too, and every number that a detector takes for a value."""
        match value:
            case str():
                return self.redact_text(value)
            case list():
                return [self.redact_json(v) for v in value]
            case dict():
                return {self.redact_text(k): self.redact_json(v) for k, v in value.items()}
            case int() | float() if not isinstance(value, bool) and abs(value) >= _NUMBER_WORTH_A_LOOK:
                text = self.redact_text(str(value))
                return value if text == str(value) else text
            case _:
                return value

    def handle_types(self, text: str) -> frozenset[str]:
        """The types of the handles in the text; UnknownHandle for one this run never made, or a garbled one."""
        if OPENING not in text:
            return frozenset()
        self._restored(text, types := frozenset(type_ for type_, _ in handles_in(text)), secrets=True)
        return types

    def shown(self, text: str) -> str:
        """The text for the requester's own screen: personal values restored, secrets left as handles."""

        def value_of(match: re.Match[str]) -> str:
            value = None if match[1] in SECRET_TYPES else self._vault.get(Handle(match[0]))
            return match[0] if value is None else value

        return HANDLE.sub(value_of, text)

    def _brackets(self, text: str) -> list[_Edit]:
        """Each handle of this run as a masked place, each other `⟦` as what it will become."""
        if OPENING not in text:
            return []
        ours = {m.start(): m.end() for m in HANDLE.finditer(text) if self._vault.get(Handle(m[0])) is not None}
        opening = (at for at, character in enumerate(text) if character == OPENING)
        return [(at, ours[at], MASK) if at in ours else (at, at + 1, ESCAPED_OPENING.encode()) for at in opening]

    def _scan(self, first: Folded, text: str) -> Iterator[_Span]:
        for layer in first.layers():
            for secrets in (self._secrets, self._learned):
                for type_, value, start, end in secrets.find(layer, text if layer is first else ""):
                    yield _Span(type=type_, start=start, end=end, value=_meaning(type_, value), known=True)
            for type_, value, at, stop in self._numbers.find(layer.data):
                start, end = layer.span(at, stop)
                yield _Span(type=type_, start=start, end=end, value=value, known=True)
            for detector, at, stop in (each for family in FAMILIES for each in family.find(layer.data)):
                start, end = layer.span(at, stop)
                data = layer.data[at:stop]
                value = text[start:end] if WIDE in data else normal(detector.type, data)
                whole = not layer.cuts_escape(at)
                yield _Span(type=detector.type, start=start, end=end, value=value, whole=whole)

    def _found(self, span: _Span, text: str) -> Found:
        spelling = escape_lookalikes(text[span.start : span.end])
        for attempt in count():
            handle = handle_for(self._run_key, span.type, span.value, spelling, attempt)
            kept = self._vault.get(handle)
            if kept is None:
                self._vault.put(handle, span.type, spelling)
                self._identities.add(identity(handle))
            if kept is None or kept == spelling:
                break
        self._learn(span.type, span.value)
        self._numbers.add(span.type, span.value)
        return Found(type=span.type, start=span.start, end=span.end, handle=handle)

    def _is_kept(self, span: _Span) -> bool:
        return identity(handle_for(self._run_key, span.type, span.value, "")) in self._identities

    def _learn(self, type_: str, value: str) -> None:
        known = value in self._heard or len(self._heard) == _LEARN_AT_MOST
        if type_ in LEARNED_TYPES and not known and len(value.strip()) >= _LEARN_FROM and not value.isalpha():
            self._heard.add(value)
            self._learned.add(value, type_)

    def _learn_opened(self, type_: str, value: str) -> None:
        known = value in self._opened or len(self._opened) == _LEARN_AT_MOST
        if type_ not in SECRET_TYPES and not known and len(value.strip()) >= MIN_CHARACTERS:
            self._opened.add(value)
            self._learned.add(value, type_)
            if len(plain := _meaning(type_, value)) >= SHORTEST:
                self._learned.add(plain, type_)


def _meaning(type_: str, value: str) -> str:
    """The normal form of a value that was found literally, so that it is recognised as the one known before."""
    return value if WIDE in (data := fold(value)) else normal(type_, data)


def _chosen(spans: Iterator[_Span], taken: bytearray) -> list[_Span]:
    """The spans that win where several overlap; of equals the first seen. Marks them in `taken`."""
    chosen = []
    for span in sorted(spans, key=_Span.rank, reverse=True):
        if not any(taken[span.start : span.end]):
            taken[span.start : span.end] = MASK * (span.end - span.start)
            chosen.append(span)
    return chosen


def _written(text: str, brackets: list[_Edit], found: list[Found]) -> str:
    edits = [(each.start, each.end, str(each.handle)) for each in found]
    edits += [(start, end, ESCAPED_OPENING) for start, end, seen in brackets if seen != MASK]
    parts: list[str] = []
    done = 0
    for start, end, written in sorted(edits):
        parts += (text[done:start], written)
        done = end
    return "".join((*parts, text[done:]))
