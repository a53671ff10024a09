#!/usr/bin/env bash
# The demo: two hosts, Sluice between them, a rule pushed live. `make demo` runs it.
#
# Everything happens in network namespaces of its own, which are gone at the end, also after
# Ctrl-C. Every claim is checked: the demo fails when Sluice does not do what the text says.
set -euo pipefail

what=demo
# shellcheck source=tests/hosts.sh
source "$(dirname "$0")/hosts.sh"

if [[ -t 1 ]]; then bold=$'\e[1m' blue=$'\e[34m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' blue='' dim='' plain=''; fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() { printf 'The demo failed: %s\n' "$*" >&2; sed 's/^/  /' "$work/log" >&2; exit 1; }

# show HOST TRIM COMMAND…: prints the command as it is typed on the host, and of its output what
# the filter TRIM leaves. The exit status is the command's.
show() {
    local host=$1 trim=$2 status=0 out
    shift 2
    printf '%s%s$%s %s\n' "$blue" "$host" "$plain" "$*"
    if [[ $1 == sluice ]]; then
        out=$("$@" 2>&1) || status=$?
    else
        out=$(on "$host" "$@" 2>&1) || status=$?
    fi
    $trim <<<"$out" | sed "s/^/  $dim/; s/\$/$plain/"
    return "$status"
}
all() { cat; }
pings() { sed -n '/packets transmitted/s/, time.*//p; s/^rtt min\/avg\/max\/mdev = [^/]*\/\([^/]*\).*/round trip \1 ms on average/p'; }
received() { sed -n 's/^\[ *[0-9]*\] *\(.*\) receiver$/\1 received/p'; }

mkdir "$work/www"
echo 'hello from the server' >"$work/www/index.html"
serve server /usr/bin/python3 -m http.server --bind :: -d "$work/www" 80
serve server iperf3 -s

cat "$work/demo.yaml" - >"$work/no-http.yaml" <<YAML
filters:
  forward:
    rules:
      - name: no-http
        protocol: tcp
        destination-port: 80
        action: drop
YAML
# -- the story -------------------------------------------------------------------------------------

cat <<TEXT

  client 10.0.1.2 ──── lan [ Sluice ] wan ──── 10.0.2.2 server
       fd00:1::2                               fd00:2::2

Two Linux hosts in network namespaces. Sluice took both ports away from the kernel.
TEXT

printf '\n%srouter$%s sluice up -c demo.yaml\n' "$blue" "$plain"
start_sluice || fail "sluice up is not ready after 20 s"
grep '^sluice: ready' "$work/log" | sed "s/^/  $dim/; s/\$/$plain/"

say "Real traffic passes, IPv4 and IPv6."
show client pings ping -c 5 -i 0.2 10.0.2.2 || fail "no ping over IPv4"
show client pings ping -c 5 -i 0.2 fd00:2::2 || fail "no ping over IPv6"
show client received iperf3 -c 10.0.2.2 -t 3 || fail "no TCP"
show client all curl -sS -m 2 http://10.0.2.2/ || fail "no HTTP"

say "Now a rule that drops HTTP is pushed, live. Ping does not notice."
show router all tail -n 5 no-http.yaml
show router all sluice apply no-http.yaml || fail "the rule was refused"
show client all curl -sS -m 2 http://10.0.2.2/ && fail "HTTP was not blocked"
show client pings ping -c 3 -i 0.2 10.0.2.2 || fail "the rule blocked ping too"

say "What was dropped, by which rule, and why?"
show router all sluice show drops
show router all sluice show rules
show router all sluice explain --in lan --src 10.0.1.2 --dst 10.0.2.2 --proto tcp --dport 80
sluice show drops | grep -q no-http || fail "the drop does not name its rule"

say "The rule goes, HTTP is back."
show router all sluice apply demo.yaml
show client all curl -sS -m 2 http://10.0.2.2/ || fail "HTTP is still blocked"

say "Every packet is accounted for: rx + generated = tx + consumed + dropped + held."
show router all sluice show stats
sluice --json show stats | /usr/bin/python3 -c '
import json, sys
sys.exit(not all(worker["balanced"] for worker in json.load(sys.stdin)["workers"]))
' || fail "the counters do not add up"

stop_sluice || fail "sluice up did not stop cleanly"
say "Stopped with SIGTERM: the interfaces are the kernel's again, as they were."
printf 'The whole demo took %d seconds.\n' "$SECONDS"
