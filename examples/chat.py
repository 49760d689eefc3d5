"""A conversation whose cache is kept: every turn reads only what is new in it."""

import sys

import rheostat

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
session = rheostat.Session(model, max_new_tokens=16)
for question in ("Name a bird.", "Where does it live?", "What does it eat?"):
    output = session.ask(question)
    print(f"> {question}\n{output.text}")
    print(f"  [{output.cost.prompt_tokens} tokens read, {output.trace.reused} kept]")
print(f"kept prefixes saved {session.saved.price:.3f} s of {session.cost.price:.3f} s spent")
