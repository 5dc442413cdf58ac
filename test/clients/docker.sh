#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dockerd starts nacre where it starts runc.
. "$(dirname "$0")/lib.sh.inc"
. "$HERE/docker.sh.inc"
daemon_json
cleanup() { docker_cleanup; }
state_files() { docker_state_files; }
docker_start || skip "dockerd does not start here"
image_tar | $DOCKER import -c 'CMD ["sh"]' - bb >/dev/null || skip "no image"
D run --rm bb true
D run --rm --network host bb true
snapshot begin

part_run() {
    is run hello "$(R bb echo hello)"
    local s
    for s in 0 1 3 255; do R bb sh -c "exit $s"; is "exit-$s" $s $?; done
    R bb /nope 2>/dev/null; is exit-127 127 $?
    R bb nope 2>/dev/null; is exit-127-path 127 $?
    R bb /etc/passwd 2>/dev/null; is exit-126 126 $?
    R bb sh -c 'kill -9 $$; sleep 1; exit 5'; is init-survives-itself 5 $?
    R --init bb sh -c 'kill -9 $$'; is exit-137 137 $?
    R --init bb sh -c 'kill -15 $$'; is exit-143 143 $?
    is stdin 5 "$(printf hello | timeout 60 $DOCKER run --rm -i bb wc -c)"
    is stdin-large 3000000 "$(head -c 3000000 /dev/zero | timeout 60 $DOCKER run --rm -i bb wc -c)"
    is output-large 3000000 "$(R bb head -c 3000000 /dev/zero | wc -c)"
    is stdin-early-end done "$(yes | timeout 60 $DOCKER run --rm -i bb sh -c 'read x; echo done')"
    is both-streams "out err" "$(R bb sh -c 'echo out; echo err >&2' 2>"$T/e") $(cat "$T/e")"
    is last-words 20000 "$(R bb sh -c 'i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done' | wc -l)"
}
part_flags() {
    is hostname box "$(R --hostname box bb hostname)"
    is hosts 1 "$(R --hostname box bb grep -c box /etc/hosts)"
    is etc-hostname box "$(R --hostname box bb cat /etc/hostname)"
    R bb cat /etc/resolv.conf >/dev/null; is resolv-conf 0 $?
    is user "1000 1000 1000" "$(R --user 1000:1000 bb sh -c 'echo $(id -u) $(id -g) $(stat -Lc %u /proc/self)')"
    is user-name "1000 1000 2000" "$(R --user user bb sh -c 'echo $(id -u) $(id -G)')"
    is env v "$(R -e K=v bb sh -c 'echo $K')"
    is workdir /new/dir "$(R -w /new/dir bb pwd)"
    R --read-only bb sh -c 'echo x >/f' 2>/dev/null; is read-only 1 $?
    is read-only-tmpfs x "$(R --read-only --tmpfs /t:size=1m bb sh -c 'echo x >/t/f; cat /t/f')"
    R --tmpfs /t:size=1m bb sh -c 'dd if=/dev/zero of=/t/f bs=1M count=2' >/dev/null 2>&1; is tmpfs-size 1 $?
    mkdir -p "$T/vol"; echo in >"$T/vol/a"
    is volume "in out" "$(R -v "$T/vol:/v" bb sh -c 'cat /v/a; echo out >/v/b' | tr '\n' ' ')$(cat "$T/vol/b")"
    R -v "$T/vol:/v:ro" bb sh -c 'echo x >/v/c' 2>/dev/null; is volume-ro "1 no" "$? $([ -e "$T/vol/c" ] && echo yes || echo no)"
    is volume-file in "$(R -v "$T/vol/a:/etc/one" bb cat /etc/one)"
    is volume-named kept "$(R -v vol1:/v bb sh -c 'echo kept >/v/f'; R -v vol1:/v bb cat /v/f)"
    D volume rm vol1 >/dev/null
    is cap-drop 0000000000000000 "$(R --cap-drop ALL bb awk '/^CapEff/ {print $2}' /proc/self/status)"
    is cap-default 00000000a80425fb "$(R bb awk '/^CapEff/ {print $2}' /proc/self/status)"
    R --cap-drop CHOWN bb chown 1 /tmp 2>/dev/null; is cap-drop-chown 1 $?
    is no-new-privs 1 "$(R --security-opt no-new-privileges bb awk '/^NoNewPrivs/ {print $2}' /proc/self/status)"
    R bb unshare -U true 2>/dev/null; is seccomp-forbids 1 $?
    is masked "0" "$(R bb sh -c 'cat /proc/kcore /proc/keys 2>/dev/null | wc -c')"
    R bb sh -c 'echo 1 >/proc/sys/kernel/domainname' 2>/dev/null; is readonly-path 1 $?
    is init "docker-init" "$(R --init bb sh -c 'basename $(readlink /proc/1/exe)')"
    is ulimit 77 "$(R --ulimit nofile=77 bb sh -c 'ulimit -n')"
    is shm-size 1024 "$(R --shm-size 1m bb df -k /dev/shm | awk 'NR == 2 {print $2}')"
    is network-none lo "$(R --network none bb ls /sys/class/net)"
    is network-default lo "$(R bb ls /sys/class/net)"
    is network-host lo "$(R --network host bb ls /sys/class/net)"
    like memory 'MemTotal: *65536 kB' "$(R --memory 64m bb grep MemTotal /proc/meminfo)"
    is cpus 1 "$(R --cpus 1 bb nproc)"
    R --pids-limit 10 bb sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 2 & done; wait' >/dev/null 2>&1; [ $? != 0 ]; is pids-limit 0 $?
    is privileged 0 "$(R --privileged bb true; echo $?)"
}
part_life() {
    D run -d --name ca bb sh -c 'trap "echo got; exit 7" TERM; echo begun; while :; do sleep 0.1; done' >/dev/null
    until_is begun "D logs ca"
    is logs begun "$(D logs ca)"
    is state-running "running 0 false" "$(state ca)"
    is exec in "$(D exec ca echo in)"
    is exec-init-env "/tmp 1000 v" "$(D exec -w /tmp -u 1000 -e K=v ca sh -c 'echo $PWD $(id -u) $K')"
    D exec ca sh -c 'exit 9'; is exec-status 9 $?
    D exec ca nope 2>/dev/null >&2; is exec-not-found 126 $?
    D exec ca /etc/passwd 2>/dev/null >&2; is exec-126 126 $?
    is exec-stdin 4 "$(printf four | timeout 60 $DOCKER exec -i ca wc -c)"
    D exec -d ca sh -c 'echo detached >/tmp/d'; until_is detached "D exec ca cat /tmp/d"; is exec-detached 0 $?
    D pause ca >/dev/null; is pause "paused 0 false" "$(state ca)"
    D exec ca true 2>/dev/null; is exec-paused 1 $?
    D unpause ca >/dev/null; is unpause "running 0 false" "$(state ca)"
    is exec-after-pause on "$(D exec ca echo on)"
    echo hostfile >"$T/f"
    D cp "$T/f" ca:/tmp/copied >/dev/null; is cp-in 0 $?
    is top 1 "$(D top ca 2>/dev/null | tail -n +2 | wc -l | awk '{print ($1 >= 1)}')"
    like stats '^[0-9.]+% [1-9][0-9.]*[kMG]?i?B' "$(D stats --no-stream --format '{{.CPUPerc}} {{.MemUsage}}' ca)"
    D rename ca cb; is rename "running 0 false" "$(state cb)"
    D stop -t 10 cb >/dev/null; is stop "exited 7 false" "$(state cb)"
    is logs-after "begun got" "$(D logs cb | tr '\n' ' ' | sed 's/ $//')"
    D start cb >/dev/null; is start-again "running 0 false" "$(state cb)"
    D kill cb >/dev/null; is kill "exited 137 false" "$(state cb)"
    D start cb >/dev/null; until_is 3 "D logs cb | grep -c begun"
    D kill -s TERM cb >/dev/null; is wait 7 "$(D wait cb)"
    D rm cb >/dev/null; is rm 0 $?
    D run -d --name cs bb sleep 100 >/dev/null; D stop -t 1 cs >/dev/null
    is stop-timeout "exited 137 false" "$(state cs)"; D rm cs >/dev/null
    D create --name cc bb echo created >/dev/null; is create "created 0 false" "$(state cc)"
    is start-attached created "$(D start -a cc)"; D rm cc >/dev/null
    D run --name cr --restart on-failure:3 -d bb sh -c 'exit 4' >/dev/null
    until_is "exited 4 false 3" 'echo $(state cr) $(D inspect -f "{{.RestartCount}}" cr)'
    is restart-on-failure "exited 4 false 3" "$(state cr) $(D inspect -f '{{.RestartCount}}' cr)"; D rm -f cr >/dev/null
    D run --name cr --restart always -d bb sleep 0.2 >/dev/null
    until_ok 15 eval '[ $(D inspect -f "{{.RestartCount}}" cr) -ge 2 ]'; is restart-always 0 $?
    D rm -f cr >/dev/null; is rm-restarting 0 $?
    D run -d --name cr bb sleep 100 >/dev/null; D restart -t 1 cr >/dev/null; is restart "running 0 false" "$(state cr)"
    D rm -f cr >/dev/null; is rm-force 0 $?
    D run --name co --memory 64m bb sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1 && echo alive' >/dev/null 2>&1
    is oom 0 "$(D logs co 2>/dev/null | grep -c alive)"; D rm co >/dev/null
    D create -i --name ct bb sh -c 'read x; echo "got $x"; exit 6' >/dev/null
    is start-interactive "got line 6" "$(printf 'line\n' | timeout 60 $DOCKER start -ai ct | tr '\n' ' '; echo ${PIPESTATUS[1]})"
    D rm -f ct >/dev/null
}
part_tty() {
    local o
    o=$(pty expect:'# ' send:'tty; stty size\r' expect:'24 80' size:33x77 sleep:0.5 send:'stty size\r' expect:'33 77' send:'exit 4\r' eof -- $DOCKER run --rm -it bb); is tty-status 4 $?
    like tty-name '^/dev/(pts/0|console)$' "$o"
    o=$(pty expect:'# ' send:'ls -l $(tty) /dev/console && echo the''re\r' expect:'there' send:'exit\r' eof -- $DOCKER run --rm -it bb); is tty-exists 0 $?
    o=$(pty expect:ready size:40x100 expect:'40 100' eof -- $DOCKER run --rm -it bb sh -c 'trap "stty size; case \$(stty size) in 40*) exit 3; esac" WINCH; sleep 1; echo ready; while :; do sleep 0.1; done'); is tty-winch 3 $?
    o=$(pty expect:'# ' send:'sleep 100\r' sleep:0.5 send:'\x03' expect:'# ' send:'echo still $?\r' expect:'130' send:'exit\r' eof -- $DOCKER run --rm -it bb); is tty-interrupt 0 $?
    o=$(pty expect:'# ' send:'sleep 100\r' sleep:0.5 send:'\x1a' expect:'Stopped' send:'bg; jobs\r' expect:'Running' send:'kill %1; exit\r' sleep:0.2 send:'exit\r' eof -- $DOCKER run --rm -it bb); is tty-job-control 0 $?
    D run -dit --name ca bb >/dev/null
    o=$(pty sleep:0.5 send:'echo one$((1+1))\r' expect:'one2' send:'\x10\x11' eof -- $DOCKER attach ca); is detach "1 running 0 false" "$? $(state ca)"
    o=$(pty sleep:0.5 send:'echo two$((1+1))\r' expect:'two2' send:'exit 8\r' eof -- $DOCKER attach ca); is attach-again "8 exited 8 false" "$? $(state ca)"
    like tty-logs one2 "$(D logs ca)"
    D rm ca >/dev/null
    D run -d --name ce bb sleep 100 >/dev/null
    o=$(pty expect:'# ' send:'tty; stty size\r' expect:'24 80' size:20x50 sleep:0.5 send:'stty size\r' expect:'20 50' send:'exit 5\r' eof -- $DOCKER exec -it ce sh); is exec-tty 5 $?
    like exec-tty-name '^/dev/pts/[0-9]+$' "$o"
    o=$(pty expect:'# ' send:'sleep 100\r' sleep:0.5 send:'\x03' expect:'# ' send:'echo still $?\r' expect:'130' send:'exit\r' eof -- $DOCKER exec -it ce sh); is exec-tty-interrupt 0 $?
    o=$(pty expect:'# ' send:'\x10\x11' eof -- $DOCKER exec -it ce sh); is exec-detach "running 0 false" "$(state ce)"
    D rm -f ce >/dev/null
}
part_many() {
    local i n=${CLIENTS_MANY:-50}
    for i in $(seq "$n"); do D run -d --name "m$i" bb sleep 1000 >/dev/null 2>"$T/many.$i" & [ $((i % 10)) = 0 ] && wait $(jobs -p | grep -v "^${engine_pids[0]}$"); done
    is "many-$n" "$n" "$(D ps -q | wc -l)"
    is many-exec "$((n / 2))" "$(for i in $(seq $((n / 2))); do D exec "m$i" echo x; done | wc -l)"
    D rm -f $(D ps -q) >/dev/null; is many-gone 0 "$(D ps -aq | wc -l)"
}
part_restore() { # the engine is killed and comes back; its containers go on
    D run -d --name cl bb sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done' >/dev/null
    kill -KILL "${engine_pids[0]}"; wait "${engine_pids[0]}" 2>/dev/null
    # Its containerd dies with it; a new dockerd that still sees that one would wait for it.
    until_ok 10 eval '! kill -0 "$(cat "$T/exec/containerd/containerd.pid")"'
    docker_start || docker_start
    is restore-running "running 0 false" "$(state cl)"
    is restore-exec in "$(D exec cl echo in)"
    local before
    before=$(D logs cl | wc -l)
    until_ok 15 eval '[ $(D logs cl | wc -l) -gt $before ]'; is restore-logs 0 $?
    D stop -t 1 cl >/dev/null; is restore-stop "exited 137 false" "$(state cl)"; D rm cl >/dev/null
}
part_kill() { # nacre's processes die; docker sees the container end, and a new one starts
    local who p
    for who in boot gofer supervisor; do
        D run -d --name ck bb sleep 1000 >/dev/null
        p=$(D inspect -f '{{.State.Pid}}' ck)
        [ $who = supervisor ] || p=$(pgrep -P "$p" -f "^nacre $who\$")
        kill -KILL "$p"
        until_is exited "D inspect -f '{{.State.Status}}' ck"; is "killed-$who" exited "$(D inspect -f '{{.State.Status}}' ck)"
        D start ck >/dev/null; is "killed-$who-starts-again" "running 0 false" "$(state ck)"
        D rm -f ck >/dev/null
    done
}
part_measure() { # asked for by name: `docker run true`, nacre and runc in turns, medians
    local i r
    R --runtime runc --network none bb true; R --runtime nacre --network none bb true
    for i in $(seq "${MEASURE_RUNS:-15}"); do
        for r in runc nacre; do
            /usr/bin/time -f "$r %e" $DOCKER run --rm --runtime $r --network none bb true 2>&1 </dev/null
        done
    done | grep -E '^(runc|nacre) [0-9.]+$' | sort -k 1,1 -k 2,2n | awk '{v[$1, ++n[$1]] = $2} END {for (r in n) printf "# docker run true, %s: median %s s, best %s s\n", r, v[r, int((n[r] + 1) / 2)], v[r, 1]}'
    echo "ok measured"
}
part_cycles() { # containers come and go: a few in each run, 500 in the soak
    local i n=${SOAK_CYCLES:-20} good=0
    for i in $(seq "$n"); do [ "$(R bb echo "$i")" = "$i" ] && good=$((good + 1)); done
    is "cycles-$n" "$n" "$good"
}
for part in ${*:-run flags life tty many restore kill cycles}; do "part_$part"; done
leak_check docker
