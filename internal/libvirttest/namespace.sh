# Runs libvirt in a mount and a process namespace of its own, of which this
# shell is the first process: when it ends, the kernel ends everything in it.
# $1 is the folder that stands for those of the machine; orders come by stdin,
# one a line, and each is answered by a line.
set -eu
[ $$ = 1 ] || exit 1 # it ends every process it can see
dir="$1"

mount --make-rslave /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run # no systemd, no D-Bus
umount -l -R /sys/fs/cgroup 2>/dev/null || : # the machine's groups stay as they are
mkdir /run/libvirt
mount --bind "$dir/run" /run/libvirt
mount --bind "$dir/lib" /var/lib/libvirt
mount --bind "$dir/etc" /etc/libvirt
mount --bind "$dir/cache" /var/cache/libvirt
mount --bind "$dir/log" /var/log/libvirt

export LIBVIRT_DRIVER_DIR="$dir/drivers"
virtlogd </dev/null >"$dir/virtlogd.log" 2>&1 &
pid=
while read -r order; do
	case "$order" in
	start)
		libvirtd </dev/null >>"$dir/libvirtd.log" 2>&1 &
		pid=$!
		;;
	kill)
		kill -KILL "$pid"
		wait "$pid" 2>/dev/null || :
		;;
	esac
	echo "$order"
done

# The test process ended without a word: nothing of it stays.
while kill -KILL -1 2>/dev/null; do
	sleep 0.1
done
rm -rf "$dir"
