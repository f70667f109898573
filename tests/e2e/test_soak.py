"""Nothing grows: steady traffic with deferrals and refusals, many turns of the segments, and after each round the same files, descriptors,
bytes on disk and (with slack) memory as before."""

import os
import pathlib
import re
import time

import pytest

from installation import BUILD, Installation, Recorder
from netlab import wait_until

SENDER = "a@sender.example"
LONG_S = int(os.environ.get("POSTERN_SOAK_S", 240))


def rss_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Soak:
    """posternd and posternfwd, a server that refuses some recipients and defers each seventh message, one that takes the reports."""

    def __init__(self, lab, room):
        self.lab = lab
        self.post = Installation(lab, room, listen={"mode": "redirect"}, options={
            "segment-size": "1M", "retry-min": "1s", "retry-max": "1s", "keep-idle": "1s",
            "bounce": "all", "bounce-via": f"smtp:{lab.MTA4_2}:25"})
        self.servers = [Recorder(lab, lab.MTA4, args=["rcpt_550=gone", "data_fail_every=7"]), Recorder(lab, lab.MTA4_2)]

    def __enter__(self):
        for thing in (*self.servers, self.post):
            thing.__enter__()
        self.post.start()
        self.lab.divert("up", "--iface", "wan", "--mode", "redirect")
        self.sent = 0
        wait_until(lambda: {worker["forwarder"] for worker in self.post.status()["workers"]} == {"connected"}, "the workers to be connected")
        self.pids = {"master": self.post.daemon.pid, "posternfwd": self.post.forwarder.pid}
        self.pids.update((f"worker {number}", pid) for number, pid in enumerate(self.post.worker_pids()))
        return self

    def __exit__(self, *exc):
        self.lab.divert("down", "--iface", "wan", check=False)
        for thing in (self.post, *self.servers):
            thing.__exit__(*exc)

    def status(self):
        return self.post.status()["forwarder"]

    def is_quiet(self):
        status = {key: int(value) for key, value in self.status().items() if str(value).isdigit()}
        # A report is a message, too.
        return status["delivered"] + status["bounced"] == self.sent + status["reports"] and status["messages"] == status["connections"] == 0

    def round(self, messages):
        """So many messages, one in twenty refused; until everything is settled and the idle connections are gone."""
        for recipient, count in (("b", messages - messages // 20), ("gone", messages // 20)):
            self.lab.exec("inet", "smtp-source", "-s", "10", "-l", "4096", "-m", str(count), "-f", SENDER, "-t", f"{recipient}@protected.example",
                          f"inet:[{self.lab.MTA4}]:25", timeout=120)
            self.sent += count
        wait_until(self.is_quiet, "everything to be settled", limit_s=90)
        wait_until(lambda: len(self.files("journal")) == len(self.files("ack")) or len(self.files("ack")) < 5, "acknowledgements to be recycled")

    def files(self, place):
        return sorted((self.post.spool / place).iterdir())

    def sample(self):
        spool = [path for path in self.post.spool.rglob("*") if path.is_file()]
        return {
            "rss": {name: rss_kib(pid) for name, pid in self.pids.items()},
            # A segment with acknowledgements is two descriptors of posternfwd; how many there are at this moment is chance.
            "fds": {name: descriptors(pid) - (2 * len(self.files("ack")) if name == "posternfwd" else 0) for name, pid in self.pids.items()},
            "files": {place: len(self.files(place)) for place in ("journal", "ack", "queue", "hold", "large", "bad")},
            "disk_kib": sum(path.stat().st_blocks for path in spool) // 2,
            "turns": max(int(path.name.split(".")[0]) for path in self.files("journal")),
        }

    def check(self, before, now, slack_kib):
        for name in self.pids:
            # AddressSanitizer keeps what was freed.
            assert BUILD.name.endswith("-san") or now["rss"][name] <= before["rss"][name] * 1.1 + slack_kib, (name, before, now)
            assert now["fds"][name] <= before["fds"][name] + 3, (name, before, now)
        # Each worker has a segment, and the next one may be made already.
        assert now["files"]["journal"] <= 3 * (len(self.pids) - 2) and now["files"]["ack"] <= now["files"]["journal"] + 1, now
        assert not any(now["files"][place] for place in ("queue", "hold", "large", "bad")), now
        assert now["disk_kib"] <= before["disk_kib"] + 3 * 1024, (before, now)


def test_nothing_grows(lab, room):
    with Soak(lab, room) as soak:
        soak.round(500)
        before = soak.sample()
        for _ in range(2):
            soak.round(700)
        now = soak.sample()
        soak.check(before, now, 4096)
        assert now["turns"] >= before["turns"] + 4, (before, now)
        status = soak.status()
        assert int(status["deferred"]) > 200 and int(status["bounced"]) == int(status["reports"]) == 1900 // 20


@pytest.mark.long
def test_nothing_grows_for_long(lab, room):
    """POSTERN_SOAK_S seconds of it."""
    with Soak(lab, room) as soak:
        for _ in range(3):
            soak.round(2000)
        before, end, rounds = soak.sample(), time.monotonic() + LONG_S, 0
        while time.monotonic() < end:
            soak.round(2000)
            rounds += 1
            now = soak.sample()
            soak.check(before, now, 4096)
            if rounds % 5 == 1:
                print(f"round {rounds}: segment {now['turns']}, posternfwd {now['rss']['posternfwd']} KiB, {now['fds']['posternfwd']} descriptors, "
                      f"{now['disk_kib']} KiB on disk", flush=True)
        assert now["turns"] > before["turns"] + 3 * rounds
