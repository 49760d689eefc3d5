"""Answer one prompt with and without copied drafts: the same tokens in fewer passes."""

import sys

import rheostat

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
prompt = "Copy this: the cat and the hat, the cat and the hat."

engine = rheostat.load(model)
base = rheostat.generate(engine, prompt, max_new_tokens=24)
copy = rheostat.Setting(name="copyspec", dial=1)
plan = rheostat.Plan(model=engine.model, methods=(copy,))
fast = rheostat.generate(plan, prompt, engine=engine, max_new_tokens=24)

assert fast.token_ids == base.token_ids
print(base.text)
print(f"{base.cost.calls} passes without drafts, {fast.cost.calls} with them")
