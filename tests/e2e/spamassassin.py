"""spamassassin - spamd with local tests only, on the loopback of the firewall.

    with spamassassin.daemon(lab, directory) as arguments:    # of spamc
"""

import contextlib

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
PORT = 7830


@contextlib.contextmanager
def daemon(lab, home):
    for path in (home, *home.parents):
        path.chmod(path.stat().st_mode & 0o7777 | 0o011)
    site = home / "site"
    site.mkdir()
    site.chmod(0o755)
    (site / "local.cf").write_text("use_bayes 0\nreport_safe 0\n")
    # Of the plugins only what looks at the text itself.
    (site / "init.pre").write_text("loadplugin Mail::SpamAssassin::Plugin::Check\nloadplugin Mail::SpamAssassin::Plugin::BodyEval\n")
    with open(home / "log", "wb") as out:
        proc = lab.popen("fw", ["spamd", "-L", "-x", "-m", "2", "-i", f"127.0.0.1:{PORT}", "-u", "nobody", f"--siteconfigpath={site}", "-H", str(home),
                                "-s", "stderr"], stdout=out, stderr=out)
    try:
        lab.wait_listening("fw", PORT, proc=proc, address="127.0.0.1", limit_s=60)
        yield f"-d 127.0.0.1 -p {PORT} -u nobody"
    finally:
        lab.stop(proc)
