"""milter_peers - filters around an Installation: one on libmilter that does what a test says, and one that breaks the protocol.

    with Filter(lab, directory, "a") as a:          # listens on a unix socket (or tcp), a.address goes into postern.conf
        a.does(eom="reject", edits=[["addheader", "X-A", "1"]])
        ...
        a.seen("header")                            # what it was told, as dicts
"""

import contextlib
import json
import os
import pathlib
import socket
import struct
import tempfile
import threading

from installation import Diverted, without_received
from netlab import PYTHON, wait_until

RULES = """allow-milter:ALL:ALL:*@milter.example
allow:ALL:ALL:*@plain.example
noto:ALL:ALL:*@refused.example:550 5.1.1 not by the rules
allow-milter:ALL:ALL:ALL
"""
MESSAGE = b"Subject: one\r\nX-Old: a\r\n\tfolded \r\nX-Old: b\r\n\r\nbody\r\n..dot\r\n.\r\n"
HERE = pathlib.Path(__file__).resolve().parent


class Filter:
    """A filter of its own process, with libmilter (milter_filter.py)."""

    def __init__(self, lab, directory, name, tcp=None, ns="fw"):
        self.lab, self.dir, self.name, self.tcp, self.ns = lab, pathlib.Path(directory), name, tcp, ns
        self.script, self.seen_path, self.socket = (self.dir / f"{name}.{kind}" for kind in ("script", "seen", "sock"))
        self.address = f"inet:{tcp[0]}:{tcp[1]}" if tcp else f"unix:{self.socket}"
        self.proc = None
        self.does()

    def does(self, **script):
        """From the next message on; and what it saw before is forgotten."""
        self.script.write_text(json.dumps(script))
        self.seen_path.write_text("")

    def start(self):
        listen = f"inet:{self.tcp[1]}@{self.tcp[0]}" if self.tcp else f"unix:{self.socket}"
        self.socket.unlink(missing_ok=True)
        self.proc = self.lab.popen(self.ns, [PYTHON, str(HERE / "milter_filter.py"), listen, str(self.script), str(self.seen_path)])
        if self.tcp:
            self.lab.wait_listening(self.ns, self.tcp[1], proc=self.proc, address=self.tcp[0])
        else:
            wait_until(self._listens, f"the filter {self.name}")
        return self

    def _listens(self):
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(str(self.socket))
        except OSError:
            return False
        finally:
            probe.close()
        return True

    def stop(self):
        if self.proc is not None:
            self.lab.stop(self.proc)
        self.proc = None

    def seen(self, what=None):
        calls = [json.loads(line) for line in self.seen_path.read_text().splitlines()]
        return [call for call in calls if what in (None, call["what"])]

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


def packet(command, data=b""):
    return struct.pack(">I", 1 + len(data)) + command + data


class RawFilter:
    """A filter that speaks byte by byte what a test says: talk(connection) is called for each connection, in a thread; connection has
    command() -> (letter, data) and send(bytes).  On a unix socket, which needs no namespace."""

    def __init__(self, directory, name, talk):
        self.socket = pathlib.Path(directory) / f"{name}.sock"
        self.address = f"unix:{self.socket}"
        self.talk = talk
        self.threads = []

    def __enter__(self):
        self.socket.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.socket))
        self.listener.listen(16)
        self.is_stopping = False
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()
        return self

    def _accept(self):
        while not self.is_stopping:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        with sock:
            sock.settimeout(30)
            try:
                self.talk(RawConnection(sock))
            except (OSError, EOFError):
                pass

    def __exit__(self, *exc):
        self.is_stopping = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join(10)
        for thread in self.threads:
            thread.join(40)
        self.socket.unlink(missing_ok=True)


class RawConnection:
    def __init__(self, sock):
        self.sock = sock

    def _read(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def command(self):
        """The next command that is answered: macros are passed over."""
        while True:
            (length,) = struct.unpack(">I", self._read(4))
            data = self._read(length)
            if data[:1] != b"D":
                return data[:1], data[1:]

    def send(self, data):
        self.sock.sendall(data)

    def negotiate(self, actions=0x1ff, steps=0):
        letter, data = self.command()
        assert letter == b"O", letter
        self.send(packet(b"O", struct.pack(">III", 6, actions, steps)))
        return struct.unpack(">III", data[:12])

    def answer_until(self, stop, answer=b"c"):
        """Answer each command with that letter until the one named stop has come; returns its data."""
        while True:
            letter, data = self.command()
            if letter == stop:
                return data
            self.send(packet(answer))


# ---- mail through them

@contextlib.contextmanager
def postern(lab, room, milter, **options):
    """An installation of its own in a folder of its own, diverting, with these milters."""
    directory = pathlib.Path(tempfile.mkdtemp(dir=room))
    os.chmod(directory, 0o711)
    with Diverted(lab, directory, {}, rules=RULES, options={"milter": milter, "workers": 1, **options}) as post:
        yield post


def send(post, wire=MESSAGE, sender="a@sender.example", recipients=("b@milter.example",), mail_args=""):
    """One transaction; the replies to each recipient, and the last one."""
    with post.talk() as client:
        client.hello()
        assert client.say(f"MAIL FROM:<{sender}>{mail_args}").code == 250
        replies = [client.say(f"RCPT TO:<{r}>") for r in recipients]
        reply = client.say("DATA")
        if reply.code == 354:
            client.send(wire)
            reply = client.reply()
        client.say("QUIT")
        return replies, reply


def delivered(mta, before):
    """The one message that has come since."""
    return mta.wait_messages(before + 1)[before]


def header_lines(message):
    return without_received(message["wire"]).split(b"\r\n\r\n")[0].split(b"\r\n")
