/* The test double of ef_vi: what only cards have whose receive buffers are their own. */
#ifndef TICKPATH_DOUBLE_EFCT_VI_H
#define TICKPATH_DOUBLE_EFCT_VI_H

#include <etherfabric/ef_vi.h>

extern const void *efct_vi_rxpkt_get(struct ef_vi *vi, uint32_t pkt_id);
#if EFVI_DOUBLE_SHAPE >= 9
__attribute__((deprecated("ef_vi_receive_get_precise_timestamp")))
#endif
extern int efct_vi_rxpkt_get_timestamp(struct ef_vi *vi, uint32_t pkt_id, ef_timespec *ts_out, unsigned *flags_out);
extern void efct_vi_rxpkt_release(struct ef_vi *vi, uint32_t pkt_id);

#endif
