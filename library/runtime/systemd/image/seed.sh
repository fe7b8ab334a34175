#!/bin/sh
# Brings the kept paths to what this image ships, without touching what an operator did.
#
# Runs as root of the image, before PID 1 of the image, at the first boot of an image: /usr/local is mounted, the kept
# paths are not, so each still shows the image's content. A manifest says what the image ships; the one of the image that
# seeded before is beside the state. For each path of the two:
#
#     state                                  the image ships it             the image ships it no longer
#     as the earlier image shipped it        becomes the new image's        is removed
#     edited (content, mode, owner, type)    stays                          stays
#     not there, shipped before: deleted     stays deleted
#     not there, not shipped before          is added
#
# A list of all paths about to be touched is on disk before the first one is: after a power cut they all count as ours.
# Few programs handle many paths each; names with control characters are left alone.
# The argument, if any, is put before every path: for trying it outside of a boot.
set -uf
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
umask 077

image=${1-}
data=$image/usr/lib/kcompose
state=$image/usr/local/.state
own=$state/.kcompose
work=$own/work

mkdir -p "$work" && chmod 755 "$state" && cd "$state" || exit 1
[ -e "$own/manifest" ] || : > "$own/manifest"
[ -e "$own/dirty" ] || : > "$own/dirty"

# Names are escaped in manifests and in all lists here, and raw where programs read them.
# shellcheck disable=SC2016 # awk's, not the shell's
functions='
    function raw(name) { gsub(/\\040/, " ", name); gsub(/\\134/, "\\\\", name); return name }
    function escaped(name) { gsub(/\\/, "\\134", name); gsub(/ /, "\\040", name); return name }
    function above(name) { return sub(/\/[^\/]*$/, "", name) ? name : "" }
    # The rest of a line behind so many fields, with its spaces.
    function rest(fields,  text) { text = $0; while (fields-- > 0) sub(/^[^ ]* /, "", text); return text }
'

# What this image ships, by its place in the state: /etc/ssh/sshd_config is etc-ssh.bind/sshd_config.
shipped() {
    awk "$functions"'
        kind == "kept" { name = substr($1, 2); gsub(/\//, "-", name); bind[$1] = name ".bind"; next }
        { plain = $0; gsub(/\\040|\\134/, "", plain); if (plain ~ /\\/) next }
        {
            for (root = $6; root != "" && !(root in bind); ) root = above(root)
            if (root == "" || root in odd) next
            # A kept path that is a link in the image is mounted where it points to.
            if (root == $6 && $1 != "d") { odd[root]; next }
            sub(/^0+/, "", $2)
            print $1, ($2 == "" ? 0 : $2), $3, $4, $5, bind[root] substr($6, length(root) + 1), substr($6, 2)
        }
    ' kind=kept "$data/layout/kept" kind=image "$data/layout/seed.manifest"
}

# What is there now, of all names that a manifest has: type, mode, owner, group, `-`, name.
# Only these names are looked at: what else is below a kept path may be written by anybody.
present() {
    awk '{ print (NF > 1 ? $6 : $1) }' "$own/manifest" "$work/shipped" "$own/dirty" | sort -u > "$work/names"
    awk "$functions"'{ print raw($0) }' "$work/names" | tr '\n' '\0' |
        xargs -0 -r stat -c '%f %a %u %g %n' -- 2> /dev/null |
        awk "$functions"'{
            type = length($1) == 4 ? substr($1, 1, 1) : "?"
            type = type == "8" ? "f" : type == "4" ? "d" : type == "a" ? "l" : "?"
            print type, $2, $3, $4, "-", escaped(rest(4))
        }'
}

link_targets() {
    awk "$functions"'$1 == "l" { print $6 }' "$work/present" > "$work/links"
    awk "$functions"'{ print raw($0) }' "$work/links" | tr '\n' '\0' |
        xargs -0 -r readlink -z -- | tr '\n\0' '\001\n' |
        awk "$functions"'
            kind == "name" { name[++names] = $0; next }
            { print escaped($0), name[++targets] }
        ' kind=name "$work/links" kind=target -
}

# Checksums are needed only of files that look as shipped while the image no longer ships them so.
checksums() {
    awk "$functions"'
        { entry = $1 " " $2 " " $3 " " $4 }
        kind == "old" { old[$6] = entry; whole[$6] = entry " " $5; next }
        kind == "new" { new[$6] = entry " " $5; next }
        $1 == "f" && ($6 in old) && old[$6] == entry && !(($6 in new) && new[$6] == whole[$6]) { print raw($6) }
    ' kind=old "$own/manifest" kind=new "$work/shipped" kind=present "$work/present" | tr '\n' '\0' |
        xargs -0 -r sha256sum -z -- | tr '\0' '\n' |
        awk "$functions"'{ sum = $1; sub(/^[^ ]*  /, ""); print sum, escaped($0) }'
}

# The decision, parents first: lines `put PLACE IMAGE-PATH`, `delete PLACE`, `leave-directory PLACE`, and for what takes the
# place of a directory `put-if-left PLACE IMAGE-PATH`.
decide() {
    awk "$functions"'
        function is_directory(entry) { return substr(entry, 1, 1) == "d" }
        function put(name) {
            if (name in putting) return
            if (above(name) != "" && becomes[above(name)] == "nothing") put(above(name))
            putting[name]
            becomes[name] = is_directory(new[name]) ? "directory" : "other"
            if ((name in is) && substr(is[name], 1, 1) != substr(new[name], 1, 1)) drop(name)
            print ((name in is) && is_directory(is[name]) && !is_directory(new[name]) ? "put-if-left" : "put"), name, source[name]
        }
        function drop(name) { print (is_directory(is[name]) ? "leave-directory" : "delete"), name }

        kind == "old" { old[$6] = $1 " " $2 " " $3 " " $4 " " $5; next }
        kind == "new" { new[$6] = $1 " " $2 " " $3 " " $4 " " $5; source[$6] = $7; next }
        kind == "dirty" { dirty[$1]; next }
        kind == "target" { target[$2] = $1; next }
        kind == "sum" { sum[$2] = $1; next }
        kind == "present" {
            value = $1 == "l" ? target[$6] : $1 == "f" ? (($6 in sum) ? sum[$6] : "unknown") : $5
            is[$6] = $1 " " $2 " " $3 " " $4 " " value
            next
        }

        # Names now, sorted: a directory comes before what is in it.
        {
            name = $0; up = above(name)
            # Made by an earlier boot because the path is kept, when no image shipped it: not a decision of anybody.
            if (up == "" && !(name in old)) old[name] = "d 755 0 0 -"
            # Below a link or a file that an operator put in place of a directory, nothing is ours.
            if (up != "" && real[up] == "no") { real[name] = "no"; delete is[name]; if (becomes[up] == "other") { becomes[name] = "other"; next } }
            if (!(name in is) || !is_directory(is[name])) real[name] = "no"
            here = name in is

            if (name in new) {
                if (name in dirty) put(name)
                else if (!here) {
                    if ((name in old) && is_directory(old[name]) == is_directory(new[name]) && up != "") becomes[name] = "nothing"
                    else put(name)
                }
                else if ((name in old) && old[name] == is[name] && old[name] != new[name]) put(name)
                else becomes[name] = is_directory(is[name]) ? "directory" : "other"
                next
            }
            becomes[name] = here ? (is_directory(is[name]) ? "directory" : "other") : "nothing"
            if (here && up != "" && ((name in dirty) || old[name] == is[name])) drop(name)
        }
    ' kind=old "$own/manifest" kind=new "$work/shipped" kind=dirty "$own/dirty" kind=target "$work/targets" \
        kind=sum "$work/sums" kind=present "$work/present" kind=name "$work/names"
}

# raw_names VERB FIELD: the names of one kind of decision, each ended by a zero byte.
raw_names() {
    awk "$functions"'$1 == verb { print raw($field) }' verb="$1" field="$2" "$work/decision" | tr '\n' '\0'
}

# One archive for everything; each image path is renamed to its place in the state, deeper kept paths first.
copy_from_image() {
    raw_names put 3 > "$work/put"
    awk "$functions"'$1 == "put-if-left" { print raw($2); print raw($3) }' "$work/decision" |
        while IFS= read -r place && IFS= read -r source; do
            [ -d "$place" ] || printf '%s\0' "$source"
        done >> "$work/put"
    [ -s "$work/put" ] || return 0
    set --
    while read -r pattern; do
        set -- "$@" "--transform=$pattern"
    done <<EOF
$(awk '{
    name = substr($1, 2); depth = gsub(/\//, "/", name); pattern = name; gsub(/\./, "\\.", pattern); gsub(/\//, "-", name)
    print depth, "s,^" pattern "\\(/\\|$\\)," name ".bind\\1,SH"
}' "$data/layout/kept" | sort -rn | cut -d ' ' -f 2-)
EOF
    {
        tar --create --directory="$image/" --no-recursion --null --verbatim-files-from --files-from="$work/put" \
            --hard-dereference --numeric-owner --xattrs "$@" || : > "$work/failed"
    } | tar --extract --directory="$state" --numeric-owner --same-owner --same-permissions --xattrs --xattrs-include='*' &&
        [ ! -e "$work/failed" ]
}

shipped > "$work/shipped" &&
    present > "$work/present" &&
    link_targets > "$work/targets" &&
    checksums > "$work/sums" &&
    decide > "$work/decision" || exit 1

rm -f "$work/failed"
awk '{ print $2 }' "$work/decision" | sort -u - "$own/dirty" > "$own/dirty.new" &&
    sync -f "$own/dirty.new" && mv "$own/dirty.new" "$own/dirty" || exit 1

raw_names delete 2 | xargs -0 -r rm -f -- || exit 1
# A directory that holds something of an operator's stays.
awk '$1 == "leave-directory" { print $2 }' "$work/decision" | sort -r |
    awk "$functions"'{ print raw($0) }' | tr '\n' '\0' | xargs -0 -r rmdir --ignore-fail-on-non-empty --
copy_from_image || exit 1

awk '{ print $1, $2, $3, $4, $5, $6 }' "$work/shipped" > "$own/manifest.new" &&
    cp "$data/image-id" "$own/image-id.new" &&
    sync -f "$own/image-id.new" &&
    mv "$own/manifest.new" "$own/manifest" &&
    mv "$own/image-id.new" "$own/image-id" &&
    rm -rf "$own/dirty" "$work"
