#!/bin/sh
# Nothing that identifies a machine, and nothing of the machine that built it, stays in the image.
# shellcheck disable=SC1091,SC2154 # common.sh, and the settings that it reads
set -eu
. "$(dirname "$0")/common.sh"

apt-get -q clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/cache/man
rm -f /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap /etc/apt/apt.conf /var/lib/dpkg/*-old
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- /etc/.pwd.lock
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -rf /var/lib/orlop-appliance /etc/orlop/registry /etc/orlop/data-disk /var/log/journal/* /root/.bash_history /root/.ssh
find /var/log -type f -delete
# mmdebstrap's own configuration stays until it has cleaned up: without it, its apt would work on the computer that builds.
find /tmp /var/tmp /run -mindepth 1 -maxdepth 1 -not -path "$here" -not -path /tmp -not -name 'mmdebstrap.*' -exec rm -rf {} + 2>/dev/null || true
find / -xdev -name __pycache__ -type d -prune -exec rm -rf {} +
: >/etc/machine-id
# What systemd makes where /usr is newer than these (caches of libraries and messages, users) is made already.
touch -r /usr /etc/.updated /var/.updated
# The date of a password's last change is the image's, not the build's.
[ -z "${SOURCE_DATE_EPOCH:-}" ] || awk -F: -v OFS=: -v day=$((SOURCE_DATE_EPOCH / 86400)) \
        '$3 != "" && $3 != 0 { $3 = day } { print }' /etc/shadow >/etc/shadow.new
if [ -f /etc/shadow.new ]; then
        chown root:shadow /etc/shadow.new
        chmod 640 /etc/shadow.new
        mv /etc/shadow.new /etc/shadow
fi
