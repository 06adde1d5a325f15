"""What the venue suite asks of the execution stream: every execution, to the digit, under one name, from any place on."""

import asyncio
import functools
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal

import msgspec

from onefill.core.capabilities import ExecutionIdScope, ReplaceStyle
from onefill.core.messages import ExecutionKind, ExecutionReport, VenueOrder
from onefill.core.values import EXACT
from onefill.testing.venue_bench import PATIENT_S, Bench, VenueUnderTest, bounded, fact, until
from onefill.testing.venue_kit import Ability


class Traded(msgspec.Struct, frozen=True, order=True):
    """One trade that the kit was told to make."""

    client_order_id: str
    quantity: Decimal
    price: Decimal


class StreamFacts(VenueUnderTest):
    """Executions, by pages and as they come."""

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_every_execution_is_told_once(self, bench: Bench) -> None:
        """Each trade is told with its order, quantity and price, to the digit, under an id that no other one has."""
        made = await trade(bench, 3) + await trade(bench, 2)
        reports = await caught_up(bench, made)
        judge_names(bench, reports)
        for report in reports:
            assert report.account == bench.kit.account
            assert report.instrument == bench.kit.instrument

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_it_goes_on_from_any_place(self, bench: Bench) -> None:
        """A reader that has seen a place goes on after it without loss, and is told the same again when it asks again."""
        made = await trade(bench, 3) + await trade(bench, 1)
        whole = await caught_up(bench, made)
        for seen in (*whole, None):
            after = bench.beginning if seen is None else seen.position
            rest = await bench.reports(after)
            told = [bench.news(report) for report in rest]
            wanted = [report for report in whole if report.position > after]
            missing = [report for report in wanted if bench.news(report) not in told]
            assert not missing, f"after place {after} these were lost: {missing}"
            assert bench.timed or rest == wanted

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_it_survives_a_reconnect(self, bench: Bench) -> None:
        """A new adapter tells what happened before it came and while nobody listened, under the same ids as the one before."""
        made = await trade(bench, 2)
        before = await caught_up(bench, made)
        order = await bench.resting()
        await bench.venue.close()
        await bench.kit.fill(order, bench.part())
        made.append(_traded(order, bench.part()))
        bench.venue = await bench.open()
        await bench.true(order.client_order_id, lambda now: now.cum_quantity == bench.part())
        after = await caught_up(bench, made)
        told = {(report.venue_order_id, report.execution_id): report for report in after if _trade(report)}
        for report in before:
            if _trade(report):
                assert (report.venue_order_id, report.execution_id) in told, f"not told again under its id: {report}"
                again = told[report.venue_order_id, report.execution_id]
                assert (again.last_quantity, again.last_price) == (report.last_quantity, report.last_price)
                assert bench.news(again) == bench.news(report)
        last = max((report.position for report in before), default=bench.beginning)
        assert missing_in(bench, await bench.reports(last), made[-1:]) == []

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_a_stream_tells_what_comes(self, bench: Bench) -> None:
        """A stream gives what happened after its place, and then what happens, in order, until the adapter is closed."""
        made = await trade(bench, 1)
        found: list[ExecutionReport] = []
        begun = bench.beginning
        reader = asyncio.ensure_future(_read(bench, bench.venue.stream(begun), found, begun))
        try:
            await _until_told(bench, found, made, reader)
            for _ in range(2):
                made += await trade(bench, 1)
                await _until_told(bench, found, made, reader)
            await bounded(bench.venue.close())
            done, _ = await asyncio.wait({reader}, timeout=PATIENT_S)
            assert done, "the stream did not end when the adapter was closed"
        finally:
            await _stopped(reader)
        judge_names(bench, found)

    @fact(Ability.TRUTH, Ability.FILL, Ability.CUT_STREAMS)
    async def test_a_stream_that_was_cut_loses_nothing(self, bench: Bench) -> None:
        """A stream that is cut ends, raises or mends itself; taken up after the last place, nothing was lost."""
        made: list[Traded] = []
        found: list[ExecutionReport] = []
        reader = asyncio.ensure_future(_follow(bench, found))
        try:
            for number in range(3):
                made += await trade(bench, 1)
                await _until_told(bench, found, made, reader)
                await bench.kit.cut_streams()
                await until(functools.partial(_answered, bench), "the adapter does not get over a cut")
                if number:
                    made += await trade(bench, 1)
            await _until_told(bench, found, made, reader)
        finally:
            await _stopped(reader)

    @fact(Ability.TRUTH, Ability.FILL)
    async def test_a_drop_copy_tells_the_same(self, bench: Bench) -> None:
        """Where a second channel is declared it tells the same executions, under the same ids; elsewhere it tells nothing."""
        made = await trade(bench, 2)
        reports = await caught_up(bench, made)
        if not bench.capabilities.drop_copy:
            (found,) = await bounded(asyncio.gather(bench.venue.drop_copies(0), return_exceptions=True))
            assert isinstance(found, Exception) or found == []  # it may raise: it is never called there
            return
        copies = await bounded(bench.venue.drop_copies(0))
        assert [copy.position for copy in copies] == list(range(1, len(copies) + 1))
        told = {report.execution_id for report in reports if _trade(report) or report.average_price is not None}
        assert {copy.execution_id for copy in copies} <= told
        assert missing_in(bench, copies, made) == []


async def trade(bench: Bench, times: int) -> list[Traded]:
    """Have a new order trade that many times, a little more each time. Return the trades."""
    order = await bench.resting()
    step, made = bench.instrument.quantity_step, []
    for number in range(times):
        made.append(_traded(order, bench.part(8) + number * step))
        order = await bench.filled(order, made[-1].quantity)
    return made


def _traded(order: VenueOrder, quantity: Decimal) -> Traded:
    assert order.price is not None
    return Traded(order.client_order_id, quantity, order.price)


def _trade(report: ExecutionReport) -> bool:
    return report.kind is ExecutionKind.TRADE


async def caught_up(bench: Bench, made: Sequence[Traded]) -> list[ExecutionReport]:
    """Return every report since the beginning, as soon as all trades are among them."""
    found: list[ExecutionReport] = []

    async def told() -> bool:
        found[:] = await bench.reports()
        return not missing_in(bench, found, made)

    await until(told, f"not all of {len(made)} trades are told")
    surplus = _surplus(bench, found, made)
    assert not surplus, f"these were told and never happened, or twice: {surplus}"
    return found


def missing_in(bench: Bench, reports: Iterable[ExecutionReport], made: Sequence[Traded]) -> list[Traded]:
    """Return the trades that are not told. Where totals only are told, those of orders whose total is not that high."""
    reports = list(reports)
    if bench.capabilities.cumulative_fills_only:
        totals = _totals(reports)
        return [one for one in made if totals.get(one.client_order_id, Decimal(0)) < _sum(made, one.client_order_id)]
    left = [_told(report) for report in _once(reports)]
    missing = []
    for one in made:
        if one in left:
            left.remove(one)
        else:
            missing.append(one)
    return missing


def _surplus(bench: Bench, reports: Iterable[ExecutionReport], made: Sequence[Traded]) -> list[Traded]:
    """Return what is told beside the trades that were made."""
    reports = list(reports)
    if bench.capabilities.cumulative_fills_only:
        if bench.capabilities.replace is ReplaceStyle.NEW_ID:
            return []  # the total is that of all orders in the chain, and the trades are told apart by order
        totals = _totals(reports)
        return [one for one in made if totals[one.client_order_id] > _sum(made, one.client_order_id)]
    left = list(made)
    surplus = []
    for report in _once(reports) if bench.timed else filter(_trade, reports):
        one = _told(report)
        if one in left:
            left.remove(one)
        else:
            surplus.append(one)
    return surplus


def _once(reports: Iterable[ExecutionReport]) -> list[ExecutionReport]:
    """Return each trade's first report; one without an id is its own."""
    seen: dict[object, ExecutionReport] = {}
    for report in filter(_trade, reports):
        name: object = (report.venue_order_id, report.execution_id) if report.execution_id else report.position
        seen.setdefault(name, report)
    return list(seen.values())


def _told(report: ExecutionReport) -> Traded:
    assert report.last_quantity is not None
    assert report.last_price is not None
    return Traded(report.client_order_id, report.last_quantity, report.last_price)


def _totals(reports: Iterable[ExecutionReport]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for report in reports:
        before = totals.get(report.client_order_id, Decimal(0))
        totals[report.client_order_id] = max(before, report.cum_quantity)
    return totals


def _sum(made: Iterable[Traded], client_order_id: str) -> Decimal:
    total = Decimal(0)
    for one in made:
        if one.client_order_id == client_order_id:
            total = EXACT.add(total, one.quantity)
    return total


def judge_names(bench: Bench, reports: Iterable[ExecutionReport]) -> None:
    """Assert that no two executions have one name within the scope that is declared, and none an empty one in vain."""
    scope = bench.capabilities.execution_id_scope
    seen: dict[tuple[str, str], ExecutionReport] = {}
    for report in filter(_trade, reports):
        if not report.execution_id:
            continue
        within = {
            ExecutionIdScope.ACCOUNT: "",
            ExecutionIdScope.INSTRUMENT: report.instrument,
            ExecutionIdScope.ORDER: report.venue_order_id,
        }[scope]
        first = seen.setdefault((within, report.execution_id), report)
        assert first == report or bench.timed, f"two executions have the id {report.execution_id}: {first}, {report}"
        assert _told(first) == _told(report)


async def _read(bench: Bench, stream: AsyncIterator[ExecutionReport], into: list[ExecutionReport], after: int) -> None:
    async for report in stream:
        bench.judge_place(report, after)
        after = report.position
        into.append(report)


async def _follow(bench: Bench, into: list[ExecutionReport]) -> None:
    """Read as a gateway does: when a stream ends or raises, again after the last place."""
    while True:
        after = into[-1].position if into else bench.beginning
        try:
            await _read(bench, bench.venue.stream(after), into, after)
        except AssertionError:
            raise
        except Exception:  # noqa: BLE001 - a stream may end as it likes
            await asyncio.sleep(0.02)
            continue
        await asyncio.sleep(0.02)


async def _until_told(
    bench: Bench, found: list[ExecutionReport], made: Sequence[Traded], reader: "asyncio.Future[None]"
) -> None:
    async def told() -> bool:
        if reader.done():
            reader.result()
            raise AssertionError("the stream ended by itself")
        return not missing_in(bench, found, made)

    await until(told, f"the stream does not tell {len(made)} trades within {PATIENT_S:g} s")
    assert not _surplus(bench, found, made)


async def _answered(bench: Bench) -> bool:
    """Tell whether questions are answered again: then the connections that were cut are out of use."""
    try:
        await bounded(bench.venue.executions(bench.beginning))
    except AssertionError:
        raise
    except Exception:  # noqa: BLE001 - whatever an adapter raises
        return False
    return True


async def _stopped(reader: "asyncio.Future[None]") -> None:
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
