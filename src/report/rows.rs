//! A trace as rows for other tools: records in, one row each out, its stamps turned into spans of ns by the last fit of the
//! run's clock. As CSV, and as Parquet where the program was built with it.

use super::collect::{order_kind, side, symbol};
use crate::latency::answers::Answers;
use crate::latency::hop;
use crate::latency::record::{Kind, Record};
use crate::latency::trace::{Block, ClockFit, Header, Run, TraceError};
use serde::Serialize;
use std::io::{self, Write};

/// One record. What does not apply is absent; `docs/report.md` describes the columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "parquet", derive(parquet_derive::ParquetRecordWriter))]
pub struct Row<'a> {
    /// Id of the run.
    pub run: &'a str,
    /// `sent`, `wire`, `acknowledged`, `filled`, `sampled`.
    pub kind: &'static str,
    /// Venue's name.
    pub venue: &'a str,
    /// Symbol; empty for a sampled packet.
    pub symbol: String,
    /// Client order id.
    pub order_id: u64,
    /// `enter`, `replace`, `cancel`; empty for a sampled packet.
    pub order: &'static str,
    /// `buy`, `sell`; empty for a sampled packet.
    pub side: &'static str,
    /// Limit, or the price of a fill, in 1/10,000.
    pub price: i64,
    /// Shares.
    pub qty: u32,
    /// First sequence number of the causing packet.
    pub sequence: u64,
    /// Its line.
    pub line: u32,
    /// Its channel.
    pub channel: u32,
    /// Its arrival in ns since 1970.
    pub arrival_ns: u64,
    /// When it (or the answer) was received by this host's clock, in ns since 1970; absent where nothing was received.
    pub rx_ns: Option<i64>,
    /// Packets in the receive burst.
    pub burst_size: u32,
    /// Its place in it, from 0.
    pub burst_position: u32,
    /// Elements waiting in the ring.
    pub waiting_rx_parse: u32,
    /// Elements waiting in the ring.
    pub waiting_parse_strategy: u32,
    /// Elements waiting in the ring.
    pub waiting_strategy_encode: u32,
    /// Elements waiting in the ring.
    pub waiting_encode_tx: u32,
    /// Span in ns.
    pub wire_rx_ns: Option<f64>,
    /// Span in ns.
    pub rx_parsed_ns: Option<f64>,
    /// Span in ns.
    pub parsed_book_ns: Option<f64>,
    /// Span in ns.
    pub book_decided_ns: Option<f64>,
    /// Span in ns.
    pub decided_encoded_ns: Option<f64>,
    /// Span in ns.
    pub encoded_doorbell_ns: Option<f64>,
    /// Their sum.
    pub rx_doorbell_ns: Option<f64>,
    /// From the order's doorbell to its first answer, on the row of that answer.
    pub doorbell_ack_ns: Option<f64>,
}

/// Why rows did not get where they should.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The destination.
    #[error("cannot write rows: {0}")]
    Write(#[from] io::Error),
}

/// Every record of `run` that this version knows, in the trace's order, with the run's `clock`. The rows that `each` gets
/// are in blocks, so that a columnar writer has something to work with.
///
/// # Errors
/// A file that can no longer be read, and whatever `each` returns.
fn rows<'r>(
    run: &'r Run,
    clock: &ClockFit,
    mut each: impl FnMut(&[Row<'r>]) -> Result<(), RowsError>,
) -> Result<(), RowsError> {
    let mut answers = Answers::default();
    let mut reader = run.read();
    let mut block = Vec::new();
    while let Some(next) = reader.next()? {
        if let Block::Records(records) = next {
            block.clear();
            block.extend(records.iter().filter_map(|record| row(&run.header, clock, &mut answers, record)));
            each(&block)?;
        }
    }
    Ok(())
}

/// The records of `runs` as CSV with a line of headings, each run with its clock.
///
/// # Errors
/// A file that can no longer be read; a full disk.
pub fn csv<'r>(runs: impl Iterator<Item = (&'r Run, ClockFit)>, out: impl Write) -> Result<(), RowsError> {
    let mut writer = csv::WriterBuilder::new().buffer_capacity(1 << 20).from_writer(out);
    let io = |err: csv::Error| match err.into_kind() {
        csv::ErrorKind::Io(err) => err,
        other => io::Error::other(format!("{other:?}")),
    };
    for (run, clock) in runs {
        rows(run, &clock, |block| {
            block.iter().try_for_each(|row| writer.serialize(row).map_err(|err| RowsError::Write(io(err))))
        })?;
    }
    Ok(writer.flush()?)
}

/// The records of `runs` as one Parquet file, each run with its clock. Compressed with Snappy, which every reader knows.
///
/// # Errors
/// A file that can no longer be read; a full disk.
#[cfg(feature = "parquet")]
pub fn parquet<'r>(runs: impl Iterator<Item = (&'r Run, ClockFit)>, out: impl Write + Send) -> Result<(), RowsError> {
    use parquet::basic::Compression;
    use parquet::errors::ParquetError;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::record::RecordWriter;
    use std::sync::Arc;

    /// Rows of a group: what is held in memory, some tens of megabytes.
    const GROUP: usize = 1 << 17;
    let io = |err: ParquetError| RowsError::Write(io::Error::other(err));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let none: &[Row] = &[];
    let schema = none.schema().map_err(io)?;
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(io)?;
    let mut group: Vec<Row<'r>> = Vec::with_capacity(GROUP);
    let mut flush = |group: &mut Vec<Row<'r>>| -> Result<(), RowsError> {
        if !group.is_empty() {
            let mut next = writer.next_row_group().map_err(io)?;
            group.as_slice().write_to_row_group(&mut next).map_err(io)?;
            next.close().map_err(io)?;
            group.clear();
        }
        Ok(())
    };
    for (run, clock) in runs {
        rows(run, &clock, |block| {
            if group.len() + block.len() > GROUP {
                flush(&mut group)?;
            }
            group.extend_from_slice(block);
            Ok(())
        })?;
    }
    flush(&mut group)?;
    writer.close().map_err(io)?;
    Ok(())
}

fn row<'r>(header: &'r Header, clock: &ClockFit, answers: &mut Answers, record: &Record) -> Option<Row<'r>> {
    let kind = record.kind()?;
    let venue = header.venues.get(usize::from(record.venue))?;
    // A picosecond is far below a tick; more digits would only make files longer.
    let ns = |ticks: u64| (ticks as f64 * 1e12 / clock.tsc_hz).round() / 1e3;
    let mut answer = None;
    let spans = match kind {
        Kind::Sent => {
            answers.sent(record);
            hop::software(record).filter(|_| record.rx_tsc != 0).map(|spans| spans.map(|ticks| Some(ns(ticks))))
        }
        Kind::Sampled => {
            let stamps = [record.rx_tsc, record.parsed_tsc, record.book_tsc, record.decided_tsc];
            let span = |i: usize| (i < 3).then(|| ns(stamps[i + 1] - stamps[i]));
            stamps.is_sorted().then(|| std::array::from_fn(span))
        }
        Kind::Acknowledged | Kind::Filled => {
            answer = answers.answered(record).ok().flatten().map(ns);
            None
        }
        Kind::Wire => None,
    };
    let [rx_parsed_ns, parsed_book_ns, book_decided_ns, decided_encoded_ns, encoded_doorbell_ns] =
        spans.unwrap_or_default();
    let whole = kind == Kind::Sent && (spans.is_some() || hop::unstamped(record));
    let rx_doorbell_ns = whole.then(|| ns(record.doorbell_tsc - record.rx_tsc));
    let order = kind != Kind::Sampled;
    let since_anchor = i128::from(record.rx_tsc) - i128::from(clock.anchor_tsc);
    let rx_ns = i128::from(clock.anchor_ns) + (since_anchor as f64 / clock.tsc_hz * 1e9) as i128;
    Some(Row {
        run: &header.run,
        kind: name(kind),
        venue: &venue.name,
        symbol: symbol(record),
        order_id: record.order_id,
        order: if order { order_kind(record) } else { "" },
        side: if order { side(record) } else { "" },
        price: record.price,
        qty: record.qty,
        sequence: record.sequence,
        line: u32::from(record.line),
        channel: u32::from(record.channel),
        arrival_ns: record.arrival_ns,
        rx_ns: (record.rx_tsc != 0).then_some(rx_ns as i64),
        burst_size: u32::from(record.burst_size),
        burst_position: u32::from(record.burst_position),
        waiting_rx_parse: u32::from(record.occupancy[0]),
        waiting_parse_strategy: u32::from(record.occupancy[1]),
        waiting_strategy_encode: u32::from(record.occupancy[2]),
        waiting_encode_tx: u32::from(record.occupancy[3]),
        wire_rx_ns: hop::wire(record).map(ns),
        rx_parsed_ns,
        parsed_book_ns,
        book_decided_ns,
        decided_encoded_ns,
        encoded_doorbell_ns,
        rx_doorbell_ns,
        doorbell_ack_ns: answer,
    })
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Sent => "sent",
        Kind::Wire => "wire",
        Kind::Acknowledged => "acknowledged",
        Kind::Filled => "filled",
        Kind::Sampled => "sampled",
    }
}
