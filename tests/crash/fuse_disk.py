#!/usr/bin/env python3
"""fuse_disk.py DIRECTORY SIZE_MIB - a disk in a file that remembers every write and flush, and fails when it is told to.

DIRECTORY/disk is a regular file, mounted on itself; losetup makes a block device of it, and a real
file system on that shows each fsync as a flush here. In DIRECTORY:
    disk     the file to mount over
    log      entries: kind (1 byte), offset, length (8 bytes each), then the bytes; kinds: W write, F flush
    board    shared memory: number of log entries (8 bytes); a byte each: writes fail, flushes fail; number of bad ranges, and each from where to
             where (8 bytes each): what cannot be read
The counter on the board is raised before the answer leaves, so whoever has seen an fsync return sees a number that covers it.

    with Disk(directory, 64) as disk:      # starts it, and stops it
        disk.device                        # "/dev/loop7"
        disk.position()                    # entries so far
        disk.fails(writes=True)
        disk.entries()                     # [(kind, offset, bytes)]
"""

import errno
import mmap
import os
import pathlib
import re
import struct
import subprocess
import sys
import time

import fuse

ENTRY = struct.Struct("<cQQ")
BOARD_LEN = 4096
FAIL_WRITES, FAIL_FLUSHES, BAD_COUNT, BAD_RANGES = 8, 9, 10, 16


class Server(fuse.Server):
    def __init__(self, directory, size):
        self.dir, self.size = pathlib.Path(directory), size
        self.image = os.open(self.dir / "image", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.image, size)
        self.log = open(self.dir / "log", "wb", buffering=1 << 20)
        self.board = mmap.mmap(os.open(self.dir / "board", os.O_RDWR), BOARD_LEN)
        self.count = 0
        super().__init__("postern-disk", self.dir / "disk", rootmode=0o100600)

    def note(self, kind, offset, data):
        self.log.write(ENTRY.pack(kind, offset, len(data)))
        self.log.write(data)
        self.count += 1
        struct.pack_into("<Q", self.board, 0, self.count)

    def attr(self):
        # Inode, size, blocks, times, mode and so on.
        return fuse.attr_valid(fuse.ATTR.pack(1, self.size, self.size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0))

    def answer(self, opcode, number, caller, body):
        if opcode in (fuse.GETATTR, fuse.SETATTR):
            return self.attr()
        if opcode == fuse.OPEN:
            return struct.pack("<QII", 0, 1, 0)  # FOPEN_DIRECT_IO: nothing is kept from us
        if opcode == fuse.READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            for i in range(self.board[BAD_COUNT]):
                begin, end = struct.unpack_from("<QQ", self.board, BAD_RANGES + 16 * i)
                if offset < end and offset + size > begin:
                    return errno.EIO
            return os.pread(self.image, size, offset)
        if opcode == fuse.WRITE:
            if self.board[FAIL_WRITES]:
                return errno.EIO
            offset, data = fuse.write_data(body)
            os.pwrite(self.image, data, offset)
            self.note(b"W", offset, data)
            return fuse.written(data)
        if opcode == fuse.FSYNC:
            if self.board[FAIL_FLUSHES]:
                return errno.EIO
            self.note(b"F", 0, b"")
            return b""
        if opcode == fuse.STATFS:
            return struct.pack("<5Q2I", 0, 0, 0, 0, 0, 4096, 255) + bytes(32)
        if opcode in (fuse.RELEASE, fuse.FLUSH, fuse.DESTROY):
            return b""
        return errno.ENOSYS

    def serve(self):
        super().serve()
        self.log.close()


def run(*argv, check=True):
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=120)
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}"
    return done.stdout.strip()


def unmount(where):
    """Helpers of a process that was killed end a moment later."""
    for _ in range(500):
        if not run("umount", where, check=False):
            return
        time.sleep(0.01)
    run("umount", where)


def why_not():
    """Why there can be no such disk here; None: there can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse"
    if not os.path.exists("/dev/loop-control"):
        return "no loop devices"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as err:
        return f"/dev/fuse: {err.strerror}"
    probe = subprocess.run(["losetup", "--find"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return None if probe.returncode == 0 else f"losetup --find: {probe.stdout.strip()}"


class Disk:
    def __init__(self, directory, size_mib):
        self.dir, self.size_mib = pathlib.Path(directory), size_mib
        self.dir.mkdir(parents=True, exist_ok=True)
        self.proc = self.device = None

    def __enter__(self):
        for name in ("disk", "board"):
            (self.dir / name).write_bytes(bytes(BOARD_LEN if name == "board" else 0))
        with open(self.dir / "board", "r+b") as file:
            self.board = mmap.mmap(file.fileno(), BOARD_LEN)
        self.proc = subprocess.Popen([sys.executable, __file__, str(self.dir), str(self.size_mib)], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.proc.stdout.readline() == "ready\n"
        self.device = run("losetup", "--find", "--show", self.dir / "disk")
        return self

    def __exit__(self, *exc):
        self.fails()
        if self.device:
            run("losetup", "--detach", self.device)
            # Detaching is lazy: the last opener, udev perhaps, may still be there.
            for _ in range(100):
                if str(self.dir / "disk") not in run("losetup", "--list", "--noheadings", "--output", "BACK-FILE"):
                    break
                time.sleep(0.02)
        run("umount", self.dir / "disk", check=False)
        self.proc.stdout.close()
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            run("umount", "--lazy", self.dir / "disk", check=False)
            self.proc.kill()
            self.proc.wait()

    def position(self):
        return struct.unpack_from("<Q", self.board, 0)[0]

    def fails(self, writes=False, flushes=False, bad=()):
        """From now on. bad: ranges (from, to) that can't be read; at most 200. Nothing: it is well again."""
        self.board[BAD_COUNT] = 0
        for i, (begin, end) in enumerate(bad):
            struct.pack_into("<QQ", self.board, BAD_RANGES + 16 * i, begin, end)
        self.board[BAD_COUNT] = len(bad)
        self.board[FAIL_WRITES], self.board[FAIL_FLUSHES] = writes, flushes

    @staticmethod
    def extents(path):
        """Where a file lies on its disk: [(from, to)]."""
        found = re.findall(r"^ *\d+: +\d+\.\. *\d+: +(\d+)\.\. *(\d+):", run("filefrag", "-v", "-b4096", path), re.MULTILINE)
        return [(int(first) * 4096, (int(last) + 1) * 4096) for first, last in found]

    def entries(self):
        """Only after the with block: then all of it is written."""
        found, data, at = [], (self.dir / "log").read_bytes(), 0
        while at < len(data):
            kind, offset, length = ENTRY.unpack_from(data, at)
            at += ENTRY.size
            found.append((kind, offset, data[at:at + length]))
            at += length
        return found


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2]) << 20).serve()
