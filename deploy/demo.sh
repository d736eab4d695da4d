#!/usr/bin/env bash
# The main job in one go: a server on a temporary folder, a pipeline, the flights put onto its stream, the Parquet files
# that come out, and SQL over them. Leaves nothing behind.
#
#   ./deploy/demo.sh              16,839 flights, a sample that ships with the demo
#   ./deploy/demo.sh --full       all 336,776 (tests/data/flights.jsonl.zst, or the file that MILLRACE_FLIGHTS names)
#   ./deploy/demo.sh --full FILE  any file of JSON lines; .zst and .gz are read as they are
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

file=deploy/demo/flights-sample.jsonl.zst
case "${1:-}" in
  "") ;;
  --full)
    file="${2:-${MILLRACE_FLIGHTS:-tests/data/flights.jsonl.zst}}"
    if [ ! -r "$file" ]; then
      echo "$file is not there. The whole file ships at tests/data/flights.jsonl.zst; name another copy with" >&2
      echo "  ./deploy/demo.sh --full FILE   or   MILLRACE_FLIGHTS=FILE ./deploy/demo.sh --full" >&2
      exit 2
    fi
    ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    [ "$1" = --help ] || [ "$1" = -h ] || exit 2
    exit 0
    ;;
esac

. deploy/requirements.sh
require build

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi; }
run() { printf '$ millrace %s\n' "$*"; "$bin" "$@"; }

bold "Building (the first time compiles RocksDB: 15 to 40 minutes on two cores, then seconds)"
# All members are selected, so that tests and demo share one build of every dependency.
cargo build --locked --quiet --workspace --bin millrace
bin="${CARGO_TARGET_DIR:-target}/debug/millrace"
started=$SECONDS

work=$(mktemp -d "${TMPDIR:-/tmp}/millrace-demo.XXXXXX")
server=
clean_up() {
  if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
    kill -TERM "$server"
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT

bold "1. A server: one process, one data folder (free ports, so that a running one is not in the way)"
MILLRACE_GRPC_LISTEN=127.0.0.1:0 MILLRACE_HTTP_LISTEN=127.0.0.1:0 MILLRACE_STORE_URL="file://$work/lake" \
  "$bin" serve --data-dir "$work/data" >"$work/server.log" 2>&1 &
server=$!
endpoint=
for _ in $(seq 300); do
  endpoint=$(sed -n 's/.*"grpc": *"\([^"]*\)".*/\1/p' "$work/data/endpoints.json" 2>/dev/null || true)
  if [ -n "$endpoint" ] || ! kill -0 "$server" 2>/dev/null; then break; fi
  sleep 0.1
done
if [ -z "$endpoint" ]; then
  echo "the server did not start:" >&2
  cat "$work/server.log" >&2
  exit 1
fi
export MILLRACE_ENDPOINT="$endpoint"
echo "listening on $MILLRACE_ENDPOINT, tables below $work/lake"

bold "2. A pipeline: the stream, the table, and the delivery between them"
run apply -f deploy/demo/pipeline.toml

bold "3. Events in: each is durable before it is acknowledged"
run put flights "$file"

bold "4. SQL answers at once, from the log, before anything is delivered"
run sql "select count(*) as flights, sum(distance) as miles from flights"

bold "5. Delivered: Snappy Parquet under hour folders, committed to an Iceberg table with the position in the stream"
run delivery flush flights
(cd "$work/lake" && find . -name '*.parquet' -printf '%p  %s bytes\n' | sort)

bold "6. The table, its schema found in the events"
run table describe flights

bold "7. Delays by carrier, the busiest routes, flights by hour of the day"
run sql "select carrier, count(*) as flights, round(avg(arr_delay), 1) as mean_delay
         from flights group by carrier order by mean_delay desc limit 5"
run sql "select origin, dest, count(*) as flights from flights group by origin, dest order by flights desc limit 5"
run sql "select hour, count(*) as flights from flights group by hour order by hour"

bold "8. The proof: every record of the stream is in the table exactly once"
run verify flights

bold "Done in $((SECONDS - started)) s. What to try next"
cat <<END
  $bin serve --data-dir ./millrace-data         a server that stays; then, in another shell:
  $bin apply -f deploy/demo/pipeline.toml
  echo '{"id": 1}' | $bin put flights -         your own events
  $bin tail flights                             follow the stream
  $bin sql "select * from system.deliveries"    the service about itself
  $bin doctor                                   is this machine's disk and store fit?
  docker compose up                             the same with MinIO as the object store
  ./deploy/demo.sh --full                       all 336,776 flights
END
