#!/usr/bin/env bash
# Passes all tests: builds the program, makes the Python environment of independent readers, runs every suite.
# MILLRACE_CRASH_RUNS=1000 makes the sample of crashes the long suite (about half an hour);
# MILLRACE_AWS_MUTATIONS=20000 that of changed AWS requests. MILLRACE_TEST_SPARK=1 has Spark read the files too (PySpark is
# half a gigabyte, and needs Java 17).
# Arguments go to cargo test, for example: ./tests/run.sh -p millrace-storage log::
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. deploy/requirements.sh
require tests

say() { printf '\n== %s\n' "$*"; }

export MILLRACE_CACHE="${MILLRACE_CACHE:-$HOME/.cache/millrace}"
venv="$MILLRACE_CACHE/venv"
wanted=$(cksum < tests/requirements.txt)
if [ "$(cat "$venv/.requirements" 2>/dev/null)" != "$wanted" ]; then
  say "Python readers (DuckDB, PyArrow, PyIceberg) and AWS clients into $venv"
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
  echo "$wanted" > "$venv/.requirements"
fi
export MILLRACE_TEST_PYTHON="$venv/bin/python"

# What cannot be had is told at the end.
not_run=()
skip=()
spark="$MILLRACE_CACHE/spark"
pyspark="pyspark==4.3.0"
if [ "${MILLRACE_TEST_SPARK:-}" != 1 ] || ! command -v java >/dev/null; then
  not_run+=("Spark as a reader: set MILLRACE_TEST_SPARK=1 (PySpark is half a gigabyte, and needs Java 17)")
  skip+=(--skip spark_reads)
elif [ "$(cat "$spark/.requirements" 2>/dev/null)" != "$pyspark" ]; then
  say "PySpark into $spark"
  python3 -m venv --clear "$spark"
  "$spark/bin/pip" install --quiet --disable-pip-version-check "$pyspark"
  echo "$pyspark" > "$spark/.requirements"
fi
export MILLRACE_TEST_SPARK_PYTHON="$spark/bin/python"

# The tools of the transform templates.
tools="$MILLRACE_CACHE/transforms"
wanted=$(cat deploy/transforms/requirements.txt deploy/transforms/javascript/package.json | cksum)
if [ "$(cat "$tools/.requirements" 2>/dev/null)" != "$wanted" ]; then
  say "tools of the transform templates (componentize-py, zig, componentize-qjs) into $tools"
  mkdir -p "$tools"
  python3 -m venv --clear "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r deploy/transforms/requirements.txt
  if command -v npm >/dev/null; then
    cp deploy/transforms/javascript/package.json "$tools/"
    (cd "$tools" && npm install --silent --no-audit --no-fund) || true
  fi
  echo "$wanted" > "$tools/.requirements"
fi
if ! command -v node >/dev/null || [ ! -e "$tools/node_modules/.bin/componentize-qjs" ]; then
  not_run+=("the JavaScript template: no npm to build it with")
  skip+=(--skip javascript_)
fi
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" ]; then
  not_run+=("the Rust template: rustup target add wasm32-wasip2")
  skip+=(--skip rust_ends_records)
fi

minio="$MILLRACE_CACHE/tools/bin/minio"
if [ ! -x "$minio" ] && command -v go >/dev/null; then
  say "MinIO from source into ${minio%/*} (once; some minutes)"
  GOBIN="${minio%/*}" go install github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c || true
fi

node="$MILLRACE_CACHE/node"
sdk="@aws-sdk/client-kinesis@3.1143.0"
if command -v npm >/dev/null && [ "$(cat "$node/.sdk" 2>/dev/null)" != "$sdk" ]; then
  say "The AWS SDK for JavaScript into $node"
  mkdir -p "$node" && npm install --silent --no-audit --no-fund --prefix "$node" "$sdk" && echo "$sdk" > "$node/.sdk" || true
fi
export MILLRACE_TEST_NODE="$node"

java="$MILLRACE_CACHE/java"
wanted=$(cksum < tests/aws/java/pom.xml)
if command -v mvn >/dev/null && command -v java >/dev/null && [ "$(cat "$java/.sdk" 2>/dev/null)" != "$wanted" ]; then
  say "The AWS SDK for Java and the Kinesis Producer Library into $java"
  rm -rf "$java"
  timeout 900 mvn -q -B -f tests/aws/java/pom.xml -Dmaven.repo.local="$MILLRACE_CACHE/maven" \
    org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies -DoutputDirectory="$java" \
    && echo "$wanted" > "$java/.sdk" || true
fi
export MILLRACE_TEST_JAVA="$java"

say "the program of the AWS SDK for Rust"
rust_sdk="$MILLRACE_CACHE/aws-sdk-rust"
cargo build --locked --manifest-path tests/aws/rust/Cargo.toml --target-dir "$rust_sdk"
export MILLRACE_TEST_AWS_SDK_RUST="$rust_sdk/debug/millrace-aws-sdk"

say "build the program under test"
# All members are selected, so that tests and demo share one build of every dependency.
cargo build --locked --workspace --bin millrace

# For the test of many idle connections.
[ "$(ulimit -S -n)" = unlimited ] || [ "$(ulimit -S -n)" -ge 4096 ] || ulimit -S -n 4096

say "tests (random ones print MILLRACE_TEST_SEED; set it to repeat a run)"
docker compose version >/dev/null 2>&1 || not_run+=("docker compose over compose.yaml: not installed")
if [ $# -eq 0 ]; then
  set -- --workspace
  if [ ! -x "$minio" ]; then
    not_run+=("MinIO as the store: not installed, and no go to build it with; another S3 server is tested")
    skip+=(--skip a_table_on_minio)
  fi
  if [ ! -e "$node/.sdk" ]; then
    not_run+=("The AWS SDK for JavaScript over HTTP/2: no npm, or no registry to install it from")
    skip+=(--skip the_javascript_sdk)
  fi
  if [ ! -e "$java/.sdk" ]; then
    not_run+=("The AWS SDK for Java over CBOR and HTTP/2, and the Kinesis Producer Library: no java, no mvn, or no Maven Central to install it from")
    skip+=(--skip the_java_)
  fi
  [ ${#skip[@]} -eq 0 ] || set -- "$@" -- "${skip[@]}"
fi
# One suite after the other, so that a whole program under test has the cores for itself.
cargo test --locked --no-fail-fast "$@"
for what in "${not_run[@]}"; do echo "NOT RUN: $what"; done
