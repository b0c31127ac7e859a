#!/bin/sh
# PID 1 of a node, in network, mount, PID and UTS namespaces of its own.
# $1 its name, $2 its folder: becomes /run, so that all of its files, sockets and logs can be reached from outside.
set -e
hostname "$1"
resolv=$(readlink -f /etc/resolv.conf || echo /etc/resolv.conf)
mount --bind "$2" /run
mount -t sysfs sysfs /sys
# where resolv.conf points into /run (systemd-resolved) that is now ours
case "$resolv" in /run/*) mkdir -p "${resolv%/*}"; : > "$resolv" ;; esac
[ ! -e "$resolv" ] || mount --bind /run/lab/etc/resolv.conf "$resolv"
mount --bind /run/lab/etc/hosts /etc/hosts
echo ready
exec > /dev/null 2>&1 < /dev/null
# SIGCHLD ignored: the kernel reaps what is left to us; the others, so that only SIGKILL ends a node
exec env --ignore-signal=CHLD --ignore-signal=HUP --ignore-signal=INT --ignore-signal=TERM sleep infinity
