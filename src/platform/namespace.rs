//! Network namespaces that live as long as a descriptor: nothing is named in `/run/netns`, so nothing is left behind.
//!
//! An ordinary user becomes root of a user namespace first, before any thread starts. Leaves out mount and process
//! namespaces beyond what that needs.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};
use thiserror::Error;

use super::netlink::Netlink;
use super::privileges::{Capability, has_capability};

/// A network namespace, held by a descriptor; it ends with the last process, socket or descriptor in it.
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new namespace with its loopback up, where IPv6 addresses of later links can be used at once: nobody else is on
    /// them, so they need not be asked for (duplicate address detection takes a second).
    pub fn new() -> io::Result<Self> {
        let file = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let mut netlink = Netlink::open()?;
            let lo = netlink.index_of("lo")?;
            netlink.set_up(lo, true)?;
            for links in ["all", "default"] {
                // Where `/proc/sys` may not be written, addresses only come up later.
                let _ = set_sysctl(&format!("net/ipv6/conf/{links}/accept_dad"), "0");
            }
            File::open("/proc/thread-self/ns/net")
        })?;
        Ok(Self { file })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/thread-self/ns/net")? })
    }

    /// Another descriptor of the same namespace.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    /// Moves the calling thread into the namespace for the rest of its life.
    pub fn enter(&self) -> io::Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }

    /// Runs `work` in the namespace, in a thread of its own. Sockets that it opens stay in the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// Starts a process in the namespace.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // The child is born in the namespace of the thread that forks.
        self.run(move || command.spawn())?
    }

    /// Sets `net.…` kernel settings in the namespace, for example `("net/ipv4/ip_forward", "1")`.
    pub fn set_sysctls(&self, settings: &[(&str, &str)]) -> io::Result<()> {
        self.run(|| settings.iter().try_for_each(|(key, value)| set_sysctl(key, value)))?
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// Sets one kernel setting of the calling thread's namespace; `/proc/sys/net` shows the namespace of who opens it.
pub fn set_sysctl(key: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{key}"), value)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot set {key} to {value}: {error}")))
}

/// Reads one kernel setting of the calling thread's namespace.
pub fn sysctl(key: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/sys/{key}"))?.trim().to_owned())
}

/// Runs `work` in a fresh thread, so that what it does to its namespaces ends with it, and hands a panic on.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Why an ordinary user cannot have namespaces here.
#[derive(Debug, Error)]
pub enum Forbidden {
    /// The kernel allows no user namespaces at all.
    #[error("this system allows no user namespaces (user.max_user_namespaces is 0): run as root")]
    NoUserNamespaces,
    /// The distribution keeps them from ordinary users.
    #[error("this system keeps user namespaces from ordinary users ({0}): run as root, or set it to {1}")]
    Setting(&'static str, &'static str),
    /// Somebody else does, for example a container's seccomp filter.
    #[error("the system does not let this user make a user namespace ({0}): run as root")]
    Refused(io::Error),
    /// Called too late.
    #[error("a user namespace must be entered before the first thread starts")]
    Threads,
}

/// Makes sure that this process may make network namespaces: root stays as it is, an ordinary user becomes root of a fresh
/// user, network and mount namespace. Must be called before threads start; says whether a namespace was entered.
pub fn become_root_in_user_namespace() -> Result<bool, Forbidden> {
    let may = |capability| has_capability(capability).unwrap_or(false);
    if may(Capability::NetAdmin) && may(Capability::SysAdmin) && may(Capability::NetRaw) {
        return Ok(false);
    }
    if fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(Forbidden::Threads);
    }
    let (user, group) = (geteuid(), getegid());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(flags).map_err(|error| forbidden(error.into()))?;
    // The kernel wants `setgroups` denied before an ordinary user may map groups.
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {user} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {group} 1")))
        .map_err(forbidden)?;
    // Some systems let the namespace be made and then withhold what it is for: better to know now.
    Namespace::new().map_err(forbidden)?;
    Ok(true)
}

fn forbidden(error: io::Error) -> Forbidden {
    let is = |key, value| sysctl(key).is_ok_and(|found| found == value);
    if is("user/max_user_namespaces", "0") {
        Forbidden::NoUserNamespaces
    } else if is("kernel/unprivileged_userns_clone", "0") {
        Forbidden::Setting("kernel.unprivileged_userns_clone is 0", "1")
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        Forbidden::Setting("kernel.apparmor_restrict_unprivileged_userns is 1", "0")
    } else {
        Forbidden::Refused(error)
    }
}
