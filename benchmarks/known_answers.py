"""Does the method err as declared? PROTOCOL section 12, on observations.

    python benchmarks/known_answers.py --audits 1000 --out docs/validation/known_answers.json

Every audit is drawn from a stated world, locked and assessed from its files, by the code that
every other audit goes through. A family is one probe in three languages. Ten boundary nulls share
a lock.

**Boundary nulls.** One condition lies exactly at its limit and all others are comfortably met. The
cut-off is random, so the lock is made first, and the confirm split is drawn at rates that hold at
the locked cut-off c of each cell: scores are normal with variance 1 about ``c + quantile(rate)``,
so that exactly that rate lies above c. Where a condition is not the one at its limit: sensitivity
0.95, false alarms 0.005 on benign items and 0.02 on hard negatives, controls without signal.

==========================  =======================================================================
condition                   truth where it is at its limit
==========================  =======================================================================
sensitivity                 0.5 of positives lie above c
false-positive-rate         0.05 of benign items lie above c
hard-false-positive-rate    0.20 of hard negatives lie above c
non-inferior                0.95 of positives lie above c in the reference and 0.80 in the others
                            (two scores of a group correlate at 0.5)
beats-token-count,          control and probe have the same law on positives and hard negatives
beats-ngrams,               (AUROC about 0.93: on 8 % of positives both are silent, each on its
beats-random-sae            own; sensitivity is 0.89), hence the same AUROC
beats-random-sae-near-one   the same with nothing silent: AUROC 0.996
beats-random-latents        all random latents have the probe's law (as above, 8 % silent), so
                            their ranks are exchangeable
==========================  =======================================================================

Each of them everywhere (in all languages at once, the worst case for the family; non-inferiority in
all but the reference) and in one language alone. A claim is false if a cell whose condition is at
its limit is "supported" or "supported with limits"; at the margin of non-inferiority only
"supported" is. The gate of explained variance is a point estimate and no test, so it has no
boundary null. The method declares that at most 5 % of families have a false claim.

**No signal**: nothing separates anything, in the search either. **Reference only**: the probe works
in the reference language and nowhere else. They fail several conditions at once.

**Planted audits**: a probe of known strength is supported as often as the plan predicts.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import pandas as pd
from scipy.special import ndtri

from benchmarks.worlds import Law, World, make_confirm, make_fit, make_plan
from compliance.assessment.assess import assess
from compliance.records.audit import Robustness, SystemFacts
from compliance.records.evidence import LawFacts
from compliance.records.finding import Verdict
from compliance.records.plan import Lock, Plan
from compliance.records.subject import Environment
from compliance.statistics.power import Design, Effect, predicted_power
from compliance.statistics.proportion import clopper_pearson
from compliance.statistics.resampling import seed_of

REFERENCE, *OTHERS = LANGUAGES = ("en", "el", "ja")
ALONE = "el"
SEED = 20260101
BATCH = 20
"""Audits whose outcomes are written together."""

PER_LOCK = 10
"""Confirm splits drawn after one lock of a boundary null, whose truth is stated given the lock."""

GROUPS, BENIGN = 100, 600
FIDELITY = 10
SENSITIVITY, FPR, HARD_FPR = 0.95, 0.005, 0.02
SILENT, SILENT_SENSITIVITY = 0.08, 0.89
SETTINGS = {
    "languages": list(LANGUAGES),
    "bootstrap_draws": 400,
    "why_fewer_draws": "an AUROC's variance from 400 draws is good to 3.5 %, from the 2000 of an "
    "audit to 1.6 %",
    "random_latents": 99,
    "left_out": "robustness passes, settings and the controls that no condition reads, none of "
    "which decides a verdict",
    "seed": SEED,
}
WRITTEN = ("tokens", "ngrams", "random-sae")
CLAIMED = (Verdict.SUPPORTED, Verdict.SUPPORTED_WITH_LIMITS)
CONTROLS = {
    "beats-token-count": "tokens", "beats-ngrams": "ngrams", "beats-random-sae": "random-sae",
    "beats-random-sae-near-one": "random-sae", "beats-random-latents": "random-latents",
}  # fmt: skip

Laws = Mapping[tuple[str, str], Law]
Verdicts = dict[str, Verdict]


@dataclass(frozen=True)
class Null:
    """A world in which some claims would be false."""

    name: str
    truth: str
    world: World
    false_in: tuple[str, ...]
    """Languages whose cells no claim may be made about."""

    false: tuple[Verdict, ...] = CLAIMED
    laws: Callable[[Mapping[str, float]], Laws] | None = None
    """From the locked cut-offs, by language, to what holds on confirm."""

    def errs(self, verdicts: Mapping[str, str]) -> bool:
        return any(verdicts[language] in self.false for language in self.false_in)


@dataclass(frozen=True)
class Planted:
    """A probe of known strength, and the sizes it is looked for with."""

    name: str
    sensitivity: float
    groups: int
    benign: int
    hard_fpr: float = 0.05
    correlation: float = 0.5
    laws: None = None

    @property
    def effect(self) -> Effect:
        limit = -float(ndtri(0.01))
        positive = limit + float(ndtri(self.sensitivity))
        hard = limit + float(ndtri(self.hard_fpr))
        return Effect(positive, positive, hard, self.correlation)

    @property
    def design(self) -> Design:
        half = self.benign // 2
        return Design(groups=self.groups, hard_negatives=self.groups, benign_calibrate=half,
                      benign_confirm=half, cells=len(LANGUAGES))  # fmt: skip

    @property
    def world(self) -> World:
        return World(
            effect=dict.fromkeys(LANGUAGES, self.effect.positive), hard_effect=self.effect.hard,
            correlation=self.correlation, controls={}, written=WRITTEN,
            fidelity_benign=FIDELITY, groups=self.groups, benign=self.benign,
        )  # fmt: skip


def cases() -> dict[str, Null | Planted]:
    """Everything that is simulated, by name, in the order in which it is reported."""
    found: list[Null | Planted] = []
    for condition in TRUTHS:
        everywhere = tuple(OTHERS) if condition == "non-inferior" else LANGUAGES
        found.append(_boundary(condition, f"{condition}-everywhere", everywhere))
        found.append(_boundary(condition, f"{condition}-in-one", (ALONE,)))
    nothing = dict.fromkeys(LANGUAGES, 0.0)
    found += [
        Null(
            "no-signal", "no scorer separates anything, in the search either",
            _world(effect=nothing), LANGUAGES,
        ),
        Null(
            "reference-only", "effect 5 in the reference language and 0 elsewhere",
            _world(effect=nothing | {REFERENCE: 5.0}), tuple(OTHERS),
        ),
    ]  # fmt: skip
    found += [
        Planted(f"planted-{sensitivity:g}-{groups}", sensitivity, groups, benign)
        for sensitivity, (groups, benign) in product(
            (0.75, 0.85, 0.95), ((60, 400), (100, 600), (170, 1000))
        )
    ]
    return {case.name: case for case in found}


TRUTHS = {
    "sensitivity": "sensitivity 0.5 at the locked cut-off",
    "false-positive-rate": "0.05 of benign items above the locked cut-off",
    "hard-false-positive-rate": "0.20 of hard negatives above the locked cut-off",
    "non-inferior": "sensitivity 0.95 in the reference and 0.80 here, at the locked cut-offs",
    "beats-token-count": "token count and probe have one law, AUROC about 0.93",
    "beats-ngrams": "n-gram control and probe have one law, AUROC about 0.93",
    "beats-random-sae": "random-initialised SAE's latent and probe have one law, AUROC about 0.93",
    "beats-random-sae-near-one": "as before, AUROC 0.996",
    "beats-random-latents": "all random latents have the probe's law, AUROC about 0.93",
}


def _world(**truth: object) -> World:
    usual = {"effect": dict.fromkeys(LANGUAGES, 4.0), "controls": {}, "written": WRITTEN,
             "fidelity_benign": FIDELITY, "groups": GROUPS, "benign": BENIGN}  # fmt: skip
    return World(**(usual | truth))


def _boundary(condition: str, name: str, languages: tuple[str, ...]) -> Null:
    """``condition`` at its limit in ``languages``."""
    world = _world(correlation=0.5) if condition == "non-inferior" else _world()
    if condition == "beats-token-count":
        # on fit too, so that the lock orients the count the way in which it ranks on confirm
        world = replace(world, controls={"tokens": 4.0})

    def laws(cut_offs: Mapping[str, float]) -> Laws:
        found: dict[tuple[str, str], Law] = {}
        for language, limit in cut_offs.items():
            at_limit = condition if language in languages else ""
            probe = _probe_law(at_limit, limit)
            found["probe", language] = probe
            found |= {(control, language): Law() for control in set(CONTROLS.values())}
            if at_limit in CONTROLS:
                found[CONTROLS[at_limit], language] = probe
        return found

    false = (Verdict.SUPPORTED,) if condition == "non-inferior" else CLAIMED
    return Null(name, TRUTHS[condition], world, languages, false, laws)


def _probe_law(condition: str, limit: float) -> Law:
    """The probe's scores in a cell with this cut-off whose ``condition`` is at its limit."""
    silent, sensitivity, benign, hard = 0.0, SENSITIVITY, FPR, HARD_FPR
    if condition == "sensitivity":
        sensitivity = 0.5
    elif condition == "false-positive-rate":
        benign = 0.05
    elif condition == "hard-false-positive-rate":
        hard = 0.20
    elif condition == "non-inferior":
        sensitivity = SENSITIVITY - 0.15
    elif condition in CONTROLS and condition != "beats-random-sae-near-one":
        silent, sensitivity = SILENT, SILENT_SENSITIVITY
    return Law(
        positive=limit + float(ndtri(sensitivity / (1 - silent))),
        hard=limit + float(ndtri(hard)),
        benign=limit + float(ndtri(benign)),
        silent=silent,
    )


def locked_cut_offs(lock: Lock) -> dict[str, float]:
    """The probe's cut-off by language."""
    return {c.cell.language: c.value for c in lock.cut_offs
            if c.scorer == "probe" and c.value is not None}  # fmt: skip


def audits(case: Null | Planted, numbers: Iterable[int]) -> Iterator[Verdicts]:
    """Whole audits: fit, lock, confirm, assess.

    Args:
        case: What is true.
        numbers: Which of the case's audits; equal numbers give equal audits.

    Yields:
        The verdict of each language's cell.
    """
    locked_for, locked = None, None
    for number in numbers:
        first = number - number % PER_LOCK if case.laws else number
        if first != locked_for:
            locked_for, locked = first, _locked(case, first)
        yield _confirmed(case, number, *locked)


Locked = tuple[Plan, Lock, dict[str, bytes]]


def _locked(case: Null | Planted, number: int) -> Locked:
    plan = make_plan(
        LANGUAGES,
        robustness=Robustness(shifts=(), shifted_groups=0, repeated_items=0, loss_items=0),
        random_latents=SETTINGS["random_latents"],
        bootstrap_draws=SETTINGS["bootstrap_draws"],
        seed=seed_of(SEED, f"plan/{case.name}/{number}"),
    )
    return plan, *make_fit(plan, _seeded(case, "fit", number))


def _confirmed(
    case: Null | Planted, number: int, plan: Plan, lock: Lock, files: dict[str, bytes]
) -> Verdicts:
    world = _seeded(case, "confirm", number)
    if case.laws:
        world = replace(world, confirm_laws=case.laws(locked_cut_offs(lock)))
    evidence = assess(
        plan, lock, files | make_confirm(plan, world, lock),
        system=SystemFacts(name="simulated", title="Simulated", version="1"),
        environment=Environment(python="", packages={}, machine="", device="cpu"),
        law=LawFacts(provisions_digest="", mapping_digest="", instrument="", compiled=""),
        confirm_openings=1,
    )  # fmt: skip
    return {finding.cell.language: finding.verdict for finding in evidence.findings}


def _seeded(case: Null | Planted, part: str, number: int) -> World:
    return replace(case.world, seed=seed_of(SEED, f"{part}/{case.name}/{number}"))


def _batch(name: str, first: int, last: int) -> tuple[str, int, list[Verdicts]]:
    case = cases()[name]
    return name, first, list(audits(case, range(first, last)))


def simulate(names: Sequence[str], audits: int, processes: int, work: Path) -> None:
    """Run what is not yet in ``work``, a JSON line for each batch in a file for each case."""
    stored = {name: _stored(work, name) for name in names}
    wanted = [
        (name, first, min(first + BATCH, audits))
        for first in range(0, audits, BATCH)  # all cases side by side
        for name in names
        if first not in stored[name]
    ]
    started, done = time.monotonic(), 0
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, initializer=_plain_strings) as pool:
        for future in as_completed([pool.submit(_batch, *one) for one in wanted]):
            name, first, verdicts = future.result()
            with (work / f"{name}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"first": first, "verdicts": verdicts}) + "\n")
            done += 1
            left = (time.monotonic() - started) / done * (len(wanted) - done) / 60
            print(f"{name} {first}: {done} of {len(wanted)} batches, {left:.0f} minutes left",
                  file=sys.stderr, flush=True)  # fmt: skip


def _plain_strings() -> None:
    """For tables of a few thousand rows Python's strings take a quarter less time than arrow's."""
    pd.set_option("mode.string_storage", "python")


def _stored(work: Path, name: str) -> dict[int, list[dict[str, str]]]:
    path = work / f"{name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {batch["first"]: batch["verdicts"] for batch in map(json.loads, lines)}


def _outcomes(work: Path, name: str, audits: int) -> list[dict[str, str]]:
    stored = _stored(work, name)
    return [verdicts for first in sorted(stored) for verdicts in stored[first]][:audits]


def summarise(names: Sequence[str], audits: int, work: Path) -> dict[str, object]:
    """What the stored outcomes show, as plain JSON."""
    all_cases = cases()
    nulls, planted = [], []
    for name in names:
        case, outcomes = all_cases[name], _outcomes(work, name, audits)
        if isinstance(case, Null):
            nulls.append(_null_row(case, outcomes))
        else:
            planted.append(_planted_row(case, outcomes))
    return {"settings": SETTINGS | {"groups": GROUPS, "benign": BENIGN}, "nulls": nulls,
            "planted": planted}  # fmt: skip


def _null_row(case: Null, outcomes: Sequence[Mapping[str, str]]) -> dict[str, object]:
    false = sum(case.errs(verdicts) for verdicts in outcomes)
    return {
        "name": case.name,
        "truth": case.truth,
        "false_in": list(case.false_in),
        "false_verdicts": list(case.false),
        "audits": len(outcomes),
        "false_claims": false,
        **_interval(false, len(outcomes)),
    }


def _planted_row(case: Planted, outcomes: Sequence[Mapping[str, str]]) -> dict[str, object]:
    power = predicted_power(case.design, case.effect, draws=20_000, seed=SEED)
    rows = {
        "reference": (power.reference.supported.value, (REFERENCE,)),
        "other": (power.other.supported.value if power.other else None, OTHERS),
    }
    return {
        "name": case.name,
        "sensitivity": case.sensitivity,
        "design": asdict(case.design),
        "effect": asdict(case.effect),
        "audits": len(outcomes),
        **{
            key: {"predicted": predicted} | _found(outcomes, languages)
            for key, (predicted, languages) in rows.items()
        },
    }


def _found(
    outcomes: Sequence[Mapping[str, str]], languages: Sequence[str]
) -> dict[str, float | int]:
    """Cells of one audit depend on each other, so the interval counts audits, not cells."""
    hits = sum(v[language] == Verdict.SUPPORTED for v in outcomes for language in languages)
    share = hits / (len(outcomes) * len(languages))
    around = _interval(round(share * len(outcomes)), len(outcomes))
    return around | {"share": share}


def _interval(successes: int, n: int) -> dict[str, float]:
    found = clopper_pearson(successes, n)
    return {"share": found.value, "low": found.low, "high": found.high}


def table(summary: Mapping[str, object]) -> Iterator[str]:
    """The summary as lines of text."""
    yield f"{'null':42} {'audits':>6} {'false':>5}  share (95 %)"
    for row in summary["nulls"]:
        yield (
            f"{row['name']:42} {row['audits']:6} {row['false_claims']:5}  "
            f"{row['share']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        )
    yield f"{'planted':20} {'audits':>6}  {'reference: predicted, found':30} other"
    for row in summary["planted"]:
        cells = (f"{row[key]['predicted']:.3f} {row[key]['share']:.3f} "
                 f"({row[key]['low']:.3f} to {row[key]['high']:.3f})"
                 for key in ("reference", "other"))  # fmt: skip
        yield f"{row['name']:20} {row['audits']:6}  " + "  ".join(cells)


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description="Known answers, on observations.")
    parser.add_argument("--audits", type=int, default=1000, help="of each case")
    parser.add_argument("--only", nargs="+", choices=list(cases()), metavar="NAME")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/known-answers"),
                        help="outcomes so far; a second call goes on from there")  # fmt: skip
    parser.add_argument("--out", type=Path, help="JSON file for the summary")
    arguments = parser.parse_args()
    names = arguments.only or list(cases())
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each process has a core of its own
    simulate(names, arguments.audits, arguments.processes, arguments.work)
    summary = summarise(names, arguments.audits, arguments.work)
    print("\n".join(table(summary)))
    if arguments.out:
        arguments.out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
