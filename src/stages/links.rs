//! What a chain is taken apart into: its stages, and the ends of the rings between them.

use super::{Encode, Parse, Rx, Tx};
use crate::dpdk::Frame;
use crate::dpdk::ring::{Consumer, Gauge, Producer};
use crate::market::{Element, Order, OrderEvent};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Both ends of a ring, wherever they are; none where neighbours are fused.
pub type Ends<T> = (Option<Producer<T>>, Option<Consumer<T>>);

/// The rings of one venue. Stages and this exchange ends ([`super::Segment::swap_ends`]): what a stage has comes here, and what
/// is here for it goes there.
#[derive(Debug, Default)]
pub struct Links {
    /// Frames.
    pub rx_parse: Ends<Frame>,
    /// Market events.
    pub parse_strategy: Ends<Element>,
    /// Orders.
    pub strategy_encode: Ends<Order>,
    /// Order frames.
    pub encode_tx: Ends<Frame>,
    /// Order events, back to strategy.
    pub tx_strategy: Ends<OrderEvent>,
}

impl Links {
    /// Gauges of the rings whose sending end is here, by link.
    pub fn gauges(&self) -> impl Iterator<Item = (&'static str, Gauge)> {
        let gauges = [
            ("rx_parse", self.rx_parse.0.as_ref().map(Producer::gauge)),
            ("parse_strategy", self.parse_strategy.0.as_ref().map(Producer::gauge)),
            ("strategy_encode", self.strategy_encode.0.as_ref().map(Producer::gauge)),
            ("encode_tx", self.encode_tx.0.as_ref().map(Producer::gauge)),
            ("tx_strategy", self.tx_strategy.0.as_ref().map(Producer::gauge)),
        ];
        gauges.into_iter().filter_map(|(link, gauge)| Some((link, gauge?)))
    }
}

/// Stages of one venue without a segment: all but the strategy, which stays where it is.
#[derive(Default)]
pub struct Loose<'m> {
    /// Frames in.
    pub rx: Option<Rx>,
    /// Frames to elements.
    pub parse: Option<Parse<'m>>,
    /// Orders to frames.
    pub encode: Option<Encode<'m>>,
    /// Frames out.
    pub tx: Option<Tx>,
}

/// What tells a segment that nothing comes any more, and what it tells the next one.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Set by the segment before it when that has drained; none before rx.
    pub upstream: Option<Arc<Flag>>,
    /// Set by itself.
    pub drained: Arc<Flag>,
}

/// What one segment sets and the next one reads, on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Flag(AtomicBool);

impl Deref for Flag {
    type Target = AtomicBool;

    fn deref(&self) -> &AtomicBool {
        &self.0
    }
}

impl<'m> Loose<'m> {
    /// Put `more` in where nothing is yet.
    pub fn gather(&mut self, more: Loose<'m>) {
        self.rx = self.rx.take().or(more.rx);
        self.parse = self.parse.take().or(more.parse);
        self.encode = self.encode.take().or(more.encode);
        self.tx = self.tx.take().or(more.tx);
    }
}
