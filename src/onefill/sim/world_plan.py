"""Everything that is decided about a simulated world before it begins, from its seed alone.

What the network may do (:class:`Weather`) keeps to what a venue's declaration promises, because no sender can be right against
a false one: a request with an expiry may arrive arbitrarily late (the venue refuses it); one without arrives before the
declared T, counted from when its bytes left, or never; where no T is declared, at any time. Clocks keep to what a declared T
leaves room for wherever the time of day decides, and jump by hours where it does not.
"""

from decimal import Decimal
from random import Random

import msgspec

from onefill.core.capabilities import Lookup, ReplaceStyle, UniqueScope
from onefill.core.identity import IdScheme
from onefill.core.intent import Intent
from onefill.core.values import OrderType, Side, TimeInForce
from onefill.engine.controller import ControlPlan
from onefill.engine.settings import GatewaySettings
from onefill.sim.dialect import Dialect
from onefill.sim.world_books import Books, books, controls, habits, looks
from onefill.sim.world_nodes import Nodes, befall, nodes
from onefill.sim.world_profiles import Profile, profile_of, variant_of

ACCOUNT = "A"
STRATEGY = "s"
SYMBOL = "ACME"
NOON_US = 1_750_000_000_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000
TOO_LARGE = Decimal(2 * 10**18)
"""A quantity that fits the instrument's steps and that the exchange refuses."""
_HOUR_US = 3_600_000_000
CURT = 0.3
"""The part of the worlds whose venue refuses a cancel or replace without showing the order."""
FORGETTING = 0.2
"""The part of the worlds whose venue shows ended orders for a while only, where it shows any and clocks are right."""


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How likely each fault of the network is, per message, and how late a request may be."""

    refused: float = 0.0
    request_lost: float = 0.0
    reply_lost: float = 0.0
    request_late: float = 0.0
    reply_late: float = 0.0
    doubled: float = 0.0
    cut: float = 0.0
    held_back: float = 0.0
    """Bytes that leave late within the call."""
    stream: float = 0.0
    """Per batch of reports: ends, breaks, repeats or skips."""
    latest_s: float = 1.0
    """How long after its bytes left a request may arrive."""
    lag_s: float = 0.0
    """How long a new order may not be seen by queries."""
    focus: str = ""
    """The kind of request that is hit three times as often."""
    wild: bool = False
    """Requests may be doubled where the venue does not refuse the repeat: two orders that no sender can prevent."""


class Submit(msgspec.Struct, frozen=True, kw_only=True):
    """A caller who submits, and repeats the call until it has an answer or gives up."""

    at_s: float
    key: str
    intent: Intent
    time_to_live_s: float | None
    wait_s: float
    tries: int
    gives_up_after_s: float | None = None
    everywhere: bool = False
    """The first time it is submitted on every node at once."""


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """A caller who cancels."""

    at_s: float
    key: str
    operation_key: str | None
    wait_s: float
    tries: int


class Replace(msgspec.Struct, frozen=True, kw_only=True):
    """A caller who replaces."""

    at_s: float
    key: str
    quantity: Decimal | None
    price: Decimal | None
    operation_key: str | None
    wait_s: float
    tries: int


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody else's order. ``account`` is another one, or ours for an order that no gateway sent."""

    at_s: float
    account: str
    side: Side
    quantity: int
    price: int
    time_in_force: TimeInForce


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """A process dies at the ``nth`` step of a kind in the world, or (``step`` empty) at a time."""

    step: str
    nth: int = 0
    at_s: float = 0.0


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that begins at a time: a clock step (``amount`` µs), an outage (``amount`` seconds) … of a host."""

    at_s: float
    host: int
    amount: float


CRASH_STEPS = (
    "commit before",
    "commit after",
    "send before",
    "send after",
    "reply before",
    "call before",
    "call after",
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A world before it begins."""

    seed: int
    profile: Profile
    dialect: Dialect
    settings: GatewaySettings
    hosts: int
    start_us: int
    faults_end_s: float
    weather: Weather
    callers: tuple[Submit | Cancel | Replace, ...]
    trades: tuple[Trade, ...]
    crashes: tuple[Crash, ...]
    downtime_s: float
    clock_steps: tuple[Timed, ...]
    restarts: tuple[Timed, ...]
    partitions: tuple[Timed, ...]
    stalls: tuple[Timed, ...]
    """``at_s`` is the number of the commit after which the process sleeps for ``amount`` seconds."""
    halts: tuple[Timed, ...]
    """While trading is halted the venue rejects every new order, repeats included."""
    ledger_failures: tuple[tuple[int, bool], ...]
    """(number of the group of commits that fails, whether it is durable all the same)."""
    operator_lies: bool
    books: Books
    control: ControlPlan
    nodes: Nodes = Nodes()
    """Several gateways over the one ledger, and what befalls their hosts."""

    @property
    def name(self) -> str:
        """The kind of venue, and how many nodes where there are several."""
        return "/".join(part for part in (self.profile.name, self.nodes.name) if part)

    @property
    def counts_on_t(self) -> bool:
        """Whether nothing but the declared T tells when a request is dead."""
        return self.dialect.conclusive_after_s is not None and not self.dialect.request_expiry


def plan(seed: int) -> Plan:
    """Return the plan of a seed's world."""
    return _Planner(seed, profile_of(seed)).plan()


class _Planner:
    def __init__(self, seed: int, profile: Profile) -> None:
        self.seed = seed
        self.profile = profile
        self.draw = Random(f"plan {seed}")  # noqa: S311 - repeatable on purpose
        self.other_draw = Random(f"books {seed}")  # noqa: S311 - of its own: what it decides changes nothing else
        self.node_draw = Random(f"everywhere {seed}")  # noqa: S311 - likewise
        self.lag_s = self.draw.choice((0.0, 0.0, 0.2, 0.6))
        self.nodes = nodes(seed, conclusive=profile.conclusive)
        standby = self.chance(0.25)
        self.hosts = self.nodes.hosts if self.nodes.hosts > 1 else 2 if standby else 1
        near_midnight = self.chance(0.45 if profile.scope is UniqueScope.DAY else 0.05)
        self.start_us = NOON_US + (43_200_000_000 - int(self.draw.uniform(0.1, 8) * 1e6) if near_midnight else 0)
        self.near_midnight = near_midnight
        self.dialect = self._dialect()
        self.restless = self.hosts > 1

    def chance(self, probability: float) -> bool:
        return self.draw.random() < probability

    def plan(self) -> Plan:
        draw = self.draw
        callers, last_s = self._callers()
        faults_end_s = last_s + draw.uniform(0.5, 2.5)
        calm = self.chance(0.08)
        crashes = () if calm else self._crashes(faults_end_s)
        failures = ((draw.randint(1, 25), self.chance(0.5)),) if not calm and self.chance(0.06) else ()
        self.restless = self.restless or bool(crashes or failures)
        settings = self._settings()
        self.longest_s = settings.reply_timeout_s + 2.0
        return Plan(
            seed=self.seed,
            profile=self.profile,
            dialect=self.dialect,
            settings=settings,
            hosts=self.hosts,
            start_us=self.start_us,
            faults_end_s=faults_end_s,
            weather=Weather(lag_s=self.lag_s) if calm else self._weather(),
            callers=callers,
            trades=self._trades(last_s),
            crashes=crashes,
            downtime_s=draw.choice((0.01, 0.2, 1.0, 3.0)),
            clock_steps=() if calm else self._clock_steps(faults_end_s),
            restarts=self._timed(0.0 if calm else 0.12, faults_end_s, 1, (0.01, 1.5)),
            partitions=self._timed(0.0 if calm else 0.15, faults_end_s, self.hosts, (0.1, 2.5)),
            stalls=self._stalls(0.0 if calm else 0.15 if self.hosts == 1 else 0.5),
            halts=self._timed(0.0 if calm else 0.2, faults_end_s, 1, (0.2, 2.0)),
            ledger_failures=failures,
            operator_lies=self.chance(0.4),
            control=controls(Random(f"controls {self.seed}")),  # noqa: S311 - of its own, as above
            nodes=Nodes(hosts=self.nodes.hosts, lease_s=self.nodes.lease_s)
            if calm
            else befall(self.seed, self.nodes, faults_end_s),
            books=books(
                self.other_draw,
                self.dialect,
                faults_end_s,
                [one.at_s for one in callers if isinstance(one, Submit)],
            ),
        )

    # ------------------------------------------------------------- the venue

    def _dialect(self) -> Dialect:
        profile, draw = self.profile, self.draw
        scope, throttled = variant_of(self.seed)
        expiry_s = draw.choice((0.6, 1.0, 2.0))
        conclusive_s = draw.choice((1.2, 2.5, 4.0)) + self.lag_s
        if profile.expiry:
            conclusive_s += expiry_s
        return Dialect(
            unique_scope=profile.scope,
            duplicate_reply=profile.duplicate,
            lookup=profile.lookup,
            replace=profile.replace,
            replaced_shows_as=profile.shows_as,
            cancel_by_client_order_id=self.chance(0.6),
            request_expiry=profile.expiry,
            request_expiry_s=expiry_s,
            conclusive_after_s=conclusive_s if profile.conclusive else None,
            lookup_forgets_after_s=self._forgets_after_s(),
            refuses_barely=Random(f"refuses {self.seed}").random() < CURT,  # noqa: S311 - of its own, as above
            acknowledges_asynchronously=profile.asynchronous,
            acknowledge_delay_us=draw.choice((2_000, 50_000, 700_000)),
            execution_id_scope=scope,
            requests_per_s=draw.choice((2, 5)) if throttled else None,
            burst=2 if throttled else None,
            **habits(self.other_draw),
        )

    def _forgets_after_s(self) -> float | None:
        """Return after how long the venue forgets. What has passed is told by the time of day: it is right in such a world."""
        draw = Random(f"forgets {self.seed}")  # noqa: S311 - of its own, as above
        forgets = draw.random() < FORGETTING and self.profile.lookup is not Lookup.NONE and not self.nodes.drifts
        return draw.choice((0.3, 1.0, 3.0)) if forgets else None

    def _settings(self) -> GatewaySettings:
        draw = self.draw
        return GatewaySettings(
            client_order_ids=IdScheme.DERIVED if self.chance(0.4) else IdScheme.SEQUENCE,
            time_to_live_s=draw.choice((1.0, 3.0, 10.0, 30.0)),
            answer_wait_s=draw.choice((1.0, 5.0)),
            reply_timeout_s=draw.choice((0.3, 0.8, 1.5, 3.0)),
            recent_orders=draw.choice((0, 1, 1000)),
            lease_s=self._lease_s(),
            reconcile=looks(Random(f"looks {self.seed}")),  # noqa: S311 - of its own, as above
        )

    def _lease_s(self) -> float | None:
        if self.hosts == 1:
            return None
        drawn = self.draw.choice((1.0, 3.0))
        return drawn if self.nodes.lease_s is None else self.nodes.lease_s

    def _weather(self) -> Weather:
        draw, profile = self.draw, self.profile
        bad = draw.choice((0.03, 0.1, 0.2, 0.35))
        latest_s = draw.choice((draw.uniform(1.0, 12.0), draw.uniform(10.0, 40.0)))
        if profile.conclusive and not profile.expiry:
            # What the declared T says of the way there; the lag of the readers is part of it.
            conclusive_s = self.dialect.conclusive_after_s or 0.0
            apart_s = self.nodes.skew * (conclusive_s + self.longest_s) * 1.1  # a fast clock waits for less
            latest_s = max(conclusive_s - apart_s - self.lag_s - 0.01, 0.05)

        def rate(most: float) -> float:
            return bad * draw.choice((0.0, 0.4, 1.0)) * most

        return Weather(
            refused=rate(0.6),
            request_lost=rate(1.0),
            reply_lost=rate(1.5),
            request_late=rate(1.8),
            reply_late=rate(1.0),
            doubled=rate(1.2),
            cut=rate(0.8),
            held_back=rate(0.7),
            stream=rate(1.5),
            latest_s=latest_s,
            lag_s=self.lag_s,
            focus=draw.choice(("", "", "submit", "replace", "replace", "cancel", "query")),
            # Where only totals are told, nothing can tell the totals of two orders under one id apart.
            wild=self.chance(0.1) and not self.dialect.cumulative_fills_only,
        )

    # --------------------------------------------------------------- callers

    def _callers(self) -> tuple[tuple[Submit | Cancel | Replace, ...], float]:
        draw = self.draw
        made: list[Submit | Cancel | Replace] = []
        last_s = 0.0
        for number in range(1, draw.choice((2, 2, 2, 3, 3, 4, 5, 8)) + 1):
            key = f"k{number}"
            at_s = draw.uniform(0.0, 2.0) if self.chance(0.8) else 0.0
            submit = self._submit(key, at_s)
            made.append(submit)
            if self.chance(0.3):
                made += [self._again(submit) for _ in range(draw.randint(1, 2))]
            if self.chance(0.1):
                other = self._intent()
                made.append(msgspec.structs.replace(self._again(submit), intent=other))
            made += self._replaces(key, at_s)
            made += self._cancels(key, at_s)
            last_s = max(last_s, at_s)
        if self.chance(0.15):
            made.append(self._cancel("nobody", draw.uniform(0, 2), "o1" if self.chance(0.6) else None))
        made.sort(key=lambda one: one.at_s)
        return tuple(made), max(last_s, *(one.at_s for one in made))

    def _intent(self) -> Intent:
        draw = self.draw
        side = Side.BUY if self.chance(0.7) else Side.SELL
        kind = draw.random()
        quantity = Decimal(draw.randint(1, 10)) if kind > 0.04 else TOO_LARGE
        price = Decimal(draw.choice((99, 100) if side is Side.BUY else (101, 102)))
        return Intent(
            account=ACCOUNT,
            strategy=STRATEGY,
            instrument=SYMBOL,
            side=side,
            quantity=quantity,
            order_type=OrderType.MARKET if 0.04 < kind < 0.1 else OrderType.LIMIT,
            price=None if 0.04 < kind < 0.1 else price,
            time_in_force=draw.choice((TimeInForce.GTC,) * 4 + (TimeInForce.DAY, TimeInForce.IOC)),
        )

    def _submit(self, key: str, at_s: float) -> Submit:
        draw = self.draw
        return Submit(
            at_s=at_s,
            key=key,
            intent=self._intent(),
            time_to_live_s=draw.choice((None, None, None, 0.5, 2.0, 6.0)),
            wait_s=draw.choice((0.05, 0.4, 3.0)),
            tries=draw.choice((1, 3, 6)),
            gives_up_after_s=draw.uniform(0.0, 0.3) if self.chance(0.08) else None,
            everywhere=self.nodes.hosts > 1 and self.node_draw.random() < 0.4,
        )

    def _again(self, submit: Submit) -> Submit:
        at_s = submit.at_s if self.chance(0.5) else submit.at_s + self.draw.uniform(0, 1.5)
        return msgspec.structs.replace(
            submit, at_s=at_s, wait_s=self.draw.choice((0.05, 1.0)), gives_up_after_s=None, everywhere=False
        )

    def _cancel(self, key: str, at_s: float, operation_key: str | None) -> Cancel:
        draw = self.draw
        wait_s, tries = draw.choice((0.05, 0.5, 2.0)), draw.choice((1, 2, 5))
        return Cancel(at_s=at_s, key=key, operation_key=operation_key, wait_s=wait_s, tries=tries)

    def _cancels(self, key: str, at_s: float) -> list[Submit | Cancel | Replace]:
        if not self.chance(0.45):
            return []
        draw = self.draw
        at_s += draw.choice((0.0, draw.uniform(0, 0.1), draw.uniform(0, 2.0)))
        operation_key = f"c-{key}" if self.chance(0.5) else None
        made: list[Submit | Cancel | Replace] = [self._cancel(key, at_s, operation_key)]
        if self.chance(0.3):  # two at once
            made.append(
                self._cancel(key, at_s + draw.choice((0.0, 0.2)), draw.choice((operation_key, None, f"d-{key}")))
            )
        return made

    def _replaces(self, key: str, at_s: float) -> list[Submit | Cancel | Replace]:
        if not self.chance(0.06 if self.profile.replace is ReplaceStyle.NONE else 0.55):
            return []
        draw = self.draw
        made: list[Submit | Cancel | Replace] = []
        at_s += draw.choice((0.0, draw.uniform(0, 0.3), draw.uniform(0, 1.5)))
        for number in range(draw.choice((1, 1, 2, 3))):
            quantity = Decimal(draw.randint(1, 14)) if self.chance(0.8) else None
            price = Decimal(draw.choice((98, 99, 100, 101, 102))) if quantity is None or self.chance(0.4) else None
            made.append(
                Replace(
                    at_s=at_s,
                    key=key,
                    quantity=quantity,
                    price=price,
                    operation_key=f"r{number}-{key}" if self.chance(0.6) else None,
                    wait_s=draw.choice((0.05, 0.5, 3.0)),
                    tries=draw.choice((1, 2, 5)),
                )
            )
            at_s += draw.choice((0.0, draw.uniform(0, 1.0)))
        return made

    # ---------------------------------------------------------------- faults

    def _trades(self, last_s: float) -> tuple[Trade, ...]:
        draw = self.draw
        made = []
        for _ in range(draw.choice((0, 1, 2, 3, 5))):
            side = draw.choice((Side.SELL, Side.SELL, Side.BUY))
            rests = self.chance(0.35)
            made.append(
                Trade(
                    at_s=draw.uniform(0, last_s + 1.0) if not rests else draw.uniform(0, 0.5),
                    account=ACCOUNT if self.chance(0.03) else "M",
                    side=side,
                    quantity=draw.randint(1, 12),
                    price=draw.choice((99, 100) if side is Side.SELL else (101, 102)),
                    time_in_force=TimeInForce.GTC if rests else TimeInForce.IOC,
                )
            )
        if self.dialect.cumulative_fills_only:  # a total says something only of an order that is filled in parts
            small = Random(f"in parts {self.seed}")  # noqa: S311 - of its own, as above
            for _ in range(4):
                at_s, quantity = small.uniform(0.1, last_s + 1.0), small.randint(1, 3)
                made.append(
                    Trade(
                        at_s=at_s,
                        account="M",
                        side=Side.SELL,
                        quantity=quantity,
                        price=99,
                        time_in_force=TimeInForce.IOC,
                    )
                )
        return tuple(made)

    def _crashes(self, end_s: float) -> tuple[Crash, ...]:
        draw = self.draw
        made = []
        for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 3))):
            if self.chance(0.25):
                made.append(Crash(step="", at_s=draw.uniform(0, end_s)))
            else:
                step = draw.choice(CRASH_STEPS)
                # Most calls are those of the start, before there is anything to lose.
                made.append(Crash(step=step, nth=draw.randint(1, 45 if step.startswith("call") else 14)))
        return tuple(made)

    def _clock_steps(self, end_s: float) -> tuple[Timed, ...]:
        """Keep within what the declared T leaves room for, wherever the time of day decides anything."""
        if self.near_midnight or not self.chance(0.2) or self.nodes.suspends:
            return ()
        draw, profile, dialect = self.draw, self.profile, self.dialect
        ahead_us = back_us = _HOUR_US * 30 if profile.scope is not UniqueScope.DAY else _HOUR_US
        if profile.conclusive:
            slack_s = (dialect.conclusive_after_s or 0.0) * (1 - self.nodes.skew) - self.lag_s - 0.05
            if profile.expiry:
                ahead_us = int(max(slack_s - dialect.request_expiry_s, 0.0) * 1e6)
            elif self.restless:  # across a restart only the time of day tells how old a copy is
                ahead_us, back_us = 1_000_000, 0
        made, offset = [], [0] * self.hosts
        for _ in range(draw.choice((1, 1, 2))):
            host = draw.randrange(self.hosts)
            small = self.chance(0.5)
            lowest, highest = (
                max(-back_us, -3_000_000 if small else -back_us),
                min(ahead_us, 3_000_000 if small else ahead_us),
            )
            target = draw.randint(lowest, highest)
            made.append(Timed(at_s=draw.uniform(0.05, end_s), host=host, amount=target - offset[host]))
            offset[host] = target
        return tuple(made) if dialect.lookup_forgets_after_s is None else ()

    def _timed(self, probability: float, end_s: float, hosts: int, lasts: tuple[float, float]) -> tuple[Timed, ...]:
        if not self.chance(probability):
            return ()
        draw = self.draw
        return (Timed(at_s=draw.uniform(0, end_s), host=draw.randrange(hosts), amount=draw.uniform(*lasts)),)

    def _stalls(self, probability: float) -> tuple[Timed, ...]:
        if not self.chance(probability):
            return ()
        draw = self.draw
        every = [Timed(at_s=draw.randint(1, 20), host=0, amount=draw.choice((0.05, 0.5, 2.2, 4.0))) for _ in range(2)]
        return tuple(every[: draw.randint(1, 2)])
