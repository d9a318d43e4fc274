"""The Merkle tree of RFC 6962 over any leaves, and proofs about it.

::

    root = merkle_root(leaves)
    path = inclusion_proof(leaves, 3)
    verify_inclusion(leaves[3], 3, len(leaves), path, root)

    path = consistency_proof(leaves, 4)             # the first four leaves are still the first four
    verify_consistency(4, old_root, len(leaves), root, path)

Who checks a proof needs no other leaf. Proofs are checked by the algorithms of RFC 9162, which
walk the path from the leaf to the root; they share nothing with the code that makes proofs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from compliance.errors import TrailError


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """Root of the Merkle tree of RFC 6962, section 2.1: 32 bytes.

    Leaves are taken one by one: kept are the roots of whole trees, each at least twice as large as
    the one after it, so that of a million leaves there are at most twenty.
    """
    trees: list[tuple[int, bytes]] = []
    for leaf in leaves:
        size, root = 1, leaf_hash(leaf)
        while trees and trees[-1][0] == size:
            root, size = _node(trees.pop()[1], root), 2 * size
        trees.append((size, root))
    if not trees:
        return hashlib.sha256(b"").digest()
    root = trees.pop()[1]
    while trees:
        root = _node(trees.pop()[1], root)
    return root


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf, told apart from a node's by its first byte."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Hashes that lead from leaf ``index`` (from 0) to the root, the nearest first.

    Raises:
        TrailError: There is no such leaf.

    Source: RFC 9162, section 2.1.3.1.
    """
    if not 0 <= index < len(leaves):
        raise TrailError(f"leaf {index + 1} of a tree of {len(leaves)}: there is no such leaf")
    return tuple(_path([leaf_hash(leaf) for leaf in leaves], index))


def consistency_proof(leaves: Sequence[bytes], size: int) -> tuple[bytes, ...]:
    """Hashes that show how the tree of the first ``size`` leaves became the tree of all.

    Raises:
        TrailError: The tree was never of that size.

    Source: RFC 9162, section 2.1.4.1. It leaves the empty tree out; everything extends that, and
    its proof is empty.
    """
    if not 0 <= size <= len(leaves):
        raise TrailError(f"a tree of {len(leaves)} leaves does not extend one of {size}")
    if size in (0, len(leaves)):
        return ()
    return tuple(_extension([leaf_hash(leaf) for leaf in leaves], size, whole=True))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that ``leaf`` is leaf ``index`` (from 0) of the tree of ``size`` leaves.

    Raises:
        TrailError: The proof does not show it.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise TrailError(f"inclusion: leaf {index + 1} of a tree of {size} cannot be")
    place, last, found = index, size - 1, leaf_hash(leaf)
    for sibling in proof:
        if last == 0:
            raise TrailError("inclusion: the proof is longer than the tree is high")
        if place & 1 or place == last:
            found = _node(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = _node(found, sibling)
        place, last = place >> 1, last >> 1
    if last or found != root:
        raise TrailError("inclusion: the proof does not lead from the leaf to the root")


def verify_consistency(
    first_size: int, first_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of ``size`` leaves begins with all of the tree of ``first_size``.

    Raises:
        TrailError: The proof does not show it.

    Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 <= first_size <= size:
        raise TrailError(
            f"consistency: a tree of {size} leaves does not extend one of {first_size}"
        )
    if first_size in (0, size):
        same = first_root == (merkle_root(()) if first_size == 0 else root)
        if proof or not same:
            raise TrailError("consistency: two trees of one size differ, or the proof is not empty")
        return
    hashes = list(proof)
    if first_size & (first_size - 1) == 0:  # a whole tree is a node of the larger one
        hashes.insert(0, first_root)
    place, last = first_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if not hashes:
        raise TrailError("consistency: the proof is empty")
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise TrailError("consistency: the proof is longer than the tree is high")
        if place & 1 or place == last:
            first, second = _node(sibling, first), _node(sibling, second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = _node(second, sibling)
        place, last = place >> 1, last >> 1
    if last or first != first_root or second != root:
        raise TrailError("consistency: the proof does not lead from the one root to the other")


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below ``count``, which is above 1."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return _node(_subtree(hashes[:split]), _subtree(hashes[split:]))


def _path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    left, right = hashes[:split], hashes[split:]
    if index < split:
        return [*_path(left, index), _subtree(right)]
    return [*_path(right, index - split), _subtree(left)]


def _extension(hashes: Sequence[bytes], size: int, *, whole: bool) -> list[bytes]:
    """``SUBPROOF`` of the RFC; ``whole``: this subtree is all of the first tree."""
    if size == len(hashes):
        return [] if whole else [_subtree(hashes)]
    split = _split(len(hashes))
    left, right = hashes[:split], hashes[split:]
    if size <= split:
        return [*_extension(left, size, whole=whole), _subtree(right)]
    return [*_extension(right, size - split, whole=False), _subtree(left)]
