"""Answers under a constraint: where they end, what drafts change, what a message says."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("llguidance", reason="needs the extra `constraints`")

from engines.torch_rig import ToyDrafter, engine_of, outputs, tokens_of
from engines.tree_drafts import knowing
from rheostat.catalog import method
from rheostat.engines.base import Request, Sampling
from rheostat.engines.scripted import ScriptedEngine
from rheostat.engines.scripted_model import ScriptedSpec
from rheostat.errors import ConstraintError, MethodError, UserError
from rheostat.kernel.budget import Caps
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed
from rheostat.workloads.constraints import wanted

PROMPT = "the cat and the hat"


@pytest.fixture(scope="module")
def engine(tiny_loaded):
    return engine_of(tiny_loaded)


def awrs(engine, dial=1.0, **more):
    choice = method("awrs")().at(dial, {}, engine.shape)
    return Installed(token=choice, **more)


def answer(engine, constraint, *, installed=None, prompts=(PROMPT,), **sampling):
    settled = {"max_new_tokens": 24, "constraint": wanted(constraint), **sampling}
    return outputs(engine, prompts, installed=installed or awrs(engine), **settled)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("pattern", ["[a-f]{3}", "(yes|no)!", "ü{2}é", "x*y"])
def test_an_answer_that_ended_matches(engine, pattern, temperature):
    made = answer(engine, f"regex:{pattern}", prompts=["a", "b", PROMPT], temperature=temperature)
    for output in made:
        if output.stop_reason == "eos":
            assert re.fullmatch(pattern, output.text)
        else:
            assert output.stop_reason == "length"
    if pattern != "x*y":
        assert {output.stop_reason for output in made} == {"eos"}


def test_the_end_is_taken_only_where_an_answer_may_end(engine):
    (output,) = answer(engine, "regex:a{6}", temperature=2.0)
    assert (output.text, output.stop_reason) == ("aaaaaa", "eos")
    (cut,) = answer(engine, "regex:a{60}")
    assert (len(cut.token_ids), cut.stop_reason) == (24, "length")


def test_control_tokens_have_no_place_in_an_answer(engine):
    for temperature in (0.0, 3.0):
        made = answer(engine, "regex:.*", prompts=["a", "b", "c"], temperature=temperature)
        assert not any(set(output.token_ids) & engine.special for output in made)


def test_where_nothing_is_cut_an_answer_is_that_of_no_constraint():
    engine, request = ScriptedEngine(SPEC), Request(id="1", prompt="b a")
    free, bound = (
        next(engine.generate([request], Sampling(max_new_tokens=6, **more), installed=installed))
        for installed, more in [
            (Installed(), {}),
            (awrs(engine), {"constraint": wanted(lambda text: True)}),
        ]
    )
    assert bound.token_ids == free.token_ids
    assert bound.trace.constraint_calls == len(bound.token_ids) + (bound.stop_reason == "eos")


def test_a_truncated_law_without_a_valid_token_gives_way_to_the_likeliest_one(engine):
    drawn = answer(engine, "regex:[xyz]{8}", temperature=1.0, top_k=1)
    masked = answer(engine, "regex:[xyz]{8}", installed=Installed(), temperature=1.0, top_k=1)
    assert re.fullmatch("[xyz]{8}", drawn[0].text)
    assert tokens_of(drawn) == tokens_of(masked)


@pytest.mark.parametrize("penalty", [0.7, 1.5])
def test_a_repetition_penalty_counts_before_the_constraint(engine, penalty):
    sampling = {"repetition_penalty": penalty, "max_new_tokens": 12}
    own = answer(engine, "regex:[a-p]*", **sampling)
    assert tokens_of(own) == tokens_of(
        answer(engine, "regex:[a-p]*", installed=Installed(), **sampling)
    )
    if penalty > 1:
        assert tokens_of(own) != tokens_of(answer(engine, "regex:[a-p]*", max_new_tokens=12))


def perfect(engine, constraint, wrong_at=(), **sampling):
    """A drafter that knows the answer, but for some places."""
    (known,) = answer(engine, constraint, **sampling)
    ids = list(known.token_ids)
    start = len(engine.encode(Request(id="0", prompt=PROMPT)))

    def guess(text, limit):
        at = len(text) - start
        coming = [t if at + i not in wrong_at else 50 for i, t in enumerate(ids[at:])]
        return [*coming, *engine.eos, 7][:limit]

    return known, ToyDrafter(guess)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("wrong_at", [(), (4,), (3, 7)])
@pytest.mark.parametrize("constraint", ["regex:[a-f]{12}(gh)*", "regex:(the |cat |hat )*end"])
def test_drafts_change_no_token_with_the_same_seed(engine, constraint, wrong_at, temperature):
    known, drafter = perfect(engine, constraint, wrong_at, temperature=temperature)
    (drafted,) = answer(
        engine, constraint, installed=awrs(engine, draft=drafter), temperature=temperature
    )
    assert tokens_of([drafted]) == tokens_of([known])
    assert drafted.trace.accepted > 0
    assert drafted.trace.steps < known.trace.steps


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_draft_that_branches_changes_no_token_either(engine, temperature):
    constraint = "regex:[a-f]{12}(gh)*"
    (known,) = answer(engine, constraint, temperature=temperature)
    prompt = tuple(engine.encode(Request(id="0", prompt=PROMPT)))
    beset = [(5, [(0, [50, 7]), (2, [51])]), (3, [(1, [50])]), (0, [(0, [7])])]
    drafter = knowing({prompt: known.token_ids}, beset)
    installed = awrs(engine, draft=drafter)
    (drafted,) = answer(engine, constraint, installed=installed, temperature=temperature)
    assert tokens_of([drafted]) == tokens_of([known])
    assert drafted.trace.accepted > 3


def test_a_drafted_end_ends_the_answer(engine):
    known, drafter = perfect(engine, "regex:[a-f]{12}")
    (drafted,) = answer(engine, "regex:[a-f]{12}", installed=awrs(engine, draft=drafter))
    assert (drafted.text, drafted.stop_reason) == (known.text, "eos")


def test_a_stop_string_ends_an_answer_under_a_constraint(engine):
    (output,) = answer(engine, "regex:(ab)+", stop=("bab",))
    assert (output.text, output.stop_reason) == ("a", "stop")


def dead_after_ab(text):
    return text in ("", "a", "ab")


@pytest.mark.parametrize("installed", [None, Installed()])
def test_a_dead_end_names_the_constraint_and_the_place(engine, installed):
    def never_ends(text, ended):
        return dead_after_ab(text) and not ended

    with pytest.raises(ConstraintError) as caught:
        answer(engine, never_ends, installed=installed)
    assert "`never_ends` admits no token after 'ab'" in caught.value.message
    assert "of request `0`" in caught.value.message
    assert caught.value.hint
    with pytest.raises(ConstraintError, match="admits no token at the beginning"):
        answer(engine, lambda text, ended: False, temperature=0.5)


def test_a_dead_end_holds_no_budget(engine):
    ledger = Ledger(Caps(tokens=1000))
    with pytest.raises(ConstraintError):
        outputs(
            engine,
            [PROMPT],
            installed=awrs(engine),
            ledger=ledger,
            constraint=wanted(lambda text, ended: text == "" and not ended),
        )
    assert ledger.reserved.tokens == 0


# particles

P = {"a": 0.55, "b": 0.25, "c": 0.15, "<end>": 0.05}
AFTER_A = {"a": 0.05, "b": 0.15, "c": 0.1, "<end>": 0.7}
SPEC = ScriptedSpec(
    vocabulary=("a", "b", "c", "<end>"), default=P, table={"a": AFTER_A}, context=64
)
LANGUAGE = {"a a b", "b b b", "b c b", "c b a"}


def begins(text, ended):
    """Three words; `c c` may be begun but never ends well."""
    if ended:
        return text in LANGUAGE
    return text == "c c" or any((whole + " ").startswith(text + " ") for whole in LANGUAGE | {""})


def chance(text):
    words, p = ["b", *text.split(), "<end>"], 1.0
    for before, word in pairwise(words):
        p *= (AFTER_A if before == "a" else P)[word]
    return p


EXACT = {text: chance(text) for text in LANGUAGE}
Z = sum(EXACT.values())


def shares(population):
    found = dict.fromkeys(LANGUAGE, 0.0)
    for particle in population.particles:
        if particle.weight > 0:
            found[particle.text] += particle.weight
    return found


def toy(installed, *, particles, seed=0, engine=None, **more):
    engine = engine or ScriptedEngine(SPEC)
    sampling = Sampling(
        max_new_tokens=8,
        temperature=1.0,
        seed=seed,
        particles=particles,
        constraint=wanted(begins),
    )
    (output,) = engine.generate(
        [Request(id="1", prompt="b")], sampling, installed=installed, **more
    )
    return output


def choices():
    shape = ScriptedEngine(SPEC).shape
    for estimator in ("recursive", "geometric", "auto"):
        yield estimator, method("awrs")(estimator=estimator).at(1.0, {}, shape)
    yield "blocks", method("awrs")().at(0.5, {}, shape)
    yield "tries", method("fixed_tries")().at(1.0, {}, shape)
    yield "mask", None


CHOICES = dict(choices())


def local_law():
    """What masking every step by itself gives: each step's law renormalised."""
    found = {}
    for text in LANGUAGE:
        words, p = [*text.split(), "<end>"], 1.0
        for i, word in enumerate(words):
            law = AFTER_A if i and words[i - 1] == "a" else P
            so_far = " ".join(words[:i])
            nexts = {
                w: law[w]
                for w in law
                if (
                    begins(so_far, True) if w == "<end>" else begins(f"{so_far} {w}".strip(), False)
                )
            }
            p *= nexts[word] / sum(nexts.values())
        found[text] = p
    return found


def distance(first, second):
    return sum(abs(first[text] - second[text]) for text in LANGUAGE) / 2


@pytest.mark.parametrize("name", CHOICES)
def test_particles_have_the_law_of_exact_enumeration(name):
    population = toy(Installed(token=CHOICES[name]), particles=3000).population
    exact = {text: p / Z for text, p in EXACT.items()}
    assert distance(exact, local_law()) > 0.2  # step by step it is another law
    assert distance(shares(population), exact) < 0.04
    assert population.probability == pytest.approx(Z, rel=0.2)
    assert sum(p.weight for p in population.particles) == pytest.approx(1)


@pytest.mark.parametrize("name", ["recursive", "geometric"])
def test_few_particles_estimate_the_probability_without_bias(name):
    made = [
        toy(Installed(token=CHOICES[name]), particles=10, seed=seed).population.probability
        for seed in range(400)
    ]
    assert np.mean(made) == pytest.approx(Z, rel=0.08)


def test_no_particle_with_weight_is_invalid_and_the_answer_holds_most_of_it():
    output = toy(Installed(token=CHOICES["auto"]), particles=50)
    found = shares(output.population)
    assert output.text == max(found, key=found.get)
    assert all(p.text in LANGUAGE for p in output.population.particles if p.weight > 0)
    assert {"particles", "probability", "effective"} <= set(output.to_json())


def test_an_answer_at_the_limit_pays_for_its_end():
    engine = ScriptedEngine(SPEC)
    sampling = Sampling(
        max_new_tokens=3, temperature=1.0, particles=4000, constraint=wanted(begins)
    )
    (output,) = engine.generate(
        [Request(id="1", prompt="b")], sampling, installed=Installed(token=CHOICES["auto"])
    )
    assert output.population.probability == pytest.approx(Z, rel=0.2)
    assert {p.stop_reason for p in output.population.particles if p.weight > 0} == {"length"}


def test_particles_of_a_model_share_the_prompt_and_keep_the_law(engine):
    """On the `torch` engine: the shares are those of the model's own reading of each text."""
    texts = ["aba", "abc", "xyz"]
    (output,) = answer(
        engine, f"regex:{'|'.join(texts)}", temperature=1.0, particles=400, max_new_tokens=4
    )
    prompt = engine.encode(Request(id="1", prompt=PROMPT))
    (eos,) = sorted(engine.eos)[:1]
    spelt = {}
    for particle in output.population.particles:
        if particle.weight > 0:
            spelt.setdefault(particle.token_ids, []).append(particle)
    masses = {}
    for ids in spelt:
        nats = engine.score(prompt, [*ids, eos], installed=Installed()).nats
        masses[ids] = np.exp(-nats.sum())
    total = sum(masses.values())
    for ids, particles in spelt.items():
        share = sum(p.weight for p in particles)
        assert share == pytest.approx(masses[ids] / total, abs=0.12)
        assert particles[0].text in texts
    assert output.cost.prompt_tokens == len(prompt)
    assert output.cost.new_tokens >= 3 * 400 / 2


def test_the_same_seed_draws_the_same_particles(engine):
    first, second, third = (
        answer(engine, "regex:[abc]{2,5}", temperature=1.0, particles=6, seed=s)[0].population
        for s in (1, 1, 2)
    )
    assert first == second
    assert first != third


def test_particles_stay_within_a_budget(engine):
    ledger = Ledger(Caps(tokens=150, calls=200))
    (output,) = outputs(
        engine,
        [PROMPT],
        installed=awrs(engine),
        ledger=ledger,
        constraint=wanted("regex:[abc]*"),
        temperature=1.0,
        particles=5,
        max_new_tokens=64,
    )
    assert ledger.spent.tokens <= 150
    assert ledger.reserved.tokens == 0
    assert ledger.closed == ""
    assert output.cost.new_tokens > 0
    assert toy(Installed(), particles=5, ledger=Ledger(Caps(tokens=3))).stop_reason == "budget"


def test_particles_that_all_die_are_told_in_words(engine):
    with pytest.raises(ConstraintError, match="none of 4 particles satisfies the constraint"):
        answer(engine, "regex:a{90}", temperature=1.0, particles=4)


def test_particles_take_no_drafts(engine):
    installed = awrs(engine, draft=ToyDrafter(lambda text, limit: []))
    with pytest.raises(MethodError, match="drafts serve them nothing"):
        answer(engine, "regex:a*", installed=installed, temperature=1.0, particles=4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"particles": 1, "temperature": 1.0}, "at least 2"),
        ({"particles": 5}, "`--temperature` is 0"),
        ({"particles": 5, "temperature": 1.0, "constraint": None}, "there is none"),
        ({"particles": 5, "temperature": 1.0, "stop": ("x",)}, "do not go together"),
    ],
)
def test_particles_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Sampling(**{"constraint": wanted(begins), **fields})


@pytest.mark.parametrize("constraint", ["regex:(a b )*c", "regex:b( b)*"])
def test_words_of_the_scripted_engine_are_spaced(constraint):
    engine = ScriptedEngine(SPEC)
    made = [
        next(
            engine.generate(
                [Request(id="1", prompt="a")],
                Sampling(max_new_tokens=9, temperature=1.0, constraint=wanted(constraint), seed=s),
                installed=installed,
            )
        )
        for s in range(8)
        for installed in (Installed(), awrs(engine))
    ]
    ended = [output.text for output in made if output.stop_reason == "eos"]
    assert ended
    assert all(re.fullmatch(constraint.removeprefix("regex:"), text) for text in ended)
