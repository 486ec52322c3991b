//! FIX 4.2: bytes of a stream come in, messages and their fields go out; a [`Writer`] puts messages together. It keeps
//! no session and no order.
//!
//! A message is a sequence of `tag=value` fields, each ended by SOH: `8=FIX.4.2`, `9=` the bytes between its own end and
//! the tag of the last field, `35=` the type, …, `10=` the sum of all bytes before it, modulo 256, in three digits.
//! What is written here has `34=` MsgSeqNum behind the type, numbers of fixed width (leading zeros are FIX's to read:
//! 4.2, field data types), so that a message is copied from a prebuilt one and [`number`]ed when it leaves.

use super::Error;

/// What every message begins with.
pub const BEGIN: &[u8] = b"8=FIX.4.2\x01";
/// What ends a field.
pub const SOH: u8 = 1;
/// Longest message that is taken.
pub const LONGEST: usize = 4096;
/// Most shares that are written: six digits.
pub const MAX_QTY: u32 = 999_999;
/// Highest price that is written: 999,999.9999.
pub const MAX_PRICE: u64 = 9_999_999_999;
/// Greatest id that is written: twelve digits.
pub const MAX_ID: u64 = 999_999_999_999;
/// Greatest MsgSeqNum that is written: nine digits.
pub const MAX_SEQUENCE: u32 = 999_999_999;
/// Characters of a UTCTimestamp with milliseconds.
pub const TIME: usize = 21;

/// `10=000` and its end.
const TRAILER: usize = 7;
/// Where the digits of BodyLength begin, and how many there are.
const LENGTH_AT: usize = 12;
const LENGTH: usize = 3;
/// Where MsgSeqNum's digits begin in what is written here, and how many there are.
const SEQUENCE_AT: usize = 24;
const SEQUENCE: usize = 9;

/// Tags.
pub mod tag {
    #![allow(missing_docs)]
    pub const BEGIN_SEQ_NO: u32 = 7;
    pub const CL_ORD_ID: u32 = 11;
    pub const END_SEQ_NO: u32 = 16;
    pub const EXEC_ID: u32 = 17;
    pub const EXEC_TRANS_TYPE: u32 = 20;
    pub const HANDL_INST: u32 = 21;
    pub const LAST_PX: u32 = 31;
    pub const LAST_SHARES: u32 = 32;
    pub const MSG_SEQ_NUM: u32 = 34;
    pub const MSG_TYPE: u32 = 35;
    pub const NEW_SEQ_NO: u32 = 36;
    pub const ORDER_QTY: u32 = 38;
    pub const ORD_TYPE: u32 = 40;
    pub const ORIG_CL_ORD_ID: u32 = 41;
    pub const POSS_DUP_FLAG: u32 = 43;
    pub const PRICE: u32 = 44;
    pub const REF_SEQ_NUM: u32 = 45;
    pub const SENDER_COMP_ID: u32 = 49;
    pub const SENDER_SUB_ID: u32 = 50;
    pub const SENDING_TIME: u32 = 52;
    pub const SIDE: u32 = 54;
    pub const SYMBOL: u32 = 55;
    pub const TARGET_COMP_ID: u32 = 56;
    pub const TIME_IN_FORCE: u32 = 59;
    pub const TRANSACT_TIME: u32 = 60;
    pub const RAW_DATA_LENGTH: u32 = 95;
    pub const RAW_DATA: u32 = 96;
    pub const ENCRYPT_METHOD: u32 = 98;
    pub const CXL_REJ_REASON: u32 = 102;
    pub const ORD_REJ_REASON: u32 = 103;
    pub const HEART_BT_INT: u32 = 108;
    pub const TEST_REQ_ID: u32 = 112;
    pub const GAP_FILL_FLAG: u32 = 123;
    pub const RESET_SEQ_NUM_FLAG: u32 = 141;
    pub const EXEC_TYPE: u32 = 150;
    pub const LEAVES_QTY: u32 = 151;
    pub const CXL_REJ_RESPONSE_TO: u32 = 434;
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    kind: u8,
    /// From the type to the field before the sum.
    body: &'a [u8],
    length: usize,
}

impl<'a> Message<'a> {
    /// The message at the front of a stream. `Truncated` when it is not whole: wait for more. Every other error means that
    /// the stream is lost: `Version` when it begins with anything but [`BEGIN`], `BadLength` when BodyLength is no number,
    /// is beyond [`LONGEST`], or does not lead to the sum, `Checksum` when that is another one, `Field` for a field that is no
    /// `tag=value`, or a first one that is no type.
    pub fn parse(stream: &'a [u8]) -> Result<Message<'a>, Error> {
        let begun = stream.len().min(BEGIN.len());
        if stream[..begun] != BEGIN[..begun] {
            return Err(Error::Version { expected: 42, found: 0 });
        }
        let wait = |needed: usize| Error::truncated(needed, stream.len());
        let rest = stream.get(BEGIN.len()..).ok_or(wait(BEGIN.len() + 1))?;
        let head = &rest[..rest.len().min(8)];
        let Some(end) = head.iter().position(|&byte| byte == SOH) else {
            return Err(if head.len() < 8 { wait(stream.len() + 1) } else { Error::BadLength { least: 5, found: 0 } });
        };
        let length = head[..end].strip_prefix(b"9=").and_then(digits);
        let Some(length) = length.filter(|&n| (5..=LONGEST as u64).contains(&n)) else {
            return Err(Error::BadLength { least: 5, found: 0 });
        };
        let at = BEGIN.len() + end + 1;
        let sum_at = at + length as usize;
        let whole = stream.get(..sum_at + TRAILER).ok_or(wait(sum_at + TRAILER))?;
        let (body, trailer) = (&whole[at..sum_at], &whole[sum_at..]);
        let found = trailer.strip_prefix(b"10=").and_then(|rest| digits(&rest[..3])).filter(|_| trailer[6] == SOH);
        let Some(found) = found.filter(|_| body[body.len() - 1] == SOH) else {
            return Err(Error::BadLength { least: 5, found: length as u16 });
        };
        let expected = sum(&whole[..sum_at]);
        if found != u64::from(expected) {
            return Err(Error::Checksum { expected, found: found as u16 });
        }
        let mut fields = Fields(body);
        let kind = match fields.next() {
            Some((tag::MSG_TYPE, &[kind])) => kind,
            Some((tag::MSG_TYPE, _)) => 0,
            _ => return Err(Error::Field),
        };
        fields.by_ref().for_each(drop);
        if !fields.0.is_empty() {
            return Err(Error::Field);
        }
        Ok(Message { kind, body, length: whole.len() })
    }

    /// Its type; 0 for one of more than one character.
    #[inline]
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// Bytes it took of the stream.
    #[inline]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Its fields, from the type to the last before the sum.
    #[inline]
    pub const fn fields(&self) -> Fields<'a> {
        Fields(self.body)
    }

    /// The first value of a tag.
    #[inline]
    pub fn field(&self, tag: u32) -> Option<&'a [u8]> {
        self.fields().find(|field| field.0 == tag).map(|field| field.1)
    }

    /// The same as a number without sign or fraction.
    #[inline]
    pub fn number(&self, tag: u32) -> Option<u64> {
        digits(self.field(tag)?)
    }

    /// The same as a price, ×10,000; digits beyond the fourth decimal are dropped.
    #[inline]
    pub fn price(&self, tag: u32) -> Option<i64> {
        let text = self.field(tag)?;
        let point = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
        let whole = digits(&text[..point])?;
        let decimals = text.get(point + 1..).unwrap_or_default();
        let mut units = 0;
        for i in 0..4 {
            let digit = decimals.get(i).copied().unwrap_or(b'0').wrapping_sub(b'0');
            units = units * 10 + u64::from(Some(digit).filter(|&digit| digit <= 9)?);
        }
        i64::try_from(whole.checked_mul(10_000)?.checked_add(units)?).ok()
    }

    /// Whether a flag is `Y`.
    #[inline]
    pub fn is_set(&self, tag: u32) -> bool {
        self.field(tag) == Some(b"Y")
    }

    /// The time of day of a UTCTimestamp, in ns.
    #[inline]
    pub fn time_of_day_ns(&self, tag: u32) -> Option<u64> {
        let text = self.field(tag)?.get(9..)?;
        let part = |from: usize, to: usize| digits(text.get(from..to)?);
        let seconds = part(0, 2)? * 3600 + part(3, 5)? * 60 + part(6, 8)?;
        Some((seconds * 1000 + part(9, 12).unwrap_or(0)) * 1_000_000)
    }
}

/// Fields one by one: iterates over tag and value, and ends before what is no field.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut tag = 0u32;
        for (i, &byte) in self.0.iter().enumerate() {
            if byte == b'=' && i > 0 {
                let rest = &self.0[i + 1..];
                let end = rest.iter().position(|&byte| byte == SOH)?;
                if end == 0 {
                    return None;
                }
                self.0 = &rest[end + 1..];
                return Some((tag, &rest[..end]));
            }
            if !byte.is_ascii_digit() || i == 7 {
                return None;
            }
            tag = tag * 10 + u32::from(byte - b'0');
        }
        None
    }
}

/// A number of one to eighteen digits.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0, |n, byte| byte.is_ascii_digit().then(|| n * 10 + u64::from(byte - b'0')))
}

/// The sum that a message ends with.
#[inline]
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// Puts a message together; what does not fit makes [`Writer::finish`] give `NoRoom`.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// A message of type `kind`, to be [`number`]ed.
    pub fn new(kind: u8, out: &'a mut [u8]) -> Writer<'a> {
        let mut writer = Writer { out, at: 0 };
        writer.put(BEGIN);
        writer.put(b"9=000\x0135=");
        writer.put(&[kind]);
        writer.put(b"\x0134=000000000\x01");
        writer
    }

    /// A field.
    pub fn field(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        let mut text = [0; 20];
        let from = decimals(tag.into(), &mut text);
        for part in [&text[from..], b"=", value, &[SOH]] {
            self.put(part);
        }
        self
    }

    /// A field whose value is a number without leading zeros.
    pub fn number(&mut self, tag: u32, value: u64) -> &mut Self {
        let mut text = [0; 20];
        let from = decimals(value, &mut text);
        self.field(tag, &text[from..])
    }

    /// Bytes so far.
    pub fn length(&self) -> usize {
        self.at
    }

    /// Length and sum; bytes of the message.
    ///
    /// # Errors
    /// `NoRoom`: it is longer than the room it was given, or than BodyLength's three digits can say.
    pub fn finish(self) -> Result<usize, Error> {
        let Writer { out, at } = self;
        if at + TRAILER > out.len() || at > 999 {
            return Err(Error::no_room(at + TRAILER, out.len()));
        }
        seal(out, at);
        Ok(at + TRAILER)
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(out) = self.out.get_mut(self.at..self.at + bytes.len()) {
            out.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }
}

/// Length and sum of a message whose fields end at `at`; there is room for the sum behind.
#[inline]
pub fn seal(message: &mut [u8], at: usize) {
    let body = at - (LENGTH_AT + LENGTH + 1);
    fixed(body as u64, &mut message[LENGTH_AT..LENGTH_AT + LENGTH]);
    let sum = sum(&message[..at]);
    message[at..at + TRAILER].copy_from_slice(b"10=000\x01");
    fixed(sum.into(), &mut message[at + 3..at + 6]);
}

/// Number a message that was written here: its MsgSeqNum, and by how much that changes its sum.
#[inline]
pub fn number(message: &mut [u8], sequence: u32) {
    let length = message.len();
    if length < SEQUENCE_AT + SEQUENCE + TRAILER {
        return;
    }
    let field = &mut message[SEQUENCE_AT..SEQUENCE_AT + SEQUENCE];
    let before = sum(field);
    fixed(sequence.into(), field);
    let change = sum(field).wrapping_sub(before);
    let trailer = &mut message[length - 4..length - 1];
    let old = trailer.iter().fold(0u32, |n, digit| n * 10 + u32::from(digit.wrapping_sub(b'0')));
    fixed(u64::from((old as u8).wrapping_add(change)), trailer);
}

/// `value` in decimal digits that fill `out`; what does not fit is cut off in front.
#[inline]
pub fn fixed(mut value: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// `value` in decimal at the end of `out`, and where it begins.
fn decimals(mut value: u64, out: &mut [u8; 20]) -> usize {
    let mut at = out.len();
    while at == out.len() || value > 0 {
        at -= 1;
        out[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    at
}

/// Writes times; remembers the day, which is most of the work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utc {
    day: u64,
    date: [u8; 8],
}

const DAY_NS: u64 = 86_400_000_000_000;

impl Utc {
    /// `ns` since 1970 as `YYYYMMDD-HH:MM:SS.sss`.
    #[inline]
    pub fn text(&mut self, ns: u64) -> [u8; TIME] {
        let (day, of_day) = (ns / DAY_NS, ns % DAY_NS);
        if day != self.day || self.date[0] == 0 {
            (self.day, self.date) = (day, date(day));
        }
        let ms = of_day / 1_000_000;
        let mut text = *b"00000000-00:00:00.000";
        text[..8].copy_from_slice(&self.date);
        fixed(ms / 3_600_000, &mut text[9..11]);
        fixed(ms / 60_000 % 60, &mut text[12..14]);
        fixed(ms / 1000 % 60, &mut text[15..17]);
        fixed(ms % 1000, &mut text[18..21]);
        text
    }
}

/// The date of a day since 1970: Hinnant, chrono-compatible low-level date algorithms, civil_from_days.
#[cold]
fn date(day: u64) -> [u8; 8] {
    let z = day + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = [0; 8];
    fixed(year, &mut text[..4]);
    fixed(month, &mut text[4..6]);
    fixed(day, &mut text[6..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn soh(text: &str) -> Vec<u8> {
        text.replace('|', "\x01").into_bytes()
    }

    /// With the sum of all its bytes, modulo 256.
    fn with_sum(text: &str) -> Vec<u8> {
        let mut bytes = soh(text);
        let sum = bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>() % 256;
        bytes.extend(format!("10={sum:03}\x01").bytes());
        bytes
    }

    #[test]
    fn a_published_example_is_read() {
        // From the FIX 4.2 session documentation's examples as in circulation: 178 bytes of body, sum 128.
        let text = "8=FIX.4.2|9=178|35=8|49=PHLX|56=PERS|52=20071123-05:30:00.000|11=ATOMNOCCC9990900|20=3|150=E|39=E|55=MSFT|167=CS|54=1|38=15|40=2|44=15|58=PHLX EQUITY TESTING|59=0|47=C|32=0|31=0|151=15|14=0|6=0|10=128|";
        let bytes = soh(text);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind(), message.length()), (b'8', bytes.len()));
        assert_eq!(message.field(tag::SYMBOL), Some(&b"MSFT"[..]));
        assert_eq!((message.number(tag::ORDER_QTY), message.price(tag::PRICE)), (Some(15), Some(150_000)));
        assert_eq!(message.time_of_day_ns(tag::SENDING_TIME), Some((5 * 3600 + 30 * 60) * 1_000_000_000));
        assert_eq!(message.fields().count(), 22);
        for cut in 0..bytes.len() {
            assert!(matches!(Message::parse(&bytes[..cut]), Err(Error::Truncated { .. })), "{cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        let refused = |text: &str| Message::parse(&soh(text)).unwrap_err();
        assert!(matches!(refused("8=FIX.4.4|9=5|35=0|10=000|"), Error::Version { .. }));
        for length in ["x", "", "4", "99999", "1234567"] {
            let found = refused(&format!("8=FIX.4.2|9={length}|35=0|34=1|10=000|"));
            assert!(matches!(found, Error::BadLength { .. }), "{length}: {found}");
        }
        assert!(matches!(refused("8=FIX.4.2|9=6|35=0|3410=000|"), Error::BadLength { .. }));
        assert!(matches!(refused("8=FIX.4.2|9=5|35=0|10=000|"), Error::Checksum { expected: 161, found: 0 }));
        for body in ["34=1|", "35=0|34|", "35=0|x=1|", "35=0|34=|", "35=0|=1|", "35=0|99999999=1|"] {
            let bytes = with_sum(&format!("8=FIX.4.2|9={}|{body}", body.len()));
            assert_eq!(Message::parse(&bytes), Err(Error::Field), "{body}");
        }
        assert_eq!(Message::parse(&with_sum("8=FIX.4.2|9=6|35=AE|")).map(|message| message.kind()), Ok(0));
    }

    #[test]
    fn a_message_is_written_as_the_specification_says_and_numbered() {
        let mut out = [0; 128];
        let mut writer = Writer::new(b'0', &mut out);
        writer.field(tag::SENDER_COMP_ID, b"US").number(tag::TEST_REQ_ID, 70);
        let length = writer.finish().unwrap();
        let text = |sequence: &str| with_sum(&format!("8=FIX.4.2|9=031|35=0|34={sequence}|49=US|112=70|"));
        assert_eq!(out[..length], text("000000000"));
        for sequence in [999_999_999, 1, 120] {
            number(&mut out[..length], sequence);
            assert_eq!(out[..length], text(&format!("{sequence:09}")));
        }
        assert_eq!(Writer::new(b'0', &mut [0; 20]).finish(), Err(Error::NoRoom { needed: 41, found: 20 }));
    }

    #[test]
    fn prices_have_four_decimals_and_no_sign() {
        let price = |text: &str| {
            let body = format!("35=8|44={text}|");
            Message::parse(&with_sum(&format!("8=FIX.4.2|9={}|{body}", body.len()))).unwrap().price(tag::PRICE)
        };
        assert_eq!(price("000123.4500"), Some(1_234_500));
        assert_eq!((price("7"), price("7."), price("0.00019")), (Some(70_000), Some(70_000), Some(1)));
        assert_eq!((price("-7"), price("7.x"), price(".5"), price("1e3")), (None, None, None, None));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let mut utc = Utc::default();
        // By `date -u -d @N`.
        for (ns, text) in [
            (0, "19700101-00:00:00.000"),
            (951_827_696_789_000_000, "20000229-12:34:56.789"),
            (1_409_537_237_077_786_000, "20140901-02:07:17.077"),
            (4_102_444_799_999_999_999, "20991231-23:59:59.999"),
        ] {
            assert_eq!(utc.text(ns), text.as_bytes(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in "[0-9=\\x01A-C.]{0,60}", length in 0usize..70, cut in 0usize..100) {
            let bytes = with_sum(&format!("8=FIX.4.2|9={length}|{body}"));
            for bytes in [&bytes[..], &bytes[..cut.min(bytes.len())]] {
                if let Ok(message) = Message::parse(bytes) {
                    prop_assert!(message.length() <= bytes.len());
                    let _ = (message.price(44), message.number(34), message.time_of_day_ns(60));
                }
            }
        }
    }
}
