/* The test double of ef_vi: what an interface can do. */
#ifndef TICKPATH_DOUBLE_EF_CAPABILITIES_H
#define TICKPATH_DOUBLE_EF_CAPABILITIES_H

#include <etherfabric/base.h>
#include <etherfabric/pd.h>

enum ef_vi_capability {
	EF_VI_CAP_PIO,
	EF_VI_CAP_HW_MULTICAST_LOOPBACK,
	EF_VI_CAP_HW_MULTICAST_REPLICATION,
	EF_VI_CAP_HW_RX_TIMESTAMPING,
	EF_VI_CAP_HW_TX_TIMESTAMPING,
	EF_VI_CAP_RX_FILTER_TYPE_UDP_LOCAL,
	EF_VI_CAP_RX_FILTER_TYPE_TCP_LOCAL,
	EF_VI_CAP_RX_FILTER_TYPE_UDP_FULL,
	EF_VI_CAP_RX_FILTER_TYPE_TCP_FULL,
	EF_VI_CAP_RX_FILTER_TYPE_IP_VLAN,
	EF_VI_CAP_RXQ_SIZES,
	EF_VI_CAP_TXQ_SIZES,
	EF_VI_CAP_EVQ_SIZES,
	EF_VI_CAP_ZERO_RX_PREFIX,
	EF_VI_CAP_TX_PUSH_ALWAYS,
	EF_VI_CAP_RX_MERGE,
	EF_VI_CAP_TX_ALTERNATIVES,
	EF_VI_CAP_RX_FW_VARIANT,
	EF_VI_CAP_TX_FW_VARIANT,
	EF_VI_CAP_CTPIO,
	EF_VI_CAP_RX_FORCE_EVENT_MERGING,
	EF_VI_CAP_CTPIO_ONLY,
	EF_VI_CAP_RX_SHARED,
#if EFVI_DOUBLE_SHAPE >= 9
	EF_VI_CAP_RX_POLL,
	EF_VI_CAP_RX_REF,
	EF_VI_CAP_EXTRA_DATAPATHS,
#endif
	EF_VI_CAP_MAX,
};

extern int ef_vi_capabilities_get(ef_driver_handle handle, int ifindex, enum ef_vi_capability cap,
				  unsigned long *value);
extern int ef_pd_capabilities_get(ef_driver_handle handle, ef_pd *pd, ef_driver_handle pd_dh,
				  enum ef_vi_capability cap, unsigned long *value);
extern int ef_vi_capabilities_max(void);
extern const char *ef_vi_capabilities_name(enum ef_vi_capability cap);

#endif
