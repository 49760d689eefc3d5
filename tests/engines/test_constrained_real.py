"""Constraints on the embedded model: whole answers are valid, drafts and masks change no token."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("llguidance", reason="needs the extra `constraints`")

from contract.tiny_engine import COPIES, Bench, named, tiny_engine, tokens_of
from rheostat.bench.constrain_tasks import DATE, TASKS, is_person, without_e
from rheostat.engines.base import Request, Sampling
from rheostat.workloads.constraints import wanted

pytestmark = pytest.mark.slow

SCHEMA, REGEX, PREDICATE = TASKS
PROMPTS = (
    'Repeat this: {"name": "Ann Lee", "age": 41, "city": "Porto"}',
    "Invent a sailor. Answer in JSON with name, age and city.",
)


@pytest.fixture(scope="module")
def real(smollm2):
    return Bench(tiny_engine(smollm2.name), {})


def chat(real, installed, prompt, constraint, **sampling):
    request = Request(id=prompt, messages=({"role": "user", "content": prompt},))
    settled = Sampling(**{"max_new_tokens": 60, "constraint": constraint, **sampling})
    (output,) = real.engine.generate([request], settled, installed=installed)
    return output


@pytest.fixture(scope="module")
def masked(real):
    return [chat(real, real.installed(), prompt, SCHEMA.constraint) for prompt in PROMPTS]


def test_json_is_valid_under_its_schema(masked):
    for output in masked:
        assert output.stop_reason == "eos"
        assert is_person(output.text)
        assert json.loads(output.text)["name"]


@pytest.mark.parametrize("name", named("token"))
def test_few_checks_take_the_tokens_of_the_mask(real, masked, name):
    made = [chat(real, real.installed(**{name: 1.0}), p, SCHEMA.constraint) for p in PROMPTS]
    assert tokens_of(made) == tokens_of(masked)
    if name == "awrs":
        tokens = sum(len(o.token_ids) for o in made)
        assert sum(o.trace.constraint_calls for o in made) < 10 * tokens


@pytest.mark.parametrize("draft", COPIES)
def test_drafts_keep_the_greedy_tokens_under_a_schema(real, masked, draft):
    installed = real.installed(**{draft: 1.0, "awrs": 1.0})
    made = [chat(real, installed, prompt, SCHEMA.constraint) for prompt in PROMPTS]
    assert tokens_of(made) == tokens_of(masked)
    assert sum(o.trace.accepted for o in made) > 3


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_drawn_answers_match(real, temperature):
    installed = real.installed(awrs=1.0)
    date = chat(real, installed, REGEX.prompts[0], REGEX.constraint, temperature=temperature)
    assert re.fullmatch(DATE, date.text)
    text = chat(
        real, installed, PREDICATE.prompts[0], PREDICATE.constraint, temperature=temperature
    )
    assert without_e(text.text)


def test_letters_of_several_tokens_are_written_whole(real):
    output = chat(real, real.installed(awrs=1.0), "Send hearts.", wanted("regex:(❤️|日本語| ){6}"))
    assert re.fullmatch("(❤️|日本語| ){6}", output.text)


def test_particles_are_valid_and_weighed(real):
    output = chat(
        real,
        real.installed(awrs=1.0),
        REGEX.prompts[0],
        REGEX.constraint,
        temperature=1.0,
        particles=6,
    )
    found = output.population
    assert all(re.fullmatch(DATE, p.text) for p in found.particles if p.weight > 0)
    assert 0 < found.probability < 0.5
