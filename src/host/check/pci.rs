//! A PCI device's configuration space: the fields of its PCI Express capability. Bytes in, numbers out; pure.

/// Fields of the PCI Express capability (PCI Express Base Specification, 7.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Express {
    /// Largest payload the device can take, in bytes.
    pub payload_supported: u32,
    /// Largest payload it may send.
    pub payload: u32,
    /// Largest read it may ask for.
    pub read_request: u32,
    /// L0s (1), L1 (2) or both may be entered.
    pub aspm: u8,
}

/// The fields, or `None`: no such capability, or not readable that far (only root reads beyond 64 bytes).
pub(super) fn express(config: &[u8]) -> Option<Express> {
    const CAPABILITIES: usize = 0x34;
    const EXPRESS: u8 = 0x10;
    let byte = |at: usize| config.get(at).copied();
    let word = |at: usize| Some(u16::from_le_bytes([byte(at)?, byte(at + 1)?]));
    let size = |code: u16| 128u32 << (code & 7);
    let mut at = usize::from(byte(CAPABILITIES)? & 0xfc);
    // A list in 192 bytes has at most 48 entries; a damaged one may be a circle.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        if byte(at)? == EXPRESS {
            let control = word(at + 0x08)?;
            return Some(Express {
                payload_supported: size(word(at + 0x04)?),
                payload: size(control >> 5),
                read_request: size(control >> 12),
                aspm: (word(at + 0x10)? & 3) as u8,
            });
        }
        at = usize::from(byte(at + 1)? & 0xfc);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fields_of_the_capability_are_found_behind_others() {
        let mut config = vec![0u8; 256];
        config[0x34] = 0x40;
        // Power management at 0x40, then PCI Express at 0x70.
        config[0x40..0x42].copy_from_slice(&[0x01, 0x70]);
        config[0x70..0x72].copy_from_slice(&[0x10, 0x00]);
        // Device Capabilities: 512 bytes (code 2); Device Control: payload 256 (1 << 5), reads of 4096 (5 << 12).
        config[0x74] = 2;
        config[0x78..0x7a].copy_from_slice(&(1u16 << 5 | 5 << 12).to_le_bytes());
        config[0x80] = 0b10;
        let expected = Express { payload_supported: 512, payload: 256, read_request: 4096, aspm: 2 };
        assert_eq!(express(&config), Some(expected));
        assert_eq!(express(&config[..64]), None);
        // A circle.
        config[0x41] = 0x40;
        assert_eq!(express(&config), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(config in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = express(&config);
        }
    }
}
