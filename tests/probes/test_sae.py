"""Latents against SAELens, and every SAE that must not be run."""

import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compliance.errors import ProbeError, SaeError
from compliance.probes.hooks import capture
from compliance.probes.sae import load_sae
from compliance.records.audit import SaeRef
from compliance.records.subject import ModelFacts
from tests.probes.tiny import WIDTH, save_tiny_sae, tiny_batch, tiny_model

ARCHITECTURES = (
    "standard",
    "gated",
    "jumprelu",
    "topk",
    "abstopk",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
    "matching_pursuit",
)
HERE = Path(".")


@pytest.fixture(scope="module")
def activations():
    """What a model really holds at the place the tiny SAEs read."""
    ids, mask = tiny_batch(batch=4, length=16)
    name = "blocks.1.hook_resid_post"
    return capture(tiny_model("llama"), ids, mask, [name])[name].flatten(0, 1)


def load(path, **more):
    return load_sae(SaeRef(path=str(path), **more), HERE)


def lens_sae(path, dtype="float32"):
    from sae_lens import SAE

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\nThis SAE has non-empty model_from")
        return SAE.load_from_disk(path, dtype=dtype)


def close(found, expected):
    return (found - expected).abs().max() <= 1e-6 * expected.abs().max().clamp(min=1)


def facts(**changes):
    values = {
        "name": "subject",
        "architecture": "LlamaForCausalLM",
        "weights_digest": "sha256:0",
        "tokenizer_digest": "sha256:0",
        "parameters": 1,
        "layers": 3,
        "d_model": WIDTH,
        "dtype": "float32",
        "chat_template": True,
    }
    return ModelFacts(**values | changes)


# Numbers


@pytest.mark.parametrize("normalisation", ["none", "constant_norm_rescale", "layer_norm"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_latents_and_reconstruction_are_those_of_saelens(
    tmp_path, activations, architecture, normalisation
):
    path = save_tiny_sae(tmp_path / "sae", architecture, normalize_activations=normalisation)
    theirs = lens_sae(path)

    ours = load(path)
    latents = ours.encode(activations)

    with torch.no_grad():
        expected = theirs.encode(activations)
        assert close(latents, expected)
        assert bool((latents != 0).any()) and bool((latents == 0).any())
        assert close(ours.reconstruct(activations), theirs(activations))


@pytest.mark.parametrize("architecture", ["standard", "gated", "jumprelu", "topk"])
def test_b_dec_is_subtracted_only_where_the_sae_says_so(tmp_path, activations, architecture):
    path = save_tiny_sae(tmp_path / "sae", architecture, apply_b_dec_to_input=False)

    latents = load(path).encode(activations)

    assert close(latents, lens_sae(path).encode(activations).detach())
    with_bias = load(save_tiny_sae(tmp_path / "other", architecture)).encode(activations)
    assert not torch.allclose(latents, with_bias)


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_topk_weighs_latents_by_decoder_norm_where_trained_so(tmp_path, activations, architecture):
    path = save_tiny_sae(tmp_path / "sae", architecture, rescale_acts_by_decoder_norm=True)
    theirs = lens_sae(path)

    ours = load(path)

    assert close(ours.encode(activations), theirs.encode(activations).detach())
    assert close(ours.reconstruct(activations), theirs(activations).detach())


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_only_abstopk_keeps_negative_latents(tmp_path, activations, architecture):
    path = save_tiny_sae(tmp_path / "sae", architecture, k=60)

    latents = load(path).encode(activations)

    assert close(latents, lens_sae(path).encode(activations).detach())
    assert bool((latents < 0).any()) is (architecture == "abstopk")


def test_a_transcoder_does_not_subtract_b_dec(tmp_path, activations):
    """b_dec belongs to the place it writes to, which may have another width."""
    path = save_tiny_sae(tmp_path / "sae", "transcoder", d_out=WIDTH + 3)
    other = save_tiny_sae(tmp_path / "other", "transcoder", d_out=WIDTH + 3)
    tensors = load_file(other / "sae_weights.safetensors")
    save_file(tensors | {"b_dec": tensors["b_dec"] + 7}, other / "sae_weights.safetensors")

    latents = load(path).encode(activations)

    assert torch.equal(latents, load(other).encode(activations))
    assert load(path).decode(latents).shape == (len(activations), WIDTH + 3)
    with pytest.raises(SaeError, match="apply_b_dec_to_input is true"):
        load(save_tiny_sae(tmp_path / "wrong", "transcoder", apply_b_dec_to_input=True))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated", "matching_pursuit"])
def test_the_activation_scale_is_folded_as_saelens_folds_it(tmp_path, activations, architecture):
    normalised = {"normalize_activations": "expected_average_only_in"}
    # A threshold that ends the pursuit, so that scaling it shows.
    pursuit = (
        {"residual_threshold": 3.0, "max_iterations": 30}
        if architecture == "matching_pursuit"
        else {}
    )
    path = save_tiny_sae(tmp_path / "sae", architecture, **normalised, **pursuit)
    theirs = lens_sae(path)
    theirs.fold_activation_norm_scaling_factor(0.37)

    ours = load(path, activation_scale=0.37)

    assert close(ours.encode(activations), theirs.encode(activations).detach())
    assert close(ours.reconstruct(activations), theirs(activations).detach())
    assert ours.facts.normalisation == "expected_average_only_in"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_chosen_columns_are_those_of_the_whole(tmp_path, activations, architecture):
    sae = load(save_tiny_sae(tmp_path / "sae", architecture))
    chosen = [5, 0, 63]

    found = sae.encode(activations, chosen)

    assert close(found, sae.encode(activations)[:, chosen])


def test_heads_lie_flat_at_hook_z(tmp_path):
    ids, mask = tiny_batch()
    name = "blocks.1.attn.hook_z"
    z = capture(tiny_model("gpt2"), ids, mask, [name])[name]
    path = save_tiny_sae(tmp_path / "sae", hook_name=name)

    ours = load(path).encode(z)

    theirs = lens_sae(path)
    assert close(ours, theirs.encode(z.unflatten(-1, (4, 8))).detach())


def test_a_jumprelu_latent_at_its_threshold_does_not_fire(tmp_path):
    path = save_tiny_sae(tmp_path / "sae", "jumprelu", apply_b_dec_to_input=False)
    tensors = load_file(path / "sae_weights.safetensors")
    tensors |= {"W_enc": torch.zeros(WIDTH, 64), "b_enc": torch.ones(64)}
    tensors["threshold"] = torch.ones(64)
    save_file(tensors, path / "sae_weights.safetensors")

    assert load(path).encode(torch.zeros(1, WIDTH)).count_nonzero() == 0


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_weights_stored_in_half_precision_are_cast(tmp_path, activations, stored):
    path = save_tiny_sae(tmp_path / "sae", "jumprelu", dtype=stored)

    sae = load(path)

    assert sae.facts.dtype == str(stored).removeprefix("torch.")
    assert sae.tensors["W_enc"].dtype == torch.float32
    assert close(sae.encode(activations), lens_sae(path).encode(activations).detach())


def test_it_computes_in_the_dtype_asked_for(tmp_path, activations):
    path = save_tiny_sae(tmp_path / "sae", "jumprelu")

    sae = load_sae(SaeRef(path=str(path)), HERE, dtype=torch.bfloat16)
    latents = sae.encode(activations)

    assert latents.dtype == torch.bfloat16
    assert torch.equal(latents, lens_sae(path, "bfloat16").encode(activations).detach())


@pytest.mark.parametrize("place", ["hook_resid_pre", "hook_mlp_out", "hook_attn_out"])
def test_centring_gives_the_stream_that_transformer_lens_processes(tmp_path, place):
    """Its processing of GPT-2 takes the mean out of everything written to the stream."""
    from tests.probes.test_hooks import lens_model

    model = tiny_model("gpt2")
    ids, _ = tiny_batch()
    name = f"blocks.2.{place}"
    plain = capture(model, ids, None, [name])[name].flatten(0, 1)
    _, cache = lens_model("gpt2", model, center_writing_weights=True).run_with_cache(ids)
    processed = cache[name].detach().flatten(0, 1)
    kwargs = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    path = save_tiny_sae(tmp_path / "sae", "standard", hook_name=name, metadata=kwargs)

    sae = load(path)

    assert sae.facts.centres_input
    expected = lens_sae(path).encode(processed).detach()
    assert (sae.encode(plain) - expected).abs().max() <= 1e-5
    uncentred = load(save_tiny_sae(tmp_path / "other", "standard", hook_name=name))
    assert (uncentred.encode(plain) - expected).abs().max() > 1e-2
    residue = sae.reconstruct(plain) - plain.mean(-1, keepdim=True)
    assert (residue - lens_sae(path)(processed).detach()).abs().max() <= 1e-5


def test_the_difference_of_two_decodings_is_a_direction_of_the_models_space(tmp_path, activations):
    path = save_tiny_sae(tmp_path / "sae", normalize_activations="constant_norm_rescale")
    sae = load(path)
    latents = sae.encode(activations)
    moved = latents.clone()
    moved[:, 3] += 2

    step = sae.decode(moved, activations) - sae.decode(latents, activations)

    scale = activations.norm(dim=-1, keepdim=True) / WIDTH**0.5
    assert (step - 2 * sae.tensors["W_dec"][3] * scale).abs().max() <= 1e-5


# The two shapes of cfg.json, and who writes them


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saelens_writes_the_files_that_the_builders_write(tmp_path, architecture):
    path = save_tiny_sae(tmp_path / "sae", architecture)

    lens_sae(path).save_model(tmp_path / "again")

    ours, theirs = (json.loads((p / "cfg.json").read_text()) for p in (path, tmp_path / "again"))
    assert ours == {key: theirs[key] for key in ours}
    weights = [load_file(p / "sae_weights.safetensors") for p in (path, tmp_path / "again")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize(
    "architecture", ["standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka_batchtopk"]
)
def test_a_trained_sae_is_read_as_saved_for_inference(tmp_path, activations, architecture):
    """BatchTopK and Matryoshka are saved as jumprelu."""
    from sae_lens import TrainingSAE
    from sae_lens.registry import get_sae_training_class
    from sae_lens.saes.sae import SAEMetadata

    sae_class, config_class = get_sae_training_class(architecture)
    extra = {"matryoshka_widths": [16, 64]} if "matryoshka" in architecture else {}
    config = config_class(
        d_in=WIDTH,
        d_sae=64,
        metadata=SAEMetadata(hook_name="blocks.1.hook_resid_post", model_name="tiny"),
        **extra | ({"k": 4} if "topk" in architecture else {}),
    )
    torch.manual_seed(0)
    trained: TrainingSAE = sae_class(config)
    trained.save_inference_model(tmp_path / "sae")

    sae = load(tmp_path / "sae")

    expected = lens_sae(tmp_path / "sae")
    assert sae.facts.architecture == expected.cfg.architecture()
    assert close(sae.encode(activations), expected.encode(activations).detach())


def old_config(path, **fields):
    """A folder as SAELens before 6 wrote it."""
    save_tiny_sae(path, fields.pop("save_as", "standard"))
    content = {
        "d_in": WIDTH,
        "d_sae": 64,
        "dtype": "float32",
        "device": "cpu",
        "hook_point": "blocks.1.hook_resid_pre",
        "hook_point_layer": 1,
        "model_name": "pythia-70m-deduped",
        "context_size": 128,
    }
    (path / "cfg.json").write_text(json.dumps(content | fields), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"normalize_activations": None},
        {"normalize_activations": False},
        {"apply_b_dec_to_input": False},
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}},
        {"sae_lens_version": "3.20.1", "normalize_activations": "layer_norm"},
        {"architecture": "jumprelu", "save_as": "jumprelu"},
    ],
)
def test_a_folder_written_before_version_6_is_read_with_the_defaults_of_its_time(
    tmp_path, activations, fields
):
    path = old_config(tmp_path / "sae", **fields)

    sae = load(path)

    assert close(sae.encode(activations), lens_sae(path).encode(activations).detach())
    assert sae.facts.hook_name == "blocks.1.hook_resid_pre"
    assert sae.facts.context_size == 128


def test_an_old_gpt2_sae_that_does_not_say_whether_it_was_centred_is_refused(tmp_path):
    path = old_config(tmp_path / "sae", model_name="gpt2-small")

    with pytest.raises(SaeError, match="does not say whether the residual stream was centred"):
        load(path)

    centred = {"center_writing_weights": True}
    old_config(path, model_name="gpt2-small", model_from_pretrained_kwargs=centred)
    assert load(path).facts.centres_input
    old_config(path, model_name="gpt2-small", model_from_pretrained_kwargs={})
    assert not load(path).facts.centres_input
    old_config(path, model_name="gpt2-small", normalize_activations="layer_norm")
    assert not load(path).facts.centres_input  # it subtracts the mean itself


def test_the_digest_covers_weights_and_configuration(tmp_path):
    path = save_tiny_sae(tmp_path / "sae")
    first = load(path).facts.digest
    save_tiny_sae(path, seed=1)
    other_weights = load(path).facts.digest
    save_tiny_sae(path, metadata={"context_size": 65})
    other_config = load(path).facts.digest

    assert first == load(save_tiny_sae(tmp_path / "elsewhere")).facts.digest
    assert len({first, other_weights, other_config}) == 3


def test_the_facts_hold_no_path(tmp_path):
    sae = load(save_tiny_sae(tmp_path / "my-sae"))

    assert sae.facts.name == "my-sae"
    assert str(tmp_path) not in sae.facts.model_dump_json()
    assert sae.facts.context_size == 64


def test_the_mlp_input_of_gemma_scope_2_gets_its_unambiguous_name(tmp_path):
    outside = {"hf_hook_name": "model.layers.1.pre_feedforward_layernorm.output"}
    path = save_tiny_sae(
        tmp_path / "sae", "transcoder", hook_name="blocks.1.hook_mlp_in", metadata=outside
    )

    assert load(path).facts.hook_name == "blocks.1.mlp.hook_in"


# What is refused


def test_a_zero_vector_that_would_give_nan_is_an_error(tmp_path, activations):
    path = save_tiny_sae(tmp_path / "sae", normalize_activations="constant_norm_rescale")
    sae = load(path)
    x = activations[:5].clone()
    x[3] = 0

    with pytest.raises(ProbeError, match="row 3 .*zero vector"):
        sae.encode(x)

    assert bool(lens_sae(path).encode(x)[3].isnan().any())


def test_the_missing_scale_of_expected_average_only_in_is_asked_for(tmp_path):
    path = save_tiny_sae(tmp_path / "sae", normalize_activations="expected_average_only_in")

    with pytest.raises(SaeError, match="expected_average_only_in") as caught:
        load(path)

    assert "activation_scale" in caught.value.hint


def test_a_scale_that_nothing_asks_for_is_refused(tmp_path):
    with pytest.raises(SaeError, match="activation_scale is given"):
        load(save_tiny_sae(tmp_path / "sae"), activation_scale=2.0)


@pytest.mark.parametrize(
    ("field", "where"),
    [
        ("architecture", ""),
        ("d_in", ""),
        ("d_sae", ""),
        ("apply_b_dec_to_input", ""),
        ("normalize_activations", ""),
        ("hook_name", "metadata"),
        ("k", ""),
    ],
)
def test_a_missing_or_misspelt_field_is_named(tmp_path, field, where):
    """SAELens answers None, or takes a default, without a word."""
    path = save_tiny_sae(tmp_path / "sae", "topk")
    content = json.loads((path / "cfg.json").read_text())
    fields = content[where] if where else content
    fields[field + "s"] = fields.pop(field)
    (path / "cfg.json").write_text(json.dumps(content))

    with pytest.raises(SaeError, match=rf"cfg.json has no (metadata\.)?{field}$"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "temporal"}, "'temporal' is not run"),
        ({"architecture": "batchtopk"}, "training checkpoint"),
        ({"architecture": "crosscoder"}, "'crosscoder' is not known"),
        ({"normalize_activations": "covariance_whitening"}, "whose matrices are not in the file"),
        ({"normalize_activations": "constant_scalar_rescale"}, "expected one of"),
        ({"d_in": "32"}, "d_in is '32', expected a whole number"),
        ({"d_in": True}, "d_in is True, expected a whole number"),
        ({"d_sae": 0}, "d_sae is 0, expected >= 1"),
        ({"d_sae": 65}, r"W_dec has shape \(64, 32\), cfg.json says \(65, 32\)"),
        ({"activation_fn": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
        ({"architecture": "gated"}, "missing: b_gate, b_mag, r_mag, unexpected: b_enc, threshold"),
        ({"architecture": "standard"}, "unexpected: threshold"),
    ],
)
def test_a_configuration_that_cannot_be_run_says_why(tmp_path, changes, message):
    with pytest.raises(SaeError, match=message):
        load(_changed(tmp_path, changes))


def _changed(tmp_path, changes):
    path = save_tiny_sae(tmp_path / "sae", "jumprelu")
    content = json.loads((path / "cfg.json").read_text())
    (path / "cfg.json").write_text(json.dumps(content | changes))
    return path


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if "transcoder" in a])
@pytest.mark.parametrize("absent", [None, ""])
def test_a_transcoder_that_does_not_say_where_it_writes_is_refused(tmp_path, architecture, absent):
    path = save_tiny_sae(tmp_path / "coder", architecture, metadata={"hook_name_out": absent})

    with pytest.raises(SaeError, match="coder: cfg.json has no metadata.hook_name_out") as caught:
        load(path)

    assert "hook_mlp_out" in caught.value.hint


def test_an_sae_of_one_head_is_refused(tmp_path):
    with pytest.raises(SaeError, match="reads one head"):
        load(save_tiny_sae(tmp_path / "sae", metadata={"hook_head_index": 2}))


@pytest.mark.parametrize("value", ["{", "[]", ""])
def test_a_broken_cfg_json_is_refused(tmp_path, value):
    path = save_tiny_sae(tmp_path / "sae")
    (path / "cfg.json").write_text(value)

    with pytest.raises(SaeError, match=r"cfg\.json"):
        load(path)


def test_a_pickle_is_refused_by_name_and_never_opened(tmp_path):
    path = save_tiny_sae(tmp_path / "sae")
    (path / "sae_weights.safetensors").unlink()
    (path / "ae.pt").write_bytes(pickle.dumps({"W_enc": 1}))

    with pytest.raises(SaeError, match=r"ae\.pt holds a pickle, which can execute code"):
        load(path)


def test_a_file_of_weights_that_was_cut_off_is_named(tmp_path):
    path = save_tiny_sae(tmp_path / "sae")
    weights = path / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])

    with pytest.raises(SaeError, match=r"sae_weights\.safetensors cannot be read"):
        load(path)


@pytest.mark.parametrize("row", [0, 31, 63])
def test_weights_that_are_looked_at_in_blocks_are_looked_at_to_the_end(tmp_path, monkeypatch, row):
    folder = save_tiny_sae(tmp_path / "sae")
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["W_dec"][row, -1] = float("inf")
    save_file(tensors, folder / "sae_weights.safetensors")
    monkeypatch.setattr("compliance.probes.sae.CHECKED_AT_ONCE", 5 * WIDTH)

    with pytest.raises(SaeError, match="W_dec is not finite"):
        load_sae(SaeRef(path="sae"), tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what memory is of")
def test_weights_of_the_dtype_asked_for_are_not_copied(tmp_path):
    save_tiny_sae(tmp_path / "sae", d_sae=2**18)
    before = anonymous_memory()

    sae = load_sae(SaeRef(path="sae"), tmp_path)

    assert all(float(tensor.sum()) < float("inf") for tensor in sae.tensors.values())
    assert anonymous_memory() - before < 2**18 * WIDTH * 4 / 2


def anonymous_memory() -> int:
    """Bytes in memory that are no part of a file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = save_tiny_sae(tmp_path / "sae")
    tensors = load_file(path / "sae_weights.safetensors")
    tensors["b_dec"][0] = float("nan")
    save_file(tensors, path / "sae_weights.safetensors")

    with pytest.raises(SaeError, match="b_dec is not finite"):
        load(path)


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1.5, True)])
def test_a_scaling_factor_that_saelens_no_longer_applies_is_refused(tmp_path, factor, refused):
    path = save_tiny_sae(tmp_path / "sae", "standard")
    tensors = load_file(path / "sae_weights.safetensors")
    tensors["scaling_factor"] = torch.full((64,), factor)
    save_file(tensors, path / "sae_weights.safetensors")

    if refused:
        with pytest.raises(SaeError, match="unexpected: scaling_factor"):
            load(path)
    else:
        assert "scaling_factor" not in load(path).tensors


@pytest.mark.parametrize(
    ("made", "message"),
    [(None, "no such folder"), ("file", "is a file"), ("empty", "has no sae_weights")],
)
def test_a_folder_that_is_not_one_is_refused(tmp_path, made, message):
    path = tmp_path / "sae"
    if made == "file":
        path.write_text("x")
    elif made == "empty":
        path.mkdir()

    with pytest.raises(SaeError, match=message):
        load(path)


def test_activations_of_another_width_are_refused(tmp_path):
    with pytest.raises(ProbeError, match="width 16, expected 32"):
        load(save_tiny_sae(tmp_path / "sae")).encode(torch.zeros(2, 16))


def test_decoding_without_the_inputs_it_needs_is_refused(tmp_path, activations):
    sae = load(save_tiny_sae(tmp_path / "sae", normalize_activations="layer_norm"))

    with pytest.raises(ProbeError, match="needs the activations"):
        sae.decode(sae.encode(activations))


# Which model


def test_an_sae_of_this_model_is_accepted(tmp_path):
    sae = load(save_tiny_sae(tmp_path / "sae", metadata={"model_name": "openai-community/gpt2"}))

    sae.reads(facts())
    sae.reads(facts(name="gpt2", revision="0" * 40))
    sae.reads(facts(d_model=64), width=WIDTH)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (facts(d_model=64), "reads 32 numbers at blocks.1.hook_resid_post, subject has 64 there"),
        (facts(layers=1), "subject has 1 blocks"),
        (facts(name="a/other", revision="0" * 40), "was trained on tiny, the subject is a/other"),
    ],
)
def test_an_sae_of_another_model_is_refused(tmp_path, model, message):
    with pytest.raises(SaeError, match=message):
        load(save_tiny_sae(tmp_path / "sae")).reads(model)


def test_the_width_at_hook_z_is_checked_where_it_is_known(tmp_path):
    sae = load(save_tiny_sae(tmp_path / "sae", hook_name="blocks.1.attn.hook_z"))

    sae.reads(facts(d_model=99))
    with pytest.raises(SaeError, match="has 16 there"):
        sae.reads(facts(), width=16)


# Releases


def as_release(monkeypatch, path, release="gpt2-small-res-jb", sae_id="blocks.0.hook_resid_pre"):
    """Let SAELens' own ``from_pretrained`` find a folder where it would ask the hub."""
    import sae_lens.loading.pretrained_sae_loaders as loaders

    def download(repo_id, filename, **_):
        found = path / Path(filename).name
        if not found.exists():
            raise loaders.EntryNotFoundError(filename)
        return str(found)

    monkeypatch.setattr(loaders, "hf_hub_download", download)
    return SaeRef(release=release, id=sae_id)


def test_a_release_goes_through_saelens_and_is_centred_where_the_registry_says_so(
    tmp_path, monkeypatch, activations
):
    path = old_config(tmp_path / "sae", model_name="gpt2-small")
    ref = as_release(monkeypatch, path)

    sae = load_sae(ref, HERE)

    centred = activations - activations.mean(-1, keepdim=True)
    assert sae.facts.centres_input
    assert sae.facts.name == "gpt2-small-res-jb/blocks.0.hook_resid_pre"
    assert close(sae.encode(activations), lens_sae(path).encode(centred).detach())


def test_the_registry_says_that_a_release_is_centred_whatever_its_files_say(tmp_path, monkeypatch):
    """SAELens loses the setting where the files are of version 6."""
    ref = as_release(monkeypatch, save_tiny_sae(tmp_path / "sae", "standard"))

    assert load_sae(ref, HERE).facts.centres_input


def test_a_release_takes_its_scale_from_the_registry(tmp_path, monkeypatch, activations):
    path = old_config(
        tmp_path / "sae", model_name="gemma-2b", normalize_activations="expected_average_only_in"
    )
    from compliance.probes.registry import read_registry

    scaled = read_registry()["gemma-2b-res-jb"].saes
    sae_id, scale = next(
        (key, sae["norm_scaling_factor"])
        for key, sae in scaled.items()
        if "norm_scaling_factor" in sae
    )
    ref = as_release(monkeypatch, path, "gemma-2b-res-jb", sae_id)
    theirs = lens_sae(path)
    theirs.fold_activation_norm_scaling_factor(scale)

    sae = load_sae(ref, HERE)

    assert close(sae.encode(activations), theirs.encode(activations).detach())


def test_a_release_without_its_scale_asks_for_it(tmp_path, monkeypatch):
    path = old_config(tmp_path / "sae", normalize_activations="expected_average_only_in")
    ref = as_release(monkeypatch, path, "gpt2-small-res_sce-ajt", "blocks.2.hook_resid_pre")

    with pytest.raises(SaeError, match="the factor is not in the file"):
        load_sae(ref, HERE)


def test_the_digest_of_a_release_does_not_depend_on_the_dtype(tmp_path, monkeypatch):
    ref = as_release(monkeypatch, old_config(tmp_path / "sae", model_name="gpt2-small"))

    digests = {
        load_sae(ref, HERE, dtype=dtype).facts.digest for dtype in (torch.float32, torch.bfloat16)
    }

    assert len(digests) == 1


def test_code_in_a_pickled_release_is_not_run(tmp_path, monkeypatch):
    """dictionary_learning's releases are .pt files, which SAELens hands to torch.load."""
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path = tmp_path / "sae"
    path.mkdir()
    config = {
        "trainer": {
            "layer": 3,
            "dict_class": "AutoEncoder",
            "activation_dim": WIDTH,
            "dict_size": 64,
            "lm_name": "x",
        },
        "buffer": {"ctx_len": 128},
    }
    (path / "config.json").write_text(json.dumps(config))
    torch.save({"encoder.weight": Payload()}, path / "ae.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "")
    ref = as_release(
        monkeypatch,
        path,
        "sae_bench_pythia70m_sweep_standard_ctx128_0712",
        "blocks.3.hook_resid_post__trainer_10",
    )

    with pytest.raises(SaeError, match="could not load it"):
        load_sae(ref, HERE)

    assert not marker.exists()


def test_a_release_that_cannot_be_fetched_says_what_to_do(monkeypatch):
    import sae_lens.loading.pretrained_sae_loaders as loaders

    def offline(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(loaders, "hf_hub_download", offline)

    with pytest.raises(SaeError, match="no network") as caught:
        load_sae(SaeRef(release="gpt2-small-res-jb", id="blocks.0.hook_resid_pre"), HERE)

    assert "saes[].path" in caught.value.hint


@pytest.mark.parametrize(
    ("release", "sae_id", "message"),
    [
        ("gpt2-small-res-jbb", "x", "nearest: gpt2-small-res-jb"),
        ("gpt2-small-res-jb", "x", "has no SAE 'x'"),
        ("temporal-sae-gemma-2-2b", "blocks.12.hook_resid_post", "temporal SAE"),
    ],
)
def test_a_release_that_is_not_run_is_refused_before_anything_is_loaded(release, sae_id, message):
    with pytest.raises(SaeError, match=message):
        load_sae(SaeRef(release=release, id=sae_id), HERE)


# Cost


def test_a_folder_is_loaded_without_importing_saelens(tmp_path):
    path = save_tiny_sae(tmp_path / "sae")
    code = (
        "import sys, pathlib, torch\n"
        "from compliance.probes.sae import load_sae\n"
        "from compliance.records.audit import SaeRef\n"
        f"sae = load_sae(SaeRef(path={str(path)!r}), pathlib.Path('.'))\n"
        "sae.encode(torch.ones(1, 32))\n"
        "print([name for name in ('sae_lens', 'transformer_lens', 'transformers', 'wandb')"
        " if name in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == "[]"


def test_nothing_in_the_package_uses_the_bridge():
    """It can install packages while it loads a vision-language model."""
    package = Path(__file__).parents[2] / "compliance"

    users = [path for path in package.rglob("*.py") if "TransformerBridge" in path.read_text()]

    assert users == []
