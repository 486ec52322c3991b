//! A capture behind a port: files come in at one end and orders go out at the other, so that a replay runs the same
//! stages as a NIC.
//!
//! Reading order: [`format`] (files ↔ packets), [`block`] (what threads hand each other), [`source`] (files → one
//! lcore), [`pace`] (when a packet is due), [`replay`] (several sources → one stream), [`sink`] (one lcore → a file).
//! None of it knows of DPDK.

pub mod block;
pub mod format;
pub mod pace;
pub mod replay;
pub mod sink;
pub mod source;

pub use block::Record;
pub use format::CaptureError;
pub use pace::{Pace, Pacer, Speed};
pub use replay::Replay;
pub use sink::CaptureSink;
pub use source::{CaptureSource, Head, Key, Next, SourceOptions, Warning};
