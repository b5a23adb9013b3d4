"""The small service on web-1: answers GET /health and beats in srv/heartbeat, twice a second."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from sys import argv

from sandbox.practice.web import Handler, serve

BEAT_S = 0.5


class Worker(Handler):
    def do_GET(self) -> None:
        known = self.path == "/health"
        self.reply(200 if known else 404, '{"status": "%s"}' % ("ok" if known else "unknown path"), "application/json")


def beat(heartbeat: Path) -> None:
    while True:
        heartbeat.write_text(f"{time.time():.3f}\n")
        time.sleep(BEAT_S)


if __name__ == "__main__":
    threading.Thread(target=beat, args=(Path(argv[1]) / "web1" / "srv" / "heartbeat",), daemon=True).start()
    serve(Worker)
