"""forward = sendmail: what exit statuses do to one message and to the queue, -M and -P, and msmtp as a real program.
(Postfix's own sendmail: test_mail_path.py.)"""

import os
import re
import shutil
import signal
import time

import pytest

from netlab import wait_until
from spool_maker import Mail
from test_fwd_alone import ANYTHING, World, ask, program, seeds
from test_reports import logged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="posternfwd starts as root")
__all__ = ["program"]

GOOD = "#!/bin/sh\necho \"$*\" >>{out}/argv\ncat >/dev/null\n"


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.end()


@pytest.fixture
def out(world):
    path = world.dir / "calls"
    path.mkdir()
    path.chmod(0o777)
    return path


def write(path, text, mode=0o755):
    """A new file in the old one's place: one that runs can't be written to."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(path)


def calls(out):
    return (out / "argv").read_text().splitlines() if (out / "argv").exists() else []


# ---- a program that can't work: the queue is held

BROKEN = {
    "config": ("#!/bin/sh\necho \"$*\" >>{out}/argv\ncat >/dev/null\necho \"unknown mailer error 5\" >&2\nexit 78\n", 0o755, "exit status 78"),
    "noperm": ("#!/bin/sh\necho \"$*\" >>{out}/argv\nexit 77\n", 0o755, "exit status 77"),
    "osfile": ("#!/bin/sh\necho \"$*\" >>{out}/argv\ncat >/dev/null\nexit 72\n", 0o755, "exit status 72"),
    "wrapper": ("#!/bin/sh\necho \"$*\" >>{out}/argv\nexec /nowhere/really-sendmail\n", 0o755, "exit status 127"),
    "missing": (None, 0, "no such program"),
    "not-executable": ("#!/bin/sh\n", 0o644, "not to be executed"),
    "no-program": ("hello\n", 0o755, "can't start"),
}


@pytest.mark.parametrize("trouble", BROKEN)
def test_broken_program_holds_the_queue(world, out, trouble):
    """Nobody is bounced, not even who waits for longer than the lifetime; the log and the status shout; mended, everything flows."""
    text, mode, words = BROKEN[trouble]
    path = world.dir / "mailprog"
    if text is not None:
        write(path, text.format(out=out), mode)
    bounces = world.server("bounces")
    mails = [Mail(f"a{i}@example.net", ["b@example.org"], ANYTHING, TIME=int(time.time()) - 7200) for i in range(6)]
    world.spool.store(mails)
    world.start("-f", world.conf(f"sendmail:{path}", f"smtp:127.0.0.1:{bounces.port}",
                                 **{"sendmail-children": 2, "queue-lifetime": "1h", "queue-warn": 0, "retry-max": "1h"}))
    wait_until(lambda: len(logged(world, "queue-held")) >= (2 if trouble == "config" else 1), "the hold, and a probe")
    assert words in logged(world, "queue-held")[0]["msg"] and str(path) in logged(world, "queue-held")[0]["msg"]
    assert re.search("error.*ev=queue-held|err.*ev=queue-held", world.log), world.log
    status, problem = ask(world.spool, "status")[0]
    assert problem["what"] == "problem" and words in problem["error"] and problem["destination"] == f"sendmail:{path}"
    assert status["destinations_down"] == "1" and status["bounced"] == "0"
    # Two that ran together, and the probe.
    assert len(calls(out)) <= 4 and len(ask(world.spool, "queue list")[0]) == 6
    assert not world.got("bounces") and not logged(world, "failed")
    if trouble == "config":
        assert "unknown mailer error 5" in problem["error"]
        # What waited in line stays where it was.
        assert world.spool.names("journal")
    write(path, GOOD.format(out=out))
    (out / "argv").unlink(missing_ok=True)
    world.fwd.send_signal(signal.SIGHUP)
    wait_until(lambda: len(calls(out)) == 6, "all of it to be delivered", limit_s=5)
    world.wait_settled()
    assert sorted(call.split()[1] for call in calls(out)) == [f"a{i}@example.net" for i in range(6)]
    assert len(ask(world.spool, "status")[0]) == 1 and "ev=destination-up" in world.log
    world.stop()


def test_held_queue_comes_back_by_itself(world, out):
    """Without a reload the next probe finds it mended."""
    path = world.dir / "mailprog"
    write(path, BROKEN["config"][0].format(out=out))
    world.spool.store([Mail(f"a{i}@example.net", ["b@example.org"], ANYTHING) for i in range(5)])
    world.start("-f", world.conf(f"sendmail:{path}"))
    wait_until(lambda: logged(world, "queue-held"), "the hold")
    write(path, GOOD.format(out=out))
    world.wait_settled()
    assert not logged(world, "failed")
    world.stop()


def test_a_message_that_breaks_the_program_is_given_up(world, out):
    """The status says that the program can't work, but it does for all others: so it holds them up for a moment, and does not live for ever."""
    path = world.dir / "mailprog"
    write(path, GOOD.format(out=out) + "case \"$*\" in *odd*) exit 77;; esac\n")
    bounces = world.server("bounces")
    world.spool.store([Mail("old@example.net", ["odd@example.org"], ANYTHING, TIME=int(time.time()) - 7200)])
    world.start("-f", world.conf(f"sendmail:{path}", f"smtp:127.0.0.1:{bounces.port}", **{"queue-lifetime": "1h"}))
    wait_until(lambda: len(logged(world, "deferred")) >= 2, "two tries")
    assert not logged(world, "failed"), "as far as anybody can tell, nothing works"
    with world.spool.live() as segment:
        segment.append(Mail("good@example.net", ["c@example.org"], ANYTHING))
        segment.announce(is_sealed=True)
    world.wait_settled()
    assert "old@example.net" in world.got("bounces")[0]["rcpts"][0] and "Status: 4.4.7" in world.got("bounces")[0]["wire"]
    assert logged(world, "queue-held") and len(ask(world.spool, "status")[0]) == 1
    world.stop()


def test_one_odd_message_holds_up_nobody(world, out):
    """Statuses that may be about the message concern that message alone."""
    path = world.dir / "mailprog"
    write(path, GOOD.format(out=out) + "case \"$*\" in *odd*) echo odd >&2; exit ${{2#a}};; esac\n".replace("{{", "{").replace("}}", "}"))
    odd = [Mail(f"a{status}", ["odd@example.org"], ANYTHING) for status in (64, 68, 69, 70, 71, 73, 74, 75)]
    world.spool.store(odd + [Mail(f"f{i}@example.net", ["b@example.org"], ANYTHING) for i in range(5)])
    world.start("-f", world.conf(f"sendmail:{path}", **{"retry-min": "1h", "retry-max": "2h"}))
    wait_until(lambda: len(logged(world, "delivered")) == 5 and len(logged(world, "deferred")) == 8, "all of them to be tried")
    assert not logged(world, "queue-held") and not logged(world, "failed")
    wait_until(lambda: len(world.spool.names("queue")) == 8 and not world.spool.names("journal"), "eight to wait")
    assert {line["error"].split("exit status ")[1] for line in ask(world.spool, "queue list")[0]} == {
        f"{mail.sender[1:]}: odd" for mail in odd}
    world.stop()


def test_one_status_for_all(world, out):
    """One status for up to 100 recipients, and no second call: a program may have delivered to the others before it said 67."""
    path = world.dir / "mailprog"
    write(path, GOOD.format(out=out) + f"""shift 2
code=0
for r; do case $r in bad*) code=67;; *) echo $r >>{out}/reached;; esac; done
exit $code
""")
    bounces = world.server("bounces")
    names = [f"bad{i}" if i in (0, 249) else f"r{i}" for i in range(250)]
    world.spool.store([Mail("a@example.net", [f"{name}@example.org" for name in names], ANYTHING)])
    world.start("-f", world.conf(f"sendmail:{path}", f"smtp:127.0.0.1:{bounces.port}"))
    world.wait_settled()
    assert [len(call.split()) - 2 for call in calls(out)] == [100, 100, 50]
    assert sorted((out / "reached").read_text().split()) == sorted(f"{name}@example.org" for name in names if "bad" not in name)
    assert len(logged(world, "failed")) == 150
    assert len(world.got("bounces")) == 1 and world.got("bounces")[0]["wire"].count("Final-Recipient") == 150
    world.stop()


def test_what_the_program_says(world, out):
    """Escaped and cut, in the log, the listing and the report."""
    path = world.dir / "mailprog"
    write(path, "#!/bin/sh\ncat >/dev/null\nprintf 'line one\\nev=fake \\033[31mred\\377\\r\\n--x\\n' >&2\n"
                "head -c 100000 /dev/zero | tr '\\0' y\nexit 67\n")
    bounces = world.server("bounces")
    world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
    world.start("-f", world.conf(f"sendmail:{path}", f"smtp:127.0.0.1:{bounces.port}"))
    world.wait_settled()
    line, = logged(world, "failed")
    assert "line one" in line["reply"] and len(line["reply"]) < 400 and "\x1b" not in world.log
    report = world.got("bounces")[0]["wire"]
    assert "x-postern;" in report and "line one" in report and "\x1b" not in report and "\xff" not in report
    assert "Final-Recipient: rfc822;b@example.org" in report and "Action: failed" in report and "yyyy" in report
    assert len(report) < 5000
    world.stop()


# ---- the seeds' -M and -P

OVERLAP = """#!/bin/sh
: >{out}/run.$$
ls {out} | grep -c run >>{out}/argv
cat >/dev/null
sleep 0.25
rm {out}/run.$$
"""


@pytest.mark.parametrize("limit", (1, 3))
def test_children_at_once(world, out, limit):
    path = world.dir / "mailprog"
    write(path, OVERLAP.format(out=out))
    world.spool.store([Mail(f"a{i}@example.net", ["b@example.org"], ANYTHING) for i in range(4 * limit)])
    argv = seeds(world, path, "-F")
    argv[argv.index("-M") + 1] = limit
    world.start(*argv)
    world.wait_settled()
    assert max(map(int, calls(out))) == limit and len(calls(out)) == 4 * limit
    world.stop()


def test_poll_time(world, out):
    """What nobody announces is found by looking: every -P seconds."""
    path = world.dir / "mailprog"
    write(path, GOOD.format(out=out))
    for poll_s, is_quick in ((1, True), (600, False)):
        argv = seeds(world, path, "-F")
        argv[argv.index("-P") + 1] = poll_s
        world.start(*argv)
        before = len(calls(out))
        world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
        if is_quick:
            wait_until(lambda: len(calls(out)) == before + 1, "it to be found", limit_s=6)
        else:
            time.sleep(2.5)
            assert len(calls(out)) == before
        world.stop()


# ---- real programs

def test_msmtp(world, out):
    """A simple relay of the sendmail kind, with the command line as it is: null sender, odd addresses, lone dots, refusals."""
    server = world.server("mx", "rcpt_550=gone", "rcpt_450=later")
    rc = world.dir / "msmtprc"
    rc.write_text(f"defaults\ntls off\nauth off\naccount default\nhost 127.0.0.1\nport {server.port}\n")
    rc.chmod(0o644)
    path = world.dir / "mailprog"
    write(path, f"#!/bin/sh\nexec {shutil.which('msmtp')} -C {rc} \"$@\"\n")
    world.spool.store([Mail("a@example.net", ["b@example.org", "c@example.org"], b"Subject: x\r\n\r\n.\r\n..\r\nmore\r\n"),
                       Mail("", ["null@example.org"], ANYTHING),
                       Mail("-a@example.net", ["-oQ/tmp@example.org"], ANYTHING),
                       Mail("late@example.net", ["later@example.org"], ANYTHING),
                       Mail("fail@example.net", ["gone@example.org"], ANYTHING)])
    bounces = world.server("bounces")
    world.start("-f", world.conf(f"sendmail:{path}", f"smtp:127.0.0.1:{bounces.port}", **{"retry-min": "1h", "retry-max": "2h"}))
    wait_until(lambda: len(world.got("mx")) == 3 and len(world.got("bounces")) == 1, "three messages and a report")
    got = {message["mail"].split(">")[0][1:]: message for message in world.got("mx")}
    assert set(got) == {"a@example.net", "", "-a@example.net"}
    assert len(got["a@example.net"]["rcpts"]) == 2 and got["a@example.net"]["wire"].endswith("\r\n\r\n..\r\n...\r\nmore\r\n.\r\n")
    assert got["-a@example.net"]["rcpts"] == ["<-oQ/tmp@example.org>"]
    assert "550 5.1.1 no gone here" in world.got("bounces")[0]["wire"] and "fail@example.net" in world.got("bounces")[0]["rcpts"][0]
    wait_until(lambda: len(ask(world.spool, "queue list")[0]) == 1, "all but one to be settled")
    waiting, = ask(world.spool, "queue list")[0]
    assert waiting["from"] == "<late@example.net>" and "450 4.1.1 no later here" in waiting["error"]
    world.stop()
