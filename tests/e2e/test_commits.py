"""Everything that takes effect is a commit: who, when, what; and the way back."""

import datetime
import os
import pty
import signal
import subprocess

import pytest

NO_PING = """
filters:
  forward:
    rules:
      - { name: no-ping, protocol: icmp, action: drop }
"""
TELNET = NO_PING.replace("no-ping", "no-telnet").replace("icmp", "tcp, destination-port: 23")


@pytest.fixture
def appliance(pair):
    """Sluice between client and server; both ping."""
    with pair.sluice() as pair.running:
        assert pair.client.reaches("10.0.2.2")
        yield pair


def commits(sluice):
    return sluice.json("commits")


def told(sluice, words):
    """Waits until the log of `sluice up` has these words."""
    assert sluice.wait_until(lambda: words in sluice.log, patience=15.0), sluice.log


def edit(sluice, more):
    """Appends to the configuration file, as an editor would: nothing is applied yet."""
    sluice.file.write_text(sluice.file.read_text() + more)


# -- the record --------------------------------------------------------------------------------


def test_whatever_takes_effect_is_a_commit(appliance):
    sluice = appliance.running
    edit(sluice, TELNET)
    sluice.run("apply", sluice.file, "-m", "close telnet")
    sluice.run("route", "add", "10.9.0.0/16", "via", "10.0.2.2", "--message", "for the fair")
    newest, before, first = commits(sluice)
    numbers = [row["generation"] for row in (newest, before, first)]
    assert numbers == sorted(numbers, reverse=True) and numbers[0] == sluice.generation
    assert [row["live"] for row in (newest, before, first)] == [True, False, False]
    assert (newest["kind"], newest["message"]) == ("route", "for the fair")
    assert (before["kind"], before["message"]) == ("file", "close telnet")
    assert before["file"] == str(sluice.file)
    assert before["changes"]["rules"]["added"] == 1
    assert newest["author"].startswith("root") or newest["author"].endswith("(sudo)")
    when = datetime.datetime.fromisoformat(newest["time"].replace("Z", "+00:00"))
    age = datetime.datetime.now(datetime.timezone.utc) - when
    assert abs(age.total_seconds()) < 120
    table = sluice.run("commits").stdout
    assert "close telnet" in table and "for the fair" in table


def test_the_author_is_who_became_root(appliance):
    sluice = appliance.running
    command = ["env", "SUDO_USER=alice", *sluice.command("route", "add", "10.9.0.0/16", "reject")]
    appliance.router.run(*command)
    assert commits(sluice)[0]["author"] == "alice (sudo)"


def test_a_change_that_is_refused_or_changes_nothing_is_no_commit(appliance):
    sluice = appliance.running
    before = commits(sluice)
    assert sluice.apply(sluice.file.read_text() + "nonsense: 1\n", check=False).returncode == 1
    assert commits(sluice) == before


# -- what differs ------------------------------------------------------------------------------


def test_diff_says_what_a_commit_did_and_what_a_file_would_do(appliance):
    sluice = appliance.running
    first = sluice.generation
    edit(sluice, TELNET)
    would = sluice.json("diff", sluice.file)
    assert would["from"] == first and "to" not in would
    names = {entry["name"]: entry for entry in would["entries"]}
    rule = next(entry for name, entry in names.items() if "no-telnet" in name)
    assert rule["kind"] == "rule" and "before" not in rule and "23" in rule["after"]
    sluice.run("apply", sluice.file)
    second = sluice.generation
    did = sluice.json("diff", first, second)
    assert did["entries"] == would["entries"] and did["to"] == second
    assert sluice.json("diff", first)["entries"] == did["entries"], "the live one if none is named"
    back = sluice.json("diff", second, first)
    assert [entry["before"] for entry in back["entries"]] == [
        entry["after"] for entry in did["entries"]
    ]
    text = sluice.run("diff", first, second).stdout
    assert "+ rule" in text and "no-telnet" in text and "\x1b" not in text
    assert sluice.json("diff", sluice.file)["entries"] == []


def test_a_dry_run_changes_nothing_and_says_what_would(appliance):
    sluice, client = appliance.running, appliance.client
    before = commits(sluice)
    edit(sluice, NO_PING)
    text = sluice.run("apply", "--dry-run", sluice.file).stdout
    assert "would be" in text and "no-ping" in text
    assert commits(sluice) == before
    assert client.reaches("10.0.2.2")


# -- the way back ------------------------------------------------------------------------------


def test_rollback_brings_an_earlier_state_back_as_a_new_commit(appliance):
    sluice, client = appliance.running, appliance.client
    good = sluice.generation
    sluice.run("route", "add", "10.9.0.0/16", "blackhole")
    edit(sluice, NO_PING)
    sluice.run("apply", sluice.file)
    bad = sluice.generation
    assert not client.reaches("10.0.2.2")
    would = sluice.run("rollback", good, "--dry-run").stdout
    assert "no-ping" in would and "10.9.0.0/16" in would
    assert sluice.generation == bad
    sluice.run("rollback", good, "-m", "that was wrong")
    assert client.reaches("10.0.2.2")
    newest = commits(sluice)[0]
    assert (newest["kind"], newest["to"]) == ("rollback", good)
    assert newest["message"] == "that was wrong" and newest["generation"] > bad
    assert sluice.json("diff", good)["entries"] == [], "live routes went back too"
    sluice.run("rollback", bad)
    assert not client.reaches("10.0.2.2"), "and forth"


def test_what_nobody_confirms_is_undone_with_all_that_followed(appliance):
    sluice, client = appliance.running, appliance.client
    good = sluice.generation
    edit(sluice, NO_PING)
    text = sluice.run("apply", sluice.file, "--confirm", "15s").stdout
    assert "sluice confirm" in text
    sluice.run("route", "add", "10.9.0.0/16", "blackhole")
    waits = sluice.show("status")["confirm"]
    assert waits["base"] == good and waits["remaining_seconds"] <= 15
    assert "sluice confirm" in sluice.run("show", "status").stdout
    assert not client.reaches("10.0.2.2")
    assert sluice.wait_until(lambda: "confirm" not in sluice.show("status"), patience=45.0)
    assert client.reaches("10.0.2.2")
    newest = commits(sluice)[0]
    assert (newest["kind"], newest["to"]) == ("expired", good)
    assert sluice.json("diff", good)["entries"] == []


def test_what_is_confirmed_stays(appliance):
    sluice = appliance.running
    edit(sluice, TELNET)
    sluice.run("apply", sluice.file, "--confirm", "10m")
    live = sluice.generation
    again = sluice.run("rollback", live - 1, "--confirm", "10m", check=False)
    assert again.returncode == 3 and "confirm" in again.stderr, "one at a time"
    assert str(live) in sluice.run("confirm").stdout
    assert "confirm" not in sluice.show("status")
    assert sluice.generation == live
    nothing = sluice.run("confirm", check=False)
    assert nothing.returncode == 3 and nothing.stderr.startswith("sluice: ")


def test_a_dead_control_process_does_not_save_what_nobody_confirms(appliance):
    sluice, client = appliance.running, appliance.client
    good = sluice.generation
    edit(sluice, NO_PING)
    sluice.run("apply", sluice.file, "--confirm", "12s")
    os.kill(sluice.processes()["sluice-control"], signal.SIGKILL)
    assert not client.reaches("10.0.2.2")
    assert sluice.wait_until(lambda: client.ping("10.0.2.2", count=1).received, patience=45.0)
    assert sluice.wait_until(sluice.committed)
    assert commits(sluice)[0]["kind"] == "expired"
    assert sluice.json("diff", good)["entries"] == []


# -- what survives -----------------------------------------------------------------------------


def test_a_restart_undoes_nothing_and_an_edited_file_takes_effect(pair):
    sluice = pair.sluice()
    try:
        sluice.up()
        sluice.run("route", "add", "10.9.0.0/16", "blackhole", "-m", "by hand")
        edit(sluice, NO_PING)
        sluice.run("apply", sluice.file)
        sluice.run("rollback", commits(sluice)[1]["generation"])
        before = commits(sluice)
        sluice.down()
        sluice.up()
        assert commits(sluice) == before, "the same numbers, and no new one"
        assert sluice.generation == before[0]["generation"]
        assert pair.client.reaches("10.0.2.2"), "rolled back: the file was read before"
        sluice.down()
        edit(sluice, "      - { name: edited, protocol: udp, action: count }\n")
        sluice.up()
        newest = commits(sluice)[0]
        assert newest["kind"] == "file" and newest["generation"] > before[0]["generation"]
        assert not pair.client.reaches("10.0.2.2"), "the edited file has the rule, too"
        routes = [row["prefix"] for row in sluice.show("routes") if row["owner"] == "cli"]
        assert routes == ["10.9.0.0/16"], "live routes are not the file's to take away"
        sluice.accounts_balance()
        sluice.down()
    finally:
        sluice.discard()


# -- SIGHUP ------------------------------------------------------------------------------------


def test_sighup_applies_the_file_once(appliance):
    sluice, client = appliance.running, appliance.client
    before = sluice.generation
    edit(sluice, NO_PING)
    up = sluice.processes()["sluice"]
    for _ in range(200):
        os.kill(up, signal.SIGHUP)
    assert sluice.wait_until(lambda: sluice.generation > before, patience=15.0)
    told(sluice, "was read again")
    assert not client.reaches("10.0.2.2")
    assert sluice.generation == before + 1, "nothing changed the second time"
    assert commits(sluice)[0]["kind"] == "file"


def test_sighup_with_a_bad_file_leaves_everything(appliance):
    sluice, client = appliance.running, appliance.client
    before = commits(sluice)
    edit(sluice, "filters: { forward: { rules: [ { actoin: drop } ] } }\n")
    os.kill(sluice.processes()["sluice"], signal.SIGHUP)
    told(sluice, "actoin")
    assert commits(sluice) == before
    assert client.reaches("10.0.2.2")


# -- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("diff 1000000", 3, "1000000"),
        ("rollback 1000000", 3, "1000000"),
        ("apply {file} --generation 1000000", 3, "1000000"),
        ("route del 10.78.0.0/16", 3, "10.78.0.0/16"),
        ("apply /nonexistent.yaml", 1, "/nonexistent.yaml"),
        ("diff /nonexistent.yaml", 1, "/nonexistent.yaml"),
        ("diff {file} 3", 2, "without 3"),
        ("apply {file} --confirm 2d", 2, "24h"),
        ("rollback", 2, "COMMIT"),
    ],
)
def test_exit_codes(appliance, command, code, says):
    sluice = appliance.running
    words = command.format(file=sluice.file).split()
    failed = sluice.run(*words, check=False)
    assert failed.returncode == code, failed.stderr
    assert says in failed.stderr and failed.stdout == ""
    if code != 2:
        failed = sluice.run("--json", *words, check=False)
        assert failed.returncode == code and failed.stderr.startswith('{"error":')


def test_colours_are_for_terminals(appliance):
    sluice = appliance.running
    sluice.run("route", "add", "10.9.0.0/16", "blackhole")
    command = list(map(str, sluice.command("diff", sluice.generation - 1)))
    assert "\x1b[3" in on_a_terminal(command)
    assert "\x1b" not in on_a_terminal(command, NO_COLOR="1")
    assert "\x1b" not in sluice.run("diff", sluice.generation - 1).stdout


def on_a_terminal(command, **environment):
    """What a command prints that believes to be on a terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", **environment}
    subprocess.run(command, stdout=follower, env=environment, check=True, timeout=30)
    os.close(follower)
    text = os.read(leader, 65536).decode()
    os.close(leader)
    return text
