"""What comes to a gateway from outside: steps of users' own processes, and venues' callbacks."""

from collections.abc import Collection, Iterable
from typing import Any

from onefill.core import values
from onefill.core.errors import CallbackNotHere, UnknownVenue
from onefill.core.inbox import Headers, Receipt, Verifier
from onefill.engine.controller import BY_HAND, ControlPlan
from onefill.engine.inbox import Inbox
from onefill.engine.once import StepFunction, Steps
from onefill.engine.oversight import Oversight
from onefill.engine.relay import Subscriber
from onefill.engine.route import Route
from onefill.engine.settings import GatewaySettings
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger, StepRecord


class Outside(Oversight):
    """See the module's text. Part of :class:`~onefill.engine.gateway.Gateway`."""

    def __init__(
        self,
        ledger: Ledger,
        venues: Collection[str],
        clock: Clock,
        settings: GatewaySettings,
        control: ControlPlan = BY_HAND,
        subscribers: Iterable[Subscriber] = (),
    ) -> None:
        super().__init__(ledger, clock, settings, control, subscribers)
        self._steps = Steps(ledger, self._routes, clock, venues, self._missing)
        self._verifiers: dict[str, Verifier] = {}
        self._inboxes: dict[str, Inbox] = {}

    def expect_callbacks(self, route: str, verifier: Verifier) -> None:
        """Take in callbacks of a route's venue from now on, if ``verifier`` finds them genuine. Again: with other keys.

        Where several nodes share the ledger, whenever the route is held here. Raises :class:`UnknownVenue`, and
        :class:`InvalidField` if the venue's adapter reads no callbacks.
        """
        home = self._routes.get(route)
        if home is None:
            missing = self._missing(route)
            if isinstance(missing, UnknownVenue):
                raise missing
        elif route in self._inboxes:
            self._inboxes[route].verifier = verifier
        else:
            self._inboxes[route] = Inbox(home, verifier)
        self._verifiers[route] = verifier

    def _listen(self, route: Route) -> None:
        """Take in callbacks of a route that was just taken up, if they are expected."""
        verifier = self._verifiers.get(route.name)
        if verifier is not None:
            self._inboxes[route.name] = Inbox(route, verifier)

    async def _unlisten(self, name: str) -> None:
        """Take in no callbacks of a route any more, and come to an end with what was begun."""
        inbox = self._inboxes.pop(name, None)
        if inbox is not None:
            await inbox.close()

    async def take_callback(self, route: str, headers: Headers, body: bytes) -> Receipt:
        """Take in a callback from a route's venue, once, however often it comes. Returns when that is durable.

        ``headers`` and ``body`` as they came, byte for byte: they are what was signed. Raises :class:`NotVerified` (nothing
        was read), :class:`CallbackUnreadable` and :class:`CallbackContradicts` (with an incident, nothing was applied), or
        :class:`CallbackNotHere`: it is to be sent again, here later or where the route is held.
        """
        inbox = self._inboxes.get(route)
        if inbox is None:
            raise CallbackNotHere(route, "this process does not have the route, or expects no callbacks for it")
        return await inbox.take(headers, body)

    async def _close_outside(self) -> None:
        """Come to an end with what was begun. The routes take nothing new any more."""
        for inbox in self._inboxes.values():
            await inbox.close()
        await self._steps.close()

    async def once(
        self,
        key: str,
        step: str,
        fn: StepFunction,
        *,
        arguments: Any = None,
        route: str | None = None,
        keep_errors: type[Exception] | Collection[type[Exception]] = (),
        repeat: bool = True,
        result_type: Any = Any,
    ) -> Any:
        """Carry out one step of a process of your own, once, and return its result, now and on every later call.

        ``key`` names the process (such as the order's key), ``step`` the step in it. ``fn`` is called with an
        :class:`~onefill.core.once.Attempt`; a plain function runs on a thread, a coroutine function on the gateway's loop.
        Its result is kept as JSON and returned decoded, as ``result_type`` if that is given, from the first call on. Calls
        for the same step at the same time share one run.

        **Not promised**: that ``fn`` runs once. If the process dies after the effect and before the result is durable, or
        ``fn`` raises, the next call runs it again; ``attempt.begun_before`` says so then. Hand ``attempt.idempotency_key`` on
        to what has the effect. With ``repeat=False`` such a step is not begun again, and :class:`StepInDoubt` is raised.

        ``arguments``: all that the step depends on; the same step with others is refused (:class:`StepReused`).
        ``keep_errors``: exceptions of ``fn`` that are its outcome for good; they are told as :class:`StepFailed`. ``route``:
        the one on which the process is kept, needed where there are several.

        Raises also :class:`StepResultRefused` for a result that cannot be kept, :class:`RouteElsewhere` where another process
        has the route and the step is not done, InvalidField, RouteClosed or LedgerError.
        """
        return await self._steps.once(
            key,
            step,
            fn,
            arguments=arguments,
            route=route,
            keep_errors=keep_errors,
            repeat=repeat,
            result_type=result_type,
        )

    async def steps(self, key: str, *, route: str | None = None) -> list[StepRecord]:
        """Return every step of a process as it stands, in the order in which they were first begun."""
        return await self._ledger.steps(self._steps.route(route), values.caller_key(key))
