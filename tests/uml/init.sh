#!/bin/sh
# PID 1 of a user-mode-linux guest (see guest.py). Its root is the host's file system, read-only; only the folder that
# "guest_folder" on the kernel's command line names can be written, and outlives the guest. Runs the script "command"
# of that folder, leaves its output in "output" and its status in "status" there, and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

# What the host mounts on these is not the guest's; devtmpfs has no names for standard input and output.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -sf /proc/self/fd /dev/fd
mount -t tmpfs -o mode=755 run /run
mkdir -m 1777 /run/lock
mkdir -m 700 /run/guest
mount -t hostfs -o "$guest_folder" guest /run/guest
exec > /run/guest/output 2>&1 < /dev/null

# The project may be below /tmp, which becomes the guest's own.
project=$(cat /run/guest/project)
mkdir /run/project
mount -t hostfs -o "$project,ro" project /run/project
mount -t tmpfs -o mode=1777 tmp /tmp
case $project in /tmp/* | /run/* | /dev/shm/*) mkdir -p "$project" && mount --move /run/project "$project" ;; esac

# The kernel asks for a module by calling the program that is named here; its modules are where the package has them.
mkdir -p /run/modules/lib
ln -s /usr/lib/uml/modules /run/modules/lib/modules
printf '#!/bin/sh\nexec modprobe -d /run/modules "$@"\n' > /run/modules/modprobe
chmod 755 /run/modules/modprobe
echo /run/modules/modprobe > /proc/sys/kernel/modprobe
# Loaded now, the first association does not wait for them; interfaces that tunnel modules make by themselves stay out.
echo 2 > /proc/sys/net/core/fb_tunnels_only_for_init_net
for module in ipv6 veth bridge tun nf_tables xfrm_user esp6 mip6 ip6_tunnel authenc cbc hmac sha256_generic echainiv; do
    /run/modules/modprobe "$module" || echo "guest: no module $module"
done
{ sleep "$(cat /run/guest/deadline)"; echo o > /proc/sysrq-trigger; } &
ip link set lo up
hostname guest

echo "guest: Linux $(uname -r) is up after $(cut -d' ' -f1 /proc/uptime) s"
/bin/sh /run/guest/command
echo $? > /run/guest/status
sync
echo o > /proc/sysrq-trigger
sleep 10 # it powers off meanwhile; PID 1 must not end before
