"""milter_filter.py SOCKET SCRIPT SEEN - a filter on libmilter (pymilter) that does what a script says and notes what it was told.

SCRIPT: a JSON object, read for each message:
  connect, hello, envfrom, envrcpt, data, header, eoh, body, eom: what to answer there: "continue" (default), "accept", "reject", "tempfail", "discard",
      "skip", ["reply", "550", "5.7.1", "text", ...more lines], "sleep N" (seconds, before the answer), "die" (SIGKILL to itself)
  rcpt: {address: answer}, goes before envrcpt
  edits: a list of calls at the end of the message: ["addheader", name, value, index], ["chgheader", name, index, value], ["replacebody", text],
      ["addrcpt", address], ["addrcpt", address, parameters], ["delrcpt", address], ["chgfrom", address], ["chgfrom", address, parameters],
      ["quarantine", reason], ["progress", times, pause]
  negotiate: "skip" etc. in protocol bits to ask for (a number)
  symlist: {stage: "macros"}
SEEN: one JSON line for each call.
"""

import json
import os
import signal
import sys
import time

import Milter

SOCKET, SCRIPT, SEEN = sys.argv[1:4]
ANSWERS = {"continue": Milter.CONTINUE, "accept": Milter.ACCEPT, "reject": Milter.REJECT, "tempfail": Milter.TEMPFAIL, "discard": Milter.DISCARD,
           "skip": Milter.SKIP}
MACROS = ("j", "_", "v", "i", "{daemon_name}", "{if_addr}", "{client_addr}", "{client_name}", "{client_port}", "{client_resolve}", "{mail_addr}",
          "{rcpt_addr}", "{rcpt_mailer}", "{rcpt_host}", "{nrcpts}")


def script():
    with open(SCRIPT, encoding="utf-8") as file:
        return json.load(file)


class Filter(Milter.Base):
    def __init__(self):
        self.script = script()
        self.body_bytes = b""
        self.chunks = 0

    def note(self, what, **more):
        macros = {name: self.getsymval(name) for name in MACROS}
        line = {"what": what, "macros": {k: v for k, v in macros.items() if v is not None}, **more}
        with open(SEEN, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def answer(self, what):
        if isinstance(what, str) and what.startswith("sleep"):
            time.sleep(float(what.split()[1]))
            return Milter.CONTINUE
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(what, list):
            self.setreply(*what[1:])
            return Milter.TEMPFAIL if what[1].startswith("4") else Milter.REJECT
        return ANSWERS[what or "continue"]

    def negotiate(self, opts):
        wanted = self.script.get("negotiate")
        for stage, names in self.script.get("symlist", {}).items():
            self._ctx.setsymlist(int(stage), names)
        self.note("negotiate", offered=[opts[0], opts[1]])
        if wanted is None:
            # Everything there is, and every reply.
            opts[1] = opts[2] = opts[3] = 0
            return Milter.CONTINUE
        opts[1] = opts[1] & wanted
        opts[2] = opts[3] = 0
        return Milter.CONTINUE

    def connect(self, hostname, family, hostaddr):
        self.note("connect", hostname=hostname, family=int(family), address=list(hostaddr) if isinstance(hostaddr, tuple) else hostaddr)
        return self.answer(self.script.get("connect"))

    def hello(self, hostname):
        self.note("hello", hostname=hostname)
        return self.answer(self.script.get("hello"))

    def envfrom(self, f, *params):
        self.note("envfrom", path=f, params=list(params))
        return self.answer(self.script.get("envfrom"))

    def envrcpt(self, to, *params):
        self.note("envrcpt", path=to, params=list(params))
        return self.answer(self.script.get("rcpt", {}).get(to.strip("<>"), self.script.get("envrcpt")))

    def data(self):
        self.note("data")
        return self.answer(self.script.get("data"))

    def header(self, name, value):
        self.note("header", name=name, value=value)
        return self.answer(self.script.get("header"))

    def eoh(self):
        self.note("eoh")
        return self.answer(self.script.get("eoh"))

    def body(self, chunk):
        self.body_bytes += chunk
        self.chunks += 1
        return self.answer(self.script.get("body"))

    def edit(self, call, args):
        if call == "progress":
            for _ in range(args[0]):
                time.sleep(args[1])
                self.progress()
        elif call == "replacebody":
            for at in range(0, len(args[0]), 60000):
                self.replacebody(args[0][at:at + 60000].encode())
        else:
            getattr(self, call)(*args)

    def eom(self):
        self.note("eom", body=self.body_bytes.decode("latin-1") if len(self.body_bytes) < 10000 else None, size=len(self.body_bytes),
                  chunks=self.chunks)
        for call, *args in self.script.get("edits", []):
            self.edit(call, args)
        return self.answer(self.script.get("eom"))

    def abort(self):
        self.note("abort")
        return Milter.CONTINUE

    def close(self):
        self.note("close")
        return Milter.CONTINUE


Milter.factory = Filter
Milter.set_flags(Milter.ADDHDRS | Milter.CHGHDRS | Milter.CHGBODY | Milter.ADDRCPT | Milter.DELRCPT | Milter.QUARANTINE | Milter.CHGFROM |
                 Milter.ADDRCPT_PAR | Milter.SETSYMLIST)
Milter.runmilter("test", SOCKET, 240)
