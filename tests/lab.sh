#!/usr/bin/env bash
# A lab to play in: two hosts, Sluice between them, and a shell. `make lab` runs it; commands can
# also be piped into it. Everything is gone when the shell ends.
set -euo pipefail

what=lab
# shellcheck source=tests/hosts.sh
source "$(dirname "$0")/hosts.sh"
start_sluice || { cat "$work/log" >&2; exit 1; }

cat <<TEXT

  client 10.0.1.2 ──── lan [ Sluice ] wan ──── 10.0.2.2 server
       fd00:1::2                               fd00:2::2

  client COMMAND, server COMMAND   run it on that host: client ping -c 3 10.0.2.2
  sluice …                         the command of the Sluice between them: sluice show ports
  lab.yaml, log                    its configuration, and what it says

The lab is gone when you leave this shell (exit, or Ctrl-D).

TEXT
export work prefix bin
cat >shell <<'RC'
on() { local host=$1; shift; ip netns exec "$prefix-$host" "$@"; }
client() { on client "$@"; }
server() { on server "$@"; }
sluice() { on router "$bin/sluice" --name "$prefix" "$@"; }
PS1='lab$ '
RC
if [[ -t 0 ]]; then
    bash --rcfile shell -i || true
else
    BASH_ENV=shell bash -s
fi
