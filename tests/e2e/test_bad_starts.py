"""Bad starts and bad surroundings: each ends in one clear line and the right exit status, or is survived. Tried one by one."""

import os
import re
import shutil
import subprocess

import pytest

import journal
from installation import BUILD, Installation
from netlab import wait_until

BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"
POSTERND = BUILD / "bin" / "posternd"
IS_SANITIZED = "san" in BUILD.name

DIVERTED = ("wan",)


@pytest.fixture
def make(lab, tmp_path):
    made = []

    def build(name="one", rules="allow:ALL:ALL:ALL\n", **kw):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        post = Installation(lab, directory, rules=rules, **kw)
        made.append(post)
        return post

    yield build
    for post in made:
        post.__exit__()


@pytest.fixture
def mount():
    """mount(path, options): a tmpfs there, until the end of the test."""
    mounted = []

    def do(path, options):
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
        mounted.append(path)
        if "ro" not in options.split(","):
            path.chmod(0o711)

    yield do
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def refused(post, *words, args=None, status=1, lines=1, env=None, prefix=()):
    """Start posternd; it must end at once with this status and this many lines, the last of which is the complaint with the words in it."""
    argv = [*prefix, str(POSTERND), *(["-f", str(post.conf_path)] if args is None else args)]
    done = subprocess.run(post.lab.argv("fw", argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=20,
                          env=dict(os.environ, **(env or {})), check=False)
    assert done.returncode == status, done.stdout
    said = done.stdout.splitlines()
    assert len(said) == lines and said[-1].startswith("posternd: "), done.stdout
    for word in words:
        assert word in said[-1], (word, said[-1])
    return said


# ---- command line, configuration, rules


@pytest.mark.parametrize("args, word", [
    ([], "-c, -d and -u are needed (or -f CONF)"),
    (["-y"], "unknown option -y"),
    (["--yes"], "unknown option --yes"),
    (["-F-"], "unknown option --"),
    (["-x"], "-x needs a value"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody", "-D", "-x", "check"], "-x = 'check': expected a program with its path"),
    (["-f", "/etc/postern.conf", "-x", "/bin/true"], "-f CONF stands alone"),
    (["-f"], "-f needs a value"),
    (["-f", "/etc/postern.conf", "-q"], "-f CONF stands alone"),
    (["-f", "/etc/postern.conf", "-p", "25"], "-f CONF stands alone"),
    (["-d", "/spool", "-u", "nobody", "-D"], "-c, -d and -u are needed"),
    (["-c", "/tmp", "-u", "nobody", "-D"], "-c, -d and -u are needed"),
    (["-c", "/tmp", "-d", "/spool", "-D"], "-c, -d and -u are needed"),
    (["-c", "relative", "-d", "/spool", "-u", "nobody", "-D"], "-c 'relative': expected a path that begins with /"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody"], "-D is missing"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody", "-D", "-p", "70000"], "-p '70000': expected a number from 1 to 65535"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody", "-D", "-p", "smtp"], "-p 'smtp': expected a number"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody", "-D", "-s", "12"], "-s '12': expected a number"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody", "-D", "-l", "localhost"], "-l 'localhost': expected an IPv4 or IPv6 address"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody", "-D", "-i", "pid"], "-i 'pid': expected a path that begins with /"),
    (["-c", "/" + "x" * 300, "-d", "/spool", "-u", "nobody", "-D"], "too long"),
    (["-c", "/tmp", "-d", "/spool", "-u", "nobody", "-D", "-m", "two words"], "-m 'two words': expected a host name"),
    (["-D", "more"], "'more' is one word too many"),
])
def test_command_line(make, args, word):
    refused(make(), word, args=args, status=2)


def test_no_configuration_file(make):
    post = make()
    post.conf_path.unlink()
    refused(post, str(post.conf_path), "No such file")
    post.conf_path.mkdir()
    refused(post, "not a regular file")


@pytest.mark.parametrize("line, words", [
    ('max-sise = "1M"', ["no such option 'max-sise'"]),
    ('command-timeout = 5 min', ["no such option 'min' (a value of several words wants quotes, a unit stands right behind its number: 5m)"]),
    ('command-timeout = "5 min"', ["command-timeout = '5 min': expected a time in seconds (or with s, m, h, d, w) from 1 to 86400"]),
    ('max-size = "10 apples"', ["max-size = '10 apples': expected a size in bytes (or with K, M, G)"]),
    ('listen "wan" { }', ["a second listen 'wan': an interface has one section"]),
    ('listen { }', ['expected listen "INTERFACE" {']),
    ('max-size = "1"', ["max-size = '1': expected a size in bytes", "from 65536 to 2147483648"]),
    ('max-size = "big"', ["max-size = 'big': expected a size"]),
    ('command-timeout = "2w"', ["command-timeout = '2w': expected a time in seconds", "to 86400"]),
    ('max-errors = "-1"', ["max-errors = '-1': expected a number from 1"]),
    ('max-errors = "99999999999999999999999"', ["max-errors", "expected a number"]),
    ('log-level = "loud"', ["log-level = 'loud': expected one of err, warn, info, debug"]),
    ('bare-lf = "yes"', ["bare-lf = 'yes': expected one of reject, normalize"]),
    ('listen "lan" { mode = "sideways" }', ["mode = 'sideways': expected one of redirect, tproxy, direct"]),
    ('listen "lan" { colour = "red" }', ["no such option 'colour'"]),
    ('listen "lan" { forward = "carrier:pigeon" }', ["carrier:pigeon"]),
    ('listen "lan" { port = "99999" }', ["port = '99999': expected a number from 0 to 65535"]),
    ('listen "*" { }', ['listen "*"', "name it, or say mode = direct"]),
    ('listen "lan" { mode = "direct" }', ["forward = original needs a diverted connection"]),
    ('listen "lan" { mode = "tproxy" conntrack-zone = 5 }', ["conntrack-zone works with mode = redirect only"]),
    ('listen "lan" { proxy-protocol = "10.0.0.0/8" }', ["proxy-protocol works with mode = direct only"]),
    ('listen "lan" { proxy-protocol = "10.0.0.0/33" }', ["proxy-protocol: '10.0.0.0/33': expected an address or a network"]),
    ('listen "lan" { proxy-protocol = "balancer.example" }', ["proxy-protocol: 'balancer.example': expected an address or a network"]),
    ('listen "lan" { proxy-protocol = "0.0.0.0/0" }', ["would let everybody claim to be anybody"]),
    ('listen "lan" { proxy-protocol = "::/0" }', ["would let everybody claim to be anybody"]),
    ('listen "an-interface-name-too-long" { }', ["interface name of 1 to 15 bytes"]),
    ('listen "lan" {', ["not closed"]),
    ('hostname = "unclosed', ["postern.conf:"]),
    ('hostname = "two words"', ["hostname = 'two words': expected a host name"]),
    ('hostname = ""', ["hostname = '': expected a host name"]),
])
def test_configuration(make, line, words):
    """The complaint names file and line."""
    post = make()
    text = post.conf_path.read_text()
    post.conf_path.write_text(text + line + "\n")
    number = text.count("\n") + 1
    said = refused(post, *words)
    assert re.search(rf"{post.conf_path}:({number}|{number + 1}|{number + 2}): ", said[-1]), said


def test_no_listen_section(make):
    post = make()
    post.conf_path.write_text(post.conf_path.read_text().split('listen "')[0])
    refused(post, "no listen section")


def test_no_rule_file(make):
    post = make()
    post.rules_path.unlink()
    refused(post, "there is no rule file", str(post.rules_path), "create it")
    refused(post, "there is no rule file", args=["-n", "-f", str(post.conf_path)])


def test_rule_file_with_five_errors(make):
    post = make(rules="permit:ALL:ALL:ALL\nallow:ALL:ALL:ALL\nnoto:10.0.0.0/40:ALL:ALL\nnonsense\nallow:/(/:ALL:ALL\ndeny:ALL:ALL:ALL:550 %Z\n")
    for args in (None, ["-n", "-f", str(post.conf_path)]):
        said = refused(post, "5 errors", str(post.rules_path), lines=6, args=args)
        for line, place in zip(said, ("1:1", "3:6", "4:1", "5:7", "6:")):
            assert f"{post.rules_path}:{place}" in line and "expected" in line, line
    assert not post.spool.exists()


def test_check_only(make):
    post = make()
    done = post.run("posternd", "-n", "-f", post.conf_path)
    assert done.returncode == 0 and done.stdout == f"configuration and rules ({post.rules_path}) are good\n"
    assert not post.spool.exists()


# ---- users and rights


def test_not_root(make):
    refused(make(), "must be started as root", prefix=["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])


@pytest.mark.parametrize("key", ["session-user", "session-group", "forward-user", "forward-group"])
def test_missing_user(make, key):
    kind = key.split("-")[1]
    refused(make(options={key: "no-such-one"}), key.split("-")[0], f"there is no {kind} 'no-such-one'", f"{kind}add --system")


def test_root_as_user(make):
    refused(make(options={"session-user": "root"}), "session-user: user 'root' is root")


# ---- what is there already


def test_already_running(make):
    post = make()
    post.start_daemon()
    refused(post, f"already running with pid {post.daemon.pid}", str(post.dir / "posternd.pid"))
    assert (post.dir / "posternd.pid").exists(), "the pid file is the running one's"
    with post.talk() as talk:
        assert talk.greeting.code == 220


def test_stale_pid_file(make):
    post = make()
    (post.dir / "posternd.pid").write_text("1\n")
    post.start_daemon()
    assert (post.dir / "posternd.pid").read_text() == f"{post.daemon.pid}\n"


def test_no_place_for_the_pid_file(make):
    post = make()
    refused(make(options={"pid-file": post.dir / "none" / "pid"}), "pid file", "No such file or directory")


def test_two_on_one_spool(make):
    post = make()
    post.start_daemon()
    second = make("two", options={"spool": post.spool}, listen={"port": 2626})
    refused(second, str(post.spool / "ctl.sock"))
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BODY).code == 250


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_port_taken(make, lab, address):
    sock = lab.listen("fw", address, 2525)
    try:
        refused(make(), 'listen "wan"', "the port is taken", "ss -ltnp")
    finally:
        sock.close()


def test_port_taken_by_another_postern(make):
    make().start_daemon()
    refused(make("two"), 'listen "wan"', "the port is taken", "ss -ltnp")


def test_no_such_interface(make):
    refused(make(iface="wan7"), 'listen "wan7": there is no interface \'wan7\'', "ip link")


@pytest.mark.skipif(IS_SANITIZED, reason="the sanitizers want to be loaded first")
def test_kernel_without_tproxy(make, tmp_path):
    shim = tmp_path / "shim.so"
    source = tmp_path / "shim.c"
    source.write_text("""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <netinet/in.h>
        #include <sys/socket.h>
        int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
        {
            int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
            if ((level == SOL_IP && name == IP_TRANSPARENT) || (level == SOL_IPV6 && name == IPV6_TRANSPARENT)) {
                errno = ENOPROTOOPT;
                return -1;
            }
            return real(fd, level, name, value, len);
        }""")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
    post = make(listen={"mode": "tproxy"})
    refused(post, 'listen "wan"', "no transparent sockets", "use mode = redirect", env={"LD_PRELOAD": str(shim)})
    post.listen["mode"] = "redirect"
    post.write_conf()
    post.start_daemon(env={"LD_PRELOAD": str(shim)})


# ---- the spool


def test_spool_mounted_read_only(make, mount):
    post = make()
    mount(post.spool, "ro,size=1m,mode=0711")
    refused(post, str(post.spool), "read-only")


def test_spool_that_became_read_only(make, mount):
    """Its directories are there from better times: found at the start, not with the first message."""
    post = make()
    mount(post.spool, "size=1m")
    post.start_daemon()
    assert post.stop(post.daemon) == 0
    subprocess.run(["mount", "-o", "remount,ro", str(post.spool)], check=True)
    refused(post, str(post.spool), "ead-only")


def test_spool_of_another_owner(make):
    post = make()
    post.spool.mkdir(mode=0o711)
    (post.spool / "journal").mkdir(mode=0o700)
    os.chown(post.spool / "journal", 12345, 12345)
    refused(post, str(post.spool / "journal"), "owned by uid 12345, expected 64982", "chown")
    shutil.rmtree(post.spool)
    post.spool.mkdir(mode=0o711)
    os.chown(post.spool, 12345, 12345)
    refused(post, str(post.spool), "owned by uid 12345, expected 0", "chown")


def test_spool_that_others_may_write(make):
    post = make()
    post.spool.mkdir()
    post.spool.chmod(0o777)
    refused(post, str(post.spool), "lets others write")


def test_spool_is_a_file_or_nowhere(make):
    post = make()
    post.spool.write_text("x")
    refused(post, str(post.spool))
    refused(make(options={"spool": post.dir / "none" / "spool"}), "none/spool", "can't create")


def test_disk_full_at_the_start(make, mount):
    """No inode left for a segment: one line. No byte left: it starts, and says 452 at MAIL."""
    post = make()
    mount(post.spool, "size=1m,nr_inodes=9")
    refused(post, str(post.spool))
    subprocess.run(["mount", "-o", "remount,nr_inodes=1000", str(post.spool)], check=True)
    (post.spool / "filler").write_bytes(b"x" * 900_000)
    post.options["min-free-space"] = "512K"
    post.write_conf()
    post.start_daemon()
    with post.talk() as talk:
        talk.hello()
        # A worker that has no segment yet has nothing to measure: then the end of data says it.
        def is_full():
            reply = talk.say("MAIL FROM:<a@b.example>")
            return (reply.code, reply.text[:6]) == (452, "4.3.1 ") or talk.say("RSET").code != 250
        wait_until(is_full, "the worker to see the disk")
        assert talk.say("RCPT TO:<b@p.example>").code == 503
        (post.spool / "filler").unlink()
        assert talk.message(BODY).code == 250


def test_watermark(make, mount):
    post = make(options={"min-free-space": "1M", "min-free-inodes": "100"})
    mount(post.spool, "size=4m,nr_inodes=300")
    post.start_daemon()
    with post.talk() as talk:
        talk.hello()
        assert talk.message(BODY).code == 250
        assert talk.say("MAIL FROM:<a@b.example> SIZE=3500000").code == 452, "room for this one, but not above the watermark"
        (post.spool / "filler").write_bytes(b"x" * 3_300_000)
        assert talk.say("MAIL FROM:<a@b.example>").code == 452
        (post.spool / "filler").unlink()
        assert talk.message(BODY).code == 250
        for i in range(200):
            (post.spool / f"inode{i}").touch()
        assert talk.say("MAIL FROM:<a@b.example>").code == 452
        for i in range(200):
            (post.spool / f"inode{i}").unlink()
        assert talk.message(BODY).code == 250
    assert "ev=spool-full" in post.log()


@pytest.mark.parametrize("size", [20_000, 400_000], ids=["inline", "large"])
def test_disk_fills_up_in_service(make, mount, size):
    """The write fails at end of data: 452, the session goes on; what was accepted is there whole; when there is room again, mail flows."""
    post = make(options={"workers": 1})
    mount(post.spool, "size=4m")
    post.start_daemon()
    wire = b"Subject: filling\r\n\r\n" + b"0123456789abcdef" * 4 * (size // 64) + b"\r\n.\r\n"
    accepted, refusals = [], 0
    with post.talk() as talk:
        talk.hello()
        (post.spool / "filler").write_bytes(b"x" * 2_500_000)
        while refusals < 3:
            reply = talk.message(wire)
            assert reply.code in (250, 452), reply
            if reply.code == 250:
                accepted.append(reply)
            else:
                assert reply.text.startswith("4.3.1 "), reply
                refusals += 1
            assert len(accepted) < 300
        assert accepted
        (post.spool / "filler").unlink()
        for _ in range(3):
            accepted.append(talk.message(wire))
            assert accepted[-1].code == 250
    stored = journal.messages(post.spool, check_body=True)
    assert [message.id for message in stored] == sorted(journal.stored_id(reply) for reply in accepted)
    assert all(message.sent == wire for message in stored)
    assert "ev=store-failed" in post.log() and "worker-died" not in post.log()


def all_roots():
    """The root directories of all processes."""
    roots = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            roots.add(os.readlink(f"/proc/{pid}/root"))
        except OSError:
            pass
    return roots


def test_nothing_is_left_behind(make):
    """A start that fails late leaves no pid file, no socket and no process."""
    post = make(iface="wan7")
    refused(post, "wan7")
    assert not (post.dir / "posternd.pid").exists() and not (post.spool / "ctl.sock").exists()
    assert str(post.spool / "empty") not in all_roots()
