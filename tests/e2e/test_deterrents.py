"""Limits and delays for clients that misbehave, through the diversion, over IPv4 and IPv6, with raw sockets, swaks and smtp-source."""

import ipaddress
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

import journal
from installation import Installation
from netlab import Lab, wait_until

# Tells what is held up for a second from what is answered at once, and beside others that can take as long.
tells_a_second = pytest.mark.alone

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"

DIVERTED = ("wan",)


@pytest.fixture
def posternd(lab, tmp_path):
    """posternd(rules=…, listen=…, env=…, **options): a running one; option names with _ for -."""
    running = []

    def start(rules="allow:ALL:ALL:ALL\n", listen=None, env=None, **options):
        options = {key.replace("_", "-"): value for key, value in options.items()}
        directory = tmp_path / str(len(running))
        directory.mkdir()
        post = Installation(lab, directory, rules=rules, listen=listen, options=options)
        running.append(post)
        post.start_daemon(env=env)
        return post

    yield start
    for post in running:
        post.__exit__()


@pytest.fixture(params=["ipv4", "ipv6"])
def clients(request, lab):
    """Two clients that are not one and the same to us."""
    if request.param == "ipv4":
        return lab.CLIENTS4[0], lab.CLIENTS4[1]
    lab.exec("inet", "ip", "-6", "addr", "replace", "2001:db8:1:7::10/128", "dev", "lo", "nodad")
    lab.exec("fw", "ip", "-6", "route", "replace", "2001:db8:1:7::/64", "via", lab.CLIENT6)
    return lab.CLIENTS6[0], "2001:db8:1:7::10"


def counter(post, name):
    return post.status()["counters"][name]


def wait_counter(post, name, value):
    wait_until(lambda: counter(post, name) == value, f"{name} = {value}", limit_s=5)


# ---- connections


def test_connections_at_once(posternd, clients):
    post = posternd(max_client_connections=3)
    first, other = clients
    talks = [post.talk(first) for _ in range(3)]
    refused = post.talk(first)
    assert refused.greeting.code == 421 and refused.greeting.text.startswith("4.7.0 ") and refused.is_closed()
    with post.talk(other) as talk:
        assert talk.greeting.code == 220 and talk.hello() and talk.message(BODY).code == 250
    talks.pop().say("QUIT")
    # The place is free as soon as the worker has seen the end of it.
    wait_until(lambda: post.talk(first).greeting.code == 220, "a free place")
    assert talks[0].hello() and talks[0].message(BODY).code == 250, "who is in notices nothing"
    assert re.search(r'ev=refused iface=wan client=\S*' + re.escape(first) + r'.* why="max-client-connections is reached"', post.log())
    assert counter(post, "refused_client_connections") >= 1


def test_one_ipv6_network_is_one_client(posternd, lab):
    post = posternd(max_client_connections=2)
    talks = [post.talk(lab.CLIENTS6[0]), post.talk(lab.CLIENTS6[1])]
    assert post.talk(lab.CLIENTS6[2]).greeting.code == 421
    assert [talk.greeting.code for talk in talks] == [220, 220]


def test_rate_of_connections(posternd, clients):
    # On a busy host the ends of earlier connections may be seen late, and together be too many at once.
    post = posternd(client_connection_rate=60, max_client_connections=0)
    first, other = clients

    def greeting(address):
        with post.talk(address) as talk:
            return talk.greeting.code
    assert [greeting(first) for _ in range(60)] == [220] * 60
    wait_until(lambda: greeting(first) == 421, "the end of the burst", pause_s=0)
    assert greeting(other) == 220
    # One each second comes back.
    time.sleep(1.2)
    assert greeting(first) == 220
    wait_until(lambda: greeting(first) == 421, "the end of what came back", pause_s=0)
    assert counter(post, "refused_client_rate") >= 2


def test_trusted_clients_have_no_limits(posternd, lab):
    limits = {"max_client_connections": 1, "client_connection_rate": 1, "client_recipient_rate": 1, "greet_delay": "30s"}
    post = posternd(listen={"trust": "trusted"}, **limits)
    talks = [post.talk() for _ in range(3)]
    for talk in talks:
        talk.hello()
        assert talk.message(BODY, "a@sender.example", "b@p.example", "c@p.example").code == 250
    post.stop(post.daemon)
    post = posternd(listen={"trust": "trusted", "deterrents": "yes"}, max_client_connections=1)
    held = post.talk()
    assert held.greeting.code == 220 and post.talk().greeting.code == 421
    post.stop(post.daemon)
    post = posternd(listen={"deterrents": "no"}, max_client_connections=1)
    held = post.talk()
    assert held.greeting.code == 220 and post.talk().greeting.code == 220


def test_limits_without_any_option(posternd, clients):
    """Fifty connections, and patience with ten errors; neither where clients are trusted."""
    post = posternd(max_errors=12)
    talks = [post.talk(clients[0]) for _ in range(50)]
    assert talks[-1].greeting.code == 220 and post.talk(clients[0]).greeting.code == 421 and post.talk(clients[1]).greeting.code == 220
    assert [talks[0].say("WIZ").code for _ in range(9)] == [500] * 9 and counter(post, "tarpitted") == 0
    assert talks[0].say("WIZ").code == 500 and talks[0].say("NOOP").code == 250 and counter(post, "tarpitted") == 1
    post.stop(post.daemon)
    post = posternd(listen={"trust": "trusted"}, max_errors=12)
    talks = [post.talk(clients[0]) for _ in range(52)]
    assert [talks[0].say("WIZ").code for _ in range(11)] == [500] * 11 and counter(post, "tarpitted") == 0
    assert talks[-1].greeting.code == 220 and counter(post, "refused_client_connections") == 0


def test_smtp_source_beyond_the_limit(posternd, lab):
    """A real client that is told 421 in front of the greeting goes away in peace."""
    post = posternd(max_client_connections=4)
    done = lab.exec("inet", "smtp-source", "-s", "12", "-m", "12", "-c", "-f", "a@s.example", "-t", "b@p.example", f"inet:{lab.MTA4}:25",
                    check=False, timeout=30)
    assert "421" in done.stderr and "too many connections" in done.stderr
    wait_until(lambda: counter(post, "sessions") == 0, "the end of all sessions")
    assert counter(post, "refused_client_connections") >= 1
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BODY).code == 250


# ---- recipients


def test_rate_of_recipients(posternd, clients):
    post = posternd(client_recipient_rate=5)
    first, other = clients
    a, b = post.talk(first), post.talk(first)
    for talk in (a, b):
        talk.hello()
        assert talk.say("MAIL FROM:<a@sender.example>").code == 250
    answers = [talk.say("RCPT TO:<b@protected.example>") for talk in (a, b, a, b, a, b, a)]
    assert [reply.code for reply in answers] == [250] * 5 + [450] * 2, "all sessions of a client together"
    assert answers[-1].text.startswith("4.7.1 ")
    assert a.say("DATA").code == 354, "those that were accepted are"
    a.send(BODY)
    assert a.reply().code == 250
    with post.talk(other) as talk:
        talk.hello()
        assert talk.message(BODY).code == 250
    assert counter(post, "rcpt_too_fast") == 2
    assert len(re.findall(r'ev=deterred client=\S+ iface=wan why="client-recipient-rate is reached"', post.log())) == 2


# ---- load


# The parent of a vfork() sleeps uninterruptibly: that raises the load average without costing anybody a processor.
LOAD = """
#include <unistd.h>
int main(void)
{
    for (int i = 0; i < 99; i++)
        if (fork() == 0) {
            if (vfork() == 0) {
                sleep(20);
                _exit(0);
            }
            _exit(0);
        }
    sleep(20);
    return 0;
}"""


def test_high_load(posternd, lab, tmp_path):
    source, program = tmp_path / "load.c", tmp_path / "load"
    source.write_text(LOAD)
    subprocess.run(["cc", "-o", str(program), str(source)], check=True)
    load = lab.popen("inet", [program])
    try:
        wait_until(lambda: os.getloadavg()[0] >= 1.05, "a load average of 1", limit_s=18)
        post = posternd(refuse_load_average=1, listen={"trust": "trusted"})
        with post.talk() as talk:
            assert talk.greeting.code == 421 and talk.greeting.text.startswith("4.3.2 ") and talk.is_closed()
        assert 'why="refuse-load-average is reached"' in post.log() and counter(post, "refused_load") == 1
        post.stop(post.daemon)
        post = posternd(refuse_load_average=10000)
        with post.talk() as talk:
            assert talk.greeting.code == 220
    finally:
        lab.stop(load, sig=signal.SIGKILL)


# ---- the greeting


@tells_a_second
def test_greet_delay(posternd, lab, clients):
    post = posternd(greet_delay="1s")
    started = time.monotonic()
    with post.talk(clients[0]) as talk:
        waited = time.monotonic() - started
        assert talk.greeting.code == 220 and 0.9 < waited < 5
        started = time.monotonic()
        talk.hello()
        assert talk.message(BODY).code == 250 and time.monotonic() - started < 0.9, "only the greeting is late"
    assert counter(post, "early_talkers") == 0


@tells_a_second
def test_early_talker(posternd, clients):
    post = posternd(greet_delay="2s")
    talk = post.talk(clients[0], greet=False)
    started = time.monotonic()
    talk.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\nDATA\r\n")
    reply = talk.reply()
    assert reply.code == 554 and time.monotonic() - started < 1.5, "at once"
    assert talk.is_closed(), "nothing of what it said is answered"
    assert re.search(r'ev=deterred client=' + re.escape(clients[0]) + r' iface=wan why="talks before the greeting"', post.log())
    assert counter(post, "early_talkers") == 1 and counter(post, "null_connections") == 0
    # One byte is enough, and one that only leaves is no talker.
    late = post.talk(clients[0], greet=False)
    late.send("\n")
    assert late.reply().code == 554
    post.talk(clients[0], greet=False).close()
    wait_counter(post, "null_connections", 1)
    assert counter(post, "early_talkers") == 2
    wait_until(lambda: counter(post, "sessions") == 0, "the end of all sessions")


def test_swaks_waits_for_the_greeting(posternd, lab):
    post = posternd(greet_delay="1s")
    done = lab.exec("inet", "swaks", "--server", lab.MTA4, "--from", "a@s.example", "--to", "b@p.example", "--helo", "c.example", "--timeout", "10s")
    assert "<-  250 2.0.0 Ok: stored as" in done.stdout
    done = lab.exec("inet", "swaks", "--server", lab.MTA6, "--from", "a@s.example", "--to", "b@p.example", "--pipeline", "--timeout", "10s")
    assert "<-  250 2.0.0 Ok: stored as" in done.stdout and counter(post, "early_talkers") == 0


def test_stop_during_the_greeting(posternd):
    post = posternd(greet_delay="2s")
    talk = post.talk(greet=False)
    time.sleep(0.3)
    started = time.monotonic()
    assert post.stop(post.daemon) == 0 and time.monotonic() - started < 10
    assert talk.reply().code in (220, 421)


# ---- the tarpit


def timed(talk, command):
    started = time.monotonic()
    return talk.say(command).code, time.monotonic() - started


@tells_a_second
def test_tarpit_after_recipients(posternd, lab):
    post = posternd(tarpit_after=3, tarpit_delay="1s", tarpit_multiplier=2, tarpit_max="2s", rules="noto:ALL:ALL:bad@*\nallow:ALL:ALL:ALL\n")
    with post.talk(lab.CLIENT6) as talk, post.talk(lab.CLIENT4) as other:
        talk.hello()
        talk.say("MAIL FROM:<a@sender.example>")
        answers = [timed(talk, f"RCPT TO:<{name}@p.example>") for name in ("a", "bad", "c", "d")]
        assert [code for code, _ in answers] == [250, 550, 250, 250]
        assert [round(seconds - 0.1) for _, seconds in answers] == [0, 0, 0, 1]
        # A second one waits meanwhile, and nobody with it.
        talk.send("RCPT TO:<e@p.example>\r\n")
        started = time.monotonic()
        other.hello()
        assert other.message(BODY).code == 250 and time.monotonic() - started < 0.9
        assert talk.reply().code == 250 and 1.5 < time.monotonic() - started < 3.5
        code, seconds = timed(talk, "DATA")
        assert code == 354 and 1.8 < seconds < 3.5, "any reply, and no longer than tarpit-max"
        started = time.monotonic()
        talk.send(BODY)
        assert talk.reply().code == 250 and time.monotonic() - started < 0.9, "but for that to the message"
        code, seconds = timed(talk, "NOOP")
        assert code == 250 and seconds > 1.8, "in the next transaction, too"
        code, seconds = timed(talk, "QUIT")
        assert code == 221 and seconds < 0.9
    assert counter(post, "tarpitted") == 1
    assert len(re.findall(r'ev=deterred client=\S+ iface=wan why="tarpit-after is reached"', post.log())) == 1


def test_tarpit_pipelined(posternd):
    """All commands at once: the replies come in order, each behind the one before, and the message is whole."""
    post = posternd(tarpit_after=1, tarpit_delay="1s", tarpit_multiplier=1)
    with post.talk() as talk:
        talk.hello()
        started = time.monotonic()
        talk.send("MAIL FROM:<a@s.example>\r\nRCPT TO:<a@p.example>\r\nRCPT TO:<b@p.example>\r\nRCPT TO:<c@p.example>\r\nDATA\r\n")
        assert [talk.reply().code for _ in range(5)] == [250, 250, 250, 250, 354]
        assert 2.8 < time.monotonic() - started < 6
        talk.send(BODY)
        reply = talk.reply()
        assert reply.code == 250 and journal.find(post.spool, reply).paths == ["a@p.example", "b@p.example", "c@p.example"]


def test_tarpit_after_errors(posternd):
    post = posternd(tarpit_errors=2, tarpit_delay="1s")
    with post.talk() as talk:
        answers = [timed(talk, "WIZ") for _ in range(3)]
        assert [code for code, _ in answers] == [500] * 3 and [round(seconds - 0.1) for _, seconds in answers] == [0, 0, 1]
    wait_until(lambda: counter(post, "sessions") == 0, "the end of the session")


def test_client_leaves_the_tarpit(posternd):
    post = posternd(tarpit_after=1, tarpit_delay="1s", tarpit_multiplier=100, tarpit_max="4m")
    talk = post.talk()
    talk.hello()
    talk.send("MAIL FROM:<a@s.example>\r\n" + "RCPT TO:<a@p.example>\r\n" * 200)
    assert talk.reply().code == 250
    time.sleep(0.3)
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.close()
    wait_until(lambda: counter(post, "sessions") == 0, "the end of the session", limit_s=5)
    assert counter(post, "transactions") == 0


def test_smtp_source_in_the_tarpit(posternd, lab):
    post = posternd(tarpit_after=4, tarpit_delay="1s", tarpit_multiplier=1)
    started = time.monotonic()
    lab.exec("inet", "smtp-source", "-s", "5", "-m", "5", "-r", "6", "-f", "a@s.example", "-t", "b@p.example", f"inet:{lab.MTA4}:25", timeout=60)
    # Two recipients and DATA wait a second each, in all five sessions at the same time.
    assert 2.5 < time.monotonic() - started < 7
    assert counter(post, "messages_stored") == 5 and counter(post, "tarpitted") == 5


def read_for(talk, seconds):
    """What comes in so many seconds, as (time, byte)."""
    started, got = time.monotonic(), []
    talk.sock.settimeout(0.1)
    while time.monotonic() - started < seconds:
        try:
            data = talk.sock.recv(100)
        except TimeoutError:
            continue
        if not data:
            break
        got.append(data)
    talk.sock.settimeout(20)
    return got


def sunk(post, address):
    """A client that waits for the reply to a RCPT that the rules send into the tarpit."""
    talk = post.talk(address)
    talk.hello()
    assert talk.say("MAIL FROM:<spam@s.example>").code == 250
    talk.send("RCPT TO:<b@p.example>\r\n")
    return talk


STUTTER = "tarpit:ALL:spam@*:ALL:550 5.7.1 No spam\nallow:ALL:ALL:ALL\n"
PLAIN = b"550 5.7.1 No spam\r\n"


@tells_a_second
def test_stutter(posternd, clients):
    post = posternd(rules=STUTTER)
    held = sunk(post, clients[0])
    got = read_for(held, 3.3)
    assert 2 <= len(got) <= 4 and all(len(data) == 1 for data in got), got
    assert b"".join(got) == PLAIN[:len(got)]
    wait_counter(post, "stuttering", 1)
    assert counter(post, "sessions") == 0 and counter(post, "transactions") == 0, "all but the connection is given back"
    started = time.monotonic()
    with post.talk(clients[0]) as talk:
        talk.hello()
        assert talk.message(BODY).code == 250 and time.monotonic() - started < 0.9, "a good message of the same client is not slowed"
    # Who goes away is noticed at the next character but one.
    held.close()
    wait_counter(post, "stuttering", 0)
    assert re.search(r'ev=rcpt verdict=deny rule=1 ', post.log()) and re.search(r'ev=deterred client=\S+ iface=wan why=tarpit', post.log())


def test_stutter_has_a_budget(posternd, lab):
    """Beyond it the oldest, or that client's oldest, gets the rest of its refusal at once."""
    post = posternd(rules=STUTTER, workers=1, tarpit_sessions=3, tarpit_per_client=2, stutter="5s")
    a, b, c = lab.CLIENTS4
    first, second, other = sunk(post, a), sunk(post, a), sunk(post, b)
    wait_counter(post, "stuttered", 3)
    third = sunk(post, a)
    assert first.line() == PLAIN and first.is_closed(), "that client's oldest"
    fourth = sunk(post, c)
    assert second.line() == PLAIN and second.is_closed(), "the oldest of all"
    wait_counter(post, "stuttering", 3)
    # At the end everybody has his answer.
    post.stop(post.daemon)
    for talk in (other, third, fourth):
        assert talk.line() == PLAIN and talk.is_closed()


def test_stutter_switched_off(posternd):
    post = posternd(rules=STUTTER, tarpit_sessions=0)
    talk = sunk(post, None)
    started = time.monotonic()
    assert talk.line() == PLAIN and talk.is_closed() and time.monotonic() - started < 3
    assert counter(post, "stuttered") == 0


def test_stutter_with_pipelining(posternd, lab):
    """Replies in front of the stuttered one come first and whole in their order; nothing behind it is run."""
    post = posternd(rules="tarpit:ALL:ALL:spam@*:550 5.7.1 No spam\nallow:ALL:ALL:ALL\n", workers=1, tarpit_per_client=1, stutter="1m")
    talk = post.talk()
    talk.hello()
    talk.send("MAIL FROM:<a@s.example>\r\nRCPT TO:<a@p.example>\r\nRCPT TO:<spam@p.example>\r\nDATA\r\nQUIT\r\n")
    wait_counter(post, "stuttered", 1)
    assert [talk.reply().code for _ in range(2)] == [250, 250], "as fast as ever"
    sunk_too = post.talk()
    sunk_too.hello()
    sunk_too.send("MAIL FROM:<a@s.example>\r\nRCPT TO:<spam@p.example>\r\n")
    assert talk.reply().code == 550 and talk.is_closed()


# ---- paranoid mode


@pytest.fixture
def names(lab):
    """Client 10 and its IPv6 have their own name, 11 and 2001:…11 claim one that is not theirs, 12 one that looks like an address, 66 has none."""
    records = ["10.2.0.192.in-addr.arpa. PTR mail.own.example.", "mail.own.example. A 192.0.2.10", "mail.own.example. AAAA 2001:db8:1::10",
               "11.2.0.192.in-addr.arpa. PTR mail.bank.example.", "mail.bank.example. A 192.0.2.200", "mail.bank.example. AAAA 2001:db8::200",
               "12.2.0.192.in-addr.arpa. PTR 10.0.0.1."]
    records += [f"{ipaddress.ip_address(a).reverse_pointer}. PTR {name}" for a, name in
                (("2001:db8:1::10", "mail.own.example."), ("2001:db8:1::11", "mail.bank.example."))]
    owners = {record.split()[0] for record in records}
    for owner in owners | {"66.2.0.192.in-addr.arpa."}:
        lab.dns_remove(owner)
    lab.dns(*records)
    yield
    for owner in owners:
        lab.dns_remove(owner)


PARANOID = {"paranoid": "yes", "resolver": Lab.DNS4, "max_errors": 1000, "tarpit_errors": 0}


def test_paranoid_words(posternd, names, clients, lab):
    post = posternd(**PARANOID)
    with post.talk(lab.CLIENT4 if "." in clients[0] else lab.CLIENT6) as talk:
        for hello in ("EHLO a|b", "HELO `id`", "EHLO \x1b[2J", "HELO $x", "EHLO a b"):
            assert talk.say(hello).code == 501, hello
        talk.hello()
        for path in ("|/bin/sh@b.example", "-oQ/tmp@b.example", "/etc/passwd@b.example", "`id`@b.example", "c!u@b.example", "u%c@b.example", '"a b"@c.example'):
            assert talk.say(f"MAIL FROM:<{path}>").code == 553, path
        assert talk.say("MAIL FROM:<o'brien+x=y@b.example>").code == 250
        for path in ("|/bin/sh@b.example", "-froot@b.example", "u%c@b.example"):
            assert talk.say(f"RCPT TO:<{path}>").code == 553, path
        assert talk.say("RCPT TO:<b@p.example>").code == 250 and talk.say("DATA").code == 354
        talk.send(BODY)
        assert talk.reply().code == 250
        for header in (b"Subject: \x1b[2J", b"Subject: \xc3\xb6", b"X: " + b"x" * 996):
            reply = talk.message(header + b"\r\n\r\ntext\r\n.\r\n")
            assert reply.code == 554 and reply.text.startswith("5.6.0 "), header
        wire = b"Subject: =?utf-8?q?=C3=B6?=\r\nX: " + b"x" * 995 + b"\r\n\r\n\x1b \xc3\xb6 | ` $\r\n.\r\n"
        reply = talk.message(wire)
        assert reply.code == 250 and journal.find(post.spool, reply).wire.endswith(wire), "what passes is not changed"
    assert counter(post, "refused_by_paranoia") == 5 + 7 + 3 + 3
    assert len(journal.messages(post.spool)) == 2
    assert 'why="suspicious characters in the header"' in post.log()


@pytest.mark.parametrize("client,code", [("192.0.2.10", 250), ("2001:db8:1::10", 250), ("192.0.2.66", 250), ("192.0.2.11", 550), ("2001:db8:1::11", 550),
                                         ("192.0.2.12", 550)])
def test_paranoid_names(posternd, names, client, code):
    post = posternd(**PARANOID)
    with post.talk(client) as talk:
        talk.hello()
        assert talk.say("MAIL FROM:<a@b.example>").code == 250
        reply = talk.say("RCPT TO:<b@p.example>")
        assert reply.code == code
        if code == 550:
            assert reply.text.startswith("5.7.25 ") and talk.is_closed()
            assert counter(post, "refused_by_paranoia") == 1 and "verdict=deny rule=0" in post.log()


def test_paranoid_without_dns(posternd, lab):
    silent = {**PARANOID, "resolver": "192.0.2.11:5399", "dns_deadline": "1s"}
    for more, code in (({}, 451), ({"on_unknown": "skip"}, 250), ({"listen": {"trust": "trusted"}}, 250)):
        post = posternd(**silent, **more)
        with post.talk() as talk:
            talk.hello()
            talk.say("MAIL FROM:<|a@b.example>" if "listen" in more else "MAIL FROM:<a@b.example>")
            assert talk.say("RCPT TO:<b@p.example>").code == code
        post.stop(post.daemon)


# ---- words


@pytest.mark.parametrize("verb", ["POST / HTTP/1.1", "CONNECT a:25 HTTP/1.1"])
def test_http_is_cut_off(posternd, clients, verb):
    post = posternd()
    with post.talk(clients[0]) as talk:
        talk.send(f"{verb}\r\nHost: x\r\nContent-Length: 100\r\n\r\nEHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@p.example>\r\nDATA\r\n")
        assert talk.reply().code == 521
        assert talk.is_closed()
    assert f"ev=foreign-protocol verb={verb.split()[0]}" in post.log()
    assert counter(post, "foreign_protocol") == 1 and counter(post, "rcpt_allow") == 0


def test_vrfy_and_expn(posternd):
    post = posternd()
    with post.talk() as talk:
        assert talk.say("VRFY a").code == 252 and talk.say("EXPN list").code == 502
    post.stop(post.daemon)
    post = posternd(vrfy="off", expn="vague")
    with post.talk() as talk:
        assert talk.say("VRFY a").code == 502 and talk.say("EXPN list").code == 252 and talk.say("EXPN").code == 501
    assert counter(post, "null_connections") == 0


def test_too_many_errors(posternd):
    post = posternd(max_errors=3)
    with post.talk() as talk:
        assert [talk.say("WIZ").code for _ in range(3)] == [500] * 3
        assert talk.reply().code == 421 and talk.is_closed()
    assert counter(post, "too_many_errors") == 1 and 'ev=deterred' in post.log()


# ---- no HELO


def test_mail_without_helo(posternd, clients):
    rules = "noto:HELO=*.example:ALL:ALL:550 5.7.1 said %F\nallow:ALL:ALL:ALL\n"
    post = posternd(rules=rules)
    with post.talk(clients[0]) as talk:
        assert [talk.say(line).code for line in ("MAIL FROM:<a@b.example>", "RCPT TO:<b@p.example>", "DATA")] == [503] * 3
    post.stop(post.daemon)
    post = posternd(rules=rules, need_helo="no")
    with post.talk(clients[0]) as talk:
        assert [talk.say(line).code for line in ("RCPT TO:<b@p.example>", "DATA")] == [503] * 2
        message = journal.find(post.spool, talk.message(BODY))
        literal = f"[IPv6:{clients[0]}]" if ":" in clients[0] else f"[{clients[0]}]"
        assert message.wire.startswith(f"Received: from {literal} ({literal})\r\n".encode()) and b" with SMTP id " in message.wire
        assert "HELO" not in message.fields and message.fields["PROTO"] == "SMTP"
        assert talk.say("RSET").code == 250 and talk.message(BODY).code == 250, "and again in the same session"
        assert talk.hello("c.example") and talk.say("MAIL FROM:<a@b.example>").code == 250 and talk.say("RCPT TO:<b@p.example>").code == 550
    assert re.search(r'ev=rcpt verdict=allow .* helo="" ', post.log())
    replayed = json.loads(post.run("postern", "rules", "replay", "--rules", post.rules_path, "--json", post.logs["posternd"]).stdout)
    assert replayed["changed"] == 0 and replayed["decisions"] == 3 and replayed["open"] == 0, replayed


# ---- connections that come to nothing


def test_null_connection(posternd, clients):
    post = posternd()
    client = clients[0]
    with post.talk(client):
        pass
    wait_counter(post, "null_connections", 1)
    with post.talk(client) as talk:
        talk.hello()
        talk.say("QUIT")
    wait_counter(post, "null_connections", 2)
    lines = re.findall(r"ev=null-connection .*", post.log())
    assert lines == [f'ev=null-connection client={client} msg="UNKNOWN [{client}] did not issue MAIL/EXPN/VRFY/ETRN during connection to wan"'] * 2
    with post.talk(client) as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        talk.say("QUIT")
    wait_until(lambda: counter(post, "sessions") == 0, "the end of the session")
    assert counter(post, "null_connections") == 2
