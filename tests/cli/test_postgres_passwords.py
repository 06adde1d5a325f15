"""A database's password in a ledger's URL is shown by no command, whatever goes well or wrong."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_kit import onefill

from onefill.cli.incident_commands import _next
from onefill.core.incident import Incident, IncidentKind

COMMANDS = [
    "migrate {url} --check",
    "status {url}",
    "routes {url}",
    "routes hand-over {url} sim",
    "freeze {url} sim --reason r",
    "release {url} sim --reason r",
    "orders --ledger {url}",
    "show k --ledger {url}",
    "steps k --ledger {url}",
    "positions --ledger {url}",
    "uncertain --ledger {url}",
    "incidents {url}",
    "incidents show {url} sim-1",
    "subscribers {url}",
    "subscribers retry {url} desk --reason r",
    "subscribers rewind {url} desk --to 1 --reason r",
    "replay {url}",
    "reconcile {url}",
    "metrics {url}",
    "audit log --ledger {url}",
    "audit verify --ledger {url}",
    "audit export --ledger {url}",
    "audit prove sim 1 --ledger {url}",
    "archive {url} --before 2026-01-01 --to {folder} --unsigned",
]
"""Each meets something: nothing there, something unknown, or a ledger that is not made."""


def test_no_command_shows_the_password(postgres_url: str, tmp_path: Path) -> None:
    """Before the ledger is made and after, as text and as JSON: what a command writes never holds it."""
    password = urlsplit(postgres_url).password
    assert password
    for made in (False, True):
        if made:
            assert onefill("migrate", postgres_url).code == 0
        for command in COMMANDS:
            words = [word.format(url=postgres_url, folder=tmp_path) for word in command.split()]
            for more in ([], ["--json"]):
                done = onefill(*words, *more)
                assert done.out + done.err, command
                assert password not in done.out + done.err, command


@pytest.mark.parametrize("kind", IncidentKind)
def test_what_to_do_about_an_incident_names_the_ledger_without_its_password(kind: IncidentKind) -> None:
    """Commands that are offered for copying hold the URL as it may be shown, whatever the incident is about."""
    one = Incident(route="sim", number=1, kind=kind, subject="desk k1", opened_at_us=1, summary="s")
    lines = "\n".join(_next(one, "postgresql://gateway:s3cret@db1/orders"))
    assert "postgresql://gateway@db1/orders" in lines
    assert "s3cret" not in lines
