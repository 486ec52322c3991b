//! Order files as a stranger reads them: pcap, Ethernet, IPv4 and UDP by their own rules (the oracle's reader, checksums
//! verified), SoupBinTCP with OUCH 5.0, BOE 2 and FIX 4.2 by the tables of the specifications. Shares no line with `tickpath::wire`.

#![allow(dead_code)]

use super::oracle::{be, frames, udp_payload};
use std::collections::HashMap;
use std::path::Path;

/// An order message with what it means: for Replace and Cancel, side and symbol of the order they name.
#[derive(Clone, Debug)]
pub struct Order {
    pub stamp_ns: u64,
    /// `O`, `U` or `X`.
    pub kind: u8,
    pub id: u64,
    pub symbol: String,
    pub side: u8,
    pub qty: u64,
    pub price: i64,
}

/// Every order of a file, after checking that each frame is right and that together they make sense: ids rise, an order
/// is replaced or cancelled only while it stands, and no side of an instrument has two standing orders.
pub fn read(path: &Path) -> Vec<Order> {
    let mut orders = Vec::new();
    // Standing orders: symbol, side.
    let mut standing: HashMap<u64, (String, u8)> = HashMap::new();
    let (mut last_id, mut last_stamp) = (0, 0);
    for (at, frame) in frames(path).iter().enumerate() {
        assert!(frame.stamp_ns >= last_stamp, "frame {at}: stamps fall");
        last_stamp = frame.stamp_ns;
        assert_eq!(frame.bytes.len(), frame.wire_len, "frame {at}");
        let (address, port, payload) = udp_payload(&frame.bytes, true).unwrap_or_else(|e| panic!("frame {at}: {e}"));
        assert_eq!((address, port), ([10, 0, 1, 1], 26_400), "frame {at}");
        assert_ne!(be(&frame.bytes, 40, 2), 0, "frame {at} has a UDP checksum");
        let Said { kind, id, old, symbol, side, qty, price } = match payload {
            [0xba, 0xba, ..] => boe(payload),
            [b'8', b'=', ..] => fix(payload),
            _ => ouch(payload),
        }
        .unwrap_or_else(|| panic!("frame {at}: {}", payload.escape_ascii()));
        let number = number(payload);
        assert!(number.is_none_or(|number| number == 1 + at as u64), "frame {at} is numbered {number:?}");
        let mut gone = |id| standing.remove(&id).unwrap_or_else(|| panic!("frame {at}: {id} does not stand"));
        let stamp_ns = frame.stamp_ns;
        let order = match kind {
            b'O' => {
                let (symbol, side) = (symbol.unwrap(), side.unwrap());
                assert!(matches!(side, b'B' | b'S'), "frame {at}");
                let taken = standing.values().any(|s| *s == (symbol.clone(), side));
                assert!(!taken, "frame {at}: {symbol} {} has a standing order", side as char);
                standing.insert(id, (symbol.clone(), side));
                Order { stamp_ns, kind, id, symbol, side, qty, price }
            }
            b'U' => {
                let known = gone(old);
                assert!(symbol.is_none_or(|s| s == known.0) && side.is_none_or(|s| s == known.1), "frame {at}");
                standing.insert(id, known.clone());
                Order { stamp_ns, kind, id, symbol: known.0, side: known.1, qty, price }
            }
            _ => {
                let known = gone(id);
                assert!(symbol.is_none_or(|s| s == known.0) && side.is_none_or(|s| s == known.1), "frame {at}");
                assert_eq!(qty, 0, "frame {at}: all of it");
                Order { stamp_ns, kind, id, symbol: known.0, side: known.1, qty: 0, price: 0 }
            }
        };
        if order.kind != b'X' {
            assert!(order.id > last_id, "frame {at}: id {} after {last_id}", order.id);
            last_id = order.id;
            assert!(order.qty > 0 && order.price > 0, "frame {at}: {order:?}");
        }
        orders.push(order);
    }
    orders
}

/// What a message says, in whatever protocol; `None` where it does not say it.
struct Said {
    /// `O`, `U` or `X`.
    kind: u8,
    id: u64,
    /// Replace: the order that goes.
    old: u64,
    symbol: Option<String>,
    /// `B` or `S`.
    side: Option<u8>,
    qty: u64,
    price: i64,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().trim_end_matches([' ', '\0']).to_owned()
}

/// OUCH 5.0 in a SoupBinTCP packet of unsequenced data.
fn ouch(payload: &[u8]) -> Option<Said> {
    if be(payload, 0, 2) as usize + 2 != payload.len() || payload[2] != b'U' {
        return None;
    }
    let message = &payload[3..];
    let said = Said { kind: message[0], id: 0, old: 0, symbol: None, side: None, qty: 0, price: 0 };
    match (message[0], message.len()) {
        (b'O', 47) => Some(Said {
            id: be(message, 1, 4),
            symbol: Some(text(&message[10..18])),
            side: Some(message[5]),
            qty: be(message, 6, 4),
            price: be(message, 18, 8) as i64,
            ..said
        }),
        (b'U', 40) => Some(Said {
            old: be(message, 1, 4),
            id: be(message, 5, 4),
            qty: be(message, 9, 4),
            price: be(message, 13, 8) as i64,
            ..said
        }),
        (b'X', 9) => Some(Said { id: be(message, 1, 4), qty: be(message, 5, 4), ..said }),
        _ => None,
    }
}

/// BOE 2: the offsets of New Order, Modify Order and Cancel Order, with the optional fields that are expected.
fn boe(payload: &[u8]) -> Option<Said> {
    let le = |from: usize, length: usize| payload[from..from + length].iter().rfold(0, |n, b| n << 8 | u64::from(*b));
    let id = |from: usize| text(&payload[from..from + 20]).parse().unwrap();
    if le(2, 2) as usize + 2 != payload.len() || payload[5] != 0 {
        return None;
    }
    let said = Said { kind: b'X', id: id(10), old: 0, symbol: None, side: None, qty: 0, price: 0 };
    match (payload[4], payload.len()) {
        // Price, limit, day, symbol, principal, book only.
        (0x38, 61) if payload[35..38] == [2, 0x34, 0xc1] && payload[46..48] == *b"20" && payload[56..58] == *b"PB" => {
            Some(Said {
                kind: b'O',
                side: Some(match payload[30] {
                    b'1' => b'B',
                    b'2' => b'S',
                    _ => return None,
                }),
                qty: le(31, 4),
                price: le(38, 8) as i64,
                symbol: Some(text(&payload[48..56])),
                ..said
            })
        }
        // Quantity and price.
        (0x3a, 64) if payload[50..52] == [1, 0x0c] => {
            Some(Said { kind: b'U', old: id(30), qty: le(52, 4), price: le(56, 8) as i64, ..said })
        }
        (0x39, 31) if payload[30] == 0 => Some(said),
        _ => None,
    }
}

/// FIX 4.2: length and sum, then fields by tag.
fn fix(payload: &[u8]) -> Option<Said> {
    let text = std::str::from_utf8(payload).ok()?;
    let sum = payload[..payload.len() - 7].iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256;
    let fields: HashMap<u32, &str> = text
        .trim_end_matches('\x01')
        .split('\x01')
        .map(|field| field.split_once('=').map(|(tag, value)| (tag.parse().unwrap(), value)))
        .collect::<Option<_>>()?;
    let length = text.find("\x0110=")? + 1 - (text.find("\x0135=")? + 1);
    if fields[&9].parse() != Ok(length) || fields[&10] != format!("{sum:03}") || fields[&8] != "FIX.4.2" {
        return None;
    }
    let number = |tag: u32| fields.get(&tag).map_or(0, |value| value.parse().unwrap());
    let price = fields.get(&44).map_or(0, |value| value.replace('.', "").parse().unwrap());
    let side = match fields[&54] {
        "1" => b'B',
        "2" => b'S',
        _ => return None,
    };
    let said = Said {
        kind: b'X',
        id: 0,
        old: 0,
        symbol: Some(fields[&55].to_owned()),
        side: Some(side),
        qty: number(38),
        price,
    };
    match fields[&35] {
        "D" => Some(Said { kind: b'O', id: number(11), ..said }),
        "G" => Some(Said { kind: b'U', id: number(11), old: number(41), ..said }),
        "F" if fields[&11].starts_with(fields[&41]) => Some(Said { id: number(41), ..said }),
        _ => None,
    }
}

/// The number that a message bears, in the protocols that have one there.
fn number(payload: &[u8]) -> Option<u64> {
    match payload {
        [0xba, 0xba, ..] => Some(payload[6..10].iter().rfold(0, |n, b| n << 8 | u64::from(*b))),
        [b'8', b'=', ..] => std::str::from_utf8(payload).ok()?.split('\x01').nth(3)?.strip_prefix("34=")?.parse().ok(),
        _ => None,
    }
}
