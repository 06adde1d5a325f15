"""Running a file of orders: the right rows go out, each bad one is named, and a second run changes nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_kit import BTC, cancel, gateway, limit, make_exchange, rows, run, run_text, runner

import onefill
from onefill.core.errors import CallerError, InvalidField, InvariantBroken
from onefill.core.intent import Intent, at_venue
from onefill.service.blotter import Row, SubmitRow
from onefill.service.in_order import InOrder
from onefill.service.order_file import FileError
from onefill.service.runner import RowOutcome, RowResult, Runner, check

BAD = "bad,BTC-USD,buy,-1,limit,100,gtc,,\n"


def test_good_rows_go_and_bad_ones_are_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    """A bad row keeps no other row from the venue; what is said about rows is sorted by line."""

    async def scenario() -> None:
        exchange = make_exchange()
        text = limit("a") + BAD + limit("b", price="100.001") + "c,ETH,buy,1,limit,1,gtc,,\n" + limit("d", quantity="2")
        async with gateway(tmp_path / "l.db", exchange) as opened:
            summary = await run_text(opened, tmp_path, text)
        assert summary.outcomes == {RowOutcome.ACCEPTED: 2, RowOutcome.BAD: 3}
        assert [(note.line, note.field) for note in summary.notes] == [(3, "quantity"), (4, "price"), (5, "instrument")]
        assert summary.notes[1].error == (
            "line 4, price: 100.001 is not a multiple of 0.01; numbers are never rounded here"
        )
        assert summary.notes[2].error is not None
        assert summary.notes[2].error.endswith("; traded there: BTC-USD")
        assert sorted(order.quantity for order in exchange.all_orders()) == [1, 2]

    run(scenario)


def test_mending_the_file_and_running_it_again_sends_only_the_mended_rows(tmp_path: Path) -> None:
    """Rows that went before are answered from the ledger, byte for byte."""

    async def scenario() -> None:
        exchange = make_exchange()
        results: list[dict[int, RowResult]] = []
        for line in (BAD, BAD.replace("-1", "3"), BAD.replace("-1", "3")):
            heard: dict[int, RowResult] = {}
            async with gateway(tmp_path / "l.db", exchange) as opened:
                await run_text(
                    opened,
                    tmp_path,
                    limit("a") + line + limit("b"),
                    on_result=lambda result, heard=heard: heard.update({result.line: result}),
                )
            results.append(heard)
        assert sorted(order.quantity for order in exchange.all_orders()) == [1, 1, 3]
        first, mended, again = results
        assert (first[2], first[4]) == (mended[2], mended[4])
        assert mended == again
        assert exchange.counts().submits == 3

    run(scenario)


def test_a_cancel_of_a_bad_row_is_not_recorded_so_that_it_works_once_the_row_is_mended(tmp_path: Path) -> None:
    """Otherwise the first run would keep "no such order" for good, and the mended order would never be cancelled."""

    async def scenario() -> None:
        exchange = make_exchange()
        async with gateway(tmp_path / "l.db", exchange) as opened:
            summary = await run_text(opened, tmp_path, BAD + cancel("bad"))
        assert summary.outcomes == {RowOutcome.BAD: 2}
        assert summary.notes[1].error == (
            "line 3, key: 'bad' was not recorded, because line 2 cannot be used; nothing was sent. "
            "Mend that line and run the file again"
        )
        async with gateway(tmp_path / "l.db", exchange) as opened:
            summary = await run_text(opened, tmp_path, BAD.replace("-1", "3") + cancel("bad"))
        assert summary.outcomes == {RowOutcome.ACCEPTED: 1, RowOutcome.CANCELED: 1}
        assert [order.status for order in exchange.all_orders()] == ["canceled"]

    run(scenario)


def test_a_bad_repeat_of_a_live_key_does_not_stop_its_cancel(tmp_path: Path) -> None:
    """The order that has the key is there, so the cancel is of that order."""

    async def scenario() -> None:
        exchange = make_exchange()
        text = limit("bad") + BAD + cancel("bad")
        async with gateway(tmp_path / "l.db", exchange) as opened:
            summary = await run_text(opened, tmp_path, text)
        assert summary.outcomes == {RowOutcome.ACCEPTED: 1, RowOutcome.BAD: 1, RowOutcome.CANCELED: 1}

    run(scenario)


def test_a_key_used_with_other_content_is_refused_naming_the_field_and_never_the_value(tmp_path: Path) -> None:
    """In the same file and in a later run alike; the first order stands."""

    async def scenario() -> None:
        exchange = make_exchange()
        async with gateway(tmp_path / "l.db", exchange) as opened:
            first = await run_text(opened, tmp_path, limit("k", quantity="7.125") + limit("k", price="101"))
        async with gateway(tmp_path / "l.db", exchange) as opened:
            second = await run_text(opened, tmp_path, limit("k", side="sell", quantity="7.125"))
        for summary, line, field in ((first, 3, "quantity"), (second, 2, "side")):
            assert summary.notes[0].error == (
                f"line {line}, key: 'k' already belongs to an order whose {field} differs; that order stands and nothing "
                "was sent for this row. Use a new key for a new order, or repeat the first one unchanged"
            )
            assert "7.125" not in str(summary.notes[0])
        assert len(exchange.all_orders()) == 1

    run(scenario)


def test_what_the_venue_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    """A rejection is no bad row: it is the venue's word, and a second run says the same."""

    async def scenario() -> None:
        exchange = make_exchange(matching=False)
        text = "m,BTC-USD,buy,1,market,,gtc,,\n"
        for _ in range(2):
            async with gateway(tmp_path / "l.db", exchange) as opened:
                summary = await run_text(opened, tmp_path, text)
            assert summary.outcomes == {RowOutcome.REJECTED: 1}
            assert (summary.notes[0].error or "").startswith("line 2: order 'm': rejected: ")
        assert exchange.counts().submits == 1

    run(scenario)


def test_one_blotter_may_trade_for_several_accounts(tmp_path: Path) -> None:
    """Each account has its own route, and the same key means another order in each."""

    async def scenario() -> None:
        exchange = make_exchange()
        text = limit("k", account="a") + limit("k", side="sell", account="b") + limit("k", quantity="5", account="a")
        async with gateway(tmp_path / "l.db", exchange, ("a", "b")) as opened:
            summary = await run_text(opened, tmp_path, text)
            await opened.catch_up()
            held = {position.account: position.quantity for position in opened.positions()}
        assert summary.outcomes == {RowOutcome.ACCEPTED: 2, RowOutcome.BAD: 1}
        assert held == {"a": 1, "b": -1}

    run(scenario)


def test_stopping_answers_what_is_under_way_and_begins_nothing_more(tmp_path: Path) -> None:
    """After a stop the numbers add up: begun rows are answered, the others untouched, and the next run does them."""

    async def scenario() -> None:
        exchange = make_exchange()
        given = rows(tmp_path, "".join(limit(f"k{n}") for n in range(50)))
        async with gateway(tmp_path / "l.db", exchange) as opened:
            work: Runner = runner(opened, in_flight=4, on_result=lambda _: work.stop())
            summary = await work.run(given)
            assert summary.rows == work.begun == len(exchange.all_orders()) < 10
        async with gateway(tmp_path / "l.db", exchange) as opened:
            summary = await runner(opened).run(given)
        assert summary.rows == len(exchange.all_orders()) == exchange.counts().submits == 50

    run(scenario)


def test_abandoning_waits_for_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """Rows under way stay as the ledger has them; nothing hangs, also with answers in order, and the next run finishes."""

    async def scenario() -> None:
        exchange = make_exchange()
        given = rows(tmp_path, "".join(limit(f"k{n}") for n in range(50)))
        told: list[RowResult] = []
        async with gateway(tmp_path / "l.db", exchange) as opened:
            work: Runner = runner(
                opened, in_flight=4, in_order=InOrder(told.append, most=2), on_result=lambda _: work.abandon()
            )
            await work.run(given)
        async with gateway(tmp_path / "l.db", exchange) as opened:
            summary = await runner(opened, in_order=InOrder(told.append, most=2)).run(given)
        assert summary.outcomes == {RowOutcome.ACCEPTED: 50}
        assert len(exchange.all_orders()) == exchange.counts().submits == 50
        assert [result.line for result in told[-50:]] == list(range(2, 52))

    run(scenario)


def test_a_file_that_breaks_off_while_it_runs_stops_the_run_after_the_rows_under_way(tmp_path: Path) -> None:
    """The error of the file is raised once everything begun has its answer."""

    async def scenario() -> None:
        exchange = make_exchange()
        given = rows(tmp_path, limit("a") + limit("b"))

        def broken() -> Iterator[Row]:
            yield from given
            raise FileError("rows.csv: line 4: torn")

        async with gateway(tmp_path / "l.db", exchange) as opened:
            work = runner(opened)
            with pytest.raises(FileError, match="line 4: torn"):
                await work.run(broken())
        assert work.summary.outcomes == {RowOutcome.ACCEPTED: 2}

    run(scenario)


def test_a_defect_in_a_row_ends_the_run_and_is_never_swallowed(tmp_path: Path) -> None:
    """Whatever a row raises comes out of the run; a row is not lost in silence."""

    class Broken:
        async def submit_raw(self, *_: object, **__: object) -> bytes:
            raise InvariantBroken("client order id X is taken; nothing was sent")

    async def scenario() -> None:
        work = runner(Broken())  # type: ignore[arg-type] # stands for a gateway with a defect
        with pytest.raises(InvariantBroken, match="is taken"):
            await work.run(rows(tmp_path, limit("a")))

    run(scenario)


def test_checking_finds_every_problem_and_asks_nothing_of_the_gateway(tmp_path: Path) -> None:
    """Rows, steps, instruments, keys doubled in the file and keys of the ledger, each with line and field."""
    text = (
        limit("a")
        + BAD
        + limit("a", price="101")
        + limit("old", quantity="2")
        + limit("c", quantity="0.0005")
        + "d,ETH,buy,1,limit,1,gtc,,\n"
        + limit("same")
        + cancel("nobody")
    )
    given = rows(tmp_path, text)
    known = {
        row.key: at_venue(row.intent, "sim:main")
        for row in rows(tmp_path, limit("old") + limit("same"))
        if isinstance(row, SubmitRow)
    }

    async def recorded(account: str, strategy: str, key: str) -> Intent | None:
        assert (account, strategy) == ("main", "blotter")
        return known.get(key)

    async def scenario() -> None:
        problems: list[CallerError] = await check(given, {"BTC-USD": BTC}, lambda account: f"sim:{account}", recorded)
        assert all(isinstance(problem, InvalidField) for problem in problems)
        places = [(problem.line, problem.field) for problem in problems if isinstance(problem, InvalidField)]
        assert places == [(3, "quantity"), (4, "key"), (5, "key"), (6, "quantity"), (7, "instrument")]
        assert "'a' is used on line 2 for an order whose price differs" in str(problems[1])
        assert "'old' already belongs to an order whose quantity differs" in str(problems[2])

    asyncio.run(scenario())


def test_the_notes_of_a_run_are_bounded_and_the_first_of_the_file(tmp_path: Path) -> None:
    """A file full of mistakes does not fill memory; how many more there were is counted."""

    async def scenario() -> None:
        async with gateway(tmp_path / "l.db", make_exchange()) as opened:
            summary = await run_text(opened, tmp_path, BAD * 300 + "x,ETH,buy,1,limit,1,gtc,,\n")
        assert (summary.told, len(summary.notes)) == (301, 200)
        assert [note.line for note in summary.notes] == list(range(2, 202))

    run(scenario)


def test_answers_are_the_same_bytes_however_many_rows_are_under_way(tmp_path: Path) -> None:
    """Concurrency changes neither answers nor their order."""

    async def scenario() -> None:
        exchange = make_exchange(matching=False)
        text = "".join(limit(f"k{n}") + cancel(f"k{n // 2}") for n in range(60))
        told: list[list[RowResult]] = []
        for in_flight in (1, 64, 7):
            told.append([])
            async with gateway(tmp_path / "l.db", exchange) as opened:
                await run_text(opened, tmp_path, text, in_flight=in_flight, in_order=InOrder(told[-1].append))
        assert told[0] == told[1] == told[2]
        assert len(told[0]) == 120
        assert exchange.counts().submits == 60

    run(scenario)


def test_the_public_names_of_errors_are_those_that_a_run_raises() -> None:
    """What callers catch is what is exported."""
    assert onefill.InvalidField is InvalidField
    assert issubclass(FileError, onefill.CallerError)
