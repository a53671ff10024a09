"""traceroute shows the router."""

import pytest


@pytest.mark.parametrize("probe", ["-U", "-I", "-T"])
@pytest.mark.parametrize("net", ["10.0.{}.{}", "fd00:{}::{}"])
def test_the_router_is_the_first_hop(pair, net, probe):
    with pair.sluice():
        hops = pair.client.traceroute(net.format(2, 2), probe)
        assert hops == [net.format(1, 1), net.format(2, 2)]
