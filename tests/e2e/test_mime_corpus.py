"""The MIME walk beside another decoder, Python's email package, over 6,046 real messages: the same names of attachments and the same text, but for differences that are
explained here. `tests/corpus` says where the messages come from."""
import collections
import email
import email.errors
import email.policy
import email.utils
import os
import re
import subprocess
from email.header import decode_header
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))

# What labels really hold, as in content/charset.c, in Python's names.
MEANINGS = {"gb2312": "gb18030", "gbk": "gb18030", "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "iso-8859-1": "cp1252", "iso-8859-9": "cp1254", "big5": "big5hkscs"}
GUESSED = {"", "us-ascii", "utf-8", "unknown-8bit"}


def shown(directory):
    """What bench_mime --show prints: {path: [(kind, text), ...]}."""
    out = subprocess.run([BUILD / "tests/bench/bench_mime", "--show", directory], check=True, stdout=subprocess.PIPE).stdout
    messages, pieces, at = {}, None, 0
    while at < len(out):
        end = out.index(b"\n", at)
        words = out[at:end].split(b" ", 1)
        at = end + 1
        if words[0] == b"message":
            pieces = messages[words[1].decode()] = []
        elif words[0] != b"end":
            length = int(words[1].split()[0])
            pieces.append((words[0].decode(), out[at : at + length].decode("utf-8")))
            at += length + 1
    return messages


def guess(raw):
    """UTF-8 where it is that, other bytes as windows-1252."""
    out = []
    while raw:
        try:
            out.append(raw.decode("utf-8"))
            break
        except UnicodeDecodeError as e:
            out.append(raw[: e.start].decode("utf-8"))
            byte = raw[e.start : e.start + 1]
            out.append(byte.decode("cp1252", "ignore") or chr(byte[0]))
            raw = raw[e.start + 1 :]
    return "".join(out)


def decode(raw, charset):
    charset = str(charset or "").lower()
    charset = MEANINGS.get(charset, charset)
    if charset in GUESSED:
        return guess(raw)
    try:
        return raw.decode(charset, "replace")
    except LookupError:
        return guess(raw)


def lines_of(text):
    return [line.rstrip() for line in re.split(r"\r\n|\n|\r", text) if line.strip()]


def bones(line):
    """Of a line with broken encoding only what every decoder agrees on: "==" and characters of no charset are anybody's guess."""
    return re.sub(r"[^!-<>-~]|3D", "", line)


def names_of(message):
    for part in message.walk():
        for header, param in (("content-type", "name"), ("content-disposition", "filename")):
            value = part.get_param(param, None, header)
            if value is None:
                continue
            if isinstance(value, tuple):
                value = email.utils.collapse_rfc2231_value(value)
            words = decode_header(value)
            yield "".join(word if isinstance(word, str) else decode(word, charset) for word, charset in words).strip()


def texts_of(message):
    """(lines, part) of each part that is text."""
    for part in message.walk():
        if part.is_multipart() or part.get_content_maintype() != "text":
            continue
        raw = part.get_payload(decode=True)
        if raw is not None:
            yield lines_of(decode(raw, part.get_content_charset())), part


def has_broken_base64(part):
    broken = (email.errors.InvalidBase64PaddingDefect, email.errors.InvalidBase64CharactersDefect, email.errors.InvalidBase64LengthDefect)
    return any(isinstance(defect, broken) for defect in part.defects)


def boundaries_of(message):
    return [part.get_boundary() for part in message.walk() if part.get_boundary()]


@pytest.mark.long
def test_names_and_text_agree_with_python():
    directory = subprocess.run([ROOT / "tests/corpus"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    messages = shown(directory)
    assert messages
    names = lines = 0
    explained = collections.Counter()
    unexplained = []
    for path, pieces in messages.items():
        message = email.message_from_bytes(Path(path).read_bytes(), policy=email.policy.compat32)
        our_names = {text.casefold() for kind, text in pieces if kind == "N"}
        their_names = [name for name in names_of(message) if name]
        for name in their_names:
            names += 1
            if name.casefold() not in our_names:
                unexplained.append((path, "name", name))
        ours = collections.Counter(line for kind, text in pieces if kind != "N" for line in lines_of(text))
        bare = {bones(line) for line in ours}
        for text, part in texts_of(message):
            for line in text:
                lines += 1
                if ours[line] > 0:
                    ours[line] -= 1
                elif has_broken_base64(part):
                    explained["base64 with something else behind it: Python gives up or stops, the walk decodes what can be"] += 1
                elif any(line.startswith("--" + boundary) for boundary in boundaries_of(message)):
                    explained["text behind a boundary on its line: a delimiter for the walk (RFC 2046 section 5.1.1)"] += 1
                elif any(bones(line) in other for other in bare):
                    explained["quoted-printable or characters that are broken: the same but for these"] += 1
                else:
                    unexplained.append((path, "line", line))
    print(f"\n{len(messages)} messages, {names} names, {lines} lines; not the same, and explained: {dict(explained)}")
    assert not unexplained, unexplained[:20]
    assert sum(explained.values()) * 1000 < lines


@pytest.mark.long
def test_attachment_patterns_over_real_mail(tmp_path):
    """The whole filter, not the walk alone: `attachment:` with every name that Python finds refuses each message that has one, and no other but those with
    files in their text."""
    directory = subprocess.run([ROOT / "tests/corpus"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    paths = sorted(Path(directory).rglob("*.txt"))
    names = {path: {name for name in names_of(email.message_from_bytes(path.read_bytes())) if name} for path in paths}
    escaped = {"".join("\\" + c if c in ".[]*^$\\" else c for c in name) for found in names.values() for name in found}
    rules = tmp_path / "filter"
    rules.write_text("".join(f"attachment: ^{name}$\n" for name in sorted(escaped)))
    done = subprocess.run([BUILD / "bin/postern", "filter", "try", "--filter", rules, *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1, done.stdout[-2000:]
    verdicts = re.findall(r"^(/.*?\.txt): (passes|refused by line \d+ of the filter \(attachment\))", done.stdout, re.M)
    assert len(verdicts) == len(paths)
    refused = {Path(path) for path, verdict in verdicts if verdict != "passes"}
    expected = {path for path, found in names.items() if found}
    assert expected <= refused, sorted(expected - refused)[:5]
    for path in refused - expected:
        assert re.search(rb"^begin |^=ybegin ", path.read_bytes(), re.M), path
    print(f"\n{len(escaped)} names, {len(refused)} of {len(paths)} messages refused")
