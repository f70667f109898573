"""The contributed commands of the external checker (dist/contrib) with the real clamd and SpamAssassin, which ask nobody on the network; and a stand-in
for dccproc, which Debian has not."""

import base64
import os
import pathlib
import pwd

import pytest

import spamassassin
from installation import Recorder, without_received
from netlab import ROOT, wait_until
from test_extcheck import CHECK_UID, Checked, send

CONTRIB = ROOT / "dist" / "contrib"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
HEAD = b"From: a@sender.example\r\nTo: b@protected.example\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\nSubject: test\r\n"

DIVERTED = ("wan",)


@pytest.fixture
def checked(lab, tmp_path):
    made = []

    def start(command, **options):
        c = Checked(lab, tmp_path, "exit 99\n", check_command=command, **options)
        made.append(c)
        c.post.start_forwarder()
        c.post.start_daemon()
        return c

    yield start
    for c in made:
        c.post.__exit__()


def mime(name, content):
    return (HEAD + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nhello\r\n--x\r\n'
            b"Content-Type: application/octet-stream; name=" + name + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(content).replace(b"\n", b"\r\n") + b"--x--\r\n.\r\n")


# ---- clamd

@pytest.fixture(scope="module")
def clamd(lab, tmp_path_factory):
    """clamd with a database of one signature."""
    top = tmp_path_factory.mktemp("clamd")
    for path in (top, *top.parents):
        path.chmod(path.stat().st_mode & 0o7777 | 0o011)
    database = top / "db"
    database.mkdir()
    database.chmod(0o755)
    (database / "test.ndb").write_text(f"Postern.Test-Eicar:0:*:{EICAR.hex()}\n")
    conf = top / "clamd.conf"
    conf.write_text(f"LocalSocket {top}/clamd.sock\nLocalSocketMode 666\nDatabaseDirectory {database}\nForeground yes\nUser clamav\n"
                    f"LogFile {top}/clamd.log\nScanMail yes\nOfficialDatabaseOnly no\n")
    uid = pwd.getpwnam("clamav").pw_uid
    os.chown(top, uid, uid)
    proc = lab.popen("fw", ["clamd", "--foreground", f"--config-file={conf}"])
    try:
        wait_until(lambda: (top / "clamd.sock").is_socket() or proc.poll() is not None, "clamd to listen", limit_s=60)
        assert proc.poll() is None, (top / "clamd.log").read_text()
        yield conf
    finally:
        lab.stop(proc)


@pytest.mark.parametrize("how", ["", " --stream"], ids=["descriptor", "stream"])
def test_clamd(lab, clamd, checked, how):
    with Recorder(lab, lab.MTA4) as mta:
        c = checked(f"{CONTRIB}/check-clamd{how} --config-file={clamd}")
        clean = mime(b"clean.bin", b"nothing")
        assert send(c.post, clean).code == 250, c.post.log()
        assert without_received(mta.wait_messages(1)[0]["wire"]) == clean
        reply = send(c.post, mime(b"eicar.com", EICAR))
        assert reply.code == 552 and reply.text.startswith("5.7.1"), reply
        c.post.wait_log("ev=extcheck .*result=reject exit=1 .*out=\"Postern.Test-Eicar.UNOFFICIAL FOUND\"")
        # In its own text, large: the spool's own file is what is looked at.
        large = HEAD + b"\r\n" + b"0123456789\r\n" * 50000 + EICAR + b"\r\n.\r\n"
        assert send(c.post, large).code == 552
    c.wait_clean()


def test_clamd_that_is_not_there(lab, tmp_path, checked):
    conf = tmp_path / "clamd.conf"
    conf.write_text(f"LocalSocket {tmp_path}/nobody.sock\n")
    conf.chmod(0o644)
    c = checked(f"{CONTRIB}/check-clamd --config-file={conf}")
    assert send(c.post, mime(b"eicar.com", EICAR)).code == 451
    c.post.wait_log("ev=extcheck .*result=retry exit=2")


# ---- SpamAssassin

@pytest.fixture(scope="module")
def spamd(lab, tmp_path_factory):
    with spamassassin.daemon(lab, tmp_path_factory.mktemp("spamd")) as arguments:
        yield arguments


def test_spamc_marks(lab, spamd, checked):
    with Recorder(lab, lab.MTA4) as mta:
        c = checked(f"{CONTRIB}/check-spamc {spamd}")
        ham = HEAD + b"\r\nhello\r\n..dot\r\n.\r\n"
        assert send(c.post, ham).code == 250, c.post.log()
        wire = mta.wait_messages(1)[0]["wire"]
        assert b"\r\nX-Spam-Status: No" in wire and wire.endswith(b"\r\nhello\r\n..dot\r\n.\r\n") and wire.count(b"Received: from ") == 1
        assert send(c.post, HEAD + b"\r\n" + spamassassin.GTUBE + b"\r\n.\r\n").code == 250
        assert b"\r\nX-Spam-Flag: YES\r\n" in mta.wait_messages(2)[1]["wire"]
    c.post.wait_log('ev=extcheck .*result=accept .*changed_size=.*out="X-Spam-Status: Yes')
    assert c.counters()["extcheck_changed"] == 2
    c.wait_clean()


def test_spamc_refuses(lab, spamd, checked):
    with Recorder(lab, lab.MTA4) as mta:
        c = checked(f"{CONTRIB}/check-spamc refuse {spamd}")
        assert send(c.post, HEAD + b"\r\n" + spamassassin.GTUBE + b"\r\n.\r\n").code == 552
        assert send(c.post, HEAD + b"\r\nhello\r\n.\r\n").code == 250
        large = HEAD + b"\r\n" + b"0123456789\r\n" * 60000 + b".\r\n"
        assert send(c.post, large).code == 250
        assert without_received(mta.wait_messages(2)[1]["wire"]) == large
    c.post.wait_log("out=\"too large for spamc: not looked at\"")
    c.wait_clean()


def test_spamd_that_is_not_there(checked):
    c = checked(f"{CONTRIB}/check-spamc -d 127.0.0.1 -p 7831 -u nobody --connect-retries 1")
    assert send(c.post, HEAD + b"\r\nhello\r\n.\r\n").code == 451
    c.post.wait_log("ev=extcheck .*result=retry ")
    c.wait_clean()


# ---- the DCC

def test_dcc(checked, tmp_path):
    stand_in = tmp_path / "dccproc"
    calls = tmp_path / "calls"
    calls.mkdir()
    os.chown(calls, CHECK_UID, CHECK_UID)
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{calls}/args\ngrep -q bulk "${{10}}" && exit 1\ngrep -q broken "${{10}}" && exit 70\nexit 0\n')
    stand_in.chmod(0o755)
    c = checked(f"{CONTRIB}/check-dcc {stand_in}")

    def text(word):
        return HEAD + b"\r\n" + word + b"\r\n.\r\n"

    assert send(c.post, text(b"one"), "a@sender.example", "b@protected.example", "c@protected.example").code == 250
    args = (calls / "args").read_text().splitlines()
    assert args[:8] == ["-a", c.post.lab.CLIENT4, "-f", "a@sender.example", "-t", "2", "-x", "1"]
    assert args[8] == "-i" and args[9].startswith(str(c.place)) and args[10:] == ["-o", "/dev/null", "-c", "CMN,many"]
    assert send(c.post, text(b"bulk"), "").code == 552
    assert (calls / "args").read_text().splitlines()[3] == "<>"
    assert send(c.post, text(b"broken")).code == 451
    c.post.wait_log('out="dccproc: exit status 70"')


def test_every_one_says_when_it_is_called_wrongly():
    for script in sorted(CONTRIB.iterdir()):
        assert os.access(script, os.X_OK), script
        assert os.spawnv(os.P_WAIT, str(script), [script.name]) == 64, script
    assert {script.name for script in pathlib.Path(CONTRIB).iterdir()} == {"check-clamd", "check-dcc", "check-spamc"}
