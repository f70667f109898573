"""How the next server learns the client's address: XFORWARD and XCLIENT to a real Postfix, and what becomes of spoof when it can't be done."""

import os
import pathlib
import re

import pytest

from installation import Diverted, Recorder
from mail_servers import Postfix
from netlab import wait_until

SENDER, RECIPIENT = "a@sender.example", "b@protected.example"


def postfix(lab, room, **settings):
    return Postfix(lab, "mta", room, {"inet_interfaces": f"{lab.MTA4}, {lab.MTA6}", "smtp_tls_security_level": "none", **settings})


def hosts(lab):
    return f"{lab.LAN4}, [{lab.LAN6}]"


def send(post, source, helo, number, sender=SENDER):
    with post.talk(source) as client:
        client.hello(helo)
        assert client.message(b"X-Number: %d\r\n\r\nbody\r\n.\r\n" % number, sender).code == 250


def received(mails, number):
    """What the server itself wrote about where message number came from."""
    mail, = [m for m in mails if b"X-Number: %d\n" % number in m]
    lines = mail.split(b"Received: ")
    return lines[1].decode("latin-1")


def test_xclient_to_postfix(lab, room):
    """Postfix takes the session for the client's: its log and its Received field have the client's address and HELO. A client's second
    message goes over the same connection, another client's never does: Postfix takes XCLIENT once."""
    clients = [(lab.CLIENTS4[0], "one.example.net"), (lab.CLIENTS4[1], "two.example.net"), (lab.CLIENTS6[0], "three.example.net")]
    with Diverted(lab, room, {"identity": "xclient", "forward": f"smtp:{lab.MTA4}:25"}, options={"destination-connections": 1, "keep-idle": "30s"}) \
            as post, postfix(lab, room, smtpd_authorized_xclient_hosts=hosts(lab)) as mta:
        for number, (source, helo) in enumerate(clients):
            with post.talk(source) as client:
                client.hello(helo)
                for part in range(2):
                    assert client.message(b"X-Number: %d\r\n\r\nbody\r\n.\r\n" % (2 * number + part)).code == 250
                    mta.wait_mails(2 * number + part + 1)
        mails, log = mta.mails(), mta.log()
        for number, (source, helo) in enumerate(clients):
            literal = f"[IPv6:{source}]" if ":" in source else f"[{source}]"
            for part in range(2):
                line = received(mails, 2 * number + part)
                assert re.match(rf"from {re.escape(helo)} \(.*{re.escape(literal)}\)", line), line
            assert len(re.findall(rf"client=[^ ]*\[{re.escape(source)}\]", log)) == 2
        assert len(re.findall(rf"smtpd\[\d+\]: connect from .*\[{re.escape(lab.LAN4)}\]", log)) == 3, log
        assert f"client=unknown[{lab.LAN4}]" not in log and "lost connection" not in log


@pytest.mark.long
def test_xclient_in_two_lines(lab, room):
    """A HELO and a name that do not fit one line: Postfix takes the second line, too, since the address is in that."""
    name, helo = ".".join(["n" * 60] * 4), "+" * 200
    client = lab.CLIENTS4[2]
    reverse = ".".join(reversed(client.split("."))) + ".in-addr.arpa"
    # A rule that needs the name, or nobody looks it up.
    rules = "noto:*.nowhere.example:ALL:ALL\nallow:ALL:ALL:ALL\n"
    with Diverted(lab, room, {"identity": "xclient", "forward": f"smtp:{lab.MTA4}:25"}, rules=rules, options={"resolver": lab.DNS4}) as post, \
            postfix(lab, room, smtpd_authorized_xclient_hosts=hosts(lab)) as mta:
        lab.dns_remove(f"{reverse}.")
        lab.dns(f"{reverse}. PTR {name}.", f"{name}. A {client}")
        send(post, client, helo, 0)
        assert f"({name} [{client}])" in received(mta.wait_mails(1), 0)
        assert "xclient-refused" not in post.log("posternfwd")


@pytest.mark.long
def test_xclient_server_refuses_the_client(lab, room):
    """What Postfix has against one client it holds against that client's mail, not against the destination."""
    with Diverted(lab, room, {"identity": "xclient", "forward": f"smtp:{lab.MTA4}:25"}, options={"bounce": "all", "bounce-via": f"smtp:{lab.MTA4_2}:25"}) \
            as post, Recorder(lab, lab.MTA4_2) as reports, \
            postfix(lab, room, smtpd_authorized_xclient_hosts=hosts(lab), smtpd_helo_required="yes", smtpd_delay_reject="no",
                    smtpd_client_restrictions=f"check_client_access inline:{{{lab.CLIENTS4[1]}=REJECT}}", inet_interfaces=lab.MTA4) as mta:
        send(post, lab.CLIENTS4[1], "bad.example.net", 0)
        send(post, lab.CLIENTS4[0], "good.example.net", 1)
        mails = mta.wait_mails(1)
        assert "good.example.net" in received(mails, 1)
        report = reports.wait_messages(1)[0]
        assert b"Client host rejected: Access denied" in report["wire"] and b"Action: failed" in report["wire"]
        assert "ev=destination-down" not in post.log("posternfwd")


def test_xforward_to_postfix(lab, room):
    with Diverted(lab, room, {"identity": "xforward", "forward": f"smtp:[{lab.MTA6}]:25"}) as post, \
            postfix(lab, room, smtpd_authorized_xforward_hosts=hosts(lab)) as mta:
        for number, source in enumerate((lab.CLIENT4, lab.CLIENT6)):
            send(post, source, "client10.example.net", number)
        mta.wait_mails(2)
        # Postfix's own log shows whom the mail is from, its Received field who brought it.
        for source in (lab.CLIENT4, lab.CLIENT6):
            assert re.search(rf"orig_client=[^ ]*\[{re.escape(source)}\]|client=[^ ]*\[{re.escape(source)}\]", mta.log()), mta.log()


def test_server_that_does_not_offer_it(lab, room):
    """Mail flows all the same, and the log says so once."""
    with Diverted(lab, room, {"identity": "xclient", "forward": f"smtp:{lab.MTA4}:25"}, options={"keep-idle": "30s"}) as post, postfix(lab, room) as mta:
        for number in range(3):
            send(post, lab.CLIENT4, "client10.example.net", number)
            mta.wait_mails(number + 1)
        assert f"[{lab.LAN4}]" in received(mta.mails(), 0)
        assert post.log("posternfwd").count("ev=identity ") == 1


def test_spoof_without_a_way_back(lab, room):
    """Nobody brings the server's answers to us: the mail waits, or falls back as configured, and the server learns the client from XCLIENT."""
    fast = {"connect-timeout": "1s", "retry-min": "1s", "retry-max": "1s"}
    listen = {"identity": "spoof", "forward": f"smtp:{lab.MTA4}:25"}
    with postfix(lab, room, smtpd_authorized_xclient_hosts=hosts(lab)) as mta, Diverted(lab, room, listen, options=fast) as post:
        send(post, lab.CLIENT4, "client10.example.net", 0)
        post.wait_log("ev=deferred .*no answer to our attempt to connect from the client's address", "posternfwd")
        assert not mta.mails() and "ev=spoof-fallback" not in post.log("posternfwd")
        post.listen["spoof-fallback"] = "xclient"
        post.write_conf()
        post.forwarder.send_signal(1)
        mails = mta.wait_mails(1)
        assert f"[{lab.CLIENT4}]" in received(mails, 0)
        assert "ev=spoof-fallback" in post.log("posternfwd")
        post.listen["spoof-fallback"] = "none"
        post.write_conf()
        post.forwarder.send_signal(1)
        wait_until(lambda: post.log("posternfwd").count("is in force") == 2, "the reload")
        send(post, lab.CLIENTS4[1], "client10.example.net", 1)
        assert f"[{lab.LAN4}]" in received(mta.wait_mails(2), 1)
        # The kernel gives up before we do: after three seconds here, after two minutes by itself.
        retries = lab.exec("fw", "sysctl", "-n", "net.ipv4.tcp_syn_retries").stdout.strip()
        lab.exec("fw", "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1")
        post.options["connect-timeout"] = "60s"
        post.write_conf()
        post.forwarder.send_signal(1)
        wait_until(lambda: post.log("posternfwd").count("is in force") == 3, "the reload")
        send(post, lab.SPAMMER4, "client10.example.net", 3)
        assert f"[{lab.LAN4}]" in received(mta.wait_mails(3), 3)
        lab.exec("fw", "sysctl", "-qw", f"net.ipv4.tcp_syn_retries={retries}")
        # With a way back the fallback is not used.
        lab.divert("down", "--iface", "wan")
        lab.divert("up", "--iface", "wan", "--mode", "redirect", "--reply-iface", "lan")
        send(post, lab.CLIENTS4[2], "client10.example.net", 2)
        assert f"[{lab.CLIENTS4[2]}]" in received(mta.wait_mails(4), 2)


@pytest.mark.long
def test_spoof_without_the_process_that_opens_sockets(lab, room):
    """No transparent sockets any more: the fallback counts at once."""
    with postfix(lab, room, smtpd_authorized_xclient_hosts=hosts(lab)) as mta, \
            Diverted(lab, room, {"identity": "spoof", "spoof-fallback": "xclient", "forward": f"smtp:{lab.MTA4}:25"}) as post:
        children = pathlib.Path(f"/proc/{post.forwarder.pid}/task/{post.forwarder.pid}/children").read_text().split()
        victim, = [int(pid) for pid in children if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "postern-sockets"]
        os.kill(victim, 9)
        post.wait_log("ev=broker-gone", "posternfwd")
        send(post, lab.CLIENT4, "client10.example.net", 0)
        assert f"[{lab.CLIENT4}]" in received(mta.wait_mails(1), 0)
