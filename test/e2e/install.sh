#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# nacre install and uninstall on the engines' configuration files.
NACRE=$(realpath "${NACRE:?}")
status=0
t=$(mktemp -d /tmp/nacre-install.XXXXXX)
trap '[ $BASHPID = $$ ] && rm -rf "$t"' EXIT
is() { if [ "$2" = "$3" ]; then echo "ok $1"; else echo "# is \"$(printf %s "$3" | tr '\n' '|')\", should be \"$2\""; echo "FAIL $1"; status=1; fi; }
N() { timeout 20 "$NACRE" "$@" 2>&1 </dev/null; }
json() { python3 -c "import json,sys; c=json.load(open(sys.argv[1])); print($2)" "$1" 2>&1; }
toml() { python3 -c "import tomllib,sys; c=tomllib.load(open(sys.argv[1],'rb')); print($2)" "$1" 2>&1; }

# docker
f=$t/etc/docker/daemon.json
N install docker --config "$f" >/dev/null; is docker-missing-file "$NACRE" "$(json "$f" 'c["runtimes"]["nacre"]["path"]')"
before=$(cat "$f"); N install docker --config "$f" >/dev/null; is docker-twice "$before" "$(cat "$f")"
N uninstall docker --config "$f" >/dev/null; is docker-back-to-nothing "" "$(ls "$t/etc/docker")"
printf '{"log-driver":"local","big":18446744073709551615,"x":[1,{"y":null}],\n"runtimes":{"other":{"path":"/o","runtimeArgs":["--a"]}},"default-runtime":"nacre"}' >"$f"
chmod 640 "$f"; old=$(cat "$f")
N install --config "$f" docker >/dev/null
is docker-keeps "local 18446744073709551615 [1, {'y': None}] /o ['--a'] $NACRE" "$(json "$f" 'c["log-driver"], c["big"], c["x"], c["runtimes"]["other"]["path"], c["runtimes"]["other"]["runtimeArgs"], c["runtimes"]["nacre"]["path"], sep=" "' | sed 's/^(//')"
is docker-mode 640 "$(stat -c %a "$f")"
is docker-backup "$old" "$(cat "$f.before-nacre")"
N install docker --config "$f" --runtime-name n2 >/dev/null; is docker-second-name "['nacre', 'n2', 'other']" "$(json "$f" 'sorted(c["runtimes"], key=lambda k: (k == "other", k == "n2"))')"
N uninstall docker --config "$f" --runtime-name n2 >/dev/null
N uninstall docker --config "$f" >/dev/null; is docker-uninstall "['other'] False" "$(json "$f" 'list(c["runtimes"]), "default-runtime" in c' | tr -d '(),' )"
mkdir "$t/elsewhere" && mv "$f" "$t/elsewhere/d.json" && ln -s "$t/elsewhere/d.json" "$f"
N install docker --config "$f" >/dev/null
is docker-link "$NACRE $t/elsewhere/d.json" "$(json "$f" 'c["runtimes"]["nacre"]["path"]') $(readlink "$f")"
printf '{broken' >"$f"; N install docker --config "$f" >/dev/null; is docker-broken "1 {broken" "$? $(cat "$f")"
printf '{"runtimes":[]}' >"$f"; N install docker --config "$f" >/dev/null; is docker-wrong-type 1 $?

# containerd
f=$t/containerd.toml
r='c["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["nacre"]'
N install containerd --config "$f" >/dev/null
is containerd-missing-file "2 io.containerd.runc.v2 $NACRE" "$(toml "$f" "str(c['version']) + ' ' + $r['runtime_type'] + ' ' + $r['options']['BinaryName']")"
before=$(cat "$f"); N install containerd --config "$f" >/dev/null; is containerd-twice "$before" "$(cat "$f")"
N uninstall containerd --config "$f" >/dev/null; [ ! -e "$f" ]; is containerd-back-to-nothing 0 $?
cat >"$f" <<'C'
# ours
version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2" # comment
C
old=$(cat "$f")
N install containerd --config "$f" >/dev/null
is containerd-beside "$NACRE io.containerd.runc.v2" "$(toml "$f" "$r['options']['BinaryName'] + ' ' + c['plugins']['io.containerd.grpc.v1.cri']['containerd']['runtimes']['runc']['runtime_type']")"
N uninstall containerd --config "$f" >/dev/null; is containerd-uninstall "$old" "$(cat "$f")"
printf 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nacre] # mine\n' >"$f"
N install containerd --config "$f" >/dev/null; is containerd-by-hand 1 $?
printf 'root = "/x"\n' >"$f"; N install containerd --config "$f" >/dev/null
is containerd-version-1 "$NACRE" "$(toml "$f" 'c["plugins"]["cri"]["containerd"]["runtimes"]["nacre"]["options"]["BinaryName"]')"

printf 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\n  SystemdCgroup = true\n' >"$f"
N install containerd --config "$f" >/dev/null; is containerd-systemd True "$(toml "$f" "$r['options']['SystemdCgroup']")"
sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' "$f"
N uninstall containerd --config "$f" >/dev/null; N install containerd --config "$f" >/dev/null
is containerd-no-systemd False "$(toml "$f" "'SystemdCgroup' in $r['options']")"

# podman
f=$t/containers.conf
N install podman --config "$f" >/dev/null; is podman-missing-file "['$NACRE']" "$(toml "$f" 'c["engine"]["runtimes"]["nacre"]')"
N uninstall podman --config "$f" >/dev/null; [ ! -e "$f" ]; is podman-back-to-nothing 0 $?
printf '[engine]\nruntime = "crun"\n\n  [engine.runtimes] # all\ncrun = ["/usr/bin/crun"]\n[network]\nx = 1\n' >"$f"; old=$(cat "$f")
N install podman --config "$f" >/dev/null; is podman-beside "['$NACRE'] ['/usr/bin/crun'] 1" "$(toml "$f" 'c["engine"]["runtimes"]["nacre"], c["engine"]["runtimes"]["crun"], c["network"]["x"]' | tr -d '(),')"
before=$(cat "$f"); N install podman --config "$f" >/dev/null; is podman-twice "$before" "$(cat "$f")"
N uninstall podman --config "$f" >/dev/null; is podman-uninstall "$old" "$(cat "$f")"
N install podman --config "$f" --runtime-name 'a"b' >/dev/null; is bad-name 1 $?
N install kubernetes >/dev/null; is unknown-engine 1 $?
N uninstall docker --config "$t/none.json" >/dev/null; is uninstall-nothing "0 no" "$? $([ -e "$t/none.json" ] && echo yes || echo no)"
exit $status
