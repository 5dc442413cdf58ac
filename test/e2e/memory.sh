#!/bin/bash
# Random memory calls, the same in the sandbox as on the host (see memdiff.c).
. "$(dirname "$0")/lib.sh.inc"
prog=$(mktemp /tmp/nacre-memdiff.XXXXXX)
trap 'rm -f "$prog"' EXIT
${GUEST_CC:-cc} -O1 -w "$(dirname "$0")/memdiff.c" -o "$prog" || exit 1
for seed in 1 2 3 4 5 6 7 8; do
    same "memory-calls-$seed" "$prog $seed"
done
exit $status
