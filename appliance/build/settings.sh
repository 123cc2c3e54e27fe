# shellcheck shell=bash disable=SC2034,SC2154
# The settings' checks: all in the first second, each with a line that says what is wrong and what would do.

readonly name=orlop-registry
readonly disk_gb_least=4
# no_timer_check: on a busy computer the emulated timer can miss the kernel's test of it, which may end in a panic.
readonly kernel_line='net.ifnames=0 no_timer_check biosdevname=0 console=tty0 console=ttyS0,115200 systemd.ssh_auto=no systemd.gpt_auto=no fsck.repair=yes'

is_number() {
        [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]] && [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

is_ipv4() {
        local part
        [[ $1 =~ ^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$ ]] || return 1
        for part in ${1//./ }; do [ "$part" -le 255 ] || return 1; done
}

check_flag() {
        [[ $2 == true || $2 == false ]] || fail "$1 is '$2': it must be true or false"
}

check_range() {
        is_number "$2" "$3" "$4" || fail "$1 is '$2': it must be a number from $3 to $4"
}

check_address() {
        [[ $IP_ADDRESS == */* ]] || IP_ADDRESS=$IP_ADDRESS/24
        is_ipv4 "${IP_ADDRESS%%/*}" || fail "IP_ADDRESS is '${IP_ADDRESS%/24}': it must be an IPv4 address like 192.168.33.33/24"
        is_number "${IP_ADDRESS#*/}" 1 32 || fail "IP_ADDRESS is '$IP_ADDRESS': its prefix length must be from 1 to 32"
        [[ ! $IP_ADDRESS =~ ^(0|127|22[4-9]|2[3-5][0-9])\. ]] || fail "IP_ADDRESS is '$IP_ADDRESS': no machine can have this address"
        is_host_in_network "${IP_ADDRESS%%/*}" "${IP_ADDRESS#*/}" ||
                fail "IP_ADDRESS is '$IP_ADDRESS': this is the network's own or its broadcast address"
}

# Neither the first nor the last address of its network.
is_host_in_network() {
        local a b c d host
        [ "$2" -lt 31 ] || return 0
        IFS=. read -r a b c d <<<"$1"
        host=$(((a << 24 | b << 16 | c << 8 | d) & ((1 << (32 - $2)) - 1)))
        [ "$host" != 0 ] && [ "$host" != $(((1 << (32 - $2)) - 1)) ]
}

# Names that Debian's base system gives to its users and groups.
is_system_name() {
        local system='_apt _ssh adm audio backup bin cdrom clock crontab daemon dialout dip disk docker fax floppy games input irc kmem kvm list lp mail man
                messagebus netdev news nobody nogroup operator plugdev polkitd proxy render root sasl sgx shadow src sshd staff sudo sync sys tape tty
                users utmp uucp vagrant video voice www-data'
        [[ $1 == systemd-* || " ${system//[[:space:]]/ } " == *" $1 "* ]]
}

check_people() {
        [ -n "$USERNAME" ] || fail "USERNAME is empty"
        [[ $USERNAME =~ ^[a-z_][a-z0-9_-]{0,31}$ ]] ||
                fail "USERNAME is '$USERNAME': small letters, digits, - and _, starting with a letter, 32 at most"
        ! is_system_name "$USERNAME" || fail "USERNAME is '$USERNAME': the system has a user or group of this name"
        [[ $PASSWORD != *:* && $PASSWORD != *[[:cntrl:]]* ]] || fail "PASSWORD has a colon or a control character, which a password cannot have"
        [ "${#PASSWORD}" -le 200 ] || fail "PASSWORD is longer than 200 characters"
        [ -z "$PASSWORD" ] || [ "${#PASSWORD}" -ge 8 ] || fail "PASSWORD is shorter than 8 characters"
        [ -z "$SSH_AUTHORIZED_KEY" ] || [[ $SSH_AUTHORIZED_KEY =~ ^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+\ [A-Za-z0-9+/=]{40,}(\ [^\']*)?$ &&
                $SSH_AUTHORIZED_KEY != *[[:cntrl:]]* ]] || fail "SSH_AUTHORIZED_KEY is no public key: put in the line of ~/.ssh/id_ed25519.pub"
}

check_mirror() {
        [ -z "$2" ] || [[ $2 =~ ^(https?|file|copy):/[^[:space:]]*$ ]] || fail "$1 is '$2': it must be one address with http://, https:// or file:/"
}

# A folder that is there or can be made, and takes files.
check_folder() {
        [[ $2 != *[\'[:cntrl:]]* ]] || fail "$1 is '$2': the folder's name has a quote or a control character"
        mkdir -p "$2" 2>/dev/null || true
        [[ -d $2 && -w $2 ]] || fail "$1 is '$2': this folder cannot be written"
}

check_settings() {
        # bash itself sets HOSTNAME to the name of the computer that it runs on.
        [ "$HOSTNAME" != "$(uname -n)" ] || HOSTNAME=registry
        check_flag START_VIRTUALBOX_LOCALLY "$START_VIRTUALBOX_LOCALLY"
        check_flag PASSWORD_CHANGE "$PASSWORD_CHANGE"
        check_flag SSH_PASSWORD "$SSH_PASSWORD"
        check_address
        check_people
        [[ $HOSTNAME =~ ^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$ ]] ||
                fail "HOSTNAME is '$HOSTNAME': letters, digits and hyphens, 63 at most, without a domain"
        check_range MEMORY_MB "$MEMORY_MB" 512 1048576
        check_range CPUS "$CPUS" 1 64
        check_range DISK_GB "$DISK_GB" "$disk_gb_least" 16384
        check_range REGISTRY_PORT "$REGISTRY_PORT" 1 65535
        [ "$REGISTRY_PORT" != 22 ] || fail "REGISTRY_PORT is 22, where ssh listens"
        [[ $DEBIAN_RELEASE =~ ^(trixie|bookworm)$ ]] || fail "DEBIAN_RELEASE is '$DEBIAN_RELEASE': trixie is built and tested"
        [ "$DEBIAN_RELEASE" = trixie ] || fail "DEBIAN_RELEASE is '$DEBIAN_RELEASE': only trixie has all packages that the machine needs"
        [ -z "$REGISTRY_IMAGE" ] || { [ -f "$REGISTRY_IMAGE" ] && [ -r "$REGISTRY_IMAGE" ]; } || fail "REGISTRY_IMAGE: there is no file $REGISTRY_IMAGE that can be read"
        check_mirror MIRROR "$MIRROR"
        check_mirror SECURITY_MIRROR "$SECURITY_MIRROR"
        check_folder OUTPUT "$OUTPUT"
        [ -z "$PACKAGE_CACHE" ] || check_folder PACKAGE_CACHE "$PACKAGE_CACHE"
        [ "$START_VIRTUALBOX_LOCALLY" = false ] || command -v VBoxManage >/dev/null ||
                fail "START_VIRTUALBOX_LOCALLY is true, but there is no VBoxManage here: install VirtualBox, or leave it false and import the .ova"
        [ "$(uname -m)" = x86_64 ] || fail "the machine is for x86-64, and is built on x86-64"
}

# What the build runs; ./dev installs it from Debian's packages, root or sudo provided.
check_tools() {
        local tool missing=''
        for tool in mmdebstrap sfdisk mkfs.vfat mcopy grub-mkimage qemu-img python3 pigz mkpasswd; do
                command -v "$tool" >/dev/null || missing="$missing $tool"
        done
        [ -n "$missing" ] || return 0
        "$root/dev" need appliance || fail "these programs are missing:$missing; ./dev need appliance installs them"
}
