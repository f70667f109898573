"""postern behind a load balancer: a real HAProxy in mta, which clients in inet reach through the firewall, hands their connections to postern on
the firewall with a PROXY header, versions 1 and 2, over IPv4 and IPv6; and headers by hand that no HAProxy would send."""

import re
import socket
import struct
import time

import pytest

import journal
from installation import Installation, Talk
from netlab import wait_until

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"
PORT = 2525
NET6 = "2001:db8:2::/64"  # HAProxy's system picks one of its addresses
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CFG = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind {mta4}:25
    bind [{mta6}]:25
    default_backend back
backend back
    server postern {server} {options}
"""


@pytest.fixture
def behind(lab, tmp_path):
    """behind(rules=…, listen=…, **options): a posternd that takes connections of the balancer in mta."""
    running = []

    def start(rules="allow:ALL:ALL:ALL\n", listen=None, **options):
        listen = {"mode": "direct", "port": PORT, "forward": f"smtp:{lab.MTA4_2}:25", "proxy-protocol": f"{lab.MTA4}, {NET6}", **(listen or {})}
        post = Installation(lab, tmp_path, rules=rules, iface="*", listen=listen,
                            options={key.replace("_", "-"): value for key, value in options.items()})
        running.append(post)
        post.start_daemon()
        return post

    yield start
    for post in running:
        post.__exit__()


@pytest.fixture
def haproxy(lab, tmp_path):
    """haproxy(options, is_v6): one whose backend is postern's listener on the firewall."""
    running = []

    def start(options, is_v6=False):
        cfg = tmp_path / "haproxy.cfg"
        server = f"{lab.LAN6 if is_v6 else lab.LAN4}:{PORT}"
        cfg.write_text(CFG.format(mta4=lab.MTA4, mta6=lab.MTA6, server=server, options=options))
        proc = lab.popen("mta", ["haproxy", "-db", "-f", str(cfg)])
        running.append(proc)
        lab.wait_listening("mta", 25, proc=proc, address=lab.MTA4)
        lab.wait_listening("mta", 25, proc=proc, address=lab.MTA6)
        return proc

    yield start
    for proc in running:
        lab.stop(proc)


def counter(post, name):
    return post.status()["counters"][name]


def balancer(lab, is_v6=False, greet=False):
    """A connection as HAProxy would make it, to be given a header by hand."""
    address, target = (lab.MTA6, lab.LAN6) if is_v6 else (lab.MTA4, lab.LAN4)
    return Talk(lab.connect("mta", (address, 0), (target, PORT)), greet=greet)


def v2(command, family, block):
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(block)) + block


def inet_block(client, port=4711, dst="203.0.113.25"):
    return socket.inet_aton(client) + socket.inet_aton(dst) + struct.pack("!HH", port, 25)


# ---- HAProxy


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_client_is_the_one_behind_haproxy(lab, behind, haproxy, version, family):
    is_v6 = family == "ipv6"
    good, bad = (lab.CLIENTS6 if is_v6 else lab.CLIENTS4)[:2]
    dst = lab.MTA6 if is_v6 else lab.MTA4
    shown = f"[{bad}]" if is_v6 else bad
    network = "[2001:db8:2::]/64" if is_v6 else "203.0.113.0/24"
    post = behind(rules=f"noto:{shown}:ALL:ALL:550 5.7.1 not you\nallow:KNOWN@ALL:ALL:ALL\nnoto:ALL EXCEPT DST={network}:ALL:ALL\nallow:ALL:ALL:ALL\n",
                  ident_timeout="20s")
    haproxy(version, is_v6)
    with post.talk(good, dst) as talk:
        talk.hello()
        begin = time.monotonic()
        message = journal.find(post.spool, talk.message(BODY))
        assert time.monotonic() - begin < 15, "ident can't be asked through a balancer, and is not waited for"
    literal = f"[IPv6:{good}]" if is_v6 else f"[{good}]"
    assert literal.encode() in message.wire.split(b"\r\n")[0]
    assert message.fields["CLIENT"].split()[0] == good and message.fields["DST"] == f"{dst} 25"
    with post.talk(bad, dst) as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        assert talk.say("RCPT TO:<b@p.example>").code == 550
    assert re.search(rf"ev=connect client=\S*{good}\S* dst=\S*{dst}\S*:25 balancer=\S*{'2001:db8:2:' if is_v6 else lab.MTA4}", post.log())
    assert re.search(rf"ev=rcpt verdict=allow rule=4 client={good} dst={dst} .*ident=\"\"", post.log())
    assert counter(post, "ident_queries") == 0


def test_families_may_differ(lab, behind, haproxy):
    post = behind()
    haproxy("send-proxy-v2", is_v6=True)
    with post.talk(lab.CLIENT4, lab.MTA4) as talk:
        talk.hello()
        message = journal.find(post.spool, talk.message(BODY))
    assert message.fields["CLIENT"].split()[0] == lab.CLIENT4


def test_limits_hold_for_each_client(lab, behind, haproxy):
    post = behind(workers=1, max_client_connections=2)
    haproxy("send-proxy")
    held = [post.talk(lab.CLIENTS4[0], lab.MTA4) for _ in range(2)]
    assert [talk.greeting.code for talk in held] == [220, 220]
    assert post.talk(lab.CLIENTS4[0], lab.MTA4).greeting.code == 421
    assert post.talk(lab.CLIENTS4[1], lab.MTA4).greeting.code == 220
    assert counter(post, "refused_client_connections") == 1
    assert re.search(rf'ev=refused iface="?\*"? client={lab.CLIENTS4[0]}:', post.log())


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("check", ["", "check-send-proxy"])
def test_health_checks_are_no_warning(lab, behind, haproxy, version, check):
    post = behind(max_client_connections=1)
    haproxy(f"{version} check inter 50ms {check}")
    wait_until(lambda: counter(post, "connections") >= 10, "HAProxy to look after us")
    with post.talk(lab.CLIENT4, lab.MTA4) as talk:
        assert talk.greeting.code == 220
        counters = post.status()["counters"]
    assert counters["null_connections"] == 0 and counters["refused_client_connections"] == 0 and counters["refused_no_proxy_header"] == 0
    assert "ev=refused" not in post.log() and f"ev=null-connection client={lab.MTA4}" not in post.log()


@pytest.mark.parametrize("is_v6", [False, True])
def test_all_workers_take_part(lab, behind, haproxy, is_v6):
    post = behind(workers=2)
    haproxy("send-proxy-v2", is_v6)
    talks = [post.talk(lab.CLIENT4, lab.MTA4) for _ in range(24)]
    assert all(talk.greeting.code == 220 for talk in talks)
    assert all(int(worker["sessions"]) >= 3 for worker in post.status()["workers"])


# ---- by hand


def test_who_is_no_balancer_is_believed_nothing(lab, behind):
    post = behind()
    with Talk(lab.connect("inet", (lab.CLIENT4, 0), (lab.WAN4, PORT))) as talk:
        assert talk.greeting.code == 220, "an ordinary client, greeted at once"
        assert talk.say("PROXY TCP4 192.0.2.66 203.0.113.25 4711 25").code == 500
        talk.hello()
        message = journal.find(post.spool, talk.message(BODY))
    assert message.fields["CLIENT"].split()[0] == lab.CLIENT4 and "192.0.2.66" not in message.wire.decode()
    assert "balancer=" not in post.log()


@pytest.mark.parametrize("header, client", [
    (b"PROXY TCP4 192.0.2.77 203.0.113.25 4711 25\r\n", "192.0.2.77:4711"),
    (b"PROXY TCP6 2001:db8::77 2001:db8::25 4711 25\r\n", "[2001:db8::77]:4711"),
    (v2(0x21, 0x11, inet_block("192.0.2.77")), "192.0.2.77:4711"),
    (v2(0x21, 0x11, inet_block("192.0.2.77") + b"\x04" + struct.pack("!H", 9000) + b"x" * 9000), "192.0.2.77:4711"),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, inet_block("192.0.2.77")), None),
    (v2(0x21, 0x00, b"anything"), None),
    (b"PROXY UNKNOWN\r\n", None),
])
def test_headers(lab, behind, header, client):
    post = behind()
    for is_v6 in (False, True):
        for pieces in ([header], [header[:1], header[1:]], [header[i:i + 7] for i in range(0, min(len(header), 84), 7)] + [header[84:]]):
            with balancer(lab, is_v6) as talk:
                for piece in pieces:
                    talk.send(piece)
                    time.sleep(0.005)
                assert talk.reply().code == 220
                port = talk.sock.getsockname()[1]
                talk.hello()
                assert talk.message(BODY).code == 250
            own = f"[{lab.MTA6}]:{port}" if is_v6 else f"{lab.MTA4}:{port}"
            assert f"client={client or own} dst=" in post.log() and f"balancer={own} " in post.log()


@pytest.mark.parametrize("bytes_", [b"EHLO c.example\r\n", b"PROXY TCP4 192.0.2.77 203.0.113.25 4711\r\n", b"GET / HTTP/1.1\r\n", b"\r\n\r\n\0\r\nQUIX\n",
                                    v2(0x21, 0x12, inet_block("192.0.2.77")), v2(0x31, 0x11, inet_block("192.0.2.77")),
                                    v2(0x21, 0x11, inet_block("192.0.2.77") + b"\x04\0\x09abc"), v2(0x21, 0x11, b"short"),
                                    b"PROXY TCP4 0.0.0.0 203.0.113.25 4711 25\r\n", b"PROXY UNKNOWN " + b"x" * 200])
def test_no_session_without_a_good_header(lab, behind, bytes_):
    post = behind()
    with balancer(lab) as talk:
        talk.send(bytes_)
        assert talk.reply().code == 421 and talk.is_closed()
    assert counter(post, "refused_no_proxy_header") == 1 and counter(post, "sessions") == 0
    assert re.search(rf"ev=refused iface=\S+ client={lab.MTA4}:\d+ .*PROXY header", post.log())


def test_silence_ends(lab, behind):
    post = behind()
    silent, half, other = balancer(lab), balancer(lab), None
    half.send(b"PROXY TCP4 192.0.2.77 203")
    with balancer(lab) as other:
        other.send(b"PROXY TCP4 192.0.2.77 203.0.113.25 4711 25\r\n")
        assert other.reply().code == 220, "nobody waits for the silent ones"
    assert silent.reply().code == 421 and half.reply().code == 421
    assert counter(post, "refused_no_proxy_header") == 2
    with balancer(lab) as broken:
        broken.send(b"PROXY TCP4 ")
    wait_until(lambda: counter(post, "refused_no_proxy_header") == 3, "the header that breaks off")


def test_a_bare_check(lab, behind):
    """Connected and closed, or reset: how a balancer without send-proxy in its checks looks after us."""
    post = behind()
    for reset in (False, True):
        with balancer(lab) as talk:
            if reset:
                talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: counter(post, "balancer_checks") == 2, "both to be counted")
    assert "ev=refused" not in post.log() and "ev=connect" not in post.log() and "ev=null-connection" not in post.log()


def test_talking_in_front_of_the_greeting(lab, behind):
    post = behind(greet_delay="2s")
    with balancer(lab) as talk:
        talk.send(b"PROXY TCP4 192.0.2.77 203.0.113.25 4711 25\r\nEHLO c.example\r\n")
        assert talk.reply().code == 554
    assert re.search(r"ev=deterred client=192.0.2.77 .*talks before the greeting", post.log())


def test_commands_behind_the_header(lab, behind):
    """A balancer may join both in one segment."""
    behind()
    with balancer(lab) as talk:
        talk.send(v2(0x21, 0x11, inet_block("192.0.2.77")) + b"EHLO c.example\r\nQUIT\r\n")
        assert [talk.reply().code for _ in range(3)] == [220, 250, 221]


def test_status_and_reload(lab, behind):
    post = behind()
    assert {listener["balancers"] for listener in post.status()["listeners"]} == {f"{lab.MTA4}/32 {NET6}"}
    post.listen["proxy-protocol"] = lab.MTA6
    post.write_conf()
    post.daemon.send_signal(1)
    post.wait_log("ev=reloaded")
    with balancer(lab, greet=True) as talk:
        assert talk.greeting.code == 220, "no balancer any more"
    del post.listen["proxy-protocol"]
    post.write_conf()
    post.daemon.send_signal(1)
    post.wait_log("proxy-protocol .*needs a restart")
