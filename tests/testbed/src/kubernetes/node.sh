# Usage: node.sh DIRECTORY. In a mount namespace of its own: puts the directory's parts in the places
# of a machine's own, says so, and keeps the namespace until it is ended.
set -e
cd "$1"
mount --make-rprivate /
for place in etc run var/lib var/log; do
    mount --bind "$place" "/$place"
done
# A kubelet sets these for the whole machine; here it finds them set, in files.
find proc -type f | while read -r file; do
    mount --bind "$file" "/$file"
done
mount --make-rshared /
: >mounted
cd /
exec sleep infinity
