"""Exact numbers, names and keys: what is taken, what is refused, and that one value has one spelling."""

import decimal
import enum
from decimal import Decimal
from typing import Any

import pytest
from core_kit import SEEDED
from hypothesis import example, given
from hypothesis import strategies as st

from onefill.core import values
from onefill.core.errors import InvalidField
from onefill.core.values import EXACT, MAX_DIGITS, OrderType, Side, TimeInForce, exact_decimal, on_grid, plain

digits = st.text("0123456789", min_size=1, max_size=MAX_DIGITS)
plain_texts = st.builds(
    lambda sign, whole, part: sign + whole + ("." + part if part else ""),
    st.sampled_from(["", "-"]),
    st.text("0123456789", min_size=1, max_size=14),
    st.text("0123456789", max_size=14),
)
any_decimals = st.builds(
    lambda sign, text, exponent: Decimal((sign, tuple(int(d) for d in text), exponent)),
    st.sampled_from([0, 1]),
    digits,
    st.integers(-40, 40),
)


class Odd(enum.StrEnum):
    """Text that is not one of our choices' types."""

    BUY = "buy"


@SEEDED
@given(plain_texts)
@example("-0")
@example("0.000")
@example("0" * 14 + ".5")
def test_text_in_and_out_keeps_the_value(text: str) -> None:
    """A plain number keeps its value through exact_decimal and plain, and its canonical text is a fixed point."""
    number = exact_decimal(text, "q")
    assert number == Decimal(text)
    assert Decimal(plain(number)) == number
    assert plain(exact_decimal(plain(number), "q")) == plain(number)


@SEEDED
@given(any_decimals)
@example(Decimal("1E+28"))
@example(Decimal("1E+27"))
@example(Decimal("1E-28"))
@example(Decimal("1E-29"))
@example(Decimal("9" * 28 + "E+1"))
def test_whatever_is_taken_can_be_read_back(number: Decimal) -> None:
    """A Decimal that exact_decimal takes is also taken in its canonical text: what was recorded can be loaded again."""
    try:
        taken = exact_decimal(number, "q")
    except InvalidField:
        return
    assert exact_decimal(plain(taken), "q") == number


@SEEDED
@given(any_decimals, any_decimals)
def test_equal_numbers_have_one_canonical_text(one: Decimal, other: Decimal) -> None:
    """Canonical texts are equal exactly if the numbers are, have no exponent and no idle zero."""
    assert (plain(one) == plain(other)) == (one == other)
    shifted = one.scaleb(-2, EXACT) * 100
    assert plain(shifted) == plain(one)
    text = plain(one)
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))
    assert text != "-0"


@pytest.mark.parametrize(
    "value",
    [
        *(0.1, 1.0, float("nan"), float("inf"), True, False, None, b"1", [1], 1j, object()),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")),
        *(
            "",
            " ",
            "1 ",
            " 1",
            "1\n",
            "\t1",
            "1e5",
            "1E5",
            "+1",
            ".5",
            "5.",
            "1_000",
            "1,5",
            "--1",
            "0x10",
            "nan",
            "inf",
        ),
        *("\u0661\u0662", "\uff11", "²", "1\u00a0", "1\u200b", "\u22121", "1.\u0665"),
        *("1" * 29, "0." + "1" * 29, "1" * 15 + "." + "1" * 14, 10**28, Decimal("1E+28"), Decimal("1E-29")),
    ],
)
def test_what_is_not_an_exact_plain_number_is_refused(value: object) -> None:
    """Floats, NaN, infinities, exponents, signs, spaces, foreign digits and too many digits are refused by field."""
    with pytest.raises(InvalidField) as caught:
        exact_decimal(value, "the_field")
    assert caught.value.field == "the_field"


@pytest.mark.parametrize("value", [0, "0", "0.00", "-0", -1, "-0.01", Decimal("-1E-20")])
def test_a_positive_number_is_above_zero(value: object) -> None:
    """Zero, negative zero and negative numbers are no quantity."""
    with pytest.raises(InvalidField, match="not above zero"):
        values.positive_decimal(value, "q")


@pytest.mark.parametrize(
    ("number", "text"),
    [("1.50", "1.5"), ("100", "100"), ("0.10", "0.1"), ("-0.0", "0"), ("00012.3400", "12.34"), ("10.00", "10")],
)
def test_the_canonical_text_is_as_a_person_would_write_it(number: str, text: str) -> None:
    """No exponent, no leading or trailing zeros, no negative zero."""
    assert plain(Decimal(number)) == text


def test_a_large_exponent_is_written_out() -> None:
    """A number with an exponent is spelt in full."""
    assert plain(Decimal("1E+3")) == "1000"
    assert plain(Decimal("1.20E-7")) == "0.00000012"


@SEEDED
@given(st.integers(1, 10**14), st.integers(1, 10**14), st.integers(-14, 0))
def test_a_multiple_of_the_step_is_on_the_grid_and_nothing_else(many: int, step: int, exponent: int) -> None:
    """A number is on the grid exactly if it is a whole number of steps; it comes back unchanged."""
    unit = Decimal(step).scaleb(exponent)
    number = EXACT.multiply(unit, many)
    assert on_grid(number, unit, "q") is number
    if step > 1:
        off = EXACT.add(number, Decimal(1).scaleb(exponent))
        with pytest.raises(InvalidField, match="not a multiple"):
            on_grid(off, unit, "q")


def test_the_grid_holds_for_the_largest_numbers() -> None:
    """The largest quantity is compared with the smallest step exactly, not refused or rounded."""
    large, small = Decimal("9" * MAX_DIGITS), Decimal("1E-28")
    assert on_grid(large, small, "q") is large
    with pytest.raises(InvalidField):
        on_grid(large, Decimal(2), "q")


def test_the_callers_decimal_context_changes_nothing() -> None:
    """A program that works with three digits of its own gets the same answers here."""
    with decimal.localcontext(prec=3):
        assert on_grid(Decimal("1234567.05"), Decimal("0.05"), "q") == Decimal("1234567.05")
        assert plain(exact_decimal("1234567.0500", "q")) == "1234567.05"
        assert EXACT.add(Decimal("1234567.05"), Decimal("0.0000001")) == Decimal("1234567.0500001")


def test_exact_arithmetic_refuses_to_round() -> None:
    """A result that would need rounding is an error, never a nearby number."""
    with pytest.raises(decimal.Inexact):
        EXACT.divide(Decimal(1), Decimal(3))


@pytest.mark.parametrize("text", ["A", "a1", "binance:BTC/USDT", "acct-1@desk", "0", "x" * 64, "A._:/@+-"])
def test_names_that_venues_use_are_taken(text: str) -> None:
    """Letters, digits and the usual separators make a name of up to 64 characters."""
    assert values.name(text, "account") == text


@pytest.mark.parametrize(
    "value", ["", "x" * 65, "-a", ".a", "a b", "a\n", "\na", "é", "\uff21", "a\x00", "a\n\n", 7, None, b"a"]
)
def test_other_names_are_refused(value: object) -> None:
    """Empty, long, spaced, foreign or non-text names are refused; none can hold the separator of a hashed text."""
    with pytest.raises(InvalidField) as caught:
        values.name(value, "account")
    assert caught.value.field == "account"


@pytest.mark.parametrize("text", ["k", "2024-01-01 buy", "é", "ключ", "x" * 200, "日本"])
def test_keys_are_taken_as_they_are(text: str) -> None:
    """Any printable text of up to 200 characters is a key, kept byte for byte."""
    assert values.caller_key(text) == text


@pytest.mark.parametrize(
    "value", ["", " ", " k", "k ", "x" * 201, "a\nb", "a\tb", "a\x7f", "a\u200b", "a\u2028", "\ud800", 1]
)
def test_unprintable_keys_are_refused(value: object) -> None:
    """A key with a control character, a hidden character, a space at an end or no text is refused."""
    with pytest.raises(InvalidField, match="not a key"):
        values.caller_key(value)


@pytest.mark.parametrize("value", ["buy", "BUY", "Buy", " buy ", Side.BUY, Odd.BUY])
def test_a_choice_is_taken_in_any_case(value: object) -> None:
    """A side may be spelt in any case and always comes out as the one member."""
    assert values.choice(Side, value, "side") is Side.BUY


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Side, "hold"),
        (Side, ""),
        (Side, None),
        (Side, 1),
        (OrderType, Side.BUY),
        (TimeInForce, "gtd"),
        (Side, "b" * 500),
    ],
)
def test_a_wrong_choice_names_the_right_ones(kind: Any, value: object) -> None:
    """What is no choice is refused by field, naming the choices."""
    with pytest.raises(InvalidField) as caught:
        values.choice(kind, value, "the_field")
    assert caught.value.field == "the_field"
    assert ", ".join(kind) in caught.value.problem
