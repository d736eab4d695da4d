#!/usr/bin/env bash
# Builds the program and the benches in release mode and runs each, both sides in one run. Takes about 25 minutes once built.
#   ./benches/run.sh [ingest|latency|kinesis|fanout|scale|endure|convert|transform|delivery|restart] [ARGUMENTS…]
# benches/peers.sh installs the logs of others that ingest is compared with.
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
for bench in ingest latency kinesis fanout scale endure convert transform delivery restart; do
  printf '\n== %s\n' "$bench"
  "$target/$bench"
done
