#!/usr/bin/env bash
# Make the ms-swift environment (2 GB) with exactly the versions of deploy/constraints/swift.txt, in a cache folder that
# all checkouts share, and print the path of its `swift` command. Does nothing where it is there already.
# SWIFT_TRAINER_SWIFT_COMMAND, where set, is printed as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'swift-venv: %s\n' "$*" >&2; exit 1; }

if [ -n "${SWIFT_TRAINER_SWIFT_COMMAND:-}" ]; then printf '%s\n' "$SWIFT_TRAINER_SWIFT_COMMAND"; exit 0; fi

lock=deploy/constraints/swift.txt
cache=${SWIFT_TRAINER_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/swift-trainer}
target=$cache/swift-$(sha256sum "$lock" | cut -c1-16)
mkdir -p "$cache"

exec 9> "$target.lock"
flock 9  # a second run waits for the first instead of destroying its work
if [ ! -e "$target/.complete" ]; then
  python=${PYTHON:-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed"
  printf 'swift-venv: installing ms-swift into %s (2 GB, a few minutes, once)\n' "$target" >&2
  unset PYTHONPATH VIRTUAL_ENV
  rm -rf "$target"
  "$python" -m venv "$target" || fail "can't make a virtual environment; apt-get install python3-venv"
  install() {
    "$target/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2 2> >(grep -v '^WARNING: Location' >&2)
  }
  # torch first and by its exact version, so that a build that is at hand (CPU) is taken where there is one
  install "$(grep '^torch==' "$lock")" || fail "pip could not install torch; see its message above"
  install --constraint "$lock" "$(grep '^ms[-_]swift==' "$lock")" || fail "pip could not install ms-swift; see its message above"
  "$target/bin/python" -c 'import importlib.metadata as m; m.version("ms-swift")' || fail "the environment is broken; remove $target and try again"
  touch "$target/.complete"
fi
printf '%s\n' "$target/bin/swift"
