#!/usr/bin/env bash
# systemd/miro-siem.service: no complaint from systemd, a sandbox at or below 2.0, and the lines that the promise stands on.
# systemd-boot.sh starts it.
set -euo pipefail

EXPOSURE_MAX=2.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
unit="$root/systemd/miro-siem.service"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

claim() { # claim WHAT COMMAND...: runs the command, which has to succeed
    local what=$1 out
    shift
    if out=$("$@" 2>&1); then
        echo "ok    $what${out:+: $out}"
    else
        echo "FAIL  $what${out:+: $out}"
        failures=$((failures + 1))
    fi
}

# The binary need not be installed here: the copy's commands point to a program that exists.
verifiable_copy() { # verifiable_copy FOLDER [SED_EXPRESSION]
    mkdir -p "$work/$1"
    printf '#!/bin/sh\nexit 0\n' >"$work/$1/program"
    chmod 755 "$work/$1/program"
    sed -e "s#/usr/bin/miro-siem#$work/$1/program#; s#/bin/kill#$work/$1/program#; ${2:-}" "$unit" >"$work/$1/miro-siem.service"
    echo "$work/$1/miro-siem.service"
}

# systemd-analyze verify exits with 0 after "Unknown key …, ignoring": whatever it prints counts.
verify_is_silent() {
    local said
    said=$(systemd-analyze verify "$1" 2>&1) || { echo "exit $?: $said"; return 1; }
    [ -z "$said" ] || { echo "$said"; return 1; }
}

exposure() {
    # The unit file by its path: nothing has to be installed, and nothing that is installed counts.
    systemd-analyze security --offline=true --no-pager "$1" |
        sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p'
}

exposure_is_low() {
    local score
    score=$(exposure "$1")
    [ -n "$score" ] || { echo "systemd-analyze printed no score"; return 1; }
    echo "$score (at most $EXPOSURE_MAX)"
    awk -v score="$score" -v max="$EXPOSURE_MAX" 'BEGIN { exit !(score <= max) }'
}

not() { ! "$@"; }
has() { grep -qxF -- "$1" "$unit" || { echo "no line: $1"; return 1; }; }
seconds() { sed -n "s/^$1=\([0-9]*\)s$/\1/p" "$unit"; }
drain_fits() {
    local stop
    stop=$(seconds TimeoutStopSec)
    [ "${stop:-0}" -gt 30 ] || { echo "TimeoutStopSec is ${stop:-not in seconds}, the drain alone takes up to 30 s"; return 1; }
}
every_line_is_explained() { # a block of settings without any comment above it
    awk '/^\[/ { block = "" } /^#/ { block = "explained" } /^$/ { block = "" }
         /^[A-Z][A-Za-z]*=/ && block == "" && !/^(Description|WantedBy)=/ { print FILENAME ": unexplained: " $0; bad = 1 }
         END { exit bad }' "$unit"
}

echo "with $(systemd-analyze --version | head -n 1)"
claim "systemd-analyze verify prints nothing" verify_is_silent "$(verifiable_copy good)"
claim "an unknown key is noticed" not verify_is_silent "$(verifiable_copy typo 's/^RestartSec=/RestartSecs=/')"
claim "a value that systemd cannot read is noticed" not verify_is_silent "$(verifiable_copy value 's/^WatchdogSec=.*/WatchdogSec=soon/')"
claim "a program that is not there is noticed" not verify_is_silent "$(verifiable_copy absent "s|^ExecStart=.*|ExecStart=/nonexistent/miro-siem run|")"
claim "exposure is low" exposure_is_low "$unit"
claim "a unit without its sandbox is noticed" not exposure_is_low "$(verifiable_copy open '/^\(Protect\|Private\|Restrict\|System\|Capab\|Dynamic\)/d')"

claim "readiness is reported by the daemon" has "Type=notify"
claim "a hang ends in a restart" has "WatchdogSec=60s"
claim "whatever ends the daemon, it comes back" has "Restart=always"
claim "it comes back without end" has "StartLimitIntervalSec=0"
claim "the drain fits into the time to stop" drain_fits
claim "the configuration is checked before a start" has "ExecStartPre=/usr/bin/miro-siem check --config /etc/miro-siem/config.toml"
# shellcheck disable=SC2016  # systemd's variable, not the shell's
claim "a reload is a SIGHUP" has 'ExecReload=/bin/kill -HUP $MAINPID'
claim "the user exists only while it runs" has "DynamicUser=yes"
claim "the state is private" has "StateDirectoryMode=0700"
claim "the file sink has its directory" has "LogsDirectory=miro"
claim "a token can be handed over" has "LoadCredential=miro.token"
claim "every block of settings says why" every_line_is_explained

[ "$failures" -eq 0 ] || { echo "$failures failed"; exit 1; }
