"""Models and SAEs from strangers: nothing of them is run, and settings are held against weights."""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.apart import MIB
from tests.hostile.conftest import Attack

CANARY = "canary-of-a-model"


class Evil:
    """Unpickled, it writes a file."""

    def __reduce__(self):
        return (open, (CANARY, "w"))


def settings(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def metadata(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        value = json.loads(path.read_text())
        value["metadata"] |= changes
        path.write_text(json.dumps(value))

    return change


def tensors(header: object, body: bytes = b"") -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + body


def tensor(shape: list[int], start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "change",
    [
        settings(d_sae=10**4000), settings(d_in="4"), settings(d_in=True), settings(d_in=-1),
        settings(architecture=["jumprelu"]), settings(normalize_activations={"a": 1}),
        settings(activation_fn=["relu"]), settings(apply_b_dec_to_input="yes"),
        settings(architecture="topk", k=10**9), settings(metadata=[]),
        settings(metadata=None, activation_fn_kwargs=["k"]), metadata(hook_name="blocks.\u00b2"),
        metadata(hook_name="x\x1b[31m\u202e"), metadata(hook_name="a" * 1000),
        metadata(model_name={"a": 1}), metadata(context_size="64"), metadata(context_size=10**400),
        settings(architecture="matching_pursuit", residual_threshold="1",
                 stop_on_duplicate_support=True),
    ],
)  # fmt: skip
def test_settings_of_an_sae_that_mean_nothing_are_refused(attack: Attack, change):
    assert attack("cfg.json", prepare=change).error == "SaeError"


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' + b"[" * 990 + b"]" * 990 + b"}", b'{"a":' + b"9" * 5000 + b"}",
     b"\xff", b"[]", b"", b" " * 70_000_000],
    ids=["deep", "990 deep", "5,000 digits", "not UTF-8", "a list", "nothing", "endless"],
)  # fmt: skip
def test_a_cfg_json_without_end_is_refused(attack: Attack, text: bytes):
    assert attack("cfg.json", text, memory=200 * MIB).error == "SaeError"


WEIGHTS = {
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a header of 99 MB": struct.pack("<Q", 99_000_000) + b"{}",
    "a header that is nested": tensors(b"[" * 1_000_000),
    "a shape beyond all": tensors({"a": tensor([2**40, 2**40], 0, 4)}, b"1234"),
    "two tensors in one place": tensors({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, b"1234"),
    "a tensor behind the end": tensors({"a": tensor([100], 0, 400)}, b"1234"),
    "100,000 tensors": tensors({f"t{i}": tensor([0], 0, 0) for i in range(100_000)}),
    "a pickle": pickle.dumps(Evil()),
    "a ZIP": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_none_are_refused(attack: Attack, name: str):
    assert attack("sae_weights.safetensors", WEIGHTS[name], memory=200 * MIB).error == "SaeError"


@pytest.mark.parametrize("name", ["a header of 99 MB", "a pickle", "a tensor behind the end"])
def test_a_model_refuses_them_too(attack: Attack, name: str):
    assert attack("model.safetensors", WEIGHTS[name], memory=200 * MIB).error == "SubjectError"
    assert not Path(CANARY).exists()


def test_a_pickle_in_place_of_weights_is_refused(attack: Attack):
    def swap(path: Path) -> None:
        path.unlink()
        (path.parent / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))

    outcome = attack("model.safetensors", prepare=swap)

    assert "holds a pickle" in outcome.message


def test_a_pickle_beside_the_weights_is_never_opened(attack: Attack):
    def add(path: Path) -> None:
        (path.parent / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))

    assert attack("model.safetensors", prepare=add, memory=300 * MIB).error is None


CODE = f"open({CANARY!r}, 'w')\nclass Evil: pass\n"
AUTO = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil",
        "AutoTokenizer": ["evil.Evil", "evil.Evil"]}  # fmt: skip


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("changes", [{}, {"model_type": "evil", "tokenizer_class": "Evil"}])
def test_code_of_a_model_is_never_run(attack: Attack, file: str, changes: dict[str, object]):
    def add(path: Path) -> None:
        (path.parent / "evil.py").write_text(CODE)
        settings(auto_map=AUTO, **changes)(path)

    outcome = attack(file, prepare=add, memory=300 * MIB)

    assert not any(path.endswith("evil.py") for path in outcome.opened)
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_that_settings_name_is_not_fetched(attack: Attack, key: str):
    change = settings(**{key: "kernels-community/evil"})

    assert attack("config.json", prepare=change, memory=300 * MIB).error is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (settings(num_hidden_layers=10**9), "there are 30 tensors"),
        (settings(num_labels=10**9), "num_labels"),
        (settings(hidden_size=10**9), "its files hold"),
        (settings(vocab_size=10**9), "its files hold"),
        (settings(intermediate_size=10**12), "its files hold"),
        (settings(id2label={str(i): "x" for i in range(400_000)}), "larger than"),
        (lambda path: path.write_text("[" * 100_000), "levels deep"),
        (lambda path: path.write_text("[]"), "cannot be loaded"),
    ],
)
def test_settings_beyond_the_weights_are_refused(attack: Attack, change, message: str):
    outcome = attack("config.json", prepare=change, memory=100 * MIB)

    assert outcome.error == "SubjectError" and message in outcome.message


@pytest.mark.parametrize(
    "index",
    ["[" * 100_000, "[]", '{"weight_map":{"a":"../../evil.safetensors","b":1}}', '{"weight_map":1}',
     '{"weight_map":{"a":["x"]}}'],
    ids=["deep", "a list", "outside", "a number", "a list inside"],
)  # fmt: skip
def test_an_index_that_is_none_is_refused(attack: Attack, index: str):
    def add(path: Path) -> None:
        (path.parent / "model.safetensors.index.json").write_text(index)

    assert attack("model.safetensors", prepare=add).error == "SubjectError"


@pytest.mark.parametrize("place", [8, 16, 24], ids=["tensors", "settings", "length of a key"])
@pytest.mark.parametrize("count", [2**40, 2**63 + 5])
def test_counts_of_gguf_beyond_the_file_are_refused(attack: Attack, place: int, count: int):
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        struct.pack_into("<Q", data, place, count)
        path.write_bytes(data)

    outcome = attack("model.gguf", prepare=change, memory=100 * MIB)

    assert outcome.error == "SubjectError"


def test_layers_of_gguf_beyond_its_tensors_are_refused(attack: Attack):
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        key = b"llama.block_count"
        struct.pack_into("<I", data, data.find(key) + len(key) + 4, 2**31 - 1)
        path.write_bytes(data)

    assert "there are 30 tensors" in attack("model.gguf", prepare=change, memory=100 * MIB).message


ESCAPES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch canary') }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ messages.__class__ }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{{ raise_exception.__globals__['os'].system('touch canary') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "{{ messages.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
)


@pytest.mark.parametrize("template", ESCAPES)
def test_a_chat_template_does_not_leave_its_sandbox(template: str):
    from transformers import PreTrainedTokenizerFast

    from compliance.errors import ProbeError
    from compliance.probes.tokens import chat_of, render
    from compliance.records.suite import Item
    from tests.probes.tiny import tiny_tokenizer

    tokenizer: PreTrainedTokenizerFast = tiny_tokenizer()
    tokenizer.chat_template = template
    item = Item(id="a", group="a", label="negative", language="en", text="Hello.",
                origin="authored", source="made", licence="CC0-1.0")  # fmt: skip

    with pytest.raises(ProbeError) as caught:
        render(item, tokenizer, chat_of(tokenizer))

    assert "root:" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    ["{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
     "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "{{ 1 // 0 }}",
     "{{ 1 + 'a' }}"],
    ids=["endless", "calls itself", "divides by zero", "adds a text"],
)  # fmt: skip
def test_a_chat_template_that_fails_or_never_ends_is_refused(monkeypatch, template: str):
    from compliance.errors import ProbeError
    from compliance.probes import tokens
    from compliance.records.suite import Item
    from tests.probes.tiny import tiny_tokenizer

    monkeypatch.setattr(tokens, "TEMPLATE_SECONDS", 0.3)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    item = Item(id="a", group="a", label="negative", language="en", text="Hello.",
                origin="authored", source="made", licence="CC0-1.0")  # fmt: skip

    with pytest.raises(ProbeError, match="chat template refuses it"):
        tokens.render(item, tokenizer, tokens.chat_of(tokenizer))
