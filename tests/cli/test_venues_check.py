"""``onefill venues check``: what a real venue does, tried on imitations through the real client library."""

from pathlib import Path

import pytest
from cli_kit import Result, onefill, process
from imitated_kit import serving, settings_of

from onefill.sim.imitations.known import IMITATIONS


def verdicts(done: Result) -> dict[str, str]:
    """Return what came of each check."""
    return {one["check"]: one["verdict"] for one in done.json["findings"]}


@pytest.mark.parametrize("name", sorted(IMITATIONS))
def test_what_an_imitation_does_is_what_its_profile_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every question is answered as it should be, and so is one order that is placed, repeated and cancelled: nothing stays."""
    with serving(IMITATIONS[name]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch)
        done = onefill("venues", "check", "x", "--settings", file, "--with-order", "--yes", "--price", 100, "--json")
        found = verdicts(done)
        assert done.code == 0, done.out
        assert {found[check] for check in ("markets", "balances", "own trades", "look-up of an unknown id")} == {"held"}
        assert {found[check] for check in ("a new order", "look-up of a live order", "the same id again")} == {"held"}
        assert found["cancel"] == "held"
        assert venue.exchange.open_orders("main") == []
        assert done.json["network"] == venue.url


def test_without_the_option_nothing_is_ordered_or_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue gets questions only; people get one row for each, with what was seen and the codes it was seen by."""
    with serving(IMITATIONS["binance_spot"]) as venue:
        done = onefill("venues", "check", "x", "--settings", settings_of(tmp_path, venue, monkeypatch))
        counts = venue.exchange.counts()
        assert (counts.submits, counts.cancels) == (0, 0)
    assert done.code == 0
    assert done.out.splitlines()[0] == f"x: binance through ccxt, {venue.url}, profile binance_spot"
    (row,) = [line for line in done.out.splitlines() if line.startswith("look-up of an unknown id ")]
    assert row.split()[5] == "held"
    assert '"code": -2013' in row
    assert "positions" in done.out
    assert "could not be asked" in done.out


def test_a_venue_that_does_otherwise_than_believed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5: here the settings trust a venue to refuse repeats, and it makes a second order, which is cancelled too."""
    trust = {"unique_scope": "ever", "duplicate_reply": "error"}
    with serving(IMITATIONS["deribit"]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch, capabilities=trust)
        done = onefill("venues", "check", "x", "--settings", file, "--with-order", "--yes", "--price", 100, "--json")
        assert venue.exchange.counts().submits == 2
        assert venue.exchange.open_orders("main") == []
    assert (done.code, done.json["holds"], done.json["exit_code"]) == (5, False, 5)
    assert verdicts(done)["the same id again"] == "did not hold"
    (told,) = [one["detail"] for one in done.json["findings"] if one["check"] == "the same id again"]
    assert told.endswith("was made; the venue is believed to refuse a repeat")


@pytest.mark.parametrize(("name", "code"), [("binance_spot", 5), ("okx", 4)])
def test_wrong_credentials_are_told_and_never_shown(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The venue refuses the key, some already with the markets; neither key nor secret stand in any output."""
    with serving(IMITATIONS[name]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch, {"X_API_KEY": "not-a-known-key", "X_SECRET": "hide-me-well"})
        done = onefill("venues", "check", "x", "--settings", file, "--json")
    assert done.code == code
    assert "AuthenticationError" in done.out
    assert "not-a-known-key" not in done.out + done.err
    assert "hide-me-well" not in done.out + done.err


def test_a_venue_that_cannot_be_reached_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4; nothing else can be asked without its markets."""
    with serving(IMITATIONS["kraken"]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch)
    done = onefill("venues", "check", "x", "--settings", file)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("error: kraken: ")


def test_an_order_is_for_test_networks_and_asked_about_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never at the real venue; elsewhere only after a yes, which a program says beforehand."""
    monkeypatch.setenv("KRAKEN_API_KEY", "k")
    monkeypatch.setenv("KRAKEN_SECRET", "c2VjcmV0")
    done = onefill("venues", "check", "kraken", "--with-order", "--yes")
    assert done.code == 2
    assert done.err.startswith("error: --with-order: this is the real venue")
    with serving(IMITATIONS["kraken"]) as venue:
        file = settings_of(tmp_path, venue, monkeypatch)
        line = ("venues", "check", "x", "--settings", file, "--with-order", "--price", 100)
        assert onefill(*line, "--json").json["error"].startswith("--with-order: needs --yes with --json")
        refused = process(*line, input="n\n")
        assert (refused.code, refused.out) == (2, "")
        assert "This places one small order at http://" in refused.err
        assert venue.exchange.counts().submits == 0
        assert not venue.requests


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("kraken",), "--credentials: the environment has nothing that begins with KRAKEN_"),
        (("krakn",), "--credentials: the environment has nothing that begins with KRAKN_"),
        (("krakn", "--credentials", "K"), "exchange: 'krakn' is no exchange that ccxt knows; nearest: kraken"),
        (("binance_spot", "--credentials", "K"), "--credentials: the environment has no K_API_KEY and no K_SECRET"),
        (("other", "--settings", "FILE"), "NAME: 'other' is no venue of FILE; nearest: check, sim"),
        (("sim", "--settings", "FILE"), "venue 'sim' of FILE is a simulated exchange, which tells its habits itself"),
        (("check", "--settings", "FILE", "--testnet"), "--testnet, --credentials: stand in the settings file"),
        (("check", "--settings", "FILE"), "venues.check.credentials: the environment has no C_API_KEY and no C_SECRET"),
    ],
)
def test_what_is_missing_is_named(
    arguments: tuple[str, ...], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and the name of a variable, an option or a venue: also of a venue that is called like the command."""
    for name in ("KRAKEN_API_KEY", "KRAKEN_SECRET"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "onefill.toml"
    file.write_text(
        '[venues.check]\nkind = "ccxt"\nexchange = "kraken"\ncredentials = "C"\n[venues.sim]\nurl = "http://127.0.0.1:1"\n'
    )
    done = onefill("venues", "check", *(one.replace("FILE", str(file)) for one in arguments))
    assert done.code == 2
    assert done.err.startswith(f"error: {wrong.replace('FILE', str(file))}")


def test_a_venue_that_is_called_check_can_be_shown(tmp_path: Path) -> None:
    """By the long form of the command; the short form is for the others."""
    file = tmp_path / "onefill.toml"
    file.write_text('[venues.check]\nkind = "ccxt"\nexchange = "kraken"\nprofile = "kraken"\n')
    shown = onefill("venues", "show", "check", "--settings", file)
    assert shown.out.startswith("check: Kraken spot, profile kraken\n")
    assert onefill("venues", "--settings", file).out.splitlines()[1].split()[0] == "check"
    assert onefill("venues", "show", "kraken").out == onefill("venues", "kraken").out
