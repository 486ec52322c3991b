//! The elements of a few packets between decoding and the book: filled by a feed, drained by strategy or a ring.
//!
//! Never grows: whoever fills it asks for [`Window::has_room`] first.

use crate::market::{Element, Packet};

/// The most elements that one packet can become: a 2,134-byte UDP payload (the data room of an mbuf less its
/// headers) holds at most 152 ITCH messages of the shortest kind, each at most a `Define` and one event more; broken
/// messages side by side become one `Gap`.
pub const MAX_PACKET_ELEMENTS: usize = 320;

/// A bounded queue of elements with whole packets in it.
#[derive(Debug)]
pub struct Window {
    elements: Box<[Element]>,
    filled: usize,
    taken: usize,
}

impl Window {
    /// A window for `elements` elements, at least one packet's worth. Allocates once.
    pub fn new(elements: usize) -> Self {
        let elements = vec![Element::SessionStart; elements.max(MAX_PACKET_ELEMENTS)].into_boxed_slice();
        Window { elements, filled: 0, taken: 0 }
    }

    /// Whether any packet fits.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.elements.len() - self.filled >= MAX_PACKET_ELEMENTS
    }

    /// Append one element; false, and nothing done, when the window is full.
    #[inline(always)]
    pub fn push(&mut self, element: Element) -> bool {
        let Some(place) = self.elements.get_mut(self.filled) else { return false };
        *place = element;
        self.filled += 1;
        true
    }

    /// The element pushed last.
    #[inline]
    pub fn last(&mut self) -> Option<&mut Element> {
        self.elements[..self.filled].last_mut()
    }

    /// Elements held, drained ones included: a position for [`Window::close`].
    #[inline]
    pub fn mark(&self) -> usize {
        self.filled
    }

    /// Set the count in the packet head pushed at `mark`; without any element after it the head is taken back.
    /// Returns the number of elements after the head.
    #[inline]
    pub fn close(&mut self, mark: usize) -> usize {
        let count = self.filled - mark - 1;
        if count == 0 {
            self.filled = mark;
            return 0;
        }
        if let Element::Packet(Packet { count: field, .. }) = &mut self.elements[mark] {
            *field = count as u16;
        }
        count
    }

    /// Write the parse stamp into every packet head from `mark` on.
    #[inline]
    pub fn stamp(&mut self, mark: usize, parsed_tsc: u64) {
        let mut at = mark;
        while let Some(Element::Packet(head)) = self.elements[..self.filled].get_mut(at) {
            head.parsed_tsc = parsed_tsc;
            at += 1 + usize::from(head.count);
        }
    }

    /// What has not been drained yet.
    #[inline]
    pub fn rest(&self) -> &[Element] {
        &self.elements[self.taken..self.filled]
    }

    /// Drain `n` elements from the front; an empty window starts again at its beginning.
    #[inline]
    pub fn take(&mut self, n: usize) {
        self.taken += n;
        debug_assert!(self.taken <= self.filled);
        if self.taken == self.filled {
            self.filled = 0;
            self.taken = 0;
        }
    }

    /// Nothing left to drain.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.taken == self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_without_events_is_taken_back() {
        let mut w = Window::new(0);
        let mark = w.mark();
        w.push(Element::Packet(Packet::default()));
        assert_eq!(w.close(mark), 0);
        assert!(w.is_empty());
    }

    #[test]
    fn a_head_counts_what_follows() {
        let mut w = Window::new(0);
        let mark = w.mark();
        w.push(Element::Packet(Packet::default()));
        w.push(Element::SessionStart);
        w.push(Element::SessionStart);
        assert_eq!(w.close(mark), 2);
        assert_eq!(w.rest()[0], Element::Packet(Packet { count: 2, ..Packet::default() }));
        w.take(3);
        assert!(w.is_empty() && w.mark() == 0);
    }
}
