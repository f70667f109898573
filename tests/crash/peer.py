"""peer - the server behind postern, in this process: remembers what it took, and says no where its recipients' names ask for it.

Local parts of recipients: `ok…` are taken; `laterN…` get 450 at RCPT the first N times; `never…` get 550. A message whose sender begins
with `slow` gets 451 at its first end of data, `refused` 554 always. Reports (null sender) are read as far as the tests need them.

What is taken is remembered, with the moment (position(), any number), before its 250 leaves: what postern notes of it comes later.
"""

import re
import socket
import threading
from collections import Counter

EHLO = b"250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n"


class Delivery:
    def __init__(self, sender, recipients, wire, position):
        self.sender, self.recipients, self.wire, self.position = sender, recipients, wire, position

    @property
    def body(self):
        """Behind our Received field."""
        match = re.match(rb"Received: .*?\r\n(?![ \t])", self.wire, re.DOTALL)
        assert match, self.wire[:80]
        return self.wire[match.end():]

    @property
    def reported(self):
        """(id of the message, its recipients) of a report."""
        identity = re.search(rb"^X-Postern-Id: (\w+)", self.wire, re.MULTILINE)
        assert identity, self.wire
        return identity[1].decode(), re.findall(r"^Final-Recipient: rfc822;(\S+)", self.wire.decode("latin-1"), re.MULTILINE)


class Peer:
    """with Peer() as peer: peer.port, peer.deliveries. relents: everybody is taken from now on, but never… and refused…."""

    def __init__(self, position=lambda: 0):
        self.position = position
        self.deliveries, self.reports = [], []
        self.relents = False
        self.lock = threading.Lock()
        self.tried = Counter()
        self.server, self.port = None, 0
        self._listen()

    def _listen(self):
        self.server = socket.create_server(("127.0.0.1", self.port), backlog=200)
        self.port = self.server.getsockname()[1]

    def open_again(self):
        """with peer.open_again(): the same port, after the with block of the peer itself."""
        self._listen()
        return self

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        # A blocked accept keeps a socket that is only closed.
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def restart_counting(self):
        """A new life of the same world: what was taken is forgotten."""
        with self.lock:
            self.deliveries, self.reports, self.tried = [], [], Counter()

    def _accept(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(sock,), daemon=True).start()

    def _handle(self, sock):
        try:
            with sock, sock.makefile("rb") as stream:
                self._serve(sock, stream)
        except OSError:
            pass

    def _first_times(self, what, count):
        with self.lock:
            self.tried[what] += 1
            return not self.relents and self.tried[what] <= count

    def _rcpt(self, path):
        if path.startswith("never"):
            return b"550 5.1.1 no such user\r\n"
        later = re.match(r"later(\d+)", path)
        if later and self._first_times(path, int(later[1])):
            return b"450 4.2.0 not now\r\n"
        return b"250 2.1.5 ok\r\n"

    def _take(self, sender, recipients, wire):
        if sender.startswith("refused"):
            return b"554 5.6.0 not this one\r\n"
        if sender.startswith("slow") and self._first_times(sender, 1):
            return b"451 4.3.0 not yet\r\n"
        with self.lock:
            (self.deliveries if sender else self.reports).append(Delivery(sender, recipients, wire, self.position()))
        return b"250 2.0.0 taken\r\n"

    def _serve(self, sock, stream):
        sock.sendall(b"220 peer ESMTP\r\n")
        sender, recipients = None, []
        while True:
            line = stream.readline()
            if not line:
                return
            verb, path = line[:4].upper(), re.search(rb"<([^>]*)>", line)
            if verb in (b"EHLO", b"HELO"):
                sock.sendall(EHLO)
            elif verb == b"MAIL":
                sender, recipients = path[1].decode("latin-1"), []
                sock.sendall(b"250 2.1.0 ok\r\n")
            elif verb == b"RCPT":
                reply = self._rcpt(path[1].decode("latin-1"))
                if reply.startswith(b"250"):
                    recipients.append(path[1].decode("latin-1"))
                sock.sendall(reply)
            elif verb == b"DATA":
                if not recipients:
                    sock.sendall(b"503 5.5.1 no recipients\r\n")
                    continue
                sock.sendall(b"354 go\r\n")
                lines = [stream.readline()]
                while lines[-1] != b".\r\n":
                    if not lines[-1]:
                        return
                    lines.append(stream.readline())
                sock.sendall(self._take(sender, recipients, b"".join(lines)))
                recipients = []
            elif verb == b"QUIT":
                sock.sendall(b"221 bye\r\n")
                return
            else:
                sock.sendall(b"250 2.0.0 ok\r\n")
