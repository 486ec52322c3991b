/* See shim.h. */
#define _GNU_SOURCE
#include "shim.h"

#include <sched.h>
#include <string.h>
#include <sys/types.h>

#include <rte_mbuf_pool_ops.h>

/* The safe layer's accessors rest on these. */
static_assert(sizeof(((struct rte_mbuf *)0)->data_off) == 2, "data_off");
static_assert(sizeof(((struct rte_mbuf *)0)->refcnt) == 2, "refcnt");
static_assert(sizeof(((struct rte_mbuf *)0)->nb_segs) == 2, "nb_segs");
static_assert(sizeof(((struct rte_mbuf *)0)->port) == 2, "port");
static_assert(sizeof(((struct rte_mbuf *)0)->ol_flags) == 8, "ol_flags");
static_assert(sizeof(((struct rte_mbuf *)0)->pkt_len) == 4, "pkt_len");
static_assert(sizeof(((struct rte_mbuf *)0)->data_len) == 2, "data_len");
static_assert(sizeof(((struct rte_mbuf *)0)->vlan_tci) == 2, "vlan_tci");
static_assert(sizeof(((struct rte_mbuf *)0)->buf_len) == 2, "buf_len");
static_assert(sizeof(struct rte_mbuf) == 128, "the private area starts behind 128 bytes");
static_assert(offsetof(struct rte_mbuf, data_len) < RTE_CACHE_LINE_MIN_SIZE, "the hot fields share the first line");

int shim_errno(void)
{
	return rte_errno;
}

uint32_t shim_lcore_id(void)
{
	return rte_lcore_id();
}

static ssize_t log_write(void *cookie, const char *text, size_t len)
{
	int level = rte_log_cur_msg_loglevel();

	((shim_log_line)cookie)(level < 0 ? RTE_LOG_INFO : (uint32_t)level, text, len);
	return (ssize_t)len;
}

int shim_log_capture(shim_log_line line)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *stream = fopencookie((void *)line, "w", io);

	if (stream == NULL)
		return -1;
	return rte_openlog_stream(stream);
}

/* Producer and consumer of a ring write pairs of lines of their own. */
_Static_assert(offsetof(struct rte_ring, cons) - offsetof(struct rte_ring, prod) >= 128, "rte_ring shares lines");
_Static_assert(sizeof(struct rte_ring) - offsetof(struct rte_ring, cons) >= 128, "rte_ring shares lines with elements");

struct memzones {
	struct shim_memzone *out;
	uint32_t max;
	uint32_t found;
};

static void add_memzone(const struct rte_memzone *zone, void *arg)
{
	struct memzones *all = arg;

	if (all->found < all->max) {
		struct shim_memzone *out = &all->out[all->found];

		memcpy(out->name, zone->name, sizeof(out->name));
		out->addr = zone->addr;
		out->len = zone->len;
	}
	all->found++;
}

uint32_t shim_memzones(struct shim_memzone *out, uint32_t max)
{
	struct memzones all = { out, max, 0 };

	rte_memzone_walk(add_memzone, &all);
	return all.found;
}

/* A pool without memory yet, whose objects will be mbufs. */
static struct rte_mempool *pool_without_memory(const char *name, uint32_t n, uint32_t cache, uint16_t priv, uint16_t room,
					       int socket, unsigned int flags)
{
	struct rte_pktmbuf_pool_private layout;
	struct rte_mempool *pool;
	int rc;

	pool = rte_mempool_create_empty(name, n, sizeof(struct rte_mbuf) + priv + room, cache,
					sizeof(struct rte_pktmbuf_pool_private), socket, flags);
	if (pool == NULL)
		return NULL;
	memset(&layout, 0, sizeof(layout));
	layout.mbuf_data_room_size = room;
	layout.mbuf_priv_size = priv;
	rc = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (rc < 0) {
		rte_mempool_free(pool);
		rte_errno = -rc;
		return NULL;
	}
	rte_pktmbuf_pool_init(pool, &layout);
	return pool;
}

static struct rte_mempool *populated(struct rte_mempool *pool, int rc)
{
	if (rc < 0) {
		rte_mempool_free(pool);
		rte_errno = -rc;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

void shim_pool_flush(struct rte_mempool *pool)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());

	if (cache != NULL)
		rte_mempool_cache_flush(cache, pool);
}

struct rte_mempool *shim_pool_create(const char *name, uint32_t n, uint32_t cache, uint16_t priv, uint16_t room,
				     int socket)
{
	struct rte_mempool *pool;

	if (rte_eal_has_hugepages())
		return rte_pktmbuf_pool_create(name, n, cache, priv, room, socket);
	pool = pool_without_memory(name, n, cache, priv, room, socket, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	return pool == NULL ? NULL : populated(pool, rte_mempool_populate_default(pool));
}

static void free_zone(struct rte_mempool_memhdr *chunk, void *zone)
{
	(void)chunk;
	rte_memzone_free(zone);
}

struct rte_mempool *shim_pool_create_in_pages(const char *name, uint32_t n, uint32_t cache, uint16_t priv, uint16_t room,
					      int socket, uint32_t page)
{
	struct rte_mempool *pool = pool_without_memory(name, n, cache, priv, room, socket, 0);
	uint32_t object, fit, pages, at, spare, from;
	const struct rte_memzone *zone;
	char zone_name[RTE_MEMZONE_NAMESIZE];
	int rc = 0;

	if (pool == NULL)
		return NULL;
	object = pool->header_size + pool->elt_size + pool->trailer_size;
	fit = page / object;
	if (fit == 0)
		return populated(pool, -EINVAL);
	pages = (n + fit - 1) / fit;
	spare = (page - fit * object) / RTE_CACHE_LINE_SIZE;
	/* As DPDK names them. */
	snprintf(zone_name, sizeof(zone_name), "MP_%s_0", name);
	zone = rte_memzone_reserve_aligned(zone_name, (size_t)pages * page, socket, 0, page);
	if (zone == NULL)
		return populated(pool, -(rte_errno != 0 ? rte_errno : ENOMEM));
	for (at = 0; at < pages && rc >= 0; at++) {
		char *start = (char *)zone->addr + (size_t)at * page;

		from = at % (spare + 1) * RTE_CACHE_LINE_SIZE;
		/* The memory goes with the first page's header. */
		rc = rte_mempool_populate_iova(pool, start + from, rte_mem_virt2iova(start + from), page - from,
					       at == 0 ? free_zone : NULL, at == 0 ? (void *)(uintptr_t)zone : NULL);
		if (rc < 0 && at == 0)
			rte_memzone_free(zone);
	}
	return populated(pool, rc);
}

struct chunks {
	struct shim_chunk *out;
	uint32_t max;
	uint32_t found;
};

static void add_chunk(struct rte_mempool *pool, void *arg, struct rte_mempool_memhdr *chunk, unsigned int index)
{
	struct chunks *all = arg;

	(void)pool;
	(void)index;
	if (all->found < all->max)
		all->out[all->found] = (struct shim_chunk){ chunk->addr, chunk->len };
	all->found++;
}

uint32_t shim_pool_chunks(struct rte_mempool *pool, struct shim_chunk *out, uint32_t max)
{
	struct chunks all = { out, max, 0 };

	rte_mempool_mem_iter(pool, add_chunk, &all);
	return all.found;
}

int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **out, uint32_t n)
{
	return rte_pktmbuf_alloc_bulk(pool, out, n);
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void shim_mbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

void shim_mbuf_free_bulk(struct rte_mbuf **m, uint32_t n)
{
	rte_pktmbuf_free_bulk(m, n);
}

void shim_mbuf_refcnt_add(struct rte_mbuf *m, int16_t by)
{
	rte_pktmbuf_refcnt_update(m, by);
}

int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **out, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, out, n);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **in, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, in, n);
}

int shim_rx_stamp(uint32_t *offset, uint64_t *flag)
{
	int field = rte_mbuf_dynfield_lookup(RTE_MBUF_DYNFIELD_TIMESTAMP_NAME, NULL);
	int bit = rte_mbuf_dynflag_lookup(RTE_MBUF_DYNFLAG_RX_TIMESTAMP_NAME, NULL);

	if (field < 0 || bit < 0)
		return -1;
	_Static_assert(sizeof(rte_mbuf_timestamp_t) == sizeof(uint64_t), "a receive stamp is an u64");
	*offset = (uint32_t)field;
	*flag = RTE_BIT64(bit);
	return 0;
}

int shim_rx_stamp_register(void)
{
	return rte_mbuf_dyn_rx_timestamp_register(NULL, NULL);
}

int shim_port_info(uint16_t port, struct shim_port_info *out)
{
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return rc;
	memset(out, 0, sizeof(*out));
	snprintf(out->driver, sizeof(out->driver), "%s", info.driver_name != NULL ? info.driver_name : "unknown");
	out->numa_node = rte_eth_dev_socket_id(port);
	out->rx_queues_max = info.max_rx_queues;
	out->tx_queues_max = info.max_tx_queues;
	out->rx_descriptors_min = info.rx_desc_lim.nb_min;
	out->rx_descriptors_max = info.rx_desc_lim.nb_max;
	out->rx_descriptors_align = info.rx_desc_lim.nb_align;
	out->tx_descriptors_min = info.tx_desc_lim.nb_min;
	out->tx_descriptors_max = info.tx_desc_lim.nb_max;
	out->tx_descriptors_align = info.tx_desc_lim.nb_align;
	out->mtu_max = info.max_mtu;
	out->rx_offloads = info.rx_offload_capa;
	out->tx_offloads = info.tx_offload_capa;
	if (rte_eth_dev_get_mtu(port, &out->mtu) != 0)
		out->mtu = 0;
	if (rte_eth_macaddr_get(port, &mac) == 0)
		memcpy(out->mac, mac.addr_bytes, sizeof(out->mac));
	return 0;
}

int shim_port_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues, uint64_t rx_offloads,
			uint64_t tx_offloads, uint16_t mtu)
{
	struct rte_eth_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
	conf.rxmode.offloads = rx_offloads;
	conf.rxmode.mtu = mtu; /* 0 means the default to rte_eth_dev_configure */
	conf.txmode.mq_mode = RTE_ETH_MQ_TX_NONE;
	conf.txmode.offloads = tx_offloads;
	return rte_eth_dev_configure(port, rx_queues, tx_queues, &conf);
}

int shim_port_link(uint16_t port)
{
	struct rte_eth_link link;
	int rc;

	if (rte_eth_dev_is_removed(port) != 0)
		return -ENODEV;
	memset(&link, 0, sizeof(link));
	rc = rte_eth_link_get_nowait(port, &link);
	return rc != 0 ? rc : link.link_status == RTE_ETH_LINK_UP;
}

static int copied(char *to, size_t room, const char *from)
{
	return (size_t)snprintf(to, room, "%s", from) < room;
}

static uint32_t resets[RTE_MAX_ETHPORTS], removals[RTE_MAX_ETHPORTS];

static int on_event(uint16_t port, enum rte_eth_event_type event, void *arg, void *ret)
{
	(void)arg, (void)ret;
	__atomic_fetch_add(event == RTE_ETH_EVENT_INTR_RMV ? &removals[port] : &resets[port], 1, __ATOMIC_RELAXED);
	return 0;
}

/* vfio-pci asks for a device back by this, and waits until it gets it. */
static void on_device_event(const char *name, enum rte_dev_event_type event, void *arg)
{
	(void)name;
	if (event == RTE_DEV_EVENT_REMOVE)
		__atomic_fetch_add(&removals[(uintptr_t)arg], 1, __ATOMIC_RELAXED);
}

int shim_port_count_events(uint16_t port, const char *device)
{
	int reset = rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RESET, on_event, NULL);
	int removed = rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RMV, on_event, NULL);
	int asked = device == NULL ? 0
				   : rte_dev_event_callback_register(device, on_device_event, (void *)(uintptr_t)port);

	return reset != 0 ? reset : removed != 0 ? removed : asked;
}

void shim_port_forget_events(uint16_t port, const char *device)
{
	/* -EAGAIN: it is being called. */
	while (rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_INTR_RESET, on_event, NULL) == -EAGAIN)
		sched_yield();
	while (rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_INTR_RMV, on_event, NULL) == -EAGAIN)
		sched_yield();
	while (device != NULL && rte_dev_event_callback_unregister(device, on_device_event, (void *)(uintptr_t)port) == -EAGAIN)
		sched_yield();
}

int shim_port_device(uint16_t port, struct shim_port_device *out)
{
	struct rte_eth_dev_info info;
	const struct rte_devargs *args;
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return rc;
	if (info.device == NULL)
		return -ENODEV;
	memset(out, 0, sizeof(*out));
	args = rte_dev_devargs(info.device);
	if (!copied(out->bus, sizeof(out->bus), rte_bus_name(rte_dev_bus(info.device))) ||
	    !copied(out->name, sizeof(out->name), rte_dev_name(info.device)) ||
	    !copied(out->args, sizeof(out->args), args != NULL && args->args != NULL ? args->args : ""))
		return -E2BIG;
	return 0;
}

int shim_port_set_mac(uint16_t port, const uint8_t mac[6])
{
	struct rte_ether_addr address;

	memcpy(address.addr_bytes, mac, sizeof(address.addr_bytes));
	return rte_eth_dev_default_mac_addr_set(port, &address);
}

uint32_t shim_port_removals(uint16_t port)
{
	return port < RTE_MAX_ETHPORTS ? __atomic_load_n(&removals[port], __ATOMIC_RELAXED) : 0;
}

uint32_t shim_port_resets(uint16_t port)
{
	return port < RTE_MAX_ETHPORTS ? __atomic_load_n(&resets[port], __ATOMIC_RELAXED) : 0;
}

int shim_port_multicast(uint16_t port, const uint8_t (*macs)[6], uint32_t n)
{
	_Static_assert(sizeof(struct rte_ether_addr) == 6, "an Ethernet address is its bytes");
	return rte_eth_dev_set_mc_addr_list(port, (struct rte_ether_addr *)(uintptr_t)macs, n);
}

int shim_flow_steer(uint16_t port, uint32_t group, uint16_t udp_port, uint16_t vlan, uint16_t queue, char *why,
		    size_t room)
{
	struct rte_flow_attr attr;
	struct rte_flow_item_vlan vlan_spec, vlan_mask;
	struct rte_flow_item_ipv4 ip_spec, ip_mask;
	struct rte_flow_item_udp udp_spec, udp_mask;
	struct rte_flow_action_queue to;
	struct rte_flow_item pattern[5];
	struct rte_flow_action actions[2];
	struct rte_flow_error error;
	int rc, n = 0;

	memset(&attr, 0, sizeof(attr));
	memset(&vlan_spec, 0, sizeof(vlan_spec));
	memset(&vlan_mask, 0, sizeof(vlan_mask));
	memset(&ip_spec, 0, sizeof(ip_spec));
	memset(&ip_mask, 0, sizeof(ip_mask));
	memset(&udp_spec, 0, sizeof(udp_spec));
	memset(&udp_mask, 0, sizeof(udp_mask));
	memset(pattern, 0, sizeof(pattern));
	memset(actions, 0, sizeof(actions));
	memset(&error, 0, sizeof(error));
	attr.ingress = 1;
	pattern[n++].type = RTE_FLOW_ITEM_TYPE_ETH;
	if (vlan != 0) {
		vlan_spec.hdr.vlan_tci = rte_cpu_to_be_16(vlan);
		vlan_mask.hdr.vlan_tci = RTE_BE16(0x0fff);
		pattern[n].type = RTE_FLOW_ITEM_TYPE_VLAN;
		pattern[n].spec = &vlan_spec;
		pattern[n++].mask = &vlan_mask;
	}
	ip_spec.hdr.dst_addr = group;
	ip_mask.hdr.dst_addr = RTE_BE32(0xffffffff);
	pattern[n].type = RTE_FLOW_ITEM_TYPE_IPV4;
	pattern[n].spec = &ip_spec;
	pattern[n++].mask = &ip_mask;
	udp_spec.hdr.dst_port = udp_port;
	udp_mask.hdr.dst_port = RTE_BE16(0xffff);
	pattern[n].type = RTE_FLOW_ITEM_TYPE_UDP;
	pattern[n].spec = &udp_spec;
	pattern[n++].mask = &udp_mask;
	pattern[n].type = RTE_FLOW_ITEM_TYPE_END;
	to.index = queue;
	actions[0].type = RTE_FLOW_ACTION_TYPE_QUEUE;
	actions[0].conf = &to;
	actions[1].type = RTE_FLOW_ACTION_TYPE_END;

	rc = rte_flow_validate(port, &attr, pattern, actions, &error);
	if (rc == 0 && rte_flow_create(port, &attr, pattern, actions, &error) == NULL)
		rc = rte_errno != 0 ? -rte_errno : -EIO;
	if (rc != 0)
		snprintf(why, room, "%s", error.message != NULL ? error.message : rte_strerror(-rc));
	return rc;
}

int shim_flow_flush(uint16_t port)
{
	struct rte_flow_error error;

	return rte_flow_flush(port, &error);
}

int shim_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket, uint64_t offloads,
			struct rte_mempool *pool)
{
	struct rte_eth_dev_info info;
	struct rte_eth_rxconf conf;
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return rc;
	conf = info.default_rxconf;
	conf.offloads = offloads;
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)socket, &conf, pool);
}

int shim_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, int socket, uint64_t offloads)
{
	struct rte_eth_dev_info info;
	struct rte_eth_txconf conf;
	int rc = rte_eth_dev_info_get(port, &info);

	if (rc != 0)
		return rc;
	conf = info.default_txconf;
	conf.offloads = offloads;
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)socket, &conf);
}

/* One element of the two sizes that travel here is worth a straight copy; memcpy takes the rest. */
static inline void copy(void *to, const void *from, size_t bytes)
{
	if (bytes == 64)
		__builtin_memcpy(to, from, 64);
	else if (bytes == 128)
		__builtin_memcpy(to, from, 128);
	else
		memcpy(to, from, bytes);
}

/* Up to here DPDK's own transfer of pointers is the cheaper one. */
#define FEW_POINTERS 8

uint64_t shim_ring_push(struct rte_ring *r, const void *from, uint32_t esize, uint32_t n)
{
	struct rte_ring_zc_data zcd = {0};
	uint32_t left = 0;

	if (esize == sizeof(void *) && n <= FEW_POINTERS) {
		n = rte_ring_sp_enqueue_burst(r, from, n, &left);
		return (uint64_t)left << 32 | n;
	}
	n = rte_ring_enqueue_zc_burst_elem_start(r, esize, n, &zcd, &left);
	if (n != 0) {
		copy(zcd.ptr1, from, (size_t)zcd.n1 * esize);
		if (unlikely(zcd.n1 < n))
			copy(zcd.ptr2, (const char *)from + (size_t)zcd.n1 * esize, (size_t)(n - zcd.n1) * esize);
		rte_ring_enqueue_zc_elem_finish(r, n);
	}
	return (uint64_t)left << 32 | n;
}

uint64_t shim_ring_pop(struct rte_ring *r, void *to, uint32_t esize, uint32_t n)
{
	struct rte_ring_zc_data zcd = {0};
	uint32_t left = 0;

	if (esize == sizeof(void *) && n <= FEW_POINTERS) {
		n = rte_ring_sc_dequeue_burst(r, to, n, &left);
		return (uint64_t)left << 32 | n;
	}
	n = rte_ring_dequeue_zc_burst_elem_start(r, esize, n, &zcd, &left);
	if (n != 0) {
		copy(to, zcd.ptr1, (size_t)zcd.n1 * esize);
		if (unlikely(zcd.n1 < n))
			copy((char *)to + (size_t)zcd.n1 * esize, zcd.ptr2, (size_t)(n - zcd.n1) * esize);
		rte_ring_dequeue_zc_elem_finish(r, n);
	}
	return (uint64_t)left << 32 | n;
}

static void span(struct shim_span *out, const struct rte_ring_zc_data *zcd, uint32_t n, uint32_t left)
{
	out->first = zcd->ptr1;
	out->second = zcd->ptr2;
	out->first_len = zcd->n1;
	out->len = n;
	out->left = left;
}

void shim_ring_produce_start(struct rte_ring *r, uint32_t esize, uint32_t n, struct shim_span *out)
{
	struct rte_ring_zc_data zcd = {0};
	uint32_t left = 0;

	n = rte_ring_enqueue_zc_burst_elem_start(r, esize, n, &zcd, &left);
	span(out, &zcd, n, left);
}

void shim_ring_produce_finish(struct rte_ring *r, uint32_t n)
{
	rte_ring_enqueue_zc_elem_finish(r, n);
}

void shim_ring_consume_start(struct rte_ring *r, uint32_t esize, uint32_t n, struct shim_span *out)
{
	struct rte_ring_zc_data zcd = {0};
	uint32_t left = 0;

	n = rte_ring_dequeue_zc_burst_elem_start(r, esize, n, &zcd, &left);
	span(out, &zcd, n, left);
}

void shim_ring_consume_finish(struct rte_ring *r, uint32_t n)
{
	rte_ring_dequeue_zc_elem_finish(r, n);
}

uint32_t shim_ring_enqueue(struct rte_ring *r, const void *elements, uint32_t esize, uint32_t n, uint32_t *left)
{
	return rte_ring_sp_enqueue_burst_elem(r, elements, esize, n, left);
}

uint32_t shim_ring_dequeue(struct rte_ring *r, void *elements, uint32_t esize, uint32_t n, uint32_t *left)
{
	return rte_ring_sc_dequeue_burst_elem(r, elements, esize, n, left);
}

uint32_t shim_ring_enqueue_ptrs(struct rte_ring *r, void *const *ptrs, uint32_t n, uint32_t *left)
{
	return rte_ring_sp_enqueue_burst(r, ptrs, n, left);
}

uint32_t shim_ring_dequeue_ptrs(struct rte_ring *r, void **ptrs, uint32_t n, uint32_t *left)
{
	return rte_ring_sc_dequeue_burst(r, ptrs, n, left);
}

uint32_t shim_ring_count(const struct rte_ring *r)
{
	return rte_ring_count(r);
}

uint32_t shim_ring_free_count(const struct rte_ring *r)
{
	return rte_ring_free_count(r);
}

int shim_tel_dict_number(struct rte_tel_data *d, const char *name, uint64_t n)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	return rte_tel_data_add_dict_uint(d, name, n);
#else
	return rte_tel_data_add_dict_u64(d, name, n);
#endif
}

int shim_tel_start_texts(struct rte_tel_data *d)
{
	return rte_tel_data_start_array(d, RTE_TEL_STRING_VAL);
}
