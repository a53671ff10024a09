"""`sluice explain` tells the truth: random packets through random policies, what it said compared
with what the wire did, every one of them."""

import os

import pytest

from truth import Trial

PACKETS = int(os.environ.get("SLUICE_TRUTH_PACKETS", 10_000))
SEED = int(os.environ.get("SLUICE_TRUTH_SEED", 1))


@pytest.mark.timeout(max(120, PACKETS // 50))
def test_what_explain_says_is_what_the_wire_does(lab):
    with Trial(lab, SEED) as trial:
        trial.run(PACKETS)
    assert sum(trial.seen.values()) == PACKETS
    # A test that never meets a reason does not test it.
    print(trial.seen)
