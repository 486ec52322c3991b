//! The C interface of shim/shim.h, written by hand: it is narrow, and of fixed size whatever release of ef_vi is behind it.
//!
//! What each call does, and its preconditions, stand in shim.h; its asserts hold the sizes below.

#![no_std]

use core::ffi::{c_char, c_int, c_void};

#[cfg(efvi_double)]
pub mod double;

/// Whether the test double of tests/efvi is behind it, and not the library of a card.
pub const IS_DOUBLE: bool = cfg!(efvi_double);

/// See `EFVI_SHIM_PAGE` and its kin in shim.h.
pub const PAGE: usize = 4096;
pub const RX_ROOM: usize = 64;
pub const TX_ROOM: usize = 256;
pub const DISCARDS: usize = 8;

pub const STEP_DRIVER: u32 = 1;
pub const STEP_DOMAIN: u32 = 2;
pub const STEP_VI: u32 = 3;
pub const STEP_MEMORY: u32 = 4;
pub const STEP_ARCH: u32 = 5;
pub const STEP_CTPIO: u32 = 6;
pub const STEP_STAMPS: u32 = 7;

pub const OFF: u8 = 0;
pub const AUTO: u8 = 1;
pub const REQUIRED: u8 = 2;

pub const SOP: u8 = 1;
pub const CONT: u8 = 2;
pub const STAMPED: u8 = 4;
pub const IN_SYNC: u8 = 8;
pub const CTPIO: u8 = 16;
pub const FAILED: u8 = 32;

#[repr(C)]
pub struct efvi_shim {
    _private: [u8; 0],
}

#[repr(C)]
pub struct efvi_shim_config {
    pub interface: *const c_char,
    pub rx_slots: i32,
    pub tx_slots: i32,
    pub buffer_bytes: u32,
    pub ctpio_threshold: u32,
    pub ctpio: u8,
    pub rx_stamps: u8,
    pub tx_stamps: u8,
    pub reserved: u8,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct efvi_shim_info {
    pub step: u32,
    pub rx_capacity: u32,
    pub tx_capacity: u32,
    pub prefix_bytes: u32,
    pub mtu: u32,
    pub mac: [u8; 6],
    pub ctpio: u8,
    pub rx_stamps: u8,
    pub tx_stamps: u8,
    pub merges: u8,
    pub rx_variant: u64,
    pub tx_variant: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct efvi_shim_buffer {
    pub dma: u64,
    pub at: *const c_void,
    pub id: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct efvi_shim_rx {
    pub stamp_ns: u64,
    pub id: u32,
    pub bytes: u16,
    pub discard: u8,
    pub flags: u8,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct efvi_shim_tx {
    pub stamp_ns: u64,
    pub id: u32,
    pub flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct efvi_shim_frame {
    pub dma: u64,
    pub at: *const c_void,
    pub bytes: u32,
    pub id: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct efvi_shim_trouble {
    pub overflows: u32,
    pub resets: u32,
    pub no_buffer: u32,
    pub unknown: u32,
    pub no_fallback: u32,
    pub tx_errors: u32,
}

const _: () = assert!(
    size_of::<efvi_shim_config>() == 32
        && size_of::<efvi_shim_info>() == 48
        && size_of::<efvi_shim_buffer>() == 24
        && size_of::<efvi_shim_rx>() == 16
        && size_of::<efvi_shim_tx>() == 16
        && size_of::<efvi_shim_frame>() == 24
        && size_of::<efvi_shim_trouble>() == 24
);

unsafe extern "C" {
    pub fn efvi_shim_version() -> *const c_char;
    pub fn efvi_shim_open(
        config: *const efvi_shim_config,
        out: *mut *mut efvi_shim,
        info: *mut efvi_shim_info,
    ) -> c_int;
    pub fn efvi_shim_close(shim: *mut efvi_shim);
    pub fn efvi_shim_register(shim: *mut efvi_shim, at: *mut c_void, bytes: usize, dma: *mut u64) -> c_int;
    pub fn efvi_shim_filter(
        shim: *mut efvi_shim,
        protocol: c_int,
        address: u32,
        port: u16,
        peer: u32,
        peer_port: u16,
        vlan: c_int,
    ) -> c_int;
    pub fn efvi_shim_rx_post(shim: *mut efvi_shim, buffers: *const efvi_shim_buffer, n: u32) -> u32;
    pub fn efvi_shim_rx_poll(shim: *mut efvi_shim, out: *mut efvi_shim_rx) -> u32;
    pub fn efvi_shim_rx_fill(shim: *const efvi_shim) -> u32;
    pub fn efvi_shim_tx_send(shim: *mut efvi_shim, frames: *const efvi_shim_frame, n: u32) -> u32;
    pub fn efvi_shim_tx_poll(shim: *mut efvi_shim, out: *mut efvi_shim_tx) -> u32;
    pub fn efvi_shim_tx_fill(shim: *const efvi_shim) -> u32;
    pub fn efvi_shim_tx_warm(shim: *mut efvi_shim, frame: *const efvi_shim_frame) -> c_int;
    pub fn efvi_shim_trouble(shim: *const efvi_shim, out: *mut efvi_shim_trouble);
}
