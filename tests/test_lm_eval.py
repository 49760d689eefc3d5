"""The harness's model: likelihoods of the model itself, a plan's answers, costs in results."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("lm_eval", reason="needs the `lm-eval` extra")

import lm_eval
from lm_eval.tasks import TaskManager

from rheostat.engines.scripted_model import ScriptedSpec
from rheostat.errors import UserError
from rheostat.lm_eval import RheostatLM

pytestmark = pytest.mark.filterwarnings("ignore")  # the harness and what it imports

SPEC = ScriptedSpec(
    vocabulary=("a", "b", "c", "d", "<end>"),
    context=8,
    default={"a": 0.4, "b": 0.3, "c": 0.2, "<end>": 0.1},
    table={"a b": {"c": 0.9, "d": 0.1}, "c": {"d": 0.75, "a": 0.25}, "d": {"<end>": 1.0}},
)


def asked(*args):
    return SimpleNamespace(args=args)


@pytest.fixture
def model_path(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(SPEC.model_dump_json(), encoding="utf-8")
    return f"scripted:{path}"


@pytest.fixture
def model(model_path):
    return RheostatLM(model_path)


def test_likelihoods_are_the_laws_own(model):
    found = model.loglikelihood([asked("a b", " c d"), asked("a b", " d"), asked("", "a")])
    assert found[0] == (pytest.approx(math.log(0.9 * 0.75)), True)
    assert found[1] == (pytest.approx(math.log(0.1)), False)
    assert found[2] == (pytest.approx(math.log(0.4)), True)
    assert model.spent.prompt_tokens == 3 + 2 + 1


def test_white_space_at_the_border_belongs_to_the_continuation(model):
    assert model.loglikelihood([asked("a b ", "c")]) == model.loglikelihood([asked("a b", " c")])


def test_a_context_that_is_too_long_keeps_its_end(model):
    long = "d " * 30 + "a b"
    assert model.loglikelihood([asked(long, " c")]) == model.loglikelihood([asked("a b", " c")])


def test_a_rolling_likelihood_counts_every_token_once(model):
    text = "a b c d"
    whole = math.log(0.4 * 0.3 * 0.9 * 0.75)
    assert model.loglikelihood_rolling([asked(text)]) == [pytest.approx(whole)]
    longer = " ".join(["a"] * 20)
    assert model.loglikelihood_rolling([asked(longer)]) == [pytest.approx(20 * math.log(0.4))]


def test_answers_end_where_the_task_says(model):
    given = {"until": ["d"], "max_gen_toks": 4}
    assert [text.strip() for text in model.generate_until([asked("a b", given)])] == ["c"]
    short = {"until": [], "max_gen_toks": 1}
    assert model.generate_until([asked("a b", short)])[0].split() == ["c"]
    assert model.spent.new_tokens >= 2


def test_answers_come_in_the_order_of_their_requests_whatever_their_arguments(model_path):
    model = RheostatLM(model_path, batch_size=2)
    one, two = {"until": [], "max_gen_toks": 1}, {"until": [], "max_gen_toks": 2}
    requests = [asked("a b", one), asked("c", two), asked("a b", two), asked("c", one)]
    found = [text.split() for text in model.generate_until(requests)]
    assert found == [["c"], ["d"], ["c", "d"], ["d"]]


def test_a_plan_that_is_not_there_is_refused(model_path, tmp_path):
    with pytest.raises(UserError, match="there is no plan"):
        RheostatLM(model_path, plan=str(tmp_path / "none.json"))


def test_a_plan_decides_what_is_read(tiny_gguf, tmp_path):
    pytest.importorskip("torch", reason="needs the `torch` extra")
    from rheostat.kernel.plan import Plan, Setting

    name = str(tiny_gguf)
    drop = Setting(name="constant_depth", dial=1.0)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(Plan(model=name, methods=(drop,)).to_json()), encoding="utf-8")
    base, planned = RheostatLM(name, threads=1), RheostatLM(name, plan=str(path), threads=1)
    request = [asked("the cat", " on the mat")]
    (read, _), (decided, _) = base.loglikelihood(request)[0], planned.loglikelihood(request)[0]
    assert read != decided
    context, whole = (
        planned.engine.encode(SimpleNamespace(messages=(), prompt=text, id="1"), raw=True)
        for text in ("the cat", "the cat on the mat")
    )
    own = planned.engine.score(context, whole[len(context) :], installed=planned.installed)
    assert decided == pytest.approx(-own.nats.sum())


# under the harness


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Two local tasks of four documents each."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    documents = [{"prompt": p, "choices": ["c", "d"], "answer": a} for p, a in ANSWERS]
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (tmp_path / "documents.jsonl").write_text(lines, encoding="utf-8")
    files = "dataset_path: json\ndataset_kwargs:\n  data_files:\n"
    files += f"    test: {tmp_path}/documents.jsonl\n"
    shared = files + "test_split: test\ndoc_to_text: '{{prompt}}'\n"
    choice = "output_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: answer\n"
    writing = (
        "output_type: generate_until\ndoc_to_target: '{{choices[answer]}}'\n"
        "generation_kwargs:\n  until: []\n  max_gen_toks: 1\n"
    )
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, kind, metric in (
        ("local_choice", choice, "acc"),
        ("local_text", writing, "exact_match"),
    ):
        text = f"task: {name}\n{shared}{kind}metric_list:\n  - metric: {metric}\n"
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


ANSWERS = (("a b", 0), ("c", 1), ("b c", 1), ("a a b", 1))
RIGHT = 0.75
"""The law takes `c` after `a b`, so that the last answer is wrong."""


@pytest.mark.slow
def test_the_harness_scores_local_tasks_and_its_results_carry_the_cost(model_path, tasks, tmp_path):
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "rheostat.lm_eval", "--model", "rheostat"]
    command += ["--model_args", f"pretrained={model_path}", "--tasks", "local_choice,local_text"]
    command += ["--include_path", str(tasks), "--output_path", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("results_*.json")
    found = json.loads(written.read_text(encoding="utf-8"))
    assert found["results"]["local_choice"]["acc,none"] == RIGHT
    assert found["results"]["local_text"]["exact_match,none"] == RIGHT
    told = found["config"]["rheostat"]
    assert told["cost"]["new_tokens"] == len(ANSWERS)
    assert told["cost"]["prompt_tokens"] > 0
    assert told["methods"] == []


@pytest.mark.slow
def test_in_python_importing_the_module_registers_the_model(model_path, tasks):
    manager = TaskManager(include_path=str(tasks))
    found = lm_eval.simple_evaluate(
        model="rheostat",
        model_args={"pretrained": model_path},
        tasks=["local_choice"],
        task_manager=manager,
    )
    assert found["results"]["local_choice"]["acc,none"] == RIGHT
    assert found["config"]["rheostat"]["model"] == model_path
