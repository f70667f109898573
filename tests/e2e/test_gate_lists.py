"""Block lists at the SYN: the first connection is judged in its session; what the list said then is known when the client comes again."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from installation import Talk, make_reachable
from netlab import Lab, wait_until
from test_gate import DEBUG, SPAMMER, Gated, every_family

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

LIST_PORT = 5353
HEAD = "$TTL %d\n$SOA 3 ns.test. admin.test. 0 600 300 86400 3\n:127.0.0.4:listed\n"
RULES = "drop:RBL.syn.test:ALL:ALL\nallow:ALL:ALL:ALL\n"


class Lists:
    """rbldnsd with the list syn.test, in both families; a file that was replaced is read within the second."""

    def __init__(self, lab, directory):
        self.directory, self.log = directory, directory / "log"
        make_reachable(directory)
        for name in ("list4", "list6"):
            self.write(name)
        self.mend()
        # A file has one time to live: the test entries have theirs.
        files = [f"syn.test:ip{v}trie:{name}{v}" for name in ("list", "test") for v in (4, 6)]
        lab.popen("inet", ["rbldnsd", "-n", "-c", "1s", "-u", "nobody:nogroup", "-w", directory, "-b", f"{lab.DNS4}/{LIST_PORT}", *files],
                  stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        wait_until(lambda: "zones reloaded" in self.log.read_text(), "rbldnsd to read its files")
        lab._unbound_control("local_zone", "syn.test", "transparent")
        lab._unbound_control("stub_add", "syn.test", f"{lab.DNS4}@{LIST_PORT}")

    def write(self, name, *addresses, ttl=3):
        new = self.directory / "new"
        new.write_text(HEAD % ttl + "".join(f"{a}\n" for a in addresses))
        new.chmod(0o644)
        new.replace(self.directory / name)

    def set(self, v, *addresses, ttl=3):
        """These are listed, and nobody of the other family. Nobody may ask before that is read, or the contrary would be known for a while."""
        self.write(f"list{10 - v}")
        reads = self.log.read_text().count(f":list{v}:")
        self.write(f"list{v}", *addresses, ttl=ttl)
        wait_until(lambda: self.log.read_text().count(f":list{v}:") > reads, "rbldnsd to read the list")

    def mend(self):
        self.write("test4", "127.0.0.2")
        self.write("test6", "::ffff:7f00:2")

    def spoil(self):
        self.write("test4", "10.0.0.1")
        self.write("test6", "2001:db8:ffff::1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab("ptest-gate-lists") as made:
        made.lists = Lists(made, tmp_path_factory.mktemp("lists"))
        yield made


def by_list(gated):
    return int(gated.gate()["syns_by_list"])


def is_refused_at_syn(gated, client):
    """Else there was a session that ended before anybody was judged, but not before its client's lists had been asked."""
    try:
        with Talk(gated.connect(client, timeout=1.5)):
            time.sleep(0.3)
        return False
    except socket.timeout:
        return True


def is_refused(gated, client):
    try:
        return gated.rcpt(client).code == 550
    except OSError:
        return True  # cut off by the kernel's set before the reply was read


@every_family
def test_listed(lab, tmp_path, v):
    client = SPAMMER[v]
    lab.lists.set(v, client)
    with Gated(lab, tmp_path, rules=RULES, options=DEBUG) as gated:
        wait_until(lambda: is_refused(gated, client), "the list to be read, and the session to refuse")
        wait_until(lambda: f"ev=client-blocked client={client}" in gated.post.log(), "the session's verdict in the kernel's set")
        gated.post.postern("set", "del", "block", client)
        # Known from that session, or from the one that this one is, if that was too long ago.
        wait_until(lambda: is_refused_at_syn(gated, client), "it to be refused at the SYN")
        wait_until(lambda: by_list(gated) >= 1, "the verdict to be counted")
        assert re.search(r"ev=syn verdict=drop rule=1 .* by=block-list", gated.post.log())
        # The set would outlast what the list said.
        assert client not in gated.post.postern("set", "list", "block").stdout
        # No longer listed: let in as soon as the answer is out of date, and then known not to be.
        lab.lists.set(v)
        wait_until(lambda: not gated.is_silent(client), "it to be let in again")
        wait_until(lambda: gated.rcpt(client).code == 250, "the session to hear of it")


def test_not_listed_decides_too(lab, tmp_path):
    """The rule behind one with a list is reached at the SYN only when the list has spoken."""
    client = SPAMMER[4]
    lab.lists.set(4)
    with Gated(lab, tmp_path, rules=f"allow:RBL.syn.test:ALL:ALL\ndrop:{client}:ALL:ALL\nallow:ALL:ALL:ALL\n", options=DEBUG) as gated:
        assert not is_refused_at_syn(gated, client)
        wait_until(lambda: is_refused_at_syn(gated, client), "it to be refused at the SYN")
        assert re.search(r"ev=syn verdict=drop rule=2 .* by=block-list", gated.post.log())
        assert gated.rcpt(Lab.CLIENT4).code == 250


def test_reload(lab, tmp_path):
    """Without the rule nobody is refused; and when it is there again nothing is remembered from before."""
    client = SPAMMER[4]
    lab.lists.set(4, client)
    with Gated(lab, tmp_path, rules=RULES, options=DEBUG) as gated:
        wait_until(lambda: is_refused_at_syn(gated, client), "the list to be read, and the client refused at the SYN")
        for count, rules in ((2, "allow:ALL:ALL:ALL\n"), (3, RULES.replace("syn.test", "syn.test=127.0.0.9"))):
            gated.post.rules_path.write_text(rules)
            gated.post.daemon.send_signal(signal.SIGHUP)
            gated.wait_rules(count)
            assert gated.rcpt(client).code == 250, rules
        assert not is_refused_at_syn(gated, client)
        assert gated.rcpt(client).code == 250, "listed, but with another answer than the rule asks for"


@every_family
def test_broken(lab, tmp_path, v):
    """What a list said before it was found broken counts no more, at the SYN as in the session; and counts again when it is mended."""
    client = SPAMMER[v]
    lab.lists.set(v, client, ttl=600)
    with Gated(lab, tmp_path, rules=RULES, options={**DEBUG, "list-check": "2s"}) as gated:
        wait_until(lambda: is_refused_at_syn(gated, client), "the list to be read, and the client refused at the SYN")
        said = json.loads(gated.post.run("postern", "rules", "explain", "--json", "--rules", gated.post.rules_path, "--ip", client, "--from", "a@b.example",
                                          "--to", "c@protected.example").stdout)["syn"]
        assert (said["verdict"], said["left"]) == ("session", "unknown") and said["with_lists"]["verdict"] == "drop", said
        lab.lists.spoil()
        gated.post.wait_log("ev=list-broken", limit_s=40)
        wait_until(lambda: not is_refused_at_syn(gated, client), "the gate to forget what the list said")
        assert gated.rcpt(client).code == 451
        lab.lists.mend()
        gated.post.wait_log("ev=list-works", limit_s=40)
        wait_until(lambda: is_refused_at_syn(gated, client), "it to be refused again")
