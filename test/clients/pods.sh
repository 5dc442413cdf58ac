#!/bin/bash
# Pods through containerd: its standard runc shim (runc.v2, one for all containers of a pod, as the
# sandbox-id annotation says) with nacre as the binary; configurations as its CRI plugin writes them.
. "$(dirname "$0")/lib.sh.inc"
for c in containerd ctr containerd-shim-runc-v2 busybox; do command -v $c >/dev/null || skip "needs $c"; done
image_tar >/dev/null
cat >"$T/config.toml" <<C
version = 2
root = "$T/root"
state = "$T/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$T/run/cd.sock"
C
containerd --config "$T/config.toml" >"$T/containerd.log" 2>&1 &
engine_pids+=($!)
C() { timeout -s KILL 60 ctr -a "$T/run/cd.sock" "$@" </dev/null; }
until_ok 30 C version || { tail -n 5 "$T/containerd.log"; skip "containerd does not start"; }
state_files() { ls "/run/containerd/runc/default" 2>/dev/null; }

config() { # NAME SCRIPT PYTHON
    local b=$T/b-$1
    mkdir -p "$b"
    rm -f "$b/config.json"
    cp -a "$T/img" "$b/rootfs" 2>/dev/null
    echo "$1" >"$b/rootfs/name"
    (cd "$b" && "$NACRE" spec)
    python3 - "$b" "$2" "$3" <<'P'
import json, sys
p = sys.argv[1] + '/config.json'; c = json.load(open(p)); c['process']['terminal'] = False
c['root']['path'] = sys.argv[1] + '/rootfs'
c['process']['args'] = ['sh', '-c', sys.argv[2]]
def kind(k): c['annotations'] = {'io.kubernetes.cri.container-type': k, 'io.kubernetes.cri.sandbox-id': 'pod'}
def share(pid, **own): c['linux']['namespaces'] = [dict(type=t, path=f'/proc/{pid}/ns/{f}') for t, f in (('network', 'net'), ('ipc', 'ipc'), ('uts', 'uts'))] + [{'type': 'mount'}] + ([{'type': 'pid'}] if own.get('own', True) else [])
exec(sys.argv[3]); json.dump(c, open(p, 'w'))
P
}
run() { C run -d --runc-binary "$NACRE" --config "$T/b-$1/config.json" "$1"; }
member() { config "$1" "$2" "kind('container'); share($(pid pod)); ${3:-}" && run "$1"; }
pid() { C task ls | awk -v n="$1" '$1 == n {print $2}'; }
st() { C task ls | awk -v n="$1" '$1 == n {print $3}'; }
ex() { local n=$1; shift; C task exec --exec-id "x$RANDOM$RANDOM" "$n" "$@"; }
rm_status() { C task rm "$1" 2>&1 | sed -n 's/.*exit code \([0-9]*\).*/\1/p' | grep . || echo 0; } # its exit status
sentry() { local p; for p in $(cat "/proc/$(pid pod)/task/$(pid pod)/children"); do grep -qa boot "/proc/$p/cmdline" && echo "$p"; done; }
children() { local p=$(pid "$1"); wc -w <"/proc/$p/task/$p/children"; }
shims() { pgrep -f "containerd-shim-runc-v2.*$T/run/cd.sock" | wc -l; }
snapshot begin
loop='trap "exit 7" TERM; while :; do sleep 0.05; done'

config pod 'trap "exit 0" TERM; while :; do sleep 0.05; done' "kind('sandbox'); c['hostname']='podhost'"
run pod 2>"$T/err"; is sandbox "0 RUNNING" "$? $(st pod)"
[ "$(st pod)" = RUNNING ] || cat "$T/err"
member a "$loop" 2>"$T/err"; is join "0 RUNNING" "$? $(st a)"
member b "$loop" 2>"$T/err"; is join-2 "0 RUNNING" "$? $(st b)"
is one-shim 1 "$(shims)"
is one-sentry "2 1 1" "$(children pod) $(children a) $(children b)"
is exec-each "pod a b" "$(echo $(ex pod cat /name) $(ex a cat /name) $(ex b cat /name))"
is hostname podhost "$(ex b hostname)"
is own-pids 1 "$(ex a sh -c 'cat /proc/1/cmdline' | grep -c 'exit 7')"
ex a sh -c 'exit 5'; is exec-status 5 $?
C task pause a; is pause "PAUSED RUNNING" "$(st a) $(st b)"
C task resume a; is resume "RUNNING" "$(st a)"
C task kill -s TERM a; until_is STOPPED 'st a'; is killed "STOPPED RUNNING RUNNING" "$(st a) $(st b) $(st pod)"
is exit-status 7 "$(rm_status a)"
C c rm a
member a "$loop"; is restart RUNNING "$(st a)"
C task rm -f a >/dev/null 2>&1; C c rm a; is force "RUNNING RUNNING" "$(st b) $(st pod)"
for i in 1 2 3 4 5; do member r "exit $i" && until_is STOPPED 'st r'; rm_status r >>"$T/restarts"; C c rm r; done
is restarts "1 2 3 4 5" "$(echo $(cat "$T/restarts"))"
config s "$loop" "kind('container'); share($(pid pod), own=False)"; run s; is shared-pid 1 "$(ex s sh -c 'cat /proc/1/cmdline' | grep -c 'exit 0')"
C task kill -s KILL s; until_is STOPPED 'st s'; is shared-pid-status 137 "$(rm_status s)"
C c rm s
member g "$loop"; kill -9 "$(cat "/proc/$(pid g)/task/$(pid g)/children")"; until_is STOPPED 'st g'; is gofer-killed "STOPPED RUNNING" "$(st g) $(st b)"
C task rm g >/dev/null 2>&1; C c rm g

# As the kubelet ends a pod, and as one that dies: every container is reported.
C task kill -s KILL b; until_is STOPPED 'st b'; is end-member 137 "$(rm_status b)"
C task kill -s TERM pod; until_is STOPPED 'st pod'; is end-sandbox 0 "$(rm_status pod)"
C c rm b pod
until_is 0 shims; is shim-ends 0 "$(shims)"
run pod; member a "$loop"; member b "$loop"
kill -9 "$(sentry)"; for c in pod a b; do until_is STOPPED "st $c"; done
is sentry-killed "STOPPED STOPPED STOPPED" "$(st pod) $(st a) $(st b)"
for c in a b pod; do rm_status "$c" >>"$T/killed"; C c rm "$c"; done
is sentry-killed-status "137 137 137" "$(echo $(cat "$T/killed"))"
leak_check pods
exit $status
