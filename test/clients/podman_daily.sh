#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What users of podman do every day, beyond podman.sh, as root: each works as with runc
# (RUNTIME=runc), or fails with an error that names it.
. "$(dirname "$0")/lib.sh.inc"
. "$HERE/podman.sh.inc"
[ "${RUNTIME:-nacre}" != nacre ] || PODMAN+=(--runtime-flag overlay=none)

part_flags() {
    is tmpfs "x 1024" "$(R --tmpfs /t:size=1m bb sh -c 'echo x >/t/f; echo $(cat /t/f) $(df -k /t | awk "NR == 2 {print \$2}")')"
    is cpus 1 "$(R --cpus 1 bb nproc)"
    R --pids-limit 10 bb sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 2 & done; wait' >/dev/null 2>&1; [ $? != 0 ]; is pids-limit 0 $?
    is user "1000 1000" "$(R --user 1000:1000 bb sh -c 'echo $(id -u) $(id -g)')"
    printf 'A=1\nB=two words\n' >"$T/env"
    is env-file "1 two words" "$(R --env-file "$T/env" bb sh -c 'echo $A $B')"
    is entrypoint "ep a" "$(R --entrypoint /bin/echo bb ep a)"
    is workdir /tmp "$(R -w /tmp bb pwd)"
    is ulimit 77 "$(R --ulimit nofile=77:77 bb sh -c 'ulimit -n')"
    is shm-size 1024 "$(R --shm-size 1m bb df -k /dev/shm | awk 'NR == 2 {print $2}')"
    is sysctl 4096 "$(R --sysctl kernel.msgmax=4096 bb cat /proc/sys/kernel/msgmax)"
    is device "c" "$(R --device /dev/null:/dev/empty bb sh -c 'test -c /dev/empty && echo c')"
    mkdir -p "$T/src"; echo in >"$T/src/a"
    is mount-bind "in ro" "$(R --mount "type=bind,source=$T/src,destination=/m,ro" bb sh -c 'cat /m/a; echo x >/m/b || echo ro' 2>/dev/null | tr '\n' ' ' | sed 's/ $//')"
    is mount-tmpfs x "$(R --mount type=tmpfs,destination=/t bb sh -c 'echo x >/t/f; cat /t/f')"
    is volume-named kept "$(R -v pv:/v bb sh -c 'echo kept >/v/f'; R -v pv:/v bb cat /v/f)"; P volume rm pv >/dev/null
    is add-host 10.1.2.3 "$(R --add-host there:10.1.2.3 bb awk '$2 == "there" {print $1}' /etc/hosts)"
    is group-add 2000 "$(R --group-add 2000 bb sh -c 'id -G | tr " " "\n" | grep 2000')"
    is oom-score 100 "$(R --oom-score-adj 100 bb cat /proc/self/oom_score_adj)"
    is cpuset 0 "$(R --cpuset-cpus 0 bb awk '/^Cpus_allowed_list/ {print $2}' /proc/self/status)"
    is privileged 0 "$(R --privileged bb sh -c 'mount -t tmpfs t /tmp && echo 0')"
    is no-new-privs 1 "$(R --security-opt no-new-privileges bb awk '/^NoNewPrivs/ {print $2}' /proc/self/status)"
    echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}' >"$T/profile.json"
    like seccomp-profile 'Permission denied' "$(R --security-opt "seccomp=$T/profile.json" bb mkdir /d 2>&1)"
    is umask 0077 "$(R --umask 077 bb sh -c umask)"
    is timezone "+0100" "$([ -e /usr/share/zoneinfo/Etc/GMT-1 ] && R --tz Etc/GMT-1 bb date +%z || echo +0100)"
    like sysctl-unknown 'nonsense' "$(R --sysctl kernel.shm_nonsense=1 bb true 2>&1)"
    if [ "${RUNTIME:-nacre}" = nacre ]; then
        like pid-host "the host's pid namespace is not supported" "$(R --pid host bb true 2>&1)"
        like ipc-host "the host's ipc namespace is not supported" "$(R --ipc host bb true 2>&1)"
    fi
    is uts-host "$(uname -n)" "$(R --uts host bb uname -n)"
    is userns-host 0 "$(R --userns host bb id -u)"
    is user-ns "5 0" "$(R --uidmap 0:100000:1000 --gidmap 0:100000:1000 bb sh -c 'touch /tmp/f; chown 5 /tmp/f; echo $(stat -c %u /tmp/f) $(id -u)')"
}
part_life() {
    P run -d --name ca $NET bb sh -c 'echo one; sleep 0.5; echo two; sleep 1000' >/dev/null
    is logs-follow "one two" "$(timeout 20 "${PODMAN[@]}" logs -f ca 2>&1 | { read -r a; read -r b; echo "$a $b"; })"
    like top "while|sleep" "$(P top ca -o pid,comm 2>&1)"
    like stats '^ca [1-9]' "$(P stats --no-stream --format '{{.Name}} {{.PIDs}}' ca)"
    echo hostfile >"$T/f"
    P cp "$T/f" ca:/tmp/copied; is cp-in hostfile "$(P exec ca cat /tmp/copied)"
    P exec ca sh -c 'echo made >/made; mkdir /d; echo deep >/d/f'
    P cp ca:/made "$T/made"; is cp-out made "$(cat "$T/made")"
    is diff "A /d A /made" "$(P diff ca | grep -E ' (/d|/made)$' | sort | tr '\n' ' ' | sed 's/ $//')"
    is export deep "$(P export ca | tar -xO d/f)"
    P commit -q ca localhost/committed >/dev/null 2>&1; is commit "made deep" "$(R localhost/committed sh -c 'cat /made /d/f' | tr '\n' ' ' | sed 's/ $//')"
    P rmi -f localhost/committed >/dev/null 2>&1
    P rename ca cb; is rename "running 0" "$(state cb)"
    P restart -t 0 cb >/dev/null; is restart-keeps "made running 0" "$(P exec cb cat /made) $(state cb)"
    P update --cpus 1 --memory 64m cb >/dev/null 2>&1; is update "1 65536" "$(P exec cb sh -c 'echo $(nproc) $(awk "/^MemTotal/ {print \$2}" /proc/meminfo)')"
    P rm -f -t 0 cb >/dev/null
    P run -d --name cs $NET --stop-signal USR1 bb sh -c 'trap "exit 9" USR1; echo up; while :; do sleep 0.05; done' >/dev/null; until_is up 'P logs cs'
    P stop -t 20 cs >/dev/null; is stop-signal "exited 9" "$(state cs)"; P rm cs >/dev/null
    P run --name cr $NET --restart on-failure:2 -d bb sh -c 'exit 4' >/dev/null; until_is "exited 4 2" 'echo $(state cr) $(P inspect -f "{{.RestartCount}}" cr)'
    is restart-on-failure "exited 4 2" "$(state cr) $(P inspect -f '{{.RestartCount}}' cr)"; P rm -f -t 0 cr >/dev/null
    P run -d --name ch $NET --health-cmd 'test -e /tmp/well' --health-interval disable bb sh -c 'touch /tmp/well; sleep 1000' >/dev/null
    until_ok 10 P exec ch test -e /tmp/well; P healthcheck run ch >/dev/null; is healthy 0 $?
    P exec ch rm /tmp/well; P healthcheck run ch >/dev/null 2>&1; is unhealthy 1 $?
    P rm -f -t 0 ch >/dev/null
    P create -i --name ct $NET bb sh -c 'read x; echo "got $x"; exit 6' >/dev/null
    is start-interactive "got line 6" "$(printf 'line\n' | P start -ai ct | tr '\n' ' '; echo ${PIPESTATUS[1]})"; P rm -f ct >/dev/null
    local o
    o=$(P run -dit --name da $NET --detach-keys ctrl-a,x bb >/dev/null; pty sleep:0.5 send:'echo o$((1+1))\r' expect:'o2' send:'\x01x' eof -- "${PODMAN[@]}" attach --detach-keys ctrl-a,x da); is detach-keys "running 0" "$(state da)"
    like generate-kube 'kind: Pod' "$(P generate kube da)"
    like generate-systemd 'ExecStart=.*podman' "$(P generate systemd da)"
    P rm -f -t 0 da >/dev/null
    P run --name co $NET --memory 64m bb sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1 && echo alive' >"$T/o" 2>&1; is oom 0 "$(grep -c alive "$T/o")"; P rm co >/dev/null
    mkdir -p "$T/src"; printf 'FROM localhost/bb\nRUN echo built >/b && mkdir /e && echo 2 >/e/f\nRUN cat /b >/c\nCMD cat /c /e/f\n' >"$T/src/Dockerfile"
    P build -q --isolation oci --network none -t localhost/built "$T/src" >"$T/o" 2>&1; is build 0 $?; grep -i error "$T/o" | sed 's/^/# /'
    is built "built 2" "$(R localhost/built | tr '\n' ' ' | sed 's/ $//')"; P rmi -f localhost/built >/dev/null 2>&1
}
part_pods() {
    P pod create --name po --network none --cgroup-parent "/$CG" >"$T/o" 2>&1 || { echo "# no pods here: $(tail -n 1 "$T/o")"; return; }
    P run -d --pod po --name p1 bb sleep 1000 >"$T/o" 2>&1; is pod-run 0 $?; grep -i error "$T/o" | sed 's/^/# /'
    P run -d --pod po --name p2 bb sleep 1000 >/dev/null; is pod-run-2 "running 0" "$(state p2)"
    is pod-exec "1 sleep" "$(P exec p1 sh -c 'echo 1 $(tr "\0" " " </proc/1/cmdline | cut -d " " -f 1)')"
    is pod-hostname "$(P exec p1 hostname)" "$(P exec p2 hostname)"
    P kill p1 >/dev/null; until_is "exited 137" "state p1"; is pod-member-ends "exited 137 running 0" "$(state p1) $(state p2)"
    P start p1 >/dev/null; is pod-member-again "running 0" "$(state p1)"
    P pod stop -t 0 po >/dev/null 2>&1; is pod-stop "Exited" "$(P pod inspect -f '{{.State}}' po)"
    local id
    id=$(P pod inspect -f '{{.ID}}' po)
    P pod rm -f -t 0 po >/dev/null 2>&1 || # over hierarchies that are not mounted, see lib.sh.inc
        find /sys/fs/cgroup -depth -type d -path "*$CG/$id*" -exec rmdir {} + 2>/dev/null
    printf 'apiVersion: v1\nkind: Pod\nmetadata:\n  name: kp\nspec:\n  hostNetwork: true\n  containers:\n  - name: c\n    image: localhost/bb\n    imagePullPolicy: Never\n    command: ["sleep", "1000"]\n    env:\n    - name: K\n      value: v\n' >"$T/kp.yaml"
    P play kube "$T/kp.yaml" >"$T/o" 2>&1; is play-kube v "$(P exec kp-c sh -c 'echo $K' 2>&1)"
    P play kube --down "$T/kp.yaml" >/dev/null 2>&1; P pod rm -f -t 0 kp >/dev/null 2>&1
    P ps -aq | grep -q . && P rm -af -t 0 >/dev/null
}
part_many() {
    local i n=${CLIENTS_MANY:-50}
    for i in $(seq "$n"); do P run -d --name "m$i" $NET bb sleep 1000 >/dev/null 2>"$T/many.$i" & [ $((i % 10)) = 0 ] && wait; done
    is "many-$n" "$n" "$(P ps -q | wc -l)"
    P rm -af -t 0 >/dev/null; is many-gone 0 "$(P ps -aq | wc -l)"
}
for part in ${*:-flags life pods many}; do "part_$part"; done
leak_check podman-daily
