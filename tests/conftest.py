"""What holds for all tests in Python: how they run in lanes side by side (pytest-xdist, see tests/run), and how they are stopped."""

import os
import signal

# Each lane's labs have names of their own. Here, because netlab reads the variable when a test file is collected.
LANE = os.environ.get("PYTEST_XDIST_WORKER")
if LANE:
    os.environ["POSTERN_LAB_SUFFIX"] = os.environ.get("POSTERN_LAB_SUFFIX", "") + "-" + LANE


def interrupt(signum, frame):
    """Once, TERM being what Ctrl-C is: the fixtures take down what they have built. What comes after must not disturb them (xdist sends its lanes
    an INT of its own after 5 s)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: None)
    raise KeyboardInterrupt


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, interrupt)
