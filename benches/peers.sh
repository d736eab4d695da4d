#!/usr/bin/env bash
# Installs what the benches compare with, below ~/.cache/millrace/peers: NATS JetStream (needs go), Apache Kafka (needs Java 17
# and mvn), the emulators of Kinesis kinesalite (needs npm) and moto (needs python3). Redis comes from the system's packages:
# apt-get install redis-server.
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
if command -v npm >/dev/null; then
  npm install --silent --no-audit --no-fund --prefix "$peers/kinesalite" kinesalite@3.3.3
else
  echo "npm is not installed: no kinesalite" >&2
fi
if python3 -c 'import venv, ensurepip' 2>/dev/null; then
  python3 -m venv --clear "$peers/moto"
  "$peers/moto/bin/pip" install --quiet --disable-pip-version-check 'moto[server,kinesis]==5.2.5'
else
  echo "python3-venv is not installed: no moto" >&2
fi
command -v redis-server >/dev/null || echo "redis-server is not installed: no Redis" >&2
