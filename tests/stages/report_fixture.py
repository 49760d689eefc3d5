"""Writes small run folders, plans and profiles in the formats of the stages."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rheostat.kernel.plan import Plan, Setting

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {
    "name": "desk",
    "cpu": "AMD EPYC 9B14, 2 cores",
    "cores": 2,
    "memory_gib": 8,
    "os": "Linux 6.1",
    "python": "3.11.2",
    "torch": "2.13.0",
    "rheostat": "0.1.0",
}
TEXT = (
    "the river rose in the night and the lower fields were under water by dawn so the old "
    "bridge was closed until the engineers had looked at every pillar of it again"
)
WORDS = TEXT.split()
COPYSPEC = Setting(name="copyspec", dial=0.5, params={"gamma": 4, "match": 3})
DROP = Setting(name="llm_drop", dial=0.2, fitted={"attention": [21, 24, 25]})
SKIP = Setting(name="ffn_skip", dial=0.35, params={"threshold": 0.985})
MODEL = {"model": "smollm2", "digest": "sha256:5af571cbf074", "machine": "desk"}


BASE_PLAN = Plan(**MODEL)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a run differs from the base."""

    label: str = "base"
    plan: Plan = BASE_PLAN
    speed: float = 1.0
    """Base seconds / own seconds, on average."""
    wobble: float = 0.03
    """Spread of the speed over requests."""
    changed: tuple[int, ...] = ()
    """Requests whose answer differs from the middle on."""
    drafts: bool = False
    skipped: int = 0
    kept: int = 0
    """Prompt tokens that every request but the first did not read."""
    count: int = 12
    finished: int | None = None
    digest: str = "sha256:90aa"


def lossless_plan() -> Plan:
    return Plan(
        **MODEL,
        methods=(COPYSPEC,),
        predicted=predicted("disagree", 0.56, 0.0, kept=0),
        measured=measured("disagree", 0.0, (0.0, 0.0)) | {"exact_match": 1.0},
        why=(
            "`copyspec` at 0.5 has the lowest predicted price of the 14 settings tried.",
            "`self_draft` was left out: its draft costs more than it saves on this machine.",
        ),
    )


def lossy_plan() -> Plan:
    return Plan(
        **MODEL,
        methods=(COPYSPEC, DROP, SKIP),
        predicted=predicted("disagree", 0.41, 0.019, kept=9),
        measured=measured("disagree", 0.0174, (0.0121, 0.0236)),
        why=("The price is the lowest with a loss whose upper bound is under 0.03.",),
    )


def predicted(kind: str, price: float, loss: float, *, kept: int) -> dict[str, Any]:
    neutral = 0.5 if kind == "score" else 0.0
    points = [_entry([], 1.0, neutral, kind="base")]
    points += [_entry([("copyspec", d)], 0.56 + (1 - d) / 3, neutral) for d in (0.25, 0.5)]
    points += [_entry([("llm_drop", d)], 1 - d, neutral + d**2, kind="alone") for d in (0.1, 0.2)]
    for at in range(11):
        lossy = neutral + 0.002 * at**1.15
        methods = [("copyspec", 0.5), ("llm_drop", at / 26)]
        ratio = 0.56 - 0.016 * at + 0.02 * (at % 3)
        points.append(_entry(methods, ratio, lossy, kind="together") | {"kept": at == kept})
    control = _entry([("copyspec", 0.5), ("random_depth", 0.2)], price, 3 * loss, kind="together")
    return {
        "price_ratio": price,
        "loss": loss,
        "loss_kind": kind,
        "frontier": points[-3:],
        "tried": points,
        "limit": neutral + 0.03,
        "references": {"controls": [control], "oracle": {"drafts": price - 0.08}},
    }


def _entry(
    methods: list[tuple[str, float]], price: float, loss: float, *, kind: str = "draft"
) -> dict[str, Any]:
    return {
        "methods": [{"name": name, "dial": dial, "params": {}} for name, dial in methods],
        "kind": kind,
        "price_ratio": price,
        "loss": loss,
        "loss_interval": [loss * 0.7, loss * 1.4 + 0.001],
        "costs": {
            "price": [price, price - 0.03, price + 0.04],
            "flops": [1.0, 0.98, 1.05],
            "bytes": [price, price - 0.02, price + 0.02],
        },
        "kept": False,
    }


def measured(kind: str, loss: float, span: tuple[float, float]) -> dict[str, Any]:
    return {
        "loss_kind": kind,
        "loss": loss,
        "loss_interval": list(span),
        "exact_match": 0.67,
        "items": 48,
        "price_ratio": 0.42 if loss else 0.57,
        "seconds_ratio": 0.43 if loss else 0.55,
        "seconds_interval": [0.4, 0.6],
        "bytes_ratio": 0.5,
        "bytes_interval": [0.45, 0.56],
    }


BASE = Kind()
LOSSLESS = Kind(label="lossless", plan=lossless_plan(), speed=1.84, drafts=True)
LOSSY = Kind(
    label="loss 3 %", plan=lossy_plan(), speed=2.31, changed=(1, 4, 7, 10), drafts=True, skipped=90
)


def without_plots(kind: Kind) -> Kind:
    """Leave out what is drawn: drawing takes most of a report's time."""
    predicted = {k: v for k, v in kind.plan.predicted.items() if k not in {"frontier", "tried"}}
    return replace(kind, drafts=False, plan=replace(kind.plan, predicted=predicted))


def write_run(folder: Path, kind: Kind = BASE) -> Path:
    """Write a run folder; the same request gives the same base tokens in every folder."""
    folder.mkdir(parents=True)
    plan = kind.plan.to_json()
    requests = {"path": "requests.jsonl", "digest": kind.digest, "count": kind.count}
    write_json(folder / "plan.json", plan)
    write_json(
        folder / "run.json",
        {
            "version": 1,
            "plan": plan,
            "label": kind.label,
            "requests": requests,
            "sampling": {"max_new_tokens": 96, "temperature": 0.0, "seed": 0},
            "machine": MACHINE,
            "command": f"rheostat run plan.json --requests requests.jsonl --out {folder.name}",
        },
    )
    done = range(kind.count if kind.finished is None else kind.finished)
    lines = [_output(at, kind) for at in done]
    write_lines(folder / "outputs.jsonl", lines)
    write_lines(
        folder / "trace.jsonl",
        [_trace(line, at, kind) for at, line in zip(done, lines, strict=True)],
    )
    return folder


def _output(at: int, kind: Kind) -> dict[str, Any]:
    rng = np.random.default_rng(100 + at)
    ids = [int(i) for i in rng.integers(0, len(WORDS), 60 + 3 * at)]
    wobble = np.random.default_rng([at, len(kind.label)]).normal(0, kind.wobble)
    seconds = len(ids) * 0.0125 * (1 + (wobble if kind.label == "base" else 0))
    seconds /= kind.speed * (1 + wobble) if kind.label != "base" else 1
    if at in kind.changed:
        ids[len(ids) // 2 :] = [(i + 1) % len(WORDS) for i in ids[len(ids) // 2 :]]
    new = len(ids)
    return {
        "id": str(at + 1),
        "text": " ".join(WORDS[i] for i in ids),
        "token_ids": ids,
        "stop_reason": "eos" if at % 3 else "length",
        "cost": {
            "flops": int(2.7e8 * new),
            "bytes": int(5.4e8 * new / kind.speed),
            "prompt_tokens": 180 + at,
            "new_tokens": new,
            "calls": int(new / kind.speed),
            "price": seconds * 1.04,
            "seconds": seconds,
            "usd": 0.0,
            "estimated": False,
        },
    }


def _trace(line: dict[str, Any], at: int, kind: Kind) -> dict[str, Any]:
    new = len(line["token_ids"])
    lengths = {"0": new - 1}
    if kind.drafts:
        lengths = {"0": new // 4, "1": 2, "2": 3, "4": 6, "8": 3 + at % 4, "12": 1}
    proposed = sum(int(k) * n for k, n in lengths.items())
    return {
        "id": line["id"],
        "steps": sum(lengths.values()),
        "draft_steps": sum(n for k, n in lengths.items() if k != "0"),
        "proposed": proposed,
        "accepted": proposed // 2,
        "lengths": lengths,
        "mlp_skipped": kind.skipped * new // 10,
        "reused": kind.kept if at else 0,
        "saved": kind.kept / 512 if at else 0.0,
        "seconds_deciding": 0.001,
    }


def profile(layers: int = 30) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    depth = np.linspace(0, 1, layers)
    parts = {
        part: {
            "similarity": list(np.clip(low + 0.3 * depth + rng.normal(0, 0.02, layers), 0, 1)),
            "drop_loss": list(scale * (np.exp(-6 * depth) + 0.02 * rng.random(layers))),
        }
        for part, low, scale in (("attention", 0.65, 1), ("mlp", 0.55, 3), ("layer", 0.5, 4))
    }
    ranking = {part: list(range(layers))[::-1] for part in parts}
    joint = [["attention", i] for i in ranking["attention"]]
    steps = [1, 2, 3, 5, 8, 15]
    held_out = {"tokens": 4096, "base_loss": 2.914, "k": steps}
    held_out |= {
        part: [scale * 0.006 * k**1.9 for k in steps]
        for part, scale in (("attention", 1), ("mlp", 2.5), ("layer", 4))
    }
    return {
        "version": 1,
        "model": "smollm2",
        "digest": MODEL["digest"],
        "dtype": "float32",
        "threads": 2,
        "seed": 0,
        "command": "rheostat profile smollm2 --out profile.json",
        "machine": MACHINE,
        "shape": {"layers": layers, "width": 576},
        "cost": {"curves": [_curve(t, c) for t in (1, 2) for c in (64, 1024)]},
        "redundancy": {
            "tokens": 4096,
            "base_loss": 2.87,
            **parts,
            "ranking": {**ranking, "joint": joint},
            "held_out": held_out,
        },
        "entropy": {"mean": 1.71, "median": 1.22, "p90": 4.05, "tokens": 4096},
        "copy_rate": {"chat": 0.112, "edits": 0.713},
        "seconds": 71.5,
    }


def _curve(threads: int, context: int) -> dict[str, Any]:
    tokens = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    one = 0.021 / threads + context * 2e-6
    share = 0.10 + 0.03 * threads + context * 2e-5
    seconds = [one * (1 + share * (n - 1)) for n in tokens]
    return {
        "dtype": "float32",
        "threads": threads,
        "context": context,
        "tokens": tokens,
        "seconds": seconds,
    }


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)
