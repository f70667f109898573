"""power_cut - the states in which a disk can be after a power cut, from the log of a fuse_disk.

What was written before the last flush is there. Of what came since, a disk that lost its power has kept any part: everything so far (the
disk wrote in order), any subset of the writes, and of each write any of its sectors.
"""

import os

SECTOR = 512
CHUNK = 4096


class States:
    """for image in States(entries, size).at(positions): positions ascending; image.write(path, rng, how)."""

    def __init__(self, entries, size):
        self.entries, self.size = entries, size
        self.durable = bytearray(size)
        self.touched = set()
        self.flushed = self.next = 0

    def _apply(self, image, touched, offset, data):
        image[offset:offset + len(data)] = data
        touched.update(range(offset // CHUNK, (offset + len(data) + CHUNK - 1) // CHUNK))

    def advance(self, position):
        """Go on to the moment when the log had that many entries; there is no way back."""
        last = max((i for i in range(self.next, position) if self.entries[i][0] == b"F"), default=self.flushed)
        for kind, offset, data in self.entries[self.flushed:last]:
            if kind == b"W":
                self._apply(self.durable, self.touched, offset, data)
        self.flushed, self.next = last, position
        return self

    def pending(self):
        return [(offset, data) for kind, offset, data in self.entries[self.flushed:self.next] if kind == b"W"]

    def _kept(self, rng, how):
        pending = self.pending()
        if how == "in order":
            return pending
        kept = [write for write in pending if rng.random() < rng.choice((0.2, 0.5, 0.9))]
        if how == "torn" and pending:
            offset, data = rng.choice(pending)
            kept += [(offset + at, data[at:at + SECTOR]) for at in range(0, len(data), SECTOR) if rng.random() < 0.5]
        return kept

    def write(self, path, rng, how):
        """The image at that moment; how: "in order", "subset" or "torn". Returns how many pending writes were left out."""
        kept = self._kept(rng, how)
        over, over_touched = {}, set()
        for offset, data in kept:
            # Small beside the disk: only its own chunks are copied.
            for chunk in range(offset // CHUNK, (offset + len(data) + CHUNK - 1) // CHUNK):
                if chunk not in over:
                    over[chunk] = bytearray(self.durable[chunk * CHUNK:(chunk + 1) * CHUNK])
                begin = max(offset, chunk * CHUNK)
                end = min(offset + len(data), (chunk + 1) * CHUNK)
                over[chunk][begin - chunk * CHUNK:end - chunk * CHUNK] = data[begin - offset:end - offset]
            over_touched.update(over)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(fd, self.size)
            for first, last in _runs(sorted(self.touched - over.keys())):
                os.pwrite(fd, memoryview(self.durable)[first * CHUNK:(last + 1) * CHUNK], first * CHUNK)
            for chunk, data in over.items():
                os.pwrite(fd, data, chunk * CHUNK)
        finally:
            os.close(fd)
        return len(self.pending()) - len(kept)


def _runs(numbers):
    """[1, 2, 3, 7] -> (1, 3), (7, 7)"""
    first = last = None
    for number in numbers:
        if last is not None and number != last + 1:
            yield first, last
            first = number
        first = number if first is None else first
        last = number
    if first is not None:
        yield first, last
