"""The ``[reconcile]`` part of a settings file."""

from pathlib import Path

import pytest

from onefill.core.errors import SettingsError
from onefill.engine.settings import ReconcileSettings
from onefill.service.settings import load


def _load(tmp_path: Path, text: str) -> ReconcileSettings:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    settings = load(path)
    assert settings.gateway.reconcile == settings.reconcile
    return settings.reconcile


def test_it_says_when_and_how_patiently_to_compare(tmp_path: Path) -> None:
    """Every value reaches the gateway; what is left out stays at its default; zero means on command only."""
    text = "[reconcile]\nevery_s = 5\ngrace_s = 0.5\nblind_after_s = 20\noverlap = 10\n"
    wanted = ReconcileSettings(every_s=5, grace_s=0.5, blind_after_s=20, overlap=10)
    assert _load(tmp_path, text) == wanted
    assert _load(tmp_path, "") == ReconcileSettings()
    assert _load(tmp_path, "[reconcile]\nevery_s = 0\n").every_s is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("reconcile = 5", "reconcile: is a table: write [reconcile] and its keys below"),
        (
            "[reconcile]\nevery = 5",
            "reconcile.every: is not a setting; known here: every_s, grace_s, blind_after_s, overlap",
        ),
        ("[reconcile]\nevery_s = -1", "reconcile.every_s: -1 is not a duration above zero, in seconds"),
        ("[reconcile]\ngrace_s = 0", "reconcile.grace_s: 0 is not a duration above zero, in seconds"),
        ("[reconcile]\ngrace_s = nan", "reconcile.grace_s: nan is not a duration above zero, in seconds"),
        ("[reconcile]\ngrace_s = '10 s'", "reconcile.grace_s: '10 s' is not a number of seconds"),
        ("[reconcile]\nblind_after_s = true", "reconcile.blind_after_s: True is not a number of seconds"),
        ("[reconcile]\noverlap = 2.5", "reconcile.overlap: 2.5 is not a whole number of reports"),
        ("[reconcile]\noverlap = -1", "reconcile.overlap: -1 is not a number of reports from 0 to 100000"),
        ("[gateway]\nreconcile = {}", "gateway.reconcile: is a table of its own: write [reconcile]"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(tmp_path: Path, text: str, told: str) -> None:
    """File, key and form; nothing is started."""
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, text)
    assert told in str(caught.value)
