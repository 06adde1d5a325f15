"""Intents: what is refused and by which field, one canonical form, a fingerprint that is pinned."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from core_kit import SEEDED, intent
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.errors import InvalidField
from onefill.core.intent import (
    FIELDS,
    FINGERPRINT_VERSION,
    Intent,
    at_venue,
    canonical,
    fingerprint,
    first_difference,
    fit,
    from_canonical,
)
from onefill.core.values import Instrument, OrderType, Side, TimeInForce

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,20}", fullmatch=True)
amounts = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(1, 10**20 - 1), st.integers(-28, 8)
)
prices = st.tuples(st.just(OrderType.LIMIT), amounts) | st.tuples(st.just(OrderType.MARKET), st.none())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé\\" 1'),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text("abc", max_size=3), parts, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.text("abc", max_size=3), json_values, max_size=3)
intents = st.builds(
    lambda typed, **fields: Intent(order_type=typed[0], price=typed[1], **fields),
    prices,
    account=names,
    strategy=names,
    instrument=names,
    side=st.sampled_from(list(Side)),
    quantity=amounts,
    time_in_force=st.sampled_from(list(TimeInForce)),
    venue=st.just("") | names,
    parameters=st.none() | objects,
)
OTHERS: dict[str, dict[str, Any]] = {
    "venue": {"venue": "other"},
    "account": {"account": "B"},
    "strategy": {"strategy": "other"},
    "instrument": {"instrument": "ZINC"},
    "side": {"side": Side.SELL},
    "quantity": {"quantity": Decimal("10.0000000001")},
    "order_type": {"order_type": OrderType.MARKET, "price": None},
    "price": {"price": Decimal("25.51")},
    "time_in_force": {"time_in_force": TimeInForce.IOC},
    "parameters": {"parameters": '{"postOnly":true}'},
}
"""For each field, a change in which it is the first to differ."""
BAD_NUMBERS = [
    *(1.5, 25.0, float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity"), Decimal("sNaN"), True, b"1"),
    *(
        "NaN",
        "inf",
        "1e3",
        "1E-3",
        "",
        " 1",
        "1 ",
        "1\n",
        "1_0",
        "+1",
        "1,5",
        "\uff11",
        "\u0663",
        0,
        "0",
        "-0",
        -1,
        "-1.5",
    ),
    *("1" * 29, "0." + "0" * 28 + "1", 10**28, Decimal("1E+28"), Decimal("1E-29")),
]


@pytest.mark.parametrize("field", ["quantity", "price"])
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_a_number_that_is_not_exact_and_positive_is_refused(field: str, value: object) -> None:
    """Floats, NaN, exponents, foreign digits, spaces, zero, negatives and too many digits are refused by their field."""
    with pytest.raises(InvalidField) as caught:
        intent(**{field: value})
    assert caught.value.field == field
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"account": ""}, "account"),
        ({"account": "a b"}, "account"),
        ({"account": None}, "account"),
        ({"strategy": "é"}, "strategy"),
        ({"strategy": "a\nb"}, "strategy"),
        ({"instrument": "-x"}, "instrument"),
        ({"instrument": 7}, "instrument"),
        ({"venue": "a b"}, "venue"),
        ({"venue": None}, "venue"),
        ({"venue": 0}, "venue"),
        ({"side": "hold"}, "side"),
        ({"side": 1}, "side"),
        ({"order_type": "stop"}, "order_type"),
        ({"time_in_force": "gtd"}, "time_in_force"),
        ({"price": None}, "price"),
        ({"order_type": "market"}, "price"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], field: str) -> None:
    """A wrong name or choice, a limit order without a price and a market order with one are refused by field."""
    with pytest.raises(InvalidField) as caught:
        intent(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "spelling",
    [
        {"quantity": "10"},
        {"quantity": "10.000"},
        {"quantity": 10},
        {"quantity": Decimal("1E+1")},
        {"quantity": "0010"},
        {"price": "25.5"},
        {"price": Decimal("25.50000")},
        {"side": "BUY"},
        {"side": " Buy "},
        {"order_type": "LIMIT"},
        {"time_in_force": "Day"},
    ],
)
def test_the_canonical_form_does_not_depend_on_the_spelling(spelling: dict[str, Any]) -> None:
    """However a value is written, the canonical bytes, and so the fingerprint, are the same."""
    assert canonical(intent(**spelling)) == canonical(intent())
    assert first_difference(intent(), intent(**spelling)) is None


@SEEDED
@given(intents)
def test_an_intent_survives_its_canonical_form(made: Intent) -> None:
    """What was recorded reads back as the same intent with the same canonical bytes."""
    body = canonical(made)
    again = from_canonical(body)
    assert again == made
    assert canonical(again) == body
    assert first_difference(made, again) is None


@SEEDED
@given(intents, intents)
def test_canonical_forms_are_equal_exactly_for_equal_intents(one: Intent, other: Intent) -> None:
    """Two intents share their bytes if and only if no field differs."""
    assert (canonical(one) == canonical(other)) == (first_difference(one, other) is None)


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_changes_the_fingerprint_and_is_named(field: str) -> None:
    """A change of any field is seen in the fingerprint, and that field is the one named."""
    changed = intent(**OTHERS[field])
    assert fingerprint(canonical(changed)) != fingerprint(canonical(intent()))
    assert first_difference(intent(), changed) == field


def test_every_field_of_an_intent_is_compared() -> None:
    """No field can be added to an intent without taking part in the comparison and the canonical form."""
    assert set(FIELDS) == set(Intent.__struct_fields__)
    assert set(msgspec.json.decode(canonical(intent(parameters={"a": 1})))) == set(FIELDS)


def test_the_first_differing_field_is_named_in_the_stated_order() -> None:
    """With everything different, each field is named once the ones before it agree."""
    changes: dict[str, Any] = {}
    for field in FIELDS:
        changes |= OTHERS[field]
    for number, field in enumerate(FIELDS):
        repeated = {**changes, **{name: getattr(intent(), name) for name in FIELDS[:number]}}
        if repeated["order_type"] is OrderType.MARKET:
            repeated["price"] = None
        assert first_difference(intent(), intent(**repeated)) == field


def test_the_canonical_bytes_and_fingerprint_of_version_1_are_pinned() -> None:
    """An upgrade cannot change the canonical form or the fingerprint without raising the version."""
    assert FINGERPRINT_VERSION == 1
    body = canonical(intent())
    assert body == (
        b'{"venue":"sim","account":"A","strategy":"momentum","instrument":"ACME","side":"buy","quantity":"10",'
        b'"order_type":"limit","price":"25.5","time_in_force":"day"}'
    )
    assert fingerprint(body).hex() == "3675cd1e5f69d142c72d4aadabe1ad5afc3bc7ba6d474276c459de2e106a4c4c"
    market = canonical(intent(order_type="market", price=None, side="sell", quantity="0.00000001", venue=""))
    assert market == (
        b'{"venue":"","account":"A","strategy":"momentum","instrument":"ACME","side":"sell","quantity":"0.00000001",'
        b'"order_type":"market","price":null,"time_in_force":"day"}'
    )
    assert fingerprint(market).hex() == "530bb09059bc0b35b63ddfb4c961570ed2b3c6ef2806907aac8ccec71520ed5c"


def test_a_recorded_body_with_an_unknown_field_is_not_read() -> None:
    """A body with a field that this version does not know is refused, not read in part."""
    body = canonical(intent()).replace(b'{"venue"', b'{"iceberg":"1","venue"')
    with pytest.raises(msgspec.ValidationError):
        from_canonical(body)


def test_an_intent_cannot_be_changed() -> None:
    """Intents are values: assignment fails."""
    with pytest.raises(AttributeError):
        intent().quantity = Decimal(11)  # type: ignore[misc]


def test_moving_an_intent_to_a_venue_changes_nothing_else() -> None:
    """The intent for a venue differs in the venue only, and the first one stays as it was."""
    first = intent(venue="")
    moved = at_venue(first, "sim")
    assert moved == intent()
    assert first.venue == ""


@pytest.mark.parametrize(
    ("quantity", "price", "field"),
    [
        ("10", "25.50", None),
        ("10.5", "25.55", None),
        ("10.25", "25.50", "quantity"),
        ("0.5", "25.50", "quantity"),
        ("10", "25.51", "price"),
        ("10", "0.01", "price"),
        ("9999999999999999999999999999", "25.50", None),
    ],
)
def test_an_order_lies_on_the_instruments_steps(quantity: str, price: str, field: str | None) -> None:
    """Quantity and price off the grid or below the smallest order are refused by field; nothing is rounded."""
    acme = Instrument(symbol="ACME", price_tick=Decimal("0.05"), quantity_step=Decimal("0.5"), min_quantity=Decimal(1))
    made = intent(quantity=quantity, price=price)
    if field is None:
        fit(made, acme)
    else:
        with pytest.raises(InvalidField) as caught:
            fit(made, acme)
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"triggerPrice": 25.1, "postOnly": True}, '{"postOnly":true,"triggerPrice":25.1}'),
        ('{ "b" : 1.50, "a" : {"d":[], "c":null} }', '{"a":{"c":null,"d":[]},"b":1.50}'),
        ({"price": "25.10"}, '{"price":"25.10"}'),
        ({"n": 1e22, "m": -0.0}, '{"m":-0.0,"n":1E+22}'),
        ({}, None),
        ("{}", None),
        (None, None),
    ],
)
def test_parameters_have_one_spelling_and_keep_every_number(given: object, kept: str | None) -> None:
    """Parameters are sorted and without space; a number stays the one it was, and nothing at all is no parameters."""
    made = intent(parameters=given)
    assert made.parameters == kept
    assert intent(parameters=made.parameters) == made
    assert (b"parameters" in canonical(made)) == (kept is not None)


@pytest.mark.parametrize(
    "given",
    [
        *({"a": float("nan")}, {"a": [float("inf")]}, {"a": Decimal("NaN")}, {"a": 10**400}, '{"a":1e999}'),
        *({"a": b"x"}, {"a": {1}}, {1: 2}, {"a": "\ud800"}, {"a": object()}),
        *("[1]", "x", "", 5, [1], "[" * 100_000, {"a": "x" * 5000}),
    ],
)
def test_parameters_that_json_does_not_have_are_refused(given: object) -> None:
    """What JSON cannot say, and what would be changed by saying it, is refused by its field; so is what is too long."""
    with pytest.raises(InvalidField) as caught:
        intent(parameters=given)
    assert caught.value.field == "parameters"
