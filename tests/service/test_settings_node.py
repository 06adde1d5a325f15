"""The ``[node]`` part of a settings file: who this process is among several that share a ledger."""

import asyncio
from pathlib import Path

import pytest

from onefill.core.errors import SettingsError
from onefill.engine.settings import NodeSettings
from onefill.service.settings import load
from onefill.service.wiring import holder, open_gateway


def _load(tmp_path: Path, text: str) -> NodeSettings | None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return load(path).node


def test_it_names_the_node_and_what_it_is_to_hold(tmp_path: Path) -> None:
    """Without it the process is no node; a name alone will do."""
    assert _load(tmp_path, "") is None
    assert _load(tmp_path, "[node]\nname = 'a'\n") == NodeSettings(name="a")
    text = "[node]\nname = 'a'\nprefer = ['X', 'Y:ACC']\nmax_routes = 3\n"
    assert _load(tmp_path, text) == NodeSettings(name="a", prefer=("X", "Y:ACC"), max_routes=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("node = 'a'", "node: is a table: write [node] and its keys below"),
        ("[node]\nmax_routes = 3", "node.name: is missing; [node] needs it"),
        ("[node]\nname = ''", "node.name: '' is not a name of 1 to 100 characters without a comma"),
        ("[node]\nname = 'a, b'", "node.name: 'a, b' is not a name of 1 to 100 characters without a comma"),
        ("[node]\nname = 'a'\nmax_routes = 0", "node.max_routes: 0 is not above zero"),
        ("[node]\nname = 'a'\nmost = 1", "node.most: is not a setting; known here: name, prefer, max_routes"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(tmp_path: Path, text: str, told: str) -> None:
    """File, key and form; nothing is started."""
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'settings.toml'}: {told}. Nothing was started"


def test_a_node_is_shown_by_its_name_and_process() -> None:
    """So that `onefill routes` says where to look."""
    assert holder(NodeSettings(name="a")) == f"a, {holder()}"


async def _opened(path: str) -> None:
    async with open_gateway(path, venues={}, node=NodeSettings(name="a")):
        pass


def test_a_file_is_shared_by_nobody(tmp_path: Path) -> None:
    """A node over a ledger file is refused before anything is started: the file's lock would keep the second one out."""
    path = tmp_path / "orders.db"
    with pytest.raises(SettingsError, match="one process has for itself"):
        asyncio.run(_opened(str(path)))
    assert not path.exists()
