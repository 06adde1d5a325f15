"""Settings files that name a venue's profile or override single capabilities."""

from pathlib import Path

import pytest

from onefill.core.capabilities import Capabilities, DuplicateReply, Lookup, UniqueScope
from onefill.core.errors import SettingsError
from onefill.core.identity import Alphabet, IdFormat
from onefill.service.settings import load
from onefill.service.venue_settings import VenueSettings
from onefill.venues import profile as profiles

URL = "http://127.0.0.1:8700"
HEAD = f'[venues.a]\nurl = "{URL}"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a place for a settings file."""
    return tmp_path / "onefill.toml"


def test_a_profile_stands_in_for_what_the_venue_declares(file: Path) -> None:
    """With a profile, nothing that the venue declares itself counts; without one, all of it does."""
    file.write_text(f'{HEAD}profile = "binance_spot"\n[venues.b]\nurl = "{URL}"\n')
    venues = load(file).venues
    declared = Capabilities(unique_scope=UniqueScope.EVER, duplicate_reply=DuplicateReply.ERROR)
    assert venues["a"].effective(declared) == profiles.load("binance_spot").capabilities
    assert venues["b"].effective(declared) == declared


def test_single_values_are_overridden_and_the_others_stay(file: Path) -> None:
    """Over a profile or over the venue's own word; of an id's format, what is not named stays too."""
    file.write_text(
        f'{HEAD}profile = "kraken"\n[venues.a.capabilities]\nlookup = "none"\nrequest_expiry_s = "none"\n'
        "conclusive_after_s = 40\nacknowledges_asynchronously = false\nid_format = { max_length = 24 }\n"
    )
    kraken = profiles.load("kraken").capabilities
    found = load(file).venues["a"].effective(Capabilities())
    assert (found.lookup, found.request_expiry_s, found.conclusive_after_s) == (Lookup.NONE, None, 40.0)
    assert found.acknowledges_asynchronously is False
    assert found.id_format == IdFormat(alphabet=Alphabet.HEX, max_length=24)
    assert (found.unique_scope, found.replace) == (kraken.unique_scope, kraken.replace)
    own = VenueSettings(url=URL, capabilities={"unique_scope": "none"}).effective(kraken)
    assert (own.unique_scope, own.lookup) == (UniqueScope.NONE, kraken.lookup)


def test_an_override_may_trust_the_venue_more(file: Path) -> None:
    """It is the user's word; it is taken."""
    file.write_text(
        f'{HEAD}profile = "gemini"\n[venues.a.capabilities]\nunique_scope = "ever"\nduplicate_reply = "error"\n'
    )
    assert load(file).venues["a"].effective(Capabilities()).refuses_repeats


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('profile = "binanc_spot"', "venues.a.profile: 'binanc_spot' is no profile; nearest: binance_spot"),
        ("profile = 3", "venues.a.profile: 3 is not what is wanted: expected `str | null`, got `int`"),
        ("capabilities = 3", "venues.a.capabilities: 3 is no table: write its keys below a heading of their own"),
        ("[venues.a.capabilities]\nscope = 1", "venues.a.capabilities.scope: is not a capability; known here: unique_"),
        (
            '[venues.a.capabilities]\nunique_scope = "week"',
            "venues.a.capabilities.unique_scope: 'week' is none of: ever, day, open, none",
        ),
        ("[venues.a.capabilities]\nlookup = 1", "venues.a.capabilities.lookup: 1 is none of: direct, scan, none"),
        (
            '[venues.a.capabilities]\nconclusive_after_s = "15 s"',
            "venues.a.capabilities.conclusive_after_s: '15 s' is neither a number of seconds, such as 2.5, nor \"none\"",
        ),
        (
            "[venues.a.capabilities]\nrequest_expiry_s = -1",
            "venues.a.capabilities.request_expiry_s: -1.0 is not a duration above zero",
        ),
        (
            '[venues.a.capabilities]\ncumulative_fills_only = "no"',
            "venues.a.capabilities.cumulative_fills_only: 'no' is neither true nor false",
        ),
        (
            "[venues.a.capabilities]\nid_format = 36",
            "venues.a.capabilities.id_format: is a table with any of: alphabet, max_length, prefix",
        ),
        (
            "[venues.a.capabilities.id_format]\nlength = 36",
            "venues.a.capabilities.id_format.length: is not part of an id's format; known here: alphabet, max_length",
        ),
        (
            "[venues.a.capabilities.id_format]\nmax_length = 5",
            "venues.a.capabilities.id_format.max_length: leaves less than 16 characters after the prefix",
        ),
        (
            '[venues.a.capabilities.id_format]\nalphabet = "base64"',
            "venues.a.capabilities.id_format.alphabet: 'base64' is not one of: text, alphanumeric, hex",
        ),
    ],
)
def test_a_wrong_override_is_named_by_its_whole_path(file: Path, text: str, told: str) -> None:
    """With the file, the key and what it takes; and nothing was started."""
    file.write_text(HEAD + text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {told}")
    assert str(caught.value).endswith(". Nothing was started")
