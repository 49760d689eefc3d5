"""A toy language model whose law is written down: a Markov chain, or a list of weighted answers.

The spec, as JSON:
  {"vocabulary": ["a", "b", "<end>"],        every token, no white space in one
   "end": "<end>", "context": 256,            the end token; the longest sequence
   "default": {"a": 0.5, "<end>": 0.5},       law of the next token; sums to 1
   "table": {"b a": {"b": 1.0}},              law after these last tokens; the longest match wins
   "answers": {"b b": {"a a": 3, "b": 1}},    prompt -> whole answers with their weights
   "seconds": {"1": 1.0, "2": 1.1},           seconds of a pass over n new tokens
   "durations": {"a a": 30}}                  when a sample of that text ends, for draws of samples
After a prompt of `answers` the next token follows the answers that begin as written so far, so at
temperature 1 whole answers come with exactly their weights; after any other text the chain
decides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Self, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rheostat.errors import ModelError, WorkloadError
from rheostat.kernel.model_cost import ModelShape, PriceTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Tokens = tuple[int, ...]

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@final
class ScriptedSpec(BaseModel):
    """The toy model as a user writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: tuple[str, ...]
    end: str = "<end>"
    context: int = Field(default=256, ge=1)
    default: dict[str, Probability]
    table: dict[str, dict[str, Probability]] = {}
    answers: dict[str, dict[str, Positive]] = {}
    seconds: dict[int, Positive] = {1: 1.0, 2: 1.1}
    durations: dict[str, Positive] = {}

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        known = set(self.vocabulary)
        if len(known) < 2 or len(known) < len(self.vocabulary):
            raise ValueError("`vocabulary` must hold at least two tokens, each of them once")
        if any(token.split() != [token] for token in known):
            raise ValueError("a token must not be empty and must not hold white space")
        if self.end not in known:
            raise ValueError(f"the end token `{self.end}` is not in `vocabulary`")
        for context, law in {"": self.default, **self.table}.items():
            where = f"after `{context}`" if context else "in `default`"
            _check_known(known, (*context.split(), *law), where)
            if not math.isclose(sum(law.values()), 1.0, abs_tol=1e-6):
                raise ValueError(f"the probabilities {where} sum to {sum(law.values()):g}, not 1")
        for prompt, answers in self.answers.items():
            words = (*prompt.split(), *(word for answer in answers for word in answer.split()))
            _check_known(known - {self.end}, words, f"in the answers to `{prompt}`")
            if not answers:
                raise ValueError(f"there are no answers to `{prompt}`")
        if min(self.seconds, default=0) != 1:
            raise ValueError("`seconds` must begin with a pass over 1 token")
        return self

    def prices(self) -> PriceTable:
        """Return the price of a pass, whatever the context: all of it is the one MLP's."""
        tokens = tuple(sorted(self.seconds))
        nothing = (0.0,) * len(tokens)
        return PriceTable(
            tokens=tokens,
            contexts=(0,),
            attention=(nothing,),
            mlp=tuple(self.seconds[n] for n in tokens),
            head=nothing,
            fixed=0.0,
        )

    def shape(self) -> ModelShape:
        """Return the smallest shape there is: a layer of width 1."""
        return ModelShape(
            layers=1,
            width=1,
            heads=1,
            kv_heads=1,
            head_size=1,
            inner=1,
            vocabulary=len(self.vocabulary),
            context=self.context,
        )


def read_spec(path: Path) -> ScriptedSpec:
    """Read a spec; raise `ModelError` when it cannot be read or does not hang together."""
    try:
        return ScriptedSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"the scripted model `{path}` cannot be read: {error.strerror}",
            hint="`scripted:` is followed by the path of a JSON file",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "spec"
        raise ModelError(
            f"the scripted model `{path}` is malformed at `{place}`: {first['msg']}",
            hint="the form is described in `rheostat.engines.scripted_model`",
        ) from error


@final
class ToyModel:
    """The spec in numbers: token ids and logits."""

    def __init__(self, spec: ScriptedSpec) -> None:
        """Index the tables."""
        self.vocabulary = spec.vocabulary
        self._ids = {token: i for i, token in enumerate(spec.vocabulary)}
        self.end = self._ids[spec.end]
        self._chain = {self.ids(key): self._logits(law) for key, law in spec.table.items()}
        self._default = self._logits(spec.default)
        self._order = max(map(len, self._chain), default=0)
        self._answers = {
            self.ids(prompt): {
                (*self.ids(answer), self.end): weight for answer, weight in answers.items()
            }
            for prompt, answers in spec.answers.items()
        }

    def ids(self, text: str) -> Tokens:
        """Return the ids of tokens separated by white space; raise `WorkloadError` if unknown."""
        words = text.split()
        for word in words:
            if word not in self._ids:
                raise WorkloadError(
                    f"`{word}` is not a token of the scripted model",
                    hint=f"its tokens are: {' '.join(self.vocabulary)}",
                )
        return tuple(self._ids[word] for word in words)

    def logits(self, prompt: Tokens, written: Sequence[int]) -> Floats:
        """Return log-probabilities of the next token, [vocabulary]; -inf = impossible."""
        begun, n = tuple(written), len(written)
        law: dict[str, float] = {}
        for answer, weight in self._answers.get(prompt, {}).items():
            if len(answer) > n and answer[:n] == begun:
                token = self.vocabulary[answer[n]]
                law[token] = law.get(token, 0.0) + weight
        if law:
            return self._logits(law)
        history = (*prompt, *begun)
        for size in range(min(self._order, len(history)), 0, -1):
            found = self._chain.get(history[-size:])
            if found is not None:
                return found
        return self._default

    def _logits(self, law: Mapping[str, float]) -> Floats:
        weights = np.zeros(len(self.vocabulary))
        for token, weight in law.items():
            weights[self._ids[token]] = weight
        with np.errstate(divide="ignore"):
            logits: Floats = np.log(weights / weights.sum())
        return logits


def _check_known(known: set[str], words: Sequence[str], where: str) -> None:
    for word in words:
        if word not in known:
            raise ValueError(f"`{word}` {where} is not a token that may stand there")
