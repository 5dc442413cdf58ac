#!/bin/bash
# Kills each process of a sandbox at random moments of its life: nothing may be left (no process, no
# mount, no state), the command's status says what happened, and nothing hangs.
NACRE=${NACRE:?}
PLATFORM=${PLATFORM:-systrap}
ROUNDS=${ROUNDS:-$([ "${PLATFORM:-systrap}" = systrap ] && echo 34 || echo 6)} # for each kind of victim
status=0
state=$(mktemp -d /tmp/nacre-kill.XXXXXX)
trap '[ $BASHPID = $$ ] && rm -rf "$state"' EXIT
mounts() { wc -l </proc/self/mountinfo; }
mounts_before=$(mounts)

# Descendants of $1 that are not zombies.
tree() {
    local p
    for p in $(pgrep -P "$1" 2>/dev/null); do
        grep -q '^State:.[^Z]' "/proc/$p/status" 2>/dev/null && echo "$p"
        tree "$p"
    done
}
# Pids still there (zombies are dead) after at most 5 s.
left() {
    local p gone
    for _ in $(seq 100); do
        gone=1
        for p in "$@"; do
            grep -q '^State:.[^Z]' "/proc/$p/status" 2>/dev/null &&
                tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q 'nacre\|^$' && gone=0
        done
        [ $gone = 1 ] && return 1
        sleep 0.05
    done
    return 0
}
load='i=0; while :; do /bin/true; (echo x >/tmp/f; cat /tmp/f) | cat >/dev/null; sleep 0.01; done'

round() { # victim: supervisor gofer sentry stub; milliseconds
    local s t victim=$1 pids v st
    "$NACRE" --platform="$PLATFORM" do -- /bin/sh -c "$load" >/dev/null 2>"$state/err" </dev/null &
    s=$!
    sleep "0.$(printf %03d "$2")"
    pids="$s $(tree $s)"
    case $victim in
    supervisor) v=$s ;;
    gofer) v=$(pgrep -P $s -f 'nacre gofer') ;;
    sentry) v=$(pgrep -P $s -f 'nacre boot') ;;
    sentry-thread) v=$(pgrep -P $s -f 'nacre boot'); v=$(ls "/proc/$v/task" 2>/dev/null | tail -n 1) ;;
    stub) v=$(pgrep -P "$(pgrep -P $s -f 'nacre boot' || echo 1000000)" | shuf -n 1) ;;
    term) v= ;;
    esac
    if [ "$victim" = term ]; then kill -TERM $s; else [ -n "$v" ] && kill -9 "$v" 2>/dev/null; fi
    if [ "$victim" = stub ]; then # one guest process dies; the shell goes on or was it
        sleep 0.1
        kill -TERM $s 2>/dev/null
    elif [ -z "$v" ] && [ "$victim" != term ]; then # too early: not there yet
        kill -TERM $s 2>/dev/null
    fi
    rm -f "$state/hung"
    ( sleep 20; touch "$state/hung"; kill -9 $s 2>/dev/null ) & t=$!
    wait $s 2>/dev/null
    st=$?
    { kill $t && wait $t; } 2>/dev/null
    pids="$pids $(tree $s)"
    # shellcheck disable=SC2086
    if left $pids; then
        echo "# $victim at $2 ms: still there: $(for v in $pids; do [ -d /proc/$v ] && echo "$v:$(tr '\0' ' ' </proc/$v/cmdline)"; done)"
        return 1
    fi
    if [ $st = 0 ]; then echo "# $victim at $2 ms: status 0"; return 1; fi
    if [ -e "$state/hung" ]; then echo "# $victim at $2 ms: hung"; return 1; fi
    case $victim in gofer | sentry*) [ -z "$v" ] || grep -q 'killed\|ended' "$state/err" ||
        { echo "# $victim at $2 ms: status $st without a word"; return 1; } ;; esac
}
for victim in supervisor gofer sentry sentry-thread stub term; do
    bad=0
    for i in $(seq "$ROUNDS"); do round $victim $((i * i * 5 + RANDOM % 10)) || bad=1; done
    if [ $bad = 0 ]; then echo "ok kill-$victim"; else echo "FAIL kill-$victim"; status=1; fi
done

# The state directory: held while it runs, gone afterwards, taken over when its owner was killed.
b=$state/bundle
mkdir -p "$b/rootfs/bin"
cp "$(command -v busybox)" "$b/rootfs/bin/sh"
(cd "$b" && "$NACRE" spec && sed -i "/\"terminal\"/s/true/false/" config.json) && sed -i 's/\["sh"\]/["sh","-c","while :; do sleep 1; done"]/' "$b/config.json"
N="$NACRE --platform=$PLATFORM --root $state/s"
$N run --bundle "$b" k >/dev/null 2>&1 </dev/null &
s=$!
for i in $(seq 600); do [ -e "$state/s/k/state.json" ] && break; sleep 0.05; done
if $N run --bundle "$b" k 2>&1 </dev/null | grep -q 'already exists'; then echo "ok id-in-use"; else echo "FAIL id-in-use"; status=1; fi
kill -9 $s
wait $s 2>/dev/null
sed -i 's/while :; do sleep 1; done/exit 5/' "$b/config.json"
$N run --bundle "$b" k >/dev/null 2>&1 </dev/null
st=$?
if [ $st = 5 ] && [ -z "$(ls "$state/s")" ]; then echo "ok stale-state-taken-over"; else echo "# status $st, left: $(ls "$state/s")"; echo "FAIL stale-state-taken-over"; status=1; fi
if [ "$(mounts)" = "$mounts_before" ]; then echo "ok no-mount-left"; else echo "FAIL no-mount-left"; status=1; fi
exit $status
