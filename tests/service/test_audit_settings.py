"""The settings of ``[audit]``: checked like all others."""

from pathlib import Path

import pytest

from onefill.core.errors import SettingsError
from onefill.service.settings import AuditSettings, Settings, load


def test_audit_settings_are_read(tmp_path: Path) -> None:
    """Every key arrives; left out, nothing is signed."""
    file = tmp_path / "s.toml"
    file.write_text('[audit]\nkey = "k.pem"\ncheckpoints = "c.ndjson"\nevery_entries = 500\nevery_s = 5\n')
    assert load(file).audit == AuditSettings(key="k.pem", checkpoints="c.ndjson", every_entries=500, every_s=5.0)
    assert Settings().audit.key is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('key = "k"', "audit.checkpoints: is missing; checkpoints in the ledger alone are cut off with its end"),
        ('checkpoints = "c"', "audit.key: is missing; checkpoints are signed: `onefill audit keygen PATH` makes a key"),
        ('key = ""\ncheckpoints = "c"', "audit.key: is empty; name a file"),
        ('key = "k"\ncheckpoints = ""', "audit.checkpoints: is empty; name a file"),
        ('key = "k"\ncheckpoints = "c"\nevery_entries = 0', "audit.every_entries: 0 is not above zero"),
        ('key = "k"\ncheckpoints = "c"\nevery_s = 0', "audit.every_s: 0 is not a duration above zero, in seconds"),
        ("every_s = nan", "audit.every_s: nan is not a duration above zero, in seconds"),
        ('every_entries = "1"', "audit.every_entries: '1' is not what is wanted: expected `int"),
        ("keys = 1", "audit.keys: is not a setting; known here: key, checkpoints, every_entries, every_s"),
        ("key = 1", "audit.key: 1 is not what is wanted: expected `str"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, told: str) -> None:
    """With its place and what would be right."""
    file = tmp_path / "s.toml"
    file.write_text(f"[audit]\n{text}\n")
    with pytest.raises(SettingsError) as raised:
        load(file)
    assert told in str(raised.value)
    assert str(raised.value).endswith(". Nothing was started")
