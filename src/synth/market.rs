//! The exchange behind the feed: symbols, their order books and what happens next. A time goes in, one ITCH message comes
//! out; the books decide prices, so that a book rebuilt from the messages never crosses or locks. Knows nothing of packets.
//!
//! What it imitates (real captures of 2023-08-22): order references in several monotone streams with holes, told apart by
//! reference mod 4 and tied to the symbol, with older references coming again; locate codes dense per day; activity skewed
//! over symbols; most orders die young; executions take the front of the best level.

use super::draw::{Draw, Heavy, Weighted};
use super::message::Message;
use super::mix::Mix;
use std::collections::VecDeque;

/// Messages of a session besides the opening book and the open market: S O, S S, S Q, V and S M, S E, S C.
const SINGLES: u64 = 7;
/// Directory, trading action, Reg SHO and participant position of every symbol.
const PER_SYMBOL: u64 = 4;
/// System messages that end a session.
const CLOSING: u64 = 3;
/// Price of a tick, in 1/10,000.
const TICK: u32 = 100;
/// Adds that "recent" reaches back.
const RECENT: usize = 1024;
const NONE: u32 = u32::MAX;
const FIRMS: [&[u8; 4]; 6] = [b"LIME", b"MAXM", b"NSDQ", b"GSCO", b"UBSS", b"VIRT"];

/// Fewest messages that a session of `symbols` can hold.
pub(super) fn fewest_messages(symbols: u32) -> u64 {
    PER_SYMBOL * u64::from(symbols) + SINGLES
}

/// What a day looks like.
pub(super) struct Day<'a> {
    pub seed: u64,
    /// Which session of the run: another session deals locates and references anew.
    pub number: u64,
    pub messages: u64,
    pub symbols: u32,
    pub mix: &'a Mix,
    pub live_orders: u32,
}

/// One trading day of one exchange.
pub(super) struct Market {
    draw: Draw,
    symbols: Vec<Symbol>,
    activity: Weighted,
    mix: Weighted,
    kinds: Vec<u8>,
    depth: Heavy,
    hole: Heavy,
    lots: Heavy,
    orders: Vec<Order>,
    free: Vec<u32>,
    /// Slots of all live orders, in no order.
    live: Vec<u32>,
    /// Slot and reference of the latest adds; an entry whose order is gone no longer matches.
    recent: [(u32, u64); RECENT],
    recent_at: usize,
    lanes: [[u64; 2]; 4],
    match_number: u64,
    halted: VecDeque<u16>,
    focus: Option<u16>,
    live_orders: u32,
    position: u64,
    opening: u64,
    messages: u64,
}

struct Symbol {
    name: [u8; 8],
    locate: u16,
    /// Reference mod 4 of its orders.
    partition: u8,
    halted: bool,
    /// Where the price wants to be, in ticks, and the bounds of its walk.
    fair: u32,
    floor: u32,
    ceiling: u32,
    /// Ticks between the touch prices when nobody improves them.
    spread: u32,
    /// Bids, asks; best level last.
    sides: [Vec<Level>; 2],
}

/// Price level: a queue of orders, oldest first.
struct Level {
    price: u32,
    head: u32,
    tail: u32,
}

struct Order {
    /// 0 in a free slot.
    reference: u64,
    price: u32,
    qty: u32,
    symbol: u16,
    side: u8,
    newer: u32,
    older: u32,
    live_at: u32,
}

const BID: usize = 0;
const ASK: usize = 1;
const SIDE_LETTER: [u8; 2] = [b'B', b'S'];

impl Market {
    pub fn new(day: &Day<'_>) -> Market {
        let mut draw = Draw::new(day.seed, 16 * day.number);
        let n = day.symbols as usize;
        let price = Heavy::new(39_000, 7);
        let symbols: Vec<Symbol> = (0..n).map(|i| Symbol::new(i, n, day.number, &price, &mut draw)).collect();

        // Activity falls with a symbol's rank; ranks are dealt at random over the alphabet.
        let mut weights: Vec<u64> = (0..n as u64).map(|rank| (1 << 40) / (rank + 10)).collect();
        for i in (1..n).rev() {
            weights.swap(i, draw.below(i as u64 + 1) as usize);
        }
        let (kinds, shares): (Vec<u8>, Vec<u64>) = day.mix.weights().map(|(k, w)| (k, u64::from(w))).unzip();
        let room = day.messages - fewest_messages(day.symbols);
        let lanes = [0, 1, 2, 3].map(|partition| {
            let start = (draw.below(4_000_000) + 1_000_000) * 8 + partition;
            [start, start / 16 * 8 + 4 + partition]
        });
        Market {
            symbols,
            activity: Weighted::new(&weights),
            mix: Weighted::new(&shares),
            kinds,
            depth: Heavy::new(36_000, 9),
            hole: Heavy::new(30_000, 8),
            lots: Heavy::new(24_000, 6),
            orders: Vec::new(),
            free: Vec::new(),
            live: Vec::new(),
            recent: [(0, 0); RECENT],
            recent_at: 0,
            lanes,
            match_number: 10_000 + draw.below(10_000),
            halted: VecDeque::new(),
            focus: None,
            live_orders: day.live_orders,
            position: 0,
            opening: (u64::from(day.live_orders) * 7 / 8).min(room / 2),
            messages: day.messages,
            draw,
        }
    }

    /// Messages so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything was said.
    pub fn is_over(&self) -> bool {
        self.position == self.messages
    }

    /// Position of the first message of the open market, and that of the first that closes it.
    pub fn open(&self) -> std::ops::Range<u64> {
        let opening = PER_SYMBOL * self.symbols.len() as u64 + 4 + self.opening;
        opening..self.messages - CLOSING
    }

    /// Whether the day is being opened: long lists, sent in full packets.
    pub fn is_spin(&self) -> bool {
        self.position <= PER_SYMBOL * self.symbols.len() as u64 + 1
    }

    /// Whether the line falls quiet before the next message: start of system hours, market open, market close.
    pub fn is_quiet(&self) -> bool {
        let open = self.open();
        let system_start = PER_SYMBOL * self.symbols.len() as u64 + 2;
        [system_start, open.start - 1, open.end].contains(&self.position)
    }

    /// Keeps the messages to come on one symbol (one firm moving its quotes), until [`spread_out`](Self::spread_out).
    pub fn focus(&mut self) {
        self.focus = Some(self.activity.pick(&mut self.draw) as u16);
    }

    /// Ends [`focus`](Self::focus).
    pub fn spread_out(&mut self) {
        self.focus = None;
    }

    pub fn live_orders(&self) -> usize {
        self.live.len()
    }

    /// Writes the next message, stamped `time_ns` since midnight. The day must not be over.
    pub fn next(&mut self, time_ns: u64, out: &mut Message) {
        let n = self.symbols.len() as u64;
        let open = self.open();
        let at = self.position;
        self.position += 1;
        let symbol = |first: u64| (at - first) as usize;
        if at >= open.end {
            system(out, time_ns, b"MEC"[(at - open.end) as usize]);
        } else if at >= open.start {
            self.trade_on(time_ns, out);
        } else if at == open.start - 1 {
            system(out, time_ns, b'Q');
        } else if at > 4 * n + 2 {
            let uniform = self.draw.one_in(2);
            let symbol = if uniform { self.draw.below(n) as usize } else { self.activity.pick(&mut self.draw) };
            self.add(symbol, b'A', time_ns, out);
        } else if at == 4 * n + 2 {
            system(out, time_ns, b'S');
        } else if at == 4 * n + 1 {
            self.breaker_levels(time_ns, out);
        } else if at > 3 * n {
            self.participant(symbol(3 * n + 1), time_ns, out);
        } else if at > 2 * n {
            self.short_sale(symbol(2 * n + 1), b'0', time_ns, out);
        } else if at > n {
            self.trading_action(symbol(n + 1), b'T', *b"    ", time_ns, out);
        } else if at > 0 {
            self.directory(symbol(1), time_ns, out);
        } else {
            system(out, time_ns, b'O');
        }
    }

    /// A message of the open market. A type that the books cannot serve (nothing to delete, no room to add) gives way to
    /// its opposite.
    fn trade_on(&mut self, time_ns: u64, out: &mut Message) {
        let kind = self.kinds[self.mix.pick(&mut self.draw)];
        let live = self.live.len() as u64;
        let few = live < (u64::from(self.live_orders) * 3 / 4).max(1);
        let full = live >= u64::from(self.live_orders);
        match kind {
            b'A' | b'F' if full => self.delete(time_ns, out),
            b'A' | b'F' => {
                let symbol = self.active();
                self.add(symbol, kind, time_ns, out);
            }
            b'D' | b'X' | b'U' if few => {
                let symbol = self.active();
                self.add(symbol, b'A', time_ns, out);
            }
            b'D' => self.delete(time_ns, out),
            b'X' => self.cancel(time_ns, out),
            b'U' => self.replace(time_ns, out),
            b'E' | b'C' => self.execute(kind, time_ns, out),
            _ => self.tell(kind, time_ns, out),
        }
    }

    fn active(&mut self) -> usize {
        match self.focus {
            Some(symbol) => usize::from(symbol),
            None => self.activity.pick(&mut self.draw),
        }
    }

    fn add(&mut self, symbol: usize, kind: u8, time_ns: u64, out: &mut Message) {
        self.walk(symbol);
        let side = self.draw.below(2) as usize;
        let price = self.place(symbol, side);
        let qty = self.size();
        let slot = self.insert(symbol, side, price, qty);
        let reference = self.orders[slot as usize].reference;
        self.head(kind, symbol, time_ns, out).u64(reference).u8(SIDE_LETTER[side]).u32(qty);
        out.put(&self.symbols[symbol].name).u32(price);
        if kind == b'F' {
            out.put(FIRMS[self.draw.below(6) as usize]);
        }
    }

    fn delete(&mut self, time_ns: u64, out: &mut Message) {
        let slot = self.any_live();
        let Order { reference, symbol, .. } = self.orders[slot as usize];
        self.remove(slot);
        self.head(b'D', usize::from(symbol), time_ns, out).u64(reference);
    }

    fn cancel(&mut self, time_ns: u64, out: &mut Message) {
        let slot = self.any_live();
        let Order { reference, symbol, qty, .. } = self.orders[slot as usize];
        if qty < 2 {
            self.remove(slot);
            self.head(b'D', usize::from(symbol), time_ns, out).u64(reference);
            return;
        }
        let less = 1 + self.draw.below(u64::from(qty) - 1) as u32;
        self.orders[slot as usize].qty -= less;
        self.head(b'X', usize::from(symbol), time_ns, out).u64(reference).u32(less);
    }

    fn replace(&mut self, time_ns: u64, out: &mut Message) {
        let slot = self.any_live();
        let Order { reference, symbol, side, .. } = self.orders[slot as usize];
        let (symbol, side) = (usize::from(symbol), usize::from(side));
        self.remove(slot);
        self.walk(symbol);
        let price = self.place(symbol, side);
        let qty = self.size();
        let slot = self.insert(symbol, side, price, qty);
        let new_reference = self.orders[slot as usize].reference;
        self.head(b'U', symbol, time_ns, out).u64(reference).u64(new_reference).u32(qty).u32(price);
    }

    fn execute(&mut self, kind: u8, time_ns: u64, out: &mut Message) {
        // An idle symbol has nothing to execute: look at a few before giving up.
        let found = (0..4).find_map(|_| {
            let symbol = self.active();
            let s = &self.symbols[symbol];
            if s.halted {
                return None;
            }
            let fair = s.fair * TICK;
            let side = match (s.sides[BID].last(), s.sides[ASK].last()) {
                (None, None) => return None,
                (Some(_), None) => BID,
                (None, Some(_)) => ASK,
                (Some(bid), Some(_)) if bid.price >= fair => BID,
                (Some(_), Some(ask)) if ask.price <= fair => ASK,
                _ => self.draw.below(2) as usize,
            };
            self.symbols[symbol].sides[side].last().map(|best| (symbol, best.head))
        });
        let Some((symbol, slot)) = found else {
            let symbol = self.active();
            if self.live.len() as u64 >= u64::from(self.live_orders) {
                return self.delete(time_ns, out);
            }
            return self.add(symbol, b'A', time_ns, out);
        };
        let Order { reference, qty, price, .. } = self.orders[slot as usize];
        let part = qty > 1 && self.draw.below(5) < 2;
        let shares = if part { 1 + self.draw.below(u64::from(qty) - 1) as u32 } else { qty };
        if shares == qty {
            self.remove(slot);
        } else {
            self.orders[slot as usize].qty -= shares;
        }
        self.match_number += 1 + self.draw.below(8);
        let match_number = self.match_number;
        self.head(kind, symbol, time_ns, out).u64(reference).u32(shares).u64(match_number);
        if kind == b'C' {
            let printable = if self.draw.one_in(8) { b'N' } else { b'Y' };
            out.u8(printable).u32(price + TICK * self.draw.below(2) as u32);
        }
    }

    /// Messages that leave the books alone.
    fn tell(&mut self, kind: u8, time_ns: u64, out: &mut Message) {
        let symbol = self.active();
        let name = self.symbols[symbol].name;
        let price = self.symbols[symbol].fair * TICK;
        let shares = self.size();
        match kind {
            b'P' => {
                self.match_number += 1 + self.draw.below(8);
                let match_number = self.match_number;
                self.head(kind, symbol, time_ns, out)
                    .u64(0)
                    .u8(b'B')
                    .u32(shares)
                    .put(&name)
                    .u32(price)
                    .u64(match_number);
            }
            b'Q' => {
                self.match_number += 1;
                let (match_number, cross) = (self.match_number, b"OCH"[self.draw.below(3) as usize]);
                self.head(kind, symbol, time_ns, out).u64(u64::from(shares) * 16).put(&name).u32(price);
                out.u64(match_number).u8(cross);
            }
            b'B' => {
                let broken = self.match_number;
                self.head(kind, symbol, time_ns, out).u64(broken);
            }
            b'I' => {
                let (direction, near) =
                    (b"BSNO"[self.draw.below(4) as usize], price + TICK * self.draw.below(3) as u32);
                self.head(kind, symbol, time_ns, out).u64(u64::from(shares) * 8).u64(u64::from(shares)).u8(direction);
                out.put(&name).u32(price).u32(near).u32(price).u8(b'O').u8(b'L');
            }
            b'H' => match self.halted.pop_front() {
                Some(resumed) => {
                    self.symbols[usize::from(resumed)].halted = false;
                    self.trading_action(usize::from(resumed), b'T', *b"    ", time_ns, out);
                }
                None => {
                    self.symbols[symbol].halted = true;
                    self.halted.push_back(symbol as u16);
                    self.trading_action(symbol, b'P', *b"LUDP", time_ns, out);
                }
            },
            b'Y' => {
                let action = b"012"[self.draw.below(3) as usize];
                self.short_sale(symbol, action, time_ns, out);
            }
            b'L' => self.participant(symbol, time_ns, out),
            b'V' => self.breaker_levels(time_ns, out),
            b'W' => {
                out.head(kind, 0, 0, time_ns).u8(b'1');
            }
            b'K' => {
                self.head(kind, symbol, time_ns, out).put(&name).u32(36_000).u8(b'A').u32(price);
            }
            b'J' => {
                self.head(kind, symbol, time_ns, out).put(&name).u32(price).u32(price + 5 * TICK).u32(price - 5 * TICK);
                out.u32(0);
            }
            b'h' => {
                self.head(kind, symbol, time_ns, out).put(&name).u8(b'Q').u8(b'T');
            }
            b'N' => {
                let interest = b"BSAN"[self.draw.below(4) as usize];
                self.head(kind, symbol, time_ns, out).put(&name).u8(interest);
            }
            _ => {
                debug_assert_eq!(kind, b'O');
                self.head(kind, symbol, time_ns, out)
                    .put(&name)
                    .u8(b'Y')
                    .u32(price - TICK)
                    .u32(price + TICK)
                    .u32(price);
                out.u64(time_ns).u32(price - 2 * TICK).u32(price + 2 * TICK);
            }
        }
    }

    fn directory(&mut self, symbol: usize, time_ns: u64, out: &mut Message) {
        let name = self.symbols[symbol].name;
        let category = b"QGSNPZ"[self.draw.below(6) as usize];
        self.head(b'R', symbol, time_ns, out)
            .put(&name)
            .u8(category)
            .u8(b'N')
            .u32(100)
            .put(b"NCZ PNN1N")
            .u32(0)
            .u8(b'N');
    }

    fn trading_action(&mut self, symbol: usize, state: u8, reason: [u8; 4], time_ns: u64, out: &mut Message) {
        let name = self.symbols[symbol].name;
        self.head(b'H', symbol, time_ns, out).put(&name).u8(state).u8(b' ').put(&reason);
    }

    fn short_sale(&mut self, symbol: usize, action: u8, time_ns: u64, out: &mut Message) {
        let name = self.symbols[symbol].name;
        self.head(b'Y', symbol, time_ns, out).put(&name).u8(action);
    }

    fn participant(&mut self, symbol: usize, time_ns: u64, out: &mut Message) {
        let name = self.symbols[symbol].name;
        let firm = FIRMS[self.draw.below(6) as usize];
        self.head(b'L', symbol, time_ns, out).put(firm).put(&name).put(b"YNA");
    }

    fn breaker_levels(&mut self, time_ns: u64, out: &mut Message) {
        const ONE: u64 = 100_000_000; // eight implied decimals here, four everywhere else
        out.head(b'V', 0, 0, time_ns).u64(4_000 * ONE).u64(3_800 * ONE).u64(3_500 * ONE);
    }

    fn head<'m>(&mut self, kind: u8, symbol: usize, time_ns: u64, out: &'m mut Message) -> &'m mut Message {
        let tracking = if self.draw.one_in(4) { 2 * self.draw.below(4) as u16 } else { 0 };
        out.head(kind, self.symbols[symbol].locate, tracking, time_ns)
    }

    /// Now and then the price wants to be a tick elsewhere.
    fn walk(&mut self, symbol: usize) {
        let step = self.draw.below(32);
        let s = &mut self.symbols[symbol];
        match step {
            0 if s.fair > s.floor => s.fair -= 1,
            1 if s.fair < s.ceiling => s.fair += 1,
            _ => {}
        }
    }

    /// A limit near the touch, never at or beyond the other side's best.
    fn place(&mut self, symbol: usize, side: usize) -> u32 {
        let behind = (self.depth.whole(&mut self.draw) - 1) as u32;
        let s = &self.symbols[symbol];
        let (bid, ask) = (s.sides[BID].last().map(|l| l.price / TICK), s.sides[ASK].last().map(|l| l.price / TICK));
        let ticks = if side == BID {
            s.fair.min(ask.map_or(u32::MAX, |ask| ask - 1)).saturating_sub(behind).max(1)
        } else {
            (s.fair + s.spread).max(bid.map_or(0, |bid| bid + 1)) + behind
        };
        ticks * TICK
    }

    /// Shares of an order: round lots mostly, one in four an odd lot.
    fn size(&mut self) -> u32 {
        if self.draw.one_in(4) { 1 + self.draw.below(99) as u32 } else { 100 * self.lots.whole(&mut self.draw) as u32 }
    }

    /// The next reference of a partition: the latest stream mostly, one time in sixteen the older one.
    fn reference(&mut self, partition: u8) -> u64 {
        let older = usize::from(self.draw.one_in(16));
        let step = 8 * self.hole.whole(&mut self.draw);
        let lane = &mut self.lanes[usize::from(partition)][older];
        *lane += step;
        *lane
    }

    fn insert(&mut self, symbol: usize, side: usize, price: u32, qty: u32) -> u32 {
        let reference = self.reference(self.symbols[symbol].partition);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.orders.push(Order {
                reference: 0,
                price: 0,
                qty: 0,
                symbol: 0,
                side: 0,
                newer: NONE,
                older: NONE,
                live_at: 0,
            });
            self.orders.len() as u32 - 1
        });
        let levels = &mut self.symbols[symbol].sides[side];
        let at = find(levels, side, price);
        let older = match levels.get_mut(at) {
            Some(level) if level.price == price => {
                let tail = std::mem::replace(&mut level.tail, slot);
                self.orders[tail as usize].newer = slot;
                tail
            }
            _ => {
                levels.insert(at, Level { price, head: slot, tail: slot });
                NONE
            }
        };
        let live_at = self.live.len() as u32;
        self.live.push(slot);
        self.orders[slot as usize] =
            Order { reference, price, qty, symbol: symbol as u16, side: side as u8, newer: NONE, older, live_at };
        self.recent[self.recent_at] = (slot, reference);
        self.recent_at = (self.recent_at + 1) % RECENT;
        slot
    }

    fn remove(&mut self, slot: u32) {
        let Order { price, symbol, side, newer, older, live_at, .. } = self.orders[slot as usize];
        self.orders[slot as usize].reference = 0;
        self.live.swap_remove(live_at as usize);
        if let Some(&moved) = self.live.get(live_at as usize) {
            self.orders[moved as usize].live_at = live_at;
        }
        self.free.push(slot);

        let levels = &mut self.symbols[usize::from(symbol)].sides[usize::from(side)];
        let at = find(levels, usize::from(side), price);
        match (older, newer) {
            (NONE, NONE) => {
                levels.remove(at);
            }
            (NONE, newer) => {
                levels[at].head = newer;
                self.orders[newer as usize].older = NONE;
            }
            (older, NONE) => {
                levels[at].tail = older;
                self.orders[older as usize].newer = NONE;
            }
            (older, newer) => {
                self.orders[older as usize].newer = newer;
                self.orders[newer as usize].older = older;
            }
        }
    }

    /// A live order: of the symbol in focus, else one of the latest half of the time, else any. There must be one.
    fn any_live(&mut self) -> u32 {
        if let Some(symbol) = self.focus {
            let side = self.draw.below(2) as usize;
            let levels = &self.symbols[usize::from(symbol)].sides[side];
            let depth = self.draw.below(levels.len().min(8) as u64) as usize;
            if let Some(level) = levels.get(levels.len().wrapping_sub(1 + depth)) {
                return level.head;
            }
        }
        if self.draw.one_in(2) {
            let (slot, reference) = self.recent[self.draw.below(RECENT as u64) as usize];
            if reference != 0 && self.orders[slot as usize].reference == reference {
                return slot;
            }
        }
        self.live[self.draw.below(self.live.len() as u64) as usize]
    }
}

impl Symbol {
    fn new(index: usize, of: usize, day: u64, price: &Heavy, draw: &mut Draw) -> Symbol {
        let open = ((price.fixed(draw) * 500) >> 16) as u32; // $5 and up, tail to $640
        Symbol {
            name: name((index + 7 * day as usize) % of, of),
            locate: index as u16 + 1,
            partition: draw.below(4) as u8,
            halted: false,
            fair: open,
            floor: open / 2,
            ceiling: open * 2,
            spread: 1 + open / 4_000,
            sides: [Vec::new(), Vec::new()],
        }
    }
}

fn system(out: &mut Message, time_ns: u64, event: u8) {
    out.head(b'S', 0, 0, time_ns).u8(event);
}

/// Where a price is, or would be, among the levels of a side: worst first.
fn find(levels: &[Level], side: usize, price: u32) -> usize {
    levels.partition_point(|level| if side == BID { level.price < price } else { level.price > price })
}

/// The `index`-th of `of` symbols in alphabetical order, as short as they can be.
fn name(index: usize, of: usize) -> [u8; 8] {
    let mut width = 1;
    let mut space = 26;
    while space < of {
        width += 1;
        space *= 26;
    }
    let mut number = index * space / of;
    let mut name = [b' '; 8];
    for letter in name[..width].iter_mut().rev() {
        *letter = b'A' + (number % 26) as u8;
        number /= 26;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day<'a>(mix: &'a Mix) -> Day<'a> {
        Day { seed: 5, number: 0, messages: 60_000, symbols: 40, mix, live_orders: 2_000 }
    }

    #[test]
    fn names_are_distinct_and_alphabetical() {
        for of in [1, 26, 27, 8_887, 65_535] {
            let names: Vec<_> = (0..of).map(|i| name(i, of)).collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{of} symbols");
        }
        assert_eq!(name(0, 26), *b"A       ");
    }

    #[test]
    fn books_never_cross_or_lock_and_orders_stay_within_the_limit() {
        let mix = Mix::day();
        let mut market = Market::new(&day(&mix));
        let mut out = Message::empty();
        while !market.is_over() {
            market.next(0, &mut out);
            assert!(market.live_orders() <= 2_000);
            for s in &market.symbols {
                if let (Some(bid), Some(ask)) = (s.sides[BID].last(), s.sides[ASK].last()) {
                    assert!(bid.price < ask.price, "message {}", market.position());
                }
            }
        }
        assert!(market.live_orders() > 1_400);
    }

    #[test]
    fn every_message_has_the_length_of_its_type() {
        // TotalView-ITCH 5.0, section 1.
        let lengths = [
            (b'S', 12),
            (b'R', 39),
            (b'H', 25),
            (b'Y', 20),
            (b'L', 26),
            (b'V', 35),
            (b'W', 12),
            (b'K', 28),
            (b'J', 35),
            (b'h', 21),
            (b'A', 36),
            (b'F', 40),
            (b'E', 31),
            (b'C', 36),
            (b'X', 23),
            (b'D', 19),
            (b'U', 35),
            (b'P', 44),
            (b'Q', 40),
            (b'B', 19),
            (b'I', 50),
            (b'N', 20),
            (b'O', 48),
        ];
        let mix = Mix::all();
        let mut market = Market::new(&day(&mix));
        let mut out = Message::empty();
        let mut seen = std::collections::BTreeSet::new();
        while !market.is_over() {
            market.next(0, &mut out);
            let kind = out.bytes()[0];
            seen.insert(kind);
            let expected = lengths.iter().find(|&&(k, _)| k == kind).map(|&(_, len)| len);
            assert_eq!(Some(out.bytes().len()), expected, "{}", kind as char);
        }
        assert_eq!(seen.len(), lengths.len());
    }
}
