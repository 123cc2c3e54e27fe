# The machine's disks: which is whose, and which is empty. Read by the storage unit and orlop-setup. POSIX sh.
# shellcheck shell=sh disable=SC2034,SC2154 # variables cross files here

disk_record=/etc/orlop/data-disk        # the UUID of the file system in use; "none" where the user chose the system disk
disk_wish=/run/orlop/storage-wish       # the disk that orlop-setup was told, for the storage unit
smallest_mib=1024

# The whole disk under a device: sda for sda3.
disk_of() {
        lsblk -rnspo NAME,TYPE "$1" | awk '$2 == "disk" { print $1; exit }'
}

system_disk() {
        disk_of "$(findmnt -no SOURCE /)"
}

# Whole disks beside the system's own, one a line; not what can be taken out or not be written.
other_disks() {
        lsblk -drnpo NAME,TYPE,RM,RO | awk -v own="$(system_disk)" '$2 == "disk" && $3 == 0 && $4 == 0 && $1 != own { print $1 }'
}

labelled() {
        blkid -c /dev/null -t "LABEL=$1" -o device || true
}

size_mib() {
        echo $(($(blockdev --getsize64 "$1") / 1048576))
}

# Nothing known on it, and nothing but zeros at both ends: an unknown format must not be taken for an empty disk.
is_blank() {
        [ -z "$(lsblk -rno NAME "$1" | sed 1d)" ] || return 1
        status=0
        blkid -p "$1" >/dev/null 2>&1 || status=$?
        [ "$status" = 2 ] || return 1
        [ "$(size_mib "$1")" -ge "$smallest_mib" ] || return 1
        cmp -s -n 4194304 "$1" /dev/zero || return 1
        dd if="$1" bs=1M skip=$(($(size_mib "$1") - 1)) count=1 status=none | cmp -s -n 1048576 - /dev/zero
}

# erase_disk DISK: afterwards it is blank. For disks that other_disks names.
erase_disk() {
        wipefs -q -a "$1"
        dd if=/dev/zero of="$1" bs=1M count=4 conv=fsync,notrunc status=none
        dd if=/dev/zero of="$1" bs=1M seek=$(($(size_mib "$1") - 1)) count=1 conv=fsync,notrunc status=none
        udevadm settle
}
