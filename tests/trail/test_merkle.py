"""The tree is Certificate Transparency's, and a proof shows what it shows and nothing else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.errors import TrailError
from compliance.trail import (
    consistency_proof,
    inclusion_proof,
    merkle_root,
    verify_consistency,
    verify_inclusion,
)

LARGEST = 70

# Certificate Transparency's own vectors: github.com/google/certificate-transparency
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
CT_INCLUSION = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
"""By index of the leaf (from 0) and size of the tree."""

CT_CONSISTENCY = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
    (6, 7): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}
"""By sizes of the smaller and the larger tree."""


def leaves_of(count: int, salt: bytes = b"") -> list[bytes]:
    return [salt + bytes([n]) for n in range(count)]


ROOTS = [merkle_root(leaves_of(size)) for size in range(LARGEST + 1)]


def is_included(*proof: object) -> bool:
    try:
        verify_inclusion(*proof)
    except TrailError:
        return False
    return True


def is_consistent(*proof: object) -> bool:
    try:
        verify_consistency(*proof)
    except TrailError:
        return False
    return True


@pytest.mark.parametrize("size", range(9))
def test_merkle_roots_are_those_of_certificate_transparency(size: int):
    assert merkle_root(CT_LEAVES[:size]).hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("index", "size"), CT_INCLUSION)
def test_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int):
    proof = inclusion_proof(CT_LEAVES[:size], index)

    assert tuple(node.hex() for node in proof) == CT_INCLUSION[index, size]
    verify_inclusion(CT_LEAVES[index], index, size, proof, bytes.fromhex(CT_ROOTS[size]))


@pytest.mark.parametrize(("first", "size"), CT_CONSISTENCY)
def test_consistency_proofs_are_those_of_certificate_transparency(first: int, size: int):
    proof = consistency_proof(CT_LEAVES[:size], first)

    assert tuple(node.hex() for node in proof) == CT_CONSISTENCY[first, size]
    old, new = (bytes.fromhex(CT_ROOTS[n]) for n in (first, size))
    verify_consistency(first, old, size, new, proof)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40))
def test_merkle_roots_follow_the_definition(leaves: list[bytes]):
    def by_definition(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return hashlib.sha256(b"\0" + part[0]).digest()
        split = max(2**k for k in range(10) if 2**k < len(part))
        left, right = by_definition(part[:split]), by_definition(part[split:])
        return hashlib.sha256(b"\1" + left + right).digest()

    assert merkle_root(leaves) == by_definition(leaves)


def test_every_leaf_of_every_tree_can_be_proved_and_no_other():
    """Up to 70 leaves: each leaf at its place, and not at the others, nor under another root."""
    for size in range(1, LARGEST + 1):
        leaves = leaves_of(size)
        for index in range(size):
            proof = inclusion_proof(leaves, index)

            assert is_included(leaves[index], index, size, proof, ROOTS[size])
            assert not is_included(b"other", index, size, proof, ROOTS[size])
            assert not is_included(leaves[index], index, size, proof, ROOTS[size - 1])
            for other in {0, index - 1, index + 1, index ^ 1, size - 1, size, -1} - {index}:
                assert not is_included(leaves[index], other, size, proof, ROOTS[size])


def test_every_tree_is_shown_to_extend_every_smaller_one_and_no_other():
    for size in range(1, LARGEST + 1):
        leaves = leaves_of(size)
        for first in range(size + 1):
            proof = consistency_proof(leaves, first)
            rewritten = merkle_root(leaves_of(first, salt=b"x"))

            assert is_consistent(first, ROOTS[first], size, ROOTS[size], proof)
            assert first == 0 or not is_consistent(first, rewritten, size, ROOTS[size], proof)
            assert not is_consistent(first, ROOTS[first] + b"\0", size, ROOTS[size], proof)
            assert not is_consistent(size + 1, ROOTS[first], size, ROOTS[size], proof)
            if 0 < first < size:
                other = first + 1 if first + 1 < size else first - 1
                assert not is_consistent(other, ROOTS[first], size, ROOTS[size], proof)
                assert not is_consistent(first, ROOTS[first], size, ROOTS[size - 1], proof)


@given(st.data())
def test_a_changed_proof_shows_nothing(data: st.DataObject):
    size = data.draw(st.integers(2, LARGEST))
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    leaves = leaves_of(size)

    def changed(proof: tuple[bytes, ...]) -> list[bytes]:
        nodes = list(proof)
        place = data.draw(st.integers(0, len(nodes) - 1))
        match data.draw(st.sampled_from(["flip", "drop", "repeat", "add", "swap"])):
            case "flip":
                nodes[place] = bytes([nodes[place][0] ^ 1]) + nodes[place][1:]
            case "drop":
                del nodes[place]
            case "repeat":
                nodes.insert(place, nodes[place])
            case "add":
                nodes.append(ROOTS[1])
            case "swap":
                nodes = nodes[::-1] if len(nodes) > 1 else []
        return nodes

    included = changed(inclusion_proof(leaves, index))
    assert not is_included(leaves[index], index, size, included, ROOTS[size])
    consistent = changed(consistency_proof(leaves, first))
    assert not is_consistent(first, ROOTS[first], size, ROOTS[size], consistent)


@given(
    st.integers(-1, 1 << 70),
    st.integers(-1, 1 << 70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=64),
)
def test_made_up_proofs_end_and_show_nothing(first: int, size: int, proof: list[bytes]):
    assert not is_included(b"leaf", first, size, proof, bytes(32))
    assert not is_consistent(first, bytes(32), size, bytes(31) + b"\1", proof)


def test_a_leaf_or_a_size_that_is_not_there_is_refused():
    with pytest.raises(TrailError, match="leaf 4 of a tree of 3"):
        inclusion_proof(leaves_of(3), 3)
    with pytest.raises(TrailError, match="leaf 0 of a tree of 3"):
        inclusion_proof(leaves_of(3), -1)
    with pytest.raises(TrailError, match="does not extend one of 4"):
        consistency_proof(leaves_of(3), 4)


def test_everything_extends_the_empty_tree_and_its_root_is_that_of_no_leaves():
    assert is_consistent(0, hashlib.sha256(b"").digest(), 3, ROOTS[3], ())
    assert not is_consistent(0, ROOTS[3], 3, ROOTS[3], ())
    assert not is_consistent(0, ROOTS[0], 3, ROOTS[3], (ROOTS[3],))
