#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# podman --runtime nacre as an ordinary user: with subordinate ids (newuidmap), and without any.
. "$(dirname "$0")/lib.sh.inc"
command -v podman >/dev/null || skip "podman is not installed"
command -v newuidmap >/dev/null || skip "uidmap is not installed"
U=nacretest$$ H=$T/user
setpriv --reuid 64999 --regid 64999 --clear-groups unshare -Ur true 2>/dev/null || skip "no user namespaces for ordinary users here"
useradd -M -d "$H" -s /bin/sh "$U" 2>/dev/null || skip "cannot add a user"
cleanup() { P rm -af -t 0; pkill -KILL -u "$U"; until_ok 5 userdel "$U" || userdel -f "$U"; sed -i "/^$U:/d" /etc/subuid /etc/subgid; }
chmod 755 "$T"
install -d -o "$U" "$H" "$H/run" "$H/conf"
install -m 755 "$NACRE" "$T/nacre"
cat >"$H/conf/containers.conf" <<J
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
J
image_tar >"$T/image.tar"
chmod 644 "$T/image.tar"
AS=(setpriv --reuid "$U" --regid "$U" --init-groups env -u CONTAINERS_CONF HOME="$H" XDG_RUNTIME_DIR="$H/run" XDG_CONFIG_HOME="$H/conf" CONTAINERS_CONF="$H/conf/containers.conf" REGISTRIES_CONFIG_PATH="$H/conf/registries.conf" TMPDIR="$H")
as() { (cd "$H" && "${AS[@]}" "$@"); }
podman_is() { PODMAN=(podman --root "$H/$kind" --runroot "$H/run/$kind" --storage-driver vfs --runtime "$T/nacre" --runtime-flag "platform=$PLATFORM"); }
P() { as timeout -s KILL 60 "${PODMAN[@]}" "$@" </dev/null; }
R() { P run --rm --network none "$@"; }
code() { P inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$1"; }
printf 'unqualified-search-registries = []\n' >"$H/conf/registries.conf"
# slirp4netns opens it; here it may be root's.
mkdir -p /dev/net && mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 2>/dev/null && tun=yes
life() {
    local o
    P run -d --name cl --network none bb sh -c 'trap "echo bye; exit 3" TERM; echo one; echo two >&2; while :; do sleep 0.05; done' >/dev/null
    until_is "one two" "P logs cl 2>&1 | sort | tr '\n' ' ' | sed 's/ $//'"
    is "$kind-logs" "one two" "$(P logs cl 2>&1 | sort | tr '\n' ' ' | sed 's/ $//')"
    is "$kind-ps" "cl" "$(P ps --format '{{.Names}}')"
    is "$kind-exec-flags" "b /etc" "$(P exec -e A=b -w /etc cl sh -c 'echo $A $PWD')"
    is "$kind-top" 1 "$(P top cl -o pid,comm | grep -c '^ *1 sh')"
    P stop -t 30 cl >/dev/null; is "$kind-stop" "exited 3 bye" "$(code cl) $(P logs cl 2>/dev/null | tail -n 1)"
    P start cl >/dev/null; P kill -s KILL cl >/dev/null; until_is "exited 137" "code cl"; is "$kind-kill" "exited 137" "$(code cl)"
    P rm cl >/dev/null
    o=$(cd "$H" && pty expect:'# ' send:'tty; stty size\r' expect:'24 80' send:'exit 4\r' eof -- "${AS[@]}" "${PODMAN[@]}" run --rm --network none -it bb); is "$kind-tty" 4 $?
    like "$kind-tty-name" '^/dev/pts/0' "$o"
}
options() {
    echo hi >"$H/vol/x"
    is "$kind-volume-options" "hi Read-only" "$(R -v "$H/vol:/v:ro,Z,noexec" bb sh -c 'cat /v/x; echo w 2>&1 >/v/w' 2>&1 | sed 's/.*: //; s/ file system//' | tr '\n' ' ' | sed 's/ $//')"
    is "$kind-read-only" "y" "$(R --read-only bb sh -c '(echo x >/f) 2>/dev/null || echo y >/tmp/f; cat /tmp/f')"
    is "$kind-device" "character special file 1:3 1:5" "$(R --device /dev/null:/dev/xx -v /dev/zero:/etc/zz bb sh -c 'stat -c "%F %t:%T" /dev/xx; stat -c %t:%T /etc/zz' 2>/dev/null | tr '\n' ' ' | sed 's/ $//')"
    is "$kind-privileged" "000001ffffffffff mounted" "$(R --privileged bb sh -c 'grep CapEff /proc/self/status | cut -f2; mkdir /m; mount -t tmpfs t /m && echo mounted' 2>/dev/null | tr '\n' ' ' | sed 's/ $//')"
    # A volume's files have ids of the map; what lies above is refused there, as by Linux.
    is "$kind-above-map" "70000 refused" "$(R --user 70000 -v "$H/vol:/v" bb sh -c 'id -u; (echo x >/v/above) 2>/dev/null || echo refused' | tr '\n' ' ' | sed 's/ $//')"
    is "$kind-chown-above-map" "chown: /v/x: Invalid argument" "$(R -v "$H/vol:/v" bb chown 70000 /v/x 2>&1)"
    rm -f "$H/vol/x"
    is "$kind-limits" "limits" "$(R --memory 64m --cpus 1 --pids-limit 40 bb echo limits 2>/dev/null)"
    is "$kind-host-net" hello "$(P run --rm --network host bb echo hello)"
    [ "${tun:-}" != yes ] || ! command -v slirp4netns >/dev/null || is "$kind-slirp4netns" hello "$(P run --rm --network slirp4netns -p 18080:80 bb echo hello)"
}
build() {
    printf 'FROM localhost/bb\nRUN echo built >/built\nRUN mkdir /d; cat /built >/d/again\nCMD cat /d/again\n' >"$H/Containerfile"
    chown "$U" "$H/Containerfile"
    P --runtime-flag overlay=none build -q --network none -t built -f "$H/Containerfile" "$H" >/dev/null 2>"$T/e" || sed 's/^/# /' "$T/e"
    is "$kind-build" built "$(R localhost/built)"
    is "$kind-restart-data" "a a a" "$(P --runtime-flag overlay=none run --name cd --network none bb sh -c 'echo a >>/data; cat /data'  | tr '\n' ' ')$(P --runtime-flag overlay=none start -a cd | tr '\n' ' ' | sed 's/ $//')"
    P rm cd >/dev/null
}
pod() {
    P pod create --name pp --infra-image bb --infra-command "sleep 100" --network none >/dev/null
    P run -d --pod pp --name m1 bb sleep 50 >/dev/null; P run -d --pod pp --name m2 bb sleep 50 >/dev/null
    is "$kind-pod" "Running 3" "$(P pod ps --format '{{.Status}} {{.NumberOfContainers}}')"
    is "$kind-pod-exec" "pp in" "$(P exec m1 hostname) $(P exec m2 echo in)"
    P pod rm -f -t 0 pp >/dev/null; is "$kind-pod-rm" "" "$(P ps -aq)"
}
some() { # what works in both
    P import -c 'CMD ["sh"]' "$T/image.tar" localhost/bb >/dev/null 2>"$T/e" || { echo "# $kind: no image: $(tail -n 1 "$T/e")"; return; }
    is "$kind-run" hello "$(P run --rm --network none bb echo hello)"
    P run --rm --network none bb sh -c 'exit 7'; is "$kind-status" 7 $?
    is "$kind-id" 0 "$(P run --rm --network none bb id -u)"
    P run --rm --network none bb nope 2>/dev/null; is "$kind-127" 127 $?
    install -d -o "$U" -g "$U" "$H/vol"
    P run --rm --network none -v "$H/vol:/v" bb sh -c 'echo x >/v/f'; is "$kind-volume" "$U" "$(stat -c %U "$H/vol/f")"
    rm -f "$H/vol/f"
    P run -d --name ca --network none bb sleep 100 >/dev/null; is "$kind-exec" in "$(P exec ca echo in)"
    P rm -f -t 0 ca >/dev/null; is "$kind-rm" "" "$(P ps -aq)"
    options
    if [ $kind = subids ]; then life; build; pod; fi
}
snapshot begin
grep -q "^$U:" /etc/subuid || echo "$U:300000:65536" >>/etc/subuid
grep -q "^$U:" /etc/subgid || echo "$U:300000:65536" >>/etc/subgid
kind=subids; podman_is
some
is subids-user "5 5" "$(P run --rm --network none --user 5:5 bb sh -c 'echo $(id -u) $(id -g)')"
is subids-chown 1000 "$(P run --rm --network none bb sh -c 'touch /tmp/f; chown 1000 /tmp/f; stat -c %u /tmp/f')"
is subids-keep-id "yes yes" "$(R --userns=keep-id -v "$H/vol:/v" bb sh -c "[ \$(id -u) = $(id -u "$U") ] && echo yes; touch /v/k; [ \$(stat -c %u /v/k) = $(id -u "$U") ] && echo yes" | tr '\n' ' ' | sed 's/ $//')"
is subids-keep-id-outside "$U" "$(stat -c %U "$H/vol/k")"; rm -f "$H/vol/k"
is subids-uidmap "0 65534" "$(R --uidmap 0:1:5000 --gidmap 0:1:5000 -v "$H/vol:/v" bb sh -c 'id -u; stat -c %u /v' | tr '\n' ' ' | sed 's/ $//')"
as podman system migrate >/dev/null 2>&1
pkill -KILL -u "$U" 2>/dev/null
sed -i "/^$U:/d" /etc/subuid /etc/subgid
kind=oneid; podman_is
some
pkill -KILL -u "$U" 2>/dev/null
NACRE=$T/nacre
leak_check rootless
