#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Kubernetes' way: containerd's CRI plugin, asked over its socket as the kubelet asks it, starts pods
# with nacre as the runtime handler. RUNTIME=runc runs the same with runc.
. "$(dirname "$0")/lib.sh.inc"
for c in containerd ctr containerd-shim-runc-v2 busybox; do command -v $c >/dev/null || skip "needs $c"; done
for PY in python3 /usr/bin/python3; do $PY -c 'import grpc' 2>/dev/null && break; done
$PY -c 'import grpc' 2>/dev/null || skip "needs python3-grpcio"
printf '#!/bin/sh\nexec %s --platform=%s "$@"\n' "$NACRE" "$PLATFORM" >"$T/nacre"
[ "${RUNTIME:-nacre}" = nacre ] || ln -sf "$(command -v "$RUNTIME")" "$T/nacre"
[ -L "$T/nacre" ] || chmod 755 "$T/nacre"
mkdir -p "$T/cni"
cat >"$T/config.toml" <<C
version = 2
root = "$T/root"
state = "$T/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$T/run/cd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/local/pause:1"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "$T/cni"
  conf_dir = "$T/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "nacre"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nacre]
  runtime_type = "io.containerd.runc.v2"
  pod_annotations = ["io.kubernetes.cri.*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nacre.options]
  BinaryName = "$T/nacre"
C
C() { timeout -s KILL 60 ctr -a "$T/run/cd.sock" -n k8s.io "$@" </dev/null; }
P() { timeout -s KILL 120 "$PY" "$HERE/cri_test.py" "$T" "/$CG" "$@" </dev/null || status=1; }
engine_start() {
    containerd --config "$T/config.toml" >>"$T/containerd.log" 2>&1 </dev/null &
    engine_pids=($!)
    until_ok 30 C version || { tail -n 5 "$T/containerd.log" | sed 's/^/# /'; skip "containerd does not start here"; }
}
state_files() { ls /run/containerd/runc/k8s.io "$T/state/io.containerd.runtime.v2.task/k8s.io" 2>/dev/null | grep -v :; find /run/nacre -mindepth 1 ! -name .ids; }
engine_start
image_tar >"$T/layer.tar"
image_oci "$T/layer.tar" docker.io/local/bb:1 >"$T/bb.tar"
image_oci "$T/layer.tar" docker.io/local/pause:1 'trap "exit 0" TERM; while :; do sleep 1; done' >"$T/pause.tar"
for i in bb pause; do C images import "$T/$i.tar" >/dev/null || skip "no image"; done
snapshot begin
P life
kill -KILL "${engine_pids[0]}"; wait "${engine_pids[0]}" 2>/dev/null
engine_start
P again
P shared
[ "$status" = 0 ] || grep -aE "level=(error|fatal|warning)" "$T/containerd.log" | grep -v "skip loading" | head -n 20 | cut -c1-400 | sed "s/^/# /"
# A pod's group is the kubelet's to remove; it cannot while one of a container is left in it.
find /sys/fs/cgroup -depth -type d \( -path "*/$CG/one" -o -path "*/$CG/two" -o -path "*/$CG/three" \) -exec rmdir {} + 2>/dev/null
leak_check cri
exit $status
