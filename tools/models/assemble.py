"""Chunks of a stream, put together into a Reply.

Every field is looked at by hand instead of through a model class: servers send each of them in several
shapes, and this runs once per token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from pydantic_core import from_json

from tools.models.arguments import Schema, parsed, read
from tools.models.faults import broken, judged
from tools.models.messages import dumps
from tools.models.reply import Finish, Reply, ToolCall, Usage
from tools.models.textcalls import text_calls
from tools.models.tokens import estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What has to be known of the request to read its reply."""

    model: str
    body: bytes
    turn: int
    """How many messages were sent; makes call ids of our own unique in the conversation."""
    schemas: Mapping[str, Schema]
    """Parameter schemas by the names of the tools offered."""
    max_reply_tokens: int


@dataclass(slots=True)
class _Slot:
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    def ended_by(self, call_id: str, name: str, text: str) -> bool:
        """Whether a piece begins another call: by a new id, or by a name after whole arguments.

        Servers that give every call index 0 show it in no other way.
        """
        if call_id and self.id not in ("", call_id):
            return True
        if not (name and self.name and (text or name != self.name)):
            return False
        try:
            parsed("".join(self.pieces))
        except (ValueError, RecursionError):
            return False
        return True


class Assembly:
    """One try of a call while it comes in."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._text: list[str] = []
        self._reasoning_chars = 0
        self._reasoning_tokens = 0.0
        self._slots: list[_Slot] = []
        self._by_index: dict[int, _Slot] = {}
        self._finish: set[str] = set()
        self._usage: dict[str, object] = {}
        self._model = asked.model
        self.tokens = 0.0
        """Estimated tokens of all that came so far, reasoning included."""
        self.done = False
        """`[DONE]` was seen; whatever happens after it changes nothing."""

    def add(self, event: bytes) -> None:
        """Take the data of one event in. Raises Trouble for errors and nonsense."""
        if self.done or not (event := event.strip()):
            return
        if event == b"[DONE]":
            self.done = True
            return
        try:
            chunk = from_json(event)
        except ValueError:
            raise broken("part of the reply is not valid JSON in UTF-8") from None
        if not isinstance(chunk, dict):
            raise broken("part of the reply has no known shape")
        choices = chunk.get("choices")
        if chunk.get("error") or (not choices and "code" in chunk and "message" in chunk):
            raise judged(200, chunk, {})
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        if isinstance(model := chunk.get("model"), str) and model:
            self._model = model[:200]
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._choice(choices[0])

    def reply(self) -> Reply:
        """The whole turn. Raises Trouble when it ended without evidence of an end, or is empty."""
        if not self._finish and not self.done:
            raise broken("the reply was cut off" if self.tokens else "the connection closed without a reply")
        text, calls = self._split()
        usage = self.usage()
        if "length" in self._finish:
            finish = Finish.LENGTH
        else:
            finish = Finish.CALLS if calls else Finish.STOP
            if not text and not calls:
                raise broken("the model answered nothing", tries=2)
        # Some servers call it `tool_calls` when the limit cut the arguments: only a counted total below the
        # limit, together with a finish reason, shows that the model ended by itself.
        own_end = bool(self._finish) and not usage.estimated
        may_close = own_end and usage.completion_tokens < self.asked.max_reply_tokens
        return Reply(
            text=text,
            reasoning_chars=self._reasoning_chars,
            calls=self._calls(calls, cut=finish is Finish.LENGTH, may_close=may_close),
            finish=finish,
            usage=usage,
            model=self._model,
        )

    def usage(self) -> Usage:
        """Tokens so far: the server's word where it is credible, else our estimate, marked."""
        raw = self._usage
        prompt, completion, total, cached = (
            _count(raw.get(key)) for key in ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")
        )
        reasoning = _count(_mapping(raw.get("completion_tokens_details")).get("reasoning_tokens"))
        cached = cached or _count(_mapping(raw.get("prompt_tokens_details")).get("cached_tokens"))
        estimated = not prompt
        # Hardly a text has eight times fewer tokens than estimated: a count this low is none.
        if completion is None or completion * 8 < self.tokens:
            completion, estimated = round(self.tokens), True
        if not prompt and total:
            prompt = max(0, total - completion)
        elif not prompt:
            prompt = round(estimate(self.asked.body.decode("utf-8", "replace")))
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            reasoning_tokens=reasoning or round(self._reasoning_tokens),
            cached_tokens=cached or 0,
            estimated=estimated,
        )

    def _choice(self, choice: dict[str, object]) -> None:
        delta = _mapping(choice.get("delta")) or _mapping(choice.get("message"))
        finish = choice.get("finish_reason")
        if finish == "error_finish":
            raise judged(200, {"message": delta.get("content")}, {})
        if finish == "content_filter":
            raise judged(200, {"code": finish}, {})
        if isinstance(finish, str) and finish:
            self._finish.add(finish)
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            self._reasoning_chars += len(reasoning)
            thought = estimate(reasoning)
            self._reasoning_tokens += thought
            self.tokens += thought
        if isinstance(text := delta.get("content"), str) and text:
            before = self._text[-1] if self._text else ""
            repeats = len(text) > len(before) and text.startswith(before)
            self.tokens += estimate(text[len(before) :] if repeats else text)
            self._text.append(text)
        if isinstance(calls := delta.get("tool_calls"), list):
            for call in calls:
                self._call(_mapping(call))

    def _call(self, call: Mapping[str, object]) -> None:
        """Join a piece to its call: by index first, by id only where one is given."""
        index, function = call.get("index"), _mapping(call.get("function"))
        call_id, name, piece = _string(call.get("id")), _string(function.get("name")), function.get("arguments")
        text = piece if isinstance(piece, str) else dumps(piece).decode() if isinstance(piece, dict) else ""
        if isinstance(index, int):
            slot = self._by_index.get(index)
        else:
            same = [slot for slot in self._slots if call_id and slot.id == call_id]
            slot = same[-1] if same else self._slots[-1] if self._slots and not (call_id and name) else None
        if slot and slot.ended_by(call_id, name, text):
            slot = None
        if slot is None:
            slot = _Slot(call_id, name)
            self._slots.append(slot)
        if isinstance(index, int):
            self._by_index[index] = slot
        slot.id, slot.name = slot.id or call_id, slot.name or name
        slot.pieces.append(text)
        self.tokens += estimate(text) + estimate(name)

    def _split(self) -> tuple[str, list[_Slot]]:
        """Text without leaked reasoning, and the calls, found in the text when nowhere else."""
        text = _joined(self._text)
        if not self._reasoning_chars:
            opened = text.lstrip().startswith("<think>")
            thought, closed, after = text.partition("</think>")
            if opened or closed:
                self._reasoning_chars = len(thought)
                self._reasoning_tokens = estimate(thought)
                text = after.lstrip()
        if self._slots or not self.asked.schemas:
            return text, self._slots
        found = [_Slot("", name, [raw]) for name, raw in text_calls(text)]
        return ("", found) if found else (text, [])

    def _calls(self, slots: list[_Slot], *, cut: bool, may_close: bool) -> tuple[ToolCall, ...]:
        calls: list[ToolCall] = []
        taken: set[str] = set()
        for slot in slots:
            name = self._name(slot.name)
            raw = "".join(slot.pieces)
            read_as = read(raw, self.asked.schemas.get(name, {}), may_close=may_close)
            fault = "The call was cut off at the length limit. Call again, shorter." if cut else read_as.fault
            calls.append(
                ToolCall(
                    id=self._id(slot.id, taken),
                    name=name,
                    arguments=None if fault else read_as.values,
                    raw=raw,
                    fault=fault,
                    repaired=not fault and (read_as.repaired or name != slot.name or slot not in self._slots),
                )
            )
        return tuple(calls)

    def _name(self, name: str) -> str:
        """The offered name this one stands for, else itself in characters a history may hold."""
        name = name.removeprefix("functions.")
        same = [known for known in self.asked.schemas if known.lower() == name.lower()]
        if name in self.asked.schemas or len(same) != 1:
            return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"
        return same[0]

    def _id(self, given: str, taken: set[str]) -> str:
        """The server's id, or one of ours where it is empty, odd or used before in the conversation."""
        sent = self.asked.body
        # Long ids are random; looking for each in a long history would cost more than it finds.
        fresh = re.fullmatch(r"[\w.:-]{1,128}", given, re.ASCII) and given not in taken
        if not fresh or (len(given) < 20 and f'"{given}"'.encode() in sent):
            number = len(taken)
            while (given := f"call_{self.asked.turn}_{number}") in taken or given.encode() in sent:
                number += 1
        taken.add(given)
        return given


def _joined(pieces: list[str]) -> str:
    """The text, also where each piece repeats all before it.

    That is believed when every piece extends the one before and chance is unlikely: "1", "10" or "ha", "haha"
    may be pieces of a text, "The order is", "The order is paid" are not.
    """
    if len(pieces) > 1 and all(after.startswith(before) for before, after in pairwise(pieces)):
        first, last = pieces[0], pieces[-1]
        if last.replace(first, "") and (len(last) >= 8 or first.isalpha()):
            return last
    return "".join(pieces)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    """A token count, also as digits in a string; None for anything else and for negative numbers."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
