# Usage: install.sh PACKAGE ... Installs packages without questions, and without starting the
# services that some of them bring: the test bed starts its own.
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
apt-get --quiet --quiet update
apt-get --quiet --quiet --yes --no-install-recommends install "$@"
