#!/bin/bash
# Looks at the processes of a pod from outside: each container's supervisor and Gofer are confined as
# any other's, with ids, mounts and descriptors of their own; joining leaves no door open in the Sentry.
NACRE=$(realpath "${NACRE:?}")
cd "$(dirname "$0")/../.." || exit 1
status=0
is() { if [ "$2" = "$3" ]; then echo "ok $1"; else echo "# is \"$2\", should be \"$3\""; echo "FAIL $1"; status=1; fi; }
if [ "$(id -u)" != 0 ]; then echo "# needs root"; exit 0; fi
tmp=$(mktemp -d /tmp/nacre-walls.XXXXXX)
N() { timeout 60 "$NACRE" --root "$tmp/state" "$@" </dev/null; }
# shellcheck disable=SC2317
cleanup() { for c in a b pod; do N delete --force $c 2>/dev/null; done; rm -rf "$tmp"; }
trap '[ $BASHPID = $$ ] && cleanup' EXIT
cc -O1 -w test/walls/filtercheck.c -o "$tmp/filtercheck" || exit 1

make() { # NAME TYPE: prints the pid of its supervisor
    local b=$tmp/$1
    mkdir -p "$b/rootfs/bin"
    cp "$(command -v busybox)" "$b/rootfs/bin/sh"
    (cd "$b" && "$NACRE" spec)
    python3 - "$b/config.json" "$2" <<'P'
import json, sys
p = sys.argv[1]; c = json.load(open(p)); c['process']['terminal'] = False; c['process']['args'] = ['sh', '-c', 'while :; do sleep 1; done']
c['annotations'] = {'io.kubernetes.cri.container-type': sys.argv[2], 'io.kubernetes.cri.sandbox-id': 'pod'}; json.dump(c, open(p, 'w'))
P
    N run -d --bundle "$b" --pid-file "$tmp/$1.pid" "$1" >/dev/null 2>"$tmp/err" 9<"$tmp" || cat "$tmp/err" >&2
    cat "$tmp/$1.pid"
}
field() { awk -v k="$2:" '$1 == k {print $2}' "/proc/$1/status"; }
child() { pgrep -P "$1" -f "nacre $2"; } # supervisor kind
filter() { # name table pid
    "$tmp/filtercheck" "$3" "test/golden/$2.txt" >"$tmp/o" 2>&1; local st=$?
    [ $st = 0 ] || tail -n 2 "$tmp/o"
    is "$1-filter" $st 0
}
P=$(make pod sandbox)
S=$(child "$P" boot)
zero=0000000000000000 ids=
open_files() { find "/proc/$S/fd" -mindepth 1 | wc -l; }
before=$(open_files)
A=$(make a container) B=$(make b container)
is one-sentry "$(child "$A" boot)$(child "$B" boot)" ""
for c in "a $A" "b $B"; do
    read -r name pid <<<"$c"
    g=$(child "$pid" gofer)
    is "$name-supervisor-locked" "$(field "$pid" NoNewPrivs)$(field "$pid" Seccomp) $(field "$pid" CapPrm)$(field "$pid" CapBnd)" "12 $zero$zero"
    is "$name-gofer-locked" "$(field "$g" NoNewPrivs)$(field "$g" Seccomp) $(field "$g" CapEff)" "12 000000000000001b"
    filter "$name-supervisor" supervisor "$pid"
    filter "$name-gofer" gofer "$g"
    is "$name-gofer-root" "$(ls -A "/proc/$g/root/")" 0
    is "$name-gofer-serves-its-own" "$(awk -v r="/$name/rootfs" '$5 == "/0" && index($4, r)' "/proc/$g/mountinfo" | wc -l)" 1
    is "$name-gofer-sockets" "$(ls -l "/proc/$g/fd" | grep -c socket:)" 1
    is "$name-supervisor-inherited" "$(ls -l "/proc/$pid/fd" | grep -c "$tmp\$")" 0
    # Its control socket to the Sentry, the Gofer's, and that for commands; nothing of the file protocol.
    is "$name-supervisor-sockets" "$(ls -l "/proc/$pid/fd" | grep -c socket:)" "$(ls -l "/proc/$P/fd" | grep -c socket:)"
    ids="$ids $(field "$g" Uid)"
done
is gofer-ids-differ "$(printf '%s\n' $ids "$(field "$(child "$P" gofer)" Uid)" "$(field "$S" Uid)" | sort -u | wc -l)" 4
is sentry-locked "$(field "$S" NoNewPrivs)$(field "$S" Seccomp) $(field "$S" CapPrm)" "12 $zero"
filter sentry sentry "$S"
is sentry-directories "$(for q in /proc/"$S"/fd/*; do [ -d "$q" ] && stat -Lfc %T "$q"; done | tr '\n' ' ')" "tmpfs "
N delete --force a; N delete --force b
# With a container go its descriptors in the Sentry: sockets, the program, libraries.
for _ in $(seq 100); do [ "$(open_files)" -le $((before + 2)) ] && break; sleep 0.05; done
is sentry-lets-go "$([ "$(open_files)" -le $((before + 2)) ] || ls -l "/proc/$S/fd")" ""
exit $status
