//! EAL argument files: one argument a line, `#` comments. Text in, arguments out; nothing is read or interpreted here.
//!
//! A line is an option with or without its value (`--lcores=(0-1)@0` or `-m 256`): the first blank separates the two.

/// A line that is no EAL argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the EAL argument file: expected an option such as `-m 256` or `--no-pci`, found `{found}`")]
pub struct EalFileError {
    /// Line number, from 1.
    pub line: usize,
    /// What is there.
    pub found: String,
}

/// The arguments in a file's text, in order.
///
/// # Errors
/// A line that does not begin with `-`, and `--` alone, which is the caller's to write.
pub fn parse(text: &str) -> Result<Vec<String>, EalFileError> {
    let mut arguments = Vec::new();
    for (i, line) in text.lines().enumerate() {
        // A `#` inside a value (a path, say) is kept: a comment begins the line or follows a blank.
        let content = line.split_once(" #").map_or(line, |(before, _)| before).trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if !content.starts_with('-') || content.trim_start_matches('-').is_empty() {
            return Err(EalFileError { line: i + 1, found: content.to_owned() });
        }
        match content.split_once(char::is_whitespace) {
            Some((option, value)) => arguments.extend([option.to_owned(), value.trim().to_owned()]),
            None => arguments.push(content.to_owned()),
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blanks_go_and_values_stay_whole() {
        let text =
            "# head\n\n--no-huge  # no hugepages\n-m 256\n--vdev=net_pcap0,rx_pcap=a#b.pcap\n--lcores  (0-1)@0\n";
        let expected = ["--no-huge", "-m", "256", "--vdev=net_pcap0,rx_pcap=a#b.pcap", "--lcores", "(0-1)@0"];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_no_option_is_named() {
        let err = parse("--no-pci\nno-huge\n").unwrap_err();
        assert_eq!(err, EalFileError { line: 2, found: "no-huge".into() });
        assert!(parse("--\n").is_err());
    }

    #[test]
    fn the_shipped_files_parse() {
        for text in [
            include_str!("../../dpdk-config/ci.eal"),
            include_str!("../../dpdk-config/lab.eal"),
            include_str!("../../dpdk-config/production.eal"),
        ] {
            assert!(!parse(text).unwrap().is_empty());
        }
    }
}
