//! What this binary is: version, git revision, the DPDK it was built on, the port backends in it.

/// Version, git revision (`+`: with local changes; `unknown`: built outside its repository), DPDK version, backends.
/// What `tickpath --version` prints after the program's name.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("TICKPATH_REVISION"),
    ")\nDPDK ",
    env!("TICKPATH_DPDK"),
    "\nbackends: ",
    env!("TICKPATH_BACKENDS"),
);

/// The git revision alone.
pub const REVISION: &str = env!("TICKPATH_REVISION");

/// The DPDK it was built on.
pub const DPDK: &str = env!("TICKPATH_DPDK");
