"""installation - a postern (posternd, posternfwd) on the firewall of a lab, and the peers around it.

    with Lab("ptest-x") as lab, Installation(lab, tmp_path, rules="allow:ALL:ALL:ALL\\n") as post, Recorder(lab, lab.MTA4) as mta:
        lab.divert("up", "--iface", "wan")
        post.start()                       # posternd and posternfwd
        client = post.talk()               # a raw SMTP conversation, inet to mta:25, through the diversion
        assert client.greeting[0] == 220
        client.say("EHLO client.example.net")
        ...
        message = mta.wait_messages(1)[0]  # what the server behind the firewall got

The users of the processes are plain numbers: nothing is added to the machine's user list.
"""

import json
import os
import pathlib
import re
import signal
import subprocess

from netlab import PYTHON, ROOT, wait_until

BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))
SESSION_UID, FORWARD_UID = 64981, 64982
HERE = pathlib.Path(__file__).resolve().parent


class Reply(tuple):
    """(code, text); text has the lines of the reply, without code, joined by newlines."""

    @property
    def code(self):
        return self[0]

    @property
    def text(self):
        return self[1]


class Talk:
    """One SMTP connection, byte by byte as the test wants it."""

    def __init__(self, sock, greet=True):
        self.sock = sock
        self.buffer = b""
        self.greeting = self.reply() if greet else None

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        """One line with its end; b"" when the server has closed."""
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                rest, self.buffer = self.buffer, b""
                return rest
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def reply(self):
        lines = []
        while True:
            line = self.line()
            if not line:
                return Reply((None, "closed"))
            assert line.endswith(b"\r\n") and len(line) <= 512, line
            text = line[:-2].decode("ascii")
            lines.append(text[4:])
            if text[3:4] != "-":
                return Reply((int(text[:3]), "\n".join(lines)))

    def say(self, command):
        """Send one command line, return its reply."""
        self.send(command + "\r\n" if isinstance(command, str) else command + b"\r\n")
        return self.reply()

    def hello(self, name="client10.example.net"):
        reply = self.say(f"EHLO {name}")
        assert reply.code == 250, reply
        return reply

    def envelope(self, sender="a@sender.example", *recipients):
        """MAIL, the recipients, DATA: the server now waits for the message."""
        for command in [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{r}>" for r in recipients or ("b@protected.example",))]:
            reply = self.say(command)
            assert reply.code == 250, (command, reply)
        reply = self.say("DATA")
        assert reply.code == 354, reply

    def message(self, wire, sender="a@sender.example", *recipients):
        """A whole transaction; wire must have its dots stuffed and the final dot. Returns the last reply."""
        self.envelope(sender, *recipients)
        self.send(wire)
        return self.reply()

    def is_closed(self):
        """Has the server closed? Reads what is left."""
        while True:
            if not self.line():
                return True

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Recorder:
    """A server in mta that accepts every message and remembers it exactly as it came (recording_server.py). args: its options."""

    def __init__(self, lab, address, port=25, args=(), ns="mta"):
        self.lab, self.address, self.port, self.args, self.ns = lab, address, port, list(args), ns

    def __enter__(self):
        self.path = pathlib.Path(self.lab.state) / f"recorder-{self.address.replace(':', '_')}-{self.port}.jsonl"
        self.path.unlink(missing_ok=True)
        self.proc = self.lab.popen(self.ns, [PYTHON, str(HERE / "recording_server.py"), self.address, str(self.port), str(self.path), *self.args])
        self.lab.wait_listening(self.ns, self.port, proc=self.proc, address=self.address)
        return self

    def __exit__(self, *exc):
        self.lab.stop(self.proc)

    def messages(self):
        """Dicts: client, helo, mail, rcpts, wire (bytes as they came, with the final dot), commands."""
        if not self.path.exists():
            return []
        found = []
        # What is behind the last line end is still being written.
        for line in self.path.read_text().split("\n")[:-1]:
            message = json.loads(line)
            message["wire"] = message["wire"].encode("latin-1")
            found.append(message)
        return found

    def wait_messages(self, count, limit_s=30):
        wait_until(lambda: len(self.messages()) >= count, f"{count} messages at {self.address}", limit_s=limit_s)
        return self.messages()


def without_received(wire):
    """The message without the Received field that postern put in front."""
    head, sep, rest = wire.partition(b"\r\n")
    assert head.startswith(b"Received: from "), head
    while rest[:1] in b" \t" and rest:
        head, sep, rest = rest.partition(b"\r\n")
    return rest


def make_reachable(directory):
    """Let the unprivileged processes walk to directory: pytest makes its own folders 0700."""
    for path in (directory, *directory.parents):
        mode = path.stat().st_mode
        if not mode & 0o001:
            path.chmod(mode & 0o7777 | 0o011)


class Installation:
    """options: further lines of postern.conf as a dict; listen: options of the listen section as a dict; more_listen: {interface: options}."""

    def __init__(self, lab, directory, rules="allow:ALL:ALL:ALL\n", iface="wan", listen=None, options=None, ns="fw", more_listen=None):
        self.lab, self.ns, self.iface = lab, ns, iface
        self.dir = pathlib.Path(directory)
        make_reachable(self.dir)
        self.spool = self.dir / "spool"
        self.conf_path, self.rules_path = self.dir / "postern.conf", self.dir / "rules"
        self.options = {
            "hostname": "fw.example.net",
            "spool": self.spool,
            "rules": self.rules_path,
            "pid-file": self.dir / "posternd.pid",
            "forward-pid-file": self.dir / "posternfwd.pid",
            "session-user": SESSION_UID,
            "forward-user": FORWARD_UID,
            "min-free-space": 0,
            "min-free-inodes": 0,
        }
        self.options.update(options or {})
        self.listen, self.more_listen = listen or {}, more_listen or {}
        self.rules_path.write_text(rules)
        self.write_conf()
        self.daemon = self.forwarder = None
        self.prefix = []  # of the daemons' command lines: prlimit and the like
        self.logs = {}

    def write_conf(self):
        lines = [f'{key} = "{value}"' for key, value in self.options.items()]
        for iface, options in [(self.iface, self.listen), *self.more_listen.items()]:
            lines += [f'listen "{iface}" {{', *(f'    {key} = "{value}"' for key, value in options.items()), "}"]
        self.conf_path.write_text("\n".join(lines) + "\n")

    # ---- processes

    def _spawn(self, program, args, env):
        log = self.dir / f"{program}.log"
        self.logs[program] = log
        with open(log, "ab") as out:
            return self.lab.popen(self.ns, [*self.prefix, str(BUILD / "bin" / program), *map(str, args)], stdout=out, stderr=out,
                                  stdin=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))

    def start_daemon(self, env=None):
        before = self.log().count("ev=ready")
        self.daemon = self._spawn("posternd", ["-f", self.conf_path], env)
        self._wait_start(self.daemon, "posternd", lambda: self.log().count("ev=ready") > before)
        return self.daemon

    def start_forwarder(self, env=None):
        self.forwarder = self._spawn("posternfwd", ["-f", self.conf_path], env)
        self._wait_start(self.forwarder, "posternfwd", lambda: (self.spool / "fwdctl.sock").is_socket() and self._answers())
        return self.forwarder

    def _answers(self):
        return self.postern("queue", "list", check=False).returncode == 0

    def _wait_start(self, proc, program, condition):
        def ready():
            if proc.poll() is not None:
                raise AssertionError(f"{program} ended with {proc.returncode}: {self.log(program)}")
            return condition()
        wait_until(ready, f"{program} to be ready")

    def start(self):
        self.start_daemon()
        self.start_forwarder()
        return self

    def stop(self, proc, sig=signal.SIGTERM, grace_s=45):
        return self.lab.stop(proc, sig=sig, grace_s=grace_s)

    def run(self, program, *args, timeout=60, env=None, text_in=""):
        """Run one of our programs to its end, with text_in to read; CompletedProcess with stdout and stderr together as text."""
        return subprocess.run(self.lab.argv(self.ns, [str(BUILD / "bin" / program), *map(str, args)]), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, input=text_in, text=True, timeout=timeout, check=False,
                              env=dict(os.environ, **(env or {})))

    def postern(self, *args, check=True):
        done = self.run("postern", "-f", self.conf_path, *args)
        assert not check or done.returncode == 0, done.stdout
        return done

    def status(self):
        return json.loads(self.postern("status", "--json").stdout)

    def workers_by_log(self):
        """{number: pid} of the session workers, as the master said in its log; needs no postern command."""
        return {int(number): int(pid) for number, pid in re.findall(r'msg="worker (\d+) runs with pid (\d+)"', self.log())}

    def worker_pids(self):
        return [int(w["pid"]) for w in self.status()["workers"]]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for proc in (self.daemon, self.forwarder):
            if proc is not None and proc.poll() is None:
                self.stop(proc, grace_s=10)
        for program in self.logs:
            found = re.search("(AddressSanitizer|LeakSanitizer|runtime error).*", self.log(program))
            assert not found, f"{program}: {found[0]}: {self.logs[program]}"

    # ---- what they say

    def log(self, program="posternd"):
        path = self.dir / f"{program}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_log(self, pattern, program="posternd", limit_s=20):
        wait_until(lambda: re.search(pattern, self.log(program)), f"{pattern!r} in the log of {program}", limit_s=limit_s)

    # ---- clients

    def talk(self, source=None, target=None, port=25, greet=True, timeout=20):
        """From inet to the protected server (or target), through the diversion."""
        source = source or self.lab.CLIENT4
        target = target or (self.lab.MTA6 if ":" in source else self.lab.MTA4)
        return Talk(self.lab.connect("inet", (source, 0), (target, port), timeout=timeout), greet=greet)


class Diverted:
    """An Installation in mode redirect and its diversion, up within the with block. ready: called with the Installation before traffic flows."""

    def __init__(self, lab, directory, listen, divert=(), ready=None, **kw):
        self.lab, self.divert, self.ready = lab, divert, ready
        self.post = Installation(lab, directory, listen={"mode": "redirect", **listen}, **kw)

    def __enter__(self):
        try:
            self.post.start()
            if self.ready:
                self.ready(self.post)
            self.lab.divert("up", "--iface", "wan", "--mode", "redirect", *self.divert)
        except BaseException:
            self.__exit__()
            raise
        return self.post

    def __exit__(self, *exc):
        self.lab.divert("down", "--iface", "wan", check=False)
        self.post.__exit__(*exc)
