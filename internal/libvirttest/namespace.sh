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

# keep runs libvirtd, and again after it has crashed, as a machine does: libvirt
# 9.0 may crash when a client goes while it subscribes to events.
keep() {
	while [ ! -e "$dir/killed" ]; do
		libvirtd </dev/null >>"$dir/libvirtd.log" 2>&1 &
		echo $! >"$dir/libvirtd.pid"
		status=0
		wait $! 2>/dev/null || status=$?
		case "$status" in
		134 | 139) ;; # aborted, or a segmentation fault
		*) return ;;
		esac
	done
}
libvirtd_gets() { kill "-$1" "$(cat "$dir/libvirtd.pid")" 2>/dev/null || :; }

keeper=
while read -r order; do
	case "$order" in
	start)
		rm -f "$dir/killed"
		keep &
		keeper=$!
		;;
	crash)
		libvirtd_gets SEGV
		;;
	kill)
		: >"$dir/killed"
		while kill -0 "$keeper" 2>/dev/null; do
			libvirtd_gets KILL
			sleep 0.01
		done
		wait "$keeper" 2>/dev/null || :
		;;
	esac
	echo "$order"
done

# The test process ended without a word: nothing of it stays.
while kill -KILL -1 2>/dev/null; do
	sleep 0.1
done
rm -rf "$(readlink -f "$dir/run")" "$dir"
