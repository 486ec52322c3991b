//! The histograms of every interval as a standard HdrHistogram interval log (.hlog), which existing viewers open: one line a
//! venue and hop, tagged `venue/hop_key`, in ns, its times in seconds since the log began.

use super::clock::Scale;
use super::hop::Hop;
use super::hops::HopTable;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// An interval log being written. Every line of it is whole.
pub struct Hlog {
    file: File,
    /// Bytes of its whole lines.
    length: u64,
    serializer: V2DeflateSerializer,
    line: Vec<u8>,
    spans: Histogram<u64>,
}

impl Hlog {
    /// A log at `path`, where there is none yet.
    ///
    /// # Errors
    /// It is there already, or cannot be written.
    pub fn create(path: &Path, run: &str) -> io::Result<Hlog> {
        let mut file = File::create_new(path)?;
        let mut head = b"#[Histogram log format version 1.3]\n".to_vec();
        let begin = SystemTime::now();
        IntervalLogWriterBuilder::new()
            .add_comment(&format!("tickpath run {run}; ns by venue/hop, maxima in ms"))
            .with_start_time(begin)
            .with_base_time(begin)
            .begin_log_with(&mut head, &mut V2DeflateSerializer::new())?;
        head.extend_from_slice(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        );
        file.write_all(&head)?;
        // Three digits are within what a histogram accepts.
        let spans = Histogram::new(3).expect("three digits are valid");
        Ok(Hlog { file, length: head.len() as u64, serializer: V2DeflateSerializer::new(), line: Vec::new(), spans })
    }

    /// Add an interval of one venue that began `since` the log did.
    ///
    /// # Errors
    /// The disk refuses; the log then ends with the line before.
    pub fn interval(
        &mut self,
        venue: &str,
        hops: &HopTable,
        scale: &Scale,
        since: Duration,
        length: Duration,
    ) -> io::Result<()> {
        for hop in Hop::ALL.into_iter().filter(|hop| !hops.span(*hop).is_empty()) {
            self.spans.reset();
            for step in hops.span(hop).iter_recorded() {
                // A histogram that grows takes any value.
                let _ = self.spans.record_n(scale.ticks_to_ns(step.value_iterated_to()), step.count_at_value());
            }
            self.line.clear();
            let name = format!("{venue}/{}", hop.key());
            // Divided to ms, as viewers expect of maxima in ns.
            IntervalLogWriterBuilder::new()
                .with_max_value_divisor(1e6)
                .begin_log_with(&mut self.line, &mut self.serializer)?
                .write_histogram(&self.spans, since, length, Tag::new(&name))
                .map_err(|err| io::Error::other(err.to_string()))?;
            // The divisor is said once, by the head.
            let line = self.line.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            if let Err(err) = self.file.write_all(&self.line[line..]) {
                // What was torn is cut off, and the next line begins where it did.
                let _ = self.file.set_len(self.length);
                return Err(err);
            }
            self.length += (self.line.len() - line) as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::clock::Clock;
    use crate::latency::record::{Kind, Record};
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn a_reader_of_interval_logs_finds_every_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.hlog");
        let mut log = Hlog::create(&path, "run").unwrap();
        assert!(Hlog::create(&path, "run").is_err());
        let clock = Clock::fit();
        let mut hops = HopTable::default();
        for i in 1..=1000u64 {
            let [parsed_tsc, book_tsc, decided_tsc] = [1000 + i, 2000 + i, 3000 + i];
            let kind = Kind::Sent as u8;
            let (encoded_tsc, doorbell_tsc) = (4000 + i, 5000 + i);
            let record = Record {
                kind,
                rx_tsc: 1000,
                parsed_tsc,
                book_tsc,
                decided_tsc,
                encoded_tsc,
                doorbell_tsc,
                ..Record::default()
            };
            hops.record(&record, |_, _| {});
        }
        for second in 0..3 {
            log.interval("nasdaq", &hops, &clock.scale(), Duration::from_secs(second), Duration::from_secs(1)).unwrap();
        }
        let text = std::fs::read(&path).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for entry in IntervalLogIterator::new(&text) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
            let h: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert!((interval.max() - h.max() as f64 / 1e6).abs() < 1e-3);
            *counts.entry(interval.tag().unwrap().as_str().to_owned()).or_insert(0) += h.len();
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|n| *n == 3000), "{counts:?}");
    }
}
