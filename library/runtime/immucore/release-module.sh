#!/bin/bash
# A module of dracut: the initrd says which distro it was made from.
#
# dracut 106 writes an initrd-release without PRETTY_NAME, and the steps of Kairos' cloud-configs that are for one distro
# (`only_os`) find theirs by that name: without it they do nothing, and say nothing.

check() {
    return 0
}

depends() {
    return 0
}

install() {
    # shellcheck disable=SC2154 # dracut sets it.
    local file="${initdir}/usr/lib/initrd-release"
    if [ ! -e "$file" ] || grep -q '^PRETTY_NAME=' "$file"; then
        return 0
    fi
    (
        # shellcheck disable=SC1091 # It is the image's.
        . "${dracutsysrootdir-}/etc/os-release"
        printf 'PRETTY_NAME="%s (initrd)"\n' "${PRETTY_NAME:?}" >> "$file"
    )
}
