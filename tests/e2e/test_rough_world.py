"""What happens around the daemons: interfaces that go and come back, a posternfwd that hangs, a spool somebody else made."""

import os
import signal

import pytest

import journal
from installation import Installation, Recorder, without_received
from netlab import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

WIRE = b"Subject: test\r\n\r\nhello\r\n.\r\n"
DIAL_FW, DIAL_CLIENT = "198.18.7.1", "198.18.7.2"


def dial_in(lab):
    """A second way in, as a ppp interface: the client reaches the second address of the mail server by it."""
    lab.exec("inet", "ip", "link", "add", "dial0", "type", "veth", "peer", "name", "ppp7", "netns", lab.netns("fw"))
    lab.exec("inet", "ip", "addr", "add", f"{DIAL_CLIENT}/30", "dev", "dial0")
    lab.exec("inet", "ip", "link", "set", "dial0", "up")
    lab.exec("fw", "ip", "addr", "add", f"{DIAL_FW}/30", "dev", "ppp7")
    lab.exec("fw", "ip", "link", "set", "ppp7", "up")
    lab.exec("inet", "ip", "route", "add", f"{lab.MTA4_2}/32", "via", DIAL_FW)


@pytest.mark.parametrize("mode", ("redirect", "tproxy"))
def test_an_interface_is_made_anew(lab, tmp_path, mode):
    """Its listeners follow, in every worker; sessions of other interfaces notice nothing."""
    dial_in(lab)
    options = {"mode": mode}
    with Installation(lab, tmp_path, options={"workers": 2}, more_listen={"ppp7": options}) as post, Recorder(lab, lab.MTA4_2) as mta:
        lab.divert("up", "--iface", "wan")
        lab.divert("up", "--iface", "ppp7", "--mode", mode)
        post.start()
        with post.talk() as other:
            other.hello()
            with post.talk(source=DIAL_CLIENT, target=lab.MTA4_2) as client:
                client.hello()
            for _ in range(2):
                before = post.log().count("ev=interface-new")
                lab.exec("inet", "ip", "link", "del", "dial0")
                post.wait_log("ev=interface-gone")
                dial_in(lab)
                wait_until(lambda: post.log().count("ev=interface-new") >= before + 2, "both listeners to follow")
                with post.talk(source=DIAL_CLIENT, target=lab.MTA4_2) as client:
                    client.hello()
                    assert client.message(WIRE).code == 250
            pids = post.worker_pids()
            for pid in pids:  # a worker that starts later gets the new socket
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not set(pids) & set(post.worker_pids()) and 0 not in post.worker_pids(), "other workers")
            with post.talk(source=DIAL_CLIENT, target=lab.MTA4_2) as client:
                client.hello()
                assert client.message(WIRE).code == 250
        assert [without_received(m["wire"]) for m in mta.wait_messages(3)] == [WIRE] * 3
        for iface in ("wan", "ppp7"):
            lab.divert("down", "--iface", iface)
    lab.exec("inet", "ip", "link", "del", "dial0")


def test_a_writer_dies_in_a_prepared_segment(lab, tmp_path):
    """Behind its last record there are megabytes of zeros: no mail, no damage, and nothing that keeps the segment from being removed."""
    big = b"Subject: big\r\n\r\n" + (b"z" * 78 + b"\r\n") * 2500 + b".\r\n"
    options = {"segment-size": "4M", "workers": 1}
    with Installation(lab, tmp_path, options=options) as post, Recorder(lab, lab.MTA4) as mta:
        post.start_daemon()
        lab.divert("up", "--iface", "wan")
        replies = []
        with post.talk() as client:
            client.hello()
            for _ in range(7):
                replies.append(client.message(big))
            prepared = lambda: [path for path in (post.spool / "journal").iterdir() if path.stat().st_size == 4 << 20]  # noqa: E731
            wait_until(prepared, "a prepared segment")
            for _ in range(3):
                replies.append(client.message(WIRE))
        # An independent reader: in the prepared one, and nothing there but these.
        assert {journal.find(post.spool, reply).segment for reply in replies[-2:]} == {path.name for path in prepared()}
        assert len(journal.messages(post.spool, strict=True)) == 10
        listing = post.postern("queue", "list", check=False).stdout  # from the files: nobody else is there
        assert listing.count("@sender.example") == 10 and "damaged" not in listing, listing
        written = list((post.spool / "journal").iterdir())
        os.kill(post.worker_pids()[0], signal.SIGKILL)
        post.start_forwarder()
        found = mta.wait_messages(10)
        assert sorted(len(m["wire"]) for m in found)[:3] == sorted(len(m["wire"]) for m in found if m["wire"].endswith(WIRE))
        wait_until(lambda: not any(path.exists() for path in written), "the segments to be removed")
        assert list((post.spool / "bad").iterdir()) == []
        assert "journal-" not in post.log("posternfwd")
        lab.divert("down", "--iface", "wan")


def test_posternfwd_hangs(lab, tmp_path):
    """Mail is accepted meanwhile, and all of it leaves without any more mail to remind of it."""
    with Installation(lab, tmp_path) as post, Recorder(lab, lab.MTA4) as mta:
        lab.divert("up", "--iface", "wan")
        post.start()
        os.kill(post.forwarder.pid, signal.SIGSTOP)
        try:
            with post.talk() as client:
                client.hello()
                for _ in range(300):
                    assert client.message(WIRE).code == 250
        finally:
            os.kill(post.forwarder.pid, signal.SIGCONT)
        mta.wait_messages(300)
        lab.divert("down", "--iface", "wan")


def test_bodies_of_clients_that_break_off(lab, tmp_path):
    """Each leaves an empty file; the sweep (here the one at the start of posternfwd) takes those and no other."""
    with Installation(lab, tmp_path) as post, Recorder(lab, lab.MTA4) as mta:
        lab.divert("up", "--iface", "wan")
        post.start_daemon()
        large = post.spool / "large"
        line = b"x" * 76 + b"\r\n"
        with post.talk() as client:
            client.hello()
            assert client.message(b"Subject: large\r\n\r\n" + line * 8000 + b".\r\n").code == 250
        for _ in range(3):
            with post.talk() as client:
                client.hello()
                client.envelope()
                count = len(list(large.iterdir()))
                client.send(line * 8000)
                wait_until(lambda: len(list(large.iterdir())) > count, "its file")
        wait_until(lambda: sorted(f.stat().st_size > 0 for f in large.iterdir()) == [False, False, False, True], "empty files")
        post.start_forwarder()
        assert mta.wait_messages(1)[0]["wire"].count(line) == 8000
        wait_until(lambda: not list(large.iterdir()), "an empty folder")
        lab.divert("down", "--iface", "wan")


def redirect_own(lab, address):
    """Somebody else's rule leads what is meant for this host itself into the listener."""
    lab.exec("fw", "nft", "add table ip other; add chain ip other pre { type nat hook prerouting priority -110; }; "
             f"add rule ip other pre iifname wan ip daddr {address} tcp dport 2525 redirect to :2525")


def test_a_loop_is_refused(lab, tmp_path):
    """A destination that is a listener of ours would lead back to us: 421, counted. Also for an address that came later."""
    with Installation(lab, tmp_path, options={"workers": 1}) as post:
        post.start_daemon()
        try:
            redirect_own(lab, lab.LAN4)
            with post.talk(target=lab.LAN4, port=2525) as talk:
                assert talk.greeting.code == 421 and "leads back to itself" in talk.greeting.text and talk.is_closed()
            assert int(post.status()["counters"]["refused_loop"]) == 1
            lab.exec("fw", "ip", "addr", "add", "203.0.113.77/32", "dev", "lan")
            redirect_own(lab, "203.0.113.77")
            post.wait_log("ev=local-addrs")
            with post.talk(target="203.0.113.77", port=2525) as talk:
                assert talk.greeting.code == 421 and "leads back to itself" in talk.greeting.text
            assert int(post.status()["counters"]["refused_loop"]) == 2
        finally:
            lab.exec("fw", "nft", "delete", "table", "ip", "other", check=False)
            lab.exec("fw", "ip", "addr", "del", "203.0.113.77/32", "dev", "lan", check=False)
