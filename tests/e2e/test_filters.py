"""First-match rules: what they match, what they do, and what the operator sees of it."""

import time

import pytest

from lab import Lab, Pair, Sluice, Stream, pair_configuration

WEB_BLOCKED = """
filters:
  forward:
    rules:
      - name: count-web
        protocol: tcp
        destination-port: 80
        action: count
      - name: no-http
        protocol: tcp
        destination-port: 80
        action: drop
        log: true
      - name: never-asked
        protocol: tcp
        destination-port: 80
        action: accept
"""


@pytest.fixture
def web(pair, tmp_path):
    """The pair with a web server on ports 80 and 8080."""
    (tmp_path / "index.html").write_text("hello\n")
    for port in (80, 8080):
        pair.server.http_server(tmp_path, port)
    return pair


@pytest.fixture(scope="module")
def many_rules(tmp_path_factory):
    """One running Sluice with web servers behind it, for many rules in turn."""
    directory = tmp_path_factory.mktemp("web")
    (directory / "index.html").write_text("hello\n")
    with Lab() as lab:
        pair = Pair(lab)
        for port in (80, 8080):
            pair.server.http_server(directory, port)
        configuration = pair_configuration()
        with Sluice(pair.router, configuration) as sluice:
            yield pair, sluice, configuration


@pytest.mark.parametrize("address", ["10.0.2.2", "[fd00:2::2]"])
def test_a_rule_drops_counts_and_logs(web, address):
    with web.sluice(WEB_BLOCKED) as sluice:
        assert web.client.fetch(f"http://{address}/", timeout=1) is None
        assert web.client.fetch(f"http://{address}:8080/") == "hello\n"
        assert web.client.reaches(address.strip("[]"))
        matched = sluice.rules()
        assert matched["no-http"] == matched["count-web"] > 0
        assert matched["never-asked"] == 0
        assert sluice.drops()["forward-filter"] == matched["no-http"]
        assert sluice.wait_until(lambda: "no-http" in sluice.log), "the log names the rule"


def test_drops_name_the_rule(web):
    with web.sluice(WEB_BLOCKED) as sluice:
        web.client.fetch("http://10.0.2.2/", timeout=1)
        row = next(row for row in sluice.show("drops") if row["reason"] == "forward-filter")
        assert [rule["name"] for rule in row["rules"]] == ["no-http"]
        assert row["rules"][0]["position"]["file"].endswith("sluice.yaml")
        table = sluice.run("show", "drops").stdout
        assert "forward-filter" in table and "no-http" in table


def test_reject_tells_the_sender(web):
    rules = """
filters:
  forward:
    rules:
      - { name: no-http, protocol: tcp, destination-port: 80, action: reject }
      - { name: no-ping, protocol: [icmp, icmpv6], icmp-type: echo-request, action: reject }
"""
    with web.sluice(rules):
        for address in ("10.0.2.2", "[fd00:2::2]"):
            began = time.monotonic()
            assert web.client.fetch(f"http://{address}/", timeout=5) is None
            assert time.monotonic() - began < 2, "a reset, not silence"
        assert "Packet filtered" in web.client.ping("10.0.2.2").text
        assert "prohibited" in web.client.ping("fd00:2::2").text
        assert web.client.fetch("http://10.0.2.2:8080/") == "hello\n"


def test_default_drop_lets_through_what_is_allowed(web):
    rules = """
filters:
  forward:
    default: drop
    rules:
      - { name: out, in: lan, source: [10.0.1.0/24, "fd00:1::/64"], action: accept }
      - { name: web-back, in: wan, protocol: tcp, source-port: 80, tcp-flags: ack, action: accept }
"""
    with web.sluice(rules) as sluice:
        assert web.client.fetch("http://10.0.2.2/") == "hello\n"
        assert web.client.fetch("http://[fd00:2::2]/") == "hello\n"
        assert web.client.fetch("http://10.0.2.2:8080/", timeout=1) is None
        assert not web.server.reaches("10.0.1.2")
        assert sluice.rules()["default"] > 0
        assert web.client.ping("10.0.1.1").received == 3, "the router itself is not forwarding"


@pytest.mark.parametrize("point", ["ingress", "forward", "egress"])
def test_each_filter_stands_in_its_place(web, point):
    rules = f"""
filters:
  {point}:
    rules:
      - name: no-http
        protocol: tcp
        destination: 10.0.2.0/24
        destination-port: 80
        action: drop
"""
    with web.sluice(rules) as sluice:
        assert web.client.fetch("http://10.0.2.2/", timeout=1) is None
        assert web.client.fetch("http://[fd00:2::2]/") == "hello\n"
        assert sluice.drops()[f"{point}-filter"] == sluice.rules()["no-http"] > 0


@pytest.mark.parametrize(
    ("match", "blocked"),
    [
        ("destination-port: 79-81", {80}),
        ("destination-port: [80, 8080]", {80, 8080}),
        ("source: 10.0.1.0/24", {80, 8080}),
        ("source: 10.0.1.128/25", set()),
        ("in: lan", {80, 8080}),
        ("in: wan, source-port: 80", {80}),
        ("out: wan", {80, 8080}),
        ("in: [lan, wan], out: lan, source-port: 8080", {8080}),
        ("tcp-flags: 'syn,!ack', destination-port: 80", {80}),
        ("tcp-flags: 'syn,ack', destination-port: 80", set()),
    ],
)
def test_what_rules_match(many_rules, match, blocked):
    web, sluice, configuration = many_rules
    rule = f"{{ name: r, protocol: tcp, {match}, action: reject }}"
    sluice.apply(configuration + f"filters: {{ forward: {{ rules: [{rule}] }} }}\n")
    for port in (80, 8080):
        page = web.client.fetch(f"http://10.0.2.2:{port}/", timeout=1)
        assert (page is None) == (port in blocked), f"port {port}"


def test_rule_counters_survive_an_unrelated_change(web):
    with web.sluice(WEB_BLOCKED) as sluice:
        web.client.fetch("http://10.0.2.2/", timeout=1)
        before = sluice.rules()["no-http"]
        assert before > 0
        first = "      - name: count-web"
        added = "      - { name: no-telnet, protocol: tcp, destination-port: 23, action: drop }\n"
        sluice.apply(sluice.file.read_text().replace(first, added + first))
        assert sluice.rules()["no-http"] == before


def test_a_rule_push_under_load_loses_nothing_that_it_does_not_name(web):
    with web.sluice() as sluice:
        plain = sluice.file.read_text()
        assert web.client.reaches("10.0.2.2") and web.client.reaches("fd00:2::2")
        with (
            Stream(web.client, web.server, "10.0.2.2", port=5000) as four,
            Stream(web.client, web.server, "fd00:2::2", port=5001) as six,
        ):
            for turn in range(20):
                sluice.apply(plain + (WEB_BLOCKED if turn % 2 == 0 else ""))
                if turn % 10 < 2:
                    page = web.client.fetch("http://10.0.2.2/", timeout=0.5)
                    assert (page is None) == (turn % 2 == 0), "in force as soon as apply returns"
        for stream in (four, six):
            assert stream.sent > 1000
            assert stream.lost == [] and stream.in_order
