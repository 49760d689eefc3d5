"""The seal of a certificate: a digest over what it speaks of, so that edits by hand are seen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.kernel.plan import Plan

SEAL = "digest"


def sealed(plan: Plan, certificate: Mapping[str, Any]) -> Plan:
    """Return the plan with a certificate that names its own model, format and methods."""
    plain = json.loads(json.dumps({k: v for k, v in certificate.items() if k != SEAL}))
    return replace(plan, certificate={**plain, SEAL: _digest(plan, plain)})


def is_sealed(plan: Plan) -> bool:
    """Return whether the certificate is of this plan, unchanged; True where there is none."""
    if plan.certificate is None:
        return True
    plain = {k: v for k, v in plan.certificate.items() if k != SEAL}
    return plan.certificate.get(SEAL) == _digest(plan, plain)


def _digest(plan: Plan, certificate: Mapping[str, Any]) -> str:
    subject = {
        "model": plan.digest,
        "dtype": plan.dtype,
        "methods": [setting.to_json() for setting in plan.methods],
        **({"draws": dict(plan.draws)} if plan.draws else {}),
        "certificate": certificate,
    }
    text = json.dumps(subject, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
