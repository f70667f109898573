"""The sets of scripts/postern-divert and what hangs on them, with nft and ipset in the place of the daemon that fills them."""

import os

import pytest

from netlab import Lab
from test_divert import MODES, BACKENDS, PORT, any_listener, client, exchange, mta, reaches, status, up, wan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

every_way = pytest.mark.parametrize("backend", BACKENDS)
every_mode = pytest.mark.parametrize("mode", MODES)
every_family = pytest.mark.parametrize("v", (4, 6))


@pytest.fixture(autouse=True)
def leaves_no_set(lab):
    yield
    lab.divert("down", "--iface", "wan,lan")
    assert lab.exec("fw", "nft", "list", "tables").stdout.count("postern") == 0
    assert lab.exec("fw", "ipset", "list", "-n").stdout == ""
    for tool in ("iptables-save", "ip6tables-save"):
        assert "POSTERN" not in lab.exec("fw", tool).stdout


def put(lab, backend, name, element, timeout="", verb="add"):
    """What the daemon does by netlink; name is that of the contract, alive and closed with the interface as the element."""
    timeout = f" timeout {timeout}" if timeout else ""
    if backend == "iptables":
        if name in ("alive", "closed"):
            name, element = f"{name}_{element}", "25"
        lab.exec("fw", "ipset", *f"-exist {verb} postern_{name} {element}{timeout}".split())
    else:
        element = {"alive": f'"{element}" . 25', "closed": f'"{element}"'}.get(name, element)
        verb = "delete" if verb == "del" else verb
        suffix = "s" if timeout else ""
        lab.exec("fw", "nft", "-f", "-", input=f"{verb} element inet postern {name} {{ {element}{timeout}{suffix} }}\n")


def refused(lab, v, source=None):
    with pytest.raises(ConnectionRefusedError):
        lab.connect("inet", (source or client(v), 0), (mta(v), 25), timeout=5)


def lost(lab, v, source=None):
    with pytest.raises(TimeoutError):
        lab.connect("inet", (source or client(v), 0), (mta(v), 25), timeout=1.5)


def serves(lab, v, listener, source=None):
    for sock in reaches(lab, v, listener, (mta(v), 25), source):
        sock.close()


@every_way
@every_mode
@every_family
@pytest.mark.parametrize("fail", ("open", "closed"))
def test_dead_man_switch(lab, v, mode, backend, fail):
    """Nobody is alive, then somebody is, then nobody again; a connection made meanwhile goes on."""
    up(lab, mode, backend, "--fail", fail)
    with any_listener(lab, "fw", v, PORT[mode]) as listener, any_listener(lab, "mta", v, 25) as server:
        otherwise = (lambda: serves(lab, v, server)) if fail == "open" else (lambda: refused(lab, v))
        otherwise()
        put(lab, backend, "alive", "wan", timeout=600)
        sock, conn = reaches(lab, v, listener, (mta(v), 25))
        with sock, conn:
            put(lab, backend, "alive", "wan", verb="del")
            otherwise()
            exchange(sock, conn)
            # The daemon's word counts, whatever the command line said.
            put(lab, backend, "closed", "wan", verb="del" if fail == "closed" else "add")
            (lambda: serves(lab, v, server) if fail == "closed" else refused(lab, v))()
            exchange(sock, conn)


def test_closed_is_told_before_the_rules(lab):
    """No connection finds rules that do not divert it yet and an interface that is not closed yet. (With nft all comes at once.)"""
    shown = up(lab, "redirect", "iptables", "--fail", "closed", "--dry-run").stdout
    assert shown.index("add postern_closed_wan 25") < shown.index("POSTERN_wan")


@every_way
@every_mode
@every_family
def test_pass_and_block(lab, v, mode, backend):
    up(lab, mode, backend)
    with any_listener(lab, "fw", v, PORT[mode]) as listener, any_listener(lab, "mta", v, 25) as server:
        put(lab, backend, f"pass{v}", client(v, 1), timeout=600)
        put(lab, backend, f"block{v}", client(v, 2), timeout=600)
        put(lab, backend, f"block_net{v}", "192.0.2.64/28" if v == 4 else "2001:db8:1::60/124", timeout=600)
        serves(lab, v, listener)
        serves(lab, v, server, client(v, 1))
        lost(lab, v, client(v, 2))
        lost(lab, v, Lab.SPAMMER4 if v == 4 else Lab.SPAMMER6)
        put(lab, backend, f"pass{v}", client(v, 2))
        serves(lab, v, server, client(v, 2))


@every_way
@every_mode
@every_family
def test_pass_does_not_cut_what_is_diverted(lab, v, mode, backend):
    up(lab, mode, backend)
    with any_listener(lab, "fw", v, PORT[mode]) as listener:
        sock, conn = reaches(lab, v, listener, (mta(v), 25))
        with sock, conn:
            put(lab, backend, f"pass{v}", client(v))
            exchange(sock, conn)


@every_way
def test_sets_outlive_another_up_and_go_with_the_last_down(lab, backend):
    up(lab, "redirect", backend, "--fail", "open")
    put(lab, backend, "block4", "192.0.2.66")
    put(lab, backend, "alive", "wan", timeout=600)
    up(lab, "tproxy", backend, "--fail", "open")
    up(lab, "tproxy", backend, iface="lan")
    lab.divert("down", "--iface", "wan")
    listing = ("ipset", "list") if backend == "iptables" else ("nft", "list", "table", "inet", "postern")
    text = lab.exec("fw", *listing).stdout
    assert "192.0.2.66" in text and '"wan"' not in text and "_wan" not in text
