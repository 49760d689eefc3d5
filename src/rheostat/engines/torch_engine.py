"""The `torch` engine: everything inside the model, on a lean decoder loop of our own."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property, partial
from itertools import accumulate
from typing import TYPE_CHECKING, final

import numpy as np
import torch

from rheostat.engines.base import EngineCard, Request, Scored
from rheostat.engines.constrained import Constrained, Ends
from rheostat.engines.enough_memory import loading_told, memory_told, pass_told
from rheostat.engines.torch_asked import check_prompt, check_scored
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_draft_model import check_drafts_for
from rheostat.engines.torch_fixed_rows import padding
from rheostat.engines.torch_generate import CHUNK, Run
from rheostat.engines.torch_graphed import Graphed
from rheostat.engines.torch_kept import reading_cost
from rheostat.engines.torch_model import Feed, Llama
from rheostat.engines.torch_particles import particle_outputs
from rheostat.engines.torch_parts import check_numbers
from rheostat.engines.torch_seen import seen
from rheostat.engines.torch_ways import Tables, way_of, way_under
from rheostat.engines.torch_work import predicted_work
from rheostat.errors import MethodError, WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.model_cost import Work, work_cost
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.kernel.trace import Trace
from rheostat.workloads.compiled_constraint import compiled
from rheostat.workloads.grammar_constraint import TokenTexts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rheostat.engines.base import OnStep, OnToken, Output, Sampling
    from rheostat.engines.decoder import Decoder
    from rheostat.engines.tokenizer import Tokenizer
    from rheostat.engines.torch_kept import Conversation
    from rheostat.engines.torch_named import Named, Opener
    from rheostat.engines.torch_shared import SharedPrefix
    from rheostat.kernel.constraint import TokenChoice
    from rheostat.kernel.ledger import Ledger
    from rheostat.kernel.model_cost import PriceTable


@final
class TorchEngine:
    """A model in this process."""

    def __init__(  # noqa: PLR0913  # the parts of an engine
        self,
        loaded: Named,
        model: Decoder,
        tokenizer: Tokenizer,
        prices: PriceTable | Tables,
        *,
        dtype: str | None = None,
        opener: Opener | None = None,
    ) -> None:
        """Put the parts together; `torch_load.load_torch` makes them.

        One price table holds for every way in which passes run. `opener` loads a model that
        drafts for this one, by its path.
        """
        self.model = loaded.name
        self.digest = loaded.digest
        self.dtype = dtype or str(model.dtype).removeprefix("torch.")
        self.shape = loaded.shape
        self.decoder = model
        again = frozenset({"precision"} if opener else ())
        self.card = EngineCard(name="torch", offers=model.offers | again)
        self.tokenizer = tokenizer
        self.eos = loaded.eos_ids
        self.special = loaded.special_ids
        self._tables = prices if isinstance(prices, Tables) else Tables(prices)
        self._base = Depth(Layout.full(loaded.shape.layers))
        self._opener = opener
        self._drafting: dict[str, TorchEngine] = {}
        self._formats: dict[str, TorchEngine] = {self.dtype: self}

    @property
    def llama(self) -> Llama:
        """The lean loop over the weights; raise `MethodError` where another module runs them."""
        if isinstance(self.decoder, Graphed):
            return self.decoder.llama
        if not isinstance(self.decoder, Llama):
            raise MethodError(f"`{self.model}` runs on a module of its own, not on the lean loop")
        return self.decoder

    @property
    def reloads(self) -> bool:
        """Whether the model's name is enough to load its weights once more in another format."""
        return self._opener is not None

    def prices(self, installed: Installed | None = None) -> PriceTable:
        """Return the price table measured for this machine, model, format and thread count."""
        return self._tables.of(way_under(self.decoder, installed))

    def pass_work(
        self, n: int, *, context: int, layout: Layout, head_rows: int, mlp_share: float = 1.0
    ) -> Cost:
        """Predict flops and bytes of a greedy pass over n new tokens after so many cached ones."""
        work = predicted_work(
            self.decoder, n, context, layout=layout, mlps=mlp_share, head_rows=head_rows
        )
        return self.cost(work, prompt_tokens=0, new_tokens=0)

    def under(self, installed: Installed) -> TorchEngine:
        """Return the engine that does the work of a plan: in the number format that it decides.

        It is loaded when it is first asked for, and kept.

        Raises:
            UserError, ModelError: the model cannot be had in that format.
        """
        wanted = self.dtype if installed.model is None else installed.model.name
        if wanted not in self._formats:
            if self._opener is None:
                raise MethodError(f"`{self.model}` was loaded without a way to load it again")
            with memory_told(lambda: loading_told(self.model, wanted)):
                self._formats[wanted] = self._opener(self.model, dtype=wanted)
        return self._formats[wanted]

    def drafting_model(self, path: str) -> TorchEngine:
        """Return the model that drafts for this one, loaded when it is first asked for.

        Raises:
            ModelError: it is missing or damaged.
            MethodError: its vocabulary or its context does not fit.
        """
        if path not in self._drafting:
            if self._opener is None:
                raise MethodError(f"`{self.model}` was loaded without a way to load `{path}`")
            with memory_told(lambda: loading_told(path, None)):
                other = self._opener(path)
            check_drafts_for(other, self)
            self._drafting[path] = other
        return self._drafting[path]

    def encode(self, request: Request, *, raw: bool = False) -> list[int]:
        """Return the prompt's token ids; `raw` puts messages behind each other without template.

        Raises:
            WorkloadError: the prompt is empty, or leaves no room in the context.
        """
        if request.messages and raw:
            text = "\n".join(message["content"] for message in request.messages)
        elif request.messages:
            text = self.tokenizer.chat(request.messages)
        else:
            text = request.prompt or ""
        ids = self.tokenizer.encode(text)
        if not ids:
            raise WorkloadError(
                f"the prompt of request `{request.id}` is empty", hint="write at least one word"
            )
        if raw or not request.messages:  # a template writes them itself
            ids = [*self.tokenizer.starts, *ids]
        self.check_prompt(ids, f"request `{request.id}`")
        return ids

    def check_prompt(self, ids: Sequence[int], of: str) -> None:
        """Raise when a prompt leaves no room in the context, or is not of the model's tokens."""
        check_prompt(ids, of, self.shape)

    def generate(  # noqa: PLR0913  # as of every engine, who looks on, and what is shared
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        installed: Installed,
        ledger: Ledger | None = None,
        on_token: OnToken | None = None,
        on_step: OnStep | None = None,
        shared: SharedPrefix | None = None,
    ) -> Iterator[Output]:
        """Run the requests as one batch and yield each output when it is finished.

        Args:
            shared: what they may begin with alike, which is read once for all calls that are given
                it; a plan that decides about the cache or the sub-layers while it runs, and
                particles, read every prompt whole.
        """
        if (own := self.under(installed)) is not self:
            plain = replace(installed, model=None)
            return own.generate(
                requests,
                sampling,
                installed=plain,
                ledger=ledger,
                on_token=on_token,
                on_step=on_step,
                shared=shared,
            )
        run = Run(self, sampling, installed, ledger, on_token, on_step)
        if sampling.particles:
            return particle_outputs(run, requests, installed)
        if installed.cache is None and run.depth.policy is None:
            run.shared = shared
        return run.outputs(requests)

    def turn(  # noqa: PLR0913  # as `generate`, with what is held
        self,
        conversation: Conversation,
        messages: Sequence[Mapping[str, str]],
        sampling: Sampling,
        *,
        installed: Installed,
        ledger: Ledger | None = None,
        on_token: OnToken | None = None,
    ) -> Output:
        """Answer the last message of a conversation, reading only what is new in it.

        Raises:
            WorkloadError: the conversation does not fit the context.
            MethodError: particles are asked for, which are of one answer, or another format.
        """
        if sampling.particles:
            raise MethodError("a conversation draws one answer a turn: take the particles off")
        if self.under(installed) is not self:
            raise MethodError(
                "a conversation is held in the model's own number format",
                hint="take `precision` out of the plan, or load the model in that format",
            )
        run = Run(self, sampling, installed, ledger, on_token)
        prompt = conversation.prompt(self, messages)
        request = Request(id=str(len(messages)), messages=tuple(messages))
        run.held[request.id] = prompt, conversation.held(run, prompt)
        (output,) = run.outputs([request])
        conversation.keep(self, messages, prompt, output)
        return output

    def reading_cost(self, tokens: int, installed: Installed) -> Cost:
        """Return what it costs to read so many tokens as the beginning of a prompt."""
        return reading_cost(self.under(installed), installed, tokens, CHUNK)

    def constrained(self, sampling: Sampling, choice: TokenChoice | None) -> Constrained | None:
        """Return what takes tokens under the constraint that is asked for."""
        if sampling.constraint is None:
            return None
        ends = Ends(self.eos, self.special)
        constraint = compiled(sampling.constraint, self.texts)
        return Constrained(constraint, sampling, choice, self.texts, ends)

    @cached_property
    def texts(self) -> TokenTexts:
        """The bytes of every token."""
        pieces = [self.tokenizer.token_bytes(t) for t in range(self.shape.vocabulary)]
        return TokenTexts(pieces)

    def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, installed: Installed
    ) -> Scored:
        """Read a continuation teacher-forced, with the plan's depth and cache decisions.

        Args:
            prompt: token ids read first, at least one; the first border lies behind them.
            continuation: n token ids whose probabilities are wanted.

        Returns:
            One entry a continuation token, [n].

        Raises:
            WorkloadError: the prompt is empty, or the two do not fit the context.
            ModelError: the model's logits are not numbers.
        """
        if (own := self.under(installed)) is not self:
            return own.score(prompt, continuation, installed=replace(installed, model=None))
        depth = self.depth(installed)
        tokens = [*prompt, *continuation][:-1]
        check_scored(prompt, continuation, self.shape)
        if not continuation:
            none = np.empty(0)
            return Scored(nats=none, choice=none.astype(np.int64), margin=none, cost=Cost())
        compaction = self.compaction(installed)
        cache = compaction.cache(depth.layout, prompt=len(prompt), capacity=len(tokens))
        work, trace, rows = Work(), Trace(), []
        start = time.perf_counter()
        for at, end in compaction.parts(len(prompt), len(tokens), CHUNK):
            compaction.settle([cache], [work], [trace])
            feed = Feed(cache, tokens[at:end], at - len(prompt))
            wanted = [i for i in range(len(feed.tokens)) if at + i >= len(prompt) - 1]
            logits = self.passed([feed], depth, [wanted], [work], [trace])
            rows.append(_read(logits, continuation, at + (wanted or [0])[0] - len(prompt) + 1))
        nats, choice, margin = (np.concatenate(part) for part in zip(*rows, strict=True))
        trace.cache_bytes = cache.bytes
        cost = self.cost(work, prompt_tokens=len(tokens), new_tokens=0)
        return Scored(
            nats=nats,
            choice=choice,
            margin=margin,
            cost=replace(cost, seconds=time.perf_counter() - start),
            trace=trace,
        )

    def depth(self, installed: Installed) -> Depth:
        """Return the plan's decision about sub-layers; all of them where there is none."""
        return installed.depth or self._base

    def compaction(self, installed: Installed) -> Compaction:
        """Return what carries out the plan's cache decision."""
        plan = installed.cache or CachePlan()
        prices = self.prices(installed)
        return Compaction(self.decoder, prices, plan.eviction, plan.coder, plan.checkpoints)

    def cost(self, work: Work, *, prompt_tokens: int, new_tokens: int) -> Cost:
        """Return the cost of counted work."""
        size = torch.empty(0, dtype=self.decoder.dtype).element_size()
        counted = work_cost(self.shape, work, cache_bytes=size)
        return replace(counted, prompt_tokens=prompt_tokens, new_tokens=new_tokens)

    def passed(  # noqa: PLR0913  # what is read, what is wanted, and where it is counted
        self,
        feeds: Sequence[Feed],
        depth: Depth,
        wanted: Sequence[Sequence[int]],
        works: Sequence[Work],
        traces: Sequence[Trace],
        *,
        choices: bool = False,
    ) -> torch.Tensor:
        """Run one forward pass and count it, row by row; return the wanted logits or choices.

        Args:
            wanted: for each feed the indices into its tokens whose logits are wanted.
            works, traces: the counts of each feed's row, added to in place.
            choices: return the indices of the largest logits in their place.
        """
        if len(feeds) > 1 and not self.decoder.joins(feeds):
            each = zip(feeds, wanted, works, traces, strict=True)
            one = partial(self.passed, choices=choices)
            return torch.cat([one([f], depth, [i], [w], [t]) for f, i, w, t in each])
        *starts, total = accumulate((len(feed.tokens) for feed in feeds), initial=0)
        rows = [at + i for at, indices in zip(starts, wanted, strict=True) for i in indices]
        held = sum(feed.cache.entries for feed in feeds) // len(feeds)
        with memory_told(lambda: pass_told([feed.cache for feed in feeds], total)):
            passed = self.decoder.forward(feeds, depth, logit_rows=rows, choices=choices)
        attentions, mlps = sum(depth.layout.attention), sum(depth.layout.mlp)
        widths, heads, entries = passed.mlp_widths, len(rows), passed.entries
        prices = self._tables.of(way_of(self.decoder, depth, feeds))
        price = prices.mlp_seconds(widths)
        price += prices.seconds(total, held, attention=attentions, mlp=0, head_rows=heads)
        again = others = passed.head_again * self.shape.width
        weight_bytes = self.decoder.weight_bytes(depth, widths, total, heads, choices=choices)
        if self.decoder.pads:
            others += padding(self.shape, total, attentions=attentions, widths=widths, head=heads)
        share = 1 / len(feeds)
        counted = zip(feeds, starts, wanted, works, traces, strict=True)
        for feed, at, indices, work, trace in counted:
            n = len(feed.tokens)
            before, tree = feed.cache.entries - n, feed.parents
            read = seen(self.decoder, depth.layout, n, before, parents=tree, entries=entries)
            runs = int(passed.mlp_runs[at : at + n].sum())
            work.add(
                Work(
                    attention_tokens=attentions * n,
                    mlp_tokens=runs,
                    head_tokens=len(indices),
                    scores=read.scores,
                    keys_read=read.keys,
                    weight_bytes=(weight_bytes + 4 * again) * share,
                    others=others * share,
                    calls=1,
                    price=price * n / total,
                )
            )
            if feed.cache.rebuild:
                work.add(feed.cache.rebuild.work(feed, attentions))
            trace.mlp_skipped += mlps * n - runs
        check_numbers(logits := passed.logits.cpu())  # the one transfer of a pass
        return logits


def _read(
    logits: torch.Tensor, continuation: Sequence[int], start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nats, choices and margins of the continuation tokens from `start` on."""
    targets = torch.tensor(continuation[start : start + logits.shape[0]], dtype=torch.long)
    wide = logits.float()
    nats = torch.nn.functional.cross_entropy(wide, targets, reduction="none")
    top = wide.topk(2, dim=-1).values
    margin = top[:, 0] - top[:, 1]
    return nats.double().numpy(), wide.argmax(dim=-1).numpy(), margin.double().numpy()
