# The same work under two names, which take turns.
now() {
    read -r seconds _ </proc/uptime
    echo "$seconds"
}
work() {
    begun=$(now)
    head -c 30000000 /dev/zero | sha256sum >/dev/null
    ended=$(now)
    awk "BEGIN { print \"bench noise $1\", $ended - $begun }"
}
for _ in 1 2 3 4 5; do
    work a
    work b
done
