"""Merkle trees: the known values of RFC 6962 implementations, and proofs that hold for what is true and for nothing else."""

import contextlib
from typing import Any

import pytest
from core_kit import SEEDED
from hypothesis import given
from hypothesis import strategies as st

from onefill.core.merkle import (
    EMPTY_ROOT,
    Frontier,
    RangeRoots,
    consistency_holds,
    consistency_ranges,
    inclusion_holds,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    root_of,
)

LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The trees over the first 0 to 8 leaves, as published with Certificate Transparency."""
INCLUSIONS = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c6", "5f083f0a1a33ca07", "6b47aaf29ee3c2af"]),
    (6, 8, ["bc1a0643b12e4d2d", "ca854ea128ed050b", "d37ee418976dd957"]),
    (3, 3, ["fac54203e7cc696c"]),
    (2, 5, ["6e340b9cffb37a98", "5f083f0a1a33ca07", "bc1a0643b12e4d2d"]),
]
"""Published audit paths, by their first bytes: leaf (from 1), size, path."""
CONSISTENCIES = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c6", "5f083f0a1a33ca07", "6b47aaf29ee3c2af"]),
    (6, 8, ["0ebc5d3437fbe2db", "ca854ea128ed050b", "d37ee418976dd957"]),
    (2, 5, ["5f083f0a1a33ca07", "bc1a0643b12e4d2d"]),
    (6, 7, ["0ebc5d3437fbe2db", "b08693ec2e721597", "d37ee418976dd957"]),
]
sizes = st.integers(1, 70)


def leaves(count: int) -> list[bytes]:
    """Return leaves that all differ."""
    return [number.to_bytes(2, "big") for number in range(count)]


def path_of(ranges: list[tuple[int, int]], data: list[bytes], step: int = 7) -> list[bytes]:
    """Return a proof's hashes, computed from leaves that pass by a few at a time."""
    roots = RangeRoots(ranges)
    for at in range(0, len(data), step):
        roots.add(data[at : at + step])
    return roots.roots()


def reference(data: list[bytes]) -> bytes:
    """Return the root by the recursive words of RFC 6962, section 2.1."""
    if len(data) < 2:
        return leaf_hash(data[0]) if data else EMPTY_ROOT
    split = 1
    while split * 2 < len(data):
        split *= 2
    return node_hash(reference(data[:split]), reference(data[split:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    """Leaf and node prefixes, and how an uneven tree is split, are those of RFC 6962."""
    assert root_of(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("leaf", "size", "told"), INCLUSIONS)
def test_audit_paths_are_the_published_ones(leaf: int, size: int, told: list[str]) -> None:
    """Their hashes come in the order that other implementations expect."""
    path = path_of(inclusion_ranges(leaf - 1, size), LEAVES, step=3)
    assert [node.hex()[:16] for node in path] == told
    assert inclusion_holds(LEAVES[leaf - 1], leaf - 1, size, path, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new", "told"), CONSISTENCIES)
def test_consistency_proofs_are_the_published_ones(old: int, new: int, told: list[str]) -> None:
    """Likewise."""
    path = path_of(consistency_ranges(old, new), LEAVES, step=3)
    assert [node.hex()[:16] for node in path] == told
    assert consistency_holds(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), path)


@SEEDED
@given(st.lists(st.integers(0, 40), max_size=6))
def test_a_frontier_that_grows_has_the_root_of_the_whole(steps: list[int]) -> None:
    """However many leaves are added at a time, and however often it is written down and read again."""
    data, frontier, done = leaves(sum(steps)), Frontier(), 0
    for step in steps:
        frontier = frontier.extended(data[done : done + step])
        done += step
        assert frontier.root() == reference(data[:done])
        frontier = Frontier.from_bytes(done, frontier.to_bytes())


@pytest.mark.parametrize(("size", "length"), [(3, 32), (3, 96), (4, 0), (0, 32), (-1, 32), (1, 31)])
def test_a_frontier_of_another_size_is_refused(size: int, length: int) -> None:
    """There is one subtree for each bit of the size, no more and no fewer."""
    with pytest.raises(ValueError, match=f"{length} bytes are no frontier of {size} leaves"):
        Frontier.from_bytes(size, bytes(length))


@SEEDED
@given(sizes, st.data())
def test_every_leaf_is_proved_and_only_where_it_is(size: int, data: st.DataObject) -> None:
    """A path holds for its leaf at its place in its tree: not for another leaf, place, size or root, nor if it is changed."""
    index = data.draw(st.integers(0, size - 1))
    all_leaves, root = leaves(size), root_of(leaves(size))
    path = path_of(inclusion_ranges(index, size), all_leaves)
    assert inclusion_holds(all_leaves[index], index, size, path, root)
    assert not inclusion_holds(b"other", index, size, path, root)
    assert not inclusion_holds(all_leaves[index], index, size, path, leaf_hash(b"other"))
    for other in {index - 1, index + 1, size, -1} - {index}:
        assert not inclusion_holds(all_leaves[index], other, size, path, root)
    for altered in _alterations(path):
        assert not inclusion_holds(all_leaves[index], index, size, altered, root)


@SEEDED
@given(sizes, st.data())
def test_growth_is_proved_and_only_growth(new: int, data: st.DataObject) -> None:
    """A consistency proof holds for the two trees it is of, and for no tree in which an older leaf was changed."""
    old = data.draw(st.integers(1, new))
    all_leaves = leaves(new)
    old_root, new_root = root_of(all_leaves[:old]), root_of(all_leaves)
    path = path_of(consistency_ranges(old, new), all_leaves)
    assert consistency_holds(old, new, old_root, new_root, path)
    changed = list(all_leaves)
    changed[data.draw(st.integers(0, old - 1))] = b"changed"
    forged = path_of(consistency_ranges(old, new), changed)
    assert not consistency_holds(old, new, old_root, root_of(changed), forged)
    assert not consistency_holds(old, new, old_root, root_of(changed), path)
    for altered in _alterations(path):
        assert not consistency_holds(old, new, old_root, new_root, altered)
    assert not consistency_holds(new + 1, new, old_root, new_root, path)
    assert not consistency_holds(0, new, EMPTY_ROOT, new_root, path)


@SEEDED
@given(sizes, st.data())
def test_a_tree_stands_for_the_leaves_before_it(size: int, data: st.DataObject) -> None:
    """Where the first leaves are gone and only their tree is left, every later leaf is proved by the same path as ever, and so
    is growth from any tree that was as large: the leaves that are gone are not missed. A leaf that is gone is, unless the tree
    has it as a subtree of its own."""
    all_leaves = leaves(size)
    cut = data.draw(st.integers(0, size - 1))
    tree = Frontier().extended(all_leaves[:cut])

    def from_tree(ranges: list[tuple[int, int]]) -> list[bytes]:
        roots = RangeRoots(ranges, tree)
        roots.add(all_leaves[cut:])
        return roots.roots()

    later = inclusion_ranges(data.draw(st.integers(cut, size - 1)), size)
    assert from_tree(later) == path_of(later, all_leaves)
    growth = consistency_ranges(data.draw(st.integers(max(cut, 1), size)), size)
    assert from_tree(growth) == path_of(growth, all_leaves)
    if cut:
        gone = inclusion_ranges(data.draw(st.integers(0, cut - 1)), size)
        with contextlib.suppress(ValueError):  # it may not be known any more; then that is said, and nothing wrong
            assert from_tree(gone) == path_of(gone, all_leaves)


def _alterations(path: list[bytes]) -> list[list[bytes]]:
    made: list[list[bytes]] = [[*path, bytes(32)]]
    for at, node in enumerate(path):
        made += [path[:at] + path[at + 1 :], [*path[:at], bytes(32), *path[at + 1 :]]]
        made += [[*path[:at], node[:31], *path[at + 1 :]]]
    return made


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: inclusion_ranges(3, 3), "leaf 3 is not in a tree of 3"),
        (lambda: inclusion_ranges(-1, 3), "leaf -1 is not in a tree of 3"),
        (lambda: consistency_ranges(4, 3), "a tree of 3 leaves cannot have grown from one of 4"),
        (lambda: consistency_ranges(0, 3), "a tree of 3 leaves cannot have grown from one of 0"),
        (lambda: path_of(inclusion_ranges(0, 4), leaves(3)), "of leaves 2 to 3 only 1 were there"),
    ],
)
def test_what_cannot_be_proved_is_said(ask: Any, told: str) -> None:
    """A proof is asked for only of what there is."""
    with pytest.raises(ValueError, match=told):
        ask()
