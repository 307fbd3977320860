//! The offloads of a network device, by the names that `ethtool -k` shows in the kernel's own spelling
//! (`tx-tcp-segmentation`): read, and switched. Everything else that ethtool knows is left out.
#![allow(unsafe_code, reason = "SIOCETHTOOL takes a structure with a pointer to another one")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Socket, Type};

/// linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// linux/ethtool.h.
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
/// The set of strings that are names of features (`ETH_SS_FEATURES`).
const FEATURES: u32 = 4;
/// Length of a name (`ETH_GSTRING_LEN`).
const NAME: usize = 32;
/// No device has more features than this.
const MOST: usize = 1024;

/// Which offloads `device` of the calling thread's namespace has, and whether each is on.
pub fn offloads(device: &str) -> io::Result<BTreeMap<String, bool>> {
    let socket = socket()?;
    let names = names(&socket, device)?;
    let blocks = names.len().div_ceil(32);
    // cmd, size, then for each block of 32: available, requested, active, never_changed.
    let mut request = vec![0_u32; 2 + 4 * blocks];
    (request[0], request[1]) = (GET_FEATURES, blocks as u32);
    call(&socket, device, words(&mut request))?;
    let active = |at: usize| request.get(2 + 4 * (at / 32) + 2).is_some_and(|block| block >> (at % 32) & 1 == 1);
    Ok(names.iter().enumerate().map(|(at, name)| (name.clone(), active(at))).collect())
}

/// Switches offloads of `device` of the calling thread's namespace on or off. A name that the kernel does not know is an
/// error; one that the device keeps as it is, is not.
pub fn set_offloads(device: &str, wanted: &[(&str, bool)]) -> io::Result<()> {
    let socket = socket()?;
    let names = names(&socket, device)?;
    let blocks = names.len().div_ceil(32);
    // cmd, size, then for each block of 32: valid, requested.
    let mut request = vec![0_u32; 2 + 2 * blocks];
    (request[0], request[1]) = (SET_FEATURES, blocks as u32);
    for (name, on) in wanted {
        let at = names.iter().position(|known| known == name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("the kernel knows no offload {name} of {device}"))
        })?;
        request[2 + 2 * (at / 32)] |= 1 << (at % 32);
        request[2 + 2 * (at / 32) + 1] |= u32::from(*on) << (at % 32);
    }
    call(&socket, device, words(&mut request))
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::DGRAM, None)
}

/// The names of all features, by their numbers.
fn names(socket: &Socket, device: &str) -> io::Result<Vec<String>> {
    // cmd, reserved, a mask of 64 bits, then one number: how many strings the set has.
    let mut request = [GET_SET_INFO, 0, 1 << FEATURES, 0, 0];
    call(socket, device, words(&mut request))?;
    let count = (request[4] as usize).min(MOST);
    let mut request = vec![0_u8; 12 + count * NAME];
    for (place, word) in request.chunks_exact_mut(4).zip([GET_STRINGS, FEATURES, count as u32]) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    call(socket, device, &mut request)?;
    let name =
        |bytes: &[u8]| String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    Ok(request[12..].chunks_exact(NAME).map(name).collect())
}

/// The bytes of a request that is made of numbers.
fn words(request: &mut [u32]) -> &mut [u8] {
    let len = size_of_val(request);
    // SAFETY: any initialised memory may be looked at as bytes, and any bytes are numbers; the borrow goes on.
    unsafe { std::slice::from_raw_parts_mut(request.as_mut_ptr().cast(), len) }
}

#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut u8,
    /// `struct ifreq` is larger than its pointer.
    rest: [u8; 16],
}

fn call(socket: &Socket, device: &str, data: &mut [u8]) -> io::Result<()> {
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: data.as_mut_ptr(), rest: [0; 16] };
    // The last byte stays zero.
    let room = request.name.get_mut(..device.len()).filter(|room| room.len() < libc::IFNAMSIZ);
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(device.as_bytes());
    // SAFETY: `request` has the layout of `struct ifreq` and lives through the call; its pointer leads to `data`, whose own
    // header tells the kernel how many numbers or strings there is room for, which is what was allocated.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::namespace::Namespace;
    use crate::platform::netlink::Netlink;

    #[test]
    fn offloads_are_switched_by_name() {
        let Ok(place) = Namespace::new() else { return };
        place
            .run(|| {
                Netlink::open().unwrap().add_veth("near", "far", None).unwrap();
                let before = offloads("near").unwrap();
                assert_eq!(before.get("tx-tcp-segmentation"), Some(&true));
                set_offloads("near", &[("tx-tcp-segmentation", false), ("rx-gro", true)]).unwrap();
                let after = offloads("near").unwrap();
                let is = |name: &str| after.get(name).copied();
                assert_eq!((is("tx-tcp-segmentation"), is("rx-gro")), (Some(false), Some(true)));
                // The kernel may take along what hangs together with them, but switches nothing else on.
                let on = |all: &BTreeMap<String, bool>| all.values().filter(|on| **on).count();
                assert!(on(&after) <= on(&before) + 1 && is("tx-udp-segmentation") == Some(true));
                assert!(set_offloads("near", &[("tx-teleportation", true)]).is_err());
            })
            .unwrap();
    }

    #[test]
    fn numbers_and_their_bytes_are_the_same_memory() {
        let mut numbers = vec![1_u32, 0x0102_0304, 3];
        let bytes = words(&mut numbers);
        assert_eq!((bytes.len(), &bytes[4..8]), (12, &0x0102_0304_u32.to_ne_bytes()[..]));
        bytes[8..].copy_from_slice(&7_u32.to_ne_bytes());
        assert_eq!(numbers, [1, 0x0102_0304, 7]);
        assert!(words(&mut []).is_empty());
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(offloads("no-such-device").is_err());
        assert!(offloads("a-name-that-is-longer-than-any").is_err());
    }
}
