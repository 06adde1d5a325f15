#!/bin/sh
# Build a wheel, install it into an empty environment away from the checkout, and run the demo from there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
"$root/.venv/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work/wheel" "$root"
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$root/requirements.lock"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$work"/wheel/onefill-*.whl
cd "$work"
"$work/venv/bin/onefill" demo --json
test -s demo.html
echo "the wheel works from an empty environment" >&2
