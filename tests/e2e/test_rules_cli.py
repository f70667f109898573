"""postern rules check and explain: exit codes, places of errors, JSON.  Needs neither root nor the lab."""
import json
import os
import subprocess

import pytest

POSTERN = os.path.join(os.environ.get("POSTERN_BUILD", "build"), "bin", "postern")
SAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "dist", "rules.sample")

RULES = """\
# a comment
allow:10.0.0.25:ALL:ALL
deny:ALL:*@spam.r.us *@spammer.com:ALL
noto:RBL.list.example:ALL:ALL EXCEPT postmaster@ALL:550 %I is listed
allow-extchk|allow-filter:*.friend.example bob@10.1.0.0/16:ALL:ALL@ours.org
allow:ALL:ALL:*@ours.org
noto_delay:ALL:ALL:ALL:551 Relaying Denied - %F from\\
 %H(%I) to %T
"""


def run(*args):
    return subprocess.run([POSTERN, "rules", *args], capture_output=True, text=True, timeout=20)


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules"
    path.write_text(RULES)
    return str(path)


def explain(rules, *args):
    done = run("explain", "--rules", rules, "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_check_good(rules):
    done = run("check", rules)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "6 rules, no errors, 0 warnings" in done.stdout


def test_check_sample():
    done = run("check", SAMPLE)
    assert done.returncode == 0, done.stderr
    assert "0 warnings" in done.stdout


def test_check_reports_all_errors(tmp_path):
    path = tmp_path / "bad"
    path.write_text("permit:ALL:ALL:ALL\n"
                    "allow:ALL:ALL:ALL\n"
                    "  deny:10.0.0.0/40:ALL:ALL\n"
                    "noto:ALL:/(/:ALL:250 ok\n"
                    "nonsense\n"
                    "deny:FILE=missing:ALL:ALL\n")
    done = run("check", str(path))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    starts = [line.split(" error: ")[0] for line in lines if " error: " in line]
    assert starts == [f"{path}:{place}:" for place in ("1:1", "3:8", "4:10", "4:18", "5:1", "6:6")]
    assert "expected one of allow, deny, noto" in done.stderr

    found = json.loads(run("check", "--json", str(path)).stdout)
    assert found["errors"] == 6
    assert [(p["line"], p["column"]) for p in found["problems"]][:2] == [(1, 1), (3, 8)]


def test_check_warns_of_three_fields(tmp_path):
    path = tmp_path / "rules"
    path.write_text("allow:*foo.bar.com:ALL\n")
    done = run("check", str(path))
    assert done.returncode == 0
    assert f"{path}:1:1: warning: three fields" in done.stderr


def test_check_no_such_file(tmp_path):
    done = run("check", str(tmp_path / "none"))
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr


def test_list_file_beside_the_rules(tmp_path):
    (tmp_path / "hosts").write_text("# ours\n192.0.2.0/24\n[2001:db8::]/32\n")
    path = tmp_path / "rules"
    path.write_text("allow:FILE=hosts:ALL:ALL\n")
    for ip in ("192.0.2.9", "2001:db8::9", "::ffff:192.0.2.9"):
        assert explain(str(path), "--ip", ip, "--from", "", "--to", "a@b")["verdict"] == "allow"
    assert explain(str(path), "--ip", "198.51.100.1", "--from", "", "--to", "a@b")["verdict"] == "noto"


def test_byte_order_marks(tmp_path):
    mark = b"\xef\xbb\xbf"
    path = tmp_path / "rules"
    (tmp_path / "hosts").write_bytes(mark + b"192.0.2.0/24\r\n")
    (tmp_path / "table").write_bytes(mark + b"192.0.3 REJECT\r\n")
    path.write_bytes(mark + b"access:table\r\nallow:FILE=hosts:ALL:ALL\r\n")
    result = run("check", str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert explain(str(path), "--no-dns", "--ip", "192.0.2.7", "--from", "a@b", "--to", "c@d")["line"] == 2
    assert explain(str(path), "--no-dns", "--ip", "192.0.3.7", "--from", "a@b", "--to", "c@d")["line"] == 1


def test_binary_lists_are_refused(tmp_path):
    path = tmp_path / "rules"
    path.write_text("access:table\nallow:ALL EXCEPT FILE=hosts:FILE=senders:ALL\n")
    (tmp_path / "hosts").write_bytes("192.0.2.1\nspam.example\n".encode("utf-16"))
    (tmp_path / "senders").write_bytes(b"ALL\nx\0@spam.example\n")
    (tmp_path / "table").write_bytes(b"spam.example OK\nspam.example\0 REJECT\n")
    result = run("check", str(path))
    assert result.returncode == 1
    for place in ("hosts:1:", "senders:2:", "table:2:"):
        assert any(line.startswith(place) and "error" in line and "a NUL byte" in line for line in result.stderr.splitlines()), result.stderr


def test_explain_allow(rules):
    answer = explain(rules, "--ip", "10.0.0.25", "--from", "a@b", "--to", "c@d")
    assert (answer["verdict"], answer["line"], answer["reply"], answer["delay_s"], answer["needs"]) == ("allow", 2, None, 0, [])
    assert [(t["line"], t["result"]) for t in answer["trace"]] == [(2, "match")]


def test_explain_syn(tmp_path):
    path = tmp_path / "rules"
    path.write_text("pass:192.0.2.9:ALL:ALL\nallow:192.0.2.8:ALL:ALL\ndrop:RBL.l.example:ALL:ALL\nmark=0x10/0xf0:[2001:db8::]/32:ALL:ALL\n"
                    "drop:10.1.0.0/16:ALL:ALL\npass:10.0.0.0/8:ALL:ALL\nallow:ALL:ALL:ALL\n")

    def syn(ip, *args):
        return explain(str(path), "--no-dns", "--ip", ip, "--from", "a@b", "--to", "c@d", *args)["syn"]

    assert syn("192.0.2.9") == {"verdict": "pass", "line": 1, "left": None, "mark": None, "with_lists": None}
    assert syn("192.0.2.8") == {"verdict": "session", "line": 2, "left": "other-action", "mark": None, "with_lists": None}
    # Two rules that end the same, or not.
    assert syn("10.1.2.3")["verdict"] == "drop" and syn("10.1.2.3")["line"] == 5
    assert syn("10.2.2.3") == {"verdict": "session", "line": 3, "left": "unknown", "mark": None, "with_lists": None}
    assert syn("2001:db8::1")["mark"] == "0x10/0xf0"
    path.write_text("allow:ALL:ALL:ALL\n")
    assert syn("10.1.2.3") == {"verdict": "session", "line": 0, "left": "no-rule", "mark": None, "with_lists": None}


def test_explain_deny(rules):
    answer = explain(rules, "--ip", "192.0.2.1", "--from", "<x@spammer.com>", "--to", "c@d", "--no-dns")
    assert (answer["verdict"], answer["line"], answer["close"]) == ("deny", 3, True)
    assert answer["reply"] == ("550 5.7.1 Mail from x@spammer.com to c@d prohibited from your location "
                               "(UNKNOWN@UNKNOWN ip=192.0.2.1)")


def test_explain_unknown(rules):
    answer = explain(rules, "--ip", "192.0.2.1", "--from", "a@b", "--to", "c@ours.org", "--no-dns")
    assert (answer["verdict"], answer["line"]) == ("tempfail", 4)
    assert answer["reply"].startswith("451 4.4.3 ")
    unknown = [t for t in answer["trace"] if t["result"] == "unknown"]
    assert [(t["line"], t["list"], t["pattern"]) for t in unknown] == [(4, "source", "RBL.list.example")]
    assert "list.example" in answer["unknown"]


def test_explain_on_unknown_skip(rules):
    common = ("--ip", "10.1.2.3", "--from", "a@b", "--no-dns", "--on-unknown", "skip")
    answer = explain(rules, *common, "--ident", "bob", "--to", "c@ours.org")
    assert (answer["verdict"], answer["line"], sorted(answer["needs"])) == ("allow", 5, ["extchk", "filter"])
    answer = explain(rules, *common, "--name", "mx.friend.example", "--to", "c@ours.org")
    assert (answer["verdict"], answer["line"]) == ("allow", 5)
    answer = explain(rules, *common, "--to", "c@ours.org")
    assert (answer["verdict"], answer["line"]) == ("allow", 6)
    answer = explain(rules, *common, "--name", "x.example", "--to", "c@other.org")
    assert (answer["verdict"], answer["line"], answer["delay_s"]) == ("noto", 7, 60)
    assert answer["reply"] == "551 5.7.1 Relaying Denied - a@b from x.example(10.1.2.3) to c@other.org"
    assert [t["list"] for t in answer["trace"]] == ["source", "from", "source", "to", "to", None]


def test_explain_connection(tmp_path):
    path = tmp_path / "rules"
    path.write_text("allow:TRUSTED:ALL:one@b\nallow:IF=lan*:ALL:two@b\nallow:DST=[2001:db8::]/64:ALL:three@b\nallow:HELO=*.x:ALL:four@b\n"
                    "allow:MARK=0x10/0xf0:ALL:five@b\n")
    base = ("--ip", "192.0.2.1", "--from", "<>")
    for to, args in (("one@b", ("--trusted",)), ("two@b", ("--iface", "lan0")), ("three@b", ("--dst", "[2001:db8::1]")),
                     ("four@b", ("--helo", "h.x")), ("five@b", ("--mark", "0x1f"))):
        assert explain(str(path), *base, "--to", to, *args)["verdict"] == "allow"
    assert explain(str(path), *base, "--to", "one@b", "--untrusted")["verdict"] == "noto"
    assert explain(str(path), *base, "--to", "none@b", "--no-match", "allow") | {"trace": None, "syn": None} == {
        "verdict": "allow", "line": 0, "reply": None, "delay_s": 0, "needs": [], "close": False, "unknown": None, "trace": None, "syn": None}


def test_explain_text(rules):
    done = run("explain", "--rules", rules, "--ip", "192.0.2.1", "--from", "x@spammer.com", "--to", "c@d")
    assert done.returncode == 0
    assert f"{rules}:2: allow: no-match (source list): closest is 10.0.0.25, compared with 192.0.2.1\n" in done.stdout
    assert "verdict: deny by line 3" in done.stdout
    assert "session is closed" in done.stdout


def test_explain_bad_bytes(rules):
    done = subprocess.run([POSTERN, "rules", "explain", "--rules", rules, "--json", "--ip", "192.0.2.1", "--no-dns", "--from",
                           b"\xff\x01@spammer.com", "--to", "c@d"], capture_output=True, timeout=20)
    assert done.returncode == 0
    assert json.loads(done.stdout)["reply"].startswith("550 5.7.1 Mail from ??@spammer.com to c@d ")


def test_explain_refuses_bad_rules(tmp_path):
    path = tmp_path / "rules"
    path.write_text("nonsense\n")
    done = run("explain", "--rules", str(path), "--ip", "192.0.2.1", "--from", "a@b", "--to", "c@d")
    assert done.returncode == 1
    assert f"{path}:1:1: error:" in done.stderr


@pytest.mark.parametrize("args", [
    (),
    ("frobnicate",),
    ("check", "--bad"),
    ("check", "a", "b"),
    ("explain",),
    ("explain", "--ip", "10.0.0.1", "--from", "a@b"),
    ("explain", "--ip", "nonsense", "--from", "a@b", "--to", "c@d"),
    ("explain", "--ip", "10.0.0.1", "--from", "a@b", "--to", "c@d", "--dst", "x"),
    ("explain", "--ip", "10.0.0.1", "--from", "a@b", "--to", "c@d", "--no-match", "deny"),
    ("explain", "--ip", "10.0.0.1", "--from", "a@b", "--to", "c@d", "--on-unknown", "x"),
    ("explain", "--ip", "10.0.0.1", "--from", "a@b", "--to", "c@d", "more"),
    ("explain", "--ip"),
    ("explain", "--nonsense"),
])
def test_usage(args):
    done = run(*args)
    assert done.returncode == 2
    assert "usage: postern rules" in done.stderr
