"""Stage `profile`: what a step costs on this machine, and where this model repeats itself."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from rheostat.engines.base import Sampling
from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.engines.machine import machine
from rheostat.engines.torch_engine import TorchEngine
from rheostat.errors import ModelError, OutputError, WorkloadError
from rheostat.kernel.cost_laws import fitted
from rheostat.kernel.seams import Installed
from rheostat.kernel.signals import copy_rate
from rheostat.methods.draft.self_draft import exit_layer
from rheostat.stages.acceptance import acceptance as trained_acceptance
from rheostat.stages.profile_cost import cost_curves
from rheostat.stages.profile_redundancy import redundancy
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rheostat.engines.base import Engine

VERSION = 1
DOCUMENT_TOKENS = 192
RANK_DOCUMENTS = 3
SCORE_DOCUMENTS = 3
COPY_ITEMS = 3
COPY_TOKENS = 48
EXIT_SHARE = 0.75
"""Share of the layers below the exit that an acceptance head is trained for."""
BUILT_IN = ("edit", "copy", "summarise", "chat")
RAW = ("prose",)
"""The workloads of models that have no chat template."""


def make_profile(
    engine: Engine,
    *,
    workload: str | None = None,
    seed: int = 0,
    acceptance: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure a model on this machine and return what `profile.json` holds; it is cached too.

    Args:
        workload: where to measure the copy rate; None = the built-in workloads, of which a model
            without a chat template reads running text alone.
        acceptance: train an acceptance head for `specdec_pp` too, which takes minutes; one that
            was trained earlier stays in the profile.

    Raises:
        ModelError: the engine shows nothing of a model's inside.
    """
    inside = _inside(engine)
    say = progress or _silent
    start = time.perf_counter()
    rates = _copy_rates(inside, workload, seed, say)  # first, because it may refuse the workload
    measured = redundancy(
        inside.decoder,
        _documents(inside, "calibration", RANK_DOCUMENTS, seed),
        _documents(inside, "test", SCORE_DOCUMENTS, seed),
        say,
    )
    entropy = measured.pop("entropy")
    profile = {
        "version": VERSION,
        "model": engine.model,
        "digest": engine.digest,
        "dtype": engine.dtype,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "command": _command(engine, workload, seed),
        "machine": machine_facts(),
        "shape": engine.shape.to_json(),
        "cost": {
            "prices": engine.prices().to_json(),
            "curves": cost_curves(inside, say),
            "prefill_equivalents": _prefill_equivalents(inside),
        },
        "redundancy": measured,
        "entropy": entropy,
        "copy_rate": rates,
    }
    head = _acceptance_head(inside, acceptance, seed, say)
    if head is not None:
        profile["acceptance"] = head
    profile["seconds"] = time.perf_counter() - start
    return _kept(_path(inside), profile, say)


def _kept(path: Path, profile: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Return the profile as JSON gives it back, and cache it; a full disk loses no measurement."""
    text = json.dumps(profile)
    try:
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OutputError as error:
        say(f"{error.message}: plans will measure a profile of their own")
    kept: dict[str, Any] = json.loads(text)
    return kept


def _acceptance_head(
    inside: TorchEngine, train: bool, seed: int, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return a head trained now, or the one that an earlier profile holds."""
    if not train:
        return (cached_profile(inside) or {}).get("acceptance")
    layer = exit_layer(EXIT_SHARE, inside.shape.layers)
    return trained_acceptance(inside, layer=layer, seed=seed, say=say)


def cached_profile(engine: Engine) -> dict[str, Any] | None:
    """Return the profile last made of this model, format and thread count on this machine."""
    try:
        data = json.loads(_path(_inside(engine)).read_text(encoding="utf-8"))
    except (OSError, ValueError, ModelError):
        return None
    return data if isinstance(data, dict) and data.get("version") == VERSION else None


def machine_facts() -> dict[str, Any]:
    """Return the machine and the versions that a result depends on."""
    return machine().to_json() | {
        "torch": torch.__version__,
        "rheostat": metadata.version("rheostat"),
    }


def _prefill_equivalents(engine: TorchEngine) -> dict[str, Any]:
    """Return what a written token costs in tokens read, with the fit's largest error."""
    longest = engine.shape.context
    contexts = [longest * eighth // 8 for eighth in range(8)]
    law, error = fitted(engine.shape, engine.prices(), contexts=contexts)
    return law.to_json() | {"largest_error": error}


def _inside(engine: Engine) -> TorchEngine:
    if not isinstance(engine, TorchEngine):
        raise ModelError(
            f"`{engine.model}` runs on the engine `{engine.card.name}`, which shows nothing of a "
            "model's inside to profile",
            hint="profile a model that runs in this process, such as `smollm2`",
        )
    return engine


def _documents(engine: TorchEngine, part: Any, count: int, seed: int) -> list[list[int]]:
    """Return documents of running text, cut to one length."""
    texts = load_workload("prose", part=part, seed=seed).items
    tokenizer = engine.tokenizer
    ids = ([*tokenizer.starts, *tokenizer.encode(item.prompt or "")] for item in texts)
    longest = min(DOCUMENT_TOKENS, engine.shape.context)
    long_enough = (document[:longest] for document in ids if len(document) >= longest // 2)
    return [document for document, _ in zip(long_enough, range(count), strict=False)]


def _copy_rates(
    engine: TorchEngine, workload: str | None, seed: int, say: Callable[[str], None]
) -> dict[str, float]:
    if workload is not None:
        return {workload: _copy_rate(engine, workload, seed, say)}
    rates = {}
    for name in BUILT_IN if engine.tokenizer.chats else RAW:
        try:
            rates[name] = _copy_rate(engine, name, seed, say)
        except WorkloadError as error:  # such as a prompt over a small model's context
            say(f"left `{name}` out: {error.message}")
    return rates


def _copy_rate(engine: TorchEngine, workload: str, seed: int, say: Callable[[str], None]) -> float:
    say(f"measuring how much the answers of `{workload}` copy")
    items = load_workload(workload, part="calibration", limit=COPY_ITEMS, seed=seed).items
    sampling = Sampling(max_new_tokens=COPY_TOKENS)
    prompts = {item.id: engine.encode(item) for item in items}
    outputs = engine.generate(items, sampling, installed=Installed())
    rates = [copy_rate(prompts[o.id], list(o.token_ids)) for o in outputs]
    return sum(rates) / len(rates)


def _command(engine: Engine, workload: str | None, seed: int) -> str:
    """Return the command that measures the same."""
    own = ["--workload", workload] if workload else []
    where = ["--dtype", engine.dtype, "--threads", torch.get_num_threads(), "--seed", seed]
    parts = ["rheostat", "profile", engine.model, *own, *where, "--out", "profile.json"]
    return shlex.join(str(part) for part in parts)


def _path(engine: TorchEngine) -> Path:
    key = [VERSION, machine().name, torch.get_num_threads(), engine.digest, engine.dtype]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache_folder() / "profiles" / f"{digest}.json"


def _silent(_: str) -> None:
    return
