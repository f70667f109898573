"""Rule files judged in real sessions: what each kind of pattern and action does to RCPT, and what the log says."""

import re

import pytest

import journal
from installation import Installation, Talk

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"

DIVERTED = ("wan", "lan")


@pytest.fixture
def posternd(lab, tmp_path):
    running = []

    def start(rules, **options):
        post = Installation(lab, tmp_path, rules=rules, options={k.replace("_", "-"): v for k, v in options.items()},
                            more_listen={"lan": {"trust": "trusted"}})
        running.append(post)
        post.start_daemon()
        return post

    yield start
    for post in running:
        post.__exit__()


class Asker:
    """ask(…) gives the reply to one RCPT, in a session of its own."""

    def __init__(self, post):
        self.post, self.lab = post, post.lab

    def __call__(self, to="b@protected.example", sender="a@sender.example", source=None, target=None, helo="client.example.net", from_lan=False):
        lab = self.lab
        source = source or (lab.MTA4 if from_lan else lab.CLIENT4)
        target = target or ((lab.CLIENT6 if ":" in source else lab.CLIENT4) if from_lan else (lab.MTA6 if ":" in source else lab.MTA4))
        with Talk(lab.connect("mta" if from_lan else "inet", (source, 0), (target, 25), timeout=20)) as talk:
            assert talk.say(f"EHLO {helo}").code == 250
            assert talk.say(f"MAIL FROM:<{sender}>").code == 250
            return talk.say(f"RCPT TO:<{to}>")


def only(patterns, field="source"):
    """A rule file that allows what matches and refuses the rest."""
    fields = {"source": "ALL", "sender": "ALL", "to": "ALL", field: patterns}
    return f"allow:{fields['source']}:{fields['sender']}:{fields['to']}\nnoto:ALL:ALL:ALL:550 5.7.1 no\n"


def test_interface_and_trust(posternd, lab):
    ask = Asker(posternd("noto:IF=lan:ALL:if@ALL:550 lan\nnoto:IF=w*:ALL:if@ALL:550 wan\nallow:TRUSTED:ALL:trust@ALL\nnoto:UNTRUSTED:ALL:trust@ALL\n"))
    assert ask("if@p.example").text.endswith("wan") and ask("if@p.example", from_lan=True).text.endswith("lan")
    assert ask("if@p.example", source=lab.MTA6, from_lan=True).text.endswith("lan")
    assert ask("trust@p.example").code == 550 and ask("trust@p.example", source=lab.CLIENT6).code == 550
    assert ask("trust@p.example", from_lan=True).code == 250 and ask("trust@p.example", source=lab.MTA6, from_lan=True).code == 250


@pytest.mark.parametrize("pattern, allowed", [
    ("192.0.2.10", {"192.0.2.10"}),
    ("192.0.2.8/29", {"192.0.2.10", "192.0.2.11", "192.0.2.12"}),
    ("192.0.2.99/24", {"192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.66"}),
    ("192.0.2.*", {"192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.66"}),
    ("0/0", {"192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.66", "198.51.100.7"}),
    ("[2001:db8:1::10]", {"2001:db8:1::10"}),
    ("[2001:db8:1::]/64", {"2001:db8:1::10", "2001:db8:1::11", "2001:db8:1::12", "2001:db8:1::66"}),
    ("192.0.2.0/24 EXCEPT 192.0.2.8/30 EXCEPT 192.0.2.11", {"192.0.2.11", "192.0.2.12", "192.0.2.66"}),
    ("198.51.100.7, [2001:db8:1::66]\t192.0.2.12", {"198.51.100.7", "2001:db8:1::66", "192.0.2.12"}),
])
def test_client_addresses(posternd, lab, pattern, allowed):
    ask = Asker(posternd(only(pattern)))
    everybody = {*lab.CLIENTS4, *lab.CLIENTS6, lab.SPAMMER4, lab.SPAMMER6, lab.FAR_CLIENT4}
    assert {source for source in everybody if ask(source=source).code == 250} == allowed


def test_original_destination(posternd, lab):
    ask = Asker(posternd(only(f"DST={lab.MTA4_2} DST=[{lab.MTA6}]/128")))
    assert ask(target=lab.MTA4).code == 550 and ask(target=lab.MTA4_2).code == 250
    assert ask(source=lab.CLIENT6, target=lab.MTA6).code == 250 and ask(source=lab.CLIENT6, target=lab.MTA6_2).code == 550


def test_helo(posternd):
    ask = Asker(posternd(only("HELO=*.good.example HELO=[192.0.2.10]")))
    assert ask(helo="a.good.example").code == 250 and ask(helo="A.GOOD.Example").code == 250
    assert ask(helo="good.example").code == 550 and ask(helo="localhost").code == 550


def test_helo_of_the_last_hello_counts(posternd, lab):
    post = posternd(only("HELO=one.example"))
    with post.talk() as talk:
        for helo, code in (("one.example", 250), ("two.example", 550), ("ONE.example", 250)):
            talk.say(f"EHLO {helo}")
            talk.say("MAIL FROM:<a@b.example>")
            assert talk.say("RCPT TO:<c@d.example>").code == code


@pytest.mark.parametrize("pattern, yes, no", [
    ("<>", [""], ["a@b.example"]),
    ("*@b.example", ["a@b.example", "A@B.EXAMPLE", '"x y"@b.example'], ["", "a@c.example", "postmaster", "a@x.b.example"]),
    ("ALL@*b.example", ["a@b.example", "a@x.b.example"], ["", "a@b.example.org"]),
    ("bob@ALL", ["bob@x.example"], ["bobby@x.example"]),
    ("/^(a|b)$/@ALL", ["a@x.example", "B@x.example"], ["c@x.example", "aa@x.example"]),
    ("/spam.*@/", ["spammer@x.example"], ["ham@x.example"]),
    ("*x.example", ["a@x.example", "a@yx.example"], ["a@b.example"]),
    ("ALL EXCEPT *@b.example EXCEPT a@ALL", ["a@b.example", "c@c.example", ""], ["b@b.example"]),
    ("ALL EXCEPT <>", ["a@b.example"], [""]),
])
def test_senders(posternd, pattern, yes, no):
    ask = Asker(posternd(only(pattern, "sender")))
    assert [sender for sender in yes + no if ask(sender=sender).code == 250] == yes


def test_recipients_one_by_one(posternd):
    post = posternd("allow:ALL:ALL:*@ours.example EXCEPT boss@ALL\nnoto:ALL:<>:ALL:550 5.7.1 no bounces\nnoto:ALL:ALL:ALL:551 5.7.1 no relay\n")
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        answers = [talk.say(f"RCPT TO:<{to}>").code for to in ("one@ours.example", "boss@ours.example", "x@other.example", "two@OURS.example")]
        assert answers == [250, 551, 551, 250]
        talk.say("DATA")
        talk.send(BODY)
        assert journal.find(post.spool, talk.reply()).paths == ["one@ours.example", "two@OURS.example"]
        talk.say("MAIL FROM:<>")
        assert talk.say("RCPT TO:<x@other.example>").text == "5.7.1 no bounces"


def test_messages(posternd, lab):
    ask = Asker(posternd(resolver="none", rules="noto:ALL:ALL:all@ALL:551 %F|%T|%H|%I|%U|%C|%%\nnoto:ALL:ALL:code@ALL:450 4.7.9 later\nnoto:ALL:ALL:plain@ALL:550 plain\n"
                         "noto:ALL:ALL:long@ALL:550 " + "%T " * 100 + "\nnoto:ALL:ALL:ALL\n"))
    assert ask("all@p.example") == (551, "5.7.1 a@sender.example|all@p.example|UNKNOWN|192.0.2.10|UNKNOWN|:|%")
    assert ask("all@p.example", sender="", source=lab.CLIENT6).text.startswith("5.7.1 <>|all@p.example|UNKNOWN|2001:db8:1::10|")
    assert ask("code@p.example") == (450, "4.7.9 later")
    assert ask("plain@p.example") == (550, "5.7.1 plain")
    assert ask("long@p.example").code == 550
    assert ask("x@p.example") == (550, "5.7.1 Mail from a@sender.example to x@p.example prohibited from your location (UNKNOWN@UNKNOWN ip=192.0.2.10)")


def test_what_cannot_be_known(posternd):
    """Without a resolver a rule whose outcome hangs on DNS puts the recipient off."""
    rules = "noto:RBL.list.example:ALL:rbl@ALL\nnoto:KNOWN:ALL:known@ALL\nnoto:*.friend.example:ALL:name@ALL\nnoto:ALL:RHS.list.example:rhs@ALL\nallow:ALL:ALL:ALL\n"
    post = posternd(rules, resolver="none")
    ask = Asker(post)
    for local in ("rbl", "known", "name", "rhs"):
        reply = ask(f"{local}@p.example")
        assert reply.code == 451 and reply.text.startswith("4.4.3 "), (local, reply)
    assert ask("other@p.example").code == 250, "what cannot change the outcome is not waited for"
    assert re.search(r"ev=rcpt verdict=tempfail rule=1 .*unknown=", post.log())


def test_on_unknown_skip(posternd):
    ask = Asker(posternd("noto:RBL.list.example:ALL:ALL\nallow:KNOWN:ALL:known@ALL\nallow:ALL:ALL:other@ALL\n", on_unknown="skip", resolver="none"))
    assert ask("other@p.example").code == 250 and ask("known@p.example").code == 550


def test_pipelined_recipients_wait_in_order(posternd):
    """Some recipients hang on facts, some do not: replies in the order of the commands, and the message has those that were let in."""
    post = posternd("noto:RBL.list.example:ALL:no*@ALL\nallow:ALL:ALL:ALL\n", resolver="none")
    with post.talk() as talk:
        talk.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n" + "".join(f"RCPT TO:<{'no' if i % 3 == 0 else 'yes'}{i}@p.example>\r\n" for i in range(90)) + "DATA\r\n")
        seen = [talk.reply().code for _ in range(93)]
        assert seen == [250, 250] + [451 if i % 3 == 0 else 250 for i in range(90)] + [354]
        talk.send(BODY)
        assert journal.find(post.spool, talk.reply()).paths == [f"yes{i}@p.example" for i in range(90) if i % 3]


@pytest.mark.parametrize("no_match, code", [("noto", 550), ("allow", 250)])
def test_no_match(posternd, no_match, code):
    post = posternd("allow:ALL:ALL:known@ALL\n", no_match=no_match)
    ask = Asker(post)
    assert ask("known@p.example").code == 250 and ask("other@p.example").code == code
    assert re.search(rf"ev=rcpt verdict={'noto' if code == 550 else 'allow'} rule=0 ", post.log())


def test_empty_rule_file(posternd):
    assert Asker(posternd("# nothing\n\n"))().code == 550


def test_debug_and_the_log(posternd, lab):
    post = posternd("# comment\ndebug:192.0.2.*:ALL:ALL\ndebug:[2001:db8::]/32:ALL:ALL\nnoto:ALL:ALL:no@ALL:550 5.7.1 because\n\\\nallow:ALL:ALL:ALL\n")
    ask = Asker(post)
    assert ask("b@p.example").code == 250 and ask("no@p.example").code == 550
    log = post.log()
    assert len(re.findall(r"ev=rule-debug rule=2 client=192\.0\.2\.10 from=a@sender\.example to=\S+", log)) == 2 and "rule-debug rule=3" not in log
    assert re.search(r"ev=rcpt verdict=noto rule=4 client=192\.0\.2\.10 dst=203\.0\.113\.25 iface=wan trust=untrusted helo=client\.example\.net "
                     r'from=a@sender\.example to=no@p\.example reply="550 5\.7\.1 because"', log)
    assert ask("b@p.example", source=lab.CLIENT6).code == 250 and "ev=rule-debug rule=3" in post.log()


def test_content_checks_are_not_waved_through(posternd):
    """allow-filter and allow-extchk ask for checks that nobody has configured: the recipient is put off."""
    ask = Asker(posternd("allow-filter:ALL:ALL:f@ALL\nallow-extchk:ALL:ALL:e@ALL\nallow-extchk|allow-filter:ALL:ALL:b@ALL\n"))
    assert {ask(f"{local}@p.example").code for local in "feb"} == {451}


def test_log_cannot_be_forged(posternd):
    post = posternd("allow:ALL:ALL:ALL\n")
    with post.talk() as talk:
        talk.say(b'EHLO x" ev=stored from=\x1b[2J\xff')
        talk.say('MAIL FROM:<"a\\" ev=forged"@b.example>')
        assert talk.say("RCPT TO:<c@d.example>").code == 250
    line = next(line for line in post.log().splitlines() if " ev=rcpt " in line)
    assert all(32 <= ord(c) < 127 for c in line)
    bare = re.sub(r'"(\\.|[^"\\])*"', "Q", line)
    assert " ev=forged" not in bare and " ev=stored" not in bare, line
