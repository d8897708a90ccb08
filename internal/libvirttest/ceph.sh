# Runs a cluster of Ceph with one monitor and one disk in a process namespace of
# its own, of which this shell is the first process. $1 is the cluster's folder;
# orders come by stdin, one a line, and each is answered by a line.
set -eu
[ $$ = 1 ] || exit 1 # it ends every process it can see
mount --make-rslave /
mount -t proc proc /proc
export CEPH_CONF="$1/ceph.conf"
while read -r order; do
	case "$order" in
	mon) ceph-mon -f -i a </dev/null >"$1/mon.out" 2>&1 & ;;
	osd) ceph-osd -f -i 0 </dev/null >"$1/osd.out" 2>&1 & ;;
	esac
	echo "$order"
done

# The test process ended without a word: nothing of it stays.
while kill -KILL -1 2>/dev/null; do
	sleep 0.1
done
rm -rf "$1"
