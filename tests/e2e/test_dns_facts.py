"""Facts in real sessions: unbound for names, rbldnsd for block lists, and a name server that misbehaves (dns_stub.py)."""

import gzip
import ipaddress
import json
import re
import time

import pytest

from installation import HERE, Installation, Talk, make_reachable
from netlab import PYTHON, Lab, wait_until

LISTS = {
    "good": ":127.0.0.2:listed\n127.0.0.2\n192.0.2.66\n:127.0.0.9:other\n192.0.2.12\n",
    "good6": ":127.0.0.2:listed\n2001:db8:1::66\n",
    "error": ":127.255.255.254:you may not ask\n192.0.2.0/24\n:127.0.0.2:test\n127.0.0.2\n",
    "outside": ":192.0.2.200:parked\n192.0.2.0/24\n:127.0.0.2:test\n127.0.0.2\n",
    "all": ":127.0.0.2:everybody\n0/0\n",
    "gone": "$SOA 5 ns.test. admin.test. 0 600 300 86400 5\n:127.0.0.2:x\n10.0.0.1\n",
    "domains": ":127.0.0.2:listed\nbad.example\n.worse.example\n",
}
STUB_PORT, LIST_PORT = 5354, 5353


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab("ptest-dns") as made:
        directory = tmp_path_factory.mktemp("lists")
        make_reachable(directory)
        for name, text in LISTS.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o644)
        zones = ["good.test:ip4set:good", "good.test:ip6trie:good6", "error.test:ip4set:error", "outside.test:ip4set:outside", "all.test:ip4trie:all",
                 "gone.test:ip4set:gone", "domains.test:dnset:domains"]
        made.popen("inet", ["rbldnsd", "-n", "-c", "1s", "-u", "nobody:nogroup", "-w", directory, "-b", f"{made.DNS4}/{LIST_PORT}", *zones])
        for zone, server in {**{z.split(":")[0]: f"{made.DNS4}@{LIST_PORT}" for z in zones}, "lame.test": f"{made.DNS4}@{LIST_PORT}",
                             "dead.test": f"{made.DNS4}@9", "silent.test": "192.0.2.11@5399"}.items():
            made._unbound_control("local_zone", zone, "transparent")
            made._unbound_control("stub_add", zone, server)
        made.exec("inet", "nft", "add table ip mute; add chain ip mute in { type filter hook input priority 0; }; add rule ip mute in udp dport 5399 drop")
        made.divert("up", "--iface", "wan")
        made.lists = directory
        yield made


@pytest.fixture
def posternd(lab, tmp_path):
    running = []

    def start(rules, **options):
        options.setdefault("dns_deadline", "2s")
        post = Installation(lab, tmp_path, rules=rules, options={k.replace("_", "-"): v for k, v in options.items()})
        running.append(post)
        post.start_daemon()
        return post

    yield start
    for post in running:
        post.__exit__()


class Stub:
    """The misbehaving name server; zone is what it answers."""

    def __init__(self, lab, directory):
        self.lab, self.zone_path, self.log_path = lab, directory / "zone.json", directory / "questions"

    def set(self, zone):
        other = self.zone_path.with_suffix(".new")
        other.write_text(json.dumps(zone))
        other.replace(self.zone_path)

    def start(self, zone):
        self.set(zone)
        self.proc = self.lab.popen("inet", [PYTHON, HERE / "dns_stub.py", self.lab.DNS4, STUB_PORT, self.zone_path, self.log_path])
        self.lab.wait_listening("inet", STUB_PORT, self.proc)

    def questions(self, word=""):
        return [line.split()[1:] for line in self.log_path.read_text().splitlines() if word in line] if self.log_path.exists() else []


@pytest.fixture
def stub(lab, tmp_path):
    made = Stub(lab, tmp_path)
    yield made
    if hasattr(made, "proc"):
        lab.stop(made.proc)


AT_STUB = {"resolver": f"192.0.2.53:{STUB_PORT}"}
PTR10, FORWARD = "10.2.0.192.in-addr.arpa PTR", "mail.client.example A"
PTR6 = f"{ipaddress.ip_address('2001:db8:1::10').reverse_pointer} PTR"
FORWARD6 = "mail.client.example AAAA"
LOOP = {"cname": "x.loop.example"}
LOOPED = {f"{a}.loop.example {kind}": {"cname": f"{b}.loop.example"} for a, b in (("x", "y"), ("y", "x")) for kind in ("A", "AAAA", "PTR", "NS", "MX")}


def ask(post, source=None, sender="a@sender.example", to="b@protected.example"):
    with post.talk(source=source) as talk:
        talk.hello()
        reply = talk.say(f"MAIL FROM:<{sender}>")
        return talk.say(f"RCPT TO:<{to}>") if reply.code == 250 else reply


def codes(post, recipients, source=None, sender="a@sender.example"):
    """Of several recipients in one session, which asks for each fact once."""
    with post.talk(source=source) as talk:
        talk.hello()
        talk.say(f"MAIL FROM:<{sender}>")
        return [talk.say(f"RCPT TO:<{to}@p.example>").code for to in recipients]


def yes_if(source="ALL", sender="ALL"):
    """250: the pattern matches; 550: it does not; 451: not known."""
    return f"allow:{source}:{sender}:ALL\nnoto:ALL:ALL:ALL:550 5.7.1 no\n"


def code(*args, **kw):
    return ask(*args, **kw).code


# ---- names

def test_known_and_names(posternd, lab):
    post = posternd("allow:KNOWN:ALL:known@ALL\nallow:UNKNOWN:ALL:unknown@ALL\nallow:*.example.net:ALL:name@ALL\nallow:/^client1[01]\\.example\\.net$/:ALL:regex@ALL\n"
                    "noto:ALL:ALL:ALL:550 5.7.1 you are %H\n")
    for source in (lab.CLIENT4, lab.CLIENT6):
        assert [code(post, source, to=f"{to}@p.example") for to in ("known", "unknown", "name", "regex")] == [250, 550, 250, 250]
        assert ask(post, source).text == "5.7.1 you are client10.example.net"
    for source in (lab.SPAMMER4, lab.SPAMMER6):
        assert [code(post, source, to=f"{to}@p.example") for to in ("known", "unknown", "name", "regex")] == [550, 250, 550, 550]
        assert ask(post, source).text == "5.7.1 you are UNKNOWN"
        assert re.search(rf'ev=name-spoof client={re.escape(source)} name=trusted\.example\.net msg="probable spoof', post.log())


def test_names_that_look_like_addresses(posternd, stub, lab):
    stub.start({PTR10: ["192.0.2.11"], "192.0.2.11 A": ["192.0.2.10"], "11.2.0.192.in-addr.arpa PTR": ["2001:db8::1"],
                PTR6: ["192.0.2.11"], "192.0.2.11 AAAA": ["2001:db8:1::10"]})
    post = posternd("noto:KNOWN:ALL:ALL:550 5.7.1 known\nallow:192.0.2.11:ALL:ALL\nnoto:ALL:ALL:ALL:550 5.7.1 no\n", **AT_STUB)
    assert ask(post).text == "5.7.1 no"
    assert re.search(r'ev=name-attack client=192\.0\.2\.10 name=192\.0\.2\.11 msg="attack', post.log())
    assert code(post, "192.0.2.11") == 250 and "name-attack client=192.0.2.11 name=2001:db8::1" in post.log()
    assert ask(post, lab.CLIENT6).text == "5.7.1 no" and "name-attack client=2001:db8:1::10 name=192.0.2.11" in post.log()
    assert not stub.questions("192.0.2.11 A"), "such a name is never asked for"


def test_several_names_at_most_five(posternd, stub):
    names = [f"{c}.client.example" for c in "hgfedcba"]
    stub.start({PTR10: names, **{f"{name} A": ["192.0.2.10" if name[0] in "ceh" else "192.0.2.99"] for name in names}})
    post = posternd("noto:ALL:ALL:ALL:550 5.7.1 %H\n", **AT_STUB)
    assert ask(post).text == "5.7.1 c.client.example", "the first in order that is confirmed"
    assert len(stub.questions("client.example A")) == 5


@pytest.mark.parametrize("zone", [
    {PTR10: {"drop": True}}, {PTR10: {"rcode": 2}}, {PTR10: {"rcode": 5}},
    {PTR10: ["mail.client.example"], FORWARD: {"drop": True}}, {PTR10: ["mail.client.example"], FORWARD: {"rcode": 2}},
    {PTR10: ["mail.client.example"], FORWARD: {"cname": "x.client.example"}, "x.client.example A": {"cname": "mail.client.example"}},
    {PTR10: LOOP, **LOOPED},
], ids=["silent", "servfail", "refused", "silent-forward", "servfail-forward", "cname-loop", "cname-loop-reverse"])
@pytest.mark.parametrize("source", ["192.0.2.10", "2001:db8:1::10"])
def test_name_that_cannot_be_known(posternd, stub, zone, source):
    six = {PTR10: PTR6, FORWARD: FORWARD6, "x.client.example A": "x.client.example AAAA"}
    stub.start(zone if "." in source else {six.get(key, key): answer for key, answer in zone.items()})
    post = posternd("noto:KNOWN:ALL:ALL\nallow:ALL:ALL:ALL\n", dns_deadline="1s", **AT_STUB)
    reply = ask(post, source)
    assert reply.code == 451 and reply.text.startswith("4.4.3 ")
    assert re.search(r"ev=rcpt verdict=tempfail rule=1 .*unknown=", post.log())


def test_local_names(posternd, lab, tmp_path):
    """The seed's LocalNames: a domain, and who is below it by a confirmed name; octets as in LocalIP."""
    (tmp_path / "LocalNames").write_text("example.net\n198.51.100\nclient12.example.net.example.org\n")
    (tmp_path / "One").write_text("ALL@client10.example.net\nent11.example.net\n")
    post = posternd("allow:FILE=LocalNames:ALL:names@ALL\nallow:FILE=One:ALL:one@ALL\nnoto:ALL:ALL:ALL\n")
    sources = [lab.CLIENT4, lab.CLIENT6, "192.0.2.11", lab.SPAMMER4, lab.SPAMMER6, lab.FAR_CLIENT4]
    assert [code(post, source, to="names@p.example") for source in sources] == [250, 250, 250, 550, 550, 250]
    assert [code(post, source, to="one@p.example") for source in sources] == [250, 250, 550, 550, 550, 550]


def test_alias_and_truncation(posternd, stub):
    stub.start({PTR10: {"cname": "10.sub.example"}, "10.sub.example PTR": {"truncate": True, "answer": ["mail.client.example"]},
                FORWARD: {"truncate": True, "answer": ["192.0.2.10"]}})
    assert code(posternd(yes_if("mail.client.example"), **AT_STUB)) == 250
    assert ["tcp", "mail.client.example", "A"] in stub.questions()


def test_answer_too_long_for_udp(posternd, lab):
    """From a real server: 150 addresses need TCP."""
    records = [f"many.big.example A 10.77.{i}.1" for i in range(150)]
    lab.dns("big.example MX 10 many.big.example", *records)
    try:
        assert codes(posternd("".join(f"allow:ALL:NS=10.77.{i}.1:n{i}@ALL\n" for i in range(150)) + "noto:ALL:ALL:ALL\n"), [f"n{i}" for i in range(0, 150, 15)],
                     sender="a@big.example") == [250] * 10
    finally:
        lab.dns_remove("big.example")
        lab.dns_remove("many.big.example")


# ---- block lists

def test_block_lists(posternd, lab):
    post = posternd("noto:RBL.good.test=127.0.0.2:ALL:two@ALL:550 two\nnoto:RBL.good.test=127.0.0.3-127.0.0.9:ALL:range@ALL:550 range\n"
                    "noto:RBL.good.test:ALL:any@ALL:550 any\nallow:ALL:ALL:ALL\n")
    assert [code(post, lab.SPAMMER4, to=f"{to}@p.example") for to in ("two", "range", "any")] == [550, 250, 550]
    assert [code(post, "192.0.2.12", to=f"{to}@p.example") for to in ("two", "range", "any")] == [250, 550, 550]
    assert [code(post, lab.CLIENT4, to=f"{to}@p.example") for to in ("two", "range", "any")] == [250, 250, 250]
    assert code(post, lab.SPAMMER6, to="any@p.example") == 550 and code(post, lab.CLIENT6, to="any@p.example") == 250
    wait_until(lambda: post.status()["counters"]["dns_queries"] > 0, "counted queries")
    counters = post.status()["counters"]
    assert counters["dns_cache_hits"] > 0 and counters["dns_cache_entries"] > 0 and counters["dns_cache_bytes"] > counters["dns_cache_entries"]


@pytest.mark.parametrize("zone", ["error.test", "outside.test", "lame.test", "dead.test", "silent.test"])
def test_list_that_cannot_be_asked(posternd, zone):
    post = posternd(f"noto:RBL.{zone}:ALL:ALL\nallow:ALL:ALL:ALL\n")
    assert code(post) == 451
    counter = "list_errors" if zone in ("error.test", "outside.test") else "facts_failed"
    wait_until(lambda: post.status()["counters"][counter] > 0, f"{counter} to be counted")


@pytest.mark.parametrize("answer", [{"drop": True}, {"rcode": 2}, {"rcode": 5}, LOOP, {"truncate": True, "answer": {"rcode": 2}}, ["127.255.255.1"], ["10.0.0.1"]],
                         ids=["silent", "servfail", "refused", "cname-loop", "servfail-over-tcp", "error", "outside"])
def test_lists_that_fail(posternd, stub, lab, answer):
    """Of the client, by both families; of the sender's domain."""
    stub.start({"*.rbl.test A": answer, "*.rhs.test A": answer, **LOOPED})
    post = posternd("noto:RBL.rbl.test:ALL:rbl@ALL\nnoto:ALL:RHS.rhs.test:rhs@ALL\nnoto:RBL.rbl.test=127.0.0.2-127.0.0.9:ALL:range@ALL\nallow:ALL:ALL:ALL\n",
                    list_check=0, workers=1, dns_deadline="1s", **AT_STUB)
    for source in (lab.CLIENT4, lab.CLIENT6):
        assert codes(post, ["rbl", "rhs", "range", "other"], source) == [451, 451, 451, 250]


def test_unaffected_by_dead_lists(posternd):
    """What hangs on no list is not touched by one that is down; and on-unknown = skip takes it for no match."""
    rules = "noto:RBL.dead.test:ALL:listed@ALL\nallow:ALL:ALL:ALL\n"
    post = posternd(rules)
    assert code(post, to="other@p.example") == 250 and code(post, to="listed@p.example") == 451
    post.__exit__()
    assert code(posternd(rules, on_unknown="skip"), to="listed@p.example") == 250


def test_domain_list(posternd):
    post = posternd("noto:ALL:RHS.domains.test:ALL:550 listed\nallow:ALL:ALL:ALL\n")
    senders = ["x@bad.example", "x@a.worse.example", "x@BAD.Example", "x@fine.example", "", "x@[192.0.2.1]"]
    assert [code(post, sender=sender) for sender in senders] == [550, 550, 550, 250, 250, 250]


def test_broken_lists_are_switched_off(posternd, lab):
    post = posternd("noto:RBL.all.test:ALL:all@ALL\nnoto:RBL.gone.test:ALL:gone@ALL\nnoto:RBL.good.test:ALL:good@ALL\nallow:ALL:ALL:ALL\n", list_check="72s", workers=1)
    post.wait_log(r"ev=list-broken .*all\.test .*must not")
    post.wait_log(r"ev=list-broken .*gone\.test .*does not list")
    assert code(post, to="all@p.example") == 451 and code(post, to="gone@p.example") == 451
    assert code(post, lab.SPAMMER4, to="good@p.example") == 550 and "list-broken msg=\"block list good.test" not in post.log()
    (lab.lists / "gone").write_text(LISTS["gone"] + "127.0.0.2\n")
    try:
        wait_until(lambda: lab.exec("inet", "unbound-control", "-c", lab.state / "unbound.conf", "flush_zone", "gone.test") and
                   "list-works" in post.log(), "the list to come back", limit_s=40, pause_s=0.5)
        assert code(post, "192.0.2.11", to="gone@p.example") == 250
        assert post.log().count("list-broken") == 2
    finally:
        (lab.lists / "gone").write_text(LISTS["gone"])


def test_ten_lists_cost_one_round_trip(posternd, stub):
    """Every answer takes a second."""
    stub.start({f"*.l{i}.test A": {"delay": 1} for i in range(10)})
    post = posternd("".join(f"noto:RBL.l{i}.test:ALL:ALL\n" for i in range(10)) + "allow:ALL:ALL:ALL\n", dns_deadline="8s", list_check=0, **AT_STUB)
    begin = time.monotonic()
    assert code(post) == 250
    assert time.monotonic() - begin < 4
    asked = [name for _, name, kind in stub.questions(" A") if kind == "A"]
    assert len(set(asked)) == 10


def test_one_query_for_all_who_ask(posternd, stub, lab):
    stub.start({"*.l.test A": {"delay": 0.7}})
    post = posternd("noto:RBL.l.test:ALL:ALL\nallow:ALL:ALL:ALL\n", workers=1, list_check=0, dns_deadline="8s", **AT_STUB)
    talks = [post.talk() for _ in range(20)]
    for talk in talks:
        talk.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\n")
    for talk in talks:
        assert [talk.reply().code for _ in range(3)] == [250, 250, 250]
        talk.close()
    assert len(stub.questions("10.2.0.192.l.test")) == 1


def test_waiting_session_holds_up_nobody(posternd, stub, lab):
    stub.start({"66.2.0.192.l.test A": {"drop": True}})
    post = posternd("noto:RBL.l.test:ALL:ALL\nallow:ALL:ALL:ALL\n", workers=1, list_check=0, dns_deadline="10s", **AT_STUB)
    with post.talk(source=lab.SPAMMER4) as slow:
        slow.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\nNOOP\r\n")
        assert [slow.reply().code for _ in range(2)] == [250, 250]
        begin = time.monotonic()
        assert code(post) == 250 and time.monotonic() - begin < 3
        assert [slow.reply().code for _ in range(2)] == [451, 250], "in order"


def test_client_leaves_while_facts_are_on_their_way(posternd, stub, lab):
    stub.start({"*.l.test A": {"delay": 0.5}, PTR10: {"delay": 0.3, "answer": ["mail.client.example"]}, FORWARD: {"delay": 0.5}})
    post = posternd("noto:RBL.l.test KNOWN NS=KNOWN:NS=10.0.0.0/8 RHS.r.test:ALL\nallow:ALL:ALL:ALL\n", workers=1, list_check=0, **AT_STUB)
    pids = post.worker_pids()
    for _ in range(30):
        with post.talk() as talk:
            talk.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\n")
    time.sleep(2)
    assert post.worker_pids() == pids and code(post) in (250, 451)


# ---- NS=

HOSTS = {
    PTR10: ["mail.client.example"], FORWARD: ["192.0.2.10"], "client.example NS": ["ns1.host.example"], "client.example MX": ["10 mx.host.example"],
    "ns1.host.example A": ["10.1.1.1"], "mx.host.example A": ["10.2.2.2"], "mx.host.example AAAA": ["2001:db8:9::1"],
    "sender.example NS": ["ns1.host.example"], "only.example A": ["10.3.3.3"],
}


@pytest.mark.parametrize("pattern, yes", [
    ("NS=10.1.1.1", True), ("NS=10.2.0.0/16", True), ("NS=[2001:db8:9::]/64", True), ("NS=10.2.*", True), ("NS=*.host.example", True),
    ("NS=/^ns1\\./", True), ("NS=10.9.9.9", False), ("NS=*.other.example", False), ("NS=KNOWN", True), ("NS=UNKNOWN", False),
])
def test_hosts_of_the_client(posternd, stub, pattern, yes):
    stub.start(HOSTS)
    assert code(posternd(yes_if(pattern), **AT_STUB)) == (250 if yes else 550)
    assert not [q for q in stub.questions() if "." not in q[1]], "a single label is never asked for"


def test_hosts_of_the_sender(posternd, stub):
    stub.start(HOSTS)
    post = posternd("allow:ALL:NS=10.1.1.1:ns@ALL\nallow:ALL:NS=KNOWN:known@ALL\nallow:ALL:*x@NS=10.1.1.1:x@ALL\nnoto:ALL:ALL:ALL\n", **AT_STUB)
    expected = {("a@sender.example", "ns"): 250, ("a@deep.below.sender.example", "ns"): 250, ("a@nowhere.example", "ns"): 550, ("", "ns"): 550,
                ("a@sender.example", "known"): 250, ("a@below.sender.example", "known"): 550, ("a@only.example", "known"): 250,
                ("a@nowhere.example", "known"): 550, ("x@sender.example", "x"): 250, ("y@sender.example", "x"): 550}
    assert {key: code(post, sender=key[0], to=f"{key[1]}@p.example") for key in expected} == expected


def test_hosts_in_a_list(posternd, stub):
    stub.start({**HOSTS, "1.1.1.10.l.test A": ["127.0.0.2"], "2.2.2.10.m.test A": ["127.0.0.9"]})
    post = posternd("allow:NS=RBL.l.test:ALL:client@ALL\nallow:ALL:NS=RBL.l.test:sender@ALL\nallow:NS=RBL.m.test=127.0.0.2:ALL:range@ALL\n"
                    "allow:NS=RBL.n.test:ALL:none@ALL\nnoto:ALL:ALL:ALL\n", list_check=0, **AT_STUB)
    assert [code(post, sender="a@sender.example", to=f"{to}@p.example") for to in ("client", "sender", "range", "none")] == [250, 250, 550, 550]


def test_hosts_of_a_client_without_a_name(posternd, stub, lab):
    """Those of its reverse zone, which is above the name itself."""
    six = ipaddress.ip_address("2001:db8:1::").reverse_pointer.split(".", 16)[-1]
    stub.start({"2.0.192.in-addr.arpa NS": ["ns4.isp.example"], "ns4.isp.example A": ["10.4.4.4"],
                f"{six} NS": ["ns6.isp.example"], "ns6.isp.example AAAA": ["2001:db8:4::4"]})
    post = posternd("allow:NS=10.4.4.4:ALL:four@ALL\nallow:NS=[2001:db8:4::4]:ALL:six@ALL\nallow:NS=KNOWN:ALL:known@ALL\nnoto:ALL:ALL:ALL\n", **AT_STUB)
    assert [code(post, to=f"{to}@p.example") for to in ("four", "six", "known")] == [250, 550, 550]
    assert [code(post, lab.CLIENT6, to=f"{to}@p.example") for to in ("four", "six", "known")] == [550, 250, 550]


@pytest.mark.parametrize("zone", [
    {"sender.example NS": {"rcode": 2}}, {"sender.example MX": {"drop": True}}, {"sender.example NS": LOOP, **LOOPED},
    {"mx.host.example A": {"rcode": 5}}, {"mx.host.example A": {"drop": True}}, {"mx.host.example A": LOOP, "mx.host.example AAAA": LOOP, **LOOPED},
], ids=["servfail", "silent", "cname-loop", "refused-address", "silent-address", "cname-loop-address"])
def test_hosts_that_cannot_be_known(posternd, stub, zone):
    """Unknown, unless what is known decides already."""
    stub.start({**HOSTS, "sender.example MX": ["10 mx.host.example"], **zone})
    post = posternd("allow:ALL:NS=10.9.9.9:other@ALL\nallow:ALL:NS=UNKNOWN:unknown@ALL\nallow:ALL:ALL:plain@ALL\nnoto:ALL:ALL:ALL\n", workers=1,
                    dns_deadline="1s", **AT_STUB)
    assert codes(post, ["other", "unknown", "plain"]) == [451, 451, 250]


def test_five_hundred_addresses(posternd, stub):
    """Of sixty hosts with ten addresses each, those of the first fifty."""
    names = [f"ns{i:02}.host.example" for i in range(60)]
    stub.start({"many.example NS": names, **{f"{name} A": [f"10.{i}.{k}.1" for k in range(10)] for i, name in enumerate(names)}})
    everything = " ".join(f"NS=10.{i}.{k}.1" for i in range(60) for k in range(10))
    post = posternd("".join(f"allow:ALL:NS=10.{i}.*:n{i}@ALL\n" for i in range(60)) + f"allow:ALL:{everything}:any@ALL\nnoto:ALL:ALL:ALL\n", dns_deadline="10s", workers=1,
                    **AT_STUB)
    answers = codes(post, ["any"] + [f"n{i}" for i in range(60)], sender="a@many.example")
    assert answers[0] == 250 and answers.count(250) == 51


def test_two_hundred_name_servers(posternd, stub):
    names = [f"ns{i:03}.host.example" for i in range(200)]
    stub.start({"many.example NS": names, **{f"{name} A": [f"10.0.{i}.1"] for i, name in enumerate(names)}})
    post = posternd("allow:ALL:NS=10.0.99.1:last@ALL\nallow:ALL:NS=10.0.100.1:over@ALL\nnoto:ALL:ALL:ALL\n", dns_deadline="10s", **AT_STUB)
    assert code(post, sender="a@many.example", to="last@p.example") == 250
    assert code(post, sender="a@many.example", to="over@p.example") == 550
    assert len({name for _, name, _ in stub.questions("host.example A")}) == 100


# ---- ident

IDENT = r"""
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((sys.argv[1], 113)); s.listen(9)
while True:
    c, a = s.accept(); q = c.recv(100).decode().strip(); c.sendall((sys.argv[2].replace("PORTS", q)).encode().decode("unicode_escape").encode("latin-1"))
    c.close()
"""


@pytest.mark.parametrize("answer, yes", [
    (r"PORTS : USERID : UNIX : alice\r\n", "alice known"), (r"PORTS:USERID:OTHER:alice", "alice known"), (r"PORTS : ERROR : NO-USER\r\n", ""),
    (r"1, 2 : USERID : UNIX : alice\r\n", ""), (r"PORTS : USERID : UNIX : bob\r\n", "known"), ("x" * 5000, ""), ("", ""),
])
def test_ident(posternd, lab, answer, yes):
    server = lab.popen("inet", [PYTHON, "-c", IDENT, lab.CLIENT4, answer])
    try:
        lab.wait_listening("inet", 113, server)
        post = posternd("allow:alice@ALL:ALL:alice@ALL\nallow:KNOWN@ALL:ALL:known@ALL\nallow:ALL:USER@ALL:user@ALL\nnoto:ALL:ALL:ALL\n")
        assert [to for to in ("alice", "known") if code(post, to=f"{to}@p.example") == 250] == yes.split()
        assert code(post, sender="alice@x.example", to="user@p.example") == (250 if "alice" in yes else 550)
    finally:
        lab.stop(server)


def test_ident_without_an_answer(posternd, lab):
    post = posternd("noto:KNOWN@ALL:ALL:ident@ALL\nallow:ALL:ALL:ALL\n", ident_timeout="1s")
    assert code(post, to="ident@p.example") == 250, "nobody listens there: no user"
    with lab.listen("inet", lab.CLIENT4, 113):
        assert code(post, to="ident@p.example") == 451


# ---- the domain of the sender

def test_sender_domain(posternd, lab, stub):
    stub.start({PTR10: ["mail.client.example"], FORWARD: ["192.0.2.10"], "mx.example MX": ["10 m.example"], "a.example A": ["10.0.0.1"],
                "six.example AAAA": ["2001:db8::1"], "null.example MX": ["0 ."], "null.example A": ["10.0.0.1"], "txt.example TXT": ["x"],
                "servfail.example MX": {"rcode": 2}, "refused.example MX": {"rcode": 5}, "silent.example MX": {"drop": True}, "silent.example A": ["10.0.0.1"],
                "half.example A": {"rcode": 2}, "loop.example MX": LOOP, "loop.example A": LOOP, "loop.example AAAA": LOOP, **LOOPED,
                "alias.example MX": {"cname": "mx.example"}, "null6.example MX": ["0 ."], "null6.example AAAA": ["2001:db8::1"],
                "mixed.example MX": ["0 .", "10 m.example"]})
    post = posternd("allow:KNOWN:ALL:ALL\n", check_sender_domain="yes", **AT_STUB)
    for domain in ("mx.example", "a.example", "six.example", "servfail.example", "refused.example", "silent.example", "half.example", "loop.example", "alias.example",
                   "mixed.example", "[192.0.2.1]"):
        assert code(post, sender=f"x@{domain}") == 250, domain
    assert code(post, sender="") == 250
    for domain in ("nothing.example", "txt.example"):
        reply = ask(post, sender=f"x@{domain}")
        assert reply.code == 550 and reply.text.startswith("5.1.8 "), reply
    for domain in ("null.example", "null6.example"):
        reply = ask(post, sender=f"x@{domain}")
        assert reply.code == 550 and reply.text.startswith("5.7.27 ")
    reply = ask(post, "2001:db8:1::10", sender="x@nothing.example")
    assert reply.code == 550 and reply.text.startswith("5.1.8 ")
    assert re.search(r'msg="Rejected from address with unresolvable domain: <x@nothing\.example> from mail\.client\.example \[192\.0\.2\.10\]"', post.log())
    with post.talk() as talk:
        talk.send("EHLO c.example\r\nMAIL FROM:<x@nothing.example>\r\nRCPT TO:<b@p.example>\r\nMAIL FROM:<x@a.example>\r\nRCPT TO:<b@p.example>\r\nDATA\r\n")
        assert [talk.reply().code for _ in range(6)] == [250, 550, 503, 250, 250, 354], "what builds on MAIL waits for it"


def test_sender_domain_is_off_by_default(posternd):
    assert code(posternd("allow:ALL:ALL:ALL\n"), sender="x@nothing.example") == 250


# ---- the tool


def test_explain_looks_things_up(posternd, lab):
    """In the firewall's namespace, whose resolv.conf names the lab's server."""
    post = posternd("noto:RBL.good.test:ALL:ALL:550 listed\nnoto:NS=10.9.9.9:ALL:ALL\nallow:client10.example.net:ALL:ALL\nnoto:RBL.lame.test:ALL:ALL\nallow:ALL:ALL:ALL\n")

    def explain(address, *more):
        args = ("rules", "explain", "--json", "--rules", post.rules_path, "--ip", address, "--from", "a@b.example", "--to", "c@d.example", *more)
        return json.loads(post.run("postern", *args).stdout)

    assert explain(lab.SPAMMER4)["line"] == 1 and explain(lab.SPAMMER6)["line"] == 1
    assert explain(lab.CLIENT4)["verdict"] == "allow" and explain(lab.CLIENT6)["line"] == 3
    other = explain("192.0.2.11")
    assert other["verdict"] == "tempfail" and "rbl lame.test: " in json.dumps(other["trace"])
    assert explain(lab.CLIENT4, "--no-dns")["verdict"] == "tempfail"


def replay(post, rules, log, *more, text_in=""):
    """What would change under other rules; in the firewall's namespace, whose resolv.conf names the lab's server."""
    path = post.dir / "other-rules"
    path.write_text(rules)
    done = post.run("postern", "rules", "replay", "--rules", path, "--json", *more, log, text_in=text_in)
    assert done.returncode in (0, 1), done.stdout
    found = json.loads(done.stdout)
    return (found["decisions"], found["changed"], found["open"], found["unusable"]), found["changes"]


def questions_to_unbound(lab):
    stats = lab.exec("inet", "unbound-control", "-c", lab.state / "unbound.conf", "stats_noreset").stdout
    return int(re.search(r"^total\.num\.queries=(\d+)", stats, re.M)[1])


def test_replay_looks_things_up(posternd, lab, tmp_path):
    """The daemon had to ask nothing, so its log holds no names."""
    post = posternd("allow:ALL:ALL:ALL\n")
    for source in (lab.CLIENT4, lab.CLIENT6, lab.SPAMMER4, lab.SPAMMER6):
        assert code(post, source) == 250
    log = post.dir / "posternd.log"
    rules = "noto:RBL.good.test:ALL:ALL:550 listed\nallow:client10.example.net:ALL:ALL\nnoto:ALL:ALL:ALL\n"
    assert replay(post, rules, log)[0] == (4, 0, 4, 0)
    counts, changes = replay(post, rules, log, "--dns")
    assert counts == (4, 2, 0, 0)
    assert {(c["client"], c["old"]["verdict"], c["new"]["verdict"], c["new"]["line"]) for c in changes} == {
        (lab.SPAMMER4, "allow", "noto", 1), (lab.SPAMMER6, "allow", "noto", 1)}
    # What can't be known today, and what can never be asked again, stays open.
    assert replay(post, "noto:RBL.lame.test:ALL:ALL\nallow:ALL:ALL:ALL\n", log, "--dns")[0] == (4, 0, 4, 0)
    assert replay(post, "noto:KNOWN@ALL:ALL:ALL\nallow:ALL:ALL:ALL\n", log, "--dns")[0] == (4, 0, 4, 0)
    # Many lines about the same clients cost each question once.
    many = tmp_path / "many"
    many.write_text(log.read_text() * 100)
    before = questions_to_unbound(lab)
    assert replay(post, rules, many, "--dns")[0] == (400, 200, 0, 0)
    assert 4 <= questions_to_unbound(lab) - before < 40


def test_replay_of_what_the_rules_hung_on(posternd, lab, tmp_path):
    """Rules of many kinds, mail of many kinds: under the same file no decision changes, in whatever form the log has come."""
    (tmp_path / "access").write_text("192.0.2.12\tREJECT\nfriend.example\tOK\nTo:off@\t550 off\n")
    (tmp_path / "LocalNames").write_text("example.net\n203.0.113\n")
    rules = ("access:access\nnoto:RBL.good.test:ALL:ALL:550 listed\nnoto:ALL:RHS.domains.test:ALL\ndeny:HELO=/bad/:ALL:ALL\nallow:DST=[2001:db8:2::]/64:<>:ALL\n"
             "dry-run noto:ALL:ALL:ALL\nallow:alice@ALL:ALL:ident@ALL\nallow:FILE=LocalNames EXCEPT [2001:db8::]/16:ALL:*@p.example\nallow:UNKNOWN:ALL:unknown@ALL\n")
    post = posternd(rules)
    for source in (lab.CLIENT4, lab.CLIENT6, lab.SPAMMER4, lab.SPAMMER6, "192.0.2.12", "192.0.2.11"):
        for sender, to in (("a@b.example", "x@p.example"), ("", "x@p.example"), ("a@bad.example", "x@p.example"), ("a@friend.example", "off@p.example"),
                           ("a@friend.example", "x@q.example"), ("a@b.example", "unknown@q.example"), ("a@b.example", "ident@q.example")):
            ask(post, source, sender=sender, to=to)
    text = post.log()
    assert {v for v in re.findall(r"ev=rcpt verdict=(\w+)", text)} == {"allow", "noto"}
    assert len(set(re.findall(r"ev=rcpt verdict=\w+ rule=(\d+)", text))) >= 5
    log = post.dir / "posternd.log"
    assert replay(post, rules, log, "--dns")[0] == (42, 0, 0, 0)
    (lines,) = [text.splitlines()]
    forms = {
        "syslog": [f"Nov 21 05:00:00 mail posternd[123]: {line}" for line in lines],
        "rfc5424": [f"<30>1 2026-11-21T05:00:00.123456+01:00 mail posternd 123 - - {line}" for line in lines],
        "iso": [f"2026-11-21T05:00:00+0100 mail posternd[123]: {line}\r" for line in lines],
        "cat": [line[line.index("ev="):] if "sid=" not in line else line[line.index("sid="):] for line in lines],
    }
    for form, written in forms.items():
        assert replay(post, rules, "-", "--dns", text_in="\n".join(written) + "\n")[0] == (42, 0, 0, 0), form
    as_json = "\n".join(json.dumps({"MESSAGE": line, "PRIORITY": "6"}) for line in lines)
    assert replay(post, rules, "-", text_in=as_json)[0] == (0, 0, 0, 42)
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    done = post.run("postern", "rules", "replay", "--rules", post.rules_path, packed)
    assert done.returncode == 1 and "zcat" in done.stdout
    assert replay(post, "noto:ALL:ALL:ALL\n", log)[0] == (42, len(re.findall("ev=rcpt verdict=allow", text)), 0, 0)


# ---- the resolver itself

def test_no_server_answers(posternd):
    post = posternd("noto:KNOWN:ALL:known@ALL\nallow:ALL:ALL:ALL\n", resolver="192.0.2.99")
    assert code(post, to="other@p.example") == 250 and code(post, to="known@p.example") == 451


def test_reload_takes_other_servers(posternd, stub, lab):
    post = posternd(yes_if("client10.example.net"))
    assert code(post) == 250
    stub.start({PTR10: ["mail.client.example"], FORWARD: ["192.0.2.10"]})
    post.options.update(AT_STUB)
    post.write_conf()
    post.daemon.send_signal(1)
    post.wait_log("ev=reloaded")
    wait_until(lambda: code(post) == 550, "the other server to be asked")
    assert stub.questions("in-addr.arpa PTR")
