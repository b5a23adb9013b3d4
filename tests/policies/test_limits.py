"""Limits of business: sums, counts and different values, in a window and for each key, whoever runs beside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store.seal import Keys
from agent.store.store import Store
from policies.action import BrowserSubmit
from policies.errors import ActionFailed, BadPolicy, LimitReached
from policies.limits import UNCOUNTABLE, Limit, values_of, written
from policies.load import loads
from policies.outcome import Done, Failed, Refused
from policies.ports import Submission
from tests.policies.asking import SHOP, action
from tests.policies.gating import NOW, PHONE, Bench, rules, tool

NUMBERS = count(1)
RULE = "  - {{id: pay, effect: allow, action: tool.call, tool: go, restore: [phone], why: it is the job, limits: [{}]}}"


@pytest.fixture
def limited(home):
    made, number = [], next(NUMBERS)

    def start(limits: str) -> Bench:
        # Rules of other tests count in the same store, so each test has ids of its own.
        more = RULE.format(limits).replace("id: pay", f"id: pay{number}")
        made.append(Bench(home, policy=rules("bench", more)))
        made[-1].accept()
        return made[-1]

    yield start
    for bench in made:
        bench.close()


def reason(outcome):
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


async def test_a_sum_holds_for_each_payee_over_runs_and_says_what_is_left(limited):
    week = "{sum: amount, at_most: 5000, unit: CNY, per: week, by: payee}"
    one, two = limited(week), limited(week)
    assert isinstance(await one.submit(tool(amount=3800, payee="a"), 0), Done)
    assert isinstance(await two.submit(tool(amount=5000, payee="b"), 0), Done)
    said = reason(await two.submit(tool(amount="2,000.50", payee="a"), 1))
    assert "leaves 1,200.00 of 5,000.00 CNY per week, and up to 2,000.50 CNY would be needed" in said
    assert "'amount' of rule 'pay" in said and "for the same 'payee'" in said
    assert isinstance(await two.submit(tool(amount="1,200", payee=" A "), 2), Done)
    assert isinstance(await one.submit(tool(amount=0.01, payee="a"), 1), Refused)
    one.clock.pass_by(days=7)
    assert isinstance(await one.submit(tool(amount=5000, payee="a"), 2), Refused)  # its minutes are over


async def test_different_recipients_are_counted_once_each(limited):
    month = "{distinct: to, at_most: 2, per: month}"
    one, two = limited(month), limited(month)
    assert isinstance(await one.submit(tool(to="a@x"), 0), Done)
    assert isinstance(await two.submit(tool(to=["A@x", "b@x"]), 0), Done)
    assert isinstance(await two.submit(tool(to="b@x; a@x"), 1), Done)
    assert "leaves 0 of 2 per month, and up to 1 would be needed" in reason(await one.submit(tool(to="c@x"), 1))


async def test_a_person_is_the_same_in_every_run_and_stands_nowhere_in_clear(limited, home):
    one, two = (limited("{distinct: to, at_most: 1, per: day}, {count: 2, per: day, by: to}") for _ in range(2))
    handles = [bench.redactor.redact_text(PHONE) for bench in (one, two)]
    assert handles[0] != handles[1]
    assert isinstance(await one.submit(tool(to=handles[0]), 0), Done)
    assert isinstance(await two.submit(tool(to=handles[1]), 0), Done)
    assert "for the same 'to'" in reason(await two.submit(tool(to=handles[1]), 1))
    other = two.redactor.redact_text("13900139000")
    assert "different 'to'" in reason(await two.submit(tool(to=other), 2))
    stored = b"".join(path.read_bytes() for path in home.glob("store.sqlite3*"))
    assert PHONE.encode() not in stored


async def test_what_certainly_did_not_happen_is_given_back(limited):
    bench = limited("{sum: amount, at_most: 10, per: day}, {distinct: to, at_most: 1, per: day}")

    def fails(step):
        if step == "act":
            raise ActionFailed("no", may_have_acted=False)

    bench.world.hook = fails
    assert isinstance(await bench.submit(tool(amount=10, to="a"), 0), Failed)
    bench.world.hook = lambda step: None
    assert isinstance(await bench.submit(tool(amount=10, to="b"), 1), Done)
    assert isinstance(await bench.submit(tool(amount=0, to="b"), 2), Done)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"amount": True}, {"amount": -1}, {"amount": "-1"}, {"amount": "1.000"}, {"amount": "1,00"}, {"amount": "1e3"},
     {"amount": "１２"}, {"amount": [1]}, {"amount": "ten"}, {"amount": None}],
)  # fmt: skip
async def test_what_cannot_be_counted_is_refused(limited, arguments):
    bench = limited("{sum: amount, at_most: 100, per: day}")
    said = reason(await bench.submit(tool(**arguments)))
    assert said == "a rule limits a field that is missing here, or there twice, or no plain number"
    assert bench.world.tried == []


async def test_a_key_that_is_missing_is_refused(limited):
    for n, missing in enumerate(("{count: 1, per: day, by: payee}", "{distinct: to, at_most: 1, per: day}")):
        assert "a rule limits a field" in reason(await limited(missing).submit(tool(payee=""), n))


def test_a_field_of_a_form_counts_once_and_a_place_counts_too():
    form = action(f"browser.submit {SHOP}/pay").model_dump()
    fields = [{"name": "amount", "value": "5"}, {"name": "amount", "value": "6"}, {"name": "to", "value": "a"}]
    sent = BrowserSubmit.model_validate(form | {"fields": fields})
    assert values_of(sent, "amount") == ["5", "6"]
    assert (values_of(sent, "to"), values_of(sent, "host")) == (["a"], ["shop.example"])
    assert values_of(action("server.run web-1 df"), "server") == ["web-1"]
    twice = Limit(sum="amount", at_most=Decimal(100), per="day").reservation("r", sent, "R1")
    assert twice.amount == UNCOUNTABLE


@pytest.mark.parametrize(
    ("amount", "said"), [(1_200_000_000, "1,200.00"), (500_000, "0.50"), (1, "0.000001"), (0, "0.00")]
)
def test_amounts_are_written_as_people_do(amount, said):
    assert written(amount, 1_000_000, "") == said


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_no_order_of_payments_takes_more_than_the_sum(amounts):
    limit = Limit(sum="n", at_most=Decimal(1000), per="day")
    made = [limit.reservation("r", tool(n=n), "R") for n in amounts]
    assert sum(r.amount for r in made) == sum(amounts) * 1_000_000


def test_parallel_runs_take_no_more_than_there_is(limited, home):
    bench = limited("{distinct: to, at_most: 3, per: day}, {sum: amount, at_most: 50, per: day}")
    rule = next(rule for rule in bench.policy.rules if rule.id.startswith("pay"))

    def take(n: int) -> int:
        store = Store.open(f"sqlite:///{home / 'store.sqlite3'}", Keys.load(home), bench.clock)
        reserve = [each.reservation(rule.id, tool(to=f"p{n % 7}", amount=10), bench.run) for each in rule.limits]
        try:
            row = Submission(run=bench.run, seq=100 + n, digest=f"d{n}", outcome=None)
            store.records.commit(row, (), epoch=bench.epoch, reserve=reserve, now=NOW)
        except LimitReached:
            return 0
        finally:
            store.close()
        return 10

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(take, range(14)))

    assert 30 <= sum(taken) <= 50
    assert len({n % 7 for n, amount in enumerate(taken) if amount}) <= 3


def test_a_limit_is_one_of_three_and_an_old_one_keeps_its_digest():
    head = "version: 1\nname: p\nrules:\n  - {id: a, effect: allow, action: file.write, why: x, limit: "
    assert (
        loads(head + "{count: 3, per: day}}\n", "p.yaml").digest
        == "1982ad0b663b60f0fd4588cad494daeb8e7a2a46acffa2494097ab2e1bdc4205"
    )
    for wrong, said in (
        ("{per: day}", "a limit is one of 'count', 'sum' and 'distinct'"),
        ("{count: 1, sum: a, at_most: 1, per: day}", "a limit is one of"),
        ("{sum: a, per: day}", "'at_most' belongs to 'sum' and 'distinct'"),
        ("{count: 1, at_most: 1, per: day}", "'at_most' belongs to 'sum' and 'distinct'"),
        ("{distinct: a, at_most: 1.5, per: day}", "'at_most' of 'distinct' is a whole number"),
    ):
        with pytest.raises(BadPolicy, match=said):
            loads(head + wrong + "}\n", "p.yaml")
