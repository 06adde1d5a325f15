"""Guards of leases, of what several nodes share, and of what subscribers are told, each with a way of switching it off."""

from typing import Any, Final

import msgspec

from onefill.core import evidence, lease, relay, relay_lanes, split_brain
from onefill.core.answers import submit_answer
from onefill.core.relay import TOLD
from onefill.engine import gateway, suspicions, tenure
from onefill.engine import relay as relays
from onefill.ledger import sqlite
from onefill.ports.ledger import Subscription
from onefill.sim.mutant import Mutant, always

_with = msgspec.structs.replace


# ------------------------------------------------------------------------------ leases


def _counted_from_the_reply(original: Any) -> Any:
    """Count a lease from when the ledger's answer came, which may have taken any time."""

    def lend(self: Any, _asked_at_s: float, _asked_at_us: int, lease_s: Any) -> None:
        original(self, self.loop.time(), self.clock.now_us(), lease_s)

    return lend


def _no_margin(original: Any) -> Any:
    def send_until_s(asked_at_s: float, lease_s: Any) -> Any:
        return original(asked_at_s, None if lease_s is None else lease_s / (1 - lease.CLOCK_RATE_MARGIN))

    return send_until_s


def _by_the_time_of_day(_original: Any) -> Any:
    """Count a lease by the clock that people, and their daemons, set."""
    counted: dict[tuple[int, float], float] = {}

    def may_send(self: Any) -> bool:
        now_s = self.clock.now_us() / 1_000_000
        if self.lease_until_s == float("inf"):
            return True
        name = (id(self), self.lease_until_s)
        until_s = counted.setdefault(name, now_s + self.lease_until_s - self.loop.time())
        return bool(now_s < until_s)

    return may_send


def _any_epoch(original: Any) -> Any:
    """Renew a lease for whoever asks: who lost the route has it again, under the epoch that it had."""

    async def renew(self: Any, route: str, epoch: int, at_us: int, lease_us: int) -> None:
        found = self._file.connection.execute("SELECT epoch FROM route WHERE name = ?", (route,)).fetchone()
        await original(self, route, epoch if found is None else found[0], at_us, lease_us)

    return renew


def _any_mover(_original: Any) -> Any:
    def fenced(self: Any, route: str, epoch: int) -> int:
        return int(self._file.connection.execute("SELECT id FROM route WHERE name = ?", (route,)).fetchone()[0])

    return fenced


def _by_the_steady_clock(_original: Any) -> Any:
    """Count a lease by the one clock that stands still while a host is suspended."""

    def may_send(self: Any) -> bool:
        return bool(lease.may_send(self.loop.time(), self.lease_until_s))

    return may_send


def _answers_anew(original: Any) -> Any:
    """Tell a caller at another node how the order stands, and not what its holder answered."""

    async def told_elsewhere(self: Any, intent: Any, key: str, until_s: float) -> Any:
        answer = await original(self, intent, key, until_s)
        if answer is None:
            return None
        loaded = await self._ledger.by_key(intent.account, intent.strategy, key)
        return submit_answer(loaded.order, self._clock.now_us())

    return told_elsewhere


def _every_fencing_is_a_sign(_original: Any) -> Any:
    def sign(_left_us: Any, epoch: int, current: Any, *, gave_back: bool) -> Any:
        return f"epoch {epoch} was fenced by {current}, given back: {gave_back}"

    return sign


def _suspicion_unread(_original: Any) -> Any:
    async def look(self: Any) -> None:
        """Read nothing."""

    return look


# ------------------------------------------------------------------------------ subscribers


def _read_is_told(_original: Any) -> Any:
    """Move the place on once a message is read: what was not told by the end of the process is lost."""
    return property(lambda self: self.read_through)


def _last_first(original: Any) -> Any:
    def next_batch(self: Any, now_s: float) -> Any:
        for name in self._ready:
            self._lanes[name].messages.rotate(1)
        return original(self, now_s)

    return next_batch


def _another_id_each_time(original: Any) -> Any:
    count = iter(range(1 << 60))
    return lambda entry_hash: f"{original(entry_hash)}{next(count)}"


def _short_id(original: Any) -> Any:
    return lambda entry_hash: str(original(entry_hash)[:1])


def _silence_is_taken(original: Any) -> Any:
    def took(self: Any, batch: Any, outcomes: Any, now_s: float) -> None:
        original(self, batch, [TOLD] * len(outcomes), now_s)

    return took


def _begins_at_the_end(original: Any) -> Any:
    """Begin behind the last entry whenever a route is taken, as a subscriber does that is new."""

    async def place_of(route: Any, subscriber: str) -> Any:
        place = await original(route, subscriber)
        head = next(info.journal_entries for info in await route.ledger.routes() if info.name == route.name)
        return None if place is None else Subscription(route=route.name, subscriber=subscriber, position=head)

    return place_of


_NODES: Final = "nodes-"


def _node(guard: str, without: str, owner: Any, attribute: str, make: Any, aim: str = _NODES) -> Mutant:
    """Return a mutant that worlds with several nodes are run for. The search knows none of this."""
    return Mutant(guard, without, owner, attribute, make, aim, searched=False)


NODES: Final[tuple[Mutant, ...]] = (
    _node("a lease counts from the asking", "from the reply", tenure.Tenure, "lend", _counted_from_the_reply),
    _node("clocks do not run alike", "a lease is used to its end", lease, "send_until_s", _no_margin, "own-time"),
    _node("the clock that nobody sets", "the time of day", tenure.Tenure, "may_send", _by_the_time_of_day),
    _node("the lease is looked at at the wire", "only before", tenure.Tenure, "not_open", always()),
    _node("an epoch is renewed by its own", "by any", sqlite.SqliteLedger, "renew", _any_epoch),
    _node("the epoch of every cursor", "any may move it", sqlite.SqliteLedger, "_fenced", _any_mover),
    _node("a claim of the last holder is maybe sent", "it is not asked for", evidence, "recovered", always(())),
    _node("a clock that stood still", "the steady one alone", tenure.Tenure, "may_send", _by_the_steady_clock),
    _node("one answer on every node", "each its own", gateway.Gateway, "_told_elsewhere", _answers_anew),
    _node("a second holder is suspected", "nobody is", split_brain, "sign_of_fencing", always(), "forgetful"),
    _node("a lease that is over is no sign", "all are", split_brain, "sign_of_fencing", _every_fencing_is_a_sign),
    _node("a suspicion shuts the route", "it is not read", suspicions.Suspicions, "look", _suspicion_unread),
    _node("a place moves when it was told", "when it is read", relay_lanes.Lanes, "told_through", _read_is_told),
    _node("an order's events in their order", "the last first", relay_lanes.Lanes, "next_batch", _last_first),
    _node("an event's id is stable", "another each time", relay, "message_id", _another_id_each_time),
    _node("an event's id is its own", "a short one", relay, "message_id", _short_id),
    _node("silence is not taken for yes", "it is", relay_lanes.Lanes, "took", _silence_is_taken),
    _node("told from where the last one stopped", "from the end", relays, "place_of", _begins_at_the_end),
)
"""See :data:`onefill.sim.mutants.MUTANTS`."""
