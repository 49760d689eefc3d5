"""What a dynamic depth decision sees of an MLP that ran."""

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
    """Show a policy how far the MLP turned each token that it ran for; return its state."""
    if ran is not None:
        chosen = torch.from_numpy(np.flatnonzero(ran))
        before, after = before[chosen], after[chosen]
    cosine = F.cosine_similarity(before.float(), after.float(), dim=-1).double().numpy()
    return policy.observe(layer, ran, cosine, state)
