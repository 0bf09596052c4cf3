#!/bin/sh
# Invents every secret that docker-compose.yml reads, one file each, under .crosstape/compose-secrets (not in git).
# What is there stays: run it again after an upgrade that needs a new one.
set -eu
cd "$(dirname "$0")/../.."
folder=.crosstape/compose-secrets
mkdir -p "$folder"
chmod 700 "$folder"   # the files in it can be read by the containers' users, whose numbers differ
chmod -R a+rX deploy/compose deploy/grafana deploy/prometheus   # mounted too, and made with whatever umask git had

random() { LC_ALL=C od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
put() { [ -s "$folder/$1" ] || printf '%s\n' "$2" > "$folder/$1"; chmod 444 "$folder/$1"; }
get() { cat "$folder/$1"; }

put internal_secret "$(random)"
put signing_key_secret "$(random)"
put admin_password "$(random)"
put grafana_password "$(random)"
put clickhouse_password "$(random)"
put postgres_password "$(random)"
put valkey_password "$(random)"
put clickhouse_url "http://crosstape:$(get clickhouse_password)@clickhouse:8123/crosstape"
put auth_database_url "postgresql://crosstape:$(get postgres_password)@postgres:5432/auth"
put orders_database_url "postgresql://crosstape:$(get postgres_password)@postgres:5432/orders"
put redis_url "redis://:$(get valkey_password)@valkey:6379/0"
put valkey.conf "requirepass $(get valkey_password)"

echo "Secrets are in $folder. The login of the platform is admin with the password in $folder/admin_password,"
echo "that of Grafana admin with the one in $folder/grafana_password."
