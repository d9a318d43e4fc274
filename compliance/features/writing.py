"""Locked features as Neuronpedia's bulk exports hold features.

    files = export_files(features, model=facts, software="sae-compliance 0.1.0", dataset="seed")

The layout is that of its exports, with the columns of their batches::

    config/explanation_type.jsonl ...           what the names in the batches mean
    <model>/<source>/model.jsonl release.jsonl sourceset.jsonl source.jsonl
    <model>/<source>/features/batch-0.jsonl.gz
    <model>/<source>/activations/batch-0.jsonl.gz
    <model>/<source>/explanations/batch-0.jsonl.gz

Three things have another meaning than in Neuronpedia's own files. Activations are those of test
items, and stretches of text without activation are one token each, since only tokens on which a
feature is active are stored. ``frac_nonzero`` and histograms are of the test items, too. And an
explanation is the concept a feature was locked for, with its measured ``scores``: a key that
Neuronpedia's API has and its importer passes over.

No time and no chance is in the files: equal features are equal bytes.

Source: docs.neuronpedia.org/api-and-data/exports; in hijohnnylin/neuronpedia
``utils/neuronpedia-utils/neuronpedia_utils/export-data.py`` and
``convert-saedashboard-to-neuronpedia-export.py`` (columns), ``apps/webapp/lib/db/import.ts`` (that
the columns of the first line are imported and unknown ones are not).
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

MOST_EXAMPLES = 40
"""Texts of one feature, those with the largest activations."""

BARS = 20
"""Of a histogram of activations."""

METHOD = "sae-compliance-locked"
"""``typeName`` of our explanations."""

CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that owns what Neuronpedia's exports hold, and that every instance has; rows of another
one are not imported."""

_LAYER = re.compile(r"(?:vision\.)?blocks\.(\d+)\.")
_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9_.]+")


@dataclass(frozen=True)
class Example:
    """One text and the tokens in it on which a feature was active."""

    place: str
    """Suite and item."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    activations: Sequence[float]


@dataclass(frozen=True)
class Measured:
    """One measured number about a feature as a probe of its concept."""

    name: str
    """Such as ``auroc-hard``."""

    cell: str
    value: float
    low: float | None
    high: float | None
    n: int | None


@dataclass(frozen=True)
class LockedFeature:
    """A feature of a locked probe, with what was observed of it."""

    neuronpedia_id: str
    """Model and source; see `own_id` where Neuronpedia has none."""

    index: int
    hook_name: str
    concept: str
    title: str
    density: float | None
    """Share of read tokens of the test items on which it was active."""

    top: Sequence[tuple[str, float]]
    """Tokens whose logits it raises most, with the effect of one unit of activation."""

    bottom: Sequence[tuple[str, float]]
    nearest: Sequence[tuple[int, float]]
    """Latents whose decoder directions are nearest, with the cosine."""

    examples: Sequence[Example]
    """Texts on which it alone was read; none where several features make one probe."""

    scores: Sequence[Measured]


def own_id(model: str, hook_name: str, sae: str) -> str:
    """Model and source of an SAE that Neuronpedia does not show, spelt as it spells them."""
    layer = _LAYER.match(hook_name)
    return f"{_slug(model)}/{layer[1] if layer else 0}-{_slug(sae)}"


def export_files(
    features: Sequence[LockedFeature], *, layers: int, d_model: int, software: str, dataset: str
) -> dict[str, bytes]:
    """Every file of the export, by its path.

    Args:
        features: Of one model.
        layers: Blocks of the model.
        d_model: Its width.
        software: Name and version of what measured.
        dataset: What the activations are of.
    """
    files = dict(_config(software))
    for place in sorted({feature.neuronpedia_id for feature in features}):
        mine = [feature for feature in features if feature.neuronpedia_id == place]
        described = _described(place, layers, d_model, software, dataset)
        files |= {f"{place}/{name}": _lines([row]) for name, row in described.items()}
        rows = {
            "features": [_feature(place, same) for same in _by_index(mine)],
            "activations": [row for same in _by_index(mine) for row in _activations(place, same)],
            "explanations": [_explanation(place, feature, software) for feature in mine],
        }
        for folder, found in rows.items():
            files[f"{place}/{folder}/batch-0.jsonl.gz"] = _zipped(_lines(found))
    return files


def pieces(example: Example) -> tuple[list[str], list[float]]:
    """A text cut into its active tokens and what lies between them, with an activation each.

    Tokens that share characters, as bytes of one letter do, are one piece with the activation
    that is furthest from zero.
    """
    texts: list[str] = []
    values: list[float] = []
    reached = 0
    for start, end, value in zip(example.starts, example.ends, example.activations, strict=True):
        if start < reached and texts:
            texts[-1] += example.text[reached:end]
            values[-1] = max(values[-1], _rounded(value), key=abs)
        else:
            if start > reached:
                texts.append(example.text[reached:start])
                values.append(0.0)
            texts.append(example.text[start:end])
            values.append(_rounded(value))
        reached = max(reached, end)
    if reached < len(example.text):
        texts.append(example.text[reached:])
        values.append(0.0)
    return texts, values


def _by_index(features: Sequence[LockedFeature]) -> Iterator[list[LockedFeature]]:
    """The features of each latent: one may have been locked for several concepts."""
    for index in sorted({feature.index for feature in features}):
        yield [feature for feature in features if feature.index == index]


def _feature(place: str, same: Sequence[LockedFeature]) -> dict[str, Any]:
    first = same[0]
    active = [v for example in _examples(same) for v in example.activations if v > 0]
    heights, values = _histogram(active)
    return {
        **_key(place, first.index),
        "maxActApprox": _rounded(max(active)) if active else None,
        "creatorId": CREATOR,
        "frac_nonzero": None if first.density is None else _rounded(first.density),
        "freq_hist_data_bar_heights": heights,
        "freq_hist_data_bar_values": values,
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        **{name: [] for name in _NOT_MEASURED},
        "neg_str": [text for text, _ in first.bottom],
        "neg_values": [_rounded(value) for _, value in first.bottom],
        "pos_str": [text for text, _ in first.top],
        "pos_values": [_rounded(value) for _, value in first.top],
        "sourceSetName": _set_name(place),
        "topkCosSimIndices": [latent for latent, _ in first.nearest],
        "topkCosSimValues": [_rounded(cosine) for _, cosine in first.nearest],
        "vector": [],
        "vectorLabel": None,
        "hookName": first.hook_name,
        "vectorDefaultSteerStrength": None,
        "hasVector": False,
    }


_NOT_MEASURED = (
    "neuron_alignment_indices", "neuron_alignment_l1", "neuron_alignment_values",
    "correlated_neurons_indices", "correlated_neurons_l1", "correlated_neurons_pearson",
    "decoder_weights_dist",
)  # fmt: skip


def _activations(place: str, same: Sequence[LockedFeature]) -> Iterator[dict[str, Any]]:
    index = same[0].index
    strongest = sorted(
        (example for example in _examples(same) if example.activations),
        key=lambda example: (-max(example.activations), example.place),
    )
    for example in strongest[:MOST_EXAMPLES]:
        tokens, values = pieces(example)
        largest = max(values)
        yield {
            "id": _id("activation", place, str(index), example.place),
            **_key(place, index),
            "creatorId": CREATOR,
            "dataSource": example.place,
            "tokens": tokens,
            "maxValue": largest,
            "minValue": min(values),
            "values": values,
            "maxValueTokenIndex": values.index(largest),
            "dfaValues": [],
            "dfaMaxValue": None,
            "dfaTargetIndex": None,
            "binContains": None,
            "binMin": None,
            "binMax": None,
        }


def _examples(same: Sequence[LockedFeature]) -> Iterable[Example]:
    """Each text once, though several concepts may have one."""
    return {example.place: example for feature in same for example in feature.examples}.values()


def _explanation(place: str, feature: LockedFeature, software: str) -> dict[str, Any]:
    name = _id("explanation", place, str(feature.index), feature.concept)
    return {
        "id": name,
        **_key(place, feature.index),
        "authorId": CREATOR,
        "description": feature.title,
        "embedding": None,
        "typeName": METHOD,
        "explanationModelName": None,
        "scores": [_score(name, score, software) for score in feature.scores],
    }


def _score(explanation: str, score: Measured, software: str) -> dict[str, Any]:
    details = {
        "cell": score.cell, "low": score.low, "high": score.high, "n": score.n,
        "measured_by": software,
    }  # fmt: skip
    return {
        "value": score.value,
        "explanationId": explanation,
        "explanationScoreTypeName": f"{METHOD}/{score.name}",
        "explanationScoreModelName": None,
        "jsonDetails": json.dumps(details),
    }


def _config(software: str) -> Iterator[tuple[str, bytes]]:
    kind = {
        "name": METHOD,
        "displayName": "Locked as a probe",
        "description": f"The concept that {software} locked this feature for, before it was "
        "confirmed on other items. Its scores say how well it separates the concept.",
        "isAttention": False,
        "creatorName": software,
        "creatorId": CREATOR,
    }
    yield "config/explanation_type.jsonl", _lines([kind])


def _described(
    place: str, layers: int, d_model: int, software: str, dataset: str
) -> dict[str, dict[str, Any]]:
    """What the source, its set, its release and its model are."""
    model, source = place.split("/")
    by = {"creatorId": CREATOR}
    named = {"creatorName": software, **by}
    return {
        "model.jsonl": {
            "id": model, "displayName": model, "displayNameShort": model, "layers": layers,
            "dimension": d_model, "visibility": "PUBLIC", **by,
        },
        "release.jsonl": {
            "name": METHOD, "description": f"Features locked by {software}",
            "descriptionShort": "Locked features", "urls": [], "creatorNameShort": software,
            **named,
        },
        "sourceset.jsonl": {
            "modelId": model, "name": _set_name(place), "description": source,
            "releaseName": METHOD, "visibility": "PUBLIC", **named,
        },
        "source.jsonl": {
            "id": source, "modelId": model, "setName": _set_name(place), "dataset": dataset,
            "hasDashboards": True, "inferenceEnabled": False, "visibility": "PUBLIC", **by,
        },
    }  # fmt: skip


def _key(place: str, index: int) -> dict[str, str]:
    model, source = place.split("/")
    return {"modelId": model, "layer": source, "index": str(index)}


def _set_name(place: str) -> str:
    """The source without its layer."""
    return place.split("/")[1].partition("-")[2]


def _slug(text: str) -> str:
    """A part of an id: no folder above, and nothing but letters, digits and a few signs."""
    return _NOT_OF_AN_ID.sub("-", text.rsplit("/", 1)[-1]).strip("-_.").lower() or "unnamed"


def _histogram(values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Counts, and the middle of each bar: two lists of one length, as Neuronpedia draws them."""
    if not values:
        return [], []
    counts, edges = np.histogram(values, bins=BARS, range=(0.0, max(values)))
    return counts.tolist(), [_rounded(middle) for middle in (edges[:-1] + edges[1:]) / 2]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _id(*parts: str) -> str:
    """A name of 25 letters and digits that is the same each time."""
    return "c" + sha256("/".join(parts).encode()).hexdigest()[:24]


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    lines = (json.dumps(row, allow_nan=False) + "\n" for row in rows)
    return "".join(lines).encode("ascii")


def _zipped(data: bytes) -> bytes:
    """Gzip without a name or a time in its header."""
    sink = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=sink, mtime=0) as file:
        file.write(data)
    return sink.getvalue()
