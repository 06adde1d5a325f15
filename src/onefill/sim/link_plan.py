"""What a faulty link does to which request: decided by a seed and the request itself, never by a clock or by luck.

The plan draws one fault for every request from a hash of (seed, the request's identity, how often that identity came
before). Neither the connection nor the moment enters, so the same traffic is hurt in the same places however the event
loop, the pool or the machine orders it; and the k-th repeat of the same bytes gets a draw of its own, so a retry is not
doomed to meet the fault that caused it. Only ``refuse`` strikes before a byte was read, so there is no identity to draw
from: it goes by the number of the connection, and which request that hurts does depend on timing.

Nothing here does I/O or reads a clock; :mod:`onefill.sim.link` performs what is decided here.
"""

import hashlib
import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

import msgspec

from onefill.core.errors import InvalidField, SettingsError
from onefill.core.values import exact_decimal

REMEMBERED = 1 << 18
"""How many identities have their repeats counted. The longest unseen one is forgotten first; a repeat that comes more
than this many other requests later is drawn as if it were the first."""

MAX_MS = 600_000
"""The longest hold or delay that can be set, in milliseconds: ten minutes."""

_ONE = 1 << 64


class FaultKind(StrEnum):
    """What can happen to a request, a connection (``refuse``) or a byte stream (``stream_*``)."""

    NONE = "none"
    REFUSE = "refuse"
    """The connection is reset at accept, before a byte was read: surely nothing was sent."""
    BLACK_HOLE = "black_hole"
    """The request is swallowed; the connection stays open without a reply and is closed after a while."""
    DELAY_REQUEST = "delay_request"
    """The request is held, then delivered, whether or not the client still waits: a ghost."""
    DELAY_REPLY = "delay_reply"
    """The request is delivered at once, the reply is held."""
    CUT_BEFORE_REQUEST = "cut_before_request"
    """The connection is reset; nothing was delivered."""
    CUT_AFTER_REQUEST = "cut_after_request"
    """The request is delivered and answered; the client sees a reset instead of the reply."""
    CUT_INSIDE_REPLY = "cut_inside_reply"
    """The request is delivered; the client gets some but not all bytes of the reply, then a reset."""
    DUPLICATE = "duplicate"
    """The request is delivered twice, one copy after the other; the client gets one of the two replies."""
    REORDER = "reorder"
    """The request waits until a later one on another connection has overtaken it, or for a short maximum."""
    STREAM_CUT = "stream_cut"
    """A tunnel (WebSocket) or raw connection (FIX) is reset, usually within a message."""
    STREAM_DELAY = "stream_delay"
    """One chunk of a tunnel or raw connection, and so all behind it, is held."""
    STREAM_BLACK_HOLE = "stream_black_hole"
    """A raw connection falls silent in both directions and is closed after a while."""


REQUEST_KINDS = (
    FaultKind.BLACK_HOLE,
    FaultKind.DELAY_REQUEST,
    FaultKind.DELAY_REPLY,
    FaultKind.CUT_BEFORE_REQUEST,
    FaultKind.CUT_AFTER_REQUEST,
    FaultKind.CUT_INSIDE_REPLY,
    FaultKind.DUPLICATE,
    FaultKind.REORDER,
)
"""The kinds one draw per request decides between: their rates add up to at most one."""

STREAM_KINDS = (FaultKind.STREAM_CUT, FaultKind.STREAM_DELAY, FaultKind.STREAM_BLACK_HOLE)
"""The kinds drawn for bytes that are not HTTP: their rates add up to at most one."""

_RATES = (FaultKind.REFUSE, *REQUEST_KINDS, *STREAM_KINDS)
_SPANS = ("black_hole_ms", "delay_request_ms", "delay_reply_ms", "stream_delay_ms", "stream_cut_ms", "stream_cut_bytes")
Span = tuple[int, int]


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a link does what, and for how long.

    ``seed``: 0 to 2^63 - 1. One field per fault kind holds its probability as an exact Decimal from 0 to 1 (an int or
    plain text such as ``"0.02"`` is taken too): ``refuse`` per connection; ``stream_cut`` per WebSocket tunnel, but per
    chunk on a raw connection; ``stream_delay`` per chunk of either; ``stream_black_hole`` per chunk of a raw
    connection; all others per request. Spans are the least and the greatest value, both possible, in milliseconds or
    bytes. A tunnel that is to be cut is cut after so many bytes towards the client or so much time, whichever is first.
    ``reorder_ms`` is the longest a request waits to be overtaken. ``duplicate_methods``: only requests with these HTTP
    methods are ever doubled; an upgrade never is.

    Raises :class:`InvalidField` naming the field.
    """

    seed: int = 0
    refuse: Decimal = Decimal(0)
    black_hole: Decimal = Decimal(0)
    delay_request: Decimal = Decimal(0)
    delay_reply: Decimal = Decimal(0)
    cut_before_request: Decimal = Decimal(0)
    cut_after_request: Decimal = Decimal(0)
    cut_inside_reply: Decimal = Decimal(0)
    duplicate: Decimal = Decimal(0)
    reorder: Decimal = Decimal(0)
    stream_cut: Decimal = Decimal(0)
    stream_delay: Decimal = Decimal(0)
    stream_black_hole: Decimal = Decimal(0)
    black_hole_ms: Span = (2_000, 10_000)
    delay_request_ms: Span = (20, 2_000)
    delay_reply_ms: Span = (20, 2_000)
    stream_delay_ms: Span = (1, 100)
    stream_cut_ms: Span = (500, 20_000)
    stream_cut_bytes: Span = (1, 16_384)
    reorder_ms: int = 50
    duplicate_methods: tuple[str, ...] = ("GET", "POST")

    def __post_init__(self) -> None:
        _whole("seed", self.seed, 0, (1 << 63) - 1)
        for kind in _RATES:
            rate = exact_decimal(getattr(self, kind.value), kind.value)
            if not 0 <= rate <= 1:
                raise InvalidField(kind.value, f"{rate} is not a probability from 0 to 1")
            msgspec.structs.force_setattr(self, kind.value, rate)
        for kinds in (REQUEST_KINDS, STREAM_KINDS):
            total = sum((self.rate(kind) for kind in kinds), Fraction(0))
            if total > 1:
                names = ", ".join(kind.value for kind in kinds if self.rate(kind))
                raise InvalidField(names, f"these probabilities add up to {float(total):g}; at most 1 is possible")
        for field in _SPANS:
            _span(field, getattr(self, field), MAX_MS if field.endswith("_ms") else 1 << 40)
        _whole("reorder_ms", self.reorder_ms, 0, MAX_MS)
        for method in self.duplicate_methods:
            if not (isinstance(method, str) and method.isascii() and method.isalpha() and method.isupper()):
                raise InvalidField("duplicate_methods", f"{method!r} is not an HTTP method in capitals, such as POST")

    def rate(self, kind: FaultKind) -> Fraction:
        """Return the exact probability of ``kind``; for ``none`` that of a request left alone."""
        if kind is FaultKind.NONE:
            return 1 - sum((self.rate(hurt) for hurt in REQUEST_KINDS), Fraction(0))
        return Fraction(getattr(self, kind.value))


def _whole(field: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidField(field, f"{value!r} is not a whole number from {least} to {most}")


def _span(field: str, value: object, most: int) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise InvalidField(field, f"{value!r} is not a pair: the least and the greatest value")
    for end in value:
        _whole(field, end, 0, most)
    if value[0] > value[1]:
        raise InvalidField(field, f"the least value, {value[0]}, is above the greatest, {value[1]}")


def read_settings(data: object) -> LinkSettings:
    """Return settings from decoded TOML or JSON. Raises :class:`SettingsError` or :class:`InvalidField`."""
    try:
        return msgspec.convert(data, LinkSettings)
    except msgspec.ValidationError as problem:
        raise SettingsError(f"link settings: {problem}") from None


def preset(name: str, seed: int = 0) -> LinkSettings:
    """Return the settings called ``name`` with this seed. Raises :class:`InvalidField` for an unknown name.

    ``calm`` hurts nothing, ``rough`` about one request in ten, ``storm`` about three in ten, across all kinds.
    """
    if name not in PRESETS:
        raise InvalidField("preset", f"{name!r} is none of: {', '.join(PRESETS)}")
    return msgspec.structs.replace(PRESETS[name], seed=seed)


PRESETS = {
    "calm": LinkSettings(),
    "rough": LinkSettings(
        refuse=Decimal("0.02"),
        black_hole=Decimal("0.005"),
        delay_request=Decimal("0.02"),
        delay_reply=Decimal("0.01"),
        cut_before_request=Decimal("0.015"),
        cut_after_request=Decimal("0.02"),
        cut_inside_reply=Decimal("0.01"),
        duplicate=Decimal("0.01"),
        reorder=Decimal("0.01"),
        stream_cut=Decimal("0.1"),
        stream_delay=Decimal("0.02"),
        stream_black_hole=Decimal("0.001"),
    ),
    "storm": LinkSettings(
        refuse=Decimal("0.1"),
        black_hole=Decimal("0.02"),
        delay_request=Decimal("0.06"),
        delay_reply=Decimal("0.03"),
        cut_before_request=Decimal("0.04"),
        cut_after_request=Decimal("0.06"),
        cut_inside_reply=Decimal("0.03"),
        duplicate=Decimal("0.03"),
        reorder=Decimal("0.03"),
        stream_cut=Decimal("0.5"),
        stream_delay=Decimal("0.1"),
        stream_black_hole=Decimal("0.005"),
        delay_request_ms=(20, 5_000),
    ),
}
"""Settings by name; see :func:`preset`."""


class Fault(msgspec.Struct, frozen=True):
    """One decision. ``delay_ms`` is how long to hold; ``share`` (0 to 2^64 - 1) places a cut, ``second`` picks."""

    kind: FaultKind
    delay_ms: int = 0
    share: int = 0
    second: bool = False

    def cut_point(self, length: int) -> int:
        """Return after how many of ``length`` bytes (at least 2) to cut: some, never all."""
        return 1 + (self.share * (length - 1) >> 64)


class TunnelCut(msgspec.Struct, frozen=True):
    """When to cut a tunnel: after so many bytes towards the client or so many milliseconds, whichever comes first."""

    after_bytes: int
    after_ms: int


CALM = Fault(FaultKind.NONE)
Identify = Callable[[bytes, bytes, bytes], bytes]


def identify_request(method: bytes, target: bytes, body: bytes) -> bytes:
    """Return what makes a request itself: method, target (path and query) and the hash of its body."""
    return b"%b %b\n%b" % (method, target, hashlib.sha256(body).digest())


class LinkPlan:
    """Decides, for one run, what happens to each request, tunnel, chunk and connection.

    It holds one thing that changes: how often each identity was seen (at most :data:`REMEMBERED` of them).
    ``identify`` says which requests count as repeats of each other; by default those equal in method, target and body.
    """

    def __init__(self, settings: LinkSettings, identify: Identify = identify_request) -> None:
        self.settings = settings
        self._identify = identify
        self._hash = hashlib.blake2b(key=str(settings.seed).encode(), digest_size=32)
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._request_steps = self._steps(REQUEST_KINDS)
        self._chunk_steps = self._steps(STREAM_KINDS)
        self._calm = self._request_steps[-1] == 0
        self._calm_chunks = self._chunk_steps[-1] == 0
        self._refuse = int(settings.rate(FaultKind.REFUSE) * _ONE)
        self._cut = int(settings.rate(FaultKind.STREAM_CUT) * _ONE)
        self._spans: dict[FaultKind, Span] = {
            FaultKind.BLACK_HOLE: settings.black_hole_ms,
            FaultKind.DELAY_REQUEST: settings.delay_request_ms,
            FaultKind.DELAY_REPLY: settings.delay_reply_ms,
            FaultKind.REORDER: (settings.reorder_ms, settings.reorder_ms),
            FaultKind.STREAM_DELAY: settings.stream_delay_ms,
            FaultKind.STREAM_BLACK_HOLE: settings.black_hole_ms,
        }
        self._doubled = frozenset(method.encode() for method in settings.duplicate_methods)

    def for_connection(self, number: int) -> Fault:
        """Decide whether connection ``number`` (from 1, in order of arrival) is refused."""
        draw = self._draw(b"connection", b"%d" % number)[0]
        return Fault(FaultKind.REFUSE) if draw < self._refuse else CALM

    def for_request(self, method: bytes, target: bytes, body: bytes, *, upgrade: bool = False) -> Fault:
        """Decide the fault of the next request with this method, target and body. Counts it as seen.

        A draw of ``duplicate`` for a method that may not be doubled, or for an upgrade, leaves the request alone.
        """
        if self._calm:
            return CALM
        fault = self._decide(b"request", self._identify(method, target, body), self._request_steps, REQUEST_KINDS)
        if fault.kind is FaultKind.DUPLICATE and (upgrade or method not in self._doubled):
            return CALM
        return fault

    def for_tunnel(self, target: bytes) -> TunnelCut | None:
        """Decide whether and when the next tunnel opened at this target is cut. Counts it as seen."""
        draw, after_bytes, after_ms, _ = self._draw(b"tunnel", self._numbered(b"tunnel", target))
        if draw >= self._cut:
            return None
        return TunnelCut(
            _within(self.settings.stream_cut_bytes, after_bytes), _within(self.settings.stream_cut_ms, after_ms)
        )

    def for_chunk(self, *, towards_client: bool, data: bytes, raw: bool) -> Fault:
        """Decide the fault of a chunk of a byte stream. Within a tunnel (not ``raw``) a chunk can only be delayed."""
        if self._calm_chunks:
            return CALM
        side = b"down" if towards_client else b"up"
        fault = self._decide(side, hashlib.sha256(data).digest(), self._chunk_steps, STREAM_KINDS)
        return fault if raw or fault.kind is FaultKind.STREAM_DELAY else CALM

    def _decide(self, domain: bytes, identity: bytes, steps: list[int], kinds: tuple[FaultKind, ...]) -> Fault:
        draw, hold, share, coin = self._draw(domain, self._numbered(domain, identity))
        place = bisect_right(steps, draw)
        if place == len(kinds):
            return CALM
        kind = kinds[place]
        span = self._spans.get(kind)
        return Fault(kind, 0 if span is None else _within(span, hold), share, bool(coin & 1))

    def _numbered(self, domain: bytes, identity: bytes) -> bytes:
        """Return the identity together with the number of times it was seen before, and count it."""
        key = hashlib.blake2b(identity, digest_size=16, person=domain).digest()
        seen = self._seen.get(key, 0)
        self._seen[key] = seen + 1
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return key + b"%d" % seen

    def _draw(self, domain: bytes, subject: bytes) -> tuple[int, int, int, int]:
        """Return four independent numbers, each uniform over 0 to 2^64 - 1."""
        hasher = self._hash.copy()
        hasher.update(b"%b\n%b" % (domain, subject))
        numbers: tuple[int, int, int, int] = struct.unpack(">QQQQ", hasher.digest())
        return numbers

    def _steps(self, kinds: tuple[FaultKind, ...]) -> list[int]:
        """Return where each kind's share of 0 to 2^64 ends."""
        ends, total = [], Fraction(0)
        for kind in kinds:
            total += self.settings.rate(kind)
            ends.append(int(total * _ONE))
        return ends


def _within(span: Span, draw: int) -> int:
    return span[0] + (draw * (span[1] - span[0] + 1) >> 64)


class FaultRecord(msgspec.Struct, kw_only=True):
    """One fault, as traced: ``n`` numbers the request (in raw mode and for ``refuse`` the connection) from 1.

    ``path`` is the target without its query, which may hold signatures. ``effective``: it hit what it was meant to hit.
    """

    n: int
    kind: FaultKind
    method: str
    path: str
    effective: bool = False


class KindCount(msgspec.Struct):
    """How often a kind was chosen, and how often it really hit what it was meant to hit."""

    injected: int = 0
    effective: int = 0


class LinkCounts(msgspec.Struct):
    """What a link has done since it started.

    ``ghosts``: requests delivered after their client had gone. ``unreachable``: the venue could not be connected to, or
    hung up instead of replying. ``malformed``: not HTTP/1.1, or too large to hold. The last two are not planned.
    """

    connections: int = 0
    requests: int = 0
    bytes_to_venue: int = 0
    bytes_to_client: int = 0
    ghosts: int = 0
    unreachable: int = 0
    malformed: int = 0
    kinds: dict[FaultKind, KindCount] = msgspec.field(default_factory=lambda: {kind: KindCount() for kind in _RATES})

    @property
    def hurt(self) -> int:
        """How many requests had a fault (refused connections and stream faults not among them)."""
        return sum(self.kinds[kind].injected for kind in REQUEST_KINDS)

    @property
    def hurt_share(self) -> float:
        """The share of requests that had a fault, 0 to 1."""
        return self.hurt / self.requests if self.requests else 0.0

    def as_dict(self) -> dict[str, object]:
        """Return all counts as plain values that JSON can hold."""
        plain: dict[str, object] = msgspec.to_builtins(self)
        return {**plain, "hurt": self.hurt, "hurt_share": round(self.hurt_share, 6)}
