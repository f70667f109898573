"""The processes of posternd: their rights, their deaths, stopping and reloading."""

import os
import pathlib
import re
import signal

import pytest

import journal
from installation import BUILD, SESSION_UID, Installation
from netlab import wait_until

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"
IS_SANITIZED = "san" in BUILD.name

DIVERTED = ("wan",)


@pytest.fixture
def make(lab, tmp_path):
    """make(rules, listen=…, **options): an installation that is not started yet; all share one directory and so one spool."""
    made = []

    def build(rules="allow:ALL:ALL:ALL\n", listen=None, **options):
        post = Installation(lab, tmp_path, rules=rules, listen=listen, options={k.replace("_", "-"): v for k, v in options.items()})
        made.append(post)
        return post

    yield build
    for post in made:
        post.__exit__()


@pytest.fixture
def post(make):
    made = make(workers=2, drain_timeout="20s", log_level="debug")
    made.start_daemon()
    return made


def status_of(pid):
    fields = {}
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        fields[key] = value.split()
    return fields


def is_alive(pid):
    try:
        return status_of(pid)["State"][0] != "Z"
    except OSError:
        return False


def worker_of(post, source):
    """The worker that serves this client: it logs the connection."""
    before = len(post.log())
    with post.talk(source):
        found = []

        def logged():
            found[:] = re.findall(rf"posternd/(\d+)\[\d+\] info: sid=\S+ ev=connect client=\[?{re.escape(source)}\]?:", post.log()[before:])
            return found
        wait_until(logged, f"the connection of {source}")
    return int(found[0])


def sources_of_both(post):
    """{worker: an address whose connections it serves}."""
    found = {}
    for source in post.lab.CLIENTS4 + (post.lab.SPAMMER4,) + post.lab.CLIENTS6 + (post.lab.SPAMMER6, post.lab.FAR_CLIENT4):
        found.setdefault(worker_of(post, source), source)
    assert sorted(found) == [0, 1], "no two addresses with different workers"
    return found


# ---- rights


def test_rights_of_session_workers(post):
    with post.talk() as talk, post.talk(post.lab.CLIENT6) as other:
        # Every kind of descriptor is in use: sessions, a segment, a large body.
        talk.hello()
        assert talk.message(b"x" * 70 + b"\r\n" + b"y\r\n" * 100000 + b".\r\n").code == 250
        other.hello()
        other.envelope()
        other.send(b"y\r\n" * 150000)
        for pid in post.workers_by_log().values():
            fields = status_of(pid)
            assert fields["Uid"] == [str(SESSION_UID)] * 4 and fields["Gid"] == [str(SESSION_UID)] * 4 and fields["Groups"] == []
            for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(fields[caps][0], 16) == 0, caps
            assert fields["NoNewPrivs"] == ["1"]
            assert IS_SANITIZED or fields["Seccomp"] == ["2"]
            root = pathlib.Path(f"/proc/{pid}/root")
            assert os.readlink(root) == str(post.spool / "empty") and list((post.spool / "empty").iterdir()) == []
            assert os.readlink(f"/proc/{pid}/cwd") == str(post.spool / "empty")
            assert (post.spool / "empty").stat().st_uid == 0 and (post.spool / "empty").stat().st_mode & 0o777 == 0o555
            for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(fd)
                flags = int(re.search(r"flags:\s+(\d+)", (fd.parent.parent / "fdinfo" / fd.name).read_text())[1], 8)
                if target.startswith(str(post.spool / "journal")):
                    assert flags & os.O_ACCMODE == os.O_WRONLY, (target, oct(flags))
                elif target.startswith(str(post.spool / "large")):
                    assert flags & os.O_ACCMODE == os.O_RDWR, (target, oct(flags))  # of its own sessions: checks read them again
                else:
                    assert re.match(r"(socket|pipe):|/memfd:|anon_inode:|/dev/null$", target) or target == str(post.dir / "posternd.log"), target
            assert "\n" not in pathlib.Path(f"/proc/{pid}/environ").read_text()


def test_master_keeps_root_and_no_client(post):
    with post.talk() as talk:
        talk.hello()
        pid = int((post.dir / "posternd.pid").read_text())
        assert pid == post.daemon.pid and status_of(pid)["Uid"][0] == "0"
        inodes = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
        port = talk.sock.getsockname()[1]
        found = post.lab.exec("fw", "ss", "-Htnpe", "dport", "=", f":{port}").stdout
        ino = re.search(r"ino:(\d+)", found)
        assert ino and f"socket:[{ino[1]}]" not in inodes and f"pid={pid}," not in found, found


def test_same_client_same_worker(post):
    for source in (post.lab.CLIENT4, post.lab.SPAMMER4, post.lab.CLIENT6):
        assert len({worker_of(post, source) for _ in range(6)}) == 1
    sources_of_both(post)


# ---- deaths


def test_killed_worker(post):
    """Its sessions end, others live on; its listener keeps accepting; what was answered 250 is there; it comes again, with back-off."""
    sources = sources_of_both(post)
    with post.talk(sources[0]) as victim, post.talk(sources[1]) as other:
        victim.hello()
        kept = victim.message(BODY)
        other.hello()
        other.envelope()
        victim.envelope()
        victim.send(b"Subject: half")
        old = post.workers_by_log()
        os.kill(old[0], signal.SIGKILL)
        with post.talk(sources[0]) as waiting:
            waiting.hello()
            again = waiting.message(BODY)
        try:
            assert victim.line() == b""
        except ConnectionResetError:
            pass
        other.send(BODY)
        others = other.reply()
        new = post.workers_by_log()
        assert new[0] != old[0] and new[1] == old[1]
    ids = [message.id for message in journal.messages(post.spool)]
    assert sorted(ids) == sorted(journal.stored_id(reply) for reply in (kept, again, others))
    assert re.search(r"ev=worker-died worker=0 .*signal=Killed .*sessions_lost=1 restart_ms=200", post.log())
    for _ in range(2):
        pid = post.workers_by_log()[0]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: post.workers_by_log()[0] != pid, "worker 0 to run again")
    assert re.findall(r"ev=worker-died .*restart_ms=(\d+)", post.log()) == ["200", "400", "800"]


def test_killed_master(make):
    """The workers finish what is under way and end; a new master can start at once."""
    post = make(workers=2)
    post.start_daemon()
    with post.talk() as busy, post.talk() as idle:
        idle.hello()
        busy.hello()
        busy.envelope()
        workers = post.workers_by_log().values()
        os.kill(post.daemon.pid, signal.SIGKILL)
        post.daemon.wait()
        assert idle.reply().code == 421 and idle.is_closed()
        second = make(workers=2)
        second.start_daemon()
        with second.talk(post.lab.CLIENT6) as fresh:
            fresh.hello()
            assert fresh.message(BODY).code == 250
        busy.send(BODY)
        assert busy.reply().code == 250
        assert busy.reply().code == 421 and busy.is_closed()
    wait_until(lambda: not any(map(is_alive, workers)), "the old workers to end")
    assert len(journal.messages(post.spool)) == 2


# ---- stopping


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_drain(post, stop):
    fresh, idle, busy, half = post.talk(), post.talk(post.lab.CLIENT6), post.talk(), post.talk(post.lab.CLIENT6)
    for talk in (idle, busy, half):
        talk.hello()
    busy.envelope()
    busy.send(b"Subject: under way\r\n")
    half.say("MAIL FROM:<a@b.example>")
    os.kill(post.daemon.pid, stop)
    for talk in (fresh, idle):
        reply = talk.reply()
        assert reply.code == 421 and reply.text.startswith("4.3.2 ") and talk.is_closed()
    with pytest.raises(OSError):
        post.talk(timeout=3).close()
    busy.send(b"\r\ntext\r\n.\r\n")
    assert busy.reply().code == 250
    assert busy.reply().code == 421 and busy.is_closed()
    assert half.say("RCPT TO:<b@p.example>").code == 250 and half.say("DATA").code == 354
    half.send(BODY + b"MAIL FROM:<a@b.example>\r\n")
    assert half.reply().code == 250
    assert half.reply().code == 421 and half.is_closed()
    assert post.daemon.wait(20) == 0
    assert not (post.dir / "posternd.pid").exists() and not (post.spool / "ctl.sock").exists()
    assert len(journal.messages(post.spool)) == 2
    for talk in (fresh, idle, busy, half):
        talk.close()


def test_drain_is_bounded(make):
    post = make(drain_timeout="1s")
    post.start_daemon()
    with post.talk() as busy:
        busy.hello()
        busy.envelope()
        os.kill(post.daemon.pid, signal.SIGTERM)
        assert post.daemon.wait(20) == 0
        assert "drain-overdue" in post.log()
        try:
            assert busy.line() == b""
        except ConnectionResetError:
            pass
    assert journal.messages(post.spool) == []


# ---- reload


def reload(post, word="reloaded"):
    before = post.log().count(f"ev={word}")
    os.kill(post.daemon.pid, signal.SIGHUP)
    wait_until(lambda: post.log().count(f"ev={word}") > before, f"ev={word}")


def test_reload_of_rules(post):
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        assert talk.say("RCPT TO:<one@p.example>").code == 250
        post.rules_path.write_text("noto:ALL:ALL:two@ALL:550 5.7.1 new rules\nallow:ALL:ALL:ALL\n")
        reload(post)
        assert talk.say("RCPT TO:<two@p.example>") == (550, "5.7.1 new rules")
        assert talk.say("RCPT TO:<three@p.example>").code == 250
        assert talk.say("DATA").code == 354
        talk.send(BODY)
        assert journal.find(post.spool, talk.reply()).paths == ["one@p.example", "three@p.example"]

        # A broken file changes nothing, and every error is in the log.
        post.rules_path.write_text("permit:ALL:ALL:ALL\nallow:ALL:ALL:ALL\nnoto:10.0.0.0/40:ALL:ALL\nnonsense\n")
        reload(post, "reload-failed")
        for place in ("1:1", "3:6", "4:1"):
            assert f"{post.rules_path}:{place}: error" in post.log(), place
        talk.say("MAIL FROM:<a@b.example>")
        assert talk.say("RCPT TO:<two@p.example>") == (550, "5.7.1 new rules")

        post.rules_path.unlink()
        reload(post, "reload-failed")
        assert talk.say("RCPT TO:<three@p.example>").code == 250
    assert "worker-died" not in post.log()


def test_reload_of_configuration(post):
    with post.talk() as talk:
        talk.hello()
        assert "SIZE 52428800" in talk.hello().text
        post.options["max-size"] = "1M"
        post.write_conf()
        reload(post)
        assert "SIZE 1048576" in talk.hello().text

        for key, value in (("port", "2626"), ("mode", "tproxy")):
            post.listen = {key: value}
            post.write_conf()
            reload(post, "reload-failed")
            assert re.search(r"ev=reload-failed .*listen.*restart", post.log())
        post.listen = {}
        post.options["max-size"] = "1"
        post.write_conf()
        reload(post, "reload-failed")
        assert re.search(rf"{post.conf_path}:\d+: max-size", post.log())
        assert "SIZE 1048576" in talk.hello().text
        # A worker that starts later gets what is in force, not what is in the file.
        pid = post.workers_by_log()[0]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: post.workers_by_log()[0] != pid, "worker 0 to run again")
        for source in post.lab.CLIENTS4:
            with post.talk(source) as fresh:
                assert "SIZE 1048576" in fresh.hello().text


def test_no_session_ends_by_many_reloads(post):
    with post.talk() as talk:
        talk.hello()
        for _ in range(20):
            os.kill(post.daemon.pid, signal.SIGHUP)
            assert talk.message(BODY).code == 250
    assert len(journal.messages(post.spool)) == 20
