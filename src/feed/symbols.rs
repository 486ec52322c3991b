//! Which instruments a venue wants, and the dense index each gets at first sight.
//!
//! Open addressing over the symbol's eight bytes, filled at launch (a list) or as the feed names them (`*`), never
//! emptied. The index is stable for the run, across sessions.

use crate::arena::{Arena, ArenaFull, bytes};
use crate::cpu;
use crate::market::{Instrument, Symbol};
use bytemuck::{Pod, Zeroable};

/// One slot: the symbol as an integer (0 = free) and its index, top bit set once the feed has named it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Slot {
    symbol: u64,
    index: u32,
    seen: u32,
}

/// What the table says of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// First sight of a wanted instrument: announce it.
    New(Instrument),
    /// A wanted instrument, seen before.
    Known(Instrument),
    /// Not subscribed.
    Unwanted,
    /// Everything is wanted, but the table's bound is reached.
    Full,
}

/// The instruments of one venue.
#[derive(Debug)]
pub struct Symbols<'m> {
    slots: &'m mut [Slot],
    open: bool,
    limit: u32,
    used: u32,
}

impl<'m> Symbols<'m> {
    /// Bytes that a table for `limit` instruments takes from the arena.
    pub const fn bytes(limit: u32) -> usize {
        bytes::<Slot>(slots(limit))
    }

    /// A table of at most `limit` instruments: those in `list` in their order, or, with `None`, whatever the feed names.
    ///
    /// # Errors
    /// [`ArenaFull`] when the arena has less than [`Symbols::bytes`] left.
    pub fn new(list: Option<&[Symbol]>, limit: u32, arena: &mut Arena<'m>) -> Result<Self, ArenaFull> {
        let limit = list.map_or(limit, |l| l.len() as u32);
        let mut table = Symbols { slots: arena.slice("symbols", slots(limit))?, open: true, limit, used: 0 };
        for &symbol in list.unwrap_or(&[]) {
            table.lookup(symbol);
        }
        table.slots.iter_mut().for_each(|s| s.seen = 0);
        table.open = list.is_none();
        Ok(table)
    }

    /// Ask for the memory that [`lookup`](Self::lookup) of this symbol begins with.
    #[inline(always)]
    pub fn prefetch(&self, symbol: Symbol) {
        cpu::prefetch(self.slots.as_ptr().wrapping_add(self.home(u64::from_le_bytes(symbol.0))));
    }

    /// Find a symbol, giving it an index if it is wanted and new.
    #[inline]
    pub fn lookup(&mut self, symbol: Symbol) -> Lookup {
        let key = u64::from_le_bytes(symbol.0);
        if key == 0 {
            return Lookup::Unwanted;
        }
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        loop {
            let slot = &mut self.slots[at];
            if slot.symbol == key {
                let instrument = Instrument(slot.index);
                if slot.seen == 1 {
                    return Lookup::Known(instrument);
                }
                slot.seen = 1;
                return Lookup::New(instrument);
            }
            if slot.symbol == 0 {
                break;
            }
            at = (at + 1) & mask;
        }
        if !self.open {
            return Lookup::Unwanted;
        }
        if self.used == self.limit {
            return Lookup::Full;
        }
        let instrument = Instrument(self.used);
        self.used += 1;
        self.slots[at] = Slot { symbol: key, index: instrument.0, seen: 1 };
        Lookup::New(instrument)
    }

    #[inline(always)]
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.slots.len() - 1)
    }
}

/// Slots for `limit` symbols: at most half full, so that a probe always ends.
const fn slots(limit: u32) -> usize {
    (limit as usize * 2 + 2).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::heap;

    fn sym(i: u32) -> Symbol {
        Symbol::new(&format!("S{i}")).unwrap()
    }

    #[test]
    fn a_list_keeps_its_order_and_refuses_others() {
        let list = [sym(7), sym(3)];
        let mut region = heap(Symbols::bytes(2));
        let mut t = Symbols::new(Some(&list), 0, &mut Arena::new(&mut region)).unwrap();
        assert_eq!(t.lookup(sym(3)), Lookup::New(Instrument(1)));
        assert_eq!(t.lookup(sym(3)), Lookup::Known(Instrument(1)));
        assert_eq!(t.lookup(sym(7)), Lookup::New(Instrument(0)));
        assert_eq!(t.lookup(sym(8)), Lookup::Unwanted);
    }

    #[test]
    fn everything_is_taken_up_to_the_bound() {
        let mut region = heap(Symbols::bytes(100));
        let mut t = Symbols::new(None, 100, &mut Arena::new(&mut region)).unwrap();
        for i in 0..100 {
            assert_eq!(t.lookup(sym(i)), Lookup::New(Instrument(i)));
        }
        assert_eq!(t.lookup(sym(100)), Lookup::Full);
        assert_eq!(t.lookup(sym(42)), Lookup::Known(Instrument(42)));
        assert_eq!(t.lookup(Symbol([0; 8])), Lookup::Unwanted);
    }
}
