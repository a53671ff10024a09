"""Two hosts ping each other, and the router."""


def test_ping_in_both_directions(pair):
    with pair.sluice():
        for address in ("10.0.2.2", "fd00:2::2"):
            assert pair.client.ping(address, count=5).received == 5
        for address in ("10.0.1.2", "fd00:1::2"):
            assert pair.server.ping(address, count=5).received == 5
        assert pair.client.ping("10.0.2.2").ttls == {63}
        assert pair.client.ping("fd00:2::2").ttls == {63}


def test_the_routers_own_addresses_answer_ping(pair):
    with pair.sluice():
        for address in ("10.0.1.1", "10.0.2.1", "fd00:1::1", "fd00:2::1"):
            assert pair.client.ping(address).received == 3, address
