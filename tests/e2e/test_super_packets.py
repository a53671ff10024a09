"""A host that leaves segmentation to its hardware, over a port that cannot carry that."""

from lab import Pair


def test_super_packets_are_dropped_by_name_and_the_cure_is_told(lab):
    pair = Pair(lab, segmentation=True)
    pair.server.iperf_server()
    with pair.sluice() as sluice:
        assert pair.client.ping("10.0.2.2").received == 3
        pair.client.run("timeout", 4, "iperf3", "-c", "10.0.2.2", "-t", 1, check=False)
        assert sluice.drops()["super-packet"] > 0
        table = sluice.run("show", "drops").stdout
        assert "super-packet" in table and "tso off" in table and "net_af_xdp" in table
        assert "tso off" in sluice.log
        assert pair.client.ping("10.0.2.2").received == 3

        pair.client.offloads("tso", "off", "gso", "off")
        assert pair.client.iperf("10.0.2.2", seconds=1) > 50e6, "the cure works"
