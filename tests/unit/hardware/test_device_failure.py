"""Errors that mean that a device is lost to a process."""

from __future__ import annotations

import pytest

from onebox.hardware.device_failure import is_device_failure

AcceleratorError = type("AcceleratorError", (RuntimeError,), {})


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("HIP error: unspecified launch failure"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        AcceleratorError("an illegal instruction was encountered"),
    ],
    ids=str,
)
def test_after_these_every_call_fails(error):
    assert is_device_failure(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("CUDA error: an illegal memory access was encountered"),
        MemoryError(),
    ],
    ids=str,
)
def test_these_are_the_fault_of_one_request(error):
    assert not is_device_failure(error)
