"""Milters that sites have: OpenDKIM signs, and somebody else checks the signature."""

import pathlib
import re
import subprocess

import dkim
import pytest

import spamassassin
from installation import Recorder, make_reachable, without_received
from milter_peers import postern, send
from netlab import wait_until

FOLDED = b"""From: a@sender.example
To: b@milter.example
Subject: a long
\tsubject  with   blanks
Message-ID: <1@sender.example>
MIME-Version: 1.0

..a line with a dot

trailing blanks \t
and empty lines


.
""".replace(b"\n", b"\r\n")


def unstuffed(wire):
    assert wire.endswith(b"\r\n.\r\n")
    return without_received(wire)[:-3].replace(b"\r\n..", b"\r\n.")


class OpenDkim:
    """opendkim in the firewall's namespace, with a key of its own."""

    def __init__(self, lab, room, mode, canonicalization="simple/simple", listen="local:{room}/dkim.sock"):
        self.lab, self.room = lab, room
        make_reachable(room)
        key, public = room / "key.pem", room / "public.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
        self.record = b"v=DKIM1; k=rsa; p=" + b"".join(public.read_bytes().splitlines()[1:-1])
        self.socket = listen.format(room=room)
        # It signs what comes from its own hosts, and looks at what comes from others.
        internal = "0.0.0.0/0" if mode == "s" else "127.0.0.1"
        (room / "opendkim.conf").write_text(
            f"Socket {self.socket}\nDomain sender.example\nSelector sel\nKeyFile {key}\nMode {mode}\nCanonicalization {canonicalization}\n"
            f"InternalHosts {internal}\nSyslog no\nUserID root\nPidFile {room}/dkim.pid\nUMask 007\nAuthservID fw.example.net\n"
            f"TestPublicKeys {room}/keys\nAlwaysAddARHeader yes\nRequireSafeKeys no\n")
        (room / "keys").write_text(f"sel._domainkey.sender.example {self.record.decode()}\n")

    def __enter__(self):
        self.proc = self.lab.popen("fw", ["opendkim", "-f", "-x", str(self.room / "opendkim.conf")])
        if self.socket.startswith("local:"):
            wait_until(lambda: pathlib.Path(self.socket[6:]).is_socket(), "opendkim")
            self.address = "unix:" + self.socket[6:]
        else:
            port, host = self.socket[5:].split("@")
            self.lab.wait_listening("fw", int(port), proc=self.proc, address=host)
            self.address = f"inet:{host}:{port}"
        return self

    def __exit__(self, *exc):
        self.lab.stop(self.proc)

    def key(self, name, timeout=5):
        assert name == b"sel._domainkey.sender.example.", name
        return self.record


@pytest.mark.parametrize("canonicalization", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("listen", ["local:{room}/dkim.sock", "inet:8893@127.0.0.1"])
def test_opendkim_signs(lab, room, canonicalization, listen):
    with OpenDkim(lab, room, "s", canonicalization, listen) as filt:
        with postern(lab, room, filt.address + " name=opendkim") as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post, FOLDED)[1].code == 250
            wire = mta.wait_messages(1)[0]["wire"]
            assert without_received(wire).startswith(b"DKIM-Signature:") or b"\r\nDKIM-Signature:" in wire
            message = unstuffed(wire)
            assert dkim.verify(message, dnsfunc=filt.key), message
            # The verifier does look: one byte, and it no longer holds.
            assert not dkim.verify(message.replace(b"trailing", b"tailing"), dnsfunc=filt.key)
            post.wait_log(r"milter=opendkim did=(pass|accept) .*changes=\"[12] headers? inserted")


def test_opendkim_signs_what_is_too_big_for_memory(lab, room):
    body = b"".join(b"%06d line of a large message\r\n" % n for n in range(20000))
    with OpenDkim(lab, room, "s") as filt:
        with postern(lab, room, filt.address + " name=opendkim") as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post, FOLDED.split(b"\r\n\r\n")[0] + b"\r\n\r\n" + body + b".\r\n")[1].code == 250
            assert dkim.verify(unstuffed(mta.wait_messages(1)[0]["wire"]), dnsfunc=filt.key)


def test_opendkim_verifies_what_was_signed(lab, room):
    """What a signer elsewhere has signed is shown to the verifier byte for byte."""
    with OpenDkim(lab, room, "v") as filt:
        private = (room / "key.pem").read_bytes()
        native = FOLDED[:-3].replace(b"\r\n..", b"\r\n.")
        signature = dkim.sign(native, b"sel", b"sender.example", private, canonicalize=(b"simple", b"simple"))
        with postern(lab, room, filt.address + " name=opendkim") as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post, signature + FOLDED)[1].code == 250
            wire = mta.wait_messages(1)[0]["wire"]
            assert re.search(rb"Authentication-Results: fw.example.net;\s+dkim=pass", wire), wire
            assert wire.endswith(signature + FOLDED), "below it nothing has changed"


class OpenDmarc:
    """opendmarc in the firewall's namespace, with the one policy it has to know: it asks no DNS."""

    def __init__(self, lab, room):
        self.lab, self.room = lab, room
        make_reachable(room)
        self.socket = room / "dmarc.sock"
        (room / "dmarc.dns").write_text("_dmarc.sender.example v=DMARC1;p=reject\n")
        (room / "opendmarc.conf").write_text(
            f"Socket local:{self.socket}\nAuthservID fw.example.net\nTrustedAuthservIDs fw.example.net\nRejectFailures yes\nSyslog no\nUserID root\n"
            f"PidFile {room}/dmarc.pid\nIgnoreHosts {room}/dmarc.ignore\nTestDNSData {room}/dmarc.dns\nUMask 007\n")
        (room / "dmarc.ignore").write_text("203.0.113.1\n")

    def __enter__(self):
        with open(self.room / "dmarc.out", "wb") as out:
            self.proc = self.lab.popen("fw", ["opendmarc", "-f", "-c", str(self.room / "opendmarc.conf")], stdout=out, stderr=out)
        wait_until(lambda: self.socket.is_socket() or self.proc.poll() is not None, "opendmarc", limit_s=60)
        assert self.proc.poll() is None, (self.room / "dmarc.out").read_text()
        return self

    def __exit__(self, *exc):
        self.lab.stop(self.proc)


def test_opendmarc_behind_opendkim(lab, room):
    """It goes by what OpenDKIM, before it in the chain, has just put into the header; and by nothing that the client has put there."""
    native = FOLDED[:-3].replace(b"\r\n..", b"\r\n.")
    forged = b"Authentication-Results: fw.example.net; dkim=pass header.d=sender.example\r\n"
    with OpenDkim(lab, room, "v") as dkim_filter, OpenDmarc(lab, room) as dmarc_filter:
        signature = dkim.sign(native, b"sel", b"sender.example", (room / "key.pem").read_bytes())
        with postern(lab, room, f"{dkim_filter.address} name=opendkim, unix:{dmarc_filter.socket} name=opendmarc") as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post, signature + FOLDED)[1].code == 250
            wire = mta.wait_messages(1)[0]["wire"]
            assert re.search(rb"Authentication-Results: fw.example.net;\s+dmarc=pass", wire), wire
            assert re.search(rb"Authentication-Results: fw.example.net;\s+dkim=pass", wire), wire
            assert wire.endswith(signature + FOLDED), "below it nothing has changed"
            for unsigned in (FOLDED, forged + FOLDED):
                reply = send(post, unsigned)[1]
                assert reply.code == 550 and "5.7.1" in reply.text and "DMARC" in reply.text, reply
            post.wait_log(r"milter=opendmarc did=refuse stage=end .*reply=\"550 5.7.1 rejected by DMARC")
            # Who publishes nothing is let in, and that is said.
            assert send(post, FOLDED.replace(b"a@sender.example", b"a@other.example"))[1].code == 250
            assert re.search(rb"dmarc=none", mta.wait_messages(2)[1]["wire"])


RSPAMD_CONF = """
.include "$CONFDIR/common.conf"
options {{
    pidfile = "{room}/rspamd.pid";
    filters = "";
    dns {{ nameserver = ["127.0.0.1"]; timeout = 0.1s; retransmits = 1; }}
    control_socket = "{room}/rspamd.control mode=0600";
    rrd = "{room}/rspamd.rrd";
    stats_file = "{room}/stats.ucl";
    history_file = "{room}/rspamd.history";
    hs_cache_dir = "{room}/";
}}
logging {{ type = "console"; level = "info"; }}
milter_headers {{ use = ["x-spamd-bar"]; skip_local = false; skip_authenticated = false; extended_headers_rcpt = ["*"]; }}
worker "rspamd_proxy" {{
    bind_socket = "{room}/rspamd.sock mode=0666";
    milter = yes;
    timeout = 60s;
    count = 1;
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


def test_rspamd(lab, room):
    """Its proxy speaks the milter protocol by itself, without libmilter; it knows nothing but its own rules here."""
    conf = room / "rspamd.conf"
    conf.write_text(RSPAMD_CONF.format(room=room))
    with open(room / "rspamd.out", "wb") as out:
        proc = lab.popen("fw", ["rspamd", "-f", "-i", "-u", "root", "-g", "root", "-c", str(conf)], stdout=out, stderr=out)
    try:
        wait_until(lambda: (room / "rspamd.sock").is_socket() or proc.poll() is not None, "rspamd", limit_s=120)
        assert proc.poll() is None, (room / "rspamd.out").read_text()[-3000:]
        with postern(lab, room, f"unix:{room}/rspamd.sock name=rspamd") as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post, FOLDED.replace(b"trailing", spamassassin.GTUBE))[1].code == 554
            post.wait_log(r"milter=rspamd did=refuse stage=end .*reply=\"554 ")
            assert send(post, FOLDED)[1].code == 250
            wire = without_received(mta.wait_messages(1)[0]["wire"])
            assert wire.split(b"\r\n\r\n", 1)[1] == FOLDED.split(b"\r\n\r\n", 1)[1]
            post.wait_log(r"milter=rspamd did=(pass|accept) stage=end")
    finally:
        lab.stop(proc, grace_s=20)


def test_spamass_milter(lab, room):
    """SpamAssassin's milter, on libmilter: it changes the header, and refuses from a score on."""
    home = room / "spamd"
    home.mkdir()
    listening = room / "spamass.sock"
    with spamassassin.daemon(lab, home) as arguments:
        proc = lab.popen("fw", ["spamass-milter", "-p", str(listening), "-r", "15", "--", *arguments.split()])
        try:
            wait_until(lambda: listening.is_socket() or proc.poll() is not None, "spamass-milter", limit_s=60)
            assert proc.poll() is None
            with postern(lab, room, f"unix:{listening} name=spamass") as post, Recorder(lab, lab.MTA4) as mta:
                assert send(post, FOLDED)[1].code == 250
                wire = mta.wait_messages(1)[0]["wire"]
                # Of our macros it makes a Received field, by which SpamAssassin knows that the client has no name.
                assert re.search(rb"\r\nX-Spam-Status: [^:]*\bRDNS_NONE\b", wire) and wire.split(b"\r\n\r\n", 1)[1] == FOLDED.split(b"\r\n\r\n", 1)[1], wire.decode()
                reply = send(post, FOLDED.replace(b"trailing", spamassassin.GTUBE))[1]
                assert reply.code == 550 and reply.text.startswith("5.7.1 "), reply
                post.wait_log(r"milter=spamass did=refuse stage=end ")
                assert len(mta.messages()) == 1
        finally:
            lab.stop(proc)


EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def test_clamav_milter(lab, room):
    """With clamd and a database of one signature; quarantine is its own word for hold."""
    database = room / "db"
    database.mkdir(mode=0o755)
    (database / "test.ndb").write_text("Test.EICAR:0:*:" + EICAR.hex() + "\n")
    (room / "clamd.conf").write_text(f"LocalSocket {room}/clamd.sock\nLocalSocketMode 666\nDatabaseDirectory {database}\nForeground yes\nUser root\n"
                                     f"LogFile {room}/clamd.log\nScanMail yes\nOfficialDatabaseOnly no\n")
    (room / "milter.conf").write_text(f"MilterSocket {room}/clamav.sock\nMilterSocketMode 666\nForeground yes\nUser root\nClamdSocket unix:{room}/clamd.sock\n"
                                      f"OnInfected Quarantine\nAddHeader Replace\nLogFile {room}/milter.log\nPidFile {room}/milter.pid\n")
    procs = [lab.popen("fw", ["clamd", "--foreground", f"--config-file={room}/clamd.conf"])]
    try:
        wait_until(lambda: (room / "clamd.sock").is_socket() or procs[0].poll() is not None, "clamd to listen", limit_s=60)
        assert procs[0].poll() is None, (room / "clamd.log").read_text()
        procs.append(lab.popen("fw", ["clamav-milter", f"--config-file={room}/milter.conf"]))
        wait_until(lambda: (room / "clamav.sock").is_socket() or procs[1].poll() is not None, "clamav-milter to listen", limit_s=60)
        with postern(lab, room, f"unix:{room}/clamav.sock name=clamav") as post, Recorder(lab, lab.MTA4) as mta:
            assert send(post, FOLDED)[1].code == 250
            assert b"X-Virus-Status: Clean" in mta.wait_messages(1)[0]["wire"]
            reply = send(post, FOLDED.replace(b"trailing", EICAR))[1]
            assert reply.code == 250
            ident = reply.text.split()[-1]
            wait_until(lambda: (post.spool / "hold" / ident).exists(), "the message in hold/")
            assert "quarantined by clamav-milter" in post.postern("queue", "list").stdout
            assert len(mta.messages()) == 1
    finally:
        for proc in reversed(procs):
            lab.stop(proc, grace_s=20)
