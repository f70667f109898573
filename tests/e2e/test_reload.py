"""Reloading beside sessions: nobody waits for it, nothing is lost by it, and what is in force is the same everywhere."""

import functools
import itertools
import json
import os
import pathlib
import re
import signal
import threading
import time

import pytest

from installation import BUILD, Installation
from netlab import wait_until

ENTRIES = 60_000 if "san" in BUILD.name else 300_000
MANY = 1_000_000

DIVERTED = ("wan",)


@pytest.fixture
def make(lab, tmp_path):
    made = []

    def build(rules, **options):
        options = {"workers": 2, "noto-delay": "0s", "drain-timeout": "20s"} | {k.replace("_", "-"): v for k, v in options.items()}
        post = Installation(lab, tmp_path, rules=rules, options=options)
        made.append(post)
        return post

    yield build
    for post in made:
        post.__exit__()


@functools.cache
def addresses(count):
    return "".join(f"100.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}\n" for i in range(count))


def write_beside(path, entries, *more):
    new = path.with_suffix(".new")
    new.write_text("".join(f"{word}\n" for word in more) + addresses(entries))
    return new


def write_list(path, entries, *more):
    """Written beside and renamed: a reload never sees half of it."""
    write_beside(path, entries, *more).rename(path)


def hup(post):
    os.kill(post.daemon.pid, signal.SIGHUP)


def count(post, event):
    return len(re.findall(rf"\bev={event}\b", post.log()))


def reload(post, event="reloaded"):
    before = count(post, event)
    hup(post)
    wait_until(lambda: count(post, event) > before, f"ev={event}")


def last(post, event, key):
    return re.findall(rf"ev={event} .*\b{key}=(\S+)", post.log())[-1]


def catch_reload(post, path, *words):
    """SIGHUP, and return in the moment in which the master reads; on a quick machine it may take more than one."""
    for attempt in range(20):
        write_list(path, ENTRIES, *words, f"10.0.0.{attempt}")
        hup(post)
        for _ in range(100):
            state = post.status()["daemon"]["reload"]
            if state == "reading":
                return
            if state == "done":
                break
    raise AssertionError("the master was never seen reading")


class Asker(threading.Thread):
    """A session that asks for one recipient after the other: (time, code) of each reply."""

    def __init__(self, post, source):
        super().__init__(daemon=True)
        self.talk = post.talk(source)
        self.replies, self.is_over, self.error = [], False, None

    def run(self):
        try:
            self.talk.hello()
            for number in itertools.count():
                if number % 900 == 0:
                    assert number == 0 or self.talk.say("RSET").code == 250
                    assert self.talk.say("MAIL FROM:<a@b.example>").code == 250
                code = self.talk.say("RCPT TO:<c@protected.example>").code
                self.replies.append((time.monotonic(), code))
                if self.is_over:
                    return
                time.sleep(0.002)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


def test_sessions_go_on_during_a_reload(make, lab):
    path = make("").dir / "list"
    write_list(path, ENTRIES)
    post = make(f"noto:FILE={path}:ALL:ALL:550 5.7.1 listed\nallow:ALL:ALL:ALL\n")
    post.start_daemon()
    askers = [Asker(post, source) for source in (*lab.CLIENTS4, lab.CLIENT4)]
    for asker in askers:
        asker.start()
    wait_until(lambda: all(asker.replies for asker in askers), "every session to be answered")
    write_list(path, ENTRIES, *lab.CLIENTS4)
    begin = time.monotonic()
    reload(post)
    end = time.monotonic()
    # In force: every later question has the new answer.
    for asker in askers:
        seen = len(asker.replies)
        wait_until(lambda: len(asker.replies) > seen + 1 or asker.error, "two more replies")
        assert not asker.error and {code for _, code in asker.replies[seen + 1:]} == {550}
    for asker in askers:
        asker.is_over = True
    for asker in askers:
        asker.join(20)
        codes = [code for _, code in asker.replies]
        # 250 until the new rules came, 550 from then on: no other answer, no way back.
        assert [code for code, _ in itertools.groupby(codes)] == [250, 550], asker.error
        asked = [moment for moment, _ in asker.replies if begin < moment < end]
        assert len(asked) > 10, (len(asked), end - begin)
        asker.talk.close()
    assert "worker-died" not in post.log()


def test_a_changed_list_counts_anew_and_an_unchanged_one_goes_on(make):
    path = make("").dir / "list"
    path.write_text("192.0.2.0/24\n")
    table = path.with_name("table")
    table.write_text("From:spam.example REJECT\n")
    post = make(f"access:{table}\nnoto:FILE={path}:ALL:ALL:550 5.7.1 listed\nallow:ALL:ALL:ALL\n")
    post.start_daemon()

    def ask(sender="a@b.example"):
        with post.talk() as talk:
            talk.hello()
            talk.say(f"MAIL FROM:<{sender}>")
            return talk.say("RCPT TO:<c@protected.example>").code

    def hits():
        return [rule["hits"] for rule in json.loads(post.postern("rules", "stats", "--json").stdout)]

    assert (ask(), ask("a@spam.example"), hits()) == (550, 550, [1, 1, 0])
    # Nothing has changed, and so nothing is compiled.
    read = count(post, "rules-read")
    reload(post)
    assert last(post, "reloaded", "changed") == "no" and count(post, "rules-read") == read and hits() == [1, 1, 0]
    # The same texts under another option: compiled again, and the hits go on.
    post.options["no-match"] = "allow"
    post.write_conf()
    reload(post)
    assert last(post, "reloaded", "changed") == "yes" and ask() == 550 and hits() == [1, 2, 0]
    # The rule file stays as it is; what it names has changed.
    path.write_text("198.51.100.0/24\n10.0.0.0/8\n")
    reload(post)
    assert hits() == [0, 0, 0] and ask() == 250
    assert (last(post, "rules-read", "entries"), last(post, "rules-read", "files")) == ("3", "3")
    table.write_text("From:b.example REJECT\n")
    reload(post)
    assert ask() == 550 and hits() == [1, 0, 0]


def test_two_reloads_never_run_at_once_and_the_last_one_counts(make):
    path = make("").dir / "list"
    write_list(path, ENTRIES)
    post = make(f"noto:FILE={path}:ALL:ALL:550 5.7.1 listed\nallow:ALL:ALL:ALL\n")
    post.start_daemon()
    new = write_beside(path.with_name("other"), ENTRIES, "192.0.2.0/24")
    catch_reload(post, path, "203.0.113.1")
    # While the master reads, it answers, and more signals make one more reload.
    read = count(post, "rules-read")
    new.rename(path)
    for _ in range(5):
        hup(post)
        time.sleep(0.001)
    wait_until(lambda: count(post, "rules-read") > read and post.status()["daemon"]["reload"] == "done", "the last reload")
    assert count(post, "rules-read") <= read + 2
    assert all(worker["rules"] == "current" for worker in post.status()["workers"])
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        assert talk.say("RCPT TO:<c@protected.example>").code == 550
    # One that fails leaves the last good one in force, everywhere.
    post.rules_path.write_text("nonsense\n")
    reload(post, "reload-failed")
    assert post.status()["daemon"]["reload"] == "failed"


def test_a_worker_that_dies_during_a_reload(make):
    path = make("").dir / "list"
    write_list(path, ENTRIES)
    post = make(f"noto:FILE={path}:ALL:ALL:550 5.7.1 listed\nallow:ALL:ALL:ALL\n")
    post.start_daemon()
    workers = post.worker_pids()
    catch_reload(post, path, "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
    before = count(post, "reloaded")
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: count(post, "reloaded") > before, "the reload")
    wait_until(lambda: [w["rules"] for w in post.status()["workers"]] == ["current", "current"], "both workers to have the new rules")
    for source in post.lab.CLIENTS4:
        with post.talk(source) as talk:
            talk.hello()
            talk.say("MAIL FROM:<a@b.example>")
            assert talk.say("RCPT TO:<c@protected.example>").code == 550
    # The master did not wait for its own job.
    assert post.log().index("worker-died") < post.log().rindex("ev=reloaded")


def test_a_stop_during_a_reload(make):
    path = make("").dir / "list"
    write_list(path, ENTRIES)
    post = make(f"noto:FILE={path}:ALL:ALL:550 5.7.1 listed\nallow:ALL:ALL:ALL\n")
    post.start_daemon()
    with post.talk() as talk:
        talk.hello()
        talk.envelope()
        catch_reload(post, path, "192.0.2.0/24")
        before = count(post, "reloaded")
        os.kill(post.daemon.pid, signal.SIGTERM)
        post.wait_log("ev=stopping")
        hup(post)
        talk.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert talk.reply().code == 250
    assert post.daemon.wait(30) == 0
    assert count(post, "reload-dropped") == 1 and count(post, "reloaded") == before and "killed" not in post.log()


def test_a_worker_that_hangs_gets_its_rules_later(make):
    post = make("allow:ALL:ALL:ALL\n", workers=1)
    post.start_daemon()
    worker, = post.worker_pids()
    with post.talk() as talk:
        talk.hello()
        talk.say("MAIL FROM:<a@b.example>")
        os.kill(worker, signal.SIGSTOP)
        try:
            # Until its socket is full, and what the master keeps for it.
            for number in range(1000):
                post.rules_path.write_text(f"noto:ALL:ALL:ALL:550 5.7.1 rules {number}\n")
                read = count(post, "rules-read")
                hup(post)
                wait_until(lambda: count(post, "rules-read") > read, "the rules to be read", pause_s=0.001)
                if count(post, "worker-hangs"):
                    break
            else:
                raise AssertionError("the master keeps whatever it cannot send")
            post.options["max-size"] = "1M"
            post.write_conf()
            hung = count(post, "worker-hangs")
            hup(post)
            # The rules are the same, only the configuration is sent, and does not arrive.
            wait_until(lambda: count(post, "worker-hangs") > hung, "the last reload to be handed out")
            assert post.status()["daemon"]["reload"] == "handing-out"
            assert post.status()["workers"][0]["rules"] == "old" and count(post, "reloaded") == 0
        finally:
            os.kill(worker, signal.SIGCONT)
        post.wait_log("ev=reloaded")
        assert talk.say("RCPT TO:<c@protected.example>") == (550, f"5.7.1 rules {number}")
        assert "SIZE 1048576" in talk.hello().text
    assert "worker-died" not in post.log()


def test_warnings_are_logged_at_the_start_and_at_a_reload(make):
    rules = "deny:10.0.0.0/8:ALL:ALL\n" + "".join(f"deny:10.0.{i}.1:ALL:ALL\n" for i in range(50)) + "allow:ALL:ALL:ALL\n"
    post = make(rules)
    post.start_daemon()
    log = post.log()
    shown = re.findall(rf'warn: ev=rules msg="{post.rules_path}:(\d+):1: warning: this rule never matches', log)
    assert shown == [str(line) for line in range(2, 22)]
    assert "30 more warnings" in log and log.index("more warnings") < log.index("ev=ready")
    assert (last(post, "rules-read", "count"), last(post, "rules-read", "warnings")) == ("52", "50")
    post.rules_path.write_text("allow:ALL:ALL:ALL\nnoto:ALL:ALL:ALL\n")
    reload(post)
    assert f"{post.rules_path}:2:1: warning: this rule never matches: all that it could is taken by line 1" in post.log()
    assert count(post, "rules-read") == 2


def own_memory_kib(pid):
    return int(re.search(r"^RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


@pytest.mark.skipif("san" in BUILD.name, reason="the sanitizer keeps what is freed")
def test_memory_comes_back(make):
    path = make("").dir / "list"
    path.write_text("10.0.0.1\n")
    post = make(f"noto:FILE={path}:ALL:ALL:550 5.7.1 listed\nallow:ALL:ALL:ALL\n")
    post.start_daemon()
    pids = [post.daemon.pid, *post.worker_pids()]
    before = [own_memory_kib(pid) for pid in pids]
    for number in range(4):
        write_list(path, MANY, f"10.0.0.{number + 2}")
        reload(post)
    # Workers give the old list back in a job; the master needs none of it. For each thread of the jobs malloc keeps a MiB or two.
    kept_kib, list_kib = 8192, MANY * 8 / 1024

    def settles(factor):
        return all(own_memory_kib(pid) < base + kept_kib + factor * list_kib for pid, base in zip(pids[1:], before[1:])) and \
            own_memory_kib(pids[0]) < before[0] + kept_kib

    wait_until(lambda: settles(1), "one list to be left", limit_s=5)
    path.write_text("10.0.0.1\n")
    reload(post)
    wait_until(lambda: settles(0), "no list to be left", limit_s=5)
