#!/usr/bin/env bash
# Builds the program and the benches in release mode and runs each, both sides in one run. Takes about 15 minutes once built.
#   ./benches/run.sh [ingest|latency|convert|delivery|restart] [ARGUMENTS…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/requirements.sh
require build
cargo build --locked --release --workspace --bins
target="${CARGO_TARGET_DIR:-target}/release"
if [ $# -gt 0 ]; then
  bench=$1
  shift
  exec "$target/$bench" "$@"
fi
for bench in ingest latency convert delivery restart; do
  printf '\n== %s\n' "$bench"
  "$target/$bench"
done
