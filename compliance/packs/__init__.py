"""Packs: signed folders of evidence. Built, versioned, signed, checked; no torch, no renderer."""

from compliance.keys import Signer, create_keys, load_private_key, load_public_key
from compliance.packs.approve import approve_pack
from compliance.packs.build import PackContents, build_pack
from compliance.packs.integrity import check_integrity
from compliance.packs.reading import OpenPack, read_pack
from compliance.packs.version import Parent, next_version
from compliance.packs.zipped import zip_pack

__all__ = [
    "OpenPack",
    "PackContents",
    "Parent",
    "Signer",
    "approve_pack",
    "build_pack",
    "check_integrity",
    "create_keys",
    "load_private_key",
    "load_public_key",
    "next_version",
    "read_pack",
    "zip_pack",
]
