//! How often each ITCH message type comes once the market is open: text such as `A=43.3,D=41.9` in, weights out.

use std::fmt;
use std::str::FromStr;

/// Weights of the message types of an open market. S and R are not among them: they open and close a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(Vec<(u8, u32)>);

/// A mix that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MixError {
    /// Not a list of `TYPE=WEIGHT`.
    #[error("expected TYPE=WEIGHT, found \"{0}\"; write a mix as A=43.3,D=41.9,U=8.7 or name one of: day, all")]
    Form(String),
    /// Not a type that a mix can hold.
    #[error(
        "\"{0}\" is not a message type of an open market; expected one of A F E C X D U P Q B I H Y L V W K J h N O"
    )]
    Kind(String),
    /// Not a usable weight.
    #[error("the weight of {kind} is \"{found}\"; expected a number from 0 to 1000000 with at most three decimals")]
    Weight {
        /// The message type.
        kind: char,
        /// The text in place of its weight.
        found: String,
    },
    /// Nothing that adds orders.
    #[error("the mix adds no orders, so nothing could be executed, cancelled or replaced; give A or F a weight")]
    NoAdds,
}

/// Every type that a mix can hold.
const KINDS: &[u8; 21] = b"AFECXDUPQBIHYLVWKJhNO";

/// Nasdaq's day of 2019-10-30, in thousands of messages (published counts; Q, Y and H rounded up to 0.001 % or more).
const DAY: [(u8, u32); 13] = [
    (b'A', 127_215),
    (b'D', 123_297),
    (b'U', 25_514),
    (b'E', 7_317),
    (b'I', 3_740),
    (b'X', 3_569),
    (b'P', 1_525),
    (b'F', 1_424),
    (b'L', 215),
    (b'C', 130),
    (b'Q', 18),
    (b'Y', 9),
    (b'H', 9),
];

impl Mix {
    /// A whole day of Nasdaq (2019-10-30): A 43.3 %, D 41.9, U 8.7, E and C 2.5, I 1.3, X 1.2, P 0.5, F 0.5, L 0.1.
    pub fn day() -> Mix {
        Mix(DAY.to_vec())
    }

    /// The day, with every rare type raised to about 1 %: for tests of decoders.
    pub fn all() -> Mix {
        let common = DAY.iter().copied().filter(|&(_, weight)| weight > 2_500);
        let rare = KINDS.iter().filter(|&&k| !DAY.iter().any(|&(day, w)| day == k && w > 2_500)).map(|&k| (k, 3_000));
        Mix(common.chain(rare).collect())
    }

    /// Type and weight, only positive ones.
    pub(super) fn weights(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.0.iter().copied()
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Mix, MixError> {
        match text {
            "day" => return Ok(Mix::day()),
            "all" => return Ok(Mix::all()),
            _ => {}
        }
        let mut weights = Vec::new();
        for part in text.split(',') {
            let (kind, weight) = part.trim().split_once('=').ok_or_else(|| MixError::Form(part.to_owned()))?;
            let &[letter] = kind.as_bytes() else { return Err(MixError::Kind(kind.to_owned())) };
            if !KINDS.contains(&letter) {
                return Err(MixError::Kind(kind.to_owned()));
            }
            let bad = || MixError::Weight { kind: letter as char, found: weight.to_owned() };
            let thousandths = weight.parse::<f64>().map_err(|_| bad())? * 1000.0;
            if !(0.0..=1e9).contains(&thousandths) {
                return Err(bad());
            }
            weights.retain(|&(k, _)| k != letter);
            weights.push((letter, thousandths.round() as u32));
        }
        weights.retain(|&(_, weight)| weight > 0);
        if !weights.iter().any(|&(kind, _)| matches!(kind, b'A' | b'F')) {
            return Err(MixError::NoAdds);
        }
        Ok(Mix(weights))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(kind, weight)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}={}.{:03}", kind as char, weight / 1000, weight % 1000)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_reads_back_what_it_prints() {
        let mix: Mix = "A=43.3,D=41.9,U=8.75".parse().unwrap();
        assert_eq!(mix.to_string(), "A=43.300,D=41.900,U=8.750");
        assert_eq!(mix.to_string().parse(), Ok(mix));
        assert_eq!(Mix::day().to_string().parse(), Ok(Mix::day()));
    }

    #[test]
    fn a_bad_mix_says_what_was_expected() {
        let error = |text: &str| text.parse::<Mix>().unwrap_err().to_string();
        assert!(error("A").starts_with("expected TYPE=WEIGHT, found \"A\""));
        assert!(error("A=1,R=1").starts_with("\"R\" is not a message type of an open market"));
        assert!(error("A=-1").starts_with("the weight of A is \"-1\""));
        assert!(error("A=nan").starts_with("the weight of A is \"nan\""));
        assert!(error("D=1").starts_with("the mix adds no orders"));
    }
}
