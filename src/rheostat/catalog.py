"""The catalogue: the folder is the registry, a plan's methods become decisions by it.

Every module `methods/<seam>/<name>.py` holds one method, whose card carries the same seam and
name; other packages add methods by entry points of the group `rheostat.methods`. Reading the
cards imports no torch. Whether a method is proven is computed from committed result files.
"""

from __future__ import annotations

import difflib
import json
import pkgutil
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rheostat.methods
from rheostat.errors import MethodError, RheostatError
from rheostat.kernel.method import Card, Method, with_params
from rheostat.kernel.policies.draft_control import Controlled
from rheostat.kernel.seams import Depth, Installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.plan import Plan, Setting

Status = Literal["proven", "unproven"]
GROUP = "rheostat.methods"
"""Entry points of this group add methods of other packages."""
AROUND = frozenset({"stop", "model", "sample", "branch", "reuse"})
"""Seams around the model's step: their methods need not know its shape."""


def methods() -> dict[str, type[Method]]:
    """Return every method by name, ordered by seam and name."""
    return dict(_found())


def method(name: str) -> type[Method]:
    """Return a method by name; raise `MethodError` when there is none."""
    known = methods()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise MethodError(
            f"there is no method `{name}`",
            hint=f"did you mean `{near[0]}`?" if near else f"known methods: {', '.join(known)}",
        )
    return known[name]


def installed(plan: Plan, shape: ModelShape | None, offers: Iterable[str]) -> Installed:
    """Turn a plan's methods into one decision a seam, or say in words why that cannot be.

    Several draft sources become one decision: a controller chooses among them at every step.
    Methods around the model do without its shape, which a server does not tell (None).
    """
    offered = frozenset(offers)
    decisions: dict[str, Any] = {}
    deciders: dict[str, str] = {}
    for setting in plan.methods:
        card = method(setting.name).card
        _check_needs(card, offered)
        made, known = _decision(setting, shape), decisions.get(card.seam)
        if isinstance(made, Depth) and "depth.parts" not in offered:
            _check_whole(card, made)
        if isinstance(made, Controlled) and isinstance(known, Controlled):
            made = Controlled.joined((known, made))
        elif card.seam in deciders:
            raise MethodError(
                f"`{deciders[card.seam]}` and `{setting.name}` both decide on the seam "
                f"`{card.seam}`",
                hint=f"take one of them off, as in `--set {setting.name}=off`",
            )
        deciders[card.seam] = setting.name
        decisions[card.seam] = made
    draft = decisions.get("draft")
    models = draft if isinstance(draft, Controlled) and draft.forwards else None
    return Installed(
        depth=decisions.get("depth"),
        draft=draft,
        models=models,
        token=decisions.get("token"),
        cache=decisions.get("cache"),
        model=decisions.get("model"),
        sample=decisions.get("sample"),
        stop=decisions.get("stop"),
    )


def status(name: str, *, results: Path | None = None) -> Status:
    """Return `proven` when committed results say so and no result of that suite denies it.

    A control is never proven: it exists to be beaten.
    """
    return _status(method(name).card, _verdicts(_results_folder() if results is None else results))


def listing(*, results: Path | None = None) -> list[dict[str, Any]]:
    """Return the records of `rheostat methods --json`."""
    verdicts = _verdicts(_results_folder() if results is None else results)
    return [
        {
            "name": card.name,
            "seam": card.seam,
            "exactness": card.exactness,
            "dial": True,  # every method of the seams built so far has one
            "paper": card.paper,
            "status": _status(card, verdicts),
            "needs": sorted(card.needs),
        }
        for card in (found.card for found in methods().values())
    ]


def _check_needs(card: Card, offered: frozenset[str]) -> None:
    missing = sorted(card.needs - offered)
    if "sample" in missing:
        raise MethodError(
            f"`{card.name}` decides about samples of a question, and this is one answer",
            hint=f"`rheostat solve MODEL --tasks FILE --rule {card.name}` draws samples",
        )
    if missing:
        listed = ", ".join(f"`{offer}`" for offer in sorted(offered)) or "nothing to methods"
        raise MethodError(
            f"`{card.name}` needs `{missing[0]}`, which this engine does not offer",
            hint=f"this engine offers: {listed}",
        )


def _check_whole(card: Card, depth: Depth) -> None:
    if depth.layout.attention != depth.layout.mlp:
        raise MethodError(
            f"`{card.name}` leaves out parts of layers, this model's can be left out whole alone",
            hint=f"ask for whole layers where the method can: `--param {card.name}.unit=layer`",
        )


def _decision(setting: Setting, shape: ModelShape | None) -> Any:
    made = with_params(method(setting.name), setting.params)
    if made.card.reads and not setting.fitted:
        raise MethodError(
            f"the plan holds no fitted numbers of `{setting.name}`",
            hint="make the plan with `rheostat plan`, which fits methods to the profile",
        )
    if shape is None and made.card.seam not in AROUND:
        raise MethodError(
            f"`{made.card.name}` works inside the model, whose shape is not known here",
            hint="name a model that runs in this process",
        )
    return made.at(setting.dial, setting.fitted, shape)  # type: ignore[arg-type]  # see above


@cache
def _found() -> tuple[tuple[str, type[Method]], ...]:
    everything = sorted(
        [*_of_folder(), *_of_entry_points()], key=lambda found: (found.card.seam, found.card.name)
    )
    by_name: dict[str, type[Method]] = {}
    for found in everything:
        if by_name.setdefault(found.card.name, found) is not found:
            raise RheostatError(f"two methods are called `{found.card.name}`")
    return tuple(by_name.items())


def _of_folder() -> Iterable[type[Method]]:
    for seam in pkgutil.iter_modules(rheostat.methods.__path__):
        package = import_module(f"{rheostat.methods.__name__}.{seam.name}")
        for stem in pkgutil.iter_modules(package.__path__):
            found = method_in(import_module(f"{package.__name__}.{stem.name}"))
            if (found.card.seam, found.card.name) != (seam.name, stem.name):
                raise RheostatError(
                    f"the card in `methods/{seam.name}/{stem.name}.py` is of "
                    f"`{found.card.seam}/{found.card.name}`",
                    hint="folder and stem must be the card's seam and name",
                )
            yield found


def method_in(module: ModuleType) -> type[Method]:
    """Return the one public class of a module that carries a card."""
    found = [
        value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and isinstance(value, type)
        and value.__module__ == module.__name__
        and isinstance(vars(value).get("card"), Card)
    ]
    if len(found) != 1:
        raise RheostatError(
            f"`{module.__name__}` must hold one public class with a card, found {len(found)}"
        )
    return found[0]


def _of_entry_points() -> Iterable[type[Method]]:
    for point in metadata.entry_points(group=GROUP):
        found = point.load()
        if not isinstance(vars(found).get("card"), Card) or found.card.name != point.name:
            raise RheostatError(
                f"the entry point `{point.name}` of `{GROUP}` is not a method of that name",
                hint="name the entry point like the card of the class that it points to",
            )
        yield found


def _results_folder() -> Path:
    """Return where result files lie: in an installed wheel, else in the source tree."""
    here = Path(__file__).resolve().parent
    packed = here / "results"
    return packed if packed.is_dir() else here.parent.parent / "benchmarks" / "results"


def _verdicts(folder: Path) -> list[Mapping[str, Any]]:
    """Read the result files that hold verdicts, in the order of their names."""
    read: list[Mapping[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RheostatError(f"the result file `{path}` is not JSON: {error}") from error
        if isinstance(data, dict) and "verdicts" in data:
            read.append(data)
    return read


def _status(card: Card, results: Iterable[Mapping[str, Any]]) -> Status:
    by_suite: dict[str, list[bool]] = {}
    for result in results:
        verdict = result["verdicts"].get(card.name)
        if verdict is not None:
            by_suite.setdefault(str(result.get("suite")), []).append(verdict["beats_controls"])
    proven = any(all(beaten is True for beaten in suite) for suite in by_suite.values())
    return "proven" if proven and not card.control else "unproven"
