"""Answer questions by several samples each, under one hard budget of tokens."""

import sys
import tempfile

import rheostat

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
tasks = [
    rheostat.Request(id="sum", prompt="2 + 2 =", reference="4"),
    rheostat.Request(id="day", prompt="The day after Monday is", reference="Tuesday"),
]
with tempfile.TemporaryDirectory() as folder:
    summary = rheostat.solve(
        model,
        tasks,
        budget="tokens=600",
        out=f"{folder}/solved",
        samples=4,
        sampling={"max_new_tokens": 8},
    )
print(summary["answered"], "of", summary["questions"], "answered for", summary["cost"])
