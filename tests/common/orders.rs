//! Order files as a stranger reads them: pcap, Ethernet, IPv4 and UDP by their own rules (the oracle's reader, checksums
//! verified), SoupBinTCP and OUCH 5.0 by the offsets of the specifications. Shares no line with `tickpath::wire`.

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
        let length = be(payload, 0, 2) as usize;
        assert_eq!(length + 2, payload.len(), "frame {at}: one SoupBinTCP packet");
        assert_eq!(payload[2], b'U', "frame {at}: unsequenced data");
        let message = &payload[3..];
        let text =
            |from: usize, to: usize| String::from_utf8(message[from..to].to_vec()).unwrap().trim_end().to_owned();
        let order = match message[0] {
            b'O' => {
                assert_eq!(message.len(), 47, "frame {at}");
                let (id, symbol, side) = (be(message, 1, 4), text(10, 18), message[5]);
                assert!(matches!(side, b'B' | b'S'), "frame {at}");
                let taken = standing.values().any(|s| *s == (symbol.clone(), side));
                assert!(!taken, "frame {at}: {symbol} {} has a standing order", side as char);
                standing.insert(id, (symbol.clone(), side));
                let (qty, price) = (be(message, 6, 4), be(message, 18, 8) as i64);
                Order { stamp_ns: frame.stamp_ns, kind: b'O', id, symbol, side, qty, price }
            }
            b'U' => {
                assert_eq!(message.len(), 40, "frame {at}");
                let (old, id) = (be(message, 1, 4), be(message, 5, 4));
                let (symbol, side) =
                    standing.remove(&old).unwrap_or_else(|| panic!("frame {at}: {old} does not stand"));
                standing.insert(id, (symbol.clone(), side));
                let (qty, price) = (be(message, 9, 4), be(message, 13, 8) as i64);
                Order { stamp_ns: frame.stamp_ns, kind: b'U', id, symbol, side, qty, price }
            }
            b'X' => {
                assert_eq!(message.len(), 9, "frame {at}");
                let id = be(message, 1, 4);
                let (symbol, side) = standing.remove(&id).unwrap_or_else(|| panic!("frame {at}: {id} does not stand"));
                assert_eq!(be(message, 5, 4), 0, "frame {at}: all of it");
                Order { stamp_ns: frame.stamp_ns, kind: b'X', id, symbol, side, qty: 0, price: 0 }
            }
            other => panic!("frame {at}: an OUCH message {:?}", other as char),
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
