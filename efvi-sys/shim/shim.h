/* ef_vi behind plain functions and structs of fixed size. In: buffers and frames that the safe layer (src/efvi) owns.
 * Out: what became of them, many a call. The only code that knows ef_vi's headers is shim.c: its calls are macros over
 * structs that change their size with every release.
 *
 * One virtual interface (VI) is for one thread at a time. Numbers are in host order, calls return 0 or more, or a negative
 * errno. */
#ifndef TICKPATH_EFVI_SHIM_H
#define TICKPATH_EFVI_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* A VI with its driver handle, protection domain, registered memory and filters. */
struct efvi_shim;

enum {
	EFVI_SHIM_PAGE = 4096,	    /* memory is registered by such pages; a buffer lies within one */
	EFVI_SHIM_RX_ROOM = 64,	    /* most that one efvi_shim_rx_poll tells */
	EFVI_SHIM_TX_ROOM = 256,    /* and one efvi_shim_tx_poll: four events that complete 64 frames each */
	EFVI_SHIM_DISCARDS = 8,	    /* kinds of discards, of which the last is any other */
};

/* Which of the calls to open a VI failed. */
enum {
	EFVI_SHIM_STEP_DRIVER = 1,  /* ef_driver_open */
	EFVI_SHIM_STEP_DOMAIN = 2,  /* ef_pd_alloc_by_name */
	EFVI_SHIM_STEP_VI = 3,	    /* ef_vi_alloc_from_pd */
	EFVI_SHIM_STEP_MEMORY = 4,
	EFVI_SHIM_STEP_ARCH = 5,    /* a card whose receive buffers are its own (EFCT) */
	EFVI_SHIM_STEP_CTPIO = 6,   /* required, and the card has none */
	EFVI_SHIM_STEP_STAMPS = 7,  /* required, and the card has none */
};

/* How much something is wanted. */
enum { EFVI_SHIM_OFF = 0, EFVI_SHIM_AUTO = 1, EFVI_SHIM_REQUIRED = 2 };

struct efvi_shim_config {
	const char *interface;	/* its kernel name */
	int32_t rx_slots;	/* of the receive ring, a power of two; 0: no such ring */
	int32_t tx_slots;
	uint32_t buffer_bytes;	/* of a receive buffer, the prefix included */
	uint32_t ctpio_threshold; /* bytes the card has before it begins to send; 0xffff: all */
	uint8_t ctpio;
	uint8_t rx_stamps;
	uint8_t tx_stamps;
	uint8_t reserved;
};

struct efvi_shim_info {
	uint32_t step;		/* which call failed, where one did */
	uint32_t rx_capacity;	/* buffers and frames the rings hold: one less than their slots */
	uint32_t tx_capacity;
	uint32_t prefix_bytes;	/* in front of a received frame */
	uint32_t mtu;
	uint8_t mac[6];
	uint8_t ctpio;		/* what came of asking */
	uint8_t rx_stamps;
	uint8_t tx_stamps;
	uint8_t merges;		/* receive events come merged, because the firmware wants it so */
	uint64_t rx_variant;	/* of the firmware, as ef_vi counts them; ~0: not told */
	uint64_t tx_variant;
};

struct efvi_shim_buffer {
	uint64_t dma;
	const void *at;
	uint32_t id;		/* below the next power of two above the capacity */
	uint32_t reserved;
};

/* What a received buffer, or a completed frame, has of these. */
enum {
	EFVI_SHIM_SOP = 1,	/* a packet begins in this buffer */
	EFVI_SHIM_CONT = 2,	/* and goes on in the next */
	EFVI_SHIM_STAMPED = 4,	/* `stamp_ns` holds */
	EFVI_SHIM_IN_SYNC = 8,	/* and the card's clock is set and in sync */
	EFVI_SHIM_CTPIO = 16,	/* it left by CTPIO, not by the fallback */
	EFVI_SHIM_FAILED = 32,	/* it did not leave */
};

struct efvi_shim_rx {
	uint64_t stamp_ns;
	uint32_t id;
	uint16_t bytes;		/* in this buffer, without the prefix */
	uint8_t discard;	/* 0, or 1 + the kind */
	uint8_t flags;
};

struct efvi_shim_tx {
	uint64_t stamp_ns;
	uint32_t id;
	uint32_t flags;
};

struct efvi_shim_frame {
	uint64_t dma;
	const void *at;		/* the same bytes, for CTPIO */
	uint32_t bytes;
	uint32_t id;
};

/* What a VI says beside frames, counted since it was opened. A VI that overflowed, was reset, or met an error when it transmitted
 * brings nothing any more. */
struct efvi_shim_trouble {
	uint32_t overflows;
	uint32_t resets;
	uint32_t no_buffer;	/* packets cut because no buffer was posted */
	uint32_t unknown;	/* events of no use here */
	uint32_t no_fallback;	/* CTPIO sends whose fallback was refused */
	uint32_t tx_errors;	/* frames that the card could not send: it gave up the ring with them */
};

_Static_assert(sizeof(struct efvi_shim_config) == 32, "as in src/lib.rs");
_Static_assert(sizeof(struct efvi_shim_info) == 48, "as in src/lib.rs");
_Static_assert(sizeof(struct efvi_shim_buffer) == 24, "as in src/lib.rs");
_Static_assert(sizeof(struct efvi_shim_rx) == 16, "as in src/lib.rs");
_Static_assert(sizeof(struct efvi_shim_tx) == 16, "as in src/lib.rs");
_Static_assert(sizeof(struct efvi_shim_frame) == 24, "as in src/lib.rs");
_Static_assert(sizeof(struct efvi_shim_trouble) == 24, "as in src/lib.rs");

const char *efvi_shim_version(void);

int efvi_shim_open(const struct efvi_shim_config *config, struct efvi_shim **out, struct efvi_shim_info *info);
/* Filters, VI, memory, domain, driver, in this order. Every buffer and frame is the caller's again. */
void efvi_shim_close(struct efvi_shim *shim);

/* `at` and `bytes` are multiples of the page; `dma` gets an address for each page. */
int efvi_shim_register(struct efvi_shim *shim, void *at, size_t bytes, uint64_t *dma);

/* UDP (17) or TCP (6) to `address`:`port` (network order), and where `peer` is not 0, from there; with this VLAN tag unless it
 * is negative. A group is not joined by it. */
int efvi_shim_filter(struct efvi_shim *shim, int protocol, uint32_t address, uint16_t port, uint32_t peer,
		     uint16_t peer_port, int vlan);

/* How many of the buffers are the card's now. Its doorbell rings for multiples of eight. */
uint32_t efvi_shim_rx_post(struct efvi_shim *shim, const struct efvi_shim_buffer *buffers, uint32_t n);
uint32_t efvi_shim_rx_poll(struct efvi_shim *shim, struct efvi_shim_rx out[EFVI_SHIM_RX_ROOM]);
uint32_t efvi_shim_rx_fill(const struct efvi_shim *shim);

/* How many of the frames, from the first, are the card's now: until they are completed. */
uint32_t efvi_shim_tx_send(struct efvi_shim *shim, const struct efvi_shim_frame *frames, uint32_t n);
uint32_t efvi_shim_tx_poll(struct efvi_shim *shim, struct efvi_shim_tx out[EFVI_SHIM_TX_ROOM]);
uint32_t efvi_shim_tx_fill(const struct efvi_shim *shim);
/* Send this frame as far as the caches go, and no further. 0 where the headers have no such call. */
int efvi_shim_tx_warm(struct efvi_shim *shim, const struct efvi_shim_frame *frame);

void efvi_shim_trouble(const struct efvi_shim *shim, struct efvi_shim_trouble *out);

#endif
