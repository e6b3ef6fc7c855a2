#!/usr/bin/env bash
# kcat (Debian's, an old librdkafka) against a Kafka: one line for each operation, the same for every Kafka.
#
# usage: kafka_kcat.sh PLAINTEXT SASL_SSL CA USER PASSWORD
set -euo pipefail
plain=$1 secure=$2 ca=$3 user=$4 password=$5
say() { printf '%s\t%s\n' "$1" "$2"; }
sum() { md5sum | cut -c1-8; }

for codec in none gzip snappy lz4 zstd; do
  seq 1 200 | kcat -q -b "$plain" -P -t kcat -p 0 -z "$codec"
done
say "produce, all codecs" "$(kcat -q -b "$plain" -C -t kcat -p 0 -o beginning -e | sum)"
seq 201 210 | kcat -q -b "$plain" -P -t kcat -p 1 -X enable.idempotence=true
say "produce, idempotent" "$(kcat -q -b "$plain" -C -t kcat -p 1 -o beginning -e | sum)"
printf 'k\tv\n' | kcat -q -b "$plain" -P -t kcat -p 2 -K '\t' -H a=1 -H b=2
say "keys and headers" "$(kcat -q -b "$plain" -C -t kcat -p 2 -o beginning -e -f '%k %s %h')"
say "consume from an offset" "$(kcat -q -b "$plain" -C -t kcat -p 0 -o 990 -c 3 -f '%o:%s ')"
say "offsets by time" "$(kcat -q -b "$plain" -Q -t kcat:0:1)"
group() { timeout 60 kcat -q -b "$plain" -G readers -X auto.offset.reset=earliest -c "$1" kcat; }
say "group: commit and resume" "$(group 300 | wc -l) $(group 711 | wc -l)"
say "metadata" "$(kcat -b "$plain" -L -J -t kcat | grep -o '"partition":[0-9]*' | sort | tr '\n' ' ')"
# SCRAM is refused by Apache Kafka too: this librdkafka (2.0.2) proves a password that it was not given.
say "SASL_SSL, PLAIN" "$(kcat -q -b "$secure" -C -t kcat -p 2 -o beginning -e -f '%s' -X security.protocol=SASL_SSL \
  -X sasl.mechanisms=PLAIN -X sasl.username="$user" -X sasl.password="$password" -X ssl.ca.location="$ca")"
