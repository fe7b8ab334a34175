#!/bin/sh
# Makes the keys and signed files of this folder, except trixie-security.InRelease (security.debian.org, 2026-11-21).
# They need not be made again: every test gives its own "now". Needs gpg 2.2 or newer.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
GNUPGHOME=$(mktemp -d) && export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
chmod 700 "$GNUPGHOME"
start=20260101T000000
gpg() { command gpg --batch --quiet --no-tty --passphrase '' --pinentry-mode loopback "$@"; }
key() { # NAME EXPIRE
    gpg --faked-system-time "$start!" --quick-generate-key "$1 <$1@example.org>" ed25519 cert,sign "$2"
}
sign() { # FILE KEY OPTION…
    file=$1 name=$2; shift 2
    gpg --faked-system-time "20260102T000000!" --yes --local-user "$name@example.org" "$@" \
        --output "$here/$file.InRelease" --clear-sign "$here/text"
}
key good never; key short 10d; key revoked never
gpg --faked-system-time "$start!" --quick-generate-key "sub <sub@example.org>" ed25519 cert never
fingerprint=$(gpg --list-keys --with-colons sub@example.org | sed -n 's/^fpr:::::::::\([^:]*\):.*/\1/p' | head -n 1)
gpg --faked-system-time "$start!" --quick-add-key "$fingerprint" ed25519 sign 20d
sign good good --digest-algo SHA512
sign weak good --digest-algo SHA1 --weak-digest MD5
sign brief good --digest-algo SHA256 --default-sig-expire 5d
sign short short --digest-algo SHA256
sign revoked revoked --digest-algo SHA256
sign sub sub --digest-algo SHA256
sign two good --digest-algo SHA256 --local-user revoked@example.org
fingerprint=$(gpg --list-keys --with-colons revoked@example.org | sed -n 's/^fpr:::::::::\([^:]*\):.*/\1/p' | head -n 1)
sed 's/^:-----/-----/' "$GNUPGHOME/openpgp-revocs.d/$fingerprint.rev" | gpg --import
for name in good short revoked sub; do gpg --yes --armor --output "$here/$name.asc" --export "$name@example.org"; done
