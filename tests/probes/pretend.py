"""A device that is none: tensors that say they lie on a GPU and are computed on the CPU.

    python -m tests.probes.pretend AUDIT_YAML

runs an audit up to its last pass with model and SAEs on it. What a GPU refuses is refused: tensors
of two devices in one operation, and a tensor that is handed to numpy without being fetched. So it
shows that nothing is made in the wrong place; not what a GPU computes, nor how fast.
"""

import sys
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import torch.utils.backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from compliance.probes import engine
from compliance.workflow import audits

torch.utils.backend_registration._setup_privateuseone_for_python_backend("pretended")
GPU = torch.device("pretended", 0)
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""Operations that take indices from the CPU, on a real GPU too."""

COPYING = {"copy_", "_to_copy", "to"}


class OnGpu(torch.Tensor):
    """A tensor with its numbers on the CPU, which says that it lies on a GPU."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(),
            dtype=values.dtype, device=GPU, requires_grad=False,
        )  # fmt: skip

    def __init__(self, values):
        self.values_on_cpu = values

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    is_cuda = True

    def numpy(self, *, force=False):
        if not force:
            raise TypeError("can't convert a GPU tensor to numpy; copy it to the CPU first")
        return self.values_on_cpu.detach().numpy()

    def tolist(self):
        return self.values_on_cpu.tolist()

    def __repr__(self):
        return f"OnGpu({self.values_on_cpu!r})"


class _Pretend(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextmanager
def pretend_gpu():
    """Within it, tensors can be moved to ``cuda``, and are refused together with others."""
    pass
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # a list as an index is made on the CPU first
    try:
        with _Pretend():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def _run(func, args, kwargs):
    name = func.overloadpacket.__name__
    flat, _ = tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    if name not in COPYING:
        _refuse_two_devices(name, tensors)
    args, kwargs = tree_map(_on_cpu, (args, kwargs))
    out = func(*args, **kwargs)
    if name.endswith("_") and not name.endswith("__"):
        return flat[0]
    asked = [value for value in flat if isinstance(value, torch.device)]
    asked += [tensors[1].device] if func is torch.ops.aten.to.other else []
    there = asked[0].type == GPU.type if asked else any(isinstance(t, OnGpu) for t in tensors)
    return tree_map(_on_gpu, out) if there else out


def _refuse_two_devices(name, tensors):
    """A number without dimensions may lie on the CPU, and so may indices."""
    if any(isinstance(tensor, OnGpu) for tensor in tensors):
        concerned = tensors[:1] if name in INDEXING else tensors
        if any(tensor.ndim and not isinstance(tensor, OnGpu) for tensor in concerned):
            raise RuntimeError(f"{name}: expected all tensors on one device, found {GPU} and cpu")


def _on_gpu(value):
    return OnGpu(value) if isinstance(value, torch.Tensor) else value


def _on_cpu(value):
    if isinstance(value, OnGpu):
        return value.values_on_cpu
    is_gpu = isinstance(value, torch.device) and value.type == GPU.type
    return torch.device("cpu") if is_gpu else value


class InThisThread:
    """A pool that has no threads: to torch the pretended device is there in one alone."""

    def __init__(self, *_, **__):
        pass

    def submit(self, call, *args):
        done = Future()
        done.set_result(call(*args))
        return done

    def shutdown(self, *_, **__):
        pass


def moved(reader):
    """Model and SAEs on the pretended GPU."""
    subject = replace(reader.subject, model=reader.subject.model.to(GPU))
    saes = tuple(
        replace(sae, tensors={name: tensor.to(GPU) for name, tensor in sae.tensors.items()})
        for sae in reader.saes
    )
    return replace(reader, subject=subject, saes=saes)


def refuses():
    """Whether it does what it is for."""
    x = torch.ones(2, 3).to(GPU)
    for wrong in (lambda: x + torch.ones(2, 3), x.numpy, lambda: torch.ones(3) @ x.T):
        try:
            wrong()
        except (RuntimeError, TypeError):
            continue
        return False
    return (x @ x.T + torch.tensor(1.0)).cpu().tolist() == [[4, 4], [4, 4]]


def main(audit):
    load = audits.load_reader
    audits.load_reader = lambda *args: moved(load(*args))
    engine.ThreadPoolExecutor = InThisThread
    with pretend_gpu():
        assert refuses()
        for step in (audits.plan, audits.observe, audits.lock, audits.observe):
            step(audit)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
