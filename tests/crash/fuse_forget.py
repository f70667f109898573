#!/usr/bin/env python3
"""fuse_forget.py DIRECTORY - a file system in memory that remembers every change and every sync, so that afterwards it can be what POSIX allows and
no more: a file has what was written before its last fsync, a directory the names that it had at its own last fsync, and of anything
later an arbitrary part. Real file systems keep more (an fsync on ext4 brings every rename before it to the disk), so a sync of a directory
that is missing never shows on them.

In DIRECTORY: mount (the mount point), board (number of changes so far, 8 bytes, raised before the
answer leaves), changes (a pickle of all of them, written at the end).

    with Forgetful(directory) as fs:       # fs.mount, fs.position()
        ...
    state = State(fs.changes(), position, rng, how); state.write(path)
"""

import errno
import mmap
import os
import pathlib
import pickle
import random
import shutil
import stat
import struct
import subprocess
import sys
import time

import fuse

ROOT = 1
FIRST_INODE = 7_000_000_000  # numbers that nobody else on the machine has: /proc/locks knows files by them
PAGE, BOARD_LEN = 4096, 4096
RENAME_NOREPLACE = 1
SET_MODE, SET_UID, SET_GID, SET_SIZE = 1, 2, 4, 8


class Node:
    def __init__(self, mode, uid, gid):
        self.mode, self.uid, self.gid, self.links = mode, uid, gid, 1
        self.data, self.names = bytearray(), {}


class Server(fuse.Server):
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.nodes = {ROOT: Node(stat.S_IFDIR | 0o755, 0, 0)}
        self.next = FIRST_INODE
        self.changes = []
        with open(self.dir / "board", "r+b") as file:
            self.board = mmap.mmap(file.fileno(), BOARD_LEN)
        super().__init__("postern-forget", self.dir / "mount", rootmode=0o40755, options="default_permissions")

    def note(self, *change):
        self.changes.append(change)
        struct.pack_into("<Q", self.board, 0, len(self.changes))

    # ---- answers

    def attr(self, number):
        node = self.nodes[number]
        now = int(time.time())
        return fuse.ATTR.pack(number, len(node.data), (len(node.data) + 511) // 512, now, now, now, 0, 0, 0, node.mode, node.links, node.uid, node.gid, 0, PAGE, 0)

    def entry(self, number):
        return struct.pack("<QQQQII", number, 0, 0, 3600, 0, 0) + self.attr(number)

    def name(self, body, at=0):
        return body[at:body.index(b"\0", at)].decode()

    def make(self, parent, name, mode, caller):
        if name in self.nodes[parent].names:
            return errno.EEXIST
        number, self.next = self.next, self.next + 1
        self.nodes[number] = Node(mode, *caller)
        self.nodes[parent].names[name] = number
        self.note("link", parent, name, number, mode, *caller)
        return number

    def rename(self, parent, target, flags, names):
        old, new = (name.decode() for name in names.split(b"\0")[:2])
        source, into = self.nodes[parent].names, self.nodes[target].names
        if old not in source:
            return errno.ENOENT
        if new in into and flags & RENAME_NOREPLACE:
            return errno.EEXIST
        into[new] = source.pop(old)
        self.note("rename", parent, old, target, new, into[new])
        return b""

    def remove(self, parent, name):
        names = self.nodes[parent].names
        if name not in names:
            return errno.ENOENT
        self.nodes[names.pop(name)].links = 0
        self.note("unlink", parent, name)
        return b""

    def set_attr(self, number, body):
        valid, = struct.unpack_from("<I", body)
        size, = struct.unpack_from("<Q", body, 16)
        mode, _, uid, gid = struct.unpack_from("<IIII", body, 68)
        node = self.nodes[number]
        if valid & SET_MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        node.uid, node.gid = uid if valid & SET_UID else node.uid, gid if valid & SET_GID else node.gid
        if valid & (SET_MODE | SET_UID | SET_GID):
            self.note("attr", number, node.mode, node.uid, node.gid)
        if valid & SET_SIZE:
            node.data[size:] = bytes(max(0, size - len(node.data)))
            self.note("truncate", number, size)
        return fuse.attr_valid(self.attr(number))

    def write(self, number, body):
        offset, data = fuse.write_data(body)
        node = self.nodes[number]
        if offset > len(node.data):
            node.data += bytes(offset - len(node.data))
        node.data[offset:offset + len(data)] = data
        self.note("write", number, offset, data)
        return fuse.written(data)

    def read_dir(self, number, body):
        _, offset, size = struct.unpack_from("<QQI", body)
        names = [(".", number), ("..", ROOT), *sorted(self.nodes[number].names.items())]
        out = b""
        for at, (name, child) in enumerate(names[offset:], start=offset + 1):
            raw = name.encode()
            mode = self.nodes[child].mode if child in self.nodes else stat.S_IFDIR
            item = struct.pack("<QQII", child, at, len(raw), stat.S_IFMT(mode) >> 12) + raw
            item += bytes(-len(item) % 8)
            if len(out) + len(item) > size:
                break
            out += item
        return out

    def answer(self, opcode, number, caller, body):
        if opcode == fuse.LOOKUP:
            child = self.nodes[number].names.get(self.name(body))
            return errno.ENOENT if child is None else self.entry(child)
        if opcode == fuse.GETATTR:
            return fuse.attr_valid(self.attr(number))
        if opcode == fuse.SETATTR:
            return self.set_attr(number, body)
        if opcode in (fuse.MKNOD, fuse.MKDIR, fuse.CREATE):
            mode, = struct.unpack_from("<I", body, 4 if opcode == fuse.CREATE else 0)
            name = self.name(body, 8 if opcode == fuse.MKDIR else 16)
            made = self.make(number, name, mode | (stat.S_IFDIR if opcode == fuse.MKDIR else 0), caller)
            if made < FIRST_INODE:
                return made
            return self.entry(made) + (struct.pack("<QII", 0, 0, 0) if opcode == fuse.CREATE else b"")
        if opcode in (fuse.UNLINK, fuse.RMDIR):
            return self.remove(number, self.name(body))
        if opcode == fuse.RENAME:
            return self.rename(number, struct.unpack_from("<Q", body)[0], 0, body[8:])
        if opcode == fuse.RENAME2:
            target, flags = struct.unpack_from("<QI", body)
            return self.rename(number, target, flags, body[16:])
        if opcode in (fuse.OPEN, fuse.OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if opcode == fuse.READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self.nodes[number].data[offset:offset + size])
        if opcode == fuse.WRITE:
            return self.write(number, body)
        if opcode == fuse.READDIR:
            return self.read_dir(number, body)
        if opcode in (fuse.FSYNC, fuse.FSYNCDIR):
            self.note("sync", number)
            return b""
        if opcode == fuse.STATFS:
            return struct.pack("<5Q4I", 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, PAGE, 255, PAGE, 0) + bytes(24)
        return b"" if opcode in (fuse.RELEASE, fuse.RELEASEDIR, fuse.FLUSH, fuse.DESTROY) else errno.ENOSYS

    def serve(self):
        super().serve()
        (self.dir / "changes").write_bytes(pickle.dumps(self.changes))


class Forgetful:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.mount = self.dir / "mount"
        self.mount.mkdir(parents=True)

    def __enter__(self):
        (self.dir / "board").write_bytes(bytes(BOARD_LEN))
        with open(self.dir / "board", "r+b") as file:
            self.board = mmap.mmap(file.fileno(), BOARD_LEN)
        self.proc = subprocess.Popen([sys.executable, __file__, str(self.dir)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                     start_new_session=True)
        assert self.proc.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *exc):
        for _ in range(500):
            if subprocess.run(["umount", str(self.mount)], check=False, stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.01)
        else:
            self.proc.kill()
            subprocess.run(["umount", "--lazy", str(self.mount)], check=False)
        self.proc.wait(30)
        self.proc.stdout.close()

    def position(self):
        return struct.unpack_from("<Q", self.board, 0)[0]

    def changes(self):
        """Only after the with block. Our own pickle."""
        return pickle.loads((self.dir / "changes").read_bytes())


class State:
    """What may be left after a power cut at that position. how: "forgetful" (only what was synced), "subset" (and any part of the rest)."""

    def __init__(self, changes, position, rng=random, how="forgetful"):
        self.rng, self.share = rng, 0 if how == "forgetful" else rng.choice((0.2, 0.5, 0.9))
        synced = {}
        for at, change in enumerate(changes[:position]):
            if change[0] == "sync":
                synced[change[1]] = at
        self.names, self.data, self.attrs, self.unlinked = {ROOT: {}}, {}, {}, set()
        for at, change in enumerate(changes[:position]):
            getattr(self, "_" + change[0])(lambda number, at=at: at < synced.get(number, -1), *change[1:])

    def _is_kept(self):
        return self.rng.random() < self.share

    def _link(self, is_synced, parent, name, number, mode, uid, gid):
        self.data[number], self.names[number] = bytearray(), {}
        self.attrs[number] = (mode, uid, gid)
        if is_synced(parent) or self._is_kept():
            self.names.setdefault(parent, {})[name] = number

    def _rename(self, is_synced, parent, old, target, new, number):
        # Within one directory it is one step; between two each has its own.
        is_there = is_synced(target) or self._is_kept()
        if is_there:
            self.names[target][new] = number
        is_gone = is_there if parent == target else is_synced(parent) or (is_there and self._is_kept())
        if is_gone and self.names[parent].get(old) == number:
            del self.names[parent][old]

    def _unlink(self, is_synced, parent, name):
        if is_synced(parent) or self._is_kept():
            self.names[parent].pop(name, None)

    def _write(self, is_synced, number, offset, data):
        """Page by page, if it was not synced."""
        if is_synced(number):
            self._put(number, offset, data)
            return
        at = 0
        while at < len(data):
            end = min(len(data), at + PAGE - (offset + at) % PAGE)
            if self._is_kept():
                self._put(number, offset + at, data[at:end])
            at = end

    def _put(self, number, offset, data):
        content = self.data[number]
        if offset > len(content):
            content += bytes(offset - len(content))
        content[offset:offset + len(data)] = data

    def _truncate(self, is_synced, number, size):
        if is_synced(number) or self._is_kept():
            content = self.data[number]
            content[size:] = bytes(max(0, size - len(content)))

    def _attr(self, is_synced, number, mode, uid, gid):
        self.attrs[number] = (mode, uid, gid)  # no promise hangs on these

    def _sync(self, is_synced, number):
        pass

    def write(self, directory):
        """Into an empty directory; sockets are left out."""
        self._fill(pathlib.Path(directory), ROOT)

    def _fill(self, directory, parent):
        for name, number in self.names.get(parent, {}).items():
            mode, uid, gid = self.attrs[number]
            path = directory / name
            if stat.S_ISDIR(mode):
                path.mkdir()
                self._fill(path, number)
            elif stat.S_ISREG(mode):
                path.write_bytes(self.data[number])
            else:
                continue
            os.chown(path, uid, gid)
            path.chmod(stat.S_IMODE(mode))


def clear(directory):
    for path in pathlib.Path(directory).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    Server(sys.argv[1]).serve()
