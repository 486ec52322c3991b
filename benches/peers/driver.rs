//! Parse's decoding and the strategy stage, joined as a fused chain joins them, without EAL: payloads in, nothing out.

use tickpath::arena::{self, Arena, ArenaFull};
use tickpath::book::{Book, BookConfig, Books};
use tickpath::dpdk::ring::Producer;
use tickpath::feed::{Arbitration, Feed, FeedConfig, Protocol, Window};
use tickpath::market::{Order, OrderEvent, Packet, Price, Symbol};
use tickpath::risk::{Gate, Kill, RiskConfig};
use tickpath::session::{OrderStates, StatesConfig};
use tickpath::stages::{Down, Stamps, StrategyParts, StrategyStage, changes};
use tickpath::strategy::{BooksLost, InstrumentSpec, Orders, Strategy};

/// A venue that listens to everything.
pub struct Driver<'m, S> {
    feed: Feed<'m>,
    window: Window,
    stage: StrategyStage<'m, S>,
}

/// Books of the size that a pipeline file has unless it says otherwise, and a feed for them.
#[derive(Clone, Debug)]
pub struct Sizes {
    books: BookConfig,
    feed: FeedConfig,
}

impl Sizes {
    /// For `instruments` at most.
    pub fn new(instruments: u32) -> Sizes {
        let spill_levels = (instruments * 256).clamp(1 << 14, 1 << 20);
        Sizes {
            books: BookConfig { instruments, orders: 1_000_000, depth_levels: 32, spill_levels },
            feed: FeedConfig {
                protocol: Protocol::Itch50,
                channels: 1,
                sequence: true,
                symbols: None,
                limit: instruments,
                arbitration: Arbitration::default(),
            },
        }
    }

    /// Of the books.
    #[allow(dead_code)] // each bench uses some
    pub fn books(&self) -> &BookConfig {
        &self.books
    }

    /// Of the feed.
    #[allow(dead_code)]
    pub fn feed(&self) -> &FeedConfig {
        &self.feed
    }

    /// Bytes of memory they take.
    pub fn bytes(&self) -> usize {
        let instruments = self.books.instruments;
        let risk = Gate::bytes(instruments) + self.states().bytes();
        self.books.bytes() + Feed::bytes(&self.feed) + arena::bytes::<u32>(instruments as usize) + risk
    }

    fn states(&self) -> StatesConfig {
        StatesConfig { instruments: self.books.instruments, slots: 8, assumed: true }
    }
}

impl<'m, S: Strategy> Driver<'m, S> {
    /// A venue with empty books in memory from `arena`.
    ///
    /// # Errors
    /// [`ArenaFull`] when fewer than [`Sizes::bytes`] are left.
    pub fn new(sizes: &Sizes, arena: &mut Arena<'m>, strategy: S) -> Result<Self, ArenaFull> {
        Self::build(sizes, arena, strategy, None)
    }

    /// The same, whose orders go into a ring and are answered.
    ///
    /// # Errors
    /// As above.
    #[allow(dead_code)]
    pub fn trading(
        sizes: &Sizes,
        arena: &mut Arena<'m>,
        strategy: S,
        orders: Producer<Order>,
    ) -> Result<Self, ArenaFull> {
        Self::build(sizes, arena, strategy, Some(orders))
    }

    fn build(
        sizes: &Sizes,
        arena: &mut Arena<'m>,
        strategy: S,
        out: Option<Producer<Order>>,
    ) -> Result<Self, ArenaFull> {
        let instruments = sizes.books.instruments as usize;
        let states = StatesConfig { assumed: out.is_none(), ..sizes.states() };
        let parts = StrategyParts {
            input: None,
            out,
            events: None,
            books: Books::new(&sizes.books, arena)?,
            gate: Gate::new(RiskConfig::default(), Kill::default(), sizes.books.instruments, arena)?,
            states: OrderStates::new(&states, arena)?,
            touched: arena.slice("touched instruments", instruments)?,
            specs: Vec::new(),
            listed: 0,
            default_spec: InstrumentSpec { symbol: Symbol([b' '; 8]), lot: 100, tick: Price(100) },
            lossless: false,
            cancel_at_end: false,
            book_stamps: Stamps::OFF,
            stamps: Stamps::OFF,
            sampler: None,
            changes: changes(1).1,
            journal: None,
        };
        Ok(Driver {
            feed: Feed::new(&sizes.feed, arena)?,
            window: Window::new(512),
            stage: StrategyStage::new(parts, strategy, Orders::new(1024, instruments)),
        })
    }

    /// One burst, as `Parse::decode` and `Chain::poll` take it: decode what the window holds, then apply.
    #[inline]
    pub fn burst<'p>(&mut self, payloads: impl Iterator<Item = &'p [u8]>) {
        self.burst_at(&Packet::default(), payloads);
    }

    /// The same, of packets that all say this of themselves.
    #[inline]
    pub fn burst_at<'p>(&mut self, head: &Packet, payloads: impl Iterator<Item = &'p [u8]>) {
        for payload in payloads {
            if !self.window.has_room() {
                self.apply();
            }
            let Driver { feed, window, stage } = self;
            feed.packet(payload, head, window, |instrument, order| stage.prefetch(instrument, order));
        }
        self.apply();
    }

    /// What became of an order.
    #[allow(dead_code)]
    pub fn event(&mut self, event: &OrderEvent) {
        self.stage.order_event(event, &mut Down::none());
    }

    /// The books.
    pub fn books(&self) -> &Books<'m> {
        self.stage.books()
    }

    #[inline]
    fn apply(&mut self) {
        let n = self.stage.apply(self.window.rest(), &mut Down::none());
        self.window.take(n);
    }
}

/// A strategy that wants nothing, so that books are all that is measured.
pub struct Nothing;

impl Strategy for Nothing {
    const NAME: &'static str = "nothing";
    type Parameters = ();

    fn new(_: (), _: usize) -> Result<Self, String> {
        Ok(Nothing)
    }

    fn reconfigure(&mut self, (): &()) {}

    #[inline]
    fn on_book(&mut self, _: &Book<'_>, _: &mut Orders) {}

    fn on_order_event(&mut self, _: &OrderEvent, _: &mut Orders) {}

    fn on_stop(&mut self, _: &mut Orders) {}

    fn on_books_lost(&mut self, _: BooksLost, _: &mut Orders) {}
}
