"""`sluice explain` tells the truth: random packets through random policies, what it said compared
with what the wire did, every one of them."""

import os

import pytest

from truth import Trial

# Every end that a packet can come to which is whole on arrival and whose neighbours answer.
REASONS = {
    None,
    "blackhole",
    "destination-martian",
    "directed-broadcast",
    "egress-filter",
    "forward-filter",
    "fragmentation-needed",
    "hop-limit-exceeded",
    "hop-limit-zero",
    "icmp-ignored",
    "ingress-filter",
    "ipv6-header-chain",
    "l4-truncated",
    "link-broadcast",
    "link-local",
    "local-fragment",
    "local-unreachable",
    "multicast-ignored",
    "multicast-unrouted",
    "no-route",
    "policy-drop",
    "policy-reject",
    "policy-unreachable",
    "policy-unreachable-reject",
    "prohibit-route",
    "reject-route",
    "source-martian",
    "super-packet",
}

PACKETS = int(os.environ.get("SLUICE_TRUTH_PACKETS", 10_000))
SEED = int(os.environ.get("SLUICE_TRUTH_SEED", 1))


@pytest.mark.timeout(max(120, PACKETS // 50))
def test_what_explain_says_is_what_the_wire_does(lab):
    with Trial(lab, SEED) as trial:
        trial.run(PACKETS)
    print(trial.seen)
    assert sum(trial.seen.values()) == PACKETS
    if PACKETS >= 10_000:
        # What never happens is not tested.
        assert REASONS <= {reason for _, reason in trial.seen}
