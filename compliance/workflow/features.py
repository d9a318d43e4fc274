"""Looking at features: finding them, showing one, its card, and handing the locked ones on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from compliance.assessment.choosing import Candidates, candidates
from compliance.assessment.tables import FitObservations, read_table
from compliance.catalog.load import load_catalog
from compliance.documents import read_yaml
from compliance.errors import ConfigError, PackError, PlanError, ReportError
from compliance.features.finding import find_labels
from compliance.features.reading import NamedFeature, read_features
from compliance.features.shown import Attention, Prompted, PromptToken, Shown
from compliance.features.writing import (
    Example,
    LockedFeature,
    Measured,
    export_files,
    own_id,
)
from compliance.packs.reading import read_pack
from compliance.progress import SILENT, Progress
from compliance.records.audit import AuditConfig, FeatureRef
from compliance.records.evidence import Evidence
from compliance.records.pack import PackedItem
from compliance.records.plan import LockedProbe, Plan
from compliance.records.subject import SaeFacts
from compliance.records.suite import Item
from compliance.reports.examples import readable
from compliance.runs import RunFolder, open_run
from compliance.storage import write_bytes, write_folder, write_text
from compliance.suites.load import load_suite
from compliance.workflow.observed import withheld_item
from compliance.workflow.stages import load_reader

if TYPE_CHECKING:
    from compliance.probes.sae import Sae
    from compliance.probes.task import Reader
    from compliance.records.feature_card import FeatureCard
    from compliance.reports.observed import Observed

YAML = (".yaml", ".yml")

SCORES = ("auroc-hard", "auroc-benign", "sensitivity", "fpr-hard", "fpr-benign")
"""Results that an exported feature carries for each cell of its concept."""


@dataclass(frozen=True)
class Searched:
    """The best latents of one concept's search."""

    concept: str
    title: str
    language: str
    saes: tuple[SaeFacts, ...]
    candidates: Candidates
    locked: tuple[FeatureRef, ...]
    """What was locked for the concept; nothing where it is not locked yet."""


@dataclass(frozen=True)
class Seen:
    """What a run or a pack holds, as far as features need it."""

    name: str
    plan: Plan
    locked: tuple[LockedProbe, ...]
    table: Callable[[str], pd.DataFrame]
    """Reads an observation table by its path."""

    fit: Callable[[], FitObservations]
    evidence: Callable[[], Evidence]
    shown: Callable[[], Sequence[Item]]
    """Items whose words may be shown: none that are restricted or withheld."""


def find_named(text: str, paths: Sequence[Path], n: int) -> list[NamedFeature]:
    """Features whose labels in files of Neuronpedia's hold every word of a text, best first.

    Raises:
        ConfigError: A file cannot be read, or the text has no word.
    """
    if not text.split():
        raise ConfigError("there is no word to search for")
    return find_labels(text, chain.from_iterable(map(read_features, paths)), n)


def find_searched(path: Path, concept: str, n: int) -> Searched:
    """The latents that separated a concept best in a run's search, or in a pack's.

    Args:
        path: ``audit.yaml``, a run's folder, or a pack.
        concept: One of the plan's.
        n: At most so many.

    Raises:
        ComplianceError: There is no run or pack, its fit tables are not there, or the concept is
            not planned.
    """
    with open_seen(path) as seen:
        found = candidates(seen.plan, seen.fit(), concept, n)
        locked = [probe for probe in seen.locked if probe.concept == concept]
        (title,) = (p.title for p in seen.plan.probes if p.concept == concept)
        return Searched(
            concept=concept,
            title=title,
            language=seen.plan.claims.reference_language,
            saes=seen.plan.saes,
            candidates=found,
            locked=tuple(feature for probe in locked for feature in probe.features),
        )


def export_features(path: Path, target: Path) -> list[Path]:
    """Write the locked features of a run or a pack as Neuronpedia's exports hold features.

    Args:
        path: ``audit.yaml``, a run's folder, or a pack; assessed.
        target: Folder to make.

    Returns:
        The files, relative to ``target``.

    Raises:
        ComplianceError: It is not assessed, or a table is missing.
        StorageError: ``target`` is there already, or cannot be written.
    """
    with open_seen(path) as seen:
        features = list(_locked_features(seen))
        files = export_files(
            features,
            layers=seen.plan.model.layers,
            d_model=seen.plan.model.d_model,
            software=seen.plan.software,
            dataset=", ".join(f"{suite.name} {suite.version}" for suite in seen.plan.suites),
        )
    with write_folder(target) as folder:
        for name, data in files.items():
            write_bytes(folder / name, data)
    return sorted(map(Path, files))


def write_card(
    path: Path, what: str, target: Path, *, sae: int = 0, prompt: str | None = None,
    attention: bool = False, progress: Progress = SILENT,
) -> None:  # fmt: skip
    """Write a page about a feature: its card, and where asked for the feature on a prompt.

    Args:
        path: ``audit.yaml``, a run's folder, or a pack. The model is read for a prompt, and for a
            latent that is not locked; both need ``audit.yaml``.
        what: A latent's index, or a concept: the features that were locked for it.
        target: HTML file; an older one is replaced.
        sae: The SAE that an index counts in.
        prompt: What the model is given as a user's message.
        attention: Whether the attention of the hooked layer on it is wanted, too.
        progress: Is told what is being done.

    Raises:
        ComplianceError: There is no such feature, or nothing to make its page of.
    """
    names_model = path.suffix in YAML
    if prompt is not None and not names_model:
        raise ConfigError(
            f"{path.name}: holds no model, which a prompt needs", hint="give audit.yaml instead"
        )
    latent = FeatureRef(sae=sae, latent=int(what)) if what.isdecimal() else None
    found = None
    if latent is None or not names_model or _is_assessed(path):
        progress.stage("reading the run")
        found = _locked_cards(path, latent or what)
    features = [latent] if latent else [ref for ref, _ in found.cards] if found else []
    if not names_model and not (found and found.cards):
        raise ConfigError(
            f"{path.name}: {what} of SAE {sae} is not locked for any concept",
            hint="give audit.yaml, which names the model, to show what its weights say",
        )
    shown: list[Shown] = []
    if prompt is not None or not (found and found.cards):
        shown = show_features(path, features, prompt=prompt, attention=attention, progress=progress)
    pages = _pages()
    page = pages.render_feature_page(
        title=found.title if found and found.cards else f"Latent {what}",
        packed=found.source if found and found.cards else None,
        cards=[card for _, card in found.cards] if found else [],
        shown=shown,
    )
    write_text(target, page)


@dataclass(frozen=True)
class _Locked:
    """Cards of features that were locked, and where they are from."""

    title: str
    source: str
    cards: list[tuple[FeatureRef, FeatureCard]]


def _locked_cards(path: Path, what: FeatureRef | str) -> _Locked:
    """The cards of a concept, or of one feature, which may stand for several concepts."""
    from compliance.reports.context import Context
    from compliance.reports.messages import load_messages

    with open_seen(path) as seen:
        evidence = seen.evidence()
        concepts = {p.concept: p.title for p in seen.plan.probes}
        if isinstance(what, str) and what not in concepts:
            raise ConfigError(
                f"{what}: is neither a latent's index nor a concept of {seen.name}",
                hint=f"its concepts are {', '.join(concepts)}",
            )
        context = Context(evidence, load_catalog(), load_messages("en"), _observed(seen))
        every = _pages().locked_cards(context)
    chosen = [
        (concept, feature, card)
        for concept, feature, card in every
        if (concept == what if isinstance(what, str) else _same(feature, what))
    ]
    return _Locked(
        title="; ".join(dict.fromkeys(concepts[concept] for concept, _, _ in chosen)),
        source=f"{evidence.system.title}, {seen.name}",
        cards=[(feature, card) for _, feature, card in chosen],
    )


def _same(one: FeatureRef, other: FeatureRef) -> bool:
    """Whether they are one latent, whatever they are called."""
    return (one.sae, one.latent) == (other.sae, other.latent)


def _is_assessed(audit_file: Path) -> bool:
    try:
        return open_run(audit_file.parent, read_yaml(audit_file, AuditConfig)).has("evidence.json")
    except PlanError:
        return False


def _pages() -> ModuleType:
    """What makes pages, which the base install lacks."""
    try:
        from compliance.reports import feature_page
    except ModuleNotFoundError as error:
        raise ReportError(
            f"a card needs {error.name}, which is not installed",
            hint="install the extra: sae-compliance[reports]",
        ) from error
    return feature_page


def _observed(seen: Seen) -> Observed:
    """What a card shows of single items; words that are withheld stay so."""
    from compliance.reports.observed import Observed

    rows = seen.table("confirm/items.csv")
    known = {item.id: item for item in seen.shown()}
    return Observed(
        items=tuple(
            known.get(row.item) or withheld_item(row)
            for row in rows.itertuples()
            if row.item in known or row.modality == "text"
        ),
        scores=seen.table("confirm/scores.csv"),
        tokens=seen.table("confirm/tokens.parquet"),
        cofiring=seen.table("confirm/cofiring.parquet"),
        features=seen.table("confirm/features.csv"),
        firing=seen.table("confirm/firing.parquet"),
    )


@contextmanager
def open_seen(path: Path) -> Iterator[Seen]:
    """Open ``audit.yaml``'s newest run, a run's folder, or a pack.

    A pack is read and not checked: ``compliance verify`` does that.

    Raises:
        ComplianceError: It is none of these.
    """
    if path.suffix in YAML:
        yield _of_run(open_run(path.parent, read_yaml(path, AuditConfig)))
    elif (path / "plan.json").is_file():
        yield _of_run(RunFolder(path))
    elif path.suffix == ".zip" or (path / "data" / "evidence.json").is_file():
        with read_pack(path) as pack:
            evidence = pack.evidence

            def tables(prefix: str) -> dict[str, bytes]:
                names = [name for name in evidence.observations if name.startswith(prefix)]
                return {name: pack.observation(name) for name in names}

            yield Seen(
                name=path.name,
                plan=evidence.plan,
                locked=evidence.lock.probes,
                table=lambda name: read_table(tables(name), name),
                fit=lambda: FitObservations.from_files(tables("fit/")),
                evidence=lambda: evidence,
                shown=lambda: [i.item for i in pack.items if isinstance(i, PackedItem)],
            )
    else:
        raise PackError(
            f"{path}: is no audit.yaml, no run and no pack",
            hint="a run is a folder in runs/, a pack one in packs/ or its ZIP",
        )


def _of_run(run: RunFolder) -> Seen:
    home = run.path.parent.parent

    def fit() -> FitObservations:
        files = run.observations("fit")
        if not files:
            raise PlanError("nothing was searched yet", hint="run 'compliance observe' first")
        return FitObservations.from_files(files)

    def shown() -> list[Item]:
        config = run.config()
        suites = [load_suite(name, home) for name in config.suites]
        _refuse_changed(run.plan(), {suite.datasheet.name: suite.digest for suite in suites})
        return [item for suite in suites for item in suite.items]

    return Seen(
        name=run.path.name,
        plan=run.plan(),
        locked=run.lock().probes if run.has("lock.json") else (),
        table=lambda name: read_table(run.observations(name.split("/")[0]), name),
        fit=fit,
        evidence=run.evidence,
        shown=shown,
    )


def _refuse_changed(plan: Plan, digests: Mapping[str, str]) -> None:
    for suite in plan.suites:
        if digests.get(suite.name) != suite.digest:
            raise PlanError(
                f"suite {suite.name} is not as it was planned",
                hint="put the planned suite back; its items are shown",
            )


def _locked_features(seen: Seen) -> Iterator[LockedFeature]:
    evidence, weights = seen.evidence(), seen.table("confirm/features.csv")
    density = _densities(seen)
    tokens = seen.table("confirm/tokens.parquet")
    suites = seen.table("confirm/items.csv").set_index("item")["suite"]
    items = {item.id: item for item in seen.shown() if not item.restricted and not item.image}
    places = _neuronpedia_ids(seen.plan)
    titles = {probe.concept: probe.title for probe in seen.plan.probes}
    for locked in seen.locked:
        mine = tokens[(tokens["concept"] == locked.concept) & tokens["item"].isin(items)]
        examples = [
            Example(
                place=f"{suites[row.item]}/{row.item}",
                text=_words(items[row.item]),
                starts=row.starts.tolist(),
                ends=row.ends.tolist(),
                activations=row.activations.tolist(),
            )
            for row in mine.itertuples()
        ]
        for feature in locked.features:
            says = weights[
                (weights["concept"] == locked.concept)
                & (weights["sae"] == feature.sae)
                & (weights["latent"] == feature.latent)
            ].sort_values("rank")
            of = {kind: part for kind, part in says.groupby("kind")}
            yield LockedFeature(
                neuronpedia_id=places[feature.sae],
                index=feature.latent,
                hook_name=seen.plan.saes[feature.sae].hook_name,
                concept=locked.concept,
                title=titles[locked.concept],
                density=density(feature),
                top=_tokens(of.get("top-logit")),
                bottom=_tokens(of.get("bottom-logit")),
                nearest=_pairs(of.get("nearest"), "other"),
                examples=examples if len(locked.features) == 1 else (),
                scores=tuple(_measured(evidence, locked.concept)),
            )


def _pairs(rows: pd.DataFrame | None, column: str) -> list[tuple[Any, float]]:
    """What a kind of rows names, and its value."""
    return [] if rows is None else list(zip(rows[column], rows["value"].astype(float), strict=True))


def _tokens(rows: pd.DataFrame | None) -> list[tuple[str, float]]:
    return [(readable(token), value) for token, value in _pairs(rows, "text")]


def _densities(seen: Seen) -> Callable[[FeatureRef], float | None]:
    """On which share of the read words of the confirm split a latent was active."""
    firing = seen.table("confirm/firing.parquet")
    firing = firing[firing["region"] == "read"]
    sums = seen.table("confirm/fidelity.parquet")
    read = sums[sums["role"] != "image"].groupby("sae")["tokens"].sum()

    def density(feature: FeatureRef) -> float | None:
        tokens = int(read.get(feature.sae, 0))
        mine = (firing["sae"] == feature.sae) & (firing["latent"] == feature.latent)
        return int(firing.loc[mine, "tokens"].sum()) / tokens if tokens else None

    return density


def _measured(evidence: Evidence, concept: str) -> Iterator[Measured]:
    keys = [cell.key for cell in evidence.plan.cells if cell.concept == concept]
    wanted = {f"{key}/{name}": (name, key) for key in keys for name in SCORES}
    for result in evidence.results:
        if result.id in wanted and result.value is not None:
            name, cell = wanted[result.id]
            yield Measured(name, cell, result.value, result.low, result.high, result.n)


def _neuronpedia_ids(plan: Plan) -> list[str]:
    """Model and source of each SAE; two that would be called the same are numbered."""
    found = [s.neuronpedia_id or own_id(plan.model.name, s.hook_name, s.name) for s in plan.saes]
    counts = Counter(found)
    return [name if counts[name] == 1 else f"{name}-{i}" for i, name in enumerate(found)]


def _words(item: Item) -> str:
    """Contents of an item's turns, one after the other, as offsets count them."""
    if item.messages is None:
        return item.text or ""
    return "".join(message.content for message in item.messages)


def show_feature(
    audit_file: Path, latent: int, *, sae: int = 0, prompt: str | None = None,
    attention: bool = False, progress: Progress = SILENT,
) -> Shown:  # fmt: skip
    """Look at one latent in the subject's and the SAE's own weights, and on a prompt.

    Args:
        audit_file: Names subject and SAEs. Nothing of it is planned or measured.
        latent: Index.
        sae: Which of the audit's SAEs, from 0.
        prompt: What the model is given as a user's message.
        attention: Whether the attention of the hooked layer on the prompt is wanted, too.
        progress: Is told when the model is loaded.

    Raises:
        ComplianceError: Subject, SAE or prompt cannot be read, or there is no such latent.
    """
    (found,) = show_features(audit_file, [FeatureRef(sae=sae, latent=latent)], prompt=prompt,
                             attention=attention, progress=progress)  # fmt: skip
    return found


def show_features(
    audit_file: Path, features: Sequence[FeatureRef], *, prompt: str | None,
    attention: bool, progress: Progress,
) -> list[Shown]:  # fmt: skip
    """The same for several latents, with the subject loaded once."""
    config = read_yaml(audit_file, AuditConfig)
    if attention and prompt is None:
        raise ConfigError("attention is that on a prompt, and there is none", hint="add --prompt")
    for feature in features:
        if feature.sae >= len(config.subject.saes):
            raise ConfigError(
                f"SAE {feature.sae}: {audit_file.name} names {len(config.subject.saes)}, "
                "counted from 0"
            )
    progress.stage("loading model and SAEs")
    reader = load_reader(config, audit_file.parent)
    name = config.subject.name or reader.subject.facts.name
    return [_shown(reader, name, feature, prompt, attention) for feature in features]


def _shown(
    reader: Reader, model: str, feature: FeatureRef, prompt: str | None, attention: bool
) -> Shown:
    from compliance.probes.features import logit_effects, nearest_latents

    sae = reader.saes[feature.sae]
    if feature.latent >= sae.facts.d_sae:
        raise ConfigError(
            f"latent {feature.latent}: {sae.facts.name} has latents 0 to {sae.facts.d_sae - 1}"
        )
    top, bottom = logit_effects(reader.subject, sae, feature.latent)
    near = nearest_latents(sae, feature.latent)
    return Shown(
        model=model,
        number=feature.sae,
        sae=sae.facts,
        latent=feature.latent,
        decoder_norm=float(sae.tensors["W_dec"][feature.latent].norm()),
        top=tuple((effect.text, effect.value) for effect in top),
        bottom=tuple((effect.text, effect.value) for effect in bottom),
        nearest=tuple((neighbour.latent, neighbour.cosine) for neighbour in near),
        prompted=None if prompt is None else _prompted(reader, sae, feature, prompt, attention),
    )


def _prompted(
    reader: Reader, sae: Sae, feature: FeatureRef, prompt: str, attention: bool
) -> Prompted:
    from compliance.probes.features import activations_on, attention_patterns

    found = activations_on(prompt, reader.subject, sae, [feature.latent])[feature.latent]
    patterns = None
    if attention:
        seen = attention_patterns(prompt, reader.subject, sae.facts.hook_name)
        own = dict(zip(seen.content, (token.text for token in found), strict=True))
        patterns = Attention(
            hook_name=sae.facts.hook_name,
            tokens=tuple(own.get(i, token) for i, token in enumerate(seen.tokens)),
            content=seen.content,
            weights=seen.weights,
        )
    return Prompted(
        prompt=prompt,
        tokens=tuple(PromptToken(t.text, t.activation, t.start, t.end) for t in found),
        attention=patterns,
    )
