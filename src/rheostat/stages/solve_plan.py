"""Which rule draws the samples: the plan's own, or the one that is named, at its confidence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rheostat import catalog
from rheostat.errors import MethodError, PlanError, UserError
from rheostat.kernel.plan import Setting
from rheostat.stages.settings import by_hand

if TYPE_CHECKING:
    from rheostat.engines.load_sampler import LoadedSampler
    from rheostat.kernel.plan import Plan

SEAM = "sample"
RULE = "agreement"
VERIFIED_RULE = "best_of_n"
"""The rule where a verifier judges: the first sample that passes is the answer."""


def with_rule(
    plan: Plan,
    *,
    rule: str | None = None,
    confidence: float | None = None,
    verified: bool = False,
) -> Plan:
    """Return the plan with one method of the seam `sample`.

    A plan that has one keeps it unless a rule is named; one that has none gets `agreement`, or
    `best_of_n` where a verifier judges and no confidence is asked for. A rule that is named gets
    its usual dial, or 1 - that confidence.

    Raises:
        MethodError: there is no such rule.
        UserError: the confidence is none, or the rule has none.
    """
    if confidence is not None and not 0 < confidence < 1:
        raise UserError(
            f"`--confidence` must be over 0 and under 1, got `{confidence}`",
            hint="leave it out for the rule's own, such as 0.95",
        )
    known = next((s for s in plan.methods if _is_rule(s.name)), None)
    if rule is None and known is not None and confidence is None:
        return plan
    usual = VERIFIED_RULE if verified and confidence is None else RULE
    name = rule or (known.name if known else usual)
    if not _is_rule(name):
        raise MethodError(f"`{name}` is no rule for drawing samples", hint=f"rules: {_rules()}")
    card = catalog.method(name).card
    if confidence is not None and not card.by_confidence:
        raise UserError(
            f"the rule `{name}` promises no confidence",
            hint="leave `--confidence` out, or choose `--rule agreement`",
        )
    dial = card.usual if confidence is None else 1.0 - confidence
    setting = known if known is not None and known.name == name else Setting(name=name, dial=dial)
    others = plan if known is None else plan.without(known.name)
    made = others.with_setting(replace(setting, dial=dial))
    if plan.draws and made.methods != plan.methods:
        return by_hand(made)
    return made


def check_plan_of(plan: Plan, loaded: LoadedSampler) -> None:
    """Refuse a plan of another model, and one that was made for samples in another format."""
    if plan.draws and loaded.dtype and plan.dtype != loaded.dtype:
        raise PlanError(
            f"the plan draws samples in `{plan.dtype}`, these are in `{loaded.dtype}`",
            hint="leave out `--dtype`, or name a model or a recording in that format",
        )
    if plan.digest and loaded.digest and plan.digest != loaded.digest:
        raise PlanError(
            f"the plan is for another model: `{plan.model}` ({plan.digest[:12]}), this is "
            f"`{loaded.sampler.model}` ({loaded.digest[:12]})",
            hint="leave `--plan` out, or make a plan for this model",
        )


def _is_rule(name: str) -> bool:
    return catalog.method(name).card.seam == SEAM


def _rules() -> str:
    return ", ".join(f"`{n}`" for n, m in catalog.methods().items() if m.card.seam == SEAM)
