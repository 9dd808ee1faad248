#!/usr/bin/env bash
# What the Dockerfile builds from and what it ships, without a container engine: the build context has everything that cargo needs, and
# the binary works inside the assembled root, as a user without rights, with no path to write to but its state.
# Usage: container-root.sh BINARY. Not covered: the libraries of the image that the Dockerfile builds in (this machine's are used).
set -euo pipefail

binary=$(readlink -f "${1:?usage: container-root.sh BINARY}")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
work=$(mktemp -d)
daemon=""
cleanup() {
    [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
    chmod -R u+w "$work" && rm -rf "$work"
}
trap cleanup EXIT
failures=0

claim() { # claim WHAT COMMAND...: runs the command, which has to succeed
    local what=$1 out
    shift
    if out=$("$@" 2>&1); then
        echo "ok    $what"
    else
        echo "FAIL  $what: $out"
        failures=$((failures + 1))
    fi
}

# The files in git that .dockerignore lets through: what a builder would get from a fresh clone.
context_builds() {
    local context=target/test-tools/build-context admitted
    admitted=$(sed -n 's/^!//p' .dockerignore)
    rm -rf "$context" && mkdir -p "$context"
    # shellcheck disable=SC2086  # one word for each admitted path
    git ls-files -z $admitted | xargs -0 cp --parents -t "$context"
    CARGO_TARGET_DIR="$root/target" cargo check --quiet --locked --manifest-path "$context/Cargo.toml" --bin miro-siem
}

# Root becomes the image's user; anybody else is mapped by a user namespace, which hides the same rights.
inside=(env -i PATH=/usr/sbin:/usr/bin RUST_BACKTRACE=1)
if [ "$(id -u)" -eq 0 ]; then
    inside+=(chroot --userspec=65532:65532 "$work/image")
else
    echo "not root: the program runs under this user's own rights, in a user namespace"
    inside+=(unshare --user --map-root-user chroot "$work/image")
fi

exits_with() { # exits_with CODE PATTERN COMMAND...
    local code=$1 pattern=$2 out status=0
    shift 2
    out=$("${inside[@]}" "$@" 2>&1) || status=$?
    [ "$status" -eq "$code" ] || { echo "exit $status instead of $code: $out"; return 1; }
    grep -qE -- "$pattern" <<<"$out" || { echo "no $pattern in: $out"; return 1; }
}

no_shell() { ! find "$work/image" -type f -perm -u+x ! -name '*.so*' ! -name miro-siem | grep .; }
nothing_writable() { ! find "$work/image" -mindepth 1 -perm /022 ! -type l | grep .; }

# Starts the daemon with an unreachable Miro: it has to come up, open its state, answer, and stop when it is told to.
starts_and_stops() {
    touch "$work/before"
    "${inside[@]}" /usr/bin/miro-siem run >"$work/out" 2>"$work/err" &
    daemon=$!
    for _ in $(seq 100); do
        [ -n "$(ls -A "$work/image/var/lib/miro-siem")" ] && break
        kill -0 "$daemon" 2>/dev/null || { echo "it ended at once: $(cat "$work/err")"; return 1; }
        sleep 0.1
    done
    [ -n "$(ls -A "$work/image/var/lib/miro-siem")" ] || { echo "no state after 10 s: $(cat "$work/err")"; return 1; }
    for _ in $(seq 100); do
        "${inside[@]}" /usr/bin/miro-siem status >"$work/status" 2>&1 && break
        sleep 0.1
    done
    "${inside[@]}" /usr/bin/miro-siem status >/dev/null || { echo "no answer after 10 s: $(cat "$work/status" "$work/err")"; return 1; }
    kill -TERM "$daemon"
    local status=0 elsewhere
    wait "$daemon" || status=$?
    [ "$status" -eq 0 ] || { echo "exit $status: $(cat "$work/err")"; return 1; }
    # Without root the permissions above stop nobody, so what was written is looked at as well.
    elsewhere=$(find "$work/image" -newer "$work/before" ! -path "$work/image/var/lib/miro-siem*")
    [ -z "$elsewhere" ] || { echo "it wrote elsewhere: $elsewhere"; return 1; }
}

claim "a fresh clone through .dockerignore has all that cargo needs" context_builds

mkdir "$work/image"
chmod 755 "$work" "$work/image"
deploy/container/assemble-root "$binary" "$work/image"
cat >"$work/image/etc/miro-siem/config.toml" <<'TOML'
[admin]
listen = "127.0.0.1:19494"

[orgs.acme]
id = "1"
api_url = "http://127.0.0.1:9"
token = "not-a-token"
[orgs.acme.audit]

[sinks.screen]
type = "stdout"
TOML
echo 'stat = 1' >"$work/image/etc/miro-siem/broken.toml"
chmod -R a-w "$work/image/etc" "$work/image/usr"

claim "the root holds one program and no shell" no_shell
claim "nothing in it can be written by everybody" nothing_writable
claim "the program starts, with only the libraries in there" exits_with 0 '^miro-siem [0-9]+\.[0-9]+' /usr/bin/miro-siem --version
claim "a configuration is found where the image expects it" exits_with 0 '' /usr/bin/miro-siem check
claim "a broken configuration is refused with its key" exits_with 2 'stat' /usr/bin/miro-siem check --config /etc/miro-siem/broken.toml
claim "the health check fails while no daemon answers" exits_with 1 '' /usr/bin/miro-siem status
claim "the daemon answers the health check, writes only its state, and stops on SIGTERM" starts_and_stops

[ "$failures" -eq 0 ] || { echo "$failures failed"; exit 1; }
