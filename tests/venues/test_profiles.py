"""Venue profiles: complete, sourced, careful where unsure, and with ids that the venues take."""

import re
from typing import Any

import pytest

from onefill.core.capabilities import DuplicateReply, ExecutionIdScope, Lookup, ReplaceStyle, UniqueScope
from onefill.core.contract_play import play, possible
from onefill.core.contract_words import SITUATIONS
from onefill.core.errors import InvalidField
from onefill.core.identity import derived_id, made_here, replacement_id, sequence_id
from onefill.core.venue_words import NAMES
from onefill.venues import profile as profiles
from onefill.venues.profile import SURE, Certainty, Profile

VENUES = (
    "alpaca",
    "binance_spot",
    "binance_usdm",
    "bitget",
    "bitstamp",
    "bybit",
    "coinbase",
    "deribit",
    "gemini",
    "hyperliquid",
    "interactive_brokers",
    "kraken",
    "oanda",
    "okx",
    "tradier",
)
# What each venue takes as a client order id, by its documentation; where nothing is documented, the strictest of the others.
ID_RULES = {
    "alpaca": r"[A-Za-z0-9-]{1,48}",
    "binance_spot": r"[.A-Z:/a-z0-9_-]{1,36}",
    "binance_usdm": r"[.A-Z:/a-z0-9_-]{1,36}",
    "bitget": r"[0-9a-f]{32}",
    "bitstamp": r"[0-9a-f]{32}",
    "bybit": r"[A-Za-z0-9_-]{1,36}",
    "coinbase": r"[0-9a-f]{32}",
    "deribit": r".{1,64}",
    "gemini": r"[:\-_.#a-zA-Z0-9]{1,36}",
    "hyperliquid": r"0x[0-9a-f]{32}",
    "interactive_brokers": r"[A-Za-z0-9-]{1,32}",
    "kraken": r"[0-9a-f]{32}|[ -~]{1,18}",
    "oanda": r"[0-9a-f]{32}",
    "okx": r"[A-Za-z0-9]{1,32}",
    "tradier": r"[A-Za-z0-9-]{1,255}",
}
TRUSTED_ON_HEARSAY = {("alpaca", "unique_scope"), ("coinbase", "unique_scope")}
"""Unique for ever by many users' word, though not by the venue's; their notes say so."""
MINIMAL = 'title = "X"\nnotes = []\n[capabilities]\n' + "".join(
    f'{name} = {{ value = {value}, certainty = "assumed", source = "s" }}\n'
    for name, value in {
        "unique_scope": '"none"',
        "duplicate_reply": '"accepts"',
        "lookup": '"none"',
        "request_expiry_s": '"none"',
        "conclusive_after_s": '"none"',
        "lookup_forgets_after_s": '"none"',
        "acknowledges_asynchronously": "true",
        "cancel_by_client_order_id": "false",
        "replace": '"none"',
        "cumulative_fills_only": "false",
        "execution_id_scope": '"order"',
        "execution_revisions": "false",
        "drop_copy": "false",
        "lists_open_orders": "false",
        "tells_positions": "false",
        "id_format": "{}",
    }.items()
)


@pytest.fixture(params=VENUES)
def profile(request: pytest.FixtureRequest) -> Profile:
    """Each profile in turn."""
    return profiles.load(request.param)


def test_all_fifteen_venues_have_a_profile() -> None:
    """And nothing else lies in the folder."""
    assert profiles.names() == VENUES


def test_every_value_says_how_sure_it_is_and_where_it_comes_from(profile: Profile) -> None:
    """Every capability is stated, none by default; every fact has a source in words; there are notes."""
    assert tuple(profile.facts) == NAMES
    for fact in (*profile.facts.values(), *profile.wire_facts.values()):
        assert fact.certainty in Certainty
        assert len(fact.source.split()) >= 2
        assert "shared/" not in fact.source
    assert profile.wire.client_id_parameter
    assert profile.title
    assert profile.notes


def test_what_is_unsure_leans_to_the_careful_side(profile: Profile) -> None:
    """Nothing that the contract trusts a venue with rests on a mere assumption."""
    caps = profile.capabilities
    unsure = {name for name, fact in profile.facts.items() if fact.certainty not in SURE}
    unsure -= {field for venue, field in TRUSTED_ON_HEARSAY if venue == profile.name}
    assumed = {name for name, fact in profile.facts.items() if fact.certainty is Certainty.ASSUMED}
    if "unique_scope" in unsure:
        assert caps.unique_scope in {UniqueScope.NONE, UniqueScope.OPEN}
    if "duplicate_reply" in assumed:
        assert caps.duplicate_reply is DuplicateReply.ACCEPTS
    if "lookup" in assumed:
        assert caps.lookup is not Lookup.DIRECT or caps.conclusive_after_s is None
    if "request_expiry_s" in assumed:
        assert caps.request_expiry_s is None
    if "acknowledges_asynchronously" in unsure:
        assert caps.acknowledges_asynchronously
    if "execution_id_scope" in unsure:
        assert caps.execution_id_scope is ExecutionIdScope.ORDER
    if "replace" in assumed:
        assert caps.replace is ReplaceStyle.NONE
    for name in ("execution_revisions", "drop_copy", "lists_open_orders", "tells_positions"):
        assert not (getattr(caps, name) and name in unsure), name


def test_t_covers_the_request_expiry_with_room_to_spare(profile: Profile) -> None:
    """T counts from the claim where an expiry is stamped, so it must contain it, and time for engine and readers."""
    caps = profile.capabilities
    if caps.request_expiry_s is not None:
        assert profile.wire.expiry_parameter
        assert caps.conclusive_after_s is not None
        assert caps.conclusive_after_s >= caps.request_expiry_s + 5


def test_ids_made_here_fit_the_venue(profile: Profile) -> None:
    """Whatever the strategy's name, the day, the sequence: by the venue's own rule; and the checksum still holds."""
    form, rule = profile.capabilities.id_format, re.compile(ID_RULES[profile.name], re.ASCII)
    made = [derived_id("account", "strategy", f"key {n}", form) for n in range(50)]
    for strategy in ("m", "momentum", "mean-reversion_2", "趋势"):
        for sequence in (1, 99_999, 10**9):
            made.append(sequence_id(strategy, "20261121", "abcd12", sequence, form))
    made += [replacement_id(one, 3, form) for one in made]
    for one in made:
        assert rule.fullmatch(one), one
        assert made_here(one, form)
    assert len(set(made)) == len(made)


def test_no_situation_makes_two_orders_there(profile: Profile) -> None:
    """Every situation of the retry contract, played with the profile's capabilities."""
    for one in SITUATIONS:
        if possible(one, profile.capabilities) is None:
            assert play(one, profile.capabilities).orders <= 1, one.name


def test_execution_ids_keep_what_else_names_the_execution() -> None:
    """A self-match has one trade id for both orders: venues whose ids name the match are deduped per order."""
    matched = [
        one for one in map(profiles.load, VENUES) if one.capabilities.execution_id_scope is ExecutionIdScope.ORDER
    ]
    assert {one.name for one in matched} == set(VENUES) - {"alpaca"}


def test_what_the_books_can_be_compared_with() -> None:
    """Positions are only those of venues where everything held has an instrument: where spot is held, balances tell of it.
    Only Interactive Brokers puts a revision into its execution ids, so the whole id is kept there.
    """
    caps = {name: profiles.load(name).capabilities for name in VENUES}
    telling = {name for name, one in caps.items() if one.tells_positions}
    assert telling == {"alpaca", "binance_usdm", "deribit", "interactive_brokers", "oanda", "tradier"}
    assert {name for name, one in caps.items() if not one.lists_open_orders} == {"bitget", "coinbase"}
    assert {name for name, one in caps.items() if one.execution_revisions} == {"interactive_brokers"}
    assert profiles.load("interactive_brokers").wire.execution_id_fields == ("execId",)
    assert not any(one.drop_copy for one in caps.values())


def test_the_wire_facts_that_adapters_rely_on_are_there() -> None:
    """The traps that were met when real client libraries were tried."""
    wire = {name: profiles.load(name).wire for name in VENUES}
    assert wire["binance_spot"].duplicate_texts == ("Duplicate order sent.",)
    assert wire["binance_spot"].ids_in_cancel_reply_swapped
    assert "submit" in wire["deribit"].http_method_resendable
    assert wire["coinbase"].client_id_as_uuid
    assert wire["hyperliquid"].not_found_needs_scan
    assert wire["tradier"].status_200_errors
    for name, codes in {
        "binance_spot": {"-1000", "-1001", "-1006", "-1007"},
        "bybit": {"10000", "10016", "170007", "170032"},
        "okx": {"50004", "50026"},
        "coinbase": {"internal_server_error"},
        "deribit": {"10001", "11094"},
    }.items():
        assert codes <= set(wire[name].unknown_codes)


@pytest.mark.parametrize("name", ["", "binance", "Binance_Spot", "../profile"])
def test_a_name_that_is_none_is_told_with_the_nearest(name: str) -> None:
    """Nothing else is opened."""
    with pytest.raises(InvalidField, match=r"profile: .* is no profile; nearest: \w+.*See `onefill venues`"):
        profiles.load(name)


def test_a_written_profile_is_read() -> None:
    """The least that a profile must say is the least that a venue can promise."""
    read = profiles.read("x", MINIMAL)
    assert (read.title, read.capabilities.lookup, read.wire_facts) == ("X", Lookup.NONE, {})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("title", "name"), "name: is not part of a profile; known here: title, notes, capabilities, wire"),
        (('title = "X"', ""), "title: is missing, or not text"),
        (("notes = []", "notes = [1]"), "notes: is missing, or not text"),
        (("lookup =", "look_up ="), "capabilities.lookup: is missing; a profile states every capability"),
        (('value = "order"', 'value = "trade"'), "capabilities.execution_id_scope: 'trade' is none of: account, instr"),
        ((', source = "s" }', " }"), "capabilities.unique_scope: is a table of just: value, certainty, source"),
        (
            ('certainty = "assumed"', 'certainty = "sure"'),
            "capabilities.unique_scope.certainty: 'sure' is none of: docu",
        ),
        (('source = "s"', 'source = " "'), "capabilities.unique_scope.source: is missing, or not text"),
        (("{}", "{ size = 1 }"), "capabilities.id_format.size: is not part of an id's format"),
        (("[capabilities]", "[capabilities"), "file: is not TOML"),
    ],
)
def test_a_wrong_profile_names_its_key(change: tuple[str, str], told: str) -> None:
    """By its whole path, with what belongs there."""
    with pytest.raises(InvalidField) as caught:
        profiles.read("x", MINIMAL.replace(*change))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ('codes = { value = 1, certainty = "code", source = "s" }', "wire.codes: is not known; known here: client_id_"),
        ('unknown_codes = { value = [1], certainty = "code", source = "s" }', "wire.unknown_codes: Expected `str`"),
        ("unknown_codes = 1", "wire.unknown_codes: is a table of just: value, certainty, source"),
    ],
)
def test_a_wrong_wire_fact_names_its_key(entry: str, told: str) -> None:
    """Misspelt facts would be silently missing otherwise."""
    with pytest.raises(InvalidField) as caught:
        profiles.read("x", f"{MINIMAL}[wire]\n{entry}\n")
    assert str(caught.value).startswith(told)


def test_an_unfit_profile_in_the_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The profile and the key stand in the error."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/x.toml").write_text(MINIMAL.replace("lookup =", "look_up ="))
    monkeypatch.setattr(profiles, "_folder", lambda: tmp_path / "profiles")
    with pytest.raises(InvalidField, match=r"profile x, capabilities\.lookup: is missing"):
        profiles.load.__wrapped__("x")
