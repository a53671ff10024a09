"""A laboratory of network namespaces around a running Sluice.

* `Lab` makes hosts and the cables between them and takes everything away again.
* `Host` is a Linux host with addresses: ping, iperf3, curl, traceroute.
* `Wire` is the bare end of a cable: whole frames out, whole frames in, no kernel between.
* `Pair` is `client — Sluice — server`; `Stations` are three wires around a Sluice.
* `Sluice` runs `sluice up` in a namespace of its own, wraps the command line, and on exit holds
  the programs to what they promise: exit status 0, nothing left running, the kernel's
  interfaces given back as they were.
* `Control` talks to a control process without the command line.
* `Halves` are the two processes without `sluice up`, each to be killed and started alone.
* `Alternating` has two policies that no packet can mistake for each other.
* `Load` is a numbered stream between wires that knows what came out where.
* `through_hook` pings through a hook that drops what it is known to drop.
* `Stream` is a numbered stream of datagrams that knows what it lost.
"""

from .alternating import Alternating
from .control import Control
from .echoes import through_hook
from .halves import Halves
from .load import Load
from .namespace import Host, Namespace
from .sluice import Sluice, worker_core
from .stations import Stations
from .stream import Stream, datagram
from .topology import Lab, Pair, pair_configuration
from .wire import Wire

__all__ = [
    "Alternating",
    "Control",
    "Halves",
    "Host",
    "Lab",
    "Load",
    "Namespace",
    "Pair",
    "Sluice",
    "Stations",
    "Stream",
    "Wire",
    "datagram",
    "pair_configuration",
    "through_hook",
    "worker_core",
]
