# Installs what a script lacks, where apt is, and starts no service. To be sourced.

say() { printf '%s\n' "$*" >&2; }

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

may_use_apt() {
    command -v apt-get >/dev/null && { [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null; }
}

# Debian starts what it installs, unless this file forbids it.
policy=/usr/sbin/policy-rc.d
forbid_starting_services() {
    [[ ! -e $policy ]] || return 0
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

# In a shell of its own, whose end takes the policy away again. Nothing where apt may not be used.
install_by_apt() (
    may_use_apt || exit 0
    say "installing $*"
    forbid_starting_services
    {
        as_root apt-get update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
    } >&2
)
