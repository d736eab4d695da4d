#!/usr/bin/env bash
# Installs the logs of others that the benches compare with, below ~/.cache/millrace/peers: NATS JetStream (needs go) and
# Apache Kafka (needs Java 17 and mvn). Redis comes from the system's packages: apt-get install redis-server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
peers="${MILLRACE_CACHE:-$HOME/.cache/millrace}/peers"
if command -v go >/dev/null; then
  GOBIN="$peers/bin" go install github.com/nats-io/nats-server/v2@v2.15.2
  GOBIN="$peers/bin" go install github.com/nats-io/natscli/nats@v0.5.1
else
  echo "go is not installed: no NATS" >&2
fi
if command -v mvn >/dev/null && command -v java >/dev/null; then
  mvn --quiet --file kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$peers/kafka"
else
  echo "mvn or java is not installed: no Kafka" >&2
fi
command -v redis-server >/dev/null || echo "redis-server is not installed: no Redis" >&2
