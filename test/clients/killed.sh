#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 for each process of nacre (commands, supervisor, Sentry, Gofer, the stubs' zygote, stubs) at
# each stage of a container's life, while engines use it. The engine sees the end of a container whose
# processes were killed, with a status that is not 0; whatever it was can be removed, the next one
# starts, and not one process, mount, cgroup or file is left. Without ROUNDS each engine gets as many
# rounds as fit in KILL_SECONDS, the same ones each time; ROUNDS: that many for each. SEED. Arguments: engines.
. "$(dirname "$0")/lib.sh.inc"
RANDOM=${SEED:-${ROUNDS:+$$}}
# Processes of the one sandbox that there is, on standard output: WHO.
cat >"$T/who" <<W
#!/bin/bash
boot= gofer=
for p in \$(find /sys/fs/cgroup -path "*$CG/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un); do
    { IFS= read -r -d '' a; IFS= read -r -d '' b; } 2>/dev/null <"/proc/\$p/cmdline"
    [ "\$a" = nacre ] && case \$b in boot) boot=\$p ;; gofer) gofer=\$p ;; esac
    a= b=
done
kids() { pgrep -P "\${boot:-1000000000}" | sort -n; }
case \$1 in
sentry) echo \$boot ;;
gofer) echo \$gofer ;;
supervisor) awk '/^PPid:/ {print \$2}' "/proc/\${boot:-\${gofer:-x}}/status" 2>/dev/null ;;
zygote) kids | head -n 1 ;;
stub) kids | tail -n +2 | shuf -n 1 ;;
esac
W
# The runtime. "WHO STAGE US" in \$T/victim: during the command STAGE, after US microseconds, WHO is
# killed, as soon as it is there.
cat >"$T/nacre" <<W
#!/bin/bash
read -r who stage us 2>/dev/null <"$T/victim"
case " \$* " in
*" \${stage:-none} "*)
    if mv "$T/victim" "$T/hit" 2>/dev/null; then
        exec 9<&0
        "$NACRE" --platform=$PLATFORM "\$@" <&9 9<&- &
        c=\$!
        end=\$((\${EPOCHREALTIME/./} + us))
        while [ \${EPOCHREALTIME/./} -lt \$end ]; do :; done
        p=\$c
        [ "\$who" = command ] || until p=\$("$T/who" "\$who"); [ -n "\$p" ] || [ ! -d /proc/\$c ]; do :; done
        [ -n "\$p" ] && [ -d "/proc/\$p" ] && kill -KILL \$p 2>/dev/null && echo "\$who/\$stage" >>"$T/hits"
        wait \$c
        exit \$?
    fi ;;
esac
exec "$NACRE" --platform=$PLATFORM "\$@"
W
chmod 755 "$T/nacre" "$T/who"
PROCESSES=(supervisor sentry gofer zygote stub)
COMMANDS=(create start state exec kill delete pause resume)
# Every pair of who and when, and how long after the command's begin: most commands take 3 to 30 ms.
victims() {
    local who c
    for who in "${PROCESSES[@]}"; do
        for c in running paused create start exec kill pause; do echo "$who $c"; done
    done
    for c in "${COMMANDS[@]}" create create; do echo "command $c"; done
}

# What an engine has asked once to be deleted, by a command that was killed, it does not ask again, nor
# would runc's be gone then: by hand.
forgotten() { # stages of which that is true, state root
    local c
    [[ ${stage:-} =~ ^($1)$ ]] || return 0
    for c in $("$NACRE" --root "$2" list -q); do "$NACRE" --root "$2" delete --force "$c" || return 1; done
}

# --- docker ---
docker_begin() {
    command -v dockerd >/dev/null && [ -x /usr/bin/docker ] || return 1
    . "$HERE/docker.sh.inc"
    daemon_json "$T/nacre" ""
    docker_start && image_tar | $DOCKER import -c 'CMD ["sh"]' - bb >/dev/null && E run --rm $FLAGS bb true
}
docker_E() { timeout -s KILL 60 /usr/bin/docker "$@" </dev/null; }
docker_gone() {
    E rm -f kk >/dev/null 2>&1
    [ -z "$(E ps -aq)" ] && forgotten delete "$T/exec/runtime-runc/moby"
}
# --- podman ---
podman_begin() {
    command -v podman >/dev/null || return 1
    mkdir -p "$T/home" "$T/conf"
    export XDG_CONFIG_HOME=$T/conf CONTAINERS_CONF=$T/conf/containers.conf REGISTRIES_CONFIG_PATH=$T/conf/registries.conf
    printf '[containers]\nlog_driver = "k8s-file"\n[engine]\nruntime = "nacre"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n[engine.runtimes]\nnacre = ["%s"]\n' "$T/nacre" >"$CONTAINERS_CONF"
    printf 'unqualified-search-registries = []\n' >"$REGISTRIES_CONFIG_PATH"
    image_tar >"$T/layer.tar"
    E import "$T/layer.tar" localhost/bb >/dev/null 2>&1 && E run --rm $FLAGS bb true
}
podman_E() { HOME=$T/home DOCKER_CONFIG= timeout -s KILL 60 podman --root "$T/pdata" --runroot "$T/pexec" --tmpdir "$T/ptmp" "$@" </dev/null; }
# A container whose create was killed podman does not know, and does not delete either. One whose resume was
# killed when it was done is paused for podman, which would resume it until that works.
podman_gone() {
    local c
    E rm -f -t 0 kk >/dev/null 2>&1 || for c in $("$NACRE" list -q); do "$NACRE" pause "$c"; E rm -f -t 0 kk; done >/dev/null 2>&1
    [ -z "$(E ps -aq)" ] && forgotten "create|delete" /run/nacre
}

# --- both ---
E() { "${engine}_E" "$@"; }
status_of() { E inspect -f '{{.State.Status}} {{.State.ExitCode}}' kk 2>/dev/null; }
ended() { [ "$(status_of | awk '{print ($1 == "exited" || $1 == "stopped") && $2 != 0}')" = 1 ]; }
strike() { # who stage: now
    local p
    p=$("$T/who" "$1")
    [ -n "$p" ] && kill -KILL "$p" && echo "$1/$2" >>"$T/hits"
}
clean() {
    snapshot now
    cmp -s "$T/sandboxes.begin" "$T/sandboxes.now" && cmp -s "$T/mounts.begin" "$T/mounts.now" &&
        cmp -s "$T/cgroups.begin" "$T/cgroups.now" && [ -z "$(state_files)" ]
}
wrong() { echo "$engine $who $stage" >>"$T/wrong"; echo "# $engine, $who at $stage, $us us: $1"; }
round() {
    local code
    case $stage in running | paused) rm -f "$T/victim" ;; *) echo "$who $stage $us" >"$T/victim" ;; esac
    E run -d --name kk $FLAGS bb sh -c 'while :; do sleep 0.01; done'
    case $stage in
    running)
        strike "$who" running
        # Of a guest's process only the first is the container; the zygote's end shows at the next fork.
        case $who in supervisor | sentry | gofer) until_ok 20 ended || wrong "is \"$(status_of)\"" ;; esac ;;
    paused)
        E pause kk && strike "$who" paused
        [ "$who" != supervisor ] || until_ok 20 ended || wrong "is \"$(status_of)\"" ;;
    pause | resume) E pause kk; E unpause kk ;;
    esac
    E exec kk true
    code=$?
    [ $code -lt 128 ] || [ $code = 137 ] || [ $code = 255 ] || wrong "exec: status $code"
    case $((RANDOM % 4)) in 0) E kill kk ;; 1) E stop -t 0 kk ;; 2) E restart -t 0 kk ;; esac
    rm -f "$T/victim"
}
state_files() { find "$T"/exec/runtime-* /run/nacre -mindepth 1 ! -name moby ! -name .ids -printf '%P\n' 2>/dev/null; }
cleanup() {
    [ -z "${engine:-}" ] || "${engine}_gone"
    [ -f "$T/exec/containerd/containerd.pid" ] && engine_pids+=("$(cat "$T/exec/containerd/containerd.pid")")
}
FLAGS="--network none --cgroup-parent /$CG"
ran=0
for engine in ${*:-docker podman}; do
    ${engine}_begin >"$T/begin" 2>&1 || { echo "# $engine does not start here: $(tail -n 1 "$T/begin")"; continue; }
    snapshot begin
    : >"$T/wrong"
    end=$((SECONDS + ${KILL_SECONDS:-20})) done=0
    : >"$T/hits"
    while [ $done -lt "${ROUNDS:-100000}" ] && { [ -n "${ROUNDS:-}" ] || [ $SECONDS -lt $end ]; }; do
        while read -r who stage <&8; do
            [ $done -lt "${ROUNDS:-100000}" ] && { [ -n "${ROUNDS:-}" ] || [ $SECONDS -lt $end ]; } || break
            us=$((RANDOM % 2 ? RANDOM % 8000 : RANDOM * 1024 / 800))
            round >"$T/round" 2>&1
            grep '^# ' "$T/round"
            until_ok 30 ${engine}_gone || wrong "cannot be removed: $(E rm -f kk 2>&1 | tail -n 1)"
            until_ok 15 clean || wrong "left: $(cat "$T/sandboxes.now") sandbox processes, $(comm -13 "$T/mounts.begin" "$T/mounts.now" | tr '\n' ' ')$(comm -13 "$T/cgroups.begin" "$T/cgroups.now" | tr '\n' ' ')$(state_files | tr '\n' ' ')"
            [ "$(E run --rm $FLAGS bb echo on 2>&1)" = on ] || wrong "the next one does not start"
            done=$((done + 1))
        done 8< <(victims | shuf --random-source=<(yes $RANDOM))
    done
    is "killed-$engine" 0 "$(wc -l <"$T/wrong")"
    echo "# $engine: $done rounds, killed $(sort "$T/hits" | uniq -c | tr -s '\n ' ' ')"
    cleanup 2>/dev/null
    leak_check "killed-$engine"
    ran=1
done
[ $ran = 1 ] || skip "no engine"
