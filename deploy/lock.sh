#!/usr/bin/env bash
# Resolve both environments anew, each in a fresh one that is thrown away, and write what came out:
#   lock.sh [--only daemon|swift] [FOLDER]        FOLDER: deploy/constraints where not given
# daemon.txt: the newest within the ranges of pyproject.toml, tests and checks included. swift.txt: ms-swift and torch as
# named below, with the newest of what they need. Run the whole suite before you keep the result.
set -euo pipefail
cd "$(dirname "$0")/.."

torch=${TORCH:-torch==2.13.0}
swift=${SWIFT:-ms-swift==4.6.*}
python=${PYTHON:-python3}

fail() { printf 'lock: %s\n' "$*" >&2; exit 1; }

only=both
if [ "${1:-}" = --only ]; then only=${2:?daemon or swift}; shift 2; fi
case $only in both | daemon | swift) ;; *) fail "--only daemon, or --only swift" ;; esac
target=${1:-deploy/constraints}
mkdir -p "$target"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed"
unset PYTHONPATH VIRTUAL_ENV
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fresh NAME: an empty environment
fresh() { "$python" -m venv "$scratch/$1" || fail "can't make a virtual environment; apt-get install python3-venv"; }

# install NAME ARGUMENT...: with pip, into one of them
install() {
  local name=$1; shift
  printf 'lock: resolving %s\n' "$*" >&2
  "$scratch/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@" \
    >&2 2> >(grep -v '^WARNING: Location' >&2) || fail "pip could not install; see its message above"
}

# frozen NAME: what is installed there, less the project itself; versions without a local part (torch's builds differ
# in it). pip hides setuptools from some Pythons' lists; it is wanted where something required a newer one than venv's.
frozen() {
  local pip=("$scratch/$1/bin/python" -m pip --disable-pip-version-check freeze)
  "${pip[@]}" --exclude-editable | grep -v '^setuptools==' | sed -E 's/\+[A-Za-z0-9.]+$//'
  if [ "$1" = swift ]; then { "${pip[@]}" --all | grep '^setuptools=='; } || true; fi
}

# put NAME HEAD: the file, whole or not at all
put() {
  { printf '# %s\n' "$2"; frozen "$1"; } > "$scratch/$1.txt"
  ! grep -n -v -E '^(#.*|[A-Za-z0-9._-]+==[^ ;@]+)$' "$scratch/$1.txt" >&2 || fail "$1: these are no plain pins"
  cp "$scratch/$1.txt" "$target/$1.txt"
  printf 'lock: wrote %s\n' "$target/$1.txt" >&2
}

if [ "$only" != swift ]; then
  fresh daemon
  install daemon hatchling editables
  install daemon --no-build-isolation --editable '.[tracing,test,check]'
  put daemon "The daemon's environment with its tests and checks, exactly. \`make lock\` writes it anew within the ranges of pyproject.toml."
fi
if [ "$only" != daemon ]; then
  fresh swift
  install swift "$torch"  # first, so that a build that is at hand (CPU) is taken where there is one
  install swift "$torch" "$swift"
  version() { frozen swift | sed -n -E "s/^$1==//p"; }
  put swift "The ms-swift environment, exactly: torch $(version torch) (any build of it) and ms-swift $(version 'ms[-_]swift') with what they need. \`make lock\` writes it anew."
fi
