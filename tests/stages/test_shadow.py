"""Shadowed runs: charged, predictable, resumable, and back at the base when they are refuted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat import cli
from rheostat.engines.base import Sampling
from rheostat.engines.load import load_engine
from rheostat.errors import OutputError, PlanError
from rheostat.kernel.budget import Caps
from rheostat.kernel.certify.seal import sealed
from rheostat.kernel.cost import Cost, total
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.run import run
from rheostat.stages.shadow import SHADOW, Watch, watch
from rheostat.workloads.items import load_requests
from stages.conftest import limited, write_lines

GREEDY = Sampling(max_new_tokens=8)


def read(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def answer(plan, requests, out, engine, **options):
    return run(plan, requests, out, sampling=GREEDY, engine=engine, **options)


@pytest.fixture(scope="module")
def base(tiny, corpora, tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "run"
    answer(Plan(model=tiny.model), corpora[1], out, tiny)
    return out


def test_a_share_is_measured_and_charged_and_the_answers_stay(tiny, certified, corpora, tmp_path):
    plain = answer(certified, corpora[1], tmp_path / "plain", tiny)
    seen = answer(certified, corpora[1], tmp_path / "seen", tiny, shadow=0.3)
    lines = read(tmp_path / "seen", SHADOW)
    assert 0 < len(lines) == seen["shadow"]["requests"] < seen["requests"]
    assert not seen["shadow"]["refuted"]
    texts = [[o["text"] for o in read(tmp_path / n, "outputs.jsonl")] for n in ("plain", "seen")]
    assert texts[0] == texts[1]
    shadow = total(Cost.from_json(line["cost"]) for line in lines)
    assert seen["cost"]["price"] == pytest.approx(plain["cost"]["price"] + shadow.price)
    assert seen["cost"]["new_tokens"] == plain["cost"]["new_tokens"] + shadow.new_tokens
    assert shadow.price > 0
    losses = [line["loss"] for line in lines]
    assert seen["shadow"]["mean"] == pytest.approx(np.mean(losses))
    assert seen["shadow"]["interval"][0] <= np.mean(losses) <= seen["shadow"]["interval"][1]


def test_a_refuted_run_goes_on_at_the_base(tiny, certified, corpora, base, tmp_path):
    broken = limited(certified, 0.001)
    found = answer(broken, corpora[1], tmp_path / "run", tiny, shadow=1.0)
    assert found["shadow"]["refuted"]
    assert found["shadow"]["interval"][0] > 0.001
    last = found["shadow"]["refuted_by"]
    ids = [line["id"] for line in read(base, "outputs.jsonl")]
    behind = ids.index(last) + 1
    assert 0 < behind < len(ids)
    assert found["shadow"]["requests"] <= behind
    own, others = ([o["text"] for o in read(f, "outputs.jsonl")] for f in (tmp_path / "run", base))
    assert own[behind:] == others[behind:]
    assert own[:behind] != others[:behind]


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_run_that_was_stopped_measures_what_is_missing(tiny, certified, corpora, tmp_path, kept):
    out, requests = tmp_path / "run", corpora[1]
    whole = answer(certified, requests, out, tiny, shadow=0.4)
    lines = (out / SHADOW).read_text().splitlines(keepends=True)
    (out / SHADOW).write_text("".join(lines[:kept]) + lines[kept][:10])
    again = answer(certified, requests, out, tiny, shadow=0.4)
    for part in (whole, again):  # the only thing that differs is measured seconds
        part["cost"].pop("seconds")
        part["shadow"]["cost"].pop("seconds")
    assert again["shadow"] == whole["shadow"]
    assert again["cost"] == pytest.approx(whole["cost"])


def test_another_share_is_another_run(tiny, certified, corpora, tmp_path):
    answer(certified, corpora[1], tmp_path / "run", tiny, shadow=0.1)
    with pytest.raises(OutputError, match="shadow shares differ"):
        answer(certified, corpora[1], tmp_path / "run", tiny, shadow=0.2)
    with pytest.raises(OutputError, match="shadow shares differ"):
        answer(certified, corpora[1], tmp_path / "run", tiny)


def test_a_shadow_spends_nothing_over_a_cap(tiny, certified, corpora, tmp_path):
    needed = answer(certified, corpora[1], tmp_path / "free", tiny)["cost"]
    caps = Caps(tokens=needed["prompt_tokens"] + needed["new_tokens"])
    found = answer(certified, corpora[1], tmp_path / "run", tiny, shadow=1.0, budget=caps)
    assert found["cost"]["prompt_tokens"] + found["cost"]["new_tokens"] <= caps.tokens


def test_what_a_shadow_did_is_on_the_books_even_where_the_budget_ends_it(
    tiny, certified, corpora, tmp_path
):
    needed = answer(certified, corpora[1], tmp_path / "free", tiny)["cost"]
    for extra in (5, 12, 25, 40):
        caps = Caps(tokens=needed["prompt_tokens"] + needed["new_tokens"] + extra)
        out = tmp_path / f"run {extra}"
        found = answer(certified, corpora[1], out, tiny, shadow=1.0, budget=caps)
        assert found["cost"]["prompt_tokens"] + found["cost"]["new_tokens"] <= caps.tokens
        lines = [Cost.from_json(o["cost"]) for o in read(out, "outputs.jsonl")]
        whole = total([*lines, *(Cost.from_json(line["cost"]) for line in read(out, SHADOW))])
        assert found["cost"]["prompt_tokens"] == whole.prompt_tokens
        assert found["cost"]["new_tokens"] == whole.new_tokens
        assert found["cost"]["price"] == pytest.approx(whole.price)


def test_what_is_shadowed_is_known_beforehand_and_has_the_share(certified, corpora):
    requests = load_requests(corpora[1])
    watched = [
        Watch(share=share, seed=3, certificate=certified.certificate) for share in (0.2, 0.5, 1.0)
    ]
    taken = [{r.id for r in requests if w.takes(r)} for w in watched]
    assert taken[0] < taken[1] < taken[2] == {r.id for r in requests}
    assert abs(len(taken[1]) / len(requests) - 0.5) < 0.2
    other = Watch(share=0.5, seed=4, certificate=certified.certificate)
    assert {r.id for r in requests if other.takes(r)} != taken[1]


def test_requests_that_the_plan_was_made_from_are_no_evidence(certified, corpora):
    whole = Watch(share=1.0, seed=0, certificate=certified.certificate)
    used = {m for part in ("search", "data") for m in certified.certificate[part]["items"]}
    requests = load_requests(corpora[0])
    assert sum(whole.takes(r) for r in requests) == len(requests) - len(used)


def test_a_larger_share_notices_sooner(certified):
    held = certified.certificate | {"limit": 0.05, "confidence": 0.95}
    delays = [Watch(share=s, seed=0, certificate=held).delay() for s in (1.0, 0.5, 0.1)]
    assert delays == sorted(delays)
    assert delays[2] == pytest.approx(10 * delays[0], rel=0.02)
    assert 20 < delays[0] < 1000
    half = certified.certificate | {"limit": 0.6}
    assert Watch(share=1.0, seed=0, certificate=half).delay() is None  # twice 0.6 is no loss


@pytest.mark.parametrize(
    ("loss", "share", "sampling", "message"),
    [
        ("nats", 0.1, GREEDY, "cannot observe the loss `nats`"),
        ("score", 0.1, GREEDY, "cannot observe the loss `score`"),
        ("disagree", 0.0, GREEDY, "over 0 and at most 1"),
        ("disagree", float("nan"), GREEDY, "over 0 and at most 1"),
        ("disagree", 0.1, Sampling(temperature=0.7), "observes greedy answers"),
    ],
)
def test_what_cannot_be_observed_is_refused(certified, loss, share, sampling, message):
    from dataclasses import replace

    plan = replace(certified, certificate={**certified.certificate, "loss": loss})
    with pytest.raises(PlanError, match=message):
        watch(plan, share, sampling)


@pytest.fixture
def command(tiny, corpora, tmp_path, monkeypatch):
    """`rheostat run` on a plan that is written for it, shadowing half of the requests."""
    monkeypatch.setattr(cli, "load_engine", lambda *_, **__: tiny)

    def invoked(plan, *options):
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(plan.to_json()), encoding="utf-8")
        files = ["--requests", corpora[1], "--out", str(tmp_path / "run")]
        asked = ["run", str(path), *files, "--max-new-tokens", "8", "--shadow", "0.5", *options]
        return CliRunner().invoke(cli.app, asked)

    return invoked


def test_the_command_says_the_expected_delay_and_how_the_watch_ended(command, certified):
    held = limited(certified, 0.4)
    done = command(held)
    assert done.exit_code == 0
    delay = Watch(share=0.5, seed=0, certificate=held.certificate).delay()
    said = " ".join(done.output.split())
    assert f"would be refuted after about {delay} requests" in said
    assert "the base answered" in said


def test_the_command_ends_at_the_base_and_in_order_when_the_claim_is_refuted(command, certified):
    done = command(limited(certified, 0.001), "--json")
    assert done.exit_code == 0  # every request was answered
    found = json.loads(done.stdout.splitlines()[-1])["shadow"]
    assert found["refuted"]
    assert found["interval"][0] > found["limit"]


@pytest.mark.parametrize("loss", ["nats", "score"])
def test_the_command_refuses_losses_that_it_cannot_observe(command, certified, loss):
    from rheostat.kernel.certify.seal import sealed

    done = command(sealed(certified, {**certified.certificate, "loss": loss}))
    assert done.exit_code == 2
    assert f"cannot observe the loss `{loss}`" in done.stderr
    assert "hint:" in done.stderr


def test_a_changed_plan_has_no_claim_to_watch(command, certified):
    done = command(certified, "--set", "copyspec=1")
    assert done.exit_code == 2
    assert "no certificate to check" in done.stderr


def test_a_plan_without_a_certificate_has_no_shadow():
    with pytest.raises(PlanError, match="no certificate"):
        watch(Plan(model="m"), 0.1, GREEDY)


# the real model


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """SmolLM2, and requests of a user."""
    engine = load_engine("smollm2")
    topics = (
        "Ohm's law",
        "a rainbow",
        "the number 7",
        "a goat",
        "jazz",
        "a bicycle",
        "salt",
        "Rome",
    )
    lines = [
        {"messages": [{"role": "user", "content": f"In one sentence, what is {topic}?"}]}
        for topic in topics
    ]
    return engine, write_lines(tmp_path_factory.mktemp("real") / "requests.jsonl", lines)


def claimed(engine, *, dial, limit):
    """A plan that drops MLPs of the real model, under a claim of so much loss."""
    ranking = [["mlp", layer] for layer in reversed(range(engine.shape.layers))]
    setting = Setting(
        name="llm_drop", dial=dial, params={"unit": "mlp"}, fitted={"ranking": ranking}
    )
    plan = Plan(model=engine.model, digest=engine.digest, dtype=engine.dtype, methods=(setting,))
    claim = {"loss": "disagree", "limit": limit, "confidence": 0.8, "max_new_tokens": 8}
    return sealed(plan, claim | {part: {"items": []} for part in ("search", "data")})


@pytest.mark.slow
def test_a_false_claim_of_the_real_model_is_refuted_and_the_base_goes_on(real, tmp_path):
    engine, requests = real
    false = claimed(engine, dial=0.9, limit=0.01)
    base = answer(replace(false, methods=(), certificate=None), requests, tmp_path / "base", engine)
    found = answer(false, requests, tmp_path / "run", engine, shadow=1.0)
    assert found["shadow"]["refuted"]
    ids = [line["id"] for line in read(tmp_path / "base", "outputs.jsonl")]
    behind = ids.index(found["shadow"]["refuted_by"]) + 1
    assert found["shadow"]["requests"] == behind < len(ids)
    own, others = (
        [o["token_ids"] for o in read(tmp_path / n, "outputs.jsonl")] for n in ("run", "base")
    )
    assert own[behind:] == others[behind:]
    assert own[:behind] != others[:behind]
    shadow = total(Cost.from_json(line["cost"]) for line in read(tmp_path / "run", SHADOW))
    assert found["cost"]["new_tokens"] == sum(map(len, own)) + shadow.new_tokens
    assert base["cost"]["new_tokens"] == sum(map(len, others))
    assert shadow.new_tokens >= sum(map(len, others[:behind]))


@pytest.mark.slow
def test_a_true_claim_of_the_real_model_goes_on(real, tmp_path):
    engine, requests = real
    true = claimed(engine, dial=0.07, limit=0.9)  # one MLP of thirty
    plain = answer(true, requests, tmp_path / "plain", engine)
    seen = answer(true, requests, tmp_path / "seen", engine, shadow=0.5)
    assert not seen["shadow"]["refuted"]
    assert 0 < seen["shadow"]["requests"] < seen["requests"]
    texts = [[o["text"] for o in read(tmp_path / n, "outputs.jsonl")] for n in ("plain", "seen")]
    assert texts[0] == texts[1]
    shadow = total(Cost.from_json(line["cost"]) for line in read(tmp_path / "seen", SHADOW))
    assert seen["cost"]["price"] == pytest.approx(plain["cost"]["price"] + shadow.price)
    assert shadow.price > 0
