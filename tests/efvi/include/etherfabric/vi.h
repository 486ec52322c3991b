/* The test double of ef_vi: taking a VI, and filters. */
#ifndef TICKPATH_DOUBLE_EF_VI_ALLOC_H
#define TICKPATH_DOUBLE_EF_VI_ALLOC_H

#include <etherfabric/base.h>
#include <etherfabric/ef_vi.h>

struct ef_pd;

extern int ef_vi_alloc_from_pd(ef_vi *vi, ef_driver_handle vi_dh, struct ef_pd *pd, ef_driver_handle pd_dh,
			       int evq_capacity, int rxq_capacity, int txq_capacity, ef_vi *evq_opt,
			       ef_driver_handle evq_dh, enum ef_vi_flags flags);
extern int ef_vi_free(ef_vi *vi, ef_driver_handle nic);
extern int ef_vi_flush(ef_vi *vi, ef_driver_handle nic);
extern unsigned ef_vi_mtu(ef_vi *vi, ef_driver_handle vi_dh);
extern int ef_vi_get_mac(ef_vi *vi, ef_driver_handle vi_dh, void *mac_out);

enum ef_filter_flags {
	EF_FILTER_FLAG_NONE = 0x0,
	EF_FILTER_FLAG_MCAST_LOOP_RECEIVE = 0x2,
};

enum {
	EF_FILTER_VLAN_ID_ANY = -1,
};

typedef struct ef_filter_spec {
	unsigned kind, flags;
	int protocol, vlan, port, remote_port;
	unsigned host, remote_host;
	/* Six bytes and no padding: specifications are compared as a whole. */
	unsigned char mac[8];
} ef_filter_spec;

typedef struct ef_filter_cookie {
	int filter_id;
	int filter_type;
} ef_filter_cookie;

extern void ef_filter_spec_init(ef_filter_spec *filter_spec, enum ef_filter_flags flags);
extern int ef_filter_spec_set_ip4_local(ef_filter_spec *filter_spec, int protocol, unsigned host_be32, int port_be16);
extern int ef_filter_spec_set_ip4_full(ef_filter_spec *filter_spec, int protocol, unsigned host_be32, int port_be16,
				       unsigned rhost_be32, int rport_be16);
extern int ef_filter_spec_set_vlan(ef_filter_spec *filter_spec, int vlan_id);
extern int ef_filter_spec_set_eth_local(ef_filter_spec *filter_spec, int vlan_id, const void *mac);
extern int ef_filter_spec_set_unicast_all(ef_filter_spec *filter_spec);
extern int ef_filter_spec_set_multicast_all(ef_filter_spec *filter_spec);
extern int ef_vi_filter_add(ef_vi *vi, ef_driver_handle vi_dh, const ef_filter_spec *filter_spec,
			    ef_filter_cookie *filter_cookie_out);
extern int ef_vi_filter_del(ef_vi *vi, ef_driver_handle vi_dh, ef_filter_cookie *filter_cookie);

#endif
