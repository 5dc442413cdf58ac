#!/bin/bash
# Guests that take over their own stubs beside a victim that must not notice (hijack.c), for
# HIJACK_SECONDS on each platform. Nothing of them is left afterwards.
NACRE=${NACRE:?}
PLATFORMS=${PLATFORMS:-systrap ptrace}
cd "$(dirname "$0")/../.." || exit 1
status=0
tmp=$(mktemp -d /tmp/nacre-hijack.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
cc -O1 -w -pthread test/walls/hijack.c -o "$tmp/hijack" || exit 1
for p in $PLATFORMS; do
    for how in on off; do
        [ "$p$how" = ptraceoff ] && continue
        seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
        s=${HIJACK_SECONDS:-5}
        timeout -s KILL $((s + 60)) "$NACRE" --platform="$p" --systrap-patching=$how do -- "$tmp/hijack" "$s" "$seed" >"$tmp/out" 2>"$tmp/err" </dev/null
        st=$?
        if [ $st = 0 ] && grep -q '^victim [1-9]' "$tmp/out"; then echo "ok hijack-$p-patching-$how # $(tr '\n' ' ' <"$tmp/out")"
        else echo "# seed $seed: status $st: $(tail -n 2 "$tmp/out" "$tmp/err" | tr '\n' '|')"; echo "FAIL hijack-$p-patching-$how"; status=1; fi
    done
done
exit $status
