"""Ident (RFC 1413) asked from where the client expects it: oidentd, which looks for the connection in the kernel's table, over real diversions."""

import os
import re
import signal
import socket
import struct
import time

import pytest

from installation import Installation
from netlab import Lab, wait_until

DAEMON_UID = 1  # "daemon" in every Debian
RULES = "allow:daemon@ALL:ALL:user@ALL\nallow:KNOWN@ALL:ALL:known@ALL\nallow:ALL:USER@ALL:sender@ALL\nallow:ALL:ALL:free@ALL\nallow:ALL@ALL:ALL:any@ALL\nnoto:ALL:ALL:ALL\n"
PORT = {"redirect": 2525, "tproxy": 2526}

# Answers whatever it is asked with alice; each line of its output is the address that asked, and the question.
EVERYBODY = r"""
import socket, sys
s = socket.create_server((sys.argv[1], 113), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
while True:
    c, a = s.accept(); q = c.recv(100).decode().strip(); print(a[0], q); c.sendall(f"{q} : USERID : UNIX : alice\r\n".encode()); c.close()
"""


@pytest.fixture(scope="module")
def lab():
    with Lab("ptest-ident") as made:
        made.exec("inet", "nft", "add table inet way; add chain inet way in { type filter hook input priority 0; }")
        yield made


@pytest.fixture
def posternd(lab, tmp_path):
    running = []

    def start(mode="redirect", backend="nft", prefix=(), rules=RULES, listen=None, diverted=True, **options):
        options = {k.replace("_", "-"): v for k, v in {"resolver": "none", "workers": 1, **options}.items()}
        post = Installation(lab, tmp_path, rules=rules, listen=listen or {"mode": mode, "port": PORT[mode]}, options=options)
        post.prefix = list(prefix)
        running.append(post)
        if diverted:
            lab.divert("up", "--iface", "wan", "--mode", mode, "--backend", backend)
        post.start_daemon()
        return post

    yield start
    for post in running:
        post.__exit__()
    lab.divert("down", "--iface", "wan")
    lab.exec("inet", "nft", "flush chain inet way in")


@pytest.fixture
def oidentd(lab):
    addresses = [word for address in (*lab.CLIENTS4, *lab.CLIENTS6) for word in ("-a", address)]
    server = lab.popen("inet", ["oidentd", "-i", "-S", "-q", "-C", "/dev/null", "-u", "nobody", "-g", "nogroup", *addresses])
    lab.wait_listening("inet", 113, server, address=lab.CLIENTS6[2])
    yield server
    lab.stop(server)


@pytest.fixture
def everybody(lab):
    servers = []

    def start(address=Lab.CLIENT4):
        servers.append(lab.python("inet", EVERYBODY, address))
        lab.wait_listening("inet", 113, servers[-1], address=address)
        return servers[-1]

    yield start
    for server in servers:
        lab.stop(server)


def talk_as_daemon(post, source=None, target=None, port=25):
    """The client's socket belongs to the user daemon, as its ident server will find."""
    talk = post.talk(source=source, target=target, port=port)
    os.fchown(talk.sock.fileno(), DAEMON_UID, -1)
    talk.hello()
    assert talk.say("MAIL FROM:<daemon@sender.example>").code == 250
    return talk


def rcpt(talk, *words):
    """The words that were accepted as left sides of a recipient."""
    return [word for word in words if talk.say(f"RCPT TO:<{word}@p.example>").code == 250]


def timed_rcpt(talk, word):
    begun = time.monotonic()
    code = talk.say(f"RCPT TO:<{word}@p.example>").code
    return code, time.monotonic() - begun


def counter(post, name):
    return post.status()["counters"][name]


def wait_counters(post, queries, own):
    wait_until(lambda: (counter(post, "ident_queries"), counter(post, "ident_from_own_address")) == (queries, own), f"{queries} queries, {own} from us")


def client(lab, v):
    return lab.CLIENT4 if v == 4 else lab.CLIENT6


# ---- a server that checks


@pytest.mark.parametrize("backend", ("nft", "iptables"))
@pytest.mark.parametrize("mode", ("redirect", "tproxy"))
def test_the_client_finds_its_connection(posternd, lab, oidentd, mode, backend):
    post = posternd(mode, backend)
    for source in (lab.CLIENT4, lab.CLIENTS4[1], lab.CLIENT6, lab.CLIENTS6[1]):
        with talk_as_daemon(post, source=source) as talk:
            assert rcpt(talk, "user", "known", "sender", "any", "free") == ["user", "known", "sender", "any", "free"], source
    wait_counters(post, 4, 0)
    assert re.findall(r'ev=rcpt .*ident="?daemon', post.log()) and "ident-" not in post.log()
    rows = lab.divert("status").stdout.splitlines()
    for family in ("ipv4", "ipv6"):
        assert [int(row.split()[5]) for row in rows if row.startswith("wan ") and " ident " in row and family in row][0] > 0
    if mode == "redirect" and backend == "nft":
        assert lab.exec("fw", "ip", "rule", "show", "pref", "25").stdout.count("iif wan") == 1


def test_direct_mode_asks_from_the_address_that_was_called(posternd, lab, oidentd):
    """The kernel by itself would speak from the address of wan."""
    post = posternd(listen={"mode": "direct", "port": 2525, "forward": f"smtp:{lab.MTA4}:25"}, diverted=False)
    for source, target in ((lab.CLIENT4, lab.LAN4), (lab.CLIENT6, lab.LAN6)):
        with talk_as_daemon(post, source=source, target=target, port=2525) as talk:
            assert rcpt(talk, "user") == ["user"], source
    wait_counters(post, 2, 0)


def test_many_sessions_at_once(posternd, lab, oidentd):
    post = posternd("tproxy")
    talks = [talk_as_daemon(post, source=(lab.CLIENT4, lab.CLIENT6)[n % 2]) for n in range(100)]
    for talk in talks:
        talk.send("RCPT TO:<user@p.example>\r\n")
    assert {talk.reply().code for talk in talks} == {250}
    for talk in talks:
        talk.close()
    wait_counters(post, 100, 0)
    open_fds = os.listdir(f"/proc/{post.workers_by_log()[0]}/fd")
    assert len(open_fds) < 60, "connections to port 113 are closed"
    assert len(os.listdir(f"/proc/{post.daemon.pid}/fd")) < 60


def test_worker_comes_again(posternd, lab, oidentd):
    post = posternd()
    old = post.workers_by_log()[0]
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: post.workers_by_log()[0] != old, "worker 0 to run again")
    with talk_as_daemon(post) as talk:
        assert rcpt(talk, "user") == ["user"]


# ---- where it cannot be had


def test_without_the_right_to_it(posternd, lab, oidentd):
    """No CAP_NET_ADMIN: asked from our own address, from which the client finds no connection; said once."""
    post = posternd(prefix=["setpriv", "--bounding-set", "-net_admin,-net_raw"])
    for _ in range(2):
        with talk_as_daemon(post) as talk:
            assert rcpt(talk, "free", "known", "user", "any") == ["free", "any"]
    wait_counters(post, 2, 2)
    assert post.log().count("ev=ident-socket") == 1 and "SO_MARK" in post.log()


def test_master_hangs(posternd, lab, everybody):
    everybody()
    post = posternd(ident_timeout="1s")
    with talk_as_daemon(post) as talk:
        os.kill(post.daemon.pid, signal.SIGSTOP)
        try:
            code, seconds = timed_rcpt(talk, "known")
        finally:
            os.kill(post.daemon.pid, signal.SIGCONT)
        assert code == 250 and 0.4 < seconds < 1
        # The late connection is closed, and the next one is a new question.
        wait_until(lambda: not lab.exec("inet", "ss", "-Htn", "sport = :113").stdout.strip(), "the late connection to end")
    wait_counters(post, 1, 1)


@pytest.mark.parametrize("v", (4, 6))
def test_answers_do_not_come_back(posternd, lab, everybody, v):
    """As after an update without postern-divert up: the firewall's own address serves, and the log says what to do, once."""
    asked = everybody(client(lab, v))
    post = posternd(ident_timeout="1s")
    lab.exec("fw", "nft", "flush chain inet postern ident_wan")
    for _ in range(2):
        with talk_as_daemon(post, source=client(lab, v)) as talk:
            code, seconds = timed_rcpt(talk, "known")
            assert code == 250 and 0.4 < seconds < 1
            port = talk.sock.getsockname()[1]
            assert asked.stdout.readline().split(" ", 1) == [lab.WAN4 if v == 4 else lab.WAN6, f"{port}, 25\n"]
    wait_counters(post, 2, 2)
    wait_until(lambda: "ev=ident-lost" in post.log(), "the warning")
    assert post.log().count("ev=ident-lost") == 1


# ---- clients that do not answer


@pytest.mark.parametrize("backend", ("nft", "iptables"))
@pytest.mark.parametrize("mode", ("redirect", "tproxy"))
def test_refusals_are_quick(posternd, lab, mode, backend):
    """A reset, and the ICMP errors that most packet filters send."""
    post = posternd(mode, backend)
    for v, refusals in ((4, ("accept", "reject", "reject with icmpx type admin-prohibited", "reject with tcp reset")), (6, ("accept", "reject"))):
        for refusal in refusals:
            lab.exec("inet", "nft", f"flush chain inet way in; add rule inet way in tcp dport 113 {refusal}")
            with talk_as_daemon(post, source=client(lab, v)) as talk:
                # On a way without any delay the kernel heeds only the second ICMPv6 error, after a second.
                code, seconds = timed_rcpt(talk, "known")
                assert (code, seconds < 2) == (550, True), (v, refusal, seconds)
    wait_counters(post, 6, 0)


@pytest.mark.parametrize("mode, v", (("redirect", 4), ("tproxy", 6)))
def test_silence_lasts_until_the_deadline(posternd, lab, mode, v):
    post = posternd(mode, ident_timeout="1s")
    lab.exec("inet", "nft", "add rule inet way in tcp dport 113 drop")
    with talk_as_daemon(post, source=client(lab, v)) as talk:
        code, seconds = timed_rcpt(talk, "known")
        assert code == 451 and 0.9 < seconds < 1.9, "dropped"
    lab.exec("inet", "nft", "flush chain inet way in")
    with lab.listen("inet", client(lab, v), 113), talk_as_daemon(post, source=client(lab, v)) as talk:
        code, seconds = timed_rcpt(talk, "known")
        assert code == 451 and 0.9 < seconds < 1.9, "nothing said"
        assert timed_rcpt(talk, "user")[0] == 451 and timed_rcpt(talk, "free")[0] == 250
    wait_counters(post, 2, 1)
    assert "ident-lost" not in post.log()


def test_session_ends_while_ident_waits(posternd, lab):
    post = posternd(ident_timeout="10s")
    worker = post.workers_by_log()[0]
    # The master hands it over a moment after the start.
    wait_until(lambda: any(os.path.realpath(fd.path).endswith(".seg") for fd in os.scandir(f"/proc/{worker}/fd")), "its segment of the journal")
    before = len(os.listdir(f"/proc/{worker}/fd"))
    with lab.listen("inet", lab.CLIENT4, 113) as server:
        talk = talk_as_daemon(post)
        talk.send("RCPT TO:<known@p.example>\r\n")
        conn, peer = server.accept()
        assert peer[0] == lab.MTA4
        # A reset: a client that only ends its own side may still wait for replies.
        talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        talk.close()
        conn.settimeout(5)
        while conn.recv(100):
            pass
        conn.close()
    wait_until(lambda: len(os.listdir(f"/proc/{worker}/fd")) <= before, "its descriptors to go")


# ---- when it is asked at all


def test_asked_once_and_only_when_needed(posternd, lab, everybody):
    server = everybody()
    post = posternd(rules="allow:ALL:ALL:free@ALL\nallow:ALL@192.0.2.10:ALL:any@ALL\nallow:KNOWN@10.1.1.1:ALL:ALL\nallow:alice@192.0.2.*:ALL:user@ALL\n"
                          "allow:ALL:USER@ALL:sender@ALL\nnoto:ALL:ALL:ALL\n")
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<alice@sender.example>")
        # Another host, another recipient, or ALL@: the answer could change nothing.
        assert [talk.say(f"RCPT TO:<{word}@p.example>").code for word in ("free", "any", "none")] == [250, 250, 550]
        time.sleep(1.2)
        assert counter(post, "ident_queries") == 0
        for _ in range(2):
            assert [talk.say(f"RCPT TO:<{word}@p.example>").code for word in ("user", "sender", "user")] == [250] * 3
            talk.say("RSET")
            talk.say("MAIL FROM:<alice@sender.example>")
        assert talk.say("RSET").code == 250 and talk.say("MAIL FROM:<bob@sender.example>").code == 250
        assert talk.say("RCPT TO:<sender@p.example>").code == 550
        port = talk.sock.getsockname()[1]
    wait_counters(post, 1, 0)
    assert server.stdout.readline() == f"{lab.MTA4} {port}, 25\n"


def test_never_asked_with_a_timeout_of_0(posternd, lab, everybody):
    everybody()
    post = posternd(ident_timeout=0)
    with talk_as_daemon(post) as talk:
        assert rcpt(talk, "user", "known", "sender", "any", "free") == ["any", "free"]
    time.sleep(1.2)
    assert counter(post, "ident_queries") == 0
