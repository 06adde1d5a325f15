"""The index of the venue pages: it has every page, and every venue whose manners are known has one."""

import re
from pathlib import Path

import pytest

from onefill.service.settings import load
from onefill.service.venue_settings import CcxtSettings
from onefill.venues.ccxt.credentials import CREDENTIALS
from onefill.venues.ccxt.known import MANNERS

PAGES = Path(__file__).parents[3] / "docs" / "venues"
INDEX = (PAGES / "README.md").read_text()


def test_every_page_is_in_the_index_and_every_link_leads_somewhere() -> None:
    """By the name of its file."""
    linked = set(re.findall(r"\]\(([a-z_-]+\.md)\)", INDEX))
    assert linked == {page.name for page in PAGES.glob("*.md")} - {"README.md"}
    for target in re.findall(r"\]\((\.\./[^)]+)\)", INDEX):
        assert (PAGES / target).exists(), target


@pytest.mark.parametrize("ccxt_id", sorted(MANNERS))
def test_a_venue_whose_manners_are_known_is_in_the_index(ccxt_id: str) -> None:
    """With its profile, what ccxt calls it, and its page."""
    profile = MANNERS[ccxt_id].profile
    assert f"| `{profile}` | `{ccxt_id}` | [{profile}.md]({profile}.md) |" in INDEX


def test_the_settings_shown_can_be_used(tmp_path: Path) -> None:
    """The table of a venue is read as it stands, and every variable of a credential is named."""
    (shown,) = re.findall(r"```toml\n(.*?)```", INDEX, re.DOTALL)
    file = tmp_path / "onefill.toml"
    file.write_text(shown)
    (venue,) = load(file).venues.values()
    assert isinstance(venue, CcxtSettings)
    assert venue.exchange == "kraken"
    assert all(f"`OKX_{name}`" in INDEX for name in CREDENTIALS)
