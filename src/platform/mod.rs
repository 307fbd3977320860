//! Which syscall, which device? The only room with `unsafe`, the clock and OS randomness.

pub mod clock;
pub mod entropy;
pub mod packet;
