//! Orders to OUCH 5.0 messages in SoupBinTCP packets.
//!
//! In: an [`Order`]. Out: a finished packet at the front of a buffer. Each instrument has a prebuilt Enter message in
//! the arena, made at its first order; replace and cancel need nothing of the instrument. Orders are day orders,
//! displayed, for the firm's own account, not for a cross. Keeps no state of an order.

use crate::arena::{Arena, ArenaFull, bytes};
use crate::market::{Order, OrderKind, OrderLimits, Price, Side};
use crate::wire::{ouch50, soupbin};
use bytemuck::{Pod, Zeroable};

/// SoupBinTCP header and the longest message: Enter with an empty appendage.
const ENTER: usize = soupbin::HEADER + ouch50::EnterOrderRepr::LENGTH + 2;

/// SoupBinTCP packet type of orders: unsequenced data.
const UNSEQUENCED: u8 = b'U';
/// Time in force: day.
const DAY: u8 = b'0';
/// Displayed, attributable to nobody.
const VISIBLE: u8 = b'Y';
/// Own account.
const PRINCIPAL: u8 = b'P';
/// Neither an intermarket sweep nor for a cross.
const NO: u8 = b'N';

/// A prebuilt Enter packet: one cache line an instrument.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Entry {
    packet: [u8; ENTER],
    ready: u8,
    unused: [u8; 64 - ENTER - 1],
}

/// Writes order packets.
#[derive(Debug)]
pub struct OuchEncoder<'m> {
    table: &'m mut [Entry],
}

impl<'m> OuchEncoder<'m> {
    /// What OUCH can say: references of 32 bits, fewer than 1,000,000 shares, prices up to 199,999.99.
    pub const LIMITS: OrderLimits =
        OrderLimits { id: u32::MAX as u64, qty: ouch50::MAX_QTY, price: Price(ouch50::MAX_PRICE as i64) };

    /// Bytes of the longest packet.
    pub const MAX_MESSAGE: usize = ENTER;

    /// Bytes that an encoder takes from the arena.
    pub const fn bytes(instruments: u32) -> usize {
        bytes::<Entry>(instruments as usize)
    }

    /// An encoder for instruments `0 .. instruments`.
    ///
    /// # Errors
    /// [`ArenaFull`] when the arena has less than [`OuchEncoder::bytes`] left.
    pub fn new(instruments: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        Ok(OuchEncoder { table: arena.slice("encoder table", instruments as usize)? })
    }

    /// Write the packet of `order` at the front of `out`, which has [`OuchEncoder::MAX_MESSAGE`] bytes or more; its length.
    /// `None` when OUCH cannot say it: an id over 32 bits, a price below 0 or above the protocol's limit, an
    /// instrument beyond the table.
    #[inline]
    pub fn encode(&mut self, order: &Order, out: &mut [u8]) -> Option<usize> {
        let user_ref = u32::try_from(order.id).ok()?;
        let price = u64::try_from(order.price.0).ok().filter(|&p| p <= ouch50::MAX_PRICE)?;
        if order.qty > ouch50::MAX_QTY {
            return None;
        }
        match order.kind {
            OrderKind::Enter => {
                let entry = self.table.get_mut(order.instrument.0 as usize)?;
                if entry.ready == 0 {
                    prepare(entry, order)?;
                }
                let packet: &mut [u8; ENTER] = out.first_chunk_mut()?;
                *packet = entry.packet;
                let message = &mut packet[soupbin::HEADER..];
                message[1..5].copy_from_slice(&user_ref.to_be_bytes());
                message[5] = side(order.side);
                message[6..10].copy_from_slice(&order.qty.to_be_bytes());
                message[18..26].copy_from_slice(&price.to_be_bytes());
                message[31..45].copy_from_slice(&ouch50::client_id(order.id));
                Some(ENTER)
            }
            OrderKind::Replace => {
                let message = ouch50::ReplaceOrderRepr {
                    original_ref: u32::try_from(order.replaced_id).ok()?,
                    user_ref,
                    qty: order.qty,
                    price,
                    time_in_force: DAY,
                    display: VISIBLE,
                    sweep: NO,
                    client_id: ouch50::client_id(order.id),
                };
                packet(out, |body| message.emit(&[], body).ok())
            }
            OrderKind::Cancel => {
                let message = ouch50::CancelOrderRepr { user_ref, qty: order.qty };
                packet(out, |body| message.emit(&[], body).ok())
            }
        }
    }
}

/// Fill an instrument's entry from its first order: everything but reference, side, quantity, price and client id.
#[cold]
fn prepare(entry: &mut Entry, order: &Order) -> Option<()> {
    let message = ouch50::EnterOrderRepr {
        user_ref: 0,
        side: 0,
        qty: 0,
        symbol: order.symbol.0,
        price: 0,
        time_in_force: DAY,
        display: VISIBLE,
        capacity: PRINCIPAL,
        sweep: NO,
        cross: NO,
        client_id: [b' '; 14],
    };
    packet(&mut entry.packet, |body| message.emit(&[], body).ok())?;
    entry.ready = 1;
    Some(())
}

/// A SoupBinTCP packet of unsequenced data around what `body` writes; its length.
#[inline]
fn packet(out: &mut [u8], body: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<usize> {
    let (header, rest) = out.split_first_chunk_mut()?;
    let length = body(rest)?;
    *header = soupbin::header(UNSEQUENCED, length)?;
    Some(soupbin::HEADER + length)
}

const fn side(side: Side) -> u8 {
    match side {
        Side::Buy => b'B',
        Side::Sell => b'S',
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::arena::heap;
    use crate::market::{Instrument, Price, Symbol};

    pub(crate) fn order(kind: OrderKind, id: u64) -> Order {
        Order {
            replaced_id: 7,
            price: Price(1_234_500),
            symbol: Symbol(*b"CVLT    "),
            instrument: Instrument(1),
            qty: 300,
            burst_size: 1,
            side: Side::Sell,
            ..Order::uncaused(kind, id)
        }
    }

    fn encode(order: &Order) -> Option<Vec<u8>> {
        let mut region = heap(OuchEncoder::bytes(2));
        let mut encoder = OuchEncoder::new(2, &mut Arena::new(&mut region)).unwrap();
        let mut out = [0xee; OuchEncoder::MAX_MESSAGE];
        let length = encoder.encode(order, &mut out)?;
        Some(out[..length].to_vec())
    }

    #[test]
    fn an_enter_is_laid_out_as_the_specification_says() {
        let bytes = encode(&order(OrderKind::Enter, 0x71)).unwrap();
        let expected = [
            b"\x00\x30U".as_slice(),
            b"O\x00\x00\x00\x71S\x00\x00\x01\x2cCVLT    ",
            b"\x00\x00\x00\x00\x00\x12\xd6\x440YPNN",
            b"113           \x00\x00",
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_cancel_is_laid_out_as_the_specification_says() {
        let bytes = encode(&Order { qty: 0, price: Price(0), ..order(OrderKind::Cancel, 0x0075_2e71) }).unwrap();
        assert_eq!(bytes, b"\x00\x0aUX\x00\x75\x2e\x71\x00\x00\x00\x00");
    }

    #[test]
    fn a_replace_names_the_order_that_goes() {
        let bytes = encode(&order(OrderKind::Replace, 8)).unwrap();
        assert_eq!(bytes[..12], *b"\x00\x29UU\x00\x00\x00\x07\x00\x00\x00\x08");
    }

    #[test]
    fn what_the_protocol_cannot_say_is_refused() {
        assert_eq!(encode(&order(OrderKind::Enter, 1 << 32)), None);
        assert_eq!(encode(&Order { price: Price(-1), ..order(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { price: Price(2_000_000_000), ..order(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { qty: 1_000_000, ..order(OrderKind::Enter, 1) }), None);
        assert_eq!(encode(&Order { instrument: Instrument(2), ..order(OrderKind::Enter, 1) }), None);
    }
}
