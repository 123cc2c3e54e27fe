#!/bin/bash
# Builds the virtual machine that runs Orlop: for VirtualBox, VMware, QEMU, libvirt, Proxmox and Vagrant. See docs/appliance.md.
# Each setting can also come from the environment:  IP_ADDRESS=10.0.0.5/24 DISK_GB=100 ./create-docker-registry-ovf.sh

START_VIRTUALBOX_LOCALLY=${START_VIRTUALBOX_LOCALLY-false}     # true: import and start the machine in this computer's VirtualBox
IP_ADDRESS=${IP_ADDRESS-192.168.33.33/24}      # fixed address of the second network card; /24 where no prefix length is given
USERNAME=${USERNAME-orlop}                     # who logs in, and may use sudo
PASSWORD=${PASSWORD-}                          # empty: each machine makes its own and shows it on its console until the first login
PASSWORD_CHANGE=${PASSWORD_CHANGE-true}        # true: a given PASSWORD must be changed at the first login
HOSTNAME=${HOSTNAME-registry}                  # the machine's name (this computer's own name counts as not set)
SSH_AUTHORIZED_KEY=${SSH_AUTHORIZED_KEY-}      # public key that may log in over ssh
SSH_PASSWORD=${SSH_PASSWORD-false}             # true: ssh accepts the password too
MEMORY_MB=${MEMORY_MB-1024}                    # memory of the machine
CPUS=${CPUS-2}                                 # processors of the machine
DISK_GB=${DISK_GB-20}                          # size of its disk; the files hold only what is used
REGISTRY_PORT=${REGISTRY_PORT-5000}            # where the registry listens
DEBIAN_RELEASE=${DEBIAN_RELEASE-trixie}        # Debian inside the machine
MIRROR=${MIRROR-}                              # where packages come from; empty: as in this computer's apt sources
SECURITY_MIRROR=${SECURITY_MIRROR-}            # the same for security updates
PACKAGE_CACHE=${PACKAGE_CACHE-}                # folder that keeps downloaded packages for the next build; empty: none kept
REGISTRY_IMAGE=${REGISTRY_IMAGE-}              # container image (docker save); empty: ./dev image builds it
OUTPUT=${OUTPUT-.}                             # folder that output-virtualbox-iso/ and vagrant/ are written to

# shellcheck disable=SC2034 # used by the parts below
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
root=$(cd "$(dirname "$0")" && pwd)
build=$root/appliance/build
# shellcheck source=appliance/build/steps.sh
. "$build/steps.sh"
# shellcheck source=appliance/build/settings.sh
. "$build/settings.sh"
# shellcheck source=appliance/build/tree.sh
. "$build/tree.sh"
# shellcheck source=appliance/build/disk.sh
. "$build/disk.sh"
# shellcheck source=appliance/build/package.sh
. "$build/package.sh"
# shellcheck source=appliance/build/virtualbox.sh
. "$build/virtualbox.sh"

check_settings
check_output
check_tools
begin
step "registry image" make_registry_image
step "Debian $DEBIAN_RELEASE with Docker and the registry" make_trees
step "disks" make_disks
step "disk files" make_disk_files
step "OVF and OVA" make_ova
step "Vagrant boxes" make_boxes
step "checksums" publish_output
[ "$START_VIRTUALBOX_LOCALLY" = false ] || step "VirtualBox" start_in_virtualbox
summary
