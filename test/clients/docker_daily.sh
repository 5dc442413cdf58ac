#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What users of docker do every day, beyond docker.sh: each flag works as with runc (RUNTIME=runc), or
# fails with an error that names it.
. "$(dirname "$0")/lib.sh.inc"
. "$HERE/docker.sh.inc"
daemon_json "$NACRE" "\"--platform=$PLATFORM\", \"--overlay=none\""
cleanup() { docker_cleanup; }
state_files() { docker_state_files; }
docker_start || skip "dockerd does not start here"
image_tar | $DOCKER import -c 'CMD ["sh"]' - bb >/dev/null || skip "no image"
R bb true
R --network host bb true
snapshot begin
RO="--network none"
part_config() {
    printf 'A=1\nB=two words\n' >"$T/env"
    is env-file "1 two words" "$(R $RO --env-file "$T/env" bb sh -c 'echo $A $B')"
    is entrypoint "ep a b" "$(R $RO --entrypoint /bin/echo bb ep a b)"
    is ulimits "77 100 0" "$(R $RO --ulimit nofile=77:100 --ulimit core=0 bb sh -c 'echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -c)')"
    is sysctl "4096 9" "$(R $RO --sysctl kernel.msgmax=4096 --sysctl fs.mqueue.msg_max=9 bb sh -c 'echo $(cat /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max)')"
    like sysctl-unknown 'not whitelisted' "$(R $RO --sysctl kernel.shm_nonsense=1 bb true 2>&1)"
    is device-null "c 1,3" "$(R $RO --device /dev/null:/dev/empty bb stat -c '%F %t,%T' /dev/empty | sed 's/character special file/c/')"
    is device-write 0 "$(R $RO --device /dev/zero:/dev/naught bb head -c 10 /dev/naught | tr -d '\0' | wc -c)"
    is mount-tmpfs "x 1024" "$(R $RO --mount type=tmpfs,destination=/t,tmpfs-size=1m bb sh -c 'echo x >/t/f; echo $(cat /t/f) $(df -k /t | awk "NR == 2 {print \$2}")')"
    mkdir -p "$T/src"; echo in >"$T/src/a"
    is mount-bind "in ro" "$(R $RO --mount "type=bind,source=$T/src,destination=/m,readonly" bb sh -c 'cat /m/a; echo x >/m/b || echo ro' 2>/dev/null | tr '\n' ' ' | sed 's/ $//')"
    like mount-bind-missing 'nonsense' "$(R $RO --mount "type=bind,source=$T/nonsense,destination=/m" bb true 2>&1)"
    is mount-volume kept "$(R $RO --mount type=volume,source=dv,destination=/v bb sh -c 'echo kept >/v/f'; R $RO --mount type=volume,source=dv,destination=/v bb cat /v/f)"
    D volume rm dv >/dev/null
    is add-host 10.1.2.3 "$(R --add-host there:10.1.2.3 bb awk '$2 == "there" {print $1}' /etc/hosts)"
    is dns "10.9.8.7 inside" "$(R --dns 10.9.8.7 --dns-search inside bb awk '{print $2}' /etc/resolv.conf | sort | tr '\n' ' ' | sed 's/ $//')"
    is group-add "0 10 2000" "$(R $RO --group-add 10 --group-add extra bb sh -c 'echo $(id -G | tr " " "\n" | sort -n)')"
    is user-no-group "4242 0" "$(R $RO --user 4242 bb sh -c 'echo $(id -u) $(id -g)')"
    is oom-score 100 "$(R $RO --oom-score-adj 100 bb cat /proc/self/oom_score_adj)"
    is domainname inside "$(R $RO --domainname inside --hostname h bb cat /proc/sys/kernel/domainname)"
    is label v "$(D run -d --name cl $RO --label k=v bb true >/dev/null; D inspect -f '{{.Config.Labels.k}}' cl)"; D rm -f cl >/dev/null
    is cpuset "1 0" "$(R $RO --cpuset-cpus 0 bb sh -c 'echo $(nproc) $(awk "/^Cpus_allowed_list/ {print \$2}" /proc/self/status)')"
    [ "${RUNTIME:-nacre}" = runc ] || is memory-swap 65536 "$(R $RO --memory 64m --memory-swap 128m bb awk '/^MemTotal/ {print $2}' /proc/meminfo)"
    is cgroup-parent running "$(D run -d --name cp $RO --cgroup-parent "/$CG/sub" bb sleep 100 >/dev/null; D inspect -f '{{.State.Status}}' cp)"
    is cgroup-parent-used 1 "$(find /sys/fs/cgroup/memory /sys/fs/cgroup -maxdepth 3 -type d -path "*$CG/sub/*" 2>/dev/null | sed 's/.*\///' | sort -u | wc -l)"
    D rm -f cp >/dev/null; find /sys/fs/cgroup -depth -type d -path "*$CG/sub" -exec rmdir {} + 2>/dev/null
    like privileged "^000000?0?[01][1f3]fffffffff 0" "$(R $RO --privileged bb sh -c 'awk "/^CapEff/ {print \$2}" /proc/self/status; mount -t tmpfs t /tmp && echo 0' | tr '\n' ' ' | sed 's/ $//')"
    is cap-add 00000000a82425fb "$(R $RO --cap-add SYS_ADMIN bb awk '/^CapEff/ {print $2}' /proc/self/status)"
    is init-reaps "1 docker-init" "$(R $RO --init bb sh -c 'echo $(awk "/^PPid/ {print \$2}" /proc/self/status >/dev/null; echo 1) $(basename $(readlink /proc/1/exe))')"
    is image-config "v /tmp 1000 ep" "$(printf 'FROM bb\nENV K=v\nWORKDIR /tmp\nUSER 1000\nENTRYPOINT ["sh","-c","echo $K $PWD $(id -u) ep"]\n' | timeout 60 $DOCKER build -q -t cfg - >/dev/null; R $RO cfg)"
    D rmi -f cfg >/dev/null 2>&1
}
part_security() {
    local p=$T/profile.json
    echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}' >"$p"
    like seccomp-profile 'Permission denied' "$(R $RO --security-opt "seccomp=$p" bb mkdir /d 2>&1)"
    is seccomp-unconfined 0 "$(R $RO --security-opt seccomp=unconfined bb awk '/^Seccomp:/ {print $2}' /proc/self/status)"
    R $RO --security-opt apparmor=unconfined bb true; is apparmor-unconfined 0 $?
    is no-new-privs 1 "$(R $RO --security-opt no-new-privileges bb awk '/^NoNewPrivs/ {print $2}' /proc/self/status)"
    is systempaths "0" "$(R $RO --security-opt systempaths=unconfined bb sh -c 'test -r /proc/sysrq-trigger || ls /proc/keys >/dev/null; echo 0')"
}
part_join() { # namespaces of others: what is not there fails by name
    mkdir -p "$T/src"; echo in >"$T/src/a"
    D run -d --name ja $RO --ipc shareable --hostname ja -v "$T/src:/shared" bb sleep 1000 >/dev/null
    is volumes-from in "$(R $RO --volumes-from ja bb cat /shared/a)"
    is network-container lo "$(R --network container:ja bb ls /sys/class/net)"
    if [ "${RUNTIME:-nacre}" = nacre ]; then
        like pid-container "joining a pid namespace .* is not supported" "$(R $RO --pid container:ja bb true 2>&1)"
        like ipc-container "joining a ipc namespace .* is not supported" "$(R $RO --ipc container:ja bb true 2>&1)"
        like pid-host "the host's pid namespace is not supported" "$(R $RO --pid host bb true 2>&1)"
        like ipc-host "the host's ipc namespace is not supported" "$(R $RO --ipc host bb true 2>&1)"
    fi
    is uts-host "$(uname -n)" "$(R --uts host bb uname -n)"
    R $RO --userns host bb true; is userns-host 0 $?
    R $RO --cgroupns host bb true; is cgroupns-host 0 $?
    R $RO --ipc private bb true; is ipc-private 0 $?
    R $RO --ipc shareable bb true; is ipc-shareable 0 $?
    D rm -f ja >/dev/null
}
part_daily() {
    # Logging.
    D run --name la $RO --log-driver none bb echo x >/dev/null; like log-none 'does not support reading|none' "$(D logs la 2>&1)"; D rm la >/dev/null
    D run --name la $RO --log-driver local bb sh -c 'echo a; echo b >&2' >/dev/null 2>&1; is log-local "a b" "$(D logs la 2>&1 | sort | tr '\n' ' ' | sed 's/ $//')"; D rm la >/dev/null
    D run --name la $RO --log-opt max-size=1k --log-opt max-file=2 bb sh -c 'i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done' >/dev/null; like log-rotate 'line 199' "$(D logs --tail 1 la)"; D rm la >/dev/null
    D run -d --name la $RO bb sh -c 'echo one; sleep 1; echo two; sleep 1000' >/dev/null
    is logs-follow "one two" "$(timeout 20 $DOCKER logs -f la </dev/null 2>&1 | { read -r a; read -r b; echo "$a $b"; })"; D rm -f la >/dev/null
    # Stopping.
    D run -d --name sa $RO --stop-signal USR1 bb sh -c 'trap "exit 9" USR1; echo up; while :; do sleep 0.05; done' >/dev/null; until_is up 'D logs sa'
    D stop -t 20 sa >/dev/null; is stop-signal "exited 9 false" "$(state sa)"; D rm sa >/dev/null
    D run -d --name sa $RO --stop-timeout 1 bb sleep 1000 >/dev/null; D stop sa >/dev/null; is stop-timeout "exited 137 false" "$(state sa)"; D rm sa >/dev/null
    # Restart policies.
    D run -d --name ra $RO --restart unless-stopped bb sh -c 'sleep 0.2; exit 3' >/dev/null; until_ok 15 eval '[ $(D inspect -f "{{.RestartCount}}" ra) -ge 1 ]'; is restart-unless-stopped 0 $?
    D stop -t 1 ra >/dev/null; until_is exited "D inspect -f '{{.State.Status}}' ra"; sleep 0.5; is restart-stopped-stays exited "$(D inspect -f '{{.State.Status}}' ra)"; D rm -f ra >/dev/null
    D run -d --name ra $RO --restart no bb sh -c 'exit 3' >/dev/null; is restart-no "3 0" "$(D wait ra) $(D inspect -f '{{.RestartCount}}' ra)"; D rm ra >/dev/null
    # Health.
    D run -d --name ha $RO --health-cmd 'test -e /tmp/well' --health-interval 200ms --health-retries 1 bb sh -c 'touch /tmp/well; sleep 1000' >/dev/null
    until_is healthy "D inspect -f '{{.State.Health.Status}}' ha"; is healthy healthy "$(D inspect -f '{{.State.Health.Status}}' ha)"
    D exec ha rm /tmp/well; until_is unhealthy "D inspect -f '{{.State.Health.Status}}' ha"; is unhealthy unhealthy "$(D inspect -f '{{.State.Health.Status}}' ha)"
    D rm -f ha >/dev/null
    # update.
    D run -d --name ua $RO --memory 128m --memory-swap 128m --cpus 2 bb sleep 1000 >/dev/null
    D update --memory 64m --memory-swap 64m --cpus 1 --pids-limit 50 --restart no ua >/dev/null; is update 0 $?
    [ "${RUNTIME:-nacre}" = runc ] || is update-inside "65536 1 50" "$(D exec ua sh -c 'echo $(awk "/^MemTotal/ {print \$2}" /proc/meminfo) $(nproc) $(cat /sys/fs/cgroup/pids.max)')"
    D rename ua ub; is rename running "$(D inspect -f '{{.State.Status}}' ub)"
    is top-exec 2 "$(D exec -d ub sleep 500; until_is 2 'D top ub | tail -n +2 | wc -l'; D top ub | tail -n +2 | wc -l)"
    like stats-all '^ub ' "$(D stats --no-stream --format '{{.Name}} {{.PIDs}}')"
    is port-none '' "$(D port ub)"
    D rm -f ub >/dev/null
    # create, start, wait, attach.
    D create --name wa $RO bb sh -c 'exit 6' >/dev/null; is create-start-wait 6 "$(D start wa >/dev/null; D wait wa)"; D rm wa >/dev/null
    o=$(D run -dit --name da $RO --detach-keys ctrl-a,x bb >/dev/null; pty sleep:0.5 send:'echo o$((1+1))\r' expect:'o2' send:'\x01x' eof -- $DOCKER attach --detach-keys ctrl-a,x da); is detach-keys "running 0 false" "$(state da)"; D rm -f da >/dev/null
    D run -d --name aa $RO bb sh -c 'while :; do echo tick; sleep 0.1; done' >/dev/null
    is attach-no-stdin tick "$(timeout 20 $DOCKER attach --no-stdin --sig-proxy=false aa </dev/null | head -n 1)"; D rm -f aa >/dev/null
    is events "create start die" "$(b=$(date +%s); D run --name ea $RO bb true; D events --since "$b" --until "$(($(date +%s) + 1))" --filter container=ea --format '{{.Action}}' | grep -E '^(create|start|die)$' | tr '\n' ' ' | sed 's/ $//')"; D rm ea >/dev/null
}
part_files() { # what a container leaves in its root: with --overlay=none
    mkdir -p "$T/src"
    echo hostfile >"$T/f"
    D run -d --name fa $RO bb sh -c 'echo made >/made; mkdir /d; echo deep >/d/f; rm -f /etc/group; chmod 600 /etc/passwd; touch /ready; sleep 1000' >/dev/null
    until_ok 15 D exec fa test -e /ready
    D cp "$T/f" fa:/tmp/copied >/dev/null; is cp-in hostfile "$(D exec fa cat /tmp/copied 2>&1)"
    D cp fa:/made "$T/made" >/dev/null 2>&1; is cp-out made "$(cat "$T/made" 2>&1)"
    is diff "A /d A /d/f A /made D /etc/group" "$(D diff fa | grep -E ' (/d|/d/f|/made|/etc/group)$' | sort | tr '\n' ' ' | sed 's/ $//')"
    is export "deep" "$(timeout 60 $DOCKER export fa </dev/null | tar -xO d/f 2>&1)"
    D commit fa local/committed >/dev/null; is commit "made deep" "$(R $RO local/committed sh -c 'cat /made /d/f' 2>&1 | tr '\n' ' ' | sed 's/ $//')"
    D stop -t 0 fa >/dev/null; D start fa >/dev/null
    is restart-keeps made "$(D exec fa cat /made 2>&1)"
    D rm -f fa >/dev/null
    printf 'FROM bb\nRUN echo built >/b && mkdir /e && echo 2 >/e/f\nRUN cat /b >/c; chown 1000:1000 /c; ln -s /c /l; ln /c /h; chmod 4755 /bin/busybox\nCOPY f /copied\nUSER 1000\nCMD cat /c /l /e/f /copied\n' >"$T/src/Dockerfile"; echo copied >"$T/src/f"
    timeout 120 $DOCKER build -q -t built "$T/src" >"$T/o" 2>&1 </dev/null; is build 0 $?; [ -s "$T/o" ] && sed 's/^/# /' "$T/o"
    is built "built built 2 copied" "$(R $RO built 2>&1 | tr '\n' ' ' | sed 's/ $//')"
    printf 'FROM bb\nRUN exit 7\n' >"$T/src/Dockerfile"; like build-fails 'returned a non-zero code: 7' "$(timeout 60 $DOCKER build "$T/src" 2>&1 </dev/null)"
}
for part in ${*:-config security join daily files}; do "part_$part"; done

leak_check docker-daily
