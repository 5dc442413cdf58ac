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
as() { (cd "$H" && setpriv --reuid "$U" --regid "$U" --init-groups env -u CONTAINERS_CONF HOME="$H" XDG_RUNTIME_DIR="$H/run" XDG_CONFIG_HOME="$H/conf" CONTAINERS_CONF="$H/conf/containers.conf" TMPDIR="$H" "$@"); }
P() { as timeout -s KILL 60 podman --root "$H/$kind" --runroot "$H/run/$kind" --storage-driver vfs --runtime "$T/nacre" "$@" </dev/null; }
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
}
snapshot begin
grep -q "^$U:" /etc/subuid || echo "$U:300000:65536" >>/etc/subuid
grep -q "^$U:" /etc/subgid || echo "$U:300000:65536" >>/etc/subgid
kind=subids
some
is subids-user "5 5" "$(P run --rm --network none --user 5:5 bb sh -c 'echo $(id -u) $(id -g)')"
is subids-chown 1000 "$(P run --rm --network none bb sh -c 'touch /tmp/f; chown 1000 /tmp/f; stat -c %u /tmp/f')"
as podman system migrate >/dev/null 2>&1
pkill -KILL -u "$U" 2>/dev/null
sed -i "/^$U:/d" /etc/subuid /etc/subgid
kind=oneid
some
pkill -KILL -u "$U" 2>/dev/null
NACRE=$T/nacre
leak_check rootless
