"""What a subject is, and every folder that must not become one."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compliance.errors import SubjectError
from compliance.probes.hooks import capture
from compliance.probes.sae import load_sae
from compliance.probes.subject import load_subject
from compliance.records.audit import SaeRef, SubjectConfig
from tests.probes.tiny import (
    FAMILIES,
    LAYERS,
    VISION_FAMILIES,
    WIDTH,
    save_tiny_gguf,
    save_tiny_sae,
    save_tiny_subject,
    tiny_batch,
    tiny_model,
    tiny_tokenizer,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def load(folder, model="subject", **more):
    saes = (SaeRef(path="sae"),)
    return load_subject(SubjectConfig(model=model, saes=saes, **more), folder)


def test_a_local_folder_is_loaded_relative_to_the_audit(tmp_path):
    save_tiny_subject(tmp_path / "subject")

    subject = load(tmp_path)

    facts = subject.facts
    assert (facts.name, facts.revision) == ("subject", None)
    assert (facts.architecture, facts.layers, facts.d_model) == ("LlamaForCausalLM", LAYERS, WIDTH)
    assert facts.dtype == "float32"
    assert facts.chat_template
    assert facts.parameters == sum(p.numel() for p in tiny_model("llama").parameters())
    assert str(tmp_path) not in facts.model_dump_json()


@pytest.mark.parametrize("family", (*FAMILIES, *VISION_FAMILIES))
def test_every_family_comes_back_with_the_weights_it_was_saved_with(tmp_path, family):
    save_tiny_subject(tmp_path / "subject", family)
    ids, mask = tiny_batch()
    name = "blocks.2.hook_resid_post"

    subject = load(tmp_path)

    expected = capture(tiny_model(family), ids, mask, [name])[name]
    assert torch.equal(capture(subject.model, ids, mask, [name])[name], expected)
    assert subject.facts.layers == LAYERS


def test_it_is_in_evaluation_mode_without_gradients_on_eager_attention(tmp_path):
    save_tiny_subject(tmp_path / "subject")

    model = load(tmp_path).model

    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.config._attn_implementation == "eager"


def test_two_runs_give_the_same_bits(tmp_path):
    save_tiny_subject(tmp_path / "subject", "gemma3")
    ids, mask = tiny_batch()
    name = "blocks.2.hook_resid_post"

    runs = [capture(load(tmp_path).model, ids, mask, [name])[name] for _ in range(2)]

    assert torch.equal(*runs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_dtype_asked_for_is_the_dtype_computed_in(tmp_path, dtype):
    save_tiny_subject(tmp_path / "subject")

    subject = load(tmp_path, dtype=dtype)

    assert {str(p.dtype) for p in subject.model.parameters()} == {f"torch.{dtype}"}
    assert subject.facts.dtype == dtype


def test_a_device_that_is_not_there_is_named(tmp_path):
    save_tiny_subject(tmp_path / "subject")

    with pytest.raises(SubjectError) as caught:
        load(tmp_path, device="nowhere")

    assert "subject.device" in caught.value.hint


# Digests


def digests(folder):
    facts = load(folder).facts
    return facts.weights_digest, facts.tokenizer_digest, facts.config_digest


def test_the_digests_name_weights_tokenizer_and_configuration_apart(tmp_path):
    save_tiny_subject(tmp_path / "subject")
    first = digests(tmp_path)
    save_tiny_subject(tmp_path / "subject", seed=1)
    other_weights = digests(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(tmp_path / "subject")
    other_tokenizer = digests(tmp_path)
    path = tmp_path / "subject" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 0.1}))
    other_config = digests(tmp_path)

    def changed(before, after):
        return [x != y for x, y in zip(before, after, strict=True)]

    assert changed(first, other_weights) == [True, False, False]
    assert changed(other_weights, other_tokenizer) == [False, True, False]
    assert changed(other_tokenizer, other_config) == [False, False, True]


def test_the_digest_covers_every_shard_in_the_order_of_the_names(tmp_path):
    subject = tmp_path / "subject"
    tiny_tokenizer().save_pretrained(subject)
    tiny_model("llama").save_pretrained(subject, max_shard_size="30KB")
    shards = sorted(subject.glob("*.safetensors"))
    first = load(tmp_path).facts.weights_digest

    tensors = load_file(shards[-1])
    save_file({key: value + 1 for key, value in tensors.items()}, shards[-1], {"format": "pt"})

    assert len(shards) > 1
    assert load(tmp_path).facts.weights_digest != first


# GGUF


def test_a_gguf_is_unpacked_once_into_plain_weights(tmp_path):
    import gguf

    path = save_tiny_gguf(tmp_path / "tiny.gguf")
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    value = stored["blk.1.ffn_down.weight"]

    subject = load(tmp_path, "tiny.gguf")

    expected = torch.from_numpy(gguf.quants.dequantize(value.data, value.tensor_type))
    found = subject.model.model.layers[1].mlp.down_proj
    assert type(found) is torch.nn.Linear
    assert torch.equal(found.weight, expected)
    assert {p.dtype for p in subject.model.parameters()} == {torch.float32}
    assert not any("Gguf" in type(module).__name__ for module in subject.model.modules())


def test_a_gguf_brings_its_tokenizer_and_is_read_like_any_model(tmp_path):
    save_tiny_gguf(tmp_path / "tiny.gguf")
    ids, mask = tiny_batch()

    subject = load(tmp_path, "tiny.gguf", dtype="bfloat16")

    assert subject.facts.name == "tiny.gguf"
    assert subject.facts.config_digest is None
    assert subject.facts.dtype == "bfloat16"
    assert subject.facts.chat_template
    text = "Grüße, мир"
    assert subject.tokenizer.decode(subject.tokenizer(text).input_ids) == text
    found = capture(subject.model, ids, mask, ["blocks.1.hook_resid_post"])
    assert found["blocks.1.hook_resid_post"].dtype == torch.bfloat16


def test_weights_that_stayed_packed_are_refused(tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    save_tiny_subject(tmp_path / "subject")
    model = tiny_model("llama")
    packed = torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    model.model.layers[1].mlp.down_proj.weight = packed
    given = (model, {"missing_keys": set(), "mismatched_keys": set()})
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: given)

    with pytest.raises(SubjectError, match=r"down_proj\.weight is torch\.uint8"):
        load(tmp_path)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"PK\x03\x04")

    with pytest.raises(SubjectError, match="expected b'GGUF'"):
        load(tmp_path, "tiny.gguf")


def test_a_gguf_that_was_cut_off_is_refused(tmp_path):
    path = save_tiny_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-5000])

    with pytest.raises(SubjectError, match=r"tiny\.gguf: cannot be loaded"):
        load(tmp_path, "tiny.gguf")


# What is refused


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_pickle_is_refused_by_name_and_never_opened(tmp_path, name):
    subject = save_tiny_subject(tmp_path / "subject")
    (subject / "model.safetensors").unlink()
    (subject / name).write_bytes(pickle.dumps({"x": 1}))

    with pytest.raises(SubjectError, match=f"{name} holds a pickle, which can execute code") as e:
        load(tmp_path)

    assert "convert to safetensors" in e.value.hint


def test_a_pickle_beside_safetensors_is_ignored(tmp_path):
    subject = save_tiny_subject(tmp_path / "subject")
    (subject / "pytorch_model.bin").write_bytes(b"not even a pickle")

    assert load(tmp_path).facts.layers == LAYERS


def test_safetensors_that_were_cut_off_are_named(tmp_path):
    weights = save_tiny_subject(tmp_path / "subject") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    with pytest.raises(SubjectError, match=r"model\.safetensors cannot be read"):
        load(tmp_path)


def test_a_shard_that_is_not_there_is_named(tmp_path):
    subject = tmp_path / "subject"
    tiny_tokenizer().save_pretrained(subject)
    tiny_model("llama").save_pretrained(subject, max_shard_size="30KB")
    lost = sorted(subject.glob("*.safetensors"))[0]
    lost.unlink()

    with pytest.raises(SubjectError, match=f"names {lost.name}, which is not there"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("tokenizer.json", "has no tokenizer"),
        ("config.json", r"has no config\.json"),
        ("model.safetensors", "has no weights"),
    ],
)
def test_an_incomplete_folder_says_what_it_lacks(tmp_path, lost, message):
    (save_tiny_subject(tmp_path / "subject") / lost).unlink()

    with pytest.raises(SubjectError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"model": {"type": "none"}}'])
@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_damaged_file_is_an_error_of_ours(tmp_path, name, content):
    (save_tiny_subject(tmp_path / "subject") / name).write_text(content)

    with pytest.raises(SubjectError, match="cannot be loaded"):
        load(tmp_path)


def test_weights_that_would_be_drawn_at_random_are_refused(tmp_path):
    weights = save_tiny_subject(tmp_path / "subject") / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, weights, {"format": "pt"})

    with pytest.raises(SubjectError, match=r"1 missing weights, such as model\.layers\.1\.mlp"):
        load(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path):
    weights = save_tiny_subject(tmp_path / "subject") / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)
    save_file(tensors, weights, {"format": "pt"})

    with pytest.raises(SubjectError):
        load(tmp_path)


@pytest.mark.parametrize("model_type", ["own", "llama"])
def test_code_of_the_models_own_is_never_run(tmp_path, model_type):
    subject = save_tiny_subject(tmp_path / "subject")
    marker = tmp_path / "ran"
    (subject / "own.py").write_text(f"open({str(marker)!r}, 'w')")
    config = json.loads((subject / "config.json").read_text())
    places = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}
    config |= {"model_type": model_type, "auto_map": places}
    (subject / "config.json").write_text(json.dumps(config))

    if model_type == "llama":  # transformers' own class is taken
        assert type(load(tmp_path).model).__module__.startswith("transformers.")
    else:
        with pytest.raises(SubjectError) as caught:
            load(tmp_path)
        assert "never run" in caught.value.hint
    assert not marker.exists()


def test_an_adapter_is_refused(tmp_path):
    (save_tiny_subject(tmp_path / "subject") / "adapter_config.json").write_text("{}")

    with pytest.raises(SubjectError, match="holds an adapter"):
        load(tmp_path)


def test_a_model_that_is_not_a_language_model_is_refused(tmp_path):
    from transformers import BertConfig, BertModel

    subject = tmp_path / "subject"
    config = BertConfig(
        vocab_size=32,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(subject)
    tiny_tokenizer().save_pretrained(subject)
    (subject / "config.json").write_text(
        json.dumps(json.loads((subject / "config.json").read_text()) | {"model_type": "resnet"})
    )

    with pytest.raises(SubjectError, match="cannot be loaded"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["./subject", "../x", "subject.gguf", "a/b/c"])
def test_a_local_path_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(SubjectError, match="no such file or folder"):
        load(tmp_path, name)


def test_a_revision_of_a_local_folder_is_refused(tmp_path):
    save_tiny_subject(tmp_path / "subject")

    with pytest.raises(SubjectError, match="is local, and revision"):
        load(tmp_path, revision=COMMIT)


# The hub


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12]])
def test_a_hub_id_without_a_pinned_commit_is_refused(tmp_path, revision):
    with pytest.raises(SubjectError, match="expected a commit of 40") as caught:
        load(tmp_path, "org/model", revision=revision)

    assert "subject.revision" in caught.value.hint


def test_a_hub_id_is_fetched_at_its_commit_without_pickles(tmp_path, monkeypatch):
    import huggingface_hub

    asked = {}

    def fetch(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(save_tiny_subject(tmp_path / "cache" / COMMIT))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)

    facts = load(tmp_path, "org/model", revision=COMMIT).facts

    assert (facts.name, facts.revision) == ("org/model", COMMIT)
    assert asked["revision"] == COMMIT
    assert not any(".bin" in pattern for pattern in asked["allow_patterns"])


def test_a_hub_id_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))

    with pytest.raises(SubjectError, match="cannot be fetched at 0123456789ab") as caught:
        load(tmp_path, "org/model", revision=COMMIT)

    assert "local folder" in caught.value.hint


def test_subject_and_sae_fit_together(tmp_path):
    save_tiny_subject(tmp_path / "subject")
    save_tiny_sae(tmp_path / "sae")
    ids, mask = tiny_batch()

    subject = load(tmp_path)
    sae = load_sae(SaeRef(path="sae"), tmp_path)
    sae.reads(subject.facts)
    x = capture(subject.model, ids, mask, [sae.facts.hook_name])[sae.facts.hook_name]

    assert sae.encode(x[mask == 1]).shape == (int(mask.sum()), 64)
    assert Path(sae.facts.name).name == "sae"
