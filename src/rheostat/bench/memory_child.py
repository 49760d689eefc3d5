"""A process of the suite `memory`: loads, answers, and says on its last line what it held."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.seams import Installed

PROMPT = "Name the planets of the solar system, and say one thing of each."
EVERY = 0.002
"""Seconds between two looks at what the process holds itself."""


def held(name: str) -> int:
    """Return an entry of the process's memory, in bytes: `VmRSS`, `VmHWM`, `RssAnon`."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0


class Watch(threading.Thread):
    """Keeps the most memory that is not a mapped file's; the kernel keeps no such mark."""

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__(daemon=True)
        self.most = 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until told to end."""
        while not self._ended.wait(EVERY):
            self.most = max(self.most, held("RssAnon"))

    def end(self) -> int:
        """Stop looking and return the most that was seen."""
        self._ended.set()
        self.join()
        return max(self.most, held("RssAnon"))


def main() -> None:
    """Run the order that is the only argument."""
    order = json.loads(sys.argv[1])
    imports, own = held("VmRSS"), held("RssAnon")
    watch = Watch()
    watch.start()
    engine = load_torch(order["model"], dtype=order["dtype"], threads=1)
    messages = ({"role": "user", "content": PROMPT},)
    requests = [Request(id=str(i), messages=messages) for i in range(order["batch"])]
    sampling = Sampling(max_new_tokens=order["new"])
    outputs = list(engine.generate(requests, sampling, installed=Installed()))
    found = {
        "imports": imports,
        "imports_anonymous": own,
        "peak": held("VmHWM"),
        "anonymous": watch.end(),
        "cache": sum(output.trace.cache_bytes for output in outputs),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
