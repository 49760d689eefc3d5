"""The Python interface: load a model, plan, generate, report, list the methods.

    import rheostat

    engine = rheostat.load("smollm2")
    output = rheostat.generate(engine, "Why is the sky blue?", max_new_tokens=64)
    print(output.text, output.cost.price)

Everything that a caller can cause raises a `rheostat.RheostatError` with a sentence and a hint.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from rheostat import catalog
from rheostat.engines.base import Request, Sampling
from rheostat.engines.load import DTYPES, load_engine, load_live, torch_extra
from rheostat.errors import UserError, WorkloadError
from rheostat.kernel.plan import Plan
from rheostat.stages.report_solve import are_solved, write_solve_report
from rheostat.stages.settings import BASE, plan_of, ready, with_choice
from rheostat.workloads.compiled_constraint import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import Engine, OnToken, Output
    from rheostat.stages.losses import LossKind

__all__ = ["generate", "list_methods", "load", "plan", "report"]


class SamplingOptions(TypedDict, total=False):
    """The fields of `rheostat.Sampling`; what is left out keeps its default there."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int
    stop: tuple[str, ...]
    particles: int


class PlanOptions(TypedDict, total=False):
    """How `plan` measures; what is left out keeps the command's default."""

    dtype: str
    """`float32`, `bfloat16`, `gguf`, `layercast` or `reproducible`."""
    threads: int | None
    """None = the cores that this process may use."""
    seed: int
    max_new_tokens: int
    items: int | None
    """Items of each part of the workload; None = 12, and up to 300 to certify on."""
    confidence: float | None
    """Of a certificate that the mean loss is at most `max_loss` on unseen texts."""
    journal: Path | None
    """A file that keeps every measurement, with which a stopped search goes on."""
    precisions: tuple[str, ...]
    """Number formats that the plan may choose, `gguf` and `bfloat16`."""
    ray: str | None
    """Address of a Ray cluster whose workers measure losses; `local` starts one on this machine."""
    progress: Callable[[str], None] | None


def load(  # noqa: PLR0913  # what a loaded model depends on
    model: str | Path | object,
    *,
    tokenizer: object = None,
    dtype: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    cuda_graphs: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Engine:
    """Load a model; the first time it is fetched, converted and measured, and that is cached.

    Args:
        model: an embedded name such as `smollm2`, a .gguf file, `http(s)://HOST/v1#NAME`,
            `llamacpp:FILE.gguf`, or `scripted:SPEC.json`; or a causal language model of
            `transformers` that is in memory.
        tokenizer: the fast tokenizer of a model in memory.
        dtype: `float32` (None; of a model in memory its own), `bfloat16`, `gguf` for the
            four-bit weights of the file itself, `layercast` for bfloat16 weights in float32
            arithmetic, or `reproducible` for float32 that gives the same tokens in every batch.
        threads: threads of one forward pass; None = the cores that this process may use.
        device: `cpu` (None), `cuda`, `cuda:1` or `mps`; a model in memory runs where it is.
        cuda_graphs: capture steps of one token a row as CUDA graphs, on `cuda` alone; unmeasured.
        progress: called with a line of text when something takes a while.

    Raises:
        ModelError: the model is unknown, damaged or out of reach.
        UserError: the number format or the thread count is not one, or an extra is missing.
    """
    if not isinstance(model, str | Path):
        if cuda_graphs:
            raise UserError(
                "steps of a model in memory are not captured as CUDA graphs",
                hint="leave `cuda_graphs` out, or load the model by its name",
            )
        return load_live(model, tokenizer, dtype=dtype, threads=threads, progress=progress)
    return load_engine(
        str(model),
        dtype=dtype or DTYPES[0],
        threads=threads,
        device=device,
        cuda_graphs=cuda_graphs,
        progress=progress,
    )


def plan(  # noqa: PLR0913  # the three goals, of which exactly one is given
    model: Engine | str | Path,
    workload: str | Path,
    *,
    lossless: bool = False,
    max_loss: float | None = None,
    loss: LossKind | None = None,
    max_cost: float | None = None,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Find the cheapest setting of all methods together that keeps the quality asked for.

    Args:
        model: a model's name or path, as for `load`, or an engine that `load` returned.
        workload: `edit`, `copy`, `summarise`, `chat`, `prose`, or the path of a .jsonl file.
        lossless: keep the answers as they are (methods that change no output).
        max_loss: the largest mean loss allowed; `loss` says in which measure.
        loss: `disagree`, `score` or `nats`.
        max_cost: the largest price allowed, as a share of the base's.
        **options: how to measure, see `PlanOptions`.

    Raises:
        UserError: not exactly one goal, or something in the model or workload to mend.
    """
    with torch_extra():
        from rheostat.stages.plan import make_plan

    return make_plan(
        str(model) if isinstance(model, Path) else model,
        str(workload),
        lossless=lossless,
        max_loss=max_loss,
        loss=loss,
        max_cost=max_cost,
        **options,
    )


def generate(  # noqa: PLR0913  # what is asked, of what, and who looks on
    plan_or_model: Plan | Engine | str | Path,
    prompt: str,
    *,
    engine: Engine | None = None,
    raw: bool = False,
    on_token: OnToken | None = None,
    constraint: str | Callable[..., Any] | None = None,
    **sampling: Unpack[SamplingOptions],
) -> Output:
    """Answer one prompt.

    Args:
        plan_or_model: a plan or the path of a `plan.json`, an engine of `load`, or a model's name.
        prompt: the user's message; with `raw` the very text that the model continues.
        engine: the loaded model to run a plan on; None loads the plan's model for this call.
        raw: leave out the model's chat template.
        on_token: called with (request id, new text) while the answer is written.
        constraint: what the answer must be: `regex:PATTERN`, `schema:FILE`, `grammar:FILE`,
            `FILE.py:FUNC`, or a function `func(text)` or `func(text, ended)` that says whether an
            answer may begin with the text, or be it. With `particles=N` and a temperature, N
            answers are drawn together and weighed; see `Output.population`.
        **sampling: fields of `Sampling`, such as `max_new_tokens=64`.

    Returns:
        The answer with its new tokens, why it ended, and what it cost.

    Raises:
        WorkloadError: the prompt is empty or longer than the context.
        PlanError: the plan is of another model or number format.
        ConstraintError: the constraint is malformed, or admits no token at some place.
        ModelError, MethodError, UserError: as for `load` and the plan's methods.
    """
    asked = None if constraint is None else checked(constraint)
    settled = Sampling(**sampling, constraint=asked)
    request = prompt_request(prompt, raw=raw)
    chosen, model = resolved(plan_or_model, engine)
    own = ready(with_choice(chosen, settled), model, notice=warn)
    installed = catalog.installed(own, model.shape, model.card.offers)
    (output,) = model.generate([request], settled, installed=installed, on_token=on_token)
    return output


def report(
    folders: Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Compare folders of `run`, or of `solve`, on one self-contained page; return its figures.

    Raises:
        OutputError: a folder is of no run, the runs answered other requests, or `out` cannot be
            written.
        UserError: matplotlib is missing.
    """
    paths = [Path(folder) for folder in folders]
    if are_solved(paths):
        return write_solve_report(paths, Path(out), progress=progress)
    from rheostat.stages.report import write_report  # imports matplotlib

    return write_report(paths, Path(out), progress=progress)


def list_methods() -> list[dict[str, Any]]:
    """Return a record a method: name, seam, exactness, dial, paper, status and needs."""
    return catalog.listing()


def prompt_request(prompt: str, *, raw: bool) -> Request:
    """Return a prompt as a request; raise `WorkloadError` when it is empty."""
    if not prompt.strip():
        raise WorkloadError("the prompt is empty", hint="write at least one word")
    if raw:
        return Request(id="1", prompt=prompt)
    return Request(id="1", messages=({"role": "user", "content": prompt},))


def resolved(
    plan_or_model: Plan | Engine | str | Path, engine: Engine | None
) -> tuple[Plan, Engine]:
    """Return the plan, and the loaded model that it runs on."""
    if isinstance(plan_or_model, str | Path):
        text = str(plan_or_model)
        is_plan = text.endswith(".json") and not text.startswith("scripted:")
        chosen = plan_of(text if is_plan else f"{BASE}{text.removeprefix(BASE)}")
    elif isinstance(plan_or_model, Plan):
        chosen = plan_or_model
    else:
        return Plan(model=plan_or_model.model, dtype=plan_or_model.dtype), plan_or_model
    return chosen, engine or load_engine(chosen.model, dtype=chosen.dtype)


def warn(text: str) -> None:
    """Warn the caller of the public function."""
    warnings.warn(text, UserWarning, stacklevel=4)
