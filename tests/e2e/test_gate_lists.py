"""Block lists at the SYN: the first connection is judged in its session; what the list said then is known when the client comes again."""

import os
import re
import signal
import socket
import time

import pytest

from installation import Talk, make_reachable
from netlab import Lab, wait_until
from test_gate import DEBUG, SPAMMER, Gated, every_family

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

LIST_PORT = 5353
HEAD = "$TTL 3\n$SOA 3 ns.test. admin.test. 0 600 300 86400 3\n:127.0.0.4:listed\n"
TEST_ENTRIES = {4: "127.0.0.2\n", 6: "::ffff:7f00:2\n"}
RULES = "drop:RBL.syn.test:ALL:ALL\nallow:ALL:ALL:ALL\n"


class Lists:
    """rbldnsd with the list syn.test, in both families; a file that was replaced is read within the second."""

    def __init__(self, lab, directory):
        self.directory = directory
        make_reachable(directory)
        for v in (4, 6):
            self.set(v)
        lab.popen("inet", ["rbldnsd", "-n", "-c", "1s", "-u", "nobody:nogroup", "-w", directory, "-b", f"{lab.DNS4}/{LIST_PORT}",
                           "syn.test:ip4trie:list4", "syn.test:ip6trie:list6"])
        lab._unbound_control("local_zone", "syn.test", "transparent")
        lab._unbound_control("stub_add", "syn.test", f"{lab.DNS4}@{LIST_PORT}")

    def set(self, v, *addresses):
        new = self.directory / f"new{v}"
        new.write_text(HEAD + TEST_ENTRIES[v] + "".join(f"{a}\n" for a in addresses))
        new.chmod(0o644)
        new.replace(self.directory / f"list{v}")


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
