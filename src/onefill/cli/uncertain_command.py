"""``onefill uncertain``: what waits for evidence or for a person, each order with all that is known of it."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import typer

from onefill.cli import options
from onefill.cli.loop import run_loop
from onefill.cli.output import ExitCode, print_json, print_table, progress, remark, say, told
from onefill.cli.read_commands import history_json, moment, order_json, print_history, print_order
from onefill.core.capabilities import Capabilities
from onefill.core.errors import VenueError
from onefill.core.messages import Found, Listed, VenueOrder
from onefill.core.order import Order
from onefill.core.values import plain
from onefill.core.venue_words import NAMES
from onefill.service import settings as settings_file
from onefill.service import uncertain as service
from onefill.service.settings import Settings
from onefill.service.uncertain import Asked, Candidate, OpenCase
from onefill.service.venue_settings import AnyVenue
from onefill.service.wiring import SystemClock, open_for_reading

if TYPE_CHECKING:
    from onefill.ports.ledger_browse import BrowsableLedger

_AT_ONCE = 8
"""Orders that a venue is asked about at the same time."""
_LIKE = "alike, not proof"


def uncertain(
    ledger: options.Ledger,
    venue: options.AskedVenue = None,
    timeout_s: options.TimeoutS = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """List every order that waits for evidence or for a person, with all that is known of it, the most urgent first.

    Reads the ledger, also beside a running gateway. With --venue the venue is asked about each order, which changes
    nothing. Exit code 3 if an order's fate is open, 0 if none is; a reply still awaited within its time does not count.
    """
    with told(as_json=as_json):
        configured = options.load_settings(settings)
        named = None if venue is None else settings_file.venue(configured, venue, timeout_s)

        async def read() -> list[OpenCase]:
            async with open_for_reading(ledger) as store:
                found = [_with_known(case, configured) for case in await service.find(store)]
                return found if named is None else await _ask_all(store, found, *named)

        cases = run_loop(read())
        now_us = SystemClock().now_us()  # read once: what is printed and the exit code must not contradict each other
        if as_json:
            print_json([_case_json(case, now_us) for case in cases])
        elif cases:
            _print_overview(cases, now_us)
            for case in cases:
                _print_case(case, now_us, asked=named is not None)
        else:
            remark("nothing is uncertain")
        if any(case.awaited_until_us(now_us) is None for case in cases):
            raise typer.Exit(ExitCode.UNCERTAIN)


def _with_known(case: OpenCase, settings: Settings) -> OpenCase:
    """Return the case with the capabilities of its venue, if the settings alone tell all of them."""
    intent = case.order.intent
    venue = settings.venues.get(intent.venue.removesuffix(f":{intent.account}"))
    if venue is None or set(venue.overrides()) != set(NAMES):
        return case
    return msgspec.structs.replace(case, capabilities=venue.effective(Capabilities()))


async def _ask_all(store: "BrowsableLedger", cases: list[OpenCase], name: str, venue: AnyVenue) -> list[OpenCase]:
    """Ask a venue about those cases that are its own, account by account."""
    found = list(cases)
    accounts: dict[str, list[int]] = {}
    for place, case in enumerate(cases):
        account = case.order.intent.account
        if case.order.intent.venue == options.route_name(name, account):
            accounts.setdefault(account, []).append(place)
    with progress(shown=True) as bar:
        task = bar.add_task("asking the venue", total=sum(map(len, accounts.values())), note="")
        for account, places in sorted(accounts.items()):
            link, free = options.connection(name, venue, account), asyncio.Semaphore(_AT_ONCE)

            async def ask(place: int) -> None:
                async with free:  # noqa: B023 - used up within this round
                    at_us = SystemClock().now_us()
                    found[place] = await service.ask(store, link, link.capabilities, cases[place], at_us)  # noqa: B023
                    bar.update(task, advance=1)

            try:
                await link.start()
                await asyncio.gather(*map(ask, places))
            except VenueError as error:
                remark(f"the venue could not be asked: {error}")
            finally:
                await link.close()
    return found


# ---------------------------------------------------------------------- for programs


def _case_json(case: OpenCase, now_us: int) -> dict[str, object]:
    order, parked = case.order, case.parked
    wanted = order.replacement
    return {
        **order_json(order),
        "live_client_order_id": order.live_id,
        "awaited_until_us": case.awaited_until_us(now_us),
        "parked_at_us": None if parked is None else parked[0],
        "parked_because": None if parked is None else parked[1],
        "anomalies": case.anomalies,
        "requests": [{"request": kind, **msgspec.structs.asdict(copy)} for kind, copy in case.requests],
        "replace_valid_until_us": None if wanted is None else wanted.valid_until_us,
        "executions": [
            {"execution_id": one.execution_id, "quantity": plain(one.quantity), "price": plain(one.price)}
            for one in case.executions
        ],
        "conclusive_from_us": case.conclusive_from_us,
        "next": case.next_words(now_us),
        "venue_says": None if case.asked is None else _asked_json(case.asked),
        "history": history_json(case.history),
    }


def _asked_json(asked: Asked) -> dict[str, object]:
    return {
        "at_us": asked.at_us,
        "by_id": [
            {
                "client_order_id": client_order_id,
                "answer": type(reply).__struct_config__.tag,
                "text": _reply_text(reply),
            }
            for client_order_id, reply in asked.by_id
        ],
        "listed": len(asked.listed.orders) if isinstance(asked.listed, Listed) else None,
        "not_listed_because": None if isinstance(asked.listed, Listed) else asked.listed.reason,
        "candidates": [
            {
                "bears_id": one.bears_id,
                "proof": one.bears_id and one.differs is None,
                "differs": one.differs,
                "known_as_key": one.key,
                **_venue_order_json(one.order),
            }
            for one in asked.candidates
        ],
    }


def _venue_order_json(order: VenueOrder) -> dict[str, object]:
    numbers = {"quantity": plain(order.quantity), "cum_quantity": plain(order.cum_quantity)}
    price = None if order.price is None else plain(order.price)
    return {**msgspec.structs.asdict(order), **numbers, "price": price}


def _reply_text(reply: object) -> str:
    if isinstance(reply, Found):
        return f"found: {reply.order.venue_order_id}, {reply.order.status}"
    return str(getattr(reply, "reason", ""))


# ---------------------------------------------------------------------- for people


def _print_overview(cases: list[OpenCase], now_us: int) -> None:
    columns = [
        ("key", "left"),
        ("account", "left"),
        ("strategy", "left"),
        ("wanted", "left"),
        ("status", "left"),
        ("since", "right"),
        ("waits for", "left"),
    ]
    rows = [
        (
            case.order.key,
            case.order.intent.account,
            case.order.intent.strategy,
            _wanted(case.order),
            str(case.order.status),
            service.span(now_us - _since_us(case)),
            _waits_for(case, now_us),
        )
        for case in cases
    ]
    print_table("", columns, rows, spare=("strategy", "account", "wanted"))


def _wanted(order: Order) -> str:
    price = "at the market" if order.price is None else f"at {plain(order.price)}"
    return f"{order.intent.side} {plain(order.quantity)} {order.intent.instrument} {price}"


def _since_us(case: OpenCase) -> int:
    return min((copy.claimed_at_us for _, copy in case.requests if copy.under_way), default=case.order.recorded_at_us)


def _waits_for(case: OpenCase, now_us: int) -> str:
    if case.parked is not None:
        return "a person"
    return "evidence" if case.awaited_until_us(now_us) is None else "a reply under way"


def _print_case(case: OpenCase, now_us: int, *, asked: bool) -> None:
    order = case.order
    say("")
    print_order(order)
    for name, value in _facts(case, now_us, asked=asked):
        say(f"{name:>17}  {value}")
    if case.requests:
        say("\nrequests (UTC)")
        _print_requests(case)
    if case.asked is not None:
        say("\nthe venue now")
        _print_asked(case.asked)
    say("\nhistory (UTC)")
    print_history(case.history)


def _facts(case: OpenCase, now_us: int, *, asked: bool) -> Iterator[tuple[str, str]]:
    order = case.order
    if order.live_id != order.client_order_id:
        yield "now under", order.live_id
    if order.replacement is not None:
        yield "replace until", moment(order.replacement.valid_until_us)
    left_us = order.valid_until_us - now_us
    yield "time to live", f"{service.span(left_us)} left" if left_us > 0 else f"over since {service.span(-left_us)}"
    if case.parked is not None:
        yield "left to a person", f"{moment(case.parked[0])}: {case.parked[1]}"
    awaited_us = case.awaited_until_us(now_us)
    if awaited_us is not None:
        yield "reply awaited", f"until {moment(awaited_us)}, then it is uncertain"
    for anomaly in case.anomalies[:-1]:
        yield "earlier anomaly", anomaly
    executed = [f"{one.execution_id}: {plain(one.quantity)} at {plain(one.price)}" for one in case.executions]
    yield "executions", "; ".join(executed) or "none known"
    yield '"not found"', _conclusive(case, now_us)
    words = case.next_words(now_us)
    wrong = "its venue was not asked" if asked else "name the venue with --venue, or its profile in --settings"
    yield "gateway's next", words or f"not known: {wrong}"
    if case.open_to_a_person(now_us):
        yield "a person may say", f"onefill resolve {order.key} adopt NUMBER | not-sent, with --reason"


def _conclusive(case: OpenCase, now_us: int) -> str:
    if case.capabilities is None:
        return "conclusive from when on is not known"
    if not case.capabilities.can_be_asked:
        return "cannot be had: the venue cannot be asked"
    at_us = case.conclusive_from_us
    if at_us is None:
        return "is never conclusive at this venue"
    return f"{'is' if at_us <= now_us else 'will be'} conclusive from {moment(at_us)} on"


def _print_requests(case: OpenCase) -> None:
    columns = [
        ("request", "left"),
        ("copy", "right"),
        ("claimed", "left"),
        ("expires", "left"),
        ("leaves by", "left"),
        ("outcome", "left"),
        ("reason", "left"),
    ]
    rows = [
        (
            str(kind),
            str(copy.number),
            moment(copy.claimed_at_us),
            "" if copy.expires_at_us is None else moment(copy.expires_at_us),
            "" if copy.leaves_by_us is None else moment(copy.leaves_by_us),
            "awaited" if copy.outcome is None else str(copy.outcome),
            copy.reason or "",
        )
        for kind, copy in case.requests
    ]
    print_table("", columns, rows, spare=("leaves by", "expires"))


def _print_asked(asked: Asked) -> None:
    for client_order_id, reply in asked.by_id:
        say(f"by id {client_order_id}: {_reply_text(reply)}")
    if not asked.by_id:
        say("by id: it cannot be asked")
    if isinstance(asked.listed, Listed):
        count = len(asked.listed.orders)
        say(f"listed: {count:,} of this account and instrument, open or with news since the claim")
    else:
        say(f"listed: nothing ({asked.listed.reason})")
    if not asked.candidates:
        return
    columns = [
        ("number", "left"),
        ("client order id", "left"),
        ("status", "left"),
        ("wanted", "left"),
        ("filled", "right"),
        ("speaks for it", "left"),
    ]
    rows = [_candidate_row(one) for one in asked.candidates]
    print_table("", columns, rows, spare=("filled", "client order id"))


def _candidate_row(one: Candidate) -> tuple[str, ...]:
    order = one.order
    price = "at the market" if order.price is None else f"at {plain(order.price)}"
    return (
        order.venue_order_id,
        order.client_order_id or "not shown",
        str(order.status),
        f"{order.side} {plain(order.quantity)} {order.instrument} {price}",
        plain(order.cum_quantity),
        _speaks(one),
    )


def _speaks(one: Candidate) -> str:
    if one.bears_id:
        return "bears the id" if one.differs is None else f"bears the id, but its {one.differs} differs"
    return _LIKE if one.key is None else f"{_LIKE}; it is order {one.key} here"
