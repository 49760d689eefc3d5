"""`replay:STORE`: draws from a recording, in any order; what was not recorded is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from rheostat.engines.base import EngineCard, Sampling
from rheostat.engines.sample_store import SampleStore
from rheostat.engines.simulated_sampler import Outcome, SimulatedSampler
from rheostat.errors import ModelError, WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.workloads.items import request_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.engines.money import TokenPrices
    from rheostat.engines.sampler import Draw

PREFIX = "replay:"


@final
class Recording:
    """A finished or unfinished recording, opened to be read."""

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            OutputError: there is none, or it cannot be read.
        """
        self.model = f"{PREFIX}{folder}"
        self.store = SampleStore(folder, create=False)
        header = self.store.header
        if header is None:
            raise ModelError(f"`{self.model}` is empty", hint="finish `rheostat record` first")
        self.header: Mapping[str, Any] = header
        self.questions = {str(line["id"]): line for line in header["tasks"]["items"]}
        self.samples = int(header["samples"])
        """Samples of each question that were asked for."""
        self._bounds: dict[tuple[str, int], Cost] = {}
        offers = {"sample", "sample.pause", "simulated"} | (
            {"sample.logprobs"} if header.get("logprobs", True) else set()
        )
        self.card = EngineCard(name="replay", offers=frozenset(offers))

    @property
    def sampling(self) -> Sampling:
        """How the samples were drawn."""
        data = dict(self.header["sampling"])
        return Sampling(**data | {"stop": tuple(data["stop"])})

    def bound(self, draw: Draw) -> Cost:
        """Return what the draw could have cost: nobody is told how long a sample will be."""
        self._check(draw)
        key = draw.question, draw.index
        if key not in self._bounds:  # asked for in every epoch until the sample is drawn
            cost = self.outcome(draw).drawn.output.cost
            self._bounds[key] = most_of(cost, draw.sampling.max_new_tokens)
        return self._bounds[key]

    def outcome(self, draw: Draw) -> Outcome:
        """Return the recorded sample.

        Raises:
            ModelError: it was not recorded, or drawn in another way.
            WorkloadError: the question has another text there.
        """
        self._check(draw)
        sample = self.store.get(draw.question, draw.index)
        if sample is None:
            raise ModelError(
                f"`{self.model}` holds no sample {draw.index} of the question `{draw.question}`",
                hint="it is drawn from, never added to: record more samples, or ask for fewer "
                "with `--samples`",
            )
        return Outcome(sample.drawn(draw), 1.0 + sample.cost.new_tokens)

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def _check(self, draw: Draw) -> None:
        line = self.questions.get(draw.question)
        if line is None:
            raise WorkloadError(
                f"the question `{draw.question}` is not in `{self.model}`",
                hint="a recording answers the tasks that it was made with",
            )
        if _asked(line) != _asked(_line(draw)):
            raise WorkloadError(
                f"the question `{draw.question}` has another text in `{self.model}`",
                hint="a recording answers the tasks that it was made with",
            )
        if draw.sampling != self.sampling:
            raise ModelError(
                f"`{self.model}` was drawn with other sampling options: {_difference(self, draw)}",
                hint="leave the options out to take the recorded ones, or record again",
            )


def most_of(cost: Cost, new_tokens: int) -> Cost:
    """Return a bound on a recorded cost, had the sample taken all its new tokens."""
    short = max(new_tokens - cost.new_tokens, 0)
    grown = 1 + short / max(cost.new_tokens, 1)
    return Cost(
        prompt_tokens=cost.prompt_tokens,
        new_tokens=max(new_tokens, cost.new_tokens),
        calls=cost.calls + short,
        price=cost.price * grown,
        usd=cost.usd * grown,
    )


class Replay(NamedTuple):
    """A recording and the sampler over it."""

    sampler: SimulatedSampler
    recording: Recording


def load_replay(name: str, *, prices: TokenPrices | None = None) -> Replay:
    """Open `replay:STORE`; raise `OutputError` when there is none."""
    recording = Recording(Path(name.removeprefix(PREFIX)))
    return Replay(SimulatedSampler(recording, prices), recording)


def _line(draw: Draw) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(request_line(draw.request))
    return line


def _asked(line: Mapping[str, Any]) -> Any:
    return line.get("prompt"), line.get("messages")


def _difference(recording: Recording, draw: Draw) -> str:
    own, asked = recording.sampling.to_json(), draw.sampling.to_json()
    names = [name for name in own if own[name] != asked.get(name)]
    return ", ".join(f"`{name}` {own[name]}, not {asked.get(name)}" for name in names)
