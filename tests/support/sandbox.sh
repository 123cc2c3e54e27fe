#!/bin/sh
# Runs a command in a sandbox of its own, so that container engines can be tried on any machine and leave nothing behind:
# a network of its own with the addresses 127.0.0.1 and 192.0.2.10 (registry.test) and no way out, an /etc whose changes vanish,
# an empty /run, and processes that end with the command. Needs root; without it the command runs as it is, and its tests skip.
#
#     tests/support/sandbox.sh COMMAND [ARGUMENT...]
set -eu

[ "$(id -u)" = 0 ] || exec "$@"
unshare --net --mount --pid --fork --kill-child true 2>/dev/null || exec "$@"

# shellcheck disable=SC2016 # expanded inside
exec unshare --net --mount --pid --fork --kill-child --mount-proc sh -euc '
        mount --make-rprivate /
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir /run/lock /run/upper /run/work
        chmod 1777 /run/lock
        mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work overlay /etc
        printf "127.0.0.1 localhost\n::1 localhost\n192.0.2.10 registry.test stranger.test\n" >/etc/hosts
        ip link set lo up
        ip address add 192.0.2.10/32 dev lo
        export TEST_SANDBOX=yes
        exec "$@"
' sandbox "$@"
