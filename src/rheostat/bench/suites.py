"""The suites by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rheostat.bench.agreement import bench_agreement
from rheostat.bench.base import bench_base
from rheostat.bench.cache import bench_cache
from rheostat.bench.certify import bench_certify
from rheostat.bench.constrain import bench_constrain
from rheostat.bench.controls import bench_controls
from rheostat.bench.decode import bench_decode
from rheostat.bench.decoys import bench_decoys
from rheostat.bench.depth import bench_depth
from rheostat.bench.difficulty import bench_difficulty
from rheostat.bench.draft import bench_draft
from rheostat.bench.drive import bench_drive
from rheostat.bench.journal import Journal
from rheostat.bench.judge import bench_judge
from rheostat.bench.laws import bench_laws
from rheostat.bench.memory import bench_memory
from rheostat.bench.models import bench_models
from rheostat.bench.numerics import bench_numerics
from rheostat.bench.oracle import bench_oracle
from rheostat.bench.plans import bench_plans
from rheostat.bench.prove import bench_prove
from rheostat.bench.reason import bench_reason
from rheostat.bench.result import write_result
from rheostat.bench.selfdraft import bench_selfdraft
from rheostat.bench.solve import bench_solve
from rheostat.bench.startup import bench_startup
from rheostat.bench.step import bench_step
from rheostat.bench.trees import bench_trees
from rheostat.bench.verify import bench_verify
from rheostat.bench.void import bench_void
from rheostat.bench.wide import bench_wide
from rheostat.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Suite = Callable[[Callable[[str], None], Journal], dict[str, Any]]

SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        "agreement": bench_agreement,
        "base": bench_base,
        "cache": bench_cache,
        "certify": bench_certify,
        "constrain": bench_constrain,
        "controls": bench_controls,
        "decode": bench_decode,
        "decoys": bench_decoys,
        "depth": bench_depth,
        "difficulty": bench_difficulty,
        "draft": bench_draft,
        "drive": bench_drive,
        "judge": bench_judge,
        "memory": bench_memory,
        "models": bench_models,
        "laws": bench_laws,
        "numerics": bench_numerics,
        "oracle": bench_oracle,
        "plans": bench_plans,
        "prove": bench_prove,
        "reason": bench_reason,
        "selfdraft": bench_selfdraft,
        "solve": bench_solve,
        "startup": bench_startup,
        "step": bench_step,
        "trees": bench_trees,
        "verify": bench_verify,
        "void": bench_void,
        "wide": bench_wide,
    }
)


def run_suite(
    name: str, out: Path, *, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run a suite, write its result file and return the result; a stopped one goes on.

    Raises:
        UserError: there is no such suite.
    """
    if name not in SUITES:
        raise UserError(f"there is no suite `{name}`", hint=f"suites: {', '.join(SUITES)}")
    journal = Journal(out / f"{name}.partial.json")
    result = SUITES[name](progress or _silent, journal)
    write_result(result, out)
    journal.done()
    return result


def _silent(_: str) -> None:
    return
