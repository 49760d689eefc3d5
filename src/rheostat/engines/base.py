"""What every engine takes, gives and can do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rheostat.errors import UserError
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rheostat.kernel.cost import Cost
    from rheostat.kernel.ledger import Ledger
    from rheostat.kernel.model_cost import ModelShape, PriceTable
    from rheostat.kernel.policies.sampling import Floats
    from rheostat.kernel.seams import Installed, Layout
    from rheostat.workloads.constraints import Wanted

StopReason = Literal["eos", "length", "stop", "context", "budget", "cancelled"]
OnToken = Callable[[str, str], None]
"""Called with (request id, new text) while a request is generated."""
OnStep = Callable[[str, int, float], None]
"""Called with (request id, tokens that a step writes, its predicted seconds) before the text of
these tokens; reading the prompt is no step."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is taken, and when to stop."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    """0 = greedy."""
    top_k: int = 0
    """0 = no limit."""
    top_p: float = 1.0
    min_p: float = 0.0
    """Least share of the likeliest token's probability; 0 = no limit."""
    repetition_penalty: float = 1.0
    """Over 1 lowers tokens that are in the prompt or the answer already."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are left out of it."""
    constraint: Wanted | None = None
    """What the answer must be."""
    particles: int = 0
    """Answers drawn together under the constraint and weighed; 0 = one answer, not weighed."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.max_new_tokens < 1:
            raise UserError(
                f"`--max-new-tokens` must be at least 1, got `{self.max_new_tokens}`",
                hint="leave it out for 128",
            )
        if not 0 <= self.temperature < math.inf:
            raise UserError(
                f"`--temperature` must be a number from 0, got `{self.temperature}`",
                hint="0 takes the likeliest token; 0.7 is common for drawing",
            )
        if self.top_k < 0:
            raise UserError(
                f"`--top-k` must be 0 or more, got `{self.top_k}`", hint="0 sets no limit"
            )
        if not 0 < self.top_p <= 1:
            raise UserError(
                f"`--top-p` must be in (0, 1], got `{self.top_p}`", hint="1 sets no limit"
            )
        if not 0 <= self.min_p <= 1:
            raise UserError(
                f"`--min-p` must be from 0 to 1, got `{self.min_p}`", hint="0 sets no limit"
            )
        if not 0 < self.repetition_penalty < math.inf:
            raise UserError(
                f"`--repetition-penalty` must be over 0, got `{self.repetition_penalty}`",
                hint="1 changes nothing; 1.1 lowers repeated tokens",
            )
        if any(not text for text in self.stop):
            raise UserError("a stop string must not be empty", hint="leave `--stop` out")
        if self.particles:
            self._check_particles()

    def _check_particles(self) -> None:
        if self.particles < 2:
            raise UserError(
                f"`--particles` must be at least 2, got `{self.particles}`",
                hint="10 are common; leave it out for one answer",
            )
        if self.constraint is None:
            raise UserError(
                "`--particles` weighs answers under a constraint, and there is none",
                hint="give one, such as `--constraint regex:PATTERN`",
            )
        if self.temperature == 0:
            raise UserError(
                "`--particles` needs drawn answers, and `--temperature` is 0",
                hint="1 weighs by the model's own probabilities",
            )
        if self.stop:
            raise UserError(
                "`--particles` and `--stop` do not go together",
                hint="let the constraint say where an answer ends",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the constraint and particles are left out where there are none."""
        data = asdict(replace(self, constraint=None, particles=0))
        del data["constraint"], data["particles"]
        if self.constraint is not None:
            data["constraint"] = self.constraint.to_json()
        if self.particles:
            data["particles"] = self.particles
        return data

    @property
    def plainly_greedy(self) -> bool:
        """Whether the likeliest token is taken as the model has it."""
        return self.temperature == 0 and self.repetition_penalty == 1 and self.constraint is None

    def laws(self, logits: Floats, past: Sequence[int], draft: Sequence[int]) -> Floats:
        """Return what tokens are drawn from, [k + 1, vocabulary].

        Args:
            logits: after the past and after each draft token: [k + 1, vocabulary].
            past: token ids of the prompt and of what was written.
            draft: k token ids, or a tree of them.
        """
        # numpy is imported when something is drawn, not with the package
        from rheostat.kernel.policies.sampling import distribution, penalised

        if self.repetition_penalty != 1:
            logits = penalised(logits, past, draft, self.repetition_penalty)
        return distribution(
            logits,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """One line of work: raw text, or chat messages that go through the model's template."""

    id: str
    prompt: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class Particle:
    """One of the answers that were drawn together."""

    text: str
    token_ids: tuple[int, ...]
    weight: float
    """Its share: the weights of all particles sum to 1."""
    stop_reason: StopReason


@dataclass(frozen=True, kw_only=True)
class Population:
    """All answers that were drawn together for one request."""

    particles: tuple[Particle, ...]
    probability: float
    """Estimate of the probability that the model's own answer satisfies the constraint."""
    effective: float
    """How many equally weighted answers they are worth."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What came of a request."""

    id: str
    text: str
    token_ids: tuple[int, ...]
    """New tokens only, the end token left out."""
    stop_reason: StopReason
    cost: Cost
    trace: Trace = field(default_factory=Trace)
    population: Population | None = None
    """With particles: all of them; the answer is the text that holds most weight."""

    def to_json(self) -> dict[str, Any]:
        """Return the line that `run` and `generate --json` write."""
        line: dict[str, Any] = {
            "id": self.id,
            "text": self.text,
            "token_ids": list(self.token_ids),
            "stop_reason": self.stop_reason,
            "cost": self.cost.to_json(),
        }
        return line if self.population is None else line | asdict(self.population)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Teacher-forced reading of a continuation: one entry a continuation token."""

    nats: NDArray[np.float64]
    """-log p(token), in nats."""
    choice: NDArray[np.int64]
    """The token that the model would have chosen."""
    margin: NDArray[np.float64]
    """Gap between the two largest logits."""
    cost: Cost
    trace: Trace = field(default_factory=Trace)


@dataclass(frozen=True, kw_only=True)
class EngineCard:
    """What an engine is and what it offers to methods."""

    name: str
    offers: frozenset[str]
    """Capabilities that a method's `needs` may name."""


class Engine(Protocol):
    """A loaded model that executes requests."""

    card: EngineCard
    model: str
    """The name under which the user asked for it."""
    digest: str
    dtype: str
    shape: ModelShape
    special: frozenset[int]
    """Token ids of control tokens."""

    def encode(self, request: Request, *, raw: bool = False) -> list[int]:
        """Return the prompt's token ids; raise `WorkloadError` when empty or over the context."""

    def prices(self, installed: Installed | None = None) -> PriceTable:
        """Return this machine's price table for this model, measured when none is cached.

        Args:
            installed: the decisions that passes run under; some make each of their parts dearer.
        """

    def under(self, installed: Installed) -> Engine:
        """Return the engine that does the work of a plan: this one, or one that it decides on."""

    def pass_work(
        self, n: int, *, context: int, layout: Layout, head_rows: int, mlp_share: float = 1.0
    ) -> Cost:
        """Predict flops and bytes of a greedy pass over n new tokens after so many cached ones.

        Args:
            layout: the sub-layers that exist.
            head_rows: tokens whose choices are computed.
            mlp_share: share of its MLPs that a dynamic decision lets run.
        """

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        installed: Installed,
        ledger: Ledger | None = None,
        on_token: OnToken | None = None,
    ) -> Iterator[Output]:
        """Run the requests together as one batch; yield each output when it is finished."""

    def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, installed: Installed
    ) -> Scored:
        """Read a continuation teacher-forced, with the plan's depth decisions."""
