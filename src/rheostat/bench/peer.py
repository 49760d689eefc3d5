"""The peers: other programs that run the same file in the same format and threads.

`transformers` runs it de-quantised: dense, with prompt lookup, or with an early exit that drafts;
llama.cpp in its own 4 bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch

from rheostat.bench.llamacpp_peer import KINDS, LlamaCpp, Order, peak_memory
from rheostat.engines.base import Request
from rheostat.engines.embedded import EMBEDDED, embedded_file
from rheostat.engines.torch_load import DTYPES
from rheostat.errors import UserError

if TYPE_CHECKING:
    from rheostat.engines.torch_engine import TorchEngine

Drafting = Mapping[str, int]
"""Arguments of `transformers`' `generate` that make it draft; none = dense."""
DENSE: Mapping[str, Drafting] = {"transformers": {}}
LOOKUPS: Mapping[str, Drafting] = {
    "transformers, lookup 3": {"prompt_lookup_num_tokens": 3},
    "transformers, lookup 10": {"prompt_lookup_num_tokens": 10},
}
ASSISTED: Mapping[str, Drafting] = {"transformers, assisted": {"assistant_early_exit": 22}}
"""Drafts by the model's own first layers, of thirty: the only assistant of its vocabulary here."""


class Answer(NamedTuple):
    """What a contestant made of an item."""

    tokens: int
    seconds: float
    first_seconds: float = 0.0
    """Of these, until the first token was there."""
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    """None where a contestant shows no tokens, but a text."""
    steps: int | None = None
    """Forward passes after the prompt, where they are counted."""
    peak_bytes: int | None = None
    """Most memory that the contestant's process held so far."""


Contestant = Callable[[Request, int], Answer]
"""Answers an item with so many new tokens; raises `PeerError` when it cannot."""


class Timed(NamedTuple):
    """Tokens written per row, and the seconds that all rows took together."""

    rows: list[list[int]]
    seconds: float
    first_seconds: float = 0.0
    """Of these, until the first token of every row was there; 0 where that was not timed."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all rows a second, prompt reading included."""
        return sum(map(len, self.rows)) / self.seconds


@final
class Transformers:
    """A causal language model of `transformers`, with its own `generate`."""

    def __init__(self, name: str, dtype: torch.dtype, say: Callable[[str], None]) -> None:
        """Load an embedded model's file."""
        try:
            from transformers import AutoModelForCausalLM, GgufConfig
        except ImportError:
            raise UserError(
                "this suite compares with `transformers`, which is not installed",
                hint='pip install "rheostat[dev]"',
            ) from None
        path = embedded_file(EMBEDDED[name], progress=say)
        say(f"loading {name} into transformers")
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
        ).eval()  # type: ignore[no-untyped-call]  # transformers' own

    @classmethod
    def around(cls, module: Any) -> Transformers:
        """Return the peer on a model that is in memory."""
        made = cls.__new__(cls)
        made._model = module.eval()
        return made

    def generate(
        self,
        prompts: list[list[int]],
        *,
        new_tokens: int,
        eos: list[int],
        drafting: Drafting | None = None,
    ) -> Timed:
        """Decode greedily.

        Args:
            prompts: token ids, a list a row; shorter ones are padded on the left.
            new_tokens: most tokens of an answer.
            eos: tokens that end an answer.
            drafting: how one prompt alone is drafted for; None = no drafts.
        """
        longest = max(map(len, prompts))
        inputs = torch.tensor([[eos[0]] * (longest - len(p)) + p for p in prompts])
        held = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        ends: list[float] = []

        def note(ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
            ends.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

        start = time.perf_counter()
        with torch.inference_mode():
            out = self._model.generate(
                inputs,
                attention_mask=held,
                do_sample=False,
                max_new_tokens=new_tokens,
                eos_token_id=eos,
                pad_token_id=eos[0],
                stopping_criteria=[note],
                **(drafting or {}),
            )
        seconds = time.perf_counter() - start
        rows = [_until(row, eos) for row in out[:, inputs.shape[1] :].tolist()]
        return Timed(rows, seconds, ends[0] - start)


def _until(row: list[int], ends: list[int]) -> list[int]:
    found = [i for i, token in enumerate(row) if token in ends]
    return row[: found[0]] if found else row


@contextmanager
def peers_of(
    engine: TorchEngine, dtype: str, say: Callable[[str], None]
) -> Iterator[Mapping[str, Contestant]]:
    """Give the peers of a number format, on the engine's own tokens, threads and model."""
    if dtype in ("float32", "bfloat16"):
        peer = Transformers(engine.model, DTYPES[dtype], say)
        kinds = {**DENSE, **LOOKUPS, **ASSISTED}
        yield {name: partial(_transformers, engine, peer, how) for name, how in kinds.items()}
        return
    with llamacpp_servers(engine, KINDS, say) as servers:
        yield {name: partial(_llamacpp, engine, server) for name, server in servers.items()}


@contextmanager
def llamacpp_servers(
    engine: TorchEngine, kinds: Sequence[str], say: Callable[[str], None], *, rows: int = 1
) -> Iterator[Mapping[str, LlamaCpp]]:
    """Give servers of the engine's model, by the names of their kinds of speculation.

    Each answers so many prompts at once, on the engine's threads.
    """
    path = embedded_file(EMBEDDED[engine.model], progress=say)
    threads, context = torch.get_num_threads(), engine.shape.context
    with ExitStack() as stack:
        servers = {}
        for kind in kinds:
            server = LlamaCpp(Order(str(path), kind, threads, context, rows))
            stack.callback(server.close)
            servers[llamacpp_name(kind)] = server
        yield servers


def llamacpp_name(kind: str) -> str:
    """Return the name of a kind of speculation, as llama.cpp's own options write it."""
    if kind == "NONE":
        return "llama.cpp"
    name, *sizes = kind.lower().replace("_", "-").split()
    return " ".join(["llama.cpp,", name, *(["/".join(sizes)] if sizes else [])])


def _transformers(
    engine: TorchEngine, peer: Transformers, drafting: Drafting, item: Request, new_tokens: int
) -> Answer:
    prompt, eos = engine.encode(item), sorted(engine.eos)
    done = peer.generate([prompt], new_tokens=new_tokens, eos=eos, drafting=drafting)
    written = tuple(done.rows[0])
    return Answer(
        len(written),
        done.seconds,
        done.first_seconds,
        token_ids=written,
        peak_bytes=peak_memory(),
    )


def _llamacpp(engine: TorchEngine, server: LlamaCpp, item: Request, new_tokens: int) -> Answer:
    reply = server.answer(engine.encode(item), new_tokens=new_tokens)
    return Answer(
        reply.tokens,
        reply.seconds,
        reply.first_seconds,
        text=reply.text,
        peak_bytes=reply.peak_bytes,
    )
