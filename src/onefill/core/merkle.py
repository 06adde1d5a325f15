"""Merkle trees (RFC 6962, section 2.1): one signed hash stands for a whole journal, one entry is proved without the rest.

The leaves are the entries' chain hashes, not their canonical bytes. A chain hash is itself SHA-256 over the hash before and the
canonical bytes, so a leaf commits to as much; but it has 32 bytes whatever the entry holds, a tree is made without reading a
payload, and a proof shows no entry but the one it is about.

A tree that grows is kept as its :class:`Frontier`: the roots of the perfect subtrees that it is put together from, at most one
for each power of two. A proof is a list of subtree roots as well: :func:`inclusion_ranges` and :func:`consistency_ranges` say
over which leaves, and :class:`RangeRoots` computes them from one pass over all leaves, in constant memory.
"""

from collections.abc import Sequence
from hashlib import sha256

import msgspec

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""
_LEAF, _NODE = b"\x00", b"\x01"

Range = tuple[int, int]
"""Leaves from the first number to before the second, counted from 0."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over its two children."""
    return sha256(_NODE + left + right).digest()


class Frontier(msgspec.Struct, frozen=True, gc=False):
    """A tree of ``size`` leaves as the roots of its perfect subtrees, the largest (and leftmost) first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """Return the frontier that :meth:`to_bytes` wrote. Raises ValueError if there is none such of this size."""
        if size < 0 or len(data) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"{len(data)} bytes are no frontier of {size} leaves")
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)))

    def to_bytes(self) -> bytes:
        """Return the subtree roots one behind the other."""
        return b"".join(self.peaks)

    def root(self) -> bytes:
        """Return the root of the tree."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def extended(self, data: Sequence[bytes]) -> "Frontier":
        """Return the frontier of the tree with these leaves added. Costs as much as the new leaves alone.

        Works level by level, which is several times faster than leaf by leaf.
        """
        nodes = [sha256(_LEAF + leaf).digest() for leaf in data]
        old, spare = list(self.peaks), []
        level = 0
        while nodes or self.size >> level:
            if self.size >> level & 1:
                nodes.insert(0, old.pop())
            if len(nodes) & 1:
                spare.append(nodes.pop())
            nodes = [sha256(_NODE + nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes), 2)]
            level += 1
        return Frontier(self.size + len(data), tuple(reversed(spare)))


def root_of(data: Sequence[bytes]) -> bytes:
    """Return the root of the tree over these leaves (RFC 6962: MTH)."""
    return Frontier().extended(data).root()


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return over which leaves the hashes of an inclusion proof are the roots, in the proof's order (RFC 6962: PATH)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    ranges, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """Return over which leaves the hashes of a consistency proof are the roots, in the proof's order (RFC 6962: PROOF)."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {new} leaves cannot have grown from one of {old}")
    ranges, low, high = [], 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:  # an old tree that is itself a subtree of the new one is known to whoever checks
        ranges.append((low, high))
    return ranges[::-1]


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _part(tree: Frontier, low: int, high: int) -> Frontier:
    """Return the tree over the leaves from ``low`` to before ``high``, as part of a larger one. Raises ValueError."""
    if low >= high:
        return Frontier()
    peaks, at = [], 0
    for level, peak in zip(_levels(tree.size), tree.peaks, strict=True):
        if low <= at and at + (1 << level) <= high:
            peaks.append(peak)
        elif at < high and at + (1 << level) > low:
            raise ValueError(f"of leaves {low} to {high - 1} only a part is known: they are inside a subtree")
        at += 1 << level
    return Frontier(high - low, tuple(peaks))


def _levels(size: int) -> list[int]:
    """Return the heights of a tree's perfect subtrees, the largest first."""
    return [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]


class RangeRoots:
    """Computes the roots over ranges of leaves, none of which overlap, while all leaves pass by once."""

    def __init__(self, ranges: Sequence[Range], begin: Frontier | None = None) -> None:
        """``begin``: the tree over the first leaves, where only those after them will pass.

        Raises ValueError if the root over some range cannot be told from that: if it ends inside one of the tree's subtrees.
        """
        self._ranges = list(ranges)
        begin = begin or Frontier()
        self._frontiers = [_part(begin, low, min(high, begin.size)) for low, high in ranges]
        self._at = begin.size

    def add(self, data: Sequence[bytes]) -> None:
        """Take the next leaves."""
        end = self._at + len(data)
        for number, (low, high) in enumerate(self._ranges):
            if low < end and high > self._at:
                mine = data[max(low - self._at, 0) : high - self._at]
                self._frontiers[number] = self._frontiers[number].extended(mine)
        self._at = end

    def roots(self) -> list[bytes]:
        """Return the root of each range. Raises ValueError if leaves of some range have not passed."""
        for (low, high), frontier in zip(self._ranges, self._frontiers, strict=True):
            if frontier.size != high - low:
                raise ValueError(f"of leaves {low} to {high - 1} only {frontier.size} were there")
        return [frontier.root() for frontier in self._frontiers]


def inclusion_holds(data: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``path`` proves that ``data`` is leaf ``index`` of the tree of ``size`` leaves with this root."""
    if not 0 <= index < size or any(len(node) != HASH_BYTES for node in path):
        return False
    ranges = inclusion_ranges(index, size)
    if len(path) != len(ranges):
        return False
    made = leaf_hash(data)
    for node, (low, _) in zip(path, ranges, strict=True):
        made = node_hash(made, node) if index < low else node_hash(node, made)
    return made == root


def consistency_holds(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether ``path`` proves that the tree of ``new`` leaves begins with the tree of ``old`` leaves."""
    if not 0 < old <= new or any(len(node) != HASH_BYTES for node in path):
        return False
    ranges = consistency_ranges(old, new)
    if len(path) != len(ranges):
        return False
    rest = list(zip(path, ranges, strict=True))
    if ranges and ranges[0][1] == old:  # the last part of the old tree
        made_old = made_new = rest.pop(0)[0]
    else:
        made_old = made_new = old_root
    for node, (low, _) in rest:
        if low < old:
            made_old = node_hash(node, made_old)
            made_new = node_hash(node, made_new)
        else:
            made_new = node_hash(made_new, node)
    return made_old == old_root and made_new == new_root
