"""How a run looks on a terminal, in a pipe, or as JSON lines. It only shows; it decides nothing."""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from shutil import get_terminal_size
from typing import Any

from agent.cli.width import width
from agent.events import Event
from agent.language import Language
from agent.runs import Stand
from policies.action import Action
from policies.card import action_card, command_text
from policies.decision import Decision, Effect
from policies.mandate import Plan, PlannedStep
from policies.outcome import Done, Failed, Refused, Unknown, Waiting
from policies.question import Question, visible

MARKS = {"verified": "✓", "failed": "✗", "not verifiable": "~", "not needed": "·", "not done": "·", "": "✓"}

_GUTTER = "     │"
_ROOM = re.compile("[ \u3000]{4,}")
"""Blanks enough to move what follows to where a row of ours would begin."""
_LONGEST = 1_200
"""Characters of one value on a card, 15 lines or so; a longer one would hide what follows."""
_MOST_LINES = 30
_NEAR = 20
"""Characters at the end of a full line among which it is broken behind a blank."""


class Screen:
    """Shows one run. `restore` puts personal values back for the requester's own screen; secrets never."""

    def __init__(self, language: Language, *, as_json: bool = False, restore: Callable[[str], str] = str) -> None:
        self.say, self._json, self.restore = language, as_json, restore
        self._live = sys.stdout.isatty() and not as_json
        self._began = time.monotonic()

    def event(self, event: Event) -> None:
        """Show one event of a run as it happens."""
        if self._json:
            if event.kind not in ("thinking", "started"):
                self.line(json.dumps(_event_json(event), ensure_ascii=False))
            return
        if event.kind in ("thinking", "started"):
            self._status(event)
        elif event.kind == "outcome" and event.action is not None:
            self._outcome(event)

    def plan(self, plan: Plan, preflight: dict[str, Any], policy: str) -> None:
        """The plan with what the policy says to each step, before anything is done."""
        if self._json:
            steps = [
                r | {"step": s.model_dump(mode="json")} for s, r in zip(plan.steps, preflight["rows"], strict=True)
            ]
            self.line(json.dumps({"plan": plan.summary, "policy": policy, "steps": steps}, ensure_ascii=False))
            return
        head = self.say("Plan, from your words only")
        self.line(f"{head}{' ' * max(2, 58 - width(head))}{self.say('policy')}: {policy}")
        for step, row in zip(plan.steps, preflight["rows"], strict=True):
            text = f"  {step.n} {self._pinned(step)}"
            said = self.say(row["verdict"])
            if width(text) + width(said) > 75:  # the verdict is never cut
                self._wrapped(text)
                self.line(f"{' ' * 60}{said}")
            else:
                self.line(f"{text}{' ' * max(2, 60 - width(text))}{said}")
            if row["verdict"] in ("refused", "depends"):
                self._wrapped(f"      {self._even(self.say.told(row['reason']))}")
        flags = {"untrusted": "reads what strangers wrote", "private": "reads private data", "way_out": "can send"}
        reach = [self.say(text) for name, text in flags.items() if preflight[name]]
        self.line(self.say("Nothing else is granted.") + self._reach(reach))

    def expected(self, preflight: dict[str, Any], most: Decimal | None, currency: str) -> None:
        """What a dry run tells beside its plan: questions, most that may be used, what is known only later.

        `most`: what the tokens cost at the dearest; None where the price is not known.
        """
        if self._json:
            cost = None if most is None else float(most)
            self.line(json.dumps({"preflight": preflight, "most_cost": cost, "currency": currency}, ensure_ascii=False))
            return
        for row in preflight["rows"]:
            if on := row.get("depends_on"):
                facts = {"n": row["n"], "on": ", ".join(on), "worst": self.say(row.get("worst") or row["verdict"])}
                self.line(self.say("Step {n} depends on {on}; at worst {worst}.", **facts))
        used = {"steps": preflight.get("most_steps"), "minutes": preflight.get("most_minutes")}
        used |= {"tokens": preflight.get("most_tokens"), "n": preflight["questions_expected"]}
        self.line(
            self.say("Questions expected: {n}. At most {steps} steps, {minutes} minutes, {tokens} tokens.", **used)
        )
        if most is not None:
            self.line(self.say("The tokens cost at most {money} {currency}.", money=f"{most:,.4f}", currency=currency))

    def question(self, question: Question) -> None:
        """The card, whole, as our code drew it."""
        if self._json:
            self.line(json.dumps({"question": question.model_dump(mode="json")}, ensure_ascii=False))
            return
        self.line(f"\n? {question.id}  {self.say('until')} {question.expires_at:%Y-%m-%d %H:%M} UTC")
        for n, row in enumerate(question.rows, 1):
            self._wrapped(f"  {n}. {self._told(row.title)}")
            for label, text in self._shortened(row.lines):
                head = self._even(self.say.told(label))
                # Values stay to the letter; these are our own words.
                shown = self._told(text) if label in ("why", "planned", "asked") else self._own(text)
                # What goes on after a line's end stands behind a bar, and can begin no row of its own.
                first = f"     {head}{' ' * (10 - width(head))}" if label else f"{_GUTTER}         "
                self._wrapped(f"{first} {self._cut(shown)}")

    def report(self, stand: Stand, made: tuple[str, ...] = (), intact: bool | None = None) -> None:
        """What came of the run, from the evidence; the model's words stand apart."""
        if self._json:
            whole = {"run": stand.run, "standing": stand.standing, "trouble": stand.trouble, "report": stand.report}
            asked = [q.id for q in stand.questions]
            self.line(json.dumps(whole | {"questions": asked, "files": made, "ledger": intact}, ensure_ascii=False))
            return
        report = stand.report or {}
        self._clear()
        if report:
            self.line("")
        for row in report.get("steps", ()) if stand.standing != "previewed" else ():
            verdict = row["verdict"]
            times = f" ×{row['times']}" if row["times"] > 1 else ""
            shown = self.say(verdict) if verdict else self.say("done")
            evidence = f"  ({self._told(row['evidence'])})" if row["evidence"] else ""
            if verdict == "not done" and evidence:
                evidence = f": {self._told(row['evidence'])}"
            self.line(f"{MARKS.get(verdict, '~')} {row['n']} {self._own(row['title'])}{times}  {shown}{evidence}")
        if report.get("summary"):
            self.line(self.say("The model says: {text}", text=self._own(report["summary"])))
        for path in made:
            self.line(self.say("Delivered: {path}", path=path))
        self._last(stand, report, intact)

    def line(self, text: str) -> None:
        """One line of output."""
        self._clear()
        print(text, flush=True)

    def _last(self, stand: Stand, report: dict[str, Any], intact: bool | None) -> None:
        checked = [r["verdict"] for r in report.get("steps", ())]
        match stand.standing:
            case "done":
                ledger = {True: self.say("Ledger intact."), False: self.say("THE LEDGER DOES NOT VERIFY."), None: ""}
                asked = report.get("questions", 0)
                counts = self.say(
                    "Done: {verified} verified, {failed} failed, {refused} refused, {asked}.",
                    verified=checked.count("verified"),
                    failed=checked.count("failed"),
                    refused=report.get("refused", 0),
                    asked=self.say("1 question" if asked == 1 else "{n} questions", n=asked),
                )
                self.line(f"{counts} {ledger[intact]}".rstrip())
            case "waiting":
                ids = " ".join(q.id for q in stand.questions)
                self.line(
                    self.say(
                        "Waiting for an answer: remit approve {ids} (or: remit reject {ids} --because TEXT), then",
                        ids=ids,
                    )
                )
                self.line(f"  remit runs resume {stand.run}")
                return
            case "held" | "stopped":
                self.line(self.say("Held: {why}", why=self._told(stand.trouble)))
                self.line(f"  remit runs resume {stand.run}")
                return
            case "previewed":
                self.line(self.say("This was a dry run: nothing was done."))
            case _:
                self.line(self.say("Not done: {why}", why=self._told(stand.trouble)))
        self.line(f"  remit runs files {stand.run}     remit audit show {stand.run}")

    def _outcome(self, event: Event) -> None:
        action, outcome = event.action, event.outcome
        assert action is not None
        title = self.say.told(action_card(action, Decision(effect=Effect.ALLOW, reason=""))[0])
        if action.kind in ("server.run", "shell.run"):
            title = f"{command_text(action.pipelines)}  ({getattr(action, 'server', None) or self.say('here')})"
        number = f"{event.step} " if event.step else ""
        match outcome:
            case Done(observation=seen):
                if event.step or action.kind not in ("browser.fill", "browser.read", "file.list"):
                    rows = _rows(action, seen.rows, self.say) if seen.rows is not None else ""
                    code = self.say(" exit {code}", code=seen.exit_code) if seen.exit_code else ""
                    self.line(f"✓ {number}{self._own(title)}{rows}{code}")
            case Refused(rules=rules, reason=reason):
                self.line(f"✗ {self.say('refused')}  {self._own(title)}  [{action.kind}]")
                why = self._told(reason.partition(" refuses it: ")[2] or reason)
                self.line(f"  {self.say('Rule')} {', '.join(rules)}: {why}" if rules else f"  {why}")
                self.line(f"  {self.say('Nothing of it left this machine.')}")
            case Failed(reason=reason) | Unknown(reason=reason):
                self.line(f"✗ {number}{self.say('failed')}  {self._own(title)}: {self._told(reason)}")
            case Waiting() | None:
                pass

    def _own(self, text: str) -> str:
        return self._even(visible(self.restore(text)))

    def _even(self, text: str) -> str:
        """The text without room in which something could be drawn."""
        return _ROOM.sub(lambda found: self.say("⟨{n} blanks⟩", n=len(found[0])), text)

    def _cut(self, text: str) -> str:
        """A value that would push later rows out of sight, without its middle."""
        if (over := len(text) - _LONGEST) <= 0:
            return text
        left_out = self.say("⟨{n} of {all} characters are not shown; see --json⟩", n=over, all=len(text))
        return f"{text[: _LONGEST * 2 // 3]}{left_out}{text[-(_LONGEST // 3) :]}"

    def _shortened(self, lines: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """The lines of a card, a value of very many lines without those in its middle."""
        at = 0
        while at < len(lines):
            end = next((n for n in range(at + 1, len(lines)) if lines[n][0]), len(lines))
            if end - at <= _MOST_LINES:
                yield from lines[at:end]
            else:
                yield from lines[at : at + _MOST_LINES // 2]
                over, whole = end - at - _MOST_LINES, end - at
                yield "", self.say("⟨{n} of {all} lines are not shown; see --json⟩", n=over, all=whole)
                yield from lines[end - _MOST_LINES // 2 : end]
            at = end

    def _wrapped(self, text: str) -> None:
        """The text on lines that we end ourselves, after a blank where one is near; each but the first behind a bar."""
        room, taken, line = max(40, get_terminal_size().columns) - 1, 0, ""
        for character in text:
            wide = _columns(character)
            if taken + wide > room:
                at = line.rfind(" ", len(line) - _NEAR) + 1 or len(line)
                self.line(line[:at])
                carried = line[at:]
                line = f"{_GUTTER} {carried}"
                taken = len(_GUTTER) + 2 + sum(map(_columns, carried))  # the bar is two wide on some terminals
            line, taken = line + character, taken + wide
        self.line(line)

    def _told(self, text: str) -> str:
        return self._own(self.say.told(text))

    def _reach(self, reach: list[str]) -> str:
        """What the plan can come to, as a sentence behind another."""
        if not reach:
            return ""
        *most, last = reach
        listed = f"{self.say(', ').join(most)}{self.say(' and ')}{last}" if most else last
        return self.say(" It {reach}.", reach=listed)

    def _pinned(self, step: PlannedStep) -> str:
        pins, say = step.pins, self.say
        where = pins.url or pins.path or (command_text(pins.pipelines) if pins.pipelines else "") or pins.tool or ""
        on = say(" on {server}", server=pins.server) if pins.server else ""
        often = f" ×{step.at_most}" if step.at_most > 1 else ""
        only = step.only_if
        when = say(" (if {step} says {says})", step=only.step, says=only.says) if only else ""
        what = visible(f"{where}{on}{often}{when}" if where else f"{step.title}{when}").replace("\n", "⏎")
        return f"{step.kind:<15} {self._even(what)}"

    def _status(self, event: Event) -> None:
        if self._live:
            doing = event.action.kind if event.action else self.say("thinking")
            seconds, k = f"{time.monotonic() - self._began:.0f}", f"{event.tokens / 1000:.1f}"
            steps = self.say("1 step" if event.steps == 1 else "{n} steps", n=event.steps)
            used = self.say("{steps}  {seconds} s  {k}k tokens", steps=steps, seconds=seconds, k=k)
            used += f"  {money(event.money_micros)}" if event.money_micros else ""
            sys.stdout.write(f"\r\x1b[K… {doing}  {used}")
            sys.stdout.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stdout.write("\r\x1b[K")


def _columns(character: str) -> int:
    """The most columns that a terminal gives a character."""
    return 2 if character > "\uffff" or unicodedata.east_asian_width(character) in "WFA" else 1


def money(micros: int) -> str:
    """An amount in the currency of the settings, which no line repeats."""
    return f"{micros / 1_000_000:,.4f}"


def _event_json(event: Event) -> dict[str, Any]:
    out: dict[str, Any] = {"event": event.kind, "text": event.text, "step": event.step}
    out |= {"steps": event.steps, "tokens": event.tokens, "money_micros": event.money_micros}
    if event.action is not None:
        out["action"] = event.action.model_dump(mode="json")
    if event.outcome is not None:
        out["outcome"] = event.outcome.model_dump(mode="json")
    if event.question is not None:
        out["question"] = event.question.id
    return out | event.more


def _rows(action: Action, rows: int, say: Language) -> str:
    """How many rows, and of which sheets where there are several."""
    sheets = action.sheets if action.kind == "table.write" and len(action.sheets) > 1 else ()
    parts = ", ".join(f"{sheet.name} {len(sheet.rows)}" for sheet in sheets)
    return say(" 1 row" if rows == 1 else " {n} rows", n=rows) + (f" ({parts})" if parts else "")
