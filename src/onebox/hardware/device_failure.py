"""Which errors mean that a device failed: nothing can run on it in this process any more."""

from __future__ import annotations

import re

from onebox.hardware.out_of_memory import is_out_of_memory

_CLASS = "AcceleratorError"
_TEXTS = re.compile(
    r"(CUDA|HIP) error: "
    r"|device-side assert"
    r"|(CUDNN|MIOPEN)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)"
    r"|UR_RESULT_ERROR_DEVICE_LOST"
)


def is_device_failure(error: BaseException) -> bool:
    """Whether the device is lost to this process: after an illegal access every call fails.

    Running out of memory is no failure. Imports nothing.
    """
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    named = any(of.__name__ == _CLASS for of in type(error).__mro__)
    return named or _TEXTS.search(str(error)) is not None
