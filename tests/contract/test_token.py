"""The contract of the `token` seam: under a constraint its base is full masking."""

from __future__ import annotations

import re
from functools import cache, partial
from itertools import pairwise

import pytest

from contract.tiny_engine import DIALS, PROMPTS, decisions, named, tokens_of
from laws import same_law
from rheostat import catalog
from rheostat.kernel.seams import Installed
from rheostat.workloads.constraints import wanted

TOKEN = named("token")
OWN = [n for n in TOKEN if not catalog.method(n.partition("#")[0]).card.control]
DRAFTS = named("draft")
TEXT = "the cat and the hat and the cat in the hat"


@cache
def few_words(text, ended):
    """The prompt's words alone, so that drafts are accepted, and at least two of them."""
    words = text.split(" ")
    known = all(word in TEXT.split() for word in words[:-1])
    begun = any(word.startswith(words[-1]) for word in TEXT.split())
    whole = words[-1] in TEXT.split() and len(words) > 1
    return known and (whole if ended else begun)


CONSTRAINT = wanted(few_words)


def answers(bench, dials, prompts=PROMPTS, **more):
    return bench.outputs(bench.installed(**dials), prompts, constraint=CONSTRAINT, **more)


@pytest.fixture(scope="module")
def masked(bench):
    """The base: every token is checked."""
    return answers(bench, {})


def calls(outputs):
    return sum(output.trace.constraint_calls for output in outputs)


def valid(output):
    return few_words(output.text, output.stop_reason == "eos")


def test_the_constraint_changes_the_answers_and_holds(bench, masked):
    assert not any(map(valid, bench.reference()))
    assert all(map(valid, masked))
    assert calls(masked) > 250 * sum(len(o.token_ids) for o in masked)


@pytest.mark.parametrize("name", TOKEN)
@pytest.mark.parametrize("dial", DIALS)
def test_every_method_takes_the_tokens_of_full_masking(bench, masked, name, dial):
    assert tokens_of(answers(bench, {name: dial})) == tokens_of(masked)


@pytest.mark.parametrize("name", OWN)
def test_a_higher_dial_needs_no_more_calls_for_the_same_tokens(bench, name):
    counts = [calls(answers(bench, {name: dial})) for dial in DIALS]
    assert all(after <= 1.01 * before for before, after in pairwise(counts))
    assert counts[-1] < counts[0] / 2


@pytest.mark.parametrize("name", OWN)
def test_no_control_needs_fewer_calls(bench, name):
    own = calls(answers(bench, {name: 1.0}, temperature=1.0))
    for control in set(TOKEN) - set(OWN):
        assert own < calls(answers(bench, {control: 1.0}, temperature=1.0))


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("name", [None, *TOKEN])
def test_drafts_keep_the_greedy_tokens_under_a_constraint(bench, masked, name, draft):
    dials = {draft: 1.0} | ({name: 1.0} if name else {})
    drafted = [answers(bench, dials, [prompt])[0] for prompt in PROMPTS]
    assert tokens_of(drafted) == tokens_of(masked)
    assert sum(o.trace.proposed for o in drafted) > 0
    if bench.installed(**{draft: 1.0}).models is None:  # forwards do not know the constraint
        assert sum(o.trace.accepted for o in drafted) > 0


@pytest.mark.parametrize("name", TOKEN)
def test_drawn_answers_have_the_law_of_full_masking(shallow, name):
    sampling = {"max_new_tokens": 8, "temperature": 1.5}
    draw = partial(answers, shallow, prompts=[TEXT] * 150, **sampling)
    plain, own = draw({}), draw({name: 1.0}, seed=1)
    assert all(map(valid, [*plain, *own]))
    for place in (1, 4):
        assert same_law(*([o.token_ids[place:][:1] for o in made] for made in (plain, own)))


@pytest.mark.parametrize("draft", DRAFTS)
def test_drafts_keep_the_law_under_a_constraint(shallow, draft):
    sampling = {"max_new_tokens": 12, "temperature": 1.0, "constraint": CONSTRAINT}
    plain, drafted = (
        shallow.outputs(shallow.installed(**dials), [TEXT] * 200, seed=seed, **sampling)
        for seed, dials in enumerate([{"awrs": 1.0}, {"awrs": 1.0, draft: 1.0}])
    )
    assert sum(o.trace.proposed - o.trace.accepted for o in drafted) > 30
    if shallow.installed(**{draft: 1.0}).models is None:
        assert sum(o.trace.accepted for o in drafted) > 30
    for place in (3, 7):
        assert same_law(*([o.token_ids[place:][:1] for o in made] for made in (plain, drafted)))


@pytest.mark.parametrize("name", TOKEN)
def test_a_row_under_a_constraint_is_not_changed_by_its_neighbours(bench, name):
    together = answers(bench, {name: 1.0}, temperature=1.0)
    again = answers(bench, {name: 1.0}, temperature=1.0)
    assert tokens_of(together) == tokens_of(again)
    assert [decisions(o) for o in together] == [decisions(o) for o in again]
    (alone,) = answers(bench, {name: 1.0}, PROMPTS[:1], temperature=1.0)
    assert tokens_of([alone]) == tokens_of(together[:1])


@pytest.mark.parametrize("lossy", [*named("depth"), *named("cache")])
def test_the_constraint_holds_over_every_depth_and_cache(bench, lossy):
    outputs = answers(bench, {lossy: 1.0, "awrs": 1.0})
    assert all(map(valid, outputs))


@pytest.mark.parametrize("name", TOKEN)
def test_a_regular_expression_gives_the_tokens_of_its_own_mask(bench, name):
    pytest.importorskip("llguidance", reason="needs the extra `constraints`")
    pattern = "(the (cat|hat) (and|in) )+the end"
    outputs = [
        bench.outputs(one, constraint=wanted(f"regex:{pattern}"), max_new_tokens=24)
        for one in (Installed(), bench.installed(**{name: 1.0}))
    ]
    assert tokens_of(outputs[0]) == tokens_of(outputs[1])
    ended = [o.text for o in outputs[0] if o.stop_reason == "eos"]
    assert all(re.fullmatch(pattern, text) for text in ended)
    assert calls(outputs[0]) <= sum(len(o.token_ids) + 1 for o in outputs[0])  # a mask a token
