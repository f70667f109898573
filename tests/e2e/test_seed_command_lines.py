"""The command lines of Obtuse smtpd and smtpfwdd, as typed: both daemons start by them, detach, log to syslog and deliver."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

import journal
from installation import BUILD, Talk, make_reachable
from netlab import wait_until
from test_extcheck import make_jail

SEED_UID = 64983
BODY = b"Subject: test\r\n\r\n..dot\r\nHello.\r\n.\r\n"
MAILPROG = """#!/usr/bin/python3
import json, os, sys
with open({out!r}, "a") as out:
    out.write(json.dumps({{"args": sys.argv[1:], "input": sys.stdin.buffer.read().decode("latin-1"), "uid": os.getuid()}}) + "\\n")
"""


class Seed:
    """The seeds' layout: one chroot directory, with etc/ and spool/ in it."""

    def __init__(self, lab, directory):
        self.lab, self.chroot = lab, directory
        make_reachable(directory)
        (directory / "etc").mkdir()
        self.rules = directory / "etc" / "smtpd_check_rules"
        self.rules.write_text("noto:ALL:ALL:no@ALL\nallow:ALL:ALL:ALL\n")
        self.pid_file = directory / "smtpd.pid"
        self.spool = directory / "spool"
        self.started = []

    def smtpd_argv(self, *more, pid_file=True):
        argv = [BUILD / "bin" / "posternd", "-c", self.chroot, "-d", "/spool", "-u", str(SEED_UID), "-g", str(SEED_UID), "-D", "-L", "-p", "2590",
                "-l", self.lab.WAN4, "-s", "100000", "-m", "seed.example.net", "-q"]
        return [*map(str, argv), *(["-i", str(self.pid_file)] if pid_file else []), *more]

    def run(self, argv, dev_log=None):
        """Run in fw; dev_log: a socket to be /dev/log for it, in a mount namespace of its own."""
        if dev_log:
            argv = ["unshare", "-m", "--propagation", "private", "/bin/sh", "-c",
                    'mount -t tmpfs -o mode=755 tmpfs /mnt && touch /mnt/log && for d in null zero urandom random; do touch /mnt/$d; mount --bind /dev/$d /mnt/$d; done; '
                    'mount --bind "$0" /mnt/log && mount --rbind /mnt /dev && exec "$@"', str(dev_log), *argv]
        return subprocess.run(self.lab.argv("fw", argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                              timeout=30, check=False)

    def smtpd(self, *more, dev_log=None):
        done = self.run(self.smtpd_argv(*more), dev_log)
        if done.returncode == 0:
            self.started.append(int(self.pid_file.read_text()))
        return done

    def talk(self):
        return Talk(self.lab.connect("inet", (self.lab.CLIENT4, 0), (self.lab.WAN4, 2590), timeout=20))

    def stop(self):
        for pid in self.started:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
            wait_until(lambda pid=pid: not is_alive(pid), f"pid {pid} to end", limit_s=40)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def seed(lab, tmp_path):
    made = Seed(lab, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def syslog(tmp_path):
    """A datagram socket as syslogd would bind it; lines() is what has come so far."""
    class Syslog:
        def __init__(self):
            self.path = tmp_path / "devlog"
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.sock.bind(str(self.path))
            self.path.chmod(0o666)
            self.sock.setblocking(False)
            self.seen = []

        def lines(self):
            try:
                while True:
                    self.seen.append(self.sock.recv(65536).decode())
            except BlockingIOError:
                return self.seen

        def wait(self, pattern):
            wait_until(lambda: any(re.search(pattern, line) for line in self.lines()), f"{pattern!r} in syslog")

    made = Syslog()
    yield made
    made.sock.close()


# ---- posternd

def test_the_external_checker_of_spammer_deterrent(seed):
    """Its command runs in the chroot, as the user of -u, with the words of its documentation."""
    make_jail(seed.chroot, "/bin/sh", "/bin/grep")
    command = seed.chroot / "bin" / "check"
    command.write_text('#!/bin/sh\necho "$@" >>/log/calls\ngrep -q worm $2 && exit 1\nexit 0\n')
    command.chmod(0o755)
    (seed.chroot / "log").mkdir()
    os.chown(seed.chroot / "log", SEED_UID, SEED_UID)
    seed.rules.write_text("allow-extchk:ALL:ALL:ALL\n")
    done = seed.smtpd("-x", "/bin/check")
    assert done.returncode == 0, done.stdout
    with seed.talk() as talk:
        talk.hello()
        assert talk.message(BODY).code == 250
        assert talk.message(b"Subject: a worm\r\n\r\n.\r\n", "a@sender.example", "b@protected.example", "c@protected.example").code == 552
    calls = (seed.chroot / "log" / "calls").read_text().splitlines()
    assert [re.sub("[0-9a-f]{16}", "N", call) for call in calls] == [
        f"-s /check/N/message -a {seed.lab.CLIENT4} -f <a@sender.example> -t 1 <b@protected.example>",
        f"-s /check/N/message -a {seed.lab.CLIENT4} -f <a@sender.example> -t 2 <b@protected.example> <c@protected.example>",
    ]
    assert (seed.chroot / "log" / "calls").stat().st_uid == SEED_UID
    assert (seed.chroot / "check").stat().st_uid == SEED_UID


def test_posternd_detaches_and_stores(seed):
    done = seed.smtpd()
    assert done.returncode == 0 and done.stdout == "", done.stdout
    pid = seed.started[0]
    # The one who typed it gets the prompt back when it is ready, not before.
    with seed.talk() as talk:
        assert talk.greeting.text.startswith("seed.example.net ESMTP")
        assert "SIZE 100000" in talk.hello().text
        talk.say("MAIL FROM:<a@sender.example>")
        assert talk.say("RCPT TO:<no@protected.example>").code == 550
        talk.say("RSET")
        message = journal.find(seed.spool, talk.message(BODY))
        assert message.sent == BODY and message.fields["LISTENER"] == "*"
        assert talk.message(b"x" * 70 + b"\r\n" + b"y\r\n" * 40000 + b".\r\n").code == 552
        # The session is the user's, in an empty chroot; the spool is the user's too.
        children = [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid == parent_of(p)]
        assert {uid_of(child) for child in children} == {SEED_UID, 65534}
        assert (seed.spool / "journal").stat().st_uid == SEED_UID
    # Detached: a session of its own, nothing of the caller's.
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1)} == {"/dev/null"}
    again = seed.run(seed.smtpd_argv())
    assert again.returncode == 1 and f"already running with pid {pid}" in again.stdout
    seed.stop()
    assert not seed.pid_file.exists()


def uid_of(pid):
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def parent_of(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def test_errors_of_the_start_reach_the_terminal(seed, lab):
    """Also those that come after it has detached would: the caller waits for the end of the start."""
    seed.rules.write_text("permit:ALL:ALL:ALL\nnonsense\n")
    done = seed.smtpd()
    assert done.returncode == 1 and f"{seed.rules}:1:1: error" in done.stdout and f"{seed.rules}:2:1: error" in done.stdout
    assert not re.search("^<[0-9]>", done.stdout, re.MULTILINE), "no syslog priorities on a terminal"
    seed.rules.unlink()
    done = seed.smtpd()
    assert done.returncode == 1 and done.stdout.count("\n") == 1 and str(seed.rules) in done.stdout
    seed.rules.write_text("allow:ALL:ALL:ALL\n")
    sock = lab.listen("fw", lab.WAN4, 2590)
    done = seed.smtpd()
    sock.close()
    assert done.returncode == 1 and done.stdout.count("\n") == 1 and "the port is taken" in done.stdout
    assert not seed.pid_file.exists()
    assert seed.smtpd().returncode == 0


def test_foreground(seed):
    proc = seed.lab.popen("fw", seed.smtpd_argv("-F"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seed.lab.wait_listening("fw", 2590, proc)
    wait_until(seed.pid_file.exists, "the pid file")
    with seed.talk() as talk:
        assert talk.greeting.code == 220
    assert int(seed.pid_file.read_text()) == proc.pid
    assert seed.lab.stop(proc, grace_s=40) == 0


def test_paranoid_by_its_letter(seed):
    """-P, here without a name server: what is suspicious in words needs none."""
    done = seed.smtpd("-P")
    assert done.returncode == 0, done.stdout
    with seed.talk() as talk:
        assert talk.say("EHLO `id`").code == 501 and talk.say("EHLO c.example").code == 250
        assert talk.say("MAIL FROM:<|/bin/sh@b.example>").code == 553


def test_reload_by_sighup(seed):
    assert seed.smtpd().returncode == 0
    with seed.talk() as talk:
        talk.hello()
        seed.rules.write_text("noto:ALL:ALL:ALL:553 5.7.1 new\n")
        os.kill(seed.started[0], signal.SIGHUP)
        talk.say("MAIL FROM:<a@b.example>")
        wait_until(lambda: talk.say("RCPT TO:<b@p.example>").code == 553, "the new rules")


def test_content_filter_beside_the_rules(seed, syslog):
    """As in Spammer Deterrent: a file that is not there refuses nothing; one that is there is read at the next reload."""
    seed.rules.write_text("allow-filter:ALL:ALL:ALL\n")
    assert seed.smtpd(dev_log=syslog.path).returncode == 0
    syslog.wait(r"^<20>.*allow-filter and there is no .*/etc/smtpd_filter_rules: everything passes")
    letter = b"From: hahaha@sexyfun.net\r\n\r\nsnow\r\n.\r\n"
    with seed.talk() as talk:
        talk.hello()
        assert talk.message(letter).code == 250
        (seed.chroot / "etc" / "smtpd_filter_rules").write_text("# ban the snowwhite virius\nFrom: hahaha@sexyfun.net\n")
        os.kill(seed.started[0], signal.SIGHUP)
        wait_until(lambda: talk.message(letter).code == 550, "the filter to be in force")
        syslog.wait(r"^<20>.*ev=message-refused .*content filter, rule 2")
        (seed.chroot / "etc" / "smtpd_filter_rules").unlink()
        os.kill(seed.started[0], signal.SIGHUP)
        wait_until(lambda: talk.message(letter).code == 250, "no filter to be in force")


def test_log_goes_to_syslog(seed, syslog):
    done = seed.smtpd(dev_log=syslog.path)
    assert done.returncode == 0, done.stdout
    with seed.talk() as talk:
        talk.hello()
        seed.rules.write_text("nonsense\n")
        os.kill(seed.started[0], signal.SIGHUP)
        syslog.wait(r"^<19>.*posternd.*reload-failed")
        for _ in range(100):
            talk.say("NOOP")
    # -q: warnings and worse only. mail.err is <19>, mail.warning <20>.
    assert all(re.match("<(19|20)>", line) for line in syslog.lines()), syslog.lines()
    # A logger that is killed comes again.
    logger = next(p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent_of(p) == seed.started[0] and uid_of(p) == 65534)
    os.kill(logger, signal.SIGKILL)
    count = sum("reload-failed" in line for line in syslog.lines())
    os.kill(seed.started[0], signal.SIGHUP)
    wait_until(lambda: sum("reload-failed" in line for line in syslog.lines()) > count, "a line by the new logger")


# ---- posternfwd


def test_both_deliver_by_a_mail_program(seed, tmp_path):
    out = tmp_path / "delivered"
    out.touch()
    out.chmod(0o666)
    program = tmp_path / "mailprog"
    program.write_text(MAILPROG.format(out=str(out)))
    program.chmod(0o755)
    assert seed.smtpd().returncode == 0
    pid_file = tmp_path / "smtpfwdd.pid"
    argv = [str(BUILD / "bin" / "posternfwd"), "-d", str(seed.spool), "-u", str(SEED_UID), "-g", str(SEED_UID), "-s", str(program), "-P", "1", "-i", str(pid_file)]
    done = seed.run(argv)
    assert done.returncode == 0 and done.stdout == "", done.stdout
    seed.started.append(int(pid_file.read_text()))
    assert uid_of(seed.started[-1]) == SEED_UID
    with seed.talk() as talk:
        talk.hello()
        assert talk.message(BODY, "a@sender.example", "b@protected.example", "c@protected.example").code == 250
        assert talk.message(BODY, "", "d@protected.example").code == 250
    wait_until(lambda: len(out.read_text().splitlines()) >= 2, "two deliveries")
    first, second = sorted(map(json.loads, out.read_text().splitlines()), key=lambda d: len(d["args"]), reverse=True)
    assert first["args"] == ["-f", "a@sender.example", "b@protected.example", "c@protected.example"] and first["uid"] == SEED_UID
    assert second["args"][-1] == "d@protected.example" and second["args"][0] == "-f"
    # What the program reads is the message with this host's line ends, dots as the client meant them.
    text = first["input"].encode("latin-1").replace(b"\r\n", b"\n")
    assert text.startswith(b"Received: from ") and text.endswith(b"\nSubject: test\n\n.dot\nHello.\n")
