"""A second real model, with an SAE by the same recipe, through the same commands.

Its files are fetched and trained by ``make check``; see examples/second/README.md.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance.cli.main import main

EXAMPLE = Path(__file__).parent.parent / "examples" / "second"
PARTS = ("subject/model.safetensors", "sae/sae_weights.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(
    not all((EXAMPLE / part).is_file() for part in PARTS),
    reason="examples/second has no subject or SAE yet; 'make check' makes them",
)
def test_the_second_subject_goes_the_whole_way(tmp_path):
    for name in ("audit.yaml", "system.yaml"):
        shutil.copy(EXAMPLE / name, tmp_path / name)
    for name in ("subject", "sae"):
        (tmp_path / name).symlink_to(EXAMPLE / name)

    built = CliRunner().invoke(main, ["audit", str(tmp_path / "audit.yaml")])
    pack = Path(built.stdout.strip())
    key = tmp_path / "keys" / "issuer.pub.pem"
    checked = CliRunner().invoke(main, ["verify", str(pack), "--key", str(key)])

    assert built.exit_code == 0, built.output
    assert checked.exit_code == 0, checked.output
    evidence = json.loads((pack / "data" / "evidence.json").read_bytes())
    assert evidence["plan"]["model"]["layers"] == 6
    assert evidence["plan"]["model"]["chat_template"] is False
    assert len(evidence["findings"]) == 2
