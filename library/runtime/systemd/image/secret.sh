#!/bin/sh
# Makes what belongs to this machine alone: a key, an id, a database of its own. The argument names it.
#
# In /usr/lib/kcompose/secrets/NAME, `make` makes it, and `keep` lists the paths of it that lie in no kept directory. Copies
# of these are in the state of the machine, and are put back at each boot: all of them, or it is made anew.
# The second argument, if any, is put before every path: for trying it outside of a boot.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
umask 022

name=$1
root=${2-}
data=$root/usr/lib/kcompose/secrets/$name
kept=$root/usr/local/.state/.kcompose/secrets/$name

put_back() {
    number=0
    while IFS= read -r path; do
        number=$((number + 1))
        mkdir -p "$root${path%/*}"
        rm -rf "$root$path"
        cp -a "$kept/$number" "$root$path"
    done < "$data/keep"
}

keep() {
    rm -rf "$kept.new"
    mkdir -p "$kept.new"
    chmod 700 "${kept%/*}" "$kept.new"
    number=0
    while IFS= read -r path; do
        number=$((number + 1))
        cp -a "$root$path" "$kept.new/$number"
    done < "$data/keep"
    sync -f "$kept.new"
    rm -rf "$kept"
    mv "$kept.new" "$kept"
}

if [ -d "$kept" ]; then
    put_back
    exit 0
fi
"$data/make"
if [ -s "$data/keep" ]; then
    keep
fi
