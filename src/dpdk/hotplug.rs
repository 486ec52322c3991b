//! Devices that are pulled out of the host and put in again under a port's queues.
//!
//! In: a port whose device said that it was removed, its gates shut. Out: the device given back, for which the kernel waits when it is
//! vfio-pci's; once a device is there again in the same place, the port over it, as unconfigured as after [`Port::open`]. Its
//! number may be another; its driver may not.

use super::ethdev::{OUT, SetUp, TAKEN, described, text};
use super::{DpdkError, Port};
use std::ffi::{CString, c_char};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Where EAL finds a device.
#[derive(Debug)]
pub(super) struct Slot {
    bus: CString,
    name: CString,
    args: CString,
}

/// A device of several ports leaves with the last of them.
static LEAVING: Mutex<()> = Mutex::new(());

impl Slot {
    fn of(device: &dpdk_sys::shim_port_device) -> Slot {
        let owned = |chars: &[c_char]| CString::new(text(chars)).unwrap_or_default();
        Slot { bus: owned(&device.bus), name: owned(&device.name), args: owned(&device.args) }
    }

    /// A card that no kernel driver has is none of EAL's, either. Of other buses EAL alone can tell.
    fn is_empty(&self) -> bool {
        let Ok(name) = self.name.to_str() else { return false };
        self.bus.as_bytes() == b"pci" && !Path::new("/sys/bus/pci/devices").join(name).join("driver").exists()
    }
}

impl Port {
    /// Whether it was taken out of EAL and there is nothing to put in again, as far as that can be told without trying.
    /// Reads a folder: not for the path.
    pub fn is_away(&self) -> bool {
        self.set_up().slot.as_ref().is_some_and(Slot::is_empty)
    }

    /// Close the port and have EAL let go of its device. What is done is not done again.
    pub(super) fn take_out(&self, set_up: &mut SetUp) -> Result<(), DpdkError> {
        if set_up.slot.is_some() {
            return Ok(());
        }
        let _leaving = LEAVING.lock().unwrap_or_else(PoisonError::into_inner);
        let (device, id) = (&self.0, self.id());
        let mut found = Box::new(dpdk_sys::shim_port_device { bus: [0; _], name: [0; _], args: [0; _], ports: 0 });
        // SAFETY: an open port and a place for what is found.
        self.done("does not tell where its device is", unsafe { dpdk_sys::shim_port_device(id, &raw mut *found) })?;
        device.flush();
        if device.started.load(Ordering::SeqCst) {
            // SAFETY: an open port; the gates of its queues are shut. A device that is gone may refuse; then it cannot be closed.
            self.done("did not stop", unsafe { dpdk_sys::rte_eth_dev_stop(id) })?;
            device.started.store(false, Ordering::SeqCst);
        }
        let events = self.events();
        // SAFETY: an open port.
        unsafe { dpdk_sys::shim_port_forget_events(id) };
        // SAFETY: a stopped port behind shut gates. It gives the frames that it held back to their pools, which `SetUp` holds.
        let closed = unsafe { dpdk_sys::rte_eth_dev_close(id) };
        if closed != 0 {
            log::warn!("port `{}` did not close cleanly: {}", self.name(), super::error::why(closed));
        }
        device.configured.store(false, Ordering::SeqCst);
        device.id.store(OUT, Ordering::SeqCst);
        device.events_before.iter().zip(events).for_each(|(before, n)| before.store(n, Ordering::Relaxed));
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|taken| *taken != id);
        let slot = set_up.slot.insert(Slot::of(&found));
        if found.ports == 1 {
            // SAFETY: names that end with NUL, of a device without ports.
            let rc = unsafe { dpdk_sys::rte_eal_hotplug_remove(slot.bus.as_ptr(), slot.name.as_ptr()) };
            if rc != 0 {
                // If EAL has it still, putting it in says so.
                log::warn!("EAL did not let go of {}: {}", self.name(), super::error::why(rc));
            }
        }
        Ok(())
    }

    /// Have EAL look for the device, and take the port of this one's name.
    pub(super) fn put_in(&self, set_up: &mut SetUp) -> Result<(), DpdkError> {
        let Some(slot) = &set_up.slot else { return Ok(()) };
        if slot.is_empty() {
            return Err(DpdkError::Away { port: self.name().to_owned() });
        }
        let device = &self.0;
        let id = match by_name(self.name()) {
            Some(id) => id,
            None => {
                // SAFETY: names and arguments that end with NUL.
                let rc =
                    unsafe { dpdk_sys::rte_eal_hotplug_add(slot.bus.as_ptr(), slot.name.as_ptr(), slot.args.as_ptr()) };
                self.done("was not found again", rc)?;
                by_name(self.name())
                    .ok_or_else(|| self.unsupported("is not among the ports of the device that came"))?
            }
        };
        let info = described(self.name(), id)?;
        if info.driver != device.info.driver {
            let driver = text(&info.driver);
            return Err(
                self.unsupported(format!("has another driver now, {driver}: put the same device in, or restart"))
            );
        }
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        let had = self.events();
        device.id.store(id, Ordering::SeqCst);
        // What was counted under this number before is not this port's.
        for ((before, had), now) in device.events_before.iter().zip(had).zip(self.events()) {
            before.fetch_sub(now.wrapping_sub(had), Ordering::Relaxed);
        }
        // SAFETY: an open port.
        unsafe { dpdk_sys::shim_port_count_events(id) };
        if info.mac != device.info.mac {
            // SAFETY: an open port and an address.
            let rc = unsafe { dpdk_sys::shim_port_set_mac(id, device.info.mac.as_ptr()) };
            if rc != 0 {
                log::warn!("port `{}` has another MAC address than before, and does not take the old one", self.name());
            }
        }
        set_up.slot = None;
        device.gone.store(false, Ordering::SeqCst);
        device.configured.store(true, Ordering::SeqCst);
        Ok(())
    }
}

fn by_name(name: &str) -> Option<u16> {
    let (name, mut id) = (CString::new(name).ok()?, 0);
    // SAFETY: a name that ends with NUL and a place for the number.
    (unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) } == 0).then_some(id)
}
