//! OUCH 5.0 as the exchange speaks it: a client's message becomes a [`Request`], a [`Response`] becomes bytes. Written from
//! the specification's tables and apart from `wire::ouch50`, so that each checks the other.
//!
//! Big-endian; prices have four implied decimals; times are ns since midnight. An appendage is a list of
//! { length, tag, value }, the length counting tag and value; it is checked and not acted upon.

/// Why an order was refused (Order Rejected, reason).
pub mod reject {
    /// Order entry is closed.
    pub const CLOSED: u16 = 0x02;
    /// The instrument is halted.
    pub const HALTED: u16 = 0x07;
    /// Neither buy nor sell.
    pub const BAD_SIDE: u16 = 0x09;
    /// None of the other reasons; the simulator's own whim.
    pub const OTHER: u16 = 0x0F;
    /// No shares, or a million and more.
    pub const BAD_QUANTITY: u16 = 0x13;
    /// The order to be replaced does not stand.
    pub const NO_REPLACE: u16 = 0x15;
    /// A symbol that does not trade here.
    pub const BAD_SYMBOL: u16 = 0x17;
    /// No price, or one above 199,999.9900.
    pub const BAD_PRICE: u16 = 0x1D;
}

/// Why shares were taken off (Order Canceled, reason).
pub mod cancel {
    /// The client asked.
    pub const USER: u8 = b'U';
    /// The rest of an immediate-or-cancel order.
    pub const IMMEDIATE: u8 = b'I';
    /// The end of the day.
    pub const TIMEOUT: u8 = b'T';
    /// The instrument was halted.
    pub const HALTED: u8 = b'H';
    /// The session was lost.
    pub const SYSTEM: u8 = b'Z';
}

/// Most shares of an order.
pub const MAX_QTY: u32 = 999_999;
/// Highest limit: 199,999.9900.
pub const MAX_PRICE: u64 = 1_999_999_900;
/// Time in force: immediate or cancel.
pub const IMMEDIATE_OR_CANCEL: u8 = b'3';

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A new order.
    Enter {
        /// Its number.
        urn: u32,
        /// What it says.
        terms: Terms,
    },
    /// One order in place of another.
    Replace {
        /// The order that goes.
        original: u32,
        /// Number of the order that comes.
        urn: u32,
        /// Shares that shall stand.
        qty: u32,
        /// New limit.
        price: u64,
        /// New time in force.
        time_in_force: u8,
        /// New display.
        display: u8,
        /// New intermarket sweep eligibility.
        sweep: u8,
        /// New client order id.
        client_id: [u8; 14],
    },
    /// Fewer shares of an order, or none.
    Cancel {
        /// The order.
        urn: u32,
        /// Shares that shall remain; 0 cancels all.
        qty: u32,
    },
    /// A change of side marking or a smaller quantity (`M`), which this exchange does not offer.
    Modify {
        /// The order.
        urn: u32,
    },
    /// An account query (`Q`): which number may come next.
    Query,
}

/// What an order says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `B` buy, `S` sell, `T` sell short, `E` sell short exempt.
    pub side: u8,
    /// Shares.
    pub qty: u32,
    /// Symbol, space-padded.
    pub symbol: [u8; 8],
    /// Limit.
    pub price: u64,
    /// `0` day, `3` immediate or cancel, …
    pub time_in_force: u8,
    /// `Y` displayed, …
    pub display: u8,
    /// `A` agency, `P` principal, …
    pub capacity: u8,
    /// `Y` for an intermarket sweep order.
    pub sweep: u8,
    /// `N` continuous market, …
    pub cross: u8,
    /// The client's own text.
    pub client_id: [u8; 14],
}

/// Why a message is not one of OUCH 5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Nothing, or a type that a client does not send.
    Type,
    /// Too short, or bytes behind its end.
    Length,
    /// An appendage whose elements do not fill it.
    Appendage,
}

impl Request {
    /// The request in the payload of a SoupBinTCP packet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(message: &[u8]) -> Result<Request, Malformed> {
        let (&kind, body) = message.split_first().ok_or(Malformed::Type)?;
        let mut body = Fields(body);
        let request = match kind {
            b'O' => Request::Enter {
                urn: body.u32()?,
                terms: Terms {
                    side: body.u8()?,
                    qty: body.u32()?,
                    symbol: body.take()?,
                    price: body.u64()?,
                    time_in_force: body.u8()?,
                    display: body.u8()?,
                    capacity: body.u8()?,
                    sweep: body.u8()?,
                    cross: body.u8()?,
                    client_id: body.take()?,
                },
            },
            b'U' => Request::Replace {
                original: body.u32()?,
                urn: body.u32()?,
                qty: body.u32()?,
                price: body.u64()?,
                time_in_force: body.u8()?,
                display: body.u8()?,
                sweep: body.u8()?,
                client_id: body.take()?,
            },
            b'X' => Request::Cancel { urn: body.u32()?, qty: body.u32()? },
            b'M' => {
                let urn = body.u32()?;
                body.take::<5>()?;
                Request::Modify { urn }
            }
            b'Q' => Request::Query,
            _ => return Err(Malformed::Type),
        };
        let must_have_appendage = matches!(kind, b'O' | b'U');
        if must_have_appendage || !body.0.is_empty() {
            body.appendage()?;
        }
        Ok(request)
    }
}

/// What remains to be read of a message.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    /// Length and elements; nothing may follow.
    fn appendage(&mut self) -> Result<(), Malformed> {
        let length = usize::from(self.take().map(u16::from_be_bytes)?);
        if self.0.len() != length {
            return Err(Malformed::Length);
        }
        while let Some((&length, rest)) = self.0.split_first() {
            // A length of 0 would leave no room for the tag.
            self.0 = rest.get(usize::from(length)..).filter(|_| length > 0).ok_or(Malformed::Appendage)?;
        }
        Ok(())
    }
}

/// What the exchange says of an order. Every response begins with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The day begins (`S`) or ends (`E`).
    System {
        /// Which.
        event: u8,
    },
    /// An order stands, or is executed at once.
    Accepted {
        /// Its number.
        urn: u32,
        /// As it stands.
        terms: Terms,
        /// The exchange's number.
        reference: u64,
    },
    /// An order stands in place of another.
    Replaced {
        /// The order that went.
        original: u32,
        /// Its number.
        urn: u32,
        /// As it stands.
        terms: Terms,
        /// The exchange's number.
        reference: u64,
    },
    /// Shares were taken off.
    Canceled {
        /// The order.
        urn: u32,
        /// How many.
        qty: u32,
        /// Why; see [`cancel`].
        reason: u8,
    },
    /// Shares were traded.
    Executed {
        /// The order.
        urn: u32,
        /// How many.
        qty: u32,
        /// At what price.
        price: u64,
        /// `A` when it stood, `R` when it came.
        liquidity: u8,
        /// Number of the match.
        match_number: u64,
    },
    /// The next reference that is taken.
    Query {
        /// It.
        next: u32,
    },
    /// The order was refused.
    Rejected {
        /// The order.
        urn: u32,
        /// Why; see [`reject`].
        reason: u16,
        /// The client's own text.
        client_id: [u8; 14],
    },
}

impl Response {
    /// Its bytes, stamped `now_ns` since midnight.
    pub fn bytes(&self, now_ns: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(68);
        let mut head = |kind: u8| {
            out.push(kind);
            out.extend(now_ns.to_be_bytes());
        };
        match *self {
            Response::System { event } => {
                head(b'S');
                out.push(event);
            }
            Response::Accepted { urn, terms, reference } => {
                head(b'A');
                out.extend(urn.to_be_bytes());
                terms.put(&mut out, reference);
            }
            Response::Replaced { original, urn, terms, reference } => {
                head(b'U');
                out.extend(original.to_be_bytes());
                out.extend(urn.to_be_bytes());
                terms.put(&mut out, reference);
            }
            Response::Canceled { urn, qty, reason } => {
                head(b'C');
                out.extend(urn.to_be_bytes());
                out.extend(qty.to_be_bytes());
                out.push(reason);
            }
            Response::Executed { urn, qty, price, liquidity, match_number } => {
                head(b'E');
                out.extend(urn.to_be_bytes());
                out.extend(qty.to_be_bytes());
                out.extend(price.to_be_bytes());
                out.push(liquidity);
                out.extend(match_number.to_be_bytes());
                out.extend(NO_APPENDAGE);
            }
            Response::Query { next } => {
                head(b'Q');
                out.extend(next.to_be_bytes());
            }
            Response::Rejected { urn, reason, client_id } => {
                head(b'J');
                out.extend(urn.to_be_bytes());
                out.extend(reason.to_be_bytes());
                out.extend(client_id);
            }
        }
        out
    }
}

const NO_APPENDAGE: [u8; 2] = [0; 2];
/// State of an order: live.
const LIVE: u8 = b'L';

impl Terms {
    /// From the side to the end of Accepted and Replaced, which they share.
    fn put(&self, out: &mut Vec<u8>, reference: u64) {
        out.push(self.side);
        out.extend(self.qty.to_be_bytes());
        out.extend(self.symbol);
        out.extend(self.price.to_be_bytes());
        out.extend([self.time_in_force, self.display]);
        out.extend(reference.to_be_bytes());
        out.extend([self.capacity, self.sweep, self.cross, LIVE]);
        out.extend(self.client_id);
        out.extend(NO_APPENDAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As captured, without the SoupBinTCP header.
    const ENTER: &[u8] = b"O\0\0\0\x71T\0\0\0\xe1CVLT    \0\0\0\0\0\x09\x9d\xb80YANNH8FUB8IV      \0\x06\x05\x02LIME";
    const CANCEL: &[u8] = b"X\0\x75\x2e\x71\0\0\0\0";

    #[test]
    fn captured_requests_show_their_fields() {
        let terms = Terms {
            side: b'T',
            qty: 225,
            symbol: *b"CVLT    ",
            price: 630_200,
            time_in_force: b'0',
            display: b'Y',
            capacity: b'A',
            sweep: b'N',
            cross: b'N',
            client_id: *b"H8FUB8IV      ",
        };
        assert_eq!(Request::read(ENTER), Ok(Request::Enter { urn: 113, terms }));
        assert_eq!(Request::read(CANCEL), Ok(Request::Cancel { urn: 7_679_601, qty: 0 }));
    }

    #[test]
    fn a_replace_shows_its_fields() {
        let bytes = b"U\0\0\0\x07\0\0\0\x08\0\0\0\x64\0\0\0\0\0\0\x27\x100YN8             \0\0";
        let expected = Request::Replace {
            original: 7,
            urn: 8,
            qty: 100,
            price: 10_000,
            time_in_force: b'0',
            display: b'Y',
            sweep: b'N',
            client_id: *b"8             ",
        };
        assert_eq!(Request::read(bytes), Ok(expected));
    }

    #[test]
    fn what_is_not_ouch_is_told_apart() {
        assert_eq!(Request::read(b""), Err(Malformed::Type));
        assert_eq!(Request::read(b"A"), Err(Malformed::Type));
        for length in 1..ENTER.len() {
            assert_eq!(Request::read(&ENTER[..length]), Err(Malformed::Length), "{length}");
        }
        assert_eq!(Request::read(&[ENTER, b"x"].concat()), Err(Malformed::Length));
        assert_eq!(Request::read(&[CANCEL, b"x"].concat()), Err(Malformed::Length));
        // An element that runs past the appendage, and one without a tag.
        let with_appendage = |appendage: &[u8]| [CANCEL, &[0, appendage.len() as u8], appendage].concat();
        assert_eq!(Request::read(&with_appendage(&[3, 2])), Err(Malformed::Appendage));
        assert_eq!(Request::read(&with_appendage(&[0, 2])), Err(Malformed::Appendage));
        assert!(Request::read(&with_appendage(&[2, 2, 7])).is_ok());
    }

    #[test]
    fn responses_are_laid_out_as_the_specification_says() {
        let captured = b"C\0\0\x28\x9b\x4d\x68\x13\x17\0\x75\x3a\x8d\0\0\0\x28U";
        let canceled = Response::Canceled { urn: 7_682_701, qty: 40, reason: cancel::USER };
        assert_eq!(canceled.bytes(0x289b_4d68_1317), captured);

        let Ok(Request::Enter { urn, terms }) = Request::read(ENTER) else { panic!("an enter") };
        let accepted = b"A\0\0\0\0\0\0\0\x09\0\0\0\x71T\0\0\0\xe1CVLT    \0\0\0\0\0\x09\x9d\xb80Y\0\0\0\0\0\0\x01\0ANNLH8FUB8IV      \0\0";
        assert_eq!(Response::Accepted { urn, terms, reference: 256 }.bytes(9), accepted);
        let replaced = Response::Replaced { original: 1, urn, terms, reference: 256 }.bytes(9);
        assert_eq!(replaced[..13], *b"U\0\0\0\0\0\0\0\x09\0\0\0\x01");
        assert_eq!(replaced[13..], accepted[9..]);

        let executed = Response::Executed { urn: 7, qty: 8, price: 10_000, liquidity: b'R', match_number: 256 };
        assert_eq!(
            executed.bytes(9),
            b"E\0\0\0\0\0\0\0\x09\0\0\0\x07\0\0\0\x08\0\0\0\0\0\0\x27\x10R\0\0\0\0\0\0\x01\0\0\0"
        );
        let rejected = Response::Rejected { urn: 7, reason: reject::BAD_PRICE, client_id: [b'x'; 14] };
        assert_eq!(rejected.bytes(9), b"J\0\0\0\0\0\0\0\x09\0\0\0\x07\0\x1dxxxxxxxxxxxxxx");
        assert_eq!(Response::System { event: b'S' }.bytes(9), b"S\0\0\0\0\0\0\0\x09S");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(kind in prop::sample::select(&b"OUXMQ?"[..]), rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Request::read(&[&[kind], &rest[..]].concat());
        }
    }
}
