"""The endpoint of a running gateway: where it listens, what it says of health, and that nothing starts where it cannot."""

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from run_kit import make_exchange, run

import onefill
from onefill.core.control import Control, State
from onefill.core.errors import InvalidField, LedgerFailed, SettingsError
from onefill.core.metrics import METRICS
from onefill.service.listening import host_port
from onefill.service.metrics_http import health
from onefill.service.settings import MetricsSettings, load
from onefill.sim.venue import SimulatedVenue


@contextlib.asynccontextmanager
async def served(
    folder: Path, listen: str = "127.0.0.1:0"
) -> AsyncIterator[tuple[onefill.Gateway, aiohttp.ClientSession]]:
    """A gateway that serves its figures, and a client for that address."""
    urls: list[str] = []
    venues, settings = {"sim": SimulatedVenue(make_exchange(), "main")}, MetricsSettings(listen=listen)
    async with (
        onefill.open(folder / "o.db", venues=venues, metrics=settings, on_metrics=urls.append) as gateway,
        aiohttp.ClientSession(urls[0]) as session,
    ):
        yield gateway, session


def test_prometheus_can_scrape_it(tmp_path: Path) -> None:
    """/metrics answers in the text format, and in OpenMetrics to whoever asks for that; both hold every metric."""

    async def scenario() -> None:
        async with served(tmp_path) as (_, session):
            async with session.get("/metrics") as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"].startswith("text/plain; version=")
                assert len(list(text_string_to_metric_families(await answer.text()))) == len(METRICS)
            wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
            async with session.get("/metrics", headers=wanted) as answer:
                assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
                assert len(list(open_metrics(await answer.text()))) == len(METRICS)
            async with session.get("/") as answer:
                assert answer.status == 404
            async with session.post("/metrics") as answer:
                assert answer.status == 405

    run(scenario)


@pytest.mark.parametrize(
    ("state", "status"), [(State.NORMAL, 200), (State.DEGRADED, 200), (State.DUP_RISK, 200), (State.SAFE, 503)]
)
def test_health_follows_the_control_state(tmp_path: Path, state: State, status: int) -> None:
    """A route that is SAFE makes the process unhealthy; in the other states it takes orders or is to be released."""

    async def scenario() -> None:
        async with served(tmp_path) as (gateway, session):
            gateway._routes["sim"].control = Control(state=state)
            async with session.get("/healthz") as answer:
                told = msgspec.json.decode(await answer.read())
                assert (answer.status, told["ok"]) == (status, status == 200)
                assert told == {"ok": status == 200, "ledger": "ok", "routes": {"sim": str(state)}}

    run(scenario)


def test_a_failed_route_is_unhealthy(tmp_path: Path) -> None:
    """Whatever its control state says."""

    async def scenario() -> None:
        async with served(tmp_path) as (gateway, session):
            gateway._routes["sim"].fail(LedgerFailed("the disk failed"))
            async with session.get("/healthz") as answer:
                assert answer.status == 503
                assert msgspec.json.decode(await answer.read())["routes"] == {"sim": "failed"}

    run(scenario)


def test_a_gateway_without_routes_is_unhealthy(tmp_path: Path) -> None:
    """Nothing was opened: nothing can be traded, and that is not health."""

    async def scenario() -> None:
        async with onefill.open(tmp_path / "o.db", venues={}) as gateway:
            assert not health(gateway).ok

    run(scenario)


def test_nothing_is_served_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Without a place to listen no socket is opened; with one it is free again when the gateway is closed."""

    async def scenario() -> None:
        heard: list[str] = []
        venues = {"sim": SimulatedVenue(make_exchange(), "main")}
        async with onefill.open(tmp_path / "o.db", venues=venues, metrics=MetricsSettings(), on_metrics=heard.append):
            pass
        assert heard == []
        async with served(tmp_path) as (_, session):
            url = session._base_url
            assert url is not None
            assert url.host == "127.0.0.1"
        with socket.create_server(("127.0.0.1", url.port or 0)):
            pass

    run(scenario)


def test_an_address_that_is_taken_is_found_before_anything_starts(tmp_path: Path) -> None:
    """The error names the setting, and not even the ledger file was made."""

    async def scenario() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as other,
            pytest.raises(SettingsError, match=r"metrics\.listen: 127.0.0.1:\d+: .+\. Nothing was started"),
        ):
            async with served(tmp_path, f"127.0.0.1:{other.getsockname()[1]}"):
                pass

    run(scenario)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "listen", ["9464", "127.0.0.1", "host:", ":9464", "host:70000", "http://h:1", "h:1/x", "u@h:1", ""]
)
def test_a_listen_address_is_host_and_port(listen: str) -> None:
    """Anything else is named as wrong, also an address that says more."""
    with pytest.raises(InvalidField, match="is not of the form HOST:PORT"):
        MetricsSettings(listen=listen)


@pytest.mark.parametrize(
    ("listen", "address"), [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:0", ("::1", 0)), ("box:1", ("box", 1))]
)
def test_an_address_is_read(listen: str, address: tuple[str, int]) -> None:
    """Host names and IPv6 addresses too."""
    assert MetricsSettings(listen=listen).listen == listen
    assert host_port(listen) == address


def test_a_settings_file_says_where(tmp_path: Path) -> None:
    """[metrics] listen is read; a wrong one is named by its whole path."""
    file = tmp_path / "onefill.toml"
    file.write_text('[metrics]\nlisten = "127.0.0.1:9464"\n')
    assert load(file).metrics == MetricsSettings(listen="127.0.0.1:9464")
    file.write_text('[metrics]\nlisten = "9464"\n')
    with pytest.raises(SettingsError, match=r"metrics\.listen: '9464' is not of the form HOST:PORT"):
        load(file)
