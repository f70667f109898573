"""Checks on content beside everything else that happens to a message: sizes, broken data, pipelining, RSET, several messages in a session, clients that leave,
paranoid mode, and two kinds of checks at once."""

import os
import pathlib
import signal
import socket
import struct
import time

import pytest

import journal
from installation import Installation
from netlab import wait_until

CHECK_UID = 64985
RULES = ("allow-filter:ALL:ALL:*@filtered.example\n"
         "allow-extchk:ALL:ALL:*@checked.example\n"
         "allow-extchk|allow-filter:ALL:ALL:*@both.example\n"
         "noto:ALL:ALL:*@refused.example:550 no\n"
         "allow:ALL:ALL:*@free.example\n")
BAD = b"Subject: x\r\n\r\nbad\r\n.\r\n"
GOOD = b"Subject: x\r\n\r\ngood\r\n.\r\n"

DIVERTED = ("wan",)


@pytest.fixture
def make(lab, tmp_path):
    """A filter against "bad", decoded text "worse" and *.exe; a check command that says in the file runs that it ran and then does what the script says."""
    made = []

    def build(script="exit 0", **options):
        (tmp_path / "filter").write_text("bad\ndecode: worse\nattachment: \\.exe$\n")
        place, program = tmp_path / "place", tmp_path / "check"
        place.mkdir(mode=0o700)
        os.chown(place, CHECK_UID, CHECK_UID)
        (tmp_path / "out").mkdir()
        (tmp_path / "out").chmod(0o777)
        program.write_text(f"#!/bin/sh\nOUT={tmp_path}/out\necho $$ >>$OUT/runs\n{script}\n")
        program.chmod(0o755)
        options = {"workers": 1, "filter": tmp_path / "filter", "check-command": program, "check-user": CHECK_UID, "check-dir": place,
                   **{k.replace("_", "-"): v for k, v in options.items()}}
        post = Installation(lab, tmp_path, rules=RULES, options=options)
        made.append(post)
        post.start_daemon()
        return post

    yield build
    for post in made:
        post.__exit__()


def runs(post):
    """The process ids of the check commands that were started."""
    path = post.dir / "out" / "runs"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def counters(post):
    return post.status()["counters"]


def stored(post):
    return [message.sent for message in journal.messages(post.spool)]


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def reset(talk):
    """Leave without a word: the kernel sends RST."""
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.close()


# ---- sizes

def test_too_big_is_refused_before_any_check(make):
    post = make(max_size="64K")
    with post.talk() as talk:
        talk.hello()
        assert talk.say("MAIL FROM:<a@s.example> SIZE=70000").code == 552
        reply = talk.message(BAD[:-3] + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 1000 + b".\r\n", "a@s.example", "b@both.example")
        assert reply.code == 552 and reply.text.startswith("5.3.4"), reply
        # The session and the filter live on.
        assert talk.message(BAD, "a@s.example", "b@both.example").code == 550
        assert talk.message(GOOD, "a@s.example", "b@both.example").code == 250
    assert counters(post)["content_matches"] == 1 and len(runs(post)) == 1
    assert stored(post) == [GOOD]


def test_the_size_that_just_fits_is_checked(make):
    post = make(max_size="64K")
    body = (b"y" * 62 + b"\r\n") * 1023
    for end, code in ((b"x" * 58 + b"good\r\n", 250), (b"x" * 58 + b" bad\r\n", 550)):
        message = body + end
        assert len(message) == 65536
        with post.talk() as talk:
            talk.hello()
            assert talk.message(message + b".\r\n", "a@s.example", "b@filtered.example").code == code
            assert talk.message(b"z" + message + b".\r\n", "a@s.example", "b@filtered.example").code == 552


@pytest.mark.parametrize("size", [100, 400_000], ids=["small", "large"])
def test_a_refused_message_leaves_nothing(make, size):
    """Bodies in memory and in files of their own."""
    post = make("exit 1", max_size="1M")
    filler = (b"y" * 70 + b"\r\n") * (size // 72)
    with post.talk() as talk:
        talk.hello()
        for to in ("b@filtered.example", "b@checked.example", "b@both.example"):
            assert talk.message(filler + BAD, "a@s.example", to).code in (550, 552)
        assert talk.message(filler + GOOD, "a@s.example", "b@filtered.example").code == 250
    assert stored(post) == [filler + GOOD]
    assert counters(post)["transactions"] == 0
    wait_until(lambda: not list((post.dir / "place").iterdir()), "no file left of a check")


# ---- broken data

def test_broken_data_is_refused_for_what_it_is(make):
    post = make()
    with post.talk() as talk:
        talk.hello()
        for broken in (b"bad\r\nx\ny\r\n.\r\n", b"bad\r\nx\0y\r\n.\r\n", b"x\ry bad\r\n.\r\n"):
            reply = talk.message(broken, "a@s.example", "b@both.example")
            assert 500 <= reply.code < 600 and not reply.text.startswith("5.7.1"), reply
    assert counters(post)["content_matches"] == 0 and not runs(post)


def test_normalized_line_ends_are_what_is_checked(make):
    """A bare LF ends a line for the filter too; a lone dot behind one hides nothing."""
    post = make(bare_lf="normalize")
    with post.talk() as talk:
        talk.hello()
        assert talk.message(b"Subject: x\n\nfine\n.\nbad\r\n.\r\n", "a@s.example", "b@filtered.example").code == 550
        assert talk.message(b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b; name=x.exe\n\n\r\n.\r\n", "a@s.example",
                            "b@filtered.example").code == 550
    assert counters(post)["content_matches"] == 2


def test_paranoid_mode_speaks_first(make):
    post = make(paranoid="yes", on_unknown="skip", resolver="192.0.2.11:5399", dns_deadline="1s")
    with post.talk() as talk:
        talk.hello()
        reply = talk.message(b"Subject: bad \x1b\r\n\r\nbad\r\n.\r\n", "a@s.example", "b@both.example")
        assert reply.code == 554 and reply.text.startswith("5.6.0"), reply
        assert counters(post)["content_matches"] == 0 and not runs(post)
        assert talk.message(BAD, "a@s.example", "b@both.example").code == 550
        assert talk.message(GOOD, "a@s.example", "b@both.example").code == 250


# ---- several messages in a session

def test_each_message_is_judged_for_its_own_recipients(make):
    post = make("exit 1")
    with post.talk() as talk:
        talk.hello()
        for to, message, code in (("filtered", BAD, 550), ("free", BAD, 250), ("filtered", GOOD, 250), ("checked", GOOD, 552), ("free", BAD, 250),
                                  ("filtered", BAD, 550)):
            assert talk.message(message, "a@s.example", f"b@{to}.example").code == code, to
    assert stored(post) == [BAD, GOOD, BAD] and len(runs(post)) == 1


def test_a_recipient_that_was_refused_asks_for_nothing(make):
    post = make("exit 1")
    with post.talk() as talk:
        talk.hello()
        assert talk.say("MAIL FROM:<a@s.example>").code == 250
        assert [talk.say(f"RCPT TO:<b@{to}.example>").code for to in ("refused", "free")] == [550, 250]
        assert talk.say("DATA").code == 354
        talk.send(BAD)
        assert talk.reply().code == 250
    assert not runs(post)


@pytest.mark.parametrize("command", ["RSET", "EHLO again.example"])
def test_a_transaction_that_was_reset_asks_for_nothing(make, command):
    post = make("exit 1")
    with post.talk() as talk:
        talk.hello()
        for _ in range(2):
            assert talk.say("MAIL FROM:<a@s.example>").code == 250
            assert talk.say("RCPT TO:<b@both.example>").code == 250
            assert talk.say(command).code == 250
            assert talk.message(BAD, "a@s.example", "b@free.example").code == 250
            assert talk.message(BAD, "a@s.example", "b@both.example").code == 550
    assert stored(post) == [BAD, BAD] and not runs(post)


def test_two_checks_at_once(make):
    """The filter decides first; what it refuses costs no command."""
    post = make("grep -q virus $2 && exit 1; exit 0")
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BAD, "a@s.example", "b@both.example").code == 550
        assert talk.message(BAD, "a@s.example", "b@filtered.example", "c@checked.example").code == 550
        assert not runs(post)
        assert talk.message(b"Subject: x\r\n\r\na virus\r\n.\r\n", "a@s.example", "b@filtered.example", "c@checked.example").code == 552
        assert talk.message(GOOD, "a@s.example", "b@filtered.example", "c@checked.example").code == 250
    assert len(runs(post)) == 2 and stored(post) == [GOOD]


# ---- pipelining (RFC 2920)

def pipelined(to):
    return f"MAIL FROM:<a@s.example>\r\nRCPT TO:<b@{to}.example>\r\nDATA\r\n".encode()


def test_pipelined_messages(make):
    """Each message with the next one's envelope behind it in one piece: the verdicts are not mixed up, the replies stay in order."""
    post = make("grep -q bad $2 && exit 1; exit 0")
    turns = [("filtered", BAD, 550), ("checked", GOOD, 250), ("filtered", GOOD, 250), ("checked", BAD, 552), ("free", BAD, 250), ("both", GOOD, 250)]
    with post.talk() as talk:
        talk.hello()
        talk.send(pipelined(turns[0][0]))
        for i, (_, message, code) in enumerate(turns):
            assert [talk.reply().code for _ in range(3)] == [250, 250, 354]
            talk.send(message + (pipelined(turns[i + 1][0]) if i + 1 < len(turns) else b"NOOP\r\nQUIT\r\n"))
            assert talk.reply().code == code, i
        assert [talk.reply().code, talk.reply().code] == [250, 221]
    assert stored(post) == [GOOD, GOOD, BAD, GOOD]


def test_commands_behind_a_message_wait_for_its_check(make):
    post = make("while [ ! -e $OUT/go ]; do sleep 0.05; done")
    with post.talk() as talk, post.talk() as other:
        talk.hello()
        talk.envelope("a@s.example", "b@checked.example")
        talk.send(GOOD + b"RSET\r\nNOOP\r\nVRFY x\r\n" + pipelined("free"))
        wait_until(lambda: runs(post), "the command to run")
        # Nobody else waits.
        other.hello()
        assert other.message(BAD, "a@s.example", "b@filtered.example").code == 550
        assert other.message(GOOD, "a@s.example", "b@free.example").code == 250
        talk.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            talk.sock.recv(1)
        talk.sock.setblocking(True)
        (post.dir / "out" / "go").touch()
        assert [talk.reply().code for _ in range(3)] == [250, 250, 250]
        assert talk.reply().code in (252, 502)
        assert [talk.reply().code for _ in range(3)] == [250, 250, 354]
        talk.send(BAD)
        assert talk.reply().code == 250


def test_byte_by_byte(make):
    """The slowest way in: the verdict is the same."""
    post = make()
    wire = (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nd29y\r\nc2U=\r\n--b--\r\n.\r\n',
            b'Content-Disposition: attachment;\r\n\tfilename*0="x.e"; filename*1=xe\r\n\r\n..\r\n.\r\n')
    with post.talk() as talk:
        talk.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk.hello()
        for message in wire:
            talk.envelope("a@s.example", "b@filtered.example")
            for i in range(len(message)):
                talk.send(message[i:i + 1])
            assert talk.reply().code == 550
    assert counters(post)["content_matches"] == 2


# ---- clients that leave

def test_a_client_that_leaves_in_the_middle_of_data(make):
    post = make()
    for leave in (lambda talk: talk.close(), reset):
        for _ in range(5):
            talk = post.talk()
            talk.hello()
            talk.envelope("a@s.example", "b@both.example")
            talk.send(BAD[:-3] + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n")
            leave(talk)
    wait_until(lambda: counters(post)["transactions"] == 0, "the transactions to end")
    assert counters(post)["content_matches"] == 0 and not runs(post) and not stored(post)
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BAD, "a@s.example", "b@both.example").code == 550
        assert talk.message(GOOD, "a@s.example", "b@both.example").code == 250


@pytest.mark.parametrize("leave", [reset, lambda talk: talk.close()], ids=["reset", "close"])
def test_a_client_that_leaves_during_a_check(make, leave):
    """It never hears a 250: the message is at most one that was accepted and not acknowledged, and the worker goes on.  Nothing of the check is left."""
    post = make("while [ ! -e $OUT/go ]; do sleep 0.05; done", check_timeout=100)
    talk = post.talk()
    talk.hello()
    talk.envelope("a@s.example", "b@checked.example")
    talk.send(GOOD)
    wait_until(lambda: runs(post), "the command to run")
    leave(talk)
    with post.talk() as other:
        other.hello()
        assert other.message(BAD, "a@s.example", "b@filtered.example").code == 550
        assert other.message(BAD, "a@s.example", "b@free.example").code == 250
    (post.dir / "out" / "go").touch()
    pid = runs(post)[0]
    wait_until(lambda: not is_alive(pid), "the command to end")
    wait_until(lambda: not list((post.dir / "place").iterdir()), "no file left of a check")
    wait_until(lambda: counters(post)["transactions"] == 0, "the transaction to end")
    assert sorted(stored(post)) in ([BAD], [BAD, GOOD])
    assert int(post.status()["checker"]["restarts"]) == 0
    with post.talk() as talk:
        talk.hello()
        assert talk.message(GOOD, "a@s.example", "b@both.example").code == 250


def test_a_verdict_and_a_reset_in_one_turn(make):
    """The worker hears both at once: a session that is closed by then stores nothing any more."""
    post = make("while [ ! -e $OUT/go ]; do sleep 0.05; done", check_timeout=100, log_level="debug")
    with post.talk() as talk:
        talk.hello()
        talk.envelope("a@s.example", "b@checked.example")
        talk.send(GOOD)
        wait_until(lambda: runs(post), "the command to run")
        worker = post.worker_pids()[0]
        os.kill(worker, signal.SIGSTOP)
        try:
            (post.dir / "out" / "go").touch()
            wait_until(lambda: not is_alive(runs(post)[0]), "the command to end")
            wait_until(lambda: not list((post.dir / "place").iterdir()), "the checker to answer")
            time.sleep(0.5)
            reset(talk)
        finally:
            os.kill(worker, signal.SIGCONT)
    post.wait_log("ev=disconnect .*state=checking")
    wait_until(lambda: counters(post)["transactions"] == 0, "the transaction to end")
    assert "from=dead" not in post.log() and not stored(post)
