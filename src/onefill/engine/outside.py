"""What comes to a gateway from outside: steps of users' own processes."""

from collections.abc import Collection
from typing import Any

from onefill.core import values
from onefill.engine.controller import BY_HAND, ControlPlan
from onefill.engine.once import StepFunction, Steps
from onefill.engine.oversight import Oversight
from onefill.engine.settings import GatewaySettings
from onefill.ports.clock import Clock
from onefill.ports.ledger import Ledger, StepRecord


class Outside(Oversight):
    """See the module's text. Part of :class:`~onefill.engine.gateway.Gateway`."""

    def __init__(self, ledger: Ledger, clock: Clock, settings: GatewaySettings, control: ControlPlan = BY_HAND) -> None:
        super().__init__(ledger, clock, settings, control)
        self._steps = Steps(ledger, self._routes, clock)

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

        Raises also :class:`StepResultRefused` for a result that cannot be kept, InvalidField, RouteClosed or LedgerError.
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
        return await self._ledger.steps(self._steps.route(route).name, values.caller_key(key))
