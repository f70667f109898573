"""make install and uninstall, into a directory of the test's own.  Needs neither root nor the lab."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))
CONF = "etc/postern/postern.conf"
PARTS = "usr/local/lib/postern/postern-divert.d"

EXPECTED = {
    "usr/local/sbin/posternd", "usr/local/sbin/posternfwd", "usr/local/sbin/postern-divert",
    "usr/local/bin/postern", "usr/local/bin/smtpd-mailq",
    "usr/local/lib/systemd/system/posternd.service", "usr/local/lib/systemd/system/posternfwd.service",
    "usr/local/lib/systemd/system/postern-divert.service", "usr/local/lib/systemd/system/postern-divert@.service",
    "usr/local/lib/systemd/system/postern-divert-early.service",
    "usr/local/lib/sysusers.d/postern.conf",
    *(f"usr/local/share/man/man8/{page}.8" for page in ("postern", "posternd", "posternfwd", "postern-divert", "smtpd-mailq")),
    *(f"usr/local/share/man/man5/{page}.5" for page in ("postern.conf", "postern-rules", "postern-filter")),
    *(f"usr/local/share/doc/postern/{name}" for name in ("README.md", "LICENSE", "architecture.md", "spool-format.md", "performance.md",
                                                         "postern.conf.sample", "rules.sample", "filter.sample", "divert.conf.sample")),
    *(f"{PARTS}/{part.name}" for part in (ROOT / "scripts/postern-divert.d").glob("*.sh")),
    *(f"usr/local/share/doc/postern/contrib/{name}" for name in ("check-clamd", "check-dcc", "check-spamc")),
    CONF, "etc/postern/rules", "etc/postern/divert.conf", "etc/postern/filter",
}


def make(target, destdir, *settings):
    done = subprocess.run(["make", "-s", "-C", str(ROOT), target, f"B={BUILD}", f"DESTDIR={destdir}", *settings],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def files(top):
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.fixture
def installed(tmp_path):
    make("install", tmp_path)
    return tmp_path


def test_what_is_installed(installed):
    assert files(installed) == EXPECTED
    assert os.readlink(installed / "usr/local/bin/smtpd-mailq") == "postern"
    for program in ("sbin/posternd", "sbin/posternfwd", "sbin/postern-divert", "bin/postern"):
        assert os.access(installed / "usr/local" / program, os.X_OK), program


def test_postern_divert_finds_its_parts(installed):
    text = (installed / "usr/local/sbin/postern-divert").read_text()
    assert f"\nPARTS=/{PARTS}\n" in text and (installed / PARTS).is_dir()
    assert "\nCONF=/etc/postern/divert.conf\n" in text


def test_each_manual_page_is_its_own(installed):
    for page in sorted((ROOT / "man").glob("*.[58]")):
        there = installed / f"usr/local/share/man/man{page.name[-1]}" / page.name
        assert not there.is_symlink() and there.read_bytes() == page.read_bytes(), page.name
    assert os.readlink(installed / "usr/local/share/man/man8/smtpd-mailq.8") == "postern.8"


def test_no_placeholder_is_left(installed):
    for name in files(installed):
        path = installed / name
        if "/man/" not in name and not os.access(path, os.X_OK):
            assert "@SBINDIR@" not in path.read_text() and "@SYSCONFDIR@" not in path.read_text(), name


def test_twice_is_once_and_keeps_configuration(installed):
    (installed / CONF).write_text("# mine\n")
    make("install", installed)
    assert files(installed) == EXPECTED
    assert (installed / CONF).read_text() == "# mine\n"


def test_uninstall_leaves_nothing(installed):
    make("uninstall", installed)
    assert files(installed) == set()
    assert not (installed / "etc/postern").exists() and not (installed / "usr/local/share/doc/postern").exists()
    make("uninstall", installed)


def test_uninstall_keeps_what_was_changed_and_what_is_not_ours(installed):
    (installed / CONF).write_text("# mine\n")
    other = installed / "usr/local/sbin/other"
    other.write_text("")
    make("uninstall", installed)
    assert files(installed) == {CONF, "usr/local/sbin/other"}


def test_other_places(tmp_path):
    make("install", tmp_path, "PREFIX=/opt/postern", "SYSCONFDIR=/opt/etc")
    unit = (tmp_path / "opt/postern/lib/systemd/system/posternd.service").read_text()
    assert "ExecStart=/opt/postern/sbin/posternd -f /opt/etc/postern/postern.conf" in unit
    assert '#rules = "/opt/etc/postern/rules"' in (tmp_path / "opt/etc/postern/postern.conf").read_text()
    make("uninstall", tmp_path, "PREFIX=/opt/postern", "SYSCONFDIR=/opt/etc")
    assert files(tmp_path) == set()


def test_samples_are_good(installed):
    conf = installed / CONF
    text = conf.read_text().replace('listen "wan"', 'listen "lo"')
    # Interface and users that every host has: what the host lacks is an error, too.
    conf.write_text(f'rules = "{installed}/etc/postern/rules"\nfilter = "{installed}/etc/postern/filter"\nsession-user = nobody\nforward-user = daemon\n{text}')
    done = subprocess.run([str(installed / "usr/local/bin/postern"), "check", "-f", str(conf)], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "good, 1 listen section" in done.stdout and "1 pattern, no errors, 0 warnings" in done.stdout and not done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_units_are_good(installed):
    """Programs are looked up at their final place: the paths are those of the installation here."""
    units = installed / "usr/local/lib/systemd/system"
    for unit in units.iterdir():
        unit.write_text(unit.read_text().replace("/usr/local/sbin/", f"{installed}/usr/local/sbin/"))
    (units / "postern-divert@.service").rename(units / "postern-divert@wan.service")
    for unit in ("posternd.service", "posternfwd.service", "postern-divert.service", "postern-divert@wan.service"):
        # Units that stand beside it are found; man pages are not looked for, they are not installed.
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(units / unit)], capture_output=True, text=True, timeout=60,
                              check=False, env=dict(os.environ, SYSTEMD_UNIT_PATH=f"{units}:"))
        complaints = [line for line in done.stderr.splitlines() if "postern" in line]
        assert not complaints, complaints


@pytest.mark.skipif(not shutil.which("man"), reason="no man")
def test_manual_pages_have_no_warnings(installed):
    for name in files(installed):
        if "/man/" in name and not (installed / name).is_symlink():
            done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(installed / name)], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, timeout=60, check=False)
            warnings = [line for line in done.stderr.splitlines() if "mandoc.db" not in line]
            assert done.returncode == 0 and not warnings, (name, warnings)
