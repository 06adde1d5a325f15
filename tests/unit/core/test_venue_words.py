"""Capabilities as single values: replaced one by one, shown, and compared by how much they trust a venue."""

from typing import Any

import pytest

from onefill.core.capabilities import Capabilities, DuplicateReply, ExecutionIdScope, Lookup, ReplaceStyle, UniqueScope
from onefill.core.errors import InvalidField
from onefill.core.identity import IdFormat
from onefill.core.venue_words import NAMES, overridden, plain_value, shown, trusts_more


def test_nothing_overridden_changes_nothing() -> None:
    """And the plain form of every value, given back, makes the same capabilities."""
    of = Capabilities(unique_scope=UniqueScope.DAY, request_expiry_s=2.0, id_format=IdFormat(prefix="0x"))
    assert overridden(of, {}) == of
    assert overridden(Capabilities(), {name: plain_value(getattr(of, name)) for name in NAMES}) == of


@pytest.mark.parametrize(
    ("overrides", "field", "problem"),
    [
        ({"scope": "ever"}, "scope", "is not a capability; known here: unique_scope, duplicate_reply, lookup"),
        ({"replace": "edit"}, "replace", "'edit' is none of: keep, new_id, none"),
        ({"replace": None}, "replace", "None is none of: keep, new_id, none"),
        ({"request_expiry_s": True}, "request_expiry_s", "True is neither a number of seconds"),
        ({"conclusive_after_s": float("nan")}, "conclusive_after_s", "nan is not a duration above zero"),
        ({"cancel_by_client_order_id": 1}, "cancel_by_client_order_id", "1 is neither true nor false"),
        ({"id_format": {"max_length": "9"}}, "id_format.max_length", "'9' is not a whole number"),
    ],
)
def test_a_wrong_value_names_the_capability_and_what_it_takes(
    overrides: dict[str, Any], field: str, problem: str
) -> None:
    """The error is an InvalidField; the caller adds the place."""
    with pytest.raises(InvalidField) as caught:
        overridden(Capabilities(), overrides)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("name", "careful", "trusting"),
    [
        ("unique_scope", UniqueScope.NONE, UniqueScope.OPEN),
        ("unique_scope", UniqueScope.OPEN, UniqueScope.DAY),
        ("unique_scope", UniqueScope.DAY, UniqueScope.EVER),
        ("duplicate_reply", DuplicateReply.ACCEPTS, DuplicateReply.ERROR),
        ("lookup", Lookup.NONE, Lookup.SCAN),
        ("lookup", Lookup.SCAN, Lookup.DIRECT),
        ("conclusive_after_s", None, 60.0),
        ("conclusive_after_s", 60.0, 5.0),
        ("request_expiry_s", None, 2.0),
        ("lookup_forgets_after_s", 60.0, 3600.0),
        ("lookup_forgets_after_s", 3600.0, None),
        ("acknowledges_asynchronously", True, False),
        ("cancel_by_client_order_id", False, True),
        ("cumulative_fills_only", True, False),
        ("execution_id_scope", ExecutionIdScope.ORDER, ExecutionIdScope.INSTRUMENT),
        ("execution_id_scope", ExecutionIdScope.INSTRUMENT, ExecutionIdScope.ACCOUNT),
        ("replace", ReplaceStyle.NONE, ReplaceStyle.KEEP),
    ],
)
def test_trust_goes_one_way(name: str, careful: Any, trusting: Any) -> None:
    """From careful to trusting is more trust; back, or nowhere, is not."""
    assert trusts_more(name, careful, trusting)
    assert not trusts_more(name, trusting, careful)
    assert not trusts_more(name, trusting, trusting)


def test_values_are_shown_as_people_write_them() -> None:
    """Durations with their unit, switches as yes and no, an absent duration as none."""
    values = (None, True, False, 15.0, 2.5, UniqueScope.OPEN, IdFormat(max_length=34, prefix="0x"))
    assert [shown(one) for one in values] == ["none", "yes", "no", "15 s", "2.5 s", "open", "text, 34 long, 0x"]
