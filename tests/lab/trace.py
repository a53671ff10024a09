"""Stops one thread of a process, as a debugger does; SIGSTOP would stop them all."""

import contextlib
import ctypes
import os
import pathlib

_LIBC = ctypes.CDLL(None, use_errno=True)
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000


def threads(pid):
    """A process's threads: the names by number."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): (task / "comm").read_text().strip() for task in tasks}


def thread(pid, name):
    """The number of the thread of that name."""
    return next(tid for tid, comm in threads(pid).items() if comm == name)


@contextlib.contextmanager
def stopped(tid):
    """The thread stands still while the `with` lasts. Use it from one thread."""
    _ptrace(_SEIZE, tid)
    try:
        _ptrace(_INTERRUPT, tid)
        os.waitpid(tid, _WALL)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # its process has ended
            _ptrace(_DETACH, tid)


def _ptrace(request, tid):
    nothing = ctypes.c_void_p(0)
    if _LIBC.ptrace(ctypes.c_long(request), ctypes.c_int(tid), nothing, nothing) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace of thread {tid}: {os.strerror(number)}")
