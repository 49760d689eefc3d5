"""Models and workloads that the tests of profile and plan share."""

from __future__ import annotations

import json

import pytest

WORDS = tuple(f"w{i}" for i in range(60))
COUNT = 24
LENGTH = 12


@pytest.fixture(scope="session")
def stages_cache(tmp_path_factory):
    """A cache folder for fixtures that outlive a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two processors on loopback, ended with the module."""
    ray = pytest.importorskip("ray", reason="needs the `ray` extra")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, stages_cache):
    """A tiny random llama with middle layers on the `torch` engine, and prices of its own."""
    pytest.importorskip("torch", reason="needs the `torch` extra")
    from contract.tiny_engine import LAYERS, tiny_engine
    from engines.tiny_gguf import write_tiny_gguf

    path = tmp_path_factory.mktemp("stages") / "deep.gguf"
    return tiny_engine(write_tiny_gguf(path, layers=LAYERS, seed=2))


@pytest.fixture(scope="session")
def shallow(tiny_gguf, stages_cache):
    """A tiny random llama of two layers."""
    from contract.tiny_engine import tiny_engine

    return tiny_engine(tiny_gguf)


def write_lines(path, lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def questions(tmp_path_factory):
    """A workload of short texts with references."""
    heads = ("the cat", "a hat", "in the star", "is it on", "and there", "or else")
    tails = ("on the mat", "of the sea", "to be or", "with all")
    lines = [
        {"prompt": f"{head} {tail}", "reference": tail[::-1]} for head in heads for tail in tails
    ]
    return write_lines(tmp_path_factory.mktemp("questions") / "questions.jsonl", lines)


def scripted(folder, *, copies):
    """A scripted engine whose answers repeat the prompt, or share no word with it."""
    from rheostat.engines.scripted import ScriptedEngine
    from rheostat.engines.scripted_model import ScriptedSpec

    prompts = [[WORDS[(i + 2 * j) % 30] for j in range(LENGTH)] for i in range(COUNT)]
    answers = prompts if copies else [list(WORDS[30 + i % 18 :][:LENGTH]) for i in range(COUNT)]
    spec = ScriptedSpec(
        vocabulary=(*WORDS, "<end>"),
        default={"<end>": 1.0},
        answers={
            " ".join(prompt): {" ".join(answer): 1.0}
            for prompt, answer in zip(prompts, answers, strict=True)
        },
        seconds={1: 1.0, 2: 1.1, 8: 1.4, 16: 2.0},
    )
    path = folder / "spec.json"
    path.write_text(spec.model_dump_json(), encoding="utf-8")
    lines = [{"prompt": " ".join(prompt), "reference": ""} for prompt in prompts]
    engine = ScriptedEngine(spec, model=f"scripted:{path}")
    return engine, write_lines(folder / "workload.jsonl", lines)


@pytest.fixture
def copying(tmp_path):
    """A scripted engine that repeats its prompts, and the workload."""
    return scripted(tmp_path, copies=True)


@pytest.fixture
def inventing(tmp_path):
    """A scripted engine that never repeats anything, and the workload."""
    return scripted(tmp_path, copies=False)


LIMIT = 0.9
CERTIFIED = {"loss": "disagree", "confidence": 0.9, "max_new_tokens": 8}
HEADS = ("the cat", "a hat", "in the star", "is it on", "and there", "or else", "that is", "to see")
PLANNED = ("mat", "sea", "bee", "hat", "all", "one", "two", "so", "be")
CHECKED = ("to", "it", "on", "in", "at", "is", "as", "an", "he")


def texts(words):
    """Lines of short prompts."""
    return [{"prompt": f"{head} {word}", "reference": word} for head in HEADS for word in words]


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """Texts to plan on, and others to check on."""
    folder = tmp_path_factory.mktemp("texts")
    return (
        write_lines(folder / "plan.jsonl", texts(PLANNED)),
        write_lines(folder / "check.jsonl", texts(CHECKED)),
    )


@pytest.fixture(scope="session")
def certified(tiny, corpora):
    """A plan of the tiny model with a certificate."""
    from rheostat.stages.plan import make_plan

    return make_plan(tiny, corpora[0], max_loss=LIMIT, **CERTIFIED)


def limited(plan, limit):
    """The plan with a certificate that claims another limit, sealed anew."""
    from rheostat.kernel.certify.seal import sealed

    return sealed(plan, {**plan.certificate, "limit": limit})
