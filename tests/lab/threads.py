"""Stops one thread of a process, which no signal can."""

import contextlib
import ctypes
import os
import pathlib

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17
_WALL = 0x40000000


def named(pid, name):
    """The ids of the threads of a process whose name begins so."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            said = (task / "comm").read_text().strip()
            if said.startswith(name):
                found[said] = int(task.name)
    return [found[key] for key in sorted(found)]


@contextlib.contextmanager
def stalled(thread):
    """The thread does not run while the `with` lasts; all others do."""
    _ptrace(_SEIZE, thread)
    _ptrace(_INTERRUPT, thread)
    os.waitpid(thread, _WALL)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # its process has ended
            _ptrace(_DETACH, thread)


def _ptrace(request, thread):
    if _LIBC.ptrace(request, thread, None, None) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace: {os.strerror(error)}")
