//! A kernel that refuses: a filter of system calls (seccomp) for the calling thread and all that it starts, so that every
//! step down can be taken in earnest.
#![allow(dead_code, reason = "each test crate uses a part")]
#![allow(unsafe_code, reason = "no crate of ours sets a filter of system calls")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::Type;

/// What is refused, and how.
#[derive(Clone, Copy)]
pub struct Refusal {
    call: libc::c_long,
    /// Which of its arguments must be like what; all of them.
    when: &'static [(u32, Is)],
    errno: libc::c_int,
}

/// What an argument is like, its lower half.
#[derive(Clone, Copy)]
enum Is {
    Equal(u32),
    Above(u32),
    /// It has one of these bits.
    With(u32),
}

/// linux/if_tun.h.
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const TSO: u32 = 0x02 | 0x04;
const USO: u32 = 0x20 | 0x40;

impl Refusal {
    /// There is no call for many datagrams.
    pub const NO_SENDMMSG: Self = Self { call: libc::SYS_sendmmsg, when: &[], errno: libc::ENOSYS };
    /// There is one, and it may not be made.
    pub const FORBIDDEN_SENDMMSG: Self = Self { call: libc::SYS_sendmmsg, when: &[], errno: libc::EPERM };
    /// The kernel does not put datagrams together.
    pub const NO_GRO: Self = Self {
        call: libc::SYS_setsockopt,
        when: &[(1, Is::Equal(libc::SOL_UDP as u32)), (2, Is::Equal(libc::UDP_GRO as u32))],
        errno: libc::ENOPROTOOPT,
    };
    /// A TUN device knows trains of TCP alone.
    pub const NO_USO: Self =
        Self { call: libc::SYS_ioctl, when: &[(1, Is::Equal(TUNSETOFFLOAD)), (2, Is::With(USO))], errno: libc::EINVAL };
    /// A TUN device knows no trains.
    pub const NO_TSO: Self = Self {
        call: libc::SYS_ioctl,
        when: &[(1, Is::Equal(TUNSETOFFLOAD)), (2, Is::With(TSO | USO))],
        errno: libc::EINVAL,
    };
    /// A TUN device cannot be asked for trains at all.
    pub const NO_TUNSETOFFLOAD: Self =
        Self { call: libc::SYS_ioctl, when: &[(1, Is::Equal(TUNSETOFFLOAD))], errno: libc::EPERM };
    /// There is no TUN device with a header in front of each packet. Which one is asked for stands in memory, where no filter looks:
    /// none is made at all.
    pub const NO_VNET_HDR: Self =
        Self { call: libc::SYS_ioctl, when: &[(1, Is::Equal(TUNSETIFF))], errno: libc::EINVAL };
    /// A TUN device says that it knows trains, and takes none: single packets are written in two pieces, header and packet.
    pub const NO_TRAINS_IN: Self = Self { call: libc::SYS_writev, when: &[(2, Is::Above(2))], errno: libc::EINVAL };
}

/// Where `struct seccomp_data` has the number of the call, and where its arguments begin.
const NUMBER: u32 = 0;
const ARGUMENTS: u32 = 16;
/// The lower half of an argument.
const LOWER: u32 = if cfg!(target_endian = "big") { 4 } else { 0 };

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;

fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// The program for one refusal; what is not refused goes on behind it.
fn program(refusal: &Refusal) -> Vec<libc::sock_filter> {
    // Two steps for each argument, and the answer.
    let behind = |at: usize| (2 * (refusal.when.len() - at) + 1) as u8;
    let jump = |test: u32| libc::BPF_JMP | test | libc::BPF_K;
    let mut steps = vec![
        step(LOAD, 0, 0, NUMBER),
        step(jump(libc::BPF_JEQ), 0, behind(0), u32::try_from(refusal.call).expect("a number of a call")),
    ];
    for (at, (argument, is)) in refusal.when.iter().enumerate() {
        let (test, value) = match *is {
            Is::Equal(value) => (libc::BPF_JEQ, value),
            Is::Above(value) => (libc::BPF_JGT, value),
            Is::With(bits) => (libc::BPF_JSET, bits),
        };
        steps.push(step(LOAD, 0, 0, ARGUMENTS + 8 * argument + LOWER));
        steps.push(step(jump(test), 0, behind(at + 1), value));
    }
    let errno = libc::SECCOMP_RET_ERRNO | refusal.errno.cast_unsigned();
    steps.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, errno));
    steps
}

/// From now on the kernel refuses this to the calling thread and to what it starts, threads and processes; for good.
pub fn refuse(refusals: &[Refusal]) {
    let mut steps: Vec<_> = refusals.iter().flat_map(program).collect();
    steps.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the program and its steps live through the call, which copies them, and their true number is given.
    let result = unsafe {
        let (one, zero): (libc::c_ulong, libc::c_ulong) = (1, 0);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero);
        libc::prctl(libc::PR_SET_SECCOMP, libc::c_ulong::from(libc::SECCOMP_MODE_FILTER), &raw const program)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Lets a socket send without checksums: what it sends from now on may not be left to the kernel to cut.
pub fn without_checksums(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads an int that lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// The UDP sockets of another process that are bound to `port`, as descriptors of this one.
pub fn udp_sockets_of(process: u32, port: u16) -> io::Result<Vec<OwnedFd>> {
    // SAFETY (both calls): they take numbers alone, and give a descriptor that nobody else owns, or an error.
    let call = |number, first: libc::c_long, second: libc::c_long| -> io::Result<OwnedFd> {
        let given = unsafe { libc::syscall(number, first, second, 0) };
        let given = libc::c_int::try_from(given).map_err(io::Error::other)?;
        if given < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(given) }) }
    };
    let handle = call(libc::SYS_pidfd_open, process.into(), 0)?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let theirs = call(libc::SYS_pidfd_getfd, handle.as_raw_fd().into(), number)?;
        let socket = socket2::SockRef::from(&theirs);
        let here = socket.local_addr().ok().and_then(|address| address.as_socket());
        if here.is_some_and(|here| here.port() == port) && socket.r#type().is_ok_and(|kind| kind == Type::DGRAM) {
            found.push(theirs);
        }
    }
    Ok(found)
}
