"""world - posternd and posternfwd on loopback with a random crowd of clients, an administrator who meddles, and a server behind them; and
the promises, checked.

    world = World(tmp_path, seed=1)
    with world:
        world.start()
        world.begin(); ...; world.rest()     # clients and administrator work, clients and administrator rest
        world.wait_settled()
        world.check(is_crashed=False)

Every message has a text of its own, so what the server got is compared byte for byte.
"""

import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import threading
import time

from installation import BUILD, FORWARD_UID, SESSION_UID, Talk, make_reachable
from netlab import LabError, wait_until
from peer import Peer

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The exit status is that of a process that may not kill itself (spool/fault.h); with a sanitizer it may.
WORKER_DIED = "ev=worker-died .*(exit=137|signal=Killed)"


def fault_points():
    """As the program has them: a new one is in every test that asks here."""
    text = (ROOT / "spool" / "fault.h").read_text()
    points = re.findall(r'^\tX\([A-Z_]+, "([a-z-]+)"\)', text, re.MULTILINE)
    assert len(points) > 40, points
    return points


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Message:
    """code: the last reply; None: none came (cut off), 0: not even sent whole. position: when that was known."""

    def __init__(self, number, rng, is_large):
        self.number, self.code, self.id, self.position = number, 0, None, None
        self.is_deleted, self.may_be_deleted = False, True
        kind = rng.choices(("plain", "slow", "refused"), (30, 2, 1))[0]
        self.sender = f"{kind}{number}@sender.example"
        names = ["ok"] if rng.random() < 0.6 else rng.choices(("ok", "later1-", "later2-", "never"), (4, 2, 1, 1), k=rng.randint(1, 6))
        self.recipients = [f"{name}{number}-{i}@protected.example" for i, name in enumerate(names)]
        lines = [b"Subject: %d" % number, b"", b".", b"..dots", rng.randbytes(rng.randint(0, 40)).hex().encode(), b"\xc3\xa4 8bit"]
        if is_large:
            filler = rng.randbytes(36).hex().encode()
            lines += [b"%d " % i + filler for i in range(rng.randint(3600, 4200))]
        else:
            lines += [rng.randbytes(36).hex().encode()] * rng.randint(0, 60)
        self.wire = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b"\r\n.\r\n"

    def needs(self, path):
        """How the sender must hear of that recipient: "delivered" or "reported"."""
        return "reported" if path.startswith("never") or self.sender.startswith("refused") else "delivered"


class World:
    """settings: of postern.conf. position: what the moments of deliveries and replies are measured in. large: share of large messages."""

    def __init__(self, directory, seed, settings=None, position=lambda: 0, large=0.06, spool=None, clients=3):
        self.dir = pathlib.Path(directory)
        make_reachable(self.dir)
        self.spool = pathlib.Path(spool) if spool else self.dir / "spool"
        self.rng, self.position, self.large, self.client_count = random.Random(seed), position, large, clients
        self.peer = Peer(position)
        self.port = free_port()
        self.messages, self.lock = [], threading.Lock()
        self.daemon = self.forwarder = None
        self.procs, self.threads, self.lives = [], [], 0
        self.working = threading.Event()
        self.settings = {"workers": 1, "retry-min": "1s", "retry-max": "2s", "connect-timeout": "2s", "min-free-space": 0, "min-free-inodes": 0,
                         "resolver": "none", "bounce": "all", **(settings or {})}
        self.conf = self.dir / "postern.conf"

    def __enter__(self):
        self.peer.__enter__()
        (self.dir / "rules").write_text("allow:ALL:ALL:ALL\n")
        lines = [f'{key} = "{value}"' for key, value in {
            "hostname": "fw.example.net", "spool": self.spool, "rules": self.dir / "rules", "pid-file": self.dir / "posternd.pid",
            "forward-pid-file": self.dir / "posternfwd.pid", "session-user": SESSION_UID, "forward-user": FORWARD_UID,
            "bounce-via": f"smtp:127.0.0.1:{self.peer.port}", **self.settings}.items()]
        lines += [f'listen "lo" {{ mode = direct\n port = {self.port}\n address = "127.0.0.1"\n'
                  f' forward = "smtp:127.0.0.1:{self.peer.port}"\n}}']
        self.conf.write_text("\n".join(lines) + "\n")
        return self

    def __exit__(self, *exc):
        self.working.clear()
        self.kill()
        for thread in self.threads:
            thread.join(30)
        self.peer.__exit__()

    # ---- processes

    def log(self, program, life=None):
        path = self.dir / f"{program}.{life or self.lives}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _spawn(self, program, fault, file_limit):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        env = {key: value for key, value in os.environ.items() if key != "POSTERN_FAULT"}
        if fault:
            env["POSTERN_FAULT"] = fault
        with open(self.dir / f"{program}.{self.lives}.log", "ab") as out:
            proc = subprocess.Popen([str(BUILD / "bin" / program), "-f", str(self.conf)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    env=env, start_new_session=True, preexec_fn=limit if file_limit else None)
        self.procs.append(proc)
        return proc

    def start(self, fault=None, file_limit=None, wait=True):
        """Both programs; fault: POSTERN_FAULT of both."""
        self.lives += 1
        self._spawn_both(fault, file_limit)
        if wait:
            self._wait("posternd", self.daemon, "ev=ready")
            self._wait("posternfwd", self.forwarder, "ev=started")

    def _spawn_both(self, fault, file_limit):
        self.forwarder = self._spawn("posternfwd", fault, None)
        self.daemon = self._spawn("posternd", fault, file_limit)

    def start_daemon(self):
        """posternd alone."""
        self.lives += 1
        self.daemon = self._spawn("posternd", None, None)
        self._wait("posternd", self.daemon, "ev=ready")

    def start_forwarder(self, fault=None, wait=True):
        """posternfwd alone."""
        self.forwarder = self._spawn("posternfwd", fault, None)
        if wait:
            self._wait("posternfwd", self.forwarder, "ev=started")

    def wait_unlocked(self):
        """The lock of posternfwd: a helper may hold it a moment longer."""
        path = self.spool / "fwd.lock"
        if path.exists():
            inode = f":{path.stat().st_ino} "
            wait_until(lambda: inode not in pathlib.Path("/proc/locks").read_text(), "nobody to hold fwd.lock")

    def kill_forwarder(self):
        self.forwarder.kill()
        self.forwarder.wait()
        self.wait_unlocked()
        self.procs = [proc for proc in self.procs if proc is not self.forwarder]

    def _wait(self, program, proc, word):
        wait_until(lambda: word in self.log(program) or proc.poll() is not None, f"{program} to start")
        assert proc.poll() is None, self.log(program)[-3000:]

    def has_died(self):
        """Some process of ours was killed by its fault."""
        return -signal.SIGKILL in (self.daemon.poll(), self.forwarder.poll()) or bool(re.search(WORKER_DIED, self.log("posternd")))

    def kill(self):
        """All of them, at once."""
        for proc in self.procs:
            if proc.poll() is None:
                try:
                    os.killpg(proc.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            proc.wait()
        self.procs.clear()
        # Workers and helpers have left the group; they end with the channel to who is gone.
        wait_until(lambda: not self.is_listening(), "the workers to end with their master")
        self.wait_unlocked()

    def stop(self):
        """In peace."""
        for proc in self.procs:
            proc.send_signal(signal.SIGTERM)
        for proc in self.procs:
            assert proc.wait(60) == 0, proc.args
        self.procs.clear()

    def is_listening(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def postern(self, *args):
        return subprocess.run([str(BUILD / "bin" / "postern"), "-f", str(self.conf), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    def waiting(self):
        """The queue as a list of dicts; None: no answer."""
        done = self.postern("queue", "list", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    # ---- the crowd

    def begin(self, admin=True):
        self.working.set()
        self.threads = [threading.Thread(target=self._client, daemon=True) for _ in range(self.client_count)]
        if admin:
            self.threads.append(threading.Thread(target=self._admin, args=(random.Random(self.rng.random()),), daemon=True))
        for thread in self.threads:
            thread.start()

    def rest(self):
        self.working.clear()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"
        self.threads = []

    def next_message(self, is_large=None):
        with self.lock:
            message = Message(len(self.messages), self.rng, self.rng.random() < self.large if is_large is None else is_large)
            self.messages.append(message)
            return message

    def talk(self):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        talk = Talk(sock)
        talk.hello()
        return talk

    def send(self, talk, message):
        """One transaction. False: the connection is gone."""
        try:
            for command in (f"MAIL FROM:<{message.sender}>", *(f"RCPT TO:<{path}>" for path in message.recipients), "DATA"):
                reply = talk.say(command)
                if reply.code not in (250, 354):
                    message.code, message.position = reply.code or 0, self.position()
                    return reply.code is not None and talk.say("RSET").code == 250
            talk.send(message.wire[:-5])
            message.code = None
            talk.send(message.wire[-5:])
            reply = talk.reply()
        except OSError:
            return False
        if reply.code == 250:
            message.id = reply.text.split()[-1]
        message.code, message.position = reply.code, self.position()
        return reply.code is not None

    def _client(self):
        while self.working.is_set():
            try:
                with self.talk() as talk:
                    while self.working.is_set() and self.send(talk, self.next_message()):
                        time.sleep(0.004)
            except (OSError, AssertionError):
                time.sleep(0.02)

    def _admin(self, rng):
        while self.working.is_set():
            time.sleep(0.05)
            waiting = self.waiting()
            for item in rng.sample(waiting or [], min(3, len(waiting or []))):
                held = item["state"] == "held"
                verb = rng.choice(("release", "release", "delete") if held else ("hold", "hold", "retry", "delete"))
                with self.lock:
                    owner = [m for m in self.messages if m.id == item["id"]]
                if verb == "delete" and not (owner and owner[0].may_be_deleted and rng.random() < 0.3):
                    continue
                for message in owner:
                    message.is_deleted |= verb == "delete"
                self.postern("queue", verb, item["id"])

    # ---- the promises

    def wait_settled(self, limit_s=60):
        """Nothing waits any more; what is held is released."""
        self.peer.relents = True

        def is_empty():
            waiting = self.waiting()
            held = [item["id"] for item in waiting or [] if item["state"] == "held"]
            if held:
                self.postern("queue", "release", *held)
            elif waiting:
                self.postern("queue", "retry", "all")
            # A list misses what comes while it is made: the report about the last message in it.
            return waiting == [] and self.waiting() == []
        try:
            wait_until(is_empty, "everything to be settled", limit_s=limit_s, pause_s=0.01)
        except LabError as err:
            raise AssertionError(f"{err}: {self.waiting()}\n{self.log('posternfwd')[-2000:]}") from err

    def wait_delivered(self, limit_s=30, is_crashed=False):
        """Also what posternfwd could not even read for a while: only that what was promised has come tells the end."""
        end = time.monotonic() + limit_s
        while True:
            self.wait_settled()
            try:
                self.check(is_crashed)
                return
            except AssertionError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.2)

    def check(self, is_crashed, before=(), known=None, unsure=()):
        """Raises AssertionError with every broken promise. before: deliveries of an earlier life of this world; known: which messages it
        had accepted by then (all that were answered with 250, if None); unsure: codes of refusals that need not be the last word."""
        faults = []
        deliveries, reports = [*before, *self.peer.deliveries], self.peer.reports
        got, reported = {}, set()
        for delivery in deliveries:
            if not delivery.sender:
                reports = [*reports, delivery]
                continue
            for path in delivery.recipients:
                got.setdefault((delivery.sender, path), []).append(delivery)
        for delivery in reports:
            identity, paths = delivery.reported
            reported |= {(identity, path) for path in paths}
        for message in self.messages:
            for path in message.recipients:
                found = got.pop((message.sender, path), [])
                who = f"message {message.number} ({message.id}, {message.code}) for {path}"
                if any(delivery.body != message.wire for delivery in found):
                    faults.append(f"{who}: changed on the way")
                if found and message.code not in (250, None, *unsure):
                    faults.append(f"{who}: delivered, though it was refused")
                if message.code != 250 or message.is_deleted or (known is not None and message not in known):
                    continue
                if message.needs(path) == "delivered" and not found:
                    faults.append(f"{who}: LOST")
                if message.needs(path) == "reported" and (message.id, path) not in reported:
                    faults.append(f"{who}: failed, and nobody was told")
                if len(found) > 1 and not is_crashed:
                    faults.append(f"{who}: delivered {len(found)} times without a crash")
        faults += [f"{key}: never sent by anybody" for key in got]
        if not is_crashed and len(reports) != len({delivery.reported[0] for delivery in reports}):
            # One message may have two: its recipients fail at different attempts.
            told = [(delivery.reported[0], path) for delivery in reports for path in delivery.reported[1]]
            faults += [f"{who}: reported twice" for who in {who for who in told if told.count(who) > 1}]
        assert not faults, "\n".join([f"{len(faults)} broken promises:", *faults[:20]])
