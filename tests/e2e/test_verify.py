"""verify-recipients: unknown users are refused in the session, by the real server's own words; whoever can't be asked refuses nobody."""

import re
import time

import pytest

from installation import Diverted, Recorder
from mail_servers import Postfix
from netlab import wait_until


def wait_connected(post):
    """The workers have their connections to posternfwd: the master looks for it each second."""
    wait_until(lambda: all(w["forwarder"] == "connected" for w in post.status()["workers"]), "the workers to reach posternfwd")


def way(lab, room, options=None, rules="allow:ALL:ALL:ALL\n", **listen):
    """postern between inet and mta; the section asks."""
    return Diverted(lab, room, {"verify-recipients": "yes", **listen}, ready=wait_connected, rules=rules,
                    options={"verify-timeout": "2s", "connect-timeout": "2s", **(options or {})})


def rcpts(post, *paths, source=None, target=None):
    """The replies to RCPT for each, in one transaction."""
    with post.talk(source, target) as client:
        client.hello()
        assert client.say("MAIL FROM:<a@sender.example>").code == 250
        replies = [client.say(f"RCPT TO:<{path}>") for path in paths]
        client.say("QUIT")
        return replies


def figures(post):
    return {key[7:]: int(value) for key, value in post.status()["forwarder"].items() if key.startswith("verify_")}


def postfix(lab, room, **settings):
    return Postfix(lab, "mta", room, {"inet_interfaces": f"{lab.MTA4}, {lab.MTA6}", "virtual_mailbox_maps": "inline:{b@protected.example=all/}",
                                      **settings})


def test_unknown_users_are_refused_by_the_servers_own_words(lab, room):
    rules = "noto:ALL:ALL:forbidden@*:554 5.7.1 not by the rules\nallow:ALL:ALL:ALL\n"
    with way(lab, room, rules=rules) as post, postfix(lab, room) as mta:
        with post.talk() as client:
            client.hello()
            assert client.say("MAIL FROM:<a@sender.example>").code == 250
            assert client.say("RCPT TO:<b@protected.example>").code == 250
            reply = client.say("RCPT TO:<nobody@protected.example>")
            assert reply.code == 550 and reply.text.startswith("5.1.1 <nobody@protected.example>: Recipient address rejected: User unknown"), reply
            assert client.say("RCPT TO:<forbidden@protected.example>").code == 554
            assert client.say("DATA").code == 354
            client.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")
            assert client.reply().code == 250
        assert b"\nbody\n" in mta.wait_mails(1)[0]
        # Asked once each; the rules' own was never asked about. The other family is another server.
        assert [r.code for r in rcpts(post, "nobody@PROTECTED.example", "b@protected.example")] == [550, 250]
        assert [r.code for r in rcpts(post, "nobody@protected.example", source=lab.CLIENT6)] == [550]
        now = figures(post)
        assert (now["no"], now["yes"], now["unknown"]) == (2, 1, 0) and now["hits"] == 2 and now["entries"] == 3, now
        assert "forbidden" not in mta.log()
        assert int(post.status()["counters"]["rcpt_unknown"]) == 3
        assert re.search(r"ev=rcpt .*verdict=allow .*to=nobody@protected\.example known=no reply=\"550 5\.1\.1 ", post.log())
        # Pipelined, both kinds, in order.
        with post.talk() as client:
            client.hello()
            client.send("MAIL FROM:<a@sender.example>\r\n" + "".join(f"RCPT TO:<{name}@protected.example>\r\n" for name in ("u1", "b", "u2", "b", "u3")) +
                        "DATA\r\n")
            assert [client.reply().code for _ in range(7)] == [250, 550, 250, 550, 250, 550, 354]
            client.send(b".\r\n")
            assert client.reply().code == 250
        # A dictionary: Postfix hangs up on who errs too often, and must not be taken for dead.
        assert {r.code for r in rcpts(post, *[f"word{number}@protected.example" for number in range(45)])} == {550}
        assert figures(post)["unknown"] == 0 and "421" not in mta.log()
        post.postern("verify", "flush", *[f"word{number}@protected.example" for number in range(45)])
        # Now there is one: nobody has to wait for the old answer's end.
        assert post.postern("verify", "flush", "<nobody@protected.example>", "x@y.example").stdout == (
            "<nobody@protected.example>: 2 answers forgotten\nx@y.example: 0 answers forgotten\n")
        assert post.postern("verify", "flush", "no address", check=False).returncode == 2
        assert '"forgotten": 4' in post.postern("verify", "flush", "--json").stdout
        assert figures(post)["entries"] == 0
        assert post.postern("verify", "burn", check=False).returncode == 2
        # The question names no sender.
        assert re.search(r"NOQUEUE: reject: RCPT from .*User unknown.*; from=<> to=<nobody@protected.example>", mta.log())


def restart_forwarder(post):
    post.stop(post.forwarder)
    wait_until(lambda: any(w["forwarder"] == "away" for w in post.status()["workers"]), "the workers to miss it")
    post.start_forwarder()
    wait_connected(post)


@pytest.mark.long
def test_memory_outlives_a_restart_and_ends(lab, room):
    with way(lab, room, {"verify-keep-no": "6s"}) as post:
        with postfix(lab, room) as mta:
            assert [r.code for r in rcpts(post, "b@protected.example", "nobody@protected.example")] == [250, 550]
            began = time.monotonic()
        restart_forwarder(post)
        assert figures(post)["entries"] == 2
        # The server is gone, so only memory can refuse.
        assert rcpts(post, "nobody@protected.example")[0].code == 550
        time.sleep(max(0, began + 6.1 - time.monotonic()))
        assert [r.code for r in rcpts(post, "nobody@protected.example", "b@protected.example")] == [250, 250]
        assert figures(post)["hits"] == 2
        # Something else in its place is thrown away, with a word.
        post.stop(post.forwarder)
        (post.spool / "cache" / "verify").write_text("postern-verify 1\nuntil=99999999999 nonsense\nend\n")
        post.start_forwarder()
        post.wait_log(r"ev=verify-cache .*is not as we write it \(corrupt\)", "posternfwd")
        assert figures(post)["entries"] == 0


# Alone: tells a time-out from an answer at once, and beside others that can take as long.
@pytest.mark.alone
def test_who_can_not_be_asked_refuses_nobody(lab, room):
    """Nobody there, one that never says a word, one that greylists, one that breaks off; and without posternfwd."""
    with way(lab, room) as post, Recorder(lab, lab.MTA4_2, args=["silent=1"]), Recorder(lab, lab.MTA6, args=["rcpt_450=later"]) as grey, \
            Recorder(lab, lab.MTA6_2, args=["hang_up_at=RCPT"]):
        began = time.monotonic()
        assert rcpts(post, "x@protected.example", "y@protected.example")[1].code == 250
        assert time.monotonic() - began < 2
        began = time.monotonic()
        assert rcpts(post, "x@protected.example", target=lab.MTA4_2)[0].code == 250
        assert 1.5 < time.monotonic() - began < 6
        for _ in range(2):
            assert rcpts(post, "later@protected.example", source=lab.CLIENT6, target=lab.MTA6)[0].code == 250
        assert rcpts(post, "x@protected.example", source=lab.CLIENT6, target=lab.MTA6_2)[0].code == 250
        now = figures(post)
        assert now["yes"] == now["no"] == now["entries"] == 0 and now["unknown"] >= 4, now
        post.stop(post.forwarder)
        began = time.monotonic()
        assert rcpts(post, "x@protected.example")[0].code == 250
        assert time.monotonic() - began < 1


def test_one_question_for_many(lab, room):
    """Many sessions ask for the same recipient at once: the server is asked once, and keeps the connection for the next question."""
    with way(lab, room, {"keep-idle": "20s", "verify-timeout": "10s"}) as post, \
            Recorder(lab, lab.MTA4, args=["rcpt_550=nobody", "greet_delay=1"]) as mta:
        clients = [post.talk() for _ in range(8)]
        for client in clients:
            client.hello()
            assert client.say("MAIL FROM:<a@sender.example>").code == 250
            client.send("RCPT TO:<nobody@protected.example>\r\n")
        for client in clients:
            reply = client.reply()
            assert reply.code == 550 and reply.text == "5.1.1 no nobody here", reply
            client.close()
        assert [r.code for r in rcpts(post, "one@protected.example", "two@protected.example")] == [250, 250]
        now = figures(post)
        assert now["no"] == 1 and now["yes"] == 2 and now["connections"] == 1, now
        assert not mta.messages()


def test_deliveries_teach(lab, room):
    """Whom mail was delivered to is known; a delivery that fails in spite of a yes ends it."""
    with way(lab, room) as post:
        with Recorder(lab, lab.MTA4) as mta:
            post.stop(post.forwarder)
            with post.talk() as client:
                client.hello()
                assert client.message(b"Subject: x\r\n\r\n.\r\n").code == 250
            post.start_forwarder()
            wait_connected(post)
            mta.wait_messages(1)
            wait_until(lambda: figures(post)["entries"] == 1, "it to be known")
            wait_until(lambda: rcpts(post, "b@protected.example")[0].code == 250 and figures(post)["hits"] >= 1, "an answer from memory")
            assert figures(post)["yes"] == 0
        with Recorder(lab, lab.MTA4, args=["rcpt_550=b"]):
            with post.talk() as client:
                client.hello()
                assert client.message(b"Subject: x\r\n\r\n.\r\n").code == 250
            post.wait_log("ev=failed", "posternfwd")
            wait_until(lambda: rcpts(post, "b@protected.example")[0].code == 550, "the server to be asked again")
        # A refusal of the server's is no verdict of the rules: judged again they say the same.
        done = post.run("postern", "rules", "replay", "--no-match", "noto", "--rules", post.rules_path, post.dir / "posternd.log")
        assert "known=no" in post.log() and done.returncode == 0 and "0 would change" in done.stdout, done.stdout
