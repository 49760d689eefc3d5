"""Writes `api.txt`: every public name with its signature; `make api` runs this as a program."""

from __future__ import annotations

import inspect
from pathlib import Path

import rheostat
from rheostat import api, api_plan_samples, api_solve

PATH = Path(__file__).with_name("api.txt")


def snapshot() -> str:
    """Return the public names with their signatures, a line each."""
    lines = [line for name in rheostat.__all__ for line in described(name)]
    for options in (
        api.PlanOptions,
        api_plan_samples.PlanSamplesOptions,
        api.SamplingOptions,
        api_solve.SolveOptions,
    ):
        fields = ", ".join(f"{name}: {kind}" for name, kind in annotations(options).items())
        lines.append(f"{options.__name__}({fields})")
    return "".join(f"{line}\n" for line in lines)


def described(name: str) -> list[str]:
    value = getattr(rheostat, name)
    if isinstance(value, str):
        return [f"{name}: str"]
    if not inspect.isclass(value):
        return [f"{name}{plain(value)}"]
    protocol = bool(getattr(value, "_is_protocol", False))
    lines = [f"class {name}" if protocol else f"class {name}{plain(value)}"]
    lines += [f"  {field}: {kind}" for field, kind in annotations(value).items() if protocol]
    for member, found in sorted(vars(value).items()):
        if not member.startswith("_") and inspect.isroutine(found):
            lines.append(f"  {member}{plain(getattr(value, member))}")
    return lines


def annotations(value: type) -> dict[str, str]:
    found = vars(value).get("__annotations__", {})
    return {name: getattr(kind, "__forward_arg__", kind) for name, kind in found.items()}


class Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def plain(value: object) -> str:
    """Return a signature without quotes around its annotations."""
    signature = inspect.signature(value)
    parameters = [
        found
        if found.annotation is found.empty
        else found.replace(annotation=Bare(found.annotation))
        for found in signature.parameters.values()
    ]
    returned = signature.return_annotation
    if isinstance(returned, str):
        returned = Bare(returned)
    return str(signature.replace(parameters=parameters, return_annotation=returned))


if __name__ == "__main__":
    PATH.write_text(snapshot(), encoding="utf-8")
