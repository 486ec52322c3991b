//! Flow rules: which receive queue of a device a group's packets go to.
//!
//! In: groups and queues. Out: every rule in the device, or none and the device's reason. Whether packets then arrive where they
//! were sent is for who receives them to see.

use super::Port;
use std::ffi::{CStr, c_char};
use std::net::SocketAddrV4;
use std::sync::atomic::Ordering;

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Destination of UDP datagrams.
    pub group: SocketAddrV4,
    /// In frames with this VLAN tag; any, or none, unless set.
    pub vlan: Option<u16>,
    /// Where they go.
    pub queue: u16,
}

impl Port {
    /// Have the device sort packets into queues by these rules. They go when the port is closed,
    /// and are there again when it has been started anew.
    ///
    /// # Errors
    /// The device's reason for the first rule that it does not take; then it has none.
    pub fn steer(&self, rules: &[Rule]) -> Result<(), String> {
        let mut set_up = self.set_up();
        self.put_rules(rules)?;
        set_up.rules = rules.to_vec();
        Ok(())
    }

    /// All of them, or none.
    pub(super) fn put_rules(&self, rules: &[Rule]) -> Result<(), String> {
        for Rule { group, vlan, queue } in rules {
            let mut why = [0 as c_char; 128];
            let (address, port) = (u32::from_ne_bytes(group.ip().octets()), group.port().to_be());
            // SAFETY: a running port, and room for the reason of the length that is said.
            let rc = unsafe {
                let room = why.len();
                dpdk_sys::shim_flow_steer(self.id(), address, port, vlan.unwrap_or(0), *queue, why.as_mut_ptr(), room)
            };
            self.0.steered.store(true, Ordering::SeqCst);
            if rc != 0 {
                self.0.flush();
                // SAFETY: the shim has written a string there that ends within the array.
                let words = unsafe { CStr::from_ptr(why.as_ptr()) }.to_string_lossy().into_owned();
                return Err(words);
            }
        }
        Ok(())
    }
}
