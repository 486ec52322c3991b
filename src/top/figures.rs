//! Numbers as a person reads them in a narrow column: three or four digits and a unit. Text out, nothing else.

/// A time: `950 ns`, `37.8 us`, `1.20 ms`, `2.00 s`.
pub fn time(ns: f64) -> String {
    match ns {
        _ if ns < 999.5 => format!("{ns:.0} ns"),
        _ if ns < 999_950.0 => format!("{:.1} us", ns / 1e3),
        _ if ns < 999_995_000.0 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// A count or a rate: `0.3`, `12`, `9,999`, `18.2k`, `1.53M`, `2.10G`.
pub fn count(n: f64) -> String {
    match n {
        _ if n > 0.0 && n < 0.05 => "<0.1".into(),
        _ if n > 0.0 && n < 9.95 && n.fract() != 0.0 => format!("{n:.1}"),
        _ if n < 999.5 => format!("{n:.0}"),
        _ if n < 9_999.5 => format!("{},{:03}", n.round() as u64 / 1000, n.round() as u64 % 1000),
        _ if n < 999_950.0 => format!("{:.1}k", n / 1e3),
        _ if n < 999_995_000.0 => format!("{:.2}M", n / 1e6),
        _ => format!("{:.2}G", n / 1e9),
    }
}

/// A part of a whole: `0 %`, `0.3 %`, `88 %`; never `100 %` when it is not all and never `0 %` when it is something.
pub fn share(part: f64, whole: f64) -> Option<String> {
    let percent = part / whole * 100.0;
    percent.is_finite().then(|| match percent {
        _ if percent > 0.0 && percent < 0.1 => "<0.1 %".into(),
        _ if percent > 0.0 && percent < 9.95 => format!("{percent:.1} %"),
        _ if percent > 99.0 && percent < 100.0 => ">99 %".into(),
        _ => format!("{percent:.0} %"),
    })
}

/// A stretch of time: `12 s`, `3:05`, `1:02:05`, `3 d 1:02:05`.
pub fn stretch(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    let (days, hours, minutes, seconds) = (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{minutes}:{seconds:02}"),
        3600..86_400 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days} d {hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The last `width` values as bars against the greatest of them; a gap where there is none.
pub fn spark(values: impl DoubleEndedIterator<Item = Option<f64>> + Clone, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = values.rev().take(width);
    let most = shown.clone().flatten().fold(0.0, f64::max);
    let bar = |value: Option<f64>| match value {
        Some(value) if most > 0.0 => BARS[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
        Some(_) => BARS[0],
        None => ' ',
    };
    let backwards: Vec<char> = shown.map(bar).collect();
    backwards.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits_across_their_units() {
        let expected = [
            (0.0, "0 ns"),
            (999.4, "999 ns"),
            (999.6, "1.0 us"),
            (37_812.0, "37.8 us"),
            (999_960.0, "1.00 ms"),
            (1_204_000.0, "1.20 ms"),
            (999_996_000.0, "1.00 s"),
            (2e9, "2.00 s"),
        ];
        for (ns, text) in expected {
            assert_eq!(time(ns), text);
        }
    }

    #[test]
    fn counts_fit_seven_characters() {
        let expected = [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.25, "0.2"),
            (3.0, "3"),
            (12.4, "12"),
            (999.6, "1,000"),
            (4_900.0, "4,900"),
            (9_999.9, "10.0k"),
            (18_234_567.0, "18.23M"),
            (2.1e9, "2.10G"),
        ];
        for (n, text) in expected {
            assert_eq!(count(n), text);
            assert!(count(n).len() <= 7);
        }
    }

    #[test]
    fn a_share_says_all_and_nothing_only_when_it_is() {
        let expected =
            [(0.0, "0 %"), (1e-6, "<0.1 %"), (0.033, "3.3 %"), (0.88, "88 %"), (0.9999, ">99 %"), (1.0, "100 %")];
        for (part, text) in expected {
            assert_eq!(share(part, 1.0).as_deref(), Some(text));
        }
        assert_eq!(share(0.0, 0.0), None);
    }

    #[test]
    fn a_stretch_reads_as_a_clock() {
        let expected = [(12.9, "12 s"), (185.0, "3:05"), (3725.5, "1:02:05"), (262_925.0, "3 d 1:02:05")];
        for (seconds, text) in expected {
            assert_eq!(stretch(seconds), text);
        }
    }

    #[test]
    fn a_spark_shows_the_last_values_against_their_greatest() {
        let values = [Some(900.0), Some(0.0), Some(4.0), None, Some(8.0), Some(1.0)];
        assert_eq!(spark(values.into_iter(), 5), "▁▄ █▁");
        assert_eq!(spark([Some(0.0)].into_iter(), 5), "▁");
    }
}
