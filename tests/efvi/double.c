/* A test double of ef_vi: cards, wires and their faults in the process's own memory.
 *
 * In come the calls of the public interface (include/etherfabric) and a script (double.h); out go the events, the frames and
 * the errors that a card of the EF10 or EFCT kind would give. Nothing happens behind the caller's back: frames move when a VI
 * is polled or a doorbell is rung. Memory handed to the card is marked and looked at again, the order of the calls is held
 * to, and whoever breaks a rule is told by a line on stderr and SIGABRT. No figure of a card is modelled: only what it does.
 *
 * One lock is around everything, because the two ends of a wire are polled by different threads. */
#define _GNU_SOURCE
#include "double.h"

#include <arpa/inet.h>
#include <etherfabric/base.h>
#include <etherfabric/capabilities.h>
#include <etherfabric/ef_vi.h>
#include <etherfabric/efct_vi.h>
#include <etherfabric/memreg.h>
#include <etherfabric/pd.h>
#include <etherfabric/vi.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	INTERFACES = 8,
	QUEUES = 16,
	DOMAINS = 32,
	REGIONS = 256,
	FILTERS = 1024,
	HANDLES = 32,
	/* Frames that stand in a wire whose other end has no descriptor, before the sender's ring fills. */
	WIRE_HOLDS = 64,
	/* Frames from outside that one poll lets in. */
	AT_ONCE = 64,
	FRAME_MAX = 9216,
	PREFIX = 14,
	PREFIX_LENGTH = 8,
	PREFIX_STAMP = 10,
	BUFFER_DEFAULT = 1792,
	/* EFCT: bytes between packets, and where a frame begins in its place. */
	STRIDE = 2048,
	LEAD = 66,
	FIFO_BYTES = 8192,
	FIFO_HEADER = 8,
	/* The last frame may take as much more than its bytes. */
	FIFO_UNIT = 64,
	/* Slots of an event queue that the library keeps. */
	RESERVED = 8,
	POISON = 0xa5,
	RELEASED = 0xdd,
	BLOCK = EF_VI_NIC_PAGE_SIZE,
};

enum damage { WHOLE, DAMAGE_CRC, DAMAGE_CSUM, DAMAGE_TRUNC };

struct frame {
	struct frame *next;
	uint64_t stamp_ns;
	uint32_t len;
	enum damage damage;
	bool stampless;
	uint8_t bytes[];
};

struct fifo {
	struct frame *first, *last;
	uint64_t count;
};

struct capture {
	uint8_t *bytes;
	size_t len, at;
	bool swapped;
	uint32_t unit_ns;
};

struct interface {
	char name[IFNAMSIZ];
	bool efct;
	int ifindex, node;
	uint8_t mac[6];
	struct interface *peer;
	struct capture play;
	FILE *record;
	int bridge;
	bool away;
	struct fifo kept;
	long capability[EF_VI_CAP_MAX];
	struct {
		unsigned long drop, keep, crc_every, csum_every, trunc_every, ctpio_lose_every, ctpio_poison_every;
		unsigned long eagain_every, completion_polls, overflow_after, reset_after;
		unsigned long tx_error_after, play_filters, away_opens;
		unsigned long rx_stamp_absent_every, tx_stamp_absent_every, clock_known, clock_lost, clock_set;
		unsigned long clock_in_sync, superbufs, superbuf_packets;
	} set;
	uint64_t arrivals, ctpios, sends, rx_stamps, tx_stamps;
	struct efvi_double_counters n;
};

#define SETTING(name, field) {name, offsetof(struct interface, set.field)}
static const struct {
	const char *name;
	size_t at;
} settings[] = {
	SETTING("drop", drop),
	SETTING("keep", keep),
	SETTING("crc-every", crc_every),
	SETTING("csum-every", csum_every),
	SETTING("trunc-every", trunc_every),
	SETTING("ctpio-lose-every", ctpio_lose_every),
	SETTING("ctpio-poison-every", ctpio_poison_every),
	SETTING("eagain-every", eagain_every),
	SETTING("completion-polls", completion_polls),
	SETTING("overflow-after", overflow_after),
	SETTING("reset-after", reset_after),
	SETTING("tx-error-after", tx_error_after),
	SETTING("play-filters", play_filters),
	SETTING("away-opens", away_opens),
	SETTING("rx-stamp-absent-every", rx_stamp_absent_every),
	SETTING("tx-stamp-absent-every", tx_stamp_absent_every),
	SETTING("clock-known", clock_known),
	SETTING("clock-lost", clock_lost),
	SETTING("clock-set", clock_set),
	SETTING("clock-in-sync", clock_in_sync),
	SETTING("superbufs", superbufs),
	SETTING("superbuf-packets", superbuf_packets),
};

static const struct {
	const char *name;
	enum ef_vi_capability which;
} capabilities[] = {
	{"ctpio", EF_VI_CAP_CTPIO},
	{"ctpio-only", EF_VI_CAP_CTPIO_ONLY},
	{"rx-timestamps", EF_VI_CAP_HW_RX_TIMESTAMPING},
	{"tx-timestamps", EF_VI_CAP_HW_TX_TIMESTAMPING},
	{"rx-merge", EF_VI_CAP_RX_MERGE},
	{"force-merge", EF_VI_CAP_RX_FORCE_EVENT_MERGING},
	{"rx-firmware", EF_VI_CAP_RX_FW_VARIANT},
	{"tx-firmware", EF_VI_CAP_TX_FW_VARIANT},
	{"multicast-replication", EF_VI_CAP_HW_MULTICAST_REPLICATION},
};

/* A receive descriptor: poisoned from the doorbell on until the card fills it. */
struct buffer {
	ef_request_id id;
	uint8_t *at;
	uint32_t room;
};

/* A transmit descriptor. */
struct send {
	ef_request_id id;
	const uint8_t *at;
	uint32_t len;
	uint64_t sum;
	/* The frame goes on in the next descriptor. */
	bool more;
	/* Already on the wire by CTPIO. */
	bool won;
	bool warm;
	/* EFCT: the card has its copy. */
	struct frame *copy;
	bool failed;
	uint32_t fifo_bytes;
	uint64_t stamp_ns, sent_poll;
};

enum what { RECEIVED, RECEIVED_REF, CUT_SHORT, SENT, SENT_STAMPED, FAILED, RESET };

struct event {
	enum what what;
	uint8_t marks;
	/* A discard's subtype, or -1. */
	int why;
	uint16_t bytes, packets, descriptors;
	/* Ring position (RECEIVED, SENT) or packet. */
	uint32_t which;
	uint64_t stamp_ns;
	bool stampless;
};

struct stamp {
	const void *packet;
	uint64_t ns;
	bool absent;
};

enum packet { FREE, FILLED, GIVEN, DONE };

struct superbuf {
	uint32_t filled, done;
	uint8_t *state;
};

/* The card's half of a VI. */
struct efvi_double_queue {
	bool live;
	/* An EFCT card behind a library that acts as one of the EF10 kind. */
	bool compat;
	atomic_bool busy;
	struct ef_vi *vi;
	struct interface *interface;
	unsigned domain;
	struct buffer *rx;
	uint32_t rx_size, rx_posted, rx_filled;
	struct send *tx;
	uint32_t tx_size, tx_posted, tx_sent, tx_raised;
	struct fifo arrivals;
	struct event *events;
	uint32_t events_size, events_at, events_count, slots, slots_used;
	uint64_t polls, raised;
	bool dead, overflowed;
	/* EFCT: a send failed, and the card gave up the ring. */
	bool torn;
	/* Between ef_vi_transmit_ctpio and its fallback. */
	bool ctpio_open, ctpio_won;
	struct frame *ctpio_frame;
	uint64_t ctpio_stamp_ns;
	bool warm;
	char *warm_aperture;
	unsigned discards;
	struct stamp *stamps;
	uint32_t stamps_count, stamps_next, stamps_size;
	uint8_t *own, *shown;
	struct superbuf *superbufs;
	/* The one being filled, how many there are, and how many packets each holds. */
	uint32_t superbuf, superbufs_count, superbuf_packets;
};

struct domain {
	bool live;
	struct interface *interface;
};

struct region {
	bool live, used;
	unsigned domain;
	uint8_t *base;
	size_t len;
};

enum filter_kind { FILTER_IP4_FULL = 1, FILTER_IP4_LOCAL, FILTER_MAC, FILTER_UNICAST, FILTER_MULTICAST };

struct filter {
	struct efvi_double_queue *queue;
	ef_filter_spec spec;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct interface interfaces[INTERFACES];
static unsigned interfaces_count;
static struct efvi_double_queue queues[QUEUES];
static struct domain domains[DOMAINS];
static struct region regions[REGIONS];
static struct filter filters[FILTERS];
/* No filter lies at or behind it. */
static unsigned filters_end;
static bool handles[HANDLES];
static bool scripted;
static int refuse_open;

static void send_ready(struct efvi_double_queue *q);
static void receive_ready(struct efvi_double_queue *q);
static void set_ops(ef_vi *vi);

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list words;
	va_start(words, format);
	fputs("ef_vi double: ", stderr);
	vfprintf(stderr, format, words);
	fputc('\n', stderr);
	va_end(words);
	abort();
}

static void *take(size_t count, size_t bytes)
{
	void *taken = calloc(count ? count : 1, bytes);
	if (!taken)
		die("out of memory");
	return taken;
}

static bool every(unsigned long n, uint64_t count) { return n && count % n == 0; }

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The queue behind a VI, with the lock. */
static struct efvi_double_queue *enter(const ef_vi *vi, const char *call)
{
	struct efvi_double_queue *q = vi->card;
	if (!q || !q->live)
		die("%s: the VI is not allocated, or was freed", call);
	if (q->vi != vi)
		die("%s: the VI was copied or moved since it was allocated", call);
	if (atomic_exchange(&q->busy, true))
		die("%s: two threads are in one VI", call);
	pthread_mutex_lock(&lock);
	return q;
}

static int leave(struct efvi_double_queue *q, int result)
{
	pthread_mutex_unlock(&lock);
	atomic_store(&q->busy, false);
	return result;
}

/* ---- frames ---- */

static struct frame *frame_new(const void *bytes, size_t len, uint64_t stamp_ns)
{
	struct frame *f = malloc(sizeof *f + len);
	if (!f)
		die("out of memory");
	*f = (struct frame){.stamp_ns = stamp_ns, .len = (uint32_t)len};
	if (bytes)
		memcpy(f->bytes, bytes, len);
	return f;
}

static struct frame *frame_copy(const struct frame *f)
{
	struct frame *copy = frame_new(f->bytes, f->len, f->stamp_ns);
	copy->damage = f->damage;
	copy->stampless = f->stampless;
	return copy;
}

static void fifo_put(struct fifo *fifo, struct frame *f)
{
	f->next = NULL;
	if (fifo->first)
		fifo->last->next = f;
	else
		fifo->first = f;
	fifo->last = f;
	fifo->count++;
}

static struct frame *fifo_take(struct fifo *fifo)
{
	struct frame *f = fifo->first;
	if (f) {
		fifo->first = f->next;
		fifo->count--;
	}
	return f;
}

static void fifo_clear(struct fifo *fifo)
{
	struct frame *f;
	while ((f = fifo_take(fifo)))
		free(f);
}

static uint16_t be16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put_be16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put_le(uint8_t *at, uint32_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

/* What the filters and the checksums ask of a frame. */
struct headers {
	uint16_t vlan, type;
	/* IPv4 without a trace of fragmentation, as long as it says; else NULL. */
	uint8_t *ip, *l4;
	uint32_t ip_bytes, l4_bytes;
	uint8_t protocol;
	bool ports;
};

static struct headers headers(uint8_t *bytes, uint32_t len)
{
	struct headers h = {.vlan = 0xffff};
	uint32_t at = 12;
	if (len < 14)
		return h;
	h.type = be16(bytes + at);
	while ((h.type == 0x8100 || h.type == 0x88a8) && at + 6 <= len) {
		if (h.vlan == 0xffff)
			h.vlan = be16(bytes + at + 2) & 0xfff;
		at += 4;
		h.type = be16(bytes + at);
	}
	at += 2;
	if (h.type != 0x0800 || at + 20 > len || bytes[at] >> 4 != 4)
		return h;
	uint8_t *ip = bytes + at;
	uint32_t header = (ip[0] & 15u) * 4, total = be16(ip + 2);
	if (header < 20 || total < header || at + total > len)
		return h;
	h.ip = ip;
	h.ip_bytes = header;
	h.protocol = ip[9];
	if (be16(ip + 6) & 0x3fff)
		return h;
	h.l4 = ip + header;
	h.l4_bytes = total - header;
	h.ports = (h.protocol == IPPROTO_UDP && h.l4_bytes >= 8) || (h.protocol == IPPROTO_TCP && h.l4_bytes >= 20);
	return h;
}

static uint32_t sum16(const uint8_t *at, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += be16(at + i);
	if (len & 1)
		sum += (uint32_t)at[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t sum_l4(const struct headers *h)
{
	return sum16(h->l4, h->l4_bytes, sum16(h->ip + 12, 8, h->protocol + h->l4_bytes));
}

static void finish_checksums(uint8_t *bytes, uint32_t len, bool l3, bool l4)
{
	struct headers h = headers(bytes, len);
	if (h.ip && l3) {
		put_be16(h.ip + 10, 0);
		put_be16(h.ip + 10, (uint16_t)~sum16(h.ip, h.ip_bytes, 0));
	}
	if (h.ports && l4) {
		uint8_t *field = h.l4 + (h.protocol == IPPROTO_UDP ? 6 : 16);
		put_be16(field, 0);
		uint16_t sum = (uint16_t)~sum_l4(&h);
		put_be16(field, sum == 0 && h.protocol == IPPROTO_UDP ? 0xffff : sum);
	}
}

static bool checksums_good(uint8_t *bytes, uint32_t len)
{
	struct headers h = headers(bytes, len);
	if (h.ip && sum16(h.ip, h.ip_bytes, 0) != 0xffff)
		return false;
	if (!h.ports || (h.protocol == IPPROTO_UDP && be16(h.l4 + 6) == 0))
		return true;
	return sum_l4(&h) == 0xffff;
}

/* ---- the wire ---- */

static bool matches(const ef_filter_spec *spec, const struct headers *h, const uint8_t *mac)
{
	if (spec->vlan >= 0 && spec->vlan != h->vlan)
		return false;
	switch (spec->kind) {
	case FILTER_IP4_FULL:
	case FILTER_IP4_LOCAL: {
		uint32_t to, from;
		uint16_t from_port, to_port;
		if (!h->ports || h->protocol != spec->protocol)
			return false;
		memcpy(&from, h->ip + 12, 4);
		memcpy(&to, h->ip + 16, 4);
		memcpy(&from_port, h->l4, 2);
		memcpy(&to_port, h->l4 + 2, 2);
		if (to != spec->host || to_port != (uint16_t)spec->port)
			return false;
		return spec->kind == FILTER_IP4_LOCAL ||
		       (from == spec->remote_host && from_port == (uint16_t)spec->remote_port);
	}
	case FILTER_MAC:
		return memcmp(mac, spec->mac, 6) == 0;
	case FILTER_UNICAST:
		return !(mac[0] & 1);
	default:
		return mac[0] & 1;
	}
}

/* The most specific of a queue's filters that matches; 0 without one. */
static unsigned rank(const struct efvi_double_queue *q, const struct headers *h, const uint8_t *mac)
{
	unsigned best = 0;
	for (unsigned i = 0; i < filters_end; i++) {
		const struct filter *f = &filters[i];
		if (f->queue == q && (!best || f->spec.kind < best) && matches(&f->spec, h, mac))
			best = f->spec.kind;
	}
	return best;
}

static void damage(struct interface *i, struct frame *f)
{
	i->arrivals++;
	if (f->damage == WHOLE) {
		f->damage = every(i->set.crc_every, i->arrivals)     ? DAMAGE_CRC
			    : every(i->set.csum_every, i->arrivals)  ? DAMAGE_CSUM
			    : every(i->set.trunc_every, i->arrivals) ? DAMAGE_TRUNC
								     : WHOLE;
	}
	if (f->damage == WHOLE && !checksums_good(f->bytes, f->len))
		f->damage = DAMAGE_CSUM;
	else if (f->damage == DAMAGE_TRUNC)
		f->len /= 2;
	else if (f->damage != WHOLE)
		f->bytes[f->len - 1] ^= 0x55;
	f->stampless = every(i->set.rx_stamp_absent_every, ++i->rx_stamps);
}

/* A frame is at the interface: to the VIs whose filters match, each with its own copy, or to nobody. */
static void arrive(struct interface *i, struct frame *f)
{
	struct headers h = headers(f->bytes, f->len);
	bool everyone = (f->bytes[0] & 1) && i->capability[EF_VI_CAP_HW_MULTICAST_REPLICATION] > 0;
	struct efvi_double_queue *best = NULL;
	unsigned best_rank = 0;
	bool matched = false;
	i->n.offered++;
	unsigned ranks[QUEUES] = {0};
	for (unsigned k = 0; k < QUEUES; k++) {
		if (!queues[k].live || queues[k].interface != i)
			continue;
		ranks[k] = rank(&queues[k], &h, f->bytes);
		if (ranks[k] && (!best || ranks[k] < best_rank)) {
			best = &queues[k];
			best_rank = ranks[k];
		}
	}
	damage(i, f);
	for (unsigned k = 0; k < QUEUES; k++) {
		struct efvi_double_queue *q = &queues[k];
		if (!ranks[k] || !(everyone || q == best))
			continue;
		matched = true;
		i->n.matched++;
		if (q->dead) {
			i->n.lost++;
			continue;
		}
		fifo_put(&q->arrivals, frame_copy(f));
		receive_ready(q);
	}
	if (!matched)
		i->n.filtered++;
	free(f);
}

static bool full(const struct interface *i)
{
	if (i->set.drop)
		return false;
	for (unsigned k = 0; k < QUEUES; k++)
		if (queues[k].live && queues[k].interface == i && queues[k].arrivals.count >= WIRE_HOLDS)
			return true;
	return false;
}

static bool wire_full(const struct interface *i) { return i->peer && full(i->peer); }

static void write_record(FILE *file, const struct frame *f)
{
	uint8_t head[16];
	put_le(head, (uint32_t)(f->stamp_ns / 1000000000u), 4);
	put_le(head + 4, (uint32_t)(f->stamp_ns % 1000000000u), 4);
	put_le(head + 8, f->len, 4);
	put_le(head + 12, f->len, 4);
	if (fwrite(head, 1, sizeof head, file) != sizeof head || fwrite(f->bytes, 1, f->len, file) != f->len ||
	    fflush(file))
		die("what is transmitted cannot be recorded: %s", strerror(errno));
}

static void put_on_wire(struct interface *i, struct frame *f)
{
	if (f->damage == WHOLE) {
		i->n.sent++;
		if (i->record)
			write_record(i->record, f);
		if (i->set.keep)
			fifo_put(&i->kept, frame_copy(f));
		/* An interface that is down loses frames, as a cable that is not plugged in does. */
		if (i->bridge >= 0)
			(void)!send(i->bridge, f->bytes, f->len, 0);
	}
	if (i->peer)
		arrive(i->peer, f);
	else
		free(f);
}

static uint32_t capture_word(const struct capture *c, size_t at)
{
	uint32_t word;
	memcpy(&word, c->bytes + at, 4);
	return c->swapped ? __builtin_bswap32(word) : word;
}

static bool capture_left(const struct capture *c) { return c->at + 16 <= c->len; }

static void play_some(struct interface *i)
{
	struct capture *c = &i->play;
	unsigned long present = 0;
	if (!capture_left(c))
		return;
	for (unsigned k = 0; k < filters_end; k++)
		present += filters[k].queue && filters[k].queue->interface == i;
	bool filtered = present > 0 && present >= i->set.play_filters;
	/* What it plays to nobody would be over before anybody could go on. */
	for (unsigned k = 0; k < QUEUES; k++)
		filtered = filtered && !(queues[k].live && queues[k].interface == i && queues[k].dead);
	for (unsigned n = 0; filtered && n < AT_ONCE && capture_left(c) && !full(i); n++) {
		uint64_t ns = capture_word(c, c->at) * 1000000000ull + (uint64_t)capture_word(c, c->at + 4) * c->unit_ns;
		size_t len = capture_word(c, c->at + 8);
		if (len < 14 || len > FRAME_MAX || c->at + 16 + len > c->len)
			die("the capture of %s is cut or holds a frame of %zu bytes", i->name, len);
		struct frame *f = frame_new(c->bytes + c->at + 16, len, ns);
		c->at += 16 + len;
		i->n.unplayed--;
		arrive(i, f);
	}
}

static void bridge_some(struct interface *i)
{
	for (unsigned n = 0; i->bridge >= 0 && n < AT_ONCE && !full(i); n++) {
		/* Room in front for a VLAN tag that the kernel has taken out. */
		uint8_t room[4 + FRAME_MAX], *bytes = room + 4;
		union {
			struct cmsghdr align;
			uint8_t bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
		} control;
		struct sockaddr_ll from = {0};
		struct iovec iov = {bytes, FRAME_MAX};
		struct msghdr message = {.msg_name = &from,
					 .msg_namelen = sizeof from,
					 .msg_iov = &iov,
					 .msg_iovlen = 1,
					 .msg_control = &control,
					 .msg_controllen = sizeof control};
		ssize_t len = recvmsg(i->bridge, &message, MSG_DONTWAIT);
		if (len < 0)
			return;
		if (from.sll_pkttype == PACKET_OUTGOING || len < 14 || (message.msg_flags & MSG_TRUNC))
			continue;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
			struct tpacket_auxdata aux;
			if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
				continue;
			memcpy(&aux, CMSG_DATA(c), sizeof aux);
			/* What a kernel interface leaves to its card to finish. */
			if (aux.tp_status & TP_STATUS_CSUMNOTREADY)
				finish_checksums(bytes, (uint32_t)len, false, true);
			if (aux.tp_status & TP_STATUS_VLAN_VALID) {
				memmove(room, bytes, 12);
				put_be16(room + 12, 0x8100);
				put_be16(room + 14, aux.tp_vlan_tci);
				bytes = room;
				len += 4;
			}
		}
		arrive(i, frame_new(bytes, (size_t)len, now_ns()));
	}
}

/* Whatever can move at this interface and the one at the other end moves. */
static void pump(struct interface *i)
{
	for (unsigned k = 0; k < QUEUES; k++) {
		struct efvi_double_queue *q = &queues[k];
		if (!q->live || (q->interface != i && q->interface != i->peer))
			continue;
		receive_ready(q);
		send_ready(q);
	}
	play_some(i);
	bridge_some(i);
}

/* ---- memory ---- */

/* Where a DMA address lies. The address of a block is region, block and a hole of 4 KiB: nothing is next to anything. */
static uint8_t *dma(unsigned domain, ef_addr addr, size_t len, const char *what)
{
	uint64_t region = addr >> 40, block = addr >> 13 & ((1u << 27) - 1), offset = addr & 0x1fff;
	if (region == 0 || region > REGIONS || !regions[region - 1].used || offset >= BLOCK ||
	    block * BLOCK + offset >= regions[region - 1].len)
		die("%s: DMA address %#llx was never registered", what, (unsigned long long)addr);
	struct region *r = &regions[region - 1];
	if (!r->live)
		die("%s: the memory at DMA address %#llx was unregistered", what, (unsigned long long)addr);
	if (r->domain != domain)
		die("%s: the memory at DMA address %#llx is registered with another protection domain", what,
		    (unsigned long long)addr);
	if (offset + len > BLOCK)
		die("%s: %zu bytes at offset %llu of a 4 KiB block cross into the next, whose DMA address is not the next one",
		    what, len, (unsigned long long)offset);
	return r->base + block * BLOCK + offset;
}

static uint64_t sum_of(const uint8_t *at, uint32_t len)
{
	uint64_t sum = 0x9e3779b97f4a7c15u ^ len, word;
	for (; len >= 8; at += 8, len -= 8) {
		memcpy(&word, at, 8);
		sum = (sum ^ word) * 0xff51afd7ed558ccdu;
		sum ^= sum >> 29;
	}
	word = 0;
	memcpy(&word, at, len);
	return (sum ^ word) * 0xff51afd7ed558ccdu;
}

/* Buffers lie within a block: the check is one comparison. */
static void check_poison(const struct buffer *b)
{
	static uint8_t poison[BLOCK];
	if (!poison[0])
		memset(poison, POISON, sizeof poison);
	if (memcmp(b->at, poison, b->room) == 0)
		return;
	uint32_t at = 0;
	while (b->at[at] == POISON)
		at++;
	die("receive buffer %d was written at byte %u, or posted twice, while the card owned it", b->id, at);
}

static void check_sums(const struct efvi_double_queue *q, uint32_t from, uint32_t to)
{
	for (uint32_t at = from; at != to; at++) {
		const struct send *s = &q->tx[at & (q->tx_size - 1)];
		if (s->at && sum_of(s->at, s->len) != s->sum)
			die("send %d was changed in memory before its completion", s->id);
	}
}

int ef_memreg_alloc(ef_memreg *mr, ef_driver_handle mr_dh, struct ef_pd *pd, ef_driver_handle pd_dh, void *p_mem,
		    size_t len_bytes)
{
	(void)mr_dh;
	(void)pd_dh;
	if ((uintptr_t)p_mem & (BLOCK - 1) || len_bytes == 0)
		return -EINVAL;
	pthread_mutex_lock(&lock);
	if (pd->resource >= DOMAINS || !domains[pd->resource].live)
		die("ef_memreg_alloc: the protection domain is not allocated, or was freed");
	unsigned at = 0;
	while (at < REGIONS && regions[at].used)
		at++;
	if (at == REGIONS)
		die("ef_memreg_alloc: more than %d regions", REGIONS);
	regions[at] = (struct region){true, true, pd->resource, p_mem, len_bytes};
	size_t blocks = (len_bytes + BLOCK - 1) / BLOCK;
	mr->resource = at;
	mr->blocks = take(blocks, sizeof *mr->blocks);
	for (size_t i = 0; i < blocks; i++)
		mr->blocks[i] = (ef_addr)(at + 1) << 40 | (ef_addr)i << 13;
	pthread_mutex_unlock(&lock);
	return 0;
}

int ef_memreg_free(ef_memreg *mr, ef_driver_handle mr_dh)
{
	(void)mr_dh;
	pthread_mutex_lock(&lock);
	if (!mr->blocks || mr->resource >= REGIONS || !regions[mr->resource].live)
		die("ef_memreg_free: the memory is not registered, or was unregistered before");
	struct region *r = &regions[mr->resource];
	for (unsigned k = 0; k < QUEUES; k++)
		if (queues[k].live && queues[k].domain == r->domain)
			for (uint32_t at = queues[k].rx_filled; at != queues[k].rx_posted; at++) {
				const struct buffer *b = &queues[k].rx[at & (queues[k].rx_size - 1)];
				if (b->at >= r->base && b->at < r->base + r->len)
					die("ef_memreg_free: the card may still write to receive buffer %d there; free the VI first", b->id);
			}
	r->live = false;
	free(mr->blocks);
	mr->blocks = NULL;
	pthread_mutex_unlock(&lock);
	return 0;
}

/* ---- receiving ---- */

static struct event *raise_event(struct efvi_double_queue *q, struct event event, uint32_t slots)
{
	struct interface *i = q->interface;
	if (q->dead)
		return NULL;
	q->raised++;
	if (q->slots_used + slots > q->slots || (i->set.overflow_after && q->raised > i->set.overflow_after)) {
		q->dead = q->overflowed = i->away = true;
		return NULL;
	}
	q->slots_used += slots;
	bool reset = i->set.reset_after && q->raised > i->set.reset_after;
	if (reset) {
		q->dead = i->away = true;
		event = (struct event){.what = RESET};
	}
	struct event *at = &q->events[(q->events_at + q->events_count++) % q->events_size];
	*at = event;
	return reset ? NULL : at;
}

/* The subtype with which a frame is reported, -1 when it is good or the error is not asked for. */
static int discard(const struct efvi_double_queue *q, enum damage damage)
{
	if (damage == DAMAGE_CRC && (q->discards & EF_VI_DISCARD_RX_ETH_FCS_ERR))
		return EF_EVENT_RX_DISCARD_CRC_BAD;
	if (damage == DAMAGE_TRUNC && (q->discards & (EF_VI_DISCARD_RX_ETH_FCS_ERR | EF_VI_DISCARD_RX_ETH_LEN_ERR)))
		return EF_EVENT_RX_DISCARD_TRUNC;
	if (damage == DAMAGE_CSUM && (q->discards & (EF_VI_DISCARD_RX_L3_CSUM_ERR | EF_VI_DISCARD_RX_L4_CSUM_ERR)))
		return EF_EVENT_RX_DISCARD_CSUM_BAD;
	return -1;
}

/* Where a frame is counted. */
static uint64_t *counter(struct efvi_double_queue *q, int why)
{
	struct efvi_double_counters *n = &q->interface->n;
	return q->dead				      ? &n->lost
	       : why < 0			      ? &n->delivered
	       : why == EF_EVENT_RX_DISCARD_CRC_BAD  ? &n->discarded_crc
	       : why == EF_EVENT_RX_DISCARD_CSUM_BAD ? &n->discarded_csum
						     : &n->discarded_trunc;
}

/* Into posted buffers, as many as it takes. False when they do not suffice and the wire waits. */
static bool receive_posted(struct efvi_double_queue *q, const struct frame *f)
{
	uint32_t prefix = q->vi->prefix_bytes, todo = prefix + f->len, room = 0, needed = 0;
	uint32_t posted = q->rx_posted - q->rx_filled;
	while (room < todo && needed < posted)
		room += q->rx[(q->rx_filled + needed++) & (q->rx_size - 1)].room;
	bool fits = room >= todo;
	if (!fits && !q->interface->set.drop)
		return false;
	int why = discard(q, f->damage);
	uint32_t taken = 0, bytes = 0;
	for (uint32_t n = 0; n < needed; n++) {
		uint32_t which = q->rx_filled++;
		const struct buffer *b = &q->rx[which & (q->rx_size - 1)];
		check_poison(b);
		uint8_t *to = b->at;
		uint32_t left = b->room;
		if (n == 0 && prefix) {
			memset(to, 0, PREFIX);
			put_le(to + PREFIX_LENGTH, f->len, 2);
			put_le(to + PREFIX_STAMP, (uint32_t)(f->stamp_ns % 1000000000u * 4), 4);
			to += prefix;
			left -= prefix;
			bytes = prefix;
		}
		uint32_t part = f->len - taken < left ? f->len - taken : left;
		memcpy(to, f->bytes + taken, part);
		taken += part;
		bytes += part;
		bool last = taken == f->len;
		uint8_t marks = (n == 0 ? EF_EVENT_FLAG_SOP : 0) | (last ? 0 : EF_EVENT_FLAG_CONT) |
				(f->bytes[0] & 1 ? EF_EVENT_FLAG_MULTICAST : 0);
		struct event event = {.what = RECEIVED,
				      .marks = marks,
				      .why = last ? why : -1,
				      .bytes = (uint16_t)bytes,
				      .which = which,
				      .stamp_ns = f->stamp_ns,
				      .stampless = f->stampless};
		raise_event(q, event, 1);
	}
	if (fits) {
		++*counter(q, why);
		return true;
	}
	if (needed)
		raise_event(q, (struct event){.what = CUT_SHORT}, 1);
	q->interface->n.no_descriptor++;
	return true;
}

static uint8_t *packet_at(const struct efvi_double_queue *q, uint8_t *map, uint32_t id)
{
	return map + ((size_t)(id >> 16) * q->superbuf_packets + (id & 0xffff)) * STRIDE;
}

/* Into the card's own memory. */
static bool receive_own(struct efvi_double_queue *q, const struct frame *f)
{
	for (uint32_t tried = 0; q->superbufs[q->superbuf].filled == q->superbuf_packets; tried++) {
		if (tried == q->superbufs_count) {
			q->interface->n.no_descriptor += q->interface->set.drop;
			return q->interface->set.drop;
		}
		q->superbuf = (q->superbuf + 1) % q->superbufs_count;
	}
	struct superbuf *s = &q->superbufs[q->superbuf];
	uint32_t id = q->superbuf << 16 | s->filled;
	uint32_t len = f->len > STRIDE - LEAD ? STRIDE - LEAD : f->len;
	int why = discard(q, len < f->len ? DAMAGE_TRUNC : f->damage);
	memcpy(packet_at(q, q->own, id) + LEAD, f->bytes, len);
	s->state[s->filled++] = FILLED;
	struct event event = {.what = RECEIVED_REF,
			      .why = why,
			      .bytes = (uint16_t)len,
			      .which = id,
			      .stamp_ns = f->stamp_ns,
			      .stampless = f->stampless};
	raise_event(q, event, 0);
	++*counter(q, why);
	return true;
}

static void receive_ready(struct efvi_double_queue *q)
{
	while (q->arrivals.first) {
		struct frame *f = q->arrivals.first;
		if (q->dead)
			q->interface->n.lost++;
		else if (!(q->interface->efct ? receive_own(q, f) : receive_posted(q, f)))
			return;
		free(fifo_take(&q->arrivals));
	}
}

static int receive_init(ef_vi *vi, ef_addr addr, ef_request_id id)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_receive_init");
	if (q->interface->efct && !q->compat)
		return leave(q, -ENOSYS);
	if (vi->rx_added - vi->rx_removed >= vi->rx_mask)
		return leave(q, -EAGAIN);
	if (vi->receive_buffer_bytes <= vi->prefix_bytes)
		die("ef_vi_receive_init: a receive buffer of %u bytes", vi->receive_buffer_bytes);
	uint8_t *at = dma(q->domain, addr, vi->receive_buffer_bytes, "ef_vi_receive_init");
	q->rx[vi->rx_added++ & vi->rx_mask] = (struct buffer){id, at, vi->receive_buffer_bytes};
	if (q->compat) {
		/* It goes no further than the library, which waits for no doorbell. */
		memset(at, POISON, vi->receive_buffer_bytes);
		q->rx_posted++;
	}
	return leave(q, 0);
}

static void receive_push(ef_vi *vi)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_receive_push");
	/* The doorbell takes ring positions that are multiples of eight only. */
	for (; !q->compat && q->rx_posted != (vi->rx_added & ~7u); q->rx_posted++) {
		const struct buffer *b = &q->rx[q->rx_posted & vi->rx_mask];
		memset(b->at, POISON, b->room);
	}
	pump(q->interface);
	leave(q, 0);
}

int ef_vi_receive_post(ef_vi *vi, ef_addr addr, ef_request_id dma_id)
{
	int rc = ef_vi_receive_init(vi, addr, dma_id);
	if (rc == 0)
		ef_vi_receive_push(vi);
	return rc;
}

int ef_vi_receive_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_receive_unbundle");
	if (event->any.kind != EF_EVENT_TYPE_RX_MULTI && event->any.kind != EF_EVENT_TYPE_RX_MULTI_DISCARD)
		die("ef_vi_receive_unbundle: not an event of several frames");
	if (event->merged.count > q->rx_filled - vi->rx_removed)
		die("ef_vi_receive_unbundle: the event was unbundled before");
	for (unsigned n = 0; n < event->merged.count; n++)
		ids[n] = q->rx[vi->rx_removed++ & vi->rx_mask].id;
	return leave(q, event->merged.count);
}

int ef_vi_receive_get_bytes(ef_vi *vi, const void *pkt, uint16_t *bytes_out)
{
	const uint8_t *prefix = pkt;
	if (!vi->prefix_bytes)
		die("ef_vi_receive_get_bytes: frames of this VI have no prefix");
	*bytes_out = (uint16_t)(prefix[PREFIX_LENGTH] | prefix[PREFIX_LENGTH + 1] << 8);
	return 0;
}

static int receive_set_discards(ef_vi *vi, unsigned flags)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_receive_set_discards");
	q->discards = flags;
	return leave(q, 0);
}

static uint64_t receive_get_discards(ef_vi *vi)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_receive_get_discards");
	return (uint64_t)leave(q, (int)q->discards);
}

/* The stamp of a frame of the last poll. */
static int stamp_of(struct efvi_double_queue *q, const void *pkt, uint64_t *ns, unsigned *flags)
{
	struct interface *i = q->interface;
	if (!(q->vi->flags & EF_VI_RX_TIMESTAMPS))
		die("a receive stamp is asked of a VI without EF_VI_RX_TIMESTAMPS");
	uint32_t tried = 0;
	while (tried < q->stamps_count && q->stamps[q->stamps_next % q->stamps_count].packet != pkt) {
		tried++;
		q->stamps_next++;
	}
	if (tried == q->stamps_count)
		die("a receive stamp is asked of what is no first buffer of a frame of the last poll");
	const struct stamp *s = &q->stamps[q->stamps_next % q->stamps_count];
	*ns = 0;
	*flags = 0;
	if (i->set.clock_lost)
		return -EL2NSYNC;
	if (s->absent)
		return -ENODATA;
	if (!i->set.clock_known)
		return -ENOMSG;
	*ns = s->ns;
	*flags = (i->set.clock_set ? EF_VI_SYNC_FLAG_CLOCK_SET : 0) |
		 (i->set.clock_in_sync ? EF_VI_SYNC_FLAG_CLOCK_IN_SYNC : 0);
	return 0;
}

#if EFVI_DOUBLE_SHAPE >= 9
static int receive_get_timestamp(ef_vi *vi, const void *pkt, ef_precisetime *out)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_receive_get_precise_timestamp");
	uint64_t ns;
	unsigned flags;
	int rc = stamp_of(q, pkt, &ns, &flags);
	*out = (ef_precisetime){(int64_t)(ns / 1000000000u), (uint32_t)(ns % 1000000000u), 0, (uint16_t)flags};
	return leave(q, rc);
}
#endif

int ef_vi_receive_get_timestamp_with_sync_flags(ef_vi *vi, const void *pkt, ef_timespec *ts_out, unsigned *flags_out)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_receive_get_timestamp_with_sync_flags");
	uint64_t ns;
	int rc = stamp_of(q, pkt, &ns, flags_out);
	ts_out->tv_sec = (time_t)(ns / 1000000000u);
	ts_out->tv_nsec = (long)(ns % 1000000000u);
	return leave(q, rc);
}

/* A packet that the program holds. */
static struct superbuf *given(struct efvi_double_queue *q, uint32_t id, const char *call)
{
	if (!q->superbufs || id >> 16 >= q->superbufs_count || (id & 0xffff) >= q->superbuf_packets)
		die("%s: there is no packet %#x", call, id);
	struct superbuf *s = &q->superbufs[id >> 16];
	if (s->state[id & 0xffff] != GIVEN)
		die("%s: packet %#x was released before, or no event has given it", call, id);
	return s;
}

const void *efct_vi_rxpkt_get(struct ef_vi *vi, uint32_t pkt_id)
{
	struct efvi_double_queue *q = enter(vi, "efct_vi_rxpkt_get");
	given(q, pkt_id, "efct_vi_rxpkt_get");
	const void *at = packet_at(q, q->shown, pkt_id) + LEAD;
	leave(q, 0);
	return at;
}

int efct_vi_rxpkt_get_timestamp(struct ef_vi *vi, uint32_t pkt_id, ef_timespec *ts_out, unsigned *flags_out)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	return ef_vi_receive_get_timestamp_with_sync_flags(vi, efct_vi_rxpkt_get(vi, pkt_id), ts_out, flags_out);
#pragma GCC diagnostic pop
}

static void release(struct efvi_double_queue *q, uint32_t pkt_id)
{
	struct superbuf *s = given(q, pkt_id, "efct_vi_rxpkt_release");
	s->state[pkt_id & 0xffff] = DONE;
	memset(packet_at(q, q->own, pkt_id), RELEASED, STRIDE);
	/* A buffer goes back to the card as a whole. */
	if (++s->done == q->superbuf_packets) {
		s->filled = s->done = 0;
		memset(s->state, FREE, q->superbuf_packets);
	}
}

void efct_vi_rxpkt_release(struct ef_vi *vi, uint32_t pkt_id)
{
	struct efvi_double_queue *q = enter(vi, "efct_vi_rxpkt_release");
	release(q, pkt_id);
	leave(q, 0);
}

/* ---- transmitting ---- */

static struct send *send_at(struct efvi_double_queue *q, uint32_t at) { return &q->tx[at & (q->tx_size - 1)]; }

/* Behind the last descriptor of the frame that begins here. */
static uint32_t frame_end(struct efvi_double_queue *q, uint32_t at)
{
	while (send_at(q, at)->more)
		at++;
	return at + 1;
}

static void send_ready(struct efvi_double_queue *q)
{
	while (q->tx_sent != q->tx_posted && !q->dead && !q->torn) {
		struct interface *i = q->interface;
		uint32_t end = frame_end(q, q->tx_sent);
		struct send *last = send_at(q, end - 1);
		if (last->copy && i->set.tx_error_after && i->n.sent >= i->set.tx_error_after) {
			free(last->copy);
			last->copy = NULL;
			last->failed = q->torn = true;
			q->tx_sent = end;
			return;
		}
		if (!last->won && !last->warm) {
			if (wire_full(q->interface))
				return;
			struct frame *f = last->copy;
			last->copy = NULL;
			if (!f) {
				uint32_t len = 0;
				check_sums(q, q->tx_sent, end);
				for (uint32_t at = q->tx_sent; at != end; at++)
					len += send_at(q, at)->len;
				f = frame_new(NULL, len, 0);
				len = 0;
				for (uint32_t at = q->tx_sent; at != end; len += send_at(q, at++)->len)
					memcpy(f->bytes + len, send_at(q, at)->at, send_at(q, at)->len);
				finish_checksums(f->bytes, f->len, !(q->vi->flags & EF_VI_TX_IP_CSUM_DIS),
						 !(q->vi->flags & EF_VI_TX_TCPUDP_CSUM_DIS));
			}
			f->stamp_ns = last->stamp_ns = now_ns();
			/* Before the frame is gone: what it sets off may come back here. */
			last->sent_poll = q->polls;
			q->tx_sent = end;
			put_on_wire(q->interface, f);
			continue;
		}
		last->sent_poll = q->polls;
		q->tx_sent = end;
	}
}

static uint32_t fifo_bytes(size_t len) { return (uint32_t)(len + FIFO_HEADER + FIFO_UNIT - 1) / FIFO_UNIT * FIFO_UNIT; }

/* One descriptor of the card's that reads memory, or of EFCT that has read it. */
static void add_send(struct efvi_double_queue *q, struct send s)
{
	if (s.copy || s.won || s.warm) {
		s.fifo_bytes = q->interface->efct ? fifo_bytes(s.len) : 0;
		q->vi->fifo_space -= (int32_t)s.fifo_bytes;
	}
	*send_at(q, q->vi->tx_added++) = s;
}

static void doorbell(struct efvi_double_queue *q)
{
	for (; q->tx_posted != q->vi->tx_added; q->tx_posted++) {
		struct send *s = send_at(q, q->tx_posted);
		s->sum = s->at ? sum_of(s->at, s->len) : 0;
	}
	q->vi->tx_pushed = q->tx_posted;
	pump(q->interface);
}

static bool refused(struct efvi_double_queue *q, int descriptors)
{
	struct interface *i = q->interface;
	if (q->vi->tx_added - q->vi->tx_removed + (uint32_t)descriptors > q->vi->tx_mask)
		return true;
	return every(i->set.eagain_every, ++i->sends);
}

/* EFCT reads the frame as the call is made. */
static int send_copied(struct efvi_double_queue *q, const ef_iovec *iov, int iov_len, ef_request_id id)
{
	size_t len = 0, at = 0;
	for (int n = 0; n < iov_len; n++)
		len += iov[n].iov_len;
	if (q->vi->fifo_space < (int32_t)len || refused(q, 1))
		return -EAGAIN;
	struct frame *f = frame_new(NULL, len, 0);
	for (int n = 0; n < iov_len; at += iov[n++].iov_len)
		memcpy(f->bytes + at, dma(q->domain, iov[n].iov_base, iov[n].iov_len, "a send"), iov[n].iov_len);
	struct send s = {.id = id, .len = (uint32_t)len, .copy = q->warm ? NULL : f, .warm = q->warm};
	if (q->warm) {
		free(f);
		s.id = (ef_request_id)EF_REQUEST_ID_MASK;
	}
	add_send(q, s);
	doorbell(q);
	return 0;
}

/* The library finishes checksums in the program's memory, for a card that does not. */
static void compat_checksums(struct efvi_double_queue *q, const ef_iovec *iov, int iov_len)
{
	if (!q->compat)
		return;
	if (iov_len != 1)
		die("a send of several buffers in compatibility mode is not modelled");
	finish_checksums(dma(q->domain, iov->iov_base, iov->iov_len, "a send"), iov->iov_len,
			 !(q->vi->flags & EF_VI_TX_IP_CSUM_DIS), !(q->vi->flags & EF_VI_TX_TCPUDP_CSUM_DIS));
}

static int add_sends(struct efvi_double_queue *q, const ef_iovec *iov, int iov_len, ef_request_id id)
{
	if (iov_len <= 0 || id == (ef_request_id)EF_REQUEST_ID_MASK)
		die("a send of %d buffers with id %d", iov_len, id);
	if (q->interface->efct)
		return send_copied(q, iov, iov_len, id);
	if (refused(q, iov_len))
		return -EAGAIN;
	for (int n = 0; n < iov_len; n++) {
		bool more = n + 1 < iov_len;
		const uint8_t *at = dma(q->domain, iov[n].iov_base, iov[n].iov_len, "a send");
		struct send s = {.id = more ? (ef_request_id)EF_REQUEST_ID_MASK : id,
				 .at = at,
				 .len = iov[n].iov_len,
				 .more = more};
		add_send(q, s);
	}
	return 0;
}

static void no_ctpio_open(const struct efvi_double_queue *q, const char *call)
{
	if (q->ctpio_open)
		die("%s: the fallback of the CTPIO send before is missing", call);
}

static int transmitv_init(ef_vi *vi, const ef_iovec *iov, int iov_len, ef_request_id id)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_transmitv_init");
	no_ctpio_open(q, "ef_vi_transmitv_init");
	compat_checksums(q, iov, iov_len);
	return leave(q, add_sends(q, iov, iov_len, id));
}

int ef_vi_transmit_init(ef_vi *vi, ef_addr addr, int bytes, ef_request_id dma_id)
{
	ef_iovec iov = {addr, (unsigned)bytes};
	return ef_vi_transmitv_init(vi, &iov, 1, dma_id);
}

static void transmit_push(ef_vi *vi)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_transmit_push");
	if (!q->interface->efct) {
		if (vi->tx_pushed == vi->tx_added)
			die("ef_vi_transmit_push: no descriptor was initialised since the last push");
		doorbell(q);
	}
	leave(q, 0);
}

static int transmitv(ef_vi *vi, const ef_iovec *iov, int iov_len, ef_request_id id)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_transmit");
	no_ctpio_open(q, "ef_vi_transmit");
	compat_checksums(q, iov, iov_len);
	int rc = add_sends(q, iov, iov_len, id);
	if (rc == 0 && !q->interface->efct)
		doorbell(q);
	return leave(q, rc);
}

static int transmit(ef_vi *vi, ef_addr base, int len, ef_request_id id)
{
	ef_iovec iov = {base, (unsigned)len};
	return transmitv(vi, &iov, 1, id);
}

static void transmitv_ctpio(ef_vi *vi, size_t len, const struct iovec *iov, int iov_len, unsigned threshold)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_transmit_ctpio");
	struct interface *i = q->interface;
	no_ctpio_open(q, "ef_vi_transmit_ctpio");
	if (!(vi->flags & EF_VI_TX_CTPIO))
		die("ef_vi_transmit_ctpio: the VI was allocated without EF_VI_TX_CTPIO");
	if (vi->tx_pushed != vi->tx_added)
		die("ef_vi_transmit_ctpio: descriptors before it were not pushed");
	size_t total = 0;
	for (int n = 0; n < iov_len; n++)
		total += iov[n].iov_len;
	if (total != len || len < 14 || len > FRAME_MAX)
		die("ef_vi_transmit_ctpio: a frame of %zu bytes in buffers of %zu", len, total);
	q->ctpio_open = true;
	q->ctpio_won = false;
	if (q->warm) {
		if (!i->efct) {
			if (!q->warm_aperture)
				die("ef_vi_transmit_ctpio: warmed without memory to write to");
			for (int n = 0; n < iov_len; n++)
				memcpy(q->warm_aperture, iov[n].iov_base, iov[n].iov_len);
		}
		leave(q, 0);
		return;
	}
	i->ctpios++;
	struct frame *f = frame_new(NULL, len, now_ns());
	len = 0;
	for (int n = 0; n < iov_len; len += iov[n++].iov_len)
		memcpy(f->bytes + len, iov[n].iov_base, iov[n].iov_len);
	bool poison = every(i->set.ctpio_poison_every, i->ctpios) && threshold < f->len &&
		      !(vi->flags & EF_VI_TX_CTPIO_NO_POISON);
	bool lose = poison || every(i->set.ctpio_lose_every, i->ctpios);
	bool at_once = q->tx_sent == q->tx_posted && !wire_full(i);
	if (q->dead) {
		free(f);
	} else if (i->efct) {
		/* There is no other way to the wire: only a full FIFO is a loss, and the fallback tries again. */
		if (vi->fifo_space < (int32_t)f->len) {
			i->n.ctpio_lost++;
			free(f);
		} else {
			i->n.ctpio_won++;
			q->ctpio_frame = f;
		}
	} else if (poison && at_once) {
		i->n.ctpio_poisoned++;
		f->damage = DAMAGE_CRC;
		put_on_wire(i, f);
	} else if (lose || !at_once) {
		i->n.ctpio_lost++;
		free(f);
	} else {
		i->n.ctpio_won++;
		q->ctpio_won = true;
		q->ctpio_stamp_ns = f->stamp_ns;
		put_on_wire(i, f);
	}
	leave(q, 0);
}

static void transmitv_ctpio_copy(ef_vi *vi, size_t len, const struct iovec *iov, int iov_len, unsigned threshold,
				 void *fallback)
{
	uint8_t *to = fallback;
	transmitv_ctpio(vi, len, iov, iov_len, threshold);
	for (int n = 0; n < iov_len; to += iov[n++].iov_len)
		memcpy(to, iov[n].iov_base, iov[n].iov_len);
}

static int transmitv_ctpio_fallback(ef_vi *vi, const ef_iovec *iov, int iov_len, ef_request_id id)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_transmit_ctpio_fallback");
	if (!(vi->flags & EF_VI_TX_CTPIO))
		return leave(q, -EOPNOTSUPP);
	if (!q->ctpio_open)
		die("ef_vi_transmit_ctpio_fallback: no CTPIO send before it");
	uint32_t at = vi->tx_added;
	int rc = 0;
	if (q->ctpio_frame) {
		if (refused(q, 1))
			return leave(q, -EAGAIN);
		add_send(q, (struct send){.id = id, .len = q->ctpio_frame->len, .copy = q->ctpio_frame});
		q->ctpio_frame = NULL;
		doorbell(q);
	} else {
		rc = add_sends(q, iov, iov_len, id);
	}
	/* A warmed EF10 ring looks full: the send was a rehearsal and is over. */
	if (rc == 0 || q->warm)
		q->ctpio_open = false;
	if (rc == 0 && !q->interface->efct) {
		for (; at != vi->tx_added; at++) {
			send_at(q, at)->won = q->ctpio_won;
			send_at(q, at)->stamp_ns = q->ctpio_stamp_ns;
		}
		doorbell(q);
	}
	return leave(q, rc);
}

static int transmit_ctpio_fallback(ef_vi *vi, ef_addr addr, size_t len, ef_request_id id)
{
	ef_iovec iov = {addr, (unsigned)len};
	return transmitv_ctpio_fallback(vi, &iov, 1, id);
}

#if EFVI_DOUBLE_SHAPE >= 9
static void start_transmit_warm(ef_vi *vi, ef_vi_tx_warm_state *state, char *aperture)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_start_transmit_warm");
	if (q->warm)
		die("ef_vi_start_transmit_warm: the VI is being warmed already");
	no_ctpio_open(q, "ef_vi_start_transmit_warm");
	q->warm = true;
	q->warm_aperture = aperture;
	if (!q->interface->efct) {
		state->removed = vi->tx_removed;
		state->aperture = aperture;
		vi->tx_removed = vi->tx_added - vi->tx_mask;
	}
	leave(q, 0);
}

static void stop_transmit_warm(ef_vi *vi, ef_vi_tx_warm_state *state)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_stop_transmit_warm");
	if (!q->warm)
		die("ef_vi_stop_transmit_warm: the VI is not being warmed");
	no_ctpio_open(q, "ef_vi_stop_transmit_warm");
	q->warm = false;
	if (!q->interface->efct) {
		if (state->aperture != q->warm_aperture)
			die("ef_vi_stop_transmit_warm: not the state that ef_vi_start_transmit_warm gave");
		vi->tx_removed = state->removed;
	}
	leave(q, 0);
}
#endif

int ef_vi_transmit_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_transmit_unbundle");
	int count = 0;
	if (event->any.kind != EF_EVENT_TYPE_TX && event->any.kind != EF_EVENT_TYPE_TX_ERROR)
		die("ef_vi_transmit_unbundle: not a TX event");
	if (event->sent.position - vi->tx_removed - 1 >= q->tx_raised - vi->tx_removed)
		die("ef_vi_transmit_unbundle: the event was unbundled before");
	for (; vi->tx_removed != event->sent.position; vi->tx_removed++) {
		ef_request_id id = send_at(q, vi->tx_removed)->id;
		if (id != (ef_request_id)EF_REQUEST_ID_MASK)
			ids[count++] = id;
	}
	vi->tx_removed += event->sent.deferred;
	return leave(q, count);
}

/* ---- the event queue ---- */

static void raise_completions(struct efvi_double_queue *q)
{
	struct interface *i = q->interface;
	while (q->tx_raised != q->tx_sent && !q->dead) {
		uint32_t end = frame_end(q, q->tx_raised);
		struct send *s = send_at(q, end - 1);
		if (s->sent_poll + i->set.completion_polls > q->polls)
			return;
		check_sums(q, q->tx_raised, end);
		uint16_t descriptors = (uint16_t)(end - q->tx_raised);
		uint8_t marks = s->won || i->efct ? EF_EVENT_FLAG_CTPIO : 0;
		bool stamped = (q->vi->flags & EF_VI_TX_TIMESTAMPS) && !s->warm;
		struct event *last = q->events_count
					     ? &q->events[(q->events_at + q->events_count - 1) % q->events_size]
					     : NULL;
		q->tx_raised = end;
		q->vi->fifo_space += (int32_t)s->fifo_bytes;
		if (s->failed) {
			raise_event(q, (struct event){.what = FAILED, .which = end}, 1);
			continue;
		}
		if (!stamped && last && last->what == SENT && last->marks == marks &&
		    last->packets < EF_VI_TRANSMIT_BATCH && last->descriptors + descriptors <= 2 * EF_VI_TRANSMIT_BATCH) {
			last->packets++;
			last->descriptors += descriptors;
			last->which = end;
			continue;
		}
		struct event event = {.what = stamped ? SENT_STAMPED : SENT,
				      .marks = marks,
				      .which = end,
				      .packets = 1,
				      .descriptors = descriptors,
				      .stamp_ns = s->stamp_ns};
		if (stamped)
			event.stampless = every(i->set.tx_stamp_absent_every, ++i->tx_stamps) || !i->set.clock_known ||
					  i->set.clock_lost;
		raise_event(q, event, stamped ? 3 : 1);
	}
}

static void remember_stamp(struct efvi_double_queue *q, const void *packet, const struct event *e)
{
	if (q->stamps_count == q->stamps_size) {
		q->stamps_size = q->stamps_size ? 2 * q->stamps_size : 64;
		q->stamps = realloc(q->stamps, q->stamps_size * sizeof *q->stamps);
		if (!q->stamps)
			die("out of memory");
	}
	q->stamps[q->stamps_count++] = (struct stamp){packet, e->stamp_ns, e->stampless};
}

static void drop_event(struct efvi_double_queue *q, uint32_t slots)
{
	q->events_at = (q->events_at + 1) % q->events_size;
	q->events_count--;
	q->slots_used -= slots;
}

static void merged(struct efvi_double_queue *q, ef_event *out)
{
	const struct event *first = &q->events[q->events_at], *e = first;
	uint8_t marks = first->marks;
	int why = first->why;
	uint16_t count = 0;
	while (q->events_count && count < EF_VI_RECEIVE_BATCH) {
		e = &q->events[q->events_at];
		if (e->what != RECEIVED || e->marks != marks || e->why != why)
			break;
		if (marks & EF_EVENT_FLAG_SOP)
			remember_stamp(q, q->rx[e->which & (q->rx_size - 1)].at, e);
		drop_event(q, 1);
		count++;
	}
	out->merged.kind = why < 0 ? EF_EVENT_TYPE_RX_MULTI : EF_EVENT_TYPE_RX_MULTI_DISCARD;
	out->merged.queue = 0;
	out->merged.marks = marks;
	out->merged.count = count;
	out->merged.why = (uint16_t)(why < 0 ? 0 : why);
}

static void received(struct efvi_double_queue *q, const struct event *e, ef_event *out)
{
	const struct buffer *b = &q->rx[e->which & (q->rx_size - 1)];
	if (e->marks & EF_EVENT_FLAG_SOP)
		remember_stamp(q, b->at, e);
	out->frame.kind = e->why < 0 ? EF_EVENT_TYPE_RX : EF_EVENT_TYPE_RX_DISCARD;
	out->frame.queue = 0;
	out->frame.marks = e->marks;
	out->frame.id = (uint32_t)b->id;
	out->frame.bytes = e->bytes;
	out->frame.why = (uint16_t)(e->why < 0 ? 0 : e->why);
	q->vi->rx_removed++;
}

/* A packet of the card's own memory copied to where a card of the EF10 kind would have written it. */
static void converted(struct efvi_double_queue *q, const struct event *e, ef_event *out)
{
	uint32_t prefix = q->vi->prefix_bytes;
	q->superbufs[e->which >> 16].state[e->which & 0xffff] = GIVEN;
	if (q->rx_filled == q->rx_posted) {
		/* Nobody gives the packet back. */
		--*counter(q, e->why);
		q->interface->n.no_descriptor++;
		out->any.kind = EF_EVENT_TYPE_RX_NO_DESC_TRUNC;
		return;
	}
	struct event posted = *e;
	posted.which = q->rx_filled++;
	const struct buffer *b = &q->rx[posted.which & (q->rx_size - 1)];
	const uint8_t *from = packet_at(q, q->shown, e->which) + LEAD;
	check_poison(b);
	if (prefix + e->bytes > b->room)
		die("receive buffer %d of %u bytes is written beyond its end in compatibility mode", b->id, b->room);
	memset(b->at, 0, prefix);
	memcpy(b->at + prefix, from, e->bytes);
	posted.bytes = (uint16_t)(prefix + e->bytes);
	posted.marks = EF_EVENT_FLAG_SOP | (from[0] & 1 ? EF_EVENT_FLAG_MULTICAST : 0);
	release(q, e->which);
	received(q, &posted, out);
}

static void received_ref(struct efvi_double_queue *q, const struct event *e, ef_event *out)
{
	if (q->compat) {
		converted(q, e, out);
		return;
	}
	q->superbufs[e->which >> 16].state[e->which & 0xffff] = GIVEN;
	remember_stamp(q, packet_at(q, q->shown, e->which) + LEAD, e);
	/* The two lie alike up to the flags. */
	out->rx_ref_discard.type = e->why < 0 ? EF_EVENT_TYPE_RX_REF : EF_EVENT_TYPE_RX_REF_DISCARD;
	out->rx_ref_discard.len = e->bytes;
	out->rx_ref_discard.pkt_id = e->which;
	out->rx_ref_discard.flags = e->why == EF_EVENT_RX_DISCARD_CRC_BAD    ? EF_VI_DISCARD_RX_ETH_FCS_ERR
				    : e->why == EF_EVENT_RX_DISCARD_TRUNC    ? EF_VI_DISCARD_RX_ETH_LEN_ERR
				    : e->why == EF_EVENT_RX_DISCARD_CSUM_BAD ? EF_VI_DISCARD_RX_L4_CSUM_ERR
									     : 0;
}

static void stamped(struct efvi_double_queue *q, const struct event *e, ef_event *out, ef_event *sent)
{
	struct interface *i = q->interface;
	out->stamped.kind = EF_EVENT_TYPE_TX_WITH_TIMESTAMP;
	out->stamped.queue = 0;
	out->stamped.marks = e->marks;
	out->stamped.id = (uint32_t)send_at(q, e->which - 1)->id;
	out->stamped.seconds = e->stampless ? 0 : (uint32_t)(e->stamp_ns / 1000000000u);
	out->stamped.nanoseconds = e->stampless ? 0 : (uint32_t)(e->stamp_ns % 1000000000u);
	out->stamped.sync = (i->set.clock_set ? EF_VI_SYNC_FLAG_CLOCK_SET : 0) |
			    (i->set.clock_in_sync ? EF_VI_SYNC_FLAG_CLOCK_IN_SYNC : 0);
	/* A send before it in the ring that waits for its unbundling holds this one's descriptors too. */
	if (sent)
		sent->sent.deferred += e->descriptors;
	else
		q->vi->tx_removed += e->descriptors;
}

static int eventq_poll(ef_vi *vi, ef_event *evs, int evs_len)
{
	struct efvi_double_queue *q = enter(vi, "ef_eventq_poll");
	if (evs_len < EF_VI_EVENT_POLL_MIN_EVS)
		die("ef_eventq_poll: room for %d events", evs_len);
	q->polls++;
	q->stamps_count = q->stamps_next = 0;
	pump(q->interface);
	raise_completions(q);
	if (q->overflowed) {
		evs[0].any.kind = EF_EVENT_TYPE_OFLOW;
		return leave(q, 1);
	}
	int count = 0;
	ef_event *sent = NULL;
	for (; count < evs_len && q->events_count; count++) {
		struct event e = q->events[q->events_at];
		ef_event *out = &evs[count];
		memset(out, 0, sizeof *out);
		switch (e.what) {
		case RECEIVED:
			if (vi->flags & EF_VI_RX_EVENT_MERGE) {
				merged(q, out);
				continue;
			}
			received(q, &e, out);
			break;
		case RECEIVED_REF:
			received_ref(q, &e, out);
			break;
		case CUT_SHORT:
			out->any.kind = EF_EVENT_TYPE_RX_NO_DESC_TRUNC;
			break;
		case SENT:
			out->sent.kind = EF_EVENT_TYPE_TX;
			out->sent.marks = e.marks;
			out->sent.position = e.which;
			sent = out;
			break;
		case SENT_STAMPED:
			stamped(q, &e, out, sent);
			break;
		case FAILED:
			out->sent.kind = EF_EVENT_TYPE_TX_ERROR;
			out->sent.position = e.which;
			/* The ring looks full from now on. */
			vi->fifo_space = 0;
			break;
		case RESET:
			out->any.kind = EF_EVENT_TYPE_RESET;
			break;
		}
		drop_event(q, e.what == SENT_STAMPED ? 3 : e.what == RECEIVED_REF ? 0 : 1);
	}
	return leave(q, count);
}

static int eventq_has_many_events(const ef_vi *vi, int n_events)
{
	struct efvi_double_queue *q = enter(vi, "ef_eventq_has_many_events");
	pump(q->interface);
	raise_completions(q);
	return leave(q, q->overflowed || q->events_count > (uint32_t)n_events);
}

int ef_eventq_capacity(ef_vi *vi)
{
	struct efvi_double_queue *q = enter(vi, "ef_eventq_capacity");
	return leave(q, (int)q->slots);
}

/* ---- handles, protection domains, VIs ---- */

static void read_script_file(void)
{
	const char *path = getenv("TICKPATH_EFVI_DOUBLE");
	if (scripted || !path)
		return;
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t len = 0;
	if (!file || getdelim(&text, &len, '\0', file) < 0)
		die("the script %s of TICKPATH_EFVI_DOUBLE: %s", path, file ? "it is empty" : strerror(errno));
	fclose(file);
	if (efvi_double_script(text) < 0)
		die("the script %s of TICKPATH_EFVI_DOUBLE cannot be run", path);
	free(text);
}

int ef_driver_open(ef_driver_handle *dh_out)
{
	read_script_file();
	pthread_mutex_lock(&lock);
	int rc = -refuse_open;
	refuse_open = 0;
	if (rc == 0) {
		int at = 0;
		while (at < HANDLES && handles[at])
			at++;
		if (at == HANDLES)
			die("ef_driver_open: more than %d handles", HANDLES);
		handles[at] = true;
		*dh_out = at;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static void check_handle(ef_driver_handle dh, const char *call)
{
	if (dh < 0 || dh >= HANDLES || !handles[dh])
		die("%s: the driver handle is not open", call);
}

int ef_driver_close(ef_driver_handle dh)
{
	pthread_mutex_lock(&lock);
	check_handle(dh, "ef_driver_close");
	unsigned open = 0;
	for (unsigned i = 0; i < HANDLES; i++)
		open += handles[i];
	for (unsigned i = 0; i < DOMAINS; i++)
		if (domains[i].live && open == 1)
			die("ef_driver_close: a protection domain of it is not freed");
	handles[dh] = false;
	pthread_mutex_unlock(&lock);
	return 0;
}

static struct interface *interface_named(const char *name)
{
	for (unsigned i = 0; i < interfaces_count; i++)
		if (strcmp(interfaces[i].name, name) == 0)
			return &interfaces[i];
	return NULL;
}

static struct interface *interface_numbered(int ifindex)
{
	for (unsigned i = 0; i < interfaces_count; i++)
		if (interfaces[i].ifindex == ifindex)
			return &interfaces[i];
	return NULL;
}

static int pd_alloc(ef_pd *pd, ef_driver_handle dh, struct interface *i, enum ef_pd_flags flags)
{
	check_handle(dh, "ef_pd_alloc");
	if (!i)
		return -ENODEV;
	if (flags & (EF_PD_VF | EF_PD_PHYS_MODE))
		return -EPERM;
	unsigned at = 0;
	while (at < DOMAINS && domains[at].live)
		at++;
	if (at == DOMAINS)
		die("ef_pd_alloc: more than %d protection domains", DOMAINS);
	domains[at] = (struct domain){true, i};
	*pd = (ef_pd){at, flags};
	return 0;
}

int ef_pd_alloc(ef_pd *pd, ef_driver_handle pd_dh, int ifindex, enum ef_pd_flags flags)
{
	pthread_mutex_lock(&lock);
	int rc = pd_alloc(pd, pd_dh, interface_numbered(ifindex), flags);
	pthread_mutex_unlock(&lock);
	return rc;
}

int ef_pd_alloc_by_name(ef_pd *pd, ef_driver_handle pd_dh, const char *cluster_or_intf_name, enum ef_pd_flags flags)
{
	pthread_mutex_lock(&lock);
	int rc = pd_alloc(pd, pd_dh, interface_named(cluster_or_intf_name), flags);
	pthread_mutex_unlock(&lock);
	return rc;
}

static struct domain *domain_of(const ef_pd *pd, const char *call)
{
	if (pd->resource >= DOMAINS || !domains[pd->resource].live)
		die("%s: the protection domain is not allocated, or was freed", call);
	return &domains[pd->resource];
}

const char *ef_pd_interface_name(ef_pd *pd) { return domain_of(pd, "ef_pd_interface_name")->interface->name; }

int ef_pd_free(ef_pd *pd, ef_driver_handle pd_dh)
{
	pthread_mutex_lock(&lock);
	check_handle(pd_dh, "ef_pd_free");
	struct domain *d = domain_of(pd, "ef_pd_free");
	for (unsigned k = 0; k < QUEUES; k++)
		if (queues[k].live && queues[k].domain == pd->resource)
			die("ef_pd_free: a VI of it is not freed");
	for (unsigned k = 0; k < REGIONS; k++)
		if (regions[k].live && regions[k].domain == pd->resource)
			die("ef_pd_free: memory registered with it is not unregistered");
	d->live = false;
	pthread_mutex_unlock(&lock);
	return 0;
}

/* 1: a card is to look as one of the EF10 kind; 0: as it is; or a value that nobody knows. Releases before 9.1 do not look. */
static int compat_mode(void)
{
#if EFVI_DOUBLE_SHAPE >= 9
	const char *mode = getenv("EF_VI_COMPAT_MODE");
	return !mode ? 0 : strcasecmp(mode, "ef10") == 0 ? 1 : -EINVAL;
#else
	return 0;
#endif
}

static int capability(const struct interface *i, enum ef_vi_capability cap, unsigned long *value)
{
	if (!i)
		return -ENODEV;
#if EFVI_DOUBLE_SHAPE >= 9
	if (compat_mode() > 0 && (cap == EF_VI_CAP_CTPIO_ONLY || cap == EF_VI_CAP_RX_POLL || cap == EF_VI_CAP_RX_REF))
		return -EOPNOTSUPP;
#endif
	if (cap >= EF_VI_CAP_MAX)
		return -ENOSYS;
	if (i->capability[cap] < 0)
		return -EOPNOTSUPP;
	*value = (unsigned long)i->capability[cap];
	return 0;
}

int ef_vi_capabilities_get(ef_driver_handle handle, int ifindex, enum ef_vi_capability cap, unsigned long *value)
{
	check_handle(handle, "ef_vi_capabilities_get");
	return capability(interface_numbered(ifindex), cap, value);
}

int ef_pd_capabilities_get(ef_driver_handle handle, ef_pd *pd, ef_driver_handle pd_dh, enum ef_vi_capability cap,
			   unsigned long *value)
{
	check_handle(handle, "ef_pd_capabilities_get");
	check_handle(pd_dh, "ef_pd_capabilities_get");
	return capability(domain_of(pd, "ef_pd_capabilities_get")->interface, cap, value);
}

int ef_vi_capabilities_max(void) { return EF_VI_CAP_MAX - 1; }

const char *ef_vi_capabilities_name(enum ef_vi_capability cap)
{
	for (unsigned k = 0; k < sizeof capabilities / sizeof *capabilities; k++)
		if (capabilities[k].which == cap)
			return capabilities[k].name;
	return "?";
}

const char *ef_vi_version_str(void) { return EFVI_DOUBLE_SHAPE >= 9 ? "9 (test double)" : "8 (test double)"; }
const char *ef_vi_driver_interface_str(void) { return "test double"; }

/* The smallest ring a card has that holds as many. */
static int ring(int asked, int usual, int most)
{
	int size = 512;
	if (asked <= 0)
		return asked == 0 ? 0 : usual;
	while (size < asked && size < most)
		size *= 2;
	return size < asked ? -EINVAL : size;
}

static void own_memory(struct efvi_double_queue *q)
{
	q->superbufs_count = (uint32_t)q->interface->set.superbufs;
	q->superbuf_packets = (uint32_t)q->interface->set.superbuf_packets;
	size_t count = q->superbufs_count, packets = q->superbuf_packets, bytes = count * packets * STRIDE;
	int fd = memfd_create("superbufs", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		die("no memory of the card's own: %s", strerror(errno));
	/* The program may read what the card writes. */
	q->own = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	q->shown = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (q->own == MAP_FAILED || q->shown == MAP_FAILED)
		die("no memory of the card's own: %s", strerror(errno));
	close(fd);
	q->superbufs = take(count, sizeof *q->superbufs);
	for (size_t k = 0; k < count; k++)
		q->superbufs[k].state = take(packets, 1);
}

static int check_flags(const struct interface *i, enum ef_vi_flags flags)
{
	if ((flags & EF_VI_TX_ALT) && (flags & EF_VI_TX_TIMESTAMPS))
		return -EOPNOTSUPP;
	if ((flags & EF_VI_TX_ALT) && i->capability[EF_VI_CAP_TX_ALTERNATIVES] <= 0)
		return -EOPNOTSUPP;
	if ((flags & EF_VI_TX_CTPIO) && i->capability[EF_VI_CAP_CTPIO] <= 0)
		return -EOPNOTSUPP;
	if ((flags & EF_VI_RX_TIMESTAMPS) && i->capability[EF_VI_CAP_HW_RX_TIMESTAMPING] <= 0)
		return -EOPNOTSUPP;
	if ((flags & EF_VI_TX_TIMESTAMPS) && i->capability[EF_VI_CAP_HW_TX_TIMESTAMPING] <= 0)
		return -EOPNOTSUPP;
	if ((flags & EF_VI_RX_EVENT_MERGE) && i->capability[EF_VI_CAP_RX_MERGE] <= 0)
		return -EOPNOTSUPP;
	if (!(flags & EF_VI_RX_EVENT_MERGE) && i->capability[EF_VI_CAP_RX_FORCE_EVENT_MERGING] > 0)
		return -EPERM;
	return 0;
}

int ef_vi_alloc_from_pd(ef_vi *vi, ef_driver_handle vi_dh, struct ef_pd *pd, ef_driver_handle pd_dh, int evq_capacity,
			int rxq_capacity, int txq_capacity, ef_vi *evq_opt, ef_driver_handle evq_dh,
			enum ef_vi_flags flags)
{
	(void)evq_dh;
	pthread_mutex_lock(&lock);
	check_handle(vi_dh, "ef_vi_alloc_from_pd");
	check_handle(pd_dh, "ef_vi_alloc_from_pd");
	struct interface *i = domain_of(pd, "ef_vi_alloc_from_pd")->interface;
	int rx = ring(rxq_capacity, 512, 4096), tx = ring(txq_capacity, 512, 2048);
	/* By default every descriptor has room for its events: a stamped send takes three. */
	int usual = rx + tx * (flags & EF_VI_TX_TIMESTAMPS ? 3 : 1);
	int ev = ring(RESERVED + (evq_capacity < 0 ? usual : evq_capacity), 0, 32768) - RESERVED;
	/* One event queue for several VIs is not modelled. */
	int rc = evq_opt					       ? -EOPNOTSUPP
		 : rx < 0 || tx < 0 || ev <= 0 || compat_mode() < 0 ? -EINVAL
								    : check_flags(i, flags);
	unsigned at = 0;
	while (at < QUEUES && queues[at].live)
		at++;
	if (rc == 0 && at == QUEUES)
		rc = -EBUSY;
	if (rc == 0 && i->away && i->set.away_opens) {
		i->set.away_opens--;
		rc = -ENETDOWN;
	}
	if (rc < 0) {
		pthread_mutex_unlock(&lock);
		return rc;
	}
	if (i->capability[EF_VI_CAP_CTPIO_ONLY] > 0 && tx)
		flags |= EF_VI_TX_CTPIO;
	struct efvi_double_queue *q = &queues[at];
	memset(q, 0, sizeof *q);
	q->live = true;
	q->vi = vi;
	q->interface = i;
	q->compat = i->efct && compat_mode() > 0;
	q->domain = pd->resource;
	q->rx_size = (uint32_t)rx;
	q->tx_size = (uint32_t)tx;
	q->rx = take((size_t)rx, sizeof *q->rx);
	q->tx = take((size_t)tx, sizeof *q->tx);
	q->slots = (uint32_t)ev;
	q->events_size = q->slots + 2;
	q->discards = EF_VI_DISCARD_RX_L4_CSUM_ERR | EF_VI_DISCARD_RX_L3_CSUM_ERR | EF_VI_DISCARD_RX_ETH_FCS_ERR |
		      EF_VI_DISCARD_RX_ETH_LEN_ERR;
	if (i->efct && rx) {
		own_memory(q);
		q->events_size += q->superbufs_count * q->superbuf_packets;
	}
	q->events = take(q->events_size, sizeof *q->events);
	memset(vi, 0, sizeof *vi);
	vi->card = q;
	vi->rx_mask = rx ? (uint32_t)rx - 1 : 0;
	vi->tx_mask = tx ? (uint32_t)tx - 1 : 0;
	vi->fifo_space = i->efct ? FIFO_BYTES - FIFO_UNIT - FIFO_HEADER : 1 << 30;
	vi->receive_buffer_bytes = i->efct ? STRIDE : BUFFER_DEFAULT;
	if (flags & (i->efct ? EF_VI_RX_TIMESTAMPS : EF_VI_RX_TIMESTAMPS | EF_VI_RX_EVENT_MERGE) && (q->compat || !i->efct))
		vi->prefix_bytes = PREFIX;
	/* A ring that the program does not fill looks more than full. */
	if (i->efct && !q->compat && rx)
		vi->rx_added = (uint32_t)rx;
	vi->resource = at;
	vi->flags = flags;
	vi->vi_out_flags = EF_VI_OUT_CLOCK_SYNC_STATUS;
	vi->nic_type = (struct ef_vi_nic_type){i->efct && !q->compat ? EF_VI_ARCH_EFCT : EF_VI_ARCH_EF10,
							i->efct ? 'A' : 'C', 0};
	set_ops(vi);
	pthread_mutex_unlock(&lock);
	return 0;
}

static void set_ops(ef_vi *vi)
{
	vi->ops = (struct ops){
		.transmit = transmit,
		.transmitv = transmitv,
		.transmitv_init = transmitv_init,
		.transmit_push = transmit_push,
		.transmitv_ctpio = transmitv_ctpio,
		.transmitv_ctpio_copy = transmitv_ctpio_copy,
		.transmit_ctpio_fallback = transmit_ctpio_fallback,
		.transmitv_ctpio_fallback = transmitv_ctpio_fallback,
		.receive_init = receive_init,
		.receive_push = receive_push,
		.receive_set_discards = receive_set_discards,
		.receive_get_discards = receive_get_discards,
		.eventq_poll = eventq_poll,
		.eventq_has_many_events = eventq_has_many_events,
#if EFVI_DOUBLE_SHAPE >= 9
		.receive_get_timestamp = receive_get_timestamp,
		.start_transmit_warm = start_transmit_warm,
		.stop_transmit_warm = stop_transmit_warm,
#endif
	};
}

int ef_vi_free(ef_vi *vi, ef_driver_handle nic)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_free");
	check_handle(nic, "ef_vi_free");
	if (!q->torn)
		no_ctpio_open(q, "ef_vi_free");
	for (uint32_t at = q->rx_filled; at != q->rx_posted; at++)
		check_poison(&q->rx[at & (q->rx_size - 1)]);
	check_sums(q, q->tx_raised, q->tx_posted);
	for (uint32_t at = q->tx_sent; at != q->tx_posted; at++)
		free(send_at(q, at)->copy);
	for (unsigned k = 0; k < filters_end; k++)
		if (filters[k].queue == q)
			filters[k].queue = NULL;
	q->interface->n.lost += q->arrivals.count;
	fifo_clear(&q->arrivals);
	if (q->superbufs) {
		size_t bytes = (size_t)q->superbufs_count * q->superbuf_packets * STRIDE;
		for (size_t k = 0; k < q->superbufs_count; k++)
			free(q->superbufs[k].state);
		munmap(q->own, bytes);
		munmap(q->shown, bytes);
		free(q->superbufs);
	}
	free(q->rx);
	free(q->tx);
	free(q->events);
	free(q->stamps);
	q->live = false;
	vi->card = NULL;
	return leave(q, 0);
}

int ef_vi_flush(ef_vi *vi, ef_driver_handle nic)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_flush");
	check_handle(nic, "ef_vi_flush");
	return leave(q, 0);
}

unsigned ef_vi_mtu(ef_vi *vi, ef_driver_handle vi_dh)
{
	check_handle(vi_dh, "ef_vi_mtu");
	leave(enter(vi, "ef_vi_mtu"), 0);
	return 1500;
}

int ef_vi_get_mac(ef_vi *vi, ef_driver_handle vi_dh, void *mac_out)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_get_mac");
	check_handle(vi_dh, "ef_vi_get_mac");
	memcpy(mac_out, q->interface->mac, 6);
	return leave(q, 0);
}

/* ---- filters ---- */

void ef_filter_spec_init(ef_filter_spec *filter_spec, enum ef_filter_flags flags)
{
	*filter_spec = (ef_filter_spec){.flags = flags, .vlan = EF_FILTER_VLAN_ID_ANY};
}

static int set_kind(ef_filter_spec *spec, enum filter_kind kind)
{
	if (spec->kind)
		return -EPROTONOSUPPORT;
	spec->kind = kind;
	return 0;
}

int ef_filter_spec_set_ip4_local(ef_filter_spec *filter_spec, int protocol, unsigned host_be32, int port_be16)
{
	filter_spec->protocol = protocol;
	filter_spec->host = host_be32;
	filter_spec->port = port_be16;
	return set_kind(filter_spec, FILTER_IP4_LOCAL);
}

int ef_filter_spec_set_ip4_full(ef_filter_spec *filter_spec, int protocol, unsigned host_be32, int port_be16,
				unsigned rhost_be32, int rport_be16)
{
	filter_spec->protocol = protocol;
	filter_spec->host = host_be32;
	filter_spec->port = port_be16;
	filter_spec->remote_host = rhost_be32;
	filter_spec->remote_port = rport_be16;
	return set_kind(filter_spec, FILTER_IP4_FULL);
}

int ef_filter_spec_set_vlan(ef_filter_spec *filter_spec, int vlan_id)
{
	if (filter_spec->kind > FILTER_IP4_LOCAL)
		return -EPROTONOSUPPORT;
	filter_spec->vlan = vlan_id;
	return 0;
}

int ef_filter_spec_set_eth_local(ef_filter_spec *filter_spec, int vlan_id, const void *mac)
{
	filter_spec->vlan = vlan_id;
	memcpy(filter_spec->mac, mac, 6);
	return set_kind(filter_spec, FILTER_MAC);
}

int ef_filter_spec_set_unicast_all(ef_filter_spec *filter_spec) { return set_kind(filter_spec, FILTER_UNICAST); }
int ef_filter_spec_set_multicast_all(ef_filter_spec *filter_spec) { return set_kind(filter_spec, FILTER_MULTICAST); }

int ef_vi_filter_add(ef_vi *vi, ef_driver_handle vi_dh, const ef_filter_spec *filter_spec,
		     ef_filter_cookie *filter_cookie_out)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_filter_add");
	check_handle(vi_dh, "ef_vi_filter_add");
	if (!filter_spec->kind || (!q->rx_size && !q->superbufs))
		return leave(q, -EINVAL);
	unsigned at = filters_end;
	for (unsigned k = 0; k < filters_end; k++) {
		if (!filters[k].queue && at == filters_end)
			at = k;
		else if (filters[k].queue == q && memcmp(&filters[k].spec, filter_spec, sizeof *filter_spec) == 0)
			return leave(q, -EEXIST);
	}
	if (at == FILTERS)
		return leave(q, -EBUSY);
	filters[at] = (struct filter){q, *filter_spec};
	filters_end += at == filters_end;
	if (filter_cookie_out)
		*filter_cookie_out = (ef_filter_cookie){(int)at, (int)filter_spec->kind};
	return leave(q, 0);
}

int ef_vi_filter_del(ef_vi *vi, ef_driver_handle vi_dh, ef_filter_cookie *filter_cookie)
{
	struct efvi_double_queue *q = enter(vi, "ef_vi_filter_del");
	check_handle(vi_dh, "ef_vi_filter_del");
	int at = filter_cookie->filter_id;
	if (at < 0 || at >= (int)filters_end || filters[at].queue != q)
		die("ef_vi_filter_del: no such filter on this VI, or it was deleted before");
	filters[at].queue = NULL;
	return leave(q, 0);
}

/* ---- the script ---- */

static const char *play(struct interface *i, const char *path)
{
	FILE *file = fopen(path, "rb");
	struct capture *c = &i->play;
	long len;
	if (!file || fseek(file, 0, SEEK_END) || (len = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
		return "the capture cannot be read";
	*c = (struct capture){.bytes = take((size_t)len + 1, 1), .len = (size_t)len, .at = 24};
	if (len < 24 || fread(c->bytes, 1, c->len, file) != c->len)
		return "the capture cannot be read";
	fclose(file);
	uint32_t magic = capture_word(c, 0);
	c->swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
	magic = capture_word(c, 0);
	if (magic != 0xa1b2c3d4 && magic != 0xa1b23c4d)
		return "the capture is not a pcap";
	c->unit_ns = magic == 0xa1b23c4d ? 1 : 1000;
	i->n.unplayed = 0;
	for (size_t at = 24; at + 16 <= c->len; at += 16 + capture_word(c, at + 8))
		i->n.unplayed++;
	return NULL;
}

static const char *record(struct interface *i, const char *path)
{
	uint8_t head[24] = {0};
	put_le(head, 0xa1b23c4d, 4);
	put_le(head + 4, 2, 2);
	put_le(head + 6, 4, 2);
	put_le(head + 16, 0xffff, 4);
	put_le(head + 20, 1, 4);
	i->record = fopen(path, "wb");
	if (!i->record || fwrite(head, 1, sizeof head, i->record) != sizeof head || fflush(i->record))
		return "the recording cannot be written";
	return NULL;
}

static const char *bridge(struct interface *i, const char *kernel)
{
	int yes = 1;
	struct sockaddr_ll end = {.sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex(kernel)};
	struct packet_mreq all = {.mr_ifindex = end.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
	i->bridge = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (!end.sll_ifindex || i->bridge < 0 || bind(i->bridge, (struct sockaddr *)&end, sizeof end) ||
	    setsockopt(i->bridge, SOL_PACKET, PACKET_AUXDATA, &yes, sizeof yes) ||
	    setsockopt(i->bridge, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all))
		return "no packet socket on that kernel interface";
	return NULL;
}

static const char *add_interface(char **words)
{
	unsigned mac[6];
	bool efct = strcmp(words[2], "efct") == 0;
	if (interfaces_count == INTERFACES || interface_named(words[1]) || strlen(words[1]) >= IFNAMSIZ)
		return "too many interfaces, or a name twice or too long";
	if (!efct && strcmp(words[2], "ef10") != 0)
		return "the architecture is ef10 or efct";
	if (sscanf(words[5], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6)
		return "the MAC is six bytes";
	struct interface *i = &interfaces[interfaces_count++];
	*i = (struct interface){.efct = efct, .ifindex = atoi(words[3]), .node = atoi(words[4]), .bridge = -1};
	strcpy(i->name, words[1]);
	for (unsigned k = 0; k < 6; k++)
		i->mac[k] = (uint8_t)mac[k];
	i->set.clock_known = i->set.clock_set = i->set.clock_in_sync = 1;
	i->set.superbufs = 16;
	i->set.superbuf_packets = 64;
	for (unsigned k = 0; k < EF_VI_CAP_MAX; k++)
		i->capability[k] = 1;
	i->capability[EF_VI_CAP_PIO] = i->capability[EF_VI_CAP_TX_ALTERNATIVES] = 0;
	i->capability[EF_VI_CAP_RX_FORCE_EVENT_MERGING] = i->capability[EF_VI_CAP_RX_SHARED] = 0;
	i->capability[EF_VI_CAP_CTPIO_ONLY] = efct;
	i->capability[EF_VI_CAP_RX_MERGE] = !efct;
	i->capability[EF_VI_CAP_RXQ_SIZES] = 512 | 1024 | 2048 | 4096;
	i->capability[EF_VI_CAP_TXQ_SIZES] = 512 | 1024 | 2048;
	i->capability[EF_VI_CAP_EVQ_SIZES] = 512 | 1024 | 2048 | 4096 | 8192 | 16384 | 32768;
#if EFVI_DOUBLE_SHAPE >= 9
	i->capability[EF_VI_CAP_RX_REF] = i->capability[EF_VI_CAP_RX_POLL] = efct;
	i->capability[EF_VI_CAP_EXTRA_DATAPATHS] = 0;
#endif
	return NULL;
}

static const char *set(struct interface *i, const char *key, const char *value)
{
	for (unsigned k = 0; k < sizeof settings / sizeof *settings; k++)
		if (strcmp(settings[k].name, key) == 0) {
			unsigned long number = strtoul(value, NULL, 10);
			memcpy((char *)i + settings[k].at, &number, sizeof number);
			return NULL;
		}
	return "there is no such setting";
}

static const char *set_capability(struct interface *i, const char *key, const char *value)
{
	for (unsigned k = 0; k < sizeof capabilities / sizeof *capabilities; k++)
		if (strcmp(capabilities[k].name, key) == 0) {
			i->capability[capabilities[k].which] = strcmp(value, "absent") == 0 ? -1 : atol(value);
			return NULL;
		}
	return "there is no such capability";
}

/* What is wrong with a line, NULL when nothing is. */
static const char *run_line(char *line)
{
	char *words[7], *rest = NULL;
	int count = 0;
	for (char *w = strtok_r(line, " \t\r", &rest); w && *w != '#' && count < 7; w = strtok_r(NULL, " \t\r", &rest))
		words[count++] = w;
	if (count == 0)
		return NULL;
	if (strcmp(words[0], "interface") == 0 && count == 6)
		return add_interface(words);
	if (strcmp(words[0], "driver") == 0 && count == 3 && strcmp(words[1], "refuse") == 0) {
		refuse_open = atoi(words[2]);
		return NULL;
	}
	struct interface *i = count > 1 ? interface_named(words[1]) : NULL;
	if (!i)
		return "no such statement, or no such interface";
	if (strcmp(words[0], "wire") == 0 && count == 3) {
		struct interface *other = interface_named(words[2]);
		if (!other)
			return "there is no interface at the other end";
		i->peer = other;
		other->peer = i;
		return NULL;
	}
	if (strcmp(words[0], "play") == 0 && count == 3)
		return play(i, words[2]);
	if (strcmp(words[0], "record") == 0 && count == 3)
		return record(i, words[2]);
	if (strcmp(words[0], "bridge") == 0 && count == 3)
		return bridge(i, words[2]);
	if (strcmp(words[0], "capability") == 0 && count == 4)
		return set_capability(i, words[2], words[3]);
	if (strcmp(words[0], "set") == 0 && count == 4)
		return set(i, words[2], words[3]);
	return "no such statement, or not with as many words";
}

int efvi_double_script(const char *text)
{
	char *copy = strdup(text), *rest = NULL;
	const char *wrong = NULL;
	if (!copy)
		die("out of memory");
	pthread_mutex_lock(&lock);
	scripted = true;
	for (char *line = strtok_r(copy, "\n", &rest); line && !wrong; line = strtok_r(NULL, "\n", &rest)) {
		char said[160];
		snprintf(said, sizeof said, "%s", line);
		wrong = run_line(line);
		if (wrong)
			fprintf(stderr, "ef_vi double: \"%s\": %s\n", said, wrong);
	}
	pthread_mutex_unlock(&lock);
	free(copy);
	return wrong ? -EINVAL : 0;
}

void efvi_double_reset(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned k = 0; k < HANDLES; k++)
		if (handles[k])
			die("efvi_double_reset: a driver handle is open");
	for (unsigned k = 0; k < interfaces_count; k++) {
		struct interface *i = &interfaces[k];
		fifo_clear(&i->kept);
		free(i->play.bytes);
		if (i->record)
			fclose(i->record);
		if (i->bridge >= 0)
			close(i->bridge);
	}
	interfaces_count = 0;
	memset(regions, 0, sizeof regions);
	refuse_open = 0;
	pthread_mutex_unlock(&lock);
}

int efvi_double_counters(const char *name, struct efvi_double_counters *out)
{
	pthread_mutex_lock(&lock);
	const struct interface *i = interface_named(name);
	if (i) {
		*out = i->n;
		for (unsigned k = 0; k < QUEUES; k++) {
			const struct efvi_double_queue *q = &queues[k];
			if (!q->live || q->interface != i)
				continue;
			out->waiting += q->arrivals.count;
			out->rx_held += q->rx_posted - q->rx_filled;
			out->tx_held += q->tx_posted - q->tx_raised;
			for (size_t s = 0; q->superbufs && s < q->superbufs_count; s++)
				out->unreleased += q->superbufs[s].filled - q->superbufs[s].done;
		}
	}
	pthread_mutex_unlock(&lock);
	return i ? 0 : -ENODEV;
}

int efvi_double_offer(const char *name, const void *frame, size_t len, uint64_t stamp_ns)
{
	pthread_mutex_lock(&lock);
	struct interface *i = interface_named(name);
	int rc = !i ? -ENODEV : len < 14 || len > FRAME_MAX ? -EINVAL : full(i) ? -EAGAIN : 0;
	if (rc == 0)
		arrive(i, frame_new(frame, len, stamp_ns));
	pthread_mutex_unlock(&lock);
	return rc;
}

size_t efvi_double_taken(const char *name, void *out, size_t room, uint64_t *stamp_ns)
{
	pthread_mutex_lock(&lock);
	struct interface *i = interface_named(name);
	struct frame *f = i ? fifo_take(&i->kept) : NULL;
	size_t len = f ? f->len : 0;
	if (f) {
		memcpy(out, f->bytes, len < room ? len : room);
		if (stamp_ns)
			*stamp_ns = f->stamp_ns;
		free(f);
	}
	pthread_mutex_unlock(&lock);
	return len;
}

int efvi_double_node(const char *name)
{
	pthread_mutex_lock(&lock);
	const struct interface *i = interface_named(name);
	int node = i ? i->node : -1;
	pthread_mutex_unlock(&lock);
	return node;
}
