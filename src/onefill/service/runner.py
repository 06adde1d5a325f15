"""Sending a file of orders through a gateway, and doing it again: the same rows give the same answers.

Rows go out concurrently, but the rows of one key in their order. What a row is answered is decided by the ledger alone, so a
run that was killed anywhere is finished by running the file again.
"""

import asyncio
import bisect
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum

import msgspec

from onefill.core.answers import Answer, CancelAnswer, CancelResult
from onefill.core.errors import CallerError, InvalidField, KeyReused, OrderUncertain, UnknownKey
from onefill.core.intent import Intent, at_venue, first_difference, fit
from onefill.core.lifecycle import Status
from onefill.core.values import Instrument
from onefill.engine.gateway import Gateway
from onefill.service.blotter import BadRow, CancelRow, Row, SubmitRow
from onefill.service.in_order import InOrder
from onefill.service.order_file import FileError


class RowOutcome(StrEnum):
    """What became of a row."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """By the venue, on evidence."""
    EXPIRED_UNSENT = "expired_unsent"
    CANCELED_UNSENT = "canceled_unsent"
    REFUSED = "refused"
    """By a risk gate here; nothing was sent."""
    CANCELED = "canceled"
    CANCEL_OF_ENDED = "cancel_of_ended"
    """A cancel that found the order filled or otherwise ended."""
    CANCEL_REFUSED = "cancel_refused"
    CANCEL_OF_UNKNOWN = "cancel_of_unknown"
    """A cancel of a key that had not been recorded (a recording that starts mid-day has some)."""
    UNCERTAIN = "uncertain"
    BAD = "bad"
    """Refused here; nothing was sent."""


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """A row's answer: the gateway's stored bytes, or the error.

    ``field`` is the column that an error is about. ``error`` begins with the line; it is also set where the venue refused.
    """

    line: int
    key: str
    outcome: RowOutcome
    answer: msgspec.Raw | None = None
    field: str | None = None
    error: str | None = None


class Summary(msgspec.Struct, kw_only=True):
    """A run in numbers."""

    rows: int = 0
    outcomes: dict[str, int] = {}
    told: int = 0
    """Rows with something to say about them."""
    notes: list[RowResult] = []
    """The first of those in the file, at most ``MOST_NOTES``."""

    def count(self, result: RowResult) -> None:
        """Take in one row's result."""
        self.rows += 1
        self.outcomes[result.outcome] = self.outcomes.get(result.outcome, 0) + 1
        if result.error is None:
            return
        self.told += 1
        if len(self.notes) < MOST_NOTES or result.line < self.notes[-1].line:
            bisect.insort(self.notes, result, key=lambda note: note.line)
            del self.notes[MOST_NOTES:]


MOST_NOTES = 200
_ORDER_OUTCOMES = {
    Status.REJECTED: RowOutcome.REJECTED,
    Status.EXPIRED_UNSENT: RowOutcome.EXPIRED_UNSENT,
    Status.CANCELED_UNSENT: RowOutcome.CANCELED_UNSENT,
    Status.REFUSED: RowOutcome.REFUSED,
}
_CANCEL_OUTCOMES = {
    CancelResult.CANCELED: RowOutcome.CANCELED,
    CancelResult.NEVER_SENT: RowOutcome.CANCELED,
    CancelResult.FILLED: RowOutcome.CANCEL_OF_ENDED,
    CancelResult.ENDED: RowOutcome.CANCEL_OF_ENDED,
    CancelResult.REFUSED: RowOutcome.CANCEL_REFUSED,
    CancelResult.UNKNOWN_KEY: RowOutcome.CANCEL_OF_UNKNOWN,
}
_TOLD = {RowOutcome.REJECTED, RowOutcome.REFUSED, RowOutcome.EXPIRED_UNSENT, RowOutcome.CANCEL_REFUSED}
_Scope = tuple[str, str, str]
"""Account, strategy, key."""
_answer = msgspec.json.Decoder(Answer)
_cancel_answer = msgspec.json.Decoder(CancelAnswer)


async def check(
    rows: Iterable[Row],
    instruments: Mapping[str, Instrument],
    route_of: Callable[[str], str],
    recorded: Callable[[str, str, str], Awaitable[Intent | None]],
) -> list[CallerError]:
    """Return everything wrong with a file, in its order, without sending anything.

    Looks at rows, instruments, and keys that already belong to another order, in the file itself or by ``recorded``, which
    tells the intent recorded for an account, strategy and key.
    """
    problems: list[CallerError] = []
    seen: dict[_Scope, tuple[int, Intent]] = {}
    for row in rows:
        if isinstance(row, BadRow):
            problems.append(row.error)
        elif isinstance(row, SubmitRow):
            intent = at_venue(row.intent, route_of(row.intent.account))
            line, first = seen.setdefault(_scope(row), (row.line, intent))
            field = first_difference(first, intent)
            if field is not None:
                problem = f"{row.key!r} is used on line {line} for an order whose {field} differs; use a new key"
                problems.append(InvalidField("key", problem, line=row.line))
            before = await recorded(*_scope(row))
            if before is not None:
                field = first_difference(before, intent)
                if field is not None:
                    problems.append(_at_line(KeyReused(row.key, field), row.line))
            else:
                problems += _misfits(intent, instruments, row.line)
    return problems


def _misfits(intent: Intent, instruments: Mapping[str, Instrument], line: int) -> list[CallerError]:
    instrument = instruments.get(intent.instrument)
    if instrument is None:
        problem = f"{intent.instrument!r} is not traded there{_known(instruments)}"
        return [InvalidField("instrument", problem, line=line)]
    try:
        fit(intent, instrument)
    except InvalidField as error:
        return [error.at_line(line)]
    return []


def _known(instruments: Mapping[str, Instrument]) -> str:
    names = sorted(instruments)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"; traded there: {', '.join(names[:10])}{more}"


def _at_line(error: CallerError, line: int) -> CallerError:
    if isinstance(error, InvalidField):
        return error.at_line(line)
    if isinstance(error, KeyReused):
        problem = (
            f"{error.key!r} already belongs to an order whose {error.field} differs; that order stands and nothing "
        )
        problem += "was sent for this row. Use a new key for a new order, or repeat the first one unchanged"
        return InvalidField("key", problem, line=line)
    return CallerError(f"line {line}: {error}")


class Runner:
    """Runs rows through a gateway, ``in_flight`` at a time.

    ``on_result`` hears of each row as it is answered, ``in_order`` of the same in the order of the file.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        route_of: Callable[[str], str],
        in_flight: int = 64,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
        on_result: Callable[[RowResult], None] = lambda _: None,
        in_order: InOrder[RowResult] | None = None,
    ) -> None:
        self._gateway = gateway
        self._route_of = route_of
        self._slots = asyncio.Semaphore(in_flight)
        self._time_to_live_s = time_to_live_s
        self._wait_s = wait_s
        self._on_result = on_result
        self._in_order = in_order
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_of_key: dict[_Scope, asyncio.Task[None]] = {}
        self._bad_keys: dict[str, int] = {}
        """Keys of rows that could not be used, with their line: a cancel of one of them has nothing to act on."""
        self._failure: Exception | None = None
        self._stopping = False
        self.begun = 0
        """Rows taken from the file so far."""
        self.summary = Summary(outcomes={}, notes=[])

    def stop(self) -> None:
        """Take no more rows; :meth:`run` returns when those under way are answered."""
        self._stopping = True

    def abandon(self) -> None:
        """Stop, and wait for nothing: rows under way stay as the ledger has them and are taken up by the next run."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._in_order is not None:
            self._in_order.give_up()

    async def run(self, rows: Iterable[Row]) -> Summary:
        """Run the rows, until :meth:`stop`, and return the numbers.

        Raises LedgerError or RouteClosed if the gateway cannot go on, FileError if the file cannot be read on; the rows
        under way are finished first.
        """
        torn = None
        try:
            for row in rows:
                if not await self._admit(row):
                    break
                self._begin(row)
        except FileError as error:
            torn = error
        if self._tasks:
            await asyncio.wait(self._tasks)
        failure = self._failure or torn
        if failure is not None:
            raise failure
        return self.summary

    async def _admit(self, row: Row) -> bool:
        """Wait until there is room for one more row; False if no more are to be taken."""
        await self._slots.acquire()
        if self._in_order is not None and not self._ended:
            await self._in_order.begin(row.line)
        if self._ended:
            self._slots.release()
        return not self._ended

    @property
    def _ended(self) -> bool:
        return self._failure is not None or self._stopping

    def _begin(self, row: Row) -> None:
        self.begun += 1
        scope = None if isinstance(row, BadRow) else _scope(row)
        before = None if scope is None else self._last_of_key.get(scope)
        task = asyncio.get_running_loop().create_task(self._one(row, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if scope is not None:
            self._last_of_key[scope] = task
            task.add_done_callback(functools.partial(self._forget, scope))

    def _forget(self, scope: _Scope, done: "asyncio.Task[None]") -> None:
        if self._last_of_key.get(scope) is done:
            del self._last_of_key[scope]

    async def _one(self, row: Row, before: "asyncio.Task[None] | None") -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            if self._failure is None:
                result = await self._result(row)
                self.summary.count(result)
                if self._in_order is not None:
                    self._in_order.add(row.line, result)
                self._on_result(result)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it and says so
            self._failure = self._failure or error
            if self._in_order is not None:
                self._in_order.give_up()
        finally:
            self._slots.release()

    async def _result(self, row: Row) -> RowResult:
        if isinstance(row, BadRow):
            return self._bad(row, row.error)
        try:
            if isinstance(row, CancelRow):
                return await self._cancel(row)
            intent = at_venue(row.intent, self._route_of(row.intent.account))
            raw = await self._gateway.submit_raw(
                intent,
                key=row.key,
                time_to_live_s=self._time_to_live_s,
                wait_s=self._wait_s,
                allow_similar=row.allow_similar,
            )
        except OrderUncertain as error:
            return RowResult(
                line=row.line, key=row.key, outcome=RowOutcome.UNCERTAIN, error=f"line {row.line}: {error}"
            )
        except CallerError as error:
            return self._bad(row, error)
        answer = _answer.decode(raw)
        outcome = _ORDER_OUTCOMES.get(answer.status, RowOutcome.ACCEPTED)
        return _answered(row, outcome, raw, answer.reason)

    def _bad(self, row: Row, error: CallerError) -> RowResult:
        self._bad_keys.setdefault(row.key, row.line)
        field = "key" if isinstance(error, KeyReused) else getattr(error, "field", None)
        if field == "instrument" and isinstance(row, SubmitRow) and isinstance(error, InvalidField):
            known = _known(self._gateway.instruments(self._route_of(row.intent.account)))
            error = InvalidField("instrument", error.problem + known)
        text = str(_at_line(error, row.line))
        return RowResult(line=row.line, key=row.key, outcome=RowOutcome.BAD, field=field, error=text)

    async def _cancel(self, row: CancelRow) -> RowResult:
        bad_line = self._bad_keys.get(row.key)
        if bad_line is not None:
            await self._refuse_cancel_of_bad(row, bad_line)
        raw = await self._gateway.cancel_raw(
            row.key,
            account=row.account,
            strategy=row.strategy,
            operation_key=row.operation_key,
            wait_s=self._wait_s,
        )
        answer = _cancel_answer.decode(raw)
        return _answered(row, _CANCEL_OUTCOMES[answer.result], raw, answer.reason)

    async def _refuse_cancel_of_bad(self, row: CancelRow, bad_line: int) -> None:
        # "No such order" would be recorded as this cancel's answer for good. Once the bad line is mended, the order would go
        # out on the next run and its cancel would not.
        try:
            await self._gateway.order(row.key, account=row.account, strategy=row.strategy)
        except UnknownKey:
            problem = f"{row.key!r} was not recorded, because line {bad_line} cannot be used; nothing was sent. "
            raise InvalidField("key", problem + "Mend that line and run the file again") from None


def _answered(row: SubmitRow | CancelRow, outcome: RowOutcome, raw: bytes, reason: str | None) -> RowResult:
    error = None
    if outcome in _TOLD:
        error = f"line {row.line}: order {row.key!r}: {outcome.replace('_', ' ')}: {reason or 'no reason was given'}"
    return RowResult(line=row.line, key=row.key, outcome=outcome, answer=msgspec.Raw(raw), error=error)


def _scope(row: SubmitRow | CancelRow) -> _Scope:
    if isinstance(row, SubmitRow):
        return row.intent.account, row.intent.strategy, row.key
    return row.account, row.strategy, row.key
