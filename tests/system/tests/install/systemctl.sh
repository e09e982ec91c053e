#!/bin/sh
# Stands in for systemd where it does not run: starts and stops what the installed units say, with
# their environment files, and without their sandbox, which `cargo xtask deploy` has systemd verify.
# $UNITS_STATE is where process ids and logs go.
set -eu

setting() { sed -n "s/^$2=//p" "/etc/systemd/system/$1.service"; }

environment() {
    setting "$1" Environment >"$UNITS_STATE/$1.Environment"
    while read -r line; do export "${line?}"; done <"$UNITS_STATE/$1.Environment"
    file=$(setting "$1" EnvironmentFile)
    file=${file#-}
    if [ -f "$file" ]; then
        set -a
        . "$file"
        set +a
    fi
}

each() { # each UNIT SETTING: runs every command of the setting
    setting "$1" "$2" >"$UNITS_STATE/$1.$2"
    while read -r line; do $line; done <"$UNITS_STATE/$1.$2"
}

is_active() { [ -f "$UNITS_STATE/$1.pid" ] && kill -0 "$(cat "$UNITS_STATE/$1.pid")" 2>/dev/null; }

start() {
    is_active "$1" && return
    state=$(setting "$1" StateDirectory)
    [ -z "$state" ] || mkdir -p "/var/lib/$state"
    (
        environment "$1"
        each "$1" ExecStartPre
        exec $(setting "$1" ExecStart)
    ) >>"$UNITS_STATE/$1.log" 2>&1 </dev/null &
    echo $! >"$UNITS_STATE/$1.pid"
    # As Type=exec does, this tells a program that cannot be started from one that runs.
    sleep 1
    is_active "$1" || { cat "$UNITS_STATE/$1.log" >&2; exit 1; }
}

stop() {
    is_active "$1" || return 0
    kill -TERM "$(cat "$UNITS_STATE/$1.pid")"
    while is_active "$1"; do sleep 0.1; done
    rm "$UNITS_STATE/$1.pid"
    (environment "$1" && each "$1" ExecStopPost)
}

case "$*" in
daemon-reload) ;;
"enable --now "*) start "$3" ;;
"disable --now "*) stop "$3" ;;
"restart "*) stop "$2" && start "$2" ;;
"is-active "*) is_active "$2" && echo active ;;
*)
    echo "this stand-in knows no \`systemctl $*\`" >&2
    exit 1
    ;;
esac
