"""systemd_machine - this system, booted once more: systemd as process 1 of its own namespaces, on the firewall of a lab.

    with Machine(lab, tmp_path) as machine:
        machine.run("systemctl", "start", "posternd")

Its root is an overlay of this system's, its /etc/systemd/system, /run, /tmp and /dev are empty, what it writes is in memory and gone at the end.
It may write to no sysctl but those of its network namespace, sees no device, and has a subtree of the control groups to itself. It ends with the
process that made it; nothing of it is left. Needs root, systemd, overlayfs and cgroup2: NoMachine says which of these is missing.
"""

import os
import pathlib
import shutil
import signal
import subprocess

from netlab import LabError, wait_until

SYSTEMD = "/lib/systemd/systemd"
# What speaks to the kernel of the host, or waits for hardware.
MASKED = ("systemd-sysctl.service", "systemd-modules-load.service", "systemd-udevd.service", "systemd-udev-trigger.service", "systemd-journald-audit.socket",
          "systemd-remount-fs.service", "systemd-timesyncd.service", "kmod-static-nodes.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
          "sys-fs-fuse-connections.mount", "dev-hugepages.mount", "systemd-random-seed.service", "systemd-update-utmp.service")

OUTER = """
set -e
mount --make-rprivate /
mount -t cgroup2 cgroup2 "$TOP/cgroup"
mkdir "$TOP/cgroup/$NAME"
echo $$ >"$TOP/cgroup/$NAME/cgroup.procs"
exec unshare --cgroup --ipc --uts --pid --mount --fork --kill-child sh -c "$INNER"
"""

INNER = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$TOP/disk"
mkdir "$TOP/disk/upper" "$TOP/disk/work" "$TOP/disk/root"
mount -t overlay -o "lowerdir=/,upperdir=$TOP/disk/upper,workdir=$TOP/disk/work" overlay "$TOP/disk/root"
r=$TOP/disk/root
for d in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$r/$d"; done
chmod 1777 "$r/tmp"
mkdir "$r/dev/pts" "$r/dev/shm"
for n in null zero full random urandom tty; do touch "$r/dev/$n"; mount --bind "/dev/$n" "$r/dev/$n"; done
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$r/dev/pts"
ln -s pts/ptmx "$r/dev/ptmx"
mount -t proc proc "$r/proc"
mount --bind "$r/proc/sys" "$r/proc/sys"
mount -o remount,bind,ro "$r/proc/sys"
mount -t proc proc "$TOP/proc"
mount --bind "$TOP/proc/sys/net" "$r/proc/sys/net"
mount -t sysfs -o ro sysfs "$r/sys"
mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
rm -rf "$r/etc/systemd/system" "$r/var/log/journal" "$r/etc/postern" "$r/var/spool/postern"
mkdir "$r/etc/systemd/system"
for unit in $MASKED; do ln -s /dev/null "$r/etc/systemd/system/$unit"; done
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' >"$r/etc/systemd/system/machine.target"
: >"$r/etc/fstab"
echo 0123456789abcdef0123456789abcdef >"$r/etc/machine-id"
cd "$r"
pivot_root . mnt
umount -l /mnt
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb @SYSTEMD@ --unit=machine.target --log-target=journal
"""


class NoMachine(Exception):
    """This system can't be booted in namespaces; says why."""


def _needs():
    if not os.access(SYSTEMD, os.X_OK) or not shutil.which("systemctl"):
        raise NoMachine("no systemd is installed here")
    known = pathlib.Path("/proc/filesystems").read_text().split()
    for filesystem in ("overlay", "cgroup2"):
        if filesystem not in known:
            raise NoMachine(f"this kernel has no {filesystem}")


class Machine:
    def __init__(self, lab, directory):
        self.lab, self.top = lab, pathlib.Path(directory) / "machine"
        self.name = f"{lab.name}-machine-{os.getpid()}"
        self.outer = self.pid = None

    def __enter__(self):
        _needs()
        for name in ("cgroup", "disk", "proc"):
            (self.top / name).mkdir(parents=True)
        env = dict(os.environ, TOP=str(self.top), NAME=self.name, MASKED=" ".join(MASKED), INNER=INNER.replace("@SYSTEMD@", SYSTEMD))
        self.log = self.top / "boot.log"
        try:
            with open(self.log, "wb") as log:
                self.outer = self.lab.popen("fw", ["unshare", "--mount", "sh", "-c", OUTER], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            wait_until(self._is_booted, "systemd to have booted", limit_s=60, pause_s=0.2)
        except LabError as err:
            self.__exit__()
            raise NoMachine(f"{err}: {self.log.read_text(errors='replace')[-500:]}") from err
        except BaseException:
            self.__exit__()
            raise
        return self

    def _is_booted(self):
        if self.outer.poll() is not None:
            raise LabError(f"the machine ended with {self.outer.returncode}")
        children = pathlib.Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        if not children or os.readlink(f"/proc/{children[0]}/exe") != os.path.realpath(SYSTEMD):
            return False
        self.pid = int(children[0])
        return self.run("systemctl", "is-active", "machine.target", check=False).returncode == 0

    def __exit__(self, *exc):
        if self.outer:
            # The kernel ends whatever lives in a process namespace with its process 1.
            self.lab.stop(self.outer, sig=signal.SIGKILL)
        # A mount of the control groups outside of the machine's, in a namespace that ends with the command. Processes just killed leave theirs a little later.
        sweep = 'mount -t cgroup2 cgroup2 "$1" && { [ ! -d "$1/$2" ] || find "$1/$2" -depth -type d -exec rmdir {} +; }'

        def swept():
            return subprocess.run(["unshare", "--mount", "sh", "-c", sweep, "sweep", str(self.top / "cgroup"), self.name], capture_output=True,
                                  timeout=30, check=False).returncode == 0
        wait_until(swept, "the control groups to be empty", pause_s=0.1)
        shutil.rmtree(self.top)

    @property
    def root(self):
        """Its root directory, seen from outside."""
        return pathlib.Path(f"/proc/{self.pid}/root")

    def run(self, *argv, check=True, timeout=60):
        """A command in the machine, to its end; CompletedProcess with stdout and stderr together as text."""
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-a", "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                               *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, (argv, done.stdout)
        return done

    def write(self, path, text):
        """A file of the machine."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target
