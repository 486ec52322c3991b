//! Tickpath carries a market-data packet from the NIC to a trading decision and back onto the wire, on
//! pinned DPDK lcores, and accounts for where every nanosecond and every packet went.
//!
//! Reading order: [`market`] (the vocabulary), [`wire`] (bytes to fields), [`feed`] (payloads to events), [`book`],
//! [`strategy`], [`risk`] (what lets orders out), [`session`] (orders to bytes), then `stages` in packet order, `pipeline`
//! (file → plan → launch) and `cmd`.
//!
//! [`exchange`] stands apart: the counterpart to trade against, on kernel sockets.
//!
//! Imports point one way: cmd → {pipeline, report, top} → stages → {port, feed, risk, session, book, strategy, latency, host,
//! serve} →
//! {dpdk, efvi, cpu, sys, wire, market, arena}. `unsafe` lives in `dpdk`, `efvi`, `cpu` and `sys` only.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod arena;
pub mod book;
#[allow(unsafe_code)]
pub mod cpu;
pub mod exchange;
pub mod feed;
pub mod host;
pub mod journal;
pub mod market;
pub mod pipeline;
pub mod recovery;
pub mod risk;
pub mod session;
pub mod strategy;
pub mod synth;
pub mod version;
pub mod wire;

#[cfg(feature = "dpdk")]
pub mod cli;
#[cfg(feature = "dpdk")]
pub mod cmd;
#[cfg(feature = "dpdk")]
pub mod control;
#[allow(unsafe_code)]
pub mod dpdk;
#[allow(unsafe_code)]
#[cfg(feature = "ef_vi")]
pub mod efvi;
pub mod latency;
#[cfg(feature = "dpdk")]
pub mod pingpong;
pub mod port;
#[cfg(feature = "dpdk")]
pub mod program;
#[cfg(feature = "dpdk")]
pub mod report;
#[cfg(feature = "dpdk")]
pub mod serve;
#[cfg(feature = "dpdk")]
pub mod stages;
#[allow(unsafe_code)]
pub mod sys;
#[cfg(feature = "dpdk")]
pub mod top;

#[cfg(feature = "dpdk")]
pub use program::Program;
