"""The disk fills up, runs out of inodes, answers with EIO, turns read-only, under both daemons and while clients send. Clients get 452 or 451 and their
sessions live on; nothing is lost, nothing is delivered twice, the logs shout; and when the disk is well again all goes on by itself."""

import contextlib
import os
import pathlib
import re
import signal
import time

import pytest

import fuse_disk
from fuse_disk import Disk, run, unmount
from netlab import wait_until
from world import World

pytestmark = pytest.mark.skipif(bool(fuse_disk.why_not()), reason=fuse_disk.why_not() or "")


class BadDisk:
    """A file system of 24 MiB that can be made to fail, mounted at .mount."""

    def __init__(self, directory, features="^has_journal", inodes=400):
        self.mount = directory / "mount"
        self.mount.mkdir()
        self.disk, self.features, self.inodes = Disk(directory / "disk", 24), features, inodes

    def __enter__(self):
        self.disk.__enter__()
        run("mkfs.ext4", "-q", "-F", "-O", self.features, "-m", 0, "-N", self.inodes, "-E", "nodiscard,lazy_itable_init=0", self.disk.device)
        run("mount", "-o", "nodiscard,errors=continue", self.disk.device, self.mount)
        return self

    def __exit__(self, *exc):
        self.disk.fails()
        unmount(self.mount)
        self.disk.__exit__()

    def mount_again(self):
        """Also forgets what the page cache has."""
        unmount(self.mount)
        run("mount", "-o", "nodiscard,errors=continue", self.disk.device, self.mount)

    # ---- ways to fail: begin and end

    @contextlib.contextmanager
    def no_space(self):
        filler = self.mount / "filler"
        with open(filler, "wb", buffering=0) as file:
            for size in (1 << 20, 4096, 512):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        yield
        filler.unlink()

    @contextlib.contextmanager
    def no_inodes(self):
        names = []
        with contextlib.suppress(OSError):
            for i in range(10000):
                path = self.mount / f"inode{i}"
                path.touch()
                names.append(path)
        yield
        for path in names:
            path.unlink()

    @contextlib.contextmanager
    def writes_fail(self):
        self.disk.fails(writes=True)
        yield
        self.disk.fails()

    @contextlib.contextmanager
    def flushes_fail(self):
        self.disk.fails(flushes=True)
        yield
        self.disk.fails()


def errors(log):
    return re.findall(r"err: .*", log)


LONG = pytest.mark.long


@pytest.mark.parametrize("how", ("no_space", "flushes_fail", pytest.param("no_inodes", marks=LONG), pytest.param("writes_fail", marks=LONG)))
def test_a_disk_that_fails_for_a_while(tmp_path, how):
    with BadDisk(tmp_path) as bad, World(tmp_path, seed=how, spool=bad.mount / "spool", large=0.1, settings={"segment-size": "1M"}) as world:
        world.start()
        with world.talk() as session:
            world.begin()
            wait_until(lambda: len(world.peer.deliveries) > 30, "mail to flow")
            before = len(world.messages)
            with getattr(bad, how)():
                time.sleep(3)
            during = world.messages[before:]
            refused = [message.code for message in during if message.code not in (250, None, 0)]
            print(f"{how}: {len(during)} messages meanwhile, {len(refused)} refused: {set(refused)}")
            assert refused and set(refused) <= {451, 452}
            if how.startswith("no_"):
                assert 452 in refused
            # A session that was there before is there after.
            def is_well():
                message = world.next_message(is_large=False)
                assert world.send(session, message), "the session is gone"
                return message.code == 250
            wait_until(is_well, "a disk that is well again to be used", limit_s=20, pause_s=0.2)
            world.rest()
        world.wait_delivered()
        wait_until(lambda: not list((world.spool / "queue").iterdir()), "queue/ to be empty")
        assert errors(world.log("posternd")), "posternd said nothing"
        assert errors(world.log("posternfwd")), "posternfwd said nothing"
        assert len(errors(world.log("posternfwd"))) < 150, "posternfwd fills the log"
        assert not list((world.spool / "bad").iterdir())
        # And all of that is noted: what comes back delivers nothing anew.
        world.stop()
        world.start()
        world.wait_settled()
        world.stop()
        world.check(is_crashed=False)


def test_a_file_system_that_turns_read_only(tmp_path):
    """As ext4 does by itself after an error. Only the administrator can mend that; nothing may be lost by then."""
    with BadDisk(tmp_path, features="has_journal") as bad, World(tmp_path, seed=5, spool=bad.mount / "spool") as world:
        run("mount", "-o", "remount,errors=remount-ro", bad.mount)
        world.start()
        with world.talk() as session:
            world.begin()
            wait_until(lambda: len(world.peer.deliveries) > 30, "mail to flow")
            pathlib.Path("/sys/fs/ext4", os.path.basename(bad.disk.device), "trigger_fs_error").write_text("1")
            before = len(world.messages)
            time.sleep(1)
            assert {message.code for message in world.messages[before + 3:]} <= {451, 452, None, 0}
            message = world.next_message(is_large=False)
            assert world.send(session, message) and message.code in (451, 452)
            world.rest()
        assert "ev=spool-trouble" in world.log("posternd") and errors(world.log("posternfwd"))
        assert world.daemon.poll() is None and world.forwarder.poll() is None
        world.kill()
        bad.mount_again()
        world.start()
        world.wait_settled()
        world.stop()
        # Written, but not synced; and neither cut off nor noted as void, as nothing could be written any more: such a message may be there
        # although its client was told 451.
        world.check(is_crashed=True, unsure=(451,))


@pytest.mark.long
def test_bad_sectors_hold_up_nobody(tmp_path):
    """A segment and a waiting message can't be read when posternfwd starts: all other mail leaves, and theirs once the disk gives it."""
    with BadDisk(tmp_path) as bad, World(tmp_path, seed=6, spool=bad.mount / "spool", large=0) as world:
        for _ in range(3):
            world.start()
            world.forwarder.send_signal(signal.SIGSTOP)
            with world.talk() as talk:
                for _ in range(20):
                    world.send(talk, world.next_message())
            world.kill()
        world.start_forwarder()
        wait_until(lambda: len(list((world.spool / "queue").glob("[0-9]*"))) > 3, "mail that waits")
        world.kill()
        delivered = len(world.peer.deliveries)
        # Three more segments, of which one is bad, and one of the files that wait.
        for _ in range(3):
            world.start_daemon()
            with world.talk() as talk:
                for _ in range(20):
                    world.send(talk, world.next_message())
            world.kill()
        segment = sorted((world.spool / "journal").glob("*.seg"), key=lambda path: path.stat().st_blocks)[-2]
        waiting = next((world.spool / "queue").glob("[0-9]*"))
        ranges = [Disk.extents(path) for path in (segment, waiting)]
        assert all(ranges), ranges
        bad.mount_again()
        bad.disk.fails(bad=sum(ranges, []))
        for path in (segment, waiting):
            with pytest.raises(OSError):
                print(ranges, run("filefrag", "-v", path), len(path.read_bytes()))
        world.peer.relents = True
        world.start_forwarder()
        wait_until(lambda: len(world.peer.deliveries) > delivered + 35, "the rest to leave")
        said = errors(world.log("posternfwd"))
        assert any(segment.name in line for line in said) and any(waiting.name in line for line in said), world.log("posternfwd")[:3000]
        time.sleep(1)
        assert segment.exists() and waiting.exists() and not list((world.spool / "bad").iterdir())
        bad.disk.fails()
        world.wait_delivered(is_crashed=True)
        wait_until(lambda: not waiting.exists(), "the file to leave")
        assert not list((world.spool / "bad").iterdir())
