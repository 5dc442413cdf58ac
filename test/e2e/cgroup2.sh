#!/bin/bash
# cgroup v2 under systemd: scopes and their properties, limits that a reload must not take back, pressure
# and OOM, nothing left behind; and a user's own manager. Runs where systemd is process 1 and all
# controllers are on v2; elsewhere it says so. (test/e2e/cgroup.sh has what needs no systemd.)
NACRE=$(realpath "${NACRE:?}") || exit 1
PLATFORM=${PLATFORM:-systrap}
status=0
skip() { echo "# skipped: $1"; exit 0; }
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && grep -qw memory /sys/fs/cgroup/cgroup.controllers || skip "no cgroup v2 with controllers"
[ -d /run/systemd/system ] && timeout 30 systemctl show -p Version >/dev/null 2>&1 || skip "systemd does not run this host"
[ "$(id -u)" = 0 ] || skip "needs root"
[ -x /bin/busybox ] || skip "no busybox"
t=$(mktemp -d /tmp/nacre-cg2.XXXXXX)
name=e2e${t##*.}
chmod 755 "$t"
LIMIT=${LIMIT:-120}
N() { timeout -s KILL "$LIMIT" "$NACRE" --platform="$PLATFORM" --root "$t/state" --systemd-cgroup "$@" </dev/null; }
units() { systemctl list-units --all --plain --no-legend "nt-$name*" | awk '{print $1}'; }
groups() { find /sys/fs/cgroup -type d -name "nt-$name*" 2>/dev/null; }
left() { # what is there of units and groups when systemd has had its time
    local i
    for i in $(seq 100); do [ -z "$(units)$(groups)" ] && break; sleep 0.1; done
    echo $(units) $(groups)
}
finish() {
    local id
    for id in $(N list -q 2>/dev/null); do N delete --force "$id" 2>/dev/null; done
    systemctl stop $(units) 2>/dev/null
    rm -rf "$t"
}
trap '[ $BASHPID = $$ ] && finish' EXIT
is() { if [ "$2" = "$3" ]; then echo "ok $1"; else echo "# is \"$(printf %s "$3" | tr '\n' '|')\", should be \"$2\""; echo "FAIL $1"; status=1; fi; }
yes() { local n=$1; shift; if "$@" >"$t/log" 2>&1; then echo "ok $n"; else echo "# $(tail -n 2 "$t/log" | tr '\n' '|')"; echo "FAIL $n"; status=1; fi; }
bundle() { # folder resources unit-name args...
    local d=$1 a
    mkdir -p "$d/rootfs/bin"
    cp /bin/busybox "$d/rootfs/bin/"
    for a in sh cat sleep nproc head dd; do ln -sf busybox "$d/rootfs/bin/$a"; done
    rm -f "$d/config.json"
    (cd "$d" && "$NACRE" spec)
    python3 - "$@" <<'P'
import json, sys
p = sys.argv[1] + '/config.json'; c = json.load(open(p)); c['process']['terminal'] = False
c['process']['args'] = sys.argv[4:]; c['linux']['resources'] = json.loads(sys.argv[2])
c['linux']['cgroupsPath'] = sys.argv[3]; json.dump(c, open(p, "w"))
P
}
S=/sys/fs/cgroup/system.slice/nt-$name.scope
show() { (cd "$S" && grep -H . memory.max memory.high memory.low memory.min memory.swap.max cpu.max cpu.weight pids.max cpuset.cpus cpuset.mems io.weight 2>/dev/null); }
prop() { systemctl show -p "$1" --value "nt-$name.scope"; }
reload() { timeout 120 systemctl daemon-reload; }

# --- a scope with all that systemd knows, and what it does not ---
bundle "$t/b" '{"memory":{"limit":134217728,"reservation":67108864,"swap":201326592},
    "cpu":{"quota":75000,"period":50000,"shares":512,"cpus":"0","mems":"0"},"pids":{"limit":40},
    "unified":{"memory.high":"99999744","memory.min":"1048576"}}' "system.slice:nt:$name" sleep 1000
yes create N create --bundle "$t/b" --pid-file "$t/pid" c1
is files "memory.max:134217728
memory.high:99999744
memory.low:67108864
memory.min:1048576
memory.swap.max:67108864
cpu.max:75000 50000
cpu.weight:20
pids.max:208
cpuset.cpus:0
cpuset.mems:0" "$(show | grep -v io.weight)"
yes start N start c1
is unit-active active "$(prop ActiveState)"
is unit-group "/system.slice/nt-$name.scope" "$(prop ControlGroup)"
yes unit-has-supervisor grep -qx "$(cat "$t/pid")" "$S/cgroup.procs"
for f in $(cat "/proc/$(cat "$t/pid")/task/$(cat "$t/pid")/children"); do yes unit-has-child grep -qx "$f" "$S/nacre/cgroup.procs"; done
show >"$t/before"
yes reload reload
is reload-keeps "" "$(show | diff "$t/before" -)"
is told "134217728 99999744 1048576 75000 50000 0 1" "$(N exec c1 sh -c 'cd /sys/fs/cgroup; echo $(cat memory.max memory.high memory.min cpu.max cpuset.cpus.effective; nproc)')"

# --- update reaches both ---
yes update N update --memory 200m --memory-swap 300m --cpu-quota 40000 --pids-limit 50 c1
is update-files "209715200 104857600 40000 50000 228" "$(echo $(cat "$S"/{memory.max,memory.swap.max,cpu.max,pids.max}))"
is update-properties "209715200 104857600 800ms 228" "$(echo $(prop MemoryMax; prop MemorySwapMax; prop CPUQuotaPerSecUSec; prop TasksMax))"
show >"$t/before"
reload
is update-reload-keeps "" "$(show | diff "$t/before" -)"

# --- pause: what is inside stands, the supervisor answers ---
yes pause N pause c1
is pause-frozen 1 "$(grep -c 'frozen 1' "$S/nacre/cgroup.events")"
is pause-state paused "$(N state c1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["status"])')"
yes resume N resume c1
is resumed 0 "$(grep -c 'frozen 1' "$S/nacre/cgroup.events")"
N events --stats c1 >"$t/stats"
is stats "209715200 228" "$(python3 -c 'import json,sys; d=json.load(open(sys.argv[1]))["data"]; print(d["memory"]["usage"]["limit"], d["pids"]["limit"])' "$t/stats")"
yes delete N delete --force c1
is delete-leaves-nothing "" "$(left)"

# --- out of memory: told, and no failed unit stays ---
bundle "$t/b" '{"memory":{"limit":33554432,"swap":33554432}}' "system.slice:nt:$name" dd if=/dev/zero of=/dev/null bs=200M count=1
N create --bundle "$t/b" c2
(timeout -s KILL "$LIMIT" "$NACRE" --root "$t/state" events --interval 1s c2 >"$t/events" 2>/dev/null) & ev=$!
for i in $(seq 100); do [ -s "$t/events" ] && break; sleep 0.1; done
N start c2
is oom-status 137 "$(N wait c2)"
wait $ev
is oom-event '{"type":"oom","id":"c2"}' "$(grep '"oom","id"' "$t/events" | sort -u)"
yes oom-delete N delete c2
is oom-leaves-nothing "" "$(left)"

# --- whoever is killed ---
bundle "$t/b" '{"pids":{"limit":40}}' "system.slice:nt:$name" sleep 1000
N create --bundle "$t/b" --pid-file "$t/pid" c3
kill -9 "$(cat "$t/pid")"
is kill9-supervisor "" "$(left)"
yes kill9-delete N delete --force c3
for d in 0.02 0.05 0.1 0.2 0.4 0.8 1.6; do # the command, at any time
    timeout -s KILL $d "$NACRE" --root "$t/state" --systemd-cgroup create --bundle "$t/b" c4 </dev/null >/dev/null 2>&1
    N delete --force c4 >/dev/null 2>&1
    is "kill9-create-$d" "" "$(left)"
done
N run --bundle "$t/b" c5 >/dev/null 2>&1 &
for i in $(seq 200); do [ "$(N state c5 2>/dev/null | grep -c running)" = 1 ] && break; sleep 0.1; done
kill -9 "$(N state c5 | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')"
wait $! 2>/dev/null
is kill9-foreground "" "$(left)"

# --- a path that is none, and none at all ---
bundle "$t/b" '{"pids":{"limit":40}}' "/a/b" sleep 1000
is refused 1 "$(N create --bundle "$t/b" c6 2>"$t/err"; echo $?)"
yes refused-named grep -q 'slice:prefix:name' "$t/err"

# --- a user's own systemd ---
user=${SUDO_USER:-}
for d in /run/user/[1-9]*; do [ -S "$d/bus" ] && user=$(id -nu "${d##*/}" 2>/dev/null) && break; done
if [ -z "$user" ] || [ ! -S "/run/user/$(id -u "$user")/bus" ]; then echo "# user's manager: nobody has one here"; exit $status; fi
uid=$(id -u "$user")
as() { (cd "$t/u" && setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups env HOME="$t/u" XDG_RUNTIME_DIR="/run/user/$uid" PATH="$PATH" timeout -s KILL "$LIMIT" "$@" </dev/null); }
U() { as "$t/nacre" --platform="$PLATFORM" --root "$t/u/state" --systemd-cgroup "$@"; }
install -m 755 "$NACRE" "$t/nacre"
mkdir "$t/u"
bundle "$t/u/b" '{"memory":{"limit":134217728},"pids":{"limit":40}}' "user.slice:nt:$name" sh -c 'cat /sys/fs/cgroup/memory.max; head -n 1 /proc/meminfo'
chown -R "$user" "$t/u"
is user-run "134217728
MemTotal:         131072 kB" "$(U run --bundle "$t/u/b" u1 2>&1)"
python3 -c 'import json,sys; p=sys.argv[1]; c=json.load(open(p)); c["process"]["args"]=["sleep","1000"]; json.dump(c,open(p,"w"))' "$t/u/b/config.json"
is user-create 0 "$(U create --bundle "$t/u/b" u2 >/dev/null 2>"$t/err"; echo $?)"
S=$(groups)
is user-group "/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service/user.slice/nt-$name.scope" "$S"
yes user-update U update --memory 64m u2
is user-update-file 67108864 "$(cat "$S/memory.max")"
as systemctl --user daemon-reload
is user-reload-keeps 67108864 "$(cat "$S/memory.max")"
yes user-delete U delete --force u2
is user-leaves-nothing "" "$(left)"
exit $status
