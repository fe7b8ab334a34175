# The report of the checks, which the other files of this folder fill: one line a check, then one line that counts them.
#   ok NAME
#   not ok NAME
#   skipped NAME: REASON
#       a detail of the line above
passed=0 bad=0 skipped=0
item() { # item NAME COMMAND...: the command decides
    item=$1; shift
    if "$@" > /dev/null 2>&1; then
        passed=$((passed + 1))
        echo "ok $item"
    else
        bad=$((bad + 1))
        echo "not ok $item"
    fi
}
skip() { # skip NAME REASON
    skipped=$((skipped + 1))
    echo "skipped $1: $2"
}
is() { [ "$1" = "$2" ]; }
not() { ! "$@"; }
# Prints the counts; the exit code of the script is 1 if a check failed.
conclude() {
    echo "$passed ok, $bad not ok, $skipped skipped"
    [ "$bad" = 0 ] || exit 1
    exit 0
}
