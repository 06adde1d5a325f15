"""What an order is told beside its terms: passed on whole with every copy and every replace, or the order is refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from gateway_world import WHO, World, intent
from scripted_venue import ScriptedVenue, lose_request
from virtual_loop import run

from onefill.core.answers import ReplaceResult
from onefill.core.capabilities import ReplaceStyle
from onefill.core.lifecycle import Status
from onefill.core.messages import SubmitRequest
from onefill.core.values import OrderType, Side, TimeInForce

Make = Callable[..., World]
PARAMETERS = '{"postOnly":true,"triggerPrice":99.50}'


async def take_all(venue: ScriptedVenue, request: Any) -> Any:
    """The venue knows every parameter."""
    return venue.exchange.submit(msgspec.structs.replace(request, parameters=None), venue.now_us())


async def replace_all(venue: ScriptedVenue, request: Any) -> Any:
    """The venue knows every parameter of a replace."""
    return venue.exchange.replace(msgspec.structs.replace(request, parameters=None), venue.now_us())


@pytest.mark.parametrize("style", [ReplaceStyle.KEEP, ReplaceStyle.NEW_ID])
def test_parameters_go_with_every_copy_and_every_replace(make_world: Make, style: ReplaceStyle) -> None:
    """Byte for byte as they were recorded: with the first copy, with the one after a time-out, and after a restart."""
    world = make_world(replace=style)
    world.venue.submits = [lose_request, take_all]
    world.venue.replaces = [replace_all]

    async def main() -> None:
        async with world.gateway() as gateway:
            told = await gateway.submit(intent(parameters=PARAMETERS), key="k", wait_s=60)
            assert told.status is Status.NEW
        async with world.gateway() as gateway:
            assert (await gateway.order("k", **WHO)).intent.parameters == PARAMETERS
            assert (await gateway.replace("k", **WHO, quantity=7)).result is ReplaceResult.REPLACED

    run(main)
    sent = [call.request for call in world.venue.calls if call.kind in ("submit", "replace")]
    assert len(sent) == 3
    assert [request.parameters for request in sent] == [PARAMETERS] * 3


def test_the_simulated_exchange_knows_no_parameters_and_refuses_the_order(make_world: Make) -> None:
    """It trades nothing else in its place: the order is rejected, with the parameter's name, and stays so."""
    world = make_world()

    async def main() -> None:
        async with world.gateway() as gateway:
            told = await gateway.submit(intent(parameters={"postOnly": True}), key="k")
            assert told.status is Status.REJECTED
            assert "postOnly" in str(told.reason)
            assert await gateway.submit(intent(parameters={"postOnly": True}), key="k") == told

    run(main)
    assert world.venue.orders() == []


def test_an_order_without_parameters_is_sent_as_before_there_were_any() -> None:
    """Neither the request's bytes nor what is printed of it name them."""
    plain_one = SubmitRequest(
        client_order_id="C",
        account="A",
        instrument="I",
        side=Side.BUY,
        quantity=Decimal(1),
        order_type=OrderType.MARKET,
        price=None,
        time_in_force=TimeInForce.GTC,
        expires_at_us=None,
    )
    assert b"parameters" not in msgspec.json.encode(plain_one)
    assert "parameters" not in repr(plain_one)
