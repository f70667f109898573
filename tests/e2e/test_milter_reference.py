"""miltertest, the MTA side of OpenDKIM's authors, and postern hold the same conversation with the same filter: it is told the same, and its answers mean the same."""

import json
import os
import pathlib
import shutil
import tempfile

import pytest

from installation import Recorder
from milter_peers import Filter, postern, send
from netlab import Lab

MESSAGE = b"Subject: one\r\nX-Old: a\r\n\tfolded \r\nX-Old: b\r\nX-Empty:\r\n\r\nbody\r\n..dot\r\n\r\n.\r\n"
HEADERS = [("Subject", "one"), ("X-Old", "a\n\tfolded "), ("X-Old", "b"), ("X-Empty", "")]
BODY = "body\r\n.dot\r\n\r\n"
RECIPIENTS = ["b@milter.example", "c@milter.example"]
CHANGES = [["addheader", "X-End", "end", -1], ["addheader", "X-Top", "top", 0], ["chgheader", "X-Old", 1, "changed"], ["replacebody", "new\n"],
           ["addrcpt", "<more@milter.example>"], ["delrcpt", "<c@milter.example>"], ["quarantine", "a look"]]
# What of CHANGES miltertest must have got, in its own words.
CHECKS = ['MT_HDRADD, "X-End", "end"', 'MT_HDRINSERT, "X-Top", "top"', 'MT_HDRCHANGE, "X-Old", "changed"', 'MT_BODYCHANGE, "new\\n"',
          'MT_RCPTADD, "<more@milter.example>"', 'MT_RCPTDELETE, "<c@milter.example>"', 'MT_QUARANTINE, "a look"']

CONVERSATION = """
local names = {[SMFIR_CONTINUE] = "continue", [SMFIR_ACCEPT] = "accept", [SMFIR_REJECT] = "reject", [SMFIR_TEMPFAIL] = "tempfail",
               [SMFIR_DISCARD] = "discard", [SMFIR_REPLYCODE] = "reply", [SMFIR_SKIP] = "skip"}
local conn = assert(mt.connect(socket, 50, 0.1))
local function step(stage, err)
    if err ~= nil then error(stage .. ": " .. err) end
    local answer = names[mt.getreply(conn)] or "?"
    print(stage, answer)
    return answer
end
local function talk()
    local err = mt.negotiate(conn, 6, nil, nil)
    if err ~= nil then error(err) end
    if step("connect", mt.conninfo(conn, host, address)) ~= "continue" then return end
    if step("hello", mt.helo(conn, "client10.example.net")) ~= "continue" then return end
    if step("envfrom", mt.mailfrom(conn, "<a@sender.example>", "SIZE=500")) ~= "continue" then return end
    local is_wanted = false
    for _, recipient in ipairs(recipients) do
        local answer = step("envrcpt", mt.rcptto(conn, "<" .. recipient .. ">"))
        if answer == "accept" or answer == "discard" then return end
        is_wanted = is_wanted or answer == "continue"
    end
    if not is_wanted then return end
    if step("data", mt.data(conn)) ~= "continue" then return end
    for _, header in ipairs(headers) do
        if step("header", mt.header(conn, header[1], header[2])) ~= "continue" then return end
    end
    if step("eoh", mt.eoh(conn)) ~= "continue" then return end
    local answer = step("body", mt.bodystring(conn, body))
    if answer ~= "continue" and answer ~= "skip" then return end
    step("eom", mt.eom(conn))
    for _, check in ipairs(checks) do print("check", mt.eom_check(conn, table.unpack(check))) end
end
talk()
mt.disconnect(conn)
"""


@pytest.fixture(scope="module")
def world():
    """post, mta, the filter, and the room of their files."""
    room = pathlib.Path(tempfile.mkdtemp(prefix="ptest-reference-"))
    os.chmod(room, 0o711)
    with Lab("ptest-reference") as lab, Filter(lab, room, "filter") as filt:
        with postern(lab, room, f"{filt.address} name=filter") as post, Recorder(lab, lab.MTA4) as mta:
            yield post, mta, filt, room
    shutil.rmtree(room, ignore_errors=True)


def reference(filt, room, checks=()):
    """What miltertest was answered at each stage, as (stage, answer), and what became of its checks."""
    # JSON's strings are Lua's as well, as long as they are plain ASCII.
    headers = ", ".join(f"{{{json.dumps(name)}, {json.dumps(value)}}}" for name, value in HEADERS)
    script = room / "conversation.lua"
    script.write_text(f"local socket, host, address = {json.dumps(filt.address)}, {json.dumps(f'[{filt.lab.CLIENT4}]')}, {json.dumps(filt.lab.CLIENT4)}\n"
                      f"local recipients = {{{', '.join(map(json.dumps, RECIPIENTS))}}}\nlocal headers = {{{headers}}}\n"
                      f"local body = {json.dumps(BODY)}\nlocal checks = {{{', '.join('{' + check + '}' for check in checks)}}}\n{CONVERSATION}")
    lines = [line.split("\t") for line in filt.lab.exec("fw", "miltertest", "-s", str(script), timeout=30).stdout.splitlines()]
    return [tuple(line) for line in lines if line[0] != "check"], [line[1] for line in lines if line[0] == "check"]


def told(filt):
    """The calls that a filter got, without what each MTA says in its own way: macros, the bits it can, the client's port, the end."""
    calls = [{key: value for key, value in call.items() if key not in ("macros", "offered")} for call in filt.seen()
             if call["what"] not in ("abort", "close")]
    for call in calls:
        if call["what"] == "connect":
            call["address"] = call["address"][0]
    return calls


def meaning(conversation):
    """What an MTA makes of it: the code for each recipient, the last one, and whether mail may come through."""
    codes = {"continue": 250, "accept": 250, "discard": 250, "skip": 250, "reject": 550, "tempfail": 451, "reply": 554}
    recipients, last = [250] * len(RECIPIENTS), 250
    answers = [answer for stage, answer in conversation if stage == "envrcpt"]
    for stage, answer in conversation:
        if stage in ("connect", "hello", "envfrom") and answer not in ("continue", "accept", "discard"):
            return [codes[answer]] * len(RECIPIENTS), None
    recipients[:len(answers)] = [codes[answer] for answer in answers]
    if not any(code == 250 for code in recipients):
        return recipients, None
    if conversation[-1][0] != "envrcpt":
        last = codes[conversation[-1][1]]
    return recipients, last


STAGES = ["connect", "hello", "envfrom", "envrcpt", "data", "header", "eoh", "body", "eom"]
REPLY = ["reply", "554", "5.7.1", "not today"]
CASES = [{}, {"rcpt": {RECIPIENTS[0]: "reject"}}, {"rcpt": {RECIPIENTS[1]: "tempfail"}}, {"body": "skip"},
         *({stage: answer} for stage in STAGES for answer in ("accept", "reject", "tempfail", "discard", REPLY))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(f"{k}-{v if isinstance(v, str) else 'own'}" for k, v in case.items()) or "nothing")
def test_same_conversation_same_outcome(world, case):
    post, mta, filt, room = world
    filt.does(**case)
    conversation, _ = reference(filt, room)
    expected_calls = told(filt)
    filt.does(**case)
    before = len(mta.messages())
    replies, reply = send(post, MESSAGE, recipients=RECIPIENTS, mail_args=" SIZE=500")
    codes, last = meaning(conversation)
    assert [r.code for r in replies] == codes, (conversation, replies)
    if last is not None:
        assert reply.code == last, (conversation, reply)
    assert told(filt) == expected_calls, conversation
    is_discarded = any(answer == "discard" for _, answer in conversation)
    if last == 250 and not is_discarded:
        mta.wait_messages(before + 1)
    else:
        # What is refused or discarded is answered before anything could go on; the next message shows that nothing came before it.
        filt.does()
        send(post, MESSAGE.replace(b"one", b"marker"), recipients=RECIPIENTS)
        assert b"marker" in mta.wait_messages(before + 1)[before]["wire"]


def test_same_changes(world):
    """What the filter asks for reaches miltertest as it reaches postern (whose work on it test_milter.py shows)."""
    post, _, filt, room = world
    filt.does(edits=CHANGES)
    conversation, checks = reference(filt, room, CHECKS)
    assert checks == ["true"] * len(CHECKS), (conversation, list(zip(CHECKS, checks)))
    filt.does(edits=CHANGES)
    assert send(post, MESSAGE, recipients=RECIPIENTS)[1].code == 250
    post.wait_log(r"ev=milter .*milter=filter did=\w+ .*changes=\"1 header added, 1 header inserted, 1 header changed, 1 recipient added, "
                  r"1 recipient removed, quarantined, body replaced\"")
