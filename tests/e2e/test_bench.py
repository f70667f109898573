"""tests/bench/run still runs, and what a message costs in system calls has not grown: counts, which a busy machine does not change."""

import os
import re
import subprocess

import pytest

from installation import BUILD, ROOT


@pytest.mark.skipif(BUILD.name.endswith("-san"), reason="a sanitizer makes calls of its own")
def test_calls_a_message():
    done = subprocess.run([str(ROOT / "tests" / "bench" / "run"), "syscalls"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, check=False, env=dict(os.environ, POSTERN_BENCH_MESSAGES="400", POSTERN_BUILD=str(BUILD)))
    assert done.returncode == 0, done.stdout
    calls = {}
    for who in ("session workers", "posternfwd"):
        line = re.search(rf"^  {who} +(.*)$", done.stdout, re.MULTILINE)
        assert line, done.stdout
        calls[who] = {name: float(number) for name, number in re.findall(r"(\w+) ([0-9.]+)", line[1])}
    worker, forwarder = calls["session workers"], calls["posternfwd"]
    # Four replies, and a fifth at the connection's end; two log lines. What is written and synced is shared by a batch.
    assert worker["sendto"] < 5 and worker["recvfrom"] < 5 and worker["writev"] < 2.5, calls
    assert worker["pwritev"] < 0.5 and worker["fdatasync"] < 0.5, calls
    # The envelope in one piece, the body out of the journal, the last dot in it; two reads of replies; acknowledgements share their syncs.
    assert 0.9 < forwarder["sendfile"] < 1.2 and 0.9 < forwarder["sendto"] < 1.5 and forwarder["recvfrom"] < 3, calls
    assert forwarder["pread64"] < 2.5 and forwarder["writev"] < 1.5 and forwarder.get("fdatasync", 0) < 0.2, calls
