"""Every reader of files that strangers may have made, with a valid small file for each.

    for reader in READERS:
        reader.read(reader.make(folder))

``make`` writes a valid example below a folder and returns the file that an attacker would change;
``read`` reads that file as the program does. `fuzz.py` changes it in many ways, and the tests in
``tests/hostile`` put attacks in its place. What a reader may raise is in ``refuses``.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from compliance.errors import ComplianceError

PAIR = ({"id": "a-1", "question": "How?", "label": "bad", "case": "a"},
        {"id": "a-2", "question": "Why?", "label": "good", "case": "a"})  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One reader and one of the files that it reads."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    refuses: tuple[type[Exception], ...] = (ComplianceError,)
    """What it raises for a file that it does not take. Functions below the program's own boundary
    say ``ValueError`` in their docstrings."""

    needs: tuple[str, ...] = ()
    """Modules that take long to load, such as torch."""


def _written(name: str, data: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data())
        return folder / name

    return make


# What people write


def _audit() -> bytes:
    return (
        b"subject: {model: ./model, saes: [{path: ./sae, activation_scale: 1.5}]}\n"
        b"suites: [./suite]\nprobes:\n  - {concept: danger, features: [1, 2]}\n"
        b"languages: [en, de]\nalpha: 0.1\nclaims: {min_sensitivity: 0.5}\nseed: 1\n"
    )


def _system() -> bytes:
    return (
        b"name: tiny\ntitle: Tiny system\nversion: '1'\n"
        b"declared:\n  intended_purpose: {text: Testing.}\n"
    )


def _mapping() -> bytes:
    return (
        b"name: rows\ntitle: Rows\ndescription: Made.\nlicence: CC0-1.0\nsources: [made]\n"
        b"languages: [en]\nconcepts: {damage: {title: Damage, definition: Breaking things.}}\n"
        b'items:\n  - id: "{id}"\n    group: "{case}"\n    concept: damage\n'
        b"    label: {column: label, values: {bad: positive, good: hard-negative}}\n"
        b'    text: "{question}"\n    origin: authored\n'
    )


def _read_yaml(shape: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        from compliance import records
        from compliance.documents import read_yaml

        module, name = shape.rsplit(".", 1)
        return read_yaml(path, getattr(__import__(f"{records.__name__}.{module}",
                                                  fromlist=[name]), name))  # fmt: skip

    return read


def _read_card(path: Path) -> object:
    from compliance.reports.model_card import remove_card, write_card

    data = path.read_bytes()
    written = write_card(data, "## Evidence\n\nText.\n", {"name": "tiny", "results": []})
    return remove_card(written)


def _card() -> bytes:
    return (
        b"---\nlicense: mit\nmodel-index:\n  - name: other\n    results: []\n---\n# Model\n\n"
        b"```\ncode\n```\n- item\n  ````\n  more\n  ````\n"
    )


def _catalog(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from compliance.resources import data_dir

        folder.mkdir(parents=True, exist_ok=True)
        for file in ("provisions.yaml", "mapping.yaml"):
            shutil.copy(data_dir("evidence/catalog") / file, folder / file)
        return folder / name

    return make


def _read_law(path: Path) -> object:
    from compliance.catalog.load import load_catalog

    return load_catalog(path.parent)


# Suites and what they are made from


def _suite(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.tiny_audit import write_suite

        write_suite(folder, groups=2, benign=2)
        return folder / name

    return make


def _picture_suite(folder: Path) -> Path:
    from PIL import Image as pillow

    from compliance.records.base import canonical_bytes
    from compliance.suites.pictures import store_picture

    path = _suite("items.jsonl")(folder)
    picture = pillow.new("RGB", (4, 4), "red")
    image = store_picture(picture, folder, description="red")
    item = {
        "id": "p-1", "group": "p", "label": "negative", "language": "en", "modality": "image",
        "rendering": "depicted", "image": image.model_dump(mode="json", exclude_none=True),
        "origin": "authored", "source": "made", "licence": "CC0-1.0",
    }  # fmt: skip
    with path.open("ab") as file:
        file.write(canonical_bytes(item) + b"\n")
    return path


def _read_suite(path: Path) -> object:
    from compliance.suites.load import load_suite

    return load_suite(path.parent.name, path.parent.parent)


def _picture(kind: str, mode: str = "RGB") -> Callable[[], bytes]:
    def data() -> bytes:
        from PIL import Image as pillow

        picture = pillow.linear_gradient("L").resize((24, 16)).convert(mode)
        out = io.BytesIO()
        exif = pillow.Exif()
        exif[0x0112] = 6
        picture.save(out, kind, exif=exif.tobytes())
        return out.getvalue()

    return data


def _read_picture(path: Path) -> object:
    from compliance.suites.pictures import decode_picture, picture_bytes

    return picture_bytes(decode_picture(path.read_bytes(), path.name))


def _csv() -> bytes:
    return b'id,question,label,case\na-1,"How, now?",bad,a\na-2,Why?,good,a\n'


def _json_lines() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in PAIR)


def _json_array() -> bytes:
    return json.dumps([*PAIR, {"id": "b", "more": [1, 2.5, None, {"x": True}]}]).encode()


def _table() -> object:
    import pyarrow as pa

    return pa.table({
        "id": ["a-1", "a-2"], "question": ["How?", "Why?"], "label": ["bad", "good"],
        "case": pa.array(["a", "a"]).dictionary_encode(), "more": [[1, 2], None],
        "inner": [{"x": 1.5, "y": b"z"}, {"x": None, "y": None}],
    })  # fmt: skip


def _parquet() -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(_table(), out, compression="zstd")
    return out.getvalue()


def _arrow() -> bytes:
    import pyarrow as pa

    table, out = _table(), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def _sample() -> dict[str, object]:
    turns = [{"role": "user", "content": "How?"},
             {"role": "assistant", "content": [{"type": "text", "text": "So."}]}]  # fmt: skip
    return {"id": 1, "epoch": 1, "input": "How?", "target": "x", "messages": turns,
            "output": {"model": "m", "choices": [{"message": turns[1]}]},
            "scores": {"match": {"value": "C"}}, "attachments": {}}  # fmt: skip


def _eval_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
        archive.writestr("samples/1_epoch_1.json", json.dumps(_sample()))
    return out.getvalue()


def _eval_json() -> bytes:
    log = {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": [_sample()]}
    return json.dumps(log).encode()


def _read_rows(path: Path) -> object:
    from compliance.suites.importing.rows import Meter
    from compliance.suites.importing.sources import open_source

    return sum(1 for file in open_source(path).files for _ in file.rows(Meter()))


def _saved_dataset(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data-00000-of-00001.arrow").write_bytes(_arrow())
    state = {"_split": "train", "_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    return folder / "state.json"


def _read_dataset(path: Path) -> object:
    return _read_rows(path.parent)


def _make_import(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mapping.yaml").write_bytes(_mapping())
    (folder / "rows.csv").write_bytes(_csv())
    return folder / "rows.csv"


def _read_import(path: Path) -> object:
    from compliance.workflow.importing import import_suite

    out = path.parent / "suite"
    shutil.rmtree(out, ignore_errors=True)
    return import_suite([path], out, mapping=path.parent / "mapping.yaml")


def _features() -> bytes:
    lines = [
        {"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "index": str(index),
         "description": "cats", "typeName": "oai", "scores": [{"value": 0.5}]}
        for index in range(3)
    ]  # fmt: skip
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _feature_list() -> bytes:
    neuron = {"explanations": [{"description": "cats"}], "frac_nonzero": 0.1, "pos_str": ["a"]}
    entry = {"modelId": "m", "layer": "l", "index": 1, "description": "x", "neuron": neuron}
    return json.dumps({"name": "mine", "neurons": [entry]}, indent=1).encode()


def _read_features(path: Path) -> object:
    from compliance.features.reading import read_features, read_list

    sum(1 for _ in read_features(path))
    return read_list(path)


# Packs


def _pack(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from compliance.packs.zipped import zip_pack
        from tests.packs.example import build_example

        pack = build_example(folder)
        return zip_pack(pack, folder / "pack.zip") if name == "pack.zip" else pack / name

    return make


def _read_pack(path: Path) -> object:
    from compliance.packs.integrity import verify_integrity
    from compliance.packs.reading import read_pack

    pack = path if path.name == "pack.zip" else _root(path)
    verification = verify_integrity(pack)
    with read_pack(pack) as opened:
        for read in ("evidence", "items", "trail", "statement"):
            try:
                getattr(opened, read)
            except ComplianceError:
                continue
    return verification


def _root(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / "manifest-sha256.txt").exists())


def _part(parse: str) -> Callable[[Path], object]:
    """A parser of a pack's file alone, without the digests that notice a change first."""

    def read(path: Path) -> object:
        from compliance import trail
        from compliance.keys import parse_public_key
        from compliance.packs import layout, reading, sign
        from compliance.packs.checks.contents import own_key

        data = path.read_bytes()
        if parse == "checkpoint":
            return trail.open_checkpoint(data, _issuer())
        if parse == "envelope":
            envelope, statement = sign.open_envelope(data, path="x")
            sign.verify_envelope(envelope, _issuer(), path="x")
            return statement
        if parse == "key":
            parse_public_key(data)
            return own_key(data)
        parsers = {"evidence": reading.parse_evidence, "items": _read_items,
                   "trail": trail.parse, "manifest": layout.parse_manifest,
                   "info": layout.parse_info}  # fmt: skip
        return parsers[parse](data)

    return read


def _read_items(data: bytes) -> object:
    from compliance.packs.reading import PackItems

    return PackItems(lambda: io.BytesIO(data))


def _issuer() -> object:
    from compliance.keys import parse_public_key
    from tests.packs.example import SIGNER

    return parse_public_key(SIGNER.public_pem)


def _make_key(folder: Path) -> Path:
    from tests.packs.example import SIGNER

    return _written("key.pem", lambda: SIGNER.public_pem)(folder)


def _make_stamp(folder: Path) -> Path:
    from rfc3161_client import TimestampRequestBuilder

    from tests.packs.tsa import Authority

    authority = Authority(folder)
    request = TimestampRequestBuilder().data(b"data").build().as_bytes()
    (folder / "stamp.tsr").write_bytes(authority.reply(request))
    return folder / "stamp.tsr"


def _read_stamp(path: Path) -> object:
    from compliance.packs.times import check_stamp

    return check_stamp(path.read_bytes(), b"data", (path.parent / "root.pem").read_bytes())


def _make_authorities(folder: Path) -> Path:
    from tests.packs.tsa import Authority

    Authority(folder)
    return folder / "root.pem"


def _read_authorities(path: Path) -> object:
    from compliance.packs.times import parse_authorities

    return parse_authorities(path.read_bytes())


def _make_cms(folder: Path) -> Path:
    from compliance.packs.cms import make_cms
    from tests.packs.example import MOMENT, P256_SIGNER

    made = make_cms(b"manifest", signer=P256_SIGNER, signed_at=MOMENT)
    return _written("manifest.p7s", lambda: made)(folder)


def _read_cms(path: Path) -> object:
    from compliance.packs.cms import verify_cms
    from tests.packs.example import MOMENT, P256_SIGNER

    key = P256_SIGNER.public_key
    return verify_cms(path.read_bytes(), b"manifest", key=key, signed_at=MOMENT, path="x")


def _make_private(folder: Path) -> Path:
    from compliance.packs.disclosure import render_private
    from tests.packs.example import example_items

    lines = render_private(example_items(), bytes(32), lambda image: b"")
    return _written("disclosures.jsonl", lambda: b"".join(lines))(folder)


def _read_private(path: Path) -> object:
    from compliance.packs.disclosure import parse_private

    return parse_private(path.read_bytes())


# Observations and runs


def _observation(path: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import pandas as pd

        from compliance.assessment.tables import _TABLES, _TYPES, table_bytes

        columns, _ = _TABLES[Path(path).name]
        row = {name: _cell(name, _TYPES.get(name)) for name in columns}
        data = table_bytes(pd.DataFrame([row]), path)
        place = folder / "observations" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    return make


def _cell(name: str, kind: object) -> object:
    if kind is None:
        return {"split": "confirm", "kind": "nearest"}.get(name, "a")
    return [1, 2] if str(kind).startswith("list") else 1


def _read_table(path: Path) -> object:
    from compliance.assessment.tables import read_table

    name = "/".join(path.parts[-2:])
    return read_table({name: path.read_bytes()}, name)


def _make_run(folder: Path) -> Path:
    from compliance.records.base import canonical_bytes
    from compliance.storage import write_bytes
    from tests.packs.example import example_evidence

    write_bytes(folder / "evidence.json", canonical_bytes(example_evidence()))
    return folder / "evidence.json"


def _read_run(path: Path) -> object:
    from compliance.runs import RunFolder

    return RunFolder(path.parent).evidence()


def _make_shard(folder: Path) -> Path:
    import dataclasses

    import numpy as np

    from compliance.probes.shards import RAGGED, Shard, shard_bytes

    fields = {f.name: np.zeros((1, 2)) for f in dataclasses.fields(Shard)}
    fields |= {name: (np.zeros(2, kind),) for name, kind in RAGGED.items()}
    return _written("shard-0.npz", lambda: shard_bytes(Shard(**fields), "one"))(folder)


def _read_shard(path: Path) -> object:
    from compliance.probes.shards import read_shard

    return read_shard(path, "one")


# Models and SAEs


def _sae(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.probes.tiny import save_tiny_sae

        return save_tiny_sae(folder, d_in=4, d_sae=8) / name

    return make


def _read_sae(path: Path) -> object:
    from compliance.probes.sae import load_sae
    from compliance.records.audit import SaeRef

    return load_sae(SaeRef(path=path.parent.name), path.parent.parent)


def _subject(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.probes.tiny import save_tiny_subject

        save_tiny_subject(folder, "llama")
        return folder / name

    return make


def _gguf(folder: Path) -> Path:
    from tests.probes.tiny import save_tiny_gguf

    folder.mkdir(parents=True, exist_ok=True)
    return save_tiny_gguf(folder / "model.gguf")


def _read_subject(path: Path) -> object:
    from compliance.probes.subject import load_subject
    from compliance.records.audit import SaeRef, SubjectConfig

    place = path if path.suffix == ".gguf" else path.parent
    config = SubjectConfig(model=place.name, saes=(SaeRef(path="sae"),))
    subject = load_subject(config, place.parent)
    return subject.facts


TORCH = ("torch", "compliance.probes.subject", "compliance.probes.sae")
VALUE = (ComplianceError, ValueError)

READERS = (
    Reader("audit.yaml", _written("audit.yaml", _audit), _read_yaml("audit.AuditConfig")),
    Reader("system.yaml", _written("system.yaml", _system), _read_yaml("audit.SystemFacts")),
    Reader("mapping.yaml", _written("m.yaml", _mapping), _read_yaml("importing.ImportMapping")),
    Reader("provisions.yaml", _catalog("provisions.yaml"), _read_law),
    Reader("README.md", _written("README.md", _card), _read_card),
    Reader("suite.yaml", _suite("suite.yaml"), _read_suite),
    Reader("items.jsonl", _suite("items.jsonl"), _read_suite),
    Reader("items.jsonl with pictures", _picture_suite, _read_suite),
    Reader("PNG", _written("p.png", _picture("PNG", "RGBA")), _read_picture),
    Reader("JPEG", _written("p.jpg", _picture("JPEG")), _read_picture),
    Reader("WebP", _written("p.webp", _picture("WEBP")), _read_picture),
    Reader("CSV", _written("r.csv", _csv), _read_rows),
    Reader("JSON Lines", _written("r.jsonl", _json_lines), _read_rows),
    Reader("JSON array", _written("r.json", _json_array), _read_rows),
    Reader("Parquet", _written("r.parquet", _parquet), _read_rows),
    Reader("Arrow", _written("r.arrow", _arrow), _read_rows),
    Reader("Inspect ZIP", _written("r.eval", _eval_zip), _read_rows),
    Reader("Inspect JSON", _written("r.json", _eval_json), _read_rows),
    Reader("state.json", _saved_dataset, _read_dataset),
    Reader("import", _make_import, _read_import),
    Reader("features", _written("f.jsonl", _features), _read_features),
    Reader("features, gzipped",
           _written("f.jsonl.gz", lambda: gzip.compress(_features(), mtime=0)), _read_features),
    Reader("feature list", _written("f.json", _feature_list), _read_features),
    Reader("pack, ZIP", _pack("pack.zip"), _read_pack),
    Reader("pack, evidence", _pack("data/evidence.json"), _read_pack),
    Reader("pack, statement", _pack("attestations/statement.dsse.json"), _read_pack),
    Reader("evidence.json", _pack("data/evidence.json"), _part("evidence"), VALUE),
    Reader("pack items.jsonl", _pack("data/items.jsonl"), _part("items"), VALUE),
    Reader("trail.jsonl", _pack("data/trail.jsonl"), _part("trail"), VALUE),
    Reader("checkpoint", _pack("data/checkpoint"), _part("checkpoint"), VALUE),
    Reader("envelope", _pack("attestations/statement.dsse.json"), _part("envelope"), VALUE),
    Reader("manifest", _pack("manifest-sha256.txt"), _part("manifest"), VALUE),
    Reader("bag-info.txt", _pack("bag-info.txt"), _part("info"), VALUE),
    Reader("public key", _make_key, _part("key"), VALUE),
    Reader("CMS", _make_cms, _read_cms),
    Reader("time stamp", _make_stamp, _read_stamp, VALUE),
    Reader("authorities", _make_authorities, _read_authorities),
    Reader("disclosures.jsonl", _make_private, _read_private, VALUE),
    Reader("scores.csv", _observation("confirm/scores.csv"), _read_table),
    Reader("items.csv", _observation("confirm/items.csv"), _read_table),
    Reader("tokens.parquet", _observation("confirm/tokens.parquet"), _read_table),
    Reader("firing.parquet", _observation("confirm/firing.parquet"), _read_table),
    Reader("run", _make_run, _read_run),
    Reader("shard", _make_shard, _read_shard, needs=("compliance.probes.shards",)),
    Reader("cfg.json", _sae("cfg.json"), _read_sae, needs=TORCH),
    Reader("sae_weights.safetensors", _sae("sae_weights.safetensors"), _read_sae, needs=TORCH),
    Reader("config.json", _subject("config.json"), _read_subject, needs=TORCH),
    Reader("tokenizer.json", _subject("tokenizer.json"), _read_subject, needs=TORCH),
    Reader("tokenizer_config.json", _subject("tokenizer_config.json"), _read_subject,
           needs=TORCH),
    Reader("model.safetensors", _subject("model.safetensors"), _read_subject, needs=TORCH),
    Reader("model.gguf", _gguf, _read_subject, needs=TORCH),
)  # fmt: skip


def reader(name: str) -> Reader:
    """The reader of that name."""
    return next(one for one in READERS if one.name == name)


def names() -> Iterator[str]:
    """All names, in their order."""
    return (one.name for one in READERS)
