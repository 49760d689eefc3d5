"""SentencePiece's byte-pair tokens of a GGUF file as a `tokenizer.json`.

Such a file holds a score for each token in place of merges: neighbours are joined whose
concatenation scores highest (arXiv:1808.06226). Every way to cut a token into two tokens is
therefore a merge, ranked by the token's score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from rheostat.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from rheostat.engines.gguf_metadata import GgufTokenizer

SPACE = "\u2581"
"""What SentencePiece writes for a space."""
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""llama.cpp's token types: the first are merged, the others looked for in raw text."""


def sentencepiece_json(path: Path, raw: GgufTokenizer) -> str:
    """Return the `tokenizer.json`; raise `ModelError` when the file's entries do not fit."""
    if "unk" not in raw.ids or (raw.adds_bos and "bos" not in raw.ids):
        raise ModelError(
            f"`{path}` names no token for unknown text or for the start of a text",
            hint="it may be damaged or half downloaded: fetch it again",
        )
    model = models.BPE(
        vocab={token: i for i, token in enumerate(raw.tokens)},
        merges=_merges(raw),
        unk_token=raw.tokens[raw.ids["unk"]],
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    for token, kind in zip(raw.tokens, raw.kinds, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            special = kind == CONTROL
            backend.add_tokens([AddedToken(token, special=special, normalized=False)])
    if raw.adds_bos:
        bos = raw.tokens[raw.ids["bos"]]
        backend.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], special_tokens=[(bos, raw.ids["bos"])]
        )
    return backend.to_str()


def _merges(raw: GgufTokenizer) -> list[tuple[str, str]]:
    """Return the merges of every token in the order of their rank."""
    ranked = {
        token: score
        for token, score, kind in zip(raw.tokens, raw.scores, raw.kinds, strict=True)
        if kind == NORMAL
    }
    order = sorted(ranked, key=ranked.__getitem__, reverse=True)
    return [
        (token[:cut], token[cut:])
        for token in order
        for cut in range(1, len(token))
        if token[:cut] in ranked and token[cut:] in ranked
    ]
