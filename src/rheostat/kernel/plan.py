"""`Plan`: which methods run at which dials, as plain versioned data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rheostat.errors import PlanError
from rheostat.kernel.dial import checked_dial

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One method at one dial."""

    name: str
    """The method's name."""
    dial: float
    """The dial in [0, 1]."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that differ from the method's defaults."""
    fitted: Mapping[str, Any] = field(default_factory=dict)
    """Numbers learnt from the profile."""

    def __post_init__(self) -> None:
        """Refuse a dial outside [0, 1]."""
        checked_dial(self.dial, method=self.name)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "dial": self.dial,
            "params": dict(self.params),
            "fitted": dict(self.fitted),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Methods at their dials for one model, with what is predicted and was measured of them."""

    model: str
    """Model name as the user gave it."""
    digest: str = ""
    """Digest of the model's weights; empty where the engine has none."""
    machine: str = ""
    """Machine on which the costs were measured."""
    dtype: str = "float32"
    """Number format of the base."""
    methods: tuple[Setting, ...] = ()
    """At most one method a seam, or several draft sources; empty = the base."""
    draws: Mapping[str, Any] = field(default_factory=dict)
    """Of a plan of samples: `samples`, the most of a question, and `sampling`, how they are drawn;
    empty = the plan is of whole answers."""
    predicted: Mapping[str, Any] = field(default_factory=dict)
    """Price and loss that the search predicts."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Price, loss and seconds measured on items that the search did not see."""
    certificate: Mapping[str, Any] | None = None
    """What is claimed of the loss on unseen texts, sealed; None = no such claim."""
    why: tuple[str, ...] = ()
    """Sentences: why this plan and no other."""

    def setting(self, name: str) -> Setting | None:
        """Return the setting of a method, None when it is off."""
        return next((s for s in self.methods if s.name == name), None)

    def with_setting(self, setting: Setting) -> Plan:
        """Return the plan with a method set, in place of its earlier setting."""
        others = tuple(s for s in self.methods if s.name != setting.name)
        return replace(self, methods=(*others, setting))

    def without(self, name: str) -> Plan:
        """Return the plan with a method taken off."""
        return replace(self, methods=tuple(s for s in self.methods if s.name != name))

    def to_json(self) -> dict[str, Any]:
        """Return plain data, in the order that people read it."""
        return {
            "version": VERSION,
            "model": self.model,
            "digest": self.digest,
            "machine": self.machine,
            "dtype": self.dtype,
            "methods": [s.to_json() for s in self.methods],
            **({"draws": dict(self.draws)} if self.draws else {}),
            "predicted": dict(self.predicted),
            "measured": dict(self.measured),
            "certificate": None if self.certificate is None else dict(self.certificate),
            "why": list(self.why),
        }

    @staticmethod
    def from_json(data: Any) -> Plan:
        """Read what `to_json` wrote; raise `PlanError` for anything else."""
        if not isinstance(data, dict) or "version" not in data or "model" not in data:
            raise PlanError(
                "this is not a plan: it has no `version` and `model`",
                hint="make one with `rheostat plan MODEL --workload W --lossless --out plan.json`",
            )
        if data["version"] != VERSION:
            raise PlanError(
                f"the plan has version `{data['version']}`, this Rheostat reads {VERSION}",
                hint="make the plan again with `rheostat plan`",
            )
        methods, why = data.get("methods", []), data.get("why", [])
        if not isinstance(methods, list) or not isinstance(why, list):
            raise PlanError("`methods` and `why` of a plan must be lists")
        certificate = data.get("certificate")
        return Plan(
            model=str(data["model"]),
            digest=str(data.get("digest", "")),
            machine=str(data.get("machine", "")),
            dtype=str(data.get("dtype", "float32")),
            methods=tuple(_setting(entry) for entry in methods),
            draws=_draws(data),
            predicted=_object(data, "predicted"),
            measured=_object(data, "measured"),
            certificate=None if certificate is None else _object(data, "certificate"),
            why=tuple(str(sentence) for sentence in why),
        )


def _setting(data: Any) -> Setting:
    if not isinstance(data, dict) or not isinstance(data.get("name"), str) or "dial" not in data:
        raise PlanError("a method in the plan is malformed: it needs a `name` and a `dial`")
    return Setting(
        name=data["name"],
        dial=data["dial"],
        params=_object(data, "params"),
        fitted=_object(data, "fitted"),
    )


def _draws(data: Mapping[str, Any]) -> Mapping[str, Any]:
    draws = _object(data, "draws")
    if draws and not (
        isinstance(draws.get("samples"), int)
        and draws["samples"] >= 1
        and isinstance(draws.get("sampling"), dict)
    ):
        raise PlanError(
            "`draws` of a plan needs `samples`, a number of at least 1, and `sampling`, an object",
            hint="make the plan again with `rheostat plan`",
        )
    return draws


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PlanError(f"`{key}` of a plan must be an object, got `{value}`")
    return value
