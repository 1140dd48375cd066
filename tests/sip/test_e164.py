"""Telephone numbers: what people write becomes one number or a refusal, and never a call that nobody meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.e164 import MOST_DIGITS, NumberPlan, NumberRefusal, allows, is_e164, normalise, written

GERMANY = NumberPlan("49", "0", "00")
AMERICA = NumberPlan("1", "1", "011")
ITALY = NumberPlan("39", "", "00")
NOWHERE = NumberPlan()

TABLE = [
    ("+49 30 1234567", GERMANY, "+49301234567"),
    ("0049 30 1234567", GERMANY, "+49301234567"),
    ("030/1234567", GERMANY, "+49301234567"),
    ("(030) 123-45.67", GERMANY, "+49301234567"),
    ("+49 (0)30 1234567", GERMANY, "+49301234567"),
    ("0049(0)301234567", GERMANY, "+49301234567"),
    (" (+49) (0)30 1234567", GERMANY, "+49301234567"),
    ("(0)30 1234567", GERMANY, "+49301234567"),
    ("+49\0301234567", GERMANY, NumberRefusal.MALFORMED),
    ("1701234567", GERMANY, "+491701234567"),
    ("tel:+49-30-1234567", GERMANY, "+49301234567"),
    ("TEL:030-1234567;phone-context=+49", GERMANY, "+49301234567"),
    ("tel:+49301234567;ext=5", NOWHERE, "+49301234567"),
    ("0043 1 2345678", GERMANY, "+4312345678"),
    ("1 212 555 0100", AMERICA, "+12125550100"),
    ("212-555-0100", AMERICA, "+12125550100"),
    ("011 49 30 1234567", AMERICA, "+49301234567"),
    ("06 1234 5678", ITALY, "+390612345678"),
    ("+6834002", GERMANY, "+6834002"),
    ("112", GERMANY, NumberRefusal.EMERGENCY),
    ("+112", GERMANY, NumberRefusal.EMERGENCY),
    ("+49112", GERMANY, NumberRefusal.EMERGENCY),
    ("0049 110", GERMANY, NumberRefusal.EMERGENCY),
    ("tel:911", AMERICA, NumberRefusal.EMERGENCY),
    ("115115", GERMANY, NumberRefusal.SHORT_CODE),
    ("0112", GERMANY, NumberRefusal.SHORT_CODE),
    ("101", GERMANY, NumberRefusal.SHORT_CODE),
    ("0301234567", NOWHERE, NumberRefusal.NO_COUNTRY),
    ("tel:030-1234567;phone-context=+43", GERMANY, NumberRefusal.FOREIGN_CONTEXT),
    ("tel:1234567;phone-context=example.com", GERMANY, NumberRefusal.FOREIGN_CONTEXT),
    ("+4930123456789012", GERMANY, NumberRefusal.LENGTH),
    ("+49555", GERMANY, NumberRefusal.LENGTH),
    ("+0301234567", GERMANY, NumberRefusal.MALFORMED),
    ("00030123456", GERMANY, NumberRefusal.MALFORMED),
    ("+49+301234567", GERMANY, NumberRefusal.MALFORMED),
    ("030#1234567", GERMANY, NumberRefusal.MALFORMED),
    ("*31#0301234567", GERMANY, NumberRefusal.MALFORMED),
    ("０３０１２３４５６７", GERMANY, NumberRefusal.MALFORMED),
    ("٠٣٠١٢٣٤٥٦٧", GERMANY, NumberRefusal.MALFORMED),
    ("0301234567\r\nX: 1", GERMANY, NumberRefusal.MALFORMED),
    ("sip:030@evil", GERMANY, NumberRefusal.MALFORMED),
    ("", GERMANY, NumberRefusal.MALFORMED),
    ("tel:", GERMANY, NumberRefusal.MALFORMED),
    ("+", GERMANY, NumberRefusal.MALFORMED),
    ("()", GERMANY, NumberRefusal.MALFORMED),
    ("+" + " " * 70 + "49301234567", GERMANY, NumberRefusal.MALFORMED),
]


@pytest.mark.parametrize(("text", "plan", "expected"), TABLE)
def test_the_table(text: str, plan: NumberPlan, expected: str | NumberRefusal) -> None:
    assert normalise(text, plan) == expected


plans = st.builds(
    NumberPlan,
    st.sampled_from(["", "1", "7", "39", "49", "371"]),
    st.sampled_from(["", "0", "1", "8"]),
    st.sampled_from(["", "00", "011", "810"]),
)
numbers = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True).map(lambda digits: "+" + digits)
texts = st.text("0123456789+-.() /;=*#abctelTEL:\u0663\uff10\u00b2\r\n\0", max_size=40) | st.text(max_size=20)


@given(texts, plans)
def test_anything_gives_e164_or_a_refusal_and_again_the_same(text: str, plan: NumberPlan) -> None:
    found = normalise(text, plan)
    if isinstance(found, NumberRefusal):
        return
    assert is_e164(found)
    again = normalise(found, plan)
    assert again == found


@given(numbers, plans, st.data())
def test_separators_change_nothing(number: str, plan: NumberPlan, data: st.DataObject) -> None:
    spread = "".join(mark + data.draw(st.sampled_from(["", " ", "-", ".", "/"])) for mark in number)
    assert normalise(spread, plan) == normalise(number, plan)


@given(numbers, st.sampled_from(["49", "1", "39"]), st.sampled_from(["+", "00", "011", ""]), st.sampled_from([None, "", "0"]))
def test_what_a_trunk_is_sent_is_the_number_again(number: str, country: str, international: str, national: str | None) -> None:
    text = written(number, country, international, national)
    own = national is not None and number[1:].startswith(country)
    prefix = national if own else international
    rest = text.removeprefix(prefix or "")
    assert "+" + (country if own else "") + rest == number


def test_national_and_international_forms() -> None:
    assert written("+49301234567", "49", "+", None) == "+49301234567"
    assert written("+49301234567", "49", "00", "0") == "0301234567"
    assert written("+43123456789", "49", "00", "0") == "0043123456789"
    assert written("+12125550100", "1", "011", "") == "2125550100"


def test_the_longest_prefix_decides() -> None:
    prefixes = ("+49", "!+49900", "+4990012", "!+4315", "+4315")
    assert allows(prefixes, "+49301234567")
    assert not allows(prefixes, "+4990055555")
    assert allows(prefixes, "+4990012555")
    assert not allows(prefixes, "+431512345"), "both allowed and forbidden"
    assert not allows(prefixes, "+12125550100"), "in no list"
    assert not allows((), "+49301234567")
    assert allows(("+",), "+12125550100")


@given(st.lists(st.sampled_from(["+", "!+", "+4", "!+4", "+49", "!+49", "+1", "!+491"]), max_size=6).map(tuple), numbers)
def test_order_of_prefixes_does_not_matter(prefixes: tuple[str, ...], number: str) -> None:
    assert allows(prefixes, number) == allows(tuple(reversed(prefixes)), number)
    assert len(number) <= MOST_DIGITS + 1
