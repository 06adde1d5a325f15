"""Settings files: every key is checked, and a wrong one is named with the file, its whole path and the right form."""

from pathlib import Path

import pytest

from onefill.core.errors import CallerError, InvalidField, SettingsError
from onefill.core.identity import IdScheme
from onefill.service.settings import Settings, load, venue
from onefill.service.venue_settings import VenueSettings

URL = "http://127.0.0.1:8700"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a place for a settings file."""
    return tmp_path / "onefill.toml"


def test_a_full_file_is_read(file: Path) -> None:
    """Every key of the documented form arrives; whole numbers do for durations."""
    file.write_text(
        f'[gateway]\nclient_order_ids = "derived"\nanswer_wait_s = 5\nrecent_orders = 10\n'
        f'[venues.paper]\nurl = "{URL}"\ntimeout_s = 0.5\n[venues.live]\nkind = "exchange"\nurl = "{URL}/"\n'
    )
    settings = load(file)
    assert settings.gateway.client_order_ids is IdScheme.DERIVED
    assert (settings.gateway.answer_wait_s, settings.gateway.recent_orders) == (5.0, 10)
    assert settings.venues["paper"] == VenueSettings(url=URL, timeout_s=0.5)
    assert settings.venues["live"].timeout_s == 1.0


def test_an_empty_file_means_the_defaults(file: Path) -> None:
    """Nothing needs to be set."""
    file.write_text("")
    assert load(file) == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("verbose = 1", "verbose: is not a setting; known here: gateway, venues"),
        ("[gateway]\nwait = 1", "gateway.wait: is not a setting; known here: client_order_ids, time_to_live_s, "),
        (
            '[gateway]\nanswer_wait_s = "30 s"',
            "gateway.answer_wait_s: '30 s' is not what is wanted: expected `float`, got ",
        ),
        ('[gateway]\nanswer_wait_s = "30 s"', "a duration is a number of seconds, such as 2.5"),
        ("[gateway]\nanswer_wait_s = -1", "gateway.answer_wait_s: -1.0 is not a duration above zero, in seconds"),
        ("[gateway]\ntime_to_live_s = nan", "gateway.time_to_live_s: nan is not a duration above zero, in seconds"),
        ("[gateway]\nreply_timeout_s = inf", "gateway.reply_timeout_s: inf is not a duration above zero, in seconds"),
        ("[gateway]\nrecent_orders = true", "gateway.recent_orders: True is not what is wanted: expected `int`"),
        ("[gateway]\nrecent_orders = -1", "gateway.recent_orders: is below zero"),
        ('[gateway]\nclient_order_ids = "x"', "gateway.client_order_ids: 'x' is none of: sequence, derived"),
        ("gateway = 3", "gateway: is a table: write [gateway] and its keys below"),
        ("venues = 3", "venues: is a table: write [venues] and its keys below"),
        (f'[venues]\na = "{URL}"', "venues.a: is a table: write [venues.a] and its keys below"),
        ("[venues.a]\ntimeout_s = 1.0", "venues.a.url: is missing; [venues.a] needs it"),
        ('[venues.a]\nurl = "ftp://x"', "venues.a.url: 'ftp://x' is not of the form http://host:port"),
        (f'[venues.a]\nurl = "{URL}"\nkind = "fix"', "venues.a.kind: 'fix' is none of: exchange, ccxt"),
        (f'[venues.a]\nurl = "{URL}"\nkind = 3', "venues.a.kind: 3 is none of: exchange, ccxt"),
        (f'[venues.a]\nurl = "{URL}"\ntimeout_s = 0', "venues.a.timeout_s: 0 is not a duration above zero, in seconds"),
        (
            f'[venues.a]\nurl = "{URL}"\ntimeout = 1',
            "venues.a.timeout: is not a setting; known here: kind, url, timeout_s",
        ),
        (f'[venues."a b"]\nurl = "{URL}"', "venues.a b: 'a b' is not a name"),
        ("venues = {", "is not TOML: "),
        ("[gateway]\nanswer_wait_s = 1\nanswer_wait_s = 2", "is not TOML: "),
    ],
)
def test_a_wrong_setting_is_named_with_file_key_and_the_right_form(file: Path, text: str, told: str) -> None:
    """The error is a SettingsError that begins with the file and ends with how things stand."""
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert told in str(caught.value)
    assert str(caught.value).endswith(". Nothing was started")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing files, folders and bytes that are no text are told apart."""
    with pytest.raises(
        SettingsError, match=r"none\.toml: cannot be read: No such file or directory\. Nothing was started"
    ):
        load(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"bytes\.toml: is not TOML: "):
        load(tmp_path / "bytes.toml")


@pytest.mark.parametrize("url", ["http://", "ftp://host", "http://host:99999", "http://host:x", "http://[::1", "://x"])
def test_a_url_of_another_form_is_refused_under_the_option_that_gave_it(url: str) -> None:
    """The form is named; nothing is guessed."""
    with pytest.raises(InvalidField, match="is not of the form http://host:port") as caught:
        venue(Settings(), url, None)
    assert caught.value.field == "--venue"


@pytest.mark.parametrize("more", ["/v1", "/?x=1", "/#part"])
def test_a_url_that_says_more_than_an_address_is_refused(more: str) -> None:
    """A path or query would be dropped silently otherwise."""
    with pytest.raises(InvalidField, match=r"says more than http://host:port; an exchange takes no path"):
        venue(Settings(), URL + more, None)


def test_a_venue_is_named_by_the_file_or_by_its_address() -> None:
    """A name that the file does not have is told with those that it has."""
    settings = Settings(venues={"paper": VenueSettings(url=URL)})
    assert venue(settings, "paper", None) == ("paper", VenueSettings(url=URL))
    assert venue(settings, "paper", 3.0)[1].timeout_s == 3.0
    assert venue(Settings(), URL, None) == ("exchange", VenueSettings(url=URL))
    with pytest.raises(
        CallerError, match=r"--venue: 'live' is neither a URL .* nor a venue of the settings file \(there: paper\)"
    ):
        venue(settings, "live", None)
