"""The content filter in real sessions: swaks and raw clients send through the diversion, and what matches is refused at the end of its data.

Without posternfwd: what the spool holds is what was accepted.
"""

import base64
import email.message
import email.policy
import os
import quopri
import re
import signal
import smtplib
import subprocess
import threading
import time

import pytest

import journal
from installation import BUILD, Installation
from netlab import wait_until

SEED_RULES = "allow-filter:ALL:ALL:*@protected.example\nallow:ALL:ALL:free@else.example\n"
SEED_FILTER = """# ban friend@public emails
From: Friend@public.com
To: Friend@public.com
# ban the snowwhite virius
From: hahaha@sexyfun.net
# ban any emails with VisualBasic Script attachments
name\\=".*\\.vbs"
"""

DIVERTED = ("wan",)


@pytest.fixture
def make(lab, tmp_path):
    made = []

    def build(patterns, rules=SEED_RULES, **options):
        path = tmp_path / "filter"
        path.write_text(patterns)
        options = {"workers": 1, "filter": path} | {k.replace("_", "-"): v for k, v in options.items()}
        post = Installation(lab, tmp_path, rules=rules, options=options)
        made.append(post)
        post.start_daemon()
        return post

    yield build
    for post in made:
        post.__exit__()


def send(post, message, *recipients, source=None):
    """In wire form, or a Message; the last reply."""
    if isinstance(message, email.message.Message):
        message = message.as_bytes(policy=email.policy.SMTP)
    wire = re.sub(rb"(?m)^\.", b"..", message)
    with post.talk(source) as talk:
        talk.hello()
        return talk.message(wire + (b"" if wire.endswith(b"\r\n") else b"\r\n") + b".\r\n", "a@sender.example", *recipients)


def matches(post):
    """(rule, kind, line) of each line in the log."""
    return [(int(rule), kind, line) for rule, kind, line in
            re.findall(r'ev=content-match .*?rule=(\d+) kind=(\w+) line=("(?:[^"\\]|\\.)*"|\S+)', post.log())]


def refused(reply):
    return reply.code == 550 and reply.text.startswith("5.7.1 ")


def stored(post):
    return journal.messages(post.spool)


def hup(post, event="reloaded"):
    before = len(re.findall(rf"\bev={event}\b", post.log()))
    os.kill(post.daemon.pid, signal.SIGHUP)
    wait_until(lambda: len(re.findall(rf"\bev={event}\b", post.log())) > before, f"ev={event}")


def mime(text="Hello.\n", subject="test", **attachments):
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@sender.example", "b@protected.example", subject
    made.set_content(text)
    for name, data in attachments.items():
        made.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return made


def test_seed_file(make):
    """Spammer Deterrent's own example, and its words in the log."""
    post = make(SEED_FILTER)
    assert send(post, b"Subject: x\r\nTo: someone@else.example\r\n\r\nhello\r\n").code == 250
    assert refused(send(post, b"Subject: x\r\nfrom: friend@PUBLIC.com\r\n\r\nhello\r\n"))
    assert matches(post) == [(2, "line", '"from: friend@PUBLIC.com"')]
    lab = post.lab
    assert re.search(rf'ev=content-match client={lab.CLIENT4} rule=2 .*'
                     rf'msg="Rejecting message with content: from: friend@PUBLIC\.com from UNKNOWN \[{lab.CLIENT4}\]" from=a@sender\.example$',
                     post.log(), re.MULTILINE)
    assert re.search(r'ev=message-refused .*rc=550 .*why="content filter, rule 2"', post.log())
    assert refused(send(post, b'Subject: x\r\n\r\n--b\r\nContent-Type: a/b; NAME="love.letter.VBS"\r\n\r\n', source=lab.CLIENT6))
    assert matches(post)[-1][:2] == (7, "line")
    assert [m.sent for m in stored(post)] == [b"Subject: x\r\nTo: someone@else.example\r\n\r\nhello\r\n.\r\n"]
    counters = post.status()["counters"]
    assert (counters["content_matches"], counters["messages_refused"]) == (2, 2)


def test_session_goes_on(make):
    post = make("bad\n")
    with post.talk() as talk:
        talk.hello()
        for _ in range(3):
            assert refused(talk.message(b"bad\r\n.\r\n"))
            assert talk.message(b"good\r\n.\r\n").code == 250


def test_only_where_a_rule_asks(make):
    post = make("bad\n")
    assert send(post, b"bad\r\n", "free@else.example").code == 250
    # One of several recipients asks for it: the message is one.
    assert refused(send(post, b"bad\r\n", "free@else.example", "b@protected.example"))


def test_where_lines_begin_and_end(make):
    post = make("^begin\nend$\n^\\.dots$\n^\\.$\nhead.*tail\n^Received:\n")
    assert send(post, b"a begin\r\nend b\r\n..dots\r\n").code == 250
    assert send(post, b"head\r\ntail\r\n").code == 250
    # The Received field that postern puts in front is not the client's.
    assert [refused(send(post, text)) for text in (b"x\r\nbegin\r\n", b"x end\r\n", b"\r\n.dots\r\n", b"the HEADs and tails\r\n", b"Received: x\r\n")] \
        == [True] * 5
    assert [m[0] for m in matches(post)] == [1, 2, 3, 5, 6]


ENCODINGS = {
    "base64": ("base64", lambda text: base64.encodebytes(text.encode("utf-8")), "utf-8"),
    "quoted-printable": ("quoted-printable", lambda text: quopri.encodestring(text.encode("iso-8859-1")), "iso-8859-1"),
    "quoted-printable of every letter": ("quoted-printable", lambda text: "".join(f"={b:02X}" for b in text.encode("windows-1252")).encode() + b"\n",
                                         "windows-1252"),
    "8bit": ("8bit", lambda text: text.encode("windows-1252"), "windows-1252"),
    "utf-16": ("base64", lambda text: base64.encodebytes(text.encode("utf-16")), "utf-16"),
    "utf-7": ("7bit", lambda text: text.encode("utf-7"), "utf-7"),
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("depth", [0, 1, 5])
def test_decoded_text(make, name, depth):
    post = make("decode: caf\u00c9 viagra$\n")
    encoding, encode, charset = ENCODINGS[name]
    for text, is_bad in (("Grand Caf\u00e9 VIAGRA\n", True), ("Grand Caf\u00e9 Vienna\n", False)):
        part = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + \
            encode(text).replace(b"\n", b"\r\n")
        for level in range(depth):
            boundary = f"b{level}"
            part = (f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n--{boundary}\r\n'.encode() + part +
                    f"\r\n--{boundary}--\r\n".encode())
        reply = send(post, b"Subject: x\r\nMIME-Version: 1.0\r\n" + part)
        assert refused(reply) if is_bad else reply.code == 250, (text, part)
    assert matches(post) == [(1, "decode", '"Grand Caf\\xc3\\xa9 VIAGRA"')]


@pytest.mark.parametrize("subject", ["=?utf-8?B?Q2hlYXAgdmlhZ3Jh?=", "=?iso-8859-1?Q?Cheap?= =?utf-8?q?_via?=\r\n =?us-ascii?q?gra?=",
                                     "cheap\r\n viagra", "Cheap =?utf-16be?B?AHYAaQBhAGcAcgBh?="])
def test_decoded_header(make, subject):
    post = make("decode: ^subject: cheap viagra$\nSubject: cheap viagra\n")
    assert refused(send(post, f"From: x@y.example\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()))
    assert [m[:2] for m in matches(post)] == [(1, "decode")]


NAMES = {
    "plain": 'attachment; filename="love.vbs"',
    "no quotes": "attachment; filename=love.vbs",
    "blank behind it": 'attachment; filename="love.vbs "',
    "rfc 2231": "attachment; filename*=utf-8''love%2Evbs",
    "continued": 'attachment; filename*0="lo"; filename*1="ve.v"; filename*2="bs"',
    "encoded word": 'attachment; filename="=?utf-8?B?bG92ZS52YnM=?="',
    "folded": 'attachment;\r\n\tfilename="love.vbs"',
}


@pytest.mark.parametrize("name", NAMES)
def test_attachment_names(make, name):
    """Nested twice and in a forwarded message, as today's mail has them."""
    post = make("attachment: \\.vb[se][. ]*$\n")
    part = f"Content-Type: application/octet-stream\r\nContent-Disposition: {NAMES[name]}\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
    inner = f'Content-Type: multipart/mixed; boundary="i"\r\n\r\n--i\r\n\r\ntext that says love.vbs\r\n--i\r\n{part}\r\n--i--\r\n'
    nested = f'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="o"\r\n\r\n--o\r\n{inner}\r\n--o--\r\n'
    forwarded = (f'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="f"\r\n\r\n--f\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n'
                 f"{nested}\r\n--f--\r\n")
    for message in (nested, forwarded):
        assert refused(send(post, ("Subject: x\r\n" + message).encode())), message
        assert send(post, ("Subject: x\r\n" + message).replace("filename", "ignored").encode()).code == 250
    assert {m[:2] for m in matches(post)} == {(1, "attachment")}


@pytest.mark.parametrize("option", [None, "refuse"])
def test_where_a_name_could_hide(make, option):
    """A name at the end of a field that is too long to be read, a fragment of a message: told of, or refused if that was asked for."""
    post = make("attachment:evil\n", **({"filter_undecoded": option} if option else {}))
    messages = [b'Content-Type: application/octet-stream;\r\n' + (b"\tx=" + b"y" * 70 + b";\r\n") * 600 + b'\tname="evil.vbs"\r\n\r\nbody\r\n',
                b"Content-Type: message/partial; id=1; number=1; total=2\r\n\r\nbody\r\n"]
    for count, message in enumerate(messages, 1):
        reply = send(post, message)
        assert (reply.code, reply.text[:6]) == ((550, "5.6.0 ") if option else (250, "2.0.0 "))
        assert post.log().count("ev=content-mime") == count
    assert post.status()["counters"]["content_undecoded"] == 2
    assert send(post, mime()).code == 250 and refused(send(post, mime(**{"evil.vbs": b"x"})))


def test_swaks_attachment(make, lab, tmp_path):
    """The sample's rule against what a real client sends; and its neighbours pass."""
    post = make((BUILD.parent / "dist/filter.sample").read_text())
    for name, code in (("invoice.vbs", 26), ("invoice.vbs.txt", 0), ("setup.EXE", 26), ("photo.jpeg", 0)):
        path = tmp_path / name
        path.write_bytes(b"MsgBox 1\r\n" * 10)
        done = lab.exec("inet", "swaks", "--server", lab.MTA4, "--from", "a@s.example", "--to", "b@protected.example", "--timeout", "10s",
                        "--header", "Subject: your invoice", "--attach-type", "application/octet-stream", "--attach", f"@{path}", check=False)
        assert done.returncode == code, done.stdout
        assert ("550 5.7.1 " in done.stdout) == (code != 0)
    assert len(stored(post)) == 2 and len(matches(post)) == 2


def test_escape(make):
    """A line of a seed that begins with one of our words."""
    post = make("\\decode: x\n[a]ttachment: y\n")
    assert send(post, mime("\u00e4 viagra x y")).code == 250
    assert refused(send(post, b"Subject: x\r\n\r\nDecode: x\r\n"))
    assert refused(send(post, b"Subject: x\r\n\r\nattachment: y\r\n"))
    assert [m[:2] for m in matches(post)] == [(1, "line"), (2, "line")]


def test_long_lines(make):
    """A line of a megabyte, with what matches anywhere in it; as it is, and as one line of base64."""
    post = make("needle[0-9]$\ndecode: thread[0-9]\n", max_size="4M")
    hay = b"hay " * 260_000
    assert send(post, b"Subject: x\r\n\r\n" + hay + b"needle7 \r\n").code == 250
    assert refused(send(post, b"Subject: x\r\n\r\n" + hay + b"needle7\r\n"))
    for at in (0, 32_760, 500_001):
        text = base64.encodebytes(hay[:at] + b"thread5" + hay[at:]).replace(b"\n", b"\r\n")
        assert refused(send(post, b"Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + text))
    assert [m[:2] for m in matches(post)] == [(1, "line")] + [(2, "decode")] * 3
    assert all(len(line) < 300 for line in post.log().splitlines() if "content-match" in line and len(line) > 1500)


def test_hostile_lines_in_the_log(make):
    post = make("bad\n")
    assert refused(send(post, b'Subject: \x1b[2J bad" ev=content-match rule=9 \xff' + b"x" * 30 + b"\x80" * 500 + b"\r\n"))
    line = re.search(r".*ev=content-match.*", post.log())[0]
    assert 'msg="Rejecting message with content: Subject: ' in line
    assert "\x1b" not in line and "\\x1b[2J bad\\\"" in line and "\\xff" in line and line.isascii() and len(line) < 2100


def test_unknown_is_451(make):
    """A pattern that takes exponential time, and text made for it."""
    post = make("\\(a*\\)*\\(a*\\)*b[0-9]\nbad\n")
    reply = send(post, b"Subject: x\r\n\r\n" + (b"a" * 900 + b"b\r\n") * 50)
    assert reply.code == 451 and reply.text.startswith("4.7.0 ")
    assert re.search(r'ev=content-unknown .*rule=1 why="[^"]*match limit"', post.log())
    # The others still count.
    assert refused(send(post, b"Subject: x\r\n\r\n" + (b"a" * 900 + b"b\r\n") * 50 + b"bad\r\n"))
    assert send(post, b"Subject: x\r\n\r\nplain\r\n").code == 250
    assert post.status()["counters"]["content_unknown"] == 1


def test_nobody_waits_for_a_slow_message(make):
    """What takes all the time that a message may take is compared in slices: the only worker answers others in between."""
    post = make("\\(a\\|b\\|[ab]x\\)*[0-9]-c\n")
    # One piece as the worker reads it, and no comparison in it takes long.
    slow = (b"a" * 490 + b"zz-c\r\n") * 130
    waits = []
    with post.talk() as first, post.talk() as second:
        first.hello()
        second.hello()
        first.envelope()
        begun = time.monotonic()
        first.send(slow + b".\r\n")
        judge = threading.Thread(target=lambda: waits.append(("judged", first.reply(), time.monotonic() - begun)))
        judge.start()
        longest = count = 0
        while judge.is_alive():
            asked = time.monotonic()
            assert second.say("NOOP").code == 250
            longest = max(longest, time.monotonic() - asked)
            count += 1
        judge.join()
    (_, reply, took), = waits
    assert reply.code in (250, 451), reply
    assert count > 4 and longest < took / 2, f"{count} answers, one after {longest:.3f} of {took:.3f} s"


def test_reload(make, tmp_path):
    post = make("old\n", workers=2)
    assert refused(send(post, b"old\r\n"))
    (tmp_path / "filter").write_text("new\ndecode: n[e3]wer\n")
    hup(post)
    assert send(post, b"old\r\n").code == 250
    assert refused(send(post, b"it is new\r\n"))
    assert re.search(r"ev=filter-read .*line=1 decode=1 attachment=0 ", post.log())
    assert re.search(r"ev=reloaded .*changed=yes", post.log())
    # An error anywhere in it: all of it is refused, and what was in force stays so.
    (tmp_path / "filter").write_text("good\nb\\(ad\nattachment:\n")
    hup(post, "reload-failed")
    assert "filter:2:6: error: \\\\( is not closed" in post.log() and "filter:3:12: error: expected a pattern" in post.log()
    assert send(post, b"good\r\n").code == 250
    assert refused(send(post, b"it is new\r\n"))
    # Taken away.
    (tmp_path / "filter").unlink()
    hup(post, "reload-failed")
    assert refused(send(post, b"it is new\r\n"))
    del post.options["filter"]
    post.write_conf()
    hup(post)
    assert "allow-filter and there is no content filter" in post.log()
    with post.talk() as talk:
        talk.hello()
        assert talk.say("MAIL FROM:<a@sender.example>").code == 250
        assert talk.say("RCPT TO:<b@protected.example>") == (451, "4.3.5 A check that the rules ask for is not available")
    (tmp_path / "filter").write_text("again\n")
    post.options["filter"] = tmp_path / "filter"
    post.write_conf()
    hup(post)
    assert refused(send(post, b"again\r\n"))


def test_message_under_way_keeps_its_filter(make, tmp_path):
    post = make("old\n")
    with post.talk() as talk:
        talk.hello()
        talk.envelope()
        talk.send(b"Subject: x\r\n\r\nol")
        (tmp_path / "filter").write_text("new\n")
        hup(post)
        talk.send(b"d new\r\n.\r\n")
        assert refused(talk.reply())
        assert refused(talk.message(b"it is new\r\n.\r\n")) and talk.message(b"old\r\n.\r\n").code == 250
    assert [m[2] for m in matches(post)] == ['"old new"', '"it is new"']


def test_many_patterns_and_clients(make):
    """Thousands of patterns, eight clients at once: each gets its own verdict."""
    post = make("".join(f"offer{i}x\ndecode: buy{i}x\n" for i in range(2500)), workers=2)
    wrong = []

    def client(number):
        try:
            with smtplib.SMTP() as smtp:
                smtp.sock = post.lab.connect("inet", (post.lab.CLIENT4, 0), (post.lab.MTA4, 25), timeout=60)
                smtp.file = None
                assert smtp.getreply()[0] == 220
                smtp.ehlo("c.example")
                for i in range(number, 2500, 250):
                    for text, code in ((f"offer{i}x", 550), (f"offer{i + 2500}x", 250), (f"buy{i}x", 550), (f"buy{i + 2500}x", 250)):
                        message = mime(f"caf\u00e9 {text}\n" if text[0] == "b" else text + "\n")
                        smtp.mail("a@sender.example")
                        smtp.rcpt("b@protected.example")
                        got = smtp.data(message.as_bytes(policy=email.policy.SMTP))[0]
                        if got != code:
                            wrong.append((text, got))
        except Exception as problem:  # pylint: disable=broad-except
            wrong.append(problem)

    clients = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert not wrong
    assert len(matches(post)) == 8 * 10 * 2


def test_tools(make, tmp_path):
    """postern check, rules check, filter check and filter try."""
    post = make("a*\nbad\ndecode: worse\n")
    done = post.postern("check")
    assert re.search(r"filter:1:1: warning: the pattern matches an empty line", done.stdout) and "3 patterns, no errors" in done.stdout
    good, worse = tmp_path / "good", tmp_path / "worse"
    (tmp_path / "filter").write_text("bad\ndecode: worse\n")
    good.write_text("Subject: fine\n\n.bad is elsewhere\n".replace("bad", "b a d"))
    worse.write_text("Subject: =?utf-8?q?it_is_wor?= =?utf-8?q?se?=\n\n\x1b[31m\n")
    done = post.postern("filter", "try", good, check=False)
    assert (done.returncode, done.stdout) == (0, f"{good}: passes\n")
    done = post.postern("filter", "try", good, worse, check=False)
    assert done.returncode == 1 and f"{worse}: refused by line 2 of the filter (decode): Subject: it is worse\n" in done.stdout
    done = post.run("postern", "filter", "try", "--filter", tmp_path / "filter", "-", text_in="x\n\nbad \x1b[31m\n")
    assert done.returncode == 1 and "line 1 of the filter (line): bad \\x1b[31m" in done.stdout
    (tmp_path / "filter").write_text("[\n")
    for command in (("check",), ("rules", "check", "--filter", tmp_path / "filter", post.rules_path), ("filter", "check", tmp_path / "filter")):
        args = ("-f", post.conf_path, *command) if command == ("check",) else command
        done = post.run("postern", *args)
        assert done.returncode == 1 and f"{tmp_path}/filter:1:1: error: [ is not closed by ]" in done.stdout, done.stdout
    assert post.run("posternd", "-n", "-f", post.conf_path).returncode != 0
    del post.options["filter"]
    post.write_conf()
    done = post.postern("check")
    assert "a rule says allow-filter and there is no content filter" in done.stdout
    # The seeds' layout: it lies beside the rules.
    (tmp_path / "smtpd_check_rules").write_text("allow-filter:ALL:ALL:ALL\n")
    assert post.run("postern", "rules", "check", tmp_path / "smtpd_check_rules").returncode == 0
    (tmp_path / "smtpd_filter_rules").write_text("x\\)\n")
    done = post.run("postern", "rules", "check", "--json", tmp_path / "smtpd_check_rules")
    assert done.returncode == 1 and "smtpd_filter_rules" in done.stdout


def test_same_as_grep(make, tmp_path):
    """Every pattern, and all together, on texts that have something for each: the lines of this repository's own pages."""
    patterns = ["postern", "^\\.Sh", "spool.*journal", "[0-9][0-9]*", "\\<a\\>", "\\(one\\|two\\|three\\) of", "x\\{2\\}", "e\\+r\\?ror$", "``*", "$(", "^|", "a$b", "\\.$",
                "no such thing", "\\(.\\)\\1\\1", "[^ -~]", "^$", "QUEUE", "\\bsyn\\b", "\\w\\W\\w\\W\\w\\W", "--*>", "[]]", "^ *$", "(8)"]
    texts = sorted(path for folder in ("man", "docs", "dist", ".") for path in (BUILD.parent / folder).glob("*") if path.is_file())
    post = make("x\n")
    for chosen in [[p] for p in patterns] + [[p for p in patterns if p not in ("^$", "^ *$")][i::3] for i in range(3)]:
        path = tmp_path / "chosen"
        path.write_text("".join(f"{p}\n" for p in chosen))
        found = subprocess.run(["grep", "-a", "-l", "-i", "-f", path, *texts], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}).stdout.split()
        done = post.run("postern", "filter", "try", "--filter", path, *texts)
        assert sorted(re.findall(r"^(\S+): refused", done.stdout, re.MULTILINE)) == sorted(found), chosen
        assert len(re.findall(r"^\S+: (?:refused|passes)", done.stdout, re.MULTILINE)) == len(texts), done.stdout


def test_start_is_refused(lab, tmp_path):
    (tmp_path / "filter").write_text("good\nb[ad\n")
    with Installation(lab, tmp_path, options={"filter": tmp_path / "filter"}) as post:
        done = post.run("posternd", "-f", post.conf_path)
        assert done.returncode != 0 and f"{tmp_path}/filter:2:2: error: [ is not closed by ]" in done.stdout
        post.options["filter"] = tmp_path / "nowhere"
        post.write_conf()
        done = post.run("posternd", "-f", post.conf_path)
        assert done.returncode != 0 and f"filter: {tmp_path}/nowhere" in done.stdout
