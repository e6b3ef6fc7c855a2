#!/usr/bin/env bash
# Installs what the tests need and passes them all, real Kafka and Postgres drivers included.
#
# usage: tests/run.sh        (Debian 12 or newer Ubuntu, with Rust; asks for root by sudo where it is not root)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Each program with the package that brings it: what is there already is left alone.
packages=()
need() { command -v "$1" >/dev/null || packages+=("${@:2}"); }
need cc build-essential
need pkg-config pkg-config
need openssl openssl
need psql postgresql-client
need kcat kcat
need java default-jdk-headless
need mvn maven
need node nodejs
need npm npm
need faketime faketime
need python3 python3 python3-pip
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages+=(postgresql)
for library in libssl-dev libzstd-dev zlib1g-dev; do
  dpkg -s "$library" >/dev/null 2>&1 || packages+=("$library")
done
if [ ${#packages[@]} -gt 0 ]; then
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
fi
for module in psycopg:psycopg[binary] confluent_kafka:confluent-kafka kafka:kafka-python \
  segment.analytics:segment-analytics-python==2.4.0 rudderstack.analytics:rudder-sdk-python==2.1.9; do
  python3 -c "import ${module%%:*}" 2>/dev/null ||
    python3 -m pip install --quiet --break-system-packages "${module#*:}" 2>/dev/null ||
    python3 -m pip install --quiet "${module#*:}"
done
(
  cd tests/clients
  cmp -s package-lock.json node_modules/.installed && exit
  npm ci --no-audit --no-fund --silent
  cp package-lock.json node_modules/.installed
)
# Segment's own Webhooks destination; one of its dependencies cannot be installed, and is not needed for that.
[ -d tests/clients/node_modules/@segment/action-destinations ] || (
  cd tests/clients/node_modules/@segment
  npm pack --silent @segment/action-destinations@3.497.0
  mkdir action-destinations
  tar xzf segment-action-destinations-3.497.0.tgz -C action-destinations --strip-components 1
  rm segment-action-destinations-3.497.0.tgz
)
bash tests/kafka/kafka-up.sh fetch

cargo test --workspace --lib --bins --tests --no-fail-fast -- --test-threads 2
cargo test --workspace --doc
