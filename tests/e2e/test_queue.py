"""The queue of posternfwd at work: filters, changes, statistics, many messages, bad destinations beside good ones."""

import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from netlab import wait_until
from spool_maker import PACKET, Mail
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


def start_by(w, *argv):
    """posternfwd by way of another program, which becomes it."""
    with open(w.log_path, "ab") as log:
        w.fwd = subprocess.Popen(list(argv), stderr=log)
    w.procs.append(w.fwd)
    wait_until(lambda: "ev=started" in w.log or w.fwd.poll() is not None, "posternfwd to start")
    assert w.fwd.poll() is None, w.log


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
    done = postern(world, "hold", mails["new"].id, mails["held"].id, code=1)
    assert done.stdout == "1 message held, 1 not\n" and f"{mails['held'].id}: it is held already" in done.stderr
    assert f"{mails['held'].id}: it is held: release it first" in postern(world, "retry", mails["held"].id, code=1).stderr
    assert f"{mails['big'].id}: it is not held" in postern(world, "release", mails["big"].id, code=1).stderr
    assert postern(world, "list", "--from", "nobody@example.net").stdout == "no mail like that is waiting\n"
    for wrong in (["--state", "hold"], ["--client", "192.0.2.0/33"]):
        assert "expected" in postern(world, "list", *wrong, code=2).stderr
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
    # The file that was moved is not met again where it is now.
    for verb in ("hold", "release"):
        counts = json.loads(postern(world, verb, mails["far"].id, "--json").stdout)
        assert counts == {"verb": verb, "matched": 1, "done": 1, "busy": 0, "failed": 0}, counts
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


# ---- the start

def test_mail_is_delivered_while_the_queue_is_read(world):
    """The scan is slowed down. What is in the journal, or comes in, does not wait for it; what stands in two places goes out once."""
    now = int(time.time())
    server = world.server("mx")
    waiting = [Mail(f"w{n}@example.net", ["b@example.org"], ANYTHING) for n in range(250)]
    twice, twice_live = (Mail(f"{name}@example.net", ["b@example.org"], ANYTHING) for name in ("twice", "twice-live"))
    world.spool.wait(waiting, attempt=1)
    world.spool.wait([twice, twice_live], attempt=1, next=now - 5)
    world.spool.store([Mail("stored@example.net", ["b@example.org"], ANYTHING), twice])
    conf = world.conf(f"smtp:127.0.0.1:{server.port}")
    world.start("-f", conf, env={"POSTERN_FAULT": "recover-waiting:delay=5"})
    with world.spool.live() as segment:
        segment.append(Mail("live@example.net", ["b@example.org"], ANYTHING))
        segment.append(twice_live)
        segment.announce()
        wait_until(lambda: len(world.got("mx")) >= 2, "the mail that is not in queue/")
        assert "ev=recovered" not in world.log
        assert sorted(m["mail"].split("@")[0] for m in world.got("mx")) == ["<live", "<stored"]
        assert "still being read" in postern(world, "list").stderr
        assert "still being read" in postern(world, "hold", "--from", "nobody", code=1).stderr
        assert "not" in postern(world, "retry", waiting[-1].id, code=1).stdout
        wait_until(lambda: "ev=recovered" in world.log, "the scan")
        wait_until(lambda: len(world.got("mx")) == 4, "the two that were due")
        listed = postern(world, "list", "--json")
        assert len(json.loads(listed.stdout)) == 250 and not listed.stderr
    wait_until(lambda: not world.spool.names("journal"), "the segments to be recycled")
    assert len(world.got("mx")) == 4 and not world.spool.names("bad")
    world.stop()


# ---- who goes first, and when

def test_new_mail_and_old_mail_take_turns(world):
    """One connection: a backlog does not hold up new mail, nor the other way round, and each kind goes oldest first."""
    now = int(time.time())
    server = world.server("mx")
    old = [Mail(f"old{n}@example.net", ["b@example.org"], ANYTHING, TIME=now - 1000 + n) for n in (2, 0, 1, 4, 3)]
    new = [Mail(f"new{n}@example.net", ["b@example.org"], ANYTHING, TIME=now + n - 10) for n in (1, 4, 0, 2, 3)]
    world.spool.wait(old, attempt=2, next=now - 5)
    world.spool.store(new)
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", **{"destination-connections": 1}))
    world.wait_settled()
    order = [m["mail"].split("@")[0].strip("<") for m in world.got("mx")]
    assert order == [name for n in range(5) for name in (f"new{n}", f"old{n}")], order
    world.stop()


def test_min_queue_age(world):
    """sendmail's MinQueueAge: not again so soon, whatever retry-min says; an administrator may."""
    server = world.server("mx", "data_fail_first=1")
    world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", **{"min-queue-age": "1h"}))
    wait_until(lambda: ask(world.spool, "queue list")[0][0]["state"] == "waiting", "the first try")
    assert 3590 < int(ask(world.spool, "queue list")[0][0]["next_s"]) <= 3600
    assert postern(world, "retry", "--all").returncode == 0
    world.wait_settled()
    world.stop()


def test_queue_load_average(world):
    """sendmail's QueueLA: mail that was tried before waits until the load falls, new mail is tried. The load is one that we write."""
    now = int(time.time())
    server = world.server("mx")
    load = world.dir / "loadavg"
    load.write_text("9.50 1.00 1.00 1/100 1000\n")
    world.spool.wait([Mail("old@example.net", ["b@example.org"], ANYTHING)], attempt=1, next=now - 5)
    world.spool.store([Mail("new@example.net", ["b@example.org"], ANYTHING)])
    conf = world.conf(f"smtp:127.0.0.1:{server.port}", **{"queue-load-average": 9})
    mount = f"mount --bind {load} /proc/loadavg && exec {BUILD}/bin/posternfwd -f {conf}"
    start_by(world, "unshare", "--mount", "sh", "-c", mount)
    wait_until(lambda: len(world.got("mx")) == 1, "the new mail")
    time.sleep(2.5)
    assert [m["mail"].split("@")[0] for m in world.got("mx")] == ["<new"], "tried under load"
    assert ask(world.spool, "status")[0][0]["retries"] == "wait for a lower load"
    load.write_text("8.99 1.00 1.00 1/100 1000\n")
    wait_until(lambda: len(world.got("mx")) == 2, "the old mail")
    assert world.log.count("ev=queue-load") == 2 and ask(world.spool, "status")[0][0]["retries"] == "go on"
    world.stop()


# ---- bad destinations

class BlackHole:
    """A port that answers no SYN: its backlog is full and nobody accepts."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(0)
        self.port = self.sock.getsockname()[1]
        self.others = []
        for _ in range(4):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", self.port))
            self.others.append(other)

    def close(self):
        for sock in [self.sock, *self.others]:
            sock.close()


class Tarpit:
    """Accepts everything, and answers each line after a while; counts its connections."""

    def __init__(self, delay_s):
        self.delay_s, self.now, self.most = delay_s, 0, 0
        self.lock = threading.Lock()
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(200)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            with sock, sock.makefile("rb") as stream:
                time.sleep(self.delay_s)
                sock.sendall(b"220 tarpit\r\n")
                for line in stream:
                    time.sleep(self.delay_s)
                    sock.sendall(b"354 go\r\n" if line.upper().startswith(b"DATA") else b"250 ok\r\n")
        except OSError:
            pass
        with self.lock:
            self.now -= 1

    def close(self):
        self.sock.close()


def test_bad_destinations_do_not_slow_a_good_one(world):
    """Thousands of messages to a black hole, a tarpit, and a server that refuses all for now; some to one that is well."""
    hole, tarpit = BlackHole(), Tarpit(2)
    greylister, good = world.server("grey", "rcpt_450=b"), world.server("good")
    try:
        bad = [Mail(f"x{n}@example.net", ["b@example.org"], ANYTHING, DST=f"127.0.0.1 {port}")
               for n in range(1000) for port in (hole.port, tarpit.port, greylister.port)]
        well = [Mail(f"g{n}@example.net", ["w@example.org"], ANYTHING, DST=f"127.0.0.1 {good.port}") for n in range(300)]
        # The good ones stand behind all the others.
        world.spool.store(bad + well[:-1])
        begin = time.monotonic()
        world.start("-f", world.conf("original", **{"retry-min": "2s", "retry-max": "1h", "destination-connections": 5, "reply-timeout": "20s",
                                                    "connect-timeout": "3s"}))
        wait_until(lambda: len(world.got("good")) == 299, "the good ones", limit_s=20)
        took_s = time.monotonic() - begin
        assert tarpit.most <= 5, tarpit.most
        assert took_s < 8, f"no longer than without the others: {took_s}"
        # And with the bad ones at their worst, a new message needs no time either.
        wait_until(lambda: "destination-down" in world.log or time.monotonic() > begin + 5, "the black hole to be known as one")
        with world.spool.live() as segment:
            segment.append(well[-1])
            begin = time.monotonic()
            segment.announce()
            wait_until(lambda: len(world.got("good")) == 300, "the last of the good ones")
            assert time.monotonic() - begin < 2
        status = ask(world.spool, "status")[0][0]
        # Four tries of the hole, five of the tarpit, five each of the others at most.
        assert int(status["connections"]) <= 4 + 5 + 5 + 5, status
        wait_until(lambda: f"127.0.0.1:{hole.port}" in world.log and "destination-down" in world.log, "the log to name it")
    finally:
        hole.close()
        tarpit.close()
        world.fwd.kill()


def test_few_descriptors_and_many_dead_servers(world):
    """Eight connections in all: seven black holes get half of them at most, and what is left goes round."""
    holes, servers = [BlackHole() for _ in range(7)], [world.server(f"mx{n}") for n in range(3)]
    try:
        mails = [Mail(f"x{n}@example.net", ["b@example.org"], ANYTHING, DST=f"127.0.0.1 {hole.port}") for n in range(20) for hole in holes]
        mails += [Mail(f"g{n}@example.net", ["b@example.org"], ANYTHING, DST=f"127.0.0.1 {server.port}") for n in range(100) for server in servers]
        world.spool.store(mails)
        conf = world.conf("original", **{"connect-timeout": "1s", "retry-min": "1h", "retry-max": "2h", "queue-warn": 0})
        start_by(world, "prlimit", "--nofile=256:256", str(BUILD / "bin/posternfwd"), "-f", str(conf))
        most = 0

        def is_done():
            nonlocal most
            status = ask(world.spool, "status")[0][0]
            assert status["connections_max"] == "8"
            most = max(most, int(status["connections"]))
            return all(len(world.got(f"mx{n}")) == 100 for n in range(3))

        wait_until(is_done, "the mail for the living", limit_s=25)
        assert most <= 8 and len(os.listdir(f"/proc/{world.fwd.pid}/fd")) < 100
        wait_until(lambda: len(set(re.findall(r"ev=destination-down msg=\"(127.0.0.1:\d+):", world.log))) == 7, "every black hole to be tried",
                   limit_s=25)
    finally:
        for hole in holes:
            hole.close()
        world.fwd.kill()


def test_a_stop_in_the_middle_of_a_listing(world):
    """An asker who does not read what he asked for holds up nothing, and the end is clean."""
    world.spool.store([Mail(f"a{n}@example.net", ["b@example.org"], ANYTHING, DST="127.0.0.1 1") for n in range(3000)])
    world.start("-f", world.conf("original", **{"retry-min": "1h", "retry-max": "2h"}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        asker.connect(str(world.spool.dir / "fwdctl.sock"))
        question = b"queue list where from=example.net"
        asker.send(PACKET.pack(1, len(question)) + question)
        assert len(senders(world, "--from", "a7@*")) == 1, "another asker is answered"
        world.stop()
