#!/usr/bin/env bash
# Builds and runs every test; the last line is "N passed, N failed". Parts can be named as arguments:
#   tools/test.sh unit guest e2e ...        (default: all of PARTS; soak is not among them)
# PLATFORMS="systrap ptrace" chooses the platforms of the sandbox tests, GUEST="pipe epoll" the guest
# programs, FAST=off sends all their system calls to the kernel, E2E="cli bundle" the scripts. SOAK_SECONDS, SOAK_KILLS: how long a soak takes.
#
# Root runs it in namespaces of its own (processes, mounts, /tmp, ipc): what others do on the machine
# does not matter, nothing can be left behind, and what a sandbox leaves is seen.
set -u
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
NACRE=$PWD/$BUILD/nacre
PLATFORMS=${PLATFORMS:-systrap ptrace}
FAST=${FAST:-on}
FAST_PAIR="clone cred fastfilter fastpath fork futex jobctl mmthread patch position pthread random signal signalfd sigrestart timers umask window"
PARTS=${*:-lint doc unit sanitizers fuzz guest e2e walls clients release leftovers}
passed=0 failed=0
failures=()

if [ "$(id -u)" = 0 ] && [ "${NACRE_TEST_INSIDE:-}" = "" ]; then
    tmp=$(mktemp -d /tmp/nacre-test.XXXXXX)
    if unshare --mount --pid --ipc --fork true 2>/dev/null; then
        NACRE_TEST_INSIDE=1 unshare --mount --pid --ipc --fork --kill-child --mount-proc --propagation private \
            sh -c 'chmod 1777 "$1"; case $PWD/ in /tmp/*) ;; *) mount --bind "$1" /tmp ;; esac; shift; exec "$@"' sh "$tmp" bash "$0" "$@"
        st=$?
    else
        NACRE_TEST_INSIDE=0 bash "$0" "$@"
        st=$?
    fi
    rm -rf "$tmp"
    exit $st
fi
INSIDE=${NACRE_TEST_INSIDE:-0}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); failures+=("$1"); echo "FAIL $1"; }
limit() { timeout -s KILL "$@"; } # SECONDS command...

# Counts "ok NAME" and "FAIL NAME" lines of a log; a test program that died counts as one failure.
count() { # prefix log status
    local n f
    n=$(grep -ac '^ok ' "$2")
    passed=$((passed + n))
    while IFS= read -r f; do
        bad "$1: ${f#FAIL }"
        grep -aB3 -F -- "$f" "$2" | grep -a '^#' | tail -n 2
    done < <(grep -a '^FAIL ' "$2")
    if [ "$3" != 0 ] && ! grep -aq '^FAIL ' "$2"; then bad "$1: exit status $3"; tail -n 3 "$2"
    elif [ "$n" = 0 ] && ! grep -aqE '^(FAIL|skip|# needs|# skipped)' "$2"; then bad "$1: ran nothing"; fi
}

part_lint() {
    if tools/layers.py >"$out/layers" 2>&1; then ok; else bad "layering"; cat "$out/layers"; fi
}

part_doc() {
    if limit 60 tools/doc.sh "$NACRE" --check >"$out/doc" 2>&1; then ok; else bad "documents: $(head -n 1 "$out/doc")"; fi
    # Every call that claims support is named by a guest test.
    if limit 60 tools/coverage.py "$NACRE" >"$out/doc" 2>&1; then ok; else bad "calls without a guest test"; head -n 20 "$out/doc"; fi
}

# Tests about time can fail on a machine that is busy with something else: what failed is run once
# more, alone, and said so. What fails twice has failed.
again() { # log command...: the log with the second results of the tests that failed
    local log=$1 names
    shift
    names=$(grep -a '^FAIL ' "$log" | awk '{print $2}')
    [ -n "$names" ] || return 1
    # shellcheck disable=SC2086
    "$@" $names >"$log.2" 2>&1 </dev/null
    local st=$?
    echo "# run again: $(echo $names)"
    { grep -av '^FAIL ' "$log"; cat "$log.2"; } >"$log.3"
    mv "$log.3" "$log"
    return $st
}
# cmocka's lines as ours: "[       OK ] name", "[  FAILED  ] name" (and the latter again in the summary).
unit_cmd() { # binary log [names]
    local bin=$1 log=$2 st
    shift 2
    limit 900 "$bin" "$@" >"$log" 2>&1
    st=$?
    awk '/^\[==========\].* run\.$/ { exit } /^\[       OK \]/ { print "ok", $4; next }
         /^\[  FAILED  \]/ { print "FAIL", $4; next } /^\[ RUN/ { last = $4; next } { print "#", $0 }
         END { if (last) print "# last begun:", last }' "$log"
    return $st
}
unit_run() { # name binary
    unit_cmd "$2" "$out/raw" >"$out/$1"
    local st=$?
    # A race is one also when the tests that it failed pass in a second run.
    grep -aA40 'WARNING: ThreadSan' "$out/raw" >"$out/races" && { bad "$1: a data race"; head -n 40 "$out/races"; }
    grep -aq '^FAIL ' "$out/$1" && { again "$out/$1" unit_cmd "$2" "$out/raw"; st=$?; }
    count "$1" "$out/$1" $st
    [ $st = 0 ] || grep -aE -A12 'ERROR: |WARNING: ThreadSan|runtime error|panic:' "$out/raw" | head -n 40
}
part_unit() { unit_run unit "$BUILD/unit"; }

# One build with ASan and UBSan for unit tests and fuzz harnesses, one with TSan.
san_build() { # sanitizers target
    local d=$BUILD-san-${1%%,*}
    if [ ! -f "$d/build.ninja" ]; then
        CC="${CC:-clang-19}" limit 300 meson setup "$d" -Dbuildtype=debug -Doptimization=1 -Db_sanitize="$1" \
            -Db_lundef=false -Dfuzz=$([ "$1" = thread ] && echo false || echo true) >"$out/san-build" 2>&1 ||
            { bad "meson setup with -fsanitize=$1"; tail -n 5 "$out/san-build"; return 1; }
    elif tools/sources.sh all | cmp -s - "$d/.sources"; then :
    else limit 300 meson setup --reconfigure "$d" >/dev/null 2>&1; fi
    tools/sources.sh all >"$d/.sources"
    limit 1500 ninja -C "$d" --quiet "$2" >"$out/san-build" 2>&1 && return 0
    bad "build with -fsanitize=$1"
    tail -n 15 "$out/san-build"
    return 1
}
part_sanitizers() {
    local s
    for s in address,undefined thread; do
        san_build $s unit && unit_run "unit-${s%%,*}" "$BUILD-san-${s%%,*}/unit"
    done
}

part_fuzz() { # replays every corpus through its harness
    local src name
    san_build address,undefined harnesses || return
    while IFS= read -r src; do
        name=$(basename "$src" _fuzz.c)
        if [ -z "$(ls -A "test/corpus/$name" 2>/dev/null)" ]; then bad "fuzz $name: no test/corpus/$name"
        elif limit 300 "$BUILD-san-address/fuzz-$name" -runs=0 "test/corpus/$name" >"$out/fuzz-$name" 2>&1; then ok
        else bad "fuzz corpus $name"; tail -n 15 "$out/fuzz-$name"; fi
    done < <(tools/sources.sh fuzz)
}

build_guest() { # compiles the guest programs
    local c n
    mkdir -p "$BUILD/guest"
    for c in test/guest/*.c; do
        n=$BUILD/guest/$(basename "$c" .c)
        [ "$n" -nt "$c" ] && [ "$n" -nt test/guest/gt.h ] && [ "$n" -nt test/guest/gtfs.h ] && continue
        limit 120 ${GUEST_CC:-cc} -O1 -g -w -pthread -Itest/guest "$c" -o "$n" -lrt -lutil || bad "compile $c"
    done
}
guest_host_cmd() { local t=$1 n=$2; shift 2; (cd "$t" && GT_DIR=$t GT_ALARM=120 limit 300 "$OLDPWD/$BUILD/guest/$n" "$@"); }
guest_on_host() { # name
    local t st
    t=$(mktemp -d /tmp/gt.XXXXXX)
    guest_host_cmd "$t" "$1" >"$out/g" 2>&1 </dev/null
    st=$?
    grep -aq '^FAIL ' "$out/g" && { again "$out/g" guest_host_cmd "$t" "$1"; st=$?; }
    count "guest/$1 on the host" "$out/g" $st
    rm -rf "$t"
}
guest_cmd() { local t=$1 n=$2 p=$3; shift 3; GT_DIR=$t GT_ALARM=120 limit 400 "$NACRE" --platform="$p" --systrap-fast="$FAST" do --cwd "$t" -- "$PWD/$BUILD/guest/$n" "$@"; }
guest_on() { # name platform
    local t st
    t=$(mktemp -d /tmp/gt.XXXXXX)
    guest_cmd "$t" "$1" "$2" >"$out/g" 2>&1 </dev/null
    st=$?
    grep -aq '^FAIL ' "$out/g" && { again "$out/g" guest_cmd "$t" "$1" "$2"; st=$?; }
    count "guest/$1 on $2" "$out/g" $st
    rm -rf "$t"
}
guest_names() { local c; for c in ${GUEST:-test/guest/*.c}; do basename "$c" .c; done; }
part_guest() {
    build_guest
    local p name
    for name in $(guest_names); do
        guest_on_host "$name"
        for p in $PLATFORMS; do guest_on "$name" "$p"; done
    done
    case " $FAST $PLATFORMS " in *" on "*systrap*) ;; *) return ;; esac
    for name in $(guest_names); do # what the stub answers must not differ from what the kernel says
        case " $FAST_PAIR " in *" $name "*) FAST=off guest_on "$name" systrap ;; esac
    done
}

# A script, once more if it failed, as above; what the first run said is shown and kept in the log.
script() { # name command...
    local name=$1 st
    shift
    "$@" >"$out/s" 2>&1 </dev/null
    st=$?
    if [ $st != 0 ] || grep -aq '^FAIL ' "$out/s"; then
        echo "# run again: $name (exit status $st)"
        grep -aB3 '^FAIL ' "$out/s" | grep -aE '^(#|FAIL)' | head -n 20 | sed 's/^/#   /'
        "$@" >"$out/s" 2>&1 </dev/null
        st=$?
    fi
    count "$name" "$out/s" $st
}
part_e2e() {
    local s p
    for s in ${E2E:-test/e2e/*.sh}; do
        s=test/e2e/$(basename "$s" .sh).sh
        for p in $PLATFORMS; do
            script "$(basename "$s" .sh) on $p" env NACRE="$NACRE" PLATFORM="$p" timeout -s KILL 900 bash "$s"
        done
    done
}
part_walls() {
    local s
    for s in test/walls/*.sh; do
        script "walls/$(basename "$s" .sh)" env NACRE="$NACRE" PLATFORMS="$PLATFORMS" timeout -s KILL 600 bash "$s"
    done
}

# The real engines: a script says "skip" where one cannot run. CLIENTS="docker podman" chooses.
part_clients() {
    local s
    for s in ${CLIENTS:-test/clients/*.sh}; do
        s=test/clients/$(basename "$s" .sh).sh
        script "clients/$(basename "$s" .sh)" env NACRE="$NACRE" PLATFORM=systrap timeout -s INT -k 60 600 bash "$s"
        grep -a '^skip ' "$out/s"
    done
}

# The build that is installed (ThinLTO, cfi-icall, traps, no debug checks): what it alone could break.
part_release() {
    if ! limit 1500 make release >"$out/release" 2>&1; then bad "make release"; tail -n 15 "$out/release"; return; fi
    unit_run unit-release build-release/unit
    local NACRE=$PWD/build-release/nacre PLATFORMS=systrap name
    build_guest
    for name in ${GUEST:-$FAST_PAIR mmap exec pipe epoll unix_stream overlay proc_self pty tmpfs}; do guest_on "$name" systrap; done
    E2E="${E2E:-cli lifecycle exec programs}" part_e2e
}

# What the parts before must not leave: processes, mounts, files in /tmp, state of containers.
part_leftovers() {
    local left i
    if [ "$INSIDE" != 1 ]; then echo "# leftovers: needs root and namespaces"; return; fi
    for i in 1 2 3 4 5 6 7 8 9 10; do # the last supervisor has ended, its children may be on their way
        left=$(ps -eo pid=,stat=,args= | awk -v me=$$ '$1 != 1 && $1 != me && $3 !~ /^(ps|awk)$/ && $0 !~ /tools\/test.sh/')
        [ -z "$left" ] && break
        sleep 0.5
    done
    if [ -z "$left" ]; then ok; else bad "processes left: $(head -n 3 <<<"$left" | tr '\n' '|')"; fi
    case $PWD/ in /tmp/*) return ;; esac # then /tmp is everybody's
    left=$(find /tmp -mindepth 1 -maxdepth 1 ! -path "$out" -printf '%f ')
    if [ -z "$left" ]; then ok; else bad "left in /tmp: ${left:0:300}"; fi
    left=$(awk '$5 ~ "^/tmp/" {printf "%s ", $5}' /proc/self/mountinfo)
    if [ -z "$left" ]; then ok; else bad "mounts left below /tmp: $left"; fi
    left=$(find /run/nacre -mindepth 1 -maxdepth 1 ! -name '.*' -newer "$out/started" -printf '%f ' 2>/dev/null)
    if [ -z "$left" ]; then ok; else bad "left in /run/nacre: $left"; fi
}
part_soak() { # what is too long for CI
    local i end=$((SECONDS + ${SOAK_SECONDS:-1800})) src name
    ROUNDS=${SOAK_KILLS:-200} E2E=kill part_e2e
    HIJACK_SECONDS=60 part_walls
    while IFS= read -r src; do
        name=$(basename "$src" _fuzz.c)
        mkdir -p "$out/found/$name"
        if san_build address,undefined harnesses && limit 200 "$BUILD-san-address/fuzz-$name" -max_total_time=60 "$out/found/$name" "test/corpus/$name" >"$out/fuzz-$name" 2>&1; then ok
        else bad "fuzzing $name"; tail -n 15 "$out/fuzz-$name"; fi
    done < <(tools/sources.sh fuzz)
    NACRE=$NACRE SOAK_CYCLES=${SOAK_CYCLES:-500} timeout -s INT -k 60 3600 bash test/clients/docker.sh cycles >"$out/c" 2>&1 </dev/null
    count "clients/docker cycles" "$out/c" $?
    ROUNDS=${SOAK_ROUNDS:-100} NACRE=$NACRE timeout -s INT -k 60 1800 bash test/clients/killed.sh >"$out/c" 2>&1 </dev/null
    count "clients/killed" "$out/c" $?
    while [ $SECONDS -lt $end ]; do part_guest; done
}

touch "$out/started"
for part in $PARTS; do
    start=$SECONDS before=$passed
    "part_$part"
    echo "== $part: $((passed - before)) passed, $((SECONDS - start)) s"
done
[ "$failed" = 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
