#!/usr/bin/env bash
# Make a side folder with what Qwen's vision-language models need beside the ms-swift environment (60 MB), with exactly
# the versions of deploy/constraints/vlm.txt, and print its path. Does nothing where it is there already.
#
# It is no part of that environment, because PyPI's torchvision beside the CPU build of torch fails at import and takes
# trainings of text alone with it. A daemon that is started with PYTHONPATH=<this folder> passes it on to its trainings.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'swift-vlm: %s\n' "$*" >&2; exit 1; }

swift=$(bash deploy/swift-venv.sh | tail -n 1)
python=$(dirname "$(command -v "${swift%% *}")")/python
[ -x "$python" ] || fail "there is no Python beside the command $swift"

lock=deploy/constraints/vlm.txt
shim=deploy/vlm/torchvision_operators.py
cache=${SWIFT_TRAINER_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/swift-trainer}
tag=$("$python" -c 'import sys; print(sys.implementation.cache_tag)')  # torchvision is compiled for one Python
target=$cache/swift-vlm-$tag-$(cat "$lock" "$shim" | sha256sum | cut -c1-16)
mkdir -p "$cache"

exec 9> "$target.lock"
flock 9  # a second run waits for the first instead of destroying its work
if [ ! -e "$target/.complete" ]; then
  printf 'swift-vlm: installing the packages of vision-language models into %s (once)\n' "$target" >&2
  unset PYTHONPATH
  rm -rf "$target"
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
    --target "$target" --requirement "$lock" >&2 2> >(grep -v '^WARNING: Location' >&2) \
    || fail "pip could not install; see its message above"
  cp "$shim" "$target/"
  # one line in torchvision: behind its attempt to load its library, before what stops where that has failed
  init=$target/torchvision/__init__.py
  sed -i '/^from \. import extension\b/a import torchvision_operators  # the side folder of the Swift Trainer' "$init"
  grep -q '^import torchvision_operators' "$init" || fail "this torchvision has no place for the shim"
  PYTHONPATH=$target "$python" -c 'import torchvision, qwen_vl_utils, decord' \
    || fail "it can't be imported; remove $target and try again"
  touch "$target/.complete"
fi
printf '%s\n' "$target"
