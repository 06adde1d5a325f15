"""How a guard behaves. Every duration is in seconds."""

from collections.abc import Iterable
from typing import Final

import msgspec

from onefill.core import values
from onefill.core.errors import InvalidField
from onefill.core.guard_rules import Keys
from onefill.core.identity import IdScheme
from onefill.core.risk_limits import Risk
from onefill.engine.controller import ControlPlan
from onefill.engine.settings import GatewaySettings, ReconcileSettings
from onefill.service.ledgers import LedgerName

_BEHIND_S: Final = 2.0
"""What a call may take above the library's own time-out: waiting for the rate limit, and for calls before it."""


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`onefill.guard` was asked for; see there."""

    ledger: LedgerName
    account: str
    strategy: str
    keys: Keys
    bucket_s: float
    wait_s: float
    time_to_live_s: float
    poll_s: float
    allow: frozenset[str]
    risk: Risk | None
    control: ControlPlan | None

    @classmethod
    def checked(cls, *, keys: str, allow: Iterable[str], **given: object) -> "GuardSettings":
        """Return the settings. Raises :class:`~onefill.core.errors.InvalidField`."""
        if isinstance(allow, str):
            raise InvalidField("allow", f"{allow[:40]!r} is a text; give a list of names")
        made = cls(keys=values.choice(Keys, keys, "keys"), allow=frozenset(allow), **given)  # type: ignore[arg-type]
        values.name(made.account, "account")
        values.name(made.strategy, "strategy")
        for field in ("bucket_s", "wait_s", "time_to_live_s", "poll_s"):
            seconds = getattr(made, field)
            if not 0 < seconds < 1e9:
                raise InvalidField(field, f"{seconds!r} is not a duration above zero, in seconds")
        return made

    def gateway(self, timeout_s: float) -> GatewaySettings:
        """Return the settings of the gateway behind the guard.

        Only the guarded orders are its business: the account may have others, so nothing is reconciled unasked. Client order
        ids are made from the keys: where a ledger is lost, a venue that refuses repeated ids still does.
        """
        return GatewaySettings(
            client_order_ids=IdScheme.DERIVED,
            time_to_live_s=self.time_to_live_s,
            answer_wait_s=self.wait_s,
            reply_timeout_s=timeout_s + 1,
            reconcile=ReconcileSettings(every_s=None),
        )


def call_timeout_s(timeout_ms: float) -> float:
    """Return how long one call of the library may take."""
    return timeout_ms / 1000 + _BEHIND_S
