"""The report in one sentence a run, made from its figures; it never claims more than they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rheostat.stages.report_files import number
from rheostat.stages.report_html import bounds, counted, figures, loss_figure, times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.stages.report_summary import Against, Summary

Verdict = Literal[
    "faster", "slower", "even", "no interval", "no seconds", "elsewhere", "other model"
]


def verdict(against: Against) -> Verdict:
    """Say what the interval allows to be said: only one that excludes 1 shows a difference."""
    if not against.same_model:
        return "other model"
    if not against.same_machine:
        return "elsewhere"
    if against.speed is None:
        return "no seconds"
    if against.speed_interval is None:
        return "no interval"
    low, high = against.speed_interval
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "even"


def headlines(summaries: Sequence[Summary]) -> tuple[str, ...]:
    """Return a sentence for each run against the base; for a lone base, what it took."""
    base, *others = summaries
    if not others:
        return (_plain(_alone(base)),)
    return tuple(_plain(_sentence(s, base.run.label)) for s in others)


def _plain(sentence: str) -> str:
    """Use ordinary spaces: the sentence also goes to terminals and into JSON."""
    return sentence.replace("\u00a0", " ").replace("\u202f", " ")


def _alone(base: Summary) -> str:
    rate = base.tokens_per_second
    seconds = f" in {figures(base.cost.seconds)} s ({figures(rate)} a second)" if rate else ""
    return (
        f"{base.run.label}: {counted(base.requests, 'request')}, "
        f"{counted(base.cost.new_tokens, 'new token')}{seconds}; "
        "there is no other run to compare with"
    )


def _sentence(summary: Summary, base: str) -> str:
    against = summary.against
    assert against is not None
    same = f"identical tokens on {against.exact} of {summary.requests}"
    if not summary.run.plan.methods:
        return f"{summary.run.label}: no dial was worth turning, so this plan is the base; {same}"
    parts = [_speed(against, summary.requests, base), same]
    loss = number(summary.run.plan.measured, "loss")
    if loss is not None and against.exact < summary.requests:
        kind = str(summary.run.plan.measured.get("loss_kind"))
        unit = "" if kind == "nats" else f" ({kind})"
        parts.append(f"measured loss {loss_figure(loss, kind)}{unit}")
    return f"{summary.run.label}: " + ", ".join(parts)


def _speed(against: Against, requests: int, base: str) -> str:
    name = "the base" if base == "base" else f"the base ({base})"
    speed = times(against.speed)
    on = f"on {counted(requests, 'request')}"
    interval = f"95 % interval {bounds(against.speed_interval)}"
    return {
        "faster": f"{speed} faster than {name} {on} ({interval})",
        "slower": f"slower than {name}: {speed} its speed {on} ({interval})",
        "even": f"no gain that could be measured: {speed} the speed of {name} {on} "
        f"(the {interval} includes 1)",
        "no interval": f"too few requests to claim a speed (no interval; {speed} the speed of "
        f"{name} {on})",
        "other model": f"another model than {name}, so no claim of speed {on}",
        "elsewhere": f"ran on another machine or with other versions than {name}, "
        f"so no claim of speed {on}",
        "no seconds": f"no measured seconds, so no speed to compare {on}",
    }[verdict(against)]
