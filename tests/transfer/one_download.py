"""One download in a process of its own, for those who kill it: URL, CA file, output, and after how many bytes it kills itself (0 = never).

Prints all the time how much is there, from its beginning on, and at its end the digest.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from migrate.model.clock import SystemClock
from migrate.transfer import download
from migrate.transfer.export_client import ExportClient


def main(url: str, ca: str, output: str, limit: str) -> None:
    began: list[int] = []

    def moved(done: int, _: int) -> None:
        began.append(done)
        print(done, flush=True)
        if 0 < int(limit) <= done - began[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    client = ExportClient(ca_pem=Path(ca).read_text(), token="t0ken", clock=SystemClock())
    print(download.raw(client, url, Path(output), identity="a", streams=2, keep_s=0.001, moved=moved).digest)


if __name__ == "__main__":
    main(*sys.argv[1:])
