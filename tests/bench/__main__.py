"""`make bench`: every benchmark's table. Each compares two things in one run."""

from __future__ import annotations

from tests.bench import decide, redact, replay, start_up, steps

for module in (start_up, decide, redact, replay, steps):
    print(f"\n{(module.__doc__ or module.__name__).splitlines()[0]}")
    for what, figure, meaning in module.run():
        print(f"  {what:<44} {figure:>8.2f}   {meaning}")
