"""Telling NATS JetStream, against a real server: what its answers mean, and how subjects are made."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import msgspec
import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import NoServersError
from outbox_kit import kinds, messages, python, running

from onefill.core.errors import InvalidField
from onefill.core.relay import Invalid, Message, Told, Unavailable
from onefill.outbox.nats import NatsPublisher, check_template, subject_of, token
from onefill.testing.nats import NatsServer
from onefill.testing.publisher_kit import entry_message

_STREAM = "EVENTS"
_ONE_MAY = """
authorization {{
  users = [
    {{ user: "all", password: "all" }},
    {{ user: "some", password: "secret-word", permissions: {{ publish: {{ deny: ["onefill.alpha.s-2"] }} }} }}
  ]
}}
no_auth_user: "all"
""".replace("{{", "{").replace("}}", "}")


def _of_size(message: Message, size: int) -> Message:
    return msgspec.structs.replace(message, body=b"x" * size)


def test_a_duplicate_is_told(tmp_path: Path) -> None:
    """The id stands in Nats-Msg-Id: told again, the stream says it has it, which counts as Told, and keeps one."""

    async def main() -> None:
        async with NatsServer(tmp_path) as server:
            await server.make_stream(_STREAM, ["onefill.>"])
            publisher = NatsPublisher([server.url], _STREAM)
            async with running(publisher):
                sent = [*messages(3), entry_message(9, 0)]
                for duplicates in (0, 4):
                    assert kinds(await publisher.publish(sent)) == [Told] * 4
                    assert publisher.duplicates == duplicates
            assert [(subject, found) for subject, found, _ in await server.held(_STREAM)] == [
                *((f"onefill.alpha.s-{n}", sent[n - 1].id) for n in (1, 2, 3)),
                ("onefill.alpha.alpha", sent[3].id),
            ]

    asyncio.run(main())


def test_behind_the_window_it_is_there_twice(tmp_path: Path) -> None:
    """The stream forgets ids after its duplicate window: told again after that it is there twice, under the same id."""

    async def main() -> None:
        async with NatsServer(tmp_path) as server:
            await server.make_stream(_STREAM, ["onefill.>"], window_s=0.1)
            publisher = NatsPublisher([server.url], _STREAM)
            async with running(publisher), asyncio.timeout(30):
                while await server.count(_STREAM) < 2:
                    assert kinds(await publisher.publish(messages(1))) == [Told]
            assert {found for _, found, _ in await server.held(_STREAM)} == {messages(1)[0].id}

    asyncio.run(main())


def test_no_stream_is_no_fault_of_the_message(tmp_path: Path) -> None:
    """Where no stream takes the subject, or another than the one named, nothing is Told, and nothing Invalid."""

    async def main() -> None:
        async with NatsServer(tmp_path) as server:
            publisher = NatsPublisher([server.url], _STREAM)
            async with running(publisher):
                (outcome,) = await publisher.publish(messages(1))
                assert outcome == Unavailable(reason="no stream takes its subject (503, 0)", suspect=True)
                await server.make_stream("OTHER", ["onefill.>"])
                (outcome,) = await publisher.publish(messages(1))
                assert isinstance(outcome, Unavailable)
                assert "expected stream does not match" in outcome.reason
                assert await server.count("OTHER") == 0
                await server.remove_stream("OTHER")
                await server.make_stream(_STREAM, ["onefill.>"])
                assert kinds(await publisher.publish(messages(1))) == [Told]

    asyncio.run(main())


def test_a_full_stream_is_unavailable(tmp_path: Path) -> None:
    """A stream that takes no more makes a message Unavailable, with its words."""

    async def main() -> None:
        async with NatsServer(tmp_path) as server:
            await server.make_stream(_STREAM, ["onefill.>"], max_msgs=2, discard="new")
            publisher = NatsPublisher([server.url], _STREAM)
            async with running(publisher):
                outcomes = await publisher.publish(messages(3))
                assert kinds(outcomes) == [Told, Told, Unavailable]
                assert "maximum messages exceeded" in str(outcomes[2])

    asyncio.run(main())


def test_too_large_for_the_stream_or_the_server(tmp_path: Path) -> None:
    """What is above the stream's limit, or with its headers above the server's by a byte, is Invalid; at the limit it is Told.

    A server that is sent more closes the connection; that must not happen, for the others' sake.
    """

    async def main() -> None:
        async with NatsServer(tmp_path, max_payload=20_000) as server:
            await server.make_stream(_STREAM, ["onefill.alpha.*"])
            publisher = NatsPublisher([server.url], _STREAM)
            async with running(publisher):
                sent = messages(3)
                headers = len(f"NATS/1.0\r\nNats-Msg-Id: {sent[0].id}\r\nNats-Expected-Stream: {_STREAM}\r\n\r\n")
                most = 20_000 - headers
                outcomes = await publisher.publish([_of_size(sent[0], most), _of_size(sent[1], most + 1), sent[2]])
                assert kinds(outcomes) == [Told, Invalid, Told]
                assert "20001 bytes" in str(outcomes[1])
            await server.make_stream("SMALL", ["onefill.beta.*"], max_msg_size=5_000)
            publisher = NatsPublisher([server.url], "SMALL")
            async with running(publisher):
                small = [entry_message(n, n, route="beta") for n in (1, 2)]
                assert kinds(await publisher.publish([_of_size(small[0], 5_000), small[1]])) == [Invalid, Told]

    asyncio.run(main())


def test_a_forbidden_subject_is_said_at_once(tmp_path: Path) -> None:
    """A subject that the account may not publish to makes its message Unavailable, under suspicion; the others are Told."""

    async def main() -> None:
        async with NatsServer(tmp_path, settings=_ONE_MAY) as server:
            await server.make_stream(_STREAM, ["onefill.>"])
            login = server.url.replace("nats://", "nats://some:secret-word@")
            publisher = NatsPublisher([login], _STREAM)
            async with running(publisher):
                outcomes = await publisher.publish(messages(3))
                assert kinds(outcomes) == [Told, Unavailable, Told]
                assert isinstance(outcomes[1], Unavailable)
                assert outcomes[1].suspect
                assert "permissions violation" in outcomes[1].reason.lower()
            wrong = NatsPublisher([login.replace("secret-word", "wrong-word")], _STREAM)
            with pytest.raises(Exception, match=r"(?i)authorization|no servers") as caught:
                await wrong.start()
            assert "wrong-word" not in str(caught.value)
            await wrong.close()

    asyncio.run(main())


def test_a_server_is_known_by_its_certificate(tmp_path: Path) -> None:
    """Over TLS a publisher tells a server whose certificate the given authority signed, and no other."""
    certificate, key = _certificate(tmp_path)
    settings = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'

    async def main() -> None:
        async with NatsServer(tmp_path / "server", settings=settings) as server:
            trusting = ssl.create_default_context(cafile=certificate)
            address = server.url.replace("nats://127.0.0.1", "tls://localhost")
            client = await nats.connect(address, tls=trusting)
            await client.jetstream().add_stream(name=_STREAM, subjects=["onefill.>"])
            await client.close()
            publisher = NatsPublisher([address], _STREAM, tls=trusting)
            async with running(publisher):
                assert kinds(await publisher.publish(messages(2))) == [Told] * 2
            stranger = NatsPublisher([address], _STREAM, tls=ssl.create_default_context())
            with pytest.raises(ssl.SSLCertVerificationError):
                await stranger.start()
            await stranger.close()

    asyncio.run(main())


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "server.crt", folder / "server.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


def test_a_lost_connection_is_said_at_once(tmp_path: Path) -> None:
    """Who waits for an acknowledgement hears of the connection's end, long before the time for an answer is over."""

    async def main() -> None:
        async with NatsServer(tmp_path) as server:
            await server.make_stream(_STREAM, ["onefill.>"])
            publisher = NatsPublisher([server.url], _STREAM, answer_s=600)
            async with running(publisher), asyncio.timeout(60):
                await server.process.pause()
                telling = asyncio.ensure_future(publisher.publish(messages(2)))
                await asyncio.wait({telling}, timeout=0.1)
                await server.process.kill()
                for outcome in await telling:
                    assert isinstance(outcome, Unavailable)
                    assert "the connection was lost" in outcome.reason

    asyncio.run(main())


def test_nobody_there_is_said_at_the_start() -> None:
    """A server that does not listen is raised when it is started, soon."""

    async def main() -> None:
        publisher = NatsPublisher(["nats://127.0.0.1:1"], _STREAM)
        with pytest.raises(NoServersError):
            await publisher.start()
        await publisher.close()

    asyncio.run(main())


@given(st.text(), st.text())
def test_different_names_have_different_tokens(one: str, other: str) -> None:
    """A token has only plain characters, is never empty, and tells every name from every other."""
    assert (token(one) == token(other)) == (one == other)
    assert token(one)
    assert set(token(one)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-%")


def test_a_subject_is_made_from_names() -> None:
    """A template takes the message's names; one that names something else, or is no subject, is refused."""
    message = entry_message(5, 2, route="a.b", name="s 2")
    assert subject_of("onefill.{route}.{lane}", message) == "onefill.a%2Eb.s%202"
    assert subject_of("t.{account}.{strategy}.{kind}", message) == "t.acct.strat.noted"
    assert subject_of("t.{account}", entry_message(5, 0)) == "t.%"
    check_template("orders")
    for wrong in ("", "a..b", "a.{key}", "a.{lane!r}", "a.{}", "a b", "a.>", "a.*", "$JS.{lane}", "a.{lane", ".a"):
        with pytest.raises(InvalidField, match="subject"):
            check_template(wrong)


def test_a_subject_that_no_server_takes_is_invalid(tmp_path: Path) -> None:
    """A name too long for a command line of the server is Invalid, and the connection stays."""

    async def main() -> None:
        async with NatsServer(tmp_path) as server:
            await server.make_stream(_STREAM, ["onefill.>"])
            publisher = NatsPublisher([server.url], _STREAM)
            async with running(publisher):
                sent = [entry_message(1, 1, name="x" * 1010), entry_message(2, 2, name="x" * 1011)]
                assert kinds(await publisher.publish([*sent, *messages(1)])) == [Told, Invalid, Told]

    asyncio.run(main())


def test_what_is_missing_is_named() -> None:
    """Without nats-py the module can be imported, and making a publisher names the extra to install."""
    done = python(
        "import sys; sys.modules['nats'] = None\n"
        "from onefill.outbox.nats import NatsPublisher\n"
        "NatsPublisher(['nats://127.0.0.1:1'], 'EVENTS')"
    )
    assert done.returncode == 1
    assert "SettingsError: telling NATS needs the package nats-py: install onefill[nats]" in done.stderr
