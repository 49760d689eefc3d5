"""Root mean square norms, rounded once where their weights are held in a wider format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from rheostat.engines.architecture import Architecture


def norm_dtype(architecture: Architecture, dtype: torch.dtype) -> torch.dtype:
    """Return the format of a model's norms, whose activations are in `dtype`.

    Gemma's weights are 1 + w with a small w, of which a narrow format keeps little: there a norm
    is computed in float32 and rounded behind its weights, as in its own code.
    """
    return torch.float32 if architecture.post_norms else dtype


def rms_normed(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Return x divided by the root mean square of its last dimension, times the weights."""
    if weight.dtype == x.dtype:
        return F.rms_norm(x, weight.shape, weight, eps)
    return F.rms_norm(x.to(weight.dtype), weight.shape, weight, eps).to(x.dtype)
