"""posternfwd alone: a spool made by hand on one side, scripted and real servers on loopback on the other."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from netlab import wait_until
from spool_maker import PACKET, Mail, SpoolMaker, introduction, wire

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="posternfwd starts as root")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))
FWD = BUILD / "bin" / "posternfwd"
RECORDER = pathlib.Path(__file__).with_name("recording_server.py")
ANYTHING = b"Subject: test\r\n\r\nhello\r\n"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def ask(spool, question):
    """lines (as dicts), bytes, result, text."""
    lines, data = [], b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10)
        sock.connect(str(spool.dir / "fwdctl.sock"))
        sock.send(PACKET.pack(1, len(question)) + question.encode())
        while True:
            packet = sock.recv(70000)
            assert packet, "hung up"
            kind, length = PACKET.unpack_from(packet)
            payload = packet[PACKET.size:]
            assert length == len(payload)
            if kind == 2:
                lines.append(parse_kv(payload.decode()))
            elif kind == 3:
                data += payload
            else:
                result, = struct.unpack_from("<i", payload)
                return lines, data, result, payload[4:].split(b"\0")[0].decode()


def parse_kv(line):
    pairs, rest = {}, line
    while rest:
        key, rest = rest.split("=", 1)
        if rest.startswith('"'):
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            value, rest = rest[1:end].replace('\\"', '"'), rest[end + 2:]
        else:
            value, _, rest = rest.partition(" ")
        pairs[key] = value
    return pairs


class World:
    """A spool, servers, a posternfwd; everything ends with the test."""

    def __init__(self, directory):
        self.dir = directory
        for parent in [directory, *directory.parents]:
            if parent != pathlib.Path("/") and not os.stat(parent).st_mode & 0o001:
                parent.chmod(os.stat(parent).st_mode | 0o011)
        self.spool = SpoolMaker(directory / "spool")
        self.procs = []
        self.log_path = directory / "fwd.log"
        self.fwd = None

    def server(self, name, *options, port=None):
        port = port or free_port()
        argv = [sys.executable, str(RECORDER), "127.0.0.1", str(port), str(self.dir / f"{name}.jsonl"), *options]
        proc = subprocess.Popen(argv)
        self.procs.append(proc)
        wait_until(lambda: listens(port), f"{name} to listen")
        proc.port = port
        return proc

    def got(self, name):
        path = self.dir / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def conf(self, forward, bounce_via="smtp:127.0.0.1:1", listen="", **settings):
        settings = {"retry-min": "1s", "retry-max": "2s", "reply-timeout": "5s", "connect-timeout": "2s", "bounce": "all", **settings}
        text = f'spool = "{self.spool.dir}"\nforward-user = "daemon"\nforward-pid-file = "{self.dir}/fwd.pid"\n'
        text += f'hostname = "fw.example.net"\nbounce-via = "{bounce_via}"\n'
        text += "".join(f"{key} = {value}\n" for key, value in settings.items())
        text += f'listen "lo" {{\n mode = redirect\n forward = "{forward}"\n {listen}\n}}\n'
        path = self.dir / "postern.conf"
        path.write_text(text)
        return path

    def start(self, *argv, env=None):
        log = open(self.log_path, "ab")
        self.fwd = subprocess.Popen([str(FWD), *map(str, argv)], stderr=log, env={**os.environ, **(env or {})})
        self.procs.append(self.fwd)
        wait_until(lambda: b"ev=started" in self.log_path.read_bytes() or self.fwd.poll() is not None, "posternfwd to start")
        assert self.fwd.poll() is None, self.log
        return self.fwd

    def stop(self):
        self.fwd.send_signal(signal.SIGTERM)
        assert self.fwd.wait(timeout=15) == 0, self.log
        self.log_path.rename(self.log_path.with_suffix(f".{time.time()}"))

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_settled(self, limit_s=20):
        """Nothing waits, and what was in the journal is gone from it."""
        wait_until(lambda: not self.spool.names("journal") and not self.spool.names("queue"), "everything to be settled", limit_s=limit_s)

    def end(self):
        for proc in self.procs:
            if proc.poll() is None:
                proc.kill()
            proc.wait()


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.end()


def texts():
    yield ANYTHING
    yield b""
    yield b"\r\n"
    yield b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n"
    yield b"Subject: 8bit \xc3\xa4\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
    yield b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n"


def test_arrives_byte_for_byte(world):
    server = world.server("mx")
    mails = [Mail(f"a{i}@example.net", [f"b{i}@example.org"], text) for i, text in enumerate(texts())]
    world.spool.store(mails)
    large = Mail("big@example.net", ["b@example.org"], b"Subject: large\r\n\r\n" + b"." * 70 + b"\r\n" * 30000)
    world.spool.store([large], is_large=True)
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    world.wait_settled()
    got = {message["mail"].split("<")[1].split(">")[0]: message["wire"].encode("latin-1") for message in world.got("mx")}
    assert got == {mail.sender: wire(mail.text) for mail in [*mails, large]}
    assert not world.spool.names("large") and not world.spool.names("bad")
    world.stop()


def test_live_segment_is_read_as_far_as_it_is_announced(world):
    server = world.server("mx")
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    with world.spool.live() as segment:
        segment.append(Mail("one@example.net", ["b@example.org"], ANYTHING))
        segment.announce()
        wait_until(lambda: len(world.got("mx")) == 1, "the first")
        segment.append(Mail("two@example.net", ["b@example.org"], ANYTHING))
        time.sleep(1)
        assert len(world.got("mx")) == 1, "read beyond what was committed"
        segment.announce()
        wait_until(lambda: len(world.got("mx")) == 2, "the second")
        assert world.spool.names("journal"), "a live segment is not recycled"
        # The third is refused: nobody may ever see it.
        before = segment.offset
        segment.append(Mail("void@example.net", ["b@example.org"], ANYTHING))
        segment.announce(is_sealed=True, is_void=True, offset=before)
    world.wait_settled()
    assert len(world.got("mx")) == 2
    world.stop()


def test_records_of_a_dead_worker_are_found(world):
    server = world.server("mx")
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    with world.spool.live() as segment:
        segment.append(Mail("one@example.net", ["b@example.org"], ANYTHING))
        segment.announce()
        segment.append(Mail("two@example.net", ["b@example.org"], ANYTHING))
        torn = Mail("torn@example.net", ["b@example.org"], ANYTHING).record(segment.offset)
        segment.file.write(torn[:-5])
    world.wait_settled()
    assert sorted(message["mail"].split(">")[0] for message in world.got("mx")) == ["<one@example.net", "<two@example.net"]
    assert len(world.spool.names("bad")) == 1
    world.stop()


def test_nonsense_on_the_notice_socket(world):
    world.start("-f", world.conf("smtp:127.0.0.1:1"))
    for packet in (b"x", PACKET.pack(16, 3) + b"abc", PACKET.pack(99, 0), PACKET.pack(16, 56) + b"../../etc/passwd".ljust(56, b"\0")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(5)
            sock.connect(str(world.spool.dir / "fwd.sock"))
            if packet != PACKET.pack(99, 0):
                sock.send(introduction(0))
            sock.send(packet)
            assert sock.recv(10) == b"", packet
    assert ask(world.spool, "status")[2] == 0
    world.stop()


def test_mail_of_a_section_that_is_gone_waits(world):
    """It must not leave by the way of another section."""
    server = world.server("mx")
    gone, there = (Mail(f"{name}@example.net", ["b@example.org"], ANYTHING) for name in ("gone", "there"))
    gone.fields["LISTENER"] = "dmz"
    world.spool.store([gone, there])
    proc = world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    wait_until(lambda: len(world.got("mx")) == 1, "the other message")
    assert world.got("mx")[0]["mail"].startswith("<there@")
    wait_until(lambda: "dmz" in world.log, "the name of the section in the log")
    conf = world.dir / "postern.conf"
    conf.write_text(conf.read_text().replace('listen "lo"', 'listen "dmz"'))
    proc.send_signal(signal.SIGHUP)
    wait_until(lambda: "is in force" in world.log, "the reload")
    wait_until(lambda: len(world.got("mx")) == 2, "the message that waited")
    world.stop()


def test_a_worker_says_nothing_about_a_siblings_segment(world):
    """Neither seals nor voids it: what the sibling was promised is delivered. And nothing it said itself is taken back."""
    server = world.server("mx")
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    with world.spool.live() as segment:
        segment.append(Mail("one@example.net", ["b@example.org"], ANYTHING))
        first = segment.offset
        for worker, offset in ((segment.worker + 1, 0), (None, 0)):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.settimeout(5)
                sock.connect(str(world.spool.dir / "fwd.sock"))
                if worker is not None:
                    sock.send(introduction(worker))
                sock.send(segment.notice(is_sealed=True, is_void=True, offset=offset))
                assert sock.recv(10) == b""
        segment.announce()
        segment.append(Mail("two@example.net", ["b@example.org"], ANYTHING))
        segment.announce()
        segment.announce(is_void=True, is_sealed=True, offset=first)
        segment.sock.settimeout(5)
        assert segment.sock.recv(10) == b""
        wait_until(lambda: len(world.got("mx")) == 2, "both messages")
    world.stop()


ASK, ANSWER = struct.Struct("<Q16sB16sxH255s5x"), struct.Struct("<QI250s2x")


def question(number, path, listener="lo", port=25, address="127.0.0.1"):
    payload = ASK.pack(number, listener.encode(), 4, socket.inet_aton(address), port, path)
    return PACKET.pack(32, len(payload)) + payload


def test_what_a_worker_may_ask(world):
    """About recipients, through a section that wants it, and at port 25 where it names the server itself; nonsense ends the connection."""
    server = world.server("mx", "rcpt_550=nobody", "rcpt_554=closed")
    conf = world.conf(f"smtp:127.0.0.1:{server.port}", listen="verify-recipients = yes")
    conf.write_text(conf.read_text() + f'listen "spoof" {{\n identity = spoof\n verify-recipients = yes\n forward = "smtp:127.0.0.1:{server.port}"\n}}\n')
    conf.write_text(conf.read_text() + 'listen "wan" {\n verify-recipients = yes\n}\nlisten "mute" {\n mode = tproxy\n}\n')
    world.start("-f", conf)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10)
        sock.connect(str(world.spool.dir / "fwd.sock"))
        sock.send(introduction(0))

        def ask_about(number, *args, **kw):
            sock.send(question(number, *args, **kw))
            packet = sock.recv(1000)
            assert PACKET.unpack_from(packet) == (33, ANSWER.size)
            answered, result, line = ANSWER.unpack_from(packet, PACKET.size)
            assert answered == number
            return result, line.rstrip(b"\0")

        assert ask_about(1, b"nobody@example.org") == (2, b"550 5.1.1 no nobody here")
        assert ask_about(2, b"b@example.org") == (1, b"")
        for number, listener in enumerate(("gone", "mute", ""), 3):
            assert ask_about(number, b"nobody@example.org", listener=listener) == (0, b"")
        # What may be meant for us says nothing where the server would see the client; a plain no does.
        assert ask_about(10, b"closed@example.org", listener="spoof") == (0, b"")
        assert ask_about(11, b"closed@example.org") == (2, b"554 5.7.1 no closed here")
        assert ask_about(12, b"closed@example.org", listener="spoof") == (0, b"")
        assert ask_about(13, b"nobody@example.org", listener="spoof") == (2, b"550 5.1.1 no nobody here")
        # forward = original: the port is not the worker's to choose. Nobody is at port 25 here.
        assert ask_about(6, b"nobody@example.org", listener="wan", port=server.port) == (0, b"")
        assert ask_about(7, b"nobody@example.org", listener="wan", address="127.0.0.9") == (0, b"")
        assert "ev=verify-down" in world.log and f":{server.port} can't be asked" not in world.log
    good = question(1, b"b@example.org")
    for packet in (good[:-1], good + b"x", question(1, b""), question(1, b"a\r\nDATA"), question(1, b"a" * 255), PACKET.pack(33, ANSWER.size) + bytes(ANSWER.size)):
        if len(packet) != len(good) and packet[:8] == good[:8]:
            packet = PACKET.pack(32, len(packet) - 8) + packet[8:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(5)
            sock.connect(str(world.spool.dir / "fwd.sock"))
            sock.send(introduction(0))
            sock.send(packet)
            assert sock.recv(10) == b"", packet
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(5)
        sock.connect(str(world.spool.dir / "fwd.sock"))
        sock.send(good)  # by nobody
        assert sock.recv(10) == b""
    assert not world.got("mx")
    world.stop()


def test_connections_are_reused(world):
    server = world.server("mx")
    world.spool.store([Mail(f"a{i}@example.net", ["b@example.org"], ANYTHING) for i in range(50)])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", **{"destination-connections": 2}))
    world.wait_settled()
    assert len(world.got("mx")) == 50
    assert len({message["client_port"] for message in world.got("mx")}) <= 2
    world.stop()


@pytest.mark.parametrize("options", (["close_after=1"], ["ehlo=SIZE"], ["ehlo="]), ids=("closing", "no-pipelining", "bare"))
def test_servers_of_all_kinds(world, options):
    server = world.server("mx", *options)
    world.spool.store([Mail(f"a{i}@example.net", ["b@example.org", "c@example.org"], ANYTHING) for i in range(20)])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    world.wait_settled()
    assert len(world.got("mx")) == 20
    assert "ev=deferred" not in world.log
    world.stop()


def test_xforward(world):
    server = world.server("mx", "ehlo=PIPELINING,XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")
    mail = Mail("a@example.net", ["b@example.org"], ANYTHING, NAME="client.example.net")
    world.spool.store([mail])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", listen="identity = xforward"))
    world.wait_settled()
    said, = [line for line in world.got("mx")[0]["commands"] if line.startswith("XFORWARD")]
    assert said == ("XFORWARD NAME=client.example.net ADDR=192.0.2.10 PORT=40000 PROTO=ESMTP HELO=client.example.net "
                    f"IDENT={mail.id} SOURCE=REMOTE")
    world.stop()


def test_refused_recipients_are_reported(world):
    server = world.server("mx", "rcpt_550=nobody")
    bounces = world.server("bounces")
    world.spool.store([
        Mail("sender@example.net", ["nobody@example.org", "somebody@example.org"], ANYTHING, ENVID="QQ123"),
        Mail("", ["nobody@example.org"], ANYTHING),
        Mail("silent@example.net", ["nobody@example.org"], ANYTHING, rcpt_parameters=" NOTIFY=NEVER"),
    ])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}"))
    world.wait_settled()
    delivered, = world.got("mx")
    assert [rcpt.split(">")[0] for rcpt in delivered["rcpts"]] == ["<somebody@example.org"]
    report, = world.got("bounces")
    assert report["mail"].startswith("<>") and report["rcpts"][0].startswith("<sender@example.net>")
    for part in ("multipart/report", "Final-Recipient: rfc822;nobody@example.org", "Action: failed", "Status: 5.1.1",
                 "Original-Envelope-Id: QQ123", "message/rfc822", "Subject: test"):
        assert part in report["wire"]
    assert "somebody" not in report["wire"].split("message/delivery-status")[1].split("message/rfc822")[0]
    assert world.log.count("ev=no-report") == 2
    world.stop()


def test_deferred_mail_waits_in_the_queue_and_is_retried(world):
    server = world.server("mx", "data_fail_first=2")
    mail = Mail("a@example.net", ["b@example.org"], ANYTHING)
    world.spool.store([mail])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", **{"retry-min": "1h", "retry-max": "2h"}))
    wait_until(lambda: world.spool.names("queue") == [mail.id], "it to be queued")
    wait_until(lambda: not world.spool.names("journal"), "the segment to be recycled")
    line, = ask(world.spool, "queue list")[0]
    assert line["state"] == "waiting" and line["from"] == "<a@example.net>" and line["attempts"] == "1" and "451" in line["error"], line
    assert ask(world.spool, f"queue retry {mail.id}")[2] == 0
    wait_until(lambda: ask(world.spool, "queue list")[0][0]["attempts"] == "2", "the second attempt")
    world.stop()
    world.start("-f", world.dir / "postern.conf")
    assert ask(world.spool, "queue list")[0][0]["attempts"] == "2"
    assert ask(world.spool, "queue retry all")[2] == 0
    world.wait_settled()
    assert len(world.got("mx")) == 1
    world.stop()


def test_dead_destination_holds_up_nobody(world):
    server = world.server("mx")
    dead = free_port()
    mails = [Mail(f"a{i}@example.net", ["b@example.org"], ANYTHING, DST=f"127.0.0.1 {server.port if i % 2 else dead}") for i in range(40)]
    world.spool.store(mails)
    world.start("-f", world.conf("original"))
    wait_until(lambda: len(world.got("mx")) == 20, "the living half")
    lines = ask(world.spool, "queue list")[0]
    assert len(lines) == 20 and all("refused" in line["error"].lower() for line in lines), lines[:2]
    world.server("late", port=dead)
    wait_until(lambda: len(world.got("late")) == 20, "the other half", limit_s=30)
    world.stop()


def test_silent_server_and_lifetime(world):
    server = world.server("mx", "silent=1")
    bounces = world.server("bounces")
    old = Mail("a@example.net", ["b@example.org"], ANYTHING, TIME=int(time.time()) - 7200)
    world.spool.store([old])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}",
                                 **{"reply-timeout": "1s", "queue-lifetime": "1h"}))
    wait_until(lambda: world.got("bounces"), "the report")
    assert "Status: 4.4.7" in world.got("bounces")[0]["wire"] and "did not answer in time" in world.got("bounces")[0]["wire"]
    world.wait_settled()
    world.stop()


def test_warning_once(world):
    dead = free_port()
    bounces = world.server("bounces")
    late = Mail("a@example.net", ["b@example.org"], ANYTHING, TIME=int(time.time()) - 7200)
    world.spool.store([late])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{dead}", f"smtp:127.0.0.1:{bounces.port}", **{"queue-warn": "1h"}))
    wait_until(lambda: world.got("bounces"), "the warning")
    assert "Action: delayed" in world.got("bounces")[0]["wire"]
    wait_until(lambda: int(ask(world.spool, "queue list")[0][0]["attempts"]) >= 3, "more attempts")
    assert len(world.got("bounces")) == 1
    world.stop()


def test_administration(world):
    mails = [Mail(f"a{i}@example.net", ["b@example.org", "c@example.org"], b"Subject: x\r\n\r\n.dot\r\n") for i in range(3)]
    world.spool.store(mails)
    world.start("-f", world.conf(f"smtp:127.0.0.1:{free_port()}", **{"retry-min": "1h", "retry-max": "2h"}))
    first, second, third = (mail.id for mail in mails)
    wait_until(lambda: world.spool.names("queue"), "the first to be queued")
    for mail_id in (first, second, third):
        assert ask(world.spool, f"queue cat {mail_id}")[1] == b"Subject: x\n\n.dot\n"
        lines = ask(world.spool, f"queue show {mail_id}")[0]
        assert [line["what"] for line in lines] == ["message", "recipient", "recipient"] and lines[2]["rcpt"] == "<c@example.org>"
    assert ask(world.spool, f"queue hold {first} {third}")[2] == 0
    wait_until(lambda: world.spool.names("hold") == sorted([first, third]), "two to be held")
    assert ask(world.spool, f"queue delete {second}")[2] == 0
    wait_until(lambda: len(ask(world.spool, "queue list")[0]) == 2, "one to be deleted")
    assert {line["state"] for line in ask(world.spool, "queue list")[0]} == {"held"}
    for event, mail_id in (("held", first), ("held", third), ("deleted", second)):
        assert re.search(f"info: ev={event} id={mail_id} by=administrator .*rcpts=2 size=[0-9]+ attempt=[0-9]+ age_s=", world.log)
    world.stop()
    world.start("-f", world.dir / "postern.conf")
    assert {line["state"] for line in ask(world.spool, "queue list")[0]} == {"held"}
    assert ask(world.spool, f"queue delete {first}")[2] == 0
    assert ask(world.spool, f"queue release {third}")[2] == 0
    wait_until(lambda: world.spool.names("queue") == [third] and not world.spool.names("hold"), "one to be released")
    assert ask(world.spool, "queue delete 00000000000000")[2] != 0 and ask(world.spool, "queue delete ../x")[2] != 0
    assert ask(world.spool, "nonsense")[2] != 0
    world.stop()


def test_reload_changes_the_way(world):
    server = world.server("mx")
    world.spool.store([Mail(f"a{i}@example.net", ["b@example.org"], ANYTHING) for i in range(5)])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{free_port()}"))
    wait_until(lambda: "ev=destination-down" in world.log, "the first failure")
    world.conf(f"smtp:127.0.0.1:{server.port}").write_text("nonsense =")
    world.fwd.send_signal(signal.SIGHUP)
    wait_until(lambda: "the old configuration stays" in world.log, "the complaint")
    # What a running posternfwd can't change: nothing of such a file counts, and that is said.
    path = world.conf(f"smtp:127.0.0.1:{server.port}")
    for name, value in (("spool", "/nowhere"), ("forward-user", "nobody"), ("forward-group", "nogroup"), ("forward-pid-file", "/nowhere")):
        text = world.conf(f"smtp:127.0.0.1:{server.port}").read_text()
        path.write_text(re.sub(f"^{name} = .*\n", "", text, flags=re.M).replace("listen", f'{name} = "{value}"\nlisten', 1))
        world.fwd.send_signal(signal.SIGHUP)
        wait_until(lambda: f"a change of {name} needs a restart" in world.log, f"the complaint about {name}")
    assert "is in force" not in world.log and not world.got("mx")
    world.conf(f"smtp:127.0.0.1:{server.port}")
    world.fwd.send_signal(signal.SIGHUP)
    wait_until(lambda: len(world.got("mx")) == 5, "everything to go the new way", limit_s=30)
    world.stop()


def test_listings_do_not_name_a_way_that_is_gone(world):
    world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
    conf = world.conf(f"smtp:127.0.0.1:{free_port()}")
    world.start("-f", conf)
    wait_until(lambda: world.spool.names("queue"), "the first failure")
    conf.write_text(conf.read_text().replace('listen "lo"', 'listen "dummy0"'))
    world.fwd.send_signal(signal.SIGHUP)
    wait_until(lambda: "ev=no-route" in world.log, "the log to say so", limit_s=20)
    line = ask(world.spool, "queue list")[0][0]
    assert line["destination"] == "" and line["error"] == "it has no destination: posternfwd's log says why" and line["state"] == "waiting", line
    server = world.server("mx")
    world.conf(f"smtp:127.0.0.1:{server.port}")
    world.fwd.send_signal(signal.SIGHUP)
    wait_until(lambda: world.got("mx"), "the new way to be found", limit_s=20)
    world.stop()


@pytest.mark.parametrize("fault", ("ack-write:kill@2", "ack-after-sync:kill@2", "queue-before-link:kill@3", "queue-after-link:kill@3", "recycle-between:kill"))
def test_killed_at_fault_points(world, fault):
    server = world.server("mx", "rcpt_450=later")
    mails = [Mail(f"a{i}@example.net", ["later@example.org" if i % 4 == 0 else "b@example.org"], ANYTHING) for i in range(40)]
    world.spool.store(mails[:20])
    world.spool.store(mails[20:])
    conf = world.conf(f"smtp:127.0.0.1:{server.port}", **{"retry-min": "1h", "retry-max": "2h"})
    proc = world.start("-f", conf, env={"POSTERN_FAULT": fault})
    assert proc.wait(timeout=20) == -signal.SIGKILL
    world.start("-f", conf)
    wait_until(lambda: not world.spool.names("journal"), "the journal to be empty")
    assert {message["mail"].split(">")[0][1:] for message in world.got("mx")} == {mail.sender for i, mail in enumerate(mails) if i % 4}
    assert world.spool.names("queue") == sorted(mail.id for i, mail in enumerate(mails) if i % 4 == 0)
    world.stop()


def test_killed_while_delivering_to_smtp_sink(world):
    port = free_port()
    dump = world.dir / "dump"
    dump.mkdir()
    dump.chmod(0o777)
    sink = subprocess.Popen(["smtp-sink", "-u", "nobody", "-D", f"{dump}/d.", f"127.0.0.1:{port}", "200"], stderr=subprocess.DEVNULL)
    world.procs.append(sink)
    wait_until(lambda: listens(port), "smtp-sink")
    mails = [Mail(f"a{i}@example.net", ["b@example.org"], ANYTHING) for i in range(3000)]
    world.spool.store(mails)
    conf = world.conf(f"smtp:127.0.0.1:{port}")
    for _ in range(3):
        proc = world.start("-f", conf)
        time.sleep(0.1)
        proc.kill()
        proc.wait()
        world.log_path.unlink()
    world.start("-f", conf)
    world.wait_settled()
    said = " ".join(path.read_text(errors="replace") for path in dump.iterdir())
    assert {mail.sender for mail in mails} <= {word.strip("<>:") for word in said.replace("FROM:", " ").split() if "@example.net" in word}
    world.stop()


# ---- the seeds' command line

PROGRAM = """#!/bin/sh
echo "$*" >>{dir}/argv
cat >{dir}/text.$$
case "$*" in
*temp@*) exit 75;;
*config@*) echo "no such mailer" >&2; exit 78;;
*nouser@*) exit 67;;
esac
"""


@pytest.fixture
def program(world):
    path = world.dir / "mailprog"
    (world.dir / "out").mkdir()
    (world.dir / "out").chmod(0o777)
    path.write_text(PROGRAM.format(dir=world.dir / "out"))
    path.chmod(0o755)
    return path


def seeds(world, program, *more):
    return ["-d", world.spool.dir, "-u", "daemon", "-g", "daemon", "-s", program, "-M", "3", "-P", "1", *more]


def test_sendmail_program(world, program):
    world.spool.store([Mail("a@example.net", ["b@example.org", "c@example.org"], b"Subject: x\r\n\r\n.dot\r\n"),
                       Mail("", ["d@example.org"], ANYTHING), Mail("e@example.net", ["-oQ/tmp@example.org"], b".\r\n"),
                       Mail("many@example.net", [f"r{i}@example.org" for i in range(250)], ANYTHING)])
    world.start(*seeds(world, program, "-F"))
    world.wait_settled()
    calls = (world.dir / "out" / "argv").read_text().splitlines()
    assert "-f a@example.net b@example.org c@example.org" in calls
    assert "-f <> d@example.org" in calls
    assert "-i -f e@example.net -- -oQ/tmp@example.org" in calls
    assert sorted(len(call.split()) - 2 for call in calls if "many@" in call) == [50, 100, 100]
    native = sorted(path.read_bytes() for path in (world.dir / "out").glob("text.*"))
    assert native.count(b"Subject: x\n\n.dot\n") == 1 and native.count(b".\n") == 1 and native.count(b"Subject: test\n\nhello\n") == 4
    world.stop()


def test_sendmail_exit_status(world, program):
    world.spool.store([Mail(f"s{i}@example.net", [to], ANYTHING) for i, to in enumerate(("temp@x.example", "config@x.example", "nouser@x.example"))])
    world.start(*seeds(world, program, "-F"))
    wait_until(lambda: len(world.spool.names("queue")) == 2 and not world.spool.names("journal"), "two to wait")
    errors = " ".join(line["error"] for line in ask(world.spool, "queue list")[0])
    assert "exit status 75" in errors and "exit status 78 (an operator has to look): no such mailer" in errors
    wait_until(lambda: "-f <> s2@example.net" in (world.dir / "out" / "argv").read_text(), "the report")
    world.stop()


def test_set_gid_programs_keep_their_group(world, program):
    """Postfix's sendmail hands over to a set-gid program: that must get its group though posternfwd itself gave everything away."""
    tool = world.dir / "sgid-id"
    shutil.copy("/usr/bin/id", tool)
    os.chown(tool, 0, 8)
    tool.chmod(0o2755)
    program.write_text(f"#!/bin/sh\ncat >/dev/null\n{tool} >{world.dir}/out/id\n")
    world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
    world.start(*seeds(world, program, "-F"))
    world.wait_settled()
    assert "egid=8(" in (world.dir / "out" / "id").read_text()
    world.stop()


def test_sendmail_program_missing(world):
    world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
    world.start(*seeds(world, "/nowhere/sendmail", "-F"))
    wait_until(lambda: world.spool.names("queue"), "it to wait")
    assert "no such program" in ask(world.spool, "queue list")[0][0]["error"]
    world.stop()


def test_detaches(world, program):
    world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
    pid_file = world.dir / "fwd.pid"
    done = subprocess.run([str(FWD), *map(str, seeds(world, program, "-q", "-i", pid_file))], stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.returncode == 0 and done.stderr == ""
    pid = int(pid_file.read_text())
    try:
        world.wait_settled()
        again = subprocess.run([str(FWD), *map(str, seeds(world, program))], stderr=subprocess.PIPE, text=True, timeout=20, check=False)
        assert again.returncode == 1 and "already running" in again.stderr and again.stderr.count("\n") == 1
        status = (pathlib.Path("/proc") / str(pid) / "status").read_text()
        assert "Uid:\t1\t1\t1\t1" in status and "CapEff:\t0000000000000000" in status
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "it to end")


@pytest.mark.parametrize("argv,code,words", (
    (["-x"], 2, "unknown option -x"),
    (["-d"], 2, "-d needs a value"),
    ([], 2, "-d, -u and -g are needed"),
    (["-f", "/nowhere.conf"], 1, "/nowhere.conf"),
    (["-d", "relative", "-u", "daemon", "-g", "daemon"], 2, "begins with /"),
    (["-d", "/nowhere/spool", "-u", "daemon", "-g", "daemon", "-F"], 1, "/nowhere/spool"),
    (["-d", "/tmp", "-u", "nosuchuser", "-g", "daemon", "-F"], 1, "there is no user 'nosuchuser'"),
    (["-d", "/tmp", "-u", "root", "-g", "root", "-F"], 1, "is root"),
    (["-d", "/tmp", "-u", "daemon", "-g", "daemon", "-M", "0"], 2, "-M '0'"),
))
def test_bad_starts(argv, code, words):
    done = subprocess.run([str(FWD), *argv], stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1, done


def test_not_root(world):
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", str(FWD), *map(str, seeds(world, "/bin/true", "-F"))],
                          stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.returncode == 1 and "start it as root" in done.stderr


def test_started_as_its_user_on_a_spool_that_root_made(world):
    server = world.server("mx")
    conf = world.conf(f"smtp:127.0.0.1:{server.port}")
    shutil.rmtree(world.spool.dir)
    world.start("-f", conf)
    world.stop()
    argv = ["setpriv", "--reuid=daemon", "--regid=daemon", "--init-groups", str(FWD), "-f", str(conf)]
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.returncode == 1 and "permission denied" in done.stderr, "root's directory: posternfwd(8) says to chown it"
    shutil.chown(world.spool.dir, "daemon", "daemon")
    world.spool.store([Mail("a@example.net", ["b@example.org"], ANYTHING)])
    with open(world.log_path, "ab") as log:
        world.fwd = subprocess.Popen(argv, stderr=log)
    world.procs.append(world.fwd)
    wait_until(lambda: world.got("mx") or world.fwd.poll() is not None, "the message")
    assert world.got("mx"), world.log
    world.stop()
    world.spool.store([Mail("c@example.net", ["d@example.org"], ANYTHING)])
    world.start("-f", conf)
    wait_until(lambda: len(world.got("mx")) == 2, "the message that root's posternfwd found")
    world.stop()
