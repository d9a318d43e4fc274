"""Changes inside a running model, against hooks made by hand, SAELens and algebra."""

from types import SimpleNamespace

import pytest
import torch

from compliance.errors import ProbeError, SaeError
from compliance.probes.hooks import capture, is_reached, replaced, watched
from compliance.probes.interventions import Change, can_change, changed, delta, place_of
from compliance.probes.sae import load_sae
from compliance.probes.task import Reader
from compliance.records.audit import SaeRef
from tests.probes.test_hooks import lens_settings
from tests.probes.tiny import WIDTH, save_tiny_sae, tiny_batch, tiny_model, tiny_tokenizer

PLACES = tuple(range(3, 12))
FAMILIES = ("llama", "gpt2", "gemma2", "gemma3")
RESIDUAL = "blocks.1.hook_resid_post"
KINDS = {
    "standard": {},
    "gated": {},
    "jumprelu": {},
    "topk": {},
    "topk-rescaled": {"rescale_acts_by_decoder_norm": True},
    "abstopk": {},
    "matching_pursuit": {},
    "transcoder": {"hook_name": "blocks.1.mlp.hook_in"},
    "jumprelu_transcoder": {"hook_name": "blocks.1.mlp.hook_in"},
    "skip_transcoder": {"hook_name": "blocks.1.mlp.hook_in"},
    "standard-layer_norm": {"normalize_activations": "layer_norm"},
    "jumprelu-constant_norm_rescale": {"normalize_activations": "constant_norm_rescale"},
    "gated-expected_average_only_in": {"normalize_activations": "expected_average_only_in"},
}


def made_sae(folder, kind="jumprelu", **settings):
    settings = KINDS[kind] | settings
    if "transcoder" in kind:
        settings["metadata"] = {"hook_name_out": "blocks.1.hook_mlp_out"}
    save_tiny_sae(folder / "sae", kind.split("-")[0], **settings)
    scale = 0.7 if "expected" in kind else None
    return load_sae(SaeRef(path="sae", activation_scale=scale), folder)


def reader_of(sae, family="llama"):
    subject = SimpleNamespace(model=tiny_model(family), tokenizer=tiny_tokenizer())
    return Reader(subject, (sae,))


def logits(reader, ids):
    with torch.no_grad():
        return reader.subject.model(input_ids=ids, use_cache=False).logits


def at_hook(reader, ids, sae=0):
    hook = reader.saes[sae].facts.hook_name
    return capture(reader.subject.model, ids, None, [hook])[hook]


def one_row(length=12):
    return tiny_batch(1, length)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clamp_is_what_a_hook_made_by_hand_does(tmp_path, family):
    sae = made_sae(tmp_path)
    reader, ids = reader_of(sae, family), one_row()
    weights = sae.tensors

    def by_hand(module, args, output):
        x = output[0] if isinstance(output, tuple) else output
        x, pre = x.clone(), (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
        a = torch.relu(pre) * (pre > weights["threshold"])
        for latent, value in ((5, 3.0), (9, 0.0)):
            x[:, 3:] += (value - a[:, 3:, latent, None]) * weights["W_dec"][latent]
        return (x, *output[1:]) if isinstance(output, tuple) else x

    blocks = reader.subject.model.get_decoder() if family != "gpt2" else None
    block = blocks.layers[1] if blocks else reader.subject.model.transformer.h[1]
    handle = block.register_forward_hook(by_hand)
    expected = logits(reader, ids)
    handle.remove()
    with changed(reader, [Change("clamp", 0, (5, 9), (3.0, 0.0))], [PLACES]):
        found = logits(reader, ids)

    assert (found - expected).abs().max() <= 1e-5
    assert (found - logits(reader, ids)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_the_natural_value_changes_nothing(tmp_path, kind):
    reader, ids = reader_of(made_sae(tmp_path, kind)), one_row()
    natural = reader.saes[0].encode(at_hook(reader, ids)[0])
    token = int(natural[3:].count_nonzero(dim=1).argmax()) + 3
    latents = natural[token].nonzero().flatten().tolist()
    change = Change("clamp", 0, tuple(latents), tuple(natural[token, latents].tolist()))

    plain = logits(reader, ids)
    with changed(reader, [change], [(token,)]):
        found = logits(reader, ids)

    assert len(latents) >= 2
    assert (found - plain).abs().max() <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_splicing_an_sae_with_its_error_kept_changes_nothing(tmp_path, family, kind):
    sae = made_sae(tmp_path, kind)
    reader, ids = reader_of(sae, family), one_row()
    out = sae.config.hook_name_out or sae.facts.hook_name
    read = []

    def spliced(y):
        x = read[0] if read else y
        x_hat = sae.reconstruct(x[0])[None]
        return x_hat + (y - x_hat)

    plain = logits(reader, ids)
    source = sae.facts.hook_name if out != sae.facts.hook_name else "hook_embed"
    look = read.append if out != sae.facts.hook_name else (lambda _: None)
    model = reader.subject.model
    with watched(model, source, look), replaced(model, out, spliced):
        found = logits(reader, ids)

    assert (found - plain).abs().max() <= 1e-4 * plain.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_latents_move_the_activation_as_decoding_says(tmp_path, kind):
    sae = made_sae(tmp_path, kind)
    x = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(1))
    latents = sae.encode(x)
    more = torch.zeros_like(latents)
    more[:, [3, 8]] = torch.tensor([1.5, -0.5])

    expected = sae.decode(latents + more, x) - sae.decode(latents, x)

    assert (sae.moved(more[:, [3, 8]], [3, 8], x) - expected).abs().max() <= 1e-5
    assert expected.norm(dim=-1).min() > 1e-3
    assert not sae.moved(torch.zeros(20, 1), [3], x).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_has_its_own_change_and_one_row_is_enough(tmp_path, family):
    reader, ids = reader_of(made_sae(tmp_path), family), one_row()
    changes = [
        None,
        Change("clamp", 0, (1,), (2.0,)),
        Change("flip", 0, (1, 4), (2.0, 1.0)),
        Change("noise", 0, (1,), (2.0,), seed=5),
        Change("add", direction=torch.linspace(-1, 1, WIDTH), scale=2.0),
        Change("project", direction=torch.linspace(-1, 1, WIDTH)),
    ]
    places = [PLACES, PLACES, (4, 7), PLACES, PLACES, range(12)]

    with changed(reader, changes, places):
        together = logits(reader, ids.expand(len(changes), -1))
    with changed(reader, changes, places):
        grown = logits(reader, ids)
    plain = logits(reader, ids)

    assert grown.shape == together.shape == (6, 12, plain.shape[-1])
    assert (grown - together).abs().max() <= 1e-5
    assert (grown[0] - plain[0]).abs().max() <= 1e-5
    for row, change in enumerate(changes[1:], start=1):
        with changed(reader, [change], [places[row]]):
            alone = logits(reader, ids)
        assert (alone[0] - grown[row]).abs().max() <= 1e-5
        assert (alone[0] - plain[0]).abs().max() > 1e-3
        before = range(min(places[row]))
        assert torch.equal(alone[0, before], plain[0, before])


def test_a_row_without_a_change_is_bit_equal(tmp_path):
    reader, ids = reader_of(made_sae(tmp_path)), tiny_batch(2, 12)[0]
    change = Change("clamp", 0, (1,), (2.0,))

    plain = logits(reader, ids)
    with changed(reader, [None, change], [PLACES, ()]):
        assert torch.equal(logits(reader, ids), plain)
    with changed(reader, [None, change], [PLACES, PLACES]):
        found = logits(reader, ids)

    assert torch.equal(found[0], plain[0])
    assert not torch.equal(found[1], plain[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_sae_lens_says_the_same_with_the_error_term_kept(tmp_path, family):
    from sae_lens import SAE, HookedSAETransformer
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained import weight_conversions as convert

    convert_weights = {
        "llama": convert.convert_llama_weights,
        "gpt2": convert.convert_gpt2_weights,
        "gemma2": convert.convert_gemma_weights,
        "gemma3": convert.convert_gemma_weights,
    }[family]
    reader, ids = reader_of(made_sae(tmp_path), family), one_row()
    config = HookedTransformerConfig(**lens_settings(family, reader.subject.model))
    lens = HookedSAETransformer(config)
    lens.load_and_process_state_dict(
        convert_weights(reader.subject.model, config),
        fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False,
    )  # fmt: skip
    lens.eval()
    theirs = SAE.load_from_disk(tmp_path / "sae", device="cpu")
    lens.add_sae(theirs, use_error_term=True)

    def clamp(latents, hook):
        latents[:, list(PLACES), 5] = 3.0
        return latents

    with torch.no_grad():
        spliced = lens(ids)
        hook = f"{RESIDUAL}.hook_sae_acts_post"
        expected = lens.run_with_hooks(ids, fwd_hooks=[(hook, clamp)])
    with changed(reader, [Change("clamp", 0, (5,), (3.0,))], [PLACES]):
        found = logits(reader, ids)

    assert (spliced - logits(reader, ids)).abs().max() <= 1e-4
    assert (found - expected).abs().max() <= 1e-4
    assert (spliced - expected).abs().max() > 1e-2


def test_a_transcoders_latent_acts_on_what_it_writes(tmp_path):
    sae = made_sae(tmp_path, "transcoder")
    reader, ids = reader_of(sae), one_row()
    natural = sae.encode(at_hook(reader, ids)[0], [6])
    change = Change("clamp", 0, (6,), (4.0,))

    def by_hand(module, args, output):
        moved = output.clone()
        moved[0, 3:] += (4.0 - natural[3:]) * sae.tensors["W_dec"][6]
        return moved

    handle = reader.subject.model.model.layers[1].mlp.register_forward_hook(by_hand)
    expected = logits(reader, ids)
    handle.remove()
    with changed(reader, [None, change], [PLACES, PLACES]):
        found = logits(reader, ids)

    assert place_of(change, reader) == "blocks.1.hook_mlp_out"
    assert (found[1] - expected[0]).abs().max() <= 1e-5
    assert place_of(Change("add", direction=torch.ones(WIDTH)), reader) == "blocks.1.mlp.hook_in"


def test_what_is_added_is_what_each_kind_says(tmp_path):
    sae = made_sae(tmp_path)
    reader = reader_of(sae)
    x = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(3))
    values = (2.0, 0.0)
    clamp = delta(Change("clamp", 0, (2, 7), values), reader, x)
    noise = Change("noise", 0, (2, 7), values, seed=1)
    direction = torch.linspace(1, 2, WIDTH)

    natural = sae.encode(x)[:, [2, 7]]
    by_hand = (torch.tensor(values) - natural) @ sae.tensors["W_dec"][[2, 7]]
    assert (clamp - by_hand).abs().max() <= 1e-6
    assert torch.equal(delta(Change("flip", 0, (2, 7), values), reader, x), -clamp)
    drawn = delta(noise, reader, x)
    assert (drawn.norm(dim=1) - clamp.norm(dim=1)).abs().max() <= 1e-5
    assert torch.nn.functional.cosine_similarity(drawn, clamp).abs().max() < 0.9
    assert (delta(noise, reader, x[5:], [5, 6, 7]) - drawn[5:]).abs().max() <= 1e-6
    assert (delta(noise, reader, x[5:]) - drawn[5:]).abs().max() > 0.1
    added = delta(Change("add", direction=direction, scale=0.5), reader, x)
    assert (added - 0.5 * direction).abs().max() <= 1e-6
    left = x + delta(Change("project", direction=direction), reader, x)
    assert (left @ direction).abs().max() <= 1e-4
    assert (x @ direction).abs().max() > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reply_is_generated_as_if_all_were_run_anew(tmp_path, family):
    """With a cache, prefill at some places and every later token, against no cache at all."""
    reader, ids = reader_of(made_sae(tmp_path), family), one_row(10)
    model = reader.subject.model
    changes = [Change("clamp", 0, (5,), (40.0,)), None, Change("noise", 0, (5,), (40.0,), seed=2)]
    prompt = [tuple(range(4, 10))] * 3
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}

    with changed(reader, changes, prompt, later=True, runs=None):
        found = model.generate(ids.expand(3, -1), use_cache=True, **settings)

    for row, change in enumerate(changes):
        sofar = ids
        for _ in range(6):
            with changed(reader, [change], [range(4, sofar.shape[1])]):
                sofar = torch.cat([sofar, logits(reader, sofar)[:, -1].argmax(-1)[:, None]], dim=1)
        assert found[row].tolist() == sofar[0].tolist()
    assert len({tuple(row) for row in found.tolist()}) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_an_input_goes_on_from_a_cache_at_the_same_places(tmp_path, family):
    reader, ids = reader_of(made_sae(tmp_path), family), one_row()
    changes = [None, Change("clamp", 0, (5,), (4.0,)), Change("noise", 0, (5,), (4.0,), seed=2)]
    places = [(2, 5, 9, 11)] * 3
    model = reader.subject.model
    with changed(reader, changes, places):
        expected = logits(reader, ids)

    with torch.no_grad(), changed(reader, changes, places):
        begun = model(ids[:, :7], use_cache=True)
    with torch.no_grad(), changed(reader, changes, places, start=7):
        rest = model(ids[:, 7:], past_key_values=begun.past_key_values, use_cache=True)

    assert (torch.cat([begun.logits, rest.logits], 1) - expected).abs().max() <= 1e-5


def test_what_cannot_be_changed_is_refused(tmp_path):
    transcoder = {"hook_name": "blocks.1.hook_resid_mid"}
    save_tiny_sae(tmp_path / "sae", hook_name="blocks.1.hook_resid_mid")
    reader = reader_of(load_sae(SaeRef(path="sae"), tmp_path))
    change = Change("clamp", 0, (1,), (1.0,))

    assert not can_change(reader, 0)
    assert can_change(reader_of(made_sae(tmp_path / "b", "transcoder", **transcoder)), 0)
    with (
        pytest.raises(SaeError, match="can be read and not replaced"),
        changed(reader, [change], [PLACES]),
    ):
        pass
    with (
        pytest.raises(ProbeError, match="2 changes for 1 rows"),
        changed(reader, [change, None], [PLACES]),
    ):
        pass


def test_a_batch_of_other_rows_is_refused(tmp_path):
    reader = reader_of(made_sae(tmp_path))
    changes = [Change("clamp", 0, (1,), (1.0,))] * 3

    with (
        pytest.raises(ProbeError, match="2 rows were run, and 3 are to be changed"),
        changed(reader, changes, [PLACES] * 3),
    ):
        logits(reader, tiny_batch(2, 12)[0])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("clamp", {}),
        ("clamp", {"latents": (1,), "values": (1.0, 2.0)}),
        ("add", {}),
        ("project", {"direction": torch.zeros(WIDTH)}),
    ],
)
def test_a_change_that_does_not_say_what_to_do_is_refused(kind, settings):
    with pytest.raises(ProbeError, match=f"'{kind}' needs"):
        Change(kind, **settings)


def test_places_are_told_apart_in_the_order_in_which_they_are_passed():
    assert is_reached("blocks.1.hook_resid_post", "blocks.1.hook_resid_post")
    assert is_reached("blocks.1.hook_mlp_out", "blocks.1.mlp.hook_in")
    assert not is_reached("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
    assert is_reached("blocks.2.hook_resid_pre", "blocks.1.hook_resid_post")
    assert not is_reached("hook_embed", "blocks.0.hook_resid_pre")
