"""The worlds of the exhaustive search: small ones that are searched completely, and larger ones, into which it goes far."""

from typing import Final

from onefill.core.capabilities import Capabilities, ReplaceStyle, UniqueScope
from onefill.sim.explore_state import Scenario

_CRASHES: Final = frozenset({"crash", "cut", "not_sent"})
SMALL: Final = (
    Scenario(
        name="small-send",
        faults=1,
        copies=2,
        kinds=_CRASHES | {"duplicate", "throttle", "reject", "silence", "lag"},
        fills=False,
        stops=4,
    ),
    Scenario(name="small-fill", faults=1, copies=2, kinds=frozenset({"crash", "reject"}), stops=4),
    Scenario(name="small-clock", faults=1, copies=2, kinds=frozenset({"clock"}), fills=False, lifetime_s=20.0, stops=4),
    Scenario(name="small-midnight", faults=1, copies=2, kinds=frozenset({"reject"}), fills=False, midnight_s=3.5),
    Scenario(
        name="small-takeover",
        processes=2,
        faults=1,
        copies=2,
        kinds=frozenset({"pause"}),
        fills=False,
        lease_s=1.0,
        stops=4,
    ),
    Scenario(name="small-cancel", faults=0, copies=2, cancels=1, fills=False, stops=4),
    Scenario(name="small-refused", faults=1, copies=1, cancels=1, kinds=frozenset({"refuse", "crash"}), stops=3),
    Scenario(name="small-replace", faults=0, copies=1, replaces=1, quantities=(3,), stops=3),
    Scenario(name="small-replaces", faults=0, copies=1, replaces=2, fills=False, stops=3),
    Scenario(
        name="small-forgotten", faults=2, copies=2, kinds=frozenset({"withdrawn", "crash"}), fills=False, forgetful=True
    ),
    Scenario(
        name="small-forgotten-replace",
        faults=1,
        copies=1,
        replaces=1,
        quantities=(3,),
        kinds=frozenset({"withdrawn"}),
        fills=False,
        forgetful=True,
    ),
)
"""Few faults, few copies, few moments: every world that can come about is visited."""
LARGE: Final = (
    Scenario(name="send", faults=2, kinds=_CRASHES | {"duplicate", "throttle", "reject", "silence", "lag"}),
    Scenario(name="takeover", processes=2, faults=2, kinds=frozenset({"pause", "crash", "cut", "reject"}), lease_s=1.0),
    Scenario(name="cancel", faults=1, cancels=2, kinds=_CRASHES | {"refuse", "throttle", "lag"}, partial=True),
    Scenario(name="replace", faults=1, replaces=1, kinds=_CRASHES | {"refuse", "lag"}, partial=True),
    Scenario(name="replace-twice", faults=1, replaces=2, cancels=1, kinds=frozenset({"cut", "refuse"})),
    Scenario(name="two", intents=2, faults=1, cancels=1, kinds=_CRASHES | {"duplicate"}, copies=2),
    Scenario(name="short", faults=1, cancels=1, lifetime_s=2.5, kinds=_CRASHES | {"throttle", "duplicate"}),
    Scenario(name="clock", faults=2, lifetime_s=20.0, kinds=frozenset({"clock", "crash", "cut"})),
    Scenario(name="midnight", faults=1, cancels=1, midnight_s=3.5, kinds=_CRASHES | {"duplicate"}),
)
"""All that the search knows, up to a number of states."""
SCENARIOS: Final = SMALL + LARGE


def applies(scenario: Scenario, capabilities: Capabilities) -> bool:
    """Tell whether a scenario has anything to show at a venue that another does not show there."""
    if scenario.forgetful != (capabilities.lookup_forgets_after_s is not None):
        return False
    if scenario.replaces and capabilities.replace is ReplaceStyle.NONE:
        return False
    if not scenario.replaces and capabilities.replace is not ReplaceStyle.NONE:
        return False  # the same worlds as where there is no replace
    if not (scenario.cancels or scenario.replaces) and capabilities.cancel_by_client_order_id:
        return False
    return scenario.midnight_s is None or capabilities.unique_scope is UniqueScope.DAY
