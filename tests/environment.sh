# shellcheck shell=bash
# Sourced by the scripts of this folder: where tests keep what is expensive to make, and PATH with the programs they use.
export KCOMPOSE_TEST_CACHE=${KCOMPOSE_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kcompose-test}
mkdir -p "$KCOMPOSE_TEST_CACHE"
# /usr/sbin: where Debian keeps runc and mke2fs, and where an ordinary user's PATH does not look.
export PATH=$PATH:/usr/sbin:/sbin:$KCOMPOSE_TEST_CACHE/docker-registry/usr/bin
