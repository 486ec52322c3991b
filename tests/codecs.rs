//! The codecs against real captures. Expected values were taken from tshark (headers, framing, checksum states) and read
//! by hand from the hex with the specifications' tables; the tables stand here once more, apart from the codecs, and
//! every message of every capture is decoded both ways.

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use pcap_file::pcap::PcapReader;
use tickpath::wire::checksum::Checksum;
use tickpath::wire::udp::ChecksumState;
use tickpath::wire::{boe20, deep10, ethernet, iextp, ipv4, itch50, moldudp64, ouch50, soupbin, udp};

/// ITCH: type, length, then `offset:bytes` of the fields behind the common head; `t` for text.
const ITCH: &[(u8, usize, &str)] = &[
    (b'S', 12, "11:t1"),
    (b'R', 39, "11:t8 19:t1 20:t1 21:4 25:t1 26:t1 27:t2 29:t1 30:t1 31:t1 32:t1 33:t1 34:4 38:t1"),
    (b'H', 25, "11:t8 19:t1 20:1 21:t4"),
    (b'Y', 20, "11:t8 19:t1"),
    (b'L', 26, "11:t4 15:t8 23:t1 24:t1 25:t1"),
    (b'J', 35, "11:t8 19:4 23:4 27:4 31:4"),
    (b'A', 36, "11:8 19:t1 20:4 24:t8 32:4"),
    (b'F', 40, "11:8 19:t1 20:4 24:t8 32:4 36:t4"),
    (b'E', 31, "11:8 19:4 23:8"),
    (b'C', 36, "11:8 19:4 23:8 31:t1 32:4"),
    (b'X', 23, "11:8 19:4"),
    (b'D', 19, "11:8"),
    (b'U', 35, "11:8 19:8 27:4 31:4"),
    (b'P', 44, "11:8 19:t1 20:4 24:t8 32:4 36:8"),
    (b'Q', 40, "11:8 19:t8 27:4 31:8 39:t1"),
    (b'I', 50, "11:8 19:8 27:t1 28:t8 36:4 40:4 44:4 48:t1 49:t1"),
];
const ITCH_HEAD: &str = "1:2 3:2 5:6";

/// DEEP: type, length, then all fields; the type byte is one where a view serves two types.
const DEEP: &[(u8, usize, &str)] = &[
    (b'S', 10, "1:t1 2:8"),
    (b'H', 22, "1:t1 2:8 10:t8 18:t4"),
    (b'O', 18, "1:t1 2:8 10:t8"),
    (b'P', 19, "1:1 2:8 10:t8 18:t1"),
    (b'E', 18, "1:t1 2:8 10:t8"),
    (b'8', 30, "0:t1 1:1 2:8 10:t8 18:4 22:8"),
    (b'5', 30, "0:t1 1:1 2:8 10:t8 18:4 22:8"),
    (b'T', 38, "0:t1 1:1 2:8 10:t8 18:4 22:8 30:8"),
    (b'B', 38, "0:t1 1:1 2:8 10:t8 18:4 22:8 30:8"),
];

/// First message of each Nasdaq capture, packets in it, and whether its addressing was left in.
const NASDAQ: &[(&str, usize, bool, &str)] = &[
    ("anon-AddOrderNoMPID", 5, false, "A 5528 0 34199999894278 23508286 B 1600 IVOO 873900"),
    ("anon-AddOrderWithMPID", 5, false, "F 1738 0 34199999977782 18923125 S 100 CASY 2555200 FLTU"),
    ("anon-CrossTrade", 5, false, "Q 983 1 34200000483331 0 BAC-Q 0 255550 O"),
    ("anon-LULDAuctionCollar", 5, false, "J 11325 0 34215592415125 ZXZZT 133400 140100 109200 0"),
    ("anon-MarketParticipantPosition", 5, false, "L 3648 0 34224468064326 MAXM FDLS Y N A"),
    ("anon-NetOrderImbalanceIndicator", 5, false, "I 7853 0 34200000087025 0 0 O PFTAW 0 0 0 O -"),
    ("anon-NonCrossTrade", 5, false, "P 4499 2 34200000684713 0 B 100 GOOGL 1284600 255554"),
    ("anon-OrderCancel", 5, false, "X 9413 0 34200002394205 33823232 100"),
    ("anon-OrderDelete", 5, false, "D 3353 0 34199999889645 23442714"),
    ("anon-OrderExecuted", 5, false, "E 2345 2 34199999934561 23499418 25 255547"),
    ("anon-OrderExecutedWithPrice", 5, false, "C 5092 1 34200001163323 19993566 4926 255581 N 224800"),
    ("anon-OrderReplace", 5, false, "U 7603 0 34199999836649 15108479 21361351 100 1062600"),
    ("anon-RegSHORestriction", 5, false, "Y 9405 0 34200116533431 SOPA 1"),
    ("anon-StockTradingAction", 5, false, "H 11325 0 34215592125541 ZXZZT P 32 LUDP"),
    ("anon-SystemEvent", 1, false, "S 0 0 34200000070384 Q"),
    ("live-AddOrderNoMpidAttributionMessage", 1, true, "A 5528 0 34199999894278 23508286 B 1600 IVOO 873900"),
    ("live-MarketParticipantPositionMessage", 1, true, "L 3731 0 34224494802989 MAXM FGMC Y N A"),
    ("live-Multiple.Packets", 2, true, "D 2737 0 34200007495351 23485802"),
    ("live-NetOrderImbalanceIndicatorMessage", 1, true, "I 6462 0 34200000268978 1 0 N MDC 464400 464400 464400 O L"),
    ("live-OrderDeleteMessage", 1, true, "D 3517 0 34199999896280 23497686"),
    ("live-OrderExecutedMessage", 1, true, "E 2345 2 34199999934561 23499418 25 255547"),
    ("live-OrderReplaceMessage", 1, true, "U 7603 0 34199999836649 15108479 21361351 100 1062600"),
    ("live-StockTradingActionMessage", 1, true, "H 464 0 34763322465824 AMC T 32 -"),
];

#[test]
fn every_nasdaq_capture_decodes_field_by_field() {
    let Some(captures) = common::captures() else { return };
    let folder = captures.join("nasdaq-itch50");
    let on_disk = std::fs::read_dir(&folder).unwrap().filter(|f| has_extension(&f.as_ref().unwrap().path(), "pcap"));
    assert_eq!(on_disk.count(), NASDAQ.len(), "a capture has no expectation here");
    for &(name, packets, addressed, first) in NASDAQ {
        let frames = frames(&folder.join(name).with_added_extension("pcap"));
        assert_eq!(frames.len(), packets, "{name}");
        let mut lines = Vec::new();
        for frame in &frames {
            let mold = moldudp64::Packet::parse(nasdaq_payload(frame, addressed)).unwrap();
            assert_eq!(mold.session(), if addressed { *b"000010059B" } else { [0; 10] });
            let messages: Vec<_> = mold.messages().map(Result::unwrap).collect();
            assert_eq!(messages.len(), usize::from(mold.count()), "{name}");
            lines.extend(messages.into_iter().map(check_itch));
        }
        assert_eq!(lines[0], first, "{name}");
    }
}

#[test]
fn the_full_nasdaq_packet_holds_38_messages_in_1472_bytes() {
    let Some(captures) = common::captures() else { return };
    let frames = frames(&captures.join("nasdaq-itch50/live-Multiple.Packets.pcap"));
    // (sequence, lengths) as tshark's MoldUDP64 dissector shows them.
    let mut lengths = vec![36; 38];
    (lengths[8], lengths[13]) = (40, 40);
    let expected = [(14_764_496, vec![19]), (19_009_117, lengths)];
    for (frame, (sequence, lengths)) in frames.iter().zip(expected) {
        let mold = moldudp64::Packet::parse(nasdaq_payload(frame, true)).unwrap();
        assert_eq!((mold.sequence(), mold.kind()), (sequence, moldudp64::Kind::Messages));
        assert_eq!(mold.messages().map(|m| m.unwrap().len()).collect::<Vec<_>>(), lengths);
    }
    assert_eq!(nasdaq_payload(&frames[1], true).len(), 1472);
}

#[test]
fn nasdaq_packets_are_emitted_as_they_were_captured() {
    let Some(captures) = common::captures() else { return };
    for &(name, _, _, _) in NASDAQ.iter().filter(|row| row.2) {
        for frame in frames(&captures.join("nasdaq-itch50").join(name).with_added_extension("pcap")) {
            let ethernet = ethernet::Frame::parse(&frame).unwrap();
            let ip = ipv4::Packet::parse(ethernet.payload()).unwrap();
            let datagram = udp::Datagram::parse(ip.payload()).unwrap();
            let mold = moldudp64::Packet::parse(datagram.payload()).unwrap();

            let mut out = vec![0; frame.len()];
            let mut at = ethernet.repr().emit(&mut out).unwrap();
            let ip_repr = ipv4::Repr {
                src: ip.src(),
                dst: ip.dst(),
                protocol: ip.protocol(),
                ttl: ip.header().ttl(),
                service: 0,
                identification: ip.header().identification(),
            };
            at += ip_repr.emit(ip.payload().len(), &mut out[at..]).unwrap();
            let start = at;
            let udp_repr = udp::Repr { src_port: datagram.src_port(), dst_port: datagram.dst_port() };
            at += udp_repr.emit(datagram.payload().len(), &mut out[at..]).unwrap();
            let mut builder = moldudp64::Builder::new(&mut out[at..], mold.session(), mold.sequence()).unwrap();
            mold.messages().for_each(|message| builder.push(message.unwrap()).unwrap());
            at += builder.finish();
            udp::fill_checksum(&mut out[start..at], ip.src(), ip.dst());
            assert_eq!(out[..at], frame[..at], "{name}");
        }
    }
}

#[test]
fn the_first_thousand_messages_of_a_day_are_counted_by_type() {
    let Some(captures) = common::captures() else { return };
    let file = std::fs::read(captures.join("nasdaq-itch50/nasdaq-first1000.itch50")).unwrap();
    let mut counts = BTreeMap::new();
    let mut rest = &file[..];
    while let Some((length, tail)) = rest.split_first_chunk() {
        let (message, tail) = tail.split_at(u16::from_be_bytes(*length).into());
        check_itch(message);
        *counts.entry(char::from(itch50::parse(message).unwrap().kind())).or_insert(0) += 1;
        rest = tail;
    }
    // Counted by a script that reads lengths and first bytes only.
    assert_eq!(counts, BTreeMap::from([('R', 993), ('H', 3), ('Y', 3), ('S', 1)]));
}

#[test]
fn the_deep_sample_decodes_to_its_known_counts() {
    let Some(captures) = common::captures() else { return };
    let mut counts = BTreeMap::new();
    let (mut packets, mut heartbeats, mut sums, mut falls) = (0, 0, [0; 3], 0);
    let mut next: Option<(i64, i64)> = None;
    each_frame(&captures.join("iex-deep10/sample-first-60000.pcap.gz"), |frame| {
        let (segment, sum) = deep_segment(frame);
        let header = segment.header();
        packets += 1;
        heartbeats += usize::from(segment.kind() == iextp::Kind::Heartbeat);
        sums[sum as usize] += 1;
        let here = (header.sequence(), header.stream_offset());
        if let Some(next) = next.filter(|&next| next != here) {
            assert!(here.0 < next.0, "a gap: {next:?} expected, {here:?} found");
            falls += 1;
        }
        next = Some((here.0 + i64::from(header.count()), here.1 + i64::from(header.payload_length())));
        for message in segment.messages() {
            let message = message.unwrap();
            let kind = deep10::parse(message).unwrap().kind();
            let seen = counts.entry(char::from(kind)).or_insert(0);
            // Both decoders on all of the rare messages and a sample of the frequent ones.
            if *seen < 10_000 {
                check_deep(message);
            }
            *seen += 1;
        }
    });
    assert_eq!((packets, heartbeats), (60_000, 7_857));
    assert_eq!(sums, [0, 1, 59_999], "UDP checksums absent, right and wrong, as tshark counts them");
    assert_eq!(
        counts,
        BTreeMap::from([
            ('H', 93_638),
            ('O', 93_638),
            ('P', 93_636),
            ('T', 29_970),
            ('5', 9_597),
            ('8', 9_318),
            ('E', 59),
            ('S', 43),
            ('B', 37),
        ])
    );
    assert_eq!(falls, 11, "times that the sequence falls back");
}

#[test]
fn single_deep_messages_decode_field_by_field() {
    let Some(captures) = common::captures() else { return };
    let folder = captures.join("iex-deep10");
    for (name, count, payload_length, offset, sequence, lines) in [
        ("Heartbeat", 0, 0, 0, 1, &[][..]),
        ("PriceLevelBuyUpdateMessage", 1, 32, 11_243_153, 355_166, &["8 8 1 1611692981294956478 V 190 2027700"]),
        ("PriceLevelSellUpdateMessage", 1, 32, 11_246_945, 355_282, &["5 5 1 1611692982062856490 UNH 82 3441400"]),
    ] {
        let frames = frames(&folder.join(name).with_extension("pcap"));
        assert_eq!(frames.len(), 1);
        let (segment, sum) = deep_segment(&frames[0]);
        assert_eq!(sum, ChecksumState::Wrong);
        let header = segment.header();
        assert_eq!((header.protocol(), header.channel(), header.session()), (iextp::DEEP, 1, 0x48dd_0000));
        assert_eq!((header.count(), header.payload_length()), (count, payload_length), "{name}");
        assert_eq!((header.stream_offset(), header.sequence()), (offset, sequence), "{name}");
        let found: Vec<_> = segment.messages().map(|message| check_deep(message.unwrap())).collect();
        assert_eq!(found, lines, "{name}");
    }
}

#[test]
fn our_enter_order_equals_the_captured_one() {
    let Some(captures) = common::captures() else { return };
    let order = ouch50::EnterOrderRepr {
        user_ref: 0x71,
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
    let mut message = [0; 64];
    let firm = ouch50::Tag { tag: ouch50::tag::FIRM, value: b"LIME" };
    let length = order.emit(&[firm], &mut message).unwrap();
    let mut packet = [0; 64];
    let total = soupbin::ClientPacket::Unsequenced(&message[..length]).emit(&mut packet).unwrap();
    let captured = tcp_payload(&captures, "EnterOrderMessage");
    assert_eq!(packet[..total], captured);
    let soupbin::ClientPacket::Unsequenced(inner) = client(&captured) else { panic!("not unsequenced data") };
    let Ok(ouch50::Inbound::EnterOrder(decoded, tags)) = ouch50::parse_inbound(inner) else { panic!("{inner:?}") };
    assert_eq!(decoded.repr(), order);
    assert_eq!(tags.collect::<Vec<_>>(), [Ok(firm)]);
}

#[test]
fn our_cancel_order_equals_the_captured_one() {
    let Some(captures) = common::captures() else { return };
    let cancel = ouch50::CancelOrderRepr { user_ref: 0x0075_2e71, qty: 0 };
    let mut message = [0; 9];
    cancel.emit(&[], &mut message).unwrap();
    let mut packet = [0; 16];
    let total = soupbin::ClientPacket::Unsequenced(&message).emit(&mut packet).unwrap();
    let captured = tcp_payload(&captures, "CancelOrderMessage");
    assert_eq!(packet[..total], captured);
    let soupbin::ClientPacket::Unsequenced(inner) = client(&captured) else { panic!("not unsequenced data") };
    let Ok(ouch50::Inbound::CancelOrder(decoded, tags)) = ouch50::parse_inbound(inner) else { panic!("{inner:?}") };
    assert_eq!((decoded.repr(), tags.bytes()), (cancel, &[][..]));
}

#[test]
fn captured_responses_decode_field_by_field_and_are_emitted_again() {
    let Some(captures) = common::captures() else { return };
    let captured = tcp_payload(&captures, "OrderAcceptedMessage");
    let soupbin::ServerPacket::Sequenced(inner) = server(&captured) else { panic!("not sequenced data") };
    let Ok(ouch50::Outbound::Accepted(accepted, tags)) = ouch50::parse_outbound(inner) else { panic!("{inner:?}") };
    let expected = ouch50::AcceptedRepr {
        timestamp: 0x289b_4d64_af87,
        user_ref: 0x0075_3a8d,
        side: b'B',
        qty: 40,
        symbol: *b"ADBE    ",
        price: 4_777_800,
        time_in_force: b'5',
        display: b'Y',
        order: 0x0f56_b4f5,
        capacity: b'A',
        sweep: b'N',
        cross: b'N',
        state: b'L',
        client_id: *b"7682701       ",
    };
    assert_eq!(accepted.repr(), expected);
    let tags: Vec<_> = tags.map(Result::unwrap).collect();
    let tag = |tag, value| ouch50::Tag { tag, value };
    assert_eq!(tags, [tag(ouch50::tag::FIRM, b"MLRO"), tag(ouch50::tag::BBO_WEIGHT, b"0")]);
    let mut out = [0; 80];
    let length = expected.emit(&tags, &mut out).unwrap();
    assert_eq!(&out[..length], inner);

    let captured = tcp_payload(&captures, "CanceledMessage");
    let soupbin::ServerPacket::Sequenced(inner) = server(&captured) else { panic!("not sequenced data") };
    let Ok(ouch50::Outbound::Canceled(canceled, _)) = ouch50::parse_outbound(inner) else { panic!("{inner:?}") };
    let expected = ouch50::CanceledRepr { timestamp: 0x289b_4d68_1317, user_ref: 0x0075_3a8d, qty: 40, reason: b'U' };
    assert_eq!(canceled.repr(), expected);
    let length = expected.emit(&[], &mut out).unwrap();
    assert_eq!(&out[..length], inner);

    assert_eq!(server(&tcp_payload(&captures, "ServerHeartbeatPacket")), soupbin::ServerPacket::Heartbeat);
    assert_eq!(client(&tcp_payload(&captures, "ClientHeartbeatPacket")), soupbin::ClientPacket::Heartbeat);
}

#[test]
fn every_boe_capture_decodes_field_by_field() {
    let Some(captures) = common::captures() else { return };
    let captured = |name: &str| {
        let frames = frames(&captures.join("cboe-boe").join(name).with_extension("pcap"));
        let ip = ipv4::Packet::parse(ethernet::Frame::parse(&frames[0]).unwrap().payload()).unwrap().payload();
        ip[usize::from(ip[12] >> 4) * 4..].to_vec()
    };
    // What the bytes are by the specification's tables: type, unit, sequence.
    let body = |name: &str, kind: u8, unit: u8, sequence: u32| {
        let bytes = captured(name);
        let message = boe20::Message::parse(&bytes).unwrap();
        let header = message.header();
        assert_eq!(message.length(), bytes.len(), "{name}");
        assert_eq!((header.kind(), header.unit(), header.sequence()), (kind, unit, sequence), "{name}");
        assert_eq!(boe20::header(kind, unit, sequence, message.body().len()).unwrap(), bytes[..10], "{name}");
        bytes
    };
    fn options(bytes: &[u8], fixed: usize, sizes: &'static boe20::Sizes) -> impl Fn(boe20::Bit) -> Option<String> {
        let options = boe20::Message::parse(bytes).unwrap().options(fixed, sizes).unwrap();
        move |bit| options.field(bit).map(|field| field.escape_ascii().to_string().replace("\\x00", "."))
    }
    use boe20::kind;

    for (name, kind) in [
        ("ClientHeartbeatMessage", kind::CLIENT_HEARTBEAT),
        ("ServerHeartbeatMessage", kind::SERVER_HEARTBEAT),
        ("ReplayCompleteMessage", kind::REPLAY_COMPLETE),
    ] {
        assert_eq!(body(name, kind, 0, 0).len(), 10, "{name}");
    }

    let bytes = body("LoginRequestMessage", kind::LOGIN_REQUEST, 0, 0);
    let login =
        boe20::LoginRequestRepr { sub_id: *b"0010", user: *b"BATS", password: *b"test\0\0\0\0\0\0", groups: 17 };
    assert_eq!(login.to_bytes(), bytes[10..29]);
    // The last message of unit 1 that was seen is 40; then what is wanted in an Order Acknowledgement, among others.
    assert_eq!(bytes[29..39], [10, 0, boe20::UNITS, 0, 1, 1, 40, 0, 0, 0]);
    assert_eq!(bytes[65..78], *b"\x0d\0\x81\x25\x08\xfd\x41\xdf\0\xff\x18\x01\x74");
    let bytes = body("LoginResponseMessage", kind::LOGIN_RESPONSE, 0, 0);
    let login = boe20::LoginResponse::prefix(&bytes[10..]).unwrap();
    assert_eq!((login.status(), boe20::padded(b"Login Accepted"), login.last_received()), (b'A', login.text(), 30));
    assert_eq!((login.unspecified_not_replayed(), login.units()), (0, 3));
    assert_eq!(bytes[77..92], [1, 46, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0]);

    let id = |digits: u64| boe20::client_id(1_409_538_419_471_000 + digits);
    let bytes = body("NewOrderMessage", kind::NEW_ORDER, 0, 0);
    assert_eq!(boe20::NewOrderRepr { client_id: id(684), side: b'1', qty: 100 }.to_bytes(), bytes[10..35]);
    let field = options(&bytes, boe20::NewOrder::LENGTH, boe20::NEW_ORDER_FIELDS);
    let fields =
        [(0, 0), (0, 2), (0, 4), (0, 5), (1, 0), (1, 6), (2, 1), (4, 1), (4, 3)].map(|bit| field(bit).unwrap());
    assert_eq!(fields, ["CFAA", "@\\r\\x03.....", "2", "0", "A.......", "P", "S", "N", "N"]);
    let bytes = body("ModifyOrderMessage", kind::MODIFY_ORDER, 0, 0);
    assert_eq!(boe20::ModifyOrderRepr { client_id: id(689), original_id: id(687) }.to_bytes(), bytes[10..50]);
    let field = options(&bytes, boe20::ModifyOrder::LENGTH, boe20::MODIFY_ORDER_FIELDS);
    assert_eq!([(0, 0), (0, 2), (0, 3)].map(|bit| field(bit).unwrap()), ["BATS", "\\xc8...", "@\\r\\x03....."]);
    let bytes = body("CancelOrderMessage", kind::CANCEL_ORDER, 0, 0);
    assert_eq!(boe20::CancelOrderRepr { client_id: id(693) }.to_bytes(), bytes[10..30]);
    let field = options(&bytes, boe20::CancelOrder::LENGTH, boe20::CANCEL_ORDER_FIELDS);
    assert_eq!(field((0, 0)).unwrap(), "BATS");

    let bytes = body("OrderAcknowledgementMessage", kind::ACKNOWLEDGED, 1, 53);
    let repr = |time, digits, order_id| {
        boe20::AcknowledgedRepr { time, client_id: id(digits), order_id, reserved: 0 }.to_bytes()
    };
    let stamp = |bytes: &[u8]| u128_le(&bytes[10..18]) as u64;
    assert_eq!(stamp(&bytes), 1_409_538_502_854_120_000, "02:28:22 UTC of that day");
    assert_eq!(repr(stamp(&bytes), 693, 0x0368_9eea_e974_101d), bytes[10..47]);
    let field = options(&bytes, boe20::Acknowledged::LENGTH, boe20::RETURN_FIELDS);
    let fields = [(0, 0), (0, 2), (1, 0), (2, 6), (4, 0), (4, 1), (4, 6)].map(|bit| field(bit).unwrap());
    assert_eq!(fields, ["1", "\\x19.......", "A.......", "d...", &".".repeat(20), "d...", "A"]);
    assert_eq!(field((7, 6)), None, "a field is announced that is not there, so the last one is cut short");

    let bytes = body("OrderModifiedMessage", kind::MODIFIED, 1, 50);
    assert_eq!(repr(stamp(&bytes), 689, 0x0368_9eea_e974_101c), bytes[10..47]);
    let field = options(&bytes, boe20::Acknowledged::LENGTH, boe20::RETURN_FIELDS);
    let fields = [boe20::returned::PRICE, boe20::returned::ORIGINAL_ID, boe20::returned::LEAVES, (7, 4), (7, 5)];
    let fields = fields.map(|bit| field(bit).unwrap());
    assert_eq!(fields, ["@\\r\\x03.....", "1409538419471687....", "\\xc8...", "ROUT..", "RTI"]);
    assert_eq!(field((7, 6)).unwrap(), ".", "the last byte");

    let bytes = body("OrderCancelledMessage", kind::CANCELLED, 1, 46);
    let cancelled = boe20::Cancelled::prefix(&bytes[10..]).unwrap();
    assert_eq!(boe20::parse_client_id(&cancelled.client_id()), Some(1_409_537_237_077_786));
    assert_eq!(cancelled.reason(), b'A');
    let field = options(&bytes, boe20::Cancelled::LENGTH, boe20::RETURN_FIELDS);
    assert_eq!([(2, 6), (4, 0)].map(|bit| field(bit).unwrap()), ["X\\x02..", "1409537237077786...."]);

    let bytes = body("OrderExecutionMessage", kind::EXECUTED, 1, 57);
    let executed = boe20::ExecutedRepr {
        time: stamp(&bytes),
        client_id: id(695),
        execution: 0x22_35e0_b807,
        qty: 100,
        price: 200_100,
        leaves: 0,
        liquidity: b'A',
        sub_liquidity: b'S',
        contra: *b"BATS",
        reserved: 0,
    };
    assert_eq!(executed.to_bytes(), bytes[10..69]);
    let field = options(&bytes, boe20::Executed::LENGTH, boe20::RETURN_FIELDS);
    assert_eq!(field((5, 2)).unwrap(), "P", "the last byte");

    let bytes = body("OrderRejectedMessage", kind::REJECTED, 0, 0);
    let rejected = boe20::RejectedRepr {
        time: stamp(&bytes),
        client_id: id(684),
        reason: b'A',
        text: boe20::padded(b"ClearingFirm not allowed (for trading firm CFAA)"),
        reserved: 0,
    };
    assert_eq!(rejected.to_bytes(), bytes[10..100]);
}

/// Decodes a message both ways, emits it again, and returns it as a line: type, head, fields.
fn check_itch(bytes: &[u8]) -> String {
    let message = itch50::parse(bytes).unwrap();
    let &(kind, length, fields) = ITCH.iter().find(|row| row.0 == bytes[0]).expect("a row of the table");
    assert_eq!((bytes.len(), itch50::length(kind)), (length, Some(length)));
    let (numbers, line) = by_the_table(bytes, &format!("{ITCH_HEAD} {fields}"), u128_be);
    assert_eq!(numbers_of(&message), numbers);
    assert_eq!((message.kind(), u128::from(message.locate())), (kind, numbers[0] as u128));
    let mut out = [0; 50];
    macro_rules! emit {
        ($($Variant:ident)*) => {
            match message {
                $( itch50::Message::$Variant(m) => m.repr().emit(&mut out), )*
                other => panic!("{other:?} is in no capture"),
            }
        };
    }
    let written = emit!(SystemEvent StockDirectory TradingAction RegSho ParticipantPosition AuctionCollar AddOrder
        AddOrderMpid OrderExecuted OrderExecutedPrice OrderCancel OrderDelete OrderReplace Trade CrossTrade Imbalance);
    assert_eq!(&out[..written.unwrap()], bytes);
    line
}

/// As `check_itch`, for DEEP.
fn check_deep(bytes: &[u8]) -> String {
    let message = deep10::parse(bytes).unwrap();
    let &(kind, length, fields) = DEEP.iter().find(|row| row.0 == bytes[0]).expect("a row of the table");
    assert_eq!((bytes.len(), deep10::length(kind)), (length, Some(length)));
    let (numbers, line) = by_the_table(bytes, fields, u128_le);
    assert_eq!(numbers_of(&message), numbers);
    line
}

/// The fields of a message by a row of a table: as numbers (text byte by byte) and as a line.
fn by_the_table(bytes: &[u8], fields: &str, number: fn(&[u8]) -> u128) -> (Vec<i128>, String) {
    let mut numbers = Vec::new();
    let mut line = char::from(bytes[0]).to_string();
    for field in fields.split_whitespace() {
        let (at, length) = field.split_once(':').unwrap();
        let at: usize = at.parse().unwrap();
        let bytes = &bytes[at..][..length.trim_start_matches('t').parse().unwrap()];
        if length.starts_with('t') {
            numbers.extend(bytes.iter().map(|&b| i128::from(b)));
            let text = String::from_utf8_lossy(bytes);
            line += &format!(" {}", if text.trim().is_empty() { "-" } else { text.trim() });
        } else {
            numbers.push(number(bytes) as i128);
            line += &format!(" {}", number(bytes));
        }
    }
    (numbers, line)
}

fn u128_be(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, &b| value << 8 | u128::from(b))
}

fn u128_le(bytes: &[u8]) -> u128 {
    bytes.iter().rfold(0, |value, &b| value << 8 | u128::from(b))
}

/// The numbers in the Debug form of a decoded message, in the order of its fields.
fn numbers_of(message: &impl Debug) -> Vec<i128> {
    format!("{message:?}")
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// The UDP payload of a Nasdaq frame, its headers checked: VLAN 141; addresses and checksums where they were left in.
fn nasdaq_payload(frame: &[u8], addressed: bool) -> &[u8] {
    let frame = ethernet::Frame::parse(frame).unwrap();
    assert_eq!(frame.tags(), ethernet::Tags::One(ethernet::Tag::vlan(141)));
    assert_eq!(frame.ethertype(), ethernet::IPV4);
    let ip = ipv4::Packet::parse(frame.payload()).unwrap();
    assert_eq!((ip.protocol(), ip.is_fragment()), (ipv4::UDP, false));
    let datagram = udp::Datagram::parse(ip.payload()).unwrap();
    let state = datagram.checksum(ip.src(), ip.dst());
    let found = (ip.src().to_string(), ip.dst().to_string(), datagram.dst_port(), ip.checksum_fits(), state);
    let expected = match addressed {
        true => ("206.200.127.138", "233.54.12.111", 26477, true, ChecksumState::Fits),
        false => ("0.0.0.0", "0.0.0.0", 0, false, ChecksumState::Absent),
    };
    assert_eq!((&*found.0, &*found.1, found.2, found.3, found.4), expected);
    datagram.payload()
}

/// The segment of an IEX frame, and what its UDP checksum says.
fn deep_segment(frame: &[u8]) -> (iextp::Segment<'_>, ChecksumState) {
    let frame = ethernet::Frame::parse(frame).unwrap();
    assert_eq!((frame.tags(), frame.ethertype()), (ethernet::Tags::None, ethernet::IPV4));
    let ip = ipv4::Packet::parse(frame.payload()).unwrap();
    assert!(ip.checksum_fits());
    let datagram = udp::Datagram::parse(ip.payload()).unwrap();
    let segment = iextp::Segment::parse(datagram.payload()).unwrap();
    assert_eq!(segment.header().protocol(), iextp::DEEP);
    (segment, datagram.checksum(ip.src(), ip.dst()))
}

/// The TCP payload of the only frame of a capture, its checksum verified; stamps of the tap behind the packet drop out.
fn tcp_payload(captures: &Path, name: &str) -> Vec<u8> {
    let frames = frames(&captures.join("nasdaq-ouch50").join(name).with_extension("pcap"));
    assert_eq!(frames.len(), 1);
    let frame = ethernet::Frame::parse(&frames[0]).unwrap();
    let ip = ipv4::Packet::parse(frame.payload()).unwrap();
    assert_eq!((ip.protocol(), ip.checksum_fits()), (ipv4::TCP, true));
    let segment = ip.payload();
    let sum = Checksum::new().with(&ip.src().octets()).with(&ip.dst().octets()).with(&[0, ipv4::TCP]);
    assert_eq!(sum.with(&(segment.len() as u16).to_be_bytes()).with(segment).finish(), 0);
    segment[usize::from(segment[12] >> 4) * 4..].to_vec()
}

fn client(bytes: &[u8]) -> soupbin::ClientPacket<'_> {
    soupbin::ClientPacket::parse(whole_frame(bytes)).unwrap()
}

fn server(bytes: &[u8]) -> soupbin::ServerPacket<'_> {
    soupbin::ServerPacket::parse(whole_frame(bytes)).unwrap()
}

fn whole_frame(bytes: &[u8]) -> soupbin::Frame<'_> {
    let frame = soupbin::Frame::parse(bytes).unwrap();
    assert_eq!(frame.length(), bytes.len());
    frame
}

fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    each_frame(path, |frame| frames.push(frame.to_vec()));
    frames
}

fn each_frame(path: &Path, mut each: impl FnMut(&[u8])) {
    let file = BufReader::new(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    let file: Box<dyn Read> =
        if has_extension(path, "gz") { Box::new(BufReader::new(GzDecoder::new(file))) } else { Box::new(file) };
    let mut reader = PcapReader::new(file).unwrap();
    while let Some(packet) = reader.next_packet() {
        each(&packet.unwrap().data);
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}
