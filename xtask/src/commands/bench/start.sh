# The time until the hooks are attached, memory, CPU while idle, and a burst with events.
export TMPDIR=/mnt
field() {
    sed -n "s/.*\"$1\": \([0-9.e-]*\).*/\1/p" "$2" | head -n 1
}
for _ in 1 2 3 4 5; do
    for how in auto kprobe; do
        ms=$(pinscope -v capture --attach $how -d 10ms -o /dev/null 2>&1 |
            sed -n 's/.*active after \([0-9]*\) ms.*/\1/p')
        echo "bench start attach-$how $(awk "BEGIN { print $ms / 1000 }")"
    done
done
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
for how in auto kprobe; do
    # The first sample, right after the attach, costs more than all later ones: leave it out.
    pinscope -q capture --attach $how -d 30s -i 1s --format json -o /tmp/idle.json &
    pid=$!
    sleep 6
    before=$(ticks $pid)
    sleep 20
    awk "BEGIN { printf \"figure start idle-$how %.2f %% of a CPU at 1 s intervals\n\",
        ($(ticks $pid) - $before) / 20 }"
    wait $pid
    awk "BEGIN { printf \"figure start rss-$how %.1f MiB peak\n\",
        $(field rss_bytes /tmp/idle.json) / 1048576 }"
done
echo "figure start binary $(($(wc -c </bin/pinscope) / 1024)) KiB"
pinscope -q capture --events 1000 --format json -o /tmp/burst.json -- \
    workload burst --pages 256 --rounds 400 >/dev/null
pinscope report /tmp/burst.json | sed -n '/^What became/,/^$/p;/^How far/,$p' | sed 's/^/figure start burst: /'
export LC_ALL=C.UTF-8
tmux -u -f /dev/null new-session -d -x 80 -y 24 'pinscope live'
sleep 6
pid=$(pidof pinscope)
before=$(ticks "$pid")
sleep 20
awk "BEGIN { printf \"figure start idle-live %.2f %% of a CPU, dashboard at 80x24 and 1 s intervals\\n\",
    ($(ticks "$pid") - $before) / 20 }"
tmux kill-server
