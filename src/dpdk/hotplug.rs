//! Devices that are pulled out of the host and put in again under a port's queues.
//!
//! In: a port whose device said that it was removed, its gates shut. Out: the device given back, for which the kernel waits when it is
//! vfio-pci's; once a device is there again in the same place, the port over it, as unconfigured as after [`Port::open`]. Its
//! number may be another; its driver may not.

use super::ethdev::{OUT, SetUp, by_name, counted, described, taken, text};
use super::{DpdkError, Port};
use std::ffi::{CString, c_char};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Where EAL finds a device.
#[derive(Debug)]
pub(super) struct Slot {
    bus: CString,
    pub(super) name: CString,
    args: CString,
    /// How far its port is out of EAL.
    out: Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    No,
    /// The port is closed,
    Closed,
    /// and EAL has let go of the device.
    LetGo,
}

/// A device of several ports leaves with the last of them.
static LEAVING: Mutex<()> = Mutex::new(());

impl Slot {
    /// Of this port's device; `None` when it does not tell.
    pub(super) fn of(id: u16) -> Option<Slot> {
        let mut found = Box::new(dpdk_sys::shim_port_device { bus: [0; _], name: [0; _], args: [0; _] });
        // SAFETY: a number that is no port is refused; a place for what is found.
        if unsafe { dpdk_sys::shim_port_device(id, &raw mut *found) } != 0 {
            return None;
        }
        let owned = |chars: &[c_char]| CString::new(text(chars)).unwrap_or_default();
        Some(Slot { bus: owned(&found.bus), name: owned(&found.name), args: owned(&found.args), out: Out::No })
    }

    /// A card that no kernel driver has is none of EAL's, either. Of other buses EAL alone can tell.
    fn is_empty(&self) -> bool {
        let Ok(name) = self.name.to_str() else { return false };
        self.bus.as_bytes() == b"pci" && !Path::new("/sys/bus/pci/devices").join(name).join("driver").exists()
    }

    /// Whether somebody has another port of the device.
    fn is_shared(&self) -> bool {
        let taken = taken().clone();
        taken.into_iter().filter_map(Slot::of).any(|other| other.bus == self.bus && other.name == self.name)
    }

    /// Have EAL let go of the device. One that it does not have is let go of.
    fn let_go(&self) -> i32 {
        // SAFETY: names that end with NUL, of a device without ports that anybody has.
        match unsafe { dpdk_sys::rte_eal_hotplug_remove(self.bus.as_ptr(), self.name.as_ptr()) } {
            rc if rc == -libc::EINVAL || rc == -libc::ENODEV => 0,
            rc => rc,
        }
    }
}

impl Port {
    /// Whether it was taken out of EAL and there is nothing to put in again, as far as that can be told without trying.
    /// Reads a folder: not for the path.
    pub fn is_away(&self) -> bool {
        self.set_up().slot.as_ref().is_some_and(|slot| slot.out == Out::LetGo && slot.is_empty())
    }

    /// Close the port and have EAL let go of its device. What is done is not done again.
    pub(super) fn take_out(&self, set_up: &mut SetUp) -> Result<(), DpdkError> {
        let Some(slot) = &mut set_up.slot else {
            return Err(
                self.unsupported("does not tell where its device is: it comes back when this program is restarted")
            );
        };
        let _leaving = LEAVING.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.out == Out::No {
            self.close(slot);
            slot.out = Out::Closed;
        }
        if slot.out == Out::Closed {
            // While another has a port of it, a port of this name is one that came with the device again.
            if !slot.is_shared() {
                self.done("is not let go of by EAL", slot.let_go())?;
            } else if by_name(self.name()).is_none() {
                return Err(self.unsupported("is out, and another port of its device is not"));
            }
            slot.out = Out::LetGo;
        }
        Ok(())
    }

    /// Out of EAL, and its device as it is.
    fn close(&self, slot: &Slot) {
        let (device, id) = (&self.0, self.id());
        // SAFETY: an open port, and the name that it was listened to by.
        unsafe { dpdk_sys::shim_port_forget_events(id, slot.name.as_ptr()) };
        device.close();
        device.started.store(false, Ordering::SeqCst);
        device.configured.store(false, Ordering::SeqCst);
        taken().retain(|taken| *taken != id);
        self.counted().begin_anew();
        self.renumber(OUT);
    }

    /// Have EAL look for the device, and take the port of this one's name. Returns the events that were told of the device that
    /// went.
    pub(super) fn put_in(&self, set_up: &mut SetUp) -> Result<[u32; 2], DpdkError> {
        let Some(slot) = &mut set_up.slot else { return Ok(self.events()) };
        if slot.is_empty() {
            return Err(DpdkError::Away { port: self.name().to_owned() });
        }
        let _leaving = LEAVING.lock().unwrap_or_else(PoisonError::into_inner);
        if by_name(self.name()).is_none() {
            // SAFETY: names and arguments that end with NUL.
            let rc =
                unsafe { dpdk_sys::rte_eal_hotplug_add(slot.bus.as_ptr(), slot.name.as_ptr(), slot.args.as_ptr()) };
            self.done("was not found again", rc)?;
        }
        let id = match self.recognize() {
            Ok(id) => id,
            Err(why) => {
                // Who put it there may want it back.
                if !slot.is_shared() {
                    slot.let_go();
                }
                return Err(why);
            }
        };
        let device = &self.0;
        taken().push(id);
        let events = self.events();
        self.renumber(id);
        slot.out = Out::No;
        device.gone.store(false, Ordering::SeqCst);
        device.configured.store(true, Ordering::SeqCst);
        self.listen(Some(slot));
        Ok(events)
    }

    /// The port of this one's name, if it can take this one's place.
    fn recognize(&self) -> Result<u16, DpdkError> {
        let was = &self.0.info;
        let id =
            by_name(self.name()).ok_or_else(|| self.unsupported("is not among the ports of the device that came"))?;
        let is = described(self.name(), id)?;
        if is.driver != was.driver {
            let driver = text(&is.driver);
            return Err(
                self.unsupported(format!("has another driver now, {driver}: put the same device in, or restart"))
            );
        }
        if is.mac != was.mac {
            // SAFETY: an open port and an address.
            let rc = unsafe { dpdk_sys::shim_port_set_mac(id, was.mac.as_ptr()) };
            if rc != 0 {
                log::warn!("port `{}` has another MAC address than before, and does not take the old one", self.name());
            }
        }
        Ok(id)
    }

    /// It has this number from now on. What was counted under that before is not this port's.
    fn renumber(&self, id: u16) {
        let mut before = self.events_before();
        let (was, is) = (counted(self.id()), counted(id));
        *before = std::array::from_fn(|at| before[at].wrapping_add(was[at]).wrapping_sub(is[at]));
        self.0.id.store(id, Ordering::SeqCst);
    }
}
