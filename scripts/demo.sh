#!/usr/bin/env bash
# The examples on ringwire at one end of a veth pair, driven from the kernel's end by programs that nobody here
# wrote: first on the addresses that the kernel has there too, then on addresses of the ring's own. Everything is
# made in two network namespaces of its own, and removed.
# Exits with 0 if all of it worked.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly RING="ringwire-ring-$$" PEER="ringwire-peer-$$" PORT=7777
readonly V4=10.7.0.2 V6=fd07::2 ECHO=target/release/echo HTTP=target/release/http PROXY=target/release/proxy SLOTS=target/release/slots UPSTREAM=8080
readonly NUMBERED=target/release/msg_zerocopy PIECES=target/release/pieces
readonly KERNEL_PORT=2222 ADDED=10.7.0.3
work=$(mktemp -d)
echo_pid=
upstream_pid=
kernel_pid=
busy_pids=()
own=() # the options that name addresses of the ring's own; without any it shares the interface's
failures=0

cleanup() {
    trap - EXIT INT TERM
    [ -n "$echo_pid" ] && kill "$echo_pid" 2>/dev/null && wait "$echo_pid" 2>/dev/null
    [ -n "$upstream_pid" ] && kill "$upstream_pid" 2>/dev/null
    [ -n "$kernel_pid" ] && kill "$kernel_pid" 2>/dev/null
    [ "${#busy_pids[@]}" -gt 0 ] && kill "${busy_pids[@]}" 2>/dev/null
    ip netns del "$RING" 2>/dev/null
    ip netns del "$PEER" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT
trap 'cleanup; exit 143' TERM

say() { printf '\n== %s\n' "$*"; }
die() { echo "demo: $*" >&2; exit 1; }
on_peer() { ip netns exec "$PEER" "$@"; }
on_ring() { ip netns exec "$RING" "$@"; }

# check NAME COMMAND...: runs it and says whether it worked; its output is shown if it did not.
check() {
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        printf '  ok      %s\n' "$name"
    else
        printf '  FAILED  %s\n' "$name"
        sed 's/^/          /' "$work/out" | tail -n 15
        failures=$((failures + 1))
    fi
}

make_network() {
    ip netns add "$RING" && ip netns add "$PEER" || die "cannot make network namespaces"
    ip -n "$RING" link add rw0 numrxqueues 2 numtxqueues 2 type veth \
        peer name rw1 numrxqueues 2 numtxqueues 2 || die "cannot make a veth pair"
    ip -n "$RING" link set rw1 netns "$PEER"
    ip -n "$PEER" link set lo up
    ip -n "$PEER" addr add 10.7.0.1/24 dev rw1
    ip -n "$PEER" addr add fd07::1/64 dev rw1 nodad
    # A kernel at the other end of a veth leaves checksums to a device that is not there.
    on_peer ethtool -K rw1 tx off >/dev/null || die "ethtool cannot switch TX checksum offload off"
}

set_mtu() {
    ip -n "$RING" link set rw0 up mtu "$1" && ip -n "$PEER" link set rw1 up mtu "$1"
}

# Addresses that the kernel has at the ring's end, and a service of the kernel's on them, as sshd is one: it sends
# back what it gets.
kernel_has_addresses() {
    ip -n "$RING" link set lo up
    ip -n "$RING" addr add "$V4/24" dev rw0
    ip -n "$RING" addr add "$V6/64" dev rw0 nodad
    on_ring socat "TCP6-LISTEN:$KERNEL_PORT,fork,reuseaddr,ipv6only=0" EXEC:cat &
    kernel_pid=$!
    for _ in $(seq 100); do
        on_ring ss -Hlnt "sport = :$KERNEL_PORT" | grep -q . && return
        sleep 0.1
    done
    die "the kernel's service did not start"
}

ring_has_addresses() {
    kill "$kernel_pid"
    kernel_pid=
    ip -n "$RING" addr flush dev rw0 scope global
    own=(--address "$V4/24" --address "$V6/64")
}

# What the kernel at the ring's end has counted: its_count IcmpInEchos, its_count Icmp6InEchos, ...
its_count() { on_ring nstat -asz "$1" | awk -v name="$1" '$1 == name { print $2 }'; }

# answered_by_kernel COUNTER ADDRESS: three pings, which the kernel at the ring's end has counted.
answered_by_kernel() {
    local before
    before=$(its_count "$1")
    on_peer ping -c 3 -i 0.2 -W 2 "$2" && [ "$(($(its_count "$1") - before))" -eq 3 ]
}

# Until it is told to stop, a session with the kernel's service, line by line; and transfers, one after the other.
session() {
    on_peer timeout 120 bash -c '
        exec {fd}<>"/dev/tcp/$1/$2" || exit 1
        for ((i = 0; ; i++)); do
            [ -e "$3/enough" ] && break
            echo "line $i" >&"$fd"
            read -t 10 -r line <&"$fd" && [ "$line" = "line $i" ] || exit 1
        done
        echo "$i lines" >"$3/lines"
    ' - "$V4" "$KERNEL_PORT" "$work"
}

transfers() {
    local count=0
    until [ -e "$work/enough" ]; do
        on_peer timeout 60 socat -t 30 - "TCP6:[$V6]:$KERNEL_PORT" <"$work/big" | cmp - "$work/big" || return 1
        count=$((count + 1))
    done
    echo "$count transfers" >"$work/transfers"
}

keep_kernel_busy() {
    rm -f "$work/enough"
    session &
    busy_pids=($!)
    transfers &
    busy_pids+=($!)
}

kernel_was_kept_busy() {
    local pid status=0
    touch "$work/enough"
    for pid in "${busy_pids[@]}"; do wait "$pid" || status=1; done
    busy_pids=()
    [ "$status" -eq 0 ] && echo "          $(cat "$work/lines"), $(cat "$work/transfers") of 64 MiB" >&3
}

# in_use COMMAND...: at the ring's end it fails, since the port is somebody else's.
in_use() {
    ! on_ring timeout 10 "$@" </dev/null >"$work/refusal" 2>&1 && grep 'Address already in use' "$work/refusal" && return
    cat "$work/refusal"
    return 1
}

# refused ENDPOINT...: the kernel answers for the port now, and nobody has it there.
refused() {
    local endpoint
    for endpoint in "$@"; do
        echo hello | on_peer timeout 10 socat -t 5 - "$endpoint" 2>"$work/refusal"
        grep 'Connection refused' "$work/refusal" || { cat "$work/refusal"; return 1; }
    done
}

# killed ADDRESS: what a peer with an open connection sees when the ring's process is killed.
killed() {
    on_peer timeout 30 bash -c '
        exec {fd}<>"/dev/tcp/$1/$2" && echo before >&"$fd" && read -r line <&"$fd" && [ "$line" = before ] || exit 1
        kill -9 "$3"
        while kill -0 "$3" 2>/dev/null; do sleep 0.1; done
        echo after >&"$fd"
        ! read -t 10 -r line <&"$fd"
    ' - "$1" "$PORT" "$echo_pid" 2>"$work/refusal" && grep -q 'Connection reset by peer' "$work/refusal"
}

# serve EXAMPLE OPTION...: starts it at the ring's end, and waits until it listens.
serve() {
    local example=$1
    shift
    : >"$work/echo" # what the last one has said
    ip netns exec "$RING" "$example" --interface rw0 "${own[@]}" "$@" >"$work/echo" 2>&1 &
    echo_pid=$!
    await_listening
}

start_echo() { # start_echo [--zero-copy]
    serve "$ECHO" --port "$PORT" "$@"
    sed 's/^/  /' "$work/echo"
}

await_listening() {
    for _ in $(seq 100); do
        grep -q '^listening' "$work/echo" && return
        kill -0 "$echo_pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/echo"
    die "the example did not start"
}

stop_echo() {
    kill -INT "$echo_pid"
    wait "$echo_pid"
    local status=$?
    echo_pid=
    sed '1,/^listening/d; s/^/  /' "$work/echo"
    check "the echo example stops cleanly on SIGINT" test "$status" -eq 0
}

# same FILE COMMAND...: what comes back from sending the file must be the file.
same() {
    local file=$1
    shift
    on_peer timeout 5 "$@" <"$file" >"$work/back"
    cmp "$file" "$work/back"
}

ncat_echo() { # ncat leaves when its input ends, so the input stays open until the answer is there
    mkfifo "$work/fifo" 2>/dev/null
    on_peer timeout 3 ncat --udp "$1" "$PORT" <"$work/fifo" >"$work/back" &
    local pid=$!
    exec 9>"$work/fifo"
    printf 'hello\n' >&9
    for _ in $(seq 20); do [ -s "$work/back" ] && break; sleep 0.1; done
    exec 9>&-
    kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    [ "$(cat "$work/back")" = hello ]
}

snmp() { on_peer awk -v name="$1" '/^Udp:/ { if (!h) { for (i = 2; i <= NF; i++) col[$i] = i; h = 1 } else print $col[name] }' /proc/net/snmp; }

# sockperf sends at a rate; what came back is counted by the peer's kernel.
at_rate() {
    local sent received
    sent=$(snmp OutDatagrams) received=$(snmp InDatagrams)
    on_peer timeout 20 sockperf under-load -i "$V4" -p "$PORT" -t 3 --mps=20000 >"$work/sockperf" 2>&1
    sleep 0.2
    sent=$(($(snmp OutDatagrams) - sent)) received=$(($(snmp InDatagrams) - received))
    echo "          sockperf: $sent datagrams sent, $received echoes received" >&3
    [ "$sent" -gt 10000 ] && [ "$received" -ge $((sent * 9 / 10)) ]
}

# A file through a TCP connection and back; the peer closes its side first.
through() {
    on_peer timeout 60 socat -t 30 - "$1" <"$work/big" | cmp - "$work/big"
}

# Connections by bash itself, one process for all of them.
at_once() {
    on_peer timeout 30 bash -c '
        declare -a fds
        for ((i = 0; i < $3; i++)); do exec {fd}<>"/dev/tcp/$1/$2" || exit 1; fds[i]=$fd; done
        for ((i = 0; i < $3; i++)); do echo "this is connection $i" >&"${fds[i]}"; done
        for ((i = 0; i < $3; i++)); do read -r line <&"${fds[i]}" && [ "$line" = "this is connection $i" ] || exit 1; done
    ' - "$1" "$PORT" "$2"
}

in_a_row() {
    on_peer timeout 60 bash -c '
        for ((i = 0; i < $3; i++)); do
            exec {fd}<>"/dev/tcp/$1/$2" || exit 1
            echo "round $i" >&"$fd"
            read -r line <&"$fd" && [ "$line" = "round $i" ] || exit 1
            exec {fd}>&-
        done
    ' - "$1" "$PORT" "$2"
}

ncat_tcp() {
    [ "$(echo hello | on_peer timeout 5 ncat -w 2 "$1" "$PORT")" = hello ]
}

start_http() {
    mkdir -p "$work/site/below" && cp README.md "$work/site/index.html" && cp "$work/big" "$work/site/below/big"
    serve "$HTTP" --port 80 --root "$work/site"
}

start_proxy() { # to a server of the kernel's at the peer, which sends back what it gets
    ip netns exec "$PEER" socat "TCP4-LISTEN:$UPSTREAM,fork,reuseaddr,backlog=512" EXEC:cat &
    upstream_pid=$!
    serve "$PROXY" --port "$PORT" --to "10.7.0.1:$UPSTREAM"
}

# collect LISTENER: a socat at the peer writes what it gets.
collect() {
    ip netns exec "$PEER" socat -u "$1,reuseaddr" "CREATE:$work/got" &
    upstream_pid=$!
    for _ in $(seq 100); do
        on_peer ss -Hlntu "sport = :$UPSTREAM" | grep -q . && break
        sleep 0.1
    done
}

# in_pieces LISTENER ADDRESS: a file to a socat at the peer, which gets all of it.
in_pieces() {
    collect "$1"
    ip netns exec "$RING" timeout 30 "$PIECES" --interface rw0 "${own[@]}" \
        --no-dad --to "$2:$UPSTREAM" --file "$work/big" >"$work/echo" || return 1
    wait "$upstream_pid"
    cmp "$work/got" "$work/big"
}

# numbered LISTENER ADDRESS [OPTION...]: numbered messages to a socat at the peer come back, all of them as not copied;
# of a stream each is there.
numbered() {
    local listener=$1 to=$2
    shift 2
    collect "$listener"
    ip netns exec "$RING" timeout 30 "$NUMBERED" --interface rw0 "${own[@]}" \
        --no-dad --to "$to:$UPSTREAM" --messages 5000 "$@" >"$work/echo" || return 1
    [[ $listener == TCP* ]] || kill "$upstream_pid"
    wait "$upstream_pid"
    grep -q '^messages: 5000 not copied: 5000 copied: 0 ' "$work/echo" || return 1
    [[ $listener != TCP* ]] || [ "$(fold -w 1400 "$work/got" | uniq | wc -l)" -eq 5000 ]
}

uncopied() { # what the server says of itself when it has stopped
    grep -q 'copied[a-z_]*: 0 ' "$work/echo"
}

# A file to four receivers of the kernel's at the peer; each must have it as it is.
to_receivers() {
    local kinds=("UDP4-RECV:9000,rcvbuf=212992" "UDP6-RECV:9001,rcvbuf=212992" TCP4-LISTEN:9000 TCP6-LISTEN:9001)
    local kind pids=() arrived=0
    head -c $((4 << 20)) "$work/big" >"$work/movie"
    for kind in "${kinds[@]}"; do
        ip netns exec "$PEER" timeout 30 socat -u "$kind" "CREATE:$work/${kind%%-*}" &
        pids+=($!)
    done
    for _ in $(seq 50); do [ "$(on_peer ss -Hlntu | grep -c ':900[01] ')" -eq 4 ] && break; sleep 0.1; done
    ip netns exec "$RING" timeout 30 "$SLOTS" --interface rw0 "${own[@]}" \
        --file "$work/movie" --udp 10.7.0.1:9000 --udp '[fd07::1]:9001' \
        --tcp 10.7.0.1:9000 --tcp '[fd07::1]:9001' >"$work/echo" 2>&1 || cat "$work/echo"
    for kind in "${kinds[@]}"; do
        for _ in $(seq 50); do
            cmp -s "$work/movie" "$work/${kind%%-*}" && arrived=$((arrived + 1)) && break
            sleep 0.1
        done
    done
    kill "${pids[@]}" 2>/dev/null
    ls -l "$work"
    [ "$arrived" -eq 4 ]
}

one_notification() { # for each frame, whatever the receivers
    grep -q 'frames: 125, .* notifications: 125,' "$work/echo"
}

fetch() { # fetch URL FILE: what curl gets must be the file
    on_peer timeout 30 curl -sS --fail -o "$work/fetched" "$1" && cmp "$2" "$work/fetched"
}

one_connection() { # curl says how many connections it made for each transfer: one, then none
    on_peer timeout 30 curl -sS --fail -o /dev/null -w '%{num_connects}\n' "http://$V4/?[1-$1]" >"$work/connects" &&
        [ "$(wc -l <"$work/connects")" -eq "$1" ] && [ "$(awk '{ n += $1 } END { print n }' "$work/connects")" -eq 1 ]
}

exec 3>&1

[ -x "$ECHO" ] || die "$ECHO is missing: run 'make demo'"
make_network
set_mtu 1500
head -c 1200 /dev/urandom >"$work/small"
head -c 60000 /dev/urandom >"$work/large"
head -c $((64 << 20)) /dev/urandom >"$work/big"

say "an echo server on ringwire, on the kernel's own addresses: it shares them"
kernel_has_addresses
start_echo
check "ping is answered by the kernel, IPv4" answered_by_kernel IcmpInEchos "$V4"
check "ping is answered by the kernel, IPv6" answered_by_kernel Icmp6InEchos "$V6"
check "64 MiB through a service of the kernel's, IPv4" through "TCP4:$V4:$KERNEL_PORT"
check "64 MiB through a service of the kernel's, IPv6" through "TCP6:[$V6]:$KERNEL_PORT"
check "UDP, 1200 bytes, IPv4" same "$work/small" socat -T 1 - "UDP4:$V4:$PORT"
check "UDP, 1200 bytes, IPv6" same "$work/small" socat -T 1 - "UDP6:[$V6]:$PORT"
check "UDP, 60000 bytes in fragments, IPv4" same "$work/large" socat -b 65507 -T 1 - "UDP4:$V4:$PORT"
check "UDP, 60000 bytes in fragments, IPv6" same "$work/large" socat -b 65507 -T 1 - "UDP6:[$V6]:$PORT"
check "TCP, 64 MiB, IPv4" through "TCP4:$V4:$PORT"
check "TCP, 64 MiB, IPv6" through "TCP6:[$V6]:$PORT"
check "200 connections at once, IPv4" at_once "$V4" 200
check "200 connections at once, IPv6" at_once "$V6" 200
check "2,000 connections in a row: connect, echo, close" in_a_row "$V4" 2000
ip -n "$RING" addr add "$ADDED/24" dev rw0
check "an address that was added while it serves" at_once "$ADDED" 1
ip -n "$RING" addr del "$ADDED/24" dev rw0

say "a port is the kernel's or the ring's, and never both's"
check "a program of the kernel's cannot bind the ring's UDP port" in_use socat - "UDP4-RECV:$PORT"
check "a program of the kernel's cannot listen on the ring's TCP port" in_use socat - "TCP4-LISTEN:$PORT"
stop_echo
check "a ring cannot bind the kernel's port" in_use "$ECHO" --interface rw0 --port "$KERNEL_PORT"

say "the ring comes, is killed and comes again, beside the kernel's traffic on the same addresses"
keep_kernel_busy
start_echo
check "TCP, 64 MiB" through "TCP4:$V4:$PORT"
check "killed by kill -9: the kernel resets the connection" killed "$V4"
wait "$echo_pid" 2>/dev/null
check "then it refuses TCP by a reset, IPv4 and IPv6" refused "TCP4:$V4:$PORT" "TCP6:[$V6]:$PORT"
check "then it refuses UDP as an unreachable port, IPv4 and IPv6" refused "UDP4:$V4:$PORT" "UDP6:[$V6]:$PORT"
start_echo
check "started again: TCP, 64 MiB" through "TCP4:$V4:$PORT"
check "started again: UDP" same "$work/small" socat -T 1 - "UDP4:$V4:$PORT"
stop_echo
check "the kernel's session and transfers went on through all of it" kernel_was_kept_busy

say "HTTP on the kernel's own addresses, to curl; and connections of the ring's own, to the peer"
start_http
check "curl, IPv4" fetch "http://$V4/" README.md
check "curl, IPv6" fetch "http://[$V6]/index.html" README.md
check "curl, 64 MiB" fetch "http://$V4/below/big" "$work/big"
check "curl, 50 requests on one connection" one_connection 50
stop_echo
check "64 MiB to the peer, IPv4" in_pieces "TCP4-LISTEN:$UPSTREAM" 10.7.0.1
check "64 MiB to the peer, IPv6" in_pieces "TCP6-LISTEN:$UPSTREAM" '[fd07::1]'

say "an echo server on addresses of the ring's own, that the kernel has not"
ring_has_addresses
start_echo

say "ping, from the kernel's end"
check "ping, IPv4" on_peer ping -c 3 -i 0.2 -W 2 "$V4"
check "ping, IPv6" on_peer ping -c 3 -i 0.2 -W 2 "$V6"
check "ping with 1400 bytes, IPv4" on_peer ping -c 3 -i 0.2 -W 2 -s 1400 "$V4"
check "ping with 1400 bytes, IPv6" on_peer ping -c 3 -i 0.2 -W 2 -s 1400 "$V6"
check "ping with 8000 bytes in fragments, IPv4" on_peer ping -c 3 -i 0.2 -W 2 -s 8000 "$V4"

say "UDP, from the kernel's end"
check "socat, 1200 bytes, IPv4" same "$work/small" socat -T 1 - "UDP4:$V4:$PORT"
check "socat, 1200 bytes, IPv6" same "$work/small" socat -T 1 - "UDP6:[$V6]:$PORT"
check "socat, 60000 bytes in fragments, IPv4" same "$work/large" socat -b 65507 -T 1 - "UDP4:$V4:$PORT"
check "socat, 60000 bytes in fragments, IPv6" same "$work/large" socat -b 65507 -T 1 - "UDP6:[$V6]:$PORT"
check "ncat, IPv4" ncat_echo "$V4"
check "ncat, IPv6" ncat_echo "$V6"
check "sockperf, 20,000 a second: at least 99 % echoed" at_rate

say "TCP, from the kernel's end"
check "ncat, IPv4" ncat_tcp "$V4"
check "ncat, IPv6" ncat_tcp "$V6"
check "64 MiB through socat, IPv4" through "TCP4:$V4:$PORT"
check "64 MiB through socat, IPv6" through "TCP6:[$V6]:$PORT"
check "200 connections at once, IPv4" at_once "$V4" 200
check "200 connections at once, IPv6" at_once "$V6" 200
check "2,000 connections in a row: connect, echo, close" in_a_row "$V4" 2000

say "what the server counted"
stop_echo

say "the echo server without a copy: sent back from where the NIC wrote it"
start_echo --zero-copy
check "socat, 1200 bytes over UDP, IPv4" same "$work/small" socat -T 1 - "UDP4:$V4:$PORT"
check "socat, 1200 bytes over UDP, IPv6" same "$work/small" socat -T 1 - "UDP6:[$V6]:$PORT"
check "64 MiB through socat over TCP, IPv4" through "TCP4:$V4:$PORT"
check "64 MiB through socat over TCP, IPv6" through "TCP6:[$V6]:$PORT"
check "200 connections at once, IPv4" at_once "$V4" 200
stop_echo
check "no payload was copied" uncopied

say "a proxy that moves no byte, between the peer and a server at the peer"
start_proxy
check "64 MiB through the proxy and back, IPv4" through "TCP4:$V4:$PORT"
check "64 MiB through the proxy and back, IPv6" through "TCP6:[$V6]:$PORT"
check "50 connections at once" at_once "$V4" 50
stop_echo
kill "$upstream_pid" 2>/dev/null
check "no payload was copied" uncopied

say "a file to two receivers of datagrams and two of streams, frame by frame, by notification slots"
check "4 MiB to each, IPv4 and IPv6" to_receivers
sed -n 's/^Tally/  Tally/p' "$work/echo"
check "one notification for each frame" one_notification
check "no payload was copied" uncopied

say "a file in pieces of a registered area, in bundles, to the peer"
check "64 MiB, IPv4" in_pieces "TCP4-LISTEN:$UPSTREAM" 10.7.0.1
check "64 MiB, IPv6" in_pieces "TCP6-LISTEN:$UPSTREAM" '[fd07::1]'
sed -n 's/^Tally/  Tally/p' "$work/echo"
check "no payload was copied" uncopied

say "messages that are numbered, to the peer"
check "TCP, IPv4, told in the error queue" numbered "TCP4-LISTEN:$UPSTREAM" 10.7.0.1
check "TCP, IPv6, told with the sends" numbered "TCP6-LISTEN:$UPSTREAM" '[fd07::1]' --inline
check "UDP, IPv4, told with the sends" numbered "UDP4-RECV:$UPSTREAM" 10.7.0.1 --udp --inline
check "UDP, IPv6, told in the error queue" numbered "UDP6-RECV:$UPSTREAM" '[fd07::1]' --udp --limit 1

say "HTTP: a folder of files over ringwire, to curl"
start_http
check "curl, IPv4" fetch "http://$V4/" README.md
check "curl, IPv6" fetch "http://[$V6]/index.html" README.md
check "curl, 64 MiB" fetch "http://$V4/below/big" "$work/big"
check "curl, what is not there" bash -c '! "$@"' - ip netns exec "$PEER" curl -sS --fail -o /dev/null "http://$V4/nothing"
check "curl, 50 requests on one connection" one_connection 50
stop_echo

say "again with an MTU of 9000: packets of several chunks"
set_mtu 9000
start_echo
check "ping with 8000 bytes, IPv4" on_peer ping -c 3 -i 0.2 -W 2 -M do -s 8000 "$V4"
check "ping with 8000 bytes, IPv6" on_peer ping -c 3 -i 0.2 -W 2 -M do -s 8000 "$V6"
head -c 8000 /dev/urandom >"$work/jumbo"
check "socat, 8000 bytes, IPv4" same "$work/jumbo" socat -b 9000 -T 1 - "UDP4:$V4:$PORT"
check "socat, 8000 bytes, IPv6" same "$work/jumbo" socat -b 9000 -T 1 - "UDP6:[$V6]:$PORT"
check "64 MiB through socat over TCP, IPv4" through "TCP4:$V4:$PORT"
check "64 MiB through socat over TCP, IPv6" through "TCP6:[$V6]:$PORT"
stop_echo

if [ "$failures" -eq 0 ]; then
    say "all of it worked"
else
    say "$failures of the checks FAILED"
    exit 1
fi
