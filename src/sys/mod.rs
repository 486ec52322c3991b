//! What the kernel knows and `std` does not say.

pub mod time;
