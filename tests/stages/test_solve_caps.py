"""No cap is passed, whatever fails, is cancelled or comes in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rheostat.engines.base import EngineCard, Output, Request, Sampling
from rheostat.engines.journaled_sampler import JournaledSampler
from rheostat.engines.sample_store import SampleStore
from rheostat.engines.sampler import Drawn
from rheostat.kernel.budget import Caps
from rheostat.kernel.cost import Cost
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.policies.in_turn import InTurn
from rheostat.kernel.samples import SampleStart
from rheostat.stages.solve_driver import Driver, Limits
from rheostat.stages.solve_question import Question
from rheostat.workloads.tasks import tasks_of
from stages.counting_policies import Lead

CARD = EngineCard(name="wild", offers=frozenset({"sample"}))
BOUND = Cost(prompt_tokens=3, new_tokens=9, calls=2, usd=0.25)


@dataclass
class Wild:
    """A sampler whose draws end in any order: whole, cut, failed, or with unknown usage."""

    data: st.DataObject
    card: EngineCard = CARD
    model: str = "wild"
    running: dict = field(default_factory=dict)
    ended: list = field(default_factory=list)

    def bound(self, draw):
        return BOUND

    def launch(self, draw, reservation):
        self.running[draw.question, draw.index] = draw, reservation

    def cancel(self, draw):
        if (draw.question, draw.index) in self.running:
            self._end(draw.question, draw.index, cancelled=True)

    def poll(self):
        while self.running and (not self.ended or self.data.draw(st.booleans())):
            self._end(*self.data.draw(st.sampled_from(sorted(self.running))))
        ended, self.ended = self.ended, []
        return ended

    def close(self):
        assert not self.running

    def _end(self, question, index, *, cancelled=False):
        draw, reservation = self.running.pop((question, index))
        new = self.data.draw(st.integers(0, 9))
        cost = Cost(prompt_tokens=3, new_tokens=new, calls=1, usd=new * 0.02)
        how = self.data.draw(st.sampled_from(["whole", "failed", "unknown"]))
        if how == "unknown":
            reservation.fail("no usage")
        elif cancelled:
            reservation.charge(cost)
            reservation.cancel()
        else:
            reservation.settle(cost)
        text = self.data.draw(st.sampled_from(["1", "2", "nothing"]))
        output = Output(
            id=question,
            text=text,
            token_ids=(),
            stop_reason="cancelled" if cancelled else "eos",
            cost=reservation.charged,
        )
        self.ended.append(Drawn(draw=draw, output=output, failed="" if how == "whole" else how))


caps = st.one_of(
    st.builds(Caps, tokens=st.integers(0, 400)),
    st.builds(Caps, new_tokens=st.integers(0, 300), calls=st.integers(0, 60)),
    st.builds(Caps, usd=st.floats(0, 8), tokens=st.integers(0, 400)),
    st.builds(Caps, seconds=st.floats(0.5, 30), grace=st.floats(0, 5)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    budget=caps,
    count=st.integers(1, 5),
    policy=st.builds(Lead, by=st.integers(1, 4), burst=st.integers(1, 5)),
    limits=st.builds(Limits, width=st.integers(1, 12), in_flight=st.integers(1, 6)),
    cancels=st.booleans(),
)
def test_no_cap_is_ever_passed(tmp_path_factory, data, budget, count, policy, limits, cancels):
    check(tmp_path_factory.mktemp("caps"), data, budget, count, policy, limits, cancels)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_granted_but_too_late_to_be_launched(tmp_path_factory, data):
    """The deadline passes while the second question waits for its turn."""
    budget, limits = Caps(seconds=4.0, grace=0.0), Limits(width=3, in_flight=1)
    check(tmp_path_factory.mktemp("late"), data, budget, 3, Lead(by=1, burst=1), limits, False)


def check(folder, data, budget, count, policy, limits, cancels):
    ledger, time = Ledger(budget, name="solve"), iter(range(10_000))
    requests = [Request(id=f"q{i}", prompt="x") for i in range(count)]
    questions = [
        Question(
            request=request,
            sampling=Sampling(),
            policy=policy,
            start=SampleStart(question=request.id, samples=6),
            account=ledger.child(request.id),
            features=(),
            cancels=cancels,
        )
        for request in requests
    ]
    store = SampleStore(folder, create=True)
    sampler = Wild(data)
    Driver(
        sampler=JournaledSampler(sampler, store),
        store=store,
        ledger=ledger,
        tasks=tasks_of("wild", requests),
        questions=questions,
        allocation=InTurn(),
        limits=limits,
        clock=lambda: float(next(time)),
    ).run()
    for name in ("tokens", "new_tokens", "calls", "usd"):
        limit = getattr(budget, name)
        assert limit is None or getattr(ledger.spent, name) <= limit + 1e-9
    assert ledger.reserved.tokens == 0
    assert not sampler.running
    assert all(question.finish is not None for question in questions)
    assert sum(q.launched for q in questions) == len(store.known)
    if budget.seconds is not None:
        return
    full = any(not ledger.closed and ledger.remaining(c) < getattr(BOUND, c) for c in ("tokens",))
    reasons = {question.finish.reason for question in questions}
    assert "budget" not in reasons or full or budget.tokens is None or budget.usd is not None
    store.close()
