#!/bin/sh
# The registry: its image lies ready, and the first boot makes the container, so that its keys are this machine's own.
# shellcheck disable=SC1091,SC2154 # common.sh, and the settings that it reads
set -eu
. "$(dirname "$0")/common.sh"

install -d -m 755 /usr/share/orlop-appliance
install -m 644 "$here/orlop-docker.tar" /usr/share/orlop-appliance/orlop-image.tar
install -d -m 700 -o 65532 -g 65532 /var/lib/orlop
systemctl -q enable orlop-registry
