"""`sluice explain` says what then happens."""

import pytest

RULES = """
filters:
  forward:
    rules:
      - name: no-http
        protocol: tcp
        destination-port: 80
        action: drop
      - { name: no-ping, protocol: icmp, icmp-type: echo-request, action: reject }
routes:
  - { to: 10.21.0.0/16, blackhole: true }
"""
CLIENT = {"in_": "lan", "src": "10.0.1.2"}


@pytest.fixture
def appliance(pair, tmp_path):
    (tmp_path / "index.html").write_text("hello\n")
    for port in (80, 8080):
        pair.server.http_server(tmp_path, port)
    with pair.sluice(RULES) as pair.running:
        yield pair


def test_it_names_the_rule_that_then_drops(appliance):
    sluice = appliance.running
    answer = sluice.explain(**CLIENT, dst="10.0.2.2", proto="tcp", dport=80)
    line = sluice.file.read_text().splitlines().index("      - name: no-http") + 1
    assert (answer["verdict"], answer["reason"]) == ("drop", "forward-filter")
    assert answer["rule"]["name"] == "no-http"
    assert answer["rule"]["position"]["file"].endswith("sluice.yaml")
    assert answer["rule"]["position"]["line"] == line

    assert appliance.client.fetch("http://10.0.2.2/", timeout=1) is None
    assert sluice.rules()["no-http"] > 0

    text = sluice.run(
        *("explain", "--in", "lan", "--src", "10.0.1.2", "--dst", "10.0.2.2"),
        *("--proto", "tcp", "--dport", 80),
    ).stdout
    assert "no-http" in text and f"sluice.yaml:{line}" in text


def test_it_names_the_route_of_what_then_passes(appliance):
    sluice = appliance.running
    answer = sluice.explain(**CLIENT, dst="10.0.2.2", proto="tcp", dport=8080)
    assert answer["verdict"] == "accept" and "reason" not in answer
    assert (answer["egress"], answer["next_hop"], answer["mtu"]) == ("wan", "10.0.2.2", 1500)
    assert (answer["route"]["prefix"], answer["route"]["owner"]) == ("10.0.2.0/24", "connected")
    assert answer["generation"] == sluice.generation
    assert appliance.client.fetch("http://10.0.2.2:8080/") == "hello\n"


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        ({"dst": "10.0.1.1", "proto": "icmp", "icmp": "8"}, ("local", None)),
        ({"dst": "10.0.2.2", "proto": "icmp", "icmp": "8"}, ("reject", "forward-filter")),
        ({"dst": "10.21.0.1"}, ("drop", "blackhole")),
        ({"dst": "10.99.0.1"}, ("reject", "no-route")),
        ({"dst": "10.0.2.2", "proto": "udp", "hop_limit": 1}, ("reject", "hop-limit-exceeded")),
    ],
)
def test_verdicts(appliance, question, verdict):
    answer = appliance.running.explain(**CLIENT, **question)
    assert (answer["verdict"], answer.get("reason")) == verdict


def test_no_verdict_is_stated_past_a_foreign_hook(pair, monkeypatch):
    monkeypatch.setenv("SLUICE_FAULT", "panic-on-udp-port=6666")
    with pair.sluice(RULES) as sluice:
        question = {**CLIENT, "dst": "10.0.2.2", "proto": "udp"}
        said = sluice.explain(**question, dport=5)
        assert (said["verdict"], said["hook"]) == ("unknown", "fault")
        assert said["otherwise"] == {"verdict": "accept"}
        step = next(step for step in said["steps"] if step["stage"] == "fault")
        assert (step["event"], step["foreign"], step["outcome"]) == ("physical-in", True, "unknown")
        text = sluice.run("explain", "--src", "10.0.1.2", "--dst", "10.0.2.2").stdout
        assert "verdict: not known, hook `fault` decides" in text


def test_what_the_sender_hears_is_followed_back(appliance):
    answer = appliance.running.explain(**CLIENT, dst="10.99.0.1", proto="udp")["answer"]
    assert (answer["message"], answer["source"]) == ("network-unreachable", "10.0.1.1")
    assert (answer["verdict"], answer["egress"]) == ("accept", "lan")
    text = appliance.running.run(
        "explain", "--in", "lan", "--src", "10.0.1.2", "--dst", "10.99.0.1"
    ).stdout
    assert "answer:         network-unreachable from 10.0.1.1 to 10.0.1.2" in text


def test_a_neighbour_that_does_not_answer_is_known(appliance):
    sluice = appliance.running
    question = {**CLIENT, "dst": "10.0.2.77", "proto": "udp"}
    before = sluice.explain(**question)
    assert (before["verdict"], before["next_hop_state"]["state"]) == ("accept", "unknown")
    appliance.client.run("bash", "-c", "echo hello > /dev/udp/10.0.2.77/9")

    def reason():
        return sluice.explain(**question).get("reason")

    assert sluice.wait_until(lambda: reason() == "neighbour-unresolved", patience=10)
    answer = sluice.explain(**question)["answer"]
    assert answer["message"] == "host-unreachable"


def test_earlier_commits_and_files_that_are_not_applied_can_be_asked(appliance, tmp_path):
    sluice = appliance.running
    question = {**CLIENT, "dst": "10.0.2.2", "proto": "tcp", "dport": 80}
    first, before = sluice.generation, sluice.explain(**question)
    without = sluice.file.read_text().replace("port: 80\n", "port: 81\n")
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(without)

    said = sluice.explain(**question, candidate=candidate)
    assert (said["verdict"], said["basis"]) == ("accept", "candidate")
    assert sluice.explain(**question)["verdict"] == "drop", "nothing was applied"

    sluice.apply(without)
    assert sluice.explain(**question)["verdict"] == "accept"
    then = sluice.explain(**question, at=first)
    assert (then["basis"], then["generation"]) == ("commit", first)
    assert [then[key] for key in ("verdict", "reason", "rule")] == [
        before[key] for key in ("verdict", "reason", "rule")
    ]
    unknown = sluice.run(
        *("explain", "--in", "lan", "--src", "10.0.1.2", "--dst", "10.0.2.2", "--at", 999),
        check=False,
    )
    assert unknown.returncode != 0 and "999" in unknown.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(without + "surprise: 1\n")
    refused = sluice.run(
        *("explain", "--in", "lan", "--src", "10.0.1.2", "--dst", "10.0.2.2"),
        *("--candidate", wrong),
        check=False,
    )
    assert refused.returncode != 0 and "wrong.yaml" in refused.stderr
