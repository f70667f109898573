"""postern on the command line: what it says, what it returns, with and without daemons.  Without the lab; some of it as root."""
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSTERN = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build")) / "bin" / "postern"
ID = "3abcdefghjkmnp"
OK, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3
REQUEST, LINE, BYTES, END = 1, 2, 3, 4


def run(*args, program=POSTERN, text=True):
    return subprocess.run([str(program), *map(str, args)], capture_output=True, text=text, timeout=20, check=False)


def one_line(text):
    return text.startswith("postern: ") and text.count("\n") == 1


# ---- wrong use

@pytest.mark.parametrize("args", [
    [], ["foo"], ["--foo"], ["-x"], ["-f"], ["status", "x"], ["status", "--foo"], ["queue"], ["queue", "foo"], ["queue", "show"],
    ["queue", "show", "not-an-id"], ["queue", "show", ID, ID], ["queue", "delete"], ["queue", "delete", "all"], ["queue", "list", "x"],
    ["queue", "retry", "all", ID], ["queue", "hold", "--from", "x@y", ID], ["queue", "hold", "--all", "--from", "x@y"], ["queue", "hold", "--from"],
    ["queue", "hold", "--from="], ["queue", "list", "--all"], ["queue", "list", "--older", "x"], ["queue", "list", "--larger", "-1"],
    ["queue", "list", "--by", "sender"], ["queue", "stats", "--by", "moon"], ["queue", "show", "--from", "x", ID], ["queue", "hold", "--dry-run"],
    ["queue", "hold", "--dry-run", ID], ["queue", "delete", "--all=yes"], ["-f", "a", "-d", "b", "status"], ["check", "x"], ["-f", "a", "rules", "check"],
])
def test_wrong_use_is_one_line(args):
    done = run(*args)
    assert done.returncode == USAGE and one_line(done.stderr) and not done.stdout, done


@pytest.mark.parametrize("args", [["help"], ["--help"], ["status", "--help"], ["queue", "-h"]])
def test_help(args):
    done = run(*args)
    assert done.returncode == OK and done.stdout.startswith("usage: postern") and not done.stderr


def test_version():
    done = run("--version")
    assert done.returncode == OK and done.stdout.startswith("postern 0.")


@pytest.mark.parametrize("daemon", ["posternd", "posternfwd"])
def test_daemons_have_help_too(daemon):
    for option in ("--help", "-h"):
        done = run(option, program=POSTERN.parent / daemon)
        assert done.returncode == OK and done.stdout.startswith(f"usage: {daemon}") and not done.stderr
    assert run("--version", program=POSTERN.parent / daemon).stdout == run("-V", program=POSTERN.parent / daemon).stdout


def test_full_disk_behind_stdout_is_a_failure():
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([str(POSTERN), "help"], stdout=full, stderr=subprocess.DEVNULL, timeout=20, check=False)
    assert done.returncode == FAILED


# ---- check

def test_check(tmp_path):
    conf, rules = tmp_path / "postern.conf", tmp_path / "rules"
    conf.write_text(f'rules = "{rules}"\nsession-user = nobody\nforward-user = daemon\nlisten "lo" {{ }}\n')
    rules.write_text("allow:ALL:ALL:ALL\n")
    done = run("check", "-f", conf)
    assert done.returncode == OK and not done.stderr, done
    assert run("-f", conf, "check").returncode == OK

    rules.write_text("allow:ALL:ALL\nfoo:ALL:ALL:ALL\nallow:10.0.0.300:ALL:ALL\n")
    done = run("check", "-f", conf)
    assert done.returncode == FAILED
    assert all(f"{rules}:{line}:" in done.stderr for line in (1, 2, 3)), done.stderr

    conf.write_text('listen "lo" { }\nmax-size = 3\n')
    done = run("check", "-f", conf)
    assert done.returncode == FAILED and f"{conf}:2: max-size" in done.stderr

    done = run("check", "-f", tmp_path / "none")
    assert done.returncode == FAILED and "No such file" in done.stderr


def test_check_finds_what_this_host_lacks(tmp_path):
    conf, rules = tmp_path / "postern.conf", tmp_path / "rules"
    rules.write_text("allow:ALL:ALL:ALL\n")
    conf.write_text(f'rules = "{rules}"\nsession-user = "no-such-user"\nlisten "nowhere0" {{ }}\n')
    done = run("check", "-f", conf)
    assert done.returncode == FAILED, "posternd would not start"
    assert "error: session-user" in done.stderr and 'error: listen "nowhere0"' in done.stderr and "would not start" in done.stderr
    assert "tls-ca-file" not in done.stderr and "identity" not in done.stderr
    text = conf.read_text().replace('listen "', f'tls-ca-file = "{tmp_path}/none"\nbounce-tls = "verify"\nlisten "', 1)
    for way, identity in (("sendmail:/bin/true", "xclient"), ("lmtp:/run/lmtp", "spoof")):
        conf.write_text(text.replace("{", f'{{\n forward = "{way}"\n identity = {identity}\n', 1))
        done = run("check", "-f", conf)
        assert f"error: tls-ca-file: {tmp_path}/none" in done.stderr and "warning: listen \"nowhere0\": identity" in done.stderr, done


def test_check_warns_of_what_a_daemon_lives_with(tmp_path):
    conf, rules = tmp_path / "postern.conf", tmp_path / "rules"
    rules.write_text("# none yet\n")
    base = f'rules = "{rules}"\nsession-user = nobody\nforward-user = daemon\n'
    conf.write_text(f'{base}milter = "unix:{tmp_path}/none.sock"\nlisten "lo" {{ forward = "sendmail:{tmp_path}/none" }}\n')
    done = run("check", "-f", conf)
    assert done.returncode == OK
    assert f"warning: milter: {tmp_path}/none.sock: No such file" in done.stderr and f"warning: forward = sendmail:{tmp_path}/none" in done.stderr
    assert f"{rules}: warning: no rule: every recipient gets what no-match" in done.stderr and "0 rules, no errors, 1 warning\n" in done.stdout
    conf.write_text(f'{base}gate-user = no-such-user\ncheck-user = nobody\ncheck-command = "{tmp_path}/none -v"\nlisten "lo" {{ }}\n')
    done = run("check", "-f", conf)
    assert done.returncode == FAILED
    assert "error: gate-user" in done.stderr and f"error: check-command: {tmp_path}/none: No such file" in done.stderr
    conf.write_text(f'{base}filter = "{tmp_path}/none"\nlisten "lo" {{ }}\n')
    done = run("check", "-f", conf)
    assert done.returncode == FAILED and f"content filter: {tmp_path}/none: No such file" in done.stderr and "0 errors" not in done.stderr


# ---- nobody is there

def test_status_without_daemons(tmp_path):
    done = run("-d", tmp_path, "status")
    assert done.returncode == NOT_RUNNING and "posternd does not run" in done.stderr and "posternfwd does not run" in done.stderr
    done = run("status", "--json", "-d", tmp_path)
    assert done.returncode == NOT_RUNNING and not done.stderr
    assert json.loads(done.stdout) == {"daemon": None, "workers": [], "listeners": [], "gate": {}, "milters": [], "counters": {}, "spool": {}, "forwarder": None}


def test_changes_without_forwarder_or_spool(tmp_path):
    for verb in ("delete", "retry", "hold", "release"):
        done = run("-d", tmp_path, "queue", verb, ID)
        assert done.returncode == NOT_RUNNING and one_line(done.stderr) and "does not run" in done.stderr and not done.stdout


def test_no_spool(tmp_path):
    done = run("-d", tmp_path / "none", "queue", "list")
    assert done.returncode == NOT_RUNNING or done.returncode == FAILED
    assert one_line(done.stderr) and not done.stdout


def test_empty_spool_read_from_its_files(tmp_path):
    for name in ("journal", "large", "ack", "queue", "hold", "bad"):
        (tmp_path / name).mkdir()
    done = run("-d", tmp_path, "queue", "list")
    assert done.returncode == NOT_RUNNING and done.stdout == "no mail is waiting\n" and "files" in done.stderr
    done = run("-d", tmp_path, "queue", "list", "--json")
    assert json.loads(done.stdout) == []
    done = run("-d", tmp_path, "queue", "show", ID)
    assert done.returncode == FAILED and f"no message {ID}" in done.stderr and not done.stdout
    link = tmp_path / "smtpd-mailq"
    link.symlink_to(POSTERN.resolve())
    done = run("-d", tmp_path, program=link)
    assert done.stdout == "Mail queue is empty\n"


# ---- a daemon that says what the test wants

class Daemon:
    """Answers each question at a control socket from a table: question -> (packets, err, text)."""

    def __init__(self, path, answers):
        self.answers, self.asked = answers, []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind(str(path))
        self.sock.listen(8)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @staticmethod
    def packet(kind, payload):
        return struct.pack("=II", kind, len(payload)) + payload

    def serve(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            with client:
                data = client.recv(70000)
                if not data:
                    continue
                question = data[8:].decode()
                self.asked.append(question)
                packets, err, text = self.answers.get(question, ([], -3, "what?"))
                for kind, payload in packets:
                    client.send(self.packet(kind, payload))
                client.send(self.packet(END, end_packet(err, text)))

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def end_packet(err, text):
    return struct.pack("=i", err) + text.encode().ljust(END_TEXT, b"\0")


# The last packet has a text of fixed size, that of a struct reason.
END_TEXT = int(re.search(r"#define REASON_CAP (\d+)", (ROOT / "lib/err.h").read_text()).group(1))
HOSTILE = 'from="<\\x1b]0;evil\\x07\\xc2\\x9b@x>"'


def line(text):
    return (LINE, text.encode())


def test_status_of_both(tmp_path):
    daemon = [line('what=daemon version=0.1.0 pid=7 state=running hostname=fw.example.org spool=/s'),
              line("what=worker worker=0 pid=8 state=running restarts=0 sessions=3 forwarder=connected"),
              line("what=worker worker=1 pid=9 state=running restarts=2 sessions=0 forwarder=away"),
              line("what=listener interface=wan family=ipv4 mode=redirect port=2525 trust=untrusted forward=original identity=none"),
              line("what=counters sessions=3 connections=12345"), line("what=spool free_bytes=1073741824 free_inodes=5 min_free_bytes=1024 "
                                                                     "min_free_inodes=1 accepting=yes")]
    forwarder = [line("what=forwarder pid=10 messages=2 delivered=99")]
    with Daemon(tmp_path / "ctl.sock", {"status": (daemon, 0, "")}), Daemon(tmp_path / "fwdctl.sock", {"status": (forwarder, 0, "")}):
        done = run("-d", tmp_path, "status")
        assert done.returncode == OK and not done.stderr
        for text in ("posternd", "fw.example.org", "WORKER", "wan", "12345", "1.0 GiB", "posternfwd", "99"):
            assert text in done.stdout, text
        status = json.loads(run("-d", tmp_path, "status", "--json").stdout)
    assert status["daemon"]["pid"] == 7 and [w["pid"] for w in status["workers"]] == [8, 9]
    assert status["listeners"][0]["port"] == 2525 and status["counters"]["connections"] == 12345
    assert status["spool"]["accepting"] == "yes" and status["forwarder"]["delivered"] == 99


def test_status_of_the_daemon_alone(tmp_path):
    with Daemon(tmp_path / "ctl.sock", {"status": ([line("what=daemon pid=7")], 0, "")}):
        done = run("-d", tmp_path, "status")
        assert done.returncode == OK and one_line(done.stderr) and "posternfwd does not run" in done.stderr
        done = run("-d", tmp_path, "status", "--json")
        assert done.returncode == OK and json.loads(done.stdout)["forwarder"] is None and not done.stderr


def test_status_of_the_forwarder_alone(tmp_path):
    with Daemon(tmp_path / "fwdctl.sock", {"status": ([line("pid=10 messages=2")], 0, "")}):
        done = run("-d", tmp_path, "status")
        assert done.returncode == NOT_RUNNING and "posternd does not run" in done.stderr and "messages" in done.stdout


def test_queue_of_a_forwarder(tmp_path):
    entry = line(f"id={ID} {HOSTILE} rcpts=2 size=2048 age_s=90 state=waiting attempts=3 next_s=60 destination=192.0.2.25:25 "
                 'client=198.51.100.7 error="451 \\x1b[2J later"')
    text = b"Subject: \x1b[31m\r\n\xc3\xa9\n" + bytes(range(256))
    answers = {"queue list": ([entry], 0, ""), f"queue cat {ID}": ([(BYTES, text)], 0, ""),
               f"queue show {ID}": ([line(f"what=message id={ID} size=2048"), line('what=recipient rcpt=<b@x> state=waiting text="451 no"')], 0, ""),
               f"queue delete {ID} ": ([], -5, f"{ID}: no such message"), f"queue retry {ID} {ID} ": ([], 0, ""), "queue retry all": ([], 0, "")}
    with Daemon(tmp_path / "fwdctl.sock", answers) as daemon:
        done = run("-d", tmp_path, "queue", "list", text=False)
        assert done.returncode == OK and ID.encode() in done.stdout
        assert all(c == 10 or 32 <= c < 127 for c in done.stdout), done.stdout
        listed = json.loads(run("-d", tmp_path, "queue", "list", "--json").stdout)
        assert len(listed) == 1 and listed[0]["id"] == ID and listed[0]["size"] == 2048 and listed[0]["next_s"] == 60
        assert json.loads(run("-d", tmp_path, "queue", "show", ID, "--json").stdout) == {
            "message": {"id": ID, "size": 2048}, "recipients": [{"rcpt": "<b@x>", "state": "waiting", "text": "451 no"}]}
        assert "RECIPIENT" in run("-d", tmp_path, "queue", "show", ID).stdout
        assert run("-d", tmp_path, "queue", "cat", ID, text=False).stdout == text
        done = run("-d", tmp_path, "queue", "delete", ID)
        assert done.returncode == FAILED and one_line(done.stderr) and "no such message" in done.stderr
        assert run("-d", tmp_path, "queue", "retry", ID, ID).returncode == OK
        assert run("-d", tmp_path, "queue", "retry", "all").returncode == OK
    assert daemon.asked[-1] == "queue retry all"


def test_many_ids_are_several_questions(tmp_path):
    class Any(dict):
        def get(self, key, default=None):
            return ([], 0, "")
    with Daemon(tmp_path / "fwdctl.sock", Any()) as daemon:
        assert run("-d", tmp_path, "queue", "hold", *[ID] * 1000).returncode == OK
    assert sum(question.count(ID) for question in daemon.asked) == 1000 and all(len(q) <= 4096 for q in daemon.asked)


@pytest.mark.skipif(not shutil.which("script"), reason="no script(1) to make a terminal")
def test_cat_onto_a_terminal_is_harmless(tmp_path):
    with Daemon(tmp_path / "fwdctl.sock", {f"queue cat {ID}": ([(BYTES, b"a\x1b[31m\x9b\xc3\xa9\r\nb\n")], 0, "")}):
        done = subprocess.run(["script", "-qec", f"{POSTERN} -d {tmp_path} queue cat {ID}", "/dev/null"], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=20, check=False)
    assert done.stdout.replace(b"\r\n", b"\n") == b"a\\x1b[31m\\x9b\\xc3\\xa9\nb\n"


def test_a_daemon_that_hangs_up_or_talks_nonsense(tmp_path):
    with Daemon(tmp_path / "ctl.sock", {"status": ([(99, b"?")], 0, "")}):
        done = run("-d", tmp_path, "status")
        assert done.returncode == FAILED and "makes no sense" in done.stderr
