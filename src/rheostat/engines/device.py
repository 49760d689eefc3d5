"""The device that a model runs on, by the name that a user gives."""

from __future__ import annotations

import torch

from rheostat.errors import UserError

DEVICES = ("cpu", "cuda", "mps")
"""Kinds of device that can be asked for; `cuda:1` names the second of several."""
CPU = torch.device("cpu")
OFFERED = frozenset({"depth.parts", "depth.static", "draft", "stop", "token"})
"""What is offered on other devices than a processor: decisions that need nothing between layers."""


def checked_device(name: str | None) -> torch.device:
    """Return a device; raise `UserError` when there is no such one here. None = the processor."""
    kind, colon, number = (name or "cpu").partition(":")
    if kind not in DEVICES or (colon and not (number.isdigit() and kind == "cuda")):
        raise UserError(
            f"there is no device `{name}`",
            hint=f"choose {', '.join(f'`{d}`' for d in DEVICES)}, or `cuda:1` for the second GPU",
        )
    if kind == "cuda":
        _check_cuda(int(number or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            "`--device mps` asks for an Apple GPU, and torch finds none here",
            hint="leave `--device` out to run on the processor",
        )
    return torch.device(name or "cpu")


def check_graphs(device: str | None, dtype: str) -> None:
    """Raise `UserError` where a step cannot be captured as a CUDA graph."""
    if (device or "cpu").partition(":")[0] != "cuda":
        raise UserError(
            f"`--cuda-graphs` captures steps of `--device cuda`, not of `{device or 'cpu'}`",
            hint="leave it out, or run with `--device cuda`",
        )
    if dtype == "reproducible":
        raise UserError(
            "`--cuda-graphs` has no step for `--dtype reproducible`, which attends token by token",
            hint="leave one of the two out",
        )


def _check_cuda(index: int) -> None:
    if torch.version.cuda is None and torch.version.hip is None:
        raise UserError(
            f"`--device cuda` needs a torch that is built for it, this one is {torch.__version__}",
            hint="leave `--device` out to run on the processor, or install torch with CUDA",
        )
    found = torch.cuda.device_count()
    if index >= found:
        raise UserError(
            f"`--device cuda` asks for GPU {index}, and torch finds {found or 'none'} here",
            hint="leave `--device` out to run on the processor",
        )


def settle(device: torch.device) -> None:
    """Wait until a device has done what it was given: before a clock is read."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
