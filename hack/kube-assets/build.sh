#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kube-controller-manager through the Go module proxy, once, into the cache that
# `migrate lab up --backend kube` looks into. Needs Go and, the first time, 30 to 60 minutes of one processor.
set -euo pipefail
cd "$(dirname "$0")"

version=$(sed -n 's/^\tk8s.io\/kubernetes v//p' go.mod)
target=${XDG_CACHE_HOME:-$HOME/.cache}/kubevirt-migrate/kube-assets/$version
jobs=${KUBE_ASSETS_JOBS:-2}

elsewhere() {
  echo "Other ways: put etcd, kube-apiserver and kube-controller-manager $version into $target," >&2
  echo "or point KUBEBUILDER_ASSETS at a folder that holds them (setup-envtest brings the first two)." >&2
}

build() { # build NAME FOLDER PACKAGE LDFLAGS
  local name=$1 folder=$2 package=$3 flags=$4 began=$SECONDS
  [ -x "$target/$name" ] && { echo "$name is in $target"; return; }
  echo "building $name ..."
  (cd "$folder" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN="${GOTOOLCHAIN:-local}" \
    nice -n 19 go build -p "$jobs" -trimpath -buildvcs=false -ldflags "-s -w $flags" -o "$target/.$name.new" "$package") \
    || { echo "$name could not be built (see the error above; go env GOPROXY = $(go env GOPROXY))." >&2; elsewhere; exit 2; }
  mv "$target/.$name.new" "$target/$name"
  echo "built $name in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s"
}

command -v go >/dev/null || { echo "Go is missing (go.mod says which version is needed)." >&2; elsewhere; exit 2; }
mkdir -p "$target"
minor=${version#*.}
stamp="-X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=${version%%.*}"
stamp+=" -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
build etcd etcd . ""
build kube-apiserver . ./apiserver "$stamp"
build kube-controller-manager . ./manager "$stamp"
