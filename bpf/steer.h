/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the steering program and userspace agree on. crates/xsk/src/maps.rs mirrors this file, and a
 * test there reads it to see that the counters still have the same names in the same order.
 */
#ifndef RINGWIRE_STEER_H
#define RINGWIRE_STEER_H

#include <linux/types.h>

/* Slots of the XSKMAP `xsks`: one for each RX queue, indexed by its number. */
#define STEER_MAX_QUEUES 1024
/* Entries of the hash maps `locals` and `claims`. */
#define STEER_MAX_LOCALS 4096
#define STEER_MAX_CLAIMS 65536

/* An address in network order; IPv4 as ::ffff:a.b.c.d. Key of `locals`. */
struct steer_addr {
	__u8 bytes[16];
};

/* Value of `locals`, in one byte: whose the address is, or what. */
enum steer_local {
	STEER_LOCAL_OWNED = 1,	/* ringwire's alone: all that goes there is redirected, ARP and ND too */
	STEER_LOCAL_SHARED = 2, /* the kernel's: what goes to a claimed port is redirected */
	STEER_LOCAL_GROUP = 3,	/* the solicited-node group of owned ones: listener queries are redirected */
};

/*
 * Key of `claims`: a local endpoint. The zero address (:: for IPv6, ::ffff:0.0.0.0 for IPv4) claims
 * the port on every shared address of that family. Packets to any other address are not compared with
 * the claims: what the host forwards, broadcasts and multicast are the kernel's.
 */
struct steer_claim {
	struct steer_addr addr;
	__be16 port;
	__u8 protocol; /* IPPROTO_UDP or IPPROTO_TCP */
	__u8 zero;
};

/* Index into the per-CPU array `counters`: what became of a packet. Each packet counts once. */
enum steer_reason {
	STEER_PASS_NOT_IP,	 /* an ethertype other than ARP, IPv4, IPv6 */
	STEER_PASS_VLAN,	 /* a VLAN tag in the packet: tagged traffic stays with the kernel */
	STEER_PASS_TRUNCATED,	 /* the packet, or its linear part, ends inside a header */
	STEER_PASS_MALFORMED,	 /* wrong version, IHL below 5, too many extension headers */
	STEER_PASS_FRAGMENT,	 /* an IP fragment to a shared address */
	STEER_PASS_FOREIGN,	 /* well formed, and nothing here claims it */
	STEER_PASS_NO_SOCKET,	 /* claimed, but no socket is bound to the queue it came on */
	STEER_REDIRECT_OWNED,	 /* to an owned address */
	STEER_REDIRECT_CLAIM,	 /* to a claimed port of a shared address */
	STEER_REDIRECT_ARP,	 /* ARP about an owned address */
	STEER_REDIRECT_NEIGHBOR, /* neighbour discovery of an owned address, a query for its group */
	STEER_REASONS,
};

#endif
