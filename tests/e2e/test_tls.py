"""STARTTLS to the next server: a real Postfix with certificates of its own authority, and servers that do not mean it."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from installation import Diverted, Installation, Recorder, without_received
from mail_servers import Postfix
from netlab import wait_until

SENDER, RECIPIENT = "a@sender.example", "b@protected.example"
NAME = "mail.protected.example"
CLEAR = r"ev=delivered (?!.*tls=)"


class Authority:
    """A certificate authority, and certificates from it."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(mode=0o755)
        self.file = self.dir / "ca.pem"
        self._openssl("req", "-x509", *self._new_key("ca"), "-out", self.file, "-subj", "/CN=Test Authority", "-days", "10")

    @staticmethod
    def _openssl(*args):
        done = subprocess.run(["openssl", *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=30)
        assert done.returncode == 0, done.stdout

    def _new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.dir / f"{name}.key"]

    def issue(self, name, subject, days=10):
        """Settings of a Postfix that presents a certificate for subject ("DNS:..." or "IP:..."). days 0: it has run out."""
        extension = self.dir / f"{name}.ext"
        extension.write_text(f"subjectAltName={subject}\n")
        self._openssl("req", *self._new_key(name), "-out", self.dir / f"{name}.csr", "-subj", "/CN=server")
        self._openssl("x509", "-req", "-in", self.dir / f"{name}.csr", "-CA", self.file, "-CAkey", self.dir / "ca.key", "-CAcreateserial",
                      "-days", days, "-extfile", extension, "-out", self.dir / f"{name}.pem")
        return {"smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1", "smtpd_tls_cert_file": self.dir / f"{name}.pem",
                "smtpd_tls_key_file": self.dir / f"{name}.key"}


@pytest.fixture(scope="module")
def authority():
    path = tempfile.mkdtemp(prefix="ptest-tls-ca-")
    os.chmod(path, 0o755)
    yield Authority(pathlib.Path(path) / "ca")
    shutil.rmtree(path, ignore_errors=True)


def way(lab, room, tls, options=None, **listen):
    """postern between inet and mta."""
    return Diverted(lab, room, {"tls": tls, "forward": f"smtp:{lab.MTA4}:25", **listen},
                    options={"retry-min": "1s", "retry-max": "1s", "connect-timeout": "2s", "reply-timeout": "2s", **(options or {})})


def postfix(lab, room, **settings):
    return Postfix(lab, "mta", room, {"inet_interfaces": lab.MTA4, **settings})


def send(post, body=b"Subject: x\r\n\r\nbody\r\n"):
    with post.talk() as client:
        client.hello()
        reply = client.message(body + b".\r\n")
        assert reply.code == 250, reply


def reload(post, **listen):
    before = post.log("posternfwd").count("is in force")
    post.listen.update(listen)
    post.write_conf()
    post.forwarder.send_signal(1)
    wait_until(lambda: post.log("posternfwd").count("is in force") > before, "the reload")


def test_levels_with_postfix(lab, room, authority):
    """One Postfix with a good certificate, each level in turn."""
    with way(lab, room, "may") as post, postfix(lab, room, **authority.issue("good", f"DNS:{NAME}")) as mta:
        send(post)
        mta.wait_mails(1)
        post.wait_log(r"ev=delivered .*tls=TLSv1\.3/[A-Z0-9_]+/unverified", "posternfwd")
        # The system's own authorities do not know ours.
        reload(post, tls="verify", **{"tls-name": NAME})
        send(post)
        post.wait_log(r"ev=deferred .*the certificate does not prove to be mail\.protected\.example's: .*issuer", "posternfwd")
        assert len(mta.mails()) == 1
        post.options["tls-ca-file"] = authority.file
        reload(post)
        mta.wait_mails(2)
        post.wait_log(r"ev=delivered .*tls=TLSv1\.3/[A-Z0-9_]+/verified", "posternfwd")
        reload(post, **{"tls-name": "other.protected.example"})
        send(post)
        post.wait_log(r"ev=deferred .*the certificate does not prove to be other\.protected\.example's: .*[Hh]ostname mismatch", "posternfwd")
        assert len(mta.mails()) == 2
        reload(post, tls="encrypt")
        mta.wait_mails(3)
        assert len(re.findall(r"TLSv1\.3/[A-Z0-9_]+/unverified", post.log("posternfwd"))) == 2
        # Without a name: the address, which this certificate is not for.
        reload(post, tls="may", **{"tls-name": ""})
        # Much in one message, with dots, and many messages over one connection.
        text = b"..dotted line\r\nplain line\r\n" * 150000
        send(post, b"Subject: big\r\n\r\n" + text)
        arrived = b".dotted line\nplain line\n" * 150000
        assert any(arrived in mail for mail in mta.wait_mails(4))
        lab.exec("inet", "smtp-source", "-s", "5", "-l", "3000", "-m", "100", "-f", SENDER, "-t", RECIPIENT, f"inet:{lab.MTA4}:25", timeout=60)
        mta.wait_mails(104)
        wait_until(lambda: post.log("posternfwd").count("ev=delivered") == 104, "the log to say so")
        log = post.log("posternfwd")
        assert log.count("tls=TLSv1.3") == 104 and "ev=no-tls" not in log
        assert len(re.findall(r"TLS connection established from", mta.log())) < 80


@pytest.mark.long
def test_verify_by_address_and_expired(lab, room, authority):
    """Where forward is an address, the certificate may be for that. One that has run out proves nothing."""
    with way(lab, room, "verify", {"tls-ca-file": authority.file}) as post:
        with postfix(lab, room / "good", **authority.issue("address", f"IP:{lab.MTA4}")) as mta:
            send(post)
            mta.wait_mails(1)
            post.wait_log(r"ev=delivered .*/verified", "posternfwd")
        with postfix(lab, room / "old", **authority.issue("old", f"IP:{lab.MTA4}", days=0), **{"smtpd_tls_protocols": "TLSv1.2"}) as mta:
            send(post)
            post.wait_log(r"ev=deferred .*the certificate does not prove to be 203\.0\.113\.25's: certificate has expired", "posternfwd")
            assert not mta.mails()
            reload(post, tls="encrypt")
            mta.wait_mails(1)
            post.wait_log(r"tls=TLSv1\.2/[A-Z0-9-]+/unverified", "posternfwd")


def test_lmtp(lab, room, authority):
    """LMTP over TCP speaks STARTTLS as well."""
    settings = authority.issue("lmtp", f"DNS:{NAME}")
    conf = room / "dovecot.conf"
    (room / "dove").mkdir()
    shutil.chown(room / "dove", 65534, 65534)
    conf.write_text(f"""
protocols = lmtp
base_dir = {room}/dove/run
log_path = {room}/dove/log
ssl = yes
ssl_cert = <{settings["smtpd_tls_cert_file"]}
ssl_key = <{settings["smtpd_tls_key_file"]}
listen = {lab.MTA4}
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
mail_location = maildir:{room}/dove/mail
mail_uid = 65534
mail_gid = 65534
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={room}/dove allow_all_users=yes
}}
service lmtp {{
  inet_listener lmtp {{
    address = {lab.MTA4}
    port = 24
    ssl = no
  }}
}}
""")
    server = lab.popen("mta", ["dovecot", "-F", "-c", conf])
    try:
        lab.wait_listening("mta", 24, proc=server)
        with way(lab, room, "verify", {"tls-ca-file": authority.file}, **{"forward": f"lmtp:{lab.MTA4}:24", "tls-name": NAME}) as post:
            send(post)
            post.wait_log(r"ev=(delivered|deferred|failed)", "posternfwd")
            assert re.search(r"ev=delivered .*/verified", post.log("posternfwd")), post.log("posternfwd") + (room / "dove" / "log").read_text()
    finally:
        lab.stop(server)


def test_server_without_starttls(lab, room):
    with way(lab, room, "encrypt") as post, Recorder(lab, lab.MTA4) as mta:
        send(post)
        post.wait_log(r"ev=deferred .*does not offer STARTTLS, and tls = encrypt demands it", "posternfwd")
        assert not mta.messages()
        reload(post, tls="may")
        mta.wait_messages(1)
        post.wait_log(CLEAR, "posternfwd")


HOWS = {
    "refuse": "454 4.7.0 not today",
    "close": "the server hung up in the TLS handshake",
    "garbage": "the TLS handshake failed: wrong version number",
    "hang": "the server did not answer in time",
    "inject": "more came behind the 220 to STARTTLS, in clear text",
    "early": "STARTTLS was answered before it was said",
}


def test_servers_that_do_not_mean_it(lab, room):
    """encrypt: the mail waits, and says why. may: it goes in clear text, over a new connection, and the next one at once."""
    servers = {lab.MTA4: "close", lab.MTA4_2: "garbage", lab.MTA6: "inject", lab.MTA6_2: "hang"}

    def send_all():
        for address in servers:
            with post.talk(lab.CLIENT6 if ":" in address else lab.CLIENT4, address) as client:
                client.hello()
                assert client.message(b"Subject: x\r\n\r\nbody\r\n.\r\n").code == 250

    with contextlib.ExitStack() as stack:
        post = stack.enter_context(way(lab, room, "encrypt", forward="original"))
        recorders = {address: stack.enter_context(Recorder(lab, address, args=[f"starttls={how}", "ehlo=STARTTLS,PIPELINING"]))
                     for address, how in servers.items()}
        send_all()
        for how in servers.values():
            post.wait_log(rf"ev=deferred .*{HOWS[how]}", "posternfwd")
        assert not any(recorder.messages() for recorder in recorders.values())
        reload(post, tls="may")
        for recorder in recorders.values():
            assert without_received(recorder.wait_messages(1)[0]["wire"]) == b"Subject: x\r\n\r\nbody\r\n.\r\n"
        send_all()
        for recorder in recorders.values():
            for message in recorder.wait_messages(2):
                assert not [c for c in message["commands"] if c.startswith("STARTTLS")]
        log = post.log("posternfwd")
        assert log.count("ev=delivered") == 8 and "tls=TLS" not in log and log.count("ev=no-tls") == 4, log


def test_server_that_refuses_starttls(lab, room):
    """may: the same connection serves. And who answers it before it was asked is not believed."""
    with way(lab, room, "encrypt", forward="original") as post, Recorder(lab, lab.MTA4, args=["starttls=refuse", "ehlo=STARTTLS"]) as mta, \
            Recorder(lab, lab.MTA6, args=["starttls=early", "ehlo=STARTTLS"]) as early:
        send(post)
        post.wait_log(rf"ev=deferred .*{HOWS['refuse']}", "posternfwd")
        with post.talk(lab.CLIENT6) as client:
            client.hello()
            assert client.message(b".\r\n").code == 250
        post.wait_log(rf"ev=deferred .*{HOWS['early']}", "posternfwd")
        assert not mta.messages() and not early.messages()
        reload(post, tls="may")
        assert "STARTTLS" in mta.wait_messages(1)[0]["commands"]
        post.wait_log(CLEAR, "posternfwd")
        reload(post, tls="none")
        send(post)
        assert "STARTTLS" not in mta.wait_messages(2)[1]["commands"]


def test_verify_needs_authorities(lab, room):
    """Without them nothing starts, and a reload changes nothing."""
    missing = room / "nowhere.pem"
    post = Installation(lab, room, listen={"tls": "verify", "forward": f"smtp:{lab.MTA4}:25"}, options={"tls-ca-file": missing})
    done = post.run("posternfwd", "-f", post.conf_path)
    assert done.returncode == 1 and f"tls-ca-file: {missing}: " in done.stdout, done.stdout
    post.listen["tls"] = "may"
    post.write_conf()
    with post:
        post.start_forwarder()
        post.wait_log(r"ev=trust .*no certificate will count as verified", "posternfwd")
        post.listen["tls"] = "verify"
        post.write_conf()
        post.forwarder.send_signal(1)
        post.wait_log(r"ev=reload .*the old configuration stays: tls-ca-file: ", "posternfwd")
