"""What `sluice explain` says, held against what the wire does.

* `worlds` makes random policies: instances, VLANs, routes of every kind, filters of every match.
* `packets` makes random packets for them: as bytes, and as a question.
* `witness` sends the packets through a running Sluice and compares, packet by packet, what came
  out where with what was said, and drop reasons and rule counters with their sums.

All of it follows from one seed.
"""

from .witness import Trial

__all__ = ["Trial"]
