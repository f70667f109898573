"""What must not bring the daemons down, let them hang, or give a role more than it needs."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import journal
from installation import BUILD, FORWARD_UID, Installation
from netlab import wait_until
from test_seed_command_lines import Seed, syslog  # noqa: F401 (a fixture)

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"

DIVERTED = ("wan",)


@pytest.fixture
def make(lab, tmp_path):
    made = []

    def build(**options):
        post = Installation(lab, tmp_path, options={k.replace("_", "-"): v for k, v in options.items()})
        made.append(post)
        return post

    yield build
    for post in made:
        post.__exit__()


def fields_of(pid):
    """Of /proc/PID/stat, from the state on: [1] is the parent, [3] the session."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def is_alive(pid):
    try:
        return fields_of(pid)[0] != "Z"
    except OSError:
        return False


def children_of(pid, name=None):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(fields_of(entry)[1]) == pid and name in (None, pathlib.Path(f"/proc/{entry}/comm").read_text().strip()):
                found.append(int(entry))
        except OSError:
            pass
    return found


def wait_restart(post, old):
    wait_until(lambda: post.workers_by_log()[0] != old, "worker 0 to run again")


# ---- the log


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_log_that_nobody_reads_stops_nobody(make, lab, kind):
    post = make(workers=1, log_level="debug")
    unread, ours = os.pipe() if kind == "pipe" else os.openpty()
    post.daemon = lab.popen("fw", [str(BUILD / "bin" / "posternd"), "-f", str(post.conf_path)], stdout=subprocess.DEVNULL, stderr=ours,
                            stdin=subprocess.DEVNULL)
    blocking = os.get_blocking(ours)
    wait_until(lambda: post.postern("status", check=False).returncode == 0, "posternd to be ready")
    for _ in range(400):
        with post.talk(timeout=5) as talk:
            assert talk.greeting.code == 220
            talk.hello()
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BODY).code == 250
    wait_until(lambda: counters(post)["log_lines_lost"] > 0, "lost lines to be counted")
    assert os.get_blocking(ours) is blocking is True
    assert post.stop(post.daemon) == 0
    os.close(unread)
    os.close(ours)


def counters(post):
    return post.status()["counters"]


def test_logger_comes_again(lab, tmp_path, syslog):  # noqa: F811
    seed = Seed(lab, tmp_path)
    try:
        done = seed.smtpd("-q", dev_log=syslog.path)
        assert done.returncode == 0, done.stdout
        master = seed.started[0]
        for depth in ("the child", "both"):
            wait_until(lambda: [c for w in children_of(master, "postern-logger") for c in children_of(w, "postern-logger")], "the logger")
            watcher, = children_of(master, "postern-logger")
            worker, = children_of(watcher, "postern-logger")
            os.kill(worker if depth == "the child" else watcher, signal.SIGKILL)
            if depth == "both":
                wait_until(lambda old=worker: not is_alive(old), "the child to go with its parent")
            # What is said while there is no logger may be lost.
            wait_until(lambda old=worker: [c for w in children_of(master, "postern-logger") for c in children_of(w, "postern-logger") if c != old],
                       "another logger")
            before = len(syslog.lines())
            # A broken rule file is worth an error.
            seed.rules.write_text("nonsense\n")
            os.kill(master, signal.SIGHUP)
            wait_until(lambda at=before: any("reload-failed" in line for line in syslog.lines()[at:]), "the log after a death")
    finally:
        seed.stop()


def test_a_name_that_is_no_name_is_warned_of(make):
    post = make(workers=1, hostname="gate")
    post.start()
    for program in ("posternd", "posternfwd"):
        assert re.search(r"warn: ev=hostname msg=\"our name is 'gate'", post.log(program)), post.log(program)


# ---- what roles hold


def test_roles_have_no_terminal_and_no_output(make):
    post = make(workers=2)
    post.start()
    roles = [*children_of(post.daemon.pid), *children_of(post.forwarder.pid)]
    assert len(roles) == 4  # two workers, the gate; the sockets of posternfwd
    for pid in roles:
        assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1)] == ["/dev/null"] * 2
        assert int(fields_of(pid)[3]) == pid


def test_chroot_does_not_follow_names(make, tmp_path):
    """The forwarder's user may own the spool (smtpfwdd's did): what it puts in the place of empty/ is not entered."""
    post = make(workers=1)
    post.spool.mkdir(mode=0o711)
    os.chown(post.spool, FORWARD_UID, FORWARD_UID)
    trap = tmp_path / "trap"
    trap.mkdir()
    post.start_daemon()
    old = post.workers_by_log()[0]
    inode = os.stat(f"/proc/{old}/root").st_ino
    (post.spool / "empty").rename(post.spool / "away")
    (post.spool / "empty").symlink_to(trap)
    os.kill(old, signal.SIGKILL)
    wait_restart(post, old)
    assert os.stat(f"/proc/{post.workers_by_log()[0]}/root").st_ino == inode
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BODY).code == 250
    post.stop(post.daemon)
    assert post.run("posternd", "-f", post.conf_path).returncode == 1
    assert post.run("posternfwd", "-f", post.conf_path).returncode == 1


# ---- starting, ending


def test_end_while_a_segment_is_made(make):
    post = make(workers=1, segment_size="1M")
    # The first is made before the worker runs; the next when that one is full.
    post.start_daemon(env={"POSTERN_FAULT": "segment-create:delay=5000@2"})
    with post.talk() as talk:
        talk.hello()
        talk.sock.settimeout(1.5)
        with pytest.raises(TimeoutError):
            for _ in range(60):
                assert talk.message(b"x" * 70 + b"\r\n" + b"y" * 70 + b"\r\n" + (b"z" * 70 + b"\r\n") * 700 + b".\r\n").code == 250
        os.kill(post.daemon.pid, signal.SIGQUIT)
        assert post.daemon.wait(20) == 0
    assert not (post.dir / "posternd.pid").exists() and not (post.spool / "ctl.sock").exists()


def test_reload_during_the_start(make, lab):
    post = make(workers=1)
    with open(post.dir / "posternd.log", "ab") as log:
        post.daemon = lab.popen("fw", [str(BUILD / "bin" / "posternd"), "-f", str(post.conf_path)], stdout=log, stderr=log,
                                stdin=subprocess.DEVNULL, env=dict(os.environ, POSTERN_FAULT="segment-create:delay=1000@1"))
    wait_until(post.spool.exists, "the start to have begun")
    os.kill(post.daemon.pid, signal.SIGHUP)
    assert "ev=ready" not in post.log()
    post.wait_log("ev=ready")
    post.wait_log("ev=reloaded")
    assert post.daemon.poll() is None


def test_asked_twice_it_still_drains(make):
    post = make(workers=1, drain_timeout="20s")
    post.start_daemon()
    with post.talk() as busy:
        busy.hello()
        busy.envelope()
        os.kill(post.daemon.pid, signal.SIGTERM)
        post.wait_log("ev=stopping")
        os.kill(post.daemon.pid, signal.SIGTERM)
        post.wait_log("ev=stopping msg=\"already")
        busy.send(BODY)
        assert busy.reply().code == 250
    assert post.daemon.wait(20) == 0
    assert len(journal.messages(post.spool)) == 1


@pytest.mark.parametrize("is_draining", [False, True])
def test_quit_ends_at_once(make, is_draining):
    post = make(workers=1, drain_timeout="60s")
    post.start_daemon()
    with post.talk() as busy:
        busy.hello()
        busy.envelope()
        if is_draining:
            os.kill(post.daemon.pid, signal.SIGTERM)
            post.wait_log("ev=stopping")
        os.kill(post.daemon.pid, signal.SIGQUIT)
        assert post.daemon.wait(5) == 0
    assert not (post.dir / "posternd.pid").exists() and not (post.spool / "ctl.sock").exists()


# ---- workers


def test_counters_outlive_a_worker(make):
    post = make(workers=1)
    post.start_daemon()
    with post.talk() as talk:
        talk.hello()
        for _ in range(5):
            assert talk.message(BODY).code == 250
    wait_until(lambda: counters(post)["spool_syncs"] >= 5, "the syncs to be counted")
    before = counters(post)["spool_syncs"]
    old = post.workers_by_log()[0]
    os.kill(old, signal.SIGKILL)
    wait_restart(post, old)
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BODY).code == 250
    wait_until(lambda: counters(post)["spool_syncs"] > before, "the next sync to be counted on top")


def test_status_of_many_workers(make):
    post = make(workers=64)
    post.start_daemon()
    found = post.status()
    assert len(found["workers"]) == 64 and found["counters"] and found["spool"]


@pytest.mark.long
def test_a_worker_that_stands_still_is_ended(make):
    post = make(workers=2)
    post.start_daemon()
    pids = post.workers_by_log()
    os.kill(pids[0], signal.SIGSTOP)
    time.sleep(30)
    assert is_alive(pids[0]) and "worker-stuck" not in post.log()
    post.wait_log("ev=worker-stuck msg=\"worker 0", limit_s=60)
    wait_restart(post, pids[0])
    assert post.workers_by_log()[1] == pids[1]
