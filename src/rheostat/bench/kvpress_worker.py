"""The process in which kvpress runs: it imports nothing of this package.

It reads one JSON object a line and answers likewise: first what to load, then text after text. A
prompt is read once and handed to every press by the package's own hook: a press works on what an
attention holds after it has attended, so none of them changes what another one sees.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def presses(kvpress: Any, kept: int, tokens: int) -> dict[str, Any]:
    """Return presses that keep so many of a text's tokens."""
    ratio = 1 - (kept + 0.5) / tokens  # the package rounds down
    names = ("StreamingLLM", "SnapKV", "TOVA", "ExpectedAttention", "Knorm")
    made = {name: getattr(kvpress, f"{name}Press")(compression_ratio=ratio) for name in names}
    merging = kvpress.MergingPress(press=kvpress.SnapKVPress(compression_ratio=ratio))
    return made | {"Merging of SnapKV": merging}


def every_press(kvpress: Any, all_presses: Mapping[str, Any]) -> Any:
    """Return a press that lets the whole cache stay and keeps what the others made of it."""

    class Every(kvpress.BasePress):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self.made: dict[str, list[Any]] = {name: [] for name in all_presses}

        def post_init_from_model(self, model: Any) -> None:
            for press in all_presses.values():
                press.post_init_from_model(model)

        def compress(self, *args: Any) -> Any:
            for name, press in all_presses.items():
                self.made[name].append(press.compress(*args))
            return args[2], args[3]

    return Every()


@torch.inference_mode()
def answered(kvpress: Any, model: Any, order: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every press, and the whole cache, make of a text's continuation."""
    prompt, told = order["prompt"], order["continuation"]
    all_presses = {
        f"{name} {share}": press
        for share, kept in order["kept"].items()
        for name, press in presses(kvpress, kept, len(prompt)).items()
    }
    every = every_press(kvpress, all_presses)
    cache: Any = transformers.DynamicCache()
    with every(model):
        first = model(torch.tensor([prompt]), past_key_values=cache, logits_to_keep=1).logits[0]
    whole = [(layer.keys, layer.values) for layer in cache.layers]
    made = {"base": continued(model, whole, first, len(prompt), told)}
    for name, held in every.made.items():
        made[name] = continued(model, held, first, len(prompt), told)
    return made


def continued(
    model: Any, held: Sequence[Any], first: torch.Tensor, at: int, told: Sequence[int]
) -> dict[str, Any]:
    """Read a continuation after what a cache holds; its tokens keep their true positions."""
    cache: Any = transformers.DynamicCache()
    for layer, (keys, values) in enumerate(held):
        cache.update(keys, values, layer)
    logits, targets = first, torch.tensor(told)
    if len(told) > 1:
        places = torch.arange(at, at + len(told) - 1)[None]
        more = model(torch.tensor([told[:-1]]), past_key_values=cache, position_ids=places)
        logits = torch.cat([first, more.logits[0]])
    nats = torch.nn.functional.cross_entropy(logits, targets)
    kept = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    return {
        "nats": float(nats),
        "right": bool((logits.argmax(dim=1) == targets).all()),
        "bytes": sum(part.numel() * part.element_size() for part in kept),
    }


def main() -> None:
    """Load what the first line names, then answer line by line."""
    import kvpress  # type: ignore[import-not-found,unused-ignore]  # in this process alone

    order = json.loads(sys.stdin.readline())
    torch.set_num_threads(order["threads"])
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        order["folder"], gguf_file=order["file"], dtype=torch.float32
    ).eval()  # type: ignore[no-untyped-call]  # transformers' own
    for line in sys.stdin:
        made = answered(kvpress, model, json.loads(line))
        sys.stdout.write(json.dumps(made) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
