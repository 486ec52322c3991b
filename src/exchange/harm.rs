//! What the exchange does wrong on request: text such as `drop=0.01,delay=0.05,delay-by=2ms` in, odds and settings out.
//!
//! Odds are whole parts of a million, and every draw is made whether it is needed or not, so that the same seed does the
//! same harm whatever else is asked for.

use crate::synth::draw::Draw;
use std::str::FromStr;
use std::time::Duration;

/// A probability, in parts of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odds(u32);

impl Odds {
    /// Never.
    pub const NEVER: Odds = Odds(0);
    /// Every time.
    pub const ALWAYS: Odds = Odds(1_000_000);

    pub(super) fn strike(self, draw: &mut Draw) -> bool {
        draw.below(1_000_000) < u64::from(self.0)
    }
}

impl FromStr for Odds {
    type Err = String;

    /// A number from 0 to 1.
    fn from_str(text: &str) -> Result<Odds, String> {
        match text.parse::<f64>() {
            Ok(odds) if (0.0..=1.0).contains(&odds) => Ok(Odds((odds * 1e6).round() as u32)),
            _ => Err(format!("expected a probability from 0 to 1, found {text:?}")),
        }
    }
}

/// Harm to the data packets of one line. Heartbeats are spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineHarm {
    /// It is never sent.
    pub drop: Odds,
    /// It is sent twice.
    pub duplicate: Odds,
    /// It is sent after its successor.
    pub reorder: Odds,
    /// It is sent late.
    pub delay: Odds,
    /// How late.
    pub delay_by: Duration,
}

impl FromStr for LineHarm {
    type Err = String;

    /// `drop=0.01,duplicate=0.01,reorder=0.01,delay=0.01,delay-by=2ms`, each part optional.
    fn from_str(text: &str) -> Result<LineHarm, String> {
        let mut harm = LineHarm { delay_by: Duration::from_millis(1), ..LineHarm::default() };
        for part in text.split(',') {
            let expected = || format!("expected drop, duplicate, reorder, delay or delay-by and =, found {part:?}");
            let (name, value) = part.trim().split_once('=').ok_or_else(expected)?;
            match name {
                "drop" => harm.drop = value.parse()?,
                "duplicate" => harm.duplicate = value.parse()?,
                "reorder" => harm.reorder = value.parse()?,
                "delay" => harm.delay = value.parse()?,
                "delay-by" => harm.delay_by = duration(value)?,
                _ => return Err(expected()),
            }
        }
        Ok(harm)
    }
}

/// Lies of the re-request server. None of them is a right header over wrong messages: nobody could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RerequestLies {
    /// The answer is of another session.
    pub session: Odds,
    /// It says that it begins later than it does.
    pub sequence: Odds,
    /// It has fewer messages than it says, or more.
    pub count: Odds,
    /// It has messages behind those asked for.
    pub beyond: Odds,
    /// It has messages from elsewhere.
    pub elsewhere: Odds,
    /// It ends early.
    pub truncate: Odds,
    /// Its bytes are chance.
    pub garbage: Odds,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    Session,
    Sequence,
    Count,
    Beyond,
    Elsewhere,
    Truncate,
    Garbage,
}

impl RerequestLies {
    /// What an answer is to be, if not the truth: of several lies the first.
    pub(super) fn strike(&self, draw: &mut Draw) -> Option<Lie> {
        let lies = [
            (self.session, Lie::Session),
            (self.sequence, Lie::Sequence),
            (self.count, Lie::Count),
            (self.beyond, Lie::Beyond),
            (self.elsewhere, Lie::Elsewhere),
            (self.truncate, Lie::Truncate),
            (self.garbage, Lie::Garbage),
        ];
        let struck = lies.map(|(odds, lie)| odds.strike(draw).then_some(lie));
        struck.into_iter().flatten().next()
    }
}

impl FromStr for RerequestLies {
    type Err = String;

    /// `session=0.1,sequence=0.1,count=0.1,beyond=0.1,elsewhere=0.1,truncate=0.1,garbage=0.1`, each part optional.
    fn from_str(text: &str) -> Result<RerequestLies, String> {
        let mut lies = RerequestLies::default();
        for part in text.split(',') {
            let expected = || {
                format!(
                    "expected session, sequence, count, beyond, elsewhere, truncate or garbage and =, found {part:?}"
                )
            };
            let (name, value) = part.trim().split_once('=').ok_or_else(expected)?;
            let odds = match name {
                "session" => &mut lies.session,
                "sequence" => &mut lies.sequence,
                "count" => &mut lies.count,
                "beyond" => &mut lies.beyond,
                "elsewhere" => &mut lies.elsewhere,
                "truncate" => &mut lies.truncate,
                "garbage" => &mut lies.garbage,
                _ => return Err(expected()),
            };
            *odds = value.parse()?;
        }
        Ok(lies)
    }
}

/// Silence of the feed: neither packets nor heartbeats. What is published meanwhile is lost on every line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// It begins when this many messages were published.
    pub at: u64,
    /// How long it lasts.
    pub lasts: Duration,
}

/// Harm to orders and to their session. "Order n" is the n-th order message of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderHarm {
    /// A new order or a replacement is refused for no reason.
    pub reject: Odds,
    /// An order that comes to rest is executed in part at once.
    pub partial_fill: Odds,
    /// An order is executed in full just before its replacement arrives.
    pub cross_replace: Odds,
    /// A replacement is taken and forgotten, without a word.
    pub ignore_replace: Odds,
    /// A cancel is.
    pub ignore_cancel: Odds,
    /// The session breaks off after every so many order messages; the responses to the last one are not delivered.
    pub disconnect_every: Option<u64>,
    /// It breaks off after these order messages.
    pub disconnect_at: Vec<u64>,
    /// Bytes that are no packet are sent after these order messages.
    pub garbage_at: Vec<u64>,
    /// A packet header that announces 65,535 bytes, and no more, is sent after these order messages.
    pub oversize_at: Vec<u64>,
}

/// What happens to the session after an order message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    Disconnect,
    Garbage,
    Oversize,
}

impl OrderHarm {
    /// What happens after the `n`-th order message, from 1.
    pub(super) fn after(&self, n: u64) -> Option<Blow> {
        let every = self.disconnect_every.is_some_and(|every| n.is_multiple_of(every));
        if every || self.disconnect_at.contains(&n) {
            Some(Blow::Disconnect)
        } else if self.garbage_at.contains(&n) {
            Some(Blow::Garbage)
        } else {
            self.oversize_at.contains(&n).then_some(Blow::Oversize)
        }
    }
}

/// A number and a unit: `5us`, `100ms`, `1.5s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let ns = UNITS.iter().find_map(|(unit, ns)| Some(text.strip_suffix(unit)?.trim().parse::<f64>().ok()? * ns));
    match ns {
        Some(ns) if (0.0..=1e18).contains(&ns) => Ok(Duration::from_nanos(ns as u64)),
        _ => Err(format!("expected a number and a unit, such as 100ms, 5us or 1s, found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_reads_as_it_is_written() {
        let harm: LineHarm = "drop=0.01, delay=1,delay-by=2ms".parse().unwrap();
        let expected = LineHarm {
            drop: Odds(10_000),
            delay: Odds::ALWAYS,
            delay_by: Duration::from_millis(2),
            ..LineHarm::default()
        };
        assert_eq!(harm, expected);
        let lies: RerequestLies = "beyond=0.000001,garbage=1".parse().unwrap();
        let expected = RerequestLies { beyond: Odds(1), garbage: Odds::ALWAYS, ..RerequestLies::default() };
        assert_eq!((lies, RerequestLies::default().strike(&mut Draw::new(1, 1))), (expected, None));
        assert_eq!(lies.strike(&mut Draw::new(1, 1)), Some(Lie::Garbage));
        for wrong in ["session", "session=2", "theft=0.1", ""] {
            assert!(wrong.parse::<RerequestLies>().is_err(), "{wrong}");
        }
        for wrong in ["drop", "drop=2", "drop=-1", "drop=nan", "loss=0.1", "delay-by=2", ""] {
            assert!(wrong.parse::<LineHarm>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn odds_come_true_as_often_as_they_say() {
        let mut draw = Draw::new(3, 9);
        let struck = |odds: Odds, draw: &mut Draw| (0..10_000).filter(|_| odds.strike(draw)).count();
        assert_eq!((struck(Odds::NEVER, &mut draw), struck(Odds::ALWAYS, &mut draw)), (0, 10_000));
        // Five standard deviations of a binomial around a tenth are 150.
        assert!(struck("0.1".parse().unwrap(), &mut draw).abs_diff(1000) < 150);
    }

    #[test]
    fn a_blow_falls_at_its_order() {
        let harm = OrderHarm { disconnect_every: Some(10), garbage_at: vec![3, 20], ..OrderHarm::default() };
        assert_eq!((harm.after(1), harm.after(3), harm.after(10)), (None, Some(Blow::Garbage), Some(Blow::Disconnect)));
        assert_eq!(harm.after(20), Some(Blow::Disconnect));
    }
}
