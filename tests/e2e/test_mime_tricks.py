"""Ways to hide a name or a text from a filter, each in one small message: found, flagged as not decoded (filter-undecoded refuses it), or a limit that
docs/mime.md names. Python's email package reads them as well, where it reads anything: whatever it finds must be among what is shown."""
import base64
import email
import email.policy
import re
import subprocess

import pytest

from test_mime_corpus import BUILD, ROOT, shown

FLAGS = ["depth", "field", "boundary", "params", "encoded", "partial", "base64", "coding", "charset"]


def b64(text, line=76):
    text = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
    return "\n".join(text[i : i + line] for i in range(0, len(text), line)) + "\n"


def mixed(header, body="x\n", type="application/octet-stream", boundary="b", outer='multipart/mixed; boundary="b"'):
    return f"MIME-Version: 1.0\nContent-Type: {outer}\n\n--{boundary}\nContent-Type: {type}\n{header}\n\n{body}--{boundary}--\n"


def attached(parameters, **more):
    return mixed("Content-Disposition: attachment; " + parameters, **more)


def outer(type, boundary="b"):
    return attached("filename=x.exe", outer=type, boundary=boundary)


def text(fields, body):
    return f"Subject: x\n{fields}\n\n{body}"


def encoded(encoding, body):
    return text(f"Content-Transfer-Encoding: {encoding}", body)


def typed(type, body, encoding="base64"):
    return text(f"Content-Type: {type}\nContent-Transfer-Encoding: {encoding}", body)


UTF7 = "buy +AHYAaQBhAGcAcgBh-\n"
WORDS = "buy viagra\n"
DATA = "#86)C\n`\nend\n"

# The name that must be shown.
NAMES = {
    "two fields": (attached("filename=a.txt", type="application/zip; name=x.exe"), "x.exe"),
    "encoded word": (attached('filename="=?utf-8?Q?x=2Eexe?="'), "x.exe"),
    "encoded words, folded": (attached('filename="=?utf-8?Q?x=2E?=\n =?utf-8?Q?exe?="'), "x.exe"),
    "encoded word in the middle": (attached('filename="x=?utf-8?Q?=2E?=exe"'), "x.exe"),
    "encoded word in sections": (attached('filename*0="=?utf-8?Q?x=2Ee"; filename*1="xe?="'), "x.exe"),
    "encoded word, percent-encoded": (attached("filename*=utf-8''=%3Futf-8%3FQ%3Fx%3D2Eexe%3F="), "x.exe"),
    "spaces without quotes": (attached("filename=my file.exe"), "my file.exe"),
    "folded": (attached('filename="my\n file.exe"'), "my file.exe"),
    "folded with a tab": (attached('filename="x.\n\texe"'), "x.exe"),
    "folded in front of =": (attached("filename\n =\n x.exe"), "x.exe"),
    "folded in the parameter": (attached("file\n name=x.exe"), "x.exe"),
    "comment": (attached("filename(c)=x(d).exe"), "x.exe"),
    "no semicolon": (mixed("Content-Disposition: attachment filename=x.exe"), "x.exe"),
    "comma": (mixed("Content-Disposition: attachment, filename=x.exe"), "x.exe"),
    "backslashes": (attached('filename="x\\.e\\xe"'), "x.exe"),
    "quote in it": (attached('filename="a\\"x.exe"'), 'a"x.exe'),
    "dot at the end": (attached('filename="x.exe."'), "x.exe"),
    "right to left": (attached("filename*=utf-8''a%e2%80%aetxt.exe"), "a\u202etxt.exe"),
    "8 bits": (attached('filename="\u00e4.exe"'), "\u00e4.exe"),
    "unknown charset": (attached("filename*=x-foo''x%2eexe"), "x.exe"),
    "no charset": (attached("filename*=x%2eexe"), "x.exe"),
    "percent signs in quotes": (attached("filename*=\"utf-8''x%2eexe\""), "x.exe"),
    "UTF-16": (attached("filename*=utf-16be''%00x%00.%00e%00x%00e"), "x.exe"),
    "UTF-7": (attached('filename="=?utf-7?Q?x+AC4-exe?="'), "x.exe"),
    "first section missing": (attached("filename*1=x.e; filename*2=xe"), "x.exe"),
    "section missing": (attached("filename*0=x.e; filename*2=xe"), "x.exe"),
    "byte cut in two": (attached("filename*0*=utf-8''x%; filename*1*=2eexe"), "x.exe"),
    "spaces around stars": (attached("filename *0=x.e; filename * 1 =xe"), "x.exe"),
    "uuencode": (text("X: y", "begin 644 x.vbs\n" + DATA), "x.vbs"),
    "uuencode, mode of Git": (text("X: y", "begin 100644 x.vbs\n" + DATA), "x.vbs"),
    "uuencode, tab": (text("X: y", "begin 644\tx.vbs\n" + DATA), "x.vbs"),
    "uuencode, as an encoding": (encoded("x-uuencode", "begin 644 x.vbs\n" + DATA), "x.vbs"),
    "yEnc": (text("X: y", "=ybegin part=1 line=128 size=1 name=x.exe\n=ypart begin=1 end=2\nabc\n=yend\n"), "x.exe"),
    "message": (mixed("X: y", attached("filename=x.exe"), "message/rfc822"), "x.exe"),
    "message in base64": (mixed("Content-Transfer-Encoding: base64", b64(attached("filename=x.exe")), "message/rfc822"), "x.exe"),
    "external body": (mixed("X: y", "A: b\n\n", 'message/external-body; access-type=URL; name="x.exe"'), "x.exe"),
    "TNEF": (mixed("Content-Transfer-Encoding: base64", b64(b"\x78\x9f\x3e\x22abc"), "application/ms-tnef; name=winmail.dat"), "winmail.dat"),
    "boundary with spaces behind": (outer('multipart/mixed; boundary="b  "'), "x.exe"),
    "delimiter with spaces behind": (outer("multipart/mixed; boundary=b", "b  "), "x.exe"),
    "boundary, longer prefix": (mixed("X: y", attached("filename=x.exe", outer="multipart/mixed; boundary=bb", boundary="bb"), "multipart/mixed; boundary=bb"), "x.exe"),
    "boundary in an encoded word": (outer('multipart/mixed; boundary="=?utf-8?Q?b?="'), "x.exe"),
    "boundary like an encoded word": (outer('multipart/mixed; boundary="=?utf-8?Q?b?="', "=?utf-8?Q?b?="), "x.exe"),
    "boundary with a comment": (outer("multipart/mixed; boundary=b(c)"), "x.exe"),
    "boundary, spaces without quotes": (outer("multipart/mixed; boundary=b c", "b c"), "x.exe"),
    "type in an encoded word": (outer("=?utf-8?Q?multipart/mixed;_boundary=3Db?="), "x.exe"),
    "type with spaces": (outer("multipart / mixed; boundary=b"), "x.exe"),
    "type without a subtype": (outer("multipart; boundary=b"), "x.exe"),
}

# The text that must be shown.
TEXTS = {
    "base64": (encoded("base64 (really)", b64(WORDS)), WORDS),
    "base64, quoted": (encoded('"base64"', b64(WORDS)), WORDS),
    "base64, folded": (encoded("\n base64", b64(WORDS)), WORDS),
    "base64 and a word": (encoded("base64 foo", b64(WORDS)), WORDS),
    "base64 and a comma": (encoded("base64,", b64(WORDS)), WORDS),
    "base64 in an encoded word": (encoded("=?utf-8?Q?base64?=", b64(WORDS)), WORDS),
    "base64, lines of rubbish": (encoded("base64", "!!!\n" + b64(WORDS, 7) + "--\n"), WORDS),
    "base64, spaces": (encoded("base64", " ".join(b64(WORDS))), WORDS),
    "base64, padded in the middle": (encoded("base64", b64("buy ").strip() + b64("viagra\n")), WORDS),
    "base64, not padded": (encoded("base64", b64("buy viagra now").rstrip("=\n") + "\n"), "buy viagra now"),
    "base64, odd padding": (encoded("base64", "Yn=V5=IHZp=YWdy=YQo=\n"), WORDS),
    "quoted-printable": (encoded("quoted-printable", "buy =76ia=\ng= \t\nra=2e\n"), "buy viagra."),
    "no such charset": (typed("text/plain; charset=x-foo", b64(WORDS)), WORDS),
    "UTF-16": (typed("text/plain; charset=utf-16", b64(WORDS.encode("utf-16"))), WORDS),
    "UTF-16 by another name": (typed("text/plain; charset=iso-10646-ucs-2", b64(WORDS.encode("utf-16-be"))), WORDS),
    "UTF-16 that nobody names": (typed("text/plain", b64(WORDS.encode("utf-16"))), WORDS),
    "UTF-16 that says it is ASCII": (typed("text/html; charset=us-ascii", b64(b"\xfe\xff" + WORDS.encode("utf-16-be"))), WORDS),
    "UTF-16 in a file": (typed("application/octet-stream", b64(WORDS.encode("utf-16"))), WORDS),
    "UTF-32": (typed("text/plain; charset=utf-32", b64(WORDS.encode("utf-32"))), WORDS),
    "UTF-7": (typed("text/plain; charset=utf-7", UTF7, "7bit"), WORDS),
    "charset in sections": (typed("text/plain; charset*0=ut; charset*1=f-7", UTF7, "7bit"), WORDS),
    "charset, percent-encoded": (typed("text/plain; charset*=us-ascii'en'utf-%37", UTF7, "7bit"), WORDS),
    "EBCDIC": (typed("text/plain; charset=ibm037", b64("buy viagra".encode("cp037"))), WORDS),
    "escape sequences": (typed("text/plain; charset=iso-2022-jp", "buy vi\x1b(Bagra\n", "7bit"), WORDS),
}

# What can't be decoded, or only by guessing: the flag.
FLAGGED = {
    "fragment": ("Content-Type: message/partial; id=x; number=1; total=2\n\n" + attached("filename=x.exe"), "partial"),
    "odd padding": TEXTS["base64, odd padding"][:1] + ("base64",),
    "uuencode": (encoded("x-uuencode", "begin 644 x.txt\n&=FEA9W)A\n`\nend\n"), "coding"),
    "BinHex": (encoded("mac-binhex40", ":#&...:\n"), "coding"),
    "two charsets": (typed("text/plain; charset=us-ascii; charset=utf-7", UTF7, "7bit"), "charset"),
    "two charsets in two fields": (text("Content-Type: text/plain; charset=us-ascii\nContent-Type: text/plain; charset=utf-7", UTF7), "charset"),
    "boundary of no bytes": (outer('multipart/mixed; boundary=""', ""), "boundary"),
}

# What docs/mime.md says is not seen.  Who mends one takes it out of there.
LIMITS = {
    "a space where a name was folded": (attached('filename="x.\n exe"'), "x.exe"),
    "signs that can't be seen": (attached("filename*=utf-8''x.%e2%80%8bexe"), "x.exe"),
    "Content-Location": (mixed("Content-Location: x.exe"), "x.exe"),
    "indented uuencode": (text("X: y", " begin 644 x.vbs\n #86)C\n `\n end\n"), "x.vbs"),
    "NUL in decoded text": (encoded("quoted-printable", "buy vi=00agra\n"), WORDS),
    "soft hyphen": (typed("text/plain; charset=iso-8859-1", "buy vi=ADagra\n", "quoted-printable"), WORDS),
    "character references": (typed("text/html", "buy &#118;iagra\n", "7bit"), WORDS),
}

# What Python reads otherwise, and why it may.
OTHERWISE = {
    "fragment": "reads the message within as parts of a multipart",
    "uuencode": "decodes it: flagged here",
    "uuencode, as an encoding": "the same",
    "encoded word in the middle": "does not decode it there",
    "encoded word in sections": "decodes the field first, and takes the sections' names for a part of the name",
    "quoted-printable": "takes no white space behind a =",
    "byte cut in two": "decodes each section by itself, and sees x%2eexe",
    "boundary of no bytes": "takes -- for a delimiter: flagged here",
    "NUL in decoded text": "the same text; a limit",
}


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """{message: (pieces, flags)}, of all tables in one run."""
    folder = tmp_path_factory.mktemp("tricks")
    messages = sorted({row[0] for table in (NAMES, TEXTS, FLAGGED, LIMITS) for row in table.values()})
    for number, message in enumerate(messages):
        (folder / f"{number:03}.txt").write_bytes(message.encode())
    pieces = shown(folder)
    out = subprocess.run([BUILD / "tests/bench/bench_mime", "--show", folder], check=True, stdout=subprocess.PIPE).stdout
    flags = dict(zip(re.findall(rb"(?m)^message (.*)$", out), re.findall(rb"(?m)^end (\d+)$", out)))
    assert len(flags) == len(messages)
    return {message: (pieces[str(folder / f"{number:03}.txt")], [name for bit, name in enumerate(FLAGS) if int(flags[str(folder / f"{number:03}.txt").encode()]) >> bit & 1])
            for number, message in enumerate(messages)}


def names_of(pieces):
    return [text for kind, text in pieces if kind == "N"]


def text_of(pieces):
    return "\n".join(text for kind, text in pieces if kind == "T")


@pytest.mark.parametrize("trick", NAMES)
def test_names(readings, trick):
    message, name = NAMES[trick]
    pieces, flags = readings[message]
    assert name in names_of(pieces), pieces
    assert set(flags) <= {"coding"}


@pytest.mark.parametrize("trick", TEXTS)
def test_texts(readings, trick):
    message, words = TEXTS[trick]
    pieces, flags = readings[message]
    assert words.strip() in text_of(pieces), pieces
    assert set(flags) <= {"base64"}


@pytest.mark.parametrize("trick", FLAGGED)
def test_flags(readings, trick):
    message, flag = FLAGGED[trick]
    assert readings[message][1] == [flag]


@pytest.mark.parametrize("trick", LIMITS)
def test_limits(readings, trick):
    message, hidden = LIMITS[trick]
    pieces, flags = readings[message]
    assert hidden.strip() not in (text_of(pieces) if hidden == WORDS else names_of(pieces)) and not flags
    assert trick in (ROOT / "docs/mime.md").read_text()


@pytest.mark.parametrize("message", [pytest.param(row[0], id=trick) for table in (NAMES, TEXTS, FLAGGED, LIMITS) for trick, row in table.items()
                                     if trick not in OTHERWISE])
def test_python_finds_no_more(readings, message):
    pieces = readings[message][0]
    for part in email.message_from_bytes(message.encode(), policy=email.policy.default).walk():
        name = part.get_filename()
        assert not name or name.encode("utf-8", "surrogateescape").decode().strip() in "\n".join(names_of(pieces))
        if part.get_content_maintype() != "text" or part.get_content_charset("us-ascii") != "us-ascii":
            continue
        words = (part.get_payload(decode=True) or b"").decode("utf-8", "replace").strip()
        # What it does not decode it shows as it is.
        assert words in text_of(pieces) or "\ufffd" in words or words == part.get_payload().strip()
