"""Rows from files: every error names line and column as the file calls it, says what is wrong, and harms no other row."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.values import OrderType, Side, TimeInForce
from onefill.service.blotter import BadRow, CancelRow, Defaults, Format, Row, SubmitRow, read
from onefill.service.order_file import FileError

HEADER = "key,instrument,side,quantity,type,price,time in force,account,strategy"
DAY = "id,timestamp,exchange.timestamp,price,volume,action,direction"
NOT_A_NUMBER = "is not a plain decimal number such as 12.50"


def rows(path: Path, text: str | bytes, form: Format = Format.BLOTTER) -> list[Row]:
    """Write a file and return its rows."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read(path, form, Defaults()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a place for a file of orders."""
    return tmp_path / "orders.csv"


def test_a_full_row_says_everything_and_a_short_one_takes_the_defaults(file: Path) -> None:
    """All nine columns are read; the optional four may be absent or empty."""
    text = f"{HEADER}\nk1,BTC-USD,SELL,1.50,limit,99.5,ioc,acct,alpha\nk2,BTC-USD,buy,2,market,,,,\n"
    first, second = rows(file, text)
    assert isinstance(first, SubmitRow)
    assert (first.line, first.key, first.intent.side, first.intent.quantity) == (2, "k1", Side.SELL, Decimal("1.50"))
    assert (first.intent.price, first.intent.time_in_force) == (Decimal("99.5"), TimeInForce.IOC)
    assert (first.intent.account, first.intent.strategy) == ("acct", "alpha")
    assert isinstance(second, SubmitRow)
    assert (second.intent.order_type, second.intent.price) == (OrderType.MARKET, None)
    assert (second.intent.account, second.intent.strategy, second.intent.time_in_force) == ("main", "blotter", "day")


def test_parameters_of_a_row_are_a_json_object(file: Path) -> None:
    """They are taken in their one spelling; what is no JSON object is named by its column."""
    header = "key,instrument,side,quantity,type,parameters"
    text = f'{header}\nk,BTC-USD,buy,1,market,"{{""postOnly"": true}}"\nl,BTC-USD,buy,1,market,x\n'
    good, bad = rows(file, text)
    assert isinstance(good, SubmitRow)
    assert good.intent.parameters == '{"postOnly":true}'
    assert isinstance(bad, BadRow)
    assert bad.error.field == "parameters"


def test_columns_may_come_in_any_order_case_and_spelling(file: Path) -> None:
    """``Time_In_Force``, ``TIF`` and spaces around names mean the same column."""
    for name in ("Time_In_Force", "TIF", " time in force "):
        (row,) = rows(file, f"Type,{name},KEY,side,instrument,price,quantity\nlimit,gtc,k,buy,BTC-USD,1,2\n")
        assert isinstance(row, SubmitRow)
        assert (row.intent.time_in_force, row.intent.quantity, row.intent.price) == (
            TimeInForce.GTC,
            Decimal(2),
            Decimal(1),
        )


def test_bom_crlf_blank_lines_and_quotes_are_no_obstacle(file: Path) -> None:
    """What spreadsheets write is read; lines keep the numbers that an editor shows."""
    text = (
        "\ufeff\r\n" + HEADER + "\r\n\r\n"
        '"k,1","BTC-USD","buy","1","limit","2","","",""\r\n'
        " , ,,,,,,,\r\n\r\n"
        'k2,BTC-USD,buy,"1,000",limit,2,,,\r\n'
    )
    first, second = rows(file, text)
    assert isinstance(first, SubmitRow)
    assert (first.line, first.key) == (4, "k,1")
    assert isinstance(second, BadRow)
    assert str(second.error) == f"line 7, quantity: '1,000' {NOT_A_NUMBER}"


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ("k,BTC-USD,buy,-1,limit,2", "quantity", "-1 is not above zero"),
        ("k,BTC-USD,buy,0,limit,2", "quantity", "0 is not above zero"),
        ("k,BTC-USD,buy,0.000,limit,2", "quantity", "0 is not above zero"),
        ("k,BTC-USD,buy,NaN,limit,2", "quantity", f"'NaN' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,inf,limit,2", "quantity", f"'inf' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,-Infinity,limit,2", "quantity", f"'-Infinity' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,1e5,limit,2", "quantity", f"'1e5' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,.5,limit,2", "quantity", f"'.5' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,1.,limit,2", "quantity", f"'1.' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,+1,limit,2", "quantity", f"'+1' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,1_000,limit,2", "quantity", f"'1_000' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,1 000,limit,2", "quantity", f"'1 000' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,0x10,limit,2", "quantity", f"'0x10' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,١٢,limit,2", "quantity", f"'١٢' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,\uff11\uff12,limit,2", "quantity", f"'\uff11\uff12' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,,limit,2", "quantity", f"'' {NOT_A_NUMBER}"),
        (f"k,BTC-USD,buy,{'1234567890' * 4},limit,2", "quantity", "has more than 28 digits"),
        ("k,BTC-USD,buy,1,limit,-2", "price", "-2 is not above zero"),
        ("k,BTC-USD,buy,1,limit,nan", "price", f"'nan' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,1,limit,1E2", "price", f"'1E2' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy,1,limit,", "price", "a limit order needs one"),
        ("k,BTC-USD,buy,1,market,2", "price", "a market order takes none"),
        ("k,BTC-USD,hold,1,limit,2", "side", "'hold' is none of: buy, sell"),
        ("k,BTC-USD,buy,1,stop,2", "type", "'stop' is none of: market, limit, cancel"),
        ("k,BTC USD,buy,1,limit,2", "instrument", "'BTC USD' is not a name"),
        (",BTC-USD,buy,1,limit,2", "key", "'' is not a key (1 to 200 printable characters"),
        (f"{'k' * 201},BTC-USD,buy,1,limit,2", "key", "is not a key (1 to 200 printable characters"),
        ("k\x00,BTC-USD,buy,1,limit,2", "key", "'k\\x00' is not a key"),
        ("k\x1b[31m,BTC-USD,buy,1,limit,2", "key", "'k\\x1b[31m' is not a key"),
        ('"k\nl",BTC-USD,buy,1,limit,2', "key", "'k\\nl' is not a key"),
        ("k,BTC-USD,buy,1\x00,limit,2", "quantity", f"'1\\x00' {NOT_A_NUMBER}"),
        ("k,BTC-USD,buy", "row", "has 3 columns, the header has 6; an empty one still needs its comma"),
        ("k,BTC-USD,buy,1,000,limit,2", "row", "has 7 columns, the header has 6; put a text that contains a comma in"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column_and_spoils_no_other_row(
    file: Path, row: str, field: str, problem: str
) -> None:
    """A row that cannot be used is one value of its own; the rows before and after are whole."""
    good = "BTC-USD,buy,1,limit,2"
    before, bad, after = rows(file, f"key,instrument,side,quantity,type,price\na,{good}\n{row}\nz,{good}\n")
    assert isinstance(before, SubmitRow)
    assert isinstance(after, SubmitRow)
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.error.line, bad.error.field) == (3, 3, field)
    assert problem in bad.error.problem
    assert str(bad.error).startswith(f"line 3, {field}: ")
    assert str(bad.error).isprintable()


@pytest.mark.parametrize(
    ("column", "cell", "told"),
    [
        ("time in force", "gtd", "line 2, time in force: 'gtd' is none of: day, gtc, ioc, fok"),
        ("account", "my account", "line 2, account: 'my account' is not a name"),
        ("strategy", "<b>", "line 2, strategy: '<b>' is not a name"),
        ("account", "a" * 65, "line 2, account: "),
    ],
)
def test_an_optional_column_is_checked_like_the_others(file: Path, column: str, cell: str, told: str) -> None:
    """The column is named as in the file's header, not as in the program."""
    (bad,) = rows(file, f"key,instrument,side,quantity,type,price,{column}\nk,BTC-USD,buy,1,limit,2,{cell}\n")
    assert isinstance(bad, BadRow)
    assert str(bad.error).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty; its first line names the columns: key, instrument, side, quantity, type, price, time in force"),
        ("\n \n,,\n", "is empty; its first line names the columns: key, "),
        ("key,side\n", "line 1: columns missing: instrument, quantity, type. Known columns: key, instrument, "),
        ("key,instrument,side,quantity,type,colour\n", "line 1: columns unknown: 'colour'. Known columns: "),
        ("key,instrument,side,quantity,type,Key\n", "line 1: columns named twice: key. Known"),
        ("\n\nkey,instrument,side,quantity,type,tif,time_in_force\n", "line 3: columns named twice: time in force. "),
        ("key;instrument;side;quantity;type\n", "Columns are told apart by commas"),
        (DAY + "\n", "This looks like --format bitstamp"),
        (
            HEADER + '\n"k,BTC-USD,buy,1,limit\nz,,,,\n',
            'line 2: a quote (") is opened here and never closed. Rows cannot',
        ),
        (HEADER + '\na,b\n"k"l,BTC-USD\n', "line 3: text after a closing quote (to line 3); write a quote inside"),
        (
            HEADER + "\rk,BTC-USD\rz\r",
            "line 1: its lines end in a bare carriage return; save it with LF",
        ),
        (HEADER + "\n" + "x" * 200_000, "line 2: field larger than field limit"),
    ],
)
def test_a_file_that_cannot_be_told_apart_into_rows_is_refused_whole(file: Path, text: str, told: str) -> None:
    """What is wrong with the file as such is an error of the file, with the line and what to do."""
    with pytest.raises(FileError) as caught:
        rows(file, text)
    assert str(caught.value).startswith(f"{file}: ")
    assert told in str(caught.value)


def test_a_header_alone_is_a_file_without_rows(file: Path) -> None:
    """Nothing to send is no error."""
    assert rows(file, HEADER) == []
    assert rows(file, DAY, Format.BITSTAMP) == []


def test_cancels_are_numbered_by_key_so_that_a_second_run_is_the_same(file: Path) -> None:
    """The n-th cancel of a key has an operation key of its own, counted within account and strategy."""
    text = f"{HEADER}\na,,,,cancel,,,,\na,,,,Cancel,,,,\na,,,,cancel,,,other,\nb,,,,cancel,,,,\n"
    found = rows(file, text)
    assert all(isinstance(row, CancelRow) for row in found)
    names = [(row.account, row.key, row.operation_key) for row in found if isinstance(row, CancelRow)]
    assert names == [
        ("main", "a", "cancel-1"),
        ("main", "a", "cancel-2"),
        ("other", "a", "cancel-1"),
        ("main", "b", "cancel-1"),
    ]


def test_a_recorded_day_becomes_orders_and_cancels(file: Path) -> None:
    """``created`` submits a limit order in units of 1e-8, ``deleted`` cancels it, ``changed`` is the market's own."""
    text = f"{DAY}\n7,1,1,236.47,200000001,created,bid\n7,2,1,236.47,1,changed,bid\n7,3,1,236.47,1,deleted,bid\n"
    created, deleted = rows(file, text, Format.BITSTAMP)
    assert isinstance(created, SubmitRow)
    assert (created.key, created.intent.quantity, created.intent.side) == ("7", Decimal("2.00000001"), Side.BUY)
    assert isinstance(deleted, CancelRow)
    assert (deleted.line, deleted.key, deleted.operation_key) == (4, "7", "cancel-1")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("7,1,1,236.47,1,moved,bid", "line 2, action: 'moved' is none of: created, changed, deleted"),
        ("7,1,1,236.47,1,created,up", "line 2, direction: 'up' is none of: bid, ask"),
        ("7,1,1,236.47,-1,created,bid", "line 2, volume: -1 is not above zero"),
        ("7,1,1,1e3,1,created,bid", f"line 2, price: '1e3' {NOT_A_NUMBER}"),
        (",1,1,1,1,created,bid", "line 2, id: '' is not a key"),
    ],
)
def test_a_recorded_day_has_its_own_column_names_in_errors(file: Path, row: str, told: str) -> None:
    """Errors speak of volume and id, as the file does."""
    (bad,) = rows(file, f"{DAY}\n{row}\n", Format.BITSTAMP)
    assert isinstance(bad, BadRow)
    assert str(bad.error).startswith(told)


def test_a_blotter_given_as_a_recorded_day_is_recognised(file: Path) -> None:
    """The hint goes both ways."""
    with pytest.raises(FileError, match="This looks like --format blotter"):
        rows(file, HEADER + "\n", Format.BITSTAMP)


cell = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["k", "BTC-USD", "buy", "sell", "1", "0.5", "limit", "market", "cancel", "1e9", "NaN", '"', "a,b"]
)


@given(st.lists(st.lists(cell, min_size=4, max_size=8), max_size=6))
def test_any_table_gives_rows_with_their_lines_or_one_error_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]]
) -> None:
    """Reading never fails in another way, whatever the cells hold."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    body = "\n".join(",".join(cells) for cells in table)
    told, lines = "", []
    try:
        lines = [row.line for row in rows(path, f"key,instrument,side,quantity,type,price\n{body}\n")]
    except FileError as error:
        told = str(error)
    assert told == "" or told.startswith(f"{path}: line ")
    assert lines == sorted(set(lines))
