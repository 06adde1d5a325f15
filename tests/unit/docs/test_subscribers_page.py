"""docs/subscribers.md says what is so: its settings load, its code verifies, its defaults are the code's."""

import base64
import hmac
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onefill.core.audit import GENESIS, JournalEntry
from onefill.core.inbox import standard_headers
from onefill.core.relay import Policy, message_of
from onefill.service.settings import load

PAGE = (Path(__file__).resolve().parents[3] / "docs/subscribers.md").read_text("utf-8")


def block(kind: str, holding: str) -> str:
    """Return the block of code of a kind that holds a text."""
    return next(one for one in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) if holding in one)


def test_its_settings_load(tmp_path: Path) -> None:
    """The example has one subscriber of each kind, and every key of it is known."""
    file = tmp_path / "settings.toml"
    file.write_text(block("toml", "[subscribers.desk]"))
    assert {name: one.kind for name, one in load(file).subscribers.items()} == {
        "desk": "webhook",
        "audit": "kafka",
        "bus": "nats",
    }


def test_its_receiver_tells_genuine_from_false() -> None:
    """The function on the page takes what is signed with the key, by either of two, and nothing else."""
    names: dict[str, Any] = {"base64": base64, "hmac": hmac}
    exec(block("python", "def genuine"), names)  # noqa: S102 - our own page
    key, other = b"0123456789abcdef" * 2, b"fedcba9876543210" * 2
    headers = standard_headers(key, "id-1", 1_763_740_800, b"{}")
    both = headers | {"webhook-signature": f"v1,AAAA v2,x {headers['webhook-signature']}"}
    assert names["genuine"](headers, b"{}", key)
    assert names["genuine"](both, b"{}", key)
    assert not names["genuine"](headers, b"{} ", key)
    assert not names["genuine"](headers, b"{}", other)
    assert not names["genuine"](headers | {"webhook-timestamp": "1"}, b"{}", key)


@pytest.mark.parametrize("field", msgspec.structs.fields(Policy), ids=lambda field: field.name)
def test_its_defaults_are_the_codes(field: msgspec.structs.FieldInfo) -> None:
    """Every key of a policy stands on the page in a row with its default."""
    row = next(line for line in PAGE.splitlines() if line.startswith("|") and f"`{field.name}`" in line.split("|")[1])
    names = re.findall(r"`(\w+)`", row.split("|")[1])
    values = row.split("|")[2].partition(";")[0].split(",")
    assert float(values[names.index(field.name)]) == field.default


def test_it_names_every_field_of_a_message() -> None:
    """The table and the example have the fields that a message has, no more and no fewer."""
    entry = JournalEntry(
        route="r",
        sequence=1,
        intent_id=1,
        kind="k",
        payload="[]",
        at_us=1,
        epoch=1,
        previous_hash=GENESIS,
        hash=GENESIS,
    )
    fields = set(msgspec.json.decode(message_of(entry).body))
    assert set(msgspec.json.decode(block("json", '"v":1').replace("\n", ""))) == fields
    table = PAGE.partition("| Field | Says |")[2].partition("\n\n")[0]
    assert {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    } == fields
