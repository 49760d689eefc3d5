"""The ledger: hard caps hold and the books balance, whatever comes in whatever order."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from rheostat.errors import BudgetError
from rheostat.kernel.budget import COUNTED, Caps, passes
from rheostat.kernel.cost import Cost, total
from rheostat.kernel.ledger import Ledger, Reservation
from rheostat.kernel.records import Refusal

SMALL = st.integers(0, 12)
MONEY = st.floats(0, 3, allow_subnormal=False)
COSTS = st.builds(
    Cost, prompt_tokens=SMALL, new_tokens=SMALL, calls=st.integers(0, 3), price=MONEY, usd=MONEY
)


LIMITS = {
    "tokens": st.integers(0, 90),
    "new_tokens": st.integers(0, 50),
    "calls": st.integers(0, 9),
    "price": st.floats(0, 9, allow_subnormal=False),
    "usd": st.floats(0, 9, allow_subnormal=False),
    "seconds": st.floats(2, 9),
}
CAPS = st.lists(st.sampled_from(sorted(LIMITS)), max_size=2, unique=True).flatmap(
    lambda names: st.builds(Caps, **{name: LIMITS[name] for name in names})
)
"""Few caps an account, so that the books get deep before something refuses."""


class Books(RuleBasedStateMachine):
    """Random trees, reservations, partial charges, cancellations, failures and overruns."""

    accounts = Bundle("accounts")
    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Ledger] = []
        self.granted: list[Reservation] = []

    @initialize(target=accounts, caps=CAPS)
    def open_root(self, caps: Caps) -> Ledger:
        self.all.append(Ledger(caps))
        return self.all[0]

    @precondition(lambda self: len(self.all) < 7)
    @rule(target=accounts, parent=accounts, caps=CAPS)
    def open_child(self, parent: Ledger, caps: Caps) -> Ledger:
        self.all.append(parent.child(str(len(self.all)), caps))
        return self.all[-1]

    @rule(target=reservations, account=accounts, bound=COSTS, elapsed=st.floats(0, 9))
    def reserve(
        self, account: Ledger, bound: Cost, elapsed: float
    ) -> Reservation | MultipleResults[Reservation]:
        before = account.root.to_json()
        closed = any(above.closed for above in account.lineage())
        answer = account.try_reserve(bound, elapsed=elapsed)
        if isinstance(answer, Refusal):
            assert account.root.to_json() == before
            assert answer.account in {above.path for above in account.lineage()}
            return multiple()
        assert not closed
        assert account.remaining("seconds", elapsed=elapsed) > 0
        self.granted.append(answer)
        return answer

    @rule(reservation=reservations, share=st.floats(0, 1))
    def charge_within(self, reservation: Reservation, share: float) -> None:
        if reservation.open:
            rest = reservation.rest
            reservation.charge(
                Cost(
                    prompt_tokens=math.floor(rest.prompt_tokens * share),
                    new_tokens=math.floor(rest.new_tokens * share),
                    calls=math.floor(rest.calls * share),
                    price=rest.price * share,
                    usd=rest.usd * share,
                )
            )

    @rule(reservation=reservations, cost=COSTS, last=st.booleans())
    def charge_anything(self, reservation: Reservation, cost: Cost, last: bool) -> None:
        if reservation.open:
            (reservation.settle if last else reservation.charge)(cost)

    @rule(reservation=reservations, how=st.sampled_from(["close", "cancel", "fail"]))
    def end(self, reservation: Reservation, how: str) -> None:
        if reservation.open:
            getattr(reservation, how)()
            assert reservation.rest == Cost()
        with pytest.raises(BudgetError, match="already settled"):
            reservation.settle(Cost())

    @precondition(lambda self: len(self.granted) > 5)
    @rule(account=accounts)
    def close_account(self, account: Ledger) -> None:
        account.close()

    @invariant()
    def no_cap_is_passed_without_a_recorded_overrun(self) -> None:
        for account in self.all:
            if any(record.kind == "overrun" for record in account.records):
                continue
            for cap in COUNTED:
                limit = getattr(account.caps, cap)
                taken = getattr(account.spent, cap) + getattr(account.reserved, cap)
                assert limit is None or not passes(cap, taken, limit)

    @invariant()
    def the_books_balance(self) -> None:
        for account in self.all:
            children = total(child.spent for child in account.children.values())
            assert_same(account.spent, account.own + children)
            assert_same(account.spent, total(record.cost for record in account.records))
            own = (r.cost for r in account.records if r.account == account.path)
            assert_same(account.own, total(own))

    @invariant()
    def what_is_reserved_is_what_open_reservations_still_hold(self) -> None:
        for account in self.all:
            below = [r for r in self.granted if account in r.account.lineage()]
            assert_same(account.reserved, total(r.rest for r in below))

    @invariant()
    def nothing_is_negative(self) -> None:
        for account in self.all:
            for cost in (account.own, account.spent, account.reserved):
                assert all(value >= 0 for value in cost.to_json().values())
            assert all(account.remaining(cap) >= 0 for cap in COUNTED)

    @invariant()
    def a_closed_account_admits_nothing(self) -> None:
        for account in self.all:
            if any(above.closed for above in account.lineage()):
                assert isinstance(account.try_reserve(Cost()), Refusal)
                assert account.remaining("tokens") == 0

    @invariant()
    def an_overrun_closes_its_account(self) -> None:
        for account in self.all:
            overruns = [r for r in account.records if r.kind == "overrun"]
            if any(record.account == account.path for record in overruns):
                assert account.closed


def assert_same(a: Cost, b: Cost) -> None:
    for name, value in a.to_json().items():
        assert math.isclose(value, b.to_json()[name], rel_tol=1e-9, abs_tol=1e-12), name


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_reserved_falls_as_work_is_charged_and_the_rest_is_released() -> None:
    ledger = Ledger(Caps(tokens=100))
    reservation = ledger.reserve(Cost(prompt_tokens=10, new_tokens=30), note="q")
    reservation.charge(Cost(prompt_tokens=10, new_tokens=5))
    assert (ledger.spent.tokens, ledger.reserved.tokens, ledger.remaining("tokens")) == (15, 25, 60)
    reservation.close()
    assert (ledger.spent.tokens, ledger.reserved.tokens, ledger.remaining("tokens")) == (15, 0, 85)
    assert [r.note for r in ledger.records] == ["q"]


def test_spending_of_a_child_counts_in_every_ancestor() -> None:
    root = Ledger(Caps(tokens=10))
    middle = root.child("middle")
    leaf = middle.child("leaf", Caps(tokens=1000))
    leaf.reserve(Cost(new_tokens=8)).settle(Cost(new_tokens=8))
    assert root.spent == middle.spent == leaf.spent == leaf.own == Cost(new_tokens=8)
    assert root.own == middle.own == Cost()
    assert leaf.root is root
    refusal = leaf.try_reserve(Cost(new_tokens=3))
    assert refusal == Refusal(account="total", cap="tokens", limit=10, asked=11)


def test_a_refusal_names_the_account_and_the_cap_in_words() -> None:
    child = Ledger().child("q7", Caps(usd=0.5))
    with pytest.raises(BudgetError, match=r"`usd` of the account `total/q7` .* 0\.7, .* 0\.5"):
        child.reserve(Cost(usd=0.7))
    child.close("asked to stop")
    assert str(child.try_reserve(Cost())) == "the account `total/q7` is closed"
    child.close("again")
    assert child.closed == "asked to stop"


def test_ten_tenths_fit_into_one() -> None:
    ledger = Ledger(Caps(usd=1.0))
    for _ in range(10):
        ledger.reserve(Cost(usd=0.1)).settle(Cost(usd=0.1))
    assert isinstance(ledger.try_reserve(Cost(usd=1e-6)), Refusal)


def test_nothing_is_reserved_when_nothing_is_open() -> None:
    ledger = Ledger()
    held = [ledger.reserve(Cost(price=0.1 * n)) for n in range(9)]
    for reservation in held:
        reservation.charge(Cost(price=reservation.bound.price / 3))
        reservation.close()
    assert ledger.reserved == Cost()


def test_nothing_starts_at_the_deadline_and_running_work_ends_with_the_grace() -> None:
    ledger = Ledger(Caps(seconds=60, grace=5)).child("q")
    assert isinstance(ledger.try_reserve(Cost(), elapsed=59), Reservation)
    assert isinstance(ledger.try_reserve(Cost(), elapsed=60), Refusal)
    assert isinstance(ledger.try_reserve(Cost(seconds=7), elapsed=59), Refusal)
    assert isinstance(ledger.try_reserve(Cost(), elapsed=math.nan), Refusal)
    assert [ledger.overdue(t) for t in (64, 65, 66, math.nan)] == [False, False, True, True]
    assert ledger.remaining("seconds", elapsed=50) == 10


def test_without_caps_everything_is_admitted_and_nothing_is_overdue() -> None:
    ledger = Ledger()
    ledger.reserve(Cost(new_tokens=10**9), elapsed=1e9).settle(Cost(calls=7, price=3.0))
    assert ledger.remaining("tokens") == math.inf
    assert not ledger.overdue(1e9)
    assert not ledger.closed, "calls and price that nobody limits are no overrun"


def test_an_overrun_is_recorded_in_full_and_closes_the_account() -> None:
    root = Ledger(Caps(tokens=100))
    child, other = root.child("a"), root.child("b")
    child.reserve(Cost(new_tokens=10), note="provider").settle(Cost(new_tokens=25))
    assert root.spent.new_tokens == 25
    assert [(r.kind, r.cost.new_tokens) for r in root.records] == [("overrun", 25)]
    assert child.closed == "overrun: provider"
    assert isinstance(child.try_reserve(Cost()), Refusal)
    assert isinstance(other.try_reserve(Cost(new_tokens=75)), Reservation)


def test_more_prompt_than_promised_is_an_overrun_even_when_the_sum_fits() -> None:
    ledger = Ledger(Caps(tokens=20))
    ledger.reserve(Cost(prompt_tokens=10, new_tokens=10)).charge(Cost(prompt_tokens=15))
    assert ledger.closed == "overrun"


def test_calls_bind_where_a_cap_above_counts_them() -> None:
    child = Ledger(Caps(calls=5)).child("q")
    child.reserve(Cost(new_tokens=1)).settle(Cost(new_tokens=1, calls=1))
    assert child.closed


def test_unknown_usage_settles_at_the_reservation_marked_estimated() -> None:
    ledger = Ledger()
    reservation = ledger.reserve(Cost(prompt_tokens=5, new_tokens=20))
    reservation.charge(Cost(prompt_tokens=5, new_tokens=8))
    reservation.fail("connection lost")
    assert ledger.spent == Cost(prompt_tokens=5, new_tokens=20, estimated=True)
    assert [(r.kind, r.note) for r in ledger.records][-1] == ("estimate", "connection lost")
    assert not ledger.closed


def test_a_cancelled_reservation_keeps_what_was_observed() -> None:
    ledger = Ledger()
    reservation = ledger.reserve(Cost(new_tokens=20))
    reservation.charge(Cost(new_tokens=3))
    reservation.cancel("no longer needed")
    assert (ledger.spent, ledger.reserved) == (Cost(new_tokens=3), Cost())
    assert ledger.records[-1].kind == "cancel"


@pytest.mark.parametrize("how", ["charge", "settle", "close", "cancel", "fail"])
def test_a_reservation_is_ended_once(how: str) -> None:
    reservation = Ledger().reserve(Cost())
    reservation.close()
    arguments = [Cost()] if how in {"charge", "settle"} else []
    with pytest.raises(BudgetError, match="already settled"):
        getattr(reservation, how)(*arguments)


@pytest.mark.parametrize("bad", [Cost(new_tokens=-1), Cost(usd=math.nan), Cost(price=math.inf)])
def test_impossible_costs_are_refused_and_change_nothing(bad: Cost) -> None:
    ledger = Ledger()
    reservation = ledger.reserve(Cost(new_tokens=5))
    with pytest.raises(BudgetError, match="must be 0 or more"):
        reservation.charge(bad)
    with pytest.raises(BudgetError):
        ledger.try_reserve(bad)
    assert (ledger.spent, ledger.reserved) == (Cost(), Cost(new_tokens=5))


@pytest.mark.parametrize("name", ["", "a/b", "taken"])
def test_names_of_accounts_are_unique_paths(name: str) -> None:
    ledger = Ledger()
    ledger.child("taken")
    with pytest.raises(BudgetError, match="cannot be the name"):
        ledger.child(name)


def test_records_of_an_account_leave_out_its_neighbours() -> None:
    root = Ledger()
    for name in ("q1", "q10"):
        root.child(name).reserve(Cost(calls=1)).settle(Cost(calls=1))
    assert [r.account for r in root.children["q1"].records] == ["total/q1"]
    assert [r.sequence for r in root.records] == [0, 1]


def test_totals_and_records_survive_json() -> None:
    root = Ledger(Caps(tokens=9, seconds=3.5))
    root.child("q").reserve(Cost(new_tokens=2)).settle(Cost(new_tokens=1))
    data = json.loads(json.dumps(root.to_json()))
    assert data["caps"] == {"tokens": 9, "seconds": 3.5, "grace": 0.0}
    assert Cost.from_json(data["children"][0]["spent"]) == Cost(new_tokens=1)
    (record,) = json.loads(json.dumps([r.to_json() for r in root.records]))
    assert (record["kind"], record["account"], record["cost"]["new_tokens"]) == (
        "charge",
        "total/q",
        1,
    )
