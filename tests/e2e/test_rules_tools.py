"""Access tables, dry runs, hits and replay in a running daemon; the same log judged again under another file."""
import json
import os
import signal
import subprocess

import pytest

from installation import Installation, Talk

POSTERN = os.path.join(os.environ.get("POSTERN_BUILD", "build"), "bin", "postern")

DIVERTED = ("wan",)


@pytest.fixture
def posternd(lab, tmp_path):
    running = []

    def start(rules, **files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        post = Installation(lab, tmp_path, rules=rules)
        running.append(post)
        post.start_daemon()
        return post

    yield start
    for post in running:
        post.__exit__()


def ask(post, to, sender="a@sender.example", source=None):
    lab = post.lab
    source = source or lab.CLIENT4
    target = lab.MTA6 if ":" in source else lab.MTA4
    with Talk(lab.connect("inet", (source, 0), (target, 25), timeout=20)) as talk:
        talk.say("EHLO client.example.net")
        talk.say(f"MAIL FROM:<{sender}>")
        return talk.say(f"RCPT TO:<{to}>")


def hits(post):
    return {rule["line"]: rule["hits"] for rule in json.loads(post.postern("rules", "stats", "--json").stdout)}


def test_access_table(posternd):
    post = posternd("access:table\nnoto:ALL:ALL:ALL:551 no entry\n",
                    table='192.0.2\tRELAY\nFrom:spam.example\t"503 crabs"\nIPv6:2001:db8:1 550 5.7.9 not by six\nTo:off@ REJECT\n')
    assert ask(post, "x@y.example").code == 250
    assert ask(post, "x@y.example", sender="a@b.spam.example").text.endswith("crabs")
    assert ask(post, "off@y.example").code == 550
    assert "not by six" in ask(post, "x@y.example", source=post.lab.CLIENT6).text
    assert ask(post, "x@y.example", source="198.51.100.7").text.endswith("no entry")


def test_dry_run_hits_and_reload(posternd):
    post = posternd("dry-run noto:ALL:ALL:dry@ALL:550 dry\ndebug:ALL:ALL:ALL\nnoto:ALL:ALL:no@ALL:550 no\nallow:ALL:ALL:ALL\n")
    assert ask(post, "dry@y.example").code == 250
    assert ask(post, "no@y.example").code == 550
    post.wait_log(r'ev=rule-dry-run verdict=noto rule=1 .*reply="550 5.7.1 dry"')
    assert hits(post) == {1: 1, 2: 2, 3: 1, 4: 1}
    assert "HITS" in post.postern("rules", "stats").stdout
    # A worker that dies takes no numbers with it.
    for pid in post.worker_pids():
        os.kill(pid, signal.SIGKILL)
    post.wait_log("ev=worker-died")
    post.wait_log(r"(?s)ev=worker-died.*ev=worker-ready")
    assert hits(post)[2] == 2
    # The same file goes on counting, another one begins anew.
    post.daemon.send_signal(signal.SIGHUP)
    post.wait_log("ev=reloaded")
    assert hits(post)[2] == 2
    post.rules_path.write_text("allow:ALL:ALL:ALL\n")
    post.daemon.send_signal(signal.SIGHUP)
    post.wait_log(r"(?s)ev=reloaded.*ev=reloaded")
    assert hits(post) == {1: 0}


def replay(tmp_path, rules, log, *more):
    path = tmp_path / "new-rules"
    path.write_text(rules)
    done = subprocess.run([POSTERN, "rules", "replay", "--rules", str(path), "--json", *more, str(log)], capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout)


def test_replay(posternd, tmp_path):
    rules = "noto:ALL:*@spam.example:ALL:550 spam\nallow:192.0.2.0/24:ALL:ALL\n"
    post = posternd(rules)
    ask(post, "x@y.example")
    ask(post, "x@y.example", sender="a@spam.example")
    post.wait_log(r"ev=rcpt verdict=noto")
    log = tmp_path / "log"
    log.write_text("".join("Nov 21 05:00:00 host posternd[1]: " + line for line in post.log().splitlines(keepends=True)))
    code, same = replay(tmp_path, rules, log)
    assert code == 0 and same["decisions"] == 2 and same["changed"] == 0
    code, other = replay(tmp_path, "allow:192.0.2.0/24 EXCEPT DST=[::]/0:ALL:ALL\n", log)
    assert code == 1 and other["changed"] == 1
    assert other["changes"][0]["old"] == {"verdict": "noto", "line": 1} and other["changes"][0]["new"]["verdict"] == "allow"
    code, unknown = replay(tmp_path, "noto:RBL.list.example:ALL:ALL\n" + rules, log)
    assert (code, unknown["changed"], unknown["open"]) == (0, 0, 2)


def test_replay_usage(tmp_path):
    run = lambda *args: subprocess.run([POSTERN, "rules", "replay", *args], capture_output=True, text=True, timeout=20).returncode
    assert run() == 2 and run("--rules", "/none", "/dev/null") == 2
    (tmp_path / "r").write_text("allow:ALL:ALL:ALL\n")
    assert run("--rules", str(tmp_path / "r"), "/dev/null") == 0
    assert run("--rules", str(tmp_path / "r"), "/none") == 1
