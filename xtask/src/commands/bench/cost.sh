# What pinscope adds to 25,600 futile unmaps, measured as system time of the workload.
#
# It is compared with a bpftrace script that correlates the unmap, the notifier within it, and
# __remove_mapping. Empty probes at all of pinscope's hooks are the floor for each attach mode.
export TMPDIR=/mnt
work="/bin/workload burst --pages 256 --rounds 100"

cat >/tmp/script.bt <<'END'
BEGIN { printf("attached\n"); }
kprobe:try_to_unmap { @start[tid] = nsecs; @folio[tid] = arg0; }
kprobe:__mmu_notifier_invalidate_range_start /@start[tid]/ { @notified[tid] = nsecs; }
kretprobe:__mmu_notifier_invalidate_range_start /@notified[tid]/ {
    @notifier_calls = count();
    @notifier_ns = hist(nsecs - @notified[tid]);
    delete(@notified[tid]);
}
kretprobe:try_to_unmap /@start[tid]/ {
    @unmaps = count();
    @unmap_ns = hist(nsecs - @start[tid]);
    @pending[tid] = @folio[tid];
    delete(@start[tid]);
    delete(@folio[tid]);
}
kprobe:__remove_mapping { @removing[tid] = arg1; }
kretprobe:__remove_mapping /@removing[tid]/ {
    if (@removing[tid] == @pending[tid] && retval == 0) { @futile[comm] = count(); }
    delete(@removing[tid]);
    delete(@pending[tid]);
}
END
cat >/tmp/empty-kprobe.bt <<'END'
kprobe:shrink_folio_list, kprobe:reclaim_pages, kprobe:try_to_unmap, kprobe:try_to_unmap_one,
kprobe:__mmu_notifier_invalidate_range_start, kprobe:__mmu_notifier_invalidate_range_end,
kprobe:__remove_mapping { }
kretprobe:shrink_folio_list, kretprobe:reclaim_pages, kretprobe:try_to_unmap,
kretprobe:__mmu_notifier_invalidate_range_start, kretprobe:__mmu_notifier_invalidate_range_end,
kretprobe:__remove_mapping { }
END
sed 's/kretprobe:/kretfunc:/g; s/kprobe:/kfunc:/g' /tmp/empty-kprobe.bt >/tmp/empty-fentry.bt

# Reads the time from the workload's JSON, whatever else is printed beside it.
seconds() {
    grep -o '"system_seconds":[0-9.e-]*' | head -n 1 | cut -d: -f2
}
say() {
    [ -n "$2" ] && echo "bench $BENCH $1 $2"
}
for _ in 1 2 3 4 5; do
    say none "$($work | seconds)"
    say empty-fentry "$(bpftrace /tmp/empty-fentry.bt -c "$work" | seconds)"
    say pinscope "$(pinscope -q capture -o /tmp/auto.json --format json -- $work | seconds)"
    say empty-kprobe "$(bpftrace /tmp/empty-kprobe.bt -c "$work" | seconds)"
    say pinscope-kprobe \
        "$(pinscope -q capture --attach kprobe -o /tmp/kprobe.json --format json -- $work | seconds)"
    say script "$(bpftrace /tmp/script.bt -c "$work" 2>/tmp/script.err | tee /tmp/script.out | seconds)"
done
for how in auto kprobe; do
    total=$(grep -A 3 '"futile_pinned": {' /tmp/$how.json | grep -m 1 '"folios"' | tr -dc 0-9)
    echo "figure $BENCH pinscope-$how counted $total of 25600 as futile_pinned"
done
futile=$(sed -n 's/^@futile\[workload\]: //p' /tmp/script.out)
echo "figure $BENCH the script counted ${futile:-0} of 25600 as futile"
