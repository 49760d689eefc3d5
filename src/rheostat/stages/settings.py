"""Which methods run at which dials: a plan, what the user changes in it, and its fit to a model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat import catalog
from rheostat.engines.load import DTYPES
from rheostat.engines.machine import machine
from rheostat.errors import MethodError, PlanError
from rheostat.kernel.certify.seal import is_sealed
from rheostat.kernel.dial import checked_dial
from rheostat.kernel.method import params_of, with_params
from rheostat.kernel.plan import Plan, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rheostat.engines.base import Engine, Sampling

BASE = "base:"
"""`base:MODEL` is the plan without methods."""
CHOICE = "awrs"
"""Takes tokens under a constraint where no other method was chosen: it changes no output."""
ELSEWHERE = "the plan was made on another machine: its cost claim is void here"
BY_HAND = "The methods were set by hand, so nothing is predicted or measured of this plan."


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What `--set` and `--param` ask for."""

    dials: Mapping[str, float | None] = field(default_factory=dict)
    """Method -> dial; None = off."""
    params: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Method -> parameter -> value as the user wrote it."""


def parse_changes(sets: Sequence[str], params: Sequence[str]) -> Changes:
    """Read `METHOD=DIAL`, `METHOD=off` and `METHOD.FIELD=VALUE`; raise `MethodError` otherwise."""
    dials: dict[str, float | None] = {}
    for text in sets:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise MethodError(
                f"`--set {text}` is not of the form METHOD=DIAL",
                hint="write `--set copyspec=0.5`, or `--set copyspec=off`",
            )
        catalog.method(name)
        dials[name] = None if value == "off" else _dial(name, value)
    fields: dict[str, dict[str, str]] = {}
    for text in params:
        place, equals, value = (part.strip() for part in text.partition("="))
        name, dot, parameter = place.partition(".")
        if not (name and dot and parameter and equals):
            raise MethodError(
                f"`--param {text}` is not of the form METHOD.FIELD=VALUE",
                hint="write `--param copyspec.gamma=4`",
            )
        catalog.method(name)
        fields.setdefault(name, {})[parameter] = value
    return Changes(dials=dials, params=fields)


def plan_of(argument: str, *, dtype: str | None = None) -> Plan:
    """Return the plan of `base:MODEL` (in `dtype`), or the one in a file (whatever its dtype)."""
    if argument.startswith(BASE):
        return Plan(model=argument.removeprefix(BASE), dtype=dtype or DTYPES[0])
    return read_plan(Path(argument))


def read_plan(path: Path) -> Plan:
    """Read `plan.json`; raise `PlanError` when it is missing, unreadable or no plan."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PlanError(
            f"there is no plan `{path}`",
            hint=f"give a plan's file, or `{BASE}MODEL` for a model without methods",
        ) from error
    except IsADirectoryError as error:
        raise PlanError(
            f"`{path}` is a folder, and no plan's file",
            hint=f"for a model without methods write `{BASE}{path}`",
        ) from error
    except OSError as error:
        raise PlanError(f"the plan `{path}` cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PlanError(
            f"the plan `{path}` is not JSON: {error}", hint="make it again with `rheostat plan`"
        ) from error
    try:
        plan = Plan.from_json(data)
    except (PlanError, MethodError) as error:
        raise PlanError(f"`{path}`: {error.message}", hint=error.hint) from error
    if not is_sealed(plan):
        raise PlanError(
            f"`{path}` was edited: its certificate is not of this model, methods and figures",
            hint="make it again with `rheostat plan`, or set its `certificate` to null",
        )
    return plan


def changed(plan: Plan, changes: Changes) -> Plan:
    """Return the plan with methods set, taken off and parametrised; its claims are then void.

    Raises:
        MethodError: a parameter of a method that is off, or one that the method does not take.
    """
    result = plan
    for name, dial in changes.dials.items():
        if dial is None:
            result = result.without(name)
        else:
            known = result.setting(name) or Setting(name=name, dial=dial)
            result = result.with_setting(replace(known, dial=dial))
    for name, params in changes.params.items():
        setting = result.setting(name)
        if setting is None:
            raise MethodError(
                f"`--param {name}.{next(iter(params))}` is of a method that is not switched on",
                hint=f"switch it on with `--set {name}=DIAL`",
            )
        result = result.with_setting(_with_params(setting, params))
    return plan if result.methods == plan.methods else by_hand(result)


def by_hand(plan: Plan) -> Plan:
    """Return a plan whose methods were set by hand, without its claims."""
    return replace(plan, predicted={}, measured={}, certificate=None, why=(BY_HAND,))


def with_choice(plan: Plan, sampling: Sampling, *, named: Iterable[str] = ()) -> Plan:
    """Return the plan with the method that takes tokens where a constraint is asked for.

    A plan that decides on the `token` seam keeps its method, and so does a user who `named` one,
    be it to switch it off: then every token is masked.
    """
    seams = {catalog.method(name).card.seam for name in (*(s.name for s in plan.methods), *named)}
    if sampling.constraint is None or "token" in seams:
        return plan
    return changed(plan, Changes(dials={CHOICE: 1.0}))


def ready(plan: Plan, engine: Engine, *, notice: Callable[[str], None] | None = None) -> Plan:
    """Return the plan checked against a loaded model, with what was left open filled in.

    Raises:
        PlanError: the plan is of another model or number format.
        MethodError: a method cannot be had from this engine, or has to be fitted first.
    """
    if plan.draws:
        raise PlanError(
            "this is a plan of samples: it says how questions are solved",
            hint=f"`rheostat solve {plan.model} --tasks T --plan PLAN --out DIR` runs it",
        )
    check_plan(plan, engine, notice=notice)
    own = replace(
        plan,
        digest=engine.digest,
        dtype=engine.dtype,
        machine=plan.machine or machine().name,
        methods=tuple(_fitted(setting, engine) for setting in plan.methods),
    )
    catalog.installed(own, engine.shape, engine.card.offers)
    return own


def check_plan(plan: Plan, engine: Engine, *, notice: Callable[[str], None] | None = None) -> None:
    """Refuse a plan of another model or number format; give notice of another machine's."""
    same = plan.digest == engine.digest if plan.digest else plan.model == engine.model
    if not same:
        raise PlanError(
            f"the plan is for another model: `{plan.model}` ({plan.digest[:12] or 'no digest'}), "
            f"this is `{engine.model}` ({engine.digest[:12]})",
            hint=f"make a plan for it: `rheostat plan {engine.model} --workload W --lossless "
            "--out plan.json`",
        )
    if plan.dtype != engine.dtype and engine.dtype in DTYPES:
        raise PlanError(
            f"the plan is for dtype `{plan.dtype}`, the model was asked for in `{engine.dtype}`",
            hint=f"leave out `--dtype`, or make a plan with `--dtype {engine.dtype}`",
        )
    if notice is not None and plan.machine and plan.machine != machine().name:
        notice(ELSEWHERE)


def _dial(name: str, text: str) -> float:
    try:
        return checked_dial(float(text), method=name)
    except ValueError:
        raise MethodError(
            f"the dial of `{name}` must be a number from 0 to 1, got `{text}`",
            hint="0 is the base and 1 the cheapest setting; use `off` to remove a method",
        ) from None


def _with_params(setting: Setting, params: Mapping[str, Any]) -> Setting:
    """Return the setting with these parameters; what was fitted with others is dropped."""
    asked = {**setting.params, **params}
    values = params_of(with_params(catalog.method(setting.name), asked))
    kept = {name: values[name] for name in asked}
    same = kept == dict(setting.params)
    return replace(setting, params=kept, fitted=setting.fitted if same else {})


def _fitted(setting: Setting, engine: Engine) -> Setting:
    """Fit a method that has no numbers yet to the cached profile of this model."""
    method = with_params(catalog.method(setting.name), setting.params)
    served = method.card.needs <= engine.card.offers
    if setting.fitted or not method.card.reads or not served:
        return setting  # what is not served is refused in words by the catalogue
    from rheostat.stages.profile import cached_profile  # imports torch, as this engine did

    profile = cached_profile(engine)
    if profile is None:
        raise MethodError(
            f"`{setting.name}` has to be fitted to a profile of `{engine.model}`, and there is "
            f"none in {engine.dtype} on this machine",
            hint=f"make one with `rheostat profile {engine.model} --out profile.json`, or let "
            "`rheostat plan` make a plan",
        )
    return replace(setting, fitted=method.fit(profile))
