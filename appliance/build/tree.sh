# shellcheck shell=bash disable=SC2016,SC2054,SC2154
# The machine's files: Debian's packages and our provisioning scripts in a folder tree, without a virtual machine. Result: two archives,
# the machine's and the Vagrant boxes', in the order of names and with the commit's time, so that equal packages give equal bytes.

make_registry_image() {
        if [ -n "$REGISTRY_IMAGE" ]; then
                cp "$REGISTRY_IMAGE" "$work/orlop-docker.tar"
                return
        fi
        (cd "$root" && ./dev image)
        cp "$root/build/image/orlop-docker.tar" "$work/orlop-docker.tar"
}

# mirror_of LABEL: where this computer's apt takes Debian, or Debian's security updates, from.
mirror_of() {
        apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 2>/dev/null | awk -F'|' -v label="$1" '$1 == label { print $2; exit }'
}

sources() {
        local main=${MIRROR:-$(mirror_of Debian)} security=${SECURITY_MIRROR:-$(mirror_of Debian-Security)}
        main=${main:-http://deb.debian.org/debian}
        security=${security:-http://deb.debian.org/debian-security}
        printf 'deb %s %s main\n' "$main" "$DEBIAN_RELEASE" "$main" "$DEBIAN_RELEASE-updates" "$security" "$DEBIAN_RELEASE-security"
}

password_hash() {
        [ -z "$PASSWORD" ] || printf '%s' "$PASSWORD" | mkpasswd --method=yescrypt --stdin
}

# quoted NAME VALUE: one line of settings.env, safe for a shell whatever the value.
quoted() {
        printf "%s='%s'\n" "$1" "${2//\'/\'\\\'\'}"
}

# What the scripts inside need, in one folder: settings, scripts, files, image, the list of packages.
make_bundle() {
        local bundle=$work/orlop-appliance
        mkdir -p "$bundle"
        cp -r "$root/appliance/scripts" "$root/appliance/files" "$bundle/"
        cp "$root/tools/packages.txt" "$bundle/"
        cp "$work/orlop-docker.tar" "$bundle/"
        chmod -R u=rwX,go=rX "$bundle"
        # The password's hash is for nobody else on this computer.
        install -m 600 /dev/null "$bundle/settings.env"
        {
                quoted HOST_NAME "$HOSTNAME"
                quoted IP_ADDRESS "$IP_ADDRESS"
                quoted USERNAME "$USERNAME"
                quoted PASSWORD_HASH "$(password_hash)"
                quoted PASSWORD_CHANGE "$PASSWORD_CHANGE"
                quoted SSH_AUTHORIZED_KEY "$SSH_AUTHORIZED_KEY"
                quoted SSH_PASSWORD "$SSH_PASSWORD"
                quoted REGISTRY_PORT "$REGISTRY_PORT"
                quoted DEBIAN_RELEASE "$DEBIAN_RELEASE"
                quoted ROOT_UUID "$root_uuid"
                quoted KERNEL_LINE "$kernel_line"
        } >"$bundle/settings.env"
}

# The initial RAM disk holds the disk drivers of the hypervisors we know, not those of all computers: 10 MB instead of 35. They are there
# for udev to find; a list in modules.d would load all of them on every machine.
initrd_settings() {
        cat <<'HOOK'
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/etc/initramfs-tools/hooks"
printf "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=19\n" >"$1/etc/initramfs-tools/conf.d/orlop"
cat >"$1/etc/initramfs-tools/hooks/orlop" <<'FILE'
#!/bin/sh
# The disk drivers of hypervisors.
set -e
case ${1:-} in prereqs) exit 0 ;; esac
. /usr/share/initramfs-tools/hook-functions
manual_add_modules ahci ata_piix ata_generic sd_mod sr_mod sym53c8xx mptspi mptsas vmw_pvscsi nvme virtio_pci virtio_blk virtio_scsi \
        hv_storvsc hv_vmbus xen_blkfront ext4 crc32c_generic crc32c_intel
FILE
chmod 755 "$1/etc/initramfs-tools/hooks/orlop"
HOOK
}

# Runs in the tree's place: provision, pack, provision the rest for Vagrant, pack.
provision() {
        cat <<'HOOK'
set -e
inside() { chroot "$1" env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" sh -e "/tmp/orlop-appliance/scripts/$2.sh"; }
# What is mounted there (/sys) may change under tar, which is its status 1; only the folder is packed.
pack() {
        tar --warning=no-file-changed -C "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime --numeric-owner --xattrs --xattrs-include="*" --format=pax \
                --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --exclude="./tmp/*" --exclude="./dev/*" \
                --exclude="./proc/*" --exclude="./sys/*" --exclude="./run/*" --exclude="./var/cache/apt/archives/*.deb" -cf "$2" . || [ $? = 1 ]
}
for script in setup docker registry cleanup; do inside "$1" "$script"; done
pack "$1" "$TREES/machine.tar"
for script in vagrant cleanup; do inside "$1" "$script"; done
pack "$1" "$TREES/box.tar"
rm -rf "$1/tmp/orlop-appliance"
HOOK
}

included_packages() {
        awk '$1 ~ /^machine/ { print $2 }' "$root/tools/packages.txt" | paste -sd,
}

make_trees() {
        local -a options=()
        local line trees
        make_bundle
        trees=$(mktemp -d "$work/trees.XXXXXXXXXX")
        chmod 777 "$trees"
        while read -r line; do options+=("--dpkgopt=$line"); done < <(grep ^path "$root/appliance/files/etc/dpkg/dpkg.cfg.d/orlop")
        if [ -n "$PACKAGE_CACHE" ]; then
                mkdir -p "$PACKAGE_CACHE"
                options+=(--skip=download/empty,essential/unlink,cleanup/apt
                        --setup-hook='mkdir -p "$1/var/cache/apt/archives"' --setup-hook="sync-in '$PACKAGE_CACHE' /var/cache/apt/archives"
                        --customize-hook="sync-out /var/cache/apt/archives '$PACKAGE_CACHE'")
        fi
        sources | TMPDIR=$work TREES=$trees mmdebstrap --mode="$([ "$(id -u)" = 0 ] && echo root || echo unshare)" --variant=minbase --format=null \
                --include="$(included_packages)" --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
                "${options[@]}" --essential-hook="$(initrd_settings)" --customize-hook="copy-in '$work/orlop-appliance' /tmp" \
                --customize-hook="$(provision)" "$DEBIAN_RELEASE" - -
        mv "$trees/machine.tar" "$work/machine.tar"
        mv "$trees/box.tar" "$work/box.tar"
}
