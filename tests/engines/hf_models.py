"""Random models of `transformers` and their tokenizer, for tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
import transformers

from engines.tiny_gguf import tiny_merges, tiny_tokens

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = 320
ENDS = "<|im_end|>"
TEMPLATE = "{{ messages[0]['content'] }}"


def made(config, entries, *, seed):
    """A model whose biases and norms are drawn too: fresh ones are all zero or one."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**entries))
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.add_(0.2 * torch.randn_like(weight))
            elif "embed" not in key:
                weight.mul_(4)
    return model.eval()


def backend():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: i for i, token in enumerate(tiny_tokens(VOCABULARY))}
    made_of = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[tuple(m.split()) for m in tiny_merges()])
    )
    made_of.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made_of.decoder = decoders.ByteLevel()
    made_of.add_tokens([AddedToken(ENDS, special=True)])
    return made_of


def fast_tokenizer():
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend(), eos_token=ENDS, chat_template=TEMPLATE
    )


def write_tokenizer(folder: Path) -> None:
    backend().save(str(folder / "tokenizer.json"))
    told = {"eos_token": {"content": ENDS}, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
