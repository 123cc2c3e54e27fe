#!/bin/bash
# Boots the appliance under QEMU for a person to try: ./dev appliance run. The machine's console is the terminal; what it writes goes to
# an overlay that is thrown away at the end, unless KEEP names a file for the whole disk. Ctrl-A X switches it off.
# shellcheck disable=SC2054 # QEMU's options have commas
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

MEMORY_MB=${MEMORY_MB:-1024}            # memory of the machine
CPUS=${CPUS:-2}                         # its processors
HOST_PORT=${HOST_PORT:-5000}            # this computer's port for the registry, over the first network card
SSH_PORT=${SSH_PORT:-2222}              # this computer's port for ssh
STATIC_PORT=${STATIC_PORT:-5001}        # this computer's port for the registry, over the second card
FIRMWARE=${FIRMWARE:-bios}              # bios or efi
KEEP=${KEEP:-}                          # file for the machine's disk; empty: what it writes is forgotten at the end
ACCELERATOR=${ACCELERATOR:-auto}        # auto, kvm or tcg (software emulation)

fail() {
        printf 'appliance run: %s\n' "$*" >&2
        exit 1
}

disk=${1:-$root/output-virtualbox-iso/orlop-registry.qcow2}
[ -f "$disk" ] || fail "there is no $disk: ./create-docker-registry-ovf.sh makes it"
disk=$(readlink -f "$disk")
# The OVF beside the disk knows the machine's address and port.
ovf=${disk%.qcow2}.ovf
address=$(sed -n 's/.*ovf:key="address".*ovf:value="\([0-9.]*\).*/\1/p' "$ovf" 2>/dev/null || true)
address=${address:-192.168.33.33}
port=$(sed -n 's/.*its addresses (port \([0-9]*\)).*/\1/p' "$ovf" 2>/dev/null || true)
port=${port:-5000}

scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/orlop-run.XXXXXXXXXX")
trap 'rm -rf "$scratch"' EXIT
overlay=${KEEP:-$scratch/overlay.qcow2}
if [ -z "$KEEP" ]; then
        qemu-img create -q -f qcow2 -b "$disk" -F qcow2 "$overlay"
elif [ ! -f "$KEEP" ]; then
        # A copy: the next build replaces the disk, and an overlay's base must not change.
        cp "$disk" "$KEEP.new"
        mv "$KEEP.new" "$KEEP"
fi

machine=(-machine pc -smp "$CPUS" -m "$MEMORY_MB" -device ahci,id=sata)
if [ "$FIRMWARE" = efi ]; then
        cp /usr/share/OVMF/OVMF_VARS_4M.fd "$scratch/vars.fd"
        machine+=(-drive "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
                -drive "if=pflash,format=raw,file=$scratch/vars.fd")
fi

# A /dev/kvm can be there and still run no ordinary system (a virtual machine's own): only a boot tells.
kvm_works() {
        [ -r /dev/kvm ] && [ -w /dev/kvm ] || return 1
        qemu-img create -q -f qcow2 -b "$disk" -F qcow2 "$scratch/probe.qcow2"
        timeout 40 qemu-system-x86_64 "${machine[@]}" -accel kvm -cpu host -drive "if=none,id=disk,file=$scratch/probe.qcow2" \
                -device ide-hd,drive=disk,bus=sata.0 -nic none -display none -serial "file:$scratch/probe.log" >/dev/null 2>&1 &
        local probe=$! works=1
        while kill -0 "$probe" 2>/dev/null; do
                if grep -aq 'login:' "$scratch/probe.log" 2>/dev/null; then
                        works=0
                        break
                fi
                sleep 1
        done
        kill "$probe" 2>/dev/null || true
        wait "$probe" 2>/dev/null || true
        return "$works"
}

case $ACCELERATOR in
auto)
        echo "trying KVM ..." >&2
        if kvm_works 2>/dev/null; then ACCELERATOR=kvm; else ACCELERATOR=tcg; fi
        ;;
kvm | tcg) ;;
*) fail "ACCELERATOR is '$ACCELERATOR': auto, kvm or tcg" ;;
esac
# In software the processors take turns: side by side, in QEMU 7.2, one boot in twenty ended in "Oops: int3".
if [ "$ACCELERATOR" = kvm ]; then machine+=(-accel kvm -cpu host); else machine+=(-accel tcg,thread=single -cpu max); fi

cat >&2 <<TEXT
The registry will answer on  https://localhost:$HOST_PORT  (first card), https://localhost:$STATIC_PORT  (second card, $address)
ssh:  ssh -p $SSH_PORT orlop@localhost       Switch off: Ctrl-A X       With $ACCELERATOR the console is ready in $([ "$ACCELERATOR" = kvm ] && echo 'about 15 seconds' || echo 'one to two minutes')
TEXT
qemu-system-x86_64 "${machine[@]}" -drive "if=none,id=disk,file=$overlay" -device ide-hd,drive=disk,bus=sata.0 \
        -netdev "user,id=nat,hostfwd=tcp:127.0.0.1:$HOST_PORT-:$port,hostfwd=tcp:127.0.0.1:$SSH_PORT-:22" -device e1000,netdev=nat \
        -netdev "user,id=static,net=${address%.*}.0/24,restrict=on,hostfwd=tcp:127.0.0.1:$STATIC_PORT-$address:$port" -device e1000,netdev=static \
        -nographic -serial mon:stdio
