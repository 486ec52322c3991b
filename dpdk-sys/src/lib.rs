//! Bindings to the installed DPDK (22.11 or newer): what bindgen reads from the headers through a narrow allow-list,
//! and `shim_*` functions for what the headers offer only as static inline functions or macros.
//!
//! Nothing here is safe or documented beyond DPDK's own reference; `tickpath::dpdk` owns the safe layer.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, missing_docs, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// A packet buffer; its fields are read at the `SHIM_MBUF_*` offsets.
#[repr(C)]
pub struct rte_mbuf {
    _opaque: [u8; 0],
}

/// A pool of packet buffers.
#[repr(C)]
pub struct rte_mempool {
    _opaque: [u8; 0],
}

/// A ring.
#[repr(C)]
pub struct rte_ring {
    _opaque: [u8; 0],
}

/// The answer to a telemetry command.
#[repr(C)]
pub struct rte_tel_data {
    _opaque: [u8; 0],
}
