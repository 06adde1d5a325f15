"""The ``[risk]`` part of a settings file."""

from decimal import Decimal
from pathlib import Path

import pytest

from onefill.core.errors import SettingsError
from onefill.core.risk_limits import InForce, Limits, Risk, SelfCrossing, WithoutReference
from onefill.service.settings import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a place for a settings file."""
    return tmp_path / "onefill.toml"


def test_every_limit_in_every_scope_is_read(file: Path) -> None:
    """Each key arrives exact, and the most specific scope wins."""
    file.write_text(
        '[risk]\nmax_quantity = "0.1"\nmax_notional = 1000\ncollar = "0.05"\nwithout_reference = "pass"\n'
        'max_position = "100"\nmax_strategy_position = "50"\nmax_open_orders = 10\nmax_orders_per_s = 20\n'
        'self_crossing = "allow"\nsimilar_window_s = 0.5\n'
        '[risk.accounts.main]\nmax_quantity = "2"\n[risk.strategies.momentum]\nmax_position = "none"\n'
        '[risk.instruments."BTC/USD"]\nsimilar_window_s = 0\n'
    )
    risk = load(file).risk
    assert risk is not None
    assert risk.in_force("other", "other", "OTHER") == InForce(
        max_quantity=Decimal("0.1"),
        max_notional=Decimal(1000),
        collar=Decimal("0.05"),
        without_reference=WithoutReference.PASS,
        max_position=Decimal(100),
        max_strategy_position=Decimal(50),
        max_open_orders=10,
        max_orders_per_s=20,
        self_crossing=SelfCrossing.ALLOW,
        similar_window_s=0.5,
    )
    found = risk.in_force("main", "momentum", "BTC/USD")
    assert (found.max_quantity, found.max_position, found.similar_window_us) == (2, None, 0)


def test_no_part_means_no_gates_and_an_empty_one_means_the_defaults(file: Path) -> None:
    """What is not asked for does not refuse anything."""
    file.write_text("")
    assert load(file).risk is None
    file.write_text("[risk]")
    assert load(file).risk == Risk(limits=Limits())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("risk = 3", "risk: is a table: write [risk] and its keys below"),
        ("[risk]\naccounts = 3", "risk.accounts: is a table: write [risk.accounts] and its keys below"),
        ("[risk.accounts]\nmain = 3", "risk.accounts.main: is a table: write [risk.accounts.main] and its keys below"),
        ("[risk]\nmax_size = 1", "risk.max_size: is not a setting; known here: max_quantity, max_notional, collar, "),
        ("[risk]\nmax_size = 1", "similar_window_s, accounts, strategies, instruments"),
        ("[risk.accounts.a]\nmax_size = 1", "risk.accounts.a.max_size: is not a setting; known here: max_quantity, "),
        ('[risk.accounts."a b"]', "risk.accounts.a b: 'a b' is not a name"),
        ("[risk]\nmax_quantity = 0.1", 'risk.max_quantity: 0.1 is not exact; write it in quotes: max_quantity = "0.1"'),
        ('[risk]\nmax_quantity = "-1"', 'risk.max_quantity: -1 is below zero; "none" lifts the limit'),
        (
            '[risk]\nmax_quantity = "off"',
            "risk.max_quantity: 'off' is not a plain decimal number such as 12.50; \"none\"",
        ),
        ("[risk]\nmax_quantity = true", "risk.max_quantity: expected a Decimal, an int or text, got bool"),
        (
            '[risk.strategies.s]\ncollar = "5"',
            "risk.strategies.s.collar: 5 is not below 1; it is a fraction: 0.05 is 5 %",
        ),
        ("[risk]\nmax_open_orders = 1.5", "risk.max_open_orders: 1.5 is not exact"),
        ('[risk]\nmax_open_orders = "3"', "risk.max_open_orders: '3' is not a whole number from zero on"),
        ('[risk]\nself_crossing = "none"', "risk.self_crossing: 'none' is none of: refuse, allow"),
        ("[risk]\nwithout_reference = 1", "risk.without_reference: '1' is none of: refuse, pass"),
        (
            '[risk]\nsimilar_window_s = "none"',
            "risk.similar_window_s: 'none' is not a number of seconds from 0 to 3600",
        ),
        ("[risk]\nsimilar_window_s = -1", "risk.similar_window_s: -1 is not a number of seconds from 0 to 3600"),
    ],
)
def test_a_wrong_limit_is_named_with_file_key_and_what_is_allowed(file: Path, text: str, told: str) -> None:
    """Nothing is started by halves."""
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: risk")
    assert told in str(caught.value)
    assert str(caught.value).endswith(". Nothing was started")
