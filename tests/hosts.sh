# shellcheck shell=bash
# Two hosts in network namespaces and a router's namespace between them: sourced by demo.sh and
# lab.sh. Everything is gone when the script that sources it ends, also after Ctrl-C.
#
#   client 10.0.1.2 ──── lan [ router ] wan ──── 10.0.2.2 server

: "${what:?is the name of who sources this}"
bin=${SLUICE_BIN:-$(dirname "${BASH_SOURCE[0]}")/../target/release}
bin=$(realpath "$bin")
work=$(mktemp -d "/tmp/sluice-$what-XXXXXX")
prefix=sluice-$what-$$
export SLUICE_DIR=$work/run
up=                # process id of `sluice up`
background=()      # process ids of the servers

cleanup() {
    trap '' INT TERM
    stop_sluice || true
    kill "${background[@]}" 2>/dev/null || true
    wait
    for host in client router server; do ip netns del "$prefix-$host" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stop_sluice() {
    [[ -n $up ]] || return 0
    kill -TERM "$up" 2>/dev/null || true
    local status=0
    wait "$up" || status=$?
    up=
    return "$status"
}

serve() { local host=$1; shift; ip netns exec "$prefix-$host" "$@" >/dev/null 2>&1 & background+=($!); }
on() { local host=$1; shift; ip netns exec "$prefix-$host" "$@"; }
sluice() { on router "$bin/sluice" --name "$prefix" "$@"; }

for host in client router server; do
    ip netns add "$prefix-$host"
    on "$host" ip link set lo up
    on "$host" sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
done
cable() { # HOST PORT NET
    on "$1" ip link add eth0 type veth peer name "$2" netns "$prefix-router"
    on router ip link set "$2" up
    on "$1" ip link set eth0 up
    on "$1" ip addr add "10.0.$3.2/24" dev eth0
    on "$1" ip addr add "fd00:$3::2/64" dev eth0 nodad
    on "$1" ip route add default via "10.0.$3.1"
    on "$1" ip route add ::/0 via "fd00:$3::1"
    # af_packet cannot carry what a host leaves to a segmenting NIC; checksum offload stays on
    on "$1" ethtool -K eth0 tso off gso off
}
cable client lan 1
cable server wan 2

core=$(sed -n 's/^Cpus_allowed_list:.*[^0-9]\([0-9]*\)$/\1/p' /proc/self/status)
cat >"$work/$what.yaml" <<YAML
dataplane: { cores: [$core], memory: 256 }
ports:
  lan:
    device: net_af_packet0,iface=lan
    addresses: [10.0.1.1/24, "fd00:1::1/64"]
  wan:
    device: net_af_packet1,iface=wan
    addresses: [10.0.2.1/24, "fd00:2::1/64"]
YAML

# Starts Sluice with that file, and waits until it forwards.
start_sluice() {
    cd "$work" || return
    ip netns exec "$prefix-router" "$bin/sluice" --name "$prefix" up -c "$what.yaml" >log 2>&1 </dev/null &
    up=$!
    for _ in {1..400}; do
        grep -q '^sluice: ready' "$work/log" && break
        kill -0 "$up" 2>/dev/null || return 1
        sleep 0.05
    done
    grep -q '^sluice: ready' "$work/log"
}
