"""spool_maker - writes a spool by docs/spool-format.md, so that posternfwd can be tried without posternd.

    spool = SpoolMaker(tmp_path / "spool")
    spool.store([Mail("a@example.net", ["b@example.org"], b"Subject: x\\r\\n\\r\\nhello\\r\\n")])  # one sealed segment

    with spool.live() as segment:          # a session worker: holds the lock, announces what is committed
        segment.append(mail)
        segment.announce()

    spool.wait([mail], attempt=3, text="451 later")   # files in queue/
"""

import fcntl
import os
import pathlib
import socket
import struct
import time

from journal import HEADER, MAGIC, BODY_IS_A_FILE, ID_ALPHABET, crc32c

NOTICE_COMMITTED, NOTICE_WORKER = 16, 17
COMMITTED = struct.Struct("<40sQ??6x")
PACKET = struct.Struct("<II")


def new_id(worker, counter):
    """44 bits of milliseconds, 10 of worker, 16 of counter."""
    number = int(time.time() * 1000) << 26 | worker << 16 | counter & 0xFFFF
    return "".join(ID_ALPHABET[number >> shift & 31] for shift in range(65, -1, -5))


def status_line(**fields):
    """One line of the history of a waiting message; the last field may hold spaces."""
    rest = " ".join(f"{key}={value}" for key, value in fields.items()).encode()
    return b"crc=%08x %s\n" % (crc32c(rest), rest)


def wire(text):
    """Dot-stuffed, with the final dot."""
    assert text == b"" or text.endswith(b"\r\n")
    return (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


body_sums = {}  # of the last body: thousands of messages have the same, and a checksum takes Python a while


class Mail:
    """One message: sender and recipients without brackets, text with CRLF lines; fields: further envelope lines; more_rcpts: RCPT lines with
    parameters of their own."""

    counter = 0

    def __init__(self, sender, recipients, text, rcpt_parameters="", **fields):
        Mail.counter += 1
        self.id = new_id(0, Mail.counter)
        self.sender, self.recipients, self.text = sender, recipients, text
        self.rcpt_parameters, self.more_rcpts = rcpt_parameters, []
        self.fields = {"CLIENT": "192.0.2.10 40000", "LISTENER": "lo", "HELO": "client.example.net", "PROTO": "ESMTP",
                       "TIME": int(time.time()), **fields}

    @property
    def envelope(self):
        lines = [f"FROM <{self.sender}>"] + [f"RCPT <{path}>{self.rcpt_parameters}" for path in self.recipients] + self.more_rcpts
        lines += [f"{key} {value}" for key, value in self.fields.items()]
        return "".join(line + "\n" for line in lines).encode()

    def record(self, offset, is_large=False):
        envelope, body = self.envelope, wire(self.text)
        if body not in body_sums:
            body_sums.clear()
            body_sums[body] = crc32c(body)
        flags = BODY_IS_A_FILE if is_large else 0
        parts = [MAGIC, 1, flags, 0, offset, self.id.encode(), len(envelope), crc32c(envelope), len(body), body_sums[body], 0]
        parts[3] = crc32c(HEADER.pack(*parts))
        return HEADER.pack(*parts) + envelope + (b"" if is_large else body)


def introduction(worker):
    """What the master says first on a connection to fwd.sock."""
    return PACKET.pack(NOTICE_WORKER, 4) + worker.to_bytes(4, "little")


class Segment:
    """One journal segment that is being written: as long as it is open, its writer lives."""

    def __init__(self, spool, number, worker=0):
        self.spool = spool
        self.worker = worker
        self.path = spool.dir / "journal" / f"{number:016d}.w{worker}.seg"
        self.file = open(self.path, "xb", buffering=0)
        os.chmod(self.path, 0o600)
        os.chown(self.path, spool.uid, spool.gid)
        fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.offset = 0
        self.sock = None

    def append(self, mail, is_large=False):
        if is_large:
            path = self.spool.dir / "large" / mail.id
            path.write_bytes(wire(mail.text))
            os.chown(path, self.spool.uid, self.spool.gid)
        self.offset += self.file.write(mail.record(self.offset, is_large))

    def announce(self, is_sealed=False, is_void=False, offset=None):
        if not self.sock:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.sock.connect(str(self.spool.dir / "fwd.sock"))
            self.sock.send(introduction(self.worker))
        self.sock.send(self.notice(is_sealed, is_void, offset))

    def notice(self, is_sealed=False, is_void=False, offset=None):
        what = COMMITTED.pack(self.path.name.encode(), self.offset if offset is None else offset, is_sealed, is_void)
        return PACKET.pack(NOTICE_COMMITTED, len(what)) + what

    def close(self):
        if self.sock:
            self.sock.close()
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class SpoolMaker:
    """A spool directory with everything in it that posternd would have made."""

    def __init__(self, directory, uid=1, gid=1):
        self.dir, self.uid, self.gid = pathlib.Path(directory), uid, gid
        self.number = 0
        self.dir.mkdir(mode=0o711)
        self.dir.chmod(0o711)
        for name in ("journal", "large", "ack", "queue", "hold", "bad"):
            (self.dir / name).mkdir(mode=0o700)
            os.chown(self.dir / name, uid, gid)
        (self.dir / "empty").mkdir(mode=0o555)
        (self.dir / "empty").chmod(0o555)

    def live(self, worker=0):
        self.number += 1
        return Segment(self, self.number, worker)

    def store(self, mails, is_large=False):
        """A sealed segment: its writer is gone."""
        with self.live() as segment:
            for mail in mails:
                segment.append(mail, is_large)

    def wait(self, mails, place="queue", **fields):
        """Messages that have been tried before. fields: of one status line."""
        now = int(time.time())
        line = status_line(**{"time": now, "next": now + 86400, **fields})
        for mail in mails:
            path = self.dir / place / mail.id
            path.write_bytes(mail.record(0) + line)
            os.chmod(path, 0o600)
            os.chown(path, self.uid, self.gid)

    def names(self, place):
        return sorted(path.name for path in (self.dir / place).iterdir())
