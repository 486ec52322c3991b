/* The test double of ef_vi: a VI, its events and its two rings.
 *
 * The names, the arguments and what is a macro, an inline function or a symbol are those of the public interface; the layout
 * is the double's own, so that a program that reads a field instead of asking does not compile against it. What stays an op
 * of the VI in the real library stays one here. EFVI_DOUBLE_SHAPE says which releases it looks like: 8 has neither precise
 * stamps nor warm-up nor compatibility mode, 9 (the default) has them all. */
#ifndef TICKPATH_DOUBLE_EF_VI_H
#define TICKPATH_DOUBLE_EF_VI_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifndef EFVI_DOUBLE_SHAPE
#define EFVI_DOUBLE_SHAPE 9
#endif
#if EFVI_DOUBLE_SHAPE != 8 && EFVI_DOUBLE_SHAPE != 9
#error "EFVI_DOUBLE_SHAPE is 8 or 9"
#endif

#define ef_vi_inline static inline
#define EF_VI_DMA_ALIGN 64

typedef int ef_driver_handle;
typedef uint64_t ef_addr;
typedef int ef_request_id;

#define EF_REQUEST_ID_MASK 0xffffffff
#define EF_VI_EVENT_POLL_MIN_EVS 2
#define EF_VI_TRANSMIT_BATCH 64
#define EF_VI_RECEIVE_BATCH 15

/* ---- events ---- */

enum {
	EF_EVENT_TYPE_RX,
	EF_EVENT_TYPE_TX,
	EF_EVENT_TYPE_RX_DISCARD,
	EF_EVENT_TYPE_TX_ERROR,
	EF_EVENT_TYPE_RX_NO_DESC_TRUNC,
	EF_EVENT_TYPE_SW,
	EF_EVENT_TYPE_OFLOW,
	EF_EVENT_TYPE_TX_WITH_TIMESTAMP,
	EF_EVENT_TYPE_RX_PACKED_STREAM,
	EF_EVENT_TYPE_RX_MULTI,
	EF_EVENT_TYPE_TX_ALT,
	EF_EVENT_TYPE_RX_MULTI_DISCARD,
	EF_EVENT_TYPE_RESET,
	EF_EVENT_TYPE_RX_MULTI_PKTS,
	EF_EVENT_TYPE_RX_REF,
	EF_EVENT_TYPE_RX_REF_DISCARD,
	EF_EVENT_TYPE_MAX,
};

enum {
	EF_EVENT_RX_DISCARD_CSUM_BAD,
	EF_EVENT_RX_DISCARD_MCAST_MISMATCH,
	EF_EVENT_RX_DISCARD_CRC_BAD,
	EF_EVENT_RX_DISCARD_TRUNC,
	EF_EVENT_RX_DISCARD_RIGHTS,
	EF_EVENT_RX_DISCARD_EV_ERROR,
	EF_EVENT_RX_DISCARD_OTHER,
	EF_EVENT_RX_DISCARD_INNER_CSUM_BAD,
	EF_EVENT_RX_DISCARD_MAX,
};

#define EF_EVENT_FLAG_SOP 0x1
#define EF_EVENT_FLAG_CONT 0x2
#define EF_EVENT_FLAG_MULTICAST 0x8
#define EF_EVENT_FLAG_CTPIO 0x1

/* Only rx_ref and rx_ref_discard are read by their fields: the interface has no macros for them. */
typedef union {
	struct {
		uint16_t kind;
		uint8_t queue, marks;
	} any;
	struct {
		uint16_t kind;
		uint8_t queue, marks;
		uint32_t id;
		uint16_t bytes, why;
	} frame;
	struct {
		uint16_t kind;
		uint8_t queue, marks;
		uint16_t count, why;
	} merged;
	struct {
		uint16_t kind;
		uint8_t queue, marks;
		/* The ring's position behind the last descriptor done, and stamped sends after it that its unbundling frees. */
		uint32_t position;
		uint16_t deferred;
	} sent;
	struct {
		uint16_t kind;
		uint8_t queue, marks;
		uint32_t id, seconds, nanoseconds;
		uint8_t sync;
	} stamped;
	struct {
		uint16_t type, len;
		uint32_t pkt_id;
		uint16_t filter_id;
		uint8_t q_id, user;
	} rx_ref;
	struct {
		uint16_t type, len;
		uint32_t pkt_id;
		uint16_t filter_id;
		uint8_t q_id, user;
		uint16_t flags;
	} rx_ref_discard;
} ef_event;

#define EF_EVENT_TYPE(e) ((e).any.kind)

#define EF_EVENT_RX_BYTES(e) ((e).frame.bytes)
#define EF_EVENT_RX_Q_ID(e) ((e).frame.queue)
#define EF_EVENT_RX_RQ_ID(e) ((e).frame.id)
#define EF_EVENT_RX_CONT(e) ((e).frame.marks & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_SOP(e) ((e).frame.marks & EF_EVENT_FLAG_SOP)

#define EF_EVENT_RX_DISCARD_Q_ID(e) ((e).frame.queue)
#define EF_EVENT_RX_DISCARD_RQ_ID(e) ((e).frame.id)
#define EF_EVENT_RX_DISCARD_CONT(e) ((e).frame.marks & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_DISCARD_SOP(e) ((e).frame.marks & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_DISCARD_TYPE(e) ((e).frame.why)
#define EF_EVENT_RX_DISCARD_BYTES(e) ((e).frame.bytes)

#define EF_EVENT_RX_MULTI_Q_ID(e) ((e).merged.queue)
#define EF_EVENT_RX_MULTI_CONT(e) ((e).merged.marks & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_MULTI_SOP(e) ((e).merged.marks & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_MULTI_DISCARD_TYPE(e) ((e).merged.why)

#define EF_EVENT_RX_NO_DESC_TRUNC_Q_ID(e) ((e).any.queue)

#define EF_EVENT_TX_Q_ID(e) ((e).any.queue)
#define EF_EVENT_TX_CTPIO(e) ((e).any.marks & EF_EVENT_FLAG_CTPIO)

#define EF_VI_SYNC_FLAG_CLOCK_SET 1
#define EF_VI_SYNC_FLAG_CLOCK_IN_SYNC 2

#define EF_EVENT_TX_WITH_TIMESTAMP_Q_ID(e) ((e).stamped.queue)
#define EF_EVENT_TX_WITH_TIMESTAMP_RQ_ID(e) ((e).stamped.id)
#define EF_EVENT_TX_WITH_TIMESTAMP_SEC(e) ((e).stamped.seconds)
#define EF_EVENT_TX_WITH_TIMESTAMP_NSEC(e) ((e).stamped.nanoseconds)
#define EF_EVENT_TX_WITH_TIMESTAMP_SYNC_MASK (EF_VI_SYNC_FLAG_CLOCK_SET | EF_VI_SYNC_FLAG_CLOCK_IN_SYNC)
#define EF_EVENT_TX_WITH_TIMESTAMP_SYNC_FLAGS(e) ((e).stamped.sync & EF_EVENT_TX_WITH_TIMESTAMP_SYNC_MASK)

#define EF_EVENT_FMT "[ev:%x]"
#define EF_EVENT_PRI_ARG(e) ((unsigned)(e).any.kind)

/* ---- the VI ---- */

typedef struct {
	ef_addr iov_base;
	unsigned iov_len;
} ef_iovec;

#define ef_timespec struct timespec

#if EFVI_DOUBLE_SHAPE >= 9
typedef struct {
	int64_t tv_sec;
	uint32_t tv_nsec;
	uint16_t tv_nsec_frac;
	uint16_t tv_flags;
} ef_precisetime;

typedef struct {
	uint32_t removed;
	char *aperture;
} ef_vi_tx_warm_state;
#endif

enum ef_vi_flags {
	EF_VI_FLAGS_DEFAULT = 0x0,
	EF_VI_TX_PHYS_ADDR = 0x20,
	EF_VI_RX_PHYS_ADDR = 0x40,
	EF_VI_TX_IP_CSUM_DIS = 0x80,
	EF_VI_TX_TCPUDP_CSUM_DIS = 0x100,
	EF_VI_TX_PUSH_DISABLE = 0x4000,
	EF_VI_TX_PUSH_ALWAYS = 0x8000,
	EF_VI_RX_TIMESTAMPS = 0x10000,
	EF_VI_TX_TIMESTAMPS = 0x20000,
	EF_VI_RX_EVENT_MERGE = 0x200000,
	EF_VI_TX_ALT = 0x400000,
	EF_VI_ENABLE_EV_TIMER = 0x800000,
	EF_VI_TX_CTPIO = 0x1000000,
	EF_VI_TX_CTPIO_NO_POISON = 0x2000000,
};

enum ef_vi_out_flags {
	EF_VI_OUT_CLOCK_SYNC_STATUS = 0x1,
};

enum ef_vi_rx_discard_err_flags {
	EF_VI_DISCARD_RX_L4_CSUM_ERR = 0x1,
	EF_VI_DISCARD_RX_L3_CSUM_ERR = 0x2,
	EF_VI_DISCARD_RX_ETH_FCS_ERR = 0x4,
	EF_VI_DISCARD_RX_ETH_LEN_ERR = 0x8,
};

enum ef_vi_arch {
	EF_VI_ARCH_FALCON,
	EF_VI_ARCH_EF10,
	EF_VI_ARCH_EF100,
	EF_VI_ARCH_EFCT,
	EF_VI_ARCH_AF_XDP,
	EF_VI_ARCH_EF10CT,
};

struct ef_vi_nic_type {
	unsigned char arch;
	char variant;
	unsigned char revision;
};

struct efvi_double_queue;

/* The program's half of its rings; the card's half lies behind `card`. */
typedef struct ef_vi {
	struct efvi_double_queue *card;
	uint32_t rx_mask, rx_added, rx_removed;
	uint32_t tx_mask, tx_added, tx_removed, tx_pushed;
	int32_t fifo_space;
	unsigned receive_buffer_bytes, prefix_bytes;
	unsigned resource;
	enum ef_vi_flags flags;
	/* Read by its name by programs that report whether the sync flags mean anything. */
	enum ef_vi_out_flags vi_out_flags;
	struct ef_vi_nic_type nic_type;
	struct ops {
		int (*transmit)(struct ef_vi *, ef_addr, int, ef_request_id);
		int (*transmitv)(struct ef_vi *, const ef_iovec *, int, ef_request_id);
		int (*transmitv_init)(struct ef_vi *, const ef_iovec *, int, ef_request_id);
		void (*transmit_push)(struct ef_vi *);
		void (*transmitv_ctpio)(struct ef_vi *, size_t, const struct iovec *, int, unsigned);
		void (*transmitv_ctpio_copy)(struct ef_vi *, size_t, const struct iovec *, int, unsigned, void *);
		int (*transmit_ctpio_fallback)(struct ef_vi *, ef_addr, size_t, ef_request_id);
		int (*transmitv_ctpio_fallback)(struct ef_vi *, const ef_iovec *, int, ef_request_id);
		int (*receive_init)(struct ef_vi *, ef_addr, ef_request_id);
		void (*receive_push)(struct ef_vi *);
		int (*receive_set_discards)(struct ef_vi *, unsigned);
		uint64_t (*receive_get_discards)(struct ef_vi *);
		int (*eventq_poll)(struct ef_vi *, ef_event *, int);
		int (*eventq_has_many_events)(const struct ef_vi *, int);
#if EFVI_DOUBLE_SHAPE >= 9
		int (*receive_get_timestamp)(struct ef_vi *, const void *, ef_precisetime *);
		void (*start_transmit_warm)(struct ef_vi *, ef_vi_tx_warm_state *, char *);
		void (*stop_transmit_warm)(struct ef_vi *, ef_vi_tx_warm_state *);
#endif
	} ops;
} ef_vi;

extern const char *ef_vi_version_str(void);
extern const char *ef_vi_driver_interface_str(void);

ef_vi_inline enum ef_vi_flags ef_vi_flags(ef_vi *vi) { return vi->flags; }
ef_vi_inline unsigned ef_vi_resource_id(ef_vi *vi) { return vi->resource; }
ef_vi_inline unsigned ef_vi_instance(ef_vi *vi) { return vi->resource; }

/* ---- receiving ---- */

ef_vi_inline int ef_vi_receive_prefix_len(const ef_vi *vi) { return (int)vi->prefix_bytes; }
ef_vi_inline int ef_vi_receive_buffer_len(const ef_vi *vi) { return (int)vi->receive_buffer_bytes; }
ef_vi_inline void ef_vi_receive_set_buffer_len(ef_vi *vi, unsigned buf_len) { vi->receive_buffer_bytes = buf_len; }
ef_vi_inline int ef_vi_receive_capacity(const ef_vi *vi) { return (int)vi->rx_mask; }
ef_vi_inline int ef_vi_receive_fill_level(const ef_vi *vi) { return (int)(vi->rx_added - vi->rx_removed); }
ef_vi_inline int ef_vi_receive_space(const ef_vi *vi)
{
	return ef_vi_receive_capacity(vi) - ef_vi_receive_fill_level(vi);
}

#define ef_vi_receive_init(vi, addr, dma_id) (vi)->ops.receive_init((vi), (addr), (dma_id))
#define ef_vi_receive_push(vi) (vi)->ops.receive_push((vi))
extern int ef_vi_receive_post(ef_vi *vi, ef_addr addr, ef_request_id dma_id);
extern int ef_vi_receive_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids);
extern int ef_vi_receive_get_bytes(ef_vi *vi, const void *pkt, uint16_t *bytes_out);
#define ef_vi_receive_set_discards(vi, discard_err_flags) (vi)->ops.receive_set_discards((vi), (discard_err_flags))
#define ef_vi_receive_get_discards(vi) (vi)->ops.receive_get_discards((vi))

#if EFVI_DOUBLE_SHAPE >= 9
#define ef_vi_receive_get_precise_timestamp(vi, pkt, ts_out) (vi)->ops.receive_get_timestamp((vi), (pkt), (ts_out))
__attribute__((deprecated("ef_vi_receive_get_precise_timestamp")))
#endif
extern int ef_vi_receive_get_timestamp_with_sync_flags(ef_vi *vi, const void *pkt, ef_timespec *ts_out,
						       unsigned *flags_out);

ef_vi_inline unsigned ef_vi_get_rx_discard_subtype_from_flags(unsigned flags)
{
	if (flags & EF_VI_DISCARD_RX_ETH_FCS_ERR)
		return EF_EVENT_RX_DISCARD_CRC_BAD;
	if (flags & EF_VI_DISCARD_RX_ETH_LEN_ERR)
		return EF_EVENT_RX_DISCARD_TRUNC;
	return EF_EVENT_RX_DISCARD_CSUM_BAD;
}

/* ---- transmitting ---- */

ef_vi_inline int ef_vi_transmit_capacity(const ef_vi *vi) { return (int)vi->tx_mask; }
ef_vi_inline int ef_vi_transmit_fill_level(const ef_vi *vi) { return (int)(vi->tx_added - vi->tx_removed); }
ef_vi_inline int ef_vi_transmit_space(const ef_vi *vi)
{
	return ef_vi_transmit_capacity(vi) - ef_vi_transmit_fill_level(vi);
}
ef_vi_inline int ef_vi_transmit_space_bytes(const ef_vi *vi) { return vi->fifo_space; }

extern int ef_vi_transmit_init(ef_vi *vi, ef_addr addr, int bytes, ef_request_id dma_id);
#define ef_vi_transmitv_init(vi, iov, iov_len, dma_id) (vi)->ops.transmitv_init((vi), (iov), (iov_len), (dma_id))
#define ef_vi_transmit_push(vi) (vi)->ops.transmit_push((vi))
#define ef_vi_transmit(vi, base, len, dma_id) (vi)->ops.transmit((vi), (base), (len), (dma_id))
#define ef_vi_transmitv(vi, iov, iov_len, dma_id) (vi)->ops.transmitv((vi), (iov), (iov_len), (dma_id))
extern int ef_vi_transmit_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids);

#define EF_VI_CTPIO_CT_THRESHOLD_SNF 0xffff
#define ef_vi_transmitv_ctpio(vi, frame_len, frame_iov, frame_iov_len, ct_threshold) \
	(vi)->ops.transmitv_ctpio((vi), (frame_len), (frame_iov), (frame_iov_len), (ct_threshold))
#define ef_vi_transmitv_ctpio_copy(vi, frame_len, frame_iov, frame_iov_len, ct_threshold, fallback) \
	(vi)->ops.transmitv_ctpio_copy((vi), (frame_len), (frame_iov), (frame_iov_len), (ct_threshold), (fallback))
ef_vi_inline void ef_vi_transmit_ctpio(ef_vi *vi, const void *frame_buf, size_t frame_len, unsigned ct_threshold)
{
	struct iovec whole = {(void *)(uintptr_t)frame_buf, frame_len};
	ef_vi_transmitv_ctpio(vi, frame_len, &whole, 1, ct_threshold);
}
#define ef_vi_transmit_ctpio_fallback(vi, dma_addr, len, dma_id) \
	(vi)->ops.transmit_ctpio_fallback((vi), (dma_addr), (len), (dma_id))
#define ef_vi_transmitv_ctpio_fallback(vi, dma_iov, dma_iov_len, dma_id) \
	(vi)->ops.transmitv_ctpio_fallback((vi), (dma_iov), (dma_iov_len), (dma_id))

#if EFVI_DOUBLE_SHAPE >= 9
#define ef_vi_start_transmit_warm(vi, saved_state, warm_ctpio_mmap_ptr) \
	(vi)->ops.start_transmit_warm((vi), (saved_state), (warm_ctpio_mmap_ptr))
#define ef_vi_stop_transmit_warm(vi, saved_state) (vi)->ops.stop_transmit_warm((vi), (saved_state))
#endif

/* ---- the event queue ---- */

#define ef_eventq_poll(evq, evs, evs_len) (evq)->ops.eventq_poll((evq), (evs), (evs_len))
#define ef_eventq_has_many_events(vi, n_events) (vi)->ops.eventq_has_many_events((vi), (n_events))
#define ef_eventq_has_event(vi) ef_eventq_has_many_events((vi), 0)
extern int ef_eventq_capacity(ef_vi *vi);

#endif
