"""The manual pages say what the programs do: options of the configuration, of the command lines, sub-commands, actions, references.

Reads the tables in the sources and asks the programs; needs neither root nor the lab. That every option of the configuration is in the page is
tests/unit/test_cli_conf_sample.c's."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "man").glob("*.[58]"))}
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
NAMED = {"MINUTE": 60, "HOUR": 3600, "DAY": 86400, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30}


def source(path):
    return (ROOT / path).read_text()


def value(text):
    """ "64 * KI" of the sources and "64K" of a page, in bytes or seconds. """
    product = 1
    for factor in text.split("*"):
        number, unit = re.fullmatch(r"\s*(\d*)(\w*)\s*", factor).groups()
        product *= int(number or 1) * (NAMED[unit] if unit in NAMED else UNITS[unit])
    return product


def options_in_code():
    """{section: {name: (kind, preset, low, high, choices)}}"""
    text = source("lib/conf_options.c")
    choices = {name: set(re.findall(r'\{ "([^"]+)",', body)) for name, body in re.findall(r"conf_choice (\w+)\[\] = \{(.*?)\};", text, re.S)}
    found = {}
    for section in ("file", "listen"):
        body = re.search(section + r"_options\[\] = \{(.*?)\n\};", text, re.S)[1]
        rows = re.findall(r'\{ "([a-z-]+)", KIND_(\w+), FIELD\([^)]*\), (NULL|(?:POSTERN_SYSCONFDIR )?"[^"]*"), ([^,]+), ([^,]+), (\w+) \}', body)
        assert len(rows) == body.count("FIELD("), "each row was read"
        found[section] = {name: (kind, preset, low, high, choices.get(names)) for name, kind, preset, low, high, names in rows}
    return found


def options_in_page():
    """{section: {name: (what stands behind =, the text below)}}; of several that share a text, each has it."""
    listen, rest = PAGES["postern.conf.5"].split(".Sh OPTIONS")
    found = {}
    for section, page in (("listen", listen), ("file", rest)):
        entries = re.findall(r"^\.It Cm (\S+) No = (.*)\n((?:(?!\.It Cm \S+ No =|\.Ss|\.Sh).*\n)*)", page, re.M)
        text, found[section] = "", {}
        for name, values, below in reversed(entries):
            text = " ".join(below.split()) or text
            found[section][name] = (values, text)
    return found


@pytest.mark.parametrize("section", ["file", "listen"])
def test_options_of_the_configuration(section):
    code, page = options_in_code()[section], options_in_page()[section]
    assert set(code) == set(page)
    for name, (kind, preset, low, high, choices) in code.items():
        values, text = page[name]
        assert re.search("[Dd]efault", text), f"{name}: no default"
        if choices:
            assert set(values.removeprefix("Cm ").split(" | ")) == choices, name
        preset = preset.strip('"')
        if kind in ("COUNT", "DURATION", "SIZE"):
            ranges = [(value(a), value(b)) for a, b in re.findall(r"\b(\d+[smhdKMG]?) to (\d+[smhdKMG]?)\b", text)]
            assert (value(low), value(high)) in ranges, (name, low, high, ranges)
            assert re.search(rf"(?<!\w){preset}(?!\w)", text), f"{name}: default {preset}"


def test_options_of_the_daemons():
    """Each letter that getopt knows has its entry, and the other way round; so has the usage."""
    for program, path in (("posternd", "proxy/options.c"), ("posternfwd", "fwd/fwd_options.c")):
        letters = set(re.search(r'getopt\(argc, argv, "([^"]+)"', source(path))[1]) - {":"}
        entries = {letter for line in re.findall(r"^\.It Fl .*", PAGES[f"{program}.8"], re.M) for letter in re.findall(r"Fl ([A-Za-z])\b", line)}
        assert letters == entries, program
        usage = subprocess.run([str(BUILD / "bin" / program), "-h"], capture_output=True, text=True, timeout=20, check=True).stdout
        assert letters - {"h"} <= set(re.findall(r"(?<![\w-])-([A-Za-z])\b", usage)), program


def test_options_of_postern_divert():
    text, page = source("scripts/postern-divert"), PAGES["postern-divert.8"]
    known = {option for line in re.findall(r"^\t+((?:--[a-z-]+(?: \| )?)+)\)", text, re.M) for option in line.split(" | ")} - {"--help"}
    usage = subprocess.run([str(ROOT / "scripts/postern-divert"), "--help"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert known == {f"--{name}" for name in re.findall(r"Fl Fl ([a-z-]+)", page)} - {"--help"}
    assert known == set(re.findall(r"--[a-z-]+", usage)) - {"--help"}
    described = {f"--{name}" for name in re.findall(r"^\.It Fl Fl ([a-z-]+)", page, re.M)}
    # Of down alone; it is described there.
    assert known - described == {"--all"}


def test_options_and_commands_of_postern():
    page = PAGES["postern.8"]
    taken = {name for path in (ROOT / "cli").glob("*.c") for name in re.findall(r'\{ "([a-z-]+)",\s+(?:no_argument|required_argument|TAKES_\w+|IS_ALL|IS_DRY_RUN)', path.read_text())}
    documented = set(re.findall(r"Fl Fl ([a-z-]+)", page))
    # Both have it everywhere; the command "help" is in the page.
    assert taken | {"json"} == documented | {"help", "version"}
    usage = subprocess.run([str(BUILD / "bin/postern"), "help"], capture_output=True, text=True, timeout=20, check=True).stdout
    commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?)", usage, re.M)
    assert len(commands) > 15
    for command in commands:
        first, _, second = command.partition(" ")
        assert re.search(rf"^\.(?:It )?Cm {first}\b.*\b{second}", page, re.M), command
    assert subprocess.run([str(BUILD / "bin/postern"), "nonsense"], capture_output=True, timeout=20, check=False).returncode == 2


def test_actions_of_the_rules():
    table = re.search(r"actions\[\] = \{(.*?)\n\};", source("rules/rules_action.c"), re.S)[1]
    names = re.findall(r'^\t\{ "([^"]+)"', table, re.M)
    page = PAGES["postern-rules.5"].split(".SH ACTIONS")[1].split("\n.SH ")[0]
    entries = {word for line in re.findall(r"^\.TP\n(.*)", page, re.M) for word in re.findall(r"[a-z_-]+=?", line)}
    assert set(names) <= entries, set(names) - entries


def test_references():
    """Each of our own pages by its own section, none that is not there."""
    own = {name.rpartition(".")[0]: name.rpartition(".")[2] for name in PAGES}
    for name, page in PAGES.items():
        for other, section in re.findall(r"^\.Xr (\S+) (\d)", page, re.M) + re.findall(r"^\.BR ([a-z.-]+) \((\d)\)", page, re.M):
            if other in own or "postern" in other:
                assert own.get(other) == section, f"{name}: {other}({section})"
        assert re.search(r"^\.S[hH] SEE ALSO$", page, re.M), name


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_no_warning(name):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(ROOT / "man" / name)], capture_output=True, text=True, timeout=20, check=False)
    assert not done.stdout and not done.stderr, done.stdout + done.stderr
