"""``/metrics`` and ``/healthz`` of a running gateway, for Prometheus and whatever restarts processes."""

import contextlib
import socket
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from onefill.core.control import State
from onefill.engine import readings
from onefill.engine.oversight import Oversight
from onefill.service.listening import url
from onefill.service.metrics import registry


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every route takes orders as far as operations go. ``routes``: each one's control state, or ``failed``."""

    ok: bool
    ledger: str
    routes: dict[str, str]


def health(gateway: Oversight) -> Health:
    """Return how a gateway is. A route that is SAFE or failed makes the whole not ok, and so does a failed ledger."""
    seen = readings.routes(gateway)
    ledger = "failed" if readings.ledger(gateway).failed else "ok"
    ok = ledger == "ok" and bool(seen) and not any(route.failed or route.control is State.SAFE for route in seen)
    return Health(
        ok=ok,
        ledger=ledger,
        routes={route.label: "failed" if route.failed else str(route.control) for route in seen},
    )


class _Pages:
    def __init__(self, gateway: Oversight) -> None:
        self._gateway = gateway
        self._registry: CollectorRegistry = registry(gateway)

    async def metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def healthz(self, _request: web.Request) -> web.Response:
        told = health(self._gateway)
        return web.Response(
            body=msgspec.json.encode(told), status=200 if told.ok else 503, content_type="application/json"
        )


@contextlib.asynccontextmanager
async def serving(gateway: Oversight, listening: socket.socket) -> AsyncIterator[str]:
    """Serve the gateway's figures on a socket that listens already. Gives the URL."""
    pages = _Pages(gateway)
    app = web.Application()
    app.add_routes([web.get("/metrics", pages.metrics), web.get("/healthz", pages.healthz)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield url(listening)
    finally:
        await runner.cleanup()
