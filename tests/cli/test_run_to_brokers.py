"""A whole run with subscribers behind real brokers, set up as the settings file says."""

import asyncio
from pathlib import Path

from cli_kit import Venue, blotter, cancel, limit, process

from onefill.engine.relay import message_of_row
from onefill.ledger.sqlite import SqliteLedger
from onefill.testing.kafka import KafkaCluster
from onefill.testing.nats import NatsServer
from onefill.testing.publisher_kit import Taken, disorder


def test_a_run_tells_kafka_and_nats(tmp_path: Path, ledger: Path, exchange: Venue, account: str) -> None:
    """TOLD-ONCE: after two runs a topic and a stream hold every entry of the journal, once, with its id and bytes, in order."""
    route = f"exchange:{account}"
    settings = tmp_path / "settings.toml"
    given = ("--ledger", ledger, "--venue", exchange.url, "--account", account, "--settings", settings)

    async def main() -> None:
        async with NatsServer(tmp_path / "nats") as server, KafkaCluster() as cluster:
            await server.make_stream("ORDERS", ["onefill.>"])
            await cluster.make_topic("orders", 4)
            settings.write_text(
                f'[subscribers.bus]\nkind = "nats"\nservers = ["{server.url}"]\nstream = "ORDERS"\n'
                f'[subscribers.book]\nkind = "kafka"\nbootstrap_servers = "{cluster.bootstrap}"\ntopic = "orders"\n'
            )
            for lines in ([limit("a"), limit("b"), cancel("a")], [limit("c"), cancel("b")]):
                done = await asyncio.to_thread(process, "run", blotter(tmp_path, *lines), *given)
                assert done.code == 0, done.err
            in_stream = [(subject, Taken(found, body)) for subject, found, body in await server.held("ORDERS")]
            in_topic = [(key, Taken(found, body)) for _, key, found, body in await cluster.held("orders")]
        store = await SqliteLedger.open_read_only(str(ledger))
        messages = [message_of_row(row) for row in await store.outbox(route, 0, 1000)]
        places = {one.subscriber: one.position for one in await store.subscriptions(route)}
        await store.close()
        assert places == {"bus": len(messages), "book": len(messages)}
        wanted = sorted((message.id, message.body) for message in messages)
        for held in (in_stream, in_topic):
            assert sorted((one.id, one.body) for _, one in held) == wanted
            assert disorder([one for _, one in held]) == []
        assert {key for key, _ in in_topic} == {message.lane_name for message in messages}
        assert {subject.rpartition(".")[0] for subject, _ in in_stream} == {f"onefill.exchange%3A{account}"}

    asyncio.run(main())
