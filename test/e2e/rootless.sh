#!/bin/bash
# Without any privilege: everything runs in user namespaces that map the caller's one id.
NACRE=${NACRE:?}
PLATFORM=${PLATFORM:-systrap}
status=0
ok() { echo "ok $1"; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else echo "# is \"$2\", should be \"$3\""; echo "FAIL $1"; status=1; fi; }
tmp=$(mktemp -d /tmp/nacre-rootless.XXXXXX)
trap '[ $BASHPID = $$ ] && rm -rf "$tmp"' EXIT
me=$(id -u)
if [ "$me" = 0 ]; then
    uid=64321
    chmod 755 "$tmp"
    cp "$NACRE" "$tmp/nacre"
    NACRE=$tmp/nacre
    as() { setpriv --reuid $uid --regid $uid --clear-groups --bounding-set=-all env HOME=/ XDG_RUNTIME_DIR= "$@"; }
else
    uid=$me
    as() { "$@"; }
fi
if ! as unshare -Ur true 2>/dev/null; then echo "# no user namespaces for ordinary users here"; exit 0; fi
N() { as timeout 60 "$NACRE" --platform="$PLATFORM" "$@" </dev/null; }
is id 0 "$(N do -- id -u)"
is status 7 "$(N do -- sh -c 'exit 7'; echo $?)"
mkdir "$tmp/v"
[ "$me" = 0 ] && chown $uid "$tmp/v"
is volume "$uid" "$(N do --volume "$tmp/v:/mnt" -- sh -c 'echo x >/mnt/f'; stat -c %u "$tmp/v/f")"
is volume-of-others "denied" "$(N do --volume /etc:/mnt -- sh -c '(echo x >/mnt/nacre-test) 2>/dev/null && echo written || echo denied')"
mkdir -p "$tmp/b/rootfs/bin"
cp "$(command -v busybox)" "$tmp/b/rootfs/bin/sh"
[ "$me" = 0 ] && chown -R $uid "$tmp/b"
(cd "$tmp/b" && as "$NACRE" spec)
sed -i '/"terminal"/s/true/false/; s/\["sh"\]/["sh","-c","echo in a bundle"]/' "$tmp/b/config.json"
is bundle "in a bundle" "$(N --root "$tmp/v/state" run --bundle "$tmp/b" r1)"
is state-removed "" "$(ls "$tmp/v/state")"

# What a session may lack: any environment, a home, a runtime directory, the right to execute in /tmp.
E() { as env -i "$@"; }
is no-environment ok "$(E timeout 60 "$NACRE" --platform="$PLATFORM" do -- /bin/echo ok)"
is no-home ok "$(E HOME=/nonexistent XDG_RUNTIME_DIR=/nonexistent TMPDIR=/nonexistent timeout 60 "$NACRE" --platform="$PLATFORM" do -- /bin/echo ok)"
is no-runtime-dir "in a bundle 0" "$(E XDG_RUNTIME_DIR= timeout 60 "$NACRE" --platform="$PLATFORM" run --bundle "$tmp/b" r2 </dev/null) $(E "$NACRE" list -q | grep -c r2)"
is runtime-dir-unusable 1 "$(E XDG_RUNTIME_DIR=/nonexistent timeout 60 "$NACRE" run --bundle "$tmp/b" r3 </dev/null 2>&1 | grep -c 'state directory /nonexistent')"
if [ "$me" = 0 ] && unshare -m true 2>/dev/null; then
    U="setpriv --reuid $uid --regid $uid --clear-groups --bounding-set=-all env -i"
    in_ns() { timeout 60 unshare -m --propagation private sh -c "$1" </dev/null 2>&1; }
    cp "$NACRE" "$tmp/v/nacre" && chmod 755 "$tmp/v/nacre"
    do_ok="$U /mnt/nacre --platform=$PLATFORM do -- /bin/echo ok"
    is noexec-tmp ok "$(in_ns "mount --bind $tmp/v /mnt; mount -t tmpfs -o noexec,mode=1777 t /tmp; mount -t tmpfs -o noexec,mode=1777 t /dev/shm; $do_ok")"
    is home-read-only ok "$(in_ns "mount --bind $tmp/v /mnt; mount -t tmpfs -o ro t /home; $do_ok")"
    is hidepid ok "$(timeout 60 unshare -mpf sh -c "mount --bind $tmp/v /mnt; mount -t proc -o hidepid=2 proc /proc; $do_ok" </dev/null 2>&1)"
    # The kernel refuses user namespaces to who is in a chroot, too: what is then said is what the settings say.
    mkdir "$tmp/root"
    for s in unprivileged_userns_clone=0 apparmor_restrict_unprivileged_userns=1; do
        is "names-$s" 1 "$(in_ns "mount --bind $tmp/v /mnt; mount --rbind / $tmp/root; mount -t tmpfs -o mode=755 t $tmp/root/proc/sys/kernel; echo ${s#*=} >$tmp/root/proc/sys/kernel/${s%=*}; chroot $tmp/root $do_ok" | grep -c "kernel.${s%=*} is ${s#*=}")"
    done
    is names-max_user_namespaces 1 "$(timeout 60 unshare -Ur sh -c "echo 0 >/proc/sys/user/max_user_namespaces; setpriv --bounding-set=-all --inh-caps=-all $NACRE do -- /bin/echo ok" </dev/null 2>&1 | grep -c 'user.max_user_namespaces is 0')"
    rm -f "$tmp/v/nacre"; rmdir "$tmp/root"
fi

as "$NACRE" --platform="$PLATFORM" do -- sh -c 'echo ready; sleep 300; :' </dev/null >"$tmp/ready" 2>&1 &
job=$!
for i in $(seq 600); do grep -q ready "$tmp/ready" && break; sleep 0.05; done
s=$(pgrep -u $uid -x nacre | head -n 1)
b=$(pgrep -u $uid -f 'nacre boot') g=$(pgrep -u $uid -f 'nacre gofer')
for p in "$b" "$g"; do
    is locked 12 "$(awk '$1 == "NoNewPrivs:" || $1 == "Seccomp:" {printf $2}' "/proc/$p/status")"
    is uid "$uid" "$(awk '$1 == "Uid:" {print $2}' "/proc/$p/status")"
    if [ "$me" = 0 ]; then is user-namespace-differs yes "$([ "$(readlink "/proc/$p/ns/user")" != "$(readlink /proc/self/ns/user)" ] && echo yes)"; fi
done
is sentry-caps 0000000000000000 "$(awk '$1 == "CapBnd:" {print $2}' "/proc/$b/status")"
kill -9 "$s" "$job" 2>/dev/null
wait 2>/dev/null
for i in $(seq 200); do pgrep -r R,S,D -u $uid >/dev/null || break; sleep 0.05; done
is nothing-left "" "$(pgrep -r R,S,D -u $uid | tr '\n' ' ')"
[ "$me" = 0 ] && rmdir "/tmp/nacre-$uid" 2>/dev/null
exit $status
