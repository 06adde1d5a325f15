"""The execution log against the chain: each row says what its entry says, as far as the entry tells."""

import msgspec
import pytest

from onefill.core.audit_executions import MARK, ExecutionRow, Told, execution_fault, told_executions

RECORDED = (
    b'[{"type":"recorded","key":"k","client_order_id":"C1","intent":{"venue":"sim","account":"A","strategy":"S",'
    b'"instrument":"ACME","side":"buy","quantity":"10","order_type":"market","price":null,"time_in_force":"day"},'
    b'"valid_until_us":9},{"type":"claimed","number":1,"expires_at_us":null}]'
)
ROW = ExecutionRow(
    place=1,
    intent_id=7,
    execution_id="E1",
    account="A",
    strategy="S",
    instrument="ACME",
    side="buy",
    quantity="1.50",
    price="20",
    client_order_id="C1",
    venue_order_id="V1",
    transacted_at_us=5,
    kind="trade",
    refers_to=None,
    fee="0.1",
    fee_currency="USD",
    recorded=RECORDED,
)
TRADED = Told(
    type="traded",
    execution_id="E1",
    quantity="1.50",
    price="20",
    venue_order_id="V1",
    transacted_at_us=5,
    fee="0.1",
    fee_currency="USD",
)
OLD = Told(type="traded", execution_id="E1", quantity="1.5", price="2E+1", venue_order_id="V1")
"""As entries told before fees and times were among it, its numbers in other spellings."""
STRANGER = Told(
    type="quarantined",
    execution_id="E1",
    quantity="1.5",
    price="20",
    account="A",
    instrument="ACME",
    side="buy",
    client_order_id="C1",
    venue_order_id="V1",
)
STRANGER_ROW = msgspec.structs.replace(ROW, intent_id=None, strategy="", recorded=None)


@pytest.mark.parametrize(
    ("told", "row"),
    [
        (TRADED, ROW),
        (OLD, ROW),
        (msgspec.structs.replace(TRADED, fee="0.10"), ROW),
        (msgspec.structs.replace(TRADED, client_order_id="C1"), ROW),
        (STRANGER, STRANGER_ROW),
        (
            msgspec.structs.replace(TRADED, type="trade_amended", kind="bust", refers_to="E0"),
            msgspec.structs.replace(ROW, kind="bust", refers_to="E0"),
        ),
        (OLD, msgspec.structs.replace(ROW, recorded=b"not JSON")),
        (OLD, msgspec.structs.replace(ROW, recorded=None, account="any")),
    ],
)
def test_a_row_that_says_the_same_has_no_fault(told: Told, row: ExecutionRow) -> None:
    """Numbers are compared as numbers; what an entry does not tell is not compared."""
    assert execution_fault(told, 7, row) is None


@pytest.mark.parametrize("told", [TRADED, OLD])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("execution_id", "E2"),
        ("intent_id", 8),
        ("intent_id", None),
        ("quantity", "1.51"),
        ("quantity", "much"),
        ("price", "20.01"),
        ("account", "B"),
        ("strategy", "T"),
        ("instrument", "OTHER"),
        ("side", "sell"),
        ("venue_order_id", "V2"),
        ("kind", "bust"),
        ("refers_to", "E0"),
    ],
)
def test_a_row_that_says_another_thing_is_named(told: Told, field: str, value: object) -> None:
    """Whichever of its columns was changed, whether the entry is an old or a new one."""
    fault = execution_fault(told, 7, msgspec.structs.replace(ROW, **{field: value}))
    assert str(fault).startswith("tells of execution 'E1'")


@pytest.mark.parametrize(
    ("field", "value"),
    [("fee", None), ("fee", "0.2"), ("fee_currency", "EUR"), ("transacted_at_us", 6), ("client_order_id", "C2")],
)
def test_what_only_newer_entries_tell_is_compared_there(field: str, value: object) -> None:
    """Fee and time, and the client order id under which it came."""
    told = msgspec.structs.replace(TRADED, client_order_id="C1")
    fault = execution_fault(told, 7, msgspec.structs.replace(ROW, **{field: value}))
    assert fault == (
        f"tells of execution 'E1' with {field} {getattr(told, field)!r}; the execution log has {field} {value!r}"
    )
    assert execution_fault(OLD, 7, msgspec.structs.replace(ROW, **{field: value})) is None


def test_a_fee_that_was_never_told_is_a_fault() -> None:
    """A newer entry without a fee says that there was none."""
    told = msgspec.structs.replace(TRADED, fee=None, fee_currency=None)
    assert "with fee None; the execution log has fee '0.1'" in str(execution_fault(told, 7, ROW))


@pytest.mark.parametrize(
    ("field", "value"), [("account", "B"), ("instrument", "OTHER"), ("side", "sell"), ("intent_id", 7)]
)
def test_an_execution_of_a_stranger_is_told_by_its_own_entry(field: str, value: object) -> None:
    """Nobody recorded an order of it: the event itself tells account, instrument and side."""
    assert execution_fault(STRANGER, 7, msgspec.structs.replace(STRANGER_ROW, **{field: value})) is not None


def test_an_account_that_imitates_the_spelling_of_an_intent_deceives_nobody() -> None:
    """Quotes in a column cannot make it agree with other fields of the intent."""
    row = msgspec.structs.replace(ROW, account='A","strategy":"S","instrument":"ACME', strategy="S")
    assert execution_fault(TRADED, 7, row) is not None


def test_a_row_that_is_not_there_is_told() -> None:
    """The log ended before."""
    assert execution_fault(TRADED, 7, None) == "execution 'E1' is not in the execution log"


def test_events_that_tell_of_executions_are_found_among_others() -> None:
    """By their type, whatever else stands in the entry; every entry that has one bears the mark."""
    payload = '[{"type":"note","quantity":"1"},{"type":"traded","execution_id":"E1","quantity":"1","price":"2"}]'
    assert MARK in payload
    assert [told.execution_id for told in told_executions(payload)] == ["E1"]
    assert MARK not in msgspec.json.encode([{"type": "note", "text": payload}]).decode()
