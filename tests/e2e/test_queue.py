"""The queue of posternfwd at work: filters, changes, statistics, many messages, bad destinations beside good ones."""

import json
import os
import subprocess
import time

import pytest

from netlab import wait_until
from spool_maker import Mail, status_line
from test_fwd_alone import ANYTHING, BUILD, World, ask, free_port, world  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="posternfwd starts as root")

HOUR = 3600
NOT_RUNNING = 3


def postern(w, *args, code=0):
    done = subprocess.run([str(BUILD / "bin/postern"), "-d", str(w.spool.dir), "queue", *map(str, args)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == code, done
    return done


def senders(w, *filters, code=0):
    return sorted(m["from"].strip("<>").split("@")[0] for m in json.loads(postern(w, "list", "--json", *filters, code=code).stdout))


def attempts(w):
    return sum(int(m["attempts"]) for m in ask(w.spool, "queue list")[0])


def fill(w):
    """Eight messages, all different; the destination takes no connection."""
    now = int(time.time())
    port = free_port()
    dst = f"127.0.0.1 {port}"
    mails = {
        "old": Mail("old@news.example.net", ["x@one.example"], ANYTHING, TIME=now - 50 * HOUR, DST=dst),
        "mid": Mail("mid@example.net", ["x@one.example", "y@two.example"], ANYTHING, TIME=now - 5 * HOUR, DST=dst),
        "new": Mail("new@example.org", ["z@two.example"], ANYTHING, TIME=now, DST=dst),
        "big": Mail("big@example.org", ["z@three.example"], b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" * 5200, TIME=now - 60, DST=dst),
        "null": Mail("", ["null@three.example"], ANYTHING, TIME=now, DST=f"127.0.0.1 {free_port()}"),
        "far": Mail("far@example.com", ["far@three.example"], ANYTHING, TIME=now, CLIENT="2001:db8::7 4000", NAME="mx.far.example", DST=dst),
    }
    held = {"held": Mail("held@example.net", ["held@one.example"], ANYTHING, TIME=now, DST=dst)}
    in_journal = {"jour": Mail("jour@example.net", ["j@one.example"], ANYTHING, TIME=now, DST=dst)}
    w.spool.wait(mails.values(), attempt=3, rcpt="all", outcome="deferred", text="451 4.3.0 come later")
    w.spool.wait(held.values(), "hold", note="held")
    w.spool.store(in_journal.values())
    return {**mails, **held, **in_journal}, port


FILTERS = [
    ([], ["", "big", "far", "held", "jour", "mid", "new", "old"]),
    (["--from", "*@example.net"], ["held", "jour", "mid"]),
    (["--from", "EXAMPLE.net"], ["held", "jour", "mid"]),
    (["--from", "*.net"], ["held", "jour", "mid", "old"]),
    (["--from", "<>"], [""]),
    (["--from", "<>", "--from", "old@*"], ["", "old"]),
    (["--to", "two.example"], ["mid", "new"]),
    (["--to", "x@one.example", "--from", "mid@example.net"], ["mid"]),
    (["--to", "x@one.example", "--from", "new@*"], []),
    (["--older", "4h"], ["mid", "old"]),
    (["--older=4h", "--younger=1d"], ["mid"]),
    (["--larger", "10K"], ["big"]),
    (["--larger", "10K", "--smaller", "10241"], []),
    (["--client", "192.0.2.0/24", "--larger", "1"], ["", "big", "held", "jour", "mid", "new", "old"]),
    (["--client", "2001:db8::7"], ["far"]),
    (["--client", "*.far.example"], ["far"]),
    (["--state", "held"], ["held"]),
    (["--error", "*come later*", "--older", "1d"], ["old"]),
    (["--from", "nobody"], []),
]


def test_filters(world):
    """The same answers from posternfwd and, while it is down, from the files."""
    _, port = fill(world)
    dead = [(["--destination", f"127.0.0.1:{port}"], ["big", "far", "held", "jour", "mid", "new", "old"])]
    for filters, expected in FILTERS + dead:
        assert senders(world, *filters, code=NOT_RUNNING) == expected, filters
    world.start("-f", world.conf("original", **{"retry-min": "1h", "retry-max": "2h", "queue-lifetime": "30d", "queue-warn": 0}))
    for filters, expected in FILTERS:
        assert senders(world, *filters) == expected, filters
    # A held message has no destination until it is released.
    assert senders(world, *dead[0][0]) == [name for name in dead[0][1] if name != "held"]
    ids = [m["id"] for m in json.loads(postern(world, "list", "--json").stdout)]
    assert ids == sorted(ids), "oldest id first"
    world.stop()


def test_changes_by_filter(world):
    mails, _ = fill(world)
    world.start("-f", world.conf("original", **{"retry-min": "1h", "retry-max": "2h", "queue-lifetime": "30d", "queue-warn": 0}))
    # The one in the journal was tried by now, and waits too.
    wait_until(lambda: not world.spool.names("journal"), "the journal to be empty")
    before = {place: world.spool.names(place) for place in ("queue", "hold")}
    done = postern(world, "hold", "--from", "example.net", "--dry-run")
    assert "mid@" in done.stdout and "jour@" in done.stdout and "held@" not in done.stdout and "nothing was done" in done.stdout
    assert before == {place: world.spool.names(place) for place in ("queue", "hold")}

    assert postern(world, "hold", "--from", "example.net").stdout == "2 messages held\n"
    assert senders(world, "--state", "held") == ["held", "jour", "mid"]
    assert world.spool.names("hold") == sorted(mails[name].id for name in ("held", "jour", "mid"))
    assert json.loads(postern(world, "release", "--to", "two.example", "--json").stdout) == {
        "verb": "release", "matched": 1, "done": 1, "busy": 0, "failed": 0}
    assert senders(world, "--state", "held") == ["held", "jour"]
    assert postern(world, "hold", mails["new"].id, mails["held"].id, code=1).stdout == "1 message held, 1 not\n"
    assert postern(world, "release", "--all").stdout == "3 messages released\n"
    assert not world.spool.names("hold")
    before = attempts(world)
    assert postern(world, "retry", "--from", "big@*", "--older", "1s").stdout == "1 message to be tried now\n"
    wait_until(lambda: attempts(world) > before, "an attempt at its destination")
    assert postern(world, "delete", "--from", "nobody").stdout == "0 messages deleted\n"
    wait_until(lambda: "active" not in str(ask(world.spool, "queue list")[0]), "attempts to be over")
    assert postern(world, "delete", "--from", "example.net", "--older", "1h").stdout == "1 message deleted\n"
    assert not (world.spool.dir / "queue" / mails["mid"].id).exists()
    assert postern(world, "delete", "--all").stdout == "7 messages deleted\n"
    assert postern(world, "list").stdout == "no mail is waiting\n" and not world.spool.names("queue")
    assert ask(world.spool, "queue hold where")[2] < 0 and ask(world.spool, "queue delete")[2] < 0, "nothing said is not everything"
    world.stop()


def test_changes_while_the_forwarder_is_down(world):
    mails, port = fill(world)
    assert "1 message held" in postern(world, "hold", "--from", "new@*").stdout
    assert (world.spool.dir / "hold" / mails["new"].id).exists()
    assert "1 message deleted" in postern(world, "delete", mails["old"].id).stdout
    assert "1 message released" in postern(world, "release", "--from", "held@*").stdout
    done = postern(world, "hold", "--from", "jour@*", code=1)
    assert "1 not" in done.stdout and "journal" in done.stderr
    assert "messages to be tried now" in postern(world, "retry", "--all").stdout
    assert "0 messages deleted, 1 not" in postern(world, "delete", mails["old"].id, code=1).stdout
    # What was done holds when it starts: all but the one held and the one deleted are tried at once.
    server = world.server("mx", port=port)
    world.start("-f", world.conf("original"))
    wait_until(lambda: len(world.got("mx")) == 5, "the mail that was not held")
    assert sorted(m["mail"].split("@")[0] for m in world.got("mx")) == ["<big", "<far", "<held", "<jour", "<mid"]
    assert senders(world, "--state", "held") == ["new"]
    assert server.poll() is None
    world.stop()


def test_stats(world):
    """The columns of qshape: younger than 5, 10, 20, ... minutes."""
    now = int(time.time())
    ages_min = [0, 4, 6, 30, 2000, 2000]
    mails = [Mail(f"a@{'odd' if n % 2 else 'even'}.example", ["b@example.org"], ANYTHING, TIME=now - age * 60 - 5, DST=f"127.0.0.1 {n % 3 + 1}")
             for n, age in enumerate(ages_min)]
    world.spool.wait(mails, attempt=1)
    for is_down in (True, False):
        if not is_down:
            world.start("-f", world.conf("original", **{"queue-lifetime": "30d", "queue-warn": 0}))
        code = NOT_RUNNING if is_down else 0
        lines = postern(world, "stats", code=code).stdout.splitlines()
        assert lines[0].split() == ["T", "5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+"]
        assert lines[1].split() == ["TOTAL", "6", "2", "1", "0", "1", "0", "0", "0", "0", "0", "2"]
        assert [line.split()[0] for line in lines[2:]] == ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
        assert lines[2].split()[1:] == ["2", "1", "0", "0", "1", "0", "0", "0", "0", "0", "0"]
        by_sender = json.loads(postern(world, "stats", "--by", "sender", "--json", "--older", "1m", code=code).stdout)
        assert by_sender["bounds_min"][0] == 5 and by_sender["bounds_min"][-1] == 1280 and len(by_sender["total"]["ages"]) == 10
        assert {row["name"]: row["count"] for row in by_sender["rows"]} == {"odd.example": 3, "even.example": 2}
        assert postern(world, "stats", "--by", "client", code=code).stdout.splitlines()[2].split()[:2] == ["192.0.2.10", "6"]
    world.stop()


def test_mailq(world):
    """The columns of sendmail's mailq, under the name that it has beside the old daemons."""
    mails, _ = fill(world)
    link = world.dir / "smtpd-mailq"
    link.symlink_to((BUILD / "bin/postern").resolve())
    done = subprocess.run([str(link), "-d", str(world.spool.dir)], capture_output=True, text=True, timeout=30, check=False)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("-----Q-ID----- --Size-- -----Q-Time-----") and lines[-1] == "\t\tTotal requests: 8"
    at = next(i for i, line in enumerate(lines) if line.startswith(mails["mid"].id))
    size = len(ANYTHING) + 3
    when = time.strftime("%a %b %d %H:%M", time.localtime(time.time() - 5 * HOUR))[:10]
    assert lines[at].split()[1] == str(size) and lines[at].endswith(" <mid@example.net>") and when in lines[at]
    assert lines[at + 1].strip() == "(451 4.3.0 come later)"
    assert lines[at + 2] == " " * 41 + "<x@one.example>" and lines[at + 3] == " " * 41 + "<y@two.example>"
