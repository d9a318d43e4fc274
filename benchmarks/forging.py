"""What whoever changes a pack does so that it looks whole again, with and without its keys.

    files = relisted(files)                     # all lists and the root digest fit again
    files = signed(relisted(files), key)        # and the statement is signed, with whatever key
    files = chained(files, entries)             # a trail of other entries, its chain made anew

A pack is a dict of bytes by path here. What is signed is spelt by hand, as `evidence/FORMAT.md`
says, so that nothing the verifier trusts is used to deceive it; of our own code only what makes
lists and the root digest is taken.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from compliance.packs import layout
from compliance.packs.reading import PackItems, parse_salts
from compliance.packs.roots import item_leaf, root_leaves
from compliance.trail import merkle_root

Files = dict[str, bytes]
Entry = dict[str, Any]


def relisted(files: Mapping[str, bytes]) -> Files:
    """The same files with manifest, bag-info.txt, root digest and tag manifest made anew."""
    listed = {path: _hex(data) for path, data in files.items() if path.startswith("data/")}
    info = layout.parse_info(files[layout.BAG_INFO])
    octets = sum(len(files[path]) for path in listed)
    info |= {"Payload-Oxum": f"{octets}.{len(listed)}", "Root-Digest": root_of(files)}
    made = {
        layout.BAG_INFO: layout.render_info(info),
        layout.MANIFEST: layout.render_manifest(listed),
    }
    return retagged({**files, **made})


def retagged(files: Mapping[str, bytes]) -> Files:
    """The same files with the list of those outside ``data/`` made anew."""
    tags = {
        path: _hex(data)
        for path, data in files.items()
        if not path.startswith("data/") and path != layout.TAG_MANIFEST
    }
    return {**files, layout.TAG_MANIFEST: layout.render_manifest(tags)}


def root_of(files: Mapping[str, bytes]) -> str:
    """The root digest that the files give."""
    start = layout.OBSERVATIONS
    observations = {
        path.removeprefix(start): f"sha256:{_hex(data)}"
        for path, data in files.items()
        if path.startswith(start)
    }
    salts = parse_salts(files[layout.SALTS])
    leaves = root_leaves(files[layout.EVIDENCE], salts, observations, ())
    return "sha256:" + merkle_root([*leaves, *_item_leaves(files[layout.ITEMS])]).hex()


@lru_cache(64)
def _item_leaves(data: bytes) -> tuple[bytes, ...]:
    """The last leaves of the root, which few changes touch."""
    return tuple(item_leaf(item) for item in PackItems(lambda: io.BytesIO(data)))


def signed(files: Mapping[str, bytes], key: Ed25519PrivateKey, **said: Any) -> Files:
    """The issuer's statement about these files as they are, signed with ``key``.

    Args:
        files: Of the pack, lists included.
        key: The issuer's, or one of the forger's own.
        said: What else the statement says from now on, such as its ``version``.

    Returns:
        The files; without what others signed and stamped, which nobody can make fit.
    """
    others = (layout.APPROVALS, layout.TIME_STAMP)
    kept = {path: data for path, data in files.items() if not path.startswith(others)}
    made = {
        layout.STATEMENT: envelope(kept, kept[layout.STATEMENT], key, **said),
        layout.MANIFEST_SIGNATURE: key.sign(kept[layout.MANIFEST]),
        layout.PUBLIC_KEY: key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ),
    }
    return retagged({**kept, **made})


def envelope(
    files: Mapping[str, bytes], before: bytes, key: Ed25519PrivateKey, **said: Any
) -> bytes:
    """An envelope like ``before`` about ``files`` as they are, signed with ``key``."""
    old = json.loads(before)
    statement = json.loads(base64.b64decode(old["payload"]))
    root = layout.parse_info(files[layout.BAG_INFO])["Root-Digest"]
    for subject in statement["subject"]:
        name = subject["name"]
        subject["digest"] = (
            {"rfc6962Sha256": root.removeprefix("sha256:")}
            if name == "root"
            else {"sha256": _hex(files[name])}
        )
    statement["predicate"] |= {"root_digest": root} | said
    payload = rfc8785.dumps(statement)
    kind = old["payloadType"].encode()
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = {"keyid": f"sha256:{_hex(der)}", "sig": _b64(key.sign(pae))}
    return rfc8785.dumps({**old, "payload": _b64(payload), "signatures": [signature]})


def entries_of(files: Mapping[str, bytes]) -> list[Entry]:
    """The entries of a trail as plain values."""
    return [json.loads(line) for line in files[layout.TRAIL].splitlines()]


def chained(files: Mapping[str, bytes], entries: Sequence[Entry]) -> Files:
    """The same files with a trail of these entries, numbers and chain made anew."""
    previous, lines = "sha256:" + _hex(b""), []
    for number, entry in enumerate(entries, start=1):
        made = {**entry, "sequence": number, "previous": previous}
        made.pop("digest", None)
        line = rfc8785.dumps({**made, "digest": "sha256:" + _hex(rfc8785.dumps(made))})
        lines.append(line)
        previous = "sha256:" + _hex(line)
    return {**files, layout.TRAIL: b"".join(line + b"\n" for line in lines)}


def checkpointed(files: Mapping[str, bytes], key: Ed25519PrivateKey) -> Files:
    """The same files with a checkpoint over their trail, signed with ``key``."""
    pack_id = layout.parse_info(files[layout.BAG_INFO])["External-Identifier"]
    name, lines = layout.origin(pack_id), files[layout.TRAIL].splitlines()
    body = f"{name}\n{len(lines)}\n{_b64(merkle_root(lines))}\n".encode()
    public = key.public_key().public_bytes_raw()
    key_hash = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    signature = _b64(key_hash + key.sign(body))
    note = body + f"\n\N{EM DASH} {name} {signature}\n".encode()
    return {**files, layout.CHECKPOINT: note}


def insider(files: Mapping[str, bytes], key: Ed25519PrivateKey, **said: Any) -> Files:
    """Everything redone and signed with the issuer's own key, the checkpoint included."""
    return signed(relisted(checkpointed(files, key)), key, **said)


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
