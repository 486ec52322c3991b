/* What the double promises, asked of it through the public interface alone. Ends with a line per promise, or at the first
 * that is broken. What must be a misuse is done in a child, which has to die with words that name it. */
#define _GNU_SOURCE
#include "check.h"
#include "double.h"

#include <arpa/inet.h>
#include <etherfabric/base.h>
#include <etherfabric/capabilities.h>
#include <etherfabric/ef_vi.h>
#include <etherfabric/efct_vi.h>
#include <etherfabric/memreg.h>
#include <etherfabric/pd.h>
#include <etherfabric/vi.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUFFERS = 1024, BUFFER = 2048, FIRST_TX = 512, NS = 1000000000 };

/* A VI on an interface with its memory: buffers below FIRST_TX for receiving. */
struct port {
	const char *name;
	ef_driver_handle dh;
	ef_pd pd;
	ef_memreg mr;
	ef_vi vi;
	uint8_t *memory;
};

static ef_addr dma(struct port *p, unsigned buffer) { return ef_memreg_dma_addr(&p->mr, (size_t)buffer * BUFFER); }
static uint8_t *at(struct port *p, unsigned buffer) { return p->memory + (size_t)buffer * BUFFER; }

static int try_open(struct port *p, const char *name, unsigned flags)
{
	p->name = name;
	CHECK(ef_driver_open(&p->dh) == 0);
	CHECK(ef_pd_alloc_by_name(&p->pd, p->dh, name, EF_PD_DEFAULT) == 0);
	return ef_vi_alloc_from_pd(&p->vi, p->dh, &p->pd, p->dh, -1, -1, -1, NULL, -1, (enum ef_vi_flags)flags);
}

static void open_port(struct port *p, const char *name, unsigned flags)
{
	CHECK(try_open(p, name, flags) == 0);
	p->memory = aligned_alloc(4096, (size_t)BUFFERS * BUFFER);
	memset(p->memory, 0, (size_t)BUFFERS * BUFFER);
	CHECK(ef_memreg_alloc(&p->mr, p->dh, &p->pd, p->dh, p->memory, (size_t)BUFFERS * BUFFER) == 0);
	ef_vi_receive_set_buffer_len(&p->vi, BUFFER);
}

static void post(struct port *p, unsigned from, unsigned to)
{
	for (; from < to; from++)
		CHECK(ef_vi_receive_init(&p->vi, dma(p, from), (ef_request_id)from) == 0);
	ef_vi_receive_push(&p->vi);
}

static ef_filter_cookie want(struct port *p, const char *group, int port, int vlan)
{
	ef_filter_spec spec;
	ef_filter_cookie cookie;
	ef_filter_spec_init(&spec, EF_FILTER_FLAG_NONE);
	if (vlan >= 0)
		CHECK(ef_filter_spec_set_vlan(&spec, vlan) == 0);
	CHECK(ef_filter_spec_set_ip4_local(&spec, IPPROTO_UDP, inet_addr(group), htons((uint16_t)port)) == 0);
	CHECK(ef_vi_filter_add(&p->vi, p->dh, &spec, &cookie) == 0);
	return cookie;
}

static void close_port(struct port *p)
{
	CHECK(ef_vi_free(&p->vi, p->dh) == 0);
	CHECK(ef_memreg_free(&p->mr, p->dh) == 0);
	CHECK(ef_pd_free(&p->pd, p->dh) == 0);
	CHECK(ef_driver_close(p->dh) == 0);
	free(p->memory);
}

/* Ethernet, VLAN if any, IPv4 and UDP without checksums, then the number and a pattern made of it. */
static size_t udp(uint8_t *to, const char *group, int port, int vlan, uint32_t number, size_t payload)
{
	size_t l2 = vlan >= 0 ? 18 : 14, len = l2 + 28 + payload;
	memset(to, 0, len);
	memcpy(to, (uint8_t[]){0x01, 0, 0x5e, 1, 2, 3, 2, 0, 0, 0, 0, 9}, 12);
	if (vlan >= 0)
		memcpy(to + 12, (uint8_t[]){0x81, 0, (uint8_t)(vlan >> 8), (uint8_t)vlan}, 4);
	to[l2 - 2] = 8;
	uint8_t *ip = to + l2;
	ip[0] = 0x45;
	ip[2] = (uint8_t)((28 + payload) >> 8);
	ip[3] = (uint8_t)(28 + payload);
	ip[8] = 1;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, (uint8_t[]){10, 0, 0, 1}, 4);
	uint32_t dest = inet_addr(group);
	memcpy(ip + 16, &dest, 4);
	ip[22] = (uint8_t)(port >> 8);
	ip[23] = (uint8_t)port;
	ip[24] = (uint8_t)((8 + payload) >> 8);
	ip[25] = (uint8_t)(8 + payload);
	for (size_t k = 0; k < payload; k++)
		ip[28 + k] = k < 4 ? (uint8_t)(number >> (8 * k)) : (uint8_t)(number + k);
	return len;
}

/* The IP header's checksum, as RFC 1071 has it; UDP's stays 0, which says "none". */
static void finish(uint8_t *frame)
{
	uint32_t sum = 0;
	uint8_t *ip = frame + 14;
	ip[10] = ip[11] = 0;
	for (unsigned k = 0; k < 20; k += 2)
		sum += (uint32_t)ip[k] << 8 | ip[k + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
}

static size_t frame(uint8_t *to, uint32_t number, size_t payload)
{
	size_t len = udp(to, "239.1.2.3", 5000, -1, number, payload);
	finish(to);
	return len;
}

static void offer(const char *name, uint32_t number, size_t payload)
{
	uint8_t bytes[9216];
	size_t len = frame(bytes, number, payload);
	CHECK(efvi_double_offer(name, bytes, len, 5ull * NS + number) == 0);
}

/* The same, but for UDP's checksum: the card puts it in when a frame goes by DMA. */
static bool same(const uint8_t *got, const uint8_t *expected, size_t len)
{
	return memcmp(got, expected, 40) == 0 && memcmp(got + 42, expected + 42, len - 42) == 0;
}

static struct efvi_double_counters counters(const char *name)
{
	struct efvi_double_counters n;
	CHECK(efvi_double_counters(name, &n) == 0);
	return n;
}

static int poll(struct port *p, ef_event *evs, int room) { return ef_eventq_poll(&p->vi, evs, room); }

static void one(struct port *p, ef_event *ev, int type)
{
	ef_event evs[4];
	CHECK(poll(p, evs, 4) == 1);
	CHECK((int)EF_EVENT_TYPE(evs[0]) == type);
	*ev = evs[0];
}

static void fresh(const char *script)
{
	efvi_double_reset();
	CHECK(efvi_double_script(script) == 0);
}

#define ONE "interface a ef10 3 1 02:00:00:00:00:01\n"
#define APART ONE "interface b ef10 4 0 02:00:00:00:00:02\n"
#define TWO APART "wire a b\n"
#define EFCT "interface a efct 3 0 02:00:00:00:00:01\n"

/* ---- promises ---- */

static void without_a_script_there_is_no_interface(void)
{
	struct port p;
	unsigned long value;
	CHECK(ef_driver_open(&p.dh) == 0);
	CHECK(ef_pd_alloc_by_name(&p.pd, p.dh, "a", EF_PD_DEFAULT) == -ENODEV);
	CHECK(ef_vi_capabilities_get(p.dh, 3, EF_VI_CAP_CTPIO, &value) == -ENODEV);
	CHECK(ef_driver_close(p.dh) == 0);
	CHECK(efvi_double_script("driver refuse 13\n") == 0);
	CHECK(ef_driver_open(&p.dh) == -EACCES);
	CHECK(efvi_double_script("interface a ef11 3 0 0:0:0:0:0:0\n") == -EINVAL);
	CHECK(efvi_double_script("wire a b\n") == -EINVAL);
}

static void an_interface_says_what_it_can_do(void)
{
	struct port p;
	unsigned long value = 9;
	uint8_t mac[6];
	fresh(ONE "capability a ctpio absent\ncapability a rx-firmware 1\n");
	open_port(&p, "a", 0);
	CHECK(efvi_double_node("a") == 1 && efvi_double_node("b") == -1);
	CHECK(ef_pd_capabilities_get(p.dh, &p.pd, p.dh, EF_VI_CAP_CTPIO, &value) == -EOPNOTSUPP);
	CHECK(ef_vi_capabilities_get(p.dh, 3, EF_VI_CAP_RX_FW_VARIANT, &value) == 0 && value == 1);
	CHECK(ef_vi_get_mac(&p.vi, p.dh, mac) == 0 && memcmp(mac, "\2\0\0\0\0\1", 6) == 0);
	CHECK(strcmp(ef_pd_interface_name(&p.pd), "a") == 0);
	CHECK(ef_eventq_capacity(&p.vi) == 2048 - 8);
	close_port(&p);
	CHECK(try_open(&p, "a", EF_VI_TX_CTPIO) == -EOPNOTSUPP);
	CHECK(ef_vi_alloc_from_pd(&p.vi, p.dh, &p.pd, p.dh, -1, -1, -1, NULL, -1,
				  EF_VI_TX_ALT | EF_VI_TX_TIMESTAMPS) == -EOPNOTSUPP);
	CHECK(ef_pd_free(&p.pd, p.dh) == 0 && ef_driver_close(p.dh) == 0);
}

static void memory_is_registered_from_a_page_on(void)
{
	struct port p;
	ef_memreg mr;
	fresh(ONE);
	open_port(&p, "a", 0);
	CHECK(ef_memreg_alloc(&mr, p.dh, &p.pd, p.dh, p.memory + 2048, 4096) == -EINVAL);
	/* Two blocks are not next to each other, two buffers of one block are. */
	CHECK(dma(&p, 1) == dma(&p, 0) + BUFFER && dma(&p, 2) != dma(&p, 1) + BUFFER);
	close_port(&p);
}

static void the_doorbell_takes_multiples_of_eight(void)
{
	struct port p;
	ef_event ev, none[2];
	fresh(ONE);
	open_port(&p, "a", 0);
	want(&p, "239.1.2.3", 5000, -1);
	post(&p, 0, 7);
	CHECK(counters("a").rx_held == 0 && ef_vi_receive_fill_level(&p.vi) == 7);
	offer("a", 1, 20);
	CHECK(poll(&p, none, 2) == 0 && counters("a").waiting == 1);
	post(&p, 7, 8);
	CHECK(counters("a").rx_held == 7 && counters("a").waiting == 0);
	one(&p, &ev, EF_EVENT_TYPE_RX);
	CHECK(EF_EVENT_RX_RQ_ID(ev) == 0 && EF_EVENT_RX_BYTES(ev) == 62 && EF_EVENT_RX_SOP(ev) && !EF_EVENT_RX_CONT(ev));
	close_port(&p);
}

static void a_ring_of_512_holds_511(void)
{
	struct port p;
	fresh(ONE);
	open_port(&p, "a", 0);
	post(&p, 0, 511);
	CHECK(ef_vi_receive_capacity(&p.vi) == 511 && ef_vi_receive_space(&p.vi) == 0);
	CHECK(ef_vi_receive_init(&p.vi, dma(&p, 511), 511) == -EAGAIN);
	CHECK(counters("a").rx_held == 504);
	for (unsigned k = 0; k < 511; k++)
		CHECK(ef_vi_transmit_init(&p.vi, dma(&p, FIRST_TX), 60, (int)k) == 0);
	CHECK(ef_vi_transmit_init(&p.vi, dma(&p, FIRST_TX), 60, 511) == -EAGAIN);
	CHECK(ef_vi_transmit_capacity(&p.vi) == 511 && ef_vi_transmit_space(&p.vi) == 0);
	close_port(&p);
}

static int stamp(struct port *p, const void *packet, int64_t *ns, unsigned *flags)
{
#if EFVI_DOUBLE_SHAPE >= 9
	ef_precisetime ts;
	int rc = ef_vi_receive_get_precise_timestamp(&p->vi, packet, &ts);
	*flags = ts.tv_flags;
#else
	ef_timespec ts;
	int rc = ef_vi_receive_get_timestamp_with_sync_flags(&p->vi, packet, &ts, flags);
#endif
	*ns = (int64_t)ts.tv_sec * NS + ts.tv_nsec;
	return rc;
}

static void stamps_say_how_far_to_trust_them(void)
{
	struct port p;
	ef_event ev;
	int64_t ns;
	unsigned flags;
	uint8_t expected[256];
	fresh(ONE "set a rx-stamp-absent-every 2\n");
	open_port(&p, "a", EF_VI_RX_TIMESTAMPS);
	want(&p, "239.1.2.3", 5000, -1);
	post(&p, 0, 8);
	CHECK(ef_vi_receive_prefix_len(&p.vi) == 14);
	offer("a", 1, 20);
	one(&p, &ev, EF_EVENT_TYPE_RX);
	CHECK(EF_EVENT_RX_BYTES(ev) == 14 + 62);
	size_t len = frame(expected, 1, 20);
	CHECK(memcmp(at(&p, 0) + 14, expected, len) == 0);
	CHECK(stamp(&p, at(&p, 0), &ns, &flags) == 0 && ns == 5ll * NS + 1);
	CHECK(flags == (EF_VI_SYNC_FLAG_CLOCK_SET | EF_VI_SYNC_FLAG_CLOCK_IN_SYNC));
	offer("a", 2, 20);
	one(&p, &ev, EF_EVENT_TYPE_RX);
	CHECK(stamp(&p, at(&p, 1), &ns, &flags) == -ENODATA && ns == 0);
	CHECK(efvi_double_script("set a clock-in-sync 0\n") == 0);
	offer("a", 3, 20);
	one(&p, &ev, EF_EVENT_TYPE_RX);
	CHECK(stamp(&p, at(&p, 2), &ns, &flags) == 0 && flags == EF_VI_SYNC_FLAG_CLOCK_SET);
	CHECK(efvi_double_script("set a clock-known 0\nset a rx-stamp-absent-every 0\n") == 0);
	offer("a", 4, 20);
	one(&p, &ev, EF_EVENT_TYPE_RX);
	CHECK(stamp(&p, at(&p, 3), &ns, &flags) == -ENOMSG && ns == 0 && flags == 0);
	close_port(&p);
}

static void damaged_frames_are_discarded_by_subtype_and_counted(void)
{
	struct port p;
	ef_event ev;
	int seen[EF_EVENT_RX_DISCARD_MAX] = {0}, good = 0;
	uint8_t bytes[256];
	fresh(ONE "set a crc-every 3\nset a trunc-every 5\n");
	open_port(&p, "a", 0);
	want(&p, "239.1.2.3", 5000, -1);
	post(&p, 0, 32);
	for (unsigned k = 1; k <= 15; k++) {
		offer("a", k, 20);
		ef_event evs[2];
		CHECK(poll(&p, evs, 2) == 1);
		bool discarded = EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_RX_DISCARD;
		CHECK(discarded == (k % 3 == 0 || k % 5 == 0));
		CHECK(EF_EVENT_RX_DISCARD_RQ_ID(evs[0]) == k - 1);
		if (discarded)
			seen[EF_EVENT_RX_DISCARD_TYPE(evs[0])]++;
		else
			good++;
	}
	CHECK(seen[EF_EVENT_RX_DISCARD_CRC_BAD] == 5 && seen[EF_EVENT_RX_DISCARD_TRUNC] == 2 && good == 8);
	/* A checksum that is wrong without any fault of the wire. */
	size_t len = frame(bytes, 16, 20);
	bytes[24] ^= 1;
	CHECK(efvi_double_offer("a", bytes, len, 0) == 0);
	one(&p, &ev, EF_EVENT_TYPE_RX_DISCARD);
	CHECK(EF_EVENT_RX_DISCARD_TYPE(ev) == EF_EVENT_RX_DISCARD_CSUM_BAD);
	CHECK(ef_vi_receive_set_discards(&p.vi, 0) == 0);
	CHECK(efvi_double_offer("a", bytes, len, 0) == 0);
	one(&p, &ev, EF_EVENT_TYPE_RX);
	struct efvi_double_counters n = counters("a");
	CHECK(n.offered == 17 && n.matched == 17 && n.filtered == 0 && n.delivered == 9);
	CHECK(n.discarded_crc == 5 && n.discarded_trunc == 2 && n.discarded_csum == 1 && n.waiting == 0);
	CHECK(n.rx_held == 32 - 17);
	close_port(&p);
}

static void frames_above_the_buffer_are_split(void)
{
	struct port p;
	ef_event evs[8];
	uint8_t expected[4096], got[4096];
	fresh(ONE);
	open_port(&p, "a", EF_VI_RX_TIMESTAMPS);
	ef_vi_receive_set_buffer_len(&p.vi, 1792);
	want(&p, "239.1.2.3", 5000, -1);
	post(&p, 0, 8);
	offer("a", 7, 3900);
	size_t len = frame(expected, 7, 3900);
	CHECK(poll(&p, evs, 8) == 3);
	/* Bytes add up, with the prefix in the first buffer. */
	unsigned ends[] = {1792, 2 * 1792, 14 + (unsigned)len}, begun = 0;
	for (unsigned k = 0; k < 3; k++) {
		CHECK(EF_EVENT_TYPE(evs[k]) == EF_EVENT_TYPE_RX && EF_EVENT_RX_BYTES(evs[k]) == ends[k]);
		CHECK(!!EF_EVENT_RX_SOP(evs[k]) == (k == 0) && !!EF_EVENT_RX_CONT(evs[k]) == (k < 2));
		memcpy(got + begun, at(&p, k), ends[k] - begun);
		begun = ends[k];
	}
	CHECK(memcmp(got + 14, expected, len) == 0);
	close_port(&p);
}

static void without_descriptors_a_wire_waits_or_drops(void)
{
	struct port p;
	ef_event evs[16];
	uint8_t bytes[256];
	fresh(ONE);
	open_port(&p, "a", 0);
	want(&p, "239.1.2.3", 5000, -1);
	post(&p, 0, 8);
	for (unsigned k = 0; k < 8 + 64; k++)
		offer("a", k, 20);
	size_t len = frame(bytes, 0, 20);
	CHECK(efvi_double_offer("a", bytes, len, 0) == -EAGAIN);
	CHECK(poll(&p, evs, 16) == 8);
	post(&p, 8, 16);
	CHECK(poll(&p, evs, 16) == 8 && EF_EVENT_RX_RQ_ID(evs[7]) == 15);
	CHECK(counters("a").waiting == 56 && counters("a").no_descriptor == 0);
	CHECK(efvi_double_script("set a drop 1\n") == 0);
	CHECK(poll(&p, evs, 16) == 0 && counters("a").waiting == 0 && counters("a").no_descriptor == 56);
	/* A frame that begins to be split and finds no more is reported as cut. */
	ef_vi_receive_set_buffer_len(&p.vi, 100);
	post(&p, 16, 24);
	offer("a", 1, 1000);
	CHECK(poll(&p, evs, 16) == 9 && EF_EVENT_TYPE(evs[8]) == EF_EVENT_TYPE_RX_NO_DESC_TRUNC);
	CHECK(counters("a").no_descriptor == 57);
	close_port(&p);
}

static void filters_match_group_port_and_vlan(void)
{
	struct port p;
	ef_event ev;
	uint8_t bytes[256];
	fresh(ONE);
	open_port(&p, "a", 0);
	post(&p, 0, 16);
	offer("a", 0, 20);
	ef_filter_cookie any = want(&p, "239.1.2.3", 5000, -1);
	want(&p, "239.1.2.4", 5000, 77);
	struct {
		const char *group;
		int port, vlan;
		bool wanted;
	} cases[] = {{"239.1.2.3", 5000, -1, true},  {"239.1.2.3", 5001, -1, false}, {"239.1.2.5", 5000, -1, false},
		     {"239.1.2.3", 5000, 5, true},   {"239.1.2.4", 5000, 77, true},  {"239.1.2.4", 5000, 78, false},
		     {"239.1.2.4", 5000, -1, false}};
	uint64_t filtered = 1;
	for (unsigned k = 0; k < 7; k++) {
		size_t len = udp(bytes, cases[k].group, cases[k].port, cases[k].vlan, k, 20);
		CHECK(ef_vi_receive_set_discards(&p.vi, 0) == 0);
		CHECK(efvi_double_offer("a", bytes, len, 0) == 0);
		if (cases[k].wanted)
			one(&p, &ev, EF_EVENT_TYPE_RX);
		else
			filtered++;
		CHECK(counters("a").filtered == filtered);
	}
	/* A later fragment has no port, and the first of several is no more matched than it. */
	size_t len = frame(bytes, 9, 20);
	bytes[20] = 0x20;
	finish(bytes);
	CHECK(efvi_double_offer("a", bytes, len, 0) == 0 && counters("a").filtered == ++filtered);
	CHECK(ef_vi_filter_del(&p.vi, p.dh, &any) == 0);
	offer("a", 10, 20);
	CHECK(counters("a").filtered == ++filtered);
	ef_filter_spec spec;
	ef_filter_spec_init(&spec, EF_FILTER_FLAG_NONE);
	CHECK(ef_filter_spec_set_multicast_all(&spec) == 0);
	CHECK(ef_filter_spec_set_ip4_local(&spec, IPPROTO_UDP, 0, 0) == -EPROTONOSUPPORT);
	CHECK(ef_vi_filter_add(&p.vi, p.dh, &spec, NULL) == 0 && ef_vi_filter_add(&p.vi, p.dh, &spec, NULL) == -EEXIST);
	close_port(&p);
}

static void multicast_goes_to_every_vi_that_wants_it(void)
{
	struct port p, q;
	ef_event ev;
	fresh(ONE);
	open_port(&p, "a", 0);
	open_port(&q, "a", 0);
	post(&p, 0, 8);
	post(&q, 0, 8);
	want(&p, "239.1.2.3", 5000, -1);
	want(&q, "239.1.2.3", 5000, -1);
	offer("a", 1, 20);
	one(&p, &ev, EF_EVENT_TYPE_RX);
	one(&q, &ev, EF_EVENT_TYPE_RX);
	CHECK(counters("a").offered == 1 && counters("a").matched == 2 && counters("a").delivered == 2);
	close_port(&p);
	close_port(&q);
}

static void one_event_completes_up_to_64_sends(void)
{
	struct port p;
	ef_event evs[4];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	fresh(ONE "set a completion-polls 1\n");
	open_port(&p, "a", 0);
	size_t len = frame(at(&p, FIRST_TX), 1, 20);
	for (int k = 0; k < 100; k++)
		CHECK(ef_vi_transmit(&p.vi, dma(&p, FIRST_TX), (int)len, k) == 0);
	CHECK(ef_vi_transmit_fill_level(&p.vi) == 100);
	CHECK(poll(&p, evs, 4) == 2);
	CHECK(EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_TX && !EF_EVENT_TX_CTPIO(evs[0]));
	CHECK(ef_vi_transmit_fill_level(&p.vi) == 100);
	CHECK(ef_vi_transmit_unbundle(&p.vi, &evs[0], ids) == 64 && ids[0] == 0 && ids[63] == 63);
	CHECK(ef_vi_transmit_unbundle(&p.vi, &evs[1], ids) == 36 && ids[35] == 99);
	CHECK(ef_vi_transmit_fill_level(&p.vi) == 0 && counters("a").tx_held == 0 && counters("a").sent == 100);
	/* A frame of several buffers is one send. */
	ef_iovec iov[2] = {{dma(&p, FIRST_TX), 40}, {dma(&p, FIRST_TX) + 40, (unsigned)len - 40}};
	CHECK(ef_vi_transmitv_init(&p.vi, iov, 2, 5) == 0);
	ef_vi_transmit_push(&p.vi);
	CHECK(poll(&p, evs, 4) == 1 && ef_vi_transmit_fill_level(&p.vi) == 2);
	CHECK(ef_vi_transmit_unbundle(&p.vi, &evs[0], ids) == 1 && ids[0] == 5 && ef_vi_transmit_fill_level(&p.vi) == 0);
	close_port(&p);
}

static void a_card_finishes_checksums_by_dma_and_not_by_ctpio(void)
{
	struct port p;
	uint8_t out[256];
	fresh(ONE "set a keep 1\n");
	open_port(&p, "a", EF_VI_TX_CTPIO);
	size_t len = udp(at(&p, FIRST_TX), "239.1.2.3", 5000, -1, 1, 20);
	CHECK(ef_vi_transmit(&p.vi, dma(&p, FIRST_TX), (int)len, 1) == 0);
	CHECK(efvi_double_taken("a", out, sizeof out, NULL) == len);
	/* 4500 + 0030 + 0111 + 0a00 + 0001 + ef01 + 0203 is 4147 in ones complement; its complement. */
	CHECK(out[24] == 0xbe && out[25] == 0xb8);
	CHECK(out[40] != 0 || out[41] != 0);
	ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
	CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 2) == 0);
	CHECK(efvi_double_taken("a", out, sizeof out, NULL) == len && memcmp(out, at(&p, FIRST_TX), len) == 0);
	CHECK(efvi_double_taken("a", out, sizeof out, NULL) == 0);
	close_port(&p);
}

static void ctpio_wins_loses_or_is_poisoned_and_arrives_once(void)
{
	struct port a, b;
	ef_event evs[16];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	fresh(TWO "set a ctpio-lose-every 3\nset a ctpio-poison-every 5\n");
	open_port(&a, "a", EF_VI_TX_CTPIO);
	open_port(&b, "b", 0);
	want(&b, "239.1.2.3", 5000, -1);
	post(&b, 0, 64);
	unsigned good = 0, bad = 0, won = 0;
	for (unsigned k = 1; k <= 15; k++) {
		size_t len = frame(at(&a, FIRST_TX + k), k, 100);
		ef_vi_transmit_ctpio(&a.vi, at(&a, FIRST_TX + k), len, 64);
		CHECK(ef_vi_transmit_ctpio_fallback(&a.vi, dma(&a, FIRST_TX + k), len, (int)k) == 0);
		CHECK(poll(&a, evs, 16) == 1 && EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_TX);
		won += !!EF_EVENT_TX_CTPIO(evs[0]);
		CHECK(ef_vi_transmit_unbundle(&a.vi, &evs[0], ids) == 1 && ids[0] == (int)k);
		int got = poll(&b, evs, 16);
		for (int n = 0; n < got; n++) {
			if (EF_EVENT_TYPE(evs[n]) == EF_EVENT_TYPE_RX_DISCARD) {
				CHECK(EF_EVENT_RX_DISCARD_TYPE(evs[n]) == EF_EVENT_RX_DISCARD_CRC_BAD);
				bad++;
			} else {
				CHECK(same(at(&b, EF_EVENT_RX_RQ_ID(evs[n])), at(&a, FIRST_TX + k), len));
				good++;
			}
		}
	}
	/* 3 6 9 12 are lost, 5 10 15 poisoned. */
	CHECK(good == 15 && bad == 3 && won == 8);
	CHECK(counters("a").ctpio_won == 8 && counters("a").ctpio_lost == 4 && counters("a").ctpio_poisoned == 3);
	CHECK(counters("a").sent == 15 && counters("b").offered == 18);
	/* Held back whole, nothing can be poisoned: it is a loss. */
	CHECK(efvi_double_script("set a ctpio-lose-every 0\nset a ctpio-poison-every 1\n") == 0);
	size_t len = frame(at(&a, FIRST_TX), 99, 100);
	ef_vi_transmit_ctpio(&a.vi, at(&a, FIRST_TX), len, EF_VI_CTPIO_CT_THRESHOLD_SNF);
	CHECK(ef_vi_transmit_ctpio_fallback(&a.vi, dma(&a, FIRST_TX), len, 1) == 0);
	CHECK(counters("a").ctpio_poisoned == 3);
	close_port(&a);
	close_port(&b);
}

static void a_full_wire_holds_the_sender(void)
{
	struct port a, b;
	ef_event evs[64];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	fresh(TWO);
	open_port(&a, "a", EF_VI_TX_CTPIO);
	open_port(&b, "b", 0);
	want(&b, "239.1.2.3", 5000, -1);
	for (unsigned k = 0; k < 70; k++) {
		size_t len = frame(at(&a, FIRST_TX + k), k, 20);
		CHECK(ef_vi_transmit(&a.vi, dma(&a, FIRST_TX + k), (int)len, (int)k) == 0);
	}
	CHECK(counters("a").tx_held == 70 && counters("b").waiting == 64);
	/* CTPIO does not overtake: it loses. */
	size_t len = frame(at(&a, FIRST_TX + 70), 70, 20);
	ef_vi_transmit_ctpio(&a.vi, at(&a, FIRST_TX + 70), len, 64);
	CHECK(ef_vi_transmit_ctpio_fallback(&a.vi, dma(&a, FIRST_TX + 70), len, 70) == 0);
	CHECK(counters("a").ctpio_lost == 1);
	unsigned next = 0;
	for (unsigned round = 0; round < 10; round++) {
		post(&b, round * 8, round * 8 + 8);
		int got = poll(&b, evs, 64);
		for (int n = 0; n < got; n++, next++) {
			frame(at(&a, 1000), next, 20);
			CHECK(same(at(&b, EF_EVENT_RX_RQ_ID(evs[n])), at(&a, 1000), len));
		}
	}
	CHECK(next == 71);
	int events = poll(&a, evs, 64), done = 0;
	for (int n = 0; n < events; n++)
		done += ef_vi_transmit_unbundle(&a.vi, &evs[n], ids);
	CHECK(done == 71 && ef_vi_transmit_fill_level(&a.vi) == 0);
	close_port(&a);
	close_port(&b);
}

static void sends_are_stamped_as_they_leave(void)
{
	struct port a, b;
	ef_event ev, evs[4];
	int64_t ns;
	unsigned flags;
	fresh(TWO "set a tx-stamp-absent-every 2\n");
	open_port(&a, "a", EF_VI_TX_CTPIO | EF_VI_TX_TIMESTAMPS);
	open_port(&b, "b", EF_VI_RX_TIMESTAMPS);
	want(&b, "239.1.2.3", 5000, -1);
	post(&b, 0, 8);
	size_t len = frame(at(&a, FIRST_TX), 1, 20);
	ef_vi_transmit_ctpio(&a.vi, at(&a, FIRST_TX), len, 64);
	CHECK(ef_vi_transmit_ctpio_fallback(&a.vi, dma(&a, FIRST_TX), len, 77) == 0);
	one(&a, &ev, EF_EVENT_TYPE_TX_WITH_TIMESTAMP);
	CHECK(EF_EVENT_TX_WITH_TIMESTAMP_RQ_ID(ev) == 77 && EF_EVENT_TX_CTPIO(ev));
	CHECK(EF_EVENT_TX_WITH_TIMESTAMP_SYNC_FLAGS(ev) == EF_EVENT_TX_WITH_TIMESTAMP_SYNC_MASK);
	CHECK(ef_vi_transmit_fill_level(&a.vi) == 0);
	CHECK(poll(&b, evs, 4) == 1 && stamp(&b, at(&b, 0), &ns, &flags) == 0);
	CHECK(ns == (int64_t)EF_EVENT_TX_WITH_TIMESTAMP_SEC(ev) * NS + EF_EVENT_TX_WITH_TIMESTAMP_NSEC(ev));
	CHECK(ef_vi_transmit(&a.vi, dma(&a, FIRST_TX), (int)len, 78) == 0);
	one(&a, &ev, EF_EVENT_TYPE_TX_WITH_TIMESTAMP);
	CHECK(EF_EVENT_TX_WITH_TIMESTAMP_SEC(ev) == 0 && EF_EVENT_TX_WITH_TIMESTAMP_NSEC(ev) == 0);
	CHECK(!EF_EVENT_TX_CTPIO(ev));
	close_port(&a);
	close_port(&b);
}

static void an_event_queue_that_is_not_polled_overflows(void)
{
	struct port p;
	ef_event evs[4];
	fresh(ONE);
	open_port(&p, "a", 0);
	CHECK(ef_vi_free(&p.vi, p.dh) == 0);
	CHECK(ef_vi_alloc_from_pd(&p.vi, p.dh, &p.pd, p.dh, 500, 0, 512, NULL, -1, EF_VI_TX_TIMESTAMPS) == 0);
	CHECK(ef_eventq_capacity(&p.vi) == 504);
	size_t len = frame(at(&p, FIRST_TX), 1, 20);
	/* Three slots each: there is room for 168. */
	for (int k = 0; k < 169; k++)
		CHECK(ef_vi_transmit(&p.vi, dma(&p, FIRST_TX), (int)len, k) == 0);
	for (int k = 0; k < 2; k++)
		CHECK(poll(&p, evs, 4) == 1 && EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_OFLOW);
	close_port(&p);
}

static void a_reset_is_the_last_a_vi_says(void)
{
	struct port p;
	ef_event evs[8];
	fresh(ONE "set a reset-after 2\n");
	open_port(&p, "a", 0);
	want(&p, "239.1.2.3", 5000, -1);
	post(&p, 0, 8);
	for (unsigned k = 0; k < 4; k++)
		offer("a", k, 20);
	CHECK(poll(&p, evs, 8) == 3 && EF_EVENT_TYPE(evs[2]) == EF_EVENT_TYPE_RESET);
	CHECK(poll(&p, evs, 8) == 0 && counters("a").lost == 2 && counters("a").delivered == 2);
	close_port(&p);
}

static void full_rings_can_be_feigned(void)
{
	struct port p;
	fresh(ONE "set a eagain-every 2\n");
	open_port(&p, "a", EF_VI_TX_CTPIO);
	size_t len = frame(at(&p, FIRST_TX), 1, 20);
	CHECK(ef_vi_transmit(&p.vi, dma(&p, FIRST_TX), (int)len, 1) == 0);
	CHECK(ef_vi_transmit(&p.vi, dma(&p, FIRST_TX), (int)len, 2) == -EAGAIN);
	CHECK(ef_vi_transmit(&p.vi, dma(&p, FIRST_TX), (int)len, 3) == 0);
	ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
	CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 4) == -EAGAIN);
	CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 4) == 0);
	CHECK(counters("a").sent == 3);
	close_port(&p);
}

static void firmware_that_merges_events_is_met_by_a_retry(void)
{
	struct port p;
	ef_event evs[8];
	ef_request_id ids[EF_VI_RECEIVE_BATCH];
	uint16_t bytes;
	fresh(ONE "capability a force-merge 1\nset a crc-every 20\n");
	CHECK(try_open(&p, "a", 0) == -EPERM);
	CHECK(ef_pd_free(&p.pd, p.dh) == 0 && ef_driver_close(p.dh) == 0);
	open_port(&p, "a", EF_VI_RX_EVENT_MERGE);
	want(&p, "239.1.2.3", 5000, -1);
	post(&p, 0, 64);
	for (unsigned k = 1; k <= 21; k++)
		offer("a", k, 20 + k);
	CHECK(poll(&p, evs, 8) == 4);
	CHECK(EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_RX_MULTI && EF_EVENT_RX_MULTI_SOP(evs[0]));
	CHECK(ef_vi_receive_fill_level(&p.vi) == 64);
	CHECK(ef_vi_receive_unbundle(&p.vi, &evs[0], ids) == 15 && ids[14] == 14);
	CHECK(ef_vi_receive_unbundle(&p.vi, &evs[1], ids) == 4 && ids[3] == 18);
	CHECK(EF_EVENT_TYPE(evs[2]) == EF_EVENT_TYPE_RX_MULTI_DISCARD);
	CHECK(EF_EVENT_RX_MULTI_DISCARD_TYPE(evs[2]) == EF_EVENT_RX_DISCARD_CRC_BAD);
	CHECK(ef_vi_receive_unbundle(&p.vi, &evs[2], ids) == 1 && ids[0] == 19);
	CHECK(ef_vi_receive_unbundle(&p.vi, &evs[3], ids) == 1 && ids[0] == 20);
	CHECK(ef_vi_receive_fill_level(&p.vi) == 43);
	CHECK(ef_vi_receive_get_bytes(&p.vi, at(&p, 20), &bytes) == 0 && bytes == 42 + 41);
	close_port(&p);
}

static void efct_lends_its_own_buffers(void)
{
	struct port p;
	ef_event evs[32];
	uint8_t expected[256];
	int64_t ns;
	unsigned flags;
	fresh(EFCT "set a superbufs 2\nset a superbuf-packets 8\nset a crc-every 5\n");
	open_port(&p, "a", EF_VI_RX_TIMESTAMPS);
	CHECK(p.vi.nic_type.arch == EF_VI_ARCH_EFCT && ef_vi_receive_prefix_len(&p.vi) == 0);
	CHECK(ef_vi_receive_init(&p.vi, dma(&p, 0), 0) == -ENOSYS && ef_vi_receive_space(&p.vi) < 0);
	want(&p, "239.1.2.3", 5000, -1);
	for (unsigned k = 1; k <= 20; k++)
		offer("a", k, 20);
	CHECK(poll(&p, evs, 32) == 16 && counters("a").unreleased == 16);
	for (unsigned k = 0; k < 16; k++) {
		bool bad = (k + 1) % 5 == 0;
		CHECK((int)EF_EVENT_TYPE(evs[k]) == (bad ? EF_EVENT_TYPE_RX_REF_DISCARD : EF_EVENT_TYPE_RX_REF));
		const uint8_t *data = efct_vi_rxpkt_get(&p.vi, evs[k].rx_ref.pkt_id);
		size_t len = frame(expected, k + 1, 20);
		CHECK(evs[k].rx_ref.len == len && (bad || memcmp(data, expected, len) == 0));
		CHECK(stamp(&p, data, &ns, &flags) == 0 && ns == 5ll * NS + k + 1);
		if (bad)
			CHECK(ef_vi_get_rx_discard_subtype_from_flags(evs[k].rx_ref_discard.flags) ==
			      EF_EVENT_RX_DISCARD_CRC_BAD);
	}
	/* Seven of eight released give nothing back. */
	for (unsigned k = 0; k < 7; k++)
		efct_vi_rxpkt_release(&p.vi, evs[k].rx_ref.pkt_id);
	ef_event more[8];
	CHECK(poll(&p, more, 8) == 0 && counters("a").waiting == 4);
	efct_vi_rxpkt_release(&p.vi, evs[7].rx_ref.pkt_id);
	CHECK(poll(&p, more, 8) == 4 && counters("a").waiting == 0);
	close_port(&p);
}

static void efct_sends_by_ctpio_alone(void)
{
	struct port p;
	ef_event evs[8];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	fresh(EFCT "set a keep 1\n");
	open_port(&p, "a", 0);
	CHECK(ef_vi_flags(&p.vi) & EF_VI_TX_CTPIO);
	size_t len = frame(at(&p, FIRST_TX), 1, 20);
	int space = ef_vi_transmit_space_bytes(&p.vi);
	ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
	CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 3) == 0);
	CHECK(ef_vi_transmit_space_bytes(&p.vi) == space - 128);
	/* The card has its copy. */
	memset(at(&p, FIRST_TX), 0xff, len);
	CHECK(poll(&p, evs, 8) == 1 && EF_EVENT_TX_CTPIO(evs[0]));
	CHECK(ef_vi_transmit_unbundle(&p.vi, &evs[0], ids) == 1 && ids[0] == 3);
	CHECK(ef_vi_transmit_space_bytes(&p.vi) == space);
	/* A full FIFO: nothing fails but the fallback, which may be tried again. */
	CHECK(efvi_double_script("set a completion-polls 1\n") == 0);
	int sent = 0;
	for (;; sent++) {
		len = frame(at(&p, FIRST_TX), 1, 1000);
		ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
		if (ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, sent) < 0)
			break;
	}
	CHECK(sent == 7 && counters("a").ctpio_lost == 1);
	CHECK(poll(&p, evs, 8) == 1 && ef_vi_transmit_unbundle(&p.vi, &evs[0], ids) == 7);
	CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 9) == 0);
	CHECK(counters("a").sent == 9);
	close_port(&p);
}

static void efct_gives_up_its_ring_at_a_send_that_fails(void)
{
	struct port p;
	ef_event evs[8];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	fresh(EFCT "set a tx-error-after 2\n");
	open_port(&p, "a", 0);
	size_t len = frame(at(&p, FIRST_TX), 1, 20);
	for (int k = 0; k < 4; k++) {
		ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
		CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, k) == 0);
	}
	CHECK(poll(&p, evs, 8) == 2 && ef_vi_transmit_unbundle(&p.vi, &evs[0], ids) == 2 && ids[1] == 1);
	CHECK(EF_EVENT_TYPE(evs[1]) == EF_EVENT_TYPE_TX_ERROR);
	CHECK(ef_vi_transmit_unbundle(&p.vi, &evs[1], ids) == 1 && ids[0] == 2);
	/* The one behind it is never heard of, and there is room for no other. */
	CHECK(poll(&p, evs, 8) == 0 && ef_vi_transmit_fill_level(&p.vi) == 1 && counters("a").sent == 2);
	CHECK(ef_vi_transmit_space_bytes(&p.vi) == 0);
	ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
	CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 4) == -EAGAIN);
	close_port(&p);
}

#if EFVI_DOUBLE_SHAPE >= 9
static void in_compatibility_mode_efct_looks_as_ef10(void)
{
	struct port p;
	ef_event ev;
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	uint8_t expected[256];
	unsigned long value;
	int64_t ns;
	unsigned flags;
	fresh(EFCT "set a keep 1\n");
	CHECK(setenv("EF_VI_COMPAT_MODE", "ef11", 1) == 0 && try_open(&p, "a", 0) == -EINVAL);
	CHECK(ef_pd_free(&p.pd, p.dh) == 0 && ef_driver_close(p.dh) == 0);
	CHECK(setenv("EF_VI_COMPAT_MODE", "EF10", 1) == 0);
	open_port(&p, "a", EF_VI_RX_TIMESTAMPS);
	CHECK(ef_pd_capabilities_get(p.dh, &p.pd, p.dh, EF_VI_CAP_CTPIO_ONLY, &value) == -EOPNOTSUPP);
	CHECK(p.vi.nic_type.arch == EF_VI_ARCH_EF10 && ef_vi_receive_prefix_len(&p.vi) == 14);
	want(&p, "239.1.2.3", 5000, -1);
	/* No doorbell: one buffer is as good as eight. */
	CHECK(ef_vi_receive_init(&p.vi, dma(&p, 5), 5) == 0 && ef_vi_receive_fill_level(&p.vi) == 1);
	offer("a", 1, 20);
	offer("a", 2, 20);
	ef_event evs[4];
	CHECK(poll(&p, evs, 4) == 2 && EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_RX && EF_EVENT_RX_SOP(evs[0]));
	size_t len = frame(expected, 1, 20);
	CHECK(EF_EVENT_RX_RQ_ID(evs[0]) == 5 && EF_EVENT_RX_BYTES(evs[0]) == 14 + len && !EF_EVENT_RX_CONT(evs[0]));
	CHECK(memcmp(at(&p, 5) + 14, expected, len) == 0);
	CHECK(stamp(&p, at(&p, 5), &ns, &flags) == 0 && ns == 5ll * NS + 1);
	/* What finds no buffer is lost, and the card never has its packet back. */
	CHECK(EF_EVENT_TYPE(evs[1]) == EF_EVENT_TYPE_RX_NO_DESC_TRUNC);
	CHECK(counters("a").delivered == 1 && counters("a").no_descriptor == 1 && counters("a").unreleased == 1);
	/* Sums are finished where the frame lies, and it leaves by the one way there is. */
	len = frame(at(&p, FIRST_TX), 1, 20);
	memset(at(&p, FIRST_TX) + 24, 0, 2);
	CHECK(ef_vi_transmit(&p.vi, dma(&p, FIRST_TX), (int)len, 3) == 0);
	CHECK(memcmp(at(&p, FIRST_TX), expected, 40) == 0 && memcmp(at(&p, FIRST_TX) + 40, expected + 40, 2) != 0);
	one(&p, &ev, EF_EVENT_TYPE_TX);
	CHECK(EF_EVENT_TX_CTPIO(ev) && ef_vi_transmit_unbundle(&p.vi, &ev, ids) == 1 && ids[0] == 3);
	close_port(&p);
	CHECK(unsetenv("EF_VI_COMPAT_MODE") == 0);
}

static void warming_puts_nothing_on_the_wire(void)
{
	struct port p;
	ef_event evs[8];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	ef_vi_tx_warm_state state;
	char aperture[4096];
	for (int efct = 0; efct < 2; efct++) {
		fresh(efct ? EFCT "set a keep 1\n" : ONE "set a keep 1\n");
		open_port(&p, "a", EF_VI_TX_CTPIO | EF_VI_TX_TIMESTAMPS);
		size_t len = frame(at(&p, FIRST_TX), 1, 20);
		ef_vi_start_transmit_warm(&p.vi, efct ? NULL : &state, efct ? NULL : aperture);
		ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
		CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 3) == (efct ? 0 : -EAGAIN));
		ef_vi_stop_transmit_warm(&p.vi, efct ? NULL : &state);
		CHECK(counters("a").sent == 0 && counters("a").ctpio_won == 0);
		/* EFCT raises an event that names nothing. */
		CHECK(poll(&p, evs, 8) == efct);
		if (efct)
			CHECK(EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_TX &&
			      ef_vi_transmit_unbundle(&p.vi, &evs[0], ids) == 0);
		CHECK(ef_vi_transmit_fill_level(&p.vi) == 0);
		ef_vi_transmit_ctpio(&p.vi, at(&p, FIRST_TX), len, 64);
		CHECK(ef_vi_transmit_ctpio_fallback(&p.vi, dma(&p, FIRST_TX), len, 3) == 0);
		CHECK(poll(&p, evs, 8) == 1 && EF_EVENT_TYPE(evs[0]) == EF_EVENT_TYPE_TX_WITH_TIMESTAMP);
		CHECK(counters("a").sent == 1 && ef_vi_transmit_fill_level(&p.vi) == 0);
		close_port(&p);
	}
}
#endif

static void put32(FILE *file, uint32_t word) { CHECK(fwrite(&word, 4, 1, file) == 1); }

static void a_capture_arrives_with_its_stamps_and_is_recorded(void)
{
	struct port a, b;
	ef_event evs[64];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	char folder[] = "/tmp/efvi-double-XXXXXX", in[64], out[64], script[512];
	uint8_t bytes[2048], got[2048];
	CHECK(mkdtemp(folder));
	snprintf(in, sizeof in, "%s/in.pcap", folder);
	snprintf(out, sizeof out, "%s/out.pcap", folder);
	FILE *file = fopen(in, "wb");
	for (unsigned k = 0; k < 6; k++)
		put32(file, (uint32_t[]){0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1}[k]);
	for (unsigned k = 0; k < 1000; k++) {
		uint32_t len = (uint32_t)frame(bytes, k, 20 + k % 1000);
		put32(file, 7);
		put32(file, k);
		put32(file, len);
		put32(file, len);
		CHECK(fwrite(bytes, 1, len, file) == len);
	}
	fclose(file);
	snprintf(script, sizeof script, APART "play a %s\nrecord b %s\n", in, out);
	fresh(script);
	open_port(&a, "a", EF_VI_RX_TIMESTAMPS);
	open_port(&b, "b", 0);
	post(&a, 0, 64);
	CHECK(poll(&a, evs, 64) == 0 && counters("a").unplayed == 1000);
	want(&a, "239.1.2.3", 5000, -1);
	unsigned next = 0;
	while (next < 1000) {
		int n = poll(&a, evs, 8);
		for (int k = 0; k < n; k++, next++) {
			unsigned id = EF_EVENT_RX_RQ_ID(evs[k]);
			int64_t ns;
			unsigned flags;
			size_t len = frame(bytes, next, 20 + next % 1000);
			CHECK(EF_EVENT_RX_BYTES(evs[k]) == len + 14 && memcmp(at(&a, id) + 14, bytes, len) == 0);
			CHECK(stamp(&a, at(&a, id), &ns, &flags) == 0 && ns == 7ll * NS + next * 1000);
			memcpy(at(&b, FIRST_TX), bytes, len);
			CHECK(ef_vi_transmit(&b.vi, dma(&b, FIRST_TX), (int)len, (int)next) == 0);
			CHECK(poll(&b, evs + 32, 8) == 1 && ef_vi_transmit_unbundle(&b.vi, &evs[32], ids) == 1);
			post(&a, id, id + 1);
		}
	}
	CHECK(counters("a").unplayed == 0 && counters("a").waiting == 0);
	close_port(&a);
	close_port(&b);
	file = fopen(out, "rb");
	CHECK(fread(got, 1, 24, file) == 24 && memcmp(got, "\x4d\x3c\xb2\xa1", 4) == 0);
	for (unsigned k = 0; k < 1000; k++) {
		size_t len = frame(bytes, k, 20 + k % 1000);
		CHECK(fread(got, 1, 16, file) == 16 && (got[8] | got[9] << 8) == (int)len);
		CHECK(fread(got, 1, len, file) == len);
		CHECK(same(got, bytes, len));
	}
	CHECK(fgetc(file) == EOF);
	fclose(file);
	CHECK(unlink(in) == 0 && unlink(out) == 0 && rmdir(folder) == 0);
}

/* Both ways, faults on: everything that is not a counted discard arrives once, in order and whole. */
static void many_frames_with_faults_are_all_accounted_for(void)
{
	enum { FRAMES = 100000 };
	struct port p[2];
	ef_event evs[32];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	uint8_t expected[2048];
	uint64_t good[2] = {0}, bad[2] = {0};
	unsigned sent[2] = {0}, slot[2] = {0}, done[2] = {0};
	uint32_t next[2] = {0};
	fresh(TWO "set a crc-every 97\nset b csum-every 89\nset b trunc-every 1009\nset a ctpio-lose-every 7\n"
		  "set b ctpio-poison-every 11\nset a completion-polls 3\nset b eagain-every 13\n");
	for (int k = 0; k < 2; k++) {
		open_port(&p[k], k ? "b" : "a", EF_VI_TX_CTPIO);
		want(&p[k], "239.1.2.3", 5000, -1);
		post(&p[k], 0, 128);
	}
	bool open[2] = {false, false};
	while (done[0] < FRAMES || done[1] < FRAMES || good[0] + bad[0] < counters("a").matched ||
	       good[1] + bad[1] < counters("b").matched) {
		for (int k = 0; k < 2; k++) {
			for (int burst = 0; burst < 8 && sent[k] < FRAMES && slot[k] - done[k] < 200; burst++) {
				unsigned buffer = FIRST_TX + slot[k] % 256;
				if (!open[k]) {
					size_t len = frame(at(&p[k], buffer), sent[k], 20 + sent[k] % 700);
					ef_vi_transmit_ctpio(&p[k].vi, at(&p[k], buffer), len, 64);
				}
				size_t len = 42 + 20 + sent[k] % 700;
				open[k] = ef_vi_transmit_ctpio_fallback(&p[k].vi, dma(&p[k], buffer), len, (int)sent[k]) < 0;
				if (open[k])
					break;
				sent[k]++;
				slot[k]++;
			}
			int n = poll(&p[k], evs, 32);
			unsigned reposted = 0;
			for (int e = 0; e < n; e++) {
				if (EF_EVENT_TYPE(evs[e]) == EF_EVENT_TYPE_TX) {
					int count = ef_vi_transmit_unbundle(&p[k].vi, &evs[e], ids);
					for (int u = 0; u < count; u++)
						CHECK(ids[u] == (int)done[k]++);
					continue;
				}
				unsigned id = EF_EVENT_RX_RQ_ID(evs[e]);
				if (EF_EVENT_TYPE(evs[e]) == EF_EVENT_TYPE_RX) {
					uint32_t number;
					memcpy(&number, at(&p[k], id) + 42, 4);
					CHECK(number >= next[k]);
					next[k] = number + 1;
					size_t len = frame(expected, number, 20 + number % 700);
					CHECK(EF_EVENT_RX_BYTES(evs[e]) == len);
					CHECK(same(at(&p[k], id), expected, len));
					good[k]++;
				} else {
					bad[k]++;
				}
				CHECK(ef_vi_receive_init(&p[k].vi, dma(&p[k], id), (int)id) == 0);
				reposted++;
			}
			if (reposted)
				ef_vi_receive_push(&p[k].vi);
		}
	}
	struct efvi_double_counters a = counters("a"), b = counters("b");
	CHECK(a.sent == FRAMES && b.sent == FRAMES);
	CHECK(a.ctpio_won + a.ctpio_lost == FRAMES && a.ctpio_lost >= FRAMES / 7);
	CHECK(b.ctpio_won + b.ctpio_lost + b.ctpio_poisoned == FRAMES && b.ctpio_poisoned > 0);
	CHECK(b.offered == FRAMES && a.offered == FRAMES + b.ctpio_poisoned);
	CHECK(good[0] == a.delivered && good[1] == b.delivered);
	CHECK(bad[0] == a.discarded_crc && bad[1] == b.discarded_csum + b.discarded_trunc);
	CHECK(b.discarded_trunc == FRAMES / 1009 - FRAMES / (1009 * 89) && b.discarded_csum == FRAMES / 89);
	CHECK(a.matched == a.delivered + a.discarded_crc && b.matched == b.delivered + bad[1]);
	for (int k = 0; k < 2; k++)
		CHECK(ef_vi_receive_fill_level(&p[k].vi) == 128 && ef_vi_transmit_fill_level(&p[k].vi) == 0);
	CHECK(a.tx_held == 0 && b.tx_held == 0 && a.waiting == 0 && b.waiting == 0);
	close_port(&p[0]);
	close_port(&p[1]);
}

/* ---- misuses ---- */

static struct port m;
static size_t m_len;

static void ready(const char *script, unsigned flags)
{
	fresh(script);
	open_port(&m, "a", flags);
	want(&m, "239.1.2.3", 5000, -1);
	m_len = frame(at(&m, FIRST_TX), 1, 20);
}

static void ctpio(void) { ef_vi_transmit_ctpio(&m.vi, at(&m, FIRST_TX), m_len, 64); }

static void second_ctpio(void)
{
	ready(ONE, EF_VI_TX_CTPIO);
	ctpio();
	ctpio();
}

static void send_without_the_fallback(void)
{
	ready(ONE, EF_VI_TX_CTPIO);
	ctpio();
	(void)!ef_vi_transmit(&m.vi, dma(&m, FIRST_TX), (int)m_len, 1);
}

static void end_without_the_fallback(void)
{
	ready(ONE, EF_VI_TX_CTPIO);
	ctpio();
	ef_vi_free(&m.vi, m.dh);
}

static void fallback_alone(void)
{
	ready(ONE, EF_VI_TX_CTPIO);
	(void)!ef_vi_transmit_ctpio_fallback(&m.vi, dma(&m, FIRST_TX), m_len, 1);
}

static void ctpio_unasked(void)
{
	ready(ONE, 0);
	ctpio();
}

static void change_of_a_send(void)
{
	ef_event evs[2];
	ready(ONE "set a completion-polls 2\n", 0);
	(void)!ef_vi_transmit(&m.vi, dma(&m, FIRST_TX), (int)m_len, 1);
	at(&m, FIRST_TX)[50] ^= 1;
	poll(&m, evs, 2);
	poll(&m, evs, 2);
}

static void change_of_a_fallback(void)
{
	ef_event evs[2];
	ready(ONE, EF_VI_TX_CTPIO);
	ctpio();
	(void)!ef_vi_transmit_ctpio_fallback(&m.vi, dma(&m, FIRST_TX), m_len, 1);
	at(&m, FIRST_TX)[50] ^= 1;
	poll(&m, evs, 2);
}

static void change_of_a_receive_buffer(void)
{
	ready(ONE, 0);
	post(&m, 0, 8);
	at(&m, 0)[100] = 1;
	offer("a", 1, 20);
}

static void posting_twice(void)
{
	ready(ONE, 0);
	post(&m, 0, 4);
	post(&m, 0, 4);
	for (unsigned k = 0; k < 5; k++)
		offer("a", k, 20);
}

static void unregistered_address(void)
{
	ready(ONE, 0);
	(void)!ef_vi_receive_init(&m.vi, (ef_addr)(uintptr_t)at(&m, 0), 0);
}

static void other_domain(void)
{
	struct port other;
	ready(ONE, 0);
	open_port(&other, "a", 0);
	(void)!ef_vi_transmit(&m.vi, dma(&other, FIRST_TX), 60, 0);
}

static void across_blocks(void)
{
	ready(ONE, 0);
	(void)!ef_vi_receive_init(&m.vi, ef_memreg_dma_addr(&m.mr, 3000), 0);
}

static void free_twice(void)
{
	ready(ONE, 0);
	ef_vi_free(&m.vi, m.dh);
	ef_vi_free(&m.vi, m.dh);
}

static void use_after_free(void)
{
	ef_event evs[2];
	ready(ONE, 0);
	ef_vi_free(&m.vi, m.dh);
	poll(&m, evs, 2);
}

static void moved(void)
{
	ready(ONE, 0);
	ef_vi elsewhere = m.vi;
	ef_vi_receive_push(&elsewhere);
}

static void memory_before_the_vi(void)
{
	ready(ONE, 0);
	post(&m, 0, 8);
	ef_memreg_free(&m.mr, m.dh);
}

static void domain_before_the_vi(void)
{
	ready(ONE, 0);
	ef_pd_free(&m.pd, m.dh);
}

static void handle_first(void)
{
	ready(ONE, 0);
	ef_driver_close(m.dh);
}

static void poll_for_one(void)
{
	ef_event ev;
	ready(ONE, 0);
	poll(&m, &ev, 1);
}

static void stamp_of_an_earlier_poll(void)
{
	ef_event evs[2];
	int64_t ns;
	unsigned flags;
	ready(ONE, EF_VI_RX_TIMESTAMPS);
	post(&m, 0, 8);
	offer("a", 1, 20);
	poll(&m, evs, 2);
	poll(&m, evs, 2);
	stamp(&m, at(&m, 0), &ns, &flags);
}

static void unbundle_twice(void)
{
	ef_event evs[2];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	ready(ONE, 0);
	(void)!ef_vi_transmit(&m.vi, dma(&m, FIRST_TX), (int)m_len, 1);
	poll(&m, evs, 2);
	ef_vi_transmit_unbundle(&m.vi, &evs[0], ids);
	ef_vi_transmit_unbundle(&m.vi, &evs[0], ids);
}

static void push_of_nothing(void)
{
	ready(ONE, 0);
	ef_vi_transmit_push(&m.vi);
}

static void filter_twice(void)
{
	ready(ONE, 0);
	ef_filter_cookie cookie = want(&m, "239.1.2.9", 1, -1);
	ef_vi_filter_del(&m.vi, m.dh, &cookie);
	ef_vi_filter_del(&m.vi, m.dh, &cookie);
}

static void release_twice(void)
{
	ef_event evs[2];
	ready(EFCT, 0);
	offer("a", 1, 20);
	poll(&m, evs, 2);
	efct_vi_rxpkt_release(&m.vi, evs[0].rx_ref.pkt_id);
	efct_vi_rxpkt_release(&m.vi, evs[0].rx_ref.pkt_id);
}

static void release_of_nothing(void)
{
	ready(EFCT, 0);
	efct_vi_rxpkt_release(&m.vi, 3);
}

static void dies(const char *name, void (*misuse)(void), const char *words)
{
	int ends[2], status;
	char said[512] = "";
	size_t len = 0;
	CHECK(pipe(ends) == 0);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], 2);
		misuse();
		_exit(0);
	}
	close(ends[1]);
	for (ssize_t n; len < sizeof said - 1 && (n = read(ends[0], said + len, sizeof said - 1 - len)) > 0;)
		len += (size_t)n;
	close(ends[0]);
	CHECK(waitpid(child, &status, 0) == child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(said, words)) {
		fprintf(stderr, "%s: status %#x, not an abort that says \"%s\": %s\n", name, (unsigned)status, words, said);
		exit(1);
	}
	printf("aborts: %s\n", name);
}

#define KEPT(promise) (promise(), printf("kept: %s\n", #promise))
#define DIES(misuse, words) dies(#misuse, misuse, words)

int main(void)
{
	KEPT(without_a_script_there_is_no_interface);
	KEPT(an_interface_says_what_it_can_do);
	KEPT(memory_is_registered_from_a_page_on);
	KEPT(the_doorbell_takes_multiples_of_eight);
	KEPT(a_ring_of_512_holds_511);
	KEPT(stamps_say_how_far_to_trust_them);
	KEPT(damaged_frames_are_discarded_by_subtype_and_counted);
	KEPT(frames_above_the_buffer_are_split);
	KEPT(without_descriptors_a_wire_waits_or_drops);
	KEPT(filters_match_group_port_and_vlan);
	KEPT(multicast_goes_to_every_vi_that_wants_it);
	KEPT(one_event_completes_up_to_64_sends);
	KEPT(a_card_finishes_checksums_by_dma_and_not_by_ctpio);
	KEPT(ctpio_wins_loses_or_is_poisoned_and_arrives_once);
	KEPT(a_full_wire_holds_the_sender);
	KEPT(sends_are_stamped_as_they_leave);
	KEPT(an_event_queue_that_is_not_polled_overflows);
	KEPT(a_reset_is_the_last_a_vi_says);
	KEPT(full_rings_can_be_feigned);
	KEPT(firmware_that_merges_events_is_met_by_a_retry);
	KEPT(efct_lends_its_own_buffers);
	KEPT(efct_sends_by_ctpio_alone);
	KEPT(efct_gives_up_its_ring_at_a_send_that_fails);
#if EFVI_DOUBLE_SHAPE >= 9
	KEPT(in_compatibility_mode_efct_looks_as_ef10);
	KEPT(warming_puts_nothing_on_the_wire);
#endif
	KEPT(a_capture_arrives_with_its_stamps_and_is_recorded);
	KEPT(many_frames_with_faults_are_all_accounted_for);
	DIES(second_ctpio, "the fallback of the CTPIO send before is missing");
	DIES(send_without_the_fallback, "the fallback of the CTPIO send before is missing");
	DIES(end_without_the_fallback, "the fallback of the CTPIO send before is missing");
	DIES(fallback_alone, "no CTPIO send before it");
	DIES(ctpio_unasked, "without EF_VI_TX_CTPIO");
	DIES(change_of_a_send, "changed in memory before its completion");
	DIES(change_of_a_fallback, "changed in memory before its completion");
	DIES(change_of_a_receive_buffer, "written at byte 100");
	DIES(posting_twice, "posted twice");
	DIES(unregistered_address, "never registered");
	DIES(other_domain, "another protection domain");
	DIES(across_blocks, "cross into the next");
	DIES(free_twice, "freed");
	DIES(use_after_free, "freed");
	DIES(moved, "copied or moved");
	DIES(memory_before_the_vi, "free the VI first");
	DIES(domain_before_the_vi, "a VI of it is not freed");
	DIES(handle_first, "not freed");
	DIES(poll_for_one, "room for 1 events");
	DIES(stamp_of_an_earlier_poll, "of the last poll");
	DIES(unbundle_twice, "unbundled before");
	DIES(push_of_nothing, "no descriptor was initialised");
	DIES(filter_twice, "deleted before");
	DIES(release_twice, "released before");
	DIES(release_of_nothing, "no event has given it");
	efvi_double_reset();
	return 0;
}
