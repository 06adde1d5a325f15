"""The simulated exchange passes the suite of venue adapters: in process and over sockets, in several dialects."""

from decimal import Decimal

from exchange_conformance_kit import InProcessKit, SocketKit

from onefill.sim.dialect import Dialect
from onefill.testing.venue import VenueConformance, VenueKit

STRICT = Dialect(lists_open_orders=True, tells_positions=True)
LIKE_BINANCE = Dialect(
    unique_scope="open",
    replace="new_id",
    replaced_shows_as="canceled",
    execution_id_scope="instrument",
    lists_open_orders=True,
    fee_rate=Decimal("0.001"),
)
LIKE_COINBASE = Dialect(
    duplicate_reply="original",
    lookup="scan",
    request_expiry=False,
    conclusive_after_s=None,
    cancel_by_client_order_id=False,
    cumulative_fills_only=True,
    lists_open_orders=True,
)
LIKE_TRADIER = Dialect(
    unique_scope="none",
    duplicate_reply="accepts",
    lookup="none",
    replace="none",
    request_expiry=False,
    conclusive_after_s=None,
    cancel_by_client_order_id=False,
    execution_id_scope="order",
    tells_positions=True,
)
LATE_AND_TWICE = Dialect(
    acknowledges_asynchronously=True,
    replace="new_id",
    execution_revisions=True,
    drop_copy=True,
    lists_open_orders=True,
)
OUT_OF_REACH_IN_PROCESS = {
    "test_a_reply_that_is_not_the_venues_is_unknown",
    "test_a_refused_connection_is_not_sent",
    "test_silence_ends_by_itself",
    "test_it_cannot_start_while_nobody_listens",
    "test_a_stream_that_was_cut_loses_nothing",
}


class _InProcess(VenueConformance):
    dialect = STRICT

    async def kit(self) -> VenueKit:
        return InProcessKit(self.dialect)

    def not_shown(self, name: str, why: str) -> None:
        """What has no meaning without a wire is named above; it is shown over sockets below."""
        assert name in OUT_OF_REACH_IN_PROCESS, why


class TestInProcess(_InProcess):
    """A strict venue: an id counts for ever."""


class TestInProcessLikeBinance(_InProcess):
    """Ids count among open orders only, and a replaced order goes on under another id."""

    dialect = LIKE_BINANCE


class TestInProcessLikeTradier(_InProcess):
    """Nothing is refused, and nothing can be asked."""

    dialect = LIKE_TRADIER


class TestInProcessLateAndTwice(_InProcess):
    """Orders are decided later, and executions are told by two channels."""

    dialect = LATE_AND_TWICE


class _OverSockets(VenueConformance):
    dialect = STRICT

    async def kit(self) -> VenueKit:
        return await SocketKit(self.dialect).begin()


class TestOverSockets(_OverSockets):
    """A strict venue: an id counts for ever."""


class TestOverSocketsLikeBinance(_OverSockets):
    """Ids count among open orders only, and a replaced order goes on under another id."""

    dialect = LIKE_BINANCE


class TestOverSocketsLikeCoinbase(_OverSockets):
    """A repeat gets the original, orders are found in lists only, and the stream tells totals."""

    dialect = LIKE_COINBASE


class TestOverSocketsLateAndTwice(_OverSockets):
    """Orders are decided later, and executions are told by two channels."""

    dialect = LATE_AND_TWICE
