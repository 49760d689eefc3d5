"""What plans are made from: a model, a workload, and the base's answers, which plans share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, final

from rheostat.engines.load import load_engine
from rheostat.errors import PlanError
from rheostat.stages.losses import base_samples, check_references
from rheostat.stages.side_by_side import side_by_side
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.engines.base import Engine, Sampling
    from rheostat.kernel.plan import Plan
    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import LossKind, Sample
    from rheostat.stages.side_by_side import Compared
    from rheostat.workloads.parts import Part

    Say = Callable[[str], None]

PARTS: Mapping[Part, int] = {"calibration": 12, "test": 12}
"""Items of each part unless the user says how many."""
CERTIFIED = 300
"""Most items that certify unless the user says how many."""


@final
class Material:
    """A model and a workload; everything is loaded, answered and timed once, when first needed."""

    def __init__(  # noqa: PLR0913  # what `make_plan` is told
        self,
        model: str | Engine,
        workload: str,
        *,
        sampling: Sampling,
        dtype: str = "float32",
        threads: int | None = None,
        seed: int = 0,
        items: int | None = None,
        certifies: LossKind | None = None,
    ) -> None:
        """Read both parts of the workload; arguments as for `make_plan`.

        `certifies` is the loss that the test part certifies: the part is then larger, and for
        `nats` made of documents.
        """
        if items is not None and items < 2:
            raise PlanError(f"`--items` must be at least 2, got `{items}`")
        self.parts = {
            part: load_workload(workload, part=part, limit=items or most, seed=seed)
            for part, most in PARTS.items()
        }
        self._timed = self.parts["test"]
        """What the plan and the base answer side by side."""
        if certifies:
            name = "prose" if certifies == "nats" else workload
            self.parts["test"] = load_workload(
                name, part="test", limit=items or CERTIFIED, seed=seed, shuffled=True
            )
        self.seed = seed
        self.sampling = sampling
        self._model = model
        self._options = (dtype, threads)
        self._samples: dict[Part, list[Sample]] = {}
        self._compared: dict[str, Compared] = {}

    def check(self, goal: Goal) -> None:
        """Raise `PlanError` when the workload lacks what the goal's loss is measured with."""
        check_references(goal.loss, *self.parts.values())

    def engine(self, say: Say) -> Engine:
        """Return the engine."""
        if isinstance(self._model, str):
            dtype, threads = self._options
            self._model = load_engine(self._model, dtype=dtype, threads=threads, progress=say)
        return self._model

    def samples(self, part: Part, say: Say) -> list[Sample]:
        """Return the base's answers to the items of a part."""
        if part not in self._samples:
            engine, items = self.engine(say), self.parts[part]
            self._samples[part] = base_samples(engine, items, self.sampling, say)
        return self._samples[part]

    def compared(self, plan: Plan, say: Say) -> Compared:
        """Return the plan side by side with the base on (the first items of) the test part."""
        methods = json.dumps([setting.to_json() for setting in plan.methods])
        if methods not in self._compared:
            engine = self.engine(say)
            samples = (
                self.samples("test", say)
                if self._timed is self.parts["test"]
                else base_samples(engine, self._timed, self.sampling, say)
            )
            self._compared[methods] = side_by_side(engine, plan, samples, self.sampling, say)
        return self._compared[methods]
