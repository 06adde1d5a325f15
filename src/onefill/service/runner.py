"""Sending a file of orders through a gateway, and doing it again: the same rows give the same answers.

Rows go out concurrently, but the rows of one key in their order. What a row is answered is decided by the ledger alone, so a
run that was killed anywhere is finished by running the file again.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

import msgspec

from onefill.core.errors import CallerError, KeyReused, LedgerError, OnefillError, OrderUncertain, RouteClosed
from onefill.core.intent import Intent, first_difference, fit
from onefill.core.lifecycle import Status
from onefill.core.order import Answer, CancelAnswer, CancelResult
from onefill.core.values import Instrument
from onefill.engine.gateway import Gateway
from onefill.service.blotter import BadRow, CancelRow, Row, SubmitRow


class RowOutcome(StrEnum):
    """What became of a row."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """By the venue, on evidence."""
    EXPIRED_UNSENT = "expired_unsent"
    CANCELED_UNSENT = "canceled_unsent"
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
    """A row's answer: the gateway's stored bytes, or the error."""

    line: int
    key: str
    outcome: RowOutcome
    answer: msgspec.Raw | None = None
    error: str | None = None


class Summary(msgspec.Struct, kw_only=True):
    """A run in numbers."""

    rows: int = 0
    outcomes: dict[str, int] = {}
    errors: list[str] = []
    """The first few, each with its line."""

    def count(self, result: RowResult) -> None:
        """Take in one row's result."""
        self.rows += 1
        self.outcomes[result.outcome] = self.outcomes.get(result.outcome, 0) + 1
        if result.error is not None and len(self.errors) < _SHOWN_ERRORS:
            self.errors.append(result.error)


_SHOWN_ERRORS = 20
_ORDER_OUTCOMES = {
    Status.REJECTED: RowOutcome.REJECTED,
    Status.EXPIRED_UNSENT: RowOutcome.EXPIRED_UNSENT,
    Status.CANCELED_UNSENT: RowOutcome.CANCELED_UNSENT,
}
_CANCEL_OUTCOMES = {
    CancelResult.CANCELED: RowOutcome.CANCELED,
    CancelResult.NEVER_SENT: RowOutcome.CANCELED,
    CancelResult.FILLED: RowOutcome.CANCEL_OF_ENDED,
    CancelResult.ENDED: RowOutcome.CANCEL_OF_ENDED,
    CancelResult.REFUSED: RowOutcome.CANCEL_REFUSED,
    CancelResult.UNKNOWN_KEY: RowOutcome.CANCEL_OF_UNKNOWN,
}
_answer = msgspec.json.Decoder(Answer)
_cancel_answer = msgspec.json.Decoder(CancelAnswer)


def check(rows: Iterable[Row], instruments: Mapping[str, Instrument]) -> list[CallerError]:
    """Return everything wrong with a file, without sending anything: rows, instruments, keys used for two orders."""
    problems: list[CallerError] = []
    seen: dict[tuple[str, str, str], tuple[int, Intent]] = {}
    for row in rows:
        if isinstance(row, BadRow):
            problems.append(row.error)
        elif isinstance(row, SubmitRow):
            problem = _misfit(row, instruments)
            if problem is not None:
                problems.append(problem)
            scope = (row.intent.account, row.intent.strategy, row.key)
            line, first = seen.setdefault(scope, (row.line, row.intent))
            field = first_difference(first, row.intent)
            if field is not None:
                problems.append(
                    CallerError(
                        f"line {row.line}, key: {row.key!r} is used on line {line} for an order whose {field} differs"
                    )
                )
    return problems


def _misfit(row: SubmitRow, instruments: Mapping[str, Instrument]) -> CallerError | None:
    instrument = instruments.get(row.intent.instrument)
    if instrument is None:
        known = ", ".join(sorted(instruments)[:10])
        return CallerError(f"line {row.line}, instrument: {row.intent.instrument!r} is not traded here; known: {known}")
    try:
        fit(row.intent, instrument)
    except CallerError as error:
        return CallerError(f"line {row.line}, {error}")
    return None


class Runner:
    """Runs rows through a gateway, ``in_flight`` at a time. ``on_result`` hears of each row as it is answered."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        route_of: Callable[[str], str],
        in_flight: int = 64,
        time_to_live_s: float | None = None,
        wait_s: float | None = None,
        on_result: Callable[[RowResult], None] = lambda _: None,
    ) -> None:
        self._gateway = gateway
        self._route_of = route_of
        self._slots = asyncio.Semaphore(in_flight)
        self._time_to_live_s = time_to_live_s
        self._wait_s = wait_s
        self._on_result = on_result
        self._last_of_key: dict[tuple[str, str, str], asyncio.Task[None]] = {}
        self._stopped: OnefillError | None = None
        self.summary = Summary(outcomes={}, errors=[])

    async def run(self, rows: Iterable[Row]) -> Summary:
        """Run every row and return the numbers. Raises LedgerError or RouteClosed if the gateway cannot go on."""
        tasks: set[asyncio.Task[None]] = set()
        for row in rows:
            await self._slots.acquire()
            if self._stopped is not None:
                self._slots.release()
                break
            task = asyncio.get_running_loop().create_task(self._one(row, self._before(row)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if not isinstance(row, BadRow):
                self._last_of_key[_scope(row)] = task
                task.add_done_callback(functools.partial(self._forget, _scope(row)))
        if tasks:
            await asyncio.wait(tasks)
        if self._stopped is not None:
            raise self._stopped
        return self.summary

    def _before(self, row: Row) -> "asyncio.Task[None] | None":
        return None if isinstance(row, BadRow) else self._last_of_key.get(_scope(row))

    def _forget(self, scope: tuple[str, str, str], done: "asyncio.Task[None]") -> None:
        if self._last_of_key.get(scope) is done:
            del self._last_of_key[scope]

    async def _one(self, row: Row, before: "asyncio.Task[None] | None") -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            if self._stopped is None:
                result = await self._result(row)
                self.summary.count(result)
                self._on_result(result)
        except (LedgerError, RouteClosed) as error:
            self._stopped = self._stopped or error
        finally:
            self._slots.release()

    async def _result(self, row: Row) -> RowResult:
        if isinstance(row, BadRow):
            return RowResult(line=row.line, key=row.key, outcome=RowOutcome.BAD, error=str(row.error))
        try:
            if isinstance(row, CancelRow):
                return await self._cancel(row)
            intent = msgspec.structs.replace(row.intent, venue=self._route_of(row.intent.account))
            raw = await self._gateway.submit_raw(
                intent, key=row.key, time_to_live_s=self._time_to_live_s, wait_s=self._wait_s
            )
        except OrderUncertain as error:
            return RowResult(
                line=row.line, key=row.key, outcome=RowOutcome.UNCERTAIN, error=f"line {row.line}: {error}"
            )
        except (CallerError, KeyReused) as error:
            return RowResult(line=row.line, key=row.key, outcome=RowOutcome.BAD, error=f"line {row.line}, {error}")
        outcome = _ORDER_OUTCOMES.get(_answer.decode(raw).status, RowOutcome.ACCEPTED)
        return RowResult(line=row.line, key=row.key, outcome=outcome, answer=msgspec.Raw(raw))

    async def _cancel(self, row: CancelRow) -> RowResult:
        raw = await self._gateway.cancel_raw(
            row.key,
            account=row.account,
            strategy=row.strategy,
            operation_key=row.operation_key,
            wait_s=self._wait_s,
        )
        outcome = _CANCEL_OUTCOMES[_cancel_answer.decode(raw).result]
        return RowResult(line=row.line, key=row.key, outcome=outcome, answer=msgspec.Raw(raw))


def _scope(row: SubmitRow | CancelRow) -> tuple[str, str, str]:
    if isinstance(row, SubmitRow):
        return row.intent.account, row.intent.strategy, row.key
    return row.account, row.strategy, row.key
