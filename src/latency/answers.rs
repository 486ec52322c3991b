//! Orders sent and their answers, joined by (venue, order id) in bounded memory: a doorbell comes in, and its ticks to the
//! first answer come out. The youngest [`OPEN`] orders are remembered; an answer to an older one is counted as unmatched.

use super::record::{Kind, Record};
use crate::market::OrderKind;

/// Orders remembered: 65,536, in 1.5 MiB.
const OPEN: usize = 1 << 16;

/// See the module.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Order ids of a venue are consecutive, so a slot is reused in turn.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Venue + 1; 0 in an empty slot.
    venue: u32,
    /// A cancel of the order left last: an answer to anything else is none to it.
    cancel: bool,
    order_id: u64,
    /// Doorbell of what left last; u64::MAX once it was answered.
    doorbell: u64,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers { slots: vec![Slot::default(); OPEN] }
    }
}

impl Answers {
    /// An order left.
    pub fn sent(&mut self, record: &Record) {
        let slot = self.slot(record);
        *slot = Slot {
            venue: u32::from(record.venue) + 1,
            cancel: record.order_kind == OrderKind::Cancel as u8,
            order_id: record.order_id,
            doorbell: record.doorbell_tsc,
        };
    }

    /// An answer came: `Ok` with ticks since the doorbell of what it answers first; `Ok(None)` of a fill, of a later answer,
    /// of one to something else, or of one before its doorbell; `Err` when the order is not known.
    pub fn answered(&mut self, record: &Record) -> Result<Option<u64>, Unmatched> {
        let slot = self.slot(record);
        if (slot.venue, slot.order_id) != (u32::from(record.venue) + 1, record.order_id) {
            return Err(Unmatched);
        }
        let to_cancel = record.order_kind == OrderKind::Cancel as u8;
        if record.kind() == Some(Kind::Filled) || to_cancel != slot.cancel {
            return Ok(None);
        }
        // An order stays known after its first answer, so that its fills are no strangers.
        let doorbell = std::mem::replace(&mut slot.doorbell, u64::MAX);
        Ok(record.rx_tsc.checked_sub(doorbell))
    }

    fn slot(&mut self, record: &Record) -> &mut Slot {
        // Venues start in different places, so that those with the same ids do not push each other out.
        let place = record.order_id.wrapping_add(u64::from(record.venue) * 0x9e37);
        &mut self.slots[place as usize % OPEN]
    }
}

/// The order that was answered is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmatched;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_is_answered_by_its_own_answer_alone() {
        let mut answers = Answers::default();
        let cancel = OrderKind::Cancel as u8;
        answers.sent(&Record { order_id: 7, doorbell_tsc: 100, ..Record::default() });
        answers.sent(&Record { order_id: 7, doorbell_tsc: 500, order_kind: cancel, ..Record::default() });
        let fill = Record { kind: Kind::Filled as u8, order_id: 7, rx_tsc: 520, ..Record::default() };
        let accepted = Record { kind: Kind::Acknowledged as u8, order_id: 7, rx_tsc: 530, ..Record::default() };
        assert_eq!((answers.answered(&fill), answers.answered(&accepted)), (Ok(None), Ok(None)));
        assert_eq!(answers.answered(&Record { order_kind: cancel, rx_tsc: 600, ..accepted }), Ok(Some(100)));
    }

    #[test]
    fn the_first_answer_is_timed_and_later_ones_are_no_strangers() {
        let mut answers = Answers::default();
        let order = |venue, order_id| Record { venue, order_id, ..Record::default() };
        for venue in 0..12 {
            for order_id in 1..=1000 {
                answers.sent(&Record { doorbell_tsc: order_id * 10, ..order(venue, order_id) });
            }
        }
        for venue in 0..12 {
            let answer = Record { rx_tsc: 777_000, ..order(venue, 700) };
            assert_eq!(answers.answered(&answer), Ok(Some(770_000)));
            assert_eq!(answers.answered(&answer), Ok(None));
            assert_eq!(answers.answered(&order(venue, 0)), Err(Unmatched));
            assert_eq!(answers.answered(&order(venue, 1001)), Err(Unmatched));
        }
        for order_id in 1001..=100_000 {
            answers.sent(&order(0, order_id));
        }
        assert_eq!(answers.answered(&order(0, 900)), Err(Unmatched));
        assert_eq!(answers.answered(&order(0, 99_000)), Ok(Some(0)));
    }
}
