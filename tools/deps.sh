#!/bin/sh
# Installs what the build and the tests need (Debian 12), quietly and only when missing. With the
# argument `engines` also those that the client tests start; their services are not.
set -eu
need=""
for p in clang-19 lld-19 llvm-19 libclang-rt-19-dev meson ninja-build libjson-c-dev libseccomp-dev libcmocka-dev pkg-config libc6-dev busybox-static debootstrap git gcc make perl sqlite3 redis-server xz-utils file procps util-linux python3; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || need="$need $p"
done
if [ "${1:-}" = engines ]; then
    for p in docker.io:dockerd containerd:containerd podman:podman runc:runc uidmap:newuidmap iproute2:ip; do
        [ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "${p#*:}")" ] || need="$need ${p%:*}"
    done
    /usr/bin/python3 -c 'import grpc' 2>/dev/null || need="$need python3-grpcio" # for the CRI's socket
fi
[ -z "$need" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "missing packages:$need (run as root, or install them)" >&2; exit 1; }
apt-get update -qq
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >/dev/null
