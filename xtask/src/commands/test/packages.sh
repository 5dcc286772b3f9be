# Tests the packages in a Debian of their own, with systemd as PID 1 of its namespace: they install,
# run as their unit with the privileges that it grants, and leave nothing behind. Needs /debian.tar,
# /pinscope.deb and /pinscope.rpm. Prints a line for each check and a summary, as Rust's harness does.
passed=0
failed=0
root=/tmp/debian

check() {
    name=$1
    shift
    if out=$("$@" 2>&1); then
        echo "test package_$name ... ok"
        passed=$((passed + 1))
    else
        echo "test package_$name ... FAILED"
        echo "$out"
        failed=$((failed + 1))
    fi
}

# Commands inside need full paths: busybox would run its own command of that name.
inside() { nsenter -t "$pid" -m -p -- "$@"; }
ctl() { inside /usr/bin/systemctl "$@"; }
get() { inside /usr/bin/curl -sf "http://127.0.0.1:9723$1"; }
is() { [ "$1" = "$2" ] || { echo "$1, not $2"; return 1; }; }

mkdir -p $root
mount -t tmpfs -o size=1500m tmpfs $root
tar xf /debian.tar -C $root && rm /debian.tar
mv /pinscope.deb /pinscope.rpm $root/
: >$root/etc/machine-id
cat >/tmp/enter.sh <<'END'
mount --make-rprivate / 2>/dev/null
cd /tmp/debian
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount --move . /
exec chroot . /usr/bin/env -i container=guest PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --log-target=console --log-level=warning \
    </dev/null >/dev/null 2>/tmp/systemd.log
END
unshare -m -p -f sh /tmp/enter.sh &
up() {
    for _ in $(seq 120); do
        pid=$(pidof systemd | tr ' ' '\n' | sort -n | head -n 1)
        [ -n "$pid" ] && state=$(ctl is-system-running 2>&1)
        case $state in running | degraded) return 0 ;; esac
        sleep 1
    done
    echo "systemd is $state"
    return 1
}
answers() {
    for _ in $(seq 60); do
        get /readyz && return 0
        sleep 1
    done
    ctl status pinscope --no-pager -l
    return 1
}
# The least privileges: not uid 0, no capability left, only three in the bounding set, and a filter
# for system calls.
least() {
    main=$(ctl show -p MainPID --value pinscope)
    status=$(inside /usr/bin/grep -E '^(Uid|CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp):' "/proc/$main/status" |
        tr -s '\t ' ' ' | tr '\n' ';')
    echo "$status"
    case $status in
    "Uid: 0"*) return 1 ;;
    *"CapPrm: 0000000000000000;CapEff: 0000000000000000;CapBnd: 000000c400000000;NoNewPrivs: 1;Seccomp: 2;"*) ;;
    *) return 1 ;;
    esac
}
# All that is resident, at least, without a capability for it.
locked() {
    status=/proc/$(ctl show -p MainPID --value pinscope)/status
    inside /usr/bin/awk '/^VmLck:/ { l = $2 } /^VmRSS:/ { r = $2 } END { print l, r; exit !(l >= r) }' "$status"
}
counts() {
    workload run memfd-pin --pages 64 --rounds 2 >/dev/null 2>&1
    sleep 2
    seen=$(get /metrics | sed -n 's/^pinscope_unmaps_total{.*"shmem",verdict="futile_pinned"} //p' |
        awk '{ n += $1 } END { print n }')
    is "$seen" 128
}
nothing_left() {
    left=$(inside /usr/bin/find / -xdev -name '*pinscope*' -not -path '/proc/*' -not -path '/sys/*' \
        -not -name pinscope.deb -not -name pinscope.rpm -not -path '/var/log/*')
    is "$left" ""
}
nothing_hooked() {
    ! grep -q -E 'try_to_unmap|shrink_(page|folio)_list' /sys/kernel/debug/kprobes/list
}

echo
echo "running 20 tests"
check system_is_up up
# Again in this shell, to set its variable "pid": the check ran in a subshell.
up
check deb_installs inside /usr/bin/dpkg -i /pinscope.deb
check deb_starts_nothing is "$(ctl is-active pinscope)" inactive
check deb_enables_nothing is "$(ctl is-enabled pinscope)" disabled
check man_page_is_there inside /usr/bin/test -s /usr/share/man/man1/pinscope.1.gz
check unit_starts ctl start pinscope
check unit_answers answers
check unit_has_the_least least
check unit_locks_its_memory locked
check unit_counts counts
check unit_reloads ctl reload pinscope
check unit_restarts ctl restart pinscope
check unit_answers_again answers
check unit_stops ctl stop pinscope
check nothing_is_hooked_then nothing_hooked
check deb_purges inside /usr/bin/dpkg -P pinscope
check deb_leaves_nothing nothing_left
check rpm_installs inside /usr/bin/rpm -i --nodeps /pinscope.rpm
check rpm_removes inside /usr/bin/rpm -e pinscope
check rpm_leaves_nothing nothing_left
word=ok
[ $failed = 0 ] || word=FAILED
echo
echo "test result: $word. $passed passed; $failed failed; 0 ignored; 0 measured; 0 filtered out"
[ $failed = 0 ]
