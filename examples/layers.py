"""What leaving out attentions changes: loss on a text, by how many are left out."""

import sys

import rheostat
from rheostat import catalog

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2"
engine = rheostat.load(model)
tokens = engine.encode(rheostat.Request(id="1", prompt="The sea is wide, and the ship is small."))
for dial in (0.0, 0.5, 1.0):
    last = rheostat.Setting(name="constant_depth", dial=dial)
    plan = rheostat.Plan(model=engine.model, methods=(last,))
    installed = catalog.installed(plan, engine.shape, engine.card.offers)
    scored = engine.score(tokens[:1], tokens[1:], installed=installed)
    print(f"dial {dial}: {scored.nats.mean():.3f} nats a token, price {scored.cost.price:.4f} s")
