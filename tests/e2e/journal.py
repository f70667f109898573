"""journal - reads a spool's journal by docs/spool-format.md alone: an independent check of that page and of what posternd writes.

    for message in journal.messages(spool):
        message.id, message.sender, message.recipients, message.fields["HELO"], message.wire, message.text

Every checksum and length is verified; anything that the page does not allow raises JournalError. A torn tail does so only with
strict=True: it is normal behind a writer that was killed.
"""

import pathlib
import re
import struct

MAGIC = b"\0POSTERN"
HEADER = struct.Struct("<8sHHIQ16sIIQII")
BODY_IS_A_FILE = 1
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class JournalError(Exception):
    """The spool is not what spool-format.md says."""


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def _need(condition, what):
    if not condition:
        raise JournalError(what)


def unescape(text):
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text)


class Recipient:
    """path without its brackets; parameters as a dict of text."""

    def __init__(self, value):
        match = re.fullmatch(rb"<([^<> ]*)>((?: [A-Z0-9-]+=[^ ]+)*)", value)
        _need(match, f"RCPT {value!r}")
        self.path = unescape(match[1]).decode("latin-1")
        self.parameters = dict(word.split("=", 1) for word in unescape(match[2]).decode("latin-1").split())


class Message:
    """One record; wire is the body as it would go to the next server, text the message itself."""

    def __init__(self, segment, offset, message_id, envelope, wire):
        self.segment, self.offset, self.id, self.wire = segment, offset, message_id, wire
        self.fields, self.recipients, self.sender = {}, [], None
        _need(envelope.endswith(b"\n") and b"\0" not in envelope and b"\r" not in envelope, f"{message_id}: envelope {envelope!r}")
        for number, line in enumerate(envelope[:-1].split(b"\n")):
            key, _, value = line.partition(b" ")
            _need(re.fullmatch(rb"[A-Z][A-Z0-9-]{0,31}", key), f"{message_id}: line {line!r}")
            _need(all(0x20 <= byte <= 0x7E for byte in value), f"{message_id}: line {line!r}")
            _need((key == b"FROM") == (number == 0), f"{message_id}: FROM is not the first line")
            if key == b"FROM":
                match = re.fullmatch(rb"<([^<> ]*)>", value)
                _need(match, f"{message_id}: {line!r}")
                self.sender = unescape(match[1]).decode("latin-1")
            elif key == b"RCPT":
                _need(not self.fields, f"{message_id}: RCPT behind other lines")
                self.recipients.append(Recipient(value))
            else:
                _need(key.decode() not in self.fields, f"{message_id}: {line!r} twice")
                self.fields[key.decode()] = unescape(value).decode("latin-1")
        _need(self.recipients, f"{message_id}: no recipient")

    @property
    def paths(self):
        return [recipient.path for recipient in self.recipients]

    def check_wire(self):
        """Ends in CRLF.CRLF, which is nowhere else; no NUL, no bare CR, no bare LF, every line that starts with a dot has two."""
        _need(self.wire.endswith(b"\r\n.\r\n"), f"{self.id}: ends in {self.wire[-10:]!r}")
        lines = self.wire.split(b"\r\n")
        _need(lines[-1] == b"", f"{self.id}: no final CRLF")
        for line in lines[:-2]:
            _need(not line.startswith(b".") or line.startswith(b".."), f"{self.id}: dot line {line[:40]!r}")
            _need(b"\r" not in line and b"\n" not in line and b"\0" not in line, f"{self.id}: {line[:40]!r}")
        return self

    @property
    def text(self):
        """The message as the client meant it, Received field included: the final dot and the stuffing dots are gone."""
        self.check_wire()
        body = self.wire[:-3]
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in body.split(b"\r\n"))

    @property
    def received(self):
        """Our Received field, its lines joined by CRLF as they stand."""
        match = re.match(rb"Received: .*?\r\n(?![ \t])", self.wire, re.DOTALL)
        _need(match, f"{self.id}: begins with {self.wire[:60]!r}")
        return match[0].decode("ascii")

    @property
    def sent(self):
        """The wire form without our Received field: what the client sent."""
        return self.wire[len(self.received):]


def _read_segment(spool, path, strict, check_body):
    _need(re.fullmatch(r"\d{16}\.w\d+\.seg", path.name), f"name {path.name}")
    data = path.read_bytes()
    offset = 0
    # Zeros up to the end: prepared, and not used yet.
    used = len(data.rstrip(b"\0"))
    while offset < used:
        if len(data) - offset < HEADER.size:
            _need(not strict, f"{path.name}: torn at {offset}")
            return
        magic, version, flags, crc, own_offset, raw_id, env_len, env_crc, body_len, body_crc, zero = HEADER.unpack_from(data, offset)
        raw = bytearray(data[offset:offset + HEADER.size])
        raw[12:16] = b"\0\0\0\0"
        if magic != MAGIC or crc32c(raw) != crc:
            _need(not strict, f"{path.name}: no record at {offset}")
            return
        _need(version == 1 and zero == 0 and own_offset == offset and flags in (0, BODY_IS_A_FILE), f"{path.name}: header at {offset}")
        message_id = raw_id[:14].decode("ascii")
        _need(raw_id[14:] == b"\0\0" and all(c in ID_ALPHABET for c in message_id), f"{path.name}: id {raw_id!r}")
        number = 0
        for c in message_id:
            number = number << 5 | ID_ALPHABET.index(c)
        _need(number >> 16 & 1023 == int(path.name.split(".w")[1].split(".")[0]), f"{path.name}: {message_id} is another worker's")
        begin = offset + HEADER.size
        envelope = data[begin:begin + env_len]
        begin += env_len
        if flags & BODY_IS_A_FILE:
            body = (pathlib.Path(spool) / "large" / message_id).read_bytes()
            end = begin
        else:
            end = begin + body_len
            body = data[begin:end]
        if len(envelope) != env_len or (end > len(data) and not strict):
            _need(not strict, f"{path.name}: torn at {offset}")
            return
        _need(len(body) == body_len, f"{message_id}: body of {len(body)} bytes, not {body_len}")
        _need(crc32c(envelope) == env_crc, f"{message_id}: checksum of the envelope")
        # A checksum byte by byte takes Python a while: of large bodies only where asked for.
        if check_body or body_len <= 65536:
            _need(crc32c(body) == body_crc, f"{message_id}: checksum of the body")
        yield Message(path.name, offset, message_id, envelope, body)
        offset = end


def messages(spool, strict=False, check_body=False):
    """Every record of every segment, sorted by id, that is by time."""
    found = []
    for path in sorted((pathlib.Path(spool) / "journal").glob("*.seg")):
        found += _read_segment(spool, path, strict, check_body)
    return sorted(found, key=lambda message: message.id)


def stored_id(reply):
    """The id in `250 2.0.0 Ok: stored as ID`."""
    match = re.fullmatch(r"2\.0\.0 Ok: stored as ([0-9a-z]{14})", reply.text)
    assert reply.code == 250 and match, reply
    return match[1]


def find(spool, reply):
    """The message that this reply promised."""
    wanted = stored_id(reply)
    found = [message for message in messages(spool) if message.id == wanted]
    assert len(found) == 1, (wanted, found)
    return found[0]
