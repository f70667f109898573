"""The gate judges SYNs: what a rule can say of an address alone is done before a connection is there; all else is the session's."""

import os
import re
import signal
import socket

import pytest

from installation import Installation, Recorder, Talk
from netlab import Lab, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

MODES = {"redirect": 2525, "tproxy": 2526}
CLIENTS = {4: Lab.CLIENTS4, 6: Lab.CLIENTS6}
SPAMMER = {4: Lab.SPAMMER4, 6: Lab.SPAMMER6}
MTA = {4: Lab.MTA4, 6: Lab.MTA6}
every_mode = pytest.mark.parametrize("mode", MODES)
every_way = pytest.mark.parametrize("backend", ("nft", "iptables"))
every_family = pytest.mark.parametrize("v", (4, 6))


def of(address):
    """As a rule names it."""
    return f"[{address}]" if ":" in address else address


def rules_for(*addresses, action="drop"):
    return f"{action}:{' '.join(of(a) for a in addresses)}:ALL:ALL\n"


RULES = (rules_for(Lab.CLIENT4, Lab.CLIENT6, action="allow") + rules_for(Lab.SPAMMER4, Lab.SPAMMER6)
         + rules_for(Lab.CLIENTS4[1], Lab.CLIENTS6[1], action="pass") + rules_for(Lab.CLIENTS4[2], Lab.CLIENTS6[2], action="mark=0x10/0xf0")
         + "noto:MARK=0x10/0xf0:ALL:ALL:550 5.7.1 marked\nnoto:ALL:ALL:ALL:550 5.7.1 not marked\n")


@pytest.fixture(scope="module")
def lab():
    with Lab("ptest-gate") as made:
        # Not as the lab leaves it, but as a host has it: postern-divert sees to it.
        made.exec("fw", "sysctl", "-qw", "net.ipv4.tcp_fwmark_accept=0")
        yield made


class Gated:
    """An Installation behind postern-divert --gate; options as in Installation."""

    def __init__(self, lab, directory, mode="redirect", rules=RULES, backend="nft", **kw):
        self.lab, self.mode, self.backend = lab, mode, backend
        self.post = Installation(lab, directory, rules=rules, listen={"mode": mode}, **kw)

    def __enter__(self):
        self.lab.divert("up", "--iface", "wan", "--mode", self.mode, "--backend", self.backend, "--gate")
        try:
            self.post.start_daemon()
            self.wait_rules()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.post.__exit__(*exc)
        self.lab.divert("down", "--iface", "wan", "--backend", self.backend)

    def gate(self):
        found = self.post.status()["gate"]
        return found[0] if isinstance(found, list) else found

    def wait_rules(self, count=1):
        wait_until(lambda: len(re.findall("ev=gate-rules", self.post.log())) >= count, "the gate to have its rules")
        if self.backend == "nft":
            wait_until(lambda: "wan" in self.lab.exec("fw", "nft", "list", "set", "inet", "postern", "alive").stdout, "the diversion to be alive")
        else:
            wait_until(lambda: "timeout" in self.lab.exec("fw", "ipset", "list", "postern_alive_wan").stdout.partition("Members:")[2],
                       "the diversion to be alive")

    def connect(self, source, timeout=10):
        return self.lab.connect("inet", (source, 0), (MTA[6 if ":" in source else 4], 25), timeout=timeout)

    def is_silent(self, source):
        try:
            self.connect(source, timeout=1.5).close()
        except socket.timeout:
            return True
        return False

    def greeting(self, source):
        with Talk(self.connect(source)) as talk:
            return talk.greeting.text

    def rcpt(self, source):
        with Talk(self.connect(source)) as talk:
            talk.hello()
            talk.say("MAIL FROM:<a@sender.example>")
            return talk.say("RCPT TO:<b@protected.example>")


DEBUG = {"log-level": "debug"}


@every_way
@every_mode
@every_family
def test_verdicts(lab, tmp_path, mode, v, backend):
    with Recorder(lab, MTA[v]), Gated(lab, tmp_path, mode, backend=backend, options=DEBUG) as gated:
        assert gated.rcpt(CLIENTS[v][0]).code == 250, "undecided at the SYN: the session"
        assert gated.is_silent(SPAMMER[v])
        assert "fw.example.net" not in gated.greeting(CLIENTS[v][1]), "straight to the server"
        assert gated.rcpt(CLIENTS[v][2]).text == "5.7.1 marked"
        # The gate tells its counters once a second; this was the last of these connections.
        wait_until(lambda: int(gated.gate()["syns_marked"]) >= 1, "the counters of the gate")
        found = gated.gate()
        assert int(found["syns"]) >= 4 and int(found["syns_dropped"]) >= 1 and int(found["syns_passed"]) == 1, found
        assert int(found["syns_reset"]) == int(found["syns_unreadable"]) == int(found["syns_lost"]) == 0, found
        log = gated.post.log()
        assert re.search(rf'ev=syn verdict=drop rule=2 client="?{re.escape(of(SPAMMER[v]))}:\d+"? .*iface=wan', log)
        assert re.search(r"ev=syn verdict=pass rule=3 ", log)
        # From now on the kernel does it, without asking.
        for purpose, client in (("block", SPAMMER[v]), ("pass", CLIENTS[v][1])):
            assert f"ev=client-{purpose}ed client={client} " in log
            listing = ("nft", "list", "set", "inet", "postern") if backend == "nft" else ("ipset", "list")
            assert client in lab.exec("fw", *listing, f"{'' if backend == 'nft' else 'postern_'}{purpose}{v}").stdout
        syns = int(found["syns"])
        assert gated.is_silent(SPAMMER[v]) and "fw.example.net" not in gated.greeting(CLIENTS[v][1])
        assert gated.rcpt(CLIENTS[v][0]).code == 250
        wait_until(lambda: int(gated.gate()["syns"]) > syns, "the counters of the gate")
        assert int(gated.gate()["syns"]) == syns + 1


@every_mode
@every_family
def test_reset(lab, tmp_path, mode, v):
    with Gated(lab, tmp_path, mode, options={**DEBUG, "gate-drop": "reset"}) as gated:
        with pytest.raises(ConnectionRefusedError):
            gated.connect(SPAMMER[v])
        assert gated.rcpt(CLIENTS[v][0]).code == 250
        wait_until(lambda: int(gated.gate()["syns_reset"]) >= 1, "the reset to be counted")


def test_what_is_not_known_is_left_to_the_session(lab, tmp_path):
    rules = f"drop:{Lab.SPAMMER4}:spam@*:ALL\ndrop:*.evil.example:ALL:ALL\ndrop:{Lab.CLIENTS4[1]}:ALL:ALL\nallow:ALL:ALL:ALL\n"
    with Gated(lab, tmp_path, rules=rules, options=DEBUG) as gated:
        assert gated.rcpt(Lab.SPAMMER4).code == 250
        # It may have that name, but would be dropped by either rule.
        assert gated.is_silent(Lab.CLIENTS4[1])


def test_reload_and_hits(lab, tmp_path):
    with Gated(lab, tmp_path, rules="allow:ALL:ALL:ALL\n", options=DEBUG) as gated:
        assert gated.rcpt(Lab.SPAMMER4).code == 250
        gated.post.rules_path.write_text(rules_for(Lab.SPAMMER4) + "allow:ALL:ALL:ALL\n")
        gated.post.daemon.send_signal(signal.SIGHUP)
        gated.wait_rules(2)
        assert gated.is_silent(Lab.SPAMMER4)
        stats = gated.post.postern("rules", "stats").stdout
        assert re.search(r"^\D*1\D+[1-9]\d*\D+drop", stats, re.M) or re.search(r"[1-9]\d* +.*drop", stats), stats


def test_gate_dies(lab, tmp_path):
    """Whoever comes while nobody reads the queue is the session's; then there is a new gate with the same rules."""
    with Gated(lab, tmp_path, options=DEBUG) as gated:
        pid = int(gated.gate()["pid"])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: gated.gate()["state"] == "running" and int(gated.gate()["pid"]) != pid, "another gate")
        gated.wait_rules(2)
        assert gated.is_silent(Lab.SPAMMER4)
        assert gated.rcpt(Lab.CLIENT4).code == 250


def test_gate_hangs(lab, tmp_path):
    """It holds the SYNs that come in, until the kernel takes it for dead; then it is killed, and there is a new one."""
    with Gated(lab, tmp_path, options=DEBUG) as gated:
        pid = int(gated.gate()["pid"])
        os.kill(pid, signal.SIGSTOP)
        assert gated.is_silent(Lab.CLIENT4), "held"
        gated.post.wait_log(rf"ev=gate-stuck .*pid {pid}\b.*killed", limit_s=60)
        gated.wait_rules(2)
        assert gated.gate()["restarts"] in (1, "1")
        assert gated.is_silent(Lab.SPAMMER4)
        assert gated.rcpt(Lab.CLIENT4).code == 250


def test_queue_is_taken(lab, tmp_path):
    """By another program: the log says so, sessions judge everybody."""
    taker = lab.python("fw", "import os,socket,struct,time\n"
                       "s = socket.socket(16, 3, 12); s.bind((0, 0))\n"
                       "def a(t, v): return struct.pack('=HH', 4 + len(v), t) + v + b'\\0' * (-len(v) % 4)\n"
                       "body = struct.pack('!BBH', 0, 0, 2525) + a(1, struct.pack('!BBH', 1, 0, 0))\n"
                       "s.send(struct.pack('=IHHII', 16 + len(body), 3 << 8 | 2, 5, 1, 0) + body)\n"
                       "print(struct.unpack('=i', s.recv(4096)[16:20])[0], flush=True); time.sleep(60)\n")
    assert taker.stdout.readline() == "0\n"
    post = Installation(lab, tmp_path)
    try:
        with post:
            post.start_daemon()
            post.wait_log('ev=gate-queue.*queue 2525 is taken by another program')
            wait_until(lambda: "none" in str(post.status()["gate"]), "the status of the gate")
    finally:
        lab.stop(taker)


# ---- the tarpit

def put_in_tarpit(lab, address, backend="nft"):
    name = f"tarpit{6 if ':' in address else 4}"
    if backend == "nft":
        lab.exec("fw", "nft", "add", "element", "inet", "postern", name, f"{{ {address} timeout 1h }}")
    else:
        lab.exec("fw", "ipset", "add", f"postern_{name}", address, "timeout", "3600")


def timer_of(lab, sock):
    """What the client's kernel waits for, and its state."""
    address, port = sock.getsockname()[:2]
    return lab.exec("inet", "ss", "-Htno", "src", f"{of(address)}:{port}").stdout


@every_way
@every_mode
@every_family
def test_tarpit(lab, tmp_path, mode, v, backend):
    """A real client sits in a connection of which nobody here knows, and its own kernel asks and asks."""
    with Recorder(lab, MTA[v]), Gated(lab, tmp_path, mode, backend=backend, options=DEBUG, rules="allow:ALL:ALL:ALL\n") as gated:
        put_in_tarpit(lab, SPAMMER[v], backend)
        with gated.connect(SPAMMER[v]) as sock:
            assert sock.recv(100) == b"220 ESMTP\r\n"
            sock.sendall(b"EHLO spammer.example\r\n" * 20)
            wait_until(lambda: "persist" in timer_of(lab, sock), "the client's kernel to ask for the window")
            kept = int(gated.gate()["tarpit_kept"])
            wait_until(lambda: int(gated.gate()["tarpit_kept"]) > kept, "it to be answered", limit_s=30)
            assert timer_of(lab, sock).startswith("ESTAB")
            # Neither a socket, nor an entry of the connection tracking.
            port = sock.getsockname()[1]
            assert f":{port} " not in lab.exec("fw", "ss", "-Htna", "dst", of(SPAMMER[v])).stdout
            # Of this family: a connection of the other may have had the same port.
            tracked = lab.exec("fw", "cat", "/proc/net/nf_conntrack", check=False).stdout.splitlines()
            assert not [line for line in tracked if line.startswith(f"ipv{v} ") and f"sport={port} " in line]
            assert gated.rcpt(CLIENTS[v][0]).code == 250, "others notice nothing"
            found = gated.gate()
            assert int(found["tarpit_syns_answered"]) == 1 and int(found["tarpit_syns_left"]) == 0, found


@every_way
@every_mode
@every_family
def test_the_action_tarpit_fills_the_set(lab, tmp_path, mode, v, backend):
    """With tarpit-time: refused at once, and the next connection is held by nobody here."""
    rules = f"tarpit:{of(SPAMMER[v])}:ALL:ALL:550 go away\nallow:ALL:ALL:ALL\n"
    with Recorder(lab, MTA[v]), Gated(lab, tmp_path, mode, backend=backend, options={**DEBUG, "tarpit-time": "1h", "stutter": "1m"}, rules=rules) as gated:
        assert gated.rcpt(SPAMMER[v]).code == 550
        gated.post.wait_log(f"ev=client-tarpitted client={SPAMMER[v]} seconds=3600")
        wait_until(lambda: int(gated.gate()[f"tarpit{v}"]) == 1, "the set to be counted")
        with gated.connect(SPAMMER[v]) as sock:
            assert sock.recv(100) == b"220 ESMTP\r\n"
            port = sock.getsockname()[1]
            assert f":{port} " not in lab.exec("fw", "ss", "-Htna", "dst", of(SPAMMER[v])).stdout
        assert gated.rcpt(CLIENTS[v][0]).code == 250
        counters = gated.post.status()["counters"]
        assert (counters["sent_to_tarpit"], counters["stuttered"]) == (1, 0)


def test_tarpit_rate(lab, tmp_path):
    with Gated(lab, tmp_path, options={**DEBUG, "tarpit-syn-rate": 0}) as gated:
        put_in_tarpit(lab, Lab.SPAMMER4)
        assert gated.is_silent(Lab.SPAMMER4)
        wait_until(lambda: int(gated.gate()["tarpit_syns_left"]) >= 1, "the SYN to be counted")
