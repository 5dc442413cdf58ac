#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# podman --runtime nacre, as root.
. "$(dirname "$0")/lib.sh.inc"
. "$HERE/podman.sh.inc"

part_run() {
    is run hello "$(R bb echo hello)"
    local s
    for s in 0 3 255; do R bb sh -c "exit $s"; is "exit-$s" $s $?; done
    R bb /nope 2>/dev/null; is exit-127 127 $?
    R bb nope 2>/dev/null; is exit-127-path 127 $?
    R bb /etc/passwd 2>/dev/null; is exit-126 126 $?
    is stdin 5 "$(printf hello | R -i bb wc -c)"
    is large 3000000 "$(R bb head -c 3000000 /dev/zero | wc -c)"
    is hostname box "$(R --hostname box bb hostname)"
    is hosts 1 "$(R --hostname box bb grep -c box /etc/hosts)"
    is user-name "1000 1000 2000" "$(R --user user bb sh -c 'echo $(id -u) $(id -G)')"
    R --read-only bb sh -c 'echo x >/f' 2>/dev/null; is read-only 1 $?
    is read-only-run "x" "$(R --read-only bb sh -c 'echo x >/run/f && cat /run/f')"

    mkdir -p "$T/vol"; echo in >"$T/vol/a"
    is volume in "$(R -v "$T/vol:/v" bb cat /v/a)"
    is cap-drop 0000000000000000 "$(R --cap-drop all bb awk '/^CapEff/ {print $2}' /proc/self/status)"
    is init 0 "$(R --init bb sh -c 'echo $$; exit 0' | grep -c '^1$')"
    is memory 65536 "$(R --memory 64m bb awk '/^MemTotal/ {print $2}' /proc/meminfo)"
    is bridge hello "$(P run --rm --cgroup-parent "/$CG" --network host bb echo hello)"
}
part_life() {
    P run -d --name ca $NET bb sh -c 'trap "echo got; exit 7" TERM; echo begun; while :; do sleep 0.1; done' >/dev/null
    until_is begun "P logs ca"; is logs begun "$(P logs ca)"
    is state "running 0" "$(state ca)"
    is exec in "$(P exec ca echo in)"
    P exec ca sh -c 'exit 9'; is exec-status 9 $?
    P exec ca nope 2>/dev/null; is exec-127 127 $?
    is exec-user "/tmp 1000 v" "$(P exec -w /tmp -u 1000 -e K=v ca sh -c 'echo $PWD $(id -u) $K')"
    P pause ca >/dev/null; is pause "paused 0" "$(state ca)"
    P unpause ca >/dev/null; is unpause "running 0" "$(state ca)"
    P stop -t 10 ca >/dev/null; is stop "exited 7" "$(state ca)"
    P start ca >/dev/null; is start "running 0" "$(state ca)"
    P kill ca >/dev/null; until_is "exited 137" "state ca"; is kill "exited 137" "$(state ca)"
    P rm ca >/dev/null; is rm 0 $?
    P run -d --name cw $NET bb sh -c 'sleep 0.5; exit 5' >/dev/null; is wait 5 "$(P wait cw)"; P rm cw >/dev/null
}
part_tty() {
    local o p=("${PODMAN[@]}")
    o=$(pty expect:'# ' send:'tty; stty size\r' expect:'24 80' size:33x77 sleep:0.5 send:'stty size\r' expect:'33 77' send:'exit 4\r' eof -- "${p[@]}" run --rm $NET -it bb); is tty 4 $?
    like tty-name '^/dev/pts/0$' "$o"
    P run -d --name ce $NET bb sleep 100 >/dev/null
    o=$(pty expect:'# ' send:'sleep 100\r' sleep:0.5 send:'\x03' expect:'# ' send:'echo still $?\r' expect:'130' send:'exit 5\r' eof -- "${p[@]}" exec -it ce sh); is exec-tty 5 $?
    P rm -f -t 0 ce >/dev/null
}
for part in ${*:-run life tty}; do "part_$part"; done
leak_check podman
