"""A `tokenizer.json` as the `tokenizers` library holds it, in less memory where it can be.

The library reads a file into values of JSON first, among which the tables that stay are scattered.
Here Python reads it, and a byte-pair model's tables are handed over as they are; the rest of the
file is read by the library, with the added tokens alone for a vocabulary (ours).
"""

from __future__ import annotations

import json
from typing import Any, TypeGuard

import tokenizers
from tokenizers import models

_OPTIONS = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)
_KNOWN = {"type", "vocab", "merges", *_OPTIONS}


def read_tokenizer(text: str) -> tokenizers.Tokenizer:
    """Read a `tokenizer.json`; raises what the library does, `Exception`, where it cannot."""
    held = json.loads(text)
    model = held.get("model") if isinstance(held, dict) else None
    if not _is_byte_pairs(model):
        return tokenizers.Tokenizer.from_str(text)
    vocabulary, merges = model.pop("vocab"), model.pop("merges")
    pairs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]
    added = {token["content"]: token["id"] for token in held["added_tokens"]}
    held["model"] = {**model, "vocab": added, "merges": []}
    backend = tokenizers.Tokenizer.from_str(json.dumps(held))
    options = {name: model[name] for name in _OPTIONS if model.get(name) is not None}
    backend.model = models.BPE(vocab=vocabulary, merges=pairs, **options)
    return backend


def _is_byte_pairs(model: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a model is one of byte pairs with no field that is not known here."""
    return (
        isinstance(model, dict)
        and model.get("type") == "BPE"
        and set(model) <= _KNOWN
        and {"vocab", "merges"} <= set(model)
    )
