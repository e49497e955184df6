"""Which errors mean that memory ran out. Torch has a class for it on some devices only."""

from __future__ import annotations

import errno
import re

from onebox.core.errors import AppError

_CLASS = "OutOfMemoryError"
_TEXTS = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|unable to mmap .*Cannot allocate memory"
    r"|std::bad_alloc|bad allocation"
    r"|(CUDA|HIP|MPS backend|XPU) out of memory"
    r"|(CUDA|HIP) error: out of memory"
    r"|(CUBLAS|HIPBLAS|CUSOLVER|CUSPARSE|CUDNN|MIOPEN)_STATUS_\w*ALLOC\w*FAILED"
    r"|UR_RESULT_ERROR_OUT_OF_\w*MEMORY"
    r"|could not create a memory object|out_of_memory",
    re.DOTALL,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it was an allocator that failed, on any device. Imports nothing.

    Our own errors say themselves what they are, and an error that only came up while another one
    was handled is judged alone; one raised `from` another is judged with it.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, AppError):
        if _is_allocators(seen):
            return True
        seen = seen.__cause__
    return False


def _is_allocators(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if any(of.__name__ == _CLASS for of in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and _TEXTS.search(str(error)) is not None
