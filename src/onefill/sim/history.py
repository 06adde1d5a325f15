"""What happened in a simulated world: an append-only list of small records, and a readable print of it.

Times are µs of true time since the world began; the hosts' clocks may say otherwise. ``life`` is the number of a process's
life, 0 for what no process of ours did.
"""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from onefill.core.messages import CancelRequest, ExecutionReport, ReplaceRequest, SubmitRequest
from onefill.core.order import Order
from onefill.core.values import plain
from onefill.ports.ledger import Claim


class Query(msgspec.Struct, frozen=True, gc=False):
    """A status query for one client order id, or (where that is empty) a scan of all orders."""

    client_order_id: str


Request = SubmitRequest | CancelRequest | ReplaceRequest | Query


class Record(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened at ``at_us``."""

    at_us: int


class Began(Record, frozen=True, gc=False):
    """A process began; ``host`` says where."""

    life: int
    host: str


class Acquired(Record, frozen=True, gc=False):
    """A process became the route's owner; ``until_us``: until when, by the ledger's clock (``None``: not for a time)."""

    life: int
    epoch: int
    until_us: int | None = None


class Leased(Record, frozen=True, gc=False):
    """The route was lent to its owner anew, until then; ``None``: the owner gave it back."""

    life: int
    epoch: int
    until_us: int | None


class Moved(Record, frozen=True, gc=False):
    """A write that makes no entry of the journal became durable: of a cursor, of a subscriber, of positions."""

    life: int
    epoch: int
    what: str


class Delivered(Record, frozen=True, gc=False):
    """The subscriber heard of an entry of the journal, by a message's ``id`` and the digest of its body."""

    life: int
    sequence: int
    lane: int
    id: str
    digest: str


class ToldThrough(Record, frozen=True, gc=False):
    """The ledger holds from now on that the subscriber was told through an entry of the journal."""

    life: int
    epoch: int
    position: int


class Suspected(Record, frozen=True, gc=False):
    """A process noted that the route may have two holders, having held it in ``epoch``."""

    life: int
    epoch: int
    reason: str


class Woke(Record, frozen=True, gc=False):
    """A process that stood still goes on."""

    life: int


class Ready(Record, frozen=True, gc=False):
    """A gateway takes orders, having taken up ``recovered`` open ones."""

    life: int
    recovered: int


class Ended(Record, frozen=True, gc=False):
    """A process ended. ``killed``: as by kill -9, with ``open_orders`` at work."""

    life: int
    killed: bool
    why: str
    open_orders: int = 0


class Failed(Record, frozen=True, gc=False):
    """A gateway's route became SAFE."""

    life: int
    error: str


class Called(Record, frozen=True, gc=False):
    """A caller asked for something. ``content`` is all of it."""

    call: int
    life: int
    what: str
    key: str
    content: str
    operation_key: str | None = None


class Answered(Record, frozen=True, gc=False):
    """What came of a call: the answer's bytes, or the name of the exception (``gone``: the process died meanwhile)."""

    call: int
    answer: bytes | None
    error: str = ""
    text: str = ""


class Commit(Record, frozen=True, gc=False):
    """A change became durable. ``live``: the venue's orders that were live at this moment under any of the order's ids."""

    life: int
    epoch: int
    sequence: int
    kind: str
    payload: str
    order: Order | None
    claims: tuple[Claim, ...]
    live: tuple[str, ...] = ()


class Refused(Record, frozen=True, gc=False):
    """The ledger did not take a change; ``outcome`` says why."""

    life: int
    epoch: int
    kind: str
    outcome: str


class Sent(Record, frozen=True, gc=False):
    """A request was put on the wire as message ``message``. ``epoch``: of the lease its sender had; ``begun_us``: when the
    gateway called its adapter, which may hold the bytes back for a while.
    """

    life: int
    message: int
    epoch: int
    begun_us: int
    request: Request


class Lost(Record, frozen=True, gc=False):
    """A ``leg`` (request or reply) of a message was lost."""

    message: int
    leg: str
    why: str


class Arrived(Record, frozen=True, gc=False):
    """Copy ``copy`` of a message reached the venue, which decided ``reply``; ``born``: the number of the order it made."""

    message: int
    copy: int
    reply: object
    born: str | None = None


class Heard(Record, frozen=True, gc=False):
    """What the gateway was told of a message: a reply, or ``None`` and the error that the call ended in."""

    life: int
    message: int
    reply: object | None
    error: str = ""


class Reported(Record, frozen=True, gc=False):
    """A report of an execution stream reached a gateway."""

    life: int
    report: ExecutionReport
    stream: str = "executions"


class Fault(Record, frozen=True, gc=False):
    """A fault was injected at a ``step`` (submit, cancel, replace, query, stream, commit, call, clock …)."""

    name: str
    step: str
    detail: str = ""
    life: int = 0


class Market(Record, frozen=True, gc=False):
    """Somebody else did something at the exchange, or the exchange itself."""

    text: str


class Phase(Record, frozen=True, gc=False):
    """The world's course: faults end, everything has settled, the operator begins …"""

    name: str


class History:
    """The records of one world, in order."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.add = self.records.append

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the records."""
        return iter(self.records)

    def digest(self) -> str:
        """Return a hash over everything that happened. Equal digests: the same history, bit for bit."""
        made = hashlib.sha256()
        for record in self.records:
            made.update(repr(record).encode("utf-8", "backslashreplace"))
        return made.hexdigest()


def trace(records: Iterable[Record]) -> Iterator[str]:
    """Yield the records as lines for people."""
    for record in records:
        yield f"{record.at_us / 1e6:11.6f}  {_text(record)}"


def _text(record: Record) -> str:
    if isinstance(record, Called):
        operation = f" ({record.operation_key})" if record.operation_key else ""
        return f"caller → gw{record.life}: {record.what} {record.key}{operation} {record.content}  [call {record.call}]"
    if isinstance(record, Answered):
        said = record.answer.decode() if record.answer is not None else f"{record.error} {record.text}"
        return f"caller ← [call {record.call}] {said}"
    if isinstance(record, Sent):
        return f"gw{record.life} → venue: #{record.message} {request_text(record.request)}"
    if isinstance(record, Arrived):
        copy = f" (copy {record.copy})" if record.copy > 1 else ""
        made = f", making {record.born}" if record.born else ""
        return f"venue: #{record.message}{copy} arrives → {_reply_text(record.reply)}{made}"
    if isinstance(record, Heard):
        said = record.error if record.reply is None else _reply_text(record.reply)
        return f"gw{record.life} ← venue: #{record.message} {said}"
    if isinstance(record, Commit):
        state = f" → {_order_text(record.order)}" if record.order is not None else ""
        live = f"  live there: {', '.join(record.live)}" if record.live else ""
        return f"gw{record.life} ledger {record.epoch}/{record.sequence} {record.payload}{state}{live}"
    if isinstance(record, Reported):
        return f"gw{record.life} ← {record.stream}: {_report_text(record.report)}"
    return _other_text(record)


def _other_text(record: Record) -> str:
    if isinstance(record, Lost):
        return f"network: #{record.message} {record.leg} lost: {record.why}"
    if isinstance(record, Fault):
        where = f" of gw{record.life}" if record.life else ""
        return f"FAULT {record.name} at {record.step}{where} {record.detail}".rstrip()
    if isinstance(record, Ended):
        how = "is killed" if record.killed else "ends"
        return f"gw{record.life} {how}: {record.why}"
    if isinstance(record, Phase):
        return f"--- {record.name}"
    if isinstance(record, Market):
        return f"exchange: {record.text}"
    named = (f"{name}={getattr(record, name)}" for name in record.__struct_fields__ if name not in ("at_us", "life"))
    return f"gw{getattr(record, 'life', '')} {type(record).__name__.lower()} {' '.join(named)}"


def request_text(request: Request) -> str:
    """Return a request in a few words."""
    if isinstance(request, Query):
        return f"query {request.client_order_id}" if request.client_order_id else "scan"
    if isinstance(request, CancelRequest):
        number = f" ({request.venue_order_id})" if request.venue_order_id else ""
        return f"cancel {request.client_order_id}{number}"
    price = "market" if request.price is None else plain(request.price)
    expires = "" if request.expires_at_us is None else f", expires {request.expires_at_us / 1e6:.6f}"
    if isinstance(request, ReplaceRequest):
        orig = request.orig_client_order_id
        return f"replace {orig} by {request.client_order_id}: {plain(request.quantity)} @ {price}{expires}"
    return f"submit {request.client_order_id} {request.side} {plain(request.quantity)} @ {price}{expires}"


def _reply_text(reply: object) -> str:
    order = getattr(reply, "order", None)
    name = type(reply).__name__
    if order is not None:
        executed = f" executed {plain(order.cum_quantity)}/{plain(order.quantity)}"
        return f"{name} {order.venue_order_id} {order.client_order_id} {order.status}{executed}"
    orders = getattr(reply, "orders", None)
    if orders is not None:
        return f"{name} {', '.join(f'{one.venue_order_id} {one.client_order_id} {one.status}' for one in orders)}"
    return f"{name} {getattr(reply, 'reason', '')}".rstrip()


def _order_text(order: Order) -> str:
    text = f"{order.key} {order.client_order_id} {order.status}"
    if order.cum_quantity or order.venue_cum_quantity:
        text += f" {plain(order.cum_quantity)} (venue {plain(order.venue_cum_quantity)})/{plain(order.quantity)}"
    if order.parked:
        text += " PARKED"
    return text + (f" ANOMALY {order.anomaly}" if order.anomaly else "")


def _report_text(report: ExecutionReport) -> str:
    text = f"{report.position} {report.kind} {report.client_order_id} {report.venue_order_id}"
    if report.refers_to is not None:
        text += f" of {report.refers_to}"
    if report.last_quantity is not None:
        text += f" {plain(report.last_quantity)} at {plain(report.last_price or report.last_quantity)}"
    return f"{text} ({report.execution_id})"
