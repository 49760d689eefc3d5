"""Record what the suites of `solve` judge policies on, and pack it into the package.

`python benchmarks/recordings.py` takes some minutes on one core; a stopped run goes on where it
was. Remove `src/rheostat/bench/recordings/*.xz` first: what comes with the package is not recorded.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rheostat.bench import packed_recordings
from rheostat.bench.reason import FORMATS
from rheostat.bench.solve_recordings import (
    CALIBRATION_SEED,
    CORE,
    DTYPE,
    SEED,
    TASKS,
    recorded_samples,
    recording_named,
    recordings,
)

OUT = Path(packed_recordings.__file__).parent / "recordings"


def say(words: str) -> None:
    """Tell progress."""
    print(words, file=sys.stderr)


def main() -> None:
    """Record and pack."""
    OUT.mkdir(exist_ok=True)
    for dtype in FORMATS:
        for name in TASKS if dtype == DTYPE else CORE:
            for seed in (SEED, CALIBRATION_SEED):
                recorded_samples(name, seed, say, dtype=dtype)
                folder = recording_named(name, seed, dtype=dtype)
                data = packed_recordings.packed(recordings() / folder)
                (OUT / f"{folder}{packed_recordings.ENDING}").write_bytes(data)
                say(f"{folder}: {len(data)} bytes")


if __name__ == "__main__":
    main()
