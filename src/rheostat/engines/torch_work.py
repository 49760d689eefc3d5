"""The work of a pass before it is run, for searches: what the engine would count afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.engines.torch_seen import seen
from rheostat.kernel.model_cost import Work
from rheostat.kernel.seams import Depth

if TYPE_CHECKING:
    from rheostat.engines.decoder import Decoder
    from rheostat.kernel.seams import Layout


def predicted_work(  # noqa: PLR0913  # a pass has many sizes
    model: Decoder, n: int, context: int, *, layout: Layout, mlps: float, head_rows: int
) -> Work:
    """Return the work of a greedy pass.

    Args:
        model: what runs the pass.
        n: new tokens.
        context: cached entries before them.
        layout: the sub-layers that exist.
        mlps: share of its MLPs that run.
        head_rows: tokens whose choices are computed.
    """
    attentions, run = sum(layout.attention), sum(layout.mlp) * mlps
    widths = [n] * round(run)
    read = seen(model, layout, n, context)
    return Work(
        attention_tokens=attentions * n,
        mlp_tokens=round(run * n),
        head_tokens=head_rows,
        scores=read.scores,
        keys_read=read.keys,
        weight_bytes=model.weight_bytes(Depth(layout), widths, n, head_rows, choices=True),
    )
