/* The test double of ef_vi: the driver's handle and the card's page. */
#ifndef TICKPATH_DOUBLE_EF_BASE_H
#define TICKPATH_DOUBLE_EF_BASE_H

#include <etherfabric/ef_vi.h>

#define EF_VI_NIC_PAGE_SHIFT 12
#define EF_VI_NIC_PAGE_SIZE (1 << EF_VI_NIC_PAGE_SHIFT)
#define EF_INVALID_ADDR ((ef_addr)-1)

extern int ef_driver_open(ef_driver_handle *dh_out);
extern int ef_driver_close(ef_driver_handle dh);

#endif
