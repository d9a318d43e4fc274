"""The append-only audit trail: what happened, in which order, by whom.

::

    append(path, "run-started", {"split": "fit"}, at=now, actor="sae-compliance 0.1.0")
    append_record(path, "plan-frozen", plan, at=now, actor=...)     # embeds the whole plan
    entries = read(path)                                            # checks every link
    note = sign_checkpoint(entries, origin="sae-compliance/demo", signer=signer)
    proof = prove_extension(entries, open_checkpoint(earlier_note, key))

``log`` is the file, ``merkle`` the tree over its lines, ``checkpoint`` the signed head and proofs
about it, ``runs`` tells which entries belong together.
"""

from compliance.trail.checkpoint import (
    Checkpoint,
    NoteSigner,
    checkpoint_of,
    extends,
    heads,
    names_key,
    open_checkpoint,
    prove_entry,
    prove_extension,
    read_checkpoint,
    sign_checkpoint,
    verify_proof,
)
from compliance.trail.log import (
    MAX_BYTES,
    START,
    append,
    append_from,
    append_once,
    append_record,
    lines,
    parse,
    read,
    recover,
)
from compliance.trail.merkle import (
    consistency_proof,
    inclusion_proof,
    merkle_root,
    verify_consistency,
    verify_inclusion,
)
from compliance.trail.runs import of_run, openings, openings_of, run_name

__all__ = [
    "MAX_BYTES",
    "START",
    "Checkpoint",
    "NoteSigner",
    "append",
    "append_from",
    "append_once",
    "append_record",
    "checkpoint_of",
    "consistency_proof",
    "extends",
    "heads",
    "inclusion_proof",
    "lines",
    "merkle_root",
    "names_key",
    "of_run",
    "open_checkpoint",
    "openings",
    "openings_of",
    "parse",
    "prove_entry",
    "prove_extension",
    "read",
    "read_checkpoint",
    "recover",
    "run_name",
    "sign_checkpoint",
    "verify_consistency",
    "verify_inclusion",
    "verify_proof",
]
