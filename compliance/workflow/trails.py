"""The audit trail by itself: look at it, state something in it, sign its head, prove, check.

::

    state(Path("audit.yaml"), "deviation", text="Two items were left out.", by="A. Person, QA")
    note = sign_trail(Path("audit.yaml"), KeySource(Path("keys/issuer.pem")))
    proof = prove_since(Path("trail.jsonl"), Path("checkpoint-of-last-year"))

Nothing is ever taken out of a trail: what was stated in error is followed by another statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from compliance import trail
from compliance.catalog.declarations import read_system
from compliance.documents import read_yaml
from compliance.errors import PackError, TrailError
from compliance.keys import PublicKey
from compliance.keys.opening import KeySource, open_signer
from compliance.packs import layout
from compliance.packs.checks.contents import not_checked
from compliance.packs.folder import failed
from compliance.packs.reading import read_pack
from compliance.records.audit import AuditConfig
from compliance.records.pack import parse_canonical
from compliance.records.trail import ConsistencyProof, Entry, InclusionProof
from compliance.records.verification import Check, Outcome
from compliance.runs import newest_run, trail_of
from compliance.workflow.stages import now

Statement = Literal["deviation", "superseded", "withdrawn"]
"""What a person can state. Reviews and approvals are signatures: see `compliance sign`."""

Proof = InclusionProof | ConsistencyProof

MAX_TEXT = 2000
"""Characters of a statement, which the report prints whole."""

MAX_FILE = 1 << 20
"""Bytes of a checkpoint or a proof that are read."""

_PROOF: TypeAdapter[Proof] = TypeAdapter(InclusionProof | ConsistencyProof)


def show_trail(path: Path) -> tuple[Entry, ...]:
    """All entries, once the chain was checked.

    Args:
        path: A trail, or the ``audit.yaml`` beside it.

    Raises:
        TrailError: There is no trail, or it is broken; the message names the line.
    """
    return trail.read(_trail_file(path))


def state(
    audit_file: Path, kind: Statement, *, by: str, text: str | None = None, pack: Path | None = None
) -> Entry:
    """Write into the trail what a person states.

    Args:
        audit_file: ``audit.yaml``. A deviation is from the plan of its newest run.
        kind: What is stated.
        by: The person's name and function.
        text: What was done otherwise, or why; required but for ``superseded``.
        pack: The pack that is superseded or withdrawn; none for a deviation.

    Raises:
        TrailError: Something is missing or does not belong, or the trail is broken.
        PackError: The pack cannot be read, or is of another system.
    """
    config, folder = read_yaml(audit_file, AuditConfig), audit_file.parent
    facts: dict[str, str] = {}
    if text is not None:
        facts["text"] = _plain(text, "the text")
    if (pack is None) != (kind == "deviation"):
        wanted = "is about a plan, and takes no pack" if pack else "needs the pack that it is about"
        raise TrailError(f"{kind} {wanted}")
    if pack is not None:
        facts |= _named(pack, read_system(folder / config.system).name)
    elif run := newest_run(folder):
        facts["run"] = run
    if kind != "superseded" and "text" not in facts:
        raise TrailError(f"{kind} needs a text", hint="say what was done otherwise, or why")
    actor = _plain(by, "the person")
    return trail.append(trail_of(folder), kind, dict(facts), at=now(), actor=actor)


def sign_trail(audit_file: Path, key: KeySource) -> bytes:
    """The signed head of the trail as it is now, for somebody else to keep.

    Raises:
        TrailError: There is no trail, or it is broken.
        PackError: The key cannot be used.
    """
    config = read_yaml(audit_file, AuditConfig)
    system = read_system(audit_file.parent / config.system)
    entries = show_trail(audit_file)
    with open_signer(key) as signer:
        origin = layout.log_name(system.name)
        return trail.sign_checkpoint(entries, origin=origin, signer=signer)


def prove_entry(path: Path, number: int) -> InclusionProof:
    """Show that an entry (from 1) stands in the trail.

    Raises:
        TrailError: There is no such entry, or no whole trail.
    """
    return trail.prove_entry(show_trail(path), number)


def prove_since(path: Path, checkpoint: Path) -> ConsistencyProof:
    """Show that the trail only went on since a checkpoint.

    Raises:
        TrailError: It did not, or one of the two cannot be read.
    """
    return trail.prove_extension(show_trail(path), trail.read_checkpoint(_read(checkpoint)))


def check_trail(
    path: Path | None = None,
    *,
    checkpoints: Sequence[Path] = (),
    key: PublicKey | None = None,
    proof: Path | None = None,
) -> tuple[Check, ...]:
    """Check a trail against what somebody kept of it, or a proof where the trail is elsewhere.

    Args:
        path: A trail, or the ``audit.yaml`` beside it.
        checkpoints: Signed heads, of this state or of earlier ones.
        key: Who signed them.
        proof: What `prove_entry` or `prove_since` gave.

    Raises:
        TrailError: A checkpoint or a proof cannot be read as one, or there is nothing to check.
    """
    if path is None and proof is None:
        raise TrailError("nothing to check", hint="give a trail, or a proof and a checkpoint")
    notes = [_read(file) for file in checkpoints]
    heads = [trail.read_checkpoint(note) for note in notes]
    found = [check for note in notes for check in _signatures(note, key)]
    if path is not None:
        found += _against_trail(path, heads)
    if proof is not None:
        found += _proved(_read_proof(proof), heads, path)
    return tuple(found)


def _signatures(note: bytes, key: PublicKey | None) -> Iterator[Check]:
    if key is None:
        yield not_checked("signature", "no key was given to check the checkpoint's signature with")
        return
    try:
        said = trail.open_checkpoint(note, key)
    except TrailError as error:
        yield failed("signature", None, str(error))
        return
    yield _passed("signature", f"the key signed the checkpoint of {said.size} entries")


def _against_trail(path: Path, heads: Sequence[trail.Checkpoint]) -> Iterator[Check]:
    try:
        entries = show_trail(path)
    except TrailError as error:
        yield failed("chain", None, str(error))
        return
    yield _passed("chain", f"the chain of {len(entries)} entries is whole")
    for kept in heads:
        if trail.extends(entries, kept):
            yield _passed("checkpoint", f"the trail goes on from the checkpoint of {kept.size}")
        elif kept.size > len(entries):
            message = f"the checkpoint is of {kept.size} entries, this trail has {len(entries)}"
            yield failed("checkpoint", None, f"{message}: it was cut, or is an older one")
        else:
            message = f"the first {kept.size} entries are not those of the checkpoint"
            yield failed("checkpoint", None, f"{message}: the trail was written anew")


def _proved(proof: Proof, heads: Sequence[trail.Checkpoint], path: Path | None) -> Iterator[Check]:
    try:
        trail.verify_proof(proof)
    except TrailError as error:
        yield failed("proof", None, str(error))
        return
    about = trail.heads(proof)
    known = {kept.size: kept.root for kept in heads}
    if path is not None:
        entries = show_trail(path)
        known |= {size: trail.checkpoint_of(entries[:size], "").root for size in about}
    strange = [size for size in known if about.get(size) != known[size]]
    if strange:
        yield failed("proof", None, f"the proof is not about the {strange[0]} entries at hand")
    elif missing := sorted(about.keys() - known.keys()):
        message = f"it holds if the Merkle root of {missing[0]} entries is {_shown(about, missing)}"
        yield not_checked("proof", f"{_claim(proof)}; {message}: no checkpoint of it was given")
    else:
        yield _passed("proof", _claim(proof))


def _claim(proof: Proof) -> str:
    if isinstance(proof, InclusionProof):
        entry = proof.entry
        return f"entry {entry.sequence} of {proof.size} is {entry.kind!r} of {entry.at}"
    return f"the trail of {proof.size} entries goes on from that of {proof.first_size}"


def _shown(about: dict[int, bytes], missing: Sequence[int]) -> str:
    return f"sha256:{about[missing[0]].hex()}"


def _passed(name: str, message: str) -> Check:
    return Check(name=name, status=Outcome.PASSED, message=message)


def _trail_file(path: Path) -> Path:
    return trail_of(path.parent) if path.suffix in (".yaml", ".yml") else path


def _named(pack: Path, system: str) -> dict[str, str]:
    """How the trail names a pack: by its id and its root digest."""
    with read_pack(pack) as opened:
        issued = opened.statement.predicate
    if layout.origin(issued.pack_id) != layout.log_name(system):
        raise PackError(f"{issued.pack_id}: not a pack of {system!r}")
    return {"pack": issued.pack_id, "root": issued.root_digest}


def _plain(text: str, what: str) -> str:
    """One line of at most `MAX_TEXT` characters."""
    line = " ".join(text.split())
    if not 0 < len(line) <= MAX_TEXT:
        raise TrailError(f"{what}: {len(line)} characters, expected 1 to {MAX_TEXT}")
    return line


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise TrailError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error
    if len(data) > MAX_FILE:
        raise TrailError(f"{path}: longer than {MAX_FILE} bytes; is it the right file?")
    return data


def _read_proof(path: Path) -> Proof:
    try:
        return _PROOF.validate_python(parse_canonical(_read(path).removesuffix(b"\n")))
    except ValidationError as error:
        raise TrailError(f"{path}: not a proof that 'compliance trail prove' writes") from error
    except ValueError as error:
        raise TrailError(f"{path}: {error}") from error
