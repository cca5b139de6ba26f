#!/usr/bin/env bash
# Make the daemon's virtual environment in .venv, with exactly the versions of deploy/constraints/daemon.txt.
# Does nothing where it is there already and neither the versions nor pyproject.toml changed.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'venv: %s\n' "$*" >&2; exit 1; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "there is no $python; install Python 3.11 or newer (apt-get install python3 python3-venv)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" --version) is too old; install Python 3.11 or newer, or name one: PYTHON=python3.12 make ..."

stamp=$(cat deploy/constraints/daemon.txt pyproject.toml | sha256sum | cut -d' ' -f1)
is_made() { [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ]; }
if is_made; then exit 0; fi

exec 9< deploy/venv.sh
flock 9  # a second `make` waits for the first instead of destroying its work; the lock needs no file of its own
if is_made; then exit 0; fi

printf 'venv: installing the daemon into .venv (once)\n' >&2
unset PYTHONPATH VIRTUAL_ENV
rm -rf .venv
"$python" -m venv .venv || fail "can't make a virtual environment; apt-get install python3-venv"
install() {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint deploy/constraints/daemon.txt "$@" \
    >&2 2> >(grep -v '^WARNING: Location' >&2) || fail "pip could not install the packages; see its message above"
}
# the build backend first and without isolation, so that it is pinned too (pip has --build-constraint from 25.3 only)
install hatchling editables
install --no-build-isolation --editable '.[tracing,test,check]'
printf '%s' "$stamp" > .venv/.stamp
