"""Make an answer match a pattern, and count how often the constraint was asked."""

import sys

import rheostat

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
engine = rheostat.load(model)
output = rheostat.generate(
    engine,
    "What is 6 times 7? Answer with a number.",
    constraint="regex:[0-9]{1,3}",
    max_new_tokens=8,
)
print(output.text, "after", output.trace.constraint_calls, "checks")
assert output.text.isdigit()
