"""scripts/lab: it stands, it answers, and nothing of it is left behind, however it ended."""

import os
import pathlib
import signal
import socket
import subprocess

import pytest

from netlab import LAB, SUFFIX, Lab, wait_until

TITLE = "ptest-lab"
NAME = TITLE + SUFFIX
ENV = dict(os.environ, POSTERN_LAB=NAME)
STATE = pathlib.Path("/run/postern-lab") / NAME

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


def lab(*argv, **kw):
    return subprocess.run([str(LAB), *argv], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=60, **kw)


def remnants():
    """Everything in the places where a lab leaves traces that carries our name."""
    left = [str(p) for base in ("/run/netns", "/etc/netns") for p in pathlib.Path(base).glob(f"{NAME}-*")]
    if STATE.exists():
        left.append(str(STATE))
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (proc / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(STATE).encode() in word for word in words):
            left.append(str(proc))
    return left


@pytest.fixture(autouse=True)
def taken_down():
    yield
    lab("down")
    assert remnants() == []


def host_links():
    return subprocess.run(["ip", "-o", "link"], stdout=subprocess.PIPE, text=True, check=True).stdout


def test_up_twice_down_twice():
    before = host_links()
    for _ in range(2):
        done = lab("up")
        assert done.returncode == 0, done.stderr
        assert "203.0.113.1" in done.stdout
        assert lab("status").returncode == 0
    for _ in range(2):
        done = lab("down")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert remnants() == []
    assert lab("status").returncode == 3
    assert host_links() == before


def test_two_labs_stand_side_by_side():
    with Lab(TITLE + "2") as other:
        assert lab("up").returncode == 0
        assert lab("down").returncode == 0
        assert other.exec("fw", "true").returncode == 0


def test_every_client_reaches_both_servers():
    with Lab(TITLE) as net:
        ways = [(src, dst) for src in (*Lab.CLIENTS4, Lab.SPAMMER4, Lab.FAR_CLIENT4) for dst in (Lab.MTA4, Lab.MTA4_2)]
        ways += [(src, dst) for src in (*Lab.CLIENTS6, Lab.SPAMMER6) for dst in (Lab.MTA6, Lab.MTA6_2)]
        for source, target in ways:
            with net.listen("mta", target, 2500) as server, net.connect("inet", (source, 0), (target, 2500)):
                conn, peer = server.accept()
                conn.close()
                assert peer[0] == source


@pytest.mark.parametrize("ns", ["inet", "fw", "mta"])
def test_names_from_every_namespace(ns):
    with Lab(TITLE) as net:

        def look_up(key):
            return net.exec(ns, "getent", "hosts", key, check=False).stdout.split()

        assert look_up("192.0.2.11") == ["192.0.2.11", "client11.example.net"]
        assert look_up("2001:db8:1::12") == ["2001:db8:1::12", "client12.example.net"]
        assert look_up("198.51.100.7") == ["198.51.100.7", "client7.example.org"]
        assert look_up("192.0.2.66")[1] == "trusted.example.net"
        assert "192.0.2.66" not in net.exec(ns, "getent", "ahosts", "trusted.example.net").stdout
        both = net.exec(ns, "getent", "ahosts", "mail.protected.example").stdout
        assert Lab.MTA4 in both and Lab.MTA6 in both
        assert look_up("nobody.example") == []


def mx_answer(net, name):
    """The raw answer of the lab's DNS to an MX question."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    with net.socket("mta", socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + labels + b"\0\0\x0f\0\x01", (Lab.DNS4, 53))
        return sock.recv(512)


def test_mail_exchangers_and_added_records():
    with Lab(TITLE) as net:
        answer = mx_answer(net, "protected.example")
        assert answer[6:8] == b"\0\x02" and b"\x04mail" in answer and b"\x05mail2" in answer
        net.dns("added.example. A 192.0.2.99", 'added.example. TXT "two words"')
        assert "192.0.2.99" in net.exec("fw", "getent", "hosts", "added.example").stdout
        net.dns_remove("added.example.")
        assert net.exec("fw", "getent", "hosts", "added.example", check=False).returncode != 0


STAGES = {
    "first namespace": pathlib.Path(f"/run/netns/{NAME}-inet"),
    "last namespace": pathlib.Path(f"/run/netns/{NAME}-mta"),
    "configuration": STATE / "unbound.conf",
    "name server": STATE / "unbound.pid",
}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_the_middle(stage):
    """kill -9 of a lab on its way up; the next down, and the next up, find nothing in their way."""
    for repair in ("down", "up"):
        up = subprocess.Popen([str(LAB), "up"], env=ENV, stdout=subprocess.DEVNULL, start_new_session=True)
        wait_until(STAGES[stage].exists, f"{stage} of the lab", pause_s=0.0005)
        try:
            os.killpg(up.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        up.wait()
        done = lab(repair)
        assert done.returncode == 0, done.stderr
        if repair == "up":
            assert lab("exec", "mta", "getent", "hosts", "192.0.2.10").returncode == 0
        lab("down")
        assert remnants() == []


def test_terminated_in_the_middle_cleans_up_itself():
    up = subprocess.Popen([str(LAB), "up"], env=ENV, stdout=subprocess.DEVNULL, start_new_session=True)
    wait_until(STAGES["first namespace"].exists, "the lab's first namespace", pause_s=0.0005)
    up.send_signal(signal.SIGTERM)
    if up.wait() != 0:  # else it had been quicker than the signal
        assert remnants() == []


def test_failing_up_takes_everything_down():
    tools = STATE.parent.parent / f"{NAME}-tools"
    tools.mkdir()
    try:
        fake = tools / "unbound"
        fake.write_text("#!/bin/sh\necho 'no name server today' >&2\nexit 1\n")
        fake.chmod(0o755)
        env = dict(ENV, PATH=f"{tools}:{ENV['PATH']}")
        done = subprocess.run([str(LAB), "up"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    finally:
        fake.unlink()
        tools.rmdir()
    assert done.returncode == 1
    assert "does not start" in done.stderr
    assert remnants() == []


def test_down_ends_what_runs_inside():
    assert lab("up").returncode == 0
    stubborn = subprocess.Popen(
        [str(LAB), "exec", "mta", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"],
        env=ENV, stdout=subprocess.PIPE, text=True,
    )
    assert stubborn.stdout.readline() == "ready\n"
    assert lab("down").returncode == 0
    assert stubborn.wait(10) == -signal.SIGKILL
    stubborn.stdout.close()


def test_down_from_inside_is_refused():
    assert lab("up").returncode == 0
    done = lab("exec", "fw", str(LAB), "down")
    assert done.returncode == 1
    assert "from outside" in done.stderr
    assert lab("status").returncode == 0


@pytest.mark.parametrize(
    "argv, words",
    [
        (["sideways"], "unknown command"),
        (["up", "now"], "no argument"),
        (["exec", "dmz", "true"], "no namespace 'dmz'"),
        (["exec", "fw"], "usage"),
        (["exec", "fw", "true"], "not up"),
    ],
)
def test_wrong_use_is_one_clear_line(argv, words):
    done = lab(*argv)
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_wrong_name():
    done = subprocess.run([str(LAB), "down"], env=dict(ENV, POSTERN_LAB="../etc"), stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "POSTERN_LAB" in done.stderr


def test_not_root():
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", "/bin/sh", "-s", "up"],
        stdin=LAB.open(), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )
    assert done.returncode == 1
    assert "must be root" in done.stderr and done.stderr.count("\n") == 1
