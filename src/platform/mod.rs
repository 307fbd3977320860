//! Which syscall, which device? The only room with `unsafe`, the clock and OS randomness.

pub mod async_fd;
pub mod bulk;
pub mod child;
pub mod clock;
mod datagram;
pub mod entropy;
pub mod ethtool;
pub mod guard;
pub mod host_check;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod packet;
pub mod poll;
pub mod privileges;
pub mod raw_esp;
pub mod signal;
pub mod tun;
pub mod udp;
