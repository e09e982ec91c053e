# Runs a program until standard input ends, however that comes about: the writer's end is closed
# when the test that holds it ends, panics or is killed. Prints the program's process id.
#
# $1: a directory to remove at the end, unless standard input said "keep". Then the program and
# its arguments.
directory=$1
shift
PATH="$PATH:/usr/sbin:/sbin"
"$@" </dev/null >&2 &
program=$!
echo "$program"
read -r word
kill -9 "$program" 2>/dev/null
wait "$program" 2>/dev/null
if [ "$word" != keep ]; then rm -rf -- "$directory"; fi
