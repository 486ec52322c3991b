/* The test double of ef_vi: protection domains. */
#ifndef TICKPATH_DOUBLE_EF_PD_H
#define TICKPATH_DOUBLE_EF_PD_H

#include <etherfabric/base.h>

enum ef_pd_flags {
	EF_PD_DEFAULT = 0x0,
	EF_PD_VF = 0x1,
	EF_PD_PHYS_MODE = 0x2,
	EF_PD_MCAST_LOOP = 0x10,
#if EFVI_DOUBLE_SHAPE >= 9
	EF_PD_EXPRESS = 0x80,
#endif
};

typedef struct ef_pd {
	unsigned resource;
	enum ef_pd_flags flags;
} ef_pd;

extern int ef_pd_alloc(ef_pd *pd, ef_driver_handle pd_dh, int ifindex, enum ef_pd_flags flags);
extern int ef_pd_alloc_by_name(ef_pd *pd, ef_driver_handle pd_dh, const char *cluster_or_intf_name,
			       enum ef_pd_flags flags);
extern const char *ef_pd_interface_name(ef_pd *pd);
extern int ef_pd_free(ef_pd *pd, ef_driver_handle pd_dh);

#endif
