"""Errors that mean a lack of memory, in the words that torch uses."""

from __future__ import annotations

import errno

import pytest

from onebox.core.errors import InvalidInput, OutOfMemory
from onebox.hardware.out_of_memory import is_out_of_memory

OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})
CardsOutOfMemory = type("CardsOutOfMemory", (OutOfMemoryError,), {})


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)",
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you "
        "tried to allocate 4294967296 bytes.",
        "unable to mmap 419431743 bytes from file </m/x.pt>: Cannot allocate memory (12)",
        "std::bad_alloc",
        "bad allocation",
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "HIP out of memory. Tried to allocate 2.00 GiB.",
        "XPU out of memory. Tried to allocate 2.00 GiB.",
        "MPS backend out of memory (MPS allocated: 8.88 GB, other allocations: 1.32 GB)",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        "level_zero backend failed with error: 38 (UR_RESULT_ERROR_OUT_OF_HOST_MEMORY)",
        "could not create a memory object",
        "status: out_of_memory",
    ],
)
def test_texts_of_allocators(text):
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("any text"),
        CardsOutOfMemory("any text"),
        MemoryError(),
        MemoryError("Unable to allocate 8.00 GiB for an array"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_classes(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("could not create a primitive"),
        OSError(errno.ENOSPC, "No space left on device"),
        OutOfMemory("CUDA out of memory"),
        KeyError("CUDA out of memory"),
    ],
)
def test_other_errors(error):
    assert not is_out_of_memory(error)


def raised(error, *, cause=None, context=None):
    error.__cause__, error.__context__ = cause, context
    return error


def test_an_error_raised_from_one_of_memory_is_one():
    assert is_out_of_memory(raised(ValueError("load failed"), cause=MemoryError()))


def test_an_error_that_came_up_while_one_of_memory_was_handled_is_none():
    assert not is_out_of_memory(raised(ValueError("another"), context=MemoryError()))
    assert not is_out_of_memory(raised(InvalidInput("ours"), cause=MemoryError()))
