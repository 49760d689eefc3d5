from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import api_snapshot
import rheostat
from rheostat import api
from stages.scripted_runs import write_inputs


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("spec"))[0]


def loaded_after(code):
    """The modules that a new interpreter has loaded after some code."""
    program = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(done.stdout.decode().split())


def test_all_is_sorted_and_every_name_in_it_exists():
    assert rheostat.__all__ == sorted(rheostat.__all__)
    assert set(api.__all__) <= set(rheostat.__all__)
    for name in rheostat.__all__:
        assert getattr(rheostat, name) is not None
    assert dir(rheostat) == rheostat.__all__


def test_the_public_names_are_those_of_the_snapshot():
    assert api_snapshot.snapshot() == api_snapshot.PATH.read_text(encoding="utf-8"), (
        "the public interface has changed: run `make api`, and name the change in the changelog"
    )


def test_every_public_function_and_class_is_documented():
    for name in rheostat.__all__:
        value = getattr(rheostat, name)
        if not isinstance(value, str):
            assert inspect.getdoc(value), name


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "numpy", "scipy", "matplotlib", "typer", "rich", "pydantic"}
    assert not heavy & loaded_after("import rheostat")


def test_the_interface_and_the_command_line_load_no_torch():
    assert "torch" not in loaded_after("import rheostat; rheostat.load; rheostat.plan")
    assert not {"torch", "matplotlib"} & loaded_after("import rheostat.cli")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute `solution`"):
        _ = rheostat.solution


def test_the_version_is_the_installed_one():
    from importlib import metadata

    assert rheostat.__version__ == metadata.version("rheostat")


def test_generate_takes_a_name_an_engine_or_a_plan(spec, tmp_path):
    name = f"scripted:{spec}"
    engine = rheostat.load(name)
    plan = rheostat.Plan(model=name, methods=(rheostat.Setting(name="copyspec", dial=1),))
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    answers = [
        rheostat.generate(first, "a b", max_new_tokens=9) for first in (name, engine, plan, path)
    ]
    answers.append(rheostat.generate(plan, "a b", engine=engine, raw=True, max_new_tokens=9))
    assert len({answer.text for answer in answers}) == 1
    assert len(answers[0].token_ids) == 9
    assert answers[0].cost.new_tokens == 9


def test_generate_shows_the_text_while_it_is_written(spec):
    pieces = []
    output = rheostat.generate(
        f"scripted:{spec}", "a", max_new_tokens=5, on_token=lambda _, piece: pieces.append(piece)
    )
    assert len(pieces) > 1
    assert "".join(pieces) == output.text


def test_a_plan_of_another_machine_warns(spec):
    plan = rheostat.Plan(model=f"scripted:{spec}", machine="elsewhere")
    with pytest.warns(UserWarning, match="cost claim is void"):
        rheostat.generate(plan, "a", max_new_tokens=1)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(spec, prompt):
    with pytest.raises(rheostat.RheostatError, match="the prompt is empty"):
        rheostat.generate(f"scripted:{spec}", prompt)


def test_every_method_is_listed_with_the_fields_that_scripts_read():
    fields = {"name", "seam", "exactness", "dial", "paper", "status", "needs"}
    assert all(set(record) == fields for record in rheostat.list_methods())
    assert "copyspec" in {record["name"] for record in rheostat.list_methods()}
