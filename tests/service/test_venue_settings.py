"""``[venues.NAME]`` of the kind ccxt: every key is checked, credentials come from the environment alone and are never shown."""

from pathlib import Path

import pytest

from onefill.core.errors import InvalidField, SettingsError
from onefill.service.settings import Settings, load
from onefill.service.venue_connections import connection
from onefill.service.venue_settings import CcxtSettings, VenueSettings
from onefill.venues.ccxt.manners import manners_of

HEAD = '[venues.a]\nkind = "ccxt"\nexchange = "kraken"\n'
PASTED = "Do9NotShowMe"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a place for a settings file."""
    return tmp_path / "onefill.toml"


def read(file: Path, text: str) -> Settings:
    """Read settings with this text."""
    file.write_text(text)
    return load(file)


def test_a_full_table_is_read(file: Path) -> None:
    """Every key of the documented form arrives."""
    (venue,) = read(
        file,
        f'{HEAD}account = "desk"\nprofile = "kraken"\ntimeout_s = 7\nurl = "http://127.0.0.1:1"\ncredentials = "KRAKEN"\n'
        'instruments = ["BTC/USD", "ETH/USD:USD"]\n[venues.a.options]\nadjustForTimeDifference = true\n'
        "[venues.a.config]\nrateLimit = 1\n[venues.a.capabilities]\nconclusive_after_s = 30\n",
    ).venues.values()
    assert venue == CcxtSettings(
        exchange="kraken",
        account="desk",
        profile="kraken",
        timeout_s=7.0,
        url="http://127.0.0.1:1",
        credentials="KRAKEN",
        instruments=("BTC/USD", "ETH/USD:USD"),
        options={"adjustForTimeDifference": True},
        config={"rateLimit": 1},
        capabilities={"conclusive_after_s": 30},
    )


def test_what_is_left_out_has_a_value_that_suits_the_kind(file: Path) -> None:
    """Only the exchange must be said; a venue far away is given ten seconds, and its known profile holds."""
    (venue,) = read(file, HEAD).venues.values()
    assert isinstance(venue, CcxtSettings)
    assert (venue.url, venue.timeout_s, venue.testnet, venue.account) == (None, 10.0, False, "main")
    assert venue.profile == manners_of("kraken").profile


def test_a_venue_without_a_kind_is_a_simulated_exchange(file: Path) -> None:
    """As it was before there were others."""
    (venue,) = read(file, '[venues.a]\nurl = "http://127.0.0.1:1"\n').venues.values()
    assert venue == VenueSettings(url="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[venues.a]\nkind = "ccxt"', "venues.a.exchange: is missing; [venues.a] needs it"),
        (
            '[venues.a]\nkind = "ccxt"\nexchange = "krakn"',
            "venues.a.exchange: 'krakn' is no exchange that ccxt knows; ",
        ),
        ('[venues.a]\nkind = "ccxt"\nexchange = "krakn"', "nearest: kraken"),
        ('[venues.a]\nkind = "ccxt"\nexchange = "../x"', "venues.a.exchange: '../x' is no exchange that ccxt knows"),
        ('[venues.a]\nkind = "ccxt"\nexchange = "__init__"', "'__init__' is no exchange that ccxt knows"),
        (HEAD + 'url = "kraken.com"', "venues.a.url: 'kraken.com' is not of the form http://host:port"),
        (HEAD + 'profile = "krakn"', "venues.a.profile: 'krakn' is no profile; nearest: kraken"),
        (HEAD + "timeout_s = 0", "venues.a.timeout_s: 0 is not a duration above zero, in seconds"),
        (HEAD + 'account = "a b"', "venues.a.account: 'a b' is not a name"),
        (HEAD + 'instruments = ["BTC USD"]', "venues.a.instruments: 'BTC USD' is not a name"),
        (HEAD + 'instruments = "BTC/USD"', "venues.a.instruments: 'BTC/USD' is not what is wanted: expected `array`"),
        (
            HEAD + 'testnet = true\nurl = "http://127.0.0.1:1"',
            "venues.a.testnet: leads to the venue's own test network",
        ),
        (HEAD + 'testnet = "yes"', "venues.a.testnet: 'yes' is not what is wanted: expected `bool`"),
        (HEAD + "key = 1", "venues.a.key: is not a setting; known here: "),
        (HEAD + "options = 1", "venues.a.options: 1 is no table"),
        (
            HEAD + "[venues.a.options]\nmaxRetriesOnFailure = 3",
            "venues.a.options.maxRetriesOnFailure: makes ccxt send again",
        ),
        (
            HEAD + "[venues.a.config]\nproxies = 3",
            "venues.a.config.proxies: is not taken here; known here: rateLimit, ",
        ),
        (
            HEAD + '[venues.a.capabilities]\nlookup = "x"',
            "venues.a.capabilities.lookup: 'x' is none of: direct, scan, none",
        ),
    ],
)
def test_a_wrong_key_is_named_by_its_whole_path(file: Path, text: str, told: str) -> None:
    """With the file, the key and what it takes; and nothing was started."""
    with pytest.raises(SettingsError) as caught:
        read(file, text)
    assert str(caught.value).startswith(f"{file}: ")
    assert told in str(caught.value)
    assert str(caught.value).endswith(". Nothing was started")


@pytest.mark.parametrize(
    "text",
    [
        f'credentials = "{PASTED}"',
        f'[venues.a.options]\nsecret = "{PASTED}"',
        f'[venues.a.config]\napiKey = "{PASTED}"',
        f'[venues.a.config]\nprivateKey = "{PASTED}"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(file: Path, text: str) -> None:
    """Somebody who pastes a key where the variables' beginning stands, or among ccxt's options, is told; the key is not."""
    with pytest.raises(SettingsError) as caught:
        read(file, HEAD + text)
    assert PASTED not in str(caught.value)


def test_credentials_are_what_stands_in_the_environment_under_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each under ccxt's own name, beside the options; what is not set is left out. The settings themselves never hold them."""
    monkeypatch.setenv("OKX_API_KEY", "k")
    monkeypatch.setenv("OKX_SECRET", f"{PASTED}\n")
    monkeypatch.setenv("OKX_PASSWORD", "p")
    venue = CcxtSettings(exchange="okx", credentials="OKX", options={"x": 1}, config={"rateLimit": 5})
    assert venue.client_config("venues.okx.credentials") == {
        "rateLimit": 5,
        "options": {"x": 1},
        "apiKey": "k",
        "secret": PASTED,
        "password": "p",
    }
    assert PASTED not in repr(venue)


def test_every_kind_of_credential_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wallets too; and a PEM key that an environment file holds in one line gets its lines back."""
    monkeypatch.setenv("H_WALLET_ADDRESS", "0x1")
    monkeypatch.setenv("H_PRIVATE_KEY", "-----BEGIN EC PRIVATE KEY-----\\nabc\\n-----END EC PRIVATE KEY-----\\n")
    monkeypatch.setenv("H_UID", "7")
    found = CcxtSettings(exchange="hyperliquid", credentials="H").client_config("venues.h.credentials")
    assert found == {
        "walletAddress": "0x1",
        "privateKey": "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\n",
        "uid": "7",
    }


def test_a_missing_credential_is_named_by_its_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the venue needs and the environment lacks; what it has is not shown."""
    monkeypatch.setenv("OKX_API_KEY", PASTED)
    with pytest.raises(SettingsError) as caught:
        CcxtSettings(exchange="okx", credentials="OKX").client_config("venues.okx.credentials")
    told = "venues.okx.credentials: the environment has no OKX_SECRET and no OKX_PASSWORD. Nothing was started"
    assert str(caught.value) == told
    with pytest.raises(SettingsError, match=r"credentials: is missing; okx needs API_KEY, SECRET, PASSWORD: name the"):
        CcxtSettings(exchange="okx").client_config("venues.okx.credentials")


def test_an_order_of_another_account_is_never_sent_with_these_credentials() -> None:
    """The settings say whose they are; any other account is refused before anything is opened."""
    with pytest.raises(InvalidField, match=r"account: 'B' is not the account of \[venues.k\], which is 'A'"):
        connection(CcxtSettings(exchange="kraken", account="A"), "B", "venues.k")
