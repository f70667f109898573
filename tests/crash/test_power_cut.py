"""The power is cut at random moments of a random life. Each state that may be left is recovered and delivered by posternfwd, and the promises are
checked against what clients had been answered, and the server had taken, by that moment.

Two media remember what they were told. A disk (fuse_disk.py) with a real ext4 on it: its states are what such a disk can lose, mounted. And a file system
of ours (fuse_forget.py) that keeps no more than POSIX makes it: there a directory that was not synced shows, which on ext4 it does not.
"""

import contextlib
import os
import pathlib
import random
import tempfile
import time

import pytest

import fuse_disk
from fuse_disk import Disk, run, unmount
from fuse_forget import Forgetful, State, clear
from netlab import wait_until
from power_cut import States
from world import World

pytestmark = pytest.mark.skipif(bool(fuse_disk.why_not()), reason=fuse_disk.why_not() or "")

DISK_MIB = 48


class OnDisk:
    """An ext4; the unflushed rest comes in order, as a subset, or with torn writes."""

    hows = ("in order", "subset", "subset", "torn")

    def __init__(self, directory):
        self.disk, self.mount = Disk(directory / "disk", DISK_MIB), directory / "mount"
        self.mount.mkdir()
        self.mount.chmod(0o755)
        self.position = self.disk.position

    @contextlib.contextmanager
    def live(self):
        with self.disk:
            run("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", self.disk.device)
            run("mount", "-o", "nodiscard", self.disk.device, self.mount)
            try:
                yield
            finally:
                unmount(self.mount)
        self.entries = self.disk.entries()
        self.rewind()

    def rewind(self):
        self.states = States(self.entries, DISK_MIB << 20)

    def last(self):
        return len(self.entries)

    @contextlib.contextmanager
    def states_shown(self):
        yield

    @contextlib.contextmanager
    def at(self, position, rng, how):
        """Positions must ascend."""
        # A file of its own for each: the loop device of the last one may live on for a moment, with what it remembers of its file.
        with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="postern-crash-") as image:
            self.states.advance(position).write(image.name, rng, how)
            run("mount", "-o", "loop,nodiscard", image.name, self.mount)
        try:
            yield
        finally:
            unmount(self.mount)


class OnPosix:
    """A file system that keeps only what was synced, or any part of the rest, too."""

    hows = ("forgetful", "subset")

    def __init__(self, directory):
        self.fs = Forgetful(directory / "fs")
        self.mount, self.position = self.fs.mount, self.fs.position

    @contextlib.contextmanager
    def live(self):
        with self.fs:
            yield
        self.changes = self.fs.changes()

    def rewind(self):
        pass

    def last(self):
        return len(self.changes)

    @contextlib.contextmanager
    def states_shown(self):
        run("mount", "-t", "tmpfs", "-o", "mode=755", "postern-crash", self.mount)
        try:
            yield
        finally:
            unmount(self.mount)

    @contextlib.contextmanager
    def at(self, position, rng, how):
        State(self.changes, position, rng, how).write(self.mount)
        try:
            yield
        finally:
            clear(self.mount)


class Recorded:
    """A world that has lived for some seconds on such a medium, and until it had prepared a segment, if that is wanted; then its states."""

    def __init__(self, directory, medium, seed, fault=None, life_s=2.0, large=0.06, prepared=False):
        self.dir, self.rng, self.medium = pathlib.Path(directory), random.Random(seed), medium(pathlib.Path(directory))
        self.world = World(self.dir, seed, position=self.medium.position, spool=self.medium.mount / "spool", large=large,
                           settings={"segment-size": "1M"})
        with self.medium.live(), self.world as world:
            world.start(fault)
            self.first = self.medium.position()
            world.begin()
            time.sleep(life_s)
            # posternd starts again in the middle: sealed segments, recycled ones.
            world.kill()
            world.start(fault)
            time.sleep(life_s / 2)
            if prepared:
                wait_until(self.has_prepared, "a prepared segment", limit_s=60)
            world.kill()
            world.rest()
        self.deliveries = world.peer.deliveries + world.peer.reports

    def has_prepared(self):
        with contextlib.suppress(FileNotFoundError):  # they come and go
            return any(path.stat().st_size == 1 << 20 for path in (self.medium.mount / "spool" / "journal").glob("*.seg"))
        return False

    def positions(self, count):
        """Half of them right behind a reply or a delivery, where promises have just been made."""
        last = self.medium.last()
        moments = [m.position for m in self.world.messages if m.position] + [d.position for d in self.deliveries]
        some = [min(last, self.rng.choice(moments) + self.rng.randint(0, 2)) for _ in range(count // 2)]
        return sorted(some + [self.rng.randint(self.first, last) for _ in range(count - len(some))])

    def check(self, position, how):
        """One power cut."""
        world = self.world
        with self.medium.at(position, self.rng, how):
            try:
                world.peer.restart_counting()
                world.lives = f"at-{position}-{how.replace(' ', '-')}"
                world.start_forwarder()
                world.wait_settled()
                world.kill_forwarder()
                known = {m for m in world.messages if m.code == 250 and m.position <= position}
                world.check(is_crashed=True, before=[d for d in self.deliveries if d.position <= position], known=known)
                for log in world.dir.glob("*.at-*.log"):
                    log.unlink()
            finally:
                world.kill_forwarder()

    def check_many(self, limit_s, progress_s=None):
        """Returns how many states were seen within that time."""
        end, seen, said = time.monotonic() + limit_s, 0, time.monotonic()
        with self.world.peer.open_again(), self.medium.states_shown():
            # Rounds from beginning to end, since the disk's states can only be gone through forwards.
            while time.monotonic() < end:
                self.medium.rewind()
                for position in self.positions(200):
                    if time.monotonic() > end:
                        break
                    self.check(position, self.rng.choice(self.medium.hows))
                    seen += 1
                    if progress_s and time.monotonic() - said > progress_s:
                        said = time.monotonic()
                        print(f"{seen} states, {end - said:.0f} s left", flush=True)
        print(f"{seen} states in {self.medium.last() - self.first} steps, {len(self.world.messages)} messages", flush=True)
        return seen


@pytest.mark.parametrize("medium", (OnDisk, OnPosix))
def test_power_cuts(tmp_path, medium):
    assert Recorded(tmp_path, medium, seed=1).check_many(limit_s=12) > 20


SLOW = "journal-sync:delay=4"  # so there are several segments at a time, all of them prepared but for the first of each life


@pytest.mark.parametrize("medium", (OnDisk, OnPosix))
def test_power_cuts_in_prepared_segments(tmp_path, medium):
    assert Recorded(tmp_path, medium, seed=20, fault=SLOW, prepared=True).check_many(limit_s=6) > 10


@pytest.mark.long
@pytest.mark.parametrize("medium", (OnDisk, OnPosix))
def test_many_power_cuts_in_prepared_segments(tmp_path, medium):
    recorded = Recorded(tmp_path, medium, seed=21, fault=SLOW, life_s=4, prepared=True)
    assert recorded.check_many(limit_s=float(os.environ.get("POSTERN_CRASH_SECONDS", "100")), progress_s=10) > 20


@pytest.mark.parametrize("medium, sync", ((OnDisk, "journal-sync"), (OnPosix, "dir-sync")))
def test_a_sync_that_is_left_out_is_noticed(tmp_path, medium, sync):
    """The test above would tell."""
    recorded = Recorded(tmp_path, medium, seed=2, fault=f"{sync}:skip", life_s=1)
    with pytest.raises(AssertionError, match="LOST"):
        recorded.check_many(limit_s=30)


@pytest.mark.long
@pytest.mark.parametrize("medium, sync", ((OnDisk, "queue-sync"), (OnDisk, "large-sync"), (OnPosix, "journal-sync"), (OnPosix, "queue-sync"),
                                          (OnPosix, "large-sync")))
def test_every_sync_that_is_left_out_is_noticed(tmp_path, medium, sync):
    test_a_sync_that_is_left_out_is_noticed(tmp_path, medium, sync)


@pytest.mark.long
@pytest.mark.parametrize("medium", (OnDisk, OnPosix))
@pytest.mark.parametrize("seed", range(3, 6))
def test_many_power_cuts(tmp_path, medium, seed):
    """POSTERN_CRASH_SECONDS: how long for each of these worlds."""
    recorded = Recorded(tmp_path, medium, seed=seed, life_s=4, large=0.02 * seed)
    assert recorded.check_many(limit_s=float(os.environ.get("POSTERN_CRASH_SECONDS", "100")), progress_s=10) > 20
