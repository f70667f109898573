"""What nearly each file of these tests wants."""

import os
import pathlib
import shutil
import tempfile

import pytest

from netlab import Lab

# Files that take minutes come first, so that no lane has one of them left when the others are done.
LONGEST = ("test_divert", "test_divert_ways", "test_sets", "test_milter_trouble", "test_gate", "test_divert_sets")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="module")
def lab(request):
    """A lab of the file's own, with its name; DIVERTED in the file: the interfaces on which mail is diverted as postern-divert does by default."""
    module = request.module
    with Lab("ptest-" + module.__name__.removeprefix("test_").replace("_", "-")) as made:
        for iface in getattr(module, "DIVERTED", ()):
            made.divert("up", "--iface", iface)
        yield made


@pytest.fixture
def room():
    """A directory that other users can reach, by a short name; POSTERN_TEST_KEEP keeps it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ptest-"))
    path.chmod(0o711)
    yield path
    if not os.environ.get("POSTERN_TEST_KEEP"):
        shutil.rmtree(path, ignore_errors=True)
