#!/usr/bin/env bash
# Fuzzes: `run.sh SECONDS [TARGET...]`, each target for so long, all of them without a name. What a target finds interesting is
# kept in MILLRACE_CACHE for the next run; an input that breaks it lands in `artifacts`, and the run ends there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds="${1:?run.sh SECONDS [TARGET...]}"
shift
[ $# -gt 0 ] || set -- json cbor authorization events tokens aggregate
. ../../deploy/requirements.sh
require build

cache="${MILLRACE_CACHE:-$HOME/.cache/millrace}/fuzz"
export RUSTC_WRAPPER="$PWD/instrument" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}" MILLRACE_FUZZ_HOST="$cache/host.o"
mkdir -p "$cache"
cc -c -fPIC -o "$MILLRACE_FUZZ_HOST" host.c
cargo build --locked --bins
mkdir -p artifacts
# As much as the server's threads have: what nests without a limit shows.
ulimit -S -s 2048
for target in "$@"; do
  mkdir -p "$cache/corpus/$target"
  "$CARGO_TARGET_DIR/debug/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -dict=requests.dict \
    -artifact_prefix="artifacts/$target-" -print_final_stats=1 "$cache/corpus/$target" "corpus/$target"
done
