"""fuse - what the file systems of these tests share: a server that answers requests on /dev/fuse, with no library.

    class Mine(fuse.Server):
        def answer(self, opcode, number, caller, body):
            ...                        # the bytes of the answer, or an errno

    Mine("name", place, rootmode=0o40755, options="default_permissions").serve()
"""

import ctypes
import errno
import os
import struct

(LOOKUP, FORGET, GETATTR, SETATTR, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR,
 FSYNCDIR, CREATE, INTERRUPT, DESTROY, BATCH_FORGET, RENAME2) = (1, 2, 3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 25, 26, 27, 28, 29, 30, 35, 36, 38, 42, 45)
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
ATTR = struct.Struct("<6Q10I")
MAX_WRITE = 128 << 10
BIG_WRITES = 1 << 5


def init(body):
    """The answer to INIT."""
    minor, = struct.unpack_from("<I", body, 4)
    # major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, then what we do not use
    return struct.pack("<IIIIHHII", 7, min(minor, 31), MAX_WRITE, BIG_WRITES, 64, 48, MAX_WRITE, 1) + bytes(36)


def attr_valid(attr):
    """The answer to GETATTR and SETATTR: valid for an hour."""
    return struct.pack("<QII", 3600, 0, 0) + attr


def write_data(body):
    """(offset, bytes) of a WRITE."""
    _, offset, size = struct.unpack_from("<QQI", body)
    return offset, body[40:40 + size]


def written(data):
    """The answer to a WRITE of data."""
    return struct.pack("<II", len(data), 0)


class Server:
    def __init__(self, name, place, rootmode, options=""):
        self.fuse = os.open("/dev/fuse", os.O_RDWR)
        words = f"fd={self.fuse},rootmode={rootmode:o},user_id=0,group_id=0,allow_other" + (options and "," + options)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(name.encode(), str(place).encode(), b"fuse", 0, words.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")

    def serve(self):
        """Until it is unmounted. The word on standard output is what whoever started us waits for."""
        print("ready", flush=True)
        while True:
            try:
                request = os.read(self.fuse, MAX_WRITE + 4096)
            except OSError as err:
                if err.errno in (errno.EINTR, errno.ENOENT):
                    continue
                break  # ENODEV: unmounted
            _, opcode, unique, number, uid, gid, *_ = IN_HEADER.unpack_from(request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            body = request[IN_HEADER.size:]
            result = init(body) if opcode == INIT else self.answer(opcode, number, (uid, gid), body)
            error, data = (-result, b"") if isinstance(result, int) else (0, result)
            os.write(self.fuse, OUT_HEADER.pack(OUT_HEADER.size + len(data), error, unique) + data)
