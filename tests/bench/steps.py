"""CPU of a whole governed run against bare loops, in one process and on one zero-latency model server.

Governed: decide, ledger, redaction, model call, a tool that does nothing, shipped durability and encryption.
Bare: a loop on `chat.completions.create`, and one on the client's `post()`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from openai import AsyncOpenAI

from agent.practice import MODEL_KEY, make
from agent.runs import Runs
from agent.wiring import App
from sandbox.practice.world import World, down

POLICY = """
version: 1
name: bench
accept_plan: when_all_allowed
limits: {steps: 1000, minutes: 60, tokens: 100000000}
rules:
  - {id: read, effect: allow, action: [file.read, file.list], why: the bench reads}
  - {id: model, effect: allow, action: model.call, endpoint: main, why: the bench asks}
"""
SHORT, LONG = "ok " * 5, ("2026-11-23 10:00 order 1042 is unpaid, amount 31200.00, see the list\n" * 60)[:4096]


def run() -> list[tuple[str, float, str]]:
    """Rows of (what, figure, meaning); figures are ratios of CPU unless they say ms."""
    rows: list[tuple[str, float, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "bench"
        world, settings = make(home)
        try:
            (home / "bench.yaml").write_text(POLICY, encoding="utf-8")
            app = App(settings.model_copy(update={"policy": home / "bench.yaml"}))
            asyncio.run(_measure(app, world, rows))
        finally:
            down(home / "world")
    return rows


async def _measure(app: App, world: World, rows: list[tuple[str, float, str]]) -> None:
    await _governed(app, world, 20, SHORT)  # warm: imports, compiled statements
    for name, text in (("short", SHORT), ("4 kB", LONG)):
        for steps in (50, 200):
            governed, each = await _governed(app, world, steps, text)
            counts = world.model_verdict().message_counts
            create = await _bare(app, world, steps, text, post=False)
            assert world.model_verdict().message_counts == counts, "both loops must send the same messages"
            post = await _bare(app, world, steps, text, post=True)
            assert world.model_verdict().message_counts == counts, "both loops must send the same messages"
            rows.append((f"{steps} steps, {name}: governed / create", governed / create, "aim 1.0 at 50, 0.4 at 200"))
            rows.append((f"{steps} steps, {name}: governed / post()", governed / post, "for comparison"))
            rows.append((f"{steps} steps, {name}: governed, ms a step", governed * 1000 / steps, "CPU"))
            if steps == 200:
                late, early = sum(each[185:200]) / 15, sum(each[12:27]) / 15
                rows.append((f"200th / 20th step, {name}", late / early, "aim 1.3"))
    await app.close()


async def _governed(app: App, world: World, steps: int, text: str) -> tuple[float, list[float]]:
    runs = Runs(app)
    world.reset()
    world.set_script(f"sandbox.practice.scripts.bench:steps{steps}")
    run = runs.start("Look at the files.", policy=app.policy())
    for name in ("a.txt", "b.txt"):
        app.workspace(run).write(name, text.encode())
    marks: list[float] = []
    began = time.process_time()
    stand = await runs.advance(
        run, lambda event: marks.append(time.process_time()) if event.kind == "outcome" else None
    )
    spent = time.process_time() - began
    assert stand.standing == "done", stand
    return spent, [after - before for before, after in itertools.pairwise(marks)]


async def _bare(app: App, world: World, steps: int, text: str, *, post: bool) -> float:
    world.reset()
    world.set_script(f"sandbox.practice.scripts.bench:steps{steps}")
    client = AsyncOpenAI(base_url=app.settings.model.base_url, api_key=MODEL_KEY, max_retries=0)
    tool: Any = {"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}
    messages: list[Any] = [{"role": "system", "content": "Look."}, {"role": "user", "content": "Look at the files."}]
    began = time.process_time()
    while True:
        if post:
            body = {"model": "qwen3.8-flash", "messages": messages, "tools": [tool]}
            response = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
            answer = json.loads(response.content)["choices"][0]["message"]
            calls = answer.get("tool_calls") or []
        else:
            made = await client.chat.completions.create(model="qwen3.8-flash", messages=messages, tools=[tool])
            answer = made.choices[0].message.model_dump(exclude_none=True)
            calls = answer.get("tool_calls") or []
        messages.append(
            {"role": "assistant", "content": answer.get("content") or "", **({"tool_calls": calls} if calls else {})}
        )
        if not calls:
            break
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": text} for call in calls]
    spent = time.process_time() - began
    await client.close()
    return spent
