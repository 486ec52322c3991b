//! The order-entry protocols, one enum each for what differs: what a protocol can say, how an order becomes a message, and
//! what a message gets at the doorbell. Matched per order, so that nothing is called through a pointer.

use super::boe::BoeEncoder;
use super::encoder::OuchEncoder;
use super::fix::FixEncoder;
use crate::arena::{Arena, ArenaFull};
use crate::market::{Order, OrderLimits};
use crate::wire::{boe20, fix42};
use arrayvec::ArrayString;

/// Which protocol, and what it has to be told besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Nasdaq OUCH 5.0 in SoupBinTCP packets.
    Ouch50,
    /// Cboe BOE, version 2.
    Boe20,
    /// FIX 4.2.
    Fix42(CompIds),
}

/// Who speaks FIX to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompIds {
    /// We: SenderCompID of what we send.
    pub sender: CompId,
    /// The exchange: TargetCompID.
    pub target: CompId,
}

/// A SenderCompID or TargetCompID.
pub type CompId = ArrayString<16>;

impl Protocol {
    /// What it can say.
    pub const fn limits(&self) -> OrderLimits {
        match self {
            Protocol::Ouch50 => OuchEncoder::LIMITS,
            Protocol::Boe20 => BoeEncoder::LIMITS,
            Protocol::Fix42(_) => FixEncoder::LIMITS,
        }
    }
}

/// Settings of an encoder.
#[derive(Clone, Copy, Debug)]
pub struct EncoderConfig {
    /// What it writes.
    pub protocol: Protocol,
    /// Instruments, from index 0.
    pub instruments: u32,
}

/// Writes order messages.
#[derive(Debug)]
pub enum Encoder<'m> {
    /// OUCH 5.0.
    Ouch50(OuchEncoder<'m>),
    /// BOE 2.
    Boe20(BoeEncoder<'m>),
    /// FIX 4.2.
    Fix42(Box<FixEncoder>),
}

impl<'m> Encoder<'m> {
    /// Bytes that an encoder takes from the arena.
    pub const fn bytes(config: &EncoderConfig) -> usize {
        match config.protocol {
            Protocol::Ouch50 => OuchEncoder::bytes(config.instruments),
            Protocol::Boe20 => BoeEncoder::bytes(config.instruments),
            Protocol::Fix42(_) => 0,
        }
    }

    /// An encoder for instruments `0 .. instruments`.
    ///
    /// # Errors
    /// [`ArenaFull`] when the arena has less than [`Encoder::bytes`] left.
    pub fn new(config: &EncoderConfig, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        Ok(match config.protocol {
            Protocol::Ouch50 => Encoder::Ouch50(OuchEncoder::new(config.instruments, arena)?),
            Protocol::Boe20 => Encoder::Boe20(BoeEncoder::new(config.instruments, arena)?),
            Protocol::Fix42(ids) => Encoder::Fix42(Box::new(FixEncoder::new(&ids))),
        })
    }

    /// Bytes of the longest message.
    #[inline]
    pub const fn max_message(&self) -> usize {
        match self {
            Encoder::Ouch50(_) => OuchEncoder::MAX_MESSAGE,
            Encoder::Boe20(_) => BoeEncoder::MAX_MESSAGE,
            Encoder::Fix42(_) => FixEncoder::MAX_MESSAGE,
        }
    }

    /// Write the message of `order` at the front of `out`, which has [`Encoder::max_message`] bytes or more; its length.
    /// `None` when the protocol cannot say it.
    #[inline]
    pub fn encode(&mut self, order: &Order, out: &mut [u8]) -> Option<usize> {
        match self {
            Encoder::Ouch50(encoder) => encoder.encode(order, out),
            Encoder::Boe20(encoder) => encoder.encode(order, out),
            Encoder::Fix42(encoder) => encoder.encode(order, out),
        }
    }
}

/// The numbers that messages get when they leave, where the protocol has them in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// The connection counts.
    Implicit,
    /// BOE's SequenceNumber: the last one given.
    Boe20(u32),
    /// FIX's MsgSeqNum: the last one given.
    Fix42(u32),
}

impl Numbers {
    /// From 1 on.
    pub const fn new(protocol: &Protocol) -> Numbers {
        match protocol {
            Protocol::Ouch50 => Numbers::Implicit,
            Protocol::Boe20 => Numbers::Boe20(0),
            Protocol::Fix42(_) => Numbers::Fix42(0),
        }
    }

    /// Give a whole message the next one.
    #[inline]
    pub fn give(&mut self, message: &mut [u8]) {
        match self {
            Numbers::Implicit => {}
            Numbers::Boe20(last) => {
                *last += 1;
                boe20::number(message, *last);
            }
            Numbers::Fix42(last) => {
                *last += 1;
                fix42::number(message, *last);
            }
        }
    }
}
