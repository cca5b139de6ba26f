#!/usr/bin/env bash
# Have a Chromium for the tests of the gateway's page, and print its path: the system's, or Debian's by apt-get.
set -euo pipefail

fail() { printf 'chromium: %s\n' "$*" >&2; exit 1; }

for name in chromium chromium-browser google-chrome; do
  if found=$(command -v "$name"); then printf '%s\n' "$found"; exit 0; fi
done
advice="install it (Debian: apt-get install chromium)"
command -v apt-get >/dev/null || fail "there is no Chromium here; $advice"
sudo=()
if [ "$(id -u)" != 0 ]; then
  sudo -n true 2>/dev/null || fail "there is no Chromium here, and only root may install it; $advice"
  sudo=(sudo -n)
fi
printf 'chromium: installing it with apt-get (once)\n' >&2
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -q >&2
"${sudo[@]}" apt-get install -y -q --no-install-recommends chromium >&2 || fail "apt-get could not install it; $advice"
command -v chromium || fail "chromium was installed, but is not on the PATH; $advice"
