#!/bin/sh
# Makes a machine of new namespaces, as their first process, and then is its SSH server.
#
#   unshare --pid --net --mount --fork --kill-child --mount-proc sh boot.sh FOLDER SEEN...
#
# FOLDER holds sshd_config and passwd; the homes that passwd names are in FOLDER. The folders SEEN
# stay where they are, read-only. Nothing else of /tmp is there.
set -e
folder=$1

ip link set lo up

mount -t tmpfs tmpfs /mnt
number=0
for path in "$@"; do
    number=$((number + 1))
    mkdir "/mnt/$number"
    mount --bind "$path" "/mnt/$number"
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
number=0
for path in "$@"; do
    number=$((number + 1))
    mkdir -p "$path"
    mount --bind "/mnt/$number" "$path"
    test "$path" = "$folder" || mount -o remount,bind,ro "$path"
done

mount --bind "$folder/passwd" /etc/passwd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd
touch "$folder/ready"
exec /usr/sbin/sshd -D -E "$folder/sshd.log" -f "$folder/sshd_config"
