#!/bin/busybox sh
# The guest's init: prepares the machine, runs one command with its output on channels of its own,
# reports its exit status, and stops. Its own output goes to the console, which the host keeps as a
# log.

export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/root HOME=/root TERM=dumb LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/console 2>&1
. /etc/guest.conf

mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for controller in memory cpuset io pids cpu; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr

while read -r module; do
    insmod "$module" || echo "init: $module did not load"
done </etc/modules

hostname pinscope-guest
ip link set lo up
ulimit -l unlimited
ulimit -c 0
# Some series lack one of these.
[ -e /proc/sys/kernel/io_uring_disabled ] && echo 0 >/proc/sys/kernel/io_uring_disabled
[ -e /proc/sys/kernel/kptr_restrict ] && echo 0 >/proc/sys/kernel/kptr_restrict

for disk in /sys/block/vd*; do
    [ -e "$disk/serial" ] || continue
    device=/dev/${disk##*/}
    case $(cat "$disk/serial") in
    pinscope-swap) mkswap "$device" >/dev/null && swapon "$device" ;;
    pinscope-ext4) mount -t ext4 "$device" /mnt ;;
    pinscope-tools) mount -t ext4 -o ro,noatime "$device" /opt/tools ;;
    esac
done
if [ "$SWAP" = zram ]; then
    echo 1G >/sys/block/zram0/disksize
    mkswap /dev/zram0 >/dev/null && swapon /dev/zram0
fi

# The channels: virtio ports by name, or the serial lines after the console's.
out=/dev/ttyS1 err=/dev/ttyS2 status=/dev/ttyS3
for port in /sys/class/virtio-ports/*; do
    [ -e "$port/name" ] || continue
    device=/dev/${port##*/}
    case $(cat "$port/name") in
    pinscope.out) out=$device ;;
    pinscope.err) err=$device ;;
    pinscope.status) status=$device ;;
    esac
done
for line in $out $err $status; do
    case $line in
    /dev/ttyS*) stty -F "$line" raw -echo ;;
    esac
done
exec 9>"$status"

# Copies one stream of the command to its channel, and writes the mark at its end.
pump() {
    exec 8>"$2" 9>&-
    cat <"$1" >&8 8>&- &
    echo $! >"$1.pid"
    wait $!
    printf %s "$TOKEN" >&8
}
mkfifo /run/out /run/err
pump /run/out "$out" &
out_pump=$!
pump /run/err "$err" &
err_pump=$!

read -r uptime _ </proc/uptime
echo "ready $uptime $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" >&9

cd /root || echo "init: no /root"
sh /etc/command >/run/out 2>/run/err 9>&-
code=$?

# Processes that the command left behind may keep its streams open: end them after five seconds.
(
    exec 9>&-
    sleep 5
    kill "$(cat /run/out.pid)" "$(cat /run/err.pid)"
) &
watchdog=$!
wait $out_pump $err_pump
kill $watchdog
echo "exit $code" >&9

# The host stops the machine once it has read everything; this is for a host that doesn't.
sleep 60
poweroff -f
