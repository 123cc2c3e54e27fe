#!/bin/bash
# Packer with the script's settings: appliance/packer.sh validate|build [PACKER OPTION...]. The settings are those of
# create-docker-registry-ovf.sh, from the environment.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
command=${1:?validate or build}
shift

# The settings as the script knows them, without running it: the lines at its top.
eval "$(grep -E '^[A-Z_]+=\$\{' "$root/create-docker-registry-ovf.sh")"
build=$root/appliance/build
for part in steps settings tree disk; do
        # shellcheck source=/dev/null
        . "$build/$part.sh"
done
check_settings

work=$(mktemp -d "${TMPDIR:-/var/tmp}/orlop-packer.XXXXXXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2034 # the installer makes the file systems, and its fstab stays
root_uuid=''
if [ "$command" = build ]; then make_registry_image; else : >"$work/orlop-docker.tar"; fi
make_bundle
mkdir "$work/http"
password=$(od -An -N 12 -t x1 /dev/urandom | tr -d ' \n')
sed -e "s/@HOST_NAME@/$HOSTNAME/" -e "s/@PACKER_PASSWORD@/$password/" "$root/appliance/http/preseed.cfg.template" >"$work/http/preseed.cfg"

packer "$command" -var "bundle=$work/orlop-appliance" -var "http_directory=$work/http" -var "packer_password=$password" \
        -var "output=$OUTPUT" -var "memory_mb=$MEMORY_MB" -var "cpus=$CPUS" -var "disk_mb=$((DISK_GB * 1024))" "$@" \
        "$root/appliance/docker-registry.pkr.hcl"
