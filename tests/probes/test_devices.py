"""The whole way of an audit with model and SAEs on another device than the CPU.

There is no GPU where these tests run: the device is a pretended one (`tests.probes.pretend`), which
refuses what a GPU refuses and computes on the CPU. So the numbers have to be those of the CPU.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from compliance.assessment.tables import read_table
from compliance.documents import read_yaml
from compliance.errors import SubjectError
from compliance.probes.subject import device_name, load_subject
from compliance.records.audit import AuditConfig, SubjectConfig
from compliance.runs import open_run
from compliance.workflow import audits
from tests.probes.tiny import save_tiny_sae, save_tiny_subject
from tests.tiny_audit import write_audit

ROOT = Path(__file__).parents[2]
SMALL = {"shifted_groups": 2, "repeated_items": 4, "loss_items": 2, "shifts": ["typos"]}


def observed(audit):
    """What a run up to its last pass wrote, and the device that it names."""
    run = open_run(audit.parent, read_yaml(audit, AuditConfig))
    return run.observations(), run.environment().device


def same(plain, found, path):
    """Whether two tables hold the same, numbers but for the last digits of a float32."""
    one, other = (read_table(files, path) for files in (plain, found))
    return len(one) == len(other) and all(alike(one[name], other[name]) for name in one)


def alike(one, other):
    if pd.api.types.is_numeric_dtype(one):
        return np.allclose(one, other, rtol=1e-4, atol=1e-5)
    if len(one) and isinstance(one.iloc[0], np.ndarray):
        pairs = list(zip(one, other, strict=True))
        close = (np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs if len(a) == len(b))
        return all(len(a) == len(b) for a, b in pairs) and all(close)
    return (one == other).all()


@pytest.mark.parametrize("architecture", ["jumprelu", "topk"])
def test_an_audit_on_another_device_gives_the_same_tables(tmp_path, architecture):
    cpu, gpu = (write_audit(tmp_path / name, robustness=SMALL) for name in ("cpu", "gpu"))
    for path in (cpu, gpu):
        save_tiny_sae(path.parent / "sae", architecture)
    for step in (audits.plan, audits.observe, audits.lock, audits.observe):
        step(cpu)

    # A process of its own: torch keeps what it was told of the device.
    subprocess.run([sys.executable, "-m", "tests.probes.pretend", gpu], check=True, cwd=ROOT)

    (plain, here), (found, there) = observed(cpu), observed(gpu)
    assert (here, there) == ("cpu", "pretended:0")
    assert found.keys() - plain.keys() == {"confirm/precision.csv"}
    assert [path for path in plain if not same(plain, found, path)] == []
    compared = read_table(found, "confirm/precision.csv")
    assert len(compared) == 16
    assert (compared["flipped"] == 0).all()
    assert (compared["activation"] == 0).all()
    assert (compared["firings"] > 0).all()
    repeats = read_table(found, "confirm/repeats.csv").set_index("item")["alone"]
    both = compared[compared["item"].isin(repeats.index)]
    assert len(both) == 8
    assert both["reference"].to_numpy() == pytest.approx(repeats[both["item"]].to_numpy(), rel=1e-6)


@contextmanager
def tf32(*, products: bool, convolutions: bool) -> Iterator[None]:
    """Within it, float32 is shortened on a GPU."""
    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    for place, value in zip(places, (products, convolutions), strict=True):
        place.allow_tf32 = value
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


@pytest.mark.parametrize("device", ["mps", "xpu", "meta"])
def test_a_device_without_float64_is_refused_before_anything_is_loaded(tmp_path, device):
    config = SubjectConfig(model="./nothing", saes=[{"path": "./sae"}], device=device)

    with pytest.raises(SubjectError, match=f"subject.device: '{device}', expected") as caught:
        load_subject(config, tmp_path)

    assert "float64" in caught.value.hint


def test_a_word_that_is_no_device_is_named(tmp_path):
    config = SubjectConfig(model="./nothing", saes=[{"path": "./sae"}], device="gpu")

    with pytest.raises(SubjectError, match="'gpu' is no device") as caught:
        load_subject(config, tmp_path)

    assert "subject.device" in caught.value.hint


def test_on_a_gpu_float32_is_not_shortened(tmp_path):
    """There is no GPU here, so that loading ends after what is set before it."""
    save_tiny_subject(tmp_path / "model")
    config = SubjectConfig(model="./model", saes=[{"path": "./sae"}], device="cuda")

    with tf32(products=True, convolutions=True):
        with pytest.raises(SubjectError, match="cannot be loaded"):
            load_subject(config, tmp_path)

        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("short", "said"), [((False, False), "off"), ((True, False), "on"), ((False, True), "on")]
)
def test_the_environment_names_the_gpu_and_how_it_multiplies(monkeypatch, short, said):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    monkeypatch.setattr(torch.version, "cuda", "12.8")

    with tf32(products=short[0], convolutions=short[1]):
        found = device_name(torch.device("cuda", 0))

    assert found == f"cuda:0 (Some GPU, CUDA 12.8, TF32 {said})"
    assert device_name(torch.device("cpu")) == "cpu"
