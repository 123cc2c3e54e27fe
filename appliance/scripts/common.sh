# What the provisioning scripts share. They run as root inside the machine that is being built: in a tree (chroot) by the default
# builder, in the installed system by Packer. Beside them lie files/, settings.env and the container image. POSIX sh.
# shellcheck shell=sh disable=SC2034,SC1091

here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/settings.env"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# install_packages NAME...: those that the builder has not put in already.
install_packages() {
        missing=
        for package; do
                dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $package"
        done
        [ -n "$missing" ] || return 0
        apt-get -q update
        # shellcheck disable=SC2086 # a list of words
        apt-get -q install -y --no-install-recommends $missing
}

# The packages of a kind, from the list that the builder brought along.
packages() {
        awk -v kind="$1" '$1 == kind { print $2 }' "$here/packages.txt"
}

# fill FILE: a template's settings put in, and its name without ".template".
fill() {
        sed -e "s/@REGISTRY_PORT@/$REGISTRY_PORT/g" -e "s/@DEBIAN_RELEASE@/$DEBIAN_RELEASE/g" "$1" >"${1%.template}"
        chmod 644 "${1%.template}"
        rm "$1"
}
