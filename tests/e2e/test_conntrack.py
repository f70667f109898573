"""Diversions that somebody else's rules take part in, IPv4 and IPv6: conntrack zones, a DNAT that leads to our listener, a DNAT in front."""

import ipaddress
import os
import re
import signal
import subprocess

import pytest

import journal
from installation import Installation, Recorder
from netlab import wait_until

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"

ZONE_OF_WAN = """
    chain raw {
        type filter hook prerouting priority raw
        iifname "wan" ct zone set 5
    }
    chain rawout {
        type filter hook output priority raw
        oifname "wan" ct zone set 5
    }
"""
# Port 25 of the firewall is a server's, as behind most routers.
PORT_FORWARDING = """
    chain portforward {
        type nat hook prerouting priority dstnat - 10
        iifname "wan" ip daddr 192.0.2.1 tcp dport 25 dnat ip to 203.0.113.25:25
        iifname "wan" ip6 daddr 2001:db8:1::1 tcp dport 25 dnat ip6 to [2001:db8:2::25]:25
    }
"""
TPROXY_BEHIND_IT = PORT_FORWARDING + """
    chain live {
        type filter hook prerouting priority mangle
        iifname "wan" meta l4proto tcp socket transparent 1 meta mark set meta mark | 0x20000000 accept
    }
    chain behind {
        type filter hook prerouting priority 0
        iifname "wan" fib daddr type != local meta nfproto ipv4 tcp dport 25 tproxy ip to :2526 meta mark set meta mark | 0x20000000 accept
        iifname "wan" fib daddr type != local meta nfproto ipv6 tcp dport 25 tproxy ip6 to :2526 meta mark set meta mark | 0x20000000 accept
    }
"""


@pytest.fixture
def admin(lab):
    """admin(chains): a table of the administrator's own."""
    def load(chains):
        subprocess.run(lab.argv("fw", ["nft", "-f", "-"]), input=f"table inet admin {{\n{chains}\n}}\n", text=True, check=True)

    yield load
    lab.exec("fw", "nft", "delete", "table", "inet", "admin", check=False)


@pytest.fixture
def diverted(lab, tmp_path):
    """diverted(divert=(…) or None, listen=…, **options): posternd on wan, with a diversion of ours, or without one."""
    running, up = [], []

    def start(listen=None, divert=("--mode", "redirect"), rules="allow:ALL:ALL:ALL\n", **options):
        post = Installation(lab, tmp_path, rules=rules, listen={"mode": "redirect", **(listen or {})}, options={k.replace("_", "-"): v for k, v in options.items()})
        running.append(post)
        post.start_daemon()
        if divert is not None:
            lab.divert("up", "--iface", "wan", *divert)
            up.append(True)
        return post

    yield start
    if up:
        lab.divert("down", "--iface", "wan", check=False)
    for post in running:
        post.__exit__()


def wanted(post, client, target, expected=None):
    """Send mail from client to target; what posternd took for the destination."""
    with post.talk(client, target) as talk:
        assert talk.greeting.code == 220 and "postern" in talk.greeting.text, talk.greeting
        talk.hello()
        message = journal.find(post.spool, talk.message(BODY))
    assert message.fields["CLIENT"].split()[0] == client
    return message.fields["DST"]


def both(lab):
    return ((lab.CLIENT4, lab.MTA4, lab.WAN4), (lab.CLIENT6, lab.MTA6, lab.WAN6))


def test_in_a_zone(lab, admin, diverted):
    admin(ZONE_OF_WAN)
    post = diverted({"conntrack-zone": 5}, rules="noto:ALL EXCEPT DST=203.0.113.25 DST=[2001:db8:2::25]:ALL:ALL\nallow:ALL:ALL:ALL\n")
    for client, target, own in both(lab):
        assert wanted(post, client, target) == f"{target} 25"
        # Our listening port itself, and not through any diversion.
        hit = post.talk(client, own, port=2525)
        assert hit.greeting.code == 421
    assert post.status()["counters"]["refused_direct_hit"] == 2
    assert 'why="a direct hit on the listening port, not diverted"' in post.log()
    talks = [post.talk(client) for client in (*lab.CLIENTS4, *lab.CLIENTS6) for _ in range(15)]
    assert all(talk.greeting.code == 220 for talk in talks)


def test_mail_of_a_zone_reaches_its_server(lab, admin, diverted):
    admin(ZONE_OF_WAN)
    with Recorder(lab, lab.MTA4) as mta:
        post = diverted({"conntrack-zone": 5})
        post.start_forwarder()
        assert wanted(post, lab.CLIENT4, lab.MTA4) == f"{lab.MTA4} 25"
        assert f"(on its way to {lab.MTA4}:25, diverted on wan)".encode() in mta.wait_messages(1)[0]["wire"]


@pytest.mark.parametrize("zone", [0, 6])
def test_another_zone_is_no_diversion(lab, admin, diverted, zone):
    admin(ZONE_OF_WAN)
    post = diverted({"conntrack-zone": zone})
    for client, target, _ in both(lab):
        with post.talk(client, target) as talk:
            assert talk.greeting.code == 421 and talk.is_closed()
    assert post.status()["counters"]["refused_direct_hit"] == 2
    assert ("see conntrack-zone" if zone == 0 else "does not know it in zone 6") in post.log()


def test_a_zone_of_one_direction(lab, admin, diverted):
    """The answers are in zone 0, where SO_ORIGINAL_DST looks."""
    admin(ZONE_OF_WAN.replace("ct zone set", "ct original zone set"))
    post = diverted()
    for client, target, _ in both(lab):
        assert wanted(post, client, target) == f"{target} 25"


def test_no_zone_for_tproxy(lab, admin, diverted):
    admin(ZONE_OF_WAN)
    post = diverted({"mode": "tproxy"}, divert=("--mode", "tproxy"))
    for client, target, _ in both(lab):
        assert wanted(post, client, target) == f"{target} 25"


def test_a_master_that_hangs_holds_up_no_session(lab, admin, diverted):
    admin(ZONE_OF_WAN)
    post = diverted({"conntrack-zone": 5})
    under_way = {source: post.talk(source) for source in lab.CLIENTS4}
    os.kill(post.daemon.pid, signal.SIGSTOP)
    try:
        new = post.talk(greet=False)
        for source, talk in under_way.items():
            talk.hello(), talk.say("MAIL FROM:<a@b.example>")
            assert talk.say("RCPT TO:<b@p.example>").code == 250
        assert new.reply().code == 421 and new.is_closed()
    finally:
        os.kill(post.daemon.pid, signal.SIGCONT)
    wait_until(lambda: post.talk().greeting.code == 220, "the master to answer again")
    assert "the master does not say" in post.log()


def test_the_ident_server_of_a_client_in_a_zone(lab, admin, diverted):
    """Asked from the address that the client connected to, which only its zone tells; nobody answers here."""
    admin(ZONE_OF_WAN)
    post = diverted({"conntrack-zone": 5}, rules="noto:nobody@ALL:ALL:ALL\nallow:ALL:ALL:ALL\n", ident_timeout="2s")
    assert wanted(post, lab.CLIENT4, lab.MTA4) == f"{lab.MTA4} 25"
    counter = lambda name: post.status()["counters"][name]  # noqa: E731
    wait_until(lambda: counter("ident_queries") == 1, "the query to be counted")
    assert counter("ident_from_own_address") == 0, "refused at once, and from the right address"


# ---- somebody else's DNAT


@pytest.mark.parametrize("to4, to6", [("192.0.2.1", "2001:db8:1::1"), ("203.0.113.1", "2001:db8:2::1")])
def test_somebody_elses_dnat_leads_here(lab, admin, diverted, to4, to6):
    """Not our rules, and not even to the address of the interface: connection tracking knows all the same."""
    admin(f"""chain pre {{
        type nat hook prerouting priority dstnat
        iifname "wan" meta nfproto ipv4 tcp dport 25 dnat ip to {to4}:2525
        iifname "wan" meta nfproto ipv6 tcp dport 25 dnat ip6 to [{to6}]:2525
    }}""")
    post = diverted(divert=None)
    for client, target, own in both(lab):
        assert wanted(post, client, target) == f"{target} 25"
        assert wanted(post, client, own) == f"{own} 25"


@pytest.mark.parametrize("mode", ["redirect", "tproxy"])
def test_a_port_forwarding_in_front_wins(lab, admin, diverted, mode):
    """What is addressed to this host itself is not ours to divert, and a second NAT of a connection there is not: it reaches its server."""
    admin(PORT_FORWARDING)
    post = diverted({"mode": mode}, divert=("--mode", mode))
    with Recorder(lab, lab.MTA4):
        with post.talk(lab.CLIENT4, lab.WAN4) as talk:
            assert talk.greeting.code == 220 and "postern" not in talk.greeting.text
    assert wanted(post, lab.CLIENT4, lab.MTA4) == f"{lab.MTA4} 25"


def test_tproxy_behind_a_port_forwarding(lab, admin, diverted):
    """The destination is the server that the forwarding has chosen, and mail goes there."""
    admin(TPROXY_BEHIND_IT)
    routes = [(f, words) for f in ("-4", "-6") for words in (["rule", "add", "iif", "wan", "fwmark", "0x20000000/0x20000000", "lookup", "99"],
                                                             ["route", "add", "local", "default", "dev", "lo", "table", "99"])]
    for family, words in routes:
        lab.exec("fw", "ip", family, *words)
    try:
        with Recorder(lab, lab.MTA4) as mta:
            post = diverted({"mode": "tproxy"}, divert=None)
            post.start_forwarder()
            for client, target, own in both(lab):
                assert wanted(post, client, own) == f"{target} 25"
            assert mta.wait_messages(1)
    finally:
        for family, words in routes:
            lab.exec("fw", "ip", family, words[0], "del", *words[2:])


# ---- who is cut off


@pytest.mark.parametrize("v", [4, 6])
def test_blocked_clients_are_forgotten(lab, diverted, v):
    """Flows that go straight to the server: the blocked client's leave connection tracking, the other's goes on."""
    clients, target = (lab.CLIENTS4, lab.MTA4) if v == 4 else (lab.CLIENTS6, lab.MTA6)
    post = diverted()
    wait_until(lambda: "pass4" in lab.exec("fw", "nft", "list", "sets", "inet").stdout, "the sets")
    for client in clients[:2]:
        post.postern("set", "add", "pass", client)
    with Recorder(lab, target):
        talks = [post.talk(client, target) for client in (clients[0], clients[0], clients[1])]
        assert all("postern" not in talk.greeting.text for talk in talks)
        post.postern("set", "del", "pass", clients[0])
        post.postern("set", "add", "block", clients[0])
        post.wait_log(rf"ev=flows-forgotten client={clients[0]}")
        # What is left of its earlier connections goes with them.
        assert int(re.search(r"ev=flows-forgotten .*count=(\d+)", post.log())[1]) >= 2
        assert talks[2].hello()
        talks[0].sock.settimeout(1)
        talks[0].send("NOOP\r\n")
        with pytest.raises(TimeoutError):
            talks[0].reply()
        post.postern("set", "del", "block", clients[0])
        post.postern("set", "add", "block", "192.0.2.200")
        assert "count=0" not in post.log() and post.log().count("ev=flows-forgotten") == 1


@pytest.mark.parametrize("v", [4, 6])
def test_clients_in_a_blocked_network_are_forgotten(lab, diverted, v):
    """As above, of all that is in the network; but not of who passes nevertheless."""
    clients, target = (lab.CLIENTS4, lab.MTA4) if v == 4 else (lab.CLIENTS6, lab.MTA6)
    network = str(ipaddress.ip_network(f"{clients[0]}/{24 if v == 4 else 64}", strict=False))
    post = diverted()
    wait_until(lambda: "pass4" in lab.exec("fw", "nft", "list", "sets", "inet").stdout, "the sets")
    for client in clients[:3]:
        post.postern("set", "add", "pass", client)
    with Recorder(lab, target):
        talks = [post.talk(client, target) for client in clients[:3]]
        assert all("postern" not in talk.greeting.text for talk in talks)
        for client in clients[:2]:
            post.postern("set", "del", "pass", client)
        post.postern("set", "add", "block", network, "1h")
        post.wait_log(rf"ev=flows-forgotten client={re.escape(network)} count=(?:[2-9]|\d\d)")
        assert talks[2].hello()
        for talk in talks[:2]:
            talk.sock.settimeout(1)
            talk.send("NOOP\r\n")
            with pytest.raises(TimeoutError):
                talk.reply()
        # What the server still sends may begin new ones, in the other direction.
        begun_by = [re.search(r"src=(\S+)", line)[1] for line in lab.exec("fw", "cat", "/proc/net/nf_conntrack").stdout.splitlines() if "dport=25 " in line]
        begun_by = [ipaddress.ip_address(a) for a in begun_by]
        assert ipaddress.ip_address(clients[2]) in begun_by
        assert not {ipaddress.ip_address(c) for c in clients[:2]} & set(begun_by)
        post.postern("set", "del", "block", network)
