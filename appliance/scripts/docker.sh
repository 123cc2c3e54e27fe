#!/bin/sh
# Docker Engine from Debian. Its API socket is for root only: whoever may use it is root anyway, so nobody is put in its group.
# shellcheck disable=SC1091,SC2154 # common.sh, and the settings that it reads
set -eu
. "$(dirname "$0")/common.sh"

# shellcheck disable=SC2046 # a list of words
install_packages $(packages machine-docker)
systemctl -q enable docker containerd
