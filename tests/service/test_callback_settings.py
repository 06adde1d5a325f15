"""``[callbacks]`` and ``[venues.NAME.callbacks]``: every key is checked, and no secret is ever shown."""

import base64
import re
from pathlib import Path

import pytest

from onefill.core.errors import SettingsError
from onefill.core.inbox import HashName, HmacRules, Spelling, TimeUnit
from onefill.service import settings as settings_file
from onefill.service.settings import Settings

KEY = b"0123456789abcdef0123456789abcdef"
VENUE = '[venues.x]\nurl = "http://127.0.0.1:1"\n'
HMAC = 'scheme = "hmac"\nheader = "X-Sign"\nsecrets = ["env:S"]\n'


def load(folder: Path, text: str) -> Settings:
    """Read settings with this text."""
    path = folder / "onefill.toml"
    path.write_text(text, "utf-8")
    return settings_file.load(path)


def problem(folder: Path, text: str) -> str:
    """Return what is wrong with these settings."""
    with pytest.raises(SettingsError) as told:
        load(folder, text)
    return str(told.value)


def secret(folder: Path, text: str) -> str:
    """Write a secret's file, and return its name as TOML."""
    path = folder / f"secret{len(list(folder.iterdir()))}"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return f'"file:{path}"'


def test_a_whole_plan(tmp_path: Path) -> None:
    """Both schemes, several secrets, and routes of a venue by its name."""
    standard = "whsec_" + base64.b64encode(KEY).decode()
    files = ", ".join([secret(tmp_path, standard + "\n"), secret(tmp_path, base64.b64encode(KEY[::-1]).decode())])
    plain = secret(tmp_path, KEY.hex())
    plan = load(
        tmp_path,
        f"""
[callbacks]
listen = "127.0.0.1:0"
most_body_bytes = 1000
retry_after_s = 9
{VENUE}
[venues.x.callbacks]
secrets = [{files}]
[venues.y]
url = "http://127.0.0.1:1"
[venues.y.callbacks]
scheme = "hmac"
secrets = [{plain}]
secret_spelling = "hex"
header = "X-Sign"
hash = "sha512"
spelling = "base64"
prefix = "v0="
signed = "{{timestamp}}.{{id}}.{{body}}"
timestamp_header = "X-Time"
timestamp_unit = "ms"
id_header = "X-Id"
tolerance_s = 30
[venues.z]
url = "http://127.0.0.1:1"
""",
    ).callbacks
    assert (plan.listen, plan.most_body_bytes, plan.retry_after_s) == ("127.0.0.1:0", 1000, 9)
    found = plan.verifiers(["x:A", "y", "z:A", "other"])
    assert list(found) == ["x:A", "y"]
    assert found["x:A"].keys == (KEY, KEY[::-1])
    assert found["x:A"].hmac is None
    assert (found["y"].keys, found["y"].tolerance_s) == ((KEY,), 30)
    assert found["y"].hmac == HmacRules(
        header="X-Sign",
        hash=HashName.SHA512,
        spelling=Spelling.BASE64,
        prefix="v0=",
        signed="{timestamp}.{id}.{body}",
        timestamp_header="X-Time",
        timestamp_unit=TimeUnit.MILLISECONDS,
        id_header="X-Id",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("callbacks = 1", "callbacks: is a table"),
        (
            "[callbacks]\nport = 1",
            "callbacks.port: is not a setting; known here: listen, most_body_bytes, retry_after_s",
        ),
        ("[callbacks]\nvenues = {}", "callbacks.venues: is not a setting"),
        ('[callbacks]\nlisten = "here"', "callbacks.listen: 'here' is not of the form HOST:PORT"),
        ("[callbacks]\nlisten = 1", "callbacks.listen: 1 is not what is wanted"),
        ("[callbacks]\nmost_body_bytes = 0", "callbacks.most_body_bytes: 0 is not from 1"),
        ("[callbacks]\nretry_after_s = 0", "callbacks.retry_after_s: 0 is not from 1"),
        ("[venues.x.callbacks]", "venues.x.callbacks.secrets: is missing"),
        ("[venues.x.callbacks]\nsecrets = []", "venues.x.callbacks.secrets: is empty"),
        ('[venues.x.callbacks]\nsecrets = ["abc"]', "secrets do not belong here"),
        ('[venues.x.callbacks]\nsecret = "abc"', "venues.x.callbacks.secret: is not a setting"),
        ('[venues.x.callbacks]\nsecrets = ["env:S"]\nscheme = "md5"', "'md5' is none of: standard, hmac"),
        ('[venues.x.callbacks]\nsecrets = ["env:S"]\ntolerance_s = 0', "venues.x.callbacks.tolerance_s: 0 is not"),
        ('[venues.x.callbacks]\nsecrets = ["env:S"]\nheader = "X"', 'header: belongs to scheme = "hmac"'),
        (f"[venues.x.callbacks]\n{HMAC}hash = 'md5'", "'md5' is none of: sha256, sha384, sha512"),
        (f"[venues.x.callbacks]\n{HMAC}signed = '{{url}}{{body}}'", "venues.x.callbacks.signed: may hold"),
        (f"[venues.x.callbacks]\n{HMAC}id_header = 'X-Id'", "id_header and {id} in signed go together"),
        ('[venues.x.callbacks]\nscheme = "hmac"\nsecrets = ["env:S"]', "venues.x.callbacks.header: is missing"),
    ],
)
def test_what_cannot_work_is_named_with_its_path(tmp_path: Path, text: str, told: str) -> None:
    """The key by its whole path, and what would be right."""
    assert told in problem(tmp_path, text + "\n" + VENUE if text.startswith("callbacks") else VENUE + text)


@pytest.mark.parametrize(
    ("scheme", "text", "told"),
    [
        ("", "whsec_not-base64-but-secret", "is not base64"),
        ("", "c2VjcmV0", "has under 16 bytes"),
        (HMAC, "short-secret", "shorter than 16 bytes"),
        (HMAC + 'secret_spelling = "hex"\n', "zz-secret-no-hex-at-all", "is not spelt as the settings say"),
        (HMAC + 'secret_spelling = "base64"\n', "secret!no-base64", "is not spelt as the settings say"),
    ],
)
def test_a_secret_that_cannot_be_used_is_not_shown(tmp_path: Path, scheme: str, text: str, told: str) -> None:
    """The file is named, what is in it is not; the same where there is no file."""
    table = re.sub("secrets.*\n", "", scheme) + f"secrets = [{secret(tmp_path, text)}]\n"
    plan = load(tmp_path, f"{VENUE}[venues.x.callbacks]\n{table}").callbacks
    with pytest.raises(SettingsError, match=told) as raised:
        plan.verifiers(["x"])
    assert text not in str(raised.value)
    assert raised.value.__cause__ is None
    next(tmp_path.glob("secret*")).unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        plan.verifiers(["x"])


def test_serving_callbacks_of_nobody_is_refused(tmp_path: Path) -> None:
    """An address without a venue's secrets could only refuse everything."""
    plan = load(tmp_path, f'[callbacks]\nlisten = "127.0.0.1:0"\n{VENUE}').callbacks
    with pytest.raises(SettingsError, match="nothing could be verified"):
        plan.verifiers(["x"])


def test_a_secret_in_the_settings_file_itself_is_refused_and_not_shown(tmp_path: Path) -> None:
    """It does not belong there; nor does a file that others may read."""
    for wrong in ('"whsec_hidden"', '["whsec_hidden"]', "[1]"):
        told = problem(tmp_path, f"{VENUE}[venues.x.callbacks]\nsecrets = {wrong}\n")
        assert "venues.x.callbacks.secrets: " in told
        assert "hidden" not in told
    open_file = secret(tmp_path, "whsec_hidden")
    next(tmp_path.glob("secret*")).chmod(0o644)
    plan = load(tmp_path, f"{VENUE}[venues.x.callbacks]\nsecrets = [{open_file}]\n").callbacks
    with pytest.raises(SettingsError, match=r"venues.x.callbacks.secrets\[0\]: .*others than its owner may read it"):
        plan.verifiers(["x:A"])


def test_a_secret_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``env:NAME`` is read when the gateway is opened."""
    plan = load(tmp_path, f'{VENUE}[venues.x.callbacks]\nsecrets = ["env:THE_SECRET"]\n').callbacks
    with pytest.raises(SettingsError, match="the environment has no THE_SECRET"):
        plan.verifiers(["x"])
    monkeypatch.setenv("THE_SECRET", "whsec_" + base64.b64encode(KEY).decode())
    assert plan.verifiers(["x"])["x"].keys == (KEY,)


def test_the_page_s_own_settings_are_read(tmp_path: Path) -> None:
    """The TOML of docs/callbacks.md is complete but for the venues' addresses."""
    page = (Path(__file__).resolve().parents[2] / "docs/callbacks.md").read_text("utf-8")
    found = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    urls = "".join(f'[venues.{name}]\nurl = "http://127.0.0.1:1"\n' for name in ("sim", "other"))
    plan = load(tmp_path, found[1] + urls).callbacks
    assert set(plan.venues) == {"sim", "other"}
    rules = plan.venues["other"].rules()
    assert rules is not None
    assert rules.signed == "{id}.{timestamp}.{body}"
