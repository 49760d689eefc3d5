"""Traces count what happened."""

from __future__ import annotations

import json

from rheostat.kernel.trace import Trace


def test_steps_and_drafts_are_counted_apart() -> None:
    trace = Trace()
    for proposed, accepted in ((0, 0), (3, 1), (3, 3), (1, 0)):
        trace.drafted(proposed, accepted)
    assert (trace.steps, trace.draft_steps, trace.proposed, trace.accepted) == (4, 3, 7, 4)
    assert trace.lengths == {0: 1, 3: 2, 1: 1}


def test_a_trace_becomes_json() -> None:
    trace = Trace(mlp_skipped=2)
    trace.drafted(3, 1)
    data = json.loads(json.dumps(trace.to_json()))
    assert (data["lengths"], data["mlp_skipped"], data["accepted"]) == ({"3": 1}, 2, 1)
