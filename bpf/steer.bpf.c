// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The steering program: hands ringwire the packets that its maps claim and passes everything else to
 * the kernel. It never drops.
 *
 * A packet goes to the AF_XDP socket of the queue it arrived on when
 *   - it is ARP from or to an owned address,
 *   - its IP destination is an owned address (any protocol, fragments included),
 *   - it is a neighbour solicitation or advertisement about an owned address,
 *   - it is a multicast listener query to the solicited-node group of an owned address, or
 *   - it is an unfragmented UDP or TCP packet to a claimed port of a shared address.
 * Fragments to a shared address are passed: only the kernel can reassemble them, since all but the
 * first carry no port.
 *
 * Where a header lies behind others of any length, it is copied by bpf_xdp_load_bytes. The verifier lets a
 * packet pointer be moved by a number read from the packet only for CAP_PERFMON (`retrieve_ptr_limit` in
 * kernel/bpf/verifier.c), and that is a capability to read the kernel's memory.
 *
 * Built by scripts/bpf.sh; the object is committed, so that users need no clang.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "steer.h"

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_OFFSET_AND_MORE 0xfff9
#define MAX_EXTENSION_HEADERS 8

#define ARP_HARDWARE_ETHERNET 1
#define ICMPV6_LISTENER_QUERY 130
#define ICMPV6_NEIGHBOR_SOLICITATION 135
#define ICMPV6_NEIGHBOR_ADVERTISEMENT 136
/* RFC 4861, sections 7.1.1 and 7.1.2: one that crossed a router is not valid. */
#define ND_HOP_LIMIT 255
/* RFC 3810, section 5: listener messages do not cross routers. */
#define MLD_HOP_LIMIT 1

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, STEER_MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_MAX_LOCALS);
	__type(key, struct steer_addr);
	__type(value, __u8);
} locals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STEER_MAX_CLAIMS);
	__type(key, struct steer_claim);
	__type(value, __u8);
} claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEER_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* RFC 826, for Ethernet and IPv4. */
struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
} __attribute__((packed));

/* RFC 8200, sections 4.3, 4.4, 4.6; the routing header's fields where it is one. */
struct extension {
	__u8 next;
	__u8 len;
	__u8 routing_type;
	__u8 segments_left;
};

/* RFC 8200, section 4.5. */
struct fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset_and_more;
	__be32 id;
};

/* UDP and TCP alike begin with these. */
struct ports {
	__be16 source;
	__be16 dest;
};

/* RFC 4861, sections 4.3 and 4.4. No shorter is a listener query (RFC 3810, section 5.1; RFC 2710, section 3). */
struct neighbor_message {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags;
	struct steer_addr target;
};

static __always_inline void count(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &reason);

	if (counter)
		*counter += 1;
}

static __always_inline int pass(__u32 reason)
{
	count(reason);
	return XDP_PASS;
}

/* The flags argument is what the helper answers where the slot is empty. */
static __always_inline int redirect(struct xdp_md *ctx, __u32 reason)
{
	int action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);

	count(action == XDP_REDIRECT ? reason : STEER_PASS_NO_SOCKET);
	return action;
}

static __always_inline void map_ipv4(struct steer_addr *addr, const void *ipv4)
{
	__builtin_memset(addr, 0, sizeof(*addr));
	addr->bytes[10] = 0xff;
	addr->bytes[11] = 0xff;
	__builtin_memcpy(&addr->bytes[12], ipv4, 4);
}

/* An `enum steer_local`, or 0 for an address that is not in the map. */
static __always_inline __u8 local(const struct steer_addr *addr)
{
	__u8 *kind = bpf_map_lookup_elem(&locals, addr);

	return kind ? *kind : 0;
}

/*
 * Of a packet to a shared address: `at` is where the transport header begins; `any` is the family's zero
 * address.
 */
static __always_inline int steer_ports(struct xdp_md *ctx, __u32 at, __u8 protocol,
				       const struct steer_addr *dest, const struct steer_addr *any)
{
	struct steer_claim claim = { .protocol = protocol };
	struct ports ports;

	if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP)
		return pass(STEER_PASS_FOREIGN);
	if (bpf_xdp_load_bytes(ctx, at, &ports, sizeof(ports)))
		return pass(STEER_PASS_TRUNCATED);
	claim.port = ports.dest;
	claim.addr = *dest;
	if (bpf_map_lookup_elem(&claims, &claim))
		return redirect(ctx, STEER_REDIRECT_CLAIM);
	claim.addr = *any;
	if (bpf_map_lookup_elem(&claims, &claim))
		return redirect(ctx, STEER_REDIRECT_CLAIM);
	return pass(STEER_PASS_FOREIGN);
}

/*
 * The sender counts too: the answer to an address probe has an unspecified target (RFC 5227,
 * section 2.1.1), and a conflict shows as somebody else's packet with our address as its sender.
 */
static __always_inline int steer_arp(struct xdp_md *ctx, void *at)
{
	struct arp_ipv4 *arp = at;
	struct steer_addr addr;

	if ((void *)(arp + 1) > (void *)(long)ctx->data_end)
		return pass(STEER_PASS_TRUNCATED);
	if (arp->hardware != bpf_htons(ARP_HARDWARE_ETHERNET) ||
	    arp->protocol != bpf_htons(ETH_P_IP) || arp->hardware_len != 6 || arp->protocol_len != 4)
		return pass(STEER_PASS_FOREIGN);
	map_ipv4(&addr, arp->target);
	if (local(&addr) == STEER_LOCAL_OWNED)
		return redirect(ctx, STEER_REDIRECT_ARP);
	map_ipv4(&addr, arp->sender);
	if (local(&addr) == STEER_LOCAL_OWNED)
		return redirect(ctx, STEER_REDIRECT_ARP);
	return pass(STEER_PASS_FOREIGN);
}

static __always_inline int steer_ipv4(struct xdp_md *ctx, struct iphdr *ip)
{
	const __u8 zero[4] = { 0 };
	struct steer_addr dest, any;
	__u8 kind;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return pass(STEER_PASS_TRUNCATED);
	if (ip->version != 4 || ip->ihl < 5)
		return pass(STEER_PASS_MALFORMED);
	map_ipv4(&dest, &ip->daddr);
	kind = local(&dest);
	if (kind == STEER_LOCAL_OWNED)
		return redirect(ctx, STEER_REDIRECT_OWNED);
	if (kind != STEER_LOCAL_SHARED)
		return pass(STEER_PASS_FOREIGN);
	if (ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))
		return pass(STEER_PASS_FRAGMENT);
	map_ipv4(&any, zero);
	return steer_ports(ctx, ETH_HLEN + ip->ihl * 4, ip->protocol, &dest, &any);
}

/*
 * Neighbour discovery is told by its target. A solicitation goes to a group, in which an address of the
 * kernel's may be too (RFC 4291, section 2.7.1: the last three bytes count); the answer to duplicate
 * address detection goes to all nodes (RFC 4861, section 7.2.4). Where the kernel has an address in the
 * group that a listener query is for, one report will do: it leaves by the same port.
 */
static __always_inline int steer_icmpv6(struct xdp_md *ctx, __u32 at, __u8 hop_limit, __u8 kind)
{
	struct neighbor_message message;

	if (bpf_xdp_load_bytes(ctx, at, &message, sizeof(message)))
		/* Most ICMPv6 messages are shorter than these. */
		return pass(STEER_PASS_FOREIGN);
	switch (message.type) {
	case ICMPV6_NEIGHBOR_SOLICITATION:
	case ICMPV6_NEIGHBOR_ADVERTISEMENT:
		if (message.code == 0 && hop_limit == ND_HOP_LIMIT &&
		    local(&message.target) == STEER_LOCAL_OWNED)
			return redirect(ctx, STEER_REDIRECT_NEIGHBOR);
		break;
	case ICMPV6_LISTENER_QUERY:
		if (hop_limit == MLD_HOP_LIMIT && kind == STEER_LOCAL_GROUP)
			return redirect(ctx, STEER_REDIRECT_NEIGHBOR);
		break;
	}
	return pass(STEER_PASS_FOREIGN);
}

static __always_inline int steer_ipv6(struct xdp_md *ctx, struct ipv6hdr *ip)
{
	__u32 at = ETH_HLEN + sizeof(*ip);
	const struct steer_addr any = {};
	struct steer_addr dest;
	__u8 next, hop_limit, kind;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return pass(STEER_PASS_TRUNCATED);
	if (ip->version != 6)
		return pass(STEER_PASS_MALFORMED);
	__builtin_memcpy(&dest, &ip->daddr, sizeof(dest));
	kind = local(&dest);
	if (kind == STEER_LOCAL_OWNED)
		return redirect(ctx, STEER_REDIRECT_OWNED);
	next = ip->nexthdr;
	hop_limit = ip->hop_limit;

	for (int i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		struct extension extension;
		struct fragment fragment;

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
		case IPPROTO_ROUTING:
			if (bpf_xdp_load_bytes(ctx, at, &extension, sizeof(extension)))
				return pass(STEER_PASS_TRUNCATED);
			/* On its way to somewhere else: the ports are not for this host. */
			if (next == IPPROTO_ROUTING && extension.segments_left)
				return pass(STEER_PASS_FOREIGN);
			next = extension.next;
			at += (extension.len + 1) * 8;
			break;
		case IPPROTO_FRAGMENT:
			if (bpf_xdp_load_bytes(ctx, at, &fragment, sizeof(fragment)))
				return pass(STEER_PASS_TRUNCATED);
			/* An atomic fragment (RFC 6946) is a whole packet. */
			if (fragment.offset_and_more & bpf_htons(IPV6_OFFSET_AND_MORE))
				return pass(kind == STEER_LOCAL_SHARED ? STEER_PASS_FRAGMENT :
									 STEER_PASS_FOREIGN);
			next = fragment.next;
			at += sizeof(fragment);
			break;
		case IPPROTO_ICMPV6:
			return steer_icmpv6(ctx, at, hop_limit, kind);
		default:
			if (kind != STEER_LOCAL_SHARED)
				return pass(STEER_PASS_FOREIGN);
			return steer_ports(ctx, at, next, &dest, &any);
		}
	}
	return pass(STEER_PASS_MALFORMED);
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return pass(STEER_PASS_TRUNCATED);
	switch (bpf_ntohs(eth->h_proto)) {
	case ETH_P_ARP:
		return steer_arp(ctx, eth + 1);
	case ETH_P_IP:
		return steer_ipv4(ctx, (void *)(eth + 1));
	case ETH_P_IPV6:
		return steer_ipv6(ctx, (void *)(eth + 1));
	case ETH_P_8021Q:
	case ETH_P_8021AD:
		return pass(STEER_PASS_VLAN);
	default:
		return pass(STEER_PASS_NOT_IP);
	}
}

char LICENSE[] SEC("license") = "MIT";
