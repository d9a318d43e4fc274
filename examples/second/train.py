"""Trains the SAE of the second subject by the demo's recipe, with settings for a small model.

python examples/second/train.py            # some minutes on two CPU cores; into sae/
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETTINGS = {
    "--subject": HERE / "subject",
    "--name": "stories15M",
    "--hook": "blocks.3.hook_resid_post",
    "--languages": "own",  # help pages are not what it was trained on; it writes its own text
    "--emphasis": "",
    "--dtype": "float32",
    "--latents": 2048,
    "--k": 24,
    "--max-l0": 28,
    "--tokens": 60_000,
    "--samples": 200_000,
    "--held-out-tokens": 12_000,
    "--loss-tokens": 2000,
    "--out": HERE / "sae",
    "--cache": HERE / "cache",
    "--licence": "not for passing on",
}

if __name__ == "__main__":
    recipe = HERE.parent / "demo" / "train_sae.py"
    words = [str(word) for pair in SETTINGS.items() for word in pair]
    sys.exit(subprocess.call([sys.executable, str(recipe), *words]))
