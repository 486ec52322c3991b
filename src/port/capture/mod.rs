//! A capture behind a port: files come in at one end and orders go out at the other, so that a replay runs the same
//! stages as a NIC.
//!
//! Reading order: [`format`] (files ↔ packets), [`block`] (what threads hand each other), [`source`] (files → one
//! lcore), [`sink`] (one lcore → a file), [`pace`] (when a packet is due). None of it knows of DPDK.

pub mod block;
pub mod format;
pub mod pace;
pub mod sink;
pub mod source;

pub use block::Record;
pub use format::CaptureError;
pub use pace::{Pace, Pacer, Speed};
pub use sink::CaptureSink;
pub use source::{CaptureSource, Head, Key, SourceOptions, Warning};
