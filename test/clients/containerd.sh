#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# containerd's runc shim (io.containerd.runc.v2) with BinaryName nacre, driven by ctr.
. "$(dirname "$0")/lib.sh.inc"
command -v containerd >/dev/null && command -v ctr >/dev/null || skip "containerd is not installed"
command -v python3 >/dev/null || skip "python3 is not installed"
cat >"$T/config.toml" <<J
version = 2
root = "$T/data"
state = "$T/exec"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$T/c.sock"
J
export CONTAINERD_ADDRESS=$T/c.sock CONTAINERD_NAMESPACE=$CG
printf '#!/bin/sh\nexec %s --platform=%s "$@"\n' "$NACRE" "$PLATFORM" >"$T/nacre"
[ "${RUNTIME:-nacre}" = nacre ] || ln -sf "$(command -v "$RUNTIME")" "$T/nacre"
[ -L "$T/nacre" ] || chmod 755 "$T/nacre"
C() { timeout -s KILL 60 ctr "$@"; }
engine_start() {
    containerd -c "$T/config.toml" >>"$T/containerd.log" 2>&1 </dev/null &
    engine_pids=($!)
    until_ok 20 ctr version || { tail -n 5 "$T/containerd.log" | sed 's/^/# /'; skip "containerd does not start here"; }
}
cleanup() {
    local c
    for c in $(C task ls -q); do C task kill -s KILL "$c"; done
    for c in $(C container ls -q); do C task rm -f "$c"; C container rm "$c"; done
}
state_files() { find "$T/run" /run/nacre -mindepth 1 ! -name "$CG" ! -name .ids 2>/dev/null; }
run() { # ctr run flags... -- ID command...
    local f=()
    while [ "$1" != -- ]; do f+=("$1"); shift; done
    shift
    C run --runtime io.containerd.runc.v2 --runc-binary "$T/nacre" --runc-root "$T/run" "${f[@]}" local/bb:1 "$@"
}
task() { C task ls | awk -v c="$1" '$1 == c {print $3}'; }
engine_start
image_tar >"$T/layer.tar"
image_oci "$T/layer.tar" >"$T/image.tar"
C image import "$T/image.tar" >/dev/null || skip "no image"
snapshot begin

part_run() {
    is run hello "$(run --rm -- r1 echo hello </dev/null)"
    local s
    for s in 0 1 42 255; do run --rm -- r2 sh -c "exit $s" </dev/null; is "exit-$s" $s $?; done
    run --rm -- r3 /nope </dev/null 2>"$T/e"; is not-found 1 $?
    like not-found-text 'no such file or directory' "$(cat "$T/e")"
    run --rm -- r3 nope </dev/null 2>"$T/e"; like not-found-path 'executable file not found in \$PATH' "$(cat "$T/e")"
    is large 3000000 "$(run --rm -- r5 head -c 3000000 /dev/zero </dev/null | wc -c)"
    is env v "$(run --rm --env K=v -- r6 sh -c 'echo $K' </dev/null)"
    is cwd /tmp "$(run --rm --cwd /tmp -- r7 pwd </dev/null)"
    echo host >"$T/file"
    is mount host "$(run --rm --mount "type=bind,src=$T,dst=/mnt,options=rbind:ro" -- r9 cat /mnt/file </dev/null)"
    run --rm --read-only -- ra sh -c 'echo x >/f' </dev/null 2>/dev/null; is read-only 1 $?
    is seccomp 2 "$(run --rm --seccomp -- rb awk '/^Seccomp:/ {print $2}' /proc/self/status </dev/null)"
    is memory 65536 "$(run --rm --memory-limit 67108864 -- rc awk '/^MemTotal/ {print $2}' /proc/meminfo </dev/null)"
    is net-host lo "$(run --rm --net-host -- rd ls /sys/class/net </dev/null)"
}
part_task() {
    run -d -- ta sh -c 'trap "exit 7" TERM; while :; do sleep 0.1; done'; is detached RUNNING "$(task ta)"
    is exec in "$(C task exec --exec-id e1 ta echo in </dev/null)"
    C task exec --exec-id e2 ta sh -c 'exit 9' </dev/null; is exec-status 9 $?
    is exec-stdin 4 "$(printf four | C task exec --exec-id e3 ta wc -c)"
    C task pause ta; is pause PAUSED "$(task ta)"
    C task resume ta; is resume RUNNING "$(task ta)"
    C task ps ta >"$T/ps"; is ps 0 $?
    C task kill -s TERM ta; until_is STOPPED "task ta"; is kill STOPPED "$(task ta)"
    like task-status 'code 7' "$(C task rm ta 2>&1)"
    C container rm ta; is container-rm 0 $?
    run -d -- tb sleep 100; C task rm -f tb; is rm-force "" "$(task tb)"; C container rm tb
}
part_more() {
    is cap-drop 00000000a80425fa "$(run --rm --cap-drop CAP_CHOWN -- m2 awk '/^CapEff/ {print $2}' /proc/self/status </dev/null)"
    is privileged 0 "$(run --rm --privileged -- m3 sh -c 'mount -t tmpfs t /tmp && echo 0' </dev/null)"
    is tmpfs "x 1024" "$(run --rm --mount type=tmpfs,dst=/t,options=size=1m -- m4 sh -c 'mkdir -p /t; echo x >/t/f; echo $(cat /t/f) $(df -k /t | awk "NR == 2 {print \$2}")' </dev/null)"
    is cpus 1 "$(run --rm --cpus 1 -- m5 nproc </dev/null)"
    printf 'A=1\nB=two words\n' >"$T/env"
    is env-file "1 two words" "$(run --rm --env-file "$T/env" -- m6 sh -c 'echo $A $B' </dev/null)"
    is label v "$(C container create --label k=v --runtime io.containerd.runc.v2 local/bb:1 ml true; C container info ml | sed -n 's/.*"k": "\(.*\)".*/\1/p' | head -n 1)"; C container rm ml
    run -d --pid-file "$T/pid" -- mt sh -c 'trap "exit 7" TERM; while :; do sleep 0.05; done'
    is pid-file "$(C task ls | awk '$1 == "mt" {print $2}')" "$(cat "$T/pid")"
    like metrics 'memory' "$(C task metrics mt)"
    like metrics-pids 'pids.current *[1-9]' "$(C task metrics mt)"
    C task exec --exec-id k mt sh -c 'kill -9 $$; sleep 5' </dev/null; is exec-137 137 $?
    C task checkpoint mt >"$T/o" 2>&1; is checkpoint-fails 1 $?; like checkpoint-text 'checkpoint' "$(cat "$T/o")"
    C task kill --all -s KILL mt; until_is STOPPED "task mt"; like kill-all 'code 137' "$(C task rm mt 2>&1)"; C container rm mt
}
part_many() {
    local i n=${CLIENTS_MANY:-50}
    for i in $(seq "$n"); do run -d -- "n$i" sleep 1000 2>"$T/many.$i" & [ $((i % 10)) = 0 ] && wait $(jobs -p | grep -v "^${engine_pids[0]}$"); done
    is "many-$n" "$n" "$(C task ls | grep -c RUNNING)"
    for i in $(seq "$n"); do { C task rm -f "n$i" && C container rm "n$i"; } >/dev/null 2>&1; done
    is many-gone 0 "$(C container ls -q | wc -l)"
}
part_tty() {
    local o
    o=$(pty expect:'# ' send:'tty; stty size\r' expect:'24 80' size:33x77 sleep:0.5 send:'stty size\r' expect:'33 77' send:'exit 4\r' eof -- \
        ctr run --rm -t --runtime io.containerd.runc.v2 --runc-binary "$T/nacre" --runc-root "$T/run" local/bb:1 tc sh); is tty 4 $?
    like tty-name '^/dev/pts/0$' "$o"
    run -d -- td sleep 100
    o=$(pty expect:'# ' send:'sleep 100\r' sleep:0.5 send:'\x03' expect:'# ' send:'echo still $?\r' expect:'130' send:'exit 5\r' eof -- ctr task exec -t --exec-id e1 td sh); is exec-tty 5 $?
    C task rm -f td; C container rm td
}
part_restart() { # the engine is killed and comes back
    run -d -- tr sleep 1000
    kill -KILL "${engine_pids[0]}"; wait "${engine_pids[0]}" 2>/dev/null
    engine_start
    is restart-running RUNNING "$(task tr)"
    is restart-exec in "$(C task exec --exec-id e1 tr echo in </dev/null)"
    C task rm -f tr; C container rm tr
}
for part in ${*:-run task more tty restart many}; do "part_$part"; done
leak_check containerd
