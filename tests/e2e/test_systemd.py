"""The installation as its units run it: systemd boots in namespaces, postern is installed into it as the README says, and mail goes through.

One machine for all; each test leaves the services as it found them, running. Skipped, with the reason, where systemd can't be booted so."""

import json
import os
import pathlib
import re
import subprocess
import threading

import pytest

from installation import Recorder, Talk
from netlab import ROOT, wait_until
from systemd_machine import Machine, NoMachine

pytestmark = pytest.mark.long

BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))
SERVICES = ("posternd", "posternfwd")
DIVERT = "postern-divert@wan"
RULES = "/etc/postern/rules"
GOOD = "allow-filter|allow-extchk:ALL:ALL:*@protected.example\n"
CHECKER = "#!/bin/sh\n[ -r \"$2\" ] && ! grep -q 'no such thing' \"$2\"\n"


def make(target, machine):
    done = subprocess.run(["make", "-s", "-C", str(ROOT), target, f"B={BUILD}", f"DESTDIR={machine.root}"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def machine(lab, tmp_path_factory):
    try:
        with Machine(lab, tmp_path_factory.mktemp("systemd")) as it:
            make("install", it)
            it.run("systemd-sysusers")
            it.write(RULES, GOOD)
            it.write("/usr/local/bin/checker", CHECKER).chmod(0o755)
            conf = it.root / "etc/postern/postern.conf"
            conf.write_text("hostname = fw.example.net\nfilter = /etc/postern/filter\ncheck-command = /usr/local/bin/checker\n"
                            "check-dir = /var/spool/postern-check\n" + conf.read_text())
            it.write("/etc/postern/divert-wan", "DIVERT_OPTIONS=--gate --fail closed\n")
            it.run("postern", "check")
            it.run("systemctl", "daemon-reload")
            it.run("systemctl", "enable", "--now", *SERVICES, DIVERT)
            wait_alive(it)
            yield it
    except NoMachine as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def mta(lab):
    with Recorder(lab, lab.MTA4) as server:
        yield server


def status(machine):
    return json.loads(machine.run("postern", "status", "--json").stdout)


def wait_alive(machine):
    """With fail = closed, connections are refused until the first heartbeat."""
    wait_until(lambda: status(machine)["listeners"][0]["switch"] == "alive", "the first heartbeat", pause_s=0.1)


def talk(lab):
    return Talk(lab.connect("inet", (lab.CLIENT4, 0), (lab.MTA4, 25)))


def send(lab, subject):
    with talk(lab) as client:
        client.hello()
        return client.message(f"Subject: {subject}\r\n\r\nHello.\r\n.\r\n".encode())


def subjects(mta):
    return [re.search(rb"^Subject: (.*)\r$", message["wire"], re.M)[1].decode() for message in mta.messages()]


def journal(machine, *units):
    """Its lines as dicts, oldest first."""
    args = [word for unit in units for word in ("-u", unit)]
    return [json.loads(line) for line in machine.run("journalctl", "--no-pager", "-o", "json", *args).stdout.splitlines()]


def property_of(machine, unit, name):
    return machine.run("systemctl", "show", "-P", name, unit).stdout.strip()


def test_mail_goes_through(machine, lab, mta):
    """With every part at once: gate, dead-man switch, content filter, checker; each under the restrictions of its unit."""
    assert send(lab, "first").code == 250
    wait_until(lambda: "first" in subjects(mta), "the message at the server")
    assert send(lab, "no such thing").code == 552, "the checker has seen it"
    with talk(lab) as client:
        client.hello()
        wire = b'Subject: click\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; name="a.vbs"\r\n\r\nHello.\r\n.\r\n'
        assert client.message(wire).code == 550, "the content filter has seen it"
    wait_until(lambda: status(machine)["gate"]["syns"] > 0, "the gate to have counted SYNs")
    assert status(machine)["gate"]["sets"] == "nft"


def test_started_means_ready(machine, lab):
    """systemctl start comes back when sessions are accepted, not before."""
    for _ in range(3):
        machine.run("systemctl", "restart", "posternd")
        with lab.connect("inet", (lab.CLIENT4, 0), (lab.WAN4, 2525)) as sock:
            assert sock.recv(100).startswith(b"421 "), "a direct hit is answered"
    wait_alive(machine)


def test_journal(machine, lab):
    """Each line has its level, and nothing of what the journal itself puts in front."""
    assert send(lab, "for the journal").code == 250
    lines = [line for line in journal(machine, *SERVICES) if line.get("SYSLOG_IDENTIFIER") in SERVICES]
    assert {"ev=ready", "ev=started"} <= {line["MESSAGE"].split()[0] for line in lines}
    for line in lines:
        assert re.match(r"(ev|sid)=\S", line["MESSAGE"]), line["MESSAGE"]
        assert line["PRIORITY"] in "3467"
    assert {line["PRIORITY"] for line in lines if "ev=ready " in line["MESSAGE"]} == {"6"}
    # What the log says of a decision can be judged again, straight from the journal.
    text = machine.run("journalctl", "--no-pager", "-u", "posternd").stdout
    machine.write("/tmp/log", text)
    done = machine.run("postern", "rules", "replay", "--rules", RULES, "/tmp/log")
    assert "for the journal" not in done.stdout and "0 " in done.stdout, done.stdout


def test_reload(machine, lab):
    machine.write(RULES, "noto:ALL:ALL:ALL:550 closed today\n" + GOOD)
    machine.run("systemctl", "reload", *SERVICES)

    def reply():
        with talk(lab) as client:
            client.hello()
            client.say("MAIL FROM:<a@sender.example>")
            return client.say("RCPT TO:<b@protected.example>")
    wait_until(lambda: reply().code == 550, "the new rules")
    machine.write(RULES, "alow:ALL:ALL:ALL\n")
    done = machine.run("systemctl", "reload", "posternd", check=False)
    assert done.returncode != 0, "errors in the rules make the command fail"
    assert reply().text.endswith("closed today"), "the old rules stay"
    assert any(f"{RULES}:1:1: error" in line["MESSAGE"] and line["PRIORITY"] == "3" for line in journal(machine, "posternd"))
    machine.write(RULES, GOOD)
    machine.run("systemctl", "reload", "posternd")
    wait_until(lambda: reply().code == 250, "the good rules")


def test_a_start_that_fails_says_so(machine, lab):
    machine.write(RULES, "alow:ALL:ALL:ALL\n")
    assert machine.run("systemctl", "restart", "posternd", check=False).returncode != 0
    said = [line for line in journal(machine, "posternd") if line["MESSAGE"].startswith("posternd: ")]
    assert said and said[-1]["MESSAGE"] == f"posternd: {RULES}: 1 error in the rules" and said[-1]["PRIORITY"] == "3", said
    with pytest.raises(OSError):
        talk(lab)
    machine.write(RULES, GOOD)
    # Nobody has to start it: systemd tries again.
    wait_until(lambda: property_of(machine, "posternd", "ActiveState") == "active", "systemd to have started it again")
    machine.run("systemctl", "reset-failed")
    assert send(lab, "mended").code == 250


def test_upgrade_loses_no_mail(machine, lab, mta):
    """make install over daemons that run, then a restart of both, while a client sends all the time."""
    taken, stop = [], threading.Event()

    def client():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                if send(lab, f"upgrade {number}").code == 250:
                    taken.append(f"upgrade {number}")
            except (OSError, AssertionError):
                stop.wait(0.05)  # refused or cut off: a client comes again
    thread = threading.Thread(target=client)
    thread.start()
    try:
        wait_until(lambda: len(taken) > 5, "mail before")
        make("install", machine)
        before = property_of(machine, "posternd", "MainPID")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", *SERVICES)
        assert property_of(machine, "posternd", "MainPID") != before
        count = len(taken)
        wait_until(lambda: len(taken) > count + 5, "mail after")
    finally:
        stop.set()
        thread.join()
    wait_until(lambda: set(taken) <= set(subjects(mta)), "all that was taken at the server")
    assert (machine.root / "etc/postern/rules").read_text() == GOOD, "the configuration stays"


def test_diversion_follows_the_firewall(machine, lab):
    """Who loads nftables.service anew has flushed our rules: the unit puts them back."""
    if machine.run("systemctl", "cat", "nftables.service", check=False).returncode != 0:
        pytest.skip("no nftables.service here")
    machine.write("/etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\n")
    for verb in ("restart", "reload"):
        machine.run("systemctl", verb, "nftables")
        wait_until(lambda: "redirect" in machine.run("postern-divert", "status", check=False).stdout, "the diversion")

        def accepted():
            try:
                return send(lab, f"after {verb}").code == 250
            except OSError:
                return False
        wait_until(accepted, "mail to flow again")


def test_stop_and_uninstall(machine, lab, mta):
    """Nothing stays but the configuration that was changed, and the spool. Last: there is nothing to test any more."""
    machine.run("systemctl", "disable", "--now", DIVERT, *SERVICES)
    for unit in (DIVERT, *SERVICES):
        assert property_of(machine, unit, "ActiveState") == "inactive" and property_of(machine, unit, "Result") == "success", unit
    # 1 for pgrep: no process has that name.
    assert machine.run("pgrep", "-f", "sbin/postern|--role=", check=False).returncode == 1
    assert "postern" not in machine.run("nft", "list", "ruleset").stdout
    with talk(lab) as client:
        assert "fw.example.net" not in client.greeting.text, "the server itself answers"
    make("uninstall", machine)
    machine.run("systemctl", "daemon-reload")
    # /run, with files that were locked, is empty after a restart of the host.
    left = machine.run("find", "/etc", "/usr", "/var", "-xdev", "-name", "*postern*").stdout.split()
    assert set(left) == {"/etc/postern", "/etc/postern/postern.conf", "/var/spool/postern", "/var/spool/postern-check"}
