"""scripts/postern-divert: real connections over real netfilter rules, in a lab of its own."""

import os
import re
import socket
import stat
import struct
import subprocess
import time

import pytest

from netlab import DIVERT, Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

IPV6_TRANSPARENT = 75
IP_TRANSPARENT = 19
SO_ORIGINAL_DST = 80
OWN_MARK = 0x40000000
DIVERT_MARK = 0x20000000
PORT = {"redirect": 2525, "tproxy": 2526}
NOT_DIVERTED = 3

MODES = ("redirect", "tproxy")
BACKENDS = ("nft", "iptables")
every_way = pytest.mark.parametrize("backend", BACKENDS)
every_mode = pytest.mark.parametrize("mode", MODES)
every_family = pytest.mark.parametrize("v", (4, 6))

# What an administrator may have: rules of his own in every place we write to.
ADMIN_NFT = """
table inet admin {
    chain early { type filter hook prerouting priority raw; policy accept;
        ip saddr 192.0.2.11 meta mark set 0x40000000
        ip6 saddr 2001:db8:1::11 meta mark set 0x40000000
        ip saddr 192.0.2.12 meta mark set 0x7
        ip6 saddr 2001:db8:1::12 meta mark set 0x7
    }
    chain nat { type nat hook prerouting priority dstnat; policy accept; tcp dport 8025 redirect to :8026; }
}
"""
ADMIN_IPTABLES = (
    "-t nat -A PREROUTING -p tcp --dport 8027 -j REDIRECT --to-ports 8028",
    "-t mangle -A PREROUTING -p tcp --dport 8029 -j MARK --set-xmark 0x8/0x8",
    "-t mangle -N POSTERNLIKE",
    "-t mangle -A PREROUTING -i lan -j POSTERNLIKE",
    "-A FORWARD -p tcp --dport 8030 -j DROP",
    "-t raw -A PREROUTING -p tcp --dport 8031 -j ACCEPT",
)
ADMIN_ROUTING = (
    "rule add fwmark 0x8/0x8 lookup 77",
    "rule add pref 24 iif lan fwmark 0x20000000/0x20000000 lookup 77",
)


@pytest.fixture(scope="module")
def lab():
    with Lab("ptest-divert") as net:
        net.exec("fw", "nft", "-f", "-", input=ADMIN_NFT)
        for rule in ADMIN_IPTABLES:
            net.exec("fw", "iptables", *rule.split())
            net.exec("fw", "ip6tables", *rule.split())
        for rule in ADMIN_ROUTING:
            net.exec("fw", "ip", "-4", *rule.split())
            net.exec("fw", "ip", "-6", *rule.split())
        yield net


@pytest.fixture(autouse=True)
def leaves_nothing(lab):
    """Whatever a test does: after down, the firewall has exactly the rules it had before."""
    before = everything(lab)
    yield
    lab.divert("down", "--iface", "wan,lan")
    assert everything(lab) == before
    assert lab.divert("status", check=False).returncode == NOT_DIVERTED


def everything(lab):
    """Rules, routing rules and routes of the firewall, as text, without counters and dates."""
    parts = [lab.exec("fw", "nft", "list", "ruleset").stdout]
    for tool in ("iptables-save", "ip6tables-save"):
        parts.append(re.sub(r"^#.*\n|\[\d+:\d+\]", "", lab.exec("fw", tool).stdout, flags=re.M))
    for v in ("-4", "-6"):
        parts.append(lab.exec("fw", "ip", v, "rule").stdout)
        routes = lab.exec("fw", "ip", v, "route", "show", "table", "all").stdout
        parts.append("".join(sorted(line for line in routes.splitlines(True) if "table 2526" in line or "table" not in line)))
    return re.sub(r"packets \d+ bytes \d+", "", "\n".join(parts))


def rules(lab):
    """As everything(), but only what postern-divert has made."""
    out = lab.exec("fw", "nft", "list", "table", "inet", "postern", check=False).stdout
    for table in ("nat", "mangle"):
        for tool in ("iptables-save", "ip6tables-save"):
            out += "".join(line for line in lab.exec("fw", tool, "-t", table).stdout.splitlines(True) if "POSTERN" in line)
    for v in ("-4", "-6"):
        # The order among equals is that of their making, and means nothing.
        out += "".join(sorted(lab.exec("fw", "ip", v, "rule", "show", "pref", "25").stdout.splitlines(True)))
        out += lab.exec("fw", "ip", v, "route", "show", "table", "2526", check=False).stdout
    return re.sub(r"packets \d+ bytes \d+|\[\d+:\d+\]", "", out)


def status(lab, *argv):
    """status as a list of rows, each a dict of the columns."""
    lines = lab.divert("status", *argv).stdout.splitlines()
    names = lines[0].split()
    return [dict(zip(names, line.split())) for line in lines[1:]]


def up(lab, mode, backend, *more, iface="wan"):
    return lab.divert("up", "--iface", iface, "--mode", mode, "--backend", backend, *more)


def client(v, number=0):
    return (Lab.CLIENTS4 if v == 4 else Lab.CLIENTS6)[number]


def mta(v):
    return Lab.MTA4 if v == 4 else Lab.MTA6


def wan(v):
    return Lab.WAN4 if v == 4 else Lab.WAN6


def make_transparent(sock):
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)


def any_listener(lab, ns, v, port):
    """A listener on the wildcard address, transparent as the daemon's is."""
    sock = lab.socket(ns, socket.AF_INET6 if v == 6 else socket.AF_INET)
    if v == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    make_transparent(sock)
    sock.bind(("::" if v == 6 else "0.0.0.0", port))
    sock.listen(16)
    sock.settimeout(10)
    return sock


def original_destination(conn, mode):
    if mode == "tproxy":
        return conn.getsockname()[:2]
    if conn.family == socket.AF_INET6:
        raw = conn.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]
    raw = conn.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack("!H", raw[2:4])[0]


def exchange(one, other):
    """Bytes pass both ways, more than one segment."""
    one.settimeout(10)
    other.settimeout(10)
    for a, b in ((one, other), (other, one)):
        sent = os.urandom(5000)
        a.sendall(sent)
        got = b""
        while len(got) < len(sent):
            piece = b.recv(65536)
            assert piece, "the connection ended early"
            got += piece
        assert got == sent


def reaches(lab, v, listener, target, source=None):
    """Connect from inet; the listener gets the connection. Returns (client socket, accepted socket)."""
    sock = lab.connect("inet", (source or client(v), 0), target)
    conn, peer = listener.accept()
    assert peer[:2] == sock.getsockname()[:2]
    exchange(sock, conn)
    return sock, conn


# ---- the diversion itself


@every_way
@every_mode
@every_family
def test_client_address_and_original_destination(lab, v, mode, backend):
    up(lab, mode, backend)
    with any_listener(lab, "fw", v, PORT[mode]) as listener:
        for source in (client(v), Lab.FAR_CLIENT4 if v == 4 else Lab.SPAMMER6):
            sock, conn = reaches(lab, v, listener, (mta(v), 25), source)
            with sock, conn:
                assert conn.getpeername()[0] == source
                assert original_destination(conn, mode) == (mta(v), 25)


@every_way
@every_mode
@every_family
def test_other_port_for_the_listener_and_other_ports_untouched(lab, v, mode, backend):
    up(lab, mode, backend, "--port", "2600")
    with any_listener(lab, "fw", v, 2600) as listener, any_listener(lab, "mta", v, 26) as other:
        for sock in reaches(lab, v, listener, (mta(v), 25)) + reaches(lab, v, other, (mta(v), 26)):
            sock.close()


@every_way
@every_mode
@every_family
def test_direct_hit_arrives_undiverted(lab, v, mode, backend):
    """It is the daemon that refuses those; it must see that original destination and own address are the same."""
    up(lab, mode, backend)
    with any_listener(lab, "fw", v, PORT[mode]) as listener:
        sock, conn = reaches(lab, v, listener, (wan(v), PORT[mode]))
        with sock, conn:
            assert conn.getsockname()[:2] == (wan(v), PORT[mode])


@every_way
@every_mode
@every_family
def test_the_firewalls_own_mail_server_is_left_alone(lab, v, mode, backend):
    up(lab, mode, backend)
    with any_listener(lab, "fw", v, PORT[mode]), any_listener(lab, "fw", v, 25) as own:
        for target in (wan(v), Lab.LAN4 if v == 4 else Lab.LAN6):
            for sock in reaches(lab, v, own, (target, 25)):
                sock.close()


@every_way
@every_mode
@every_family
def test_own_mark_is_not_diverted(lab, v, mode, backend):
    """client11 gets our own sockets' mark from a rule of the administrator."""
    up(lab, mode, backend)
    with any_listener(lab, "fw", v, PORT[mode]), any_listener(lab, "mta", v, 25) as server:
        for sock in reaches(lab, v, server, (mta(v), 25), client(v, 1)):
            sock.close()


@every_way
@every_family
def test_marks_of_others_survive(lab, v, backend):
    """client12 gets mark 7 from the administrator; the accepted socket has it besides ours."""
    up(lab, "tproxy", backend)
    with any_listener(lab, "fw", v, 2526) as listener:
        sock, conn = reaches(lab, v, listener, (mta(v), 25), client(v, 2))
        with sock, conn:
            assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == DIVERT_MARK | 7


@every_way
@every_mode
@every_family
def test_open_connections_pass_on_undisturbed(lab, v, mode, backend):
    with any_listener(lab, "mta", v, 25) as server, any_listener(lab, "fw", v, PORT[mode]) as listener:
        old, accepted = reaches(lab, v, server, (mta(v), 25))
        with old, accepted:
            up(lab, mode, backend)
            new, diverted = reaches(lab, v, listener, (mta(v), 25))
            with new, diverted:
                exchange(old, accepted)
                exchange(new, diverted)
                up(lab, mode, backend)  # and doing it again disturbs neither
                exchange(old, accepted)
                exchange(new, diverted)


@every_way
@every_mode
@every_family
def test_client_comes_again_from_the_same_port(lab, v, mode, backend):
    """A server closes first after QUIT, so its side is in TIME_WAIT when a client in a hurry uses its port again."""
    up(lab, mode, backend)
    source = (client(v), 30025)
    with any_listener(lab, "fw", v, PORT[mode]) as listener:
        for _ in range(3):
            sock = lab.socket("inet", listener.family)
            with sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.settimeout(10)
                sock.bind(source)
                sock.connect((mta(v), 25))
                conn, peer = listener.accept()
                assert peer[:2] == source
                exchange(sock, conn)
                conn.close()
                assert sock.recv(1) == b""


@every_way
@every_family
def test_tproxy_with_syn_cookies(lab, v, backend):
    """With cookies there is no socket yet when the third packet of the handshake comes."""
    up(lab, "tproxy", backend)
    lab.exec("fw", "sysctl", "-qw", "net.ipv4.tcp_syncookies=2")
    try:
        with any_listener(lab, "fw", v, 2526) as listener:
            sock, conn = reaches(lab, v, listener, (mta(v), 25))
            with sock, conn:
                assert original_destination(conn, "tproxy") == (mta(v), 25)
    finally:
        lab.exec("fw", "sysctl", "-qw", "net.ipv4.tcp_syncookies=1")


# ---- nobody listens: man page, CAVEATS


@every_way
@every_mode
@every_family
def test_nobody_listens(lab, v, mode, backend):
    """Nothing reaches the server, in whatever mode and by whatever back end."""
    up(lab, mode, backend)
    with any_listener(lab, "mta", v, 25) as server:
        with pytest.raises(ConnectionRefusedError if mode == "redirect" else TimeoutError):
            lab.connect("inet", None, (mta(v), 25), timeout=2.5)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


@every_way
@every_family
def test_nobody_listens_for_a_moment(lab, v, backend):
    """A client of mode tproxy that comes during a restart is served after it."""
    up(lab, "tproxy", backend)
    with lab.socket("inet", socket.AF_INET6 if v == 6 else socket.AF_INET) as sock:
        sock.setblocking(False)
        sock.connect_ex((mta(v), 25))
        time.sleep(0.5)
        with any_listener(lab, "fw", v, 2526) as listener:
            conn, _ = listener.accept()
            with conn:
                assert original_destination(conn, "tproxy") == (mta(v), 25)
                exchange(sock, conn)


@every_way
@every_mode
@every_family
def test_nobody_listens_and_the_rest_passes(lab, v, mode, backend):
    """Connections that were open, our own mark, the firewall's own mail server, other ports."""
    with any_listener(lab, "mta", v, 25) as server, any_listener(lab, "mta", v, 26) as other, any_listener(lab, "fw", v, 25) as own:
        old, accepted = reaches(lab, v, server, (mta(v), 25))
        with old, accepted:
            up(lab, mode, backend)
            exchange(old, accepted)
            for listener, target, source in (
                (server, (mta(v), 25), client(v, 1)),
                (own, (wan(v), 25), None),
                (other, (mta(v), 26), None),
            ):
                for sock in reaches(lab, v, listener, target, source):
                    sock.close()
            exchange(old, accepted)


@every_way
@every_mode
@every_family
def test_the_listener_ends_before_its_connections(lab, v, mode, backend):
    """A daemon that drains: its sessions go on, and nobody else passes."""
    up(lab, mode, backend)
    with any_listener(lab, "mta", v, 25) as server:
        with any_listener(lab, "fw", v, PORT[mode]) as listener:
            sock, conn = reaches(lab, v, listener, (mta(v), 25))
        with sock, conn:
            with pytest.raises((ConnectionRefusedError, TimeoutError)):
                lab.connect("inet", None, (mta(v), 25), timeout=1.5)
            exchange(sock, conn)
            server.settimeout(0.1)
            with pytest.raises(TimeoutError):
                server.accept()


@every_way
@every_family
def test_redirected_connections_outlive_down(lab, v, backend):
    up(lab, "redirect", backend)
    with any_listener(lab, "fw", v, 2525) as listener, any_listener(lab, "mta", v, 25) as server:
        old, diverted = reaches(lab, v, listener, (mta(v), 25))
        with old, diverted:
            lab.divert("down", "--iface", "wan")
            exchange(old, diverted)
            for sock in reaches(lab, v, server, (mta(v), 25)):
                sock.close()


@every_way
def test_tproxied_connections_hang_after_down(lab, backend):
    """The kernel neither delivers nor forwards a packet whose socket is here and whose route is not."""
    up(lab, "tproxy", backend)
    with any_listener(lab, "fw", 4, 2526) as listener:
        old, diverted = reaches(lab, 4, listener, (Lab.MTA4, 25))
        with old, diverted:
            lab.divert("down", "--iface", "wan")
            old.sendall(b"anybody there?")
            diverted.settimeout(1.5)
            with pytest.raises(TimeoutError):
                diverted.recv(1)
            up(lab, "tproxy", backend)
            diverted.settimeout(10)
            assert diverted.recv(100) == b"anybody there?"


@every_way
@every_mode
def test_counters(lab, mode, backend):
    up(lab, mode, backend)
    with any_listener(lab, "fw", 6, PORT[mode]) as listener:
        for sock in reaches(lab, 6, listener, (mta(6), 25)):
            sock.close()
    # Nothing is said about IPv4: an earlier test's client may still be sending its FIN again.
    rows = {row["FAMILY"]: row for row in status(lab, "--iface", "wan") if row["MODE"] == mode}
    assert int(rows["ipv6"]["PACKETS"]) >= 1 and int(rows["ipv6"]["BYTES"]) >= 60


# ---- from the client's own address


@every_way
@every_mode
@every_family
def test_onwards_from_the_clients_address(lab, v, mode, backend):
    up(lab, mode, backend, "--reply-iface", "lan")
    with any_listener(lab, "fw", v, PORT[mode]) as listener, any_listener(lab, "mta", v, 25) as server:
        sock, conn = reaches(lab, v, listener, (mta(v), 25))
        with sock, conn, lab.socket("fw", listener.family) as onward:
            make_transparent(onward)
            onward.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OWN_MARK)
            onward.settimeout(10)
            onward.bind((client(v), 0))
            onward.connect((mta(v), 25))
            at_server, peer = server.accept()
            with at_server:
                assert peer[0] == client(v)
                exchange(onward, at_server)
                exchange(sock, conn)
                exchange(onward, at_server)


IDENT = 113


@every_way
@every_mode
@every_family
def test_ident_answers_arrive_here(lab, v, mode, backend):
    up(lab, mode, backend)
    with any_listener(lab, "inet", v, IDENT) as identd, lab.socket("fw", identd.family) as query:
        make_transparent(query)
        query.settimeout(10)
        query.bind((mta(v), 0))
        query.connect((client(v), IDENT))
        conn, peer = identd.accept()
        with conn:
            assert peer[0] == mta(v)
            exchange(query, conn)
    rows = {row["FAMILY"]: row for row in status(lab, "--iface", "wan") if row["MODE"] == "ident"}
    assert int(rows[f"ipv{v}"]["PACKETS"]) >= 3


@every_way
@every_mode
@every_family
def test_ident_catches_nothing_else(lab, v, mode, backend):
    """Other hosts' ident, from inside; and a client that speaks from port 113, to the very port of our transparent listener at another host."""
    up(lab, mode, backend)
    with any_listener(lab, "fw", v, PORT[mode]), any_listener(lab, "mta", v, PORT[mode]) as other:
        with any_listener(lab, "inet", v, IDENT) as identd, lab.connect("mta", None, (client(v), IDENT)) as out:
            conn, _ = identd.accept()
            with conn:
                exchange(conn, out)
        with lab.socket("inet", other.family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(10)
            sock.bind((client(v, 1), IDENT))
            sock.connect((mta(v), PORT[mode]))
            conn, peer = other.accept()
            with conn:
                assert peer[:2] == (client(v, 1), IDENT)
                exchange(sock, conn)


@every_way
@every_mode
def test_reply_iface_lets_other_traffic_through(lab, mode, backend):
    up(lab, mode, backend, "--reply-iface", "lan")
    with any_listener(lab, "inet", 4, 7000) as server, any_listener(lab, "mta", 4, 26) as other:
        out = lab.connect("mta", None, (Lab.CLIENT4, 7000))
        conn, _ = server.accept()
        with out, conn:
            exchange(out, conn)
        for sock in reaches(lab, 4, other, (Lab.MTA4, 26)):
            sock.close()


# ---- up, down, status


@every_way
@every_mode
@pytest.mark.parametrize("reply", ((), ("--reply-iface", "lan")), ids=("plain", "reply"))
def test_up_twice_is_up_once(lab, mode, backend, reply):
    up(lab, mode, backend, *reply)
    once = rules(lab)
    up(lab, mode, backend, *reply)
    assert rules(lab) == once
    rows = [row for row in status(lab) if row["MODE"] == mode]
    assert [(r["INTERFACE"], r["MODE"], r["PORT"], r["BACKEND"], r["FAMILY"]) for r in rows] == [
        ("wan", mode, str(PORT[mode]), backend, "ipv4"),
        ("wan", mode, str(PORT[mode]), backend, "ipv6"),
    ]
    assert len(status(lab)) == (6 if reply else 4)


PLAIN, REPLY = (), ("--reply-iface", "lan")
ALL_WAYS = [(mode, backend, reply) for mode in MODES for backend in BACKENDS for reply in (PLAIN, REPLY)]


def round_trip(places):
    """A walk that goes from each place to each, itself included, exactly once (de Bruijn): each step is the start of the next."""
    path, left = [], {place: list(places) for place in places}

    def visit(place):
        while left[place]:
            visit(left[place].pop())
        path.append(place)
    visit(places[0])
    return path[::-1]


def test_round_trip():
    path = round_trip("abcd")
    assert sorted(zip(path, path[1:])) == sorted((a, b) for a in "abcd" for b in "abcd")


def each_replaces(lab, walk):
    fresh = {}
    for mode, backend, reply in ALL_WAYS:
        up(lab, mode, backend, *reply)
        fresh[mode, backend, reply] = rules(lab)
        lab.divert("down", "--iface", "wan")
    before = None
    for mode, backend, reply in walk:
        up(lab, mode, backend, *reply)
        assert rules(lab) == fresh[mode, backend, reply], f"after {before}"
        before = mode, backend, reply


def test_a_change_replaces_what_was(lab):
    """From each mode and back end to each; the rules for replies come and go meanwhile."""
    walk = round_trip([(mode, backend) for mode in MODES for backend in BACKENDS])
    each_replaces(lab, [(*way, REPLY if i % 2 else PLAIN) for i, way in enumerate(walk)])


@pytest.mark.long
def test_every_change_replaces_what_was(lab):
    each_replaces(lab, round_trip(ALL_WAYS))


@pytest.mark.parametrize("backends", (("nft", "nft"), ("iptables", "iptables"), ("nft", "iptables")))
def test_two_interfaces(lab, backends):
    up(lab, "tproxy", backends[0], "--reply-iface", "lan")
    up(lab, "tproxy", backends[1], "--port", "2700", iface="lan")
    both = {(row["INTERFACE"], row["PORT"]) for row in status(lab) if row["MODE"] == "tproxy"}
    assert both == {("wan", "2526"), ("lan", "2700")}
    # lan's routing rule is needed by both: it stays until the second is gone.
    lab.divert("down", "--iface", "wan")
    assert {row["INTERFACE"] for row in status(lab)} == {"lan"}
    assert lab.divert("status", "--iface", "wan", check=False).returncode == NOT_DIVERTED
    with any_listener(lab, "fw", 4, 2700) as listener, lab.connect("mta", None, (Lab.CLIENT4, 25)) as sock:
        conn, _ = listener.accept()
        with conn:
            assert conn.getsockname() == (Lab.CLIENT4, 25)
            exchange(sock, conn)


def test_many_at_once(lab):
    argv = [lab.argv("fw", [DIVERT, "up", "--iface", iface, "--mode", "tproxy"]) for iface in ("wan", "lan")] * 4
    procs = [subprocess.Popen(a, env=lab.env) for a in argv]
    assert [p.wait(60) for p in procs] == [0] * len(procs)
    assert len(status(lab)) == 8
    assert lab.exec("fw", "ip", "rule", "show", "pref", "25").stdout.count("lookup") == 2


def test_status_says_when_the_routing_rule_is_gone(lab):
    up(lab, "tproxy", "nft")
    lab.exec("fw", "ip", "rule", "del", "pref", "25", "iif", "wan")
    assert "routing rule for wan is gone" in lab.divert("status").stderr
    up(lab, "tproxy", "nft")
    assert lab.divert("status").stderr == ""


def test_table_with_somebody_elses_set_stays(lab):
    up(lab, "redirect", "nft")
    lab.exec("fw", "nft", "add", "set", "inet", "postern", "theirs", "{ type inet_service; }")
    lab.divert("down", "--iface", "wan")
    assert "set theirs" in lab.exec("fw", "nft", "list", "table", "inet", "postern").stdout
    lab.exec("fw", "nft", "delete", "table", "inet", "postern")


def test_interface_that_went_away(lab):
    lab.exec("fw", "ip", "link", "add", "gone.1", "type", "veth", "peer", "name", "gone.2")
    up(lab, "tproxy", "nft", iface="gone.1")
    up(lab, "redirect", "iptables", iface="gone.2")
    lab.exec("fw", "ip", "link", "del", "gone.1")
    assert {row["INTERFACE"] for row in status(lab)} == {"gone.1", "gone.2"}
    lab.divert("down", "--iface", "gone.1")
    lab.divert("down", "--iface", "gone.2")


@every_way
@every_mode
def test_dry_run_changes_nothing(lab, mode, backend):
    before = everything(lab)
    done = up(lab, mode, backend, "--reply-iface", "lan", "--dry-run")
    assert str(PORT[mode]) in done.stdout and mode in done.stdout.lower()
    assert everything(lab) == before
    up(lab, mode, backend)
    before = everything(lab)
    assert "delete chain" in (out := lab.divert("down", "--iface", "wan", "--dry-run").stdout) or "-X POSTERN_wan" in out
    assert everything(lab) == before


# ---- errors


@pytest.mark.parametrize(
    "argv, words",
    [
        ((), "say what to do"),
        (("sideways",), "unknown command 'sideways'"),
        (("up",), "up needs --iface"),
        (("down",), "down needs --iface"),
        (("up", "--iface"), "--iface needs a value"),
        (("up", "--iface", "wan0"), "no interface 'wan0'"),
        (("up", "--iface", "wan", "--reply-iface", "lan0"), "no interface 'lan0'"),
        (("up", "--iface", 'w"; drop'), "cannot be the name"),
        (("up", "--iface", "wan", "--mode", "nat"), "--mode 'nat'"),
        (("up", "--iface", "wan", "--backend", "pf"), "--backend 'pf'"),
        (("up", "--iface", "wan", "--port", "0"), "1 to 65535"),
        (("up", "--iface", "wan", "--port", "65536"), "1 to 65535"),
        (("up", "--iface", "wan", "--port", "999999999999999999999"), "1 to 65535"),
        (("up", "--iface", "wan", "--port", "smtp"), "1 to 65535"),
        (("up", "--iface", "wan", "--colour"), "unknown option '--colour'"),
    ],
)
def test_wrong_use_is_one_clear_line(lab, argv, words):
    done = lab.divert(*argv, check=False)
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_not_root(lab):
    argv = ["setpriv", "--reuid", "65534", "--clear-groups", "/bin/sh", "-s", "up", "--iface", "wan"]
    done = lab.exec("fw", *argv, input=DIVERT.read_text(), check=False)
    assert done.returncode == 1
    assert "must be root" in done.stderr and done.stderr.count("\n") == 1


def tools_without(folder, *missing):
    """A PATH where some commands are not installed."""
    for base in ("/usr/bin", "/usr/sbin"):
        for name in os.listdir(base):
            if not name.startswith(missing) and not (folder / name).is_symlink():
                (folder / name).symlink_to(f"{base}/{name}")
    return str(folder)


def divert_with_path(lab, path, *argv):
    return lab.exec("fw", "env", f"PATH={path}", "/bin/sh", DIVERT, *argv, check=False)


def test_neither_nft_nor_iptables(lab, tmp_path):
    path = tools_without(tmp_path, "nft", "iptables", "ip6tables", "xtables")
    done = divert_with_path(lab, path, "up", "--iface", "wan")
    assert done.returncode == 1
    assert "neither nft nor iptables" in done.stderr and done.stderr.count("\n") == 1


def test_iptables_where_there_is_no_nft(lab, tmp_path):
    path = tools_without(tmp_path, "nft")
    assert divert_with_path(lab, path, "up", "--iface", "wan").returncode == 0
    assert {row["BACKEND"] for row in status(lab)} == {"iptables"}
    assert "no nft command" in divert_with_path(lab, path, "up", "--iface", "wan", "--backend", "nft").stderr


def test_down_says_when_it_cannot_see_the_rules(lab, tmp_path):
    """What cannot be listed is not taken for what is not there."""
    up(lab, "redirect", "nft")
    fake = tmp_path / "nft"
    fake.write_text('#!/bin/sh\ncase "$*" in *list*) exit 1 ;; esac\nexec /usr/sbin/nft "$@"\n')
    fake.chmod(0o755)
    done = divert_with_path(lab, f"{tmp_path}:/usr/sbin:/usr/bin", "down", "--iface", "wan")
    assert done.returncode == 1 and "nft does not list its rules" in done.stderr
    assert status(lab), "all of it is still there"


def kernel_without(folder, tool, text):
    """A PATH where the kernel refuses every rule with a text in it."""
    real = f"/usr/sbin/{tool}"
    fake = folder / tool
    fake.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-f*|*-n*) ;; *) exec ' + real + ' "$@" ;; esac\n'
        "rules=$(cat)\n"
        "case $rules in *'" + text + "'*) echo 'Error: Could not process rule: No such file or directory' >&2; exit 1 ;; esac\n"
        "printf '%s\\n' \"$rules\" | " + real + ' "$@"\n'
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:/usr/sbin:/usr/bin"


@every_mode
@pytest.mark.parametrize("backend, tool, text", [
    ("nft", "nft", "socket wildcard 0"), ("iptables", "iptables-restore", "-m socket"), ("iptables", "ip6tables-restore", "-m socket"),
])
def test_kernel_that_cannot_bring_ident_here(lab, tmp_path, mode, backend, tool, text):
    """The diversion is worth more; the next up, where it can be done, repairs it."""
    done = divert_with_path(lab, kernel_without(tmp_path, tool, text), "up", "--iface", "wan", "--mode", mode, "--backend", backend)
    assert done.returncode == 0 and "ident answers cannot be brought here" in done.stderr and done.stderr.count("\n") == 1
    assert [row["MODE"] for row in status(lab)] == [mode, mode]
    assert ("lookup" in lab.exec("fw", "ip", "rule", "show", "pref", "25").stdout) == (mode == "tproxy")
    with any_listener(lab, "fw", 6, PORT[mode]) as listener:
        for sock in reaches(lab, 6, listener, (mta(6), 25)):
            sock.close()
    assert up(lab, mode, backend).stderr == "" and len(status(lab)) == 4


@pytest.mark.parametrize(
    "backend, tool, text, argv, words",
    [
        ("nft", "nft", "tproxy ip", ("--mode", "tproxy"), "no TPROXY for nft"),
        ("nft", "nft", "type nat", (), "no NAT redirect for nft"),
        ("nft", "nft", "fib daddr", (), "no fib expression"),
        ("nft", "nft", "socket transparent", ("--reply-iface", "lan"), "no socket expression"),
        ("nft", "nft", "tcp dport", (), "no nf_tables"),
        ("nft", "nft", "redirect_wan", (), "refused the rules: Error: Could not"),
        ("iptables", "iptables-restore", "TPROXY", ("--mode", "tproxy"), "no TPROXY for IPv4"),
        ("iptables", "ip6tables-restore", "TPROXY", ("--mode", "tproxy"), "no TPROXY for IPv6"),
        ("iptables", "iptables-restore", "*nat", (), "no NAT redirect for IPv4"),
        ("iptables", "ip6tables-restore", "*nat", (), "no NAT redirect for IPv6"),
        ("iptables", "ip6tables-restore", "-m socket", ("--reply-iface", "lan"), "no socket match for IPv6"),
    ],
)
def test_kernel_that_lacks_a_feature(lab, tmp_path, backend, tool, text, argv, words):
    before = everything(lab)
    done = divert_with_path(lab, kernel_without(tmp_path, tool, text), "up", "--iface", "wan", "--backend", backend, *argv)
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert everything(lab) == before
