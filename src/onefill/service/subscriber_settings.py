"""The ``[subscribers.NAME]`` parts of a settings file: who is told of what is committed, by which way, and how.

What is secret need not stand in the file: where a text may be, ``env:NAME`` names a variable of the environment and
``file:PATH`` a file that only its owner may read. Secrets of webhooks may be given in no other way. They are read when the
gateway is opened; no error shows one.
"""

import math
import ssl
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from onefill.core import values
from onefill.core.errors import InvalidField, SettingsError
from onefill.core.inbox import standard_key
from onefill.core.relay import Policy
from onefill.engine.relay import Begin, Subscriber
from onefill.engine.route import KINDS
from onefill.ports.publisher import Publisher
from onefill.service import secret_text

_HIDDEN = frozenset({"url", "secrets", "servers", "options"})
"""Keys whose value may be secret: what is wrong with it is told without it."""


def _check_time(field: str, seconds: float) -> None:
    if not (math.isfinite(seconds) and 0 < seconds < 1e6):
        raise InvalidField(field, f"{seconds:g} is not a duration above zero, in seconds")


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Kafka topic. ``options``: further properties of librdkafka. ``delivery_s``: how long a delivery may take."""

    bootstrap_servers: str
    topic: str
    options: dict[str, str | int | float | bool] = {}
    delivery_s: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_time("delivery_s", self.delivery_s)

    @property
    def longest_s(self) -> float:
        """How long a call may take."""
        return self.delivery_s

    def policy(self) -> Policy:
        """Return how it is told, unless something else is set."""
        return Policy()

    def publisher(self) -> Publisher:
        """Return what tells it. Raises SettingsError or InvalidField."""
        from onefill.outbox.kafka import KafkaPublisher  # noqa: PLC0415 - not everybody has its library

        options = {name: _secret(one, f"options.{name}") for name, one in self.options.items()}
        return KafkaPublisher(self.bootstrap_servers, self.topic, options=options, delivery_s=self.delivery_s)


class NatsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A NATS JetStream stream. ``servers``: URLs. ``subject``: a template. ``answer_s``: how long acknowledgements may take."""

    servers: list[str]
    stream: str
    subject: str | None = None
    ca_file: str | None = None
    answer_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_time("answer_s", self.answer_s)
        if not self.servers:
            raise InvalidField("servers", "is empty: name at least one, such as nats://127.0.0.1:4222")

    @property
    def longest_s(self) -> float:
        """How long a call may take."""
        return self.answer_s

    def policy(self) -> Policy:
        """Return how it is told, unless something else is set."""
        return Policy()

    def publisher(self) -> Publisher:
        """Return what tells it. Raises SettingsError or InvalidField."""
        from onefill.outbox.nats import SUBJECT, NatsPublisher  # noqa: PLC0415 - as above

        servers = [secret_text.read(one, f"servers[{number}]") for number, one in enumerate(self.servers)]
        return NatsPublisher(
            servers,
            self.stream,
            subject=SUBJECT if self.subject is None else self.subject,
            tls=_trust(self.ca_file),
            answer_s=self.answer_s,
        )


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An HTTP endpoint. ``secrets``: each ``env:NAME`` or ``file:PATH``; a request is signed with every one of them.

    ``connections``: requests at once; ``timeout_s``: how long each may take.
    """

    url: str
    secrets: list[str]
    timeout_s: float = 10.0
    connections: int = 8
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_time("timeout_s", self.timeout_s)
        if not 1 <= self.connections <= 256:
            raise InvalidField("connections", f"{self.connections} is not a number from 1 to 256")
        if not self.secrets:
            raise InvalidField("secrets", "is empty: a webhook is signed")
        if not all(map(secret_text.is_elsewhere, self.secrets)):
            raise InvalidField(
                "secrets", "holds something other than env:NAME or file:PATH; secrets do not belong here"
            )

    @property
    def longest_s(self) -> float:
        """How long a call may take."""
        return self.timeout_s

    def policy(self) -> Policy:
        """Return how it is told, unless something else is set: one message in a call, as many calls as connections."""
        return Policy(batch=1, in_flight=self.connections)

    def publisher(self) -> Publisher:
        """Return what tells it. Raises SettingsError or InvalidField."""
        from onefill.outbox.webhook import WebhookPublisher  # noqa: PLC0415 - its HTTP library takes its time to load

        keys = []
        for number, one in enumerate(self.secrets):
            try:
                keys.append(standard_key(secret_text.read(one, f"secrets[{number}]")))
            except InvalidField as error:
                raise InvalidField(f"secrets[{number}]", error.problem) from None
        return WebhookPublisher(
            secret_text.read(self.url, "url"),
            keys,
            timeout_s=self.timeout_s,
            connections=self.connections,
            tls=_trust(self.ca_file),
        )


Target = KafkaSettings | NatsSettings | WebhookSettings
_TARGETS: dict[str, type[Target]] = {"kafka": KafkaSettings, "nats": NatsSettings, "webhook": WebhookSettings}


class SubscriberSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A subscriber: ``kind`` is ``kafka``, ``nats`` or ``webhook``; the rest as in :class:`onefill.engine.relay.Subscriber`."""

    kind: Literal["kafka", "nats", "webhook"]
    target: Target
    policy: Policy
    kinds: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    begin: Begin = Begin.FIRST


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["kafka", "nats", "webhook"]
    kinds: list[str] = []
    routes: list[str] = []
    begin: Literal["first", "now"] = "first"
    policy: dict[str, Any] = {}


_COMMON = {field.name: field for field in msgspec.structs.fields(_Common)}
_POLICY = {field.name: field for field in msgspec.structs.fields(Policy)}


def read(data: Any) -> dict[str, SubscriberSettings]:
    """Return the subscribers of a file's ``subscribers`` table. Raises InvalidField with the key's path."""
    if not isinstance(data, dict):
        raise InvalidField("subscribers", "is a table: write [subscribers.NAME] and its keys below")
    return {values.name(name, f"subscribers.{name}"): _one(one, f"subscribers.{name}") for name, one in data.items()}


def _one(data: Any, place: str) -> SubscriberSettings:
    if not isinstance(data, dict):
        raise InvalidField(place, f"is a table: write [{place}] and its keys below")
    kind = data.get("kind")
    target_kind = _TARGETS.get(kind) if isinstance(kind, str) else None
    if target_kind is None:
        raise InvalidField(f"{place}.kind", f"{kind!r} is none of: {', '.join(_TARGETS)}" if kind else "is missing")
    fields = {field.name: field for field in msgspec.structs.fields(target_kind)}
    for name in data:
        if name not in _COMMON and name not in fields:
            known = ", ".join([*_COMMON, *fields])
            raise InvalidField(f"{place}.{name}", f"is not a setting of a {kind} subscriber; known: {known}")
    for name, field in (_COMMON | fields).items():
        _check_type(data, field, f"{place}.{name}")
    try:
        common = msgspec.convert({name: data[name] for name in _COMMON if name in data}, _Common)
        target = msgspec.convert({name: data[name] for name in fields if name in data}, target_kind)
        _check_kinds(common.kinds)
        policy = _policy(target, common.policy)
    except InvalidField as error:
        raise InvalidField(f"{place}.{error.field}", error.problem) from None
    return SubscriberSettings(
        kind=common.kind,
        target=target,
        policy=policy,
        kinds=tuple(common.kinds),
        routes=tuple(common.routes),
        begin=Begin(common.begin),
    )


def _check_type(data: Mapping[str, Any], field: msgspec.structs.FieldInfo, place: str) -> None:
    if field.name not in data:
        if field.required:
            raise InvalidField(place, "is missing")
        return
    try:
        msgspec.convert(data[field.name], field.type)
    except msgspec.ValidationError as error:
        shown = "what is there" if field.name in _HIDDEN else repr(data[field.name])
        problem = str(error)
        raise InvalidField(place, f"{shown} is not what is wanted: {problem[:1].lower()}{problem[1:]}") from None


def _check_kinds(kinds: list[str]) -> None:
    known = sorted(KINDS.values())
    for one in kinds:
        if one not in known:
            raise InvalidField("kinds", f"{one!r} is no event; known: {', '.join(known)}")


def _policy(target: Target, data: Mapping[str, Any]) -> Policy:
    for name, value in data.items():
        field = _POLICY.get(name)
        if field is None:
            raise InvalidField(f"policy.{name}", f"is not a setting; known here: {', '.join(_POLICY)}")
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            wanted = "a whole number" if field.type is int else "a number of seconds"
            raise InvalidField(f"policy.{name}", f"{value!r} is not {wanted}") from None
    try:
        policy = msgspec.structs.replace(target.policy(), **data)
    except InvalidField as error:
        raise InvalidField(f"policy.{error.field}", error.problem) from None
    if target.longest_s >= policy.answer_s:
        raise InvalidField(
            "policy.answer_s",
            f"{policy.answer_s:g} is not above the {target.longest_s:g} s that a call to the subscriber may take by itself",
        )
    return policy


def make(settings: Mapping[str, SubscriberSettings]) -> list[Subscriber]:
    """Return the subscribers, each with its publisher. Raises SettingsError where a secret or library is not there."""
    made = []
    for name, one in settings.items():
        try:
            publisher = one.target.publisher()
        except (InvalidField, SettingsError) as error:
            field, problem = (error.field, error.problem) if isinstance(error, InvalidField) else ("", str(error))
            place = f"subscribers.{name}.{field}" if field else f"subscribers.{name}"
            raise SettingsError(f"{place}: {problem}. Nothing was started") from None
        made.append(
            Subscriber(
                name=name,
                publisher=publisher,
                policy=one.policy,
                kinds=one.kinds,
                routes=one.routes,
                begin=one.begin,
            )
        )
    return made


# --------------------------------------------------------------------------- what is not in the file


def _secret(value: str | int | float | bool, field: str) -> str | int | float | bool:
    return secret_text.read(value, field) if isinstance(value, str) else value


def _trust(ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidField("ca_file", f"{ca_file}: cannot be used: {error}") from None
