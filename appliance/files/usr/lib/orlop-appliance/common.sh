# What the appliance's own commands share: read by them with ".", never run. POSIX sh.
# shellcheck shell=sh disable=SC2034 # the variables are for the files that read this one

lib=/usr/lib/orlop-appliance
state=/var/lib/orlop-appliance          # what this machine remembers: import settings seen, first password, an update under way
storage=/var/lib/orlop                  # the registry's data, on the system disk or on a disk of its own
registry_uid=65532                      # the user in Orlop's container image
network_file=/etc/systemd/network
static_card=eth1

# shellcheck source=/dev/null
. /etc/orlop/machine.conf               # USERNAME, REGISTRY_PORT, FIRST_PASSWORD: chosen when the machine was built

# A terminal that has gone must not end what is under way.
say() {
        printf '%s\n' "$*" 2>/dev/null || :
}

die() {
        printf '%s: %s\n' "${0##*/}" "$*" >&2
        exit 1
}

need_root() {
        [ "$(id -u)" = 0 ] || die "this needs root: sudo ${0##*/}"
}

# write FILE MODE: standard input becomes the file, whole, named and on the disk, or it fails and the file is as it was. Two commands may
# write the same file at once. It does not count on set -e, which not every caller has.
write() {
        if mkdir -p "$(dirname "$1")" && (umask 077 && cat >"$1.new.$$") && chmod "$2" "$1.new.$$" && sync "$1.new.$$" &&
                mv "$1.new.$$" "$1"; then
                sync "$(dirname "$1")"
                return
        fi
        rm -f "$1.new.$$"
        return 1
}

# An IPv4 address: four numbers up to 255, none with a leading zero.
is_ipv4() {
        case $1 in *[!0-9.]*) return 1 ;; esac
        printf '%s\n' "$1" | awk -F. '
                NF != 4 { exit 1 }
                { for (i = 1; i <= 4; i++) if ($i !~ /^(0|[1-9][0-9]?[0-9]?)$/ || $i > 255) exit 1 }'
}

# ADDRESS/PREFIX, or an address alone, which means /24: prints it with its prefix.
with_prefix() {
        case $1 in
        */*) prefix=${1#*/} ;;
        *) prefix=24 ;;
        esac
        is_ipv4 "${1%%/*}" || return 1
        case $prefix in
        [1-9] | [12][0-9] | 3[0-2]) printf '%s/%s\n' "${1%%/*}" "$prefix" ;;
        *) return 1 ;;
        esac
}

is_host_name() {
        case $1 in
        '' | -* | *- | *[!a-zA-Z0-9-]*) return 1 ;;
        *) [ "${#1}" -le 63 ] ;;
        esac
}

# One public key in OpenSSH's form, on one line.
is_ssh_key() {
        [ "$(printf '%s\n' "$1" | wc -l)" = 1 ] && printf '%s\n' "$1" | ssh-keygen -l -f - >/dev/null 2>&1
}

# The network cards' addresses, one "CARD ADDRESS" a line; docker's own bridges are not among them.
addresses() {
        ip -o address show scope global | awk '$2 ~ /^eth/ && $0 !~ / (tentative|deprecated)/ { sub("/.*", "", $4); print $2, $4 }'
}

# A message that the console shows until it is taken back: notice NAME [TEXT].
notice() {
        mkdir -p /run/orlop/notices
        if [ $# = 1 ]; then rm -f "/run/orlop/notices/$1"; else printf '%s\n' "$2" >"/run/orlop/notices/$1"; fi
}
