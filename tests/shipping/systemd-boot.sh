#!/usr/bin/env bash
# The unit under a real systemd: boots this machine's /usr in a container of systemd-nspawn, with the binary and the unit in it, and
# starts, asks, reloads, stops and misconfigures the service. Only here does the sandbox meet the program.
# Usage: systemd-boot.sh BINARY. It takes seconds, and leaves nothing behind. Where the machine starts no container (no root, no
# systemd-nspawn, or a container already), it says NOT RUN, and that the unit was only checked on paper.
set -euo pipefail

binary=$(readlink -f "${1:?usage: systemd-boot.sh BINARY}")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
not_run() {
    echo "NOT RUN: the unit under a real systemd, because $1"
    exit 0
}
[ "$(id -u)" -eq 0 ] || not_run "only root can start a container"
command -v systemd-nspawn >/dev/null || not_run "there is no systemd-nspawn (Debian's package systemd-container)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A root directory with nothing of this machine's but /usr.
machine="$work/machine"
mkdir -p "$machine"/{etc/systemd/system,etc/miro-siem,etc/credstore,usr,var/lib,var/log,proc,sys,dev,run,tmp,root,result} "$work/result"
for link in bin sbin lib lib64; do ln -s "usr/$link" "$machine/$link"; done
cp /usr/lib/os-release "$machine/etc/os-release"
echo "root:x:0:0:root:/root:/bin/sh" >"$machine/etc/passwd"
printf 'root:x:0:\n' >"$machine/etc/group"
printf 'passwd: files systemd\ngroup: files systemd\nhosts: files\n' >"$machine/etc/nsswitch.conf"
echo "127.0.0.1 localhost receiver.example.com" >"$machine/etc/hosts"
: >"$machine/etc/machine-id"
install -D -m 755 "$binary" "$work/extra/bin/miro-siem"
cp "$root/systemd/miro-siem.service" "$machine/etc/systemd/system/"

cat >"$machine/etc/miro-siem/config.toml" <<'TOML'
[orgs.acme]
id = "1"
api_url = "http://receiver.example.com:9"
token = { credential = "miro.token" }
[orgs.acme.audit]

[sinks.archive]
type = "file"
path = "/var/log/miro/{stream}-%Y-%m-%d.ndjson"
TOML
install -m 600 /dev/stdin "$machine/etc/credstore/miro.token" <<<"not-a-token"

# Runs inside, as root. Everything that it learns goes into files of /result.
install -m 755 /dev/stdin "$machine/probe" <<'SH'
#!/bin/bash
learn() { local name=$1; shift; "$@" >"/result/$name" 2>&1; echo $? >"/result/$name.exit"; }
learn start systemctl start miro-siem
learn status /usr/bin/miro-siem status
learn pid systemctl show --value --property MainPID miro-siem
learn uid stat --format %u "/proc/$(cat /result/pid)"
learn state stat --format %a /var/lib/private/miro-siem
learn files find /var/lib/private/miro-siem -type f
learn logs stat --format %a /var/log/private/miro
learn reload systemctl reload miro-siem
sleep 1
learn pid_after systemctl show --value --property MainPID miro-siem
learn active systemctl is-active miro-siem
learn stop timeout 60 systemctl stop miro-siem
learn result systemctl show --value --property Result miro-siem
learn restarts systemctl show --value --property NRestarts miro-siem
echo 'stat = 1' >>/etc/miro-siem/config.toml
learn broken timeout 20 systemctl start miro-siem
journalctl --unit miro-siem --no-pager --output cat >/result/journal 2>&1
touch /result/finished
systemctl poweroff --force
SH
cat >"$machine/etc/systemd/system/probe.service" <<'UNIT'
[Unit]
Requires=basic.target
After=basic.target
[Service]
Type=oneshot
ExecStart=/probe
UNIT
# A container has no network to wait for.
for unit in systemd-networkd systemd-networkd-wait-online ifupdown-wait-online systemd-firstboot; do
    ln -s /dev/null "$machine/etc/systemd/system/$unit.service"
done

container() {
    timeout 180 systemd-nspawn --quiet --register=no --keep-unit --private-network --directory="$machine" \
        --overlay-ro="/usr:$work/extra:/usr" --bind="$work/result:/result" "$@" </dev/null
}
# One that does nothing, first: what it says is about the machine, what the next one says is about the unit.
said=$(container /bin/true 2>&1) || not_run "this machine does not start a container: ${said//$'\n'/; }"
container --boot systemd.unit=probe.service >"$work/boot.log" 2>&1 || true
[ -e "$work/result/finished" ] || { echo "the container did not come to its end:"; tail -n 40 "$work/boot.log"; exit 1; }

failures=0
is() { # is WHAT FILE PATTERN
    local found
    found=$(cat "$work/result/$2")
    # shellcheck disable=SC2053  # a pattern
    if [[ "$found" == $3 ]]; then
        echo "ok    $1"
    else
        echo "FAIL  $1: $found"
        failures=$((failures + 1))
    fi
}
is "the service starts and reports that it is ready" start.exit 0
is "the running daemon answers" status.exit 0
is "systemd knows its process" pid "[1-9]*"
is "it runs as a user of its own, from systemd's range" uid "[6][0-9][0-9][0-9][0-9]"
is "its state directory is private" state 700
is "it can write its state" files "*/var/lib/private/miro-siem/*"
is "the file sink has its directory" logs 750
is "a reload succeeds" reload.exit 0
is "it runs on after a reload" active active
is "it is still the same process" pid_after "$(cat "$work/result/pid")"
is "a stop ends in time" stop.exit 0
is "a stop is no failure" result success
is "nothing restarted it" restarts 0
is "a broken configuration does not start" broken.exit "[1-9]*"
is "and the log names the key" journal "*stat*"
if [ "$failures" -gt 0 ]; then
    echo "$failures failed; the service said:"
    cat "$work/result/journal"
    exit 1
fi
