"""TCP as real hosts send it, through virtual ports."""

import pytest

from lab import Pair

ADDRESSES = ["10.0.2.2", "fd00:2::2"]
XDP = {"lan": "net_af_xdp0,iface=lan", "wan": "net_af_xdp1,iface=wan"}


def offload(host, feature):
    """Whether an offload of the host's eth0 is on."""
    lines = host.run("ethtool", "-k", "eth0").stdout.splitlines()
    return any(line.strip().startswith(f"{feature}: on") for line in lines)


def test_iperf3_over_af_packet_with_checksum_offload_on(pair):
    assert offload(pair.client, "tx-checksumming"), "the hosts leave checksums to their hardware"
    assert not offload(pair.client, "tcp-segmentation-offload")
    pair.server.iperf_server()
    with pair.sluice():
        for address in ADDRESSES:
            assert pair.client.iperf(address) > 50e6, address
            assert pair.client.iperf(address, "-R") > 50e6, address


def test_iperf3_over_af_xdp_with_every_offload_on(lab):
    pair = Pair(lab, segmentation=True)
    for feature in ("tcp-segmentation-offload", "generic-segmentation-offload", "tx-checksumming"):
        assert offload(pair.client, feature) and offload(pair.server, feature), feature
    pair.server.iperf_server()
    with pair.sluice(**XDP) as sluice:
        for address in ADDRESSES:
            assert pair.client.iperf(address) > 100e6, address
            assert pair.client.iperf(address, "-R") > 100e6, address
        assert sluice.drops()["super-packet"] == 0


@pytest.mark.parametrize("ports", [{}, XDP], ids=["af_packet", "af_xdp"])
def test_http(pair, ports, tmp_path):
    (tmp_path / "index.html").write_text("hello through Sluice\n")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4096)
    pair.server.http_server(tmp_path)
    with pair.sluice(**ports):
        for address in ("10.0.2.2", "[fd00:2::2]"):
            assert pair.client.fetch(f"http://{address}/") == "hello through Sluice\n"
            copy = tmp_path / "copy"
            pair.client.run("curl", "-sS", "-g", "-m", 10, "-o", copy, f"http://{address}/large")
            assert copy.read_bytes() == bytes(range(256)) * 4096
