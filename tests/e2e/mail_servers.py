"""mail_servers - real mail servers: Postfix with a configuration and queue of its own, and Postfix's smtp-sink, for the lab; Dovecot's LMTP
server on loopback.

    with Postfix(lab, "mta", tmp_path, {"inet_interfaces": lab.MTA4}) as mta:
        ...
        mta.mails()          # what arrived in its one mailbox
"""

import os
import pathlib
import pwd
import shutil
import subprocess

from netlab import wait_until

MASTER_CF = """\
smtp      inet  n  -  n  -  -   smtpd
pickup    unix  n  -  n  60 1   pickup
cleanup   unix  n  -  n  -  0   cleanup
qmgr      unix  n  -  n  300 1  qmgr
tlsmgr    unix  -  -  n  1000? 1 tlsmgr
rewrite   unix  -  -  n  -  -   trivial-rewrite
bounce    unix  -  -  n  -  0   bounce
defer     unix  -  -  n  -  0   bounce
trace     unix  -  -  n  -  0   bounce
verify    unix  -  -  n  -  1   verify
flush     unix  n  -  n  1000? 0 flush
proxymap  unix  -  -  n  -  -   proxymap
smtp      unix  -  -  n  -  -   smtp
relay     unix  -  -  n  -  -   smtp
showq     unix  n  -  n  -  -   showq
error     unix  -  -  n  -  -   error
retry     unix  -  -  n  -  -   error
discard   unix  -  -  n  -  -   discard
local     unix  -  n  n  -  -   local
virtual   unix  -  n  n  -  -   virtual
anvil     unix  -  -  n  -  1   anvil
scache    unix  -  -  n  -  1   scache
postlog   unix-dgram n - n  -  1  postlogd
"""


class Postfix:
    """A Postfix in one namespace. settings: main.cf lines that add to or replace ours. is_default: its files stand in the place of
    /etc/postfix for whatever runs in that namespace, so that /usr/sbin/sendmail there is its own."""

    def __init__(self, lab, ns, directory, settings=None, is_default=False):
        self.lab, self.ns, self.is_default = lab, ns, is_default
        self.dir = pathlib.Path(directory) / f"postfix-{ns}"
        self.log_path = self.dir / "maillog"
        owner = pwd.getpwnam("postfix")
        self.settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.dir / "queue",
            "data_directory": self.dir / "data",
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "maillog_file": self.log_path,
            "maillog_file_prefixes": self.dir,
            "myhostname": f"{ns}.protected.example",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_protocols": "all",
            "smtpd_peername_lookup": "no",
            "smtpd_tls_security_level": "none",
            "smtp_tls_security_level": "none",
            "virtual_mailbox_domains": "protected.example",
            "virtual_mailbox_base": self.dir / "mail",
            "virtual_mailbox_maps": "static:all/",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}",
            "alias_maps": "",
            "alias_database": "",
            "message_size_limit": "100000000",
            "mailbox_size_limit": "0",
            "virtual_mailbox_limit": "0",
            "smtpd_recipient_restrictions": "permit_mynetworks, reject_unauth_destination",
        }
        self.settings.update(settings or {})

    def _postfix(self, command, check=True):
        where = [] if self.is_default else ["-c", str(self.dir)]
        done = subprocess.run(self.lab.argv(self.ns, ["postfix", *where, command]), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, done.stdout
        return done

    def __enter__(self):
        for name in ("queue", "data", "mail"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        for parent in [self.dir, *list(self.dir.parents)[:-2]]:
            # The delivery agent runs as postfix and must be able to walk here.
            if not os.stat(parent).st_mode & 0o001:
                parent.chmod(os.stat(parent).st_mode | 0o011)
        shutil.chown(self.dir / "data", "postfix", "postfix")
        shutil.chown(self.dir / "mail", "postfix", "postfix")
        (self.dir / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in self.settings.items()))
        (self.dir / "master.cf").write_text(MASTER_CF)
        if self.is_default:
            # ip netns exec puts what is in here over /etc, for the commands in that namespace only.
            self.etc = pathlib.Path("/etc/netns") / self.lab.netns(self.ns) / "postfix"
            shutil.copytree("/etc/postfix", self.etc)
            for name in ("main.cf", "master.cf"):
                shutil.copy(self.dir / name, self.etc / name)
        try:
            self._postfix("start")
        except BaseException:
            self.__exit__()
            raise
        wait_until(lambda: self.lab.is_listening(self.ns, 25), "Postfix to listen")
        return self

    def __exit__(self, *exc):
        self._postfix("stop", check=False)
        if self.is_default:
            shutil.rmtree(self.etc)

    def mails(self):
        """The messages in the mailbox, as bytes."""
        new = self.dir / "mail" / "all" / "new"
        return [path.read_bytes() for path in sorted(new.iterdir())] if new.is_dir() else []

    def wait_mails(self, count, limit_s=60):
        wait_until(lambda: len(self.mails()) >= count, f"{count} messages in the mailbox", limit_s=limit_s)
        return self.mails()

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""


class Sink:
    """smtp-sink: takes mail and throws it away."""

    def __init__(self, lab, ns, address, port=25, args=()):
        self.lab, self.ns, self.address, self.port, self.args = lab, ns, address, port, list(args)

    def __enter__(self):
        where = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        self.proc = self.lab.popen(self.ns, ["smtp-sink", "-u", "nobody", *self.args, where, "4096"], stdout=subprocess.DEVNULL)
        self.lab.wait_listening(self.ns, self.port, proc=self.proc, address=self.address)
        return self

    def __exit__(self, *exc):
        self.lab.stop(self.proc)


DOVECOT_CONF = """\
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
mail_location = maildir:~/Maildir
first_valid_uid = 1
mail_plugins = $mail_plugins quota
plugin {{
  quota = maildir:User quota
}}
service lmtp {{
  unix_listener {dir}/lmtp.sock {{
    mode = 0660
    group = {group}
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {dir}/users
}}
"""


class Dovecot:
    """Dovecot's LMTP server at 127.0.0.1:port and at the unix socket `socket`, which `group` may write to. Mailboxes: good and better; full,
    which has no room; broken, which can't be written."""

    UID = 64983

    def __init__(self, directory, port, group):
        self.dir, self.port = pathlib.Path(directory) / "dovecot", port
        self.group = group
        self.socket = self.dir / "lmtp.sock"

    def __enter__(self):
        homes = self.dir / "homes"
        homes.mkdir(parents=True)
        self.dir.chmod(0o755)
        for name in ("good", "better", "full"):
            (homes / name).mkdir()
        (homes / "broken").touch()
        for path in (homes, *homes.iterdir()):
            os.chown(path, self.UID, self.UID)
        (self.dir / "users").write_text("".join(
            f"{home.name}:x:{self.UID}:{self.UID}::{home}::{'userdb_quota_rule=*:storage=1B' if home.name == 'full' else ''}\n"
            for home in homes.iterdir()))
        conf = self.dir / "dovecot.conf"
        conf.write_text(DOVECOT_CONF.format(dir=self.dir, port=self.port, group=self.group))
        self.proc = subprocess.Popen(["dovecot", "-F", "-c", str(conf)], stdin=subprocess.DEVNULL)
        wait_until(lambda: self.socket.exists() and "starting up" in self.log(), "Dovecot to start")
        return self

    def __exit__(self, *exc):
        self.proc.terminate()
        self.proc.wait(timeout=20)

    def mails(self, user):
        new = self.dir / "homes" / user / "Maildir" / "new"
        return [path.read_bytes() for path in sorted(new.iterdir())] if new.is_dir() else []

    def log(self):
        path = self.dir / "dovecot.log"
        return path.read_text() if path.exists() else ""
