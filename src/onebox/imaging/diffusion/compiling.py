"""A denoiser's repeated blocks compiled by torch: `compile = true` in `onebox.toml`.

Block by block and not the whole: one compilation serves all blocks of a kind, and between two of
them a cancel still takes effect. They are compiled by the first run that needs them, for any size
and any number of pictures, and run as they are where compiled ones would not do: with what stands
in for layers, in another precision, and when every bit matters.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import sysconfig
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from onebox.core.contracts import Device
from onebox.core.errors import InferenceFailed, ModelBroken
from onebox.hardware.out_of_memory import is_out_of_memory
from onebox.imaging.diffusion.memory_plan import DENOISERS, MemoryPlan
from onebox.imaging.diffusion.recipe import Recipe

log = structlog.get_logger(__name__)

# Among what a bundle keeps.
BLOCKS = "compiled_blocks"
KINDS = ("cpu", "cuda", "rocm")
# Of one kind of block: one for each width, each dtype, one picture alone, … Past that they run as
# they are.
MOST_FORMS = 64
# Headers that torch compiles ahead go into the system's folder for temporary files, whatever folder
# it is told to use, under a name that anybody can guess.
OPTIONS = {"cpp_cache_precompile_headers": False}


@dataclass(slots=True)
class Blocks:
    """Whether the blocks of one denoiser run compiled now."""

    compiled: bool = False


def refusal(plan: MemoryPlan, device: Device) -> str | None:
    """Why blocks cannot be compiled for weights that lie so; None when they can."""
    if device.kind not in KINDS:
        return f"compile is for {', '.join(KINDS)}, and this is {device.kind}"
    if plan.storage is not None or plan.quantization is not None:
        return "compile does not go with quantization"
    if plan.offload == "sequential":
        return "compile does not go with sequential_offload, which this model has here"
    return None


def missing_tools(
    device: Device,
    environment: Mapping[str, str] = os.environ,
    find: Callable[[str], Any] = shutil.which,
) -> list[str]:
    """What torch needs to compile for the device and this machine has not, in words."""
    missing = []
    if device.kind == "cpu":
        names = (environment.get("CXX") or "g++", "clang++")
        if not any(find(name) for name in names):
            missing.append("a C++ compiler (g++, or the one that CXX names)")
    else:
        if importlib.util.find_spec("triton") is None:
            missing.append("the Python package triton")
        if not any(find(name) for name in (environment.get("CC") or "gcc", "clang")):
            missing.append("a C compiler (gcc, or the one that CC names)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        missing.append("Python's headers (the package python3-dev)")
    return missing


def compile_blocks(pipeline: Any, plan: MemoryPlan, device: Device) -> Blocks:
    """Let the denoisers' blocks run compiled when they are told to.

    Raises:
        ModelBroken: the device, the way the weights lie, or the machine does not allow it.
    """
    reason = refusal(plan, device)
    if reason is None and (missing := missing_tools(device)):
        reason = f"compile needs {' and '.join(missing)}, which this machine has not"
    found = [block for name in DENOISERS for block in _blocks(getattr(pipeline, name, None))]
    if reason is None and not found:
        reason = "its denoiser has no blocks to compile"
    if reason is not None:
        raise ModelBroken(f"{reason}; take compile out of onebox.toml")
    state = Blocks()
    for block in found:
        block.forward = _forward(block, state)
    return state


@contextlib.contextmanager
def running(bundle: Any, *, compiled: bool) -> Iterator[None]:
    """Inside the block of code the denoiser's blocks run compiled, or as they are.

    Does nothing to a bundle that is not to be compiled.
    """
    state: Blocks | None = bundle.kept.get(BLOCKS)
    if state is None:
        yield
        return
    before, state.compiled = state.compiled, compiled
    try:
        yield
    finally:
        state.compiled = before


def can_be_compiled(recipe: Recipe) -> bool:
    """Whether nothing is put into the denoiser, for each of which it would be compiled anew."""
    return not recipe.loras and recipe.image_prompt is None


def _blocks(denoiser: Any) -> list[Any]:
    """Those that diffusers names; of classes for which it names none, the lists of their parts."""
    if denoiser is None:
        return []
    names = frozenset(getattr(denoiser, "_repeated_blocks", None) or ())
    named = [module for module in denoiser.modules() if type(module).__name__ in names]
    if named:
        return named
    lists = (part for part in denoiser.children() if type(part).__name__ == "ModuleList")
    return [block for blocks in lists for block in blocks]


def _forward(block: Any, state: Blocks) -> Callable[..., Any]:
    """What stands in place of the block's own forward. It does not keep the block alive."""
    import torch

    eager, owner = type(block).forward, weakref.ref(block)
    compiled = _compiled(eager)

    def forward(*arguments: Any, **options: Any) -> Any:
        exact = torch.are_deterministic_algorithms_enabled()
        if not state.compiled or exact:
            return eager(owner(), *arguments, **options)
        try:
            return compiled(owner(), *arguments, **options)
        except _errors() as error:
            if is_out_of_memory(error):
                raise
            log.exception("compile_failed", block=type(owner()).__name__)
            raise InferenceFailed(
                "torch could not compile the model's denoiser, the server's log says why; take "
                "compile out of its onebox.toml"
            ) from error

    return forward


@functools.cache
def _compiled(forward: Any) -> Any:
    """One for each class of blocks. Of any size from the start: what a picture looks like must not
    depend on which sizes were drawn before it.
    """
    import torch

    # Its declared types leave some of its arguments out (torch 2.13).
    make: Any = torch.compile
    return make(forward, dynamic=True, recompile_limit=MOST_FORMS, options=OPTIONS)


def _errors() -> Any:
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException
