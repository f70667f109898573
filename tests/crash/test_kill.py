"""posternd and posternfwd are killed at every named point of spool/fault.h while clients send and an administrator meddles; then everything
starts again. What was answered with 250 is delivered, unchanged; what was refused is not; and without a crash nothing comes twice."""

import os
import struct
import time

import pytest

from installation import FORWARD_UID
from netlab import LabError, wait_until
from spool_maker import new_id
from world import World, fault_points

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the daemons start as root")


def plant(world, name, content=b"x" * 100):
    path = world.spool / name
    path.write_bytes(content)
    os.chown(path, FORWARD_UID, FORWARD_UID)


def plant_torn_segment(world):
    """What a writer leaves behind that died in the middle of its first header."""
    numbers = [int(path.name[:16]) for place in ("journal", "ack") for path in (world.spool / place).iterdir() if path.name[:1] != "."]
    plant(world, f"journal/{max(numbers, default=0) + 1:016d}.w0.seg", b"\0POSTERN" + struct.pack("<HH", 1, 0) + b"y" * 20)


def plant_orphan_acks(world):
    plant(world, "ack/0000000000000000.w9.seg.ack", b"")


# What the crowd alone does not bring about: planted while nothing runs.
PLANTED = {
    "bad-write": plant_torn_segment,
    "bad-sync": plant_torn_segment,
    "bad-move": lambda world: plant(world, f"queue/{new_id(0, 1)}"),
    "sweep-temporary": lambda world: plant(world, f"queue/.{new_id(0, 2)}.tmp"),
    "sweep-ack": plant_orphan_acks,
    "sweep-large": lambda world: plant(world, f"large/{new_id(0, 3)}"),
}

# A full disk in the middle of a segment: only then is there something to take back.
FILE_LIMITS = {"journal-truncate": 60000}


def die_at(world, point, hit=1, late_ms=0, limit_s=20):
    """late_ms: whoever meets the point waits there before it dies, so that other threads can do too early what is next."""
    if point in PLANTED:
        PLANTED[point](world)
    world.start(f"{point}:kill={late_ms}@{hit}", file_limit=FILE_LIMITS.get(point), wait=False)
    try:
        wait_until(world.has_died, f"somebody to die at {point}@{hit}", limit_s=limit_s)
    except LabError as err:
        if hit > 1:
            return False  # not so often, not in that time
        raise AssertionError(f"{err}: teach the crowd, or PLANTED, to reach it") from err
    finally:
        world.kill()
    return True


def local_part(path):
    return path.split("@")[0]


def start_with_mail_that_waits(world):
    """A message in queue/ and one in hold/ for those that look there when they start."""
    world.start()
    for _ in range(4):
        message = world.next_message(is_large=True)
        message.may_be_deleted = False
        message.sender, message.recipients = f"plain{message.number}@sender.example", [f"later9999-{message.number}@protected.example"]
        with world.talk() as talk:
            assert world.send(talk, message)
    wait_until(lambda: len(list((world.spool / "queue").glob("[0-9]*"))) == 4, "them to wait")
    # Not while it is tried once more.
    wait_until(lambda: world.postern("queue", "hold", world.messages[0].id).returncode == 0, "one to be held")
    world.kill()


def test_nothing_is_lost_or_twice_without_a_crash(tmp_path):
    with World(tmp_path, seed=1) as world:
        world.start()
        world.begin()
        wait_until(lambda: len(world.peer.deliveries) > 300, "mail to flow")
        world.rest()
        world.wait_settled()
        world.stop()
        world.check(is_crashed=False)
        assert {path.rstrip("0123456789-") for message in world.messages for path in map(local_part, message.recipients)} >= {"ok", "later", "never"}


def test_killed_at_every_point(tmp_path):
    """One world dies at each point in turn; at the end it must all be there."""
    with World(tmp_path, seed=2) as world:
        start_with_mail_that_waits(world)
        world.begin()
        # Every other one waits before it dies; which ones is up to the day.
        first = time.localtime().tm_yday
        for number, point in enumerate(fault_points(), start=first):
            die_at(world, point, late_ms=60 * (number % 2))
        world.rest()
        world.start()
        world.wait_settled()
        world.stop()
        world.check(is_crashed=True)
        assert sum(message.code == 250 for message in world.messages) > 100


@pytest.mark.long
@pytest.mark.parametrize("point", fault_points())
def test_killed_often_at_one_point(tmp_path, point):
    """Each in a world of its own, several times, at later hits."""
    with World(tmp_path, seed=f"{point}") as world:
        start_with_mail_that_waits(world)
        world.begin()
        died = sum(die_at(world, point, hit, late_ms, limit_s=20 if hit == 1 else 4) for hit, late_ms in ((1, 0), (2, 100), (5, 0), (17, 100)))
        print(f"{point}: died {died} times, {len(world.messages)} messages")
        world.rest()
        world.start()
        world.wait_settled()
        world.stop()
        world.check(is_crashed=True)
