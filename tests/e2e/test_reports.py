"""Reports to senders: who gets one, what is in it, and that what nobody is told of is in the log."""

import email
import email.policy
import email.utils
import os
import re
import signal
import subprocess
import time

import pytest
from flufl.bounce import all_failures

from netlab import wait_until
from spool_maker import Mail
from test_fwd_alone import ANYTHING, FWD, World, ask, parse_kv

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="posternfwd starts as root")


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.end()


def start(world, forward, **settings):
    bounces = world.server("bounces")
    world.start("-f", world.conf(forward, f"smtp:127.0.0.1:{bounces.port}", **settings))


def logged(world, event):
    return [parse_kv(line[line.index("ev="):]) for line in world.log.splitlines() if f"ev={event} " in line]


def status(world):
    return ask(world.spool, "status")[0][0]


# ---- bounce = all | trusted | none

@pytest.mark.parametrize("bounce,told", ((None, {"trusted"}), ("trusted", {"trusted"}), ("all", {"trusted", "stranger"}), ("none", set())))
def test_whose_senders_are_told(world, bounce, told):
    server = world.server("mx", "rcpt_550=nobody")
    mails = [Mail("trusted@example.net", ["nobody@example.org", "b@example.org"], ANYTHING, TRUST="yes"),
             Mail("stranger@example.net", ["nobody@example.org"], ANYTHING, rcpt_parameters=" NOTIFY=FAILURE,SUCCESS"),
             Mail("", ["nobody@example.org"], ANYTHING, TRUST="yes")]
    world.spool.store(mails)
    bounces = world.server("bounces")
    conf = world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}", bounce=bounce or "all")
    if not bounce:
        conf.write_text(conf.read_text().replace("bounce = all\n", ""))
    world.start("-f", conf)
    world.wait_settled()
    assert {report["rcpts"][0][1:].split("@")[0] for report in world.got("bounces")} == told
    assert len(world.got("bounces")) == len(told)
    silent = {line["id"]: line for line in logged(world, "no-report")}
    expected = {"trusted": mails[0].id, "stranger": mails[1].id}
    assert set(silent) == {mails[2].id, *(mail_id for name, mail_id in expected.items() if name not in told)}
    assert silent[mails[2].id]["why"] == "the sender is <>"
    if "stranger" not in told:
        line = silent[mails[1].id]
        assert (line["from"], line["to"], line["rc"], line["kind"]) == ("stranger@example.net", "nobody@example.org", "550", "failed")
        assert line["reply"] == "550 5.1.1 no nobody here" and line["why"].startswith(f"bounce = {bounce or 'trusted'}")
    assert status(world)["reports"] == str(len(told)) and status(world)["reports_withheld"] == str(2 - len(told))
    assert "ev=report" in world.log or not told
    world.stop()


def test_nothing_of_any_kind_goes_to_strangers(world):
    """Neither a warning, nor the report of a success that was asked for, nor one at the end of the lifetime."""
    server = world.server("mx", "rcpt_450=later", "ehlo=PIPELINING")
    hour_ago = int(time.time()) - 3600
    world.spool.store([Mail("a@example.net", ["later@example.org"], ANYTHING, TIME=hour_ago),
                       Mail("b@example.net", ["fine@example.org"], ANYTHING, rcpt_parameters=" NOTIFY=SUCCESS"),
                       Mail("c@example.net", ["later@example.org"], ANYTHING, TIME=hour_ago - 7200)])
    start(world, f"smtp:127.0.0.1:{server.port}", bounce="trusted", **{"queue-warn": "30m", "queue-lifetime": "2h"})
    wait_until(lambda: len(logged(world, "no-report")) == 3, "three that are not told")
    assert {(line["from"][0], line["kind"]) for line in logged(world, "no-report")} == {("a", "delayed"), ("b", "relayed"), ("c", "failed")}
    wait_until(lambda: int(ask(world.spool, "queue list")[0][0]["attempts"]) >= 3, "more attempts")
    assert len(logged(world, "no-report")) == 3, "the warning is not considered again"
    assert status(world)["reports_withheld"] == "3" and not world.got("bounces")
    world.stop()


def test_trust_is_that_of_the_arrival(world):
    """A section that is trusted by now makes no old mail trusted."""
    server = world.server("mx", "rcpt_550=nobody")
    world.spool.store([Mail("a@example.net", ["nobody@example.org"], ANYTHING)])
    bounces = world.server("bounces")
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}", listen="trust = trusted", bounce="trusted"))
    world.wait_settled()
    assert not world.got("bounces") and len(logged(world, "no-report")) == 1
    world.stop()


@pytest.mark.parametrize("section,everywhere,trust,is_told", (("yes", "none", "", True), ("yes", "trusted", "", True), ("no", "all", "yes", False),
                                                              ("default", "all", "", True), ("default", "trusted", "", False)))
def test_a_section_of_its_own_mind(world, section, everywhere, trust, is_told):
    server = world.server("mx", "rcpt_550=nobody")
    world.spool.store([Mail("a@example.net", ["nobody@example.org"], ANYTHING, **({"TRUST": trust} if trust else {}))])
    bounces = world.server("bounces")
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}", listen=f"bounce = {section}", bounce=everywhere))
    world.wait_settled()
    assert len(world.got("bounces")) == is_told and len(logged(world, "no-report")) == (not is_told)
    assert is_told or section == "default" or logged(world, "no-report")[0]["why"] == "the section that it came in by has bounce = no"
    world.stop()


@pytest.mark.parametrize("fault", ("queue-before-link:kill@2", "queue-after-link:kill@2", "ack-write:kill", "ack-after-sync:kill"))
def test_killed_while_reporting(world, fault):
    """Who was to be told is told, once more rather than not at all, and nothing waits for ever."""
    server = world.server("mx", "rcpt_550=nobody")
    bounces = world.server("bounces")
    mails = [Mail(f"a{i}@example.net", ["nobody@example.org", "b@example.org"], ANYTHING) for i in range(6)]
    world.spool.store(mails)
    conf = world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}")
    # It may be dead before it has said that it has started.
    done = subprocess.run([str(FWD), "-f", str(conf)], stderr=subprocess.DEVNULL, env={**os.environ, "POSTERN_FAULT": fault}, timeout=20, check=False)
    assert done.returncode == -signal.SIGKILL
    world.start("-f", conf)
    world.wait_settled()
    assert {report["rcpts"][0].split(">")[0][1:] for report in world.got("bounces")} == {mail.sender for mail in mails}
    assert {message["mail"].split(">")[0][1:] for message in world.got("mx")} == {mail.sender for mail in mails}
    world.stop()


def test_one_is_told_the_other_is_logged(world):
    """Two recipients of one message fail, and the sender wanted to hear of one only."""
    server = world.server("mx", "rcpt_550=nobody")
    mail = Mail("a@example.net", ["nobody@example.org"], ANYTHING, TRUST="yes")
    mail.more_rcpts = ["RCPT <nobody@example.com> NOTIFY=NEVER"]
    world.spool.store([mail])
    start(world, f"smtp:127.0.0.1:{server.port}", bounce="trusted")
    world.wait_settled()
    report, = world.got("bounces")
    assert "nobody@example.org" in report["wire"] and "nobody@example.com" not in report["wire"]
    line, = logged(world, "no-report")
    assert line["to"] == "nobody@example.com" and line["why"] == "the sender asked for none"
    assert status(world)["reports_withheld"] == "0"
    world.stop()


# ---- what is in a report: read by Python's email package, by Mailman's bounce detector, and by RFC 3464 itself

PER_MESSAGE = {"Original-Envelope-Id": r"[ -~]+", "Reporting-MTA": r"dns;[a-z0-9.-]+", "Received-From-MTA": r"dns;[ -~]+", "Arrival-Date": None,
               "X-Postern-Id": r"[0-9a-z]{14}"}
PER_RECIPIENT = {"Original-Recipient": r"[a-zA-Z0-9-]+;[ -~]+", "Final-Recipient": r"(rfc822|utf-8);\S+", "Action": "failed|delayed|relayed|delivered",
                 "Status": r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", "Remote-MTA": r"dns;([a-z0-9.-]+|\[[0-9a-fA-F.:]+\])", "Diagnostic-Code": r"(smtp|x-postern);[ -~]+",
                 "Last-Attempt-Date": None, "Will-Retry-Until": None}
CLASS = {"failed": "45", "delayed": "4", "relayed": "2", "delivered": "2"}


def read_block(text, table, required):
    """Fields of one block, each once and of the form that RFC 3464 gives it."""
    fields = {}
    for line in text.split("\r\n"):
        name, value = line.split(": ", 1)
        assert name not in fields and name in table, line
        if table[name] is None:
            assert abs(email.utils.parsedate_to_datetime(value).timestamp() - time.time()) < 1e7, line
        else:
            assert re.fullmatch(table[name], value), line
        fields[name] = value
    assert required <= set(fields), text
    return fields


class Report:
    """A report as the next server got it, taken apart twice."""

    def __init__(self, recorded):
        assert recorded["mail"].startswith("<>")
        wire = recorded["wire"].encode("latin-1")
        assert wire.endswith(b"\r\n.\r\n") and all(len(line) <= 998 for line in wire.split(b"\r\n"))
        self.raw = re.sub(rb"(?m)^\.", b"", wire[:-3])
        assert all(line.endswith(b"\r") for line in self.raw.split(b"\n")[:-1])
        self.is_8bit = any(byte > 127 for byte in self.raw)
        assert ("BODY=8BITMIME" in recorded["mail"]) == self.is_8bit
        self.message = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert not [part.defects for part in self.message.walk() if part.defects]
        assert self.message.get_content_type() == "multipart/report" and self.message.get_param("report-type") == "delivery-status"
        assert self.message["Auto-Submitted"] == "auto-replied" and self.message["From"].addresses[0].username == "MAILER-DAEMON"
        assert self.message["Message-ID"] and self.message["Date"] and self.message["Subject"]
        assert (self.message["Content-Transfer-Encoding"] == "8bit") == self.is_8bit
        self.text, self.status, self.original = self.message.get_payload()
        assert self.text.get_content_type() == "text/plain"
        self.read_status()

    def read_status(self):
        raw = re.split(rb"\r\n--[^\r]+\.dsn[^\r]*\r\n", self.raw)[2].decode("utf-8")
        head, body = raw.split("\r\n\r\n", 1)
        self.status_type = re.search("Content-Type: (.*)", head)[1].strip()
        blocks = [block.strip("\r\n") for block in body.split("\r\n\r\n")]
        self.about = read_block(blocks[0], PER_MESSAGE, {"Reporting-MTA", "X-Postern-Id"})
        self.recipients = {}
        for block in filter(None, blocks[1:]):
            fields = read_block(block, PER_RECIPIENT, {"Final-Recipient", "Action", "Status"})
            assert fields["Status"][0] in CLASS[fields["Action"]]
            self.recipients[fields["Final-Recipient"].split(";", 1)[1]] = fields
        if self.status_type == "message/delivery-status":
            # Python has read the same.
            parsed = [dict(block.items()) for block in self.status.get_payload() if block.items()]
            assert parsed[0] == self.about and parsed[1:] == list(self.recipients.values())

    def seen_by_mailman(self):
        """Those that Mailman would count as bounces: (for now, for good)."""
        return tuple({address.decode() for address in found} for found in all_failures(email.message_from_bytes(self.raw)))


def reports(world, count=1):
    wait_until(lambda: len(world.got("bounces")) >= count, "the report")
    return [Report(recorded) for recorded in world.got("bounces")]


def test_failed(world):
    server = world.server("mx", "rcpt_550=nobody", "rcpt_554=closed")
    mail = Mail("a@example.net", ["nobody@example.org", "fine@example.org"], ANYTHING, TRUST="yes", ENVID="QQ+2B1+3D")
    mail.more_rcpts = ["RCPT <closed@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;alias+2Bx@example.com"]
    world.spool.store([mail])
    start(world, f"smtp:127.0.0.1:{server.port}")
    report, = reports(world)
    assert report.about == {**report.about, "Original-Envelope-Id": "QQ+1=", "Reporting-MTA": "dns;fw.example.net", "X-Postern-Id": mail.id,
                            "Received-From-MTA": "dns;client.example.net"}
    assert email.utils.parsedate_to_datetime(report.about["Arrival-Date"]).timestamp() == mail.fields["TIME"]
    assert set(report.recipients) == {"nobody@example.org", "closed@example.org"}
    assert report.recipients["nobody@example.org"] == {
        **report.recipients["nobody@example.org"], "Action": "failed", "Status": "5.1.1", "Remote-MTA": "dns;[127.0.0.1]",
        "Diagnostic-Code": "smtp;550 5.1.1 no nobody here"}
    assert report.recipients["closed@example.org"]["Original-Recipient"] == "rfc822;alias+x@example.com"
    assert "Original-Recipient" not in report.recipients["nobody@example.org"]
    assert report.original.get_content_type() == "message/rfc822" and report.original.get_payload(0)["Subject"] == "test"
    assert "550 5.1.1 no nobody here" in report.text.get_content() and report.message["To"] == "a@example.net"
    assert report.seen_by_mailman() == (set(), {"nobody@example.org", "alias+x@example.com"})
    world.stop()


LONG = b"Subject: long\r\n\r\n" + b"x" * 2000 + b"\r\n"
HUGE = b"Subject: huge\r\n\r\n" + (b"y" * 70 + b"\r\n") * 2000
RETURNED = {
    # text, RET; type, encoding, what must be in it, what not
    "whole": (b"Subject: s\r\n\r\n.dot\r\n..\r\nbody\r\n", "FULL", "message/rfc822", None, b"\r\n.dot\r\n..\r\nbody\r\n", b"\xff"),
    "no-ret": (b"Subject: s\r\n\r\nbody\r\n", None, "message/rfc822", None, b"body\r\n", b"\xff"),
    "header": (b"Subject: s\r\n\r\nbody\r\n", "HDRS", "text/rfc822-headers", None, b"Subject: s\r\n", b"body"),
    "8bit": (b"Subject: s\r\n\r\ngr\xc3\xbc\xff\r\n", None, "message/rfc822", "8bit", b"gr\xc3\xbc\xff\r\n", b"=C3"),
    "8bit-header": (b"Subject: gr\xfc\xdf\r\n\r\nbody\r\n", "HDRS", "text/rfc822-headers", "quoted-printable", b"Subject: gr=FC=DF\r\n", b"body"),
    "long-line": (LONG, "FULL", "text/rfc822-headers", None, b"Subject: long\r\n", b"xxx"),
    "long-header": (b"Subject: s\r\nX-Long: " + b"x" * 2000 + b"\r\n\r\nbody\r\n", None, "text/rfc822-headers", "quoted-printable", b"X-Long: xxx", b"body"),
    "huge": (HUGE, "FULL", "text/rfc822-headers", None, b"Subject: huge\r\n", b"yyy"),
    "nothing": (b"", None, "message/rfc822", None, b"", b"\xff"),
}


def test_what_is_returned(world):
    """All in one run, each by its own sender."""
    server = world.server("mx", "rcpt_550=nobody")
    world.spool.store([Mail(f"{name}@example.net", ["nobody@example.org"], case[0], **({"RET": case[1]} if case[1] else {}))
                       for name, case in RETURNED.items()])
    start(world, f"smtp:127.0.0.1:{server.port}")
    by_name = {recorded["rcpts"][0][1:].split("@")[0]: recorded for recorded in (reports(world, len(RETURNED)) and world.got("bounces"))}
    for name, (text, _, kind, encoding, inside, outside) in RETURNED.items():
        report = Report(by_name[name])
        part = report.raw.split(b"\r\nContent-Type: " + kind.encode())[-1]
        assert report.original.get_content_type() == kind and report.original["Content-Transfer-Encoding"] == encoding, name
        assert inside in part and outside not in part, (name, part)
        if encoding == "quoted-printable":
            assert report.original.get_payload(decode=True).rstrip(b"\r\n") == text.split(b"\r\n\r\n")[0]
        assert len(report.raw) < 60000
    world.stop()


def test_delayed_and_relayed(world):
    """Each only for those who asked for it, or, for delays, did not ask for anything else."""
    server = world.server("mx", "rcpt_450=later", "ehlo=PIPELINING")
    mail = Mail("a@example.net", ["later@example.org"], ANYTHING, TIME=int(time.time()) - 3600)
    mail.more_rcpts = ["RCPT <later@example.com> NOTIFY=FAILURE,SUCCESS", "RCPT <later@example.edu> NOTIFY=DELAY", "RCPT <fine@example.org> NOTIFY=SUCCESS",
                       "RCPT <fine@example.com> NOTIFY=FAILURE", "RCPT <fine@example.edu>"]
    world.spool.store([mail])
    start(world, f"smtp:127.0.0.1:{server.port}", **{"queue-warn": "30m"})
    by_action = {next(iter(report.recipients.values()))["Action"]: report for report in reports(world, 2)}
    delayed, relayed = by_action["delayed"], by_action["relayed"]
    assert set(delayed.recipients) == {"later@example.org", "later@example.edu"}
    for fields in delayed.recipients.values():
        assert fields["Status"] == "4.1.1" and email.utils.parsedate_to_datetime(fields["Will-Retry-Until"]).timestamp() == mail.fields["TIME"] + 5 * 86400
    assert delayed.seen_by_mailman() == ({"later@example.org", "later@example.edu"}, set())
    assert set(relayed.recipients) == {"fine@example.org"} and relayed.recipients["fine@example.org"]["Status"] == "2.0.0"
    assert relayed.original.get_content_type() == delayed.original.get_content_type() == "text/rfc822-headers"
    assert relayed.seen_by_mailman() == (set(), set())
    world.stop()


def test_next_server_has_dsn(world):
    """What was asked for goes on, and nothing is reported here."""
    server = world.server("mx")
    mail = Mail("a@example.net", ["fine@example.org"], ANYTHING, " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@example.org", ENVID="QQ+2B1", RET="HDRS")
    world.spool.store([mail])
    start(world, f"smtp:127.0.0.1:{server.port}")
    world.wait_settled()
    message, = world.got("mx")
    assert message["mail"].split("> ")[1].split() == [f"SIZE={len(ANYTHING) + 3}", "RET=HDRS", "ENVID=QQ+2B1"]
    assert message["rcpts"] == ["<fine@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@example.org"]
    assert not world.got("bounces")
    world.stop()


def test_no_report_of_a_report(world):
    """The report itself is refused: it says NOTIFY=NEVER, ends there, and the log has it."""
    server = world.server("mx", "rcpt_550=nobody")
    refusing = world.server("refusing", "rcpt_550=a")
    world.spool.store([Mail("a@example.net", ["nobody@example.org"], ANYTHING)])
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{refusing.port}"))
    wait_until(lambda: logged(world, "no-report"), "the end of it")
    world.wait_settled()
    line, = logged(world, "no-report")
    assert (line["from"], line["to"], line["why"]) == ("", "a@example.net", "the sender is <>")
    assert status(world)["reports"] == "1"
    world.stop()


def test_utf8_addresses(world):
    """No session of ours takes them yet, but a record may hold them: recipients are encoded, and only who has such an address himself gets
    the report of RFC 6533."""
    server = world.server("mx", "data_code=554")
    horse, street = "\\xf0\\x9f\\x90\\xb4", "stra\\xc3\\x9fe"
    world.spool.store([Mail("a@example.net", [f"{horse}@example.org", "latin\\xe4@example.org"], ANYTHING),
                       Mail(f"{street}@example.net", [f"{horse}@example.org"], ANYTHING)])
    start(world, f"smtp:127.0.0.1:{server.port}")
    reports_by_sender = {recorded["rcpts"][0].split("@")[0][1:]: Report(recorded) for recorded in (reports(world, 2) and world.got("bounces"))}
    plain = reports_by_sender.pop("a")
    glob, = reports_by_sender.values()
    assert not plain.is_8bit and plain.status_type == "message/delivery-status"
    assert {fields["Final-Recipient"] for fields in plain.recipients.values()} == {"utf-8;\\x{1F434}@example.org", "rfc822;latin?@example.org"}
    assert glob.is_8bit and glob.status_type == "message/global-delivery-status"
    assert set(glob.recipients) == {"\U0001f434@example.org"} and "To: <stra\u00dfe@example.net>".encode() in glob.raw
    assert "\U0001f434@example.org" in glob.text.get_content()
    world.stop()
