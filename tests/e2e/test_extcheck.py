"""The external checker (allow-extchk): the command as it is run, each outcome, each time-out, and what it may do to the message."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from installation import BUILD, Installation, Recorder, without_received
from netlab import wait_until

CHECK_UID = 64985
SMALL = b"Subject: small\r\n\r\n..dot\r\nHello.\r\n.\r\n"
RULES = "allow:ALL:ALL:free@ALL\nallow-extchk:ALL:ALL:ALL\n"

DIVERTED = ("wan",)


class Checked:
    """An installation with a check command, a shell script of the test's."""

    def __init__(self, lab, directory, script, rules=RULES, **options):
        self.dir = directory
        self.program = directory / "check"
        self.out = directory / "out"
        self.out.mkdir()
        self.out.chmod(0o777)
        self.place = directory / "place"
        self.place.mkdir(mode=0o700)
        os.chown(self.place, CHECK_UID, CHECK_UID)
        self.write(script)
        options = {"check-command": self.program, "check-user": CHECK_UID, "check-dir": self.place,
                   **{k.replace("_", "-"): v for k, v in options.items()}}
        self.post = Installation(lab, directory, rules=rules, options=options)

    def write(self, script):
        new = self.dir / "check.new"
        new.write_text("#!/bin/sh\nOUT=" + str(self.out) + "\n" + script)
        new.chmod(0o755)
        new.rename(self.program)

    def says(self, name):
        return (self.out / name).read_text()

    def leftovers(self):
        return list(self.place.iterdir())

    def wait_clean(self):
        wait_until(lambda: not self.leftovers(), "no file left of a check")

    def checker_pid(self):
        return int(self.post.status()["checker"]["pid"])

    def counters(self):
        return self.post.status()["counters"]


@pytest.fixture
def checked(lab, tmp_path):
    made = []

    def start(script, forwarder=False, **options):
        c = Checked(lab, tmp_path, script, **options)
        made.append(c)
        c.post.start() if forwarder else c.post.start_daemon()
        return c

    yield start
    for c in made:
        c.post.__exit__()


def send(post, wire=SMALL, sender="a@sender.example", *recipients):
    with post.talk() as talk:
        talk.hello()
        return talk.message(wire, sender, *recipients)


def make_jail(directory, *programs):
    """Enough of a system for these programs: themselves and their libraries."""
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for path in [program, *re.findall(r"(/\S+)", said)]:
            target = directory / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(path, target)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# ---- how it is run

def test_what_the_command_sees(checked, lab):
    c = checked('printf "%s\\n" "$0" "$@" >$OUT/args; cat "$2" >$OUT/text; env >$OUT/env; ls -l /proc/self/fd >$OUT/fd; id -u >$OUT/uid\n'
                'grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/self/status >$OUT/status; ulimit -c >$OUT/core; ulimit -n >>$OUT/core; cat >$OUT/stdin; ls -la "$TMPDIR" >$OUT/dir\n'
                'ps -o pid=,pgid=,sid= -p $$ >$OUT/group\n')
    reply = send(c.post, SMALL, "a@sender.example", "-x@protected.example", "b@protected.example", '"$(id) `id`;"@protected.example')
    assert reply.code == 250, (reply, c.post.log())
    args = c.says("args").splitlines()
    assert args[0] == str(c.program) and args[1] == "-s" and args[3:8] == ["-a", lab.CLIENT4, "-f", "<a@sender.example>", "-t"], args
    assert args[8:] == ["3", "<-x@protected.example>", "<b@protected.example>", '<"$(id) `id`;"@protected.example>']
    assert re.fullmatch(str(c.place) + "/[0-9a-f]{16}/message", args[2])
    text = c.says("text")
    assert text.startswith("Received: from ") and text.endswith("\nSubject: small\n\n.dot\nHello.\n") and "\r" not in text
    assert c.says("uid") == f"{CHECK_UID}\n" and c.says("stdin") == "" and c.says("core") == "0\n1024\n"
    environment = dict(line.split("=", 1) for line in c.says("env").splitlines())
    assert set(environment) - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "LC_ALL", "TMPDIR"} and environment["TMPDIR"] == args[2].rpartition("/")[0]
    descriptors = {line.split()[-3]: line.split()[-1] for line in c.says("fd").splitlines() if "->" in line}
    # ls has its listing, and the directory that it reads.
    assert set(descriptors) - {"0", "1", "2"} <= {"3"} and descriptors["0"] == "/dev/null", descriptors
    status = dict(line.split(":\t") for line in c.says("status").splitlines())
    assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
    pid, group, session = c.says("group").split()
    assert pid == group == session
    c.wait_clean()
    assert c.counters()["extcheck_accepted"] == 1 and c.counters()["extchecks"] == 0


def test_only_where_a_rule_asks_for_it(checked):
    c = checked("exit 1\n")
    assert send(c.post, SMALL, "a@sender.example", "free@protected.example").code == 250
    assert send(c.post, SMALL, "a@sender.example", "free@protected.example", "b@protected.example").code == 552


@pytest.mark.parametrize("script, code, enhanced, result", [
    ("exit 0", 250, "2.0.0", "accept"),
    ("echo; echo 'a virus \"x\"' >&2; exit 1", 552, "5.7.1", "reject"),
    ("exit 2", 451, "4.7.1", "retry"),
    ("exit 255", 451, "4.7.1", "retry"),
    ("kill -9 $$", 451, "4.3.0", "killed"),
    ("kill -SEGV $$", 451, "4.3.0", "killed"),
    ("rm $2", 451, "4.3.0", "failed"),
    (": >$2", 451, "4.3.0", "failed"),
    ("rm $2; ln -s /etc/passwd $2", 451, "4.3.0", "failed"),
    ("rm $2; mkdir $2; touch $2/x", 451, "4.3.0", "failed"),
    ("rm $2; mkfifo $2", 451, "4.3.0", "failed"),
    ("printf 'a\\0b' >>$2", 451, "4.3.0", "failed"),
    ("head -c 300000 /dev/zero | tr '\\0' x >>$2", 451, "4.3.0", "failed"),
])
def test_outcomes(checked, script, code, enhanced, result):
    c = checked(script + "\n", max_size="100K")
    with c.post.talk() as talk:
        talk.hello()
        reply = talk.message(SMALL)
        assert reply.code == code and reply.text.startswith(enhanced), reply
        assert talk.say("NOOP").code == 250
    c.post.wait_log(f"ev=extcheck .*result={result} ")
    if result == "reject":
        assert re.search(r'exit=1 .*out="a virus \\"x\\""', c.post.log())
    c.wait_clean()


def test_in_a_chroot(lab, tmp_path):
    """The command sees nothing but the chroot, where only what was put there works."""
    jail = tmp_path / "jail"
    make_jail(jail, "/bin/sh", "/bin/cat", "/bin/ls")
    (jail / "out").mkdir()
    (jail / "out").chmod(0o777)
    program = jail / "check"
    program.write_text('#!/bin/sh\nls / >/out/root; echo "$2" >/out/file; echo more >>$2; exec cat >/out/stdin\n')
    program.chmod(0o755)
    with Checked(lab, tmp_path, "exit 1\n", check_command="/check", check_chroot=jail, check_dir="/messages").post as post, \
            Recorder(lab, lab.MTA4) as mta:
        post.start()
        assert send(post).code == 250, post.log()
        assert mta.wait_messages(1)[0]["wire"].endswith(b"Hello.\r\nmore\r\n.\r\n")
    assert set((jail / "out" / "root").read_text().split()) == {path.name for path in jail.iterdir()}
    assert re.fullmatch("/messages/[0-9a-f]{16}/message\n", (jail / "out" / "file").read_text())
    assert (jail / "messages").stat().st_uid == CHECK_UID


# ---- what it changes

def big_text(size):
    line = b"0123456789" * 7 + b"\r\n"
    return b"Subject: big\r\n\r\n" + line * (size // len(line)) + b"..dot\r\n.\r\n"


@pytest.mark.parametrize("size", [100, 600_000], ids=["small", "large"])
@pytest.mark.parametrize("script, change", [
    ("printf '%s\\n.\\n' '.disclaimer' >>$2", lambda body: body[:-3] + b"..disclaimer\r\n..\r\n.\r\n"),
    ("sed 's/^Subject:/X-Seen: yes\\n&/' $2 >$TMPDIR/new && mv $TMPDIR/new $2", lambda body: b"X-Seen: yes\r\n" + body),
    ("sed -i 's/$/\\r/' $2", lambda body: body),
    ("printf 'no line end' >>$2", lambda body: body[:-3] + b"no line end\r\n.\r\n"),
    ("cat $2 >$2.same && mv $2.same $2", lambda body: body),
], ids=["appended", "renamed", "crlf", "no-end", "same"])
def test_a_changed_message_is_what_goes_on(checked, lab, size, script, change):
    body = big_text(size)
    with Recorder(lab, lab.MTA4) as mta:
        c = checked(script + "\n", forwarder=True)
        assert send(c.post, body).code == 250, c.post.log()
        wire = mta.wait_messages(1)[0]["wire"]
        assert without_received(wire) == change(body)
    is_changed = "same" not in script
    assert c.counters()["extcheck_changed"] == (1 if is_changed else 0)
    assert ("changed_size=" in c.post.log()) == is_changed
    c.post.wait_log(rf"ev=stored .*size={len(change(body)) - 3}\b")  # without the final dot line
    c.wait_clean()


# ---- time

def test_the_time_out_ends_all_of_it(checked):
    c = checked("echo $$ >$OUT/pids; sleep 1000 & echo $! >>$OUT/pids; (setsid sh -c 'echo $$ >>'$OUT'/pids; exec sleep 1000' &) ; echo begun; wait\n", check_timeout=2)
    with c.post.talk() as talk:
        talk.hello()
        reply = talk.message(SMALL)
        assert reply.code == 451 and reply.text.startswith("4.3.0"), reply
        assert talk.say("NOOP").code == 250
    c.post.wait_log("ev=extcheck .*result=timeout .*out=begun")
    pids = [int(pid) for pid in c.says("pids").split()]
    assert len(pids) == 3
    wait_until(lambda: not any(map(is_alive, pids)), "every process of the command to end")
    c.wait_clean()
    assert c.counters()["extcheck_timeout"] == 1


def test_what_outlives_the_command_delays_nobody_and_dies(checked):
    """A child in the background that keeps the output open, one in a session of its own."""
    c = checked("sleep 1000 & echo $! >>$OUT/pids; setsid sh -c 'echo $$ >>'$OUT'/pids; exec sleep 1000' & sleep 0.3; exit 0\n", check_timeout=60)
    begin = time.monotonic()
    assert send(c.post).code == 250
    assert time.monotonic() - begin < 50  # not until the time-out
    pids = [int(pid) for pid in c.says("pids").split()]
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)), "every process of the command to end")
    c.wait_clean()


def test_a_session_that_is_cut_off_ends_its_command(checked):
    c = checked("echo $$ >$OUT/pid; exec sleep 1000\n", check_timeout=200, drain_timeout=1)
    with c.post.talk() as talk:
        talk.hello()
        talk.envelope()
        talk.send(SMALL)
        wait_until(lambda: (c.out / "pid").exists() and c.says("pid"), "the command to run")
        pid = int(c.says("pid"))
        c.post.daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the command to end")
        assert talk.is_closed()


# ---- many

def test_a_line_of_waiting_messages(checked):
    """Four at once and no more; everybody gets his turn."""
    c = checked("mkdir $OUT/run.$$; ls -d $OUT/run.* | wc -l >>$OUT/count; sleep 0.3; rmdir $OUT/run.$$\n", check_jobs=4, max_client_connections=0)
    talks = [c.post.talk() for _ in range(20)]
    try:
        for talk in talks:
            talk.hello()
            talk.envelope()
        for talk in talks:
            talk.send(SMALL)
        assert [talk.reply().code for talk in talks] == [250] * 20
    finally:
        for talk in talks:
            talk.close()
    counts = [int(n) for n in c.says("count").split()]
    assert len(counts) == 20 and 1 < max(counts) <= 4
    c.wait_clean()


def test_a_line_that_is_full(checked):
    """One runs, 100 wait; who comes then is told so at once."""
    c = checked("while [ ! -e $OUT/go ]; do sleep 0.05; done\n", check_jobs=1, check_timeout=60, max_client_connections=0, client_connection_rate=0)
    talks = [c.post.talk() for _ in range(103)]
    try:
        for talk in talks:
            talk.hello()
            talk.envelope()
        for talk in talks:
            talk.send(SMALL)
        wait_until(lambda: c.counters()["extcheck_busy"] >= 2, "two to be turned away")
        (c.out / "go").touch()
        codes = [talk.reply().code for talk in talks]
    finally:
        for talk in talks:
            talk.close()
    assert codes.count(451) == 2 and codes.count(250) == 101
    c.wait_clean()


def test_who_waits_too_long_in_line(checked):
    c = checked("sleep 1000\n", check_jobs=1, check_timeout=2)
    with c.post.talk() as first, c.post.talk() as second:
        for talk in (first, second):
            talk.hello()
            talk.envelope()
            talk.send(SMALL)
        replies = sorted([first.reply(), second.reply()], key=lambda reply: reply.text)
    assert [reply.code for reply in replies] == [451, 451]
    c.post.wait_log("result=timeout")
    c.wait_clean()


def say_recipients(talk, recipients):
    """In pieces: replies must not fill the pipe."""
    talk.say("MAIL FROM:<>")
    for i in range(0, len(recipients), 50):
        talk.send("".join(f"RCPT TO:<{r}>\r\n" for r in recipients[i:i + 50]))
        assert {talk.reply().code for _ in range(50)} == {250}


def test_a_thousand_recipients(checked):
    c = checked('shift 8; echo $# >$OUT/count; echo "$1 $(eval echo \\${1000})" >$OUT/ends\n')
    recipients = [f"r{i}.{'x' * 40}@{'y' * 50}.example" for i in range(1000)]
    with c.post.talk() as talk:
        talk.hello()
        say_recipients(talk, recipients)
        assert talk.say("DATA").code == 354
        talk.send(SMALL)
        assert talk.reply().code == 250
    assert c.says("count") == "1000\n"


# ---- the process

def test_a_checker_that_is_killed(checked):
    """The client hears 451 and goes on; the next message meets a new checker, which has cleaned up."""
    c = checked("echo $$ >>$OUT/pids; [ -e $OUT/go ] || exec sleep 1000\n", check_timeout=200)
    before = c.checker_pid()
    with c.post.talk() as talk:
        talk.hello()
        talk.envelope()
        talk.send(SMALL)
        wait_until(lambda: (c.out / "pids").exists() and c.says("pids"), "the command to run")
        os.kill(before, signal.SIGKILL)
        reply = talk.reply()
        assert reply.code == 451 and reply.text.startswith("4.3.0"), reply
        pid = int(c.says("pids"))
        wait_until(lambda: not is_alive(pid), "its command to end")
        (c.out / "go").touch()
        wait_until(lambda: c.post.status()["checker"]["state"] == "running" and c.checker_pid() != before, "a new checker")
        c.wait_clean()
        wait_until(lambda: talk.message(SMALL).code == 250, "a message to pass again")
    c.post.wait_log("ev=checker-died .*signal=Killed")
    assert int(c.post.status()["checker"]["restarts"]) == 1


def test_a_worker_that_is_killed_ends_its_commands(checked):
    c = checked("echo $$ >>$OUT/pids; [ -e $OUT/go ] || exec sleep 1000\n", check_timeout=200, workers=1)
    with c.post.talk() as talk:
        talk.hello()
        talk.envelope()
        talk.send(SMALL)
        wait_until(lambda: (c.out / "pids").exists() and c.says("pids"), "the command to run")
        worker = c.post.worker_pids()[0]
        os.kill(worker, signal.SIGKILL)
        pid = int(c.says("pids"))
        wait_until(lambda: not is_alive(pid), "its command to end")
    (c.out / "go").touch()
    wait_until(lambda: c.post.status()["workers"][0]["state"] == "running", "a new worker")
    assert send(c.post).code == 250
    c.wait_clean()


def test_a_stop_lets_a_check_finish(checked):
    c = checked("echo x >$OUT/begun; while [ ! -e $OUT/go ]; do sleep 0.05; done\n")
    with c.post.talk() as talk:
        talk.hello()
        talk.envelope()
        talk.send(SMALL)
        wait_until((c.out / "begun").exists, "the command to run")
        checker = c.checker_pid()
        c.post.daemon.send_signal(signal.SIGTERM)
        c.post.wait_log("ev=stopping")
        (c.out / "go").touch()
        assert talk.reply().code == 250
    c.post.daemon.wait(timeout=45)
    wait_until(lambda: not is_alive(checker), "the checker to end")
    assert c.post.daemon.returncode == 0


def test_a_checker_outlives_its_master_for_what_is_under_way(checked):
    c = checked("echo x >$OUT/begun; while [ ! -e $OUT/go ]; do sleep 0.05; done\n")
    with c.post.talk() as talk:
        talk.hello()
        talk.envelope()
        talk.send(SMALL)
        wait_until((c.out / "begun").exists, "the command to run")
        checker = c.checker_pid()
        c.post.daemon.kill()
        c.post.daemon.wait(timeout=20)
        (c.out / "go").touch()
        assert talk.reply().code == 250
    wait_until(lambda: not is_alive(checker), "the checker to end", limit_s=60)


def test_a_reload_changes_command_and_time(checked):
    c = checked("exit 1\n")
    assert send(c.post).code == 552
    other = c.dir / "other"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(0o755)
    c.post.options["check-command"] = f"{other} with words"
    c.post.write_conf()
    c.post.daemon.send_signal(signal.SIGHUP)
    c.post.wait_log("ev=reloaded")
    assert send(c.post).code == 451
    c.post.options["check-dir"] = "/elsewhere"
    c.post.write_conf()
    c.post.daemon.send_signal(signal.SIGHUP)
    c.post.wait_log("ev=reload-failed .*check-dir needs a restart")


# ---- what is wrong

def test_a_program_that_goes_away(checked):
    c = checked("exit 0\n")
    c.program.unlink()
    assert send(c.post).code == 451
    c.post.wait_log('result=failed .*out="the command can.t be run: No such file')
    c.write("exit 0\n")
    assert send(c.post).code == 250


def test_a_program_without_its_interpreter(checked):
    c = checked("exit 0\n")
    c.program.write_text("#!/nonexistent/interpreter\n")
    assert send(c.post).code == 451
    c.post.wait_log('result=failed .*out="the command can.t be run: No such file or directory: the program is there, its interpreter or loader is not')


def test_a_chroot_without_a_library(lab, tmp_path):
    """The message waits, and the log has the loader's own words as an error."""
    jail = tmp_path / "jail"
    make_jail(jail, "/bin/ls")
    [library] = [path for path in jail.rglob("libselinux*")]
    library.unlink()
    with Checked(lab, tmp_path, "exit 1\n", check_command="/bin/ls", check_chroot=jail, check_dir="/messages").post as post:
        post.start_daemon()
        assert send(post).code == 451
        post.wait_log("ev=extcheck-trouble .*status 127.*libselinux")


def test_a_full_disk(checked):
    """The command fills the disk that messages lie on: they wait, and go through when there is room again."""
    c = checked("case $(cat $2) in *fill*) head -c 3000000 /dev/zero >${2%/*/*}/junk;; esac; exit 0\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,uid={CHECK_UID},gid={CHECK_UID},mode=700", "none", str(c.place)], check=True)
    try:
        c.post.stop(c.post.daemon)
        c.post.start_daemon()
        assert send(c.post, b"Subject: fill\r\n\r\n.\r\n").code == 250
        assert send(c.post, big_text(50000)).code == 451
        c.post.wait_log("ev=extcheck-trouble .*(No space left|no-space)")
        (c.place / "junk").unlink()
        assert send(c.post).code == 250
        c.wait_clean()
    finally:
        c.post.stop(c.post.daemon)
        subprocess.run(["umount", "-l", str(c.place)], check=True)


def test_a_directory_that_was_exchanged(checked):
    """For a symlink, a file, another directory: nothing is left, and what a link names is left alone."""
    c = checked("echo kept >$OUT/kept; d=${2%/message}; mv $d $d.moved; cp -r $d.moved/message $OUT/; rm -rf $d.moved; "
                "case $(cat $OUT/message) in *link*) ln -s $OUT $d;; *file*) echo x >$d;; *) mkdir -p $d/a/b; ln -s $OUT $d/a/b/c;; esac; exit 1\n")
    (c.out / "kept").unlink(missing_ok=True)
    for what in (b"link", b"file", b"tree"):
        assert send(c.post, b"Subject: " + what + b"\r\n\r\n.\r\n").code == 552
        c.wait_clean()
        assert c.says("kept") == "kept\n"


def test_a_reload_in_the_middle_of_a_check(checked):
    """What runs is judged by the command it began with."""
    c = checked("touch $OUT/begun; while [ ! -e $OUT/go ]; do sleep 0.05; done; exit 0\n", check_timeout=200)
    with c.post.talk() as talk:
        talk.hello()
        talk.envelope()
        talk.send(SMALL)
        wait_until(lambda: (c.out / "begun").exists(), "the command to run")
        other = c.dir / "other"
        other.write_text("#!/bin/sh\nexit 1\n")
        other.chmod(0o755)
        c.post.options["check-command"] = other
        c.post.write_conf()
        c.post.daemon.send_signal(signal.SIGHUP)
        c.post.wait_log("ev=reloaded")
        assert send(c.post).code == 552
        (c.out / "go").touch()
        assert talk.reply().code == 250


def test_more_arguments_than_the_system_takes(lab, tmp_path):
    """A quarter of the stack limit is what Linux takes: the message waits, and the log says why."""
    c = Checked(lab, tmp_path, "exit 0\n")
    c.post.prefix = ["prlimit", "--stack=600000"]
    with c.post as post:
        post.start_daemon()
        recipients = [f"{'x' * 60}{i}@{'y' * 60}.{'z' * 60}.example" for i in range(1000)]
        with post.talk() as talk:
            talk.hello()
            say_recipients(talk, recipients)
            assert talk.say("DATA").code == 354
            talk.send(SMALL)
            assert talk.reply().code == 451
            assert talk.message(SMALL).code == 250
        post.wait_log('result=failed .*out="the command can.t be run: Argument list too long')


@pytest.mark.parametrize("options, complaint", [
    ({"check-command": "/nonexistent/program"}, "check-command: /nonexistent/program: No such file or directory"),
    ({"check-command": "/etc/passwd"}, f"check-command: /etc/passwd: no program that uid {CHECK_UID} may run"),
    ({"check-command": "relative"}, "expected a program with its path"),
    ({"check-command": "/bin/sh -c 'exit 0'"}, "is run without a shell"),
    ({"check-dir": "/etc"}, "check-dir .*: /etc: must belong to uid"),
    ({"check-dir": "/nonexistent/place"}, "check-dir .*: /nonexistent/place can't be made"),
    ({"check-chroot": "/nonexistent"}, "check-chroot: /nonexistent: No such file or directory"),
    ({"check-user": "nobody-of-that-name"}, "check-user: there is no user 'nobody-of-that-name'"),
    ({"check-user": "root"}, "check-user: user 'root' is root"),
    ({"check-timeout": "1h"}, "check-timeout = '1h': expected a time"),
    ({"check-jobs": "0"}, "check-jobs = '0': expected a number from 1 to 100"),
])
def test_bad_starts(lab, tmp_path, options, complaint):
    c = Checked(lab, tmp_path, "exit 0\n")
    c.post.options.update(options)
    c.post.write_conf()
    done = c.post.run("posternd", "-f", c.post.conf_path, timeout=30)
    assert done.returncode == 1 and re.search(complaint, done.stdout), done.stdout


def test_a_place_is_made_where_only_root_can_interfere(lab, tmp_path):
    place = pathlib.Path("/var/spool") / f"postern-check-test-{os.getpid()}"
    c = Checked(lab, tmp_path, "exit 0\n")
    c.post.options["check-dir"] = place
    c.post.write_conf()
    try:
        with c.post:
            c.post.start_daemon()
            assert send(c.post).code == 250
            st = place.stat()
            assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (CHECK_UID, CHECK_UID, 0o700)
    finally:
        place.rmdir()


def test_without_a_command_a_rule_that_asks_for_one_is_put_off(lab, tmp_path):
    c = Checked(lab, tmp_path, "exit 0\n")
    del c.post.options["check-command"]
    c.post.write_conf()
    with c.post:
        c.post.start_daemon()
        with c.post.talk() as talk:
            talk.hello()
            talk.say("MAIL FROM:<a@sender.example>")
            assert talk.say("RCPT TO:<b@protected.example>").code == 451
            assert talk.say("RCPT TO:<free@protected.example>").code == 250
        assert "checker" not in c.post.status()
        c.post.wait_log("a rule says allow-extchk and there is no check-command")
        assert "a rule says allow-extchk and there is no check-command" in c.post.postern("check").stdout


def test_postern_check_says_what_would_not_start(lab, tmp_path):
    c = Checked(lab, tmp_path, "exit 0\n", check_user="nobody-of-that-name")
    c.program.unlink()
    done = c.post.postern("check", check=False)
    said = done.stdout
    assert done.returncode == 1
    assert "check-user: there is no user 'nobody-of-that-name'" in said and f"check-command: {c.program}: No such file" in said
    assert "allow-extchk" not in said
