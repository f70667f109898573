"""SMTP sessions through the diversion, over IPv4 and IPv6: what posternd answers, and what it stores."""

import os
import random
import re
import resource
import signal
import socket
import struct
import time

import pytest

import journal
from installation import Installation
from netlab import wait_until

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"

DIVERTED = ("wan",)


@pytest.fixture
def posternd(lab, tmp_path):
    """posternd(rules=…, **options): a running one; option names with _ for -."""
    running = []

    def start(rules="allow:ALL:ALL:ALL\n", listen=None, prefix=(), **options):
        options = {key.replace("_", "-"): value for key, value in options.items()}
        directory = tmp_path / str(len(running))
        directory.mkdir()
        post = Installation(lab, directory, rules=rules, listen=listen, options=options)
        post.prefix = list(prefix)
        running.append(post)
        post.start_daemon()
        return post

    yield start
    for post in running:
        post.__exit__()


@pytest.fixture(params=["ipv4", "ipv6"])
def client_address(request, lab):
    return lab.CLIENT4 if request.param == "ipv4" else lab.CLIENT6


def is_usable(talk):
    """The session goes on: a whole message is still accepted in it."""
    talk.say("RSET")
    assert talk.say("EHLO again.example.net").code == 250
    reply = talk.message(BODY)
    return reply.code == 250


def codes(talk, count):
    return [talk.reply().code for _ in range(count)]


# ---- greeting and order


def test_greeting_and_hello(posternd, client_address):
    post = posternd(max_size="1M")
    with post.talk(client_address) as talk:
        assert talk.greeting == (220, "fw.example.net ESMTP postern")
        code, text = talk.say("EHLO client10.example.net")
        lines = text.split("\n")
        assert code == 250 and lines[0] == f"fw.example.net Hello [{client_address}]"
        assert sorted(lines[1:]) == ["8BITMIME", "DSN", "ENHANCEDSTATUSCODES", "PIPELINING", "SIZE 1048576"]
        assert talk.say("HELO client10.example.net") == (250, f"fw.example.net Hello [{client_address}]")
        assert talk.say("ehlo [192.0.2.10]").code == 250
        assert talk.say("EHLO").code == 501 and talk.say("HELO ").code == 501
        assert talk.say("NOOP").code == 250, "each command was answered once"
        assert talk.say("QUIT").code == 221 and talk.is_closed()


ORDER = [
    ("MAIL FROM:<a@b.example>", 503), ("RCPT TO:<a@b.example>", 503), ("DATA", 503), ("VRFY a", 252), ("NOOP", 250), ("NOOP anything", 250),
    ("HELP", 214), ("HELP MAIL", 214), ("RSET", 250), ("EXPN list", 502), ("STARTTLS", 502), ("AUTH PLAIN AGEAYg==", 502), ("BDAT 10 LAST", 502),
    ("ETRN x", 502), ("TURN", 502), ("XCLIENT ADDR=1.2.3.4", 502), ("WIZ", 500), ("", 500), (" NOOP", 500), ("NOOPX", 500), ("\x01\x02", 500),
    ("MAILFROM:<a@b.example>", 500), ("VRFY", 501), ("RSET now", 501), ("DATA now", 503),
    ("EHLO c.example", 250), ("RCPT TO:<a@b.example>", 503), ("DATA", 503), ("MAIL", 501), ("MAIL FROM:<a@b.example>", 250),
    ("MAIL FROM:<a@b.example>", 503), ("DATA", 503), ("RCPT", 501), ("RCPT TO:<x@y.example>", 250), ("EHLO c.example", 250), ("DATA", 503),
    ("MAIL FROM:<a@b.example>", 250), ("RSET", 250), ("RCPT TO:<a@b.example>", 503), ("MAIL FROM:<>", 250), ("QUIT now", 501),
    ("DATA now", 501), ("NOOP", 250),
]


def test_order_of_commands(posternd, client_address):
    post = posternd(max_errors=1000, tarpit_errors=0)
    with post.talk(client_address) as talk:
        for command, code in ORDER:
            assert talk.say(command).code == code, command
        assert is_usable(talk)


def test_every_error_has_a_matching_enhanced_code(posternd):
    post = posternd(max_errors=1000, tarpit_errors=0)
    with post.talk() as talk:
        for command, code in ORDER:
            reply = talk.say(command)
            if code >= 300 or command.split(" ")[0] in ("RSET", "NOOP", "MAIL", "RCPT", "VRFY"):
                assert all(re.match(rf"{code // 100}\.\d\.\d ", line) for line in reply.text.split("\n")), (command, reply)


MAIL_ZOO = [
    ("FROM:<a@b.example>", 250), ("from:<a@b.example>", 250), ("FROM: <a@b.example>", 250), ("FROM:a@b.example", 250), ("FROM:<>", 250),
    ('FROM:<"a b"@c.example>', 250), (r'FROM:<"a\"b>"@c.example>', 250), ("FROM:<@r.example,@s.example:a@b.example>", 250),
    ("FROM:<a@[192.0.2.1]>", 250), ("FROM:<a@[IPv6:2001:db8::1]>", 250), ("FROM:<postmaster>", 250), ("FROM:<a..b@c.example>", 250),
    ("FROM:<a@b.example> SIZE=100 BODY=8BITMIME", 250), ("FROM:<a@b.example> RET=HDRS ENVID=QQ314159", 250), ("FROM:<a@b.example> AUTH=<>", 250),
    ("FROM:<a@b.example>  SIZE=1", 250), ("FROM:<" + "a" * 64 + "@b.example>", 250),
    ("FROM:<a@b.example", 501), ("FROM:<a b@c.example>", 501), ("FROM:<a@>", 501), ("FROM:<@b.example>", 501), ("FROM:", 501), ("FROM", 501),
    ("TO:<a@b.example>", 501), ("FROM:<a@b@c.example>", 501), ("FROM:<a@b..example>", 501), ("FROM:<a@-b.example>", 501),
    ("FROM:<a@[300.1.1.1]>", 501), ("FROM:<a@b.example>x", 501), ("FROM:<a@" + "b" * 64 + ".example>", 501),
    ("FROM:<" + "a" * 1000 + "@b.example>", 501), ("FROM:<a@" + "b." * 200 + "example>", 501),
    ("FROM:<a@b.example> SIZE=x", 501), ("FROM:<a@b.example> SIZE", 501), ("FROM:<a@b.example> BODY=9BIT", 501), ("FROM:<a@b.example> RET=ALL", 501),
    ("FROM:<a@b.example> SIZE=1 SIZE=2", 501), ("FROM:<a@b.example> ENVID=a+zz", 501), ("FROM:<a@b.example> FOO=BAR", 555),
    ("FROM:<a@b.example> SMTPUTF8", 555), ("FROM:<a@b.example> SIZE=99999999999", 552), ("FROM:<a@b.example> SIZE=999999999999999999999", 501),
    (b"FROM:<\xc3\xa4@b.example>", 553),
]
RCPT_ZOO = [
    ("TO:<a@b.example>", 250), ("to:<a@b.example>", 250), ("TO: <a@b.example>", 250), ("TO:<postmaster>", 250), ("TO:a@b.example", 250),
    ("TO:<a@b.example> NOTIFY=NEVER", 250), ("TO:<a@b.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bx@b.example", 250),
    ("TO:<>", 501), ("TO:", 501), ("FROM:<a@b.example>", 501), ("TO:<a@b.example", 501), ("TO:<a b@c.example>", 501),
    ("TO:<a@b.example> NOTIFY=", 501), ("TO:<a@b.example> NOTIFY=NEVER,SUCCESS", 501), ("TO:<a@b.example> NOTIFY=OFTEN", 501),
    ("TO:<a@b.example> ORCPT=rfc822", 501), ("TO:<a@b.example> ORCPT=;x", 501), ("TO:<a@b.example> SIZE=1", 555),
    (b"TO:<\xff@b.example>", 553),
]


def test_syntax_of_mail_and_rcpt(posternd):
    post = posternd(max_errors=1000, tarpit_errors=0)
    with post.talk() as talk:
        talk.hello()
        for args, code in MAIL_ZOO:
            line = b"MAIL " + (args if isinstance(args, bytes) else args.encode())
            assert talk.say(line).code == code, args
            assert talk.say("NOOP").code == 250
            if code == 250:
                talk.say("RSET")
        assert talk.say("MAIL FROM:<a@b.example>").code == 250
        for args, code in RCPT_ZOO:
            line = b"RCPT " + (args if isinstance(args, bytes) else args.encode())
            assert talk.say(line).code == code, args
        assert is_usable(talk)


def test_envelope_is_stored_as_given(posternd):
    post = posternd()
    with post.talk() as talk:
        talk.hello("client10.example.net")
        for command in (r'MAIL FROM:<"odd \\ one>"@sender.example> RET=HDRS ENVID=QQ+2B1 BODY=8BITMIME SIZE=100',
                        "RCPT TO:<b@protected.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+3Dx@old.example", "RCPT TO:<c@protected.example>"):
            assert talk.say(command).code == 250
        assert talk.say("DATA").code == 354
        talk.send(BODY)
        message = journal.find(post.spool, talk.reply())
    assert message.sender == r'"odd \\ one>"@sender.example' and message.paths == ["b@protected.example", "c@protected.example"]
    parameters = message.recipients[0].parameters
    assert sorted(parameters.pop("NOTIFY").split(",")) == ["DELAY", "SUCCESS"]
    assert parameters == {"ORCPT": "rfc822;b+3Dx@old.example"} and message.recipients[1].parameters == {}
    fields = message.fields
    assert (fields["RET"], fields["ENVID"], fields["BODY"]) == ("HDRS", "QQ+2B1", "8BITMIME")
    assert (fields["HELO"], fields["PROTO"], fields["IFACE"], fields["LISTENER"]) == ("client10.example.net", "ESMTP", "wan", "wan")
    assert fields["CLIENT"].split()[0] == post.lab.CLIENT4 and fields["DST"] == f"{post.lab.MTA4} 25" and "TRUST" not in fields
    assert abs(int(fields["TIME"]) - time.time()) < 300


# ---- pipelining


def transaction(sender, recipient, subject):
    text = f"Subject: {subject}\r\n\r\n..dot\r\ntext {subject}\r\n.\r\n"
    return f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n{text}".encode(), text.encode()


def test_pipelining_cut_anywhere(posternd, client_address):
    """The same bytes whole, one by one, and cut at random: the same replies, the same messages."""
    post = posternd()
    one, one_text = transaction("a@sender.example", "one@protected.example", "1")
    two, two_text = transaction("", "two@protected.example", "2")
    wire = b"EHLO c.example\r\n" + one + b"NOOP\r\n" + two + b"RSET\r\nQUIT\r\n"
    rng = random.Random(3)
    cuts = [[len(wire)], list(range(1, len(wire) + 1))] + [sorted(rng.sample(range(1, len(wire)), 6)) + [len(wire)] for _ in range(12)]
    for ends in cuts:
        with post.talk(client_address) as talk:
            talk.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begin = 0
            for end in ends:
                talk.send(wire[begin:end])
                begin = end
                if len(ends) < 100:
                    time.sleep(0.001)
            replies = [talk.reply() for _ in range(12)]
            assert [r.code for r in replies] == [250, 250, 250, 354, 250, 250, 250, 250, 354, 250, 250, 221], ends
            assert journal.find(post.spool, replies[4]).sent == one_text
            assert journal.find(post.spool, replies[9]).sent == two_text
            assert talk.is_closed()
    assert len(journal.messages(post.spool, check_body=True)) == 2 * len(cuts)


def test_more_commands_than_replies_may_wait(posternd):
    """One burst whose replies are far larger than itself: all of them come, also when the client has already closed its half."""
    post = posternd(rules="noto:ALL:ALL:no*@ALL:550 %s\nallow:ALL:ALL:ALL\n" % ("x" * 200), max_recipients=2000)
    burst = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n" + b"RCPT TO:<no@p.example>\r\n" * 1500 + b"RCPT TO:<b@p.example>\r\nDATA\r\n" + BODY + b"QUIT\r\n"
    with post.talk() as talk:
        talk.send(burst)
        assert codes(talk, 1506) == [250, 250] + [550] * 1500 + [250, 354, 250, 221]
    with post.talk() as talk:
        talk.send(burst)
        talk.sock.shutdown(socket.SHUT_WR)
        assert codes(talk, 1506) == [250, 250] + [550] * 1500 + [250, 354, 250, 221]
        assert talk.is_closed()


def test_half_closed_client_gets_its_replies(posternd, client_address):
    post = posternd()
    wire, _ = transaction("a@sender.example", "b@protected.example", "half")
    with post.talk(client_address) as talk:
        talk.send(b"EHLO c.example\r\n" + wire + b"QUIT\r\n")
        talk.sock.shutdown(socket.SHUT_WR)
        replies = [talk.reply() for _ in range(6)]
        assert [r.code for r in replies] == [250, 250, 250, 354, 250, 221] and talk.is_closed()
        assert journal.find(post.spool, replies[4])


def test_client_that_reads_nothing(posternd):
    """It fills its own pipe and is thrown out; others are not held up."""
    post = posternd(rules="noto:ALL:ALL:ALL:550 %s\n" % ("x" * 400), command_timeout="1s", max_recipients=10000)
    deaf = post.lab.socket("inet")
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.settimeout(20)
    deaf.bind((post.lab.CLIENT4, 0))
    deaf.connect((post.lab.MTA4, 25))
    deaf.sendall(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
    try:
        while True:
            deaf.sendall(b"RCPT TO:<b@p.example>\r\n" * 1000)
    except (ConnectionError, socket.timeout):
        pass
    post.wait_log("client does not read")
    with post.talk() as talk:
        talk.hello()
    deaf.close()


# ---- bounds


def test_errors_are_bounded(posternd):
    post = posternd(max_errors=5)
    with post.talk() as talk:
        talk.hello()
        assert [talk.say("WIZ").code for _ in range(5)] == [500] * 5
        assert talk.reply().code == 421 and talk.is_closed()
    with post.talk() as talk:
        talk.send(b"WIZ\r\n" * 5000)
        assert codes(talk, 6) == [500] * 5 + [421] and talk.is_closed()


@pytest.mark.parametrize("junk", ["NOOP", "RSET", "VRFY x", "HELP", "EHLO x.example", "HELO x.example"])
def test_junk_is_bounded(posternd, junk):
    post = posternd(max_errors=5)
    with post.talk() as talk:
        seen = [talk.say(junk).code for _ in range(100)]
        assert len(set(seen)) == 1 and seen[0] < 300
        assert talk.say(junk).code == 503
        seen = [talk.reply().code for _ in [talk.send((junk + "\r\n") * 50)] for _ in range(5)]
        assert seen == [503] * 4 + [421] and talk.is_closed()


def test_line_lengths(posternd):
    post = posternd(max_errors=1000, tarpit_errors=0)
    with post.talk() as talk:
        talk.hello()
        assert talk.say("NOOP " + "x" * (512 - 7)).code == 250
        assert talk.say("NOOP " + "x" * 3000).code == 500
        assert talk.say("NOOP").code == 250
        for size in (2049, 65535, 65536, 200000):
            talk.send(b"NOOP " + b"MAIL FROM:<a@b.example>" * (size // 23))
            talk.send(b"\r\n")
            assert talk.reply().code == 500, size
            assert talk.say("RCPT TO:<a@b.example>").code == 503, "no part of the long line was a command"
        assert is_usable(talk)


def test_rest_of_a_long_line_is_no_command(posternd):
    """A line too long arrives in two parts while a reply is being held back; the command behind it has to wait. Its rest stays thrown away."""
    post = posternd(rules="noto_delay:ALL:ALL:slow@ALL\nallow:ALL:ALL:ALL\n", noto_delay="1s", max_errors=1000, tarpit_errors=0)
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        talk.send(b"RCPT TO:<slow@p.example>\r\n" + b"x" * 4000)
        time.sleep(0.2)
        talk.send(b" MAIL\r\nRSET\r\nNOOP\r\n")
        assert codes(talk, 4) == [550, 500, 250, 250]
        assert is_usable(talk)


def test_size(posternd, client_address):
    post = posternd(max_size="64K")
    line = b"x" * 62 + b"\r\n"
    with post.talk(client_address) as talk:
        talk.hello()
        assert talk.say("MAIL FROM:<a@b.example> SIZE=65537").code == 552
        assert talk.say("MAIL FROM:<a@b.example> SIZE=65536").code == 250
        talk.say("RSET")
        assert talk.message(line * 1024 + b".\r\n").code == 250
        assert talk.message(line * 1024 + b"\r\n.\r\n").code == 552
        assert talk.message(line * 20000 + b".\r\n").code == 552
        assert talk.message(BODY).code == 250
    assert len(journal.messages(post.spool)) == 2


def test_recipients_are_bounded(posternd):
    post = posternd(rules="noto:ALL:ALL:no@ALL\nallow:ALL:ALL:ALL\n", max_recipients=100)
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        talk.send(b"".join(b"RCPT TO:<r%d@p.example>\r\n" % i for i in range(103)))
        assert codes(talk, 103) == [250] * 100 + [452] * 3
        assert talk.say("DATA").code == 354
        talk.send(BODY)
        message = journal.find(post.spool, talk.reply())
        assert message.paths == [f"r{i}@p.example" for i in range(100)]
        assert " for " not in message.received.replace("\r\n\t", " ").split("with")[1].split("(")[0], "no single recipient, no for"
        talk.say("MAIL FROM:<a@b.example>")
        assert [talk.say("RCPT TO:<no@p.example>").code for _ in range(102)] == [550] * 100 + [452] * 2


def test_no_recipient_left(posternd):
    post = posternd(rules="noto:ALL:ALL:ALL:553 5.7.1 go away\n")
    with post.talk() as talk:
        talk.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\nDATA\r\nNOOP\r\n")
        replies = [talk.reply() for _ in range(5)]
        assert [r.code for r in replies] == [250, 250, 553, 554, 250] and replies[2].text == "5.7.1 go away"
        assert talk.say("DATA").code == 554
        assert talk.say("RSET").code == 250
    assert journal.messages(post.spool) == []


# ---- line ends


BAD_LINES = [b"NOOP\n", b"NOOP\rRSET\r\n", b"NOOP\x00\r\n", b"NO\rOP\r\n", b"\rNOOP\r\n"]


def test_bare_line_ends_and_nul_in_commands(posternd):
    post = posternd(max_errors=1000, tarpit_errors=0)
    with post.talk() as talk:
        talk.hello()
        for line in BAD_LINES:
            talk.send(line if line.endswith(b"\r\n") else line + b"MAIL FROM:<a@b.example>\r\n")
            assert talk.reply().code == 500, line
            assert talk.say("RCPT TO:<b@p.example>").code == 503, "nothing of the bad line was run"
        assert is_usable(talk)


BAD_DATA = {"bare LF": b"one\ntwo\r\n.\r\n", "bare CR": b"one\rtwo\r\n.\r\n", "NUL": b"one\0two\r\n.\r\n", "CR CRLF": b"one\r\r\n.\r\n",
            "CR at the end": b"one\r\n.\r\r\n.\r\n", "late": b"x\r\n" * 200000 + b"\n\r\n.\r\n"}


def test_bare_line_ends_and_nul_in_data(posternd, client_address):
    post = posternd(max_errors=1000, tarpit_errors=0)
    with post.talk(client_address) as talk:
        talk.hello()
        for what, wire in BAD_DATA.items():
            assert talk.message(b"Subject: x\r\n\r\n" + wire).code == 550, what
            assert talk.say("NOOP").code == 250, what
        assert is_usable(talk)
    assert len(journal.messages(post.spool)) == 1


SMUGGLED = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@p.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"
ENDS = {"LF.LF": b"\n.\n", "LF.CRLF": b"\n.\r\n", "CRLF.LF": b"\r\n.\n", "CR.CR": b"\r.\r", "CR.CRLF": b"\r.\r\n", "CRLF.CR": b"\r\n.\r",
        "LF.CR": b"\n.\r", "CR.LF": b"\r.\n", "CRLF.CRCRLF": b"\r\n.\r\r\n", "NUL": b"\r\n\0.\r\n", "dot NUL": b"\r\n.\0\r\n"}


@pytest.mark.parametrize("bare_lf", ["reject", "normalize"])
def test_no_smuggling(posternd, bare_lf):
    """No mixture of line ends but CRLF.CRLF ends the data: never a second message, and none is stored that another server could split."""
    post = posternd(bare_lf=bare_lf, max_errors=1000, tarpit_errors=0)
    accepted = []
    for what, end in ENDS.items():
        with post.talk() as talk:
            talk.hello()
            talk.envelope()
            talk.send(b"Subject: outer\r\n\r\nfirst" + end + SMUGGLED + b"NOOP\r\nQUIT\r\n")
            replies = []
            while not replies or replies[-1].code is not None:
                replies.append(talk.reply())
            seen = [r.code for r in replies]
            # Everything up to the true end was one message: then NOOP and QUIT. Or refused and closed.
            assert seen in ([250, 250, 221, None], [550, 250, 221, None], [550, None]), (what, replies)
            if seen[0] == 250:
                accepted.append((what, replies[0]))
    stored = journal.messages(post.spool)
    assert len(stored) == len(accepted)
    for message in stored:
        message.check_wire()
        assert message.paths == ["b@protected.example"] and b"evil\r\n" in message.sent
    assert {what for what, _ in accepted} == ({"LF.LF", "LF.CRLF", "CRLF.LF"} if bare_lf == "normalize" else set())


def test_normalized_line_ends(posternd):
    post = posternd(bare_lf="normalize")
    with post.talk() as talk:
        talk.send(b"EHLO c.example\nMAIL FROM:<a@b.example>\nRCPT TO:<b@p.example>\nDATA\n")
        assert codes(talk, 4) == [250, 250, 250, 354]
        talk.send(b"Subject: unix\n\none\ntwo\r\n.three\r\n\r\n.\r\n")
        message = journal.find(post.spool, talk.reply())
        talk.message(b"a\rb\r\n.\r\n")
    assert message.sent.startswith(b"Subject: unix\r\n\r\none\r\ntwo\r\n") and len(journal.messages(post.spool)) == 1


# ---- what is stored


def test_messages_arrive_byte_for_byte(posternd, client_address):
    post = posternd()
    rng = random.Random(5)
    eight = bytes(b for b in range(1, 256) if b not in (10, 13, 46))
    wires = {
        "empty": b".\r\n",
        "only a header": b"Subject: x\r\n.\r\n",
        "no header": b"\r\nbody\r\n.\r\n",
        "an empty line": b"\r\n.\r\n",
        "dots": b"\r\n..\r\n...\r\n..x\r\n. .\r\n".replace(b"\r\n. .", b"\r\n.. .") + b".\r\n",
        "998": b"\r\n" + b"y" * 998 + b"\r\n.\r\n",
        "long line": b"\r\n" + b"z" * 300000 + b"\r\n.\r\n",
        "8 bit": b"\r\n" + eight + b"\r\n.\r\n",
        "white space": b"Subject: x \r\n\tfolded \r\n\r\n \t \r\n\r\n\r\n.\r\n",
        "lines": b"".join(bytes(rng.choices(eight, k=rng.randrange(80))) + b"\r\n" for _ in range(2000)) + b".\r\n",
    }
    with post.talk(client_address) as talk:
        talk.hello()
        for what, wire in wires.items():
            if what != "lines":
                assert wire.endswith(b"\r\n.\r\n") or wire == b".\r\n"
            assert journal.find(post.spool, talk.message(wire)).check_wire().sent == wire, what


def test_large_message(posternd):
    post = posternd()
    line = b"0123456789abcdef" * 4 + b"..\r\n"
    wire = b"Subject: large\r\n\r\n" + line * (20_000_000 // len(line)) + b".\r\n"
    with post.talk(timeout=60) as talk:
        talk.hello()
        message = journal.find(post.spool, talk.message(wire))
        assert message.sent == wire and (post.spool / "large" / message.id).exists()
        # One that is given up in the middle takes no space; its name is for posternfwd to sweep up.
        talk.envelope()
        talk.send(wire[:5_000_000])

    def sizes():
        try:
            return sorted(path.stat().st_size for path in (post.spool / "large").iterdir())
        except FileNotFoundError:  # it got its name just now
            return None

    wait_until(lambda: sizes() in ([0, len(message.wire)], [len(message.wire)]), "the cut large body to be emptied")
    assert len(journal.messages(post.spool)) == 1


def test_recipients_that_would_overflow_the_envelope(posternd):
    """Said at RCPT, not after the data: those that were accepted get the message."""
    post = posternd(max_recipients=10000)
    with post.talk(timeout=60) as talk:
        talk.hello()
        assert talk.say("MAIL FROM:<a@b.example>").code == 250
        accepted = refused = 0
        for start in range(0, 6000, 50):
            talk.send("".join(f"RCPT TO:<{'u' * 240}{n}@{'d' * 60}.example> ORCPT=rfc822;{'o' * 450}@b.example\r\n" for n in range(start, start + 50)))
            found = codes(talk, 50)
            accepted += found.count(250)
            refused += found.count(452)
        assert accepted + refused == 6000 and accepted > 1000 and refused > 0
        assert talk.say("DATA").code == 354
        talk.send(BODY)
        assert talk.reply().code == 250


def test_received_header(posternd, client_address):
    post = posternd()
    v6 = ":" in client_address
    literal = f"[IPv6:{client_address}]" if v6 else f"[{client_address}]"
    dst = f"[{post.lab.MTA6}]:25" if v6 else f"{post.lab.MTA4}:25"
    date = r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"

    def expect(message, name, protocol, single):
        to = "\t" + re.escape("for <b@protected.example>;") + "\r\n" if single else ""
        diverted = re.escape(f"\t(on its way to {dst}, diverted on wan)") + ("" if single else ";") + "\r\n"
        wanted = (re.escape(f"Received: from {name} ({literal})") + "\r\n\t" + re.escape(f"by fw.example.net (postern) with {protocol} id {message.id}")
                  + "\r\n" + diverted + to + "\t" + date + "\r\n")
        assert re.fullmatch(wanted, message.received), message.received

    with post.talk(client_address) as talk:
        talk.say("HELO client.example.net")
        expect(journal.find(post.spool, talk.message(BODY)), "client.example.net", "SMTP", True)
        talk.say("EHLO client.example.net")
        expect(journal.find(post.spool, talk.message(BODY)), "client.example.net", "ESMTP", True)
        expect(journal.find(post.spool, talk.message(BODY, "", "b@protected.example", "c@protected.example")), "client.example.net", "ESMTP", False)
        talk.say("EHLO what (is) this?")
        expect(journal.find(post.spool, talk.message(BODY)), literal, "ESMTP", True)
        talk.say(b"EHLO \xff\xfe)(;" + b"x" * 1500)
        message = journal.find(post.spool, talk.message(BODY))
        expect(message, literal, "ESMTP", True)
        assert message.fields["HELO"].startswith("\xff\xfe)(;xxx")


def test_loops(posternd):
    post = posternd(max_own_received=2)
    other = b"Received: from x.example by y.example; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    own = b"Received: from x.example\r\n\tby FW.example.net (postern) with ESMTP; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    with post.talk() as talk:
        talk.hello()
        assert talk.message(other * 29 + BODY).code == 250
        assert talk.message(other * 30 + BODY).code == 554
        assert talk.message(BODY[:-3] + other * 40 + b".\r\n").code == 250, "in the body they count for nothing"
        assert talk.message(own + other + BODY).code == 250
        assert talk.message(own + other + own + BODY).code == 554
        assert talk.message(b"Received: from fw.example.net by z.example;\r\n" * 5 + BODY).code == 250
        assert is_usable(talk)


# ---- clients that go away, and slow ones


def test_client_that_leaves_at_every_stage(posternd, client_address):
    """Wherever it closes, with FIN or with RST: nothing is stored but what was answered 250."""
    post = posternd()
    wire = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\nDATA\r\nSubject: cut\r\n\r\ntext\r\n.\r"
    stages = [0, 3, 16, 20, 40, 64, 68, 70, 80, 90, len(wire) - 2, len(wire)]
    for reset in (False, True):
        for stage in stages:
            talk = post.talk(client_address)
            talk.send(wire[:stage])
            if reset:
                talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            talk.close()
    wait_until(lambda: post.log().count("ev=disconnect") >= 2 * len(stages), "all of them to be gone")
    assert journal.messages(post.spool) == []
    with post.talk(client_address) as talk:
        assert is_usable(talk)


def test_reset_behind_unread_bytes(posternd):
    """The worker sees a client's bytes and its RST in one event: it reads the bytes, and must still come to know of the RST."""
    post = posternd(workers=1)
    pid = post.workers_by_log()[0]
    talk = post.talk()
    os.kill(pid, signal.SIGSTOP)
    talk.send(b"EHL")
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.close()
    os.kill(pid, signal.SIGCONT)
    post.wait_log("ev=disconnect .*reset by peer")


def test_slow_clients_time_out(posternd):
    post = posternd(command_timeout="1s", data_timeout="2s")
    silent, half, data = post.talk(), post.talk(), post.talk()
    half.send(b"EHLO c.exa")
    data.hello()
    data.envelope()
    data.send(b"Subject: slow\r\n\r\nunfinished")
    for talk in (silent, half, data):
        reply = talk.reply()
        assert reply.code == 421 and reply.text.startswith("4.4.2 ") and talk.is_closed()
        talk.close()
    assert journal.messages(post.spool) == []


def test_dripping_bytes_wind_up_no_clock(posternd):
    """A command must be complete in one command-timeout, however its bytes come."""
    post = posternd(command_timeout="1s")
    with post.talk() as talk:
        talk.sock.settimeout(0.1)
        closed = False
        for _ in range(200):
            try:
                talk.send(b"x")
                talk.buffer += talk.sock.recv(1000) or b"closed"
            except socket.timeout:
                continue
            except ConnectionError:
                closed = True
            if closed or talk.buffer:
                break
        assert closed or talk.buffer.startswith(b"421 4.4.2 ")


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def test_faults_behind_a_held_reply_hold_no_memory(posternd):
    """Broken lines wait like commands: they are not answered into memory while a reply is held back."""
    post = posternd(rules="noto_delay:ALL:ALL:ALL\n", noto_delay="3s", workers=1)
    pid = post.workers_by_log()[0]
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        before = resident_kib(pid)
        talk.send("RCPT TO:<b@p.example>\r\n")
        talk.sock.settimeout(1)
        try:
            for _ in range(64):
                talk.sock.sendall(b"\n\r\n" * 20000)
        except socket.timeout:
            pass
        assert resident_kib(pid) < before + 8192


def test_out_of_descriptors(posternd, lab):
    """A large body that finds no descriptor is one message put off; the idle sessions beside it live on."""
    post = posternd(prefix=["prlimit", "--nofile=60:60"], workers=1)
    pid = post.workers_by_log()[0]
    talks = []
    while not talks or talks[-1].greeting.code == 220:
        talks.append(post.talk())
    refused = talks.pop()
    assert refused.greeting.code == 421 and refused.is_closed(), "the limit of sessions leaves a reserve"
    free = 60 - len(os.listdir(f"/proc/{pid}/fd"))
    senders, idle = talks[:free + 1], talks[free + 1:]
    large = b"Subject: large\r\n\r\n" + b"x" * 70 * 10000 + b"\r\n.\r\n"
    for talk in senders:
        talk.hello()
        talk.envelope()
        talk.send(large[:-3])
    # Every file is made, and as many descriptors as there were are taken: one file's descriptor found no place.
    wait_until(lambda: len(os.listdir(post.spool / "large")) == len(senders), "the files of the large bodies")
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 60, "the descriptors to be used up")
    for talk in senders:
        talk.send(large[-3:])
    answers = [talk.reply().code for talk in senders]
    assert set(answers) <= {250, 451, 452} and 250 in answers and answers != [250] * len(answers), answers
    assert all(talk.hello().code == 250 for talk in idle)
    assert idle[0].message(large).code == 250
    for talk in talks:
        talk.close()


def test_a_held_reply_is_no_timeout_of_the_client(posternd):
    post = posternd(rules="noto_delay:ALL:ALL:slow@ALL\nallow:ALL:ALL:ALL\n", command_timeout="1s", noto_delay="3s")
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        assert talk.say("RCPT TO:<slow@p.example>").code == 550
        assert talk.say("NOOP").code == 250


def test_http_is_hung_up_on(posternd, client_address):
    post = posternd()
    with post.talk(client_address) as talk:
        talk.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n" + b"MAIL FROM:<a@b.example>\r\n" * 8)
        assert talk.reply().code == 521 and talk.is_closed()
    assert "foreign-protocol" in post.log()


# ---- delays


def test_a_delayed_reply_delays_its_session_only(posternd):
    post = posternd(rules="noto_delay:ALL:ALL:slow@ALL\ndeny_delay:ALL:ALL:bad@ALL\nallow:ALL:ALL:ALL\n", noto_delay="2s", deny_delay="2s", workers=1)
    slow, bad, other = post.talk(), post.talk(), post.talk()
    order = []
    for talk in (slow, bad, other):
        talk.hello()
    slow.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<slow@p.example>\r\nRCPT TO:<b@p.example>\r\nDATA\r\n")
    bad.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<bad@p.example>\r\nRCPT TO:<b@p.example>\r\n")
    assert slow.reply().code == 250 and bad.reply().code == 250
    for _ in range(10):
        assert other.message(BODY).code == 250
        order.append("other")
        for talk in (slow, bad):
            talk.sock.settimeout(0.01)
            with pytest.raises(socket.timeout):
                talk.line()
    for talk in (slow, bad):
        talk.sock.settimeout(20)
    assert codes(slow, 3) == [550, 250, 354]
    slow.send(BODY)
    assert slow.reply().code == 250
    assert bad.reply().code == 550 and bad.is_closed(), "deny closes, nothing behind it is answered"
    for talk in (slow, bad, other):
        talk.close()


def test_deny_closes(posternd, client_address):
    post = posternd(rules="deny:ALL:ALL:bad@ALL:554 5.7.1 never\nallow:ALL:ALL:ALL\n")
    with post.talk(client_address) as talk:
        talk.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\nRCPT TO:<bad@p.example>\r\nDATA\r\n")
        assert codes(talk, 4) == [250, 250, 250, 554] and talk.is_closed()
    assert journal.messages(post.spool) == []
