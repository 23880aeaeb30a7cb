#!/bin/sh
# Run a command as if a root file system were that of the machine. What it writes goes to the
# folder BOX, but for what is bound. To be started in mount and process namespaces of its own.
#   enter.sh ROOT BOX [FROM TO]... -- COMMAND...
set -eu
root=$1 box=$2
shift 2
mkdir -p "$box/upper" "$box/work" "$box/root"
mount -t overlay -o "lowerdir=$root,upperdir=$box/upper,workdir=$box/work" overlay "$box/root"
cd "$box/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p ".$2"; else mkdir -p ".${2%/*}" && : >> ".$2"; fi
  mount --rbind "$1" ".$2"
  shift 2
done
shift
pivot_root . mnt
cd /
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp
export PATH HOME TMPDIR
umount -l /mnt
# As a service manager leaves it: mounts made in one container can reach others.
mount --make-rshared /
exec "$@"
