"""``onefill venues``: what is known of venues, for people, for programs, and with a user's own settings."""

from pathlib import Path

import pytest
from cli_kit import onefill

from onefill.venues import profile as profiles

URL = "http://127.0.0.1:8700"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a settings file: a venue with a profile and overrides, one that declares itself, one with a bare profile."""
    file = tmp_path / "onefill.toml"
    file.write_text(
        f'[venues.live]\nurl = "{URL}"\nprofile = "gemini"\n'
        '[venues.live.capabilities]\nunique_scope = "ever"\nduplicate_reply = "error"\nlookup = "none"\n'
        f'[venues.own]\nurl = "{URL}"\ncapabilities = {{ lookup = "scan" }}\n'
        f'[venues.plain]\nurl = "{URL}"\nprofile = "kraken"\n'
    )
    return file


def test_the_list_has_every_profile_and_what_happens_after_a_time_out() -> None:
    """One line each; the columns that decide, and one phrase."""
    done = onefill("venues")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0].split("  ")[0] == "name"
    assert [line.split()[0] for line in lines[1:]] == list(profiles.names())
    kraken = next(line for line in lines if line.startswith("kraken"))
    assert kraken.split()[1:7] == ["open", "error", "direct", "5", "s", "15"]
    assert kraken.endswith("ask first; absent only after 15 s, then resend with the same id")


def test_one_venue_is_shown_with_every_value_its_certainty_and_source() -> None:
    """Capabilities, wire facts, notes, and every situation in words."""
    done = onefill("venues", "deribit")
    assert done.code == 0
    profile = profiles.load("deribit")
    for name, fact in (*profile.facts.items(), *profile.wire_facts.items()):
        line = next(line for line in done.out.splitlines() if line.startswith(f"{name} "))
        assert line.endswith(fact.source)
        assert f"  {fact.certainty}  " in line
    for note in profile.notes:
        assert f"- {note}\n" in done.out
    assert "- Request and reply are lost; the order is not there: sends it: no reply; asks by id" in done.out


def test_json_says_the_same_to_a_program() -> None:
    """The list and the one; an absent duration is null."""
    listed = onefill("venues", "--json").json
    assert [one["name"] for one in listed] == list(profiles.names())
    gemini = onefill("venues", "gemini", "--json").json
    assert gemini["capabilities"]["conclusive_after_s"]["value"] is None
    assert gemini["capabilities"]["unique_scope"]["certainty"] == "documented"
    assert gemini["after_time_out"] == next(one["after_time_out"] for one in listed if one["name"] == "gemini")
    assert set(gemini["situations"].values()) > {"cannot happen: no id is ever refused there"}


def test_settings_show_what_holds_and_mark_overrides(settings: Path) -> None:
    """With one star; with two where the user trusts the venue more than its profile does; the rest is as declared."""
    done = onefill("venues", "--settings", settings)
    rows = {line.split()[0]: line for line in done.out.splitlines()[1:]}
    assert rows["live"].split()[1:4] == ["ever**", "error**", "none*"]
    assert rows["live"].endswith("resend with the same id at once")
    assert rows["own"].count("as declared") == 6
    assert "scan*" in rows["own"]
    assert "*" not in rows["plain"]
    assert done.err == (
        "* overridden in the settings\n** overridden, and trusts the venue more than its profile does\n"
    )


def test_one_venue_of_the_settings_names_the_profiles_value_too(settings: Path) -> None:
    """Where the value stands, and what it replaces."""
    out = onefill("venues", "live", "--settings", settings).out
    assert out.startswith("live: Gemini, profile gemini\n")
    line = next(line for line in out.splitlines() if line.startswith("unique_scope"))
    assert line.split() == [
        "unique_scope",
        "ever**",
        "overridden",
        f"{settings},",
        "venues.live.capabilities;",
        "profile:",
        "none",
    ]
    told = onefill("venues", "live", "--settings", settings, "--json").json["capabilities"]["unique_scope"]
    assert (told["value"], told["profile_value"], told["trusts_more"]) == ("ever", "none", True)
    own = onefill("venues", "own", "--settings", settings, "--json").json
    assert own["capabilities"]["unique_scope"] == {"source": "the venue, when it is started"}
    assert own["after_time_out"] is None


def test_a_wrong_name_is_told_with_the_nearest(settings: Path) -> None:
    """Exit code 2, for people and for programs, with and without settings."""
    done = onefill("venues", "binance")
    assert done.code == 2
    assert done.err.startswith("error: profile: 'binance' is no profile; nearest: binance_")
    done = onefill("venues", "liv", "--settings", settings)
    assert (done.code, done.err) == (2, f"error: NAME: 'liv' is no venue of {settings}; nearest: live, plain\n")
    assert onefill("venues", "liv", "--settings", settings, "--json").json["exit_code"] == 2


def test_settings_without_venues_say_so(tmp_path: Path) -> None:
    """No empty table; JSON gives an empty list."""
    file = tmp_path / "empty.toml"
    file.write_text("")
    done = onefill("venues", "--settings", file)
    assert (done.code, done.out, done.err) == (0, "", "the settings file names no venues\n")
    assert onefill("venues", "--settings", file, "--json").json == []
