"""Event logs as a monitor would write them, made without a model."""

from collections.abc import Iterable
from pathlib import Path

from compliance.monitor.locked import Locked, read_locked
from compliance.monitor.log import EventLog
from compliance.records.monitoring import Failed, Observed, ProbeScore, What

ZEROS = "sha256:" + 64 * "0"


def score_of(locked: Locked, concept: str, language: str | None, score: float) -> ProbeScore:
    """A score as the monitor writes it: with the lock's cut-off, where there is one."""
    probe = next(one for one in locked.probes if one.concept == concept)
    facts = {"concept": concept, "region": probe.region, "pooling": probe.pooling, "score": score}
    cut_off = probe.cut_offs.get(language or "")
    if cut_off is None:
        return ProbeScore(**facts, reason="no cut-off for this language")
    return ProbeScore(**facts, cut_off=cut_off.value, alert=score > cut_off.value)


def observed(
    number: int, locked: Locked, *scores: ProbeScore, language: str | None = "en", **changes: object
) -> Observed:
    """A sequence that came to its end."""
    facts = {
        "request": f"{number:016x}", "phase": "generation", "complete": True,
        "model": locked.model.weights_digest, "pack": locked.root, "language": language,
        "item": f"hmac-sha256:{number:064x}", "declared": True, "tokens": 9, "scores": scores,
    }  # fmt: skip
    return Observed(**(facts | changes))


def failed(number: int, locked: Locked, reason: str = "a compiled model") -> Failed:
    return Failed(
        request=f"{number:016x}", model=locked.model.weights_digest, pack=locked.root, reason=reason
    )


def write_log(folder: Path, events: Iterable[What]) -> Path:
    """An event log that was closed."""
    with EventLog(folder) as log:
        for event in events:
            log.write(event)
    return folder


def harmless_and_alarming(pack: Path) -> tuple[Locked, list[Observed]]:
    """English traffic: as many harmless requests as calibration has, and three alerts."""
    locked = read_locked(pack)
    probe = next(one for one in locked.probes if one.concept == "danger")
    high = probe.cut_offs["en"].value + 1.0
    scores = [*probe.calibration["en"].tolist(), high, high + 1, high + 2]
    return locked, [
        observed(n, locked, score_of(locked, "danger", "en", value))
        for n, value in enumerate(scores)
    ]
