#!/usr/bin/env bash
# curl, wrk, iperf3 and nmap against the examples on ringwire, and the last two against Linux's TCP too: what
# they say must be the same. Everything is made in three network namespaces, and removed. A tool that is
# not installed is skipped. Exits with 0 if nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly RING="ringwire-tools-ring-$$" LINUX="ringwire-tools-linux-$$" PEER="ringwire-tools-peer-$$"
readonly V4=10.7.0.2 V6=fd07::2 LINUX_V4=10.7.1.2 LINUX_V6=fd07:1::2 OPEN=5201 CLOSED=5202
readonly BIN=target/release
work=$(mktemp -d)
servers=()
failures=0

cleanup() {
    trap - EXIT INT TERM
    stop_servers
    for namespace in "$RING" "$LINUX" "$PEER"; do ip netns del "$namespace" 2>/dev/null; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n== %s\n' "$*"; }
die() { echo "tools: $*" >&2; exit 1; }
on_peer() { ip netns exec "$PEER" "$@"; }

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

have() {
    command -v "$1" >/dev/null && return
    say "skipped: $1 is not installed (apt-get install $1)"
    return 1
}

# join NAMESPACE INTERFACE SUBNET: a veth pair to the peer, which gets .1 and ::1 of the subnets.
join() {
    ip -n "$PEER" link add "p$2" type veth peer name "$2" || die "cannot make a veth pair"
    ip -n "$PEER" link set "$2" netns "$1"
    ip -n "$PEER" link set "p$2" up
    ip -n "$1" link set "$2" up
    ip -n "$PEER" addr add "10.7.$3.1/24" dev "p$2"
    ip -n "$PEER" addr add "$4::1/64" dev "p$2" nodad
    # A kernel on a veth leaves checksums to a device that is not there.
    on_peer ethtool -K "p$2" tx off >/dev/null || die "ethtool cannot switch TX checksum offload off"
}

make_network() {
    for namespace in "$RING" "$LINUX" "$PEER"; do
        ip netns add "$namespace" || die "cannot make network namespaces (root?)"
    done
    join "$RING" rw0 0 fd07
    join "$LINUX" lx0 1 fd07:1
    ip -n "$LINUX" link set lo up
    ip -n "$LINUX" addr add "$LINUX_V4/24" dev lx0
    ip -n "$LINUX" addr add "$LINUX_V6/64" dev lx0 nodad
    ip netns exec "$LINUX" ethtool -K lx0 tx off >/dev/null
}

# serve EXAMPLE OPTION...: starts it on ringwire, and waits until it listens.
serve() {
    local name=$1
    shift
    ip netns exec "$RING" "$BIN/$name" --interface rw0 --address "$V4/24" --address "$V6/64" "$@" >"$work/server" 2>&1 &
    servers+=($!)
    for _ in $(seq 100); do
        grep -q '^listening' "$work/server" && return
        kill -0 "${servers[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/server"
    die "$name did not start"
}

stop_servers() {
    for pid in "${servers[@]}"; do
        kill -INT "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    servers=()
}

# curl: exit status, HTTP status, bytes.
fetch() { on_peer timeout 30 curl -sS --fail -o "$work/fetched" "$@" && cmp "$work/fetched" "$work/site/file"; }
status_is() {
    local wanted=$1
    shift
    [ "$(on_peer timeout 30 curl -sS -o /dev/null -w '%{http_code}' "$@")" = "$wanted" ]
}
exit_is() {
    local wanted=$1
    shift
    on_peer timeout 30 curl -sS -o /dev/null "$@"
    [ $? -eq "$wanted" ]
}
connections_are() { # connections_are N CURL-OPTION...: over all transfers
    local wanted=$1
    shift
    on_peer timeout 30 curl -sS --fail -o /dev/null -w '%{num_connects}\n' "$@" >"$work/connects" &&
        [ "$(awk '{ n += $1 } END { print n }' "$work/connects")" -eq "$wanted" ]
}
parallel() {
    on_peer timeout 30 curl -sS --fail -Z --parallel-max 32 -o /dev/null -w '%{http_code}\n' "http://$V4/file?[1-200]" >"$work/codes" &&
        [ "$(grep -c '^200$' "$work/codes")" -eq 200 ]
}

with_curl() {
    have curl || return
    say "curl against the HTTP example"
    check "GET, IPv4" fetch "http://$V4/file"
    check "GET, IPv6" fetch "http://[$V6]/file"
    check "HTTP/1.0" fetch --http1.0 "http://$V4/file"
    check "HEAD" status_is 200 --head "http://$V4/file"
    check "what is not there" status_is 404 "http://$V4/nothing"
    check "POST is refused" status_is 405 --data x "http://$V4/file"
    check "50 requests, one connection" connections_are 1 "http://$V4/file?[1-50]"
    check "50 requests, Connection: close" connections_are 50 -H 'Connection: close' "http://$V4/file?[1-50]"
    check "200 requests, 32 at a time" parallel
    check "a closed port refuses, IPv4" exit_is 7 "http://$V4:81/"
    check "a closed port refuses, IPv6" exit_is 7 "http://[$V6]:81/"
}

# wrk WORD...: no socket error, no status but 2xx and 3xx, and some requests.
no_errors() {
    on_peer timeout 30 wrk "$@" >"$work/wrk" 2>&1
    cat "$work/wrk"
    grep 'Requests/sec' "$work/wrk" | sed 's/^/          /' >&3
    ! grep -qE 'Socket errors|Non-2xx' "$work/wrk" && awk '/requests in/ { n = $1 } END { exit !(n > 100) }' "$work/wrk"
}

with_wrk() {
    have wrk || return
    say "wrk against the HTTP example"
    check "1 connection" no_errors -t 1 -c 1 -d 2s "http://$V4/small"
    check "64 connections" no_errors -t 2 -c 64 -d 3s "http://$V4/small"
    check "400 connections" no_errors -t 2 -c 400 -d 3s "http://$V4/small"
    check "64 connections, IPv6" no_errors -t 2 -c 64 -d 2s "http://[$V6]/small"
    check "64 connections, 1 MiB each, none stands still" no_errors -t 2 -c 64 -d 8s --timeout 5s "http://$V4/file"
    check "16 connections, each closed after its request" no_errors -t 2 -c 16 -d 2s -H 'Connection: close' "http://$V4/small"
}

# iperf3 on Linux and on ringwire: both must be content, and the receiver must have got the bytes.
iperf() {
    local linux=$1 ring=$2 target rate
    shift 2
    for target in "$linux" "$ring"; do
        on_peer timeout 30 iperf3 -c "$target" -p "$OPEN" "$@" -J >"$work/iperf" 2>&1 || { tail -n 5 "$work/iperf"; return 1; }
        rate=$(awk -F '[:,]' '/"sum_sent"/ { at = "sent" } /"sum_received"/ { at = "received" }
            /"bytes"/ { bytes[at] = $2 } /"bits_per_second"/ { rate[at] = $2 } /"cpu_utilization/ { at = "" }
            END { sent = bytes["sent"] + 0; received = bytes["received"] + 0
                  printf "%.0f", rate["received"] / 1e6; exit !(received > 0.5 * sent && received < 1.1 * sent) }' "$work/iperf") ||
            { tail -n 40 "$work/iperf"; return 1; }
        echo "          $target: $rate Mbit/s" >&3
    done
}

refused() { # iperf3 says no, for a reason that it can print
    ! on_peer timeout 30 iperf3 -c "$V4" -p "$OPEN" -t 1 "$@" >"$work/iperf" 2>&1 && grep -q 'error' "$work/iperf"
}

second_client() { # a client that comes during a test is told that the server is busy
    on_peer timeout 30 iperf3 -c "$1" -p "$OPEN" -t 2 >/dev/null 2>&1 &
    local first=$!
    sleep 0.5
    on_peer timeout 30 iperf3 -c "$1" -p "$OPEN" -t 1 >"$work/iperf" 2>&1
    cat "$work/iperf"
    wait "$first" && grep -q 'the server is busy' "$work/iperf"
}

with_iperf3() {
    have iperf3 || return
    say "iperf3 against Linux, then against its example on ringwire"
    check "to the server" iperf "$LINUX_V4" "$V4" -t 2
    check "from the server (-R)" iperf "$LINUX_V4" "$V4" -t 2 -R
    check "to the server, IPv6" iperf "$LINUX_V6" "$V6" -t 1
    check "from the server, IPv6" iperf "$LINUX_V6" "$V6" -t 1 -R
    check "to the server, 8 streams" iperf "$LINUX_V4" "$V4" -t 2 -P 8
    check "from the server, 8 streams" iperf "$LINUX_V4" "$V4" -t 2 -P 8 -R
    check "so many bytes (-n)" iperf "$LINUX_V4" "$V4" -n 64M
    check "so many bytes, from the server" iperf "$LINUX_V4" "$V4" -n 64M -R
    check "the first second omitted (-O)" iperf "$LINUX_V4" "$V4" -t 1 -O 1
    check "a second client is told to wait, Linux" second_client "$LINUX_V4"
    check "a second client is told to wait, ringwire" second_client "$V4"
    check "UDP is refused" refused -u
}

# nmap's verdicts with their reasons and TTLs, one line a port. ICMP as a protocol has none: it is the answer,
# to whichever probe, that comes first.
verdicts() {
    local target=$1
    shift
    on_peer timeout 120 nmap -n -Pn --reason "$@" "$target" 2>&1 | grep -E '^[0-9]+(/| +open| +closed)' |
        sed -E 's/^(1 +open +icmp) .*/\1/'
}
same_verdicts() {
    local linux=$1 ring=$2
    shift 2
    verdicts "$linux" "$@" >"$work/linux"
    verdicts "$ring" "$@" >"$work/ring"
    [ -s "$work/linux" ] && diff "$work/linux" "$work/ring"
}

with_nmap() {
    local ports="$OPEN,$CLOSED" scan
    have nmap || return
    say "nmap against Linux and ringwire: an open and a closed port"
    for scan in sT:connect sS:SYN sA:ACK sW:window sN:NULL sF:FIN sX:Xmas sM:Maimon; do
        check "${scan#*:} scan" same_verdicts "$LINUX_V4" "$V4" "-${scan%:*}" -p "$ports"
    done
    check "SYN scan, IPv6" same_verdicts "$LINUX_V6" "$V6" -6 -sS -p "$ports"
    check "SYN and FIN together" same_verdicts "$LINUX_V4" "$V4" -sS --scanflags SYNFIN -p "$ports"
    check "closed UDP port" same_verdicts "$LINUX_V4" "$V4" -sU -p "$CLOSED"
    check "IP protocols 1, 6 and 17" same_verdicts "$LINUX_V4" "$V4" -sO -p 1,6,17
    check "service versions" same_verdicts "$LINUX_V4" "$V4" -sV -p "$ports"
}

exec 3>&1
[ -x "$BIN/http" ] && [ -x "$BIN/iperf3" ] || die "the examples are missing: run 'make tools'"
make_network
mkdir "$work/site"
head -c $((1 << 20)) /dev/urandom >"$work/site/file"
head -c 100 /dev/urandom >"$work/site/small"
serve http --port 80 --root "$work/site"
with_curl
with_wrk
stop_servers
serve iperf3 --port "$OPEN"
if command -v iperf3 >/dev/null; then
    ip netns exec "$LINUX" iperf3 -s -p "$OPEN" >/dev/null 2>&1 &
    servers+=($!)
    sleep 0.5
    with_iperf3
    with_nmap
else
    have iperf3
fi

if [ "$failures" -eq 0 ]; then
    say "all of it worked"
else
    say "$failures of the checks FAILED"
    exit 1
fi
