# shellcheck shell=bash disable=SC2154
# From disks to what users import: vmdk, qcow2, OVF, manifest, OVA, Vagrant boxes, checksums. Equal disks give equal files.

readonly beside=.orlop-new.             # what a finished file is called until all are there

# qemu-img puts a random content id into a vmdk's descriptor; one made from our settings keeps the file the same.
fixed_content_id() {
        local offset
        offset=$(head -c 65536 "$1" | grep -abo -m1 '^CID=' | head -n 1 | cut -d: -f1)
        [ -n "$offset" ] || return 1
        printf '%s' "$(uuid_for vmdk | cut -c 1-8)" | dd of="$1" bs=1 seek=$((offset + 4)) conv=notrunc status=none
}

# make_vmdk RAW VMDK: the file's name is in the file, so it is made under its final name.
make_vmdk() {
        qemu-img convert -f raw -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic "$1" "$2"
        fixed_content_id "$2"
}

make_qcow2() {
        qemu-img convert -c -f raw -O qcow2 -o compat=1.1,compression_type=zstd "$1" "$2"
}

make_disk_files() {
        all make_vmdk "$work/machine.raw" "$work/out/$name-disk001.vmdk" -- make_vmdk "$work/box.raw" "$work/boxes/box-disk001.vmdk"
        all make_qcow2 "$work/machine.raw" "$work/out/$name.qcow2" -- make_qcow2 "$work/box.raw" "$work/boxes/box.img"
        rm "$work/machine.raw" "$work/box.raw"
}

# fill_template TEMPLATE NAME=VALUE...: each @NAME@ becomes its value, with XML's own characters escaped.
fill_template() {
        python3 -I - "$@" <<'PYTHON'
import re, sys
from xml.sax.saxutils import escape
values = dict(pair.split("=", 1) for pair in sys.argv[2:])
text = open(sys.argv[1], encoding="utf-8").read()
sys.stdout.write(re.sub(r"@([A-Z_]+)@", lambda found: escape(values[found.group(1)], {'"': "&quot;"}), text))
PYTHON
}

# make_ovf NAME VMDK SYSTEM CONTROLLER: the descriptor to standard output.
make_ovf() {
        fill_template "$root/appliance/templates/orlop-registry.ovf.template" NAME="$1" VMDK="$(basename "$2")" VMDK_BYTES="$(stat -c %s "$2")" \
                DISK_BYTES=$((DISK_GB << 30)) SYSTEM="$3" CONTROLLER="$4" MEMORY_MB="$MEMORY_MB" CPUS="$CPUS" VERSION="$(version)" \
                IP_ADDRESS="$IP_ADDRESS" HOST_NAME="$HOSTNAME" REGISTRY_PORT="$REGISTRY_PORT"
}

version() {
        sed -n "s/^ *version: '\([0-9.]*\)',/\1/p" "$root/meson.build"
}

# An archive as OVF wants it: ustar, in the given order.
pack_files() {
        tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime="@$SOURCE_DATE_EPOCH" -c "$@"
}

make_ova() {
        cd "$work/out" || return
        make_ovf "$name" "$name-disk001.vmdk" vmx-13 vmware.sata.ahci >"$name.ovf"
        sha256sum "$name.ovf" "$name-disk001.vmdk" | sed -E 's/^([0-9a-f]{64})  (.*)$/SHA256(\2)= \1/' >"$name.mf"
        pack_files -f "$name.ova" "$name.ovf" "$name.mf" "$name-disk001.vmdk"
}

make_boxes() {
        cd "$work/boxes" || return
        make_ovf box box-disk001.vmdk virtualbox-2.2 AHCI >box.ovf
        box virtualbox '{"provider":"virtualbox"}' box.ovf box-disk001.vmdk
        box libvirt "{\"provider\":\"libvirt\",\"format\":\"qcow2\",\"virtual_size\":$DISK_GB}" box.img
        rm box.ovf box-disk001.vmdk box.img
        fill_template "$root/appliance/templates/Vagrantfile.template" IP_ADDRESS="${IP_ADDRESS%/*}" NETMASK="$(netmask "${IP_ADDRESS#*/}")" \
                MEMORY_MB="$MEMORY_MB" CPUS="$CPUS" REGISTRY_PORT="$REGISTRY_PORT" >Vagrantfile
        boxes_metadata >metadata.json
}

# box PROVIDER METADATA FILE...: the disk is compressed already, so gzip's fastest level does.
box() {
        local provider=$1
        printf '%s\n' "$2" >metadata.json
        cp "$root/appliance/templates/box.Vagrantfile" Vagrantfile
        shift 2
        pack_files metadata.json Vagrantfile "$@" | pigz -n -1 >"${name}_$provider.box"
}

netmask() {
        local bits=$((0xffffffff << (32 - $1) & 0xffffffff))
        printf '%d.%d.%d.%d' $((bits >> 24)) $((bits >> 16 & 255)) $((bits >> 8 & 255)) $((bits & 255))
}

boxes_metadata() {
        local provider separator=''
        printf '{\n  "name": "%s",\n  "description": "Orlop, a container registry, in a virtual machine",\n' "$name"
        printf '  "versions": [{ "version": "%s", "providers": [' "$(version)"
        for provider in libvirt virtualbox; do
                printf '%s\n    { "name": "%s", "url": "%s_%s.box", "checksum_type": "sha256", "checksum": "%s" }' "$separator" "$provider" \
                        "$name" "$provider" "$(sha256sum "${name}_$provider.box" | cut -d' ' -f1)"
                separator=,
        done
        printf '\n  ] }]\n}\n'
}

# A Vagrantfile in the folder that is not from here would be overwritten.
check_output() {
        [ ! -e "$OUTPUT/vagrant/Vagrantfile" ] || grep -qs "\"name\": \"$name\"" "$OUTPUT/vagrant/metadata.json" ||
                fail "OUTPUT is '$OUTPUT': its folder vagrant/ is another project's"
}

# Only now the output changes: the files that are made here, and no others (vagrant keeps the keys of running machines there). All copies are
# complete before the first takes its name; from there on it is done in a moment, and to the end.
publish_output() {
        (cd "$work/out" && sha256sum "$name"* >SHA256SUMS)
        (cd "$work/boxes" && sha256sum ./*.box metadata.json Vagrantfile | sed 's, \./, ,' >SHA256SUMS)
        lay_beside "$work/out" "$OUTPUT/output-virtualbox-iso"
        lay_beside "$work/boxes" "$OUTPUT/vagrant"
        trap '' INT TERM HUP
        : >"$work/published"
        keep_edited_vagrantfile
        take_names "$OUTPUT/output-virtualbox-iso"
        take_names "$OUTPUT/vagrant"
}

lay_beside() {
        local file
        mkdir -p "$2"
        chmod u=rwx,go=rx "$2"
        for file in "$1"/*; do
                cp "$file" "$2/$beside${file##*/}"
                chmod 644 "$2/$beside${file##*/}"
        done
}

take_names() {
        local file
        for file in "$1/$beside"*; do mv -f "$file" "$1/${file##*/"$beside"}"; done
}

keep_edited_vagrantfile() {
        (
                cd "$OUTPUT/vagrant" || return
                [ -f Vagrantfile ] || return 0
                grep ' Vagrantfile$' SHA256SUMS 2>/dev/null | sha256sum --check --status 2>/dev/null || mv Vagrantfile Vagrantfile.edited
        )
}

summary() {
        cat <<TEXT

Made in $((SECONDS - started)) s:
$(cd "$OUTPUT" && du -h --apparent-size output-virtualbox-iso/* vagrant/* | sed 's/^/  /')

VirtualBox:      VBoxManage import output-virtualbox-iso/$name.ova     (or File, Import appliance)
                 then connect its second network card to a host-only network that has ${IP_ADDRESS%/*}
VMware:          deploy output-virtualbox-iso/$name.ova
QEMU:            ./dev appliance run
libvirt, Proxmox: output-virtualbox-iso/$name.qcow2 as the disk; docs/appliance.md
Vagrant:         cd vagrant && vagrant box add --force --provider PROVIDER metadata.json && vagrant up && vagrant ssh

The registry answers on https://${IP_ADDRESS%/*}:$REGISTRY_PORT; the machine's console shows its certificate's fingerprint
$(if [ -n "$PASSWORD" ]; then echo "and takes the login $USERNAME with the password that you gave."; else echo "and the first password of $USERNAME, which is its own on each machine."; fi)
TEXT
}
