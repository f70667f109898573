"""netlab - a lab of network namespaces (scripts/lab) for one test or one test session.

    with Lab("ptest-smtp") as lab:
        server = lab.popen("mta", ["smtp-sink", "-u", "nobody", "203.0.113.25:25", "100"])
        lab.wait_listening("mta", 25, server)
        lab.divert("up", "--iface", "wan")
        with lab.connect("inet", (lab.CLIENT4, 0), (lab.MTA4, 25)) as sock:
            print(sock.recv(100))

Whatever happens, the lab goes down at the end of the with block (at the latest when Python ends), and every process
started by popen() is ended, each by its own pid. Needs root. Test files have theirs from conftest.py: labs with
different names stand side by side. POSTERN_LAB_SUFFIX in the environment goes behind each name, so that two trees can be
tested on one machine at once.
"""

import atexit
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "scripts" / "lab"
DIVERT = ROOT / "scripts" / "postern-divert"
PYTHON = "/usr/bin/python3"
CLONE_NEWNET = 0x40000000
SUFFIX = os.environ.get("POSTERN_LAB_SUFFIX", "")


class LabError(Exception):
    """A command in the lab failed, or something awaited did not come."""


class Lab:
    """The three namespaces inet, fw and mta under a prefix of their own."""

    # inet's addresses; "4" and "6" always mean the IP version.
    CLIENT4, CLIENT6 = "192.0.2.10", "2001:db8:1::10"
    CLIENTS4 = ("192.0.2.10", "192.0.2.11", "192.0.2.12")
    CLIENTS6 = ("2001:db8:1::10", "2001:db8:1::11", "2001:db8:1::12")
    SPAMMER4, SPAMMER6 = "192.0.2.66", "2001:db8:1::66"
    FAR_CLIENT4 = "198.51.100.7"
    DNS4, DNS6 = "192.0.2.53", "2001:db8:1::53"
    # fw's
    WAN4, WAN6 = "192.0.2.1", "2001:db8:1::1"
    LAN4, LAN6 = "203.0.113.1", "2001:db8:2::1"
    # mta's
    MTA4, MTA6 = "203.0.113.25", "2001:db8:2::25"
    MTA4_2, MTA6_2 = "203.0.113.26", "2001:db8:2::26"

    def __init__(self, name=None):
        self.name = (name or f"ptest-{os.getpid()}") + SUFFIX
        self.env = dict(os.environ, POSTERN_LAB=self.name)
        self.state = pathlib.Path("/run/postern-lab") / self.name
        self._procs = []
        self._is_up = False

    # ---- life

    def up(self):
        """Make the lab; remnants of an older one of that name are removed first."""
        atexit.register(self.down)
        self._is_up = True
        try:
            self._run([str(LAB), "up"])
        except BaseException:
            self.down()
            raise
        return self

    def down(self):
        """End every process, remove the lab. May be called again and again."""
        if not self._is_up:
            return
        for proc in list(self._procs):
            self.stop(proc)
        self._is_up = False
        atexit.unregister(self.down)
        self._run([str(LAB), "down"])

    def __enter__(self):
        return self.up()

    def __exit__(self, *exc):
        self.down()

    # ---- processes

    def netns(self, ns):
        """The real name of the namespace: netns("fw") -> "ptest-smtp-fw"."""
        return f"{self.name}-{ns}"

    def argv(self, ns, argv):
        """The command line that runs argv in a namespace."""
        return ["ip", "netns", "exec", self.netns(ns), *map(str, argv)]

    def exec(self, ns, *argv, check=True, timeout=60, **kw):
        """Run to the end; returns a CompletedProcess with text stdout and stderr.
        A status other than 0 raises LabError with the output in it, unless check=False."""
        return self._run(self.argv(ns, argv), check=check, timeout=timeout, **kw)

    def popen(self, ns, argv, **kw):
        """Start in the background; the pid is the command's own (ip netns exec replaces itself), and leads a process
        group. Keywords are subprocess.Popen's. Ended at down() if not before."""
        kw.setdefault("env", self.env)
        kw.setdefault("start_new_session", True)
        proc = subprocess.Popen(self.argv(ns, argv), **kw)
        self._procs.append(proc)
        return proc

    def python(self, ns, source, *args, **kw):
        """popen() of a small Python program given as text; stdout is a text pipe unless told otherwise."""
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("text", True)
        return self.popen(ns, [PYTHON, "-u", "-c", source, *args], **kw)

    def stop(self, proc, sig=signal.SIGTERM, grace_s=5):
        """End a process of popen() and its group; SIGKILL after grace_s. Returns its exit status."""
        if proc.poll() is None:
            self._signal(proc, sig)
            try:
                proc.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._signal(proc, signal.SIGKILL)
                proc.wait()
        for pipe in (proc.stdin, proc.stdout, proc.stderr):
            if pipe and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        if proc in self._procs:
            self._procs.remove(proc)
        return proc.returncode

    @staticmethod
    def _signal(proc, sig):
        try:
            if os.getpgid(proc.pid) == proc.pid:
                os.killpg(proc.pid, sig)
            else:
                proc.send_signal(sig)
        except ProcessLookupError:
            pass

    # ---- sockets

    def socket(self, ns, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        """A socket of this process that lives in a namespace of the lab."""
        box = []

        # A thread of its own, because setns() changes the calling thread for good.
        def make():
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                with open(f"/run/netns/{self.netns(ns)}", "rb") as handle:
                    if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                box.append(socket.socket(family, kind))
            except OSError as err:
                box.append(err)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(box[0], OSError):
            raise box[0]
        return box[0]

    def connect(self, ns, source, target, timeout=10):
        """A TCP connection out of a namespace. source is None or (address, port), port 0 for any; target (address, port)."""
        sock = self.socket(ns, socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
        try:
            sock.settimeout(timeout)
            if source:
                sock.bind(source)
            sock.connect(target)
        except OSError:
            sock.close()
            raise
        return sock

    def listen(self, ns, address, port, backlog=100):
        """A listening TCP socket in a namespace; port 0 for any."""
        sock = self.socket(ns, socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(backlog)
        sock.settimeout(10)
        return sock

    def is_listening(self, ns, port, address=None):
        """Whether some TCP socket in the namespace listens on the port; with address, on exactly that address."""
        which = f"sport = :{port}" if address is None else f"src [{address}]:{port}" if ":" in address else f"src {address}:{port}"
        return bool(self.exec(ns, "ss", "-Hltn", which).stdout.strip())

    def wait_listening(self, ns, port, proc=None, address=None, limit_s=20):
        """Wait until is_listening(). With proc, fail as soon as that process has ended."""

        def ready():
            if proc is not None and proc.poll() is not None:
                raise LabError(f"{proc.args} ended with {proc.returncode} before it listened on port {port}")
            return self.is_listening(ns, port, address)

        wait_until(ready, f"a listener on port {port} in {ns}", limit_s)

    # ---- what stands in the lab

    def dns(self, *records):
        """Add records to the lab's DNS: dns("x.example. A 192.0.2.9"). Names that are not given records do not exist."""
        for record in records:
            self._unbound_control("local_data", *record.split(None, 2))

    def dns_remove(self, name):
        """Remove all records of a name."""
        self._unbound_control("local_data_remove", name)

    def _unbound_control(self, *argv):
        self._run(["unbound-control", "-c", str(self.state / "unbound.conf"), *argv])

    def divert(self, *args, check=True, ns="fw"):
        """Run scripts/postern-divert on the firewall."""
        return self.exec(ns, DIVERT, *args, check=check)

    def _run(self, argv, check=True, timeout=60, **kw):
        kw.setdefault("env", self.env)
        kw.setdefault("stdin", None if "input" in kw else subprocess.DEVNULL)
        if kw["stdin"] is None:
            del kw["stdin"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=timeout, **kw)
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done


def wait_until(condition, what, limit_s=20, pause_s=0.02):
    """Wait until condition() is true and return what it returned; LabError naming what was awaited if it never is."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"waited {limit_s} s in vain for {what}")
        time.sleep(pause_s)
