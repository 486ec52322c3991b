//! What can go wrong between ef_vi and a card, each as a sentence with the kernel's words and the remedy.

use std::io;

/// An error of the ef_vi layer.
#[derive(Debug, thiserror::Error)]
pub enum EfviError {
    /// A virtual interface could not be had.
    #[error("ef_vi on interface `{interface}`: {doing}: {said}; {remedy}")]
    Open {
        /// Kernel name of the interface.
        interface: String,
        /// What was being done.
        doing: &'static str,
        /// The errno in words.
        said: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Packets could not be directed here.
    #[error("ef_vi on interface `{interface}`: the filter {filter} is refused: {said}; {remedy}")]
    Filter {
        /// Kernel name of the interface.
        interface: String,
        /// What it was to match.
        filter: String,
        /// The errno in words.
        said: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Frames that the card cannot take.
    #[error("ef_vi on interface `{interface}`: {problem}")]
    Frames {
        /// Kernel name of the interface.
        interface: String,
        /// Expected and found.
        problem: String,
    },
    /// A name that no interface has.
    #[error("{0:?} is not the name of a network interface: 1 to 15 characters expected")]
    Name(String),
}

const ONE_RELEASE: &str =
    "use a library and drivers of the same release of Onload (tickpath --version, cat /sys/module/onload/version)";
const MEMORY: &str = "let this user lock memory (ulimit -l unlimited) and give EAL hugepages on the card's node";

impl EfviError {
    /// A call to open a VI failed at one of the shim's steps.
    pub(super) fn open(interface: &str, step: u32, rc: i32) -> EfviError {
        let (doing, remedy) = match (step, -rc) {
            (efvi_sys::STEP_DRIVER, libc::ENOENT | libc::ENXIO | libc::ENODEV) => (
                "open /dev/sfc_char",
                "load the card's char driver (modprobe sfc_char) or install Onload's kernel drivers",
            ),
            (efvi_sys::STEP_DRIVER, libc::EACCES | libc::EPERM) => {
                ("open /dev/sfc_char", "give this user access to /dev/sfc_char (chgrp and chmod, or a rule for udev)")
            }
            (efvi_sys::STEP_DRIVER, _) => ("open /dev/sfc_char", ONE_RELEASE),
            (efvi_sys::STEP_DOMAIN, libc::EPERM | libc::EACCES) => {
                ("allocate a protection domain", "give this user access to /dev/sfc_char, or run with more rights")
            }
            // The first call whose structs the driver looks at.
            (efvi_sys::STEP_DOMAIN, libc::ELIBACC) => ("allocate a protection domain", ONE_RELEASE),
            (efvi_sys::STEP_DOMAIN, _) => (
                "allocate a protection domain",
                "name an interface of a Solarflare or AMD card as the kernel does (ip link; ethtool -i NAME says sfc)",
            ),
            (efvi_sys::STEP_VI, libc::EBUSY | libc::ENOSPC | libc::ENOBUFS) => (
                "allocate a virtual interface",
                "end other programs that use the card, or give it more virtual interfaces (sfboot vi-count=N)",
            ),
            (efvi_sys::STEP_VI, libc::EPERM | libc::EOPNOTSUPP) => (
                "allocate a virtual interface",
                "choose other firmware (sfboot firmware-variant=ultra-low-latency), then reboot",
            ),
            (efvi_sys::STEP_VI, libc::ENOMEM) => ("allocate a virtual interface", MEMORY),
            (efvi_sys::STEP_VI, libc::EINVAL) => (
                "allocate a virtual interface",
                "ask for rings of a power of two from 512 to 4096 descriptors, and let EF_VI_COMPAT_MODE be ef10 or not set",
            ),
            (efvi_sys::STEP_VI, _) => ("allocate a virtual interface", "see the kernel's log (dmesg | grep sfc)"),
            (efvi_sys::STEP_ARCH, _) => (
                "use the card as this program does",
                "this card keeps receive buffers of its own and needs compatibility mode: with ef_vi of Onload 9.1 or later set \
                 EF_VI_COMPAT_MODE=ef10 in the environment",
            ),
            (efvi_sys::STEP_CTPIO, _) => (
                "find CTPIO, which the pipeline file requires",
                "make `ctpio` `auto`, or use a card that has it with its firmware for it (X2 and later)",
            ),
            (efvi_sys::STEP_STAMPS, _) => (
                "find stamps, which the pipeline file requires",
                "make `timestamps` `auto`, or activate the card's licence for time stamps (sfkey)",
            ),
            _ => ("take memory", MEMORY),
        };
        EfviError::Open { interface: interface.to_owned(), doing, said: words(rc), remedy }
    }

    /// The card does not take memory of a pool.
    pub(super) fn register(interface: &str, rc: i32) -> EfviError {
        EfviError::Open { interface: interface.to_owned(), doing: "register frames", said: words(rc), remedy: MEMORY }
    }

    /// A filter was refused.
    pub(super) fn filter(interface: &str, filter: String, rc: i32) -> EfviError {
        let remedy = match -rc {
            libc::EEXIST | libc::EBUSY => "another program has it: end that program, or give it another group or port",
            libc::EPERM | libc::EACCES => "give this user access to /dev/sfc_char, or run with more rights",
            libc::ENOSPC => "the card's filter table is full: receive fewer groups on this port",
            libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL => {
                "this firmware has no such filter: choose firmware-variant=ultra-low-latency or full-feature with sfboot"
            }
            _ => "see the kernel's log (dmesg | grep sfc)",
        };
        EfviError::Filter { interface: interface.to_owned(), filter, said: words(rc), remedy }
    }
}

fn words(rc: i32) -> String {
    io::Error::from_raw_os_error(-rc).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failed_step_names_the_interface_the_errno_and_a_remedy() {
        for step in 0..9 {
            for errno in [libc::ENOENT, libc::EPERM, libc::EBUSY, libc::ENOMEM, libc::EINVAL, libc::EIO] {
                let said = EfviError::open("enp1s0f0", step, -errno).to_string();
                let words = io::Error::from_raw_os_error(errno).to_string();
                assert!(said.contains("`enp1s0f0`") && said.contains(&words) && said.contains("; "), "{said}");
            }
        }
        let missing = EfviError::open("enp1s0f0", efvi_sys::STEP_DRIVER, -libc::ENOENT).to_string();
        assert!(missing.contains("modprobe sfc_char"), "{missing}");
        let skewed = EfviError::open("enp1s0f0", efvi_sys::STEP_DOMAIN, -libc::ELIBACC).to_string();
        assert!(skewed.contains("of the same release"), "{skewed}");
        let own_buffers = EfviError::open("enp1s0f0", efvi_sys::STEP_ARCH, -libc::EOPNOTSUPP).to_string();
        assert!(own_buffers.contains("EF_VI_COMPAT_MODE=ef10"), "{own_buffers}");
    }
}
