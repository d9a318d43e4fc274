"""The example of Gemma 3 4b and Gemma Scope 2, run as it stands on a tiny Gemma 3.

What the hub would give is written into a cache of the hub's own layout, under the names that
``audit.yaml`` asks for: the model as its repository has it (shards in bfloat16, the hub's names of
weights, a processor's files), the SAEs in Gemma Scope 2's files. transformers, huggingface_hub and
SAELens then do what they do for anybody without a network.
"""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from compliance import workflow
from compliance.documents import read_yaml
from compliance.packs.reading import read_pack
from compliance.records.audit import AuditConfig
from compliance.records.finding import Verdict
from compliance.records.verification import Outcome
from compliance.suites.load import load_suite
from compliance.suites.pictures import read_picture

EXAMPLE = Path(__file__).parent.parent / "examples" / "gemma-scope-2-vision"
AUDIT = EXAMPLE / "audit.yaml"
SCOPE = "google/gemma-scope-2-4b-it"
SCOPE_COMMIT = "5" * 40
PARAMETERS = "params.safetensors"
BLOCKS, WIDTH, LATENTS = 24, 32, 448
CONCEPTS = ("danger", "distress")
LANGUAGES = ["en", "ja", "zh-Hans", "el", "vi", "ru"]
SMALLER = {
    "alpha": 0.1,
    "bootstrap_draws": 200,
    "robustness": {"shifted_groups": 1, "repeated_items": 2, "loss_items": 1},
    "subset": {"groups_per_concept": 10, "benign_groups": 20},
}
"""What the run here has less of than the file says, and the larger alpha that fewer items need."""

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{% if message.content is string %}{{ message.content | trim }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'image' %}<start_of_image>"
    "{% else %}{{ part.text | trim }}{% endif %}{% endfor %}{% endif %}<end_of_turn>\n"
    "{% endfor %}"
)
"""As Gemma's: trims, joins the parts of a turn, and calls the assistant's turns the model's."""


# The hub


def repository(hub: Path, name: str, commit: str) -> Path:
    """An empty repository at one commit, in the layout of the hub's cache."""
    home = hub / f"models--{name.replace('/', '--')}"
    folder = home / "snapshots" / commit
    folder.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit, encoding="utf-8")
    return folder


def snapshot(hub: Path, name: str) -> Path:
    """The one commit of a repository that is there."""
    return next((hub / f"models--{name.replace('/', '--')}" / "snapshots").iterdir())


def write_model(folder: Path) -> None:
    """A Gemma 3 as its repository has it, with as many blocks as the SAEs need."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    from tests.probes.tiny import with_weights
    from tests.probes.tiny_vision import SIDE, processor_of, tokenizer_of

    tokenizer = tokenizer_of("gemma3")
    tokenizer.add_tokens(["<start_of_turn>", "<end_of_turn>"], special_tokens=True)
    image, begin, end = tokenizer.convert_tokens_to_ids(
        ["<image_soft_token>", "<start_of_image>", "<end_of_image>"]
    )
    text = Gemma3TextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=48, head_dim=8,
        num_hidden_layers=BLOCKS, num_attention_heads=4, num_key_value_heads=2,
        query_pre_attn_scalar=8, sliding_window=16, max_position_embeddings=512,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE, patch_size=4, vision_use_head=False,
    )  # fmt: skip
    config = Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4,
        image_token_index=image, boi_token_index=begin, eoi_token_index=end,
    )  # fmt: skip
    model = with_weights(Gemma3ForConditionalGeneration(config), seed=0).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="200KB")
    as_on_the_hub(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    processor_of("gemma3", tokenizer).image_processor.save_pretrained(folder)
    more = {
        "processor_config.json": {"image_seq_length": 4, "processor_class": "Gemma3Processor"},
        "chat_template.json": {"chat_template": TEMPLATE},
    }
    for name, content in more.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def as_on_the_hub(folder: Path) -> None:
    """Give the vision tower's weights the names that the published file has."""

    def renamed(name: str) -> str:
        return name.replace("vision_tower.", "vision_tower.vision_model.")

    for path in folder.glob("*.safetensors"):
        named = {renamed(name): tensor for name, tensor in load_file(path).items()}
        save_file(named, path, metadata={"format": "pt"})
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    index["weight_map"] = {renamed(name): file for name, file in index["weight_map"].items()}
    path.write_text(json.dumps(index), encoding="utf-8")


def write_sae(folder: Path, sae_id: str) -> None:
    """One SAE in Gemma Scope 2's files.

    Two latents a dimension, for what is above and below ``b_dec``, reconstruct every input; the
    others fire in random directions above a threshold and add nothing that could be seen.
    """
    block = sae_id.split("_")[1]
    stream = torch.Generator().manual_seed(int(block))
    others = torch.randn((WIDTH, LATENTS - 2 * WIDTH), generator=stream) / WIDTH**0.5
    middle, identity = torch.randn(WIDTH, generator=stream), torch.eye(WIDTH)
    rest = torch.zeros(LATENTS - 2 * WIDTH)
    weights = {
        "w_enc": torch.cat([identity, -identity, others], dim=1),
        "w_dec": torch.cat([identity, -identity, 1e-6 * others.T]),
        "b_enc": torch.cat([-middle, middle, rest]),
        "b_dec": middle,
        "threshold": torch.cat([torch.zeros(2 * WIDTH), rest + 0.2]),
    }
    config = {
        "hf_hook_point_in": f"model.layers.{block}.output",
        "hf_hook_point_out": f"model.layers.{block}.output",
        "width": LATENTS, "model_name": "google/gemma-3-4b-it", "architecture": "jump_relu",
        "l0": 60, "affine_connection": False, "type": "sae",
    }  # fmt: skip
    home = folder / "resid_post" / sae_id
    home.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()},
              home / PARAMETERS)  # fmt: skip
    (home / "config.json").write_text(json.dumps(config), encoding="utf-8")


class FromCache:
    """What SAELens asks the hub for by itself: the first bytes of a file, to read its shapes."""

    def __init__(self, scope: Path) -> None:
        self.scope = scope

    def __call__(self, url: str, headers: dict) -> "FromCache":
        owner, _, path = url.partition("/resolve/main/")
        assert owner.endswith(SCOPE)
        first, last = headers["Range"].removeprefix("bytes=").split("-")
        self.content = (self.scope / path).read_bytes()[int(first) : int(last) + 1]
        return self


# The run


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A cache with the model and the SAEs that ``audit.yaml`` names."""
    folder, config = tmp_path_factory.mktemp("hub"), read_yaml(AUDIT, AuditConfig)
    write_model(repository(folder, config.subject.model, config.subject.revision))
    scope = repository(folder, SCOPE, SCOPE_COMMIT)
    for ref in config.subject.saes:
        write_sae(scope, ref.id)
    return folder


@pytest.fixture(scope="module")
def pack(hub, tmp_path_factory):
    """The example's pack; rendering it is left out and tested elsewhere."""
    import sae_lens.loading.pretrained_sae_loaders as loaders
    from huggingface_hub import constants

    from compliance.workflow import stages

    path = copy_example(tmp_path_factory.mktemp("example"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(hub))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        patch.setattr(loaders, "_get_with_rate_limit_retry", FromCache(snapshot(hub, SCOPE)))
        patch.setattr(stages, "documents", lambda *_, **__: {"report.html": b"<!doctype html>"})
        return workflow.audit(path)


def copy_example(folder: Path) -> Path:
    """``audit.yaml`` with a smaller run and without a GPU, and ``system.yaml``, in ``folder``."""
    values = yaml.safe_load(AUDIT.read_text(encoding="utf-8"))
    values["subject"]["device"] = "cpu"
    path = folder / "audit.yaml"
    path.write_text(yaml.safe_dump(values | SMALLER), encoding="utf-8")
    (folder / "system.yaml").write_bytes((EXAMPLE / "system.yaml").read_bytes())
    return path


@pytest.fixture(scope="module")
def evidence(pack):
    with read_pack(pack) as opened:
        return opened.evidence


def test_the_file_asks_for_what_the_registry_says_goes_together():
    from compliance.probes.registry import read_registry, refusal_of

    config = read_yaml(AUDIT, AuditConfig)

    for ref in config.subject.saes:
        assert read_registry()[ref.release].model == config.subject.model
        assert refusal_of(ref.release, ref.id) is None
    assert config.suites == ("compliance:pictures",)
    assert list(config.languages) == LANGUAGES and config.modalities == ("text", "image")


def test_the_pack_names_the_commit_and_both_saes(evidence):
    config = read_yaml(AUDIT, AuditConfig)

    assert evidence.plan.model.name == config.subject.model
    assert evidence.plan.model.revision == config.subject.revision
    assert evidence.plan.model.architecture == "Gemma3ForConditionalGeneration"
    assert [(sae.name, sae.hook_name) for sae in evidence.plan.saes] == [
        (f"{ref.release}/{ref.id}", f"blocks.{ref.id.split('_')[1]}.hook_resid_post")
        for ref in config.subject.saes
    ]


def test_every_cell_in_words_and_in_pictures_has_a_verdict(evidence):
    forms = {("text", "plain"), ("image", "depicted"), ("image", "typographic")}
    planned = {(concept, language, *form) for concept in CONCEPTS
               for language in LANGUAGES for form in forms}  # fmt: skip

    found = {(f.cell.concept, *f.cell.variant): f.verdict for f in evidence.findings}

    assert found.keys() == planned
    assert Verdict.NOT_COVERED not in found.values()


def test_the_saes_explain_all_variance_of_image_tokens_as_they_were_made_to(evidence):
    """They reconstruct whatever they read; with tensors swapped or a bias left out they do not."""
    values = {result.id: result.value for result in evidence.results}

    for sae in (0, 1):
        for language in LANGUAGES:
            start = f"fidelity/{language}/image/sae{sae}/"
            found = [value for name, value in values.items()
                     if name.startswith(start)
                     and name.endswith((".typographic/ev", ".depicted/ev"))]  # fmt: skip
            assert found and min(found) > 0.999, (sae, language)


def test_the_probe_on_image_tokens_is_what_a_plain_forward_pass_gives(hub, pack, evidence):
    content = (pack / "data" / "observations" / "confirm" / "patches.parquet").read_bytes()
    patches = pd.read_parquet(io.BytesIO(content))
    suite = load_suite("compliance:pictures", pack)
    items = {item.id: item for item in suite.items}
    probes = {probe.concept: probe.features for probe in evidence.lock.probes}
    read = plain_reader(hub)

    patches["rendering"] = [items[item].rendering for item in patches["item"]]
    seen = patches.groupby(["concept", "rendering"]).head(1)
    for row in seen.itertuples():
        expected = read(suite.folder, items[row.item], probes[row.concept])
        assert (row.rows, row.columns) == (2, 2)
        assert list(row.activations) == pytest.approx(expected, abs=1e-4, rel=1e-4)
    assert len(seen) == 4 and any(max(row.activations) > 0 for row in seen.itertuples())


def plain_reader(hub):
    """The largest of a probe's latents on each image token, by transformers alone."""
    from transformers import (
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
        PreTrainedTokenizerFast,
    )

    config = read_yaml(AUDIT, AuditConfig)
    folder, scope = snapshot(hub, config.subject.model), snapshot(hub, SCOPE)
    model = Gemma3ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    images = Gemma3ImageProcessorPil.from_pretrained(folder)
    processor = Gemma3Processor(images, tokenizer, chat_template=TEMPLATE, image_seq_length=4)
    saes = [(int(ref.id.split("_")[1]), load_file(scope / "resid_post" / ref.id / PARAMETERS))
            for ref in config.subject.saes]  # fmt: skip

    def read(pictures, item, features):
        picture = read_picture(pictures, item.image)
        parts = [{"type": "text", "text": item.text}] if item.text else []
        turn = {"role": "user", "content": [*parts, {"type": "image", "image": picture}]}
        inputs = processor.apply_chat_template(
            [turn], tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            states = model(**inputs, output_hidden_states=True).hidden_states
        shown = inputs["input_ids"][0] == model.config.image_token_index
        found = []
        for feature in features:
            block, sae = saes[feature.sae]
            pre = states[block + 1][0, shown] @ sae["w_enc"] + sae["b_enc"]
            fired = pre * (pre > sae["threshold"])
            found.append(fired.relu()[:, feature.latent])
        return torch.stack(found).amax(dim=0).tolist()

    return read


def test_the_pack_verifies_but_for_the_words_that_were_left_out(pack):
    failed = [c for c in workflow.verify(pack).checks if c.status == Outcome.FAILED]

    assert {check.name for check in failed} <= {"report", "page", "exports"}, failed
