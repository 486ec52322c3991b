/* See shim.h. Keeps to documented calls, so that one text compiles against 7.x to 9.x: what a release lacks is known by a
 * macro, or by a header, that came with it. */
#include "shim.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <etherfabric/vi.h>
#include <etherfabric/pd.h>
#include <etherfabric/memreg.h>
#include <etherfabric/capabilities.h>
#if __has_include(<etherfabric/efct_vi.h>)
/* 8.x knows cards that own their receive buffers, and has an event for a reset. */
#include <etherfabric/efct_vi.h>
#define HAS_EFCT 1
#endif

_Static_assert(EFVI_SHIM_PAGE == EF_VI_NIC_PAGE_SIZE, "the page of the registered memory");
_Static_assert(EF_VI_TRANSMIT_BATCH <= 64, "EFVI_SHIM_TX_ROOM counts 64 completions an event");
_Static_assert((int)EF_EVENT_RX_DISCARD_OTHER < (int)EFVI_SHIM_DISCARDS, "every kind of discard has its number");

enum {
	TX_EVENTS = EFVI_SHIM_TX_ROOM / 64,
	MERGED_EVENTS = EFVI_SHIM_RX_ROOM / EF_VI_RECEIVE_BATCH,
};
_Static_assert(MERGED_EVENTS >= EF_VI_EVENT_POLL_MIN_EVS && TX_EVENTS >= EF_VI_EVENT_POLL_MIN_EVS, "events a poll");

struct efvi_shim {
	ef_vi vi;
	ef_pd pd;
	ef_driver_handle dh;
	unsigned threshold;
	uint8_t ctpio, rx_stamps, merges, has_vi, has_pd, has_driver;
	int rx_events;
	/* Where the buffer of each id lies, for its prefix. */
	const void **at;
	uint32_t ids;
	struct efvi_shim_trouble trouble;
	ef_memreg *memory;
	uint32_t memories;
	ef_filter_cookie *filters;
	uint32_t n_filters;
	char *scratch; /* what warm-up sends are written to instead of the card */
};

const char *efvi_shim_version(void)
{
	return ef_vi_version_str();
}

static unsigned long capability(struct efvi_shim *s, enum ef_vi_capability which, unsigned long otherwise)
{
	unsigned long value;
	/* A domain is asked from 9.1 on, before that an interface by its number, which those of the double have none of. */
#if defined(ef_vi_receive_get_filter_id) || defined(EFVI_DOUBLE_SHAPE)
	int rc = ef_pd_capabilities_get(s->dh, &s->pd, s->dh, which, &value);
#else
	const char *name = ef_pd_interface_name(&s->pd);
	int rc = ef_vi_capabilities_get(s->dh, name != NULL ? (int)if_nametoindex(name) : 0, which, &value);
#endif

	return rc == 0 ? value : otherwise;
}

/* Whether the card takes descriptors from a program. In compatibility mode the library says so of one that does not, and does
 * their work. */
static int takes_descriptors(struct efvi_shim *s)
{
#ifdef HAS_EFCT
	return capability(s, EF_VI_CAP_CTPIO_ONLY, 0) == 0;
#else
	(void)s;
	return 1;
#endif
}

/* Whether a card whose frames all go through one queue of bytes has room there. */
static int has_room(const ef_vi *vi, uint32_t bytes)
{
#ifdef HAS_EFCT
	return ef_vi_transmit_space_bytes(vi) >= (int)bytes;
#else
	(void)vi;
	(void)bytes;
	return 1;
#endif
}

/* What comes of wanting something that is there or not; -1: it was required. */
static int settle(uint8_t wanted, int there)
{
	if (wanted == EFVI_SHIM_REQUIRED && !there)
		return -1;
	return wanted != EFVI_SHIM_OFF && there;
}

static int open_vi(struct efvi_shim *s, const struct efvi_shim_config *c, struct efvi_shim_info *info)
{
	unsigned long flags = EF_VI_FLAGS_DEFAULT;
	int ctpio, rx_stamps, tx_stamps, events, rc;

	info->step = EFVI_SHIM_STEP_DRIVER;
	rc = ef_driver_open(&s->dh);
	if (rc < 0)
		return rc;
	s->has_driver = 1;

	info->step = EFVI_SHIM_STEP_DOMAIN;
	rc = ef_pd_alloc_by_name(&s->pd, s->dh, c->interface, EF_PD_DEFAULT);
	if (rc < 0)
		return rc;
	s->has_pd = 1;

	info->step = EFVI_SHIM_STEP_ARCH;
	if (!takes_descriptors(s))
		return -EOPNOTSUPP;
	info->step = EFVI_SHIM_STEP_CTPIO;
	ctpio = settle(c->ctpio, c->tx_slots != 0 && capability(s, EF_VI_CAP_CTPIO, 0) != 0);
	if (ctpio < 0)
		return -EOPNOTSUPP;
	info->step = EFVI_SHIM_STEP_STAMPS;
	rx_stamps = settle(c->rx_stamps, c->rx_slots != 0 && capability(s, EF_VI_CAP_HW_RX_TIMESTAMPING, 0) != 0);
	tx_stamps = settle(c->tx_stamps, c->tx_slots != 0 && capability(s, EF_VI_CAP_HW_TX_TIMESTAMPING, 0) != 0);
	if (rx_stamps < 0 || tx_stamps < 0)
		return -EOPNOTSUPP;

	if (ctpio > 0)
		flags |= EF_VI_TX_CTPIO;
	if (rx_stamps)
		flags |= EF_VI_RX_TIMESTAMPS;
	if (tx_stamps)
		flags |= EF_VI_TX_TIMESTAMPS;
	/* The library makes room for an event a descriptor. A stamped completion takes three. */
	events = tx_stamps ? c->rx_slots + 4 * c->tx_slots : -1;
	info->step = EFVI_SHIM_STEP_VI;
	rc = ef_vi_alloc_from_pd(&s->vi, s->dh, &s->pd, s->dh, events, c->rx_slots, c->tx_slots, NULL, -1,
				 (enum ef_vi_flags)flags);
	if (rc == -EPERM) {
		/* Firmware that is made for throughput gives no other events. */
		s->merges = 1;
		rc = ef_vi_alloc_from_pd(&s->vi, s->dh, &s->pd, s->dh, events, c->rx_slots, c->tx_slots, NULL, -1,
					 (enum ef_vi_flags)(flags | EF_VI_RX_EVENT_MERGE));
	}
	if (rc < 0)
		return rc;
	s->has_vi = 1;
	if (c->rx_slots != 0) {
		/* A ring that is full, or more than full, from the beginning is the card's to fill. */
		info->step = EFVI_SHIM_STEP_ARCH;
		if (ef_vi_receive_space(&s->vi) <= 0)
			return -EOPNOTSUPP;
		ef_vi_receive_set_buffer_len(&s->vi, c->buffer_bytes);
		info->rx_capacity = (uint32_t)ef_vi_receive_capacity(&s->vi);
		info->prefix_bytes = (uint32_t)ef_vi_receive_prefix_len(&s->vi);
		for (s->ids = 1; s->ids <= info->rx_capacity;)
			s->ids *= 2;
		info->step = EFVI_SHIM_STEP_MEMORY;
		s->at = calloc(s->ids, sizeof(*s->at));
		if (s->at == NULL)
			return -ENOMEM;
	}
	if (c->tx_slots != 0)
		info->tx_capacity = (uint32_t)ef_vi_transmit_capacity(&s->vi);
	s->threshold = c->ctpio_threshold;
	s->ctpio = (uint8_t)ctpio;
	s->rx_stamps = rx_stamps > 0;
	s->rx_events = s->merges ? MERGED_EVENTS : EFVI_SHIM_RX_ROOM;
	info->step = EFVI_SHIM_STEP_VI;
	rc = ef_vi_get_mac(&s->vi, s->dh, info->mac);
	if (rc < 0)
		return rc;
	info->mtu = ef_vi_mtu(&s->vi, s->dh);
	/* A card that sends by CTPIO alone does so whatever it is told. */
	info->ctpio = c->tx_slots != 0 && (ef_vi_flags(&s->vi) & EF_VI_TX_CTPIO) != 0;
	info->rx_stamps = s->rx_stamps;
	info->tx_stamps = tx_stamps > 0;
	info->merges = s->merges;
	info->rx_variant = capability(s, EF_VI_CAP_RX_FW_VARIANT, ~0ul);
	info->tx_variant = capability(s, EF_VI_CAP_TX_FW_VARIANT, ~0ul);
	info->step = 0;
	return 0;
}

int efvi_shim_open(const struct efvi_shim_config *config, struct efvi_shim **out, struct efvi_shim_info *info)
{
	struct efvi_shim *s;
	int rc;

	memset(info, 0, sizeof(*info));
	*out = NULL;
	info->step = EFVI_SHIM_STEP_MEMORY;
	if (posix_memalign((void **)&s, 64, sizeof(*s)) != 0)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	rc = open_vi(s, config, info);
	if (rc < 0) {
		efvi_shim_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void efvi_shim_close(struct efvi_shim *s)
{
	uint32_t i;

	/* What fails here fails because the card is gone, and its driver cleans up behind the last handle. */
	for (i = s->n_filters; i-- > 0;)
		(void)ef_vi_filter_del(&s->vi, s->dh, &s->filters[i]);
	if (s->has_vi)
		(void)ef_vi_free(&s->vi, s->dh);
	for (i = s->memories; i-- > 0;)
		(void)ef_memreg_free(&s->memory[i], s->dh);
	if (s->has_pd)
		(void)ef_pd_free(&s->pd, s->dh);
	if (s->has_driver)
		(void)ef_driver_close(s->dh);
	free(s->filters);
	free(s->memory);
	free(s->scratch);
	free(s->at);
	free(s);
}

int efvi_shim_register(struct efvi_shim *s, void *at, size_t bytes, uint64_t *dma)
{
	ef_memreg *memory = realloc(s->memory, (s->memories + 1) * sizeof(*memory));
	size_t offset;
	int rc;

	if (memory == NULL)
		return -ENOMEM;
	s->memory = memory;
	memory += s->memories;
	rc = ef_memreg_alloc(memory, s->dh, &s->pd, s->dh, at, bytes);
	if (rc < 0)
		return rc;
	s->memories++;
	for (offset = 0; offset < bytes; offset += EFVI_SHIM_PAGE)
		*dma++ = ef_memreg_dma_addr(memory, offset);
	return 0;
}

int efvi_shim_filter(struct efvi_shim *s, int protocol, uint32_t address, uint16_t port, uint32_t peer,
		     uint16_t peer_port, int vlan)
{
	ef_filter_cookie *filters = realloc(s->filters, (s->n_filters + 1) * sizeof(*filters));
	ef_filter_spec spec;
	int rc;

	if (filters == NULL)
		return -ENOMEM;
	s->filters = filters;
	ef_filter_spec_init(&spec, EF_FILTER_FLAG_NONE);
	if (peer != 0)
		rc = ef_filter_spec_set_ip4_full(&spec, protocol, address, port, peer, peer_port);
	else
		rc = ef_filter_spec_set_ip4_local(&spec, protocol, address, port);
	if (rc == 0 && vlan >= 0)
		rc = ef_filter_spec_set_vlan(&spec, vlan);
	if (rc == 0)
		rc = ef_vi_filter_add(&s->vi, s->dh, &spec, &filters[s->n_filters]);
	if (rc < 0)
		return rc;
	s->n_filters++;
	return 0;
}

uint32_t efvi_shim_rx_post(struct efvi_shim *s, const struct efvi_shim_buffer *buffers, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (ef_vi_receive_init(&s->vi, buffers[i].dma, (ef_request_id)buffers[i].id) < 0)
			break;
		s->at[buffers[i].id & (s->ids - 1)] = buffers[i].at;
	}
	if (i > 0)
		ef_vi_receive_push(&s->vi);
	return i;
}

uint32_t efvi_shim_rx_fill(const struct efvi_shim *s)
{
	return (uint32_t)ef_vi_receive_fill_level(&s->vi);
}

static uint8_t sync_flag(unsigned flags)
{
	const unsigned both = EF_VI_SYNC_FLAG_CLOCK_SET | EF_VI_SYNC_FLAG_CLOCK_IN_SYNC;

	return (flags & both) == both ? EFVI_SHIM_IN_SYNC : 0;
}

/* The stamp in a packet's prefix, which may have none. */
static void stamp(struct efvi_shim *s, struct efvi_shim_rx *out)
{
	const void *packet = s->at[out->id & (s->ids - 1)];
#ifdef ef_vi_receive_get_precise_timestamp
	ef_precisetime time;

	if (ef_vi_receive_get_precise_timestamp(&s->vi, packet, &time) != 0)
		return;
	out->flags |= EFVI_SHIM_STAMPED | sync_flag(time.tv_flags);
#else
	struct timespec time;
	unsigned flags = 0;

	if (ef_vi_receive_get_timestamp_with_sync_flags(&s->vi, packet, &time, &flags) != 0)
		return;
	out->flags |= EFVI_SHIM_STAMPED | sync_flag(flags);
#endif
	out->stamp_ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint8_t discard(unsigned kind)
{
	return (uint8_t)(1 + (kind < EFVI_SHIM_DISCARDS - 1 ? kind : EFVI_SHIM_DISCARDS - 1));
}

/* A buffer's tale; `bytes` has the prefix in it where the packet begins. */
static struct efvi_shim_rx *told(struct efvi_shim *s, struct efvi_shim_rx *out, uint32_t id, unsigned bytes,
				 uint8_t flags, uint8_t discarded)
{
	unsigned prefix = (flags & EFVI_SHIM_SOP) ? (unsigned)ef_vi_receive_prefix_len(&s->vi) : 0;

	out->stamp_ns = 0;
	out->id = id;
	out->bytes = (uint16_t)(bytes > prefix ? bytes - prefix : 0);
	out->discard = discarded;
	out->flags = flags;
	if (s->rx_stamps && flags == EFVI_SHIM_SOP && !discarded)
		stamp(s, out);
	return out + 1;
}

/* Several packets, or the buffers of one, of one merged event. */
static struct efvi_shim_rx *merged(struct efvi_shim *s, struct efvi_shim_rx *out, const ef_event *event, uint8_t flags,
				   uint8_t discarded)
{
	ef_request_id ids[EF_VI_RECEIVE_BATCH];
	int i, n = ef_vi_receive_unbundle(&s->vi, event, ids);

	for (i = 0; i < n; i++) {
		uint32_t id = (uint32_t)ids[i];
		uint16_t bytes = 0;

		if (flags & EFVI_SHIM_SOP)
			(void)ef_vi_receive_get_bytes(&s->vi, s->at[id & (s->ids - 1)], &bytes);
		out = told(s, out, id, bytes + (unsigned)ef_vi_receive_prefix_len(&s->vi), flags, discarded);
	}
	return out;
}

/* What is of no packet. */
static void other(struct efvi_shim *s, const ef_event *event)
{
	switch (EF_EVENT_TYPE(*event)) {
	case EF_EVENT_TYPE_OFLOW:
		s->trouble.overflows++;
		break;
	case EF_EVENT_TYPE_RX_NO_DESC_TRUNC:
		s->trouble.no_buffer++;
		break;
#ifdef HAS_EFCT
	case EF_EVENT_TYPE_RESET:
		s->trouble.resets++;
		break;
#endif
	default:
		s->trouble.unknown++;
	}
}

uint32_t efvi_shim_rx_poll(struct efvi_shim *s, struct efvi_shim_rx out[EFVI_SHIM_RX_ROOM])
{
	ef_event events[EFVI_SHIM_RX_ROOM];
	struct efvi_shim_rx *next = out;
	int i, n = ef_eventq_poll(&s->vi, events, s->rx_events);

	for (i = 0; i < n; i++) {
		const ef_event *e = &events[i];

		switch (EF_EVENT_TYPE(*e)) {
		case EF_EVENT_TYPE_RX:
			next = told(s, next, EF_EVENT_RX_RQ_ID(*e), EF_EVENT_RX_BYTES(*e),
				    (uint8_t)((EF_EVENT_RX_SOP(*e) ? EFVI_SHIM_SOP : 0) |
					      (EF_EVENT_RX_CONT(*e) ? EFVI_SHIM_CONT : 0)),
				    0);
			break;
		case EF_EVENT_TYPE_RX_DISCARD:
			next = told(s, next, EF_EVENT_RX_DISCARD_RQ_ID(*e), EF_EVENT_RX_DISCARD_BYTES(*e),
				    (uint8_t)((EF_EVENT_RX_DISCARD_SOP(*e) ? EFVI_SHIM_SOP : 0) |
					      (EF_EVENT_RX_DISCARD_CONT(*e) ? EFVI_SHIM_CONT : 0)),
				    discard(EF_EVENT_RX_DISCARD_TYPE(*e)));
			break;
		case EF_EVENT_TYPE_RX_MULTI:
		case EF_EVENT_TYPE_RX_MULTI_DISCARD:
			next = merged(s, next, e,
				      (uint8_t)((EF_EVENT_RX_MULTI_SOP(*e) ? EFVI_SHIM_SOP : 0) |
						(EF_EVENT_RX_MULTI_CONT(*e) ? EFVI_SHIM_CONT : 0)),
				      EF_EVENT_TYPE(*e) == EF_EVENT_TYPE_RX_MULTI ?
					      0 :
					      discard(EF_EVENT_RX_MULTI_DISCARD_TYPE(*e)));
			break;
		default:
			other(s, e);
		}
	}
	return (uint32_t)(next - out);
}

uint32_t efvi_shim_tx_send(struct efvi_shim *s, const struct efvi_shim_frame *frames, uint32_t n)
{
	uint32_t space = (uint32_t)ef_vi_transmit_space(&s->vi), i;

	if (n > space)
		n = space;
	if (!s->ctpio) {
		for (i = 0; i < n; i++)
			if (ef_vi_transmit_init(&s->vi, frames[i].dma, (int)frames[i].bytes,
						(ef_request_id)frames[i].id) < 0)
				break;
		if (i > 0)
			ef_vi_transmit_push(&s->vi);
		return i;
	}
	for (i = 0; i < n; i++) {
		const struct efvi_shim_frame *f = &frames[i];
		int rc, tries = 0;

		if (!has_room(&s->vi, f->bytes))
			break;
		ef_vi_transmit_ctpio(&s->vi, f->at, f->bytes, s->threshold);
		/* Nothing may be sent before it. There was room for it above; that it is refused all the same is for the
		 * moment, and a frame without a fallback is one that nobody will ever complete. */
		do
			rc = ef_vi_transmit_ctpio_fallback(&s->vi, f->dma, f->bytes, (ef_request_id)f->id);
		while (rc == -EAGAIN && ++tries < 1000);
		if (rc < 0) {
			s->trouble.no_fallback++;
			break;
		}
	}
	return i;
}

int efvi_shim_tx_warm(struct efvi_shim *s, const struct efvi_shim_frame *f)
{
#ifdef ef_vi_start_transmit_warm
	ef_vi_tx_warm_state state;

	if (s->ctpio && s->scratch == NULL && posix_memalign((void **)&s->scratch, EFVI_SHIM_PAGE, EFVI_SHIM_PAGE) != 0)
		return 0;
	ef_vi_start_transmit_warm(&s->vi, &state, s->scratch);
	/* The ring looks full meanwhile, so that the calls refuse what they have done all the work for. */
	if (s->ctpio) {
		ef_vi_transmit_ctpio(&s->vi, f->at, f->bytes, s->threshold);
		(void)ef_vi_transmit_ctpio_fallback(&s->vi, f->dma, f->bytes, (ef_request_id)f->id);
	} else {
		(void)ef_vi_transmit(&s->vi, f->dma, (int)f->bytes, (ef_request_id)f->id);
	}
	ef_vi_stop_transmit_warm(&s->vi, &state);
	return 1;
#else
	(void)s;
	(void)f;
	return 0;
#endif
}

uint32_t efvi_shim_tx_fill(const struct efvi_shim *s)
{
	return (uint32_t)ef_vi_transmit_fill_level(&s->vi);
}

uint32_t efvi_shim_tx_poll(struct efvi_shim *s, struct efvi_shim_tx out[EFVI_SHIM_TX_ROOM])
{
	ef_event events[TX_EVENTS];
	ef_request_id ids[EF_VI_TRANSMIT_BATCH];
	struct efvi_shim_tx *next = out;
	int i, j, done, n = ef_eventq_poll(&s->vi, events, TX_EVENTS);

	for (i = 0; i < n; i++) {
		const ef_event *e = &events[i];
		uint32_t flags = 0;

		switch (EF_EVENT_TYPE(*e)) {
		case EF_EVENT_TYPE_TX:
		case EF_EVENT_TYPE_TX_ERROR:
			if (EF_EVENT_TYPE(*e) == EF_EVENT_TYPE_TX_ERROR) {
				flags = EFVI_SHIM_FAILED;
				s->trouble.tx_errors++;
			} else if (EF_EVENT_TX_CTPIO(*e)) {
				flags = EFVI_SHIM_CTPIO;
			}
			done = ef_vi_transmit_unbundle(&s->vi, e, ids);
			for (j = 0; j < done; j++) {
				/* What only warmed up has no id. */
				if ((uint32_t)ids[j] == EF_REQUEST_ID_MASK)
					continue;
				*next++ = (struct efvi_shim_tx){ 0, (uint32_t)ids[j], flags };
			}
			break;
		case EF_EVENT_TYPE_TX_WITH_TIMESTAMP:
			if ((uint32_t)EF_EVENT_TX_WITH_TIMESTAMP_RQ_ID(*e) == EF_REQUEST_ID_MASK)
				break;
			flags = EFVI_SHIM_STAMPED | sync_flag(EF_EVENT_TX_WITH_TIMESTAMP_SYNC_FLAGS(*e));
			if (EF_EVENT_TX_CTPIO(*e))
				flags |= EFVI_SHIM_CTPIO;
			*next++ = (struct efvi_shim_tx){
				(uint64_t)EF_EVENT_TX_WITH_TIMESTAMP_SEC(*e) * 1000000000u +
					EF_EVENT_TX_WITH_TIMESTAMP_NSEC(*e),
				(uint32_t)EF_EVENT_TX_WITH_TIMESTAMP_RQ_ID(*e), flags
			};
			break;
		default:
			other(s, e);
		}
	}
	return (uint32_t)(next - out);
}

void efvi_shim_trouble(const struct efvi_shim *s, struct efvi_shim_trouble *out)
{
	*out = s->trouble;
}
