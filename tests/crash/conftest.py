import ctypes
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

CLONE_NEWNS, MS_REC, MS_SLAVE = 0x00020000, 0x4000, 0x80000


@pytest.fixture(scope="session", autouse=True)
def mounts_of_our_own():
    """What is mounted here nobody else sees: a namespace made from one that does would keep it mounted, with all that the kernel remembers of it."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNS) == 0 and libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None) == 0, os.strerror(ctypes.get_errno())
