# shellcheck shell=bash disable=SC2016,SC2154
# Disks from archives, touching only files: a GPT, GRUB for BIOS in its own partition, GRUB for EFI in a FAT partition, ext4 last so that
# it can grow. No loop device, no mount, no root.
#
#   LBA 0        boot.img's code (440 bytes) and the protective MBR
#   1 MiB        BIOS boot partition: GRUB's core image
#   2 MiB        EFI system partition
#   18 MiB       root file system

readonly esp_mib=16
readonly root_mib=18
readonly grub_modules=(part_gpt fat ext2 normal linux search search_fs_uuid configfile echo serial terminal boot gzio)

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 1700000000)}
export SOURCE_DATE_EPOCH E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH

# uuid_for WHAT: the same for the same build settings, another for another release.
uuid_for() {
        printf '%s %s %s' "$1" "$SOURCE_DATE_EPOCH" "$DEBIAN_RELEASE" | sha256sum |
                sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/'
}
root_uuid=$(uuid_for root)

# mke2fs reads archives since 1.47.1. An older host takes Debian 13's, which runs by its own loader beside the host's libraries.
host_mke2fs_will_do() {
        local version
        version=$(mke2fs -V 2>&1 | sed -n 's/^mke2fs \([0-9.]*\).*/\1/p')
        [ "$(printf '%s\n' "$version" 1.47.1 | sort -V | head -n 1)" = 1.47.1 ]
}

mke2fs_from_archive() {
        if host_mke2fs_will_do; then
                mke2fs "$@"
                return
        fi
        local own=$work/e2fsprogs
        MKE2FS_CONFIG=$own/etc/mke2fs.conf "$own/usr/lib64/ld-linux-x86-64.so.2" --library-path "$own/usr/lib/x86_64-linux-gnu" \
                "$own/usr/sbin/mke2fs" "$@"
}

fetch_mke2fs() {
        local -a cache=()
        if [ -n "$PACKAGE_CACHE" ]; then
                cache=(--skip=download/empty --setup-hook='mkdir -p "$1/var/cache/apt/archives"'
                        --setup-hook="sync-in '$PACKAGE_CACHE' /var/cache/apt/archives")
        fi
        sources | TMPDIR=$work mmdebstrap --mode="$([ "$(id -u)" = 0 ] && echo root || echo unshare)" --variant=extract --format=tar \
                --include=e2fsprogs,libarchive13t64 "${cache[@]}" "$DEBIAN_RELEASE" "$work/e2fsprogs.tar" -
        mkdir -p "$work/e2fsprogs"
        tar -xf "$work/e2fsprogs.tar" -C "$work/e2fsprogs" --no-same-owner --exclude='./dev/*'
        rm "$work/e2fsprogs.tar"
}

make_disks() {
        host_mke2fs_will_do || fetch_mke2fs
        all make_disk "$work/machine.tar" "$work/machine.raw" -- make_disk "$work/box.tar" "$work/box.raw"
        rm "$work/machine.tar" "$work/box.tar"
}

# make_disk ARCHIVE DISK
make_disk() {
        local size_mib=$((DISK_GB * 1024)) scratch
        scratch=$(mktemp -d "$work/disk.XXXXXXXXXX")
        truncate -s "${size_mib}M" "$2"
        partition "$2" "$size_mib"
        mke2fs_from_archive -q -t ext4 -F -L orlop-root -U "$root_uuid" -m 1 \
                -E "hash_seed=$root_uuid,lazy_itable_init=0,lazy_journal_init=0,assume_storage_prezeroed=1,root_owner=0:0,offset=$((root_mib << 20))" \
                -d "$1" "$2" $((size_mib - root_mib - 1))M
        boot_configuration "$scratch"
        boot_from_efi "$scratch" "$2"
        boot_from_bios "$scratch" "$2"
        rm -r "$scratch"
}

partition() {
        sfdisk -q "$1" <<TABLE
label: gpt
label-id: $(uuid_for disk)
unit: sectors
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios, uuid=$(uuid_for bios)
start=4096, size=$((esp_mib * 2048)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=efi, uuid=$(uuid_for efi)
start=$((root_mib * 2048)), size=$((($2 - root_mib - 1) * 2048)), type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root, uuid=$(uuid_for root-partition)
TABLE
}

# What GRUB does first: it looks for the root file system, whose /boot/grub/grub.cfg (scripts/setup.sh) does the rest.
boot_configuration() {
        cat >"$1/early.cfg" <<GRUB
search --no-floppy --fs-uuid --set=root $root_uuid
set prefix=(\$root)/boot/grub
configfile (\$root)/boot/grub/grub.cfg
GRUB
}

boot_from_efi() {
        grub-mkimage -O x86_64-efi -p /EFI/debian -c "$1/early.cfg" -o "$1/BOOTX64.EFI" "${grub_modules[@]}" efi_gop all_video
        touch -d "@$SOURCE_DATE_EPOCH" "$1/BOOTX64.EFI"
        truncate -s "${esp_mib}M" "$1/esp.img"
        mkfs.vfat -F 16 -n EFI -i "$(uuid_for fat | cut -c 1-8)" --invariant "$1/esp.img" >/dev/null
        (
                export MTOOLS_SKIP_CHECK=1 TZ=UTC
                # mtools takes a new folder's time from this variable.
                export SOURCE_DATE_EPOCH
                mmd -i "$1/esp.img" ::EFI ::EFI/BOOT
                mcopy -m -i "$1/esp.img" "$1/BOOTX64.EFI" ::EFI/BOOT/BOOTX64.EFI
        )
        dd if="$1/esp.img" of="$2" bs=1M seek=2 conv=notrunc,sparse status=none
}

# little_endian NUMBER BYTES
little_endian() {
        local i
        for ((i = 0; i < $2; i++)); do printf '%b' "\\x$(printf '%02x' $((($1 >> (8 * i)) & 255)))"; done
}

# What grub-bios-setup would do on a block device. The last 12 bytes of core.img's first sector are its block list: where the rest lies
# (u64), how many sectors (u16), and the segment to load it to. boot.img holds the LBA of core.img at 0x5c.
boot_from_bios() {
        local sectors
        grub-mkimage -O i386-pc -p '(,gpt3)/boot/grub' -c "$1/early.cfg" -o "$1/core.img" biosdisk "${grub_modules[@]}"
        sectors=$((($(stat -c %s "$1/core.img") + 511) / 512 - 1))
        [ "$sectors" -lt 2047 ] || return 1
        {
                little_endian 2049 8
                little_endian "$sectors" 2
                little_endian $((0x820)) 2
        } | dd of="$1/core.img" bs=1 seek=$((0x1f4)) conv=notrunc status=none
        dd if="$1/core.img" of="$2" bs=512 seek=2048 conv=notrunc status=none
        dd if=/usr/lib/grub/i386-pc/boot.img of="$2" bs=1 count=440 conv=notrunc status=none
        little_endian 2048 8 | dd of="$2" bs=1 seek=$((0x5c)) conv=notrunc status=none
}
