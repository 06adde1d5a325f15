"""What docs/subscribers-kafka-nats.md shows works as it stands there."""

import asyncio
import re
import sqlite3
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onefill.core.relay import TOLD
from onefill.outbox.nats import NatsPublisher
from onefill.service import subscriber_settings
from onefill.testing.nats import NatsServer
from onefill.testing.publisher_kit import entry_message

_PAGE = (Path(__file__).parents[2] / "docs" / "subscribers-kafka-nats.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)


def test_its_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every settings block is read without complaint, and makes a subscriber."""
    monkeypatch.setenv("KAFKA_PASSWORD", "secret-word")
    found = {}
    for block in _blocks("toml"):
        without_files = re.sub(r"(?m)^ca_file.*$", "", block)
        found |= subscriber_settings.read(tomllib.loads(without_files)["subscribers"])
    made = subscriber_settings.make(found)
    assert [(one.name, type(one.publisher).__name__) for one in made] == [
        ("book", "KafkaPublisher"),
        ("risk", "NatsPublisher"),
    ]


def test_its_stream_can_be_made(tmp_path: Path) -> None:
    """A server makes the stream of the page, but for its replicas, and a publisher by the page's settings tells it."""
    (text,) = _blocks("json")
    wanted = msgspec.json.decode(text)
    (settings,) = (
        found
        for block in _blocks("toml")
        for found in tomllib.loads(block)["subscribers"].values()
        if found["kind"] == "nats"
    )

    async def main() -> None:
        async with NatsServer(tmp_path) as server:
            client = await server.client()
            made = await client.request(
                f"$JS.API.STREAM.CREATE.{wanted['name']}", msgspec.json.encode(wanted | {"num_replicas": 1}), timeout=10
            )
            await client.close()
            assert "error" not in msgspec.json.decode(made.data)
            publisher = NatsPublisher([server.url], settings["stream"], subject=settings["subject"])
            assert await publisher.publish([entry_message(1, 1)]) == [TOLD]
            await publisher.close()

    asyncio.run(main())


def test_its_consumer_applies_each_event_once_in_order() -> None:
    """The consumer of the page, told as after a crash, from an earlier event on: each effect once, in order per order."""
    (code,) = _blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - what the page shows
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE seen (route, order_id, sequence, UNIQUE (route, order_id))")
    events = [msgspec.json.decode(entry_message(sequence, sequence % 3).body) for sequence in range(1, 31)]
    applied: list[dict[str, Any]] = []
    for event in [*events[:20], *events[5:25], *events[:3], *events[20:]]:
        names["take"](database, event, lambda _, one: applied.append(one))
    assert [one["sequence"] for one in applied] == list(range(1, 31))
    database.close()
    assert len({one["id"] for one in applied}) == 30
