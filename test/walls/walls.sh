#!/bin/bash
# Looks at the processes of a running sandbox from outside: ids, capabilities, no_new_privs,
# seccomp, namespaces, mounts, descriptors, limits; reads the live filters back and compares them
# with the golden tables. Needs root (ptrace, other users' /proc entries).
NACRE=${NACRE:?}
cd "$(dirname "$0")/../.." || exit 1
status=0
ok() { echo "ok $1"; }
fail() { echo "# $2"; echo "FAIL $1"; status=1; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "is \"$2\", should be \"$3\""; fi; }
if [ "$(id -u)" != 0 ]; then echo "# needs root"; exit 0; fi

tmp=$(mktemp -d /tmp/nacre-walls.XXXXXX)
pids=()
# shellcheck disable=SC2317
cleanup() { for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null; done; rm -rf "$tmp"; }
trap cleanup EXIT
cc -O1 -w test/walls/filtercheck.c -o "$tmp/filtercheck" || exit 1

for t in stub sentry sentry-ptrace gofer supervisor; do
    if "$NACRE" hostcalls --format golden --table $t | diff - test/golden/$t.txt >"$tmp/d"; then ok "golden-$t"
    else fail "golden-$t" "$(head -n 3 "$tmp/d" | tr '\n' '|') (a deliberate change is reviewed and copied there)"; fi
done

# $1 platform. Sets S (supervisor) G (gofer) B (boot) STUBS.
start() {
    "$NACRE" --platform="$1" do -- /bin/sh -c 'echo ready; sleep 60; :' >"$tmp/out" 2>"$tmp/err" 9<"$tmp" &
    S=$!
    pids+=("$S")
    for _ in $(seq 200); do grep -q ready "$tmp/out" && break; sleep 0.05; done
    G=$(pgrep -P "$S" -f 'nacre gofer') B=$(pgrep -P "$S" -f 'nacre boot')
    STUBS=$(pgrep -P "$B")
}
field() { awk -v k="$2:" '$1 == k {print $2}' "/proc/$1/status"; }
caps() { # name pid permitted
    is "$1-caps" "$(field "$2" CapPrm) $(field "$2" CapEff) $(field "$2" CapInh) $(field "$2" CapAmb) $(field "$2" CapBnd)" \
        "$3 $3 $zero $zero $3"
}
zero=0000000000000000
own() { # namespaces of pid that are the host's
    local n
    for n in cgroup ipc mnt net pid user uts time; do
        [ "$(readlink "/proc/$1/ns/$n")" = "$(readlink /proc/self/ns/$n)" ] && printf '%s ' $n
    done
}

look() { # platform
    local p=$1 t q
    start "$p"
    if [ -z "$G" ] || [ -z "$B" ] || [ -z "$STUBS" ]; then fail "$p-starts" "$(head -n 2 "$tmp/err")"; return; fi
    for t in "$S" "$G" "$B" $STUBS; do
        for q in /proc/"$t"/task/*; do
            [ "$(awk '$1 == "NoNewPrivs:" || $1 == "Seccomp:" {printf $2}' "$q/status")" = 12 ] || fail "$p-locked" "$q: $(head -n 1 "$q/status")"
        done
    done
    ok "$p-no-new-privs-and-seccomp-on-all-threads"
    caps "$p-supervisor" "$S" $zero
    caps "$p-sentry" "$B" $zero
    caps "$p-gofer" "$G" 000000000000001b
    for t in $STUBS; do caps "$p-stub" "$t" $zero; done
    local host uids=" "
    for t in "$G" "$B"; do
        host=$(field "$t" Uid)
        if [ "$host" -ge 1879048192 ] && [ -z "$(field "$t" Groups)" ]; then ok "$p-own-host-id"; else fail "$p-own-host-id" "pid $t runs as $host, groups $(field "$t" Groups)"; fi
        case $uids in *" $host "*) fail "$p-ids-differ" "$host twice" ;; esac
        uids="$uids$host "
    done
    is "$p-sentry-namespaces-shared-with-host" "$(own "$B")" ""
    is "$p-gofer-namespaces-shared-with-host" "$(own "$G")" "user time "
    for t in $STUBS; do is "$p-stub-namespaces-shared-with-host" "$(own "$t")" ""; done
    is "$p-sentry-mounts" "$(awk '{print $5, $6, $8}' "/proc/$B/mountinfo")" "/ ro,nosuid,nodev,noexec,relatime tmpfs"
    is "$p-sentry-root-empty" "$(find "/proc/$B/root/" -mindepth 1 | head -n 3)" ""
    is "$p-gofer-mounts-nodev-nosuid" "$(awk '$6 !~ /nosuid/ || $6 !~ /nodev/ || $6 !~ /^ro/' "/proc/$G/mountinfo" | head -n 2)" ""
    is "$p-gofer-sees-no-proc" "$(ls -A "/proc/$G/root/0/proc" "/proc/$G/root/0/sys" 2>&1 | grep -v : | tr -d '\n')" ""
    is "$p-gofer-root" "$(ls -A "/proc/$G/root/")" "0"
    # Descriptors: what each process holds, by kind.
    is "$p-stub-descriptors" "$(for t in $STUBS; do ls -l "/proc/$t/fd"; done | awk 'NF > 8 {print $NF}' | sed 's/\[[0-9]*\]$//' | grep -vx 'socket:\|anon_inode:\[eventfd\]' | sort -u | tr '\n' ' ')" ""
    is "$p-sentry-directories" "$(for q in /proc/"$B"/fd/*; do [ -d "$q" ] && stat -Lfc %T "$q"; done | sort | uniq -c | tr -s ' ' | tr '\n' ' ')" " 1 tmpfs "
    is "$p-gofer-sockets" "$(ls -l "/proc/$G/fd" | grep -c socket:)" 1
    is "$p-supervisor-inherited" "$(ls -l "/proc/$S/fd" | grep -c "$tmp\$")" 0
    for t in "$B" "$G" $STUBS; do
        is "$p-core-limit" "$(awk '/^Max core/ {print $5 $6}' "/proc/$t/limits")" 11
    done
    for t in "$B" "$G"; do
        host=$(field "$t" Uid)
        is "$p-not-dumpable" "$(setpriv --reuid "$host" --regid "$host" --clear-groups cat "/proc/$t/environ" 2>&1 | grep -c denied)" 1
    done
    # Filters.
    local r
    for t in "supervisor $S" "gofer $G" "sentry${2:-} $B"; do
        # shellcheck disable=SC2086
        set -- $t
        if r=$("$tmp/filtercheck" "$2" "test/golden/$1.txt" 2>&1); then ok "$p-filter-$1"; else fail "$p-filter-$1" "$r"; fi
    done
    if [ "$p" = systrap ]; then
        for t in $STUBS; do
            if r=$("$tmp/filtercheck" "$t" test/golden/stub.txt ip 2>&1); then
                ok "$p-filter-stub"
                r=$(sed -n 's/^range //p' <<<"$r")
                # The range lies in one mapping that is executable, not writable, and not a file.
                if awk -v r="$r" 'function h(s,  i, v) { v = 0; for (i = 1; i <= length(s); i++) v = v * 16 + index("0123456789abcdef", substr(s, i, 1)) - 1; return v }
                    BEGIN { split(r, w, " ") } { split($1, m, "-"); if (h(m[1]) <= h(w[1]) && h(w[2]) <= h(m[2]) && $2 == "r-xp" && NF == 5) f = 1 } END { exit !f }' "/proc/$t/maps"
                then ok "$p-stub-text"; else fail "$p-stub-text" "range $r is not read-only text"; fi
            else fail "$p-filter-stub" "$r"; fi
        done
    fi
    kill -TERM "$S"
    wait "$S"
}
for p in ${PLATFORMS:-systrap ptrace}; do look "$p" "$([ "$p" = ptrace ] && echo -ptrace)"; done
exit $status
