"""CPU per redacted text, the bare RE2 scan of the same patterns beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from policies.redact.detect import FAMILIES
from policies.redact.detect.detector import Pattern
from policies.redact.folded import fold
from policies.redact.literal import Secrets
from policies.redact.redactor import Redactor
from policies.redact.vault import MemoryVault

_ENGLISH = ("The quarterly report was sent to the customer on Monday, and nobody has answered yet. " * 50)[:4096]
_CSV = ("2024-01-05,SO-20240105-0012,1200.50,paid,Shanghai Trading Ltd\n" * 70)[:4096]
_CHINESE = ("客户的订单已经付款，请于三天内发货。订单号：2024，金额1200元；" * 200)[:4096]
_JSON = ('{"id": 17, "name": "A\\u5f20", "note": "line\\nnext", "rate": "10%"}\n' * 70)[:4096]
_ROWS = "".join(f"row {i}: user{i}@example.com, 138{10_000_000 + i * 7}, 12.50\n" for i in range(20))
_FULL = _ROWS + _ENGLISH[: 4096 - len(_ROWS)]


def run() -> list[tuple[str, float, str]]:
    """Name, figure and unit of each line of the table."""
    redactor = Redactor(b"k" * 32, MemoryVault(), Secrets(f"MADEUP-secret-{i}" for i in range(5)))
    texts = {"English": _ENGLISH, "CSV": _CSV, "Chinese": _CHINESE, "JSON escapes": _JSON, "40 values": _FULL}
    lines = []
    patterns = [detector.pattern for family in FAMILIES for detector in family.detectors]
    for name, text in texts.items():
        whole = _cpu_ms(partial(redactor.redact, text))
        bare = _cpu_ms(partial(_scan, patterns, fold(text)))
        lines.append((f"redact 4 kB, {name}", whole, "ms"))
        lines.append((f"speed beside a bare RE2 scan of the same patterns, {name}", bare / whole, "x"))
    return lines


def _scan(patterns: list[Pattern], data: bytes) -> None:
    """Every match of every pattern, and nothing else."""
    for pattern in patterns:
        position = 0
        while (match := pattern.search(data, position)) is not None:
            position = max(match.end(), match.start() + 1)


def _cpu_ms(call: Callable[[], object], times: int = 100) -> float:
    call()
    begun = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begun) / times * 1000
