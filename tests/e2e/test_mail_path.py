"""The whole way of a message: diverted, judged, stored, forwarded, and there byte for byte. Real clients, real servers."""

import os
import random
import re
import smtplib
import subprocess

import pytest

from installation import Installation, Recorder, without_received
from mail_servers import Postfix
from netlab import wait_until

SENDER, RECIPIENT = "a@sender.example", "b@protected.example"

# What a client sends behind DATA, in wire form, without the final dot.
BODIES = {
    "plain": b"Subject: plain\r\n\r\nhello\r\n",
    "empty": b"",
    "no_body": b"Subject: header only\r\n",
    "eight_bit": b"Subject: gr\xfc\xdfe\r\n\r\n" + bytes(range(1, 10)) + bytes(range(14, 256)) + b"\r\n",
    "dots": b"Subject: dots\r\n\r\n..\r\n...\r\n..a\r\n....\r\nend.\r\n..\r\n",
    "line_998": b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n..\r\n",
    "line_100000": b"Subject: longer\r\n\r\n" + b"y" * 100000 + b"\r\n",
    "odd_header": b"X-Odd: \x01\x02\x7f\r\n folded\r\n\tagain\r\nnot a header\r\n\r\nbody\r\n",
    "just_in_record": b"Subject: inline\r\n\r\n" + b"z" * 70 * 3700 + b"\r\n",
}


def big_body(size):
    """Random lines that have dots at their starts and 8-bit bytes in them."""
    rng = random.Random(5321)
    chunk = b"".join((b".." if rng.random() < 0.1 else b"") + bytes(rng.choice(b"abc \xe4.") for _ in range(rng.randint(0, 90))) + b"\r\n"
                     for _ in range(2000))
    chunk = re.sub(rb"(?m)^\.(?!\.)", b"..", chunk)
    return b"Subject: big\r\n\r\n" + chunk * (size // len(chunk) + 1)


class Path:
    """postern between inet and the recorders in mta."""

    def __init__(self, lab, room, mode="redirect", divert=(), **kw):
        self.lab, self.mode, self.divert = lab, mode, divert
        kw.setdefault("listen", {}).setdefault("mode", mode)
        self.post = Installation(lab, room, **kw)

    def __enter__(self):
        self.post.__enter__()
        self.post.start()
        self.lab.divert("up", "--iface", "wan", "--mode", self.mode, *self.divert)
        return self.post

    def __exit__(self, *exc):
        self.lab.divert("down", "--iface", "wan", check=False)
        self.post.__exit__(*exc)


def addresses(lab, version):
    return (lab.CLIENT4, lab.MTA4) if version == 4 else (lab.CLIENT6, lab.MTA6)


@pytest.mark.parametrize("mode", ["redirect", "tproxy"])
@pytest.mark.parametrize("version", [4, 6])
def test_byte_for_byte(lab, room, mode, version):
    client_address, server_address = addresses(lab, version)
    with Path(lab, room, mode) as post, Recorder(lab, server_address) as mta:
        with post.talk(client_address) as client:
            client.hello()
            for body in BODIES.values():
                reply = client.message(body + b".\r\n")
                assert reply.code == 250, reply
        messages = mta.wait_messages(len(BODIES))
        got = sorted(without_received(m["wire"]) for m in messages)
        assert got == sorted(body + b".\r\n" for body in BODIES.values())
        for message in messages:
            assert message["mail"].startswith(f"<{SENDER}>")
            assert message["rcpts"][0].startswith(f"<{RECIPIENT}>")
        received = messages[0]["wire"].split(b"\r\nSubject")[0].decode()
        literal = f"[{'IPv6:' if version == 6 else ''}{client_address}]"
        assert f"from client10.example.net ({literal})" in received
        assert "by fw.example.net (postern) with ESMTP id " in received
        assert server_address in received and "on wan" in received and f"for <{RECIPIENT}>" in received


@pytest.mark.parametrize("version", [4, 6])
def test_20_megabytes(lab, room, version):
    client_address, server_address = addresses(lab, version)
    body = big_body(20 << 20)
    with Path(lab, room) as post, Recorder(lab, server_address) as mta:
        with post.talk(client_address, timeout=120) as client:
            client.hello()
            assert client.message(body + b".\r\n").code == 250
        assert without_received(mta.wait_messages(1, limit_s=60)[0]["wire"]) == body + b".\r\n"
        wait_until(lambda: not list((post.spool / "large").iterdir()), "the file of the large body to be removed")


@pytest.mark.parametrize("mode", ["redirect", "tproxy"])
@pytest.mark.parametrize("version", [4, 6])
def test_spoof_shows_the_clients_address(lab, room, mode, version):
    client_address, server_address = addresses(lab, version)
    with Path(lab, room, mode, divert=("--reply-iface", "lan"), listen={"identity": "spoof"}) as post, Recorder(lab, server_address) as mta:
        with post.talk(client_address) as client:
            client.hello()
            for number in range(3):
                assert client.message(b"Subject: %d\r\n\r\n.\r\n" % number).code == 250
        for message in mta.wait_messages(3):
            assert message["client"] == client_address
        # Without spoof the server sees the firewall.
    with Path(lab, room, mode) as post, Recorder(lab, server_address) as mta:
        with post.talk(client_address) as client:
            client.hello()
            assert client.message(b"Subject: x\r\n\r\n.\r\n").code == 250
        assert mta.wait_messages(1)[-1]["client"] == (lab.LAN4 if version == 4 else lab.LAN6)


def test_xforward_tells_the_clients_address(lab, room):
    with Path(lab, room, listen={"identity": "xforward"}) as post, \
            Recorder(lab, lab.MTA4, args=["ehlo=PIPELINING,XFORWARD NAME ADDR PORT PROTO HELO SOURCE"]) as mta:
        with post.talk() as client:
            client.hello("strange+name.example.net")
            assert client.message(b"Subject: x\r\n\r\n.\r\n").code == 250
        commands = " ".join(c for c in mta.wait_messages(1)[0]["commands"] if c.startswith("XFORWARD"))
        assert f"ADDR={lab.CLIENT4}" in commands and "HELO=strange+2Bname.example.net" in commands and "PROTO=ESMTP" in commands


def test_swaks_to_postfix(lab, room):
    with Path(lab, room) as post, Postfix(lab, "mta", room, {"inet_interfaces": f"{lab.MTA4}, {lab.MTA6}"}) as mta:
        for source, server in ((lab.CLIENT4, lab.MTA4), (lab.CLIENT6, f"[{lab.MTA6}]")):
            done = lab.exec("inet", "swaks", "--server", server, "--local-interface", source, "--from", SENDER, "--to", RECIPIENT,
                            "--body", ".leading dot\nsecond line", check=False)
            assert done.returncode == 0, done.stdout
        mails = mta.wait_mails(2)
        assert all(b"\n.leading dot\nsecond line\n" in mail for mail in mails)
        assert all(b"by fw.example.net (postern)" in mail for mail in mails)
        assert int(post.status()["counters"]["messages_stored"]) == 2


def test_postfix_to_postfix(lab, room):
    """Postfix's own SMTP client with everything it does: pipelining, DSN, 8BITMIME."""
    outer = {"inet_interfaces": lab.CLIENT4, "smtp_bind_address": lab.CLIENT4, "virtual_mailbox_domains": "", "relay_domains": "protected.example",
             "relayhost": f"[{lab.MTA4}]:25", "smtpd_recipient_restrictions": "permit", "inet_protocols": "ipv4"}
    with Path(lab, room) as post, Postfix(lab, "mta", room, {"inet_interfaces": lab.MTA4}) as mta, Postfix(lab, "inet", room, outer) as client:
        text = "Subject: from Postfix\n\n" + "line\n.dot\n" * 100
        for number in range(20):
            subprocess.run(lab.argv("inet", ["sendmail", "-C", str(client.dir), "-f", SENDER, RECIPIENT]), input=text.encode(), check=True,
                           timeout=30)
        mails = mta.wait_mails(20)
        assert all(b"line\n.dot\n" * 100 in mail for mail in mails)
        assert "status=bounced" not in client.log() and "status=deferred" not in client.log()
        assert "ev=rcpt" in post.log()


def test_smtplib_many_recipients(lab, room):
    with Path(lab, room, rules="noto:ALL:ALL:no*@protected.example:551 not %T\nallow:ALL:ALL:*@protected.example\n") as post, \
            Recorder(lab, lab.MTA4) as mta:
        sock = lab.connect("inet", (lab.CLIENT4, 0), (lab.MTA4, 25))
        client = smtplib.SMTP()
        client.sock, client.file = sock, None
        assert client.getreply()[0] == 220
        client._host = lab.MTA4
        refused = client.sendmail(SENDER, [f"u{n}@protected.example" for n in range(50)] + ["no1@protected.example", "x@elsewhere.example"],
                                  b"Subject: many\r\n\r\n\xe4\r\n", mail_options=["BODY=8BITMIME"])
        client.quit()
        assert sorted(refused) == ["no1@protected.example", "x@elsewhere.example"]
        assert refused["no1@protected.example"][0] == 551
        message = mta.wait_messages(1)[0]
        assert len(message["rcpts"]) == 50 and "BODY=8BITMIME" in message["mail"]
        assert b"for <" not in message["wire"].split(b"Subject")[0]


def test_smtp_source_load(lab, room):
    """Two ways at once, many sessions: nothing is lost, nothing comes twice."""
    with Path(lab, room) as post, Recorder(lab, lab.MTA4) as mta, Recorder(lab, lab.MTA6) as mta6:
        for address in (lab.MTA4, lab.MTA6):
            lab.exec("inet", "smtp-source", "-s", "20", "-l", "2000", "-m", "300", "-N", "-f", SENDER, "-t", RECIPIENT, f"inet:[{address}]:25",
                     timeout=120)
        for server in (mta, mta6):
            messages = server.wait_messages(300, limit_s=90)
            assert len(messages) == 300
        status = post.status()
        assert int(status["counters"]["messages_stored"]) == 600
        wait_until(lambda: int(post.status()["forwarder"]["delivered"]) == 600, "600 settled")


def ids(messages):
    return [re.search(rb"X-Number: (\d+)", m["wire"]).group(1) for m in messages]


@pytest.mark.parametrize("victim", ["forwarder", "worker", "daemon"])
def test_kill_loses_nothing(lab, room, victim):
    """Kill -9 in the middle of a stream: what was answered with 250 arrives."""
    with Path(lab, room, options={"retry-min": "1s"}) as post, Recorder(lab, lab.MTA4, args=["close_after=7"]) as mta:
        answered = []
        for number in range(60):
            if number in (20, 40):
                if victim == "forwarder":
                    post.forwarder.kill()
                    post.forwarder.wait()
                    post.start_forwarder()
                elif victim == "worker":
                    for pid in post.worker_pids():
                        os.kill(pid, 9)
                else:
                    post.daemon.kill()
                    post.daemon.wait()
                    wait_until(lambda: not lab.is_listening("fw", 2525), "the workers to let go of the port")
                    post.start_daemon()
            try:
                with post.talk() as client:
                    client.hello()
                    if client.message(b"X-Number: %d\r\n\r\nbody\r\n.\r\n" % number).code == 250:
                        answered.append(b"%d" % number)
            except (OSError, AssertionError):
                # This client was in the process that was killed; a real one comes again.
                continue
        assert len(answered) >= 50
        wait_until(lambda: set(answered) <= set(ids(mta.messages())), "everything answered with 250 to arrive", limit_s=60)


def test_every_recipient_settled_by_itself(lab, room):
    """One delivered, one refused for good, one for now: a report, a retry, and the good one only once."""
    with Path(lab, room, options={"retry-min": "1s", "bounce": "all", "bounce-via": f"smtp:{lab.MTA4_2}:25"}) as post, \
            Recorder(lab, lab.MTA4, args=["rcpt_550=gone", "rcpt_450=later"]) as mta, Recorder(lab, lab.MTA4_2) as sender_side:
        with post.talk() as client:
            client.hello()
            assert client.message(b"Subject: three\r\n\r\nbody\r\n.\r\n", SENDER, "good@protected.example", "gone@protected.example",
                                  "later@protected.example").code == 250
        assert [r.split(">")[0] for r in mta.wait_messages(1)[0]["rcpts"]] == ["<good@protected.example"]
        report = sender_side.wait_messages(1)[0]
        assert report["mail"].startswith("<>") and report["rcpts"][0].startswith(f"<{SENDER}>")
        text = report["wire"].decode("latin-1")
        assert "multipart/report" in text and "message/delivery-status" in text
        assert re.search(r"Final-Recipient: rfc822; ?gone@protected.example", text) and "Action: failed" in text and "Status: 5.1.1" in text
        assert "later@protected.example" not in text.split("Final-Recipient")[1].split("Content-Type")[0]
        listing = wait_until(lambda: post.postern("queue", "list", "--json").stdout, "a listing")
        assert "later@protected.example" in post.postern("queue", "show", re.search(r'"id": *"([^"]+)"', post.postern("queue", "list", "--json").stdout).group(1)).stdout, listing
        assert len(mta.messages()) == 1


def test_dsn_parameters_from_end_to_end(lab, room):
    """Taken at the session, kept in the envelope, passed on where the next server knows them, and honoured here where it does not. The
    reports go to a Postfix that refuses malformed MIME."""
    strict = {"inet_interfaces": lab.MTA6, "strict_mime_encoding_domain": "yes", "strict_8bitmime_body": "yes", "strict_7bit_headers": "yes"}
    text = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n.\r\n"
    with Path(lab, room, listen={"trust": "trusted"}, options={"bounce-via": f"smtp:[{lab.MTA6}]:25"}) as post, \
            Recorder(lab, lab.MTA4) as knows, Recorder(lab, lab.MTA4_2, args=["ehlo=PIPELINING", "rcpt_550=gone"]) as ignorant, \
            Postfix(lab, "mta", room, strict) as mta:
        for target in (lab.MTA4, lab.MTA4_2):
            with post.talk(target=target) as client:
                assert "DSN" in client.hello().text.split("\n")
                assert client.say("MAIL FROM:<me@protected.example> RET=FULL ENVID=QQ+2B1 BODY=8BITMIME").code == 250
                assert client.say("RCPT TO:<b@protected.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alias+2Bx@elsewhere.example").code == 250
                assert client.say("RCPT TO:<gone@protected.example> NOTIFY=FAILURE").code == 250
                assert client.say("RCPT TO:<c@protected.example> NOTIFY=NEVER").code == 250
                assert client.say("DATA").code == 354
                client.send(text)
                assert client.reply().code == 250
        known, = knows.wait_messages(1)
        assert known["mail"].split("> ")[1].split()[1:] == ["BODY=8BITMIME", "RET=FULL", "ENVID=QQ+2B1"]
        assert known["rcpts"] == ["<b@protected.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alias+2Bx@elsewhere.example",
                                  "<gone@protected.example> NOTIFY=FAILURE", "<c@protected.example> NOTIFY=NEVER"]
        unknown, = ignorant.wait_messages(1)
        assert unknown["mail"] == "<me@protected.example>" and unknown["rcpts"] == ["<b@protected.example>", "<c@protected.example>"]
        mails = {mail.split(b"Action: ")[1].split(b"\n")[0]: mail for mail in mta.wait_mails(2)}
        assert set(mails) == {b"failed", b"relayed"}, mta.log()
        assert b"Final-Recipient: rfc822;gone@protected.example\n" in mails[b"failed"] and b"\ngr\xc3\xbc\xc3\x9fe\n" in mails[b"failed"]
        assert b"Original-Recipient: rfc822;alias+x@elsewhere.example\n" in mails[b"relayed"] and b"Original-Envelope-Id: QQ+1\n" in mails[b"relayed"]
        assert b"c@protected.example" not in mails[b"relayed"] + mails[b"failed"]
        assert int(post.status()["forwarder"]["reports"]) == 2


@pytest.mark.parametrize("version", [4, 6])
def test_report_back_to_where_the_mail_came_from(lab, room, version):
    """A firewall without a mail server: the report goes to the sender's own, the one that is on the other end."""
    client_address, server_address = addresses(lab, version)
    with Path(lab, room, listen={"trust": "trusted"}, options={"bounce-via": "original"}) as post, \
            Recorder(lab, server_address, args=["rcpt_550=gone"]) as mta, Recorder(lab, client_address, ns="inet") as sender_side:
        with post.talk(client_address) as client:
            client.hello()
            assert client.message(b"Subject: x\r\n\r\n.\r\n", SENDER, "gone@protected.example").code == 250
        report, = sender_side.wait_messages(1)
        assert report["mail"].startswith("<>") and report["rcpts"][0].startswith(f"<{SENDER}>")
        assert b"Final-Recipient: rfc822;gone@protected.example" in report["wire"] and not mta.messages()


def test_dead_server_waits_and_others_flow(lab, room):
    """Nobody listens on MTA4, MTA4_2 never says a word, MTA6 is well."""
    with Path(lab, room, options={"retry-min": "1s", "retry-max": "2s", "reply-timeout": "5s"}) as post, \
            Recorder(lab, lab.MTA6) as well, Recorder(lab, lab.MTA4_2, args=["silent=1"]):
        for target in (lab.MTA4, lab.MTA4_2, lab.MTA6):
            with post.talk(lab.CLIENT6 if ":" in target else lab.CLIENT4, target) as client:
                client.hello()
                assert client.message(b"Subject: to %s\r\n\r\n.\r\n" % target.encode()).code == 250
        well.wait_messages(1)
        wait_until(lambda: len(list((post.spool / "queue").iterdir())) >= 1, "the waiting message to become a file in queue/")
        listing = post.postern("queue", "list").stdout
        assert lab.MTA4 in listing
        # The server comes back: the message goes out by itself, or at once when told to.
        with Recorder(lab, lab.MTA4) as back:
            post.postern("queue", "retry", "all")
            back.wait_messages(1)


def test_queue_delete_and_cat(lab, room):
    with Path(lab, room, options={"retry-min": "1h", "retry-max": "1h"}) as post:
        with post.talk() as client:
            client.hello()
            reply = client.message(b"Subject: unwanted\r\n\r\nbody\r\n.\r\n")
        message_id = reply.text.rsplit(" ", 1)[1]
        wait_until(lambda: message_id in post.postern("queue", "list").stdout and (post.spool / "queue" / message_id).exists(), "it to wait")
        assert "Subject: unwanted" in post.postern("queue", "cat", message_id).stdout
        assert SENDER in post.postern("queue", "show", message_id).stdout
        post.postern("queue", "delete", message_id)
        wait_until(lambda: not (post.spool / "queue" / message_id).exists(), "its file to go")
        assert message_id not in post.postern("queue", "list").stdout
        assert post.postern("queue", "delete", message_id, check=False).returncode != 0


def test_forward_to_one_server(lab, room):
    with Path(lab, room, listen={"forward": f"smtp:{lab.MTA4_2}:2025"}) as post, Recorder(lab, lab.MTA4_2, 2025) as mta:
        with post.talk() as client:
            client.hello()
            assert client.message(b"Subject: x\r\n\r\n.\r\n").code == 250
        assert mta.wait_messages(1)[0]["client"] == lab.LAN4


def test_forward_into_mailboxes(lab, room):
    """By LMTP, each recipient with its own reply behind the final dot (more of it in test_lmtp.py)."""
    with Path(lab, room, listen={"forward": f"lmtp:{lab.MTA4_2}"}) as post, Recorder(lab, lab.MTA4_2, 24, args=["lmtp=1", "done_452=full"]) as mta:
        with post.talk() as client:
            client.hello()
            assert client.message(b"Subject: x\r\n\r\n.\r\n", SENDER, RECIPIENT, "full@protected.example").code == 250
        message, = mta.wait_messages(1)
        assert message["rcpts"] == [f"<{RECIPIENT}>"] and message["helo"] == "fw.example.net"
        post.wait_log("ev=deferred .*full@protected.example", program="posternfwd")
        assert f"lmtp:{lab.MTA4_2}:24" in post.postern("status").stdout


def test_forward_by_sendmail(lab, room):
    """The program gets -f SENDER, the recipients and native lines; its exit status decides."""
    out = room / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    program = room / "sendmail"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{out}/args.$$\ncat >{out}/input.$$\nmv {out}/input.$$ {out}/done.$$\n")
    program.chmod(0o755)
    with Path(lab, room, listen={"forward": f"sendmail:{program}"}) as post:
        with post.talk() as client:
            client.hello()
            assert client.message(b"Subject: x\r\n\r\n..dot\r\nlast\r\n.\r\n", SENDER, RECIPIENT, "c@protected.example").code == 250
        wait_until(lambda: list(out.glob("done.*")), "the program to run")
        done = list(out.glob("done.*"))[0]
        assert done.read_bytes().endswith(b"Subject: x\n\n.dot\nlast\n")
        args = (out / done.name.replace("done", "args")).read_text().split("\n")
        assert args[:2] == ["-f", SENDER] and RECIPIENT in args and "c@protected.example" in args
        wait_until(lambda: int(post.status()["forwarder"]["delivered"]) >= 1, "it to be settled")


def test_forward_by_postfix_sendmail(lab, room):
    """A real sendmail command on the firewall, with its set-gid postdrop, run by a process that has no rights."""
    hub = {"inet_interfaces": "loopback-only", "virtual_mailbox_domains": "", "relay_domains": "protected.example",
           "relayhost": f"[{lab.MTA4}]:25", "inet_protocols": "ipv4"}
    with Postfix(lab, "fw", room, hub, is_default=True) as postfix, Recorder(lab, lab.MTA4) as mta, \
            Path(lab, room, listen={"forward": "sendmail:/usr/sbin/sendmail"}) as post:
        with post.talk() as client:
            client.hello()
            assert client.message(b"Subject: x\r\n\r\n..\r\n..dot\r\nlast\r\n.\r\n", "-odd@sender.example", RECIPIENT).code == 250
            assert client.message(b"Subject: null\r\n\r\n.\r\n", "", RECIPIENT).code == 250
        messages = mta.wait_messages(2)
        assert {m["mail"].split(">")[0] for m in messages} == {"<-odd@sender.example", "<"}, postfix.log()
        assert any(m["wire"].endswith(b"\r\n..\r\n..dot\r\nlast\r\n.\r\n") for m in messages)


def test_both_daemons_start_in_the_same_moment(lab, room):
    """As init systems do it: each prepares the spool, and neither trips over the other."""
    for number in range(5):
        directory = room / str(number)
        directory.mkdir(mode=0o711)
        with Installation(lab, directory) as post:
            post.daemon = post._spawn("posternd", ["-f", post.conf_path], None)
            post.forwarder = post._spawn("posternfwd", ["-f", post.conf_path], None)
            post._wait_start(post.daemon, "posternd", lambda: "ev=ready" in post.log())
            post._wait_start(post.forwarder, "posternfwd", post._answers)
            wait_until(lambda: {w["forwarder"] for w in post.status()["workers"]} == {"connected"}, "the workers to be connected")


def test_nothing_without_250(lab, room):
    """A client that leaves before the final dot sent nothing."""
    with Path(lab, room) as post, Recorder(lab, lab.MTA4) as mta:
        with post.talk() as client:
            client.hello()
            client.envelope()
            client.send(b"Subject: half\r\n\r\nbody\r\n.\r")
        post.wait_log("client left in the middle")
        with post.talk() as client:
            client.hello()
            assert client.message(b"Subject: whole\r\n\r\n.\r\n").code == 250
        messages = mta.wait_messages(1)
        assert [b"Subject: whole" in m["wire"] for m in messages] == [True]
