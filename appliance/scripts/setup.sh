#!/bin/sh
# The machine itself: packages, our files, user, network, ssh, firewall, updates, time.
# shellcheck disable=SC1091,SC2154 # common.sh, and the settings that it reads
set -eu
. "$(dirname "$0")/common.sh"

copy_files() {
        (cd "$here/files" && find . -type f -print0 | tar --null -T - --owner=0 --group=0 -c) | tar -x -C / --no-overwrite-dir
        fill /etc/nftables.conf.template
        fill /etc/apt/sources.list.d/debian.sources.template
        rm -f /etc/apt/sources.list
}

machine_settings() {
        mkdir -p /etc/orlop
        {
                echo '# Chosen when this machine was built.'
                echo "USERNAME='$USERNAME'"
                echo "REGISTRY_PORT='$REGISTRY_PORT'"
                if [ -n "$PASSWORD_HASH" ]; then echo "FIRST_PASSWORD=given"; else echo "FIRST_PASSWORD=random"; fi
        } >/etc/orlop/machine.conf
        chmod 644 /etc/orlop/machine.conf
        echo LANG=C.UTF-8 >/etc/locale.conf
        [ -z "$ROOT_UUID" ] || echo "UUID=$ROOT_UUID / ext4 rw,relatime,errors=remount-ro,x-systemd.growfs 0 1" >/etc/fstab
}

user() {
        getent passwd "$USERNAME" >/dev/null || useradd -m -s /bin/bash "$USERNAME"
        usermod -a -G sudo "$USERNAME"
        if [ -n "$PASSWORD_HASH" ]; then
                printf '%s:%s\n' "$USERNAME" "$PASSWORD_HASH" | chpasswd -e
                [ "$PASSWORD_CHANGE" = false ] || chage -d 0 "$USERNAME"
        else
                usermod -p '!' "$USERNAME"
        fi
        usermod -p '!*' root
        [ -z "$SSH_AUTHORIZED_KEY" ] || orlop-setup ssh-key "$SSH_AUTHORIZED_KEY"
        [ "$SSH_PASSWORD" != true ] || orlop-setup ssh-password on
}

# A login with a key does not ask for a new password: the key's owner may never have known the old one.
ssh_and_expired_passwords() {
        grep -q no_pass_expiry /etc/pam.d/sshd ||
                sed -i 's/^@include common-account/account sufficient pam_unix.so no_pass_expiry\n&/' /etc/pam.d/sshd
}

# The console reads /run/issue.d only by way of /etc/issue.d.
console() {
        mkdir -p /etc/issue.d
        ln -sf /run/issue.d/50-orlop.issue /etc/issue.d/50-orlop.issue
        : >/etc/issue
        : >/etc/issue.net
        : >/etc/motd
        systemctl -q enable serial-getty@ttyS0.service
}

network() {
        orlop-setup hostname "$HOST_NAME"
        orlop-setup address "$IP_ADDRESS"
        ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
        systemctl -q enable systemd-networkd systemd-resolved systemd-timesyncd nftables
        if [ -f /etc/network/interfaces ]; then
                mv /etc/network/interfaces /etc/network/interfaces.installer
        fi
}

# Packer's machine boots by the installer's GRUB; the default builder puts GRUB itself on the disk, and this is its configuration.
# Debian's kernel packages keep the links /vmlinuz and /initrd.img on the newest kernel, so nothing here changes with an update.
boot() {
        if [ -f /etc/default/grub ]; then
                mkdir -p /etc/default/grub.d
                echo "GRUB_CMDLINE_LINUX=\"$KERNEL_LINE\"" >/etc/default/grub.d/orlop.cfg
                update-grub
                return
        fi
        mkdir -p /boot/grub
        cat >/boot/grub/grub.cfg <<GRUB
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=1
menuentry "Orlop registry" {
        linux /vmlinuz root=UUID=$ROOT_UUID ro $KERNEL_LINE quiet
        initrd /initrd.img
}
menuentry "Orlop registry, the kernel before the last update" {
        linux /vmlinuz.old root=UUID=$ROOT_UUID ro $KERNEL_LINE
        initrd /initrd.img.old
}
GRUB
}

# What a machine with one task does not need: each is a start or two less at every boot.
services() {
        systemctl -q disable sshd-keygen.service e2scrub_reap.service e2scrub_all.timer remote-fs.target systemd-pstore.service 2>/dev/null || true
        systemctl -q mask systemd-binfmt.service proc-sys-fs-binfmt_misc.automount modprobe@dm_mod.service modprobe@loop.service \
                dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
        systemctl -q enable orlop-identity orlop-storage orlop-watch unattended-upgrades apt-daily.timer apt-daily-upgrade.timer ssh
}

# Programs that run with root's rights whoever calls them, and that nobody needs here. dpkg keeps it so at updates.
rights() {
        for program in /usr/bin/chfn /usr/bin/chsh /usr/bin/gpasswd /usr/bin/newgrp /usr/lib/openssh/ssh-keysign; do
                [ ! -u "$program" ] || dpkg-statoverride --force-statoverride-add --update --add root root 0755 "$program"
        done
}

# shellcheck disable=SC2046 # a list of words
install_packages $(packages machine)
copy_files
machine_settings
user
ssh_and_expired_passwords
console
network
boot
services
rights
