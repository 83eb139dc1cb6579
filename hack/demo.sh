#!/usr/bin/env bash
# The main job on the embedded lab: two clusters, the twelve-disk VM moved, the proof shown.
set -euo pipefail
dir=$1
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

migrate lab down --dir "$dir" --purge >/dev/null 2>&1 || true
trap 'migrate lab down --dir "$dir" --purge >/dev/null 2>&1' EXIT
export KUBECONFIG="$dir/kubeconfig"

say migrate lab up --dir "$dir" --detach
say migrate vm east:shop/store-12 west:shop --verify full
say migrate status --target west:shop
say migrate lab disks --dir "$dir"
