#!/bin/sh
# Invents the secrets of the dev overlay and puts them into the cluster that kubectl is at. What is there stays.
set -eu
namespace=crosstape-dev

random() { LC_ALL=C od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
put() {
    name=$1
    shift
    kubectl --namespace "$namespace" get secret "$name" >/dev/null 2>&1 ||
        kubectl --namespace "$namespace" create secret generic "$name" "$@"
}

kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
clickhouse=$(random)
valkey=$(random)
put crosstape --from-literal=internal-secret="$(random)" --from-literal=admin-password="$(random)"
put auth --from-literal=signing-key-secret="$(random)"
put clickhouse --from-literal=password="$clickhouse" \
    --from-literal=url="http://crosstape:$clickhouse@chi-tape-tape-0-0:8123/default"
put valkey --from-literal=password="$valkey" --from-literal=conf="requirepass $valkey" \
    --from-literal=url="redis://:$valkey@valkey:6379/0"
