//! How fast a package runs on this machine, and whether that can be believed.

pub mod device;
pub mod statistics;
