/* What DPDK's headers offer only as static inline functions, macros or bit-fields, as plain functions and
 * constants. In: pointers that the safe layer (src/dpdk) owns. Out: the same calls, one per burst. Nothing here
 * keeps state, allocates or checks: the preconditions are those of the DPDK function named in each line.
 *
 * Builds on DPDK 22.11, 23.11 and 24.11: no mbuf marker members, no renamed symbol without a condition.
 */
#ifndef TICKPATH_DPDK_SHIM_H
#define TICKPATH_DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_build_config.h>
#include <rte_version.h>
#include <rte_bus.h>
#include <rte_debug.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_ring_peek_zc.h>
#include <rte_telemetry.h>

#if RTE_VERSION < RTE_VERSION_NUM(22, 11, 0, 0)
#error "DPDK 22.11 or newer is needed"
#endif

/* Where the fields of an mbuf are in the installed headers: Rust reads them in place, without a call. */
enum shim_mbuf_layout {
	SHIM_MBUF_SIZE = sizeof(struct rte_mbuf),
	SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	SHIM_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	SHIM_MBUF_PORT = offsetof(struct rte_mbuf, port),
	SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	SHIM_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	SHIM_MBUF_VLAN_TCI_OUTER = offsetof(struct rte_mbuf, vlan_tci_outer),
	SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	SHIM_MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM,
	SHIM_CACHE_LINE = RTE_CACHE_LINE_SIZE,
};

enum shim_limits {
	SHIM_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE,
	/* The pool's name becomes a ring's name with "MP_" in front and a memory zone's with "RG_". */
	SHIM_MEMPOOL_NAME_MAX = RTE_MEMPOOL_NAMESIZE - 1,
	SHIM_RING_NAME_MAX = RTE_RING_NAMESIZE - 1,
	SHIM_MAX_LCORE = RTE_MAX_LCORE,
	SHIM_RING_HEADER = sizeof(struct rte_ring),
	SHIM_RING_SPSC = RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ,
};

/* 64-bit flags that the headers write as RTE_BIT64(n), which bindgen cannot read. */
static const uint64_t SHIM_MBUF_F_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t SHIM_MBUF_F_RX_QINQ_STRIPPED = RTE_MBUF_F_RX_QINQ_STRIPPED;
static const uint64_t SHIM_MBUF_F_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t SHIM_MBUF_F_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t SHIM_MBUF_F_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t SHIM_MBUF_F_RX_IP_CKSUM_NONE = RTE_MBUF_F_RX_IP_CKSUM_NONE;
static const uint64_t SHIM_MBUF_F_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SHIM_MBUF_F_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t SHIM_MBUF_F_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t SHIM_MBUF_F_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t SHIM_MBUF_F_INDIRECT = RTE_MBUF_F_INDIRECT;
static const uint64_t SHIM_MBUF_F_EXTERNAL = RTE_MBUF_F_EXTERNAL;
static const uint64_t SHIM_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_VLAN_STRIP = RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
static const uint64_t SHIM_RX_OFFLOAD_TIMESTAMP = RTE_ETH_RX_OFFLOAD_TIMESTAMP;
static const uint64_t SHIM_TX_OFFLOAD_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;

/* The part of rte_eth_dev_info that does not change its shape between versions. */
struct shim_port_info {
	char driver[64];
	int32_t numa_node; /* -1: unknown */
	uint16_t rx_queues_max;
	uint16_t tx_queues_max;
	uint16_t rx_descriptors_min;
	uint16_t rx_descriptors_max;
	uint16_t rx_descriptors_align;
	uint16_t tx_descriptors_min;
	uint16_t tx_descriptors_max;
	uint16_t tx_descriptors_align;
	uint16_t mtu;
	uint16_t mtu_max;
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint8_t mac[6];
};

typedef void (*shim_log_line)(uint32_t level, const char *text, size_t len);

/* A block of memory with a name: pools, rings and drivers' queues are made of such. */
struct shim_memzone {
	char name[RTE_MEMZONE_NAMESIZE];
	const void *addr;
	size_t len;
};

/* EAL */
int shim_errno(void);
uint32_t shim_memzones(struct shim_memzone *out, uint32_t max); /* how many there are; the first `max` are written */
uint32_t shim_lcore_id(void);
int shim_log_capture(shim_log_line line); /* rte_openlog_stream over a stream that calls `line` */

/* rte_pktmbuf_pool_create, except that without hugepages objects may lie across small pages: otherwise every frame
 * takes a page of its own, and all their headers compete for the same few sets of the first-level cache. */
struct rte_mempool *shim_pool_create(const char *name, uint32_t n, uint32_t cache, uint16_t priv, uint16_t room,
				     int socket);

void shim_pool_flush(struct rte_mempool *pool); /* the calling lcore's cache */

/* The same with every object within one page of `page` bytes: a card that maps memory by pages wants its buffers so. Objects
 * begin at changing places of their pages, so that their headers do not compete for the same sets of the first-level cache. */
struct rte_mempool *shim_pool_create_in_pages(const char *name, uint32_t n, uint32_t cache, uint16_t priv, uint16_t room,
					      int socket, uint32_t page);

/* A stretch of memory that a pool lies in. */
struct shim_chunk {
	const void *at;
	size_t bytes;
};
uint32_t shim_pool_chunks(struct rte_mempool *pool, struct shim_chunk *out, uint32_t max); /* as shim_memzones */

/* mbuf: `n` mbufs or none; 0 or a negative errno */
int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **out, uint32_t n);
struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
void shim_mbuf_free(struct rte_mbuf *m);
void shim_mbuf_free_bulk(struct rte_mbuf **m, uint32_t n);
void shim_mbuf_refcnt_add(struct rte_mbuf *m, int16_t by);
int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);

/* Where drivers put receive stamps and which flag says that a mbuf has one; -1 while no driver has asked for them. */
int shim_rx_stamp(uint32_t *offset, uint64_t *flag);
int shim_rx_stamp_register(void); /* ask for them */

/* ethdev */
uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **out, uint16_t n);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **in, uint16_t n);
int shim_port_info(uint16_t port, struct shim_port_info *out);
int shim_port_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues, uint64_t rx_offloads,
			uint64_t tx_offloads, uint16_t mtu /* 0: leave */);
int shim_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket, uint64_t offloads,
			struct rte_mempool *pool);
/* 1: up, 0: down, or a negative errno; -ENODEV when the device is gone. Does not wait. */
int shim_port_link(uint16_t port);
/* How EAL finds the device of a port: what rte_eal_hotplug_add wants of it. */
struct shim_port_device {
	char bus[64];
	char name[64];
	char args[4096];
};
int shim_port_device(uint16_t port, struct shim_port_device *out); /* -E2BIG: longer than there is room for */
int shim_port_set_mac(uint16_t port, const uint8_t mac[6]);
/* Count events of being reset or removed, the port's and those of its device on the bus unless that is NULL, from now on; and how
 * many there were. 0, or a negative errno: some go unheard. */
int shim_port_count_events(uint16_t port, const char *device);
void shim_port_forget_events(uint16_t port, const char *device);
uint32_t shim_port_resets(uint16_t port);
uint32_t shim_port_removals(uint16_t port);
int shim_port_multicast(uint16_t port, const uint8_t (*macs)[6], uint32_t n);
int shim_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket, uint64_t offloads);

/* Have the device put UDP to `group`:`udp_port` (network order), with this VLAN tag unless it is 0, into `queue`: validated,
 * then created. 0 or a negative errno, and the device's words in `why`. */
int shim_flow_steer(uint16_t port, uint32_t group, uint16_t udp_port, uint16_t vlan, uint16_t queue, char *why,
		    size_t room);
int shim_flow_flush(uint16_t port);

/* rte_ring, one producer and one consumer.
 *
 * push and pop move as many of `n` elements as there is room (or there are) and return how many, with what is left
 * free (or filled) in the upper half. They choose the transfer: DPDK's own for a few pointers, and otherwise a copy
 * into the reserved space, because rte_ring_*_burst_elem copies in 32-bit words (64-byte elements in bursts of 32:
 * 25 cycles an element against 4). benches/ring.rs prints the comparison. */
uint64_t shim_ring_push(struct rte_ring *r, const void *from, uint32_t esize, uint32_t n);
uint64_t shim_ring_pop(struct rte_ring *r, void *to, uint32_t esize, uint32_t n);

/* A reservation gives two spans because a ring wraps. */
struct shim_span {
	void *first;
	void *second; /* the ring's first element, for the part behind the wrap */
	uint32_t first_len;
	uint32_t len;  /* of both */
	uint32_t left; /* free (or filled) elements beyond the reservation */
};
void shim_ring_produce_start(struct rte_ring *r, uint32_t esize, uint32_t n, struct shim_span *out);
void shim_ring_produce_finish(struct rte_ring *r, uint32_t n);
void shim_ring_consume_start(struct rte_ring *r, uint32_t esize, uint32_t n, struct shim_span *out);
void shim_ring_consume_finish(struct rte_ring *r, uint32_t n);
/* What DPDK offers, for comparison. */
uint32_t shim_ring_enqueue(struct rte_ring *r, const void *elements, uint32_t esize, uint32_t n, uint32_t *left);
uint32_t shim_ring_dequeue(struct rte_ring *r, void *elements, uint32_t esize, uint32_t n, uint32_t *left);
uint32_t shim_ring_enqueue_ptrs(struct rte_ring *r, void *const *ptrs, uint32_t n, uint32_t *left);
uint32_t shim_ring_dequeue_ptrs(struct rte_ring *r, void **ptrs, uint32_t n, uint32_t *left);
uint32_t shim_ring_count(const struct rte_ring *r);
uint32_t shim_ring_free_count(const struct rte_ring *r);

/* Telemetry: the calls for unsigned numbers had another name before 23.03. */
int shim_tel_dict_number(struct rte_tel_data *d, const char *name, uint64_t n);
int shim_tel_start_texts(struct rte_tel_data *d);

#endif
