#!/usr/bin/env bash
# Have Prometheus's promtool for the tests of the alerts, and print its path: the system's, or Debian's, unpacked into
# the cache folder that all checkouts share. The package is not installed, because it would start a server.
set -euo pipefail

fail() { printf 'promtool: %s\n' "$*" >&2; exit 1; }

if found=$(command -v promtool); then printf '%s\n' "$found"; exit 0; fi
cache=${SWIFT_TRAINER_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/swift-trainer}
target=$cache/promtool
advice="put it on the PATH (Debian: apt-get install prometheus)"
mkdir -p "$cache"

exec 9> "$target.lock"
flock 9  # a second run waits for the first
if [ ! -x "$target" ]; then
  command -v apt-get >/dev/null || fail "there is no promtool here; $advice"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  printf 'promtool: fetching it with apt-get (once)\n' >&2
  cd "$work"
  fetch() { apt-get download -q prometheus >&2; }
  update() { if [ "$(id -u)" = 0 ]; then apt-get update -q >&2; else sudo -n apt-get update -q >&2; fi; }
  fetch 2>/dev/null || { update && fetch; } || fail "apt-get could not fetch it; $advice"
  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --to-stdout ./usr/bin/promtool > promtool
  chmod +x promtool
  mv promtool "$target"
fi
printf '%s\n' "$target"
