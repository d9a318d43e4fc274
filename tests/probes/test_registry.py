"""What of SAELens' registry is run, told without importing SAELens."""

import subprocess
import sys
from pathlib import Path

import pytest

from compliance.errors import SaeError
from compliance.probes import registry
from compliance.probes.registry import list_releases, read_registry, refusal_of


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Puts another registry in the place of SAELens'."""

    def put(text):
        (tmp_path / "registry.yaml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(registry, "_registry_path", lambda: tmp_path / "registry.yaml")
        read_registry.cache_clear()

    yield put
    read_registry.cache_clear()


def test_every_release_of_saelens_has_a_verdict():
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    theirs = get_pretrained_saes_directory()

    found = {status.release: status for status in list_releases()}

    assert found.keys() == theirs.keys()
    assert all(found[name].saes == len(theirs[name].saes_map) for name in theirs)
    assert all(status.resolved or status.reason for status in found.values())


def test_every_loader_of_saelens_is_known():
    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS

    known = registry._LOADERS | registry._REFUSED_LOADERS.keys()

    assert NAMED_PRETRAINED_SAE_LOADERS.keys() <= known


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        ("gemma-scope-2-4b-it-res", None),
        ("gpt2-small-res-jb", None),
        ("qwen-scope-3-8b-base-w64k-l50", None),
        ("temporal-sae-gemma-2-2b", "temporal SAE"),
        ("mntss-gemma-2-2b-2.5m-clt-as-per-layer", "cross-layer transcoder"),
        ("gemma-scope-2b-pt-transcoders", "before the norm's weight"),
    ],
)
def test_a_release_is_run_or_says_why_not(release, reason):
    status = next(status for status in list_releases() if status.release == release)

    assert status.resolved is (reason is None)
    assert (status.reason is None) if reason is None else (reason in status.reason)


def test_a_release_that_is_run_in_part_says_how_many_are_not(use):
    use(
        "scope:\n  model: m\n  repo_id: r\n  conversion_func: llama_scope\n  saes:\n"
        "  - {id: a, path: a, norm_scaling_factor: 2.0}\n  - {id: b, path: b}\n",
    )

    (status,) = list_releases()

    assert status.resolved
    assert status.reason.startswith("1 of 2: the registry lacks the factor")
    assert refusal_of("scope", "a") is None
    assert "lacks the factor" in refusal_of("scope", "b")


def test_a_loader_that_came_later_is_refused(use):
    text = "new:\n  model: m\n  repo_id: r\n  conversion_func: next\n  saes: [{id: a, path: a}]\n"
    use(text)

    (status,) = list_releases()

    assert not status.resolved
    assert "'next', which has not been checked" in status.reason


def test_an_sae_that_is_not_in_the_release_is_named():
    with pytest.raises(SaeError, match="has no SAE 'x'; it has 13"):
        refusal_of("gpt2-small-res-jb", "x")


@pytest.mark.parametrize("text", ["[]", "a: {}", "{", "a: {model: m, saes: [{}]}"])
def test_a_registry_of_another_shape_is_an_error(use, text):
    use(text)

    with pytest.raises(SaeError, match="cannot be read"):
        list_releases()


def test_the_registry_is_read_without_importing_saelens_or_torch():
    code = (
        "import sys\n"
        "from compliance.probes.registry import list_releases\n"
        "assert list_releases()\n"
        "print([name for name in ('sae_lens', 'torch', 'transformers') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == "[]"
