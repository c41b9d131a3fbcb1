# Sourced by the install scripts, for what is absent.

as_root=()

# require_apt WHAT PACKAGE…: ends with an advice where apt-get is missing or may not be used.
require_apt() {
    local what=$1
    shift
    if ! command -v apt-get >/dev/null; then
        echo "$what is not installed and there is no apt-get: install it, then try again." >&2
        exit 1
    fi
    [[ $(id -u) -eq 0 ]] && return
    if ! command -v sudo >/dev/null; then
        echo "$what is not installed. As root: apt-get update && apt-get install $*" >&2
        exit 1
    fi
    as_root=(sudo)
}

# apt_install PACKAGE…
apt_install() {
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}
