"""Conversations: every turn reads only what is new, the cache of the rest is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast, final

from rheostat import catalog
from rheostat.api import resolved, warn
from rheostat.engines.base import Request, Sampling
from rheostat.errors import WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.stages.settings import ready, with_choice

if TYPE_CHECKING:
    from rheostat.api import SamplingOptions
    from rheostat.engines.base import Engine, OnToken, Output
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_kept import Conversation
    from rheostat.kernel.plan import Plan

__all__ = ["Session"]


LETS_GO = (
    "the plan's cache decision lets entries go behind every turn's prompt; a loss that the plan "
    "states was measured on single answers, not on chats"
)


@final
class Session:
    """A conversation with one model under one plan.

        session = rheostat.Session("smollm2", max_new_tokens=64)
        print(session.ask("Name three birds.").text)
        print(session.ask("Which of them sings at night?").text, session.saved.prompt_tokens)

    A model in this process keeps the keys and values of everything that was read or written; an
    endpoint is sent the whole conversation, and what it reuses is its own affair.
    """

    def __init__(
        self,
        plan_or_model: Plan | Engine | str | Path,
        *,
        engine: Engine | None = None,
        system: str | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> None:
        """Load what is needed.

        Args:
            plan_or_model, engine: as for `rheostat.generate`.
            system: the conversation's first message, an instruction.
            **sampling: fields of `Sampling`, which hold for every turn.

        Raises:
            ModelError, PlanError, MethodError, UserError: as for `rheostat.generate`.
        """
        chosen, model = resolved(plan_or_model, engine)
        settled = Sampling(**sampling)
        plan = ready(with_choice(chosen, settled), model, notice=warn)
        self._start(plan, model, settled)
        if self.lets_go:
            warn(LETS_GO)
        if system is not None:
            self.messages.append({"role": "system", "content": system})

    @classmethod
    def under(cls, plan: Plan, engine: Engine, sampling: Sampling) -> Session:
        """Return a conversation under a plan that is ready for the engine."""
        made = cls.__new__(cls)
        made._start(plan, engine, sampling)
        return made

    def _start(self, plan: Plan, engine: Engine, sampling: Sampling) -> None:
        self.engine = engine
        self._sampling = sampling
        self._installed = catalog.installed(plan, engine.shape, engine.card.offers)
        self._conversation = _kept() if engine.card.name == "torch" else None
        self.messages: list[dict[str, str]] = []
        """What was said so far, as chat messages."""
        self.cost = Cost()
        """What all turns cost together."""
        self.saved = Cost()
        """What reading the kept prefixes again would have cost beside that."""

    @property
    def lets_go(self) -> bool:
        """Whether a cache decision lets go of what was said."""
        return self._installed.cache is not None

    def ask(self, prompt: str, *, on_token: OnToken | None = None) -> Output:
        """Say something and return the answer; a turn that fails or is stopped is forgotten.

        Raises:
            WorkloadError: the prompt is empty, or the conversation does not fit the context.
        """
        if not prompt.strip():
            raise WorkloadError("the prompt is empty", hint="write at least one word")
        messages = [*self.messages, {"role": "user", "content": prompt}]
        output = self._answered(messages, on_token)
        self.messages = [*messages, {"role": "assistant", "content": output.text}]
        self.cost += output.cost
        return output

    def offload(self, path: str | Path) -> None:
        """Write the cache to a file and give its memory back, while nobody asks.

        The next turn of this object reads the file, so that it has to stay there until then; it is
        the caller's to delete. Nothing else goes on from it: it is no saved conversation. Before
        the first turn, and at an endpoint, there is nothing to write.

        Raises:
            OutputError: the file cannot be written.
            MethodError: a cache decision has let go of a part of it.
        """
        if self._conversation is not None:
            self._conversation.offload(cast("TorchEngine", self.engine), Path(path))

    def _answered(self, messages: list[dict[str, str]], on_token: OnToken | None) -> Output:
        sampling = replace(self._sampling, seed=self._sampling.seed + len(messages))
        if self._conversation is None:
            request = Request(id=str(len(messages)), messages=tuple(messages))
            (output,) = self.engine.generate(
                [request], sampling, installed=self._installed, on_token=on_token
            )
            return output
        engine = cast("TorchEngine", self.engine)
        output = engine.turn(
            self._conversation, messages, sampling, installed=self._installed, on_token=on_token
        )
        self.saved += engine.reading_cost(output.trace.reused, self._installed)
        return output


def _kept() -> Conversation:
    from rheostat.engines.torch_kept import Conversation  # imports torch

    return Conversation()
