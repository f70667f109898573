"""dns_stub.py ADDRESS PORT ZONE LOG - a DNS server (UDP and TCP) that can misbehave.

ZONE is a JSON file: {"name TYPE": answer}, read again for each question. An answer is
    [rdata, ...]                      records: "192.0.2.1", "10 mx.example", "name.example"
    {"cname": target}                 an alias (and what the zone has for the target behind it)
    {"rcode": 2}                      SERVFAIL and the like
    {"drop": true}                    nothing
    {"delay": seconds, "answer": …}   later
    {"truncate": true, "answer": …}   over UDP the TC bit and nothing else
"*.suffix TYPE" stands for names below suffix. What is not there does not exist (NXDOMAIN), unless the name has other types.
LOG gets one line a question: seconds udp|tcp name TYPE.
"""

import asyncio
import json
import socket
import struct
import sys
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
NAMES = {number: name for name, number in TYPES.items()}
address, port, zone_path, log_path = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


def pack_name(name):
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".") if label) + b"\0"


def pack_data(kind, text):
    if kind in ("A", "AAAA"):
        return socket.inet_pton(socket.AF_INET if kind == "A" else socket.AF_INET6, text)
    if kind == "MX":
        preference, name = text.split()
        return struct.pack(">H", int(preference)) + pack_name(name)
    if kind == "TXT":
        return bytes([len(text)]) + text.encode()
    return pack_name(text)


def find(zone, name, kind):
    if f"{name} {kind}" in zone:
        return zone[f"{name} {kind}"]
    labels = name.split(".")
    for i in range(1, len(labels)):
        if f"*.{'.'.join(labels[i:])} {kind}" in zone:
            return zone[f"*.{'.'.join(labels[i:])} {kind}"]
    return None


async def respond(data, is_tcp):
    at, labels = 12, []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode("latin-1").lower())
        at += 1 + data[at]
    kind = NAMES.get(struct.unpack(">H", data[at + 1:at + 3])[0], "?")
    question, name = data[12:at + 5], ".".join(labels)
    with open(log_path, "a", encoding="ascii") as log:
        log.write(f"{time.monotonic():.3f} {'tcp' if is_tcp else 'udp'} {name} {kind}\n")
    with open(zone_path, encoding="utf-8") as file:
        zone = json.load(file)
    answer, rcode, flags, records = find(zone, name, kind), 0, 0x8180, []
    while True:
        if isinstance(answer, dict) and "delay" in answer:
            await asyncio.sleep(answer["delay"])
            answer = answer.get("answer")
        elif isinstance(answer, dict) and "truncate" in answer:
            if not is_tcp:
                return data[:2] + struct.pack(">HHHHH", flags | 0x200, 1, 0, 0, 0) + question
            answer = answer["answer"]
        elif isinstance(answer, dict) and "cname" in answer:
            records.append((name, "CNAME", answer["cname"]))
            name = answer["cname"]
            answer = find(zone, name, kind) if len(records) < 20 else None
        else:
            break
    if isinstance(answer, dict) and answer.get("drop"):
        return None
    if isinstance(answer, dict):
        rcode = answer["rcode"]
    elif answer is None:
        rcode = 0 if records or any(key.startswith(name + " ") for key in zone) else 3
    else:
        records += [(name, kind, text) for text in answer]
    wire = b"".join(pack_name(owner) + struct.pack(">HHIH", TYPES[k], 1, 300, len(pack_data(k, text))) + pack_data(k, text) for owner, k, text in records)
    return data[:2] + struct.pack(">HHHHH", flags | rcode, 1, len(records), 0, 0) + question + wire


class Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        asyncio.ensure_future(self.answer(data, addr))

    async def answer(self, data, addr):
        reply = await respond(data, False)
        if reply and len(reply) > 1232:
            reply = reply[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + reply[12:12 + reply[12:].index(b"\0") + 5]
        if reply:
            self.transport.sendto(reply, addr)


async def tcp(reader, writer):
    try:
        while True:
            size = struct.unpack(">H", await reader.readexactly(2))[0]
            reply = await respond(await reader.readexactly(size), True)
            if reply:
                writer.write(struct.pack(">H", len(reply)) + reply)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Udp, local_addr=(address, port))
    server = await asyncio.start_server(tcp, address, port)
    await server.serve_forever()


asyncio.run(main())
