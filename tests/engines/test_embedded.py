"""The embedded model: fetched once by pip, verified, and never half there.

pip itself runs here, without a network: its index is a folder with a wheel made on the spot.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from rheostat.engines.cache_folder import cache_folder
from rheostat.engines.embedded import EMBEDDED, EmbeddedModel, Part, embedded_file
from rheostat.engines.licences import accept_licence
from rheostat.errors import ModelError, OutputError, UserError

CONTENT = b"GGUF" + bytes(1000)
PART = Part(package="rheostat-small-model==1.0", member="rheostat_small_model/small.gguf")
MODEL = EmbeddedModel(
    name="small",
    file="small.gguf",
    parts=(PART,),
    digest=hashlib.sha256(CONTENT).hexdigest(),
    size="1 kB",
)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip sees nothing but a folder; the cache is empty."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "index" / "rheostat_small_model-1.0-py3-none-any.whl"
    info = "rheostat_small_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PART.member, CONTENT)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: rheostat-small-model\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.usefixtures("wheel")
def test_a_fetched_file_is_whole_and_alone() -> None:
    said: list[str] = []
    path = embedded_file(MODEL, progress=said.append)
    assert path.read_bytes() == CONTENT
    assert everything(path.parent) == ["small.gguf"]
    assert said == ["fetching small (1 kB, once) from PyPI"]


def test_a_file_that_is_there_is_not_fetched_again(wheel: Path) -> None:
    embedded_file(MODEL)
    wheel.unlink()
    said: list[str] = []
    assert embedded_file(MODEL, progress=said.append).read_bytes() == CONTENT
    assert said == []


def test_no_network_says_where_to_put_the_file() -> None:
    with pytest.raises(ModelError, match="`small` could not be fetched from PyPI") as caught:
        embedded_file(MODEL)
    assert caught.value.hint == f"connect once, or put the file at {MODEL.path}"
    assert everything(cache_folder()) == ["models"]


def test_a_file_put_in_place_by_hand_is_taken() -> None:
    MODEL.path.parent.mkdir(parents=True)
    MODEL.path.write_bytes(CONTENT)
    assert embedded_file(MODEL) == MODEL.path


@pytest.mark.usefixtures("wheel")
def test_a_wrong_checksum_names_the_file_and_says_delete() -> None:
    other = dataclasses.replace(MODEL, digest="0" * 64)
    with pytest.raises(ModelError, match="is not the file of `small`") as caught:
        embedded_file(other)
    assert str(other.path) in caught.value.message
    assert "delete it" in caught.value.hint


@pytest.mark.usefixtures("wheel")
def test_a_file_changed_after_it_was_verified_is_noticed() -> None:
    path = embedded_file(MODEL)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ModelError, match="is not the file of `small`"):
        embedded_file(MODEL)


def test_a_verified_file_is_not_read_again() -> None:
    MODEL.path.parent.mkdir(parents=True)
    MODEL.path.write_bytes(CONTENT)
    seen = embedded_file(MODEL).stat()
    # Same size and time: only reading it would show the change.
    MODEL.path.write_bytes(bytes(len(CONTENT)))
    os.utime(MODEL.path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert embedded_file(MODEL) == MODEL.path


@pytest.mark.usefixtures("wheel")
def test_a_wheel_without_the_file_is_refused_in_words() -> None:
    other = dataclasses.replace(
        MODEL, parts=(dataclasses.replace(PART, member="rheostat_small_model/other.gguf"),)
    )
    with pytest.raises(ModelError, match=r"does not hold `rheostat_small_model/other\.gguf`"):
        embedded_file(other)
    assert everything(cache_folder()) == ["models"]


@pytest.mark.usefixtures("wheel")
def test_a_cache_that_cannot_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written") as caught:
        embedded_file(MODEL)
    assert "RHEOSTAT_CACHE" in caught.value.hint


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("RHEOSTAT_CACHE", "/own")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("RHEOSTAT_CACHE")
    assert cache_folder() == Path("/caches/rheostat")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/rheostat"


def test_a_damaged_stamp_is_made_again() -> None:
    MODEL.path.parent.mkdir(parents=True)
    MODEL.path.write_bytes(CONTENT)
    embedded_file(MODEL)
    (stamp,) = (cache_folder() / "stamps").iterdir()
    for damage in ("", "[]", "null", "{}", '{"digest": 1', '{"digest": "x", "path": 3}'):
        stamp.write_text(damage)
        assert embedded_file(MODEL) == MODEL.path


def test_smollm2_is_embedded() -> None:
    assert EMBEDDED["smollm2"].path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_parts_are_joined_in_order(wheel: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("rheostat_small_model/rest.gguf", b"the rest")
    rest = dataclasses.replace(PART, member="rheostat_small_model/rest.gguf")
    both = dataclasses.replace(
        MODEL, parts=(PART, rest), digest=hashlib.sha256(CONTENT + b"the rest").hexdigest()
    )
    assert embedded_file(both).read_bytes() == CONTENT + b"the rest"


@pytest.mark.usefixtures("wheel")
def test_a_licence_is_accepted_before_anything_is_fetched() -> None:
    licensed = dataclasses.replace(MODEL, licence="gemma")
    with pytest.raises(ModelError, match="Gemma Terms of Use") as error:
        embedded_file(licensed)
    assert "--accept-licence gemma" in str(error.value.hint)
    assert "https://ai.google.dev/gemma/terms" in str(error.value.hint)
    assert not MODEL.path.exists()
    assert "https://ai.google.dev/gemma/terms" in accept_licence("gemma")
    assert embedded_file(licensed).read_bytes() == CONTENT


def test_an_unknown_licence_is_refused() -> None:
    with pytest.raises(UserError, match="no licence `mit`"):
        accept_licence("mit")
