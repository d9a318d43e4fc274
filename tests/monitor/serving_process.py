"""A server that a test kills, or that ends by itself: it generates, watched."""

import sys
import threading
import time
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from compliance.monitor import Monitor
from compliance.monitor.scoring import Scores
from tests.monitor.conftest import said


def serve(folder: Path, pack: Path, log: Path, requests: int | None) -> None:
    """Serve some requests and end; or go on without end in threads, and say so."""
    model = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    monitor = Monitor.attach(model, pack, saes=[folder / "sae"], tokenizer=tokenizer, log=log)
    inputs = tokenizer.apply_chat_template(
        said("hello"), add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    ids = inputs["input_ids"]

    def generate(count: int | None) -> None:
        while count is None or count > 0:
            with monitor.request(language="en", item=said("hello")):
                model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
            count = None if count is None else count - 1

    if requests is not None:
        real = Scores.of
        Scores.of = lambda *given: (time.sleep(0.2), real(*given))[1]  # slower than serving
        return generate(requests)
    generate(5)
    monitor.flush()
    for _ in range(3):
        threading.Thread(target=generate, args=(None,), daemon=True).start()
    print("serving", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:4]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
