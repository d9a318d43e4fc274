"""A chat server that is watched: FastAPI, a transformers model, and the probes of a pack.

    python server.py --model MODEL --pack PACK --sae SAE --log log --port 8000

    curl localhost:8000/chat -H 'content-type: application/json' \
        -d '{"language": "en", "messages": [{"role": "user", "content": "Hello"}]}'
    curl localhost:8000/metrics

Without ``--log`` the same server is not watched, to compare with.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field
from transformers import AutoModelForCausalLM, AutoTokenizer

from compliance.monitor import Monitor


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Question(BaseModel):
    """What is asked, and in which language: a cut-off holds for one."""

    language: str
    messages: Annotated[list[Message], Field(min_length=1)]
    max_new_tokens: Annotated[int, Field(ge=1, le=256)] = 32


class Server:
    """A model, and its monitor if it has one."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(options.model).to(options.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(options.model)
        self.at_once = threading.BoundedSemaphore(options.at_once)
        self.monitor = None
        if options.log is not None:
            self.monitor = Monitor.attach(
                self.model, options.pack, saes=options.saes, tokenizer=self.tokenizer,
                log=options.log,
            )  # fmt: skip

    def answer(self, question: Question) -> dict[str, str]:
        """Generate a reply. FastAPI runs it in a thread that takes the request's context along.

        It does not wait for scores: what they show stands in the log and at /metrics.
        """
        turns = [message.model_dump() for message in question.messages]
        inputs = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        names = ("input_ids", "attention_mask")
        inputs = {name: inputs[name].to(self.model.device) for name in names}
        with self.at_once, self._declared(question.language, turns), torch.inference_mode():
            found = self.model.generate(
                **inputs, max_new_tokens=question.max_new_tokens, do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id or 0,
            )  # fmt: skip
        reply = found[0, inputs["input_ids"].shape[1] :]
        return {"reply": self.tokenizer.decode(reply, skip_special_tokens=True)}

    def _declared(
        self, language: str, turns: list[dict[str, str]]
    ) -> contextlib.AbstractContextManager[object]:
        if self.monitor is None:
            return nullcontext()
        return self.monitor.request(language=language, item=turns)


def application(server: Server) -> FastAPI:
    """The server's endpoints. The monitor is detached when it ends, which closes the log."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if server.monitor is not None:
            server.monitor.detach()

    app = FastAPI(lifespan=lifespan)
    app.post("/chat")(server.answer)
    if server.monitor is not None:
        app.mount("/metrics", server.monitor.metrics.asgi())
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal ends it."""
    options = _options(arguments)
    server = Server(options)
    listening = socket.create_server((options.host, options.port))
    host, port = listening.getsockname()[:2]
    print(f"serving on http://{host}:{port}", flush=True)
    config = uvicorn.Config(application(server), log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pack", type=Path, help="the pack whose probes watch")
    parser.add_argument("--sae", dest="saes", type=Path, action="append", default=[])
    parser.add_argument("--log", type=Path, help="folder of the event log; absent: not watched")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0: a free one")
    parser.add_argument("--at-once", type=int, default=2, help="replies generated at once")
    options = parser.parse_args(arguments)
    if options.log is not None and not (options.pack and options.saes):
        parser.error("--log needs --pack and --sae")
    return options


if __name__ == "__main__":
    main()
