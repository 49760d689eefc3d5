"""What a policy that decides about MLPs is told of one that ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from rheostat.kernel.seams import Bools, MlpPolicy


def observed(  # noqa: PLR0913  # the arguments of one call of `MlpPolicy.observe`
    policy: MlpPolicy,
    layer: int,
    ran: Bools | None,
    before: torch.Tensor,
    after: torch.Tensor,
    state: object,
) -> object:
    """Tell the policy how much the MLP changed the stream; return the policy's new state.

    Args:
        ran: for which tokens it ran; None = for all of them.
        before, after: the residual stream, [n, width].
    """
    if ran is not None:
        chosen = torch.from_numpy(np.flatnonzero(ran))
        before, after = before[chosen], after[chosen]
    cosine = F.cosine_similarity(before.float(), after.float(), dim=-1).double().numpy()
    return policy.observe(layer, ran, cosine, state)
