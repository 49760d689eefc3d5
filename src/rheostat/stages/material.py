"""What plans are made from: a model, a workload, and the base's answers, which plans share."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, final

from rheostat.engines.load import load_engine
from rheostat.engines.machine import machine
from rheostat.engines.ray_cluster import check
from rheostat.errors import PlanError
from rheostat.kernel.model_cost import PriceTable
from rheostat.kernel.seams import Installed
from rheostat.methods.model.precision import checked_formats
from rheostat.stages.ahead import Cluster
from rheostat.stages.losses import base_samples, check_references
from rheostat.stages.search_journal import SearchJournal
from rheostat.stages.side_by_side import Compared, side_by_side
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.engines.base import Engine, Sampling
    from rheostat.kernel.plan import Plan
    from rheostat.stages.goal import Goal
    from rheostat.stages.losses import LossKind, Sample
    from rheostat.workloads.load import Workload
    from rheostat.workloads.parts import Part

    Say = Callable[[str], None]

PARTS: Mapping[Part, int] = {"calibration": 12, "test": 12}
"""Items of each part unless the user says how many."""
VERSION = 1
"""Of the journal's measurements."""
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
        journal: SearchJournal | None = None,
        precisions: Sequence[str] = (),
        ray: str | None = None,
    ) -> None:
        """Read both parts of the workload; arguments as for `make_plan`.

        The order of a file's lines does not matter.

        `certifies` is the loss that the test part certifies: the part is then larger, and for
        `nats` made of documents.
        """
        if items is not None and items < 2:
            raise PlanError(f"`--items` must be at least 2, got `{items}`")
        self.parts = {
            part: load_workload(workload, part=part, limit=items or most, seed=seed, shuffled=True)
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
        self._begun = False
        self.journal = journal or SearchJournal()
        self.precisions = checked_formats(precisions)
        """Number formats that the plan may choose beside the base's."""
        if ray is not None and not isinstance(model, str):
            raise PlanError(
                "`--ray` needs a model's name or path, which each worker loads",
                hint="give the name that the model was loaded from",
            )
        if ray is not None:
            check(ray)
        self.cluster = None if ray is None else Cluster(address=ray, threads=threads or 1)
        """Where the search measures losses; None = here."""
        self._samples: dict[Part, list[Sample]] = {}

    def check(self, goal: Goal) -> None:
        """Raise `PlanError` when the workload lacks what the goal's loss is measured with."""
        check_references(goal.loss, *self.parts.values())

    def engine(self, say: Say) -> Engine:
        """Return the engine."""
        if isinstance(self._model, str):
            dtype, threads = self._options
            self._model = load_engine(self._model, dtype=dtype, threads=threads, progress=say)
        if not self._begun:
            self._begun = True
            self.journal.begin(_head(self._model, self.sampling))
        return self._model

    def prices(self, engine: Engine, decision: Installed) -> PriceTable:
        """Return the price table of a decision, measured once a search on a machine."""
        decided = decision.depth is not None and decision.depth.policy is not None
        compacted = decision.cache is not None
        under = [decided * ", MLPs decided", compacted * ", entries let go"]
        data = self.journal.part(
            ["prices", machine().name, self._options[1], engine.dtype, decided, compacted],
            lambda: engine.prices(decision).to_json(),
            about=f"what passes cost in {engine.dtype}{''.join(under)}",
        )
        return PriceTable.from_json(data)

    def samples(self, part: Part, say: Say) -> list[Sample]:
        """Return the base's answers to the items of a part."""
        if part not in self._samples:
            self._samples[part] = self._answered(self.parts[part], say)
        return self._samples[part]

    def compared(self, plan: Plan, say: Say) -> Compared:
        """Return the plan side by side with the base on (the first items of) the test part."""
        engine = self.engine(say)
        own = self._timed is self.parts["test"]
        samples = self.samples("test", say) if own else self._answered(self._timed, say)
        methods = [setting.to_json() for setting in plan.methods]
        prices = self.prices(engine, Installed())
        data = self.journal.part(
            ["side by side", prices.to_json(), methods, self._timed.digest],
            lambda: side_by_side(engine, plan, samples, self.sampling, say).to_json(),
            about=f"base and plan side by side on {len(samples)} items",
        )
        return Compared(**data)

    def _answered(self, workload: Workload, say: Say) -> list[Sample]:
        return base_samples(self.engine(say), workload, self.sampling, say, self.journal)


def _head(engine: Engine, sampling: Sampling) -> dict[str, Any]:
    """Return what all measurements of a search have in common."""
    return {
        "search": VERSION,
        "rheostat": metadata.version("rheostat"),
        "model": engine.model,
        "digest": engine.digest,
        "dtype": engine.dtype,
        "max_new_tokens": sampling.max_new_tokens,
    }
