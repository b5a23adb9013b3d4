"""Replay of 100,000 recorded actions against a policy of 100 rules, with the reading of the export.

The bare figure beside it is `json.loads` over the same lines.
"""

from __future__ import annotations

import json
import time

from policies.replay import replay
from tests.policies.asking import SHOP, accepted, policy, step
from tests.policies.test_replay import export, of

ACTIONS = 100_000


def run() -> list[tuple[str, float, str]]:
    """Rows of (what, figure, meaning)."""
    rules = [f"{{id: r{n}, effect: allow, action: browser.open, url: 'http://h{n}.example/a/**'}}" for n in range(90)]
    looks = [
        f"{{id: c{n}, effect: allow, action: server.run, server: s{n}, commands: {{program: df}}}}" for n in range(8)
    ]
    under = policy(
        *rules,
        *looks,
        "{id: w, effect: allow, action: file.write}",
        f"{{id: s, effect: ask, action: browser.submit, url: '{SHOP}/**'}}",
    )
    mandate = accepted(under, step(1, "file.write", at_most=100), step(2, "browser.submit", at_most=100))
    texts = (
        "browser.open http://h7.example/a/1",
        "server.run s3 df",
        "file.write out/a",
        f"browser.submit {SHOP}/orders/17",
        "file.list",
    )
    kinds = [of(text, under, mandate) for text in texts]
    lines = [
        json.dumps(line) for line in export(*({**kinds[n % 5], "seq": n} for n in range(ACTIONS)), plans=(mandate,))
    ]
    began = time.process_time()
    bare = sum(1 for line in lines if json.loads(line))
    read = time.process_time() - began
    began = time.process_time()
    found = replay(map(json.loads, lines), under)
    took = time.process_time() - began
    assert found.actions == ACTIONS and bare == len(lines) and found.counts == {"same": ACTIONS}
    return [
        ("100,000 actions replayed, 100 rules", took, "s of CPU; the aim is under 20"),
        ("of that reading JSON", read, "s of CPU"),
    ]
