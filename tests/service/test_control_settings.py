"""The ``[control]`` part of a settings file: every threshold is checked, and a venue may have its own."""

from pathlib import Path

import pytest

from onefill.core.control import Thresholds
from onefill.core.errors import SettingsError
from onefill.engine.controller import ControlPlan
from onefill.service.settings import load

URL = "http://127.0.0.1:8700"
FIELDS = Thresholds.__struct_fields__


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a place for a settings file."""
    return tmp_path / "onefill.toml"


def test_without_a_table_the_defaults_count(file: Path) -> None:
    """For every route."""
    file.write_text("")
    assert load(file).control == ControlPlan()
    assert load(file).control.of("any:route") == Thresholds()


def test_a_venue_replaces_single_values_of_the_common_ones(file: Path) -> None:
    """Also for its accounts' routes; other venues keep the common ones."""
    file.write_text(
        "[control]\nwindow_s = 30\nautomatic = false\n"
        f'[venues.a]\nurl = "{URL}"\n[venues.a.control]\nautomatic = true\nuncertain_risk = 7\n'
        f'[venues.b]\nurl = "{URL}"\n'
    )
    plan = load(file).control
    assert plan.of("b:acct") == Thresholds(window_s=30.0, automatic=False)
    assert plan.of("a:acct") == plan.of("a") == Thresholds(window_s=30.0, uncertain_risk=7)


@pytest.mark.parametrize("field", FIELDS)
def test_every_threshold_can_be_set_and_is_checked(file: Path, field: str) -> None:
    """By its own name; text in its place is refused with the key's whole path."""
    value = str(getattr(Thresholds(), field)).lower()
    file.write_text(f"[control]\n{field} = {value}\n")
    assert load(file).control == ControlPlan()
    file.write_text(f'[control]\n{field} = "many"\n')
    with pytest.raises(
        SettingsError, match=rf"control\.{field}: 'many' is not (true or false|a whole number|a number)"
    ):
        load(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("control = 3", "control: is a table: write [control] and its keys below"),
        ("[control]\nspeed = 1", "control.speed: is not a setting; known here: automatic, sample_s, "),
        ("[control]\nwindow_s = 0", "control.window_s: is not above zero"),
        ("[control]\nwindow_s = inf", "control.window_s: inf is not a number from zero on"),
        ("[control]\ncalm_s = true", "control.calm_s: True is not a number of seconds"),
        ("[control]\nreconnects_leave = 6", "control.reconnects_leave: is not below reconnects_enter"),
        ("[control]\nuncertain_risk = 1.5", "control.uncertain_risk: 1.5 is not a whole number"),
        (f'[venues.a]\nurl = "{URL}"\ncontrol = 3', "venues.a.control: 3 is no table"),
        (f'[venues.a]\nurl = "{URL}"\n[venues.a.control]\nx = 3', "venues.a.control.x: is not a setting"),
        (f'[venues.a]\nurl = "{URL}"\n[venues.a.control]\nsample_s = 90', "venues.a.control.sample_s: is longer than"),
    ],
)
def test_what_cannot_work_is_named_with_its_place(file: Path, text: str, told: str) -> None:
    """The file, the key's whole path, and what is wrong."""
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(file)
    assert str(error.value).startswith(f"{file}: {told}")
    assert str(error.value).endswith("Nothing was started")


def test_the_page_shows_the_defaults(file: Path) -> None:
    """What ``docs/control-states.md`` lists is every threshold, at its default."""
    page = (Path(__file__).parents[2] / "docs" / "control-states.md").read_text()
    table = page.split("```toml\n")[1].split("\n\n")[0]
    file.write_text(table)
    assert load(file).control == ControlPlan()
    assert [line.split()[0] for line in table.splitlines()[1:]] == list(FIELDS)
