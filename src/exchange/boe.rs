//! Cboe BOE 2 as the exchange speaks it: a client's message becomes a [`Request`], a [`Response`] becomes bytes, and [`Boe`]
//! keeps the session. Written from the specification's tables and apart from `wire::boe20`, so that each checks the other.
//!
//! Responses are of four matching units, by the symbol's first letter, and numbered by each; refusals are not numbered and
//! not repeated. A login names the units and what of them came last, gets the rest, and then Replay Complete. Little-endian; prices have four implied decimals; text is padded with NULs. Of the optional fields those are read that
//! a limit order needs; one of unknown length makes a message no request.

use super::batch::Batch;
use super::blotter::{Blotter, Line};
use super::connection::{Broken, Cut};
use super::orders::{Request, Response, Terms};
use super::session::{Credentials, Dialect, Heard};
use crate::sys::time::realtime_ns;
use std::collections::BTreeMap;

/// Bytes in front of a body: start of message, length, type, unit, sequence number.
pub const HEADER: usize = 10;

/// Optional fields of New Order by bitfield and bit; 0: length unknown here.
const NEW: [[usize; 8]; 3] = [[4, 4, 8, 1, 1, 1, 4, 4], [8, 8, 3, 1, 16, 4, 1, 4], [16, 1, 1, 2, 8, 3, 1, 8]];
/// The same of Modify Order.
const MODIFY: [[usize; 8]; 1] = [[4, 0, 4, 8, 1, 1, 1, 1]];

/// The request of a whole message, if it is one.
pub fn request(message: &[u8]) -> Option<Request> {
    let &[0xba, 0xba, _, _, kind, ..] = message else { return None };
    let body = message.get(HEADER..)?;
    match kind {
        0x38 => {
            let (fixed, options) = body.split_at_checked(25)?;
            let mut options = Options::new(options, &NEW)?;
            let [_, _, price, _, order_type, time_in_force, _, _] = options.next()?;
            let [symbol, _, _, _, _, _, capacity, _] = options.next()?;
            options.end()?;
            if order_type != Some(b"2") {
                return None;
            }
            let terms = Terms {
                side: match fixed[20] {
                    b'1' => b'B',
                    b'2' => b'S',
                    b'5' => b'T',
                    b'6' => b'E',
                    other => other,
                },
                qty: number(&fixed[21..25])? as u32,
                symbol: spaced(symbol?),
                price: number(price?)?,
                time_in_force: time_in_force.map_or(b'0', |field| field[0]),
                display: b'Y',
                capacity: capacity.map_or(b'P', |field| field[0]),
                sweep: b'N',
                cross: b'N',
                client_id: [b' '; 14],
            };
            Some(Request::Enter { urn: id(&fixed[..20])?, terms })
        }
        0x3a => {
            let (fixed, options) = body.split_at_checked(40)?;
            let mut options = Options::new(options, &MODIFY)?;
            let [_, _, qty, price, ..] = options.next()?;
            options.end()?;
            Some(Request::Replace {
                original: id(&fixed[20..])?,
                urn: id(&fixed[..20])?,
                qty: number(qty?)? as u32,
                price: number(price?)?,
                time_in_force: b'0',
                display: b'Y',
                sweep: b'N',
                client_id: [b' '; 14],
            })
        }
        0x39 => Some(Request::Cancel { urn: id(body.get(..20)?)?, qty: 0 }),
        _ => None,
    }
}

/// A client order id that is a number; this exchange takes no other.
pub fn id(text: &[u8]) -> Option<u32> {
    let digits = text.split(|&byte| byte == 0).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A little-endian number.
pub fn number(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().rfold(0, |n, &byte| n << 8 | u64::from(byte)))
}

/// A symbol padded with spaces, as the market has them.
fn spaced(symbol: &[u8]) -> [u8; 8] {
    let mut text = [b' '; 8];
    for (to, &from) in text.iter_mut().zip(symbol.iter().take_while(|&&byte| byte != 0)) {
        *to = from;
    }
    text
}

/// Matching units.
const UNITS: usize = 4;
const DAY_NS: u64 = 86_400_000_000_000;
/// Why a request was refused or an order taken off: other, duplicate, order not found, asked for by the user.
const OTHER: u8 = b'Z';
const DUPLICATE: u8 = b'D';
const NOT_FOUND: u8 = b'O';
const USER: u8 = b'U';

/// The session.
#[derive(Default)]
pub struct Boe {
    blotter: Blotter,
    units: [Batch; UNITS],
    /// Of the last message of the client's.
    received: u32,
    /// Bitfields that the client wants in a response, by its type.
    wanted: BTreeMap<u8, Vec<u8>>,
}

impl Boe {
    /// Login Request: session sub-id, user, password, parameter groups.
    fn login(&mut self, body: &[u8], credentials: &Credentials, out: &mut Batch) -> Option<Heard> {
        let (fixed, mut groups) = body.split_at_checked(19)?;
        let text = |bytes: &[u8]| bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
        let user = [text(&fixed[4..8]), text(&fixed[..4])].concat();
        let mut after: BTreeMap<u8, u32> = BTreeMap::new();
        let (echo, mut unspecified) = (groups.to_vec(), 0);
        let mut wanted = BTreeMap::new();
        for _ in 0..fixed[18] {
            let length = number(groups.get(..2)?)? as usize;
            let (group, rest) = groups.split_at_checked(length)?;
            groups = rest;
            match group.get(2)? {
                0x80 => {
                    let [not_replayed, count] = *group.get(3..)?.first_chunk()?;
                    unspecified = not_replayed;
                    let units = group[5..].chunks_exact(5);
                    if units.len() != usize::from(count) || !units.remainder().is_empty() {
                        return None;
                    }
                    after.extend(units.map(|unit| (unit[0], number(&unit[1..]).unwrap_or(0) as u32)));
                }
                0x81 => {
                    let [kind, count] = *group.get(3..)?.first_chunk()?;
                    let bitfields = group[5..].to_vec();
                    if bitfields.len() != usize::from(count) {
                        return None;
                    }
                    wanted.insert(kind, bitfields);
                }
                _ => return None,
            }
        }
        let admitted = groups.is_empty() && credentials.admit(&user, &text(&fixed[8..18]));
        let mut response = vec![if admitted { b'A' } else { b'N' }];
        response.extend(padded::<60>(if admitted { "Login Accepted" } else { "Not Authorized" }));
        response.push(unspecified);
        response.extend(self.received.to_le_bytes());
        response.push(UNITS as u8);
        for (unit, messages) in (1u8..).zip(&self.units) {
            response.push(unit);
            response.extend((messages.len() as u32).to_le_bytes());
        }
        response.push(fixed[18]);
        response.extend(echo);
        out.push(&message(0x24, 0, 0, &response));
        if !admitted {
            return Some(Heard::Refused);
        }
        self.wanted = wanted;
        let mut replayed = 0;
        for (unit, messages) in (1u8..).zip(&self.units) {
            let all = if unspecified == 1 { messages.len() } else { 0 };
            let from = after.get(&unit).map_or(all, |&last| last as usize);
            for response in messages.iter().skip(from) {
                out.push(response);
                replayed += 1;
            }
        }
        out.push(&message(0x13, 0, 0, b""));
        Some(Heard::Admitted { replayed })
    }

    /// A numbered response: what comes before its optional fields, and those that are wanted.
    fn sequenced(&mut self, kind: u8, line: &Line, original: Option<u32>, mut body: Vec<u8>, out: &mut Batch) {
        let mut values = Vec::new();
        let mut bitfields = self.wanted.get(&kind).cloned().unwrap_or_default();
        for (i, bits) in bitfields.iter_mut().enumerate() {
            for bit in (0..8).filter(|bit| *bits >> bit & 1 == 1).collect::<Vec<_>>() {
                match (i, bit) {
                    (0, 0) => values.push(side(line.terms.side)),
                    (0, 2) => values.extend(line.terms.price.to_le_bytes()),
                    (1, 0) => values.extend(padded::<8>(symbol(&line.terms))),
                    (2, 6) => values.extend(line.whole.to_le_bytes()),
                    (4, 0) => values.extend(original.map_or([0; 20], |id| padded::<20>(&id.to_string()))),
                    (4, 1) => values.extend(line.leaves.to_le_bytes()),
                    // What this exchange does not have is not announced.
                    _ => *bits &= !(1 << bit),
                }
            }
        }
        body.push(bitfields.len() as u8);
        body.extend(bitfields);
        body.extend(values);
        let unit = usize::from(line.terms.symbol[0]) % UNITS;
        let sequence = self.units[unit].len() as u32 + 1;
        let message = message(kind, unit as u8 + 1, sequence, &body);
        out.push(&message);
        self.units[unit].push(&message);
    }
}

impl Dialect for Boe {
    fn cut(&self, stream: &[u8]) -> Cut {
        match *stream {
            [0xba, 0xba, low, high, ..] => {
                let length = 2 + usize::from(low) + 256 * usize::from(high);
                match length {
                    ..HEADER | 1025.. => Cut::Broken,
                    _ if stream.len() < length => Cut::Incomplete,
                    _ => Cut::Message(length),
                }
            }
            [0xba] | [0xba, 0xba] | [0xba, 0xba, _] | [] => Cut::Incomplete,
            _ => Cut::Broken,
        }
    }

    fn hear(
        &mut self,
        message: &[u8],
        is_in: bool,
        may_order: bool,
        credentials: &Credentials,
        out: &mut Batch,
    ) -> Result<Heard, Broken> {
        let sequence = number(&message[6..HEADER]).ok_or(Broken)? as u32;
        match message[4] {
            0x37 if !is_in => self.login(&message[HEADER..], credentials, out).ok_or(Broken),
            0x03 if is_in => Ok(Heard::Nothing),
            0x02 if is_in => {
                self.end_as(USER, out);
                Ok(Heard::Logout)
            }
            _ if may_order => {
                let request = request(message).ok_or(Broken)?;
                // Numbers rise; 0 is none.
                if is_in && sequence != 0 {
                    if sequence <= self.received {
                        return Err(Broken);
                    }
                    self.received = sequence;
                }
                Ok(Heard::Order(self.blotter.asks(request)))
            }
            _ => Err(Broken),
        }
    }

    fn respond(&mut self, response: &Response, now_ns: u64, out: &mut Batch) {
        let line = self.blotter.apply(response);
        let head = |urn: u32| [&time(now_ns)[..], &padded::<20>(&urn.to_string())].concat();
        match (*response, line) {
            (Response::Accepted { urn, reference, .. }, Some(line)) => {
                let body = [&head(urn)[..], &reference.to_le_bytes(), &[0]].concat();
                self.sequenced(0x25, &line, None, body, out);
            }
            (Response::Replaced { original, urn, reference, .. }, Some(line)) => {
                let body = [&head(urn)[..], &reference.to_le_bytes(), &[0]].concat();
                self.sequenced(0x27, &line, Some(original), body, out);
            }
            (Response::Canceled { urn, reason, .. }, Some(line)) => {
                let body = [&head(urn)[..], &[reason, 0]].concat();
                self.sequenced(0x2a, &line, None, body, out);
            }
            (Response::Executed { urn, qty, price, liquidity, match_number }, Some(line)) => {
                let mut body = head(urn);
                body.extend(match_number.to_le_bytes());
                body.extend(qty.to_le_bytes());
                body.extend(price.to_le_bytes());
                body.extend(line.leaves.to_le_bytes());
                body.extend([liquidity, b' ']);
                body.extend(*b"SIM\0\0");
                self.sequenced(0x2c, &line, None, body, out);
            }
            (Response::Rejected { urn, reason, .. }, _) => {
                let kind = if matches!(self.blotter.asked(), Some(Request::Replace { .. })) { 0x29 } else { 0x26 };
                refuse(kind, urn, OTHER, &format!("reason {reason:#04x}"), now_ns, out);
            }
            _ => {}
        }
    }

    fn ignored(&mut self, request: &Request, now_ns: u64, out: &mut Batch) {
        match *request {
            Request::Enter { urn, .. } => refuse(0x26, urn, DUPLICATE, "id used before", now_ns, out),
            Request::Replace { urn, .. } => refuse(0x29, urn, DUPLICATE, "id used before", now_ns, out),
            Request::Cancel { urn, .. } => refuse(0x2b, urn, NOT_FOUND, "no such order", now_ns, out),
            Request::Modify { .. } | Request::Query => {}
        }
    }

    fn heartbeat(&mut self, out: &mut Batch) {
        out.push(&message(0x09, 0, 0, b""));
    }

    fn end(&mut self, out: &mut Batch) {
        self.end_as(b'E', out);
    }

    fn oversize(&self) -> &'static [u8] {
        b"\xba\xba\xff\xff\x25\x01\0\0\0\0"
    }

    fn responses(&self) -> usize {
        self.units.iter().map(Batch::len).sum()
    }
}

impl Boe {
    /// Logout.
    fn end_as(&mut self, reason: u8, out: &mut Batch) {
        let mut body = vec![reason];
        body.extend([0; 60]);
        body.extend(self.received.to_le_bytes());
        body.push(UNITS as u8);
        for (unit, messages) in (1u8..).zip(&self.units) {
            body.push(unit);
            body.extend((messages.len() as u32).to_le_bytes());
        }
        out.push(&message(0x08, 0, 0, &body));
    }
}

/// A refusal: neither numbered nor kept.
fn refuse(kind: u8, urn: u32, reason: u8, text: &str, now_ns: u64, out: &mut Batch) {
    let mut body = [&time(now_ns)[..], &padded::<20>(&urn.to_string()), &[reason]].concat();
    body.extend(padded::<60>(text));
    body.extend([0, 0]);
    out.push(&message(kind, 0, 0, &body));
}

/// A whole message.
fn message(kind: u8, unit: u8, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xba, 0xba];
    message.extend((8 + body.len() as u16).to_le_bytes());
    message.extend([kind, unit]);
    message.extend(sequence.to_le_bytes());
    message.extend(body);
    message
}

/// ns since 1970 of a time of today.
fn time(now_ns: u64) -> [u8; 8] {
    (realtime_ns() / DAY_NS * DAY_NS + now_ns).to_le_bytes()
}

/// Text padded with NULs; what is longer is cut.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    field
}

fn symbol(terms: &Terms) -> &str {
    std::str::from_utf8(terms.symbol.trim_ascii_end()).unwrap_or_default()
}

fn side(side: u8) -> u8 {
    match side {
        b'B' => b'1',
        b'S' => b'2',
        b'T' => b'5',
        _ => b'6',
    }
}

/// Optional fields, a bitfield at a time.
struct Options<'a> {
    bitfields: &'a [u8],
    values: &'a [u8],
    sizes: &'static [[usize; 8]],
}

impl<'a> Options<'a> {
    fn new(bytes: &'a [u8], sizes: &'static [[usize; 8]]) -> Option<Options<'a>> {
        let (&count, rest) = bytes.split_first()?;
        let (bitfields, values) = rest.split_at_checked(count.into())?;
        Some(Options { bitfields, values, sizes })
    }

    /// The fields of the next bitfield. Without one: none of them.
    fn next(&mut self) -> Option<[Option<&'a [u8]>; 8]> {
        let mut fields = [None; 8];
        let Some((&bits, rest)) = self.bitfields.split_first() else { return Some(fields) };
        self.bitfields = rest;
        let Some((sizes, rest)) = self.sizes.split_first() else { return (bits == 0).then_some(fields) };
        self.sizes = rest;
        for bit in (0..8).filter(|bit| bits >> bit & 1 == 1) {
            let (field, rest) = self.values.split_at_checked(sizes[bit]).filter(|_| sizes[bit] > 0)?;
            (fields[bit], self.values) = (Some(field), rest);
        }
        Some(fields)
    }

    /// Nothing is left over.
    fn end(mut self) -> Option<()> {
        while !self.bitfields.is_empty() {
            self.next()?;
        }
        self.values.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_captured_modify_and_cancel_show_their_fields() {
        // Ids shortened to what this exchange takes; all else as captured.
        let [new, old, gone] = ["419471689", "419471687", "419471693"].map(padded::<20>);
        let modify =
            [&b"\xba\xba\x43\0\x3a\0\0\0\0\0"[..], &new, &old, b"\x02\x0d\0BATS\xc8\0\0\0\x40\x0d\x03\0\0\0\0\0"]
                .concat();
        let Some(Request::Replace { original, urn, qty, price, .. }) = request(&modify) else { panic!("a modify") };
        assert_eq!((original, urn, qty, price), (419_471_687, 419_471_689, 200, 200_000));
        for length in 0..modify.len() {
            assert_eq!(request(&modify[..length]), None, "{length}");
        }
        assert_eq!(request(&[&modify[..], b"x"].concat()), None);
        let cancel = [&b"\xba\xba\x23\0\x39\0\0\0\0\0"[..], &gone, b"\x02\x01\0BATS"].concat();
        assert_eq!(request(&cancel), Some(Request::Cancel { urn: 419_471_693, qty: 0 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(kind in 0x36u8..0x3c, rest in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = request(&[&[0xba, 0xba, 0, 0, kind, 0, 0, 0, 0, 0], &rest[..]].concat());
        }
    }
}
