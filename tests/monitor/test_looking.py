"""What is kept of a run, and the score made of it, against the engine that audits use."""

from dataclasses import replace

import pytest
import torch

from compliance.monitor.locked import Locked, LockedConcept
from compliance.monitor.log import EventLog
from compliance.monitor.looking import Pass, look_of
from compliance.monitor.monitor import Monitor
from compliance.monitor.reading import read_log
from compliance.monitor.scoring import Row, Scores, Words, watched
from compliance.monitor.serving import ends_of
from compliance.probes.hooks import capture, resolve
from compliance.probes.reading import Reading
from compliance.probes.sae import load_sae
from compliance.probes.subject import Subject
from compliance.probes.task import Reader
from compliance.probes.tokens import Prepared
from compliance.records.audit import FeatureRef, SaeRef
from compliance.records.base import digest_bytes
from compliance.records.plan import Cell, CutOff
from compliance.records.subject import ModelFacts
from tests.probes.tiny import (
    FAMILIES,
    WIDTH,
    save_tiny_sae,
    tiny_batch,
    tiny_model,
    tiny_tokenizer,
)

ARCHITECTURES = ("standard", "gated", "jumprelu", "topk", "abstopk", "transcoder",
                 "jumprelu_skip_transcoder")  # fmt: skip
LATENTS = (40, 3, 17)
FACTS = ModelFacts(
    name="tiny", architecture="tiny", weights_digest=digest_bytes(b"w"), parameters=1, layers=3,
    tokenizer_digest=digest_bytes(b"t"), d_model=WIDTH, dtype="float32", chat_template=True,
)  # fmt: skip


def locked_of(saes, features, *, region="user", pooling="max", ratio=10.0) -> Locked:
    probe = LockedConcept("concept", region, pooling, tuple(features), {})
    facts = tuple(sae.facts for sae in saes)
    return Locked(FACTS, facts, digest_bytes(b"r"), 0.01, ratio, (probe,))


@pytest.mark.parametrize("normalisation", ["none", "constant_norm_rescale", "layer_norm"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_watched_latents_are_those_of_the_whole_sae(tmp_path, architecture, normalisation):
    save_tiny_sae(tmp_path / "sae", architecture, normalize_activations=normalisation)
    sae = load_sae(SaeRef(path="sae"), tmp_path)
    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1)) * 3

    found = look_of(0, sae, LATENTS).encode(x)

    expected = sae.encode(x)[:, list(LATENTS)]
    assert expected.any() and torch.allclose(found, expected, atol=1e-6)


PLACES = ("hook_resid_pre", "hook_resid_mid", "hook_mlp_out", "attn.hook_z")


@pytest.mark.parametrize(
    ("family", "place"),
    # GPT-NeoX has no stream between attention and MLP.
    sorted({(f, p) for f in FAMILIES for p in PLACES} - {("gpt_neox", "hook_resid_mid")}),
)
def test_every_place_of_every_family_is_read_as_an_audit_reads_it(tmp_path, family, place):
    model, hook = tiny_model(family), f"blocks.1.{place}"
    width = resolve(model, hook).width or WIDTH
    save_tiny_sae(tmp_path / "sae", hook_name=hook, d_in=width)
    sae = load_sae(SaeRef(path="sae"), tmp_path)
    locked = locked_of([sae], [FeatureRef(latent=latent) for latent in LATENTS])
    looks = [look_of(index, sae, latents) for index, latents in watched(locked).items()]
    tokenizer = tiny_tokenizer()
    ids, mask = tiny_batch(batch=3)
    with EventLog(tmp_path / "log") as log:
        monitor = Monitor(
            model, locked, looks, Words(tokenizer, ends_of(model, tokenizer)), log,
            FACTS.weights_digest, owns_log=False, another_model=False,
        )  # fmt: skip
        monitor.start()
        with torch.no_grad():
            model(ids, attention_mask=mask)
        monitor.detach()

    states = capture(model, ids, mask, [hook])[hook]
    found = [event.what for event in read_log(tmp_path / "log").events()]
    scores = [what.scores[0].score for what in found if what.kind == "observed"]
    for row, score in enumerate(scores):
        x = states[row][mask[row] == 1].float()
        norms = x.norm(dim=-1)
        kept = x[norms <= 10 * norms.median()]
        expected = float(sae.encode(kept)[:, list(LATENTS)].max())
        assert score == pytest.approx(expected, abs=1e-5)
    assert len(scores) == 3


@pytest.mark.parametrize("region", ["user", "assistant", "last"])
@pytest.mark.parametrize("pooling", ["max", "mean", "last", "top-5"])
def test_pooling_regions_and_sinks_are_those_of_an_audit(tmp_path, pooling, region):
    hooks = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    for index, hook in enumerate(hooks):
        save_tiny_sae(tmp_path / str(index), hook_name=hook, seed=index)
    saes = tuple(load_sae(SaeRef(path=str(index)), tmp_path) for index in range(2))
    features = [FeatureRef(sae=0, latent=5), FeatureRef(sae=1, latent=9), FeatureRef(latent=2)]
    roles = [None, "user", "user", "user", None, *["assistant"] * 9, None]
    regions = {
        "user": (1, 2, 3), "assistant": tuple(range(5, 14)), "image": (),
        "read": (1, 2, 3, *range(5, 14)), "last": (13,),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    states = {hook: torch.randn(15, WIDTH, generator=generator) for hook in hooks}
    states[hooks[0]][2] *= 50  # an attention sink at one of the places alone
    states[hooks[1]][7] *= 50
    reader = Reader(Subject(tiny_model("llama"), tiny_tokenizer(), FACTS), saes)
    prepared = Prepared(None, tuple(range(15)), regions)
    expected = Reading(prepared, states, reader, 10.0).combined(features, region, pooling)
    locked = locked_of(saes, features, region=region, pooling=pooling)
    looks = [look_of(index, saes[index], latents) for index, latents in watched(locked).items()]
    row = Row(
        list(range(15)),
        {look.index: look.encode(states[look.hook]) for look in looks},
        {hook: x.norm(dim=-1) for hook, x in states.items()},
        15,
    )

    (found,) = Scores(locked).of(row, roles, "en", "")

    assert found.region == region and found.score == pytest.approx(expected, abs=1e-6)


def test_sinks_are_left_out(tmp_path):
    save_tiny_sae(tmp_path / "sae")
    sae = load_sae(SaeRef(path="sae"), tmp_path)
    locked = locked_of([sae], [FeatureRef(latent=0)])
    row = Row([7, 8, 9, 10], {0: torch.tensor([[1.0], [2.0], [9.0], [3.0]])},
              {"blocks.1.hook_resid_post": torch.tensor([1.0, 1.0, 11.0, 1.0])}, 4)  # fmt: skip

    (found,) = Scores(locked).of(row, ["user"] * 4, "en", "")

    assert found.score == 3.0


def test_the_narrow_sae_holds_the_weights_of_what_is_watched_alone(tmp_path):
    save_tiny_sae(tmp_path / "sae", d_sae=4096)
    sae = load_sae(SaeRef(path="sae"), tmp_path)

    look = look_of(0, sae, LATENTS)

    numbers = sum(tensor.numel() for tensor in look.sae.tensors.values())
    assert numbers < sum(tensor.numel() for tensor in sae.tensors.values()) / 500


@pytest.mark.parametrize(("cut_off", "alert"), [(3.0, False), (2.9999, True), (None, False)])
def test_an_alert_is_above_the_cut_off_and_not_on_it(tmp_path, cut_off, alert):
    save_tiny_sae(tmp_path / "sae")
    sae = load_sae(SaeRef(path="sae"), tmp_path)
    locked = locked_of([sae], [FeatureRef(latent=0)])
    cell = Cell(concept="concept", language="en")
    found = CutOff(scorer="probe", cell=cell, value=cut_off, n=9, reason="too few items")
    probe = replace(locked.probes[0], cut_offs={"en": found})
    row = Row([7, 8], {0: torch.tensor([[1.0], [3.0]])},
              {"blocks.1.hook_resid_post": torch.ones(2)}, 2)  # fmt: skip

    (score,) = Scores(replace(locked, probes=(probe,))).of(row, ["user"] * 2, "en", "")

    assert score.alert is alert and score.cut_off == cut_off
    expected = "the pack has no cut-off: too few items" if cut_off is None else None
    assert score.reason == expected


def test_a_server_that_computes_in_mixed_precision_does_not_round_what_is_read(tmp_path):
    save_tiny_sae(tmp_path / "sae")
    look = look_of(0, load_sae(SaeRef(path="sae"), tmp_path), LATENTS)
    x = torch.randn(1, 6, WIDTH, generator=torch.Generator().manual_seed(2))
    plain, mixed = (Pass(torch.zeros(1, 6, dtype=torch.long), None, 0) for _ in range(2))
    plain.see(look.hook, x, [look])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed.see(look.hook, x, [look])

    assert torch.equal(plain.latents[0], mixed.latents[0])


def test_what_stands_at_padding_is_not_encoded(tmp_path):
    save_tiny_sae(tmp_path / "sae", normalize_activations="constant_norm_rescale")
    look = look_of(0, load_sae(SaeRef(path="sae"), tmp_path), LATENTS)
    x = torch.randn(1, 6, WIDTH, generator=torch.Generator().manual_seed(2))
    x[0, :2] = 0  # a vector that this SAE refuses
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    run = Pass(torch.zeros(1, 6, dtype=torch.long), mask, 0)

    run.see(look.hook, x, [look])

    assert torch.allclose(run.latents[0][0, 2:], look.encode(x[0, 2:]))
