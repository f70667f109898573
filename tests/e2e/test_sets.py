"""The kernel's sets and the dead-man switch: what the gate keeps in the kernel, what outlives it, and what the kernel does without it."""

import contextlib
import ipaddress
import json
import os
import re
import signal
import socket
import time

import pytest

from installation import Installation, Recorder
from netlab import Lab, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

CLIENTS = {4: Lab.CLIENTS4, 6: Lab.CLIENTS6}
MTA = {4: Lab.MTA4, 6: Lab.MTA6}
BACKENDS = ("nft", "iptables")
every_mode = pytest.mark.parametrize("mode", ("redirect", "tproxy"))
every_way = pytest.mark.parametrize("backend", BACKENDS)
DEAD_AFTER_S = 3


class Diverted:
    """An Installation (posternd alone) behind a diversion with a dead-man switch."""

    def __init__(self, lab, directory, *divert, mode="redirect", backend="nft", listen=None, options=None, **kw):
        self.lab, self.mode, self.backend, self.divert = lab, mode, backend, divert
        self.post = Installation(lab, directory, listen={"mode": mode, **(listen or {})}, options={"dead-after": f"{DEAD_AFTER_S}s", **(options or {})}, **kw)

    def __enter__(self):
        try:
            self.up()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.post.__exit__(*exc)
        self.lab.divert("down", "--iface", "wan", "--backend", self.backend)

    def up(self):
        self.lab.divert("up", "--iface", "wan", "--mode", self.mode, "--backend", self.backend, *self.divert)

    def start(self):
        self.post.start_daemon()
        wait_until(lambda: self.switch() == "alive", "the gate to renew the switch")

    def listener(self):
        return self.post.status()["listeners"][0]

    def switch(self):
        return self.listener()["switch"]

    def kill_everything(self):
        """The master, every worker and the gate, at one stroke, as by kill -9."""
        gate = self.post.status()["gate"]["pid"]
        pids = [self.post.daemon.pid, gate, *self.post.worker_pids()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.post.daemon.wait()
        return time.monotonic()

    def outcome(self, v=4, timeout=1.0):
        """Who a new connection meets: postern, server, refused or silence."""
        try:
            sock = self.lab.connect("inet", (CLIENTS[v][0], 0), (MTA[v], 25), timeout=timeout)
        except ConnectionRefusedError:
            return "refused"
        except (socket.timeout, OSError):
            return "silence"
        with sock:
            sock.settimeout(timeout)
            try:
                greeting = sock.recv(200)
            except socket.timeout:
                return "silence"
            except ConnectionResetError:
                return "refused"
            return "postern" if b"postern" in greeting else "server" if greeting else "refused"

    def wait_outcome(self, wanted, v=4):
        """Until three in a row meet it; returns when the first of them began."""
        seen = []

        def is_steady():
            seen.append((time.monotonic(), self.outcome(v)))
            time.sleep(0.3)
            return len(seen) >= 3 and all(what == wanted for _, what in seen[-3:])

        wait_until(is_steady, f"new connections to meet {wanted}", limit_s=DEAD_AFTER_S + 20)
        return seen[-3][0]

    def set(self, *args, check=True):
        return self.post.postern("set", *args, check=check)

    def list(self, *names):
        return json.loads(self.set("list", *names, "--json").stdout)

    def addresses(self, *names):
        return sorted(entry["address"] for entry in self.list(*names))

    def nft(self, *args):
        return self.lab.exec("fw", "nft", *args).stdout

    def members(self, name):
        """Of a set, as the kernel says."""
        if self.backend == "nft":
            return self.nft("list", "set", "inet", "postern", name)
        return self.lab.exec("fw", "ipset", "list", f"postern_{name}").stdout.partition("Members:")[2]

    def table(self):
        """The whole table as text, without what passes by itself."""
        return re.sub(r"(expires|timeout) \d\S*|packets \d+ bytes \d+", "", self.nft("list", "table", "inet", "postern"))


# ---- the dead-man switch


@every_way
@every_mode
@pytest.mark.parametrize("v", (4, 6))
@pytest.mark.parametrize("fail", ("open", "closed"))
def test_kill_9_of_everything(lab, tmp_path, fail, v, mode, backend):
    """The kernel acts by itself.  How long it takes is printed, not demanded."""
    with Diverted(lab, tmp_path, "--fail", fail, mode=mode, backend=backend) as d, Recorder(lab, MTA[v]):
        assert d.listener()["when_dead"] == fail
        d.post.wait_log(f"ev=when-dead interface=wan fail={fail} switch=armed")
        assert d.outcome(v) == "postern"
        killed = d.kill_everything()
        acted = d.wait_outcome("server" if fail == "open" else "refused", v)
        print(f"\nIPv{v} {mode} {backend}: {fail} {acted - killed:.1f} s after kill -9 of everything (dead-after {DEAD_AFTER_S} s)")
        d.post.start_daemon()
        d.wait_outcome("postern", v)


@every_mode
def test_live_flows_are_not_cut(lab, tmp_path, mode):
    """A session that is open when the switch goes dead goes on: here the heart stops while the workers live."""
    with Diverted(lab, tmp_path, "--fail", "closed", mode=mode) as d, Recorder(lab, Lab.MTA4):
        with d.post.talk(timeout=DEAD_AFTER_S + 20) as talk:
            talk.hello()
            gate = d.post.status()["gate"]["pid"]
            os.kill(gate, signal.SIGSTOP)
            try:
                d.wait_outcome("refused")
                assert talk.say("NOOP").code == 250
                talk.envelope("a@sender.example", "b@example.com")
            finally:
                # If that took long, the master has killed it meanwhile.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(gate, signal.SIGCONT)
            d.wait_outcome("postern")
            assert talk.say("Subject: x\r\n\r\nx\r\n.").code == 250


def test_a_gate_that_dies_is_started_again(lab, tmp_path):
    with Diverted(lab, tmp_path, "--fail", "open") as d, Recorder(lab, Lab.MTA4):
        os.kill(d.post.status()["gate"]["pid"], signal.SIGKILL)
        wait_until(lambda: d.post.status()["gate"].get("restarts") == 1 and d.switch() == "alive", "another gate")
        assert d.outcome() == "postern"


@pytest.mark.parametrize("fail", ("open", "closed"))
def test_configuration_overrules_divert_and_a_clean_stop_acts_at_once(lab, tmp_path, fail):
    other = "closed" if fail == "open" else "open"
    with Diverted(lab, tmp_path, "--fail", other, listen={"fail": fail}) as d, Recorder(lab, Lab.MTA4):
        assert d.listener()["when_dead"] == fail and d.listener()["fail"] == fail
        d.post.stop(d.post.daemon)
        # No element that runs out: it was taken away.
        assert "wan" not in d.members("alive")
        assert d.outcome() == ("server" if fail == "open" else "refused")


def test_without_fail_the_diversion_asks_nobody(lab, tmp_path):
    with Installation(lab, tmp_path) as post, Recorder(lab, Lab.MTA4):
        lab.divert("up", "--iface", "wan")
        try:
            post.start_daemon()
            wait_until(lambda: post.status()["gate"].get("sets") == "nft", "the sets to be found")
            listener = post.status()["listeners"][0]
            assert (listener["when_dead"], listener["switch"]) == ("closed", "none")
            post.stop(post.daemon)
            with pytest.raises(ConnectionRefusedError):
                lab.connect("inet", (Lab.CLIENT4, 0), (Lab.MTA4, 25)).close()
        finally:
            lab.divert("down", "--iface", "wan")


def test_no_gate(lab, tmp_path):
    with Installation(lab, tmp_path, options={"gate": "no"}) as post:
        post.start_daemon()
        assert post.status()["gate"] == {"state": "off"}
        done = post.postern("set", "list", check=False)
        assert done.returncode == 1 and "gate = no" in done.stdout


# ---- a flush


def test_flush_ruleset_is_undone(lab, tmp_path):
    """Everything of ours comes back as it was, and nothing of others is touched."""
    with Diverted(lab, tmp_path, "--fail", "open", "--except", "192.0.2.12", "--learn") as d, Recorder(lab, Lab.MTA4):
        d.set("add", "block", "192.0.2.200", "1h")
        d.set("add", "block", "198.51.100.0/24", "2h")
        d.set("add", "pass", "2001:db8::77")
        d.nft("add table inet other; add chain inet other empty")
        before = d.table()
        flushed = time.monotonic()
        d.nft("flush", "ruleset")
        wait_until(lambda: d.post.status()["gate"]["put_back"] == 1, "the table to be put back")
        wait_until(lambda: d.table() == before, "the table to be as it was")
        print(f"\nput back, elements and all, {time.monotonic() - flushed:.2f} s after flush ruleset")
        assert "table inet other" not in d.nft("list", "tables")
        assert d.outcome() == "postern"
        # And again at once, twice: also what was put back is known.
        d.nft("flush", "ruleset")
        d.nft("flush", "ruleset")
        wait_until(lambda: d.table() == before, "the table to be as it was once more", limit_s=10)
        assert "flushed_by=nft" in d.post.log()


def test_down_is_not_a_flush(lab, tmp_path):
    with Diverted(lab, tmp_path, "--fail", "open") as d:
        lab.divert("down", "--iface", "wan")
        time.sleep(1.5)
        assert "postern" not in d.nft("list", "tables")
        assert d.post.status()["gate"]["put_back"] == 0
        d.up()
        wait_until(lambda: d.switch() == "alive", "the new diversion to be alive")
        assert "table inet postern" in d.nft("list", "tables")


# ---- what is in the sets


@every_way
def test_add_list_del(lab, tmp_path, backend):
    with Diverted(lab, tmp_path, "--fail", "open", backend=backend) as d, Recorder(lab, Lab.MTA4):
        assert d.list() == []
        d.set("add", "block", Lab.CLIENT4, "1h")
        assert Lab.CLIENT4 in d.members("block4")
        assert d.outcome() == "silence"
        (entry,) = d.list("block")
        assert entry["set"] == "block4" and entry["state"] == "active" and 3500 < entry["expires_in"] <= 3600
        d.set("add", "block", Lab.CLIENT4, "2h")
        (entry,) = d.list()
        assert 7100 < entry["expires_in"] <= 7200
        d.set("del", "block", Lab.CLIENT4)
        assert d.outcome() == "postern"
        d.set("add", "pass", Lab.CLIENT4)
        assert d.outcome() == "server"
        assert d.set("del", "pass", "192.0.2.99", check=False).returncode == 1
        d.set("add", "block", "198.51.100.0/24", "1h")
        d.set("add", "block_net", "2001:db8:9::/48")
        assert d.addresses("block_net") == ["198.51.100.0/24", "2001:db8:9::/48"]
        assert "198.51.100.0/24" in d.members("block_net4")
        d.set("del", "block", "198.51.100.0/24")
        assert d.addresses("block_net4") == []
        for wrong in (("add", "pass", "10.0.0.0/8"), ("add", "nowhere", "10.0.0.1"), ("add", "block", "10.0.0.256"), ("add", "block", "10.0.0.1", "soon"),
                      ("add", "block6", "10.0.0.1"), ("list", "nowhere")):
            done = d.set(*wrong, check=False)
            assert done.returncode == 1 and done.stdout.startswith("postern: ")


@every_way
def test_sets_outlive_a_restart_and_the_kernel(lab, tmp_path, backend):
    with Diverted(lab, tmp_path, "--fail", "open", backend=backend) as d:
        d.set("add", "block", "192.0.2.200", "1h")
        d.set("add", "block", "198.51.100.0/24")
        d.set("add", "tarpit", "2001:db8::66", "10m")
        d.set("add", "pass", "192.0.2.201", "1s")
        d.post.stop(d.post.daemon)
        lab.divert("down", "--iface", "wan", "--backend", backend)
        d.up()
        assert "192.0.2.200" not in d.members("block4")
        d.start()
        wait_until(lambda: d.addresses() == ["192.0.2.200", "198.51.100.0/24", "2001:db8::66"], "what was kept, without what has expired")
        assert "192.0.2.200" in d.members("block4") and "2001:db8::66" in d.members("tarpit6")


@pytest.mark.parametrize("v", (4, 6))
def test_flushed_ipsets_are_filled_again(lab, tmp_path, v):
    """Nobody tells of a flush of ipsets; what `postern set del` has taken out stays out."""
    blocked = ("192.0.2.201", "192.0.2.202") if v == 4 else ("2001:db8:1::201", "2001:db8:1::202")
    network = "198.51.100.0/24" if v == 4 else "2001:db8:9::/48"
    with Diverted(lab, tmp_path, "--fail", "open", backend="iptables") as d:
        for address in (*blocked, network):
            d.set("add", "block", address, "1h")
        d.set("del", "block", blocked[1])
        before = d.addresses()
        time.sleep(2.5)  # looked at each second
        lab.exec("fw", "ipset", "flush")
        d.post.wait_log(rf"ev=ipset-flushed set=block{v} elements=1")
        d.post.wait_log(rf"ev=ipset-flushed set=block_net{v} elements=1")
        wait_until(lambda: blocked[0] in d.members(f"block{v}") and network in d.members(f"block_net{v}"), "what was flushed")
        assert d.addresses() == before and blocked[1] not in d.members(f"block{v}")
        for address in (blocked[0], network):
            d.set("del", "block", address)
        time.sleep(2.5)
        assert d.addresses() == [] and not d.members(f"block{v}").strip() and not d.members(f"block_net{v}").strip()
        assert d.switch() == "alive" and "ev=rules-lost" not in d.post.log()


LOSSES = {
    "jump": lambda tool, table: [(tool, "-t", table, "-D", "PREROUTING", "-i", "wan", "-j", "POSTERN_wan")],
    "flush": lambda tool, table: [(tool, "-t", table, "-F")],
    "rules": lambda tool, table: [(tool, "-t", table, "-F", "POSTERN_wan")],
    "all": lambda tool, table: [(tool, "-t", t, flag) for t in ("nat", "mangle", "raw", "filter") for flag in ("-F", "-X")],
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("v, mode", ((4, "redirect"), (6, "tproxy")))
def test_rules_of_iptables_that_are_lost(lab, tmp_path, v, mode, loss):
    """They are not put back, but the log and the status say it."""
    tool, table = ("iptables", "ip6tables")[v == 6], {"redirect": "nat", "tproxy": "mangle"}[mode]
    with Diverted(lab, tmp_path, "--fail", "closed", mode=mode, backend="iptables") as d:
        time.sleep(2.5)
        for command in LOSSES[loss](tool, table):
            lab.exec("fw", *command)
        d.post.wait_log("ev=rules-lost interface=wan")
        assert d.switch() == "lost"
        d.up()
        d.post.wait_log("ev=rules-back interface=wan")
        wait_until(lambda: d.switch() == "alive", "the switch")
        assert d.post.log().count("ev=rules-lost") == 1


def test_learned_by_the_kernel_itself(lab, tmp_path):
    """Who we write to may answer: the rule of --learn adds him, and he is kept."""
    with Diverted(lab, tmp_path, "--fail", "open", "--learn") as d, Recorder(lab, Lab.CLIENT4, ns="inet"):
        with lab.connect("fw", (Lab.WAN4, 0), (Lab.CLIENT4, 25)) as sock:
            assert sock.recv(100)
        assert Lab.CLIENT4 in d.members("pass4")
        d.post.stop(d.post.daemon)
        assert re.search(rf"^pass4 {re.escape(Lab.CLIENT4)} \d+$", (d.post.spool / "kernel-sets").read_text(), re.M)


def numbered(count):
    first = int(ipaddress.ip_address("10.0.0.0"))
    return (str(ipaddress.ip_address(first + i)) for i in range(count))


def test_many_elements_restored_beside_a_bare_batch(lab, tmp_path):
    """200,000 blocked clients after a reboot, beside nft's own loading of the same from a file (docs: seconds, and the ratio, are printed)."""
    count = 200000
    # So long that nft ends a listing between two renewals of the switch.
    with Diverted(lab, tmp_path, "--fail", "open", options={"dead-after": "1m"}) as d:
        d.post.stop(d.post.daemon)
        expires = int(time.time()) + 86400
        (d.post.spool / "kernel-sets").write_text("".join(f"block4 {a} {expires}\n" for a in numbered(count)))
        d.post.start_daemon()
        line = wait_until(lambda: re.search(r"ev=sets-restored elements=(\d+) refused=(\d+) ms=(\d+)", d.post.log()[-20000:]), "the restoration", limit_s=60)
        assert (int(line[1]), int(line[2])) == (count, 0)
        assert d.post.status()["gate"]["block4"] == count
        batch = tmp_path / "batch.nft"
        batch.write_text("table inet bare { set s { type ipv4_addr; flags timeout; }\n}\nadd element inet bare s { "
                         + ", ".join(f"{a} timeout 1d" for a in numbered(count)) + " }\n")
        began = time.monotonic()
        d.nft("-f", batch)
        bare_ms = (time.monotonic() - began) * 1000
        print(f"\n{count} elements: {line[3]} ms by the gate, {bare_ms:.0f} ms by nft -f of the same")
        d.nft("delete table inet bare")
        assert lab.exec("fw", "timeout", "25", "nft", "list", "ruleset").stdout.count("expires") >= count
        # And back after a flush.
        d.nft("flush", "ruleset")
        wait_until(lambda: len(re.findall("ev=sets-restored", d.post.log())) == 2, "the second restoration", limit_s=60)
        assert d.post.status()["gate"]["block4"] == count


def test_flushes_while_elements_are_put_back(lab, tmp_path):
    """A set that goes away under a restoration says nothing of the elements: none is given up."""
    count = 60000
    with Diverted(lab, tmp_path, "--fail", "open") as d:
        d.post.stop(d.post.daemon)
        expires = int(time.time()) + 86400
        (d.post.spool / "kernel-sets").write_text("".join(f"block4 {a} {expires}\n" for a in numbered(count)))
        d.post.start_daemon()
        wait_until(lambda: "ev=sets-restored" in d.post.log(), "the restoration", limit_s=60)
        for i in range(12):
            d.nft("flush", "ruleset")
            time.sleep(0.03 * (i % 4))
        wait_until(lambda: "postern" in d.nft("list", "tables") and d.members("block4").count("expires") == count, "all of them in the kernel", limit_s=30)
        assert not re.search("refused=[1-9]", d.post.log())
        assert d.post.status()["gate"]["block4"] == count


# ---- the rules' own words


def test_drop_and_pass(lab, tmp_path):
    rules = "drop:ALL:spammer@*:ALL\npass:ALL:friend@*:ALL\nallow:ALL:ALL:ALL\n"
    with Diverted(lab, tmp_path, "--fail", "open", rules=rules, options={"block-time": "2m", "pass-time": "3m"}) as d, Recorder(lab, Lab.MTA4):
        with d.post.talk() as talk:
            talk.hello()
            talk.say("MAIL FROM:<spammer@x.example>")
            assert talk.say("RCPT TO:<a@b.example>").code == 550
            assert talk.is_closed()
        wait_until(lambda: d.addresses("block") == [Lab.CLIENT4], "the client to be blocked")
        (entry,) = d.list()
        assert 100 < entry["expires_in"] <= 120
        assert d.outcome() == "silence"
        with d.post.talk(source=Lab.CLIENTS4[1]) as talk:
            talk.hello()
            talk.say("MAIL FROM:<friend@x.example>")
            assert talk.say("RCPT TO:<a@b.example>").code == 250
        wait_until(lambda: d.addresses("pass") == [Lab.CLIENTS4[1]], "the client to be let pass")
        counters = d.post.status()["counters"]
        assert (counters["dropped"], counters["passed"]) == (1, 1)


@pytest.mark.parametrize("why", ("trusted", "off", "no gate"))
def test_tarpit_that_is_not_the_kernels_stutters(lab, tmp_path, why):
    options = {"tarpit-time": "0" if why == "off" else "1h", "gate": "no" if why == "no gate" else "yes"}
    post = Installation(lab, tmp_path, rules="tarpit:ALL:ALL:ALL:550 go\n", listen={"trust": "trusted" if why == "trusted" else "untrusted"}, options=options)
    lab.divert("up", "--iface", "wan")
    try:
        post.start_daemon()
        with post.talk() as talk:
            talk.hello()
            talk.say("MAIL FROM:<a@x.example>")
            assert talk.say("RCPT TO:<b@x.example>").code == 550
        wait_until(lambda: post.status()["counters"]["stuttered"] == 1, "the reply to be stuttered")
        assert post.status()["counters"]["sent_to_tarpit"] == 0 and "client-tarpitted" not in post.log()
    finally:
        post.__exit__()
        lab.divert("down", "--iface", "wan")


def test_drop_on_a_trusted_interface_only_refuses(lab, tmp_path):
    with Diverted(lab, tmp_path, "--fail", "open", rules="drop:ALL:ALL:ALL\n", listen={"trust": "trusted"}) as d:
        with d.post.talk() as talk:
            talk.hello()
            talk.say("MAIL FROM:<a@x.example>")
            assert talk.say("RCPT TO:<a@b.example>").code == 550
            assert talk.is_closed()
        assert d.list() == []
        assert d.outcome() == "postern"


def test_drop_without_a_gate_only_refuses(lab, tmp_path):
    with Installation(lab, tmp_path, rules="drop:ALL:ALL:ALL\n", options={"gate": "no"}) as post:
        lab.divert("up", "--iface", "wan")
        try:
            post.start_daemon()
            for _ in range(2):
                with post.talk() as talk:
                    talk.hello()
                    talk.say("MAIL FROM:<a@x.example>")
                    assert talk.say("RCPT TO:<a@b.example>").code == 550
                    assert talk.is_closed()
        finally:
            lab.divert("down", "--iface", "wan")
