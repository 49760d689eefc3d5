"""Plans under EleutherAI's evaluation harness: the model `rheostat` for `lm-eval`.

    python -m rheostat.lm_eval --model rheostat \\
        --model_args pretrained=smollm2,plan=plan.json --tasks TASK --output_path results

takes the harness's own options; in Python, importing this module registers the model. What was
spent is in the results under `config.rheostat.cost`. Likelihoods are read teacher-forced: they show
a plan's decisions that lose something, and neither drafts nor anything else that loses nothing.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rheostat
from rheostat import catalog
from rheostat.engines.base import Request, Sampling
from rheostat.engines.load import DTYPES, load_engine
from rheostat.errors import ModelError, RheostatError, UserError, WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.kernel.plan import Plan
from rheostat.stages.settings import read_plan, ready

try:
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ModuleNotFoundError as error:
    raise UserError(
        "evaluating with the harness needs `lm-eval`, which is not installed",
        hint='pip install "rheostat[lm-eval]"',
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rheostat.engines.base import Engine, Scored

MOST_NEW_TOKENS = 256
"""Of an answer, where the task names no number: as the harness's own models."""


@register_model("rheostat")
class RheostatLM(LM):  # type: ignore[misc]  # the harness is not typed
    """A model under a plan, asked by the harness."""

    def __init__(  # noqa: PLR0913  # what `--model_args` may name
        self,
        pretrained: str,
        *,
        plan: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        batch_size: int | str = 1,
        max_gen_toks: int = MOST_NEW_TOKENS,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            pretrained: a model's name or path, as `rheostat` takes it.
            plan: the file of a plan for it; None = its base.
            dtype: number format; None = the plan's.
            threads: of a forward pass; None = all cores.
            batch_size: answers that are written together; `auto` = one by one.
            max_gen_toks: longest answer where a task names none.
            device: not used: models run on the processor, whatever the harness's default says.
            max_batch_size: of `auto`, which takes no more than one.

        Raises:
            UserError: the model, the plan or an argument is none that can be used.
        """
        super().__init__()
        base = Plan(model=pretrained, dtype=dtype or DTYPES[0])
        chosen = base if plan is None else read_plan(Path(plan))
        self.engine: Engine = load_engine(pretrained, dtype=dtype or chosen.dtype, threads=threads)
        self.plan = ready(chosen, self.engine)
        card = self.engine.card
        self.installed = catalog.installed(self.plan, self.engine.shape, card.offers)
        if "draft" not in card.offers:
            raise ModelError(
                f"`{pretrained}` shows no likelihoods of texts, which the harness asks for",
                hint="name a model that runs in this process, such as `smollm2`",
            )
        self.most_new_tokens = int(max_gen_toks)
        self.batch = 1 if str(batch_size).startswith("auto") else int(batch_size)
        self.spent = Cost()
        """Of all that was asked."""

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return for each (context, continuation) its log-probability, and whether it is greedy."""
        found = []
        for request in requests:
            context, continuation = request.args
            scored, tokens = self._read(*self._parted(context, continuation))
            greedy = bool((scored.choice == tokens).all())
            found.append((-float(scored.nats.sum()), greedy))
            self.cache_hook.add_partial("loglikelihood", request.args, found[-1])
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Return the log-probability of each text, its first token read after a control token."""
        found = []
        longest = self.engine.shape.context
        for request in requests:
            (text,) = request.args
            windows = get_rolling_token_windows(self._encoded(text), self._prefix, longest, 1)
            total = 0.0
            for prompt, continuation in map(make_disjoint_window, windows):
                total -= float(self._read(prompt, continuation)[0].nats.sum())
            found.append(total)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return found

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return an answer to each (context, generation arguments)."""
        answers: dict[int, str] = {}
        numbered = [(i, *request.args) for i, request in enumerate(requests)]
        for _, group in groupby(numbered, key=lambda one: sorted(map(repr, one[2].items()))):
            same = list(group)
            sampling = self._sampling(same[0][2])
            for at in range(0, len(same), self.batch):
                batch = [
                    Request(id=str(i), prompt=self._fitting(context, sampling.max_new_tokens))
                    for i, context, _ in same[at : at + self.batch]
                ]
                for output in self.engine.generate(batch, sampling, installed=self.installed):
                    answers[int(output.id)] = output.text
                    self.spent += output.cost
                    given = requests[int(output.id)].args
                    self.cache_hook.add_partial("generate_until", given, output.text)
        return [answers[i] for i in range(len(requests))]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return what the model's own template makes of messages."""
        from rheostat.engines.torch_engine import TorchEngine  # has been imported with the model

        if not isinstance(self.engine, TorchEngine):
            raise ModelError(f"`{self.engine.model}` has no chat template")
        return self.engine.tokenizer.chat(chat_history, add_generation_prompt=add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """Return what tells this model's texts from others in the harness's caches."""
        return f"rheostat-{self.engine.digest[:16]}"

    def get_model_info(self) -> dict[str, Any]:
        """Return what the results say of the model: the plan, and all that was spent."""
        methods = [{"name": s.name, "dial": s.dial} for s in self.plan.methods]
        return {
            "rheostat": {
                "version": rheostat.__version__,
                "model": self.engine.model,
                "digest": self.engine.digest,
                "dtype": self.engine.dtype,
                "methods": methods,
                "certified": self.plan.certificate is not None,
                "cost": self.spent.to_json(),
            }
        }

    def _read(self, prompt: Sequence[int], continuation: Sequence[int]) -> tuple[Scored, list[int]]:
        """Read a continuation; what does not fit the context is cut off at the beginning."""
        room = self.engine.shape.context + 1  # the last token is not read, only predicted
        tokens = [*prompt, *continuation][-room:]
        wanted = tokens[-min(len(continuation), len(tokens) - 1) :]
        scored = self.engine.score(
            tokens[: len(tokens) - len(wanted)], wanted, installed=self.installed
        )
        read = len(tokens) - 1
        self.spent += replace(scored.cost, prompt_tokens=read)
        return scored, wanted

    def _parted(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the token ids of both; white space at the border belongs to the continuation."""
        stripped = context.rstrip()
        continuation, context = context[len(stripped) :] + continuation, stripped
        if not context:
            return [self._prefix], self._encoded(continuation)
        own = self._encoded(context)
        return own, self._encoded(context + continuation)[len(own) :]

    def _encoded(self, text: str) -> list[int]:
        """Return the token ids of a text of any length."""
        if not text:
            return []
        encoder = self.engine.encode
        try:
            return encoder(Request(id="text", prompt=text), raw=True)
        except WorkloadError:
            if len(text) < 2:
                raise
        # over the context: the halves are read one by one, parted at a space where there is one
        middle = text.rfind(" ", 1, len(text) // 2 + 1)
        at = middle if middle > 0 else len(text) // 2
        return [*self._encoded(text[:at]), *self._encoded(text[at:])]

    @property
    def _prefix(self) -> int:
        """Return the control token after which a text without a context is read."""
        return min(self.engine.special)

    def _fitting(self, context: str, new_tokens: int) -> str:
        """Return a context, or as much of its end as leaves room for an answer."""
        most = max(self.engine.shape.context - new_tokens, 1)
        while len(self._encoded(context)) > most:
            context = context[max(len(context) // 8, 1) :]
        return context

    def _sampling(self, given: Mapping[str, Any]) -> Sampling:
        """Return the harness's generation arguments in our words."""
        until = given.get("until") or ()
        drawn = bool(given.get("do_sample", float(given.get("temperature") or 0) > 0))
        return Sampling(
            max_new_tokens=int(given.get("max_gen_toks") or self.most_new_tokens),
            temperature=float(given.get("temperature") or 1.0) if drawn else 0.0,
            top_p=float(given.get("top_p") or 1.0),
            top_k=int(given.get("top_k") or 0),
            stop=tuple(_texts(until)),
        )


def _texts(until: str | Sequence[str]) -> Iterator[str]:
    yield from [text for text in ([until] if isinstance(until, str) else until) if text]


def main() -> None:
    """Run the harness's command line, with this model registered."""
    try:
        cli_evaluate()
    except RheostatError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from error
    except ValueError as error:
        if not str(error).startswith("Tasks not found"):
            raise
        sys.stderr.write(f"{error}\nhint: `lm-eval ls tasks` lists what there is\n")
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
