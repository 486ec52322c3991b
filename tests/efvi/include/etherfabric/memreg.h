/* The test double of ef_vi: registered memory. */
#ifndef TICKPATH_DOUBLE_EF_MEMREG_H
#define TICKPATH_DOUBLE_EF_MEMREG_H

#include <etherfabric/base.h>

typedef struct ef_memreg {
	/* Of each 4 KiB block in turn; no two blocks' addresses are next to each other. */
	ef_addr *blocks;
	unsigned resource;
} ef_memreg;

struct ef_pd;

extern int ef_memreg_alloc(ef_memreg *mr, ef_driver_handle mr_dh, struct ef_pd *pd, ef_driver_handle pd_dh, void *p_mem,
			   size_t len_bytes);
extern int ef_memreg_free(ef_memreg *mr, ef_driver_handle mr_dh);

ef_vi_inline ef_addr ef_memreg_dma_addr(ef_memreg *mr, size_t offset)
{
	return mr->blocks[offset >> EF_VI_NIC_PAGE_SHIFT] | (offset & (EF_VI_NIC_PAGE_SIZE - 1));
}

#endif
