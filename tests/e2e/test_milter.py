"""Milters: filters on libmilter judge and change what passes."""

import os
import pathlib
import re
import shutil
import tempfile

import pytest

from installation import Recorder, without_received
from milter_peers import MESSAGE, Filter, delivered, header_lines, postern, send
from netlab import wait_until


@pytest.fixture(scope="module")
def room():
    path = tempfile.mkdtemp(prefix="ptest-milter-")
    os.chmod(path, 0o711)
    yield pathlib.Path(path)
    if not os.environ.get("POSTERN_TEST_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def filters(lab, room):
    """Two filters, one by unix socket, one by TCP."""
    with Filter(lab, room, "first") as first, Filter(lab, room, "second", tcp=("127.0.0.1", 8891)) as second:
        yield first, second


@pytest.fixture(scope="module")
def shared(lab, room, filters):
    """One installation with both filters and a server behind it."""
    first, second = filters
    with postern(lab, room, f"{first.address} name=first, {second.address} name=second") as post, Recorder(lab, lab.MTA4) as mta:
        yield post, mta


@pytest.fixture
def world(shared, filters):
    """post, mta, first, second: with filters that do nothing yet."""
    for filt in filters:
        filt.does()
    return (*shared, *filters)


def test_untouched_message_and_what_filters_are_told(lab, world):
    post, mta, first, second = world
    before = len(mta.messages())
    replies, reply = send(post, recipients=("plain@plain.example", "no@refused.example", "b@milter.example", "late@plain.example"),
                          mail_args=" BODY=8BITMIME RET=HDRS ENVID=xyz SIZE=500")
    assert [r.code for r in replies] == [250, 550, 250, 250] and reply.code == 250, (replies, reply)
    message = delivered(mta, before)
    assert without_received(message["wire"]) == MESSAGE
    for filt in (first, second):
        wait_until(lambda f=filt: f.seen("close"), "goodbye")
        [connect], [hello], [mail] = filt.seen("connect"), filt.seen("hello"), filt.seen("envfrom")
        assert connect["address"][0] == lab.CLIENT4 and connect["macros"]["{client_addr}"] == lab.CLIENT4, connect
        assert connect["hostname"] == f"[{lab.CLIENT4}]" and connect["address"][1] == int(connect["macros"]["{client_port}"])
        assert connect["macros"]["j"] == "fw.example.net" and connect["macros"]["{daemon_name}"] == "wan"
        assert connect["macros"]["{if_addr}"] == lab.MTA4 and connect["macros"]["v"].startswith("postern ")
        assert hello["hostname"] == "client10.example.net"
        assert mail["path"] == "<a@sender.example>" and mail["macros"]["{mail_addr}"] == "a@sender.example"
        assert sorted(mail["params"]) == ["BODY=8BITMIME", "ENVID=xyz", "RET=HDRS", "SIZE=500"]
        # Also who did not ask for it; and not who the rules have refused before the conversation began.
        assert [r["path"] for r in filt.seen("envrcpt")] == ["<plain@plain.example>", "<b@milter.example>", "<late@plain.example>"]
        assert [h["value"] for h in filt.seen("header")] == ["one", "a\n\tfolded ", "b"]
        [eom] = filt.seen("eom")
        assert eom["body"] == "body\r\n.dot\r\n" and eom["macros"]["{nrcpts}"] == "3"
        assert reply.text.endswith(eom["macros"]["i"]), "the id that the client is told"
    post.wait_log(r"ev=milter .*milter=second did=pass stage=end")


def test_header_changes(world):
    post, mta, first, second = world
    before = len(mta.messages())
    first.does(edits=[["addheader", "X-Added", "end"], ["addheader", "X-Top", "top\n\tfolded", 0], ["chgheader", "X-Old", 1, None],
                      ["chgheader", "x-old", 2, "changed"]])
    assert send(post)[1].code == 250
    message = delivered(mta, before)
    assert header_lines(message) == [b"X-Top: top", b"\tfolded", b"Subject: one", b"X-Old: changed", b"X-Added: end"]
    assert message["wire"].endswith(b"\r\n\r\nbody\r\n..dot\r\n.\r\n")
    # The second saw what the first had done.
    assert [h["name"] for h in second.seen("header")] == ["X-Top", "Subject", "X-Old", "X-Added"]
    post.wait_log(r'milter=first did=pass .*changes="1 header added, 1 header inserted, 2 headers changed"')


def test_body_replaced_and_big(world):
    post, mta, first, second = world
    before = len(mta.messages())
    old = b"".join(b"%07d old\r\n" % n for n in range(60000))
    new = "".join(f".{n:07d} new line\n" for n in range(40000))
    first.does(edits=[["replacebody", new], ["addheader", "X-Body", "new"]])
    assert send(post, MESSAGE.split(b"\r\n\r\n")[0] + b"\r\n\r\n" + old + b".\r\n")[1].code == 250
    message = delivered(mta, before)
    body = new.replace("\n", "\r\n").encode()
    assert message["wire"].split(b"\r\n\r\n", 1)[1] == body.replace(b"\r\n.", b"\r\n..").replace(b".0000000", b"..0000000", 1) + b".\r\n"
    assert header_lines(message)[-1] == b"X-Body: new"
    [eom] = first.seen("eom")
    assert eom["size"] == len(old) and eom["chunks"] == -(-len(old) // 65535)
    assert second.seen("eom")[0]["size"] == len(body)


def test_big_message_with_one_header_more(world):
    post, mta, first, _ = world
    before = len(mta.messages())
    body = b"".join(b"..%07d\r\n" % n for n in range(90000))
    first.does(edits=[["addheader", "X-Big", "1"]])
    assert send(post, b"Subject: big\r\n\r\n" + body + b".\r\n")[1].code == 250
    assert without_received(delivered(mta, before)["wire"]) == b"Subject: big\r\nX-Big: 1\r\n\r\n" + body + b".\r\n"


def test_envelope_changes(world):
    post, mta, first, _ = world
    before = len(mta.messages())
    first.does(edits=[["chgfrom", "<changed@sender.example>"], ["addrcpt", "<more@milter.example>"], ["delrcpt", "<c@milter.example>"],
                      ["addrcpt", "<dsn@milter.example>", "NOTIFY=NEVER"]])
    assert send(post, recipients=("b@milter.example", "c@milter.example"))[1].code == 250
    message = delivered(mta, before)
    assert message["mail"].startswith("FROM:<changed@sender.example>") or "changed@sender.example" in message["mail"], message["mail"]
    assert sorted(re.findall(r"<([^>]+)>", " ".join(message["rcpts"]))) == ["b@milter.example", "dsn@milter.example", "more@milter.example"]
    assert without_received(message["wire"]) == MESSAGE


def test_recipient_added_twice(world):
    """Once is enough; the parameters of a new one are kept."""
    post, mta, first, second = world
    before = len(mta.messages())
    first.does(edits=[["addrcpt", "<B@milter.example>"], ["addrcpt", "<more@milter.example>"], ["quarantine", "to look at it"]])
    second.does(edits=[["addrcpt", "<more@milter.example>", "NOTIFY=NEVER ORCPT=rfc822;old@milter.example"]])
    reply = send(post)[1]
    assert reply.code == 250
    ident = reply.text.split()[-1]
    wait_until(lambda: (post.spool / "hold" / ident).exists(), "the message in hold/")
    text = (post.spool / "hold" / ident).read_bytes()
    assert re.findall(rb"^RCPT (.*)$", text, re.M) == [b"<b@milter.example>", b"<more@milter.example> NOTIFY=NEVER ORCPT=rfc822;old@milter.example"]
    assert b"\nHOLD to look at it\n" in text
    post.postern("queue", "release", ident)
    assert len(delivered(mta, before)["rcpts"]) == 2


def test_client_by_ipv6(lab, world):
    post, _, first, _ = world
    with Recorder(lab, lab.MTA6) as mta, post.talk(lab.CLIENT6) as client:
        client.hello()
        assert client.message(MESSAGE, "a@sender.example", "b@milter.example").code == 250
        mta.wait_messages(1)
    [connect] = first.seen("connect")
    assert connect["address"][0] == lab.CLIENT6 and connect["macros"]["{client_addr}"] == lab.CLIENT6, connect
    assert connect["macros"]["_"] == f"[IPv6:{lab.CLIENT6}]" and connect["macros"]["{if_addr}"] == lab.MTA6


def test_all_recipients_removed_is_a_discard(world):
    post, mta, first, _ = world
    before = len(mta.messages())
    first.does(edits=[["delrcpt", "<b@milter.example>"]])
    assert send(post)[1].code == 250
    post.wait_log(r"ev=message-discarded")
    first.does()
    assert send(post)[1].code == 250
    assert without_received(delivered(mta, before)["wire"]) == MESSAGE
    assert len(mta.messages()) == before + 1


def test_discard(world):
    post, mta, first, second = world
    before, counted = len(mta.messages()), int(post.status()["counters"]["messages_discarded"])
    first.does(eom="discard")
    assert send(post)[1].code == 250
    assert int(post.status()["counters"]["messages_discarded"]) == counted + 1
    # At RCPT as well: and nobody behind it is asked any more.
    first.does(envrcpt="discard")
    second.does()
    assert send(post)[1].code == 250
    assert not second.seen()
    assert int(post.status()["counters"]["messages_discarded"]) == counted + 2
    assert len(mta.messages()) == before


REPLIES = [("reject", 550, "5.7.1 Command rejected"), ("tempfail", 451, "4.7.1 Service unavailable, try again later"),
           (["reply", "554", "5.7.9", "virus found", "call us"], 554, "5.7.9 virus found\n5.7.9 call us"),
           (["reply", "450", "4.2.0", "greylisted"], 450, "4.2.0 greylisted")]


@pytest.mark.parametrize("stage", ["data", "header", "eoh", "body", "eom"])
@pytest.mark.parametrize("answer,code,text", REPLIES)
def test_messages_refused(world, stage, answer, code, text):
    post, mta, first, second = world
    before = len(mta.messages())
    first.does(**{stage: answer})
    replies, reply = send(post)
    assert replies[0].code == 250 and (reply.code, reply.text) == (code, text), reply
    assert not second.seen("eom") and len(mta.messages()) == before
    post.wait_log(rf"milter=first did=refuse stage={'end' if stage == 'eom' else stage} .*reply=\"{code} ")


@pytest.mark.parametrize("stage", ["connect", "hello", "envfrom"])
@pytest.mark.parametrize("answer,code,text", REPLIES)
def test_connection_and_sender_refused(world, stage, answer, code, text):
    """Refused is who has asked for the milter; who has not is let in."""
    post, mta, first, second = world
    if isinstance(answer, list) and stage == "connect":
        # libmilter gives no reply text there.
        pytest.skip("not in libmilter")
    before = len(mta.messages())
    first.does(**{stage: answer})
    replies, reply = send(post, recipients=("plain@plain.example", "b@milter.example", "c@milter.example"))
    assert [r.code for r in replies] == [250, code, code] and replies[1].text == text, replies
    assert reply.code == 250 and not second.seen()
    assert "b@milter" not in " ".join(delivered(mta, before)["rcpts"])


@pytest.mark.parametrize("answer,code,text", REPLIES)
def test_recipients_refused_one_by_one(world, answer, code, text):
    post, mta, first, second = world
    before = len(mta.messages())
    first.does(rcpt={"bad@milter.example": answer, "plain@plain.example": answer})
    replies, reply = send(post, recipients=("plain@plain.example", "bad@milter.example", "good@milter.example"))
    # What it says of those who did not ask is disregarded.
    assert [r.code for r in replies] == [250, code, 250] and replies[1].text == text, replies
    assert reply.code == 250
    assert re.findall(r"<([^>]+)>", " ".join(delivered(mta, before)["rcpts"])) == ["plain@plain.example", "good@milter.example"]
    assert "<bad@milter.example>" not in [r["path"] for r in second.seen("envrcpt")]


@pytest.mark.parametrize("stage", ["connect", "hello", "envfrom", "envrcpt", "data", "header", "eoh", "body", "eom"])
def test_accepted_early(world, stage):
    """It wants to hear no more; the next filter is asked all the same."""
    post, mta, first, second = world
    before = len(mta.messages())
    first.does(**{stage: "accept"})
    second.does(edits=[["addheader", "X-Second", "1"]])
    assert send(post)[1].code == 250
    assert header_lines(delivered(mta, before))[-1] == b"X-Second: 1"
    assert bool(first.seen("eom")) == (stage == "eom")


def test_skip(world):
    post, mta, first, _ = world
    before = len(mta.messages())
    first.does(body="skip", edits=[["addheader", "X-Skipped", "1"]])
    assert send(post, b"S: 1\r\n\r\n" + b"x" * 70 * 1000 + b"\r\n" + b"y" * 300000 + b"\r\n.\r\n")[1].code == 250
    assert first.seen("eom")[0]["chunks"] == 1
    assert header_lines(delivered(mta, before))[-1] == b"X-Skipped: 1"


def test_what_a_filter_does_not_want(world):
    """Protocol bits: no connect, no helo, no body, no replies to headers; and macros of its own choice."""
    post, mta, first, _ = world
    no_connect, no_helo, no_body, nr_header = 0x1, 0x2, 0x10, 0x80
    first.does(negotiate=no_connect | no_helo | no_body | nr_header | 0x100000, symlist={"2": "{client_addr} i", "5": "{mail_addr}"})
    before = len(mta.messages())
    assert send(post)[1].code == 250
    assert not first.seen("connect") and not first.seen("hello")
    [eom], [mail], [offer] = first.seen("eom"), first.seen("envfrom"), first.seen("negotiate")
    assert eom["size"] == 0 and offer["offered"] == [0x1ff, 0x1fffff]
    assert "{client_addr}" in mail["macros"] and "{mail_addr}" not in mail["macros"]
    assert [h["value"] for h in first.seen("header")] == [" one", " a\n\tfolded ", " b"], "with the leading space"
    assert without_received(delivered(mta, before)["wire"]) == MESSAGE


def test_quarantine_and_release(world):
    post, mta, first, _ = world
    before = len(mta.messages())
    first.does(edits=[["quarantine", "looks \"odd\""], ["addheader", "X-Held", "1"]])
    reply = send(post)[1]
    assert reply.code == 250
    ident = reply.text.split()[-1]
    wait_until(lambda: (post.spool / "hold" / ident).exists(), "the message in hold/")
    listing = post.postern("queue", "list").stdout
    assert ident in listing and 'looks "odd"' in listing and "held" in listing, listing
    assert re.search(rf"ev=held id={ident} by=filter", post.log("posternfwd"))
    assert len(mta.messages()) == before
    # Held it stays, over a restart as well.
    post.stop(post.forwarder)
    assert 'looks "odd"' in post.postern("queue", "list", check=False).stdout
    post.start_forwarder()
    wait_until(lambda: "held" in post.postern("queue", "list").stdout, "the queue to be read")
    assert len(mta.messages()) == before
    post.postern("queue", "release", ident)
    assert header_lines(delivered(mta, before))[-1] == b"X-Held: 1"


def test_status_and_explain(world):
    post, _, first, _ = world
    status = {m["name"]: m for m in post.status()["milters"]}
    first.does(eom="reject")
    assert send(post)[1].code == 550
    after = {m["name"]: m for m in post.status()["milters"]}
    assert int(after["first"]["asked"]) == int(status["first"]["asked"]) + 1
    assert int(after["first"]["refused"]) == int(status["first"]["refused"]) + 1
    assert after["second"]["address"] == "inet:127.0.0.1:8891" and after["first"]["fail"] == "tempfail"
    assert "MILTER" in post.postern("status").stdout
    explained = post.run("postern", "rules", "explain", "--rules", post.rules_path, "--ip", "192.0.2.1", "--from", "a@b.example", "--to",
                             "x@milter.example", "--no-dns", "--json").stdout
    assert '"milter"' in explained, explained


def test_client_that_leaves_or_resets(world):
    """The conversation ends with the transaction, and the next one begins anew."""
    post, mta, first, _ = world
    before = len(mta.messages())
    with post.talk() as client:
        client.hello()
        assert client.say("MAIL FROM:<a@sender.example>").code == 250
        assert client.say("RCPT TO:<b@milter.example>").code == 250
        assert client.say("RSET").code == 250
        wait_until(lambda: first.seen("close"), "goodbye")
        assert first.seen("abort") and not first.seen("eom")
        assert client.message(MESSAGE, "a@sender.example", "b@milter.example").code == 250
    delivered(mta, before)
    post.wait_log(r"milter=first did=abandoned")
