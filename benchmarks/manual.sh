#!/usr/bin/env bash
# The user guide's manual way to move one VM, with kubectl and curl alone: stop, export, fetch the manifests, apply, wait, start.
# usage: manual.sh VM   (namespace shop, contexts east and west, KUBECONFIG set). No proof, no safety; it trusts the manifests.
set -euo pipefail
vm=$1
east="kubectl --context east -n shop"
west="kubectl --context west -n shop"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

$east patch vm "$vm" --type merge -p '{"spec":{"runStrategy":"Halted"}}'
$east wait --for=delete "vmi/$vm" --timeout=120s
token=$(head -c 24 /dev/urandom | base64 | tr -dc a-zA-Z0-9)
$east create secret generic "$vm-token" --from-literal="token=$token"
version=$($east api-resources --api-group=export.kubevirt.io --no-headers | awk '{print $3}' | head -1)
$east apply -f - <<YAML
apiVersion: $version
kind: VirtualMachineExport
metadata: {name: $vm-manual}
spec:
  tokenSecretRef: $vm-token
  source: {apiGroup: kubevirt.io, kind: VirtualMachine, name: $vm}
YAML
$east wait --for=jsonpath='{.status.phase}'=Ready "vmexport/$vm-manual" --timeout=120s
$east get vmexport "$vm-manual" -o jsonpath='{.status.links.external.cert}' > "$work/ca.pem"
for type in all auth-header-secret; do
  url=$($east get vmexport "$vm-manual" -o jsonpath="{.status.links.external.manifests[?(@.type=='$type')].url}")
  curl -sSf --cacert "$work/ca.pem" -H "x-kubevirt-export-token:$token" -H 'Accept: application/yaml' "$url"
done > "$work/import.yaml"
$west apply -f "$work/import.yaml"
for disk in $($west get dv -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}'); do
  $west wait --for=jsonpath='{.status.phase}'=Succeeded "dv/$disk" --timeout=600s
  $west wait --for=jsonpath='{.status.phase}'=Bound "pvc/$disk" --timeout=60s
done
$east delete vmexport "$vm-manual" && $east delete secret "$vm-token"
$west delete secret "header-secret-$vm-manual" && $west delete configmap "export-ca-cm-$vm-manual"
$west patch vm "$vm" --type merge -p '{"spec":{"runStrategy":"Always"}}'
$west wait --for=jsonpath='{.status.phase}'=Running "vmi/$vm" --timeout=120s || { sleep 1; $west wait --for=condition=Ready "vmi/$vm" --timeout=120s; }
