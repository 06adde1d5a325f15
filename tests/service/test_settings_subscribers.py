"""The ``[subscribers.NAME]`` parts of a settings file."""

from pathlib import Path

import pytest

from onefill.core.errors import SettingsError
from onefill.core.relay import Policy
from onefill.engine.relay import Begin
from onefill.outbox.kafka import KafkaPublisher
from onefill.outbox.nats import NatsPublisher
from onefill.outbox.webhook import WebhookPublisher
from onefill.service.settings import load
from onefill.service.subscriber_settings import (
    KafkaSettings,
    NatsSettings,
    SubscriberSettings,
    WebhookSettings,
    make,
)

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # noqa: S105 - of a key that is made up
HOOK = '[subscribers.desk]\nkind = "webhook"\nurl = "https://host/x"\nsecrets = ["env:HOOK_SECRET"]\n'


def _load(tmp_path: Path, text: str) -> dict[str, SubscriberSettings]:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return load(path).subscribers


def test_each_kind_is_read_with_what_is_common_to_all(tmp_path: Path) -> None:
    """Every key reaches the subscriber; what is left out stays at the default of its kind."""
    text = """
[subscribers.audit]
kind = "kafka"
bootstrap_servers = "a:9092,b:9092"
topic = "orders"
kinds = ["traded", "acknowledged"]
routes = ["alpha"]
begin = "now"
delivery_s = 5
[subscribers.audit.options]
"security.protocol" = "SASL_SSL"
"sasl.password" = "env:KAFKA_PASSWORD"
"socket.keepalive.enable" = true
[subscribers.audit.policy]
window = 100
answer_s = 6.5
[subscribers.bus]
kind = "nats"
servers = ["nats://127.0.0.1:4222"]
stream = "ONEFILL"
"""
    found = _load(tmp_path, text + HOOK)
    assert found["audit"] == SubscriberSettings(
        kind="kafka",
        target=KafkaSettings(
            bootstrap_servers="a:9092,b:9092",
            topic="orders",
            delivery_s=5,
            options={
                "security.protocol": "SASL_SSL",
                "sasl.password": "env:KAFKA_PASSWORD",
                "socket.keepalive.enable": True,
            },
        ),
        policy=Policy(window=100, answer_s=6.5),
        kinds=("traded", "acknowledged"),
        routes=("alpha",),
        begin=Begin.NOW,
    )
    assert found["bus"].target == NatsSettings(servers=["nats://127.0.0.1:4222"], stream="ONEFILL")
    assert (found["bus"].policy, found["bus"].begin) == (Policy(), Begin.FIRST)
    assert found["desk"].target == WebhookSettings(url="https://host/x", secrets=["env:HOOK_SECRET"])
    assert found["desk"].policy == Policy(batch=1, in_flight=8)
    assert _load(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("subscribers = 5", "subscribers: is a table: write [subscribers.NAME] and its keys below"),
        ("[subscribers]\ndesk = 5", "subscribers.desk: is a table: write [subscribers.desk]"),
        ("[subscribers.desk]\nurl = 'x'", "subscribers.desk.kind: is missing"),
        ("[subscribers.desk]\nkind = 'smoke'", "subscribers.desk.kind: 'smoke' is none of: kafka, nats, webhook"),
        ("[subscribers.desk]\nkind = 'kafka'\ntopic = 'x'", "subscribers.desk.bootstrap_servers: is missing"),
        (HOOK + "topic = 'x'", "subscribers.desk.topic: is not a setting of a webhook subscriber; known: kind, kinds,"),
        (HOOK + "kinds = ['traded', 'trades']", "subscribers.desk.kinds: 'trades' is no event; known: acknowledged,"),
        (HOOK + "begin = 'later'", "subscribers.desk.begin: 'later' is not what is wanted"),
        (HOOK + "timeout_s = 0", "subscribers.desk.timeout_s: 0 is not a duration above zero, in seconds"),
        (HOOK + "connections = 0", "subscribers.desk.connections: 0 is not a number from 1 to 256"),
        (HOOK + "timeout_s = 30", "subscribers.desk.policy.answer_s: 30 is not above the 30 s that a call"),
        (HOOK + "policy = {windows = 5}", "subscribers.desk.policy.windows: is not a setting; known here: batch,"),
        (HOOK + "policy = {window = 'big'}", "subscribers.desk.policy.window: 'big' is not a whole number"),
        (HOOK + "policy = {pause_s = 0}", "subscribers.desk.policy.pause_s: 0 is not a duration above zero"),
        (HOOK + "policy = {window = 0}", "subscribers.desk.policy.window: 0 is not a number from 1 to 1000000"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(tmp_path: Path, text: str, told: str) -> None:
    """File, key and form; nothing is started."""
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"[subscribers.desk]\nkind = 'webhook'\nurl = 'https://host/x'\nsecrets = ['{SECRET}']",
        f"[subscribers.desk]\nkind = 'webhook'\nurl = 'https://host/x'\nsecrets = '{SECRET}'",
        f"[subscribers.desk]\nkind = 'webhook'\nurl = ['{SECRET}']\nsecrets = ['env:X']",
        f"[subscribers.desk]\nkind = 'nats'\nservers = '{SECRET}'\nstream = 'S'",
        f"[subscribers.desk]\nkind = 'kafka'\nbootstrap_servers = 'a'\ntopic = 't'\noptions = ['{SECRET}']",
    ],
)
def test_what_may_be_secret_is_not_shown(tmp_path: Path, text: str) -> None:
    """Secrets in the file itself are refused, and no error about a value that may be one shows it."""
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, text)
    assert "MDEy" not in str(caught.value)


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is read where the settings say, when the gateway is opened; both ways may be used for two keys."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("HOOK_URL", "https://host/x?token=t")
    text = f'[subscribers.desk]\nkind = "webhook"\nurl = "env:HOOK_URL"\nsecrets = ["env:HOOK_SECRET", "file:{file}"]\n'
    (made,) = make(_load(tmp_path, text))
    assert made.name == "desk"
    assert isinstance(made.publisher, WebhookPublisher)
    assert made.publisher._keys == (b"0123456789abcdef0123456789abcdef",) * 2
    assert str(made.publisher._url) == "https://host/x?token=t"


def test_a_secret_that_is_not_there_is_told_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variable or file are named, never what they hold; a file that others may read is refused."""
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    settings = _load(tmp_path, HOOK)
    with pytest.raises(SettingsError, match=r"subscribers.desk.secrets\[0\]: the environment has no HOOK_SECRET"):
        make(settings)
    monkeypatch.setenv("HOOK_SECRET", "p4ssw0rd-not-base64")
    with pytest.raises(SettingsError, match=r"secrets\[0\]: ") as caught:
        make(settings)
    assert "p4ssw0rd" not in str(caught.value)
    for content, mode, told in (
        (SECRET, 0o644, "others than its owner may read it (mode 0644)"),
        ("", 0o600, "is empty"),
        (None, 0o600, "cannot be read: No such file"),
    ):
        file = tmp_path / "secret"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content)
            file.chmod(mode)
        with pytest.raises(SettingsError) as caught:
            make(_load(tmp_path, HOOK.replace("env:HOOK_SECRET", f"file:{file}")))
        assert told in str(caught.value)
        assert "MDEy" not in str(caught.value)


def test_kafka_and_nats_get_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their publishers are made from the settings, with what is secret read from the environment."""
    monkeypatch.setenv("KAFKA_PASSWORD", "p4ssw0rd")
    monkeypatch.setenv("NATS_URL", "nats://user:pw@127.0.0.1:4222")
    text = """
[subscribers.audit]
kind = "kafka"
bootstrap_servers = "a:9092"
topic = "orders"
options = {"sasl.password" = "env:KAFKA_PASSWORD", "socket.keepalive.enable" = true}
[subscribers.bus]
kind = "nats"
servers = ["env:NATS_URL"]
stream = "ONEFILL"
"""
    audit, bus = (one.publisher for one in make(_load(tmp_path, text)))
    assert isinstance(audit, KafkaPublisher)
    assert audit._properties["sasl.password"] == "p4ssw0rd"
    assert audit._properties["bootstrap.servers"] == "a:9092"
    assert isinstance(bus, NatsPublisher)
    assert bus._servers == ["nats://user:pw@127.0.0.1:4222"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'kind = "kafka"\nbootstrap_servers = "a"\ntopic = "t"\noptions = {acks = 1}',
            "subscribers.x.options.acks: is set by Onefill",
        ),
        ('kind = "nats"\nservers = ["n"]\nstream = "S"\nsubject = "a.{nobody}"', "subscribers.x.subject: "),
        (
            'kind = "nats"\nservers = ["n"]\nstream = "S"\nca_file = "/nowhere"',
            "subscribers.x.ca_file: /nowhere: cannot",
        ),
    ],
)
def test_what_a_publisher_refuses_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    """What only the publisher can judge is refused before anything starts, by the key's whole path."""
    with pytest.raises(SettingsError) as caught:
        make(_load(tmp_path, f"[subscribers.x]\n{text}\n"))
    assert told in str(caught.value)
