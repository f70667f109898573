"""recording_server.py ADDRESS PORT FILE [option=value...] - an SMTP server that accepts everything and writes one JSON line a message.

Options: rcpt_CODE=LOCALPART (answer RCPT for that local part with CODE), data_code=CODE (answer the end of data with it),
data_fail_first=N (answer the first N ends of data with 451), data_fail_every=N (each Nth likewise), ehlo=A,B (what EHLO offers), greet_delay=S, close_after=N (close after N messages),
silent=1 (accept connections and never say a word), hang_up_at=VERB (hang up instead of answering it).
starttls=HOW: no server that means it: refuse, close, garbage, hang, inject (more words in clear text behind its 220), early (220 before it was asked).
lmtp=1: speak LMTP (RFC 2033) and record for each recipient that got 250 at the end; done_CODE=LOCALPART (answer CODE for that local part then),
hang_up_after=N (the first time, hang up after N of these replies).
"""

import json
import socket
import sys
import threading
import time

ADDRESS, PORT, PATH = sys.argv[1], int(sys.argv[2]), sys.argv[3]
OPTIONS = dict(option.split("=", 1) for option in sys.argv[4:])
EHLO = OPTIONS.get("ehlo", "PIPELINING,8BITMIME,SIZE,DSN,ENHANCEDSTATUSCODES").split(",")
RCPT_CODES = {value: key[5:] for key, value in OPTIONS.items() if key.startswith("rcpt_")}
DONE_CODES = {value: key[5:] for key, value in OPTIONS.items() if key.startswith("done_")}
STARTTLS = OPTIONS.get("starttls")
HELLOS = ("LHLO",) if OPTIONS.get("lmtp") else ("EHLO", "HELO")
lock = threading.Lock()
failures_left = int(OPTIONS.get("data_fail_first", 0))
fail_every, ends_of_data = int(OPTIONS.get("data_fail_every", 0)), 0
hang_ups = [int(OPTIONS["hang_up_after"])] if "hang_up_after" in OPTIONS else []


def read_line(stream):
    line = stream.readline()
    if not line:
        raise ConnectionError
    return line


def read_data(stream):
    """Everything up to and with the final dot line: only CRLF.CRLF ends it."""
    wire, previous = [], b"\r\n"
    while True:
        line = read_line(stream)
        wire.append(line)
        if line == b".\r\n" and previous.endswith(b"\r\n"):
            return b"".join(wire)
        previous = line


def local_part(line):
    return line.split("<", 1)[-1].split("@", 1)[0].rstrip(">")


def answer_each(say, message, connection):
    """The LMTP way. True: hang up."""
    with lock:
        replies_left = hang_ups.pop() if hang_ups else None
    for rcpt in message["rcpts"]:
        if replies_left == 0:
            return True
        code = DONE_CODES.get(local_part(rcpt), "250")
        if code == "250":
            with lock, open(PATH, "a") as out:
                out.write(json.dumps({**connection, **message, "rcpts": [rcpt]}) + "\n")
        say(f"{code} {code[0]}.2.0 {rcpt} done")
        replies_left = replies_left and replies_left - 1
    return False


def serve(sock, peer):
    global failures_left, ends_of_data
    stream = sock.makefile("rb")
    connection = {"client": peer[0], "client_port": peer[1], "commands": []}

    def say(text):
        sock.sendall(text.encode() + b"\r\n")

    if OPTIONS.get("silent"):
        stream.read()
        return
    time.sleep(float(OPTIONS.get("greet_delay", 0)))
    say("220 recorder ESMTP")
    message, count = None, 0
    while True:
        line = read_line(stream).rstrip(b"\r\n").decode("latin-1")
        connection["commands"].append(line)
        verb = line[:4].upper()
        if verb == OPTIONS.get("hang_up_at"):
            return
        if verb in HELLOS:
            connection["helo"] = line[5:]
            if verb != "HELO":
                words = ["recorder", *EHLO]
                text = "".join(f"250-{word}\r\n" for word in words[:-1]) + f"250 {words[-1]}"
                say(text + "\r\n220 go" if STARTTLS == "early" else text)
            else:
                say("250 recorder")
        elif verb == "MAIL":
            message = {"mail": line[10:], "rcpts": []}
            say("250 2.1.0 ok")
        elif verb == "RCPT":
            local = local_part(line)
            code = RCPT_CODES.get(local)
            if code:
                say(f"{code} {code[0]}.{'7.1' if code == '554' else '1.1'} no {local} here")
            else:
                message["rcpts"].append(line[8:])
                say("250 2.1.5 ok")
        elif verb == "DATA":
            if not message or not message["rcpts"]:
                say("503 5.5.1 no recipients")
                continue
            say("354 go")
            message["wire"] = read_data(stream).decode("latin-1")
            if OPTIONS.get("lmtp"):
                if answer_each(say, message, connection):
                    return
                continue
            with lock:
                fails = failures_left > 0
                failures_left -= fails
                ends_of_data += 1
                fails = fails or (fail_every > 0 and ends_of_data % fail_every == 0)
            code = "451" if fails else OPTIONS.get("data_code", "250")
            if code == "250":
                with lock, open(PATH, "a") as out:
                    out.write(json.dumps({**connection, **message}) + "\n")
            say(f"{code} {code[0]}.0.0 done")
            message, count = None, count + 1
            if count == int(OPTIONS.get("close_after", 0)):
                return
        elif verb == "QUIT":
            say("221 bye")
            return
        elif verb == "STAR" and STARTTLS:
            if STARTTLS == "refuse":
                say("454 4.7.0 not today")
                continue
            if STARTTLS == "inject":
                sock.sendall(b"220 go\r\n250-recorder\r\n250 PIPELINING\r\n")
            else:
                say("220 go")
            if STARTTLS == "close":
                return
            stream.read(1)
            if STARTTLS in ("garbage", "inject"):
                sock.sendall(b"500 what is this?\r\n" * 10)
            stream.read()
            return
        elif verb == "XFOR":
            say("250 2.0.0 ok")
        elif verb in ("RSET", "NOOP"):
            say("250 2.0.0 ok")
        else:
            say("502 5.5.1 what?")


def handle(sock, peer):
    try:
        serve(sock, peer)
    except (ConnectionError, OSError):
        pass
    finally:
        sock.close()


family = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET
server = socket.socket(family)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((ADDRESS, PORT))
server.listen(200)
while True:
    sock, peer = server.accept()
    threading.Thread(target=handle, args=(sock, peer), daemon=True).start()
