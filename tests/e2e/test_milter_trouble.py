"""Milters that are absent, silent, break off or talk nonsense: whatever fails counts as milter-fail says."""

import os
import pathlib
import re
import shutil
import struct
import tempfile
import time

import pytest

from installation import Recorder, without_received
from milter_peers import MESSAGE, Filter, RawFilter, header_lines, packet, postern, send
from netlab import wait_until


@pytest.fixture(scope="module")
def room():
    path = tempfile.mkdtemp(prefix="ptest-mtrouble-")
    os.chmod(path, 0o711)
    yield pathlib.Path(path)
    if not os.environ.get("POSTERN_TEST_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("stage", ["connect", "envfrom", "envrcpt", "data", "header", "body", "eom"])
def test_filter_killed_in_the_middle(lab, room, stage):
    """Whatever it had said before: nothing of a filter that broke off counts."""
    with Filter(lab, room, "mortal") as mortal:
        with postern(lab, room, f"{mortal.address} name=mortal") as post, Recorder(lab, lab.MTA4) as mta:
            mortal.does(**{stage: "die"}, edits=[["addheader", "X-Half", "1"]])
            replies, reply = send(post)
            assert (replies[0].code if stage in ("connect", "envfrom", "envrcpt") else reply.code) == 451, (replies, reply)
            post.wait_log(r"milter=mortal did=failed .*why=closed")
            assert not mta.messages()
            mortal.stop()
            mortal.does()
            mortal.start()
            assert send(post)[1].code == 250
            assert without_received(mta.wait_messages(1)[0]["wire"]) == MESSAGE


@pytest.mark.parametrize("fail,code", [("tempfail", 451), ("reject", 550), ("accept", 250)])
def test_filter_absent(lab, room, fail, code):
    """milter-fail for all, and fail= for one; by unix socket and by TCP."""
    for address in (f"unix:{room}/nobody.sock", "inet:127.0.0.1:8999"):
        with postern(lab, room, f"{address} name=nobody", **{"milter-fail": fail}) as post, Recorder(lab, lab.MTA4) as mta:
            replies, reply = send(post)
            assert replies[0].code == code, replies
            if code == 250:
                assert reply.code == 250 and without_received(mta.wait_messages(1)[0]["wire"]) == MESSAGE
            post.wait_log(rf"milter=nobody did=failed stage=connection .*fail={fail}")
            [status] = post.status()["milters"]
            assert int(status["failures"]) == 1 and status["last_error"], status


def test_fail_of_one_filter_alone(lab, room):
    with Filter(lab, room, "there") as there:
        there.does(edits=[["addheader", "X-There", "1"]])
        with postern(lab, room, f"unix:{room}/nobody.sock fail=accept, {there.address}") as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post)[1].code == 250
            assert header_lines(mta.wait_messages(1)[0])[-1] == b"X-There: 1"


@pytest.mark.parametrize("stage,option", [("connect", "command"), ("envrcpt", "command"), ("data", "command"), ("body", "command"),
                                          ("eom", "content")])
def test_silent_filter(lab, room, stage, option):
    with Filter(lab, room, "slow") as slow:
        with postern(lab, room, slow.address + " name=slow", **{f"milter-{option}-timeout": "1s"}) as post:
            slow.does(**{stage: "sleep 4"})
            replies, reply = send(post)
            assert (replies[0].code if stage in ("connect", "envrcpt") else reply.code) == 451
            post.wait_log(rf"milter=slow did=failed stage={'end' if stage == 'eom' else 'rcpt' if stage == 'envrcpt' else stage} .*why=time-out")


def test_progress_extends_and_the_deadline_ends_it(lab, room):
    with Filter(lab, room, "busy") as busy:
        times = {"milter-content-timeout": "2s", "milter-deadline": "6s"}
        with postern(lab, room, busy.address + " name=busy", **times) as post, Recorder(lab, lab.MTA4) as mta:
            busy.does(edits=[["progress", 3, 1.0]])
            assert send(post)[1].code == 250
            assert len(mta.wait_messages(1)) == 1
            busy.does(edits=[["progress", 12, 1.0]])
            assert send(post)[1].code == 451
            post.wait_log(r"milter=busy did=failed stage=deadline .*why=time-out")


def test_connection_that_never_stands(lab, room):
    """A host that does not answer: the connection is given up after its time, not the system's."""
    with postern(lab, room, f"inet:{lab.MTA4}:8890 name=hole connect-timeout=1s") as post:
        lab.exec("mta", "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "8890", "-j", "DROP")
        try:
            assert send(post)[0][0].code == 451
            post.wait_log(r"milter=hole did=failed stage=connection .*why=time-out")
        finally:
            lab.exec("mta", "iptables", "-D", "INPUT", "-p", "tcp", "--dport", "8890", "-j", "DROP")


def test_a_silent_filter_is_left_alone_for_a_while(lab, room):
    """Only the first message waits for it; the log does not say the same of each; and when it is back that shows."""
    with Filter(lab, room, "hole", tcp=(lab.MTA4, 8890), ns="mta") as hole:
        with postern(lab, room, hole.address + " name=hole connect-timeout=2s") as post:
            assert [m["state"] for m in post.status()["milters"]] == ["untried"]
            lab.exec("mta", "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "8890", "-j", "DROP")
            try:
                for _ in range(4):
                    assert send(post)[0][0].code == 451
                post.wait_log(r"milter=hole did=failed stage=connection .*why=time-out tried=no")
                lines = [line for line in post.log().splitlines() if "milter=hole did=failed" in line]
                assert len(lines) == 4 and "tried=no" not in lines[0], lines
                assert [m["state"] for m in post.status()["milters"]] == ["down"]
            finally:
                lab.exec("mta", "iptables", "-D", "INPUT", "-p", "tcp", "--dport", "8890", "-j", "DROP")
            assert post.log().count("ev=milter-trouble") == 1
            wait_until(lambda: send(post)[0][0].code == 250, "the filter to be asked again", limit_s=60)
            post.wait_log("ev=milter-back")
            assert [m["state"] for m in post.status()["milters"]] == ["up"]


def nonsense():
    """What a filter says in place of an answer to RCPT."""
    yield "length 0", b"\0\0\0\0"
    yield "length 4G", b"\xff\xff\xff\xff"
    yield "unknown answer", packet(b"Z")
    yield "edit too early", packet(b"h", b"X\0y\0")
    yield "no NUL", packet(b"y", b"550 no")
    yield "no reply", packet(b"y", b"250 fine\0")
    yield "half a packet", b"\0\0\0\x10y"
    yield "second negotiation", packet(b"O", struct.pack(">III", 6, 0, 0))


@pytest.mark.parametrize("what,said", list(nonsense()), ids=[what for what, _ in nonsense()])
def test_filter_that_talks_nonsense(lab, room, what, said):
    def talk(connection):
        connection.negotiate()
        connection.answer_until(b"R")
        connection.send(said)
        if what == "half a packet":
            return
        time.sleep(0.5)

    with RawFilter(room, "raw", talk) as raw, postern(lab, room, raw.address + " name=raw") as post:
        replies, _ = send(post)
        assert replies[0].code == 451, replies
        post.wait_log(r"milter=raw did=failed stage=rcpt .*why=")


@pytest.mark.parametrize("edit", [packet(b"h", b"bad name\0v\0"), packet(b"+", b"<a b@c>\0"), packet(b"e", b"<x@y\r\nz>\0"), packet(b"2", b"<a@b.example>\0FOO\0")],
                         ids=["header", "recipient", "sender", "parameters"])
def test_edits_that_make_no_sense(lab, room, edit):
    def talk(connection):
        connection.negotiate()
        connection.answer_until(b"E")
        connection.send(packet(b"h", b"X-Good\0v\0") + edit + packet(b"c"))
        time.sleep(0.5)

    with RawFilter(room, "raw", talk) as raw, postern(lab, room, raw.address + " name=raw fail=accept") as post, Recorder(lab, lab.MTA4) as mta:
        assert send(post)[1].code == 250
        # All or nothing.
        assert without_received(mta.wait_messages(1)[0]["wire"]) == MESSAGE
        post.wait_log(r"milter=raw did=failed stage=end .*why=invalid")


def test_edits_that_were_not_agreed_on(lab, room):
    def talk(connection):
        connection.negotiate(actions=0x1)
        connection.answer_until(b"E")
        connection.send(packet(b"q", b"hold it\0") + packet(b"c"))
        time.sleep(0.5)

    with RawFilter(room, "raw", talk) as raw, postern(lab, room, raw.address + " name=raw") as post:
        assert send(post)[1].code == 451
        post.wait_log(r"milter=raw did=failed stage=end .*why=protocol")


def test_shutdown_closes(lab, room):
    def talk(connection):
        connection.negotiate()
        connection.answer_until(b"R")
        connection.send(packet(b"4"))
        time.sleep(0.5)

    with RawFilter(room, "raw", talk) as raw, postern(lab, room, raw.address) as post, post.talk() as client:
        client.hello()
        assert client.say("MAIL FROM:<a@sender.example>").code == 250
        assert client.say("RCPT TO:<b@milter.example>").code == 421
        assert client.is_closed()


def test_shutdown_at_the_end_closes(lab, room):
    def talk(connection):
        connection.negotiate()
        connection.answer_until(b"E")
        connection.send(packet(b"4"))
        time.sleep(0.5)

    with RawFilter(room, "raw", talk) as raw, postern(lab, room, raw.address) as post, post.talk() as client:
        client.hello()
        assert client.message(MESSAGE, "a@sender.example", "b@milter.example").code == 421
        assert client.is_closed()


def test_reload_changes_the_filters(lab, room):
    with Filter(lab, room, "one") as one, Filter(lab, room, "two") as two:
        with postern(lab, room, one.address) as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post)[1].code == 250
            assert one.seen("eom") and not two.seen()
            post.options["milter"] = "inet:localhost:8899 fail=accept name=gone, " + two.address
            post.write_conf()
            post.daemon.send_signal(1)
            post.wait_log(r"ev=reloaded")
            one.does()
            assert send(post)[1].code == 250
            assert two.seen("eom") and not one.seen()
            assert [m["name"] for m in post.status()["milters"]] == ["gone", two.address]
            post.options["milter"] = ""
            post.write_conf()
            post.daemon.send_signal(1)
            wait_until(lambda: len(re.findall("ev=reloaded", post.log())) == 2, "the second reload")
            # Nobody is configured: who asks for a milter is put off, not waved through.
            assert send(post)[0][0].code == 451
            mta.wait_messages(2)


def test_quarantine_that_cannot_be_written(lab, room):
    """What is to be held is not sent, whatever the disk does; and it is held as soon as it can be."""
    with Filter(lab, room, "holder") as holder:
        holder.does(edits=[["quarantine", "wait for me"]])
        with postern(lab, room, holder.address, **{"retry-min": "1s"}) as post, Recorder(lab, lab.MTA4) as mta:
            post.stop(post.forwarder)
            post.start_forwarder(env={"POSTERN_FAULT": "queue-write:eio"})
            reply = send(post)[1]
            assert reply.code == 250
            ident = reply.text.split()[-1]
            # Twice: when it came in, and when its time had come again.
            wait_until(lambda: len(re.findall(f"ev=wish .*{ident}", post.log("posternfwd"))) >= 2, "the second try")
            assert not mta.messages() and not (post.spool / "hold" / ident).exists()
            post.stop(post.forwarder)
            post.start_forwarder()
            wait_until(lambda: (post.spool / "hold" / ident).exists(), "the message in hold/")
            assert not mta.messages()
            post.postern("queue", "release", ident)
            assert without_received(mta.wait_messages(1)[0]["wire"]) == MESSAGE
