"""The tokenizer and chat template of a GGUF file, with the same results as transformers.

Byte-level BPE (GPT-2): text is cut by the rule of the model's family, each piece's UTF-8 bytes
become letters, and letters are merged by rank. Streaming works on bytes, so a character that
spans tokens is held back until it is whole.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, final

import jinja2
import tokenizers
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from rheostat.engines.tokenizer_backend import read_tokenizer
from rheostat.engines.tokenizer_pieces import CONTROL, SPACE, USER_DEFINED, sentencepiece_json
from rheostat.errors import ModelError, WorkloadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rheostat.engines.gguf_metadata import GgufTokenizer
    from rheostat.engines.weights_cache import LoadedModel

_RAW = "use raw prompts (`--raw`, without `--chat`) with it"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
# SmolLM's rule takes every digit by itself before GPT-2's rule cuts the rest.
_DIGITS_APART: Mapping[str, bool] = MappingProxyType({"smollm": True, "gpt-2": False})


def tokenizer_json(path: Path, raw: GgufTokenizer) -> str:
    """Return the `tokenizer.json` of a file's tokenizer; raise `ModelError` when unsupported."""
    if raw.model == "llama" and not raw.adds_space:
        return sentencepiece_json(path, raw)
    if raw.model != "gpt2" or raw.pre not in _DIGITS_APART or raw.adds_bos:
        found = f"`{raw.model}` / `{raw.pre}`{' with a start token' if raw.adds_bos else ''}"
        raise ModelError(
            f"`{path}` has the tokenizer {found}, which is not supported",
            hint=f"supported: `gpt2` with {', '.join(f'`{name}`' for name in _DIGITS_APART)}, and "
            "`llama` without a space before the text",
        )
    vocabulary = {token: i for i, token in enumerate(raw.tokens)}
    merges = [merge.partition(" ")[::2] for merge in raw.merges]
    try:
        model = models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False, byte_fallback=False)
    # The library raises plain `Exception` for a merge whose parts or result are no tokens.
    except Exception as error:
        raise ModelError(
            f"`{path}` holds merges that do not fit its tokens: {error}",
            hint="it may be damaged or half downloaded: fetch it again",
        ) from error
    backend = tokenizers.Tokenizer(model)
    bytes_rule = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits_rule = pre_tokenizers.Digits(individual_digits=True)
    rules = [digits_rule, bytes_rule] if _DIGITS_APART[raw.pre] else [bytes_rule]
    backend.pre_tokenizer = pre_tokenizers.Sequence(rules)
    backend.decoder = decoders.ByteLevel()
    for token, kind in zip(raw.tokens, raw.kinds, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            special = kind == CONTROL
            backend.add_tokens([AddedToken(token, special=special, normalized=False)])
    return backend.to_str()


@final
class Tokenizer:
    """Text to token ids and back, and chat messages to text."""

    def __init__(
        self,
        *,
        tokenizer_json: str,
        chat_template: str | None,
        named_tokens: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Build from a `tokenizer.json`; `named_tokens` (`bos_token` ...) serve the template."""
        try:
            self._backend = read_tokenizer(tokenizer_json)
        # The library raises plain `Exception` for a file that it cannot read.
        except Exception as error:
            raise ModelError(
                f"the model's tokenizer cannot be read: {error}",
                hint="it may be damaged, or made for a newer version of `tokenizers`",
            ) from error
        decoder = self._backend.decoder
        self._letters = decoder is not None and b'"ByteLevel"' in decoder.__getstate__()
        """Whether tokens are written in letters that stand for bytes."""
        self._chat_template = chat_template
        self._named_tokens = dict(named_tokens)

    @staticmethod
    def of(model: LoadedModel) -> Tokenizer:
        """Return the tokenizer of a loaded model."""
        return Tokenizer(
            tokenizer_json=model.tokenizer_json,
            chat_template=model.chat_template,
            named_tokens=model.named_tokens,
        )

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens written out in it become those tokens."""
        try:
            ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeError, TypeError) as error:
            raise WorkloadError(
                "the text holds half a surrogate pair, which is no Unicode text",
                hint="write the character itself, or both halves of its JSON escape",
            ) from error
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens written out; broken UTF-8 becomes U+FFFD."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=False)
        return text

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Tokens that raw text begins with, such as the start of a sequence."""
        return tuple(self._backend.encode("", add_special_tokens=True).ids)

    @property
    def chats(self) -> bool:
        """Whether the model has a chat template."""
        return bool(self._chat_template)

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its id."""
        found: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        return found

    def stream(self) -> StreamDecoder:
        """Return a decoder that takes one token at a time."""
        return StreamDecoder(self)

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; an id outside the vocabulary has none."""
        letters = self._backend.id_to_token(token) or ""
        if not self._letters:
            found = _BYTE_TOKEN.fullmatch(letters)
            return bytes([int(found[1], 16)]) if found else letters.replace(SPACE, " ").encode()
        try:
            return bytes(_BYTE_OF_LETTER[letter] for letter in letters)
        except KeyError:
            return letters.encode()

    def chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True
    ) -> str:
        """Return the text that the model's own template makes of messages."""
        _check_messages(messages)
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                **self._named_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise WorkloadError(
                f"the model's chat template refuses these messages: {error}"
            ) from error

    @cached_property
    def _template(self) -> jinja2.Template:
        if not self._chat_template:
            raise ModelError("the model has no chat template", hint=_RAW)
        try:
            return _environment().from_string(self._chat_template)
        except jinja2.TemplateError as error:
            raise ModelError(
                f"the model's chat template cannot be read: {error}",
                hint=_RAW,
            ) from error


@final
class StreamDecoder:
    """Turns tokens into text one by one; the pieces put together equal `decode` of all."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Return the characters that this token completes, which may be none."""
        return self._utf8.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """Return what an unfinished character at the end decodes to."""
        return self._utf8.decode(b"", final=True)


def _byte_of_letter() -> Mapping[str, int]:
    """Return GPT-2's table: printable bytes are their own letters, the others follow U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return MappingProxyType(table | {chr(0x100 + i): byte for i, byte in enumerate(others)})


_BYTE_OF_LETTER = _byte_of_letter()


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise `WorkloadError` unless every message has a role and a content, both text."""
    hint = 'a message is {"role": "user", "content": "..."}'
    if not messages:
        raise WorkloadError("the list of messages is empty", hint=hint)
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping):
            raise WorkloadError(f"message {number} is no object", hint=hint)
        for key in ("role", "content"):
            if key not in message:
                raise WorkloadError(f"message {number} lacks `{key}`", hint=hint)
            if not isinstance(message[key], str):
                raise WorkloadError(f"`{key}` of message {number} is not text", hint=hint)


def _environment() -> ImmutableSandboxedEnvironment:
    """Return jinja2 as chat templates expect it, set up as transformers does."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _tojson(value: object, indent: int | None = None) -> str:
    # jinja2's own filter escapes for HTML, which a prompt is not.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
