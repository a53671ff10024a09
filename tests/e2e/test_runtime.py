"""`sluice show runtime`: what the workers' time goes into."""

from lab import Stream

HOOK = "hooks: { mine: { program: pass-packet, event: forwarding, protocols: [inet] } }\n"


def places(runtime):
    """Stages and hooks by name, in the order in which they are told."""
    return {place["name"]: place for place in runtime["total"]["places"]}


def test_calls_packets_and_clocks_by_stage_and_hook(pair):
    with pair.sluice(HOOK) as sluice:
        assert pair.client.reaches("10.0.2.2")
        pair.client.run("ping", "-q", "-f", "-c", "1500", "10.0.2.2")
        runtime = sluice.show("runtime")
        told = places(runtime)
        for name in ("rx", "decode", "mine", "neighbour", "tx"):
            place = told[name]
            # There and back; a few of them may have gone before they were forwarded.
            assert place["packets"] >= 2900 and place["calls"] > 0, place
            assert place["packets_per_call"] >= 1 and place["cycles_per_packet"] > 0, place
        order = list(told)
        assert order[:2] == ["rx", "decode"] and order[-1] == "tx"
        assert order.index("mtu") < order.index("mine") < order.index("egress-filter")
        total = runtime["total"]
        assert total["packets"] >= 3000 and 0 < total["load_percent"] < 100
        # All that a packet takes is more than what a stage does.
        assert total["cycles"] > told["decode"]["cycles"]
        assert [worker["packets"] for worker in runtime["workers"]] == [total["packets"]]
        assert 1e8 < runtime["hertz"] < 1e10

        with Stream(pair.client, pair.server, "10.0.2.2", rate=400) as stream:
            assert stream.wait_for(20)
            interval = sluice.show("runtime", "--interval", "1s")
        assert 1 <= interval["seconds"] < runtime["seconds"] + 10
        assert 0 < places(interval)["mine"]["packets"] < told["mine"]["packets"]
        text = sluice.run("show", "runtime").stdout
        assert "clocks/packet" in text and "FORWARDING" in text
        worker = sluice.run("show", "workers").stdout
        assert "LOAD" in worker and "CLOCKS/PACKET" in worker


def test_a_wrong_interval_is_refused(pair):
    with pair.sluice() as sluice:
        for wrong in ("0s", "soon", "61s"):
            assert sluice.run("show", "runtime", "--interval", wrong, check=False).returncode != 0
