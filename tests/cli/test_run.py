"""``onefill run`` as a user meets it: what goes out, what is told, and that doing it again changes nothing."""

import gzip
import lzma
from pathlib import Path

import pytest
from cli_kit import HEADER, Venue, blotter, cancel, limit, onefill

from onefill.core.messages import VenueStatus


def run(file: Path, ledger: Path, venue: Venue, account: str, *more: object) -> tuple[object, ...]:
    """Return the arguments of a run."""
    return ("run", file, "--ledger", ledger, "--venue", venue.url, "--account", account, *more)


def test_a_file_is_sent_once_however_often_it_is_run(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """The second run sends nothing, exits the same, and writes the same answers byte for byte."""
    file = blotter(tmp_path, limit("a"), limit("b", "0.5"), cancel("a"), cancel("nobody"))
    answers = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path in answers:
        done = onefill(*run(file, ledger, exchange, account, "--answers", path))
        assert done.code == 0, done.err
        assert done.out.splitlines() == [
            "orders.csv: 4 rows",
            "outcome            rows",
            "accepted              2",
            "cancel of unknown     1",
            "canceled              1",
        ]
    assert done.err == f"exchange:{account}: 2 answered from the ledger\n"
    assert answers[0].read_bytes() == answers[1].read_bytes()
    assert [line.split(",")[0] for line in answers[0].read_text().splitlines()] == [
        f'{{"line":{n}' for n in (2, 3, 4, 5)
    ]
    assert [order.status for order in exchange.orders(account)] == [VenueStatus.CANCELED, VenueStatus.NEW]


def test_json_is_one_document_with_everything_a_program_needs(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """Outcomes, the notes on rows with line, key, field and text, the routes' counts and the exit code."""
    file = blotter(tmp_path, limit("a"), limit("b", "-1"))
    done = onefill(*run(file, ledger, exchange, account, "--json"))
    assert (done.code, done.err) == (1, "")
    told = done.json
    assert told["rows"] == 2
    assert told["outcomes"] == {"accepted": 1, "bad": 1}
    assert told["notes"] == [
        {
            "line": 3,
            "key": "b",
            "outcome": "bad",
            "answer": None,
            "field": "quantity",
            "error": "line 3, quantity: -1 is not above zero",
        }
    ]
    assert (told["interrupted"], told["not_begun"], told["notes_left_out"], told["exit_code"]) == (False, 0, 0, 1)
    assert told["routes"][f"exchange:{account}"]["copies_sent"] == 1


def test_bad_rows_are_named_and_the_others_sent_and_the_mended_file_sends_the_rest(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """Without ``--strict``: exit code 1, every bad row on a line of its own, then what to do."""
    good = [limit("a"), limit("z")]
    file = blotter(tmp_path, good[0], limit("b", price="100.005"), "c,BTC-USD,buy,1\n", good[1])
    done = onefill(*run(file, ledger, exchange, account))
    assert done.code == 1
    assert done.err.splitlines()[1:] == [
        "line 3, price: 100.005 is not a multiple of 0.01; numbers are never rounded here",
        "line 4, row: has 4 columns, the header has 7; an empty one still needs its comma",
        "bad rows were not sent, all others were: mend those lines and run the file again, only they are sent then",
    ]
    assert len(exchange.orders(account)) == 2
    submits = exchange.submits()
    mended = blotter(tmp_path, good[0], limit("b"), limit("c"), good[1])
    assert onefill(*run(mended, ledger, exchange, account)).code == 0
    assert exchange.submits() == submits + 2
    assert len(exchange.orders(account)) == 4


def test_strict_lists_all_problems_and_sends_nothing(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """Problems of form, of the venue's steps, of doubled keys and of keys in the ledger, all at once, exit code 2."""
    assert onefill(*run(blotter(tmp_path, limit("old")), ledger, exchange, account)).code == 0
    file = blotter(
        tmp_path,
        limit("a"),
        limit("b", "NaN"),
        limit("c", price="0.001"),
        "d,ETH-USD,buy,1,limit,1,gtc\n",
        limit("a", side="sell"),
        limit("old", "2"),
        cancel("a"),
    )
    submits = exchange.submits()
    done = onefill(*run(file, ledger, exchange, account, "--strict"))
    assert done.code == 2
    assert done.out == ""
    assert done.err.splitlines() == [
        f"error: {file}: 5 problems in 7 rows; nothing was sent",
        "  line 3, quantity: 'NaN' is not a plain decimal number such as 12.50",
        "  line 4, price: 0.001 is not a multiple of 0.01; numbers are never rounded here",
        "  line 5, instrument: 'ETH-USD' is not traded there; traded there: BTC-USD",
        "  line 6, key: 'a' is used on line 2 for an order whose side differs; use a new key",
        "  line 7, key: 'old' already belongs to an order whose quantity differs; that order stands and nothing was sent "
        "for this row. Use a new key for a new order, or repeat the first one unchanged",
    ]
    told = onefill(*run(file, ledger, exchange, account, "--strict", "--json")).json
    assert (told["kind"], told["exit_code"]) == ("BadRows", 2)
    assert [(one["line"], one["field"]) for one in told["problems"]] == [
        (3, "quantity"),
        (4, "price"),
        (5, "instrument"),
        (6, "key"),
        (7, "key"),
    ]
    assert exchange.submits() == submits
    assert len(exchange.orders(account)) == 1


def test_strict_sends_a_file_without_problems_and_again_finds_none(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """A repeat of what the ledger has is no problem, and a ledger that is still to be made is none either."""
    file = blotter(tmp_path, limit("a"), limit("b"))
    for _ in range(2):
        assert onefill(*run(file, ledger, exchange, account, "--strict")).code == 0
    assert len(exchange.orders(account)) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", ": is empty; its first line names the columns: key, instrument, "),
        (
            HEADER.encode() + b"a,BTC-USD,buy,1,limit,1,\xff\n",
            ": line 2: byte 25 (0xff) is not UTF-8; save the file as UTF-8",
        ),
        (HEADER.encode() + b'"a,BTC-USD,buy,1,limit,1,gtc\n', ': line 2: a quote (") is opened here and never closed'),
        (b"key,side\na,buy\n", ": line 1: columns missing: instrument, quantity, type. Known columns: "),
    ],
)
def test_a_file_that_cannot_be_read_sends_nothing_not_even_its_good_part(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str, content: bytes, told: str
) -> None:
    """The whole file is read before the first row goes out; exit code 2, and no ledger is made."""
    file = tmp_path / "orders.csv"
    file.write_bytes(content)
    submits = exchange.submits()
    done = onefill(*run(file, ledger, exchange, account))
    assert done.code == 2
    assert done.err.startswith(f"error: {file}{told}")
    assert done.err.endswith(". Nothing was sent\n")
    assert exchange.submits() == submits
    assert not ledger.exists()


def test_a_recorded_day_cut_short_sends_nothing(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """Also where thousands of rows before the cut are whole."""
    rows = "".join(f"{n},1,1,100.00,1000000,created,bid\n" for n in range(3000))
    packed = lzma.compress(f"id,timestamp,exchange.timestamp,price,volume,action,direction\n{rows}".encode())
    file = tmp_path / "day.csv.xz"
    file.write_bytes(packed[:-40])
    done = onefill(*run(file, ledger, exchange, account, "--format", "bitstamp"))
    assert done.code == 2
    assert "the packed file ends too soon; was it copied or downloaded whole? Nothing was sent" in done.err
    assert exchange.orders(account) == []


def test_a_packed_recorded_day_is_sent(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """Created orders rest, deleted ones are cancelled, changed ones are the market's own; twice is once."""
    text = (
        "id,timestamp,exchange.timestamp,price,volume,action,direction\n"
        "1,1,1,236.47,200000000,created,bid\n1,2,1,236.47,100000000,changed,bid\n"
        "2,3,1,236.48,5,created,ask\n1,4,1,236.47,100000000,deleted,bid\n9,5,1,1.00,1,deleted,bid\n"
    )
    file = tmp_path / "day.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    for _ in range(2):
        done = onefill(*run(file, ledger, exchange, account, "--format", "bitstamp", "--json"))
        assert (done.code, done.json["outcomes"]) == (0, {"accepted": 2, "canceled": 1, "cancel_of_unknown": 1})
    assert [(format(order.quantity, "f"), order.status) for order in exchange.orders(account)] == [
        ("2.00000000", "canceled"),
        ("0.00000005", "new"),
    ]


def test_a_blotter_for_several_accounts_opens_a_route_for_each(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """The accounts of the file are found by reading it first; each order is sent in its own account's name."""
    file = tmp_path / "orders.csv"
    text = "key,instrument,side,quantity,type,price,account\n"
    file.write_text(text + f"k,BTC-USD,buy,1,limit,50,{account}1\nk,BTC-USD,buy,2,limit,50,{account}2\n")
    done = onefill(*run(file, ledger, exchange, account, "--json"))
    assert done.code == 0
    assert sorted(done.json["routes"]) == sorted(f"exchange:{account}{end}" for end in ("", "1", "2"))
    assert [order.quantity for end in "12" for order in exchange.orders(account + end)] == [1, 2]


def test_names_are_checked_before_anything_is_opened(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """An option that no row could use is one error, not one for each row; so is an account too long for a route."""
    file = blotter(tmp_path, limit("a"))
    done = onefill("run", file, "--ledger", ledger, "--venue", exchange.url, "--strategy", "my strategy")
    assert done.code == 2
    assert done.err.startswith("error: --strategy: 'my strategy' is not a name")
    long = tmp_path / "long.csv"
    long.write_text(f"key,instrument,side,quantity,type,price,account\nk,BTC-USD,buy,1,limit,50,{'a' * 60}\n")
    done = onefill(*run(long, ledger, exchange, account))
    assert done.code == 2
    assert done.err.startswith(f"error: {long}: line 2, account: '{'a' * 60}' is too long: with the venue, ")
    assert not ledger.exists()


def test_a_header_alone_is_done_at_once(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """Exit code 0, and it says so."""
    done = onefill(*run(blotter(tmp_path), ledger, exchange, account))
    assert (done.code, done.out) == (0, "")
    assert done.err == "orders.csv: no rows below the header; there was nothing to send\n"


def test_answers_that_cannot_be_written_are_refused_before_anything_is_sent(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """A folder, a missing folder: exit code 2, nothing sent."""
    file = blotter(tmp_path, limit("a"))
    for place, reason in (
        (tmp_path, "is there already and is not a plain file"),
        (tmp_path / "no" / "a", "No such file"),
    ):
        done = onefill(*run(file, ledger, exchange, account, "--answers", place))
        assert done.code == 2
        assert done.err.startswith(f"error: --answers {place}: cannot be written: {reason}")
        assert done.err.endswith(". Nothing was sent\n")
    assert exchange.orders(account) == []


def test_a_run_with_nothing_but_rejections_says_why(
    tmp_path: Path, ledger: Path, exchange: Venue, account: str
) -> None:
    """The venue's reason is on the row's own line; exit code 1."""
    done = onefill(*run(blotter(tmp_path, "m,BTC-USD,buy,1,market,,gtc\n"), ledger, exchange, account))
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("line 2: order 'm': rejected: ")
