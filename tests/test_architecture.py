"""The rules that keep the code base readable, held by a test: order, purity, sizes, names."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rheostat

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(rheostat.__file__).parent
RANKS = {
    "errors": 0,
    "kernel": 1,
    "methods": 2,
    "engines": 2,
    "workloads": 2,
    "catalog": 3,
    "stages": 4,
    "bench": 5,
    "api": 6,
    "lm": 7,
    "cli": 7,
}
"""A module imports its own group and groups of lower rank; equal ranks are siblings."""
FORBIDDEN_SIBLINGS = {("methods", "engines")}
FUNCTION_LINES = 60
FUNCTION_LINES_P90 = 40
FILE_LINES = {"methods": 160, "kernel": 250}
FILE_LINES_ELSEWHERE = 400
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported module, `rheostat.kernel.cost` for `from rheostat.kernel.cost import Cost`."""

    module: str
    line: int
    runs: bool
    """False under `if TYPE_CHECKING`."""
    at_top: bool
    """False inside a function."""

    @property
    def package(self) -> str:
        return self.module.split(".")[0]


@dataclass(frozen=True)
class Module:
    """A source file."""

    path: Path

    @cached_property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def group(self) -> str:
        return group_of(self.name)

    @cached_property
    def lines(self) -> int:
        return len(self.path.read_text(encoding="utf-8").splitlines())

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def imports(self) -> list[Import]:
        return list(imports_in(self.tree, runs=True, at_top=True))

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    def calls(self, name: str) -> list[str]:
        """Return the places where a built-in function is named."""
        return [
            f"{self.name}:{node.lineno}"
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and node.id == name
        ]


def group_of(module: str) -> str:
    """Return the group of a module: `cli` holds `cli_console` too, the root has the name ''."""
    parts = module.split(".")
    return parts[1].split("_")[0] if len(parts) > 1 else ""


def imports_in(node: ast.AST, *, runs: bool, at_top: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, runs, at_top)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            module = whole if whole in NAMES else str(node.module)
            yield Import(module, node.lineno, runs, at_top)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in node.body:
            yield from imports_in(child, runs=False, at_top=at_top)
        for child in node.orelse:
            yield from imports_in(child, runs=runs, at_top=at_top)
    else:
        inside = isinstance(node, Function | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from imports_in(child, runs=runs, at_top=at_top and not inside)


MODULES = [Module(path) for path in sorted(ROOT.rglob("*.py"))]
NAMES = {module.name for module in MODULES}


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def allowed(importer: str, imported: str) -> bool:
    if imported in {"", importer}:
        return True
    return (
        RANKS[imported] <= RANKS[importer]
        and (importer, imported) not in FORBIDDEN_SIBLINGS
        and (RANKS[imported] < RANKS[importer] or importer in {"methods", "engines", "workloads"})
    )


# imports


def test_every_module_belongs_to_a_group() -> None:
    assert {module.group for module in MODULES} <= {"", *RANKS}


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in MODULES
        for found in module.imports
        if module.group and found.package == "rheostat"
        if not allowed(module.group, group_of(found.module))
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module.name: {i.module for i in module.imports if i.runs and i.module in NAMES}
        for module in MODULES
    }
    for name, imported in graph.items():
        imported.discard(name)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' > '.join(error.args[1])}")


def test_the_kernel_imports_the_standard_library_and_numpy_alone() -> None:
    pure = sys.stdlib_module_names | {"numpy", "rheostat"}
    wrong = [
        f"{module.name}:{found.line} imports {found.module}"
        for module in MODULES
        if module.group == "kernel"
        for found in module.imports
        if found.package not in pure and not (found.package == "scipy" and not found.at_top)
    ]
    assert wrong == []


@pytest.mark.parametrize("group", ["kernel", "methods", "workloads", "catalog"])
def test_no_torch_where_it_has_no_business(group: str) -> None:
    wrong = [
        f"{module.name}:{found.line}"
        for module in MODULES
        if module.group == group
        for found in module.imports
        if found.package in {"torch", "transformers"}
    ]
    assert wrong == []


def test_no_relative_imports() -> None:
    wrong = [
        f"{module.name}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert wrong == []


def test_importing_rheostat_loads_nothing_heavy() -> None:
    code = "import rheostat, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "rheostat" in found
    assert not {"torch", "numpy", "matplotlib", "scipy", "pydantic"} & set(found)


# words


def test_only_the_command_line_prints() -> None:
    assert [place for m in MODULES if m.name != "rheostat.cli" for place in m.calls("print")] == []


def test_capabilities_are_stated_and_not_probed() -> None:
    assert [place for module in MODULES for place in module.calls("hasattr")] == []


def test_file_names_say_what_is_inside() -> None:
    parts = {part for m in MODULES for part in m.path.relative_to(ROOT).with_suffix("").parts}
    assert not parts & NAMES_THAT_SAY_NOTHING


def test_every_public_function_is_annotated() -> None:
    wrong = [
        f"{module.name}:{function.lineno} {function.name}"
        for module in MODULES
        for function in module.functions
        if not function.name.startswith("_") and not annotated(function)
    ]
    assert wrong == []


def annotated(function: Function) -> bool:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    given = (a.annotation is not None for a in named if a.arg not in {"self", "cls"})
    return function.returns is not None and all(given)


# sizes


def test_files_are_short() -> None:
    wrong = [
        f"{module.name}: {module.lines}"
        for module in MODULES
        if module.lines > FILE_LINES.get(module.group, FILE_LINES_ELSEWHERE)
    ]
    assert wrong == []


def test_functions_are_short() -> None:
    wrong = [
        f"{module.name}:{function.lineno} {function.name}: {length(function)}"
        for module in MODULES
        for function in module.functions
        if length(function) > FUNCTION_LINES
    ]
    assert wrong == []


def test_nine_in_ten_functions_fit_on_a_screen() -> None:
    lengths = [length(function) for module in MODULES for function in module.functions]
    assert statistics.quantiles(lengths, n=10)[-1] <= FUNCTION_LINES_P90
