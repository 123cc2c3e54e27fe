# shellcheck shell=bash disable=SC2154
# START_VIRTUALBOX_LOCALLY: import, host-only network, start, wait for the registry.

# The host-only interface in the machine's network: one that is there, or a new one that takes the network's first address
# (the last where the machine itself has the first).
host_only_interface() {
        local own=${IP_ADDRESS%/*} prefix=${IP_ADDRESS#*/} interface address
        address=$(python3 -I -c '
import ipaddress, sys
card = ipaddress.ip_interface(sys.argv[1])
hosts = [card.network[1], card.network[-2]]
print(next(host for host in hosts if host != card.ip))' "$own/$prefix")
        interface=$(VBoxManage list hostonlyifs | awk -v address="$address" '$1 == "Name:" { name = $2 } $1 == "IPAddress:" && $2 == address { print name; exit }')
        if [ -z "$interface" ]; then
                interface=$(VBoxManage hostonlyif create | sed -n "s/.*Interface '\([^']*\)'.*/\1/p")
                [ -n "$interface" ] || return 1
                VBoxManage hostonlyif ipconfig "$interface" --ip "$address" --netmask "$(netmask "$prefix")" >&2
        fi
        printf '%s\n' "$interface"
}

start_in_virtualbox() {
        local machine interface
        machine=$name-$(date +%Y%m%d-%H%M%S)
        interface=$(host_only_interface)
        VBoxManage import "$OUTPUT/output-virtualbox-iso/$name.ova" --vsys 0 --vmname "$machine"
        VBoxManage modifyvm "$machine" --nic2 hostonly --hostonlyadapter2 "$interface"
        VBoxManage startvm "$machine" --type headless
        if ! wait_for_registry; then
                echo "the machine $machine stays in VirtualBox, to be looked at"
                return 1
        fi
        echo "$machine answers on https://${IP_ADDRESS%/*}:$REGISTRY_PORT"
}

wait_for_registry() {
        python3 -I - "${IP_ADDRESS%/*}" "$REGISTRY_PORT" <<'PYTHON'
import ssl, sys, time, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE      # only whether it answers; trust is the user's step
address = f"https://{sys.argv[1]}:{sys.argv[2]}/readyz"
end = time.monotonic() + 300
while time.monotonic() < end:
    try:
        with urllib.request.urlopen(address, timeout=5, context=context):
            sys.exit(0)
    except OSError:
        time.sleep(2)
sys.exit(f"{address} did not answer within 5 minutes; look at the machine's console")
PYTHON
}
