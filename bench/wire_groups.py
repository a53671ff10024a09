"""The workloads of the standing set that go over wires: virtio-user and veth."""

import contextlib
import statistics
import tempfile
import time

from contenders import Hugepages
from rows import Found, Row
from wires import Cables, over_sockets, rate

# Behind a stateful filter, and by interfaces of the router in `wires.router`.
POLICY = """filters:
  forward:
    stateful: true
    default: drop
    rules:
      - { name: telnet, protocol: tcp, destination-port: 23, action: drop }
      - { name: known, in: in, protocol: udp, source: 10.0.1.0/24, action: accept }
"""
NFTABLES = """table ip bench {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct state invalid drop
    tcp dport 23 drop
    iifname "r0" ip protocol udp ip saddr 10.0.1.0/24 accept
  }
}
"""
SEARCH = ("search", "--time", "1", "--loss", "0.00001", "--attempts", "3", "--resolution", "0.04")


def macswap(sockets):
    return sockets.testpmd("macswap")


def sluice(sockets):
    return sockets.sluice(POLICY)


def latency(bench):
    """The rate without loss over virtio-user, and the latency at half of it."""
    forwarders = {"macswap": macswap, "sluice": sluice}
    with Hugepages(1024):
        found = {name: over_sockets(bench, start, *SEARCH)["found"]["rate"] for name, start in forwarders.items()}
        times = {name: [] for name in forwarders}
        curves = {}
        for _ in range(bench.rounds):
            for name, start in forwarders.items():
                run = over_sockets(bench, start, "run", "--rate", str(found[name] / 2), "--time", "1.5")["run"]
                times[name].append(run["latency"]["p99"] / 1000)
                curves[name] = run["latency"].get("curve", [])
    bench.found = found["sluice"]
    p99 = {name: statistics.median(all_) for name, all_ in times.items()}
    rows = [
        Row("virtio-user, no more than 1 in 100,000 lost", f"{found['sluice'] / 1e6:.2f} M/s", "", found["sluice"] / found["macswap"]),
        Row("testpmd macswap over virtio-user, p99 at half its rate", f"{p99['macswap']:.0f} us"),
        Row("p99 over virtio-user at half the rate", f"{p99['sluice']:.0f} us", "<= 1.5 x macswap", p99["sluice"] / p99["macswap"], 1.5),
    ]
    return Found(rows, {"p99 in us": times, "latency": curves})


def commits(every, sluice, generator, *, dry=False):
    """Commits one rule more or less, over and over, while the generator runs; dry runs do all of it but
    the last step."""
    text = sluice.ready().config.read_text()
    other = text.replace("destination-port: 23", "destination-port: 24")
    count = 0
    while generator.process.poll() is None:
        count += 1
        sluice.config.write_text(other if count % 2 else text)
        if not sluice.run("apply", sluice.config, *(("--dry-run",) if dry else ())):
            return
        time.sleep(every)


def commit(bench):
    """Commits of a policy at 90 % of the rate without loss, beside a quiet run and one of dry runs. The
    generator shares its core with the command and the control process, and cannot see to its rings while
    they run: what the commit itself loses is what dry runs do not."""
    kinds = {
        "quiet": None,
        "dry runs": lambda *both: commits(0.2, *both, dry=True),
        "commits": lambda *both: commits(0.2, *both),
    }
    with Hugepages(1024):
        found = getattr(bench, "found", None) or over_sockets(bench, sluice, *SEARCH)["found"]["rate"]
        lost, p99 = {name: [] for name in kinds}, {name: [] for name in kinds}
        run = ("run", "--rate", str(0.9 * found), "--time", "3")
        for _ in range(max(3, bench.rounds - 2)):
            for name, meanwhile in kinds.items():
                row = over_sockets(bench, sluice, *run, meanwhile=meanwhile)["run"]
                lost[name].append(row["loss"])
                p99[name].append(row["latency"]["p99"] / 1000)
    middle = {name: statistics.median(all_) for name, all_ in p99.items()}
    loss = {name: statistics.median(all_) for name, all_ in lost.items()}
    quiet, dry, commits_ = loss.values()
    rows = [
        Row("p99 with 5 commits a second at 90 % of the rate", f"{middle['commits']:.0f} us", "<= 2 x quiet", middle["commits"] / middle["quiet"], 2),
        Row("lost in a million, quiet", f"{1e6 * quiet:.1f}"),
        Row("lost in a million, 5 dry runs of a commit a second", f"{1e6 * dry:.1f}"),
        Row("lost in a million, 5 commits a second", f"{1e6 * commits_:.1f}", "no more than by dry runs", commits_ / dry if dry else float(commits_ > 0) * 9.99, 1.0),
    ]
    return Found(rows, {"commit p99 in us": p99, "commit loss": lost})


def veth(bench):
    """Two veth cables: Sluice and testpmd over af_packet, the kernel, XDP."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory, Hugepages(640):
        with Cables(bench.binaries, directory, bench.core, bench.main_core) as cables:
            systems = {
                "testpmd": lambda: contextlib.closing(cables.testpmd()),
                "sluice": lambda: contextlib.closing(cables.sluice(POLICY)),
                "kernel": cables.kernel,
                "kernel, nftables": lambda: cables.kernel(NFTABLES),
                "xdp": cables.xdp,
            }
            rates, losses = {name: [] for name in systems}, {name: [] for name in systems}
            for _ in range(bench.rounds):
                for name, start in systems.items():
                    with start():
                        row = cables.generator("run", "--time", "1.5").result(60)["run"]
                        rates[name].append(rate(row))
                        losses[name].append(row["loss"])
    middle = {name: statistics.median(all_) for name, all_ in rates.items()}

    def text(name):
        # Who loses nothing at full speed would have forwarded more.
        more = "> " if statistics.median(losses[name]) < 0.005 else ""
        return f"{more}{middle[name] / 1e6:.3f} M/s"

    rows = [
        Row("testpmd macswap over af_packet on veth", text("testpmd")),
        Row("over af_packet on veth", text("sluice"), ">= 0.9 x testpmd", middle["sluice"] / middle["testpmd"], 0.9, least=True),
        Row("the kernel forwards, veth", text("kernel"), "", middle["kernel"] / middle["testpmd"]),
        Row("the kernel with nftables, stateful, veth", text("kernel, nftables"), "", middle["kernel, nftables"] / middle["testpmd"]),
        Row("XDP with the kernel's table, veth", text("xdp"), "", middle["xdp"] / middle["testpmd"]),
    ]
    return Found(rows, {"veth": rates})

