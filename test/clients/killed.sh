#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Commands of nacre are killed at any moment while engines use them: create, start, state, exec, kill,
# delete. What becomes of that one container is the engine's to say; but it can be removed, the next
# one starts, and nothing is left. ROUNDS (for all engines together; without it, for the soak only), SEED.
. "$(dirname "$0")/lib.sh.inc"
[ -n "${ROUNDS:-}" ] || skip "part of the soak"
RANDOM=${SEED:-$$}
# The runtime: kills the first command named in $T/victim after so many milliseconds.
cat >"$T/nacre" <<W
#!/bin/bash
read -r which ms 2>/dev/null <"$T/victim"
case " \$* " in
*" \${which:-none} "*)
    if mv "$T/victim" "$T/hit" 2>/dev/null; then
        exec 9<&0
        "$NACRE" --platform=$PLATFORM "\$@" <&9 9<&- &
        sleep 0.\$ms
        kill -KILL \$! 2>/dev/null && echo \$which >>"$T/hits"
        wait \$!
        exit \$?
    fi ;;
esac
exec "$NACRE" --platform=$PLATFORM "\$@"
W
chmod 755 "$T/nacre"
STAGES=(create start exec kill delete state create delete)
aim() { printf '%s %03d\n' "${STAGES[RANDOM % ${#STAGES[@]}]}" $((RANDOM % 50)) >"$T/victim"; }

# --- docker ---
DOCKER=/usr/bin/docker
export DOCKER_HOST=unix://$T/docker.sock DOCKER_CONFIG=$T/cli
D() { timeout -s KILL 60 $DOCKER "$@" </dev/null; }
docker_start() {
    cat >"$T/daemon.json" <<J
{"runtimes": {"nacre": {"path": "$T/nacre"}}, "default-runtime": "nacre", "data-root": "$T/data", "exec-root": "$T/exec",
 "pidfile": "$T/docker.pid", "hosts": ["$DOCKER_HOST"], "cgroup-parent": "/$CG", "deprecated-key-path": "$T/key.json"}
J
    command -v dockerd >/dev/null && [ -x $DOCKER ] || return 1
    dockerd --config-file "$T/daemon.json" >>"$T/dockerd.log" 2>&1 </dev/null &
    engine_pids+=($!)
    until_ok 20 $DOCKER info && $DOCKER import -c 'CMD ["sh"]' - bb <"$T/layer.tar" >/dev/null && D run --rm --network none bb true
}
docker_round() {
    D run -d --name kk --network none bb sleep 1000
    D exec kk true
    case $1 in 0) D kill kk ;; 1) D stop -t 0 kk ;; 2) D restart -t 0 kk ;; esac
    D rm -f kk
}
docker_gone() { D rm -f kk >/dev/null 2>&1; [ -z "$(D ps -aq)" ]; }
docker_works() { [ "$(D run --rm --network none bb echo on 2>&1)" = on ]; }

# --- podman ---
PODMAN() { HOME=$T/home DOCKER_CONFIG= timeout -s KILL 60 podman --root "$T/pdata" --runroot "$T/pexec" --tmpdir "$T/ptmp" "$@" </dev/null; }
PRUN="--network none --cgroup-parent /$CG"
podman_start() {
    command -v podman >/dev/null || return 1
    mkdir -p "$T/home" "$T/conf"
    export XDG_CONFIG_HOME=$T/conf CONTAINERS_CONF=$T/conf/containers.conf REGISTRIES_CONFIG_PATH=$T/conf/registries.conf
    printf '[containers]\nlog_driver = "k8s-file"\n[engine]\nruntime = "nacre"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n[engine.runtimes]\nnacre = ["%s"]\n' "$T/nacre" >"$CONTAINERS_CONF"
    printf 'unqualified-search-registries = []\n' >"$REGISTRIES_CONFIG_PATH"
    PODMAN import "$T/layer.tar" localhost/bb >/dev/null 2>&1 && PODMAN run --rm $PRUN bb true
}
podman_round() {
    PODMAN run -d --name kk $PRUN bb sleep 1000
    PODMAN exec kk true
    case $1 in 0) PODMAN kill kk ;; *) PODMAN stop -t 0 kk ;; esac
    PODMAN rm -f -t 0 kk
}
# A container whose create was killed podman does not know, and does not delete.
podman_gone() {
    local c
    PODMAN rm -f -t 0 kk >/dev/null 2>&1
    [ -z "$(PODMAN ps -aq)" ] || return 1
    for c in $("$NACRE" list -q); do "$NACRE" delete --force "$c" || return 1; done
}
podman_works() { [ "$(PODMAN run --rm $PRUN bb echo on 2>&1)" = on ]; }

state_files() {
    find "$T"/exec/runtime-* /run/nacre -mindepth 1 ! -name moby ! -name .ids -printf '%P\n' 2>/dev/null
}
cleanup() {
    docker_gone
    podman_gone
    [ -f "$T/exec/containerd/containerd.pid" ] && engine_pids+=("$(cat "$T/exec/containerd/containerd.pid")")
}
image_tar >"$T/layer.tar"
ran=0
for engine in docker podman; do
    ${engine}_start || { echo "# $engine does not start here"; continue; }
    snapshot begin
    bad=0
    : >"$T/hits"
    for i in $(seq $((ROUNDS / 2))); do
        aim
        cp "$T/victim" "$T/last"
        ${engine}_round $((RANDOM % 3)) >"$T/round" 2>&1
        rm -f "$T/victim"
        until_ok 20 ${engine}_gone || { bad=$((bad + 1)); echo "# $engine, $(cat "$T/last"): cannot be removed: $(tail -n 1 "$T/round")"; }
        ${engine}_works || { bad=$((bad + 1)); echo "# $engine, after $(cat "$T/last"): the next one does not start"; }
    done
    is "killed-$engine" 0 $bad
    echo "# $engine: killed $(sort "$T/hits" | uniq -c | tr -s '\n ' ' ')"
    leak_check "killed-$engine"
    ran=1
done
[ $ran = 1 ] || skip "no engine"
