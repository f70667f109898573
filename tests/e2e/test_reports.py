"""Reports to senders: who gets one, what is in it, and that what nobody is told of is in the log."""

import os
import time

import pytest

from netlab import wait_until
from spool_maker import Mail
from test_fwd_alone import ANYTHING, World, ask, parse_kv

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="posternfwd starts as root")


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.end()


def start(world, forward, **settings):
    bounces = world.server("bounces")
    world.start("-f", world.conf(forward, f"smtp:127.0.0.1:{bounces.port}", **settings))


def logged(world, event):
    return [parse_kv(line[line.index("ev="):]) for line in world.log.splitlines() if f"ev={event} " in line]


def status(world):
    return ask(world.spool, "status")[0][0]


# ---- bounce = all | trusted | none

@pytest.mark.parametrize("bounce,told", ((None, {"trusted"}), ("trusted", {"trusted"}), ("all", {"trusted", "stranger"}), ("none", set())))
def test_whose_senders_are_told(world, bounce, told):
    server = world.server("mx", "rcpt_550=nobody")
    mails = [Mail("trusted@example.net", ["nobody@example.org", "b@example.org"], ANYTHING, TRUST="yes"),
             Mail("stranger@example.net", ["nobody@example.org"], ANYTHING, rcpt_parameters=" NOTIFY=FAILURE,SUCCESS"),
             Mail("", ["nobody@example.org"], ANYTHING, TRUST="yes")]
    world.spool.store(mails)
    bounces = world.server("bounces")
    conf = world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}", bounce=bounce or "all")
    if not bounce:
        conf.write_text(conf.read_text().replace("bounce = all\n", ""))
    world.start("-f", conf)
    world.wait_settled()
    assert {report["rcpts"][0][1:].split("@")[0] for report in world.got("bounces")} == told
    assert len(world.got("bounces")) == len(told)
    silent = {line["id"]: line for line in logged(world, "no-report")}
    expected = {"trusted": mails[0].id, "stranger": mails[1].id}
    assert set(silent) == {mails[2].id, *(mail_id for name, mail_id in expected.items() if name not in told)}
    assert silent[mails[2].id]["why"] == "the sender is <>"
    if "stranger" not in told:
        line = silent[mails[1].id]
        assert (line["from"], line["to"], line["rc"], line["kind"]) == ("stranger@example.net", "nobody@example.org", "550", "failed")
        assert line["reply"] == "550 5.1.1 no nobody here" and line["why"].startswith(f"bounce = {bounce or 'trusted'}")
    assert status(world)["reports"] == str(len(told)) and status(world)["reports_withheld"] == str(2 - len(told))
    assert "ev=report" in world.log or not told
    world.stop()


def test_nothing_of_any_kind_goes_to_strangers(world):
    """Neither a warning, nor the report of a success that was asked for, nor one at the end of the lifetime."""
    server = world.server("mx", "rcpt_450=later", "ehlo=PIPELINING")
    hour_ago = int(time.time()) - 3600
    world.spool.store([Mail("a@example.net", ["later@example.org"], ANYTHING, TIME=hour_ago),
                       Mail("b@example.net", ["fine@example.org"], ANYTHING, rcpt_parameters=" NOTIFY=SUCCESS"),
                       Mail("c@example.net", ["later@example.org"], ANYTHING, TIME=hour_ago - 7200)])
    start(world, f"smtp:127.0.0.1:{server.port}", bounce="trusted", **{"queue-warn": "30m", "queue-lifetime": "2h"})
    wait_until(lambda: len(logged(world, "no-report")) == 3, "three that are not told")
    assert {(line["from"][0], line["kind"]) for line in logged(world, "no-report")} == {("a", "delayed"), ("b", "relayed"), ("c", "failed")}
    wait_until(lambda: int(ask(world.spool, "queue list")[0][0]["attempts"]) >= 3, "more attempts")
    assert len(logged(world, "no-report")) == 3, "the warning is not considered again"
    assert status(world)["reports_withheld"] == "3" and not world.got("bounces")
    world.stop()


def test_trust_is_that_of_the_arrival(world):
    """A section that is trusted by now makes no old mail trusted."""
    server = world.server("mx", "rcpt_550=nobody")
    world.spool.store([Mail("a@example.net", ["nobody@example.org"], ANYTHING)])
    bounces = world.server("bounces")
    world.start("-f", world.conf(f"smtp:127.0.0.1:{server.port}", f"smtp:127.0.0.1:{bounces.port}", listen="trust = trusted", bounce="trusted"))
    world.wait_settled()
    assert not world.got("bounces") and len(logged(world, "no-report")) == 1
    world.stop()


def test_one_is_told_the_other_is_logged(world):
    """Two recipients of one message fail, and the sender wanted to hear of one only."""
    server = world.server("mx", "rcpt_550=nobody")
    mail = Mail("a@example.net", ["nobody@example.org"], ANYTHING, TRUST="yes")
    mail.more_rcpts = ["RCPT <nobody@example.com> NOTIFY=NEVER"]
    world.spool.store([mail])
    start(world, f"smtp:127.0.0.1:{server.port}", bounce="trusted")
    world.wait_settled()
    report, = world.got("bounces")
    assert "nobody@example.org" in report["wire"] and "nobody@example.com" not in report["wire"]
    line, = logged(world, "no-report")
    assert line["to"] == "nobody@example.com" and line["why"] == "the sender asked for none"
    assert status(world)["reports_withheld"] == "0"
    world.stop()
