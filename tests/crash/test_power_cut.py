"""The power is cut at random moments of a random life: the spool lies on a real ext4, on a disk that remembers every write and flush. Each state
that such a disk can be left in is mounted, posternfwd recovers it and delivers, and the promises are checked against what clients had been
answered, and the server had taken, by that moment."""

import os
import pathlib
import random
import tempfile
import time

import pytest

import fuse_disk
from fuse_disk import Disk, run, unmount
from netlab import wait_until
from power_cut import States
from world import World

pytestmark = pytest.mark.skipif(bool(fuse_disk.why_not()), reason=fuse_disk.why_not() or "")

DISK_MIB = 48


class Recorded:
    """A world that has lived for some seconds on a recorded disk; then its states."""

    def __init__(self, directory, seed, fault=None, life_s=3, large=0.06):
        self.dir, self.rng = pathlib.Path(directory), random.Random(seed)
        self.mount = self.dir / "mount"
        self.mount.mkdir(parents=True)
        self.mount.chmod(0o755)
        self.disk = Disk(self.dir / "disk", DISK_MIB)
        self.world = World(self.dir, seed, position=self.disk_position, spool=self.mount / "spool", large=large)
        self._live(fault, life_s)
        self.entries = self.disk.entries()
        self.states = States(self.entries, DISK_MIB << 20)
        self.deliveries = self.world.peer.deliveries + self.world.peer.reports

    def disk_position(self):
        return self.disk.position()

    def _live(self, fault, life_s):
        with self.disk as disk:
            run("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", disk.device)
            run("mount", "-o", "nodiscard", disk.device, self.mount)
            try:
                with self.world as world:
                    world.start(fault)
                    self.first = disk.position()
                    world.begin()
                    time.sleep(life_s)
                    # posternd starts again in the middle: sealed segments, recycled ones.
                    world.kill()
                    world.start(fault)
                    time.sleep(life_s / 2)
                    world.kill()
                    world.rest()
            finally:
                unmount(self.mount)

    def positions(self, count):
        """Half of them right behind a reply or a delivery, where promises have just been made."""
        last = len(self.entries)
        moments = [m.position for m in self.world.messages if m.position] + [d.position for d in self.deliveries]
        some = [min(last, self.rng.choice(moments) + self.rng.randint(0, 2)) for _ in range(count // 2)]
        return sorted(some + [self.rng.randint(self.first, last) for _ in range(count - len(some))])

    def check(self, position, how):
        """One power cut."""
        world = self.world
        # A file of its own for each: the loop device of the last one may live on for a moment, with what it remembers of its file.
        with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="postern-crash-") as image:
            self.states.advance(position).write(image.name, self.rng, how)
            run("mount", "-o", "loop,nodiscard", image.name, self.mount)
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
            unmount(self.mount)

    def check_many(self, limit_s, most=100000, progress_s=None):
        """Returns how many states were seen within that time, and how many of them had lost something that was still to be flushed."""
        end, seen, said = time.monotonic() + limit_s, 0, time.monotonic()
        with self.world.peer.open_again():
            # Rounds from beginning to end, since states can only be gone through forwards.
            while time.monotonic() < end and seen < most:
                self.states = States(self.entries, DISK_MIB << 20)
                for position in self.positions(min(200, most - seen)):
                    if time.monotonic() > end:
                        break
                    self.check(position, self.rng.choice(("in order", "subset", "subset", "torn")))
                    seen += 1
                    if progress_s and time.monotonic() - said > progress_s:
                        said = time.monotonic()
                        print(f"{seen} states, {end - said:.0f} s left", flush=True)
        return seen


def test_power_cuts(tmp_path):
    recorded = Recorded(tmp_path, seed=1)
    seen = recorded.check_many(limit_s=20)
    print(f"{seen} states of {len(recorded.entries)} entries, {len(recorded.world.messages)} messages")
    assert seen > 20


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 9))
def test_many_power_cuts(tmp_path, seed):
    """POSTERN_CRASH_SECONDS: how long for each of these worlds."""
    recorded = Recorded(tmp_path, seed=seed, life_s=5, large=0.02 * seed)
    seen = recorded.check_many(limit_s=float(os.environ.get("POSTERN_CRASH_SECONDS", "100")), progress_s=10)
    print(f"seed {seed}: {seen} states of {len(recorded.entries)} entries, {len(recorded.world.messages)} messages", flush=True)


def test_a_sync_that_is_left_out_is_noticed(tmp_path):
    """The test above would tell: without its sync, the journal is found wanting."""
    recorded = Recorded(tmp_path, seed=2, fault="journal-sync:skip", life_s=1)
    with pytest.raises(AssertionError, match="LOST"):
        recorded.check_many(limit_s=15)
