"""Hook names against TransformerLens, and what a capture refuses to return."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from compliance.errors import ProbeError, SaeError
from compliance.probes.hooks import (
    block_count,
    can_replace,
    capture,
    hook_names,
    replaced,
    resolve,
)
from tests.probes.tiny import FAMILIES, HEADS, LAYERS, VISION_FAMILIES, tiny_batch, tiny_model

PLACES = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
    "attn.hook_z",
)


def lens_settings(family: str, model: PreTrainedModel) -> dict[str, Any]:
    """What TransformerLens' own tables say of the family, at the tiny size."""
    config = model.config.get_text_config()
    common = {
        "n_layers": LAYERS,
        "d_model": 32,
        "n_ctx": 64,
        "d_head": 8,
        "n_heads": HEADS,
        "d_vocab": config.vocab_size,
        "d_mlp": 128 if family == "gpt2" else 48,
        "original_architecture": type(model).__name__,
        "device": "cpu",
        "default_prepend_bos": False,
    }
    if family == "gpt2":
        return common | {"act_fn": "gelu_new", "normalization_type": "LN"}
    rotary = {
        "rotary_base": 10000,
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": False,
        "rotary_dim": 4 if family == "gpt_neox" else 8,
    }
    if family == "gpt_neox":
        return (
            common
            | rotary
            | {
                "act_fn": "gelu",
                "normalization_type": "LN",
                "parallel_attn_mlp": True,
                "eps": config.layer_norm_eps,
            }
        )
    gated = (
        common
        | rotary
        | {
            "n_key_value_heads": 2,
            "act_fn": "silu",
            "normalization_type": "RMS",
            "gated_mlp": True,
            "eps": config.rms_norm_eps,
            "final_rms": True,
        }
    )
    if family == "qwen3":
        return gated | {"use_qk_norm": True}
    if not family.startswith("gemma"):
        return gated
    local = {
        "act_fn": "gelu_pytorch_tanh",
        "use_attn_scale": True,
        "attn_scale": 8**0.5,
        "use_local_attn": True,
        "window_size": 8,
        "attn_types": ["local", "global", "local"],
        "use_normalization_before_and_after": True,
    }
    if family == "gemma2":
        return gated | local | {"attn_scores_soft_cap": 50.0, "output_logits_soft_cap": 30.0}
    base = {"rotary_base": 1000000, "rotary_base_local": 10000, "use_qk_norm": True}
    return gated | local | base


def lens_model(family: str, model: PreTrainedModel, *, center_writing_weights: bool = False) -> Any:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained import weight_conversions as convert

    functions = {
        "gpt2": convert.convert_gpt2_weights,
        "llama": convert.convert_llama_weights,
        "mistral": convert.convert_mistral_weights,
        "qwen2": convert.convert_qwen2_weights,
        "qwen3": convert.convert_qwen3_weights,
        "gpt_neox": convert.convert_neox_weights,
        "gemma2": convert.convert_gemma_weights,
        "gemma3": convert.convert_gemma_weights,
    }
    config = HookedTransformerConfig(**lens_settings(family, model))
    lens = HookedTransformer(config)
    state = functions[family](model, config)
    lens.load_and_process_state_dict(
        state,
        fold_ln=False,
        center_writing_weights=center_writing_weights,
        center_unembed=False,
        fold_value_biases=False,
    )
    return lens.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_place_holds_what_transformer_lens_calls_by_that_name(family):
    model = tiny_model(family)
    ids, _ = tiny_batch()
    places = [place for place in PLACES if place != "hook_resid_mid" or family != "gpt_neox"]
    names = [f"blocks.{block}.{place}" for block in range(LAYERS) for place in places]
    names.append("hook_embed")

    found = capture(model, ids, None, names)
    with torch.no_grad():
        _, expected = lens_model(family, model).run_with_cache(ids)

    for name in names:
        theirs = expected[name].flatten(2) if name.endswith("hook_z") else expected[name]
        assert (found[name] - theirs).abs().max() <= 1e-5, name
        assert theirs.abs().max() > 1e-2, name


def test_hidden_states_of_transformers_are_not_the_last_blocks_output():
    model = tiny_model("gpt2")
    ids, _ = tiny_batch()

    last = capture(model, ids, None, ["blocks.2.hook_resid_post"])["blocks.2.hook_resid_post"]
    states = model(ids, output_hidden_states=True).hidden_states

    assert torch.equal(model.transformer.ln_f(last), states[-1])
    assert not torch.allclose(last, states[-1])


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_a_vision_language_model_is_read_on_its_text_stream(family):
    model = tiny_model(family)
    text_family = "gemma3" if family == "gemma3-vision" else "llama"
    text = tiny_model(text_family)
    text.model.load_state_dict(model.model.language_model.state_dict())
    ids, mask = tiny_batch()
    names = [f"blocks.1.{place}" for place in PLACES]

    found = capture(model, ids, mask, names)
    expected = capture(text, ids, mask, names)

    assert resolve(model, names[0]).path == "model.language_model.layers.1"
    for name in names:
        assert torch.equal(found[name], expected[name]), name


@pytest.mark.parametrize("family", VISION_FAMILIES)
def test_pixels_reach_the_text_stream(family):
    model = tiny_model(family)
    ids, mask = tiny_batch(batch=1)
    ids[0, 2:6] = model.config.image_token_id
    name = "blocks.1.hook_resid_post"
    more = {"token_type_ids": (ids == 3).long()} if family == "gemma3-vision" else {}

    black, white = (
        capture(model, ids, mask, [name], pixel_values=torch.full((1, 3, 8, 8), value), **more)
        for value in (0.0, 1.0)
    )

    assert not torch.allclose(black[name][0, 2:6], white[name][0, 2:6])
    assert torch.equal(black[name][0, :2], white[name][0, :2])


def test_the_run_stops_after_the_deepest_place_with_the_same_values():
    model = tiny_model("llama")
    ids, mask = tiny_batch()
    ran = []
    for number, block in enumerate(model.model.layers):
        block.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))

    stopped = capture(model, ids, mask, ["blocks.1.hook_attn_out"])
    stopped_after = list(ran)
    whole = capture(model, ids, mask, ["blocks.1.hook_attn_out", "blocks.2.hook_resid_post"])

    assert stopped_after == [0]
    name = "blocks.1.hook_attn_out"
    assert torch.equal(stopped[name], whole[name])


def test_the_order_of_the_names_does_not_matter():
    model = tiny_model("gemma2")
    ids, mask = tiny_batch()
    names = ["blocks.2.hook_resid_post", "blocks.0.hook_resid_pre", "blocks.0.hook_resid_pre"]

    found = capture(model, ids, mask, names)

    assert set(found) == set(names)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_on_the_right_does_not_move_real_tokens(family):
    model = tiny_model(family)
    ids, mask = tiny_batch()
    name = "blocks.2.hook_resid_post"

    together = capture(model, ids, mask, [name])[name]
    alone = capture(model, ids[1:, :-3], None, [name])[name]

    assert (together[1, :-3] - alone[0]).abs().max() < 5e-6


def test_a_value_that_later_layers_overwrite_is_kept():
    model = tiny_model("llama")
    ids, mask = tiny_batch()
    name = "blocks.0.hook_resid_post"
    expected = capture(model, ids, mask, [name])[name]
    handle = model.model.layers[1].register_forward_pre_hook(lambda _, args: args[0].zero_() * 1)

    found = capture(model, ids, mask, [name, "blocks.2.hook_resid_post"])[name]

    handle.remove()
    assert torch.equal(found, expected)


def test_not_a_number_is_named():
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight.data[3] = float("nan")
    ids, mask = tiny_batch()

    with pytest.raises(ProbeError, match=r"blocks\.1\.hook_mlp_out .*not finite"):
        capture(model, ids, mask, ["blocks.1.hook_mlp_out"])


def test_infinity_at_padding_is_left_alone():
    model = tiny_model("gpt2")
    ids, mask = tiny_batch()
    ids[1, -3:] = 0
    model.transformer.wte.weight.data[0] = float("inf")

    found = capture(model, ids, mask, ["blocks.0.hook_resid_pre"])

    assert bool(torch.isinf(found["blocks.0.hook_resid_pre"][1, -3:]).all())


def test_a_place_that_is_not_passed_is_named():
    model = tiny_model("llama")
    model.model.layers[1].self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    ids, mask = tiny_batch()

    with pytest.raises(ProbeError, match=r"blocks\.1\.attn\.hook_z .*passed 0 times"):
        capture(model, ids, mask, ["blocks.1.attn.hook_z"])


def test_a_place_that_is_passed_twice_is_named():
    model = tiny_model("llama")
    block = model.model.layers[0]
    plain = block.forward
    block.forward = lambda x, **inputs: (block.mlp(x), plain(x, **inputs))[1]
    ids, mask = tiny_batch()

    with pytest.raises(ProbeError, match=r"blocks\.0\.hook_mlp_out .*passed 2 times"):
        capture(model, ids, mask, ["blocks.0.hook_mlp_out", "blocks.2.hook_resid_post"])


@pytest.mark.parametrize("broken", [False, True])
def test_hooks_are_removed_whatever_happens(broken):
    model = tiny_model("gpt2")
    if broken:
        model.transformer.h[0].ln_1.weight.data[0] = float("nan")
    ids, mask = tiny_batch()

    try:
        capture(model, ids, mask, hook_names(model))
        assert not broken
    except ProbeError:
        assert broken

    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_an_error_inside_the_model_removes_hooks_and_is_not_swallowed():
    model = tiny_model("gpt2")

    with pytest.raises(IndexError):
        capture(model, torch.tensor([[10**6]]), None, ["blocks.0.hook_resid_post"])

    assert not any(module._forward_hooks for module in model.modules())


def test_a_place_that_does_not_exist_lists_the_nearest():
    model = tiny_model("llama")

    with pytest.raises(SaeError, match="not a place of this llama model") as caught:
        resolve(model, "blocks.1.hook_resid_posts")

    assert "blocks.1.hook_resid_post" in caught.value.hint


@pytest.mark.parametrize("name", ["blocks.3.hook_resid_post", "blocks.x.hook_resid_post", ""])
def test_a_block_that_does_not_exist_is_refused(name):
    with pytest.raises(SaeError, match="which has 3 blocks"):
        resolve(tiny_model("llama"), name)


def test_a_parallel_model_has_no_stream_between():
    with pytest.raises(SaeError, match="attention and MLP in parallel"):
        resolve(tiny_model("gpt_neox"), "blocks.1.hook_resid_mid")


@pytest.mark.parametrize("place", ["ln2.hook_normalized", "hook_mlp_in"])
def test_a_name_without_one_meaning_is_refused_with_the_reason(place):
    with pytest.raises(SaeError, match="TransformerLens"):
        resolve(tiny_model("llama"), f"blocks.1.{place}")


def test_the_mlps_input_is_what_its_norm_gives():
    model = tiny_model("gemma3")
    ids, _ = tiny_batch()
    given = []
    norm = model.model.layers[1].pre_feedforward_layernorm
    norm.register_forward_hook(lambda _, args, output: given.append(output))

    found = capture(model, ids, None, ["blocks.1.mlp.hook_in"])

    assert torch.equal(found["blocks.1.mlp.hook_in"], given[0])


def test_a_family_outside_the_table_is_read_on_its_residual_stream_alone():
    from transformers import OlmoConfig, OlmoForCausalLM

    config = OlmoConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=1,
    )
    model = OlmoForCausalLM(config).eval()
    ids = torch.arange(8).unsqueeze(0)

    found = capture(model, ids, None, ["blocks.1.hook_resid_pre"])
    states = model(ids, output_hidden_states=True).hidden_states

    assert torch.equal(found["blocks.1.hook_resid_pre"], states[1])
    assert block_count(model) == 2
    with pytest.raises(SaeError, match="only its residual stream is mapped"):
        resolve(model, "blocks.1.hook_attn_out")


def test_a_hybrid_model_says_which_block_lacks_attention():
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    config = Qwen3_5TextConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        pad_token_id=0,
    )
    model = Qwen3_5ForCausalLM(config).eval()
    ids = torch.arange(1, 9).unsqueeze(0)

    found = capture(model, ids, None, ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre"])

    assert torch.equal(*found.values())


def test_a_model_without_blocks_is_refused():
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=16, hidden_size=8, state_size=4, num_hidden_layers=2)

    with pytest.raises(ProbeError, match="found none"):
        resolve(MambaForCausalLM(config), "blocks.0.hook_resid_post")


def test_the_width_at_hook_z_is_known_before_a_run():
    for family in ("gpt2", "llama", "gemma3"):
        assert resolve(tiny_model(family), "blocks.0.attn.hook_z").width == HEADS * 8
    assert resolve(tiny_model("gpt2"), "blocks.0.hook_resid_pre").width is None


# Replacing


def logits_with(model, ids, name, change):
    with replaced(model, name, change), torch.no_grad():
        return model(ids, use_cache=False).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_goes_on_from_what_is_put_in_a_place(family):
    model = tiny_model(family)
    ids, _ = tiny_batch()
    lens = lens_model(family, model)
    places = [place for place in PLACES if place != "hook_resid_mid"]

    for name in (*(f"blocks.1.{place}" for place in places), "hook_embed"):

        def scaled(x, hook=None):
            changed = x.clone()
            changed[:, 2:5] = changed[:, 2:5] * 0.5 + 0.1
            return changed

        found = logits_with(model, ids, name, scaled)
        with torch.no_grad():
            expected = lens.run_with_hooks(ids, fwd_hooks=[(name, scaled)])
            plain = model(ids, use_cache=False).logits

        assert (found.softmax(-1) - expected.softmax(-1)).abs().max() <= 1e-4, name
        assert (found - plain).abs().max() > 1e-2, name
        assert torch.equal(found[:, 0], plain[:, 0]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_putting_back_what_stands_there_changes_nothing(family):
    model = tiny_model(family)
    ids, mask = tiny_batch()
    with torch.no_grad():
        plain = model(ids, use_cache=False).logits

    for name in hook_names(model):
        if can_replace(model, name):
            assert torch.equal(logits_with(model, ids, name, torch.clone), plain), name


def test_what_a_place_held_is_not_written_into():
    model, seen = tiny_model("llama"), []
    ids, _ = tiny_batch()
    name = "blocks.1.hook_resid_post"

    def change(x):
        seen.append(x)
        return torch.zeros_like(x)

    logits_with(model, ids, name, change)

    assert torch.equal(seen[0], capture(model, ids, None, [name])[name])


def test_after_the_with_the_model_is_as_it_was():
    model = tiny_model("llama")
    ids, _ = tiny_batch()
    plain = model(ids).logits

    with (
        pytest.raises(RuntimeError, match="stop"),
        replaced(model, "blocks.1.hook_resid_pre", torch.zeros_like),
    ):
        raise RuntimeError("stop")

    assert torch.equal(model(ids).logits, plain)


def test_the_stream_between_attention_and_mlp_can_only_be_read():
    model = tiny_model("llama")

    assert not can_replace(model, "blocks.1.hook_resid_mid")
    with (
        pytest.raises(SaeError, match="hook_resid_mid: can be read and not replaced"),
        replaced(model, "blocks.1.hook_resid_mid", torch.zeros_like),
    ):
        pass


def test_a_place_that_is_not_passed_is_not_taken_for_replaced():
    model = tiny_model("llama")

    with (
        pytest.raises(ProbeError, match="was passed 0 times in one run, expected once"),
        replaced(model, "blocks.1.hook_resid_post", torch.zeros_like),
    ):
        pass


def test_a_place_without_activations_cannot_be_replaced(monkeypatch):
    model = tiny_model("llama")
    ids, _ = tiny_batch()
    monkeypatch.setattr(model.model.layers[1], "forward", lambda *args, **kwargs: None)

    with pytest.raises(ProbeError, match="blocks.1.hook_resid_post.*holds NoneType"):
        logits_with(model, ids, "blocks.1.hook_resid_post", torch.zeros_like)


def test_an_unknown_place_cannot_be_replaced():
    with pytest.raises(SaeError, match="is not a place of this llama model"):
        can_replace(tiny_model("llama"), "blocks.9.hook_resid_post")
