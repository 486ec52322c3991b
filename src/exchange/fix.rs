//! FIX 4.2 as the exchange speaks it: a client's message becomes a [`Request`], a [`Response`] becomes a message, and [`Fix`]
//! keeps the session. Written from the specification and apart from `wire::fix42`, so that each checks the other.
//!
//! Every message takes a number, session messages too; those about orders are kept, and a Resend Request gets them again
//! (PossDupFlag) with Sequence Resets over the others. The client logs on with its user as SenderSubID and its password
//! as RawData; its CompIDs are taken as they come.

use super::batch::Batch;
use super::blotter::{Blotter, Line};
use super::connection::{Broken, Cut};
use super::orders::{Request, Response, Terms, cancel};
use super::session::{Credentials, Dialect, Heard};
use crate::sys::time::{realtime_ns, utc};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Longest message that a client of ours has reason to send: anything longer breaks the session.
const LONGEST: usize = 4096;

/// Cuts the message at the front of a stream: `8=FIX.4.2`, `9=` and a length, so many bytes, `10=` and three digits. The
/// sum is not looked at.
pub fn cut(stream: &[u8]) -> Cut {
    const BEGIN: &[u8] = b"8=FIX.4.2\x019=";
    if !stream.starts_with(BEGIN) {
        return if BEGIN.starts_with(stream) { Cut::Incomplete } else { Cut::Broken };
    }
    let rest = &stream[BEGIN.len()..];
    let Some(end) = rest.iter().position(|&byte| byte == 1) else {
        return if rest.len() < 6 { Cut::Incomplete } else { Cut::Broken };
    };
    let length = std::str::from_utf8(&rest[..end]).ok().and_then(|digits| digits.parse().ok());
    let Some(length) = length.filter(|&length: &usize| length <= LONGEST) else { return Cut::Broken };
    let whole = BEGIN.len() + end + 1 + length + 7;
    if stream.len() < whole {
        return Cut::Incomplete;
    }
    if stream[whole - 7..].starts_with(b"10=") && stream[whole - 1] == 1 { Cut::Message(whole) } else { Cut::Broken }
}

/// The fields of a whole message by tag; `None` when one is no `tag=value`, comes twice, or the sum is wrong.
pub fn fields(message: &[u8]) -> Option<BTreeMap<u32, String>> {
    let (counted, trailer) = message.split_at_checked(message.len().checked_sub(7)?)?;
    let sum = counted.iter().fold(0u32, |sum, &byte| sum + u32::from(byte)) % 256;
    if trailer != format!("10={sum:03}\x01").as_bytes() {
        return None;
    }
    let mut fields = BTreeMap::new();
    for field in std::str::from_utf8(counted).ok()?.strip_suffix('\x01')?.split('\x01') {
        let (tag, value) = field.split_once('=')?;
        if fields.insert(tag.parse().ok()?, value.to_owned()).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// The request of a whole message, if it is one.
pub fn request(message: &[u8]) -> Option<Request> {
    read(&fields(message)?)
}

/// The same of its fields. Ids are numbers; this exchange takes no other.
pub fn read(fields: &BTreeMap<u32, String>) -> Option<Request> {
    let text = |tag: u32| fields.get(&tag).map(String::as_str);
    let number = |tag: u32| text(tag)?.parse::<u32>().ok();
    match text(35)? {
        "D" if text(40) == Some("2") => {
            let mut symbol = [b' '; 8];
            symbol.get_mut(..text(55)?.len())?.copy_from_slice(text(55)?.as_bytes());
            let terms = Terms {
                side: match text(54)? {
                    "1" => b'B',
                    "2" => b'S',
                    "5" => b'T',
                    "6" => b'E',
                    _ => b'?',
                },
                qty: number(38)?,
                symbol,
                price: price(text(44)?)?,
                time_in_force: text(59).map_or(Some(b'0'), |value| value.bytes().next())?,
                display: b'Y',
                capacity: b'P',
                sweep: b'N',
                cross: b'N',
                client_id: [b' '; 14],
            };
            Some(Request::Enter { urn: number(11)?, terms })
        }
        "G" => Some(Request::Replace {
            original: number(41)?,
            urn: number(11)?,
            qty: number(38)?,
            price: price(text(44)?)?,
            time_in_force: b'0',
            display: b'Y',
            sweep: b'N',
            client_id: [b' '; 14],
        }),
        "F" => Some(Request::Cancel { urn: number(41)?, qty: 0 }),
        _ => None,
    }
}

const DAY_NS: u64 = 86_400_000_000_000;

/// The session.
#[derive(Default)]
pub struct Fix {
    blotter: Blotter,
    /// The client, and who it says that we are.
    client: String,
    us: String,
    /// Of the next message of the client's.
    next: u64,
    resend_asked: bool,
    /// Every message that was sent, from number 1 on: type and fields of those about orders.
    sent: Vec<Option<(char, String)>>,
    responses: usize,
    /// Ids as the client wrote them, and that of its last cancel.
    ids: BTreeMap<u32, String>,
    cancel_id: String,
}

impl Fix {
    /// A message with the next number.
    fn say(&mut self, kind: char, fields: &str, is_kept: bool, out: &mut Batch) {
        self.sent.push(is_kept.then(|| (kind, fields.to_owned())));
        self.responses += usize::from(is_kept);
        out.push(&self.message(kind, self.sent.len(), "", fields));
    }

    fn message(&self, kind: char, number: usize, again: &str, fields: &str) -> Vec<u8> {
        let (us, client, now) = (&self.us, &self.client, timestamp(realtime_ns()));
        let body = format!("35={kind}|34={number}|49={us}|56={client}|{again}52={now}|{fields}").replace('|', "\x01");
        let mut text = format!("8=FIX.4.2\x019={}\x01{body}", body.len());
        let sum = text.bytes().fold(0u32, |sum, byte| sum + u32::from(byte)) % 256;
        // A String takes it.
        let _ = write!(text, "10={sum:03}\x01");
        text.into_bytes()
    }

    /// Logon.
    fn logon(&mut self, fields: &BTreeMap<u32, String>, credentials: &Credentials, out: &mut Batch) -> Option<Heard> {
        let text = |tag: u32| fields.get(&tag).map(String::as_str);
        let number: u64 = text(34)?.parse().ok()?;
        (self.client, self.us) = (text(49)?.to_owned(), text(56)?.to_owned());
        let reset = text(141) == Some("Y");
        if reset {
            (self.next, self.sent) = (1, Vec::new());
        }
        let known = credentials.admit(text(50)?.as_bytes(), text(96)?.as_bytes());
        if !known || self.next == 0 || number < self.next {
            let why = if known { "MsgSeqNum too low" } else { "not authorised" };
            self.say('5', &format!("58={why}|"), false, out);
            return Some(Heard::Refused);
        }
        let reset = if reset { "141=Y|" } else { "" };
        self.say('A', &format!("98=0|108={}|{reset}", text(108)?), false, out);
        self.resend_asked = false;
        self.follows(number, out);
        Some(Heard::Admitted { replayed: 0 })
    }

    /// Whether a number is the next; asks for what is missing before it.
    fn follows(&mut self, number: u64, out: &mut Batch) -> bool {
        if number == self.next {
            (self.next, self.resend_asked) = (self.next + 1, false);
            return true;
        }
        if !std::mem::replace(&mut self.resend_asked, true) {
            self.say('2', &format!("7={}|16=0|", self.next), false, out);
        }
        false
    }

    /// Everything from `from` on once more; how many messages about orders.
    fn resend(&self, from: usize, out: &mut Batch) -> u64 {
        let (mut replayed, mut filled_from) = (0, None);
        let fill = |from: Option<usize>, next: usize, out: &mut Batch| {
            if let Some(from) = from {
                out.push(&self.message('4', from, "43=Y|", &format!("123=Y|36={next}|")));
            }
        };
        for (number, sent) in (1..).zip(&self.sent).skip(from - 1) {
            match sent {
                None => {
                    filled_from.get_or_insert(number);
                }
                Some((kind, fields)) => {
                    fill(filled_from.take(), number, out);
                    let again = format!("43=Y|122={}|", timestamp(realtime_ns()));
                    out.push(&self.message(*kind, number, &again, fields));
                    replayed += 1;
                }
            }
        }
        fill(filled_from, self.sent.len() + 1, out);
        replayed
    }

    /// Execution Report of order `urn`; `more` has its ExecID, and who it is to the client.
    fn report(&mut self, urn: u32, exec: char, line: &Line, now_ns: u64, more: &str, out: &mut Batch) {
        let Line { terms, whole, leaves, executed } = *line;
        let status = match exec {
            '0' | '5' if executed > 0 => '1',
            exec => exec,
        };
        let fields = format!(
            "37={urn}|20=0|150={exec}|39={status}|55={}|54={}|38={whole}|44={}|151={leaves}|14={executed}|6=0|60={}|{more}",
            String::from_utf8_lossy(terms.symbol.trim_ascii_end()),
            match terms.side {
                b'B' => '1',
                b'S' => '2',
                b'T' => '5',
                _ => '6',
            },
            decimal(terms.price),
            timestamp(realtime_ns() / DAY_NS * DAY_NS + now_ns),
        );
        self.say('8', &fields, true, out);
    }

    /// A refusal of what was asked for last.
    fn refuse(&mut self, request: &Request, text: &str, now_ns: u64, out: &mut Batch) {
        let time = timestamp(realtime_ns() / DAY_NS * DAY_NS + now_ns);
        let id = |urn: &u32| self.ids.get(urn).cloned().unwrap_or_else(|| urn.to_string());
        match request {
            Request::Enter { urn, terms } => {
                let line = Line { terms: *terms, whole: terms.qty, leaves: 0, executed: 0 };
                let more = format!("17=A{}|11={}|103=99|58={text}|", self.sent.len() + 1, id(urn));
                self.report(*urn, '8', &line, now_ns, &more, out);
            }
            Request::Replace { original, urn, .. } => {
                let fields =
                    format!("37=NONE|11={}|41={}|39=8|434=2|102=0|58={text}|60={time}|", id(urn), id(original));
                self.say('9', &fields, true, out);
            }
            Request::Cancel { urn, .. } => {
                let fields =
                    format!("37=NONE|11={}|41={}|39=8|434=1|102=1|58={text}|60={time}|", self.cancel_id, id(urn));
                self.say('9', &fields, true, out);
            }
            Request::Modify { .. } | Request::Query => {}
        }
    }
}

impl Dialect for Fix {
    fn cut(&self, stream: &[u8]) -> Cut {
        cut(stream)
    }

    fn hear(
        &mut self,
        message: &[u8],
        is_in: bool,
        may_order: bool,
        credentials: &Credentials,
        out: &mut Batch,
    ) -> Result<Heard, Broken> {
        let fields = fields(message).ok_or(Broken)?;
        let text = |tag: u32| fields.get(&tag).map(String::as_str);
        let kind = text(35).ok_or(Broken)?;
        let number: u64 = text(34).and_then(|n| n.parse().ok()).ok_or(Broken)?;
        if kind == "A" && !is_in {
            return self.logon(&fields, credentials, out).ok_or(Broken);
        }
        if !may_order || (is_in && (text(49) != Some(&self.client) || text(56) != Some(&self.us))) {
            return Err(Broken);
        }
        if is_in {
            if number < self.next {
                return if text(43) == Some("Y") { Ok(Heard::Nothing) } else { Err(Broken) };
            }
            let follows = self.follows(number, out);
            if kind == "2" {
                let from = text(7).and_then(|n| n.parse().ok()).filter(|n| (1..=self.sent.len()).contains(n));
                return Ok(Heard::Replayed(self.resend(from.ok_or(Broken)?, out)));
            }
            if !follows {
                return Ok(Heard::Nothing);
            }
        }
        match kind {
            "0" => {}
            "1" => {
                let id = text(112).ok_or(Broken)?;
                self.say('0', &format!("112={id}|"), false, out);
            }
            "4" => {
                let next = text(36).and_then(|n| n.parse().ok()).filter(|&n: &u64| n >= self.next);
                self.next = next.ok_or(Broken)?;
            }
            "5" => {
                self.say('5', "", false, out);
                return Ok(Heard::Logout);
            }
            _ => {
                let Some(request) = read(&fields) else {
                    // Session-level Reject.
                    self.say('3', &format!("45={number}|58=no request of this exchange|"), false, out);
                    return Ok(Heard::Nothing);
                };
                let id = text(11).unwrap_or_default().to_owned();
                match request {
                    Request::Enter { urn, .. } | Request::Replace { urn, .. } => drop(self.ids.insert(urn, id)),
                    _ => self.cancel_id = id,
                }
                return Ok(Heard::Order(self.blotter.asks(request)));
            }
        }
        Ok(Heard::Nothing)
    }

    fn respond(&mut self, response: &Response, now_ns: u64, out: &mut Batch) {
        let line = self.blotter.apply(response);
        let execution = self.sent.len() + 1;
        let id = |fix: &Fix, urn: u32| fix.ids.get(&urn).cloned().unwrap_or_default();
        match (*response, line) {
            (Response::Accepted { urn, .. }, Some(line)) => {
                self.report(urn, '0', &line, now_ns, &format!("17=A{execution}|11={}|", id(self, urn)), out);
            }
            (Response::Replaced { original, urn, .. }, Some(line)) => {
                let more = format!("17=A{execution}|11={}|41={}|", id(self, urn), id(self, original));
                self.report(urn, '5', &line, now_ns, &more, out);
            }
            (Response::Canceled { urn, reason, .. }, Some(line)) => {
                let asked = matches!(self.blotter.asked(), Some(Request::Cancel { urn: of, .. }) if of == urn);
                let more = match asked && reason == cancel::USER {
                    true => format!("17=A{execution}|11={}|41={}|", self.cancel_id, id(self, urn)),
                    false => format!("17=A{execution}|11={}|58=reason {}|", id(self, urn), char::from(reason)),
                };
                self.report(urn, '4', &line, now_ns, &more, out);
            }
            (Response::Executed { urn, qty, price, match_number, .. }, Some(line)) => {
                let exec = if line.leaves == 0 { '2' } else { '1' };
                let more = format!("17={match_number}|11={}|32={qty}|31={}|", id(self, urn), decimal(price));
                self.report(urn, exec, &line, now_ns, &more, out);
            }
            (Response::Rejected { reason, .. }, _) => {
                if let Some(request) = self.blotter.asked() {
                    self.refuse(&request, &format!("reason {reason:#04x}"), now_ns, out);
                }
            }
            _ => {}
        }
    }

    fn ignored(&mut self, request: &Request, now_ns: u64, out: &mut Batch) {
        self.refuse(request, "no such order, or an id used before", now_ns, out);
    }

    fn heartbeat(&mut self, out: &mut Batch) {
        self.say('0', "", false, out);
    }

    fn end(&mut self, out: &mut Batch) {
        self.say('5', "58=end of day|", false, out);
    }

    fn oversize(&self) -> &'static [u8] {
        b"8=FIX.4.2\x019=99999\x01"
    }

    fn responses(&self) -> usize {
        self.responses
    }
}

/// UTCTimestamp.
fn timestamp(ns: u64) -> String {
    let text = utc(ns);
    format!("{}-{}:{}:{}.{:03}", &text[..8], &text[9..11], &text[11..13], &text[13..15], ns / 1_000_000 % 1000)
}

/// A price with its decimals.
fn decimal(price: u64) -> String {
    format!("{}.{:04}", price / 10_000, price % 10_000)
}

/// A price in units of 1/10,000.
fn price(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 4 {
        return None;
    }
    format!("{whole}{decimals:0<4}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(body: &str) -> Vec<u8> {
        let text = format!("8=FIX.4.2|9={}|{body}", body.len()).replace('|', "\x01");
        let sum = text.bytes().fold(0u32, |sum, byte| sum + u32::from(byte)) % 256;
        format!("{text}10={sum:03}\x01").into_bytes()
    }

    #[test]
    fn a_stream_is_cut_at_body_length() {
        let stream = message("35=0|34=1|");
        assert_eq!(cut(&stream), Cut::Message(stream.len()));
        for length in 0..stream.len() {
            assert_eq!(cut(&stream[..length]), Cut::Incomplete, "{length}");
        }
        for broken in ["8=FIX.4.4|9=5|", "8=FIX.4.2|9=x|", "8=FIX.4.2|9=99999|", "8=FIX.4.2|9=5|35=0|11=000|", "x"] {
            assert_eq!(cut(broken.replace('|', "\x01").as_bytes()), Cut::Broken, "{broken}");
        }
    }

    #[test]
    fn requests_show_their_fields() {
        let enter = request(&message("35=D|34=7|11=0012|38=0300|40=2|44=012.5|54=2|55=CVLT|59=0|")).unwrap();
        let Request::Enter { urn: 12, terms } = enter else { panic!("{enter:?}") };
        assert_eq!((terms.side, terms.qty, terms.price, terms.symbol), (b'S', 300, 125_000, *b"CVLT    "));
        let replace = request(&message("35=G|34=8|11=13|41=12|38=100|44=1.0001|")).unwrap();
        assert!(matches!(replace, Request::Replace { original: 12, urn: 13, qty: 100, price: 10_001, .. }));
        assert_eq!(request(&message("35=F|11=13C1|41=13|")), Some(Request::Cancel { urn: 13, qty: 0 }));
        for wrong in [
            "35=D|11=1|",
            "35=G|11=x|41=1|38=1|44=1|",
            "35=F|41=1|41=1|",
            "35=0|",
            "35=F|41|",
            "35=G|11=1|41=1|38=1|44=1.00001|",
        ] {
            assert_eq!(request(&message(wrong)), None, "{wrong}");
        }
        let mut damaged = message("35=F|11=13C1|41=13|");
        damaged[20] ^= 1;
        assert_eq!(request(&damaged), None);
    }

    proptest! {
        #[test]
        fn any_fields_are_read_or_refused(body in "35=[DGF]\\|([0-9]{2}=[0-9.]{0,6}\\|){0,12}") {
            let _ = request(&message(&body));
        }
    }
}
