"""Which callbacks are held to be genuine: two families of signatures, several keys, a bounded time, nothing ambiguous."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import inbox
from onefill.core.errors import CallbackUnreadable, InvalidField, NotVerified
from onefill.core.inbox import HmacRules, Verified, Verifier, verify

NOW_S = 1_750_000_000
NOW_US = NOW_S * 1_000_000
KEY, OTHER = b"k" * 24, b"o" * 24
BODY = b'{"test": 2432232314}'
STANDARD = Verifier(keys=(KEY,))


def standard(**changes: str) -> dict[str, str]:
    """Return the headers of a right callback, with changes."""
    names = {"id": inbox.STANDARD_ID, "timestamp": inbox.STANDARD_TIMESTAMP, "signature": inbox.STANDARD_SIGNATURE}
    right = inbox.standard_headers(KEY, "msg_1", NOW_S, BODY)
    return right | {names[name]: value for name, value in changes.items()}


def refused(verifier: Verifier, headers: inbox.Headers, body: bytes = BODY, at_us: int = NOW_US) -> str:
    """Return why a callback is not held to be genuine."""
    with pytest.raises(NotVerified) as told:
        verify(verifier, headers, body, at_us)
    return str(told.value)


def test_the_example_of_the_standard_is_verified() -> None:
    """Standard Webhooks: the signature of the specification's own example, made by others."""
    key = inbox.standard_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = {
        "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "WEBHOOK-SIGNATURE": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    found = verify(Verifier(keys=(key,)), headers, BODY, 1_614_265_330_000_000)
    assert found == Verified("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000_000)


def test_what_was_changed_on_the_way_is_refused() -> None:
    """Any change of id, time or body, and any other key, breaks the signature."""
    assert verify(STANDARD, standard(), BODY, NOW_US).event_id == "msg_1"
    for changed in ({"id": "msg_2"}, {"timestamp": str(NOW_S + 1)}):
        assert "no signature fits" in refused(STANDARD, standard(**changed))
    assert "no signature fits" in refused(STANDARD, standard(), BODY + b" ")
    assert "no signature fits" in refused(Verifier(keys=(OTHER,)), standard())


def test_keys_can_be_replaced_while_both_are_in_use() -> None:
    """One of several keys, and one of several signatures, is enough; versions that are not known are passed by."""
    both = Verifier(keys=(OTHER, KEY))
    assert verify(both, standard(), BODY, NOW_US).event_id == "msg_1"
    theirs = inbox.standard_signature(OTHER, "msg_1", NOW_S, BODY)
    ours = inbox.standard_signature(KEY, "msg_1", NOW_S, BODY)
    assert verify(STANDARD, standard(signature=f"v1a,x {theirs} {ours}"), BODY, NOW_US).event_id == "msg_1"
    assert "no signature of version v1" in refused(STANDARD, standard(signature=ours.replace("v1", "v2")))
    assert "more than 20" in refused(STANDARD, standard(signature=" ".join([theirs] * 20 + [ours])))


@pytest.mark.parametrize("off_s", [-301, -300, 0, 300, 301])
def test_the_time_of_sending_is_bounded(off_s: int) -> None:
    """A signature is good for the tolerance, before and behind; later the same bytes are refused."""
    at_us = NOW_US + off_s * 1_000_000
    if abs(off_s) <= 300:
        assert verify(STANDARD, standard(), BODY, at_us).sent_at_us == NOW_US
    else:
        assert "at most 300 s are allowed" in refused(STANDARD, standard(), BODY, at_us)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "header webhook-id is missing"),
        (standard(id=""), "webhook-id is not"),
        (standard(id="a.b"), "full stop"),
        (standard(id="a b"), "webhook-id is not"),
        (standard(id="x" * 201), "webhook-id is not"),
        (standard(timestamp="soon"), "not a whole number"),
        (standard(timestamp="\u0661\u0667\u0665"), "not a whole number"),
        (standard(timestamp="-1"), "not a whole number"),
        (standard(signature=""), "no signature of version"),
        (standard(signature="v1,***"), "no signature fits"),
        ([*standard().items(), ("Webhook-Id", "msg_1")], "came 2 times"),
    ],
)
def test_what_is_missing_odd_or_ambiguous_is_refused(headers: inbox.Headers, told: str) -> None:
    """Nothing is guessed: a header that is missing, twice there or no such value is no evidence."""
    assert told in refused(STANDARD, headers)


def signed(rules: HmacRules, signing: bytes, key: bytes = KEY) -> str:
    """Return a signature as a venue would write it."""
    made = hmac.new(key, signing, str(rules.hash))
    return rules.prefix + (made.hexdigest() if rules.spelling == "hex" else base64.b64encode(made.digest()).decode())


@pytest.mark.parametrize("name", list(inbox.HashName))
@pytest.mark.parametrize("spelling", list(inbox.Spelling))
@pytest.mark.parametrize("prefix", ["", "sha="])
def test_plain_signatures_of_every_spelling(name: inbox.HashName, spelling: inbox.Spelling, prefix: str) -> None:
    """Body, time and id in the order in which the venue signs them."""
    rules = HmacRules(
        header="X-Sign",
        hash=name,
        spelling=spelling,
        prefix=prefix,
        signed="{timestamp}:{id}:{body}!",
        timestamp_header="X-Time",
        timestamp_unit=inbox.TimeUnit.MILLISECONDS,
        id_header="X-Event",
    )
    time = str(NOW_S * 1000)
    signature = signed(rules, f"{time}:e7:".encode() + BODY + b"!")
    headers = {"x-sign": signature, "x-time": time, "x-event": "e7"}
    verifier = Verifier(keys=(OTHER, KEY), hmac=rules, tolerance_s=5)
    assert verify(verifier, headers, BODY, NOW_US) == Verified("e7", NOW_US)
    assert verify(verifier, headers | {"x-sign": f"{prefix}00, {signature}"}, BODY, NOW_US).event_id == "e7"
    for changed in ({"x-event": "e8"}, {"x-time": str(NOW_S * 1000 + 1)}, {"x-sign": signature[:-4]}):
        assert "no signature fits" in refused(verifier, headers | changed)
    assert "at most 5 s" in refused(verifier, headers, BODY, NOW_US + 6_000_000)
    if prefix:
        assert "begins as was agreed" in refused(verifier, headers | {"x-sign": signature.removeprefix(prefix)})


def test_a_signature_of_the_body_alone_names_no_event() -> None:
    """The event is then known by the id in its body, or by the body's own hash."""
    rules = HmacRules(header="X-Sign")
    found = verify(Verifier(keys=(KEY,), hmac=rules), {"X-Sign": signed(rules, BODY)}, BODY, 0)
    assert found == Verified(None, None)
    assert inbox.event_id_of(None, "e1", BODY) == "e1"
    assert inbox.event_id_of("h1", "e1", BODY) == "h1"
    assert inbox.event_id_of(None, None, BODY) == f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    with pytest.raises(CallbackUnreadable, match="event id"):
        inbox.event_id_of(None, "e 1", BODY)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"header": "X Sign"}, "not the name of an HTTP header"),
        ({"header": "X", "id_header": ""}, "not the name of an HTTP header"),
        ({"header": "X", "prefix": "a,"}, "comma or blank"),
        ({"header": "X", "signed": "{timestamp}"}, "must hold {body} once"),
        ({"header": "X", "signed": "{body}{body}"}, "must hold {body} once"),
        ({"header": "X", "signed": "{body}{path}"}, "no other braces"),
        ({"header": "X", "signed": "{body}{"}, "no other braces"),
        ({"header": "X", "signed": "{timestamp}{body}"}, "go together"),
        ({"header": "X", "id_header": "X-Id"}, "go together"),
    ],
)
def test_rules_that_cannot_work_or_protect_nothing_are_refused(rules: dict[str, str], told: str) -> None:
    """A header that counts and is not signed could be anybody's."""
    with pytest.raises(InvalidField, match=told.replace("{", r"\{").replace("}", r"\}")):
        HmacRules(**rules)  # type: ignore[arg-type]


def test_keys_that_protect_nothing_are_refused_and_never_shown() -> None:
    """Short keys, none, and what is no base64; no text or repr holds one."""
    for bad in ((), (b"short",)):
        with pytest.raises(InvalidField):
            Verifier(keys=bad)
    with pytest.raises(InvalidField):
        Verifier(keys=(KEY,), tolerance_s=0)
    for secret in ("whsec_***hidden***", "whsec_" + base64.b64encode(b"hidden").decode()):
        with pytest.raises(InvalidField) as told:
            inbox.standard_key(secret)
        assert secret[6:] not in str(told.value)
    assert inbox.standard_key(base64.b64encode(KEY).decode()) == KEY
    assert "kkk" not in repr(STANDARD)
    right = inbox.standard_signature(OTHER, "msg_1", NOW_S, BODY)
    assert right.removeprefix("v1,") not in refused(Verifier(keys=(OTHER,)), standard())


@given(st.dictionaries(st.sampled_from(list(standard())), st.text(max_size=40)), st.binary(max_size=40), st.booleans())
def test_nothing_but_the_right_signature_gets_through(changes: dict[str, str], body: bytes, plain: bool) -> None:
    """Whatever headers and body say, what was not signed with the key is refused, by NotVerified and nothing else."""
    rules = HmacRules(header=inbox.STANDARD_SIGNATURE) if plain else None
    headers = standard() | changes
    if not plain and body == BODY and headers == standard():
        return
    refused(Verifier(keys=(KEY,), hmac=rules), headers, body)
