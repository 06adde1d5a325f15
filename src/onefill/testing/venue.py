"""The suite that every adapter to a venue must pass, shipped for people who write their own.

Subclass :class:`VenueConformance`, say how the other side is made, and let pytest collect the subclass::

    class TestMyVenue(VenueConformance):
        async def kit(self) -> VenueKit: ...

Each test is one fact, stated in its docstring, and runs its own event loop. What the other side must be able to do says
:class:`~onefill.testing.venue_kit.VenueKit`: it knows the venue's own view, trades with what rests there, and loses replies on
purpose. For a server that speaks over TCP, :class:`~onefill.testing.wire.CuttableWire` does the losing. What a kit cannot do it
declares, with the reason, and the facts that need it are reported as not shown: as skipped, unless
:meth:`~onefill.testing.venue_bench.VenueUnderTest.not_shown` says otherwise.

What is asked follows from the adapter's own capabilities. A capability that is not declared is not taken for one that is
absent: where nothing is promised, whatever is said must still be true.
"""

from onefill.testing.venue_desk import DeskFacts
from onefill.testing.venue_faults import FaultFacts
from onefill.testing.venue_histories import HistoryFacts
from onefill.testing.venue_kit import Ability, Sent, VenueKit
from onefill.testing.venue_orders import OrderFacts
from onefill.testing.venue_questions import QuestionFacts
from onefill.testing.venue_stream import StreamFacts
from onefill.testing.wire import CuttableWire, WireFault

__all__ = ["Ability", "CuttableWire", "Sent", "VenueConformance", "VenueKit", "WireFault"]


class VenueConformance(OrderFacts, FaultFacts, QuestionFacts, DeskFacts, StreamFacts, HistoryFacts):
    """All facts. A subclass supplies :meth:`~onefill.testing.venue_bench.VenueUnderTest.kit`."""
