"""posternfwd on a spool that is damaged: what was promised and can't be delivered is in bad/, whole, or still where it was."""

import os
import time

from netlab import wait_until
from spool_maker import Mail, status_line
from test_fwd_alone import ANYTHING, ask, pytestmark, world  # noqa: F401

LARGE = b"Subject: large\r\n\r\n" + b"x\r\n" * 30000


def damage(path, needle):
    data = bytearray(path.read_bytes())
    data[data.index(needle)] ^= 0x20
    path.write_bytes(bytes(data))


def damaged_segment(world, word):
    with world.spool.live() as segment:
        segment.append(Mail("first@example.net", ["b@example.org"], b"Subject: %s\r\n\r\nprecious %s\r\n" % (word, word)))
        segment.append(Mail("second@example.net", ["b@example.org"], ANYTHING))
    damage(segment.path, b"precious " + word)


def saved(world):
    return b"".join(path.read_bytes() for path in (world.spool.dir / "bad").iterdir())


def test_what_bad_has_no_room_for_stays(world):
    """At the start, and where a worker died later."""
    server = world.server("mx")
    conf = world.conf(f"smtp:127.0.0.1:{server.port}")
    damaged_segment(world, b"alpha")
    world.start("-f", conf, env={"POSTERN_FAULT": "bad-write:enospc"})
    damaged_segment(world, b"beta")
    wait_until(lambda: len(world.got("mx")) == 2, "what is good to be delivered")
    time.sleep(5.5)  # it has tried again
    assert len(world.spool.names("journal")) == 2 and not world.spool.names("bad")
    assert world.log.count("could not be saved in bad/") == 2 and "; saved in" not in world.log  # once a span
    world.stop()
    world.start("-f", conf)
    world.wait_settled()
    assert b"Subject: alpha" in saved(world) and b"Subject: beta" in saved(world)
    assert world.log.count("; saved in bad/") == 2
    world.stop()


def test_tried_again_without_a_start(world):
    """As soon as bad/ can be written to."""
    server = world.server("mx")
    bad = world.spool.dir / "bad"
    damaged_segment(world, b"alpha")
    bad.chmod(0o500)
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    wait_until(lambda: "could not be saved in bad/" in world.log, "a failure")
    assert world.spool.names("journal")
    bad.chmod(0o700)
    world.wait_settled()
    assert b"Subject: alpha" in saved(world)
    world.stop()


def test_numbers_of_segments_come_again(world):
    server = world.server("mx")
    conf = world.conf(f"smtp:127.0.0.1:{server.port}")
    for word in (b"alpha", b"beta"):
        world.spool.number = 0
        damaged_segment(world, word)
        world.start("-f", conf)
        world.wait_settled()
        world.stop()
    assert len(world.spool.names("bad")) == 2
    assert b"Subject: alpha" in saved(world) and b"Subject: beta" in saved(world)


def test_large_body_of_a_damaged_record(world):
    """One whose envelope is damaged, and one of which not even the header can be read."""
    server = world.server("mx")
    conf = world.conf(f"smtp:127.0.0.1:{server.port}")
    with world.spool.live() as segment:
        mails = [Mail(sender, ["b@example.org"], LARGE) for sender in ("envelope@example.net", "header@example.net")]
        for mail in mails:
            segment.append(mail, True)
        segment.append(Mail("good@example.net", ["b@example.org"], ANYTHING))
    damage(segment.path, b"envelope@example.net")
    data = bytearray(segment.path.read_bytes())
    data[data.index(mails[1].id.encode()) + 20] ^= 1  # in the header, behind the id
    segment.path.write_bytes(bytes(data))
    for _ in range(2):
        world.start("-f", conf)
        world.wait_settled()
        wait_until(lambda: "ev=recovered" in world.log, "the sweep")
        world.stop()
    assert (world.spool.dir / "bad" / f"{mails[0].id}.body").stat().st_size > len(LARGE)
    assert world.spool.names("large") == [mails[1].id]
    assert len(world.got("mx")) == 1


def test_waiting_message_whose_large_body_is_gone(world):
    """Damage; but not where nothing was left to do: so it looks when the power went at its removal."""
    server = world.server("mx")
    now = int(time.time())
    mails = [Mail(f"big{i}@example.net", ["b@example.org"], LARGE) for i in range(2)]
    lines = [status_line(time=now, attempt=1, next=now), status_line(time=now, rcpt=0, outcome="delivered", text="250 ok")]
    for mail, line in zip(mails, lines):
        path = world.spool.dir / "queue" / mail.id
        path.write_bytes(mail.record(0, True) + line)
        os.chown(path, 1, 1)
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}"))
    world.wait_settled()
    assert world.spool.names("bad") == [mails[0].id]
    assert ask(world.spool, "queue list")[0] == []
    world.stop()
