# Usage: clean.sh NAME DIRECTORY CGROUP. Waits for the end of its input, then removes the run.
# A last word of "keep" leaves it. Everything is found by the run's name, and what is already gone
# is no error, so it may run twice.
trap '' HUP INT QUIT TERM
name=$1 directory=$2 group=$3
[ "$(cat)" = keep ] && exit 0
# A sweep may meet the cleaner of a program that has just died: one after the other.
if [ -d "$directory" ]; then
    exec 9>"$directory/cleaning" && flock 9
fi
failed=0

alive() {
    find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null
}

tries=0
while pids=$(alive) && [ -n "$pids" ]; do
    # cgroup.kill came with Linux 5.14; without it, ids one by one.
    { echo 1 >"$group/cgroup.kill"; } 2>/dev/null || kill -9 $pids 2>/dev/null
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then
        echo "testbed: processes of $name would not end:" $pids >&2
        failed=1
        break
    fi
    sleep 0.1
done

awk -v d="$directory/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
    while read -r mount; do
        umount "$mount" 2>/dev/null || umount -l "$mount"
    done

for namespace in /run/netns/"$name"-*; do
    [ -e "$namespace" ] && { ip netns delete "${namespace##*/}" || failed=1; }
done
# The first namespace of a machine makes this mount; it goes with the last, never before.
if [ -e "$directory/made-run-netns" ] && [ -z "$(ls -A /run/netns 2>/dev/null)" ]; then
    umount /run/netns 2>/dev/null
    rmdir /run/netns 2>/dev/null
fi

if [ -d "$group" ]; then
    find "$group" -depth -type d -exec rmdir {} \; || failed=1
fi
# Beside version 2 the containers of pods have groups of version 1.
for group in /sys/fs/cgroup/*/"$name"; do
    [ -d "$group" ] && { find "$group" -depth -type d -exec rmdir {} \; || failed=1; }
done
rm -rf --one-file-system -- "$directory" || failed=1
exit $failed
