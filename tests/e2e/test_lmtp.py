"""forward = lmtp: into mailboxes, over TCP and through a unix socket: Dovecot, Postfix's smtp-sink, and a server that hangs up at the worst time."""

import os
import subprocess

import pytest

from mail_servers import Dovecot
from netlab import wait_until
from spool_maker import Mail
from test_fwd_alone import ANYTHING, World, ask, free_port, listens
from test_reports import logged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="posternfwd starts as root")


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.end()


def report_fields(report):
    """{recipient: {field: value}} of the second part."""
    blocks = report["wire"].split("message/delivery-status")[1].split("\r\n--")[0].split("\r\n\r\n")[2:]
    fields = [dict(line.split(": ", 1) for line in block.strip().split("\r\n")) for block in blocks if "Final-Recipient" in block]
    return {block["Final-Recipient"].split(";")[1].strip(): block for block in fields}


@pytest.mark.parametrize("way", ("tcp", "unix"))
def test_each_recipient_by_itself(world, way):
    """One message, five mailboxes: delivered, delivered, no room, broken, unknown."""
    bounces = world.server("bounces")
    with Dovecot(world.dir, free_port(), "daemon") as server:
        mail = Mail("a@example.net", [f"{user}@example.org" for user in ("good", "full", "broken", "nobody", "better")],
                    b"Subject: five\r\n\r\n.dot\r\n", TRUST="yes")
        world.spool.store([mail])
        forward = f"lmtp:127.0.0.1:{server.port}" if way == "tcp" else f"lmtp:{server.socket}"
        world.start("-f", world.conf(forward, f"smtp:127.0.0.1:{bounces.port}", bounce="trusted", **{"retry-min": "1h", "retry-max": "2h"}))
        wait_until(lambda: world.got("bounces"), "the report")
        assert [len(server.mails(user)) for user in ("good", "better", "full")] == [1, 1, 0]
        assert server.mails("good")[0].endswith(b"Subject: five\n\n.dot\n") and b"Return-Path: <a@example.net>" in server.mails("good")[0]
        failed = report_fields(world.got("bounces")[0])
        assert {name: (fields["Action"], fields["Status"]) for name, fields in failed.items()} == {
            "full@example.org": ("failed", "5.2.2"), "nobody@example.org": ("failed", "5.1.1")}
        assert "Quota exceeded" in failed["full@example.org"]["Diagnostic-Code"]
        line, = [line for line in ask(world.spool, "queue list")[0] if line["id"] == mail.id]
        assert line["rcpts"] == "1" and line["error"].startswith("451 4.2.0 <broken@example.org>")
        # The administrator mends the mailbox, and only its owner gets the mail again.
        home = server.dir / "homes" / "broken"
        home.unlink()
        home.mkdir()
        os.chown(home, Dovecot.UID, Dovecot.UID)
        assert ask(world.spool, f"queue retry {mail.id}")[2] == 0
        world.wait_settled()
        assert [len(server.mails(user)) for user in ("good", "better", "broken")] == [1, 1, 1]
        world.stop()


def test_delivered_is_reported_to_who_asks(world):
    """Dovecot offers no DSN, so it is ours to say that the mail is in the mailbox."""
    bounces = world.server("bounces")
    with Dovecot(world.dir, free_port(), "daemon") as server:
        world.spool.store([Mail("a@example.net", ["good@example.org"], ANYTHING, " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alias@example.org", TRUST="yes",
                                ENVID="QQ7"),
                           Mail("b@example.net", ["good@example.org"], ANYTHING, TRUST="yes")])
        world.start("-f", world.conf(f"lmtp:{server.socket}", f"smtp:127.0.0.1:{bounces.port}", bounce="trusted"))
        world.wait_settled()
        report, = world.got("bounces")
        fields = report_fields(report)["good@example.org"]
        assert fields["Action"] == "delivered" and fields["Status"].startswith("2.") and fields["Original-Recipient"] == "rfc822;alias@example.org"
        assert "Original-Envelope-Id: QQ7" in report["wire"]
        assert len(server.mails("good")) == 2
        world.stop()


def test_connections_are_kept(world):
    """A hundred messages through the unix socket: all there, by few connections."""
    with Dovecot(world.dir, free_port(), "daemon") as server:
        world.spool.store([Mail(f"a{i}@example.net", ["good@example.org", "better@example.org"], ANYTHING) for i in range(100)])
        world.start("-f", world.conf(f"lmtp:{server.socket}", **{"destination-connections": 2}))
        world.wait_settled(limit_s=40)
        assert len(server.mails("good")) == len(server.mails("better")) == 100
        assert server.log().count("Connect from") <= 4
        world.stop()


def test_no_right_to_the_socket(world):
    """It waits, the log says why, and it flows as soon as the socket can be written."""
    with Dovecot(world.dir, free_port(), "root") as server:
        world.spool.store([Mail("a@example.net", ["good@example.org"], ANYTHING)])
        world.start("-f", world.conf(f"lmtp:{server.socket}"))
        wait_until(lambda: "Permission denied" in world.log, "the complaint")
        assert str(server.socket) in world.log and not server.mails("good")
        server.socket.chmod(0o666)
        wait_until(lambda: server.mails("good"), "the message")
        world.stop()


@pytest.mark.parametrize("way", ("tcp", "unix"))
def test_smtp_sink(world, way):
    port = free_port()
    dump = world.dir / "dump"
    where = f"127.0.0.1:{port}" if way == "tcp" else f"unix:{dump}/sink"
    dump.mkdir()
    dump.chmod(0o777)
    sink = subprocess.Popen(["smtp-sink", "-u", "nobody", "-L", "-D", f"{dump}/d.", where, "100"], stderr=subprocess.DEVNULL)
    world.procs.append(sink)
    if way == "tcp":
        wait_until(lambda: listens(port), "smtp-sink")
    else:
        wait_until((dump / "sink").exists, "smtp-sink")
        (dump / "sink").chmod(0o666)
    world.spool.store([Mail(f"a{i}@example.net", [f"r{n}@example.org" for n in range(5)], ANYTHING) for i in range(40)])
    world.start("-f", world.conf(f"lmtp:127.0.0.1:{port}" if way == "tcp" else f"lmtp:{dump}/sink"))
    world.wait_settled()
    said = "".join(path.read_text() for path in dump.glob("d.*"))
    assert all(f"<a{i}@example.net>" in said for i in range(40)) and said.count("<r4@example.org>") == 40
    assert len(logged(world, "delivered")) == 200 and not logged(world, "deferred")
    world.stop()


def test_server_dies_between_two_replies(world):
    """Who was answered has got the mail and gets it no second time; the others are tried again."""
    server = world.server("mx", "lmtp=1", "hang_up_after=2", "done_550=r1")
    bounces = world.server("bounces")
    world.spool.store([Mail("a@example.net", [f"r{n}@example.org" for n in range(5)], ANYTHING, TRUST="yes")])
    world.start("-f", world.conf(f"lmtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}", bounce="trusted"))
    world.wait_settled()
    assert [message["rcpts"][0].split("@")[0] for message in world.got("mx")] == ["<r0", "<r2", "<r3", "<r4"]
    assert {line["to"].split("@")[0] for line in logged(world, "deferred")} == {"r2", "r3", "r4"}
    assert list(report_fields(world.got("bounces")[0])) == ["r1@example.org"]
    world.stop()


def test_everybody_refused_before_the_message(world):
    """DATA was pipelined behind it: the 503 of RFC 2033 section 4.2, and the connection stays in use."""
    server = world.server("mx", "lmtp=1", "rcpt_550=nobody")
    world.spool.store([Mail("a@example.net", ["nobody@example.org"], ANYTHING), Mail("b@example.net", ["b@example.org"], ANYTHING)])
    world.start("-f", world.conf(f"lmtp:127.0.0.1:{server.port}", bounce="none", **{"destination-connections": 1}))
    world.wait_settled()
    message, = world.got("mx")
    assert message["mail"].startswith("<b@") and "RSET" in message["commands"]
    assert logged(world, "failed")[0]["reply"] == "550 5.1.1 no nobody here"
    world.stop()
