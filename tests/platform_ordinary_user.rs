//! An ordinary user's way to namespaces, in a process of one thread: that is what a user namespace asks for, and why this
//! test has no harness.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod platform_common;

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use platform_common::{bring_up, ip, join};
use portcullis::dataplane::offload::TunOffload;
use portcullis::guard::desired::Desired;
use portcullis::platform::namespace::{Namespace, become_root_in_user_namespace, sysctl};
use portcullis::platform::privileges::{Capability, has_capability};
use portcullis::platform::raw_esp::RawEsp;
use portcullis::platform::tun::Tun;
use portcullis::platform::udp::UdpSocket;
use portcullis::platform::{guard, privileges};

const NAME: &str = "an_ordinary_user_becomes_root_of_namespaces";
const CHILD: &str = "PORTCULLIS_TEST_ORDINARY_USER";
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    let child = env::var_os(CHILD).is_some();
    let result = if nix::unistd::geteuid().is_root() && !child { as_nobody() } else { test() };
    match result {
        Ok(()) if child => ExitCode::SUCCESS,
        Ok(()) => {
            println!("test {NAME} ... ok");
            println!("test result: ok. 1 passed; 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("test {NAME} ... FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again as somebody without rights, from a place that everybody can read.
fn as_nobody() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let program = folder.path().join("test");
    fs::copy(env::current_exe()?, &program)?;
    open_tun_device(&folder.path().join("tun"))?;
    let status = Command::new(&program).env(CHILD, "1").current_dir("/").uid(NOBODY).gid(NOBODY).status()?;
    if status.success() { Ok(()) } else { Err("it failed as nobody".into()) }
}

/// Gives this process a TUN device that everybody may open, as udev makes it: not every machine has udev.
fn open_tun_device(node: &Path) -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mknod(node, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(10, 200))?;
    fs::set_permissions(node, fs::Permissions::from_mode(0o666))?;
    mount(Some(node), "/dev/net/tun", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn test() -> Result<(), Box<dyn Error>> {
    assert!(!has_capability(Capability::NetAdmin)?, "an ordinary user to begin with");
    assert!(privileges::check().unwrap_err().to_string().contains("CAP_NET_ADMIN"));
    match become_root_in_user_namespace() {
        Ok(entered) => assert!(entered),
        Err(forbidden) => {
            println!("NOT RUN: {NAME}: {forbidden}");
            return Ok(());
        }
    }
    assert!(!become_root_in_user_namespace()?, "root of a namespace is root enough");
    let (a, b) = (Namespace::new()?, Namespace::new()?);
    join(&a, &b, "link");
    bring_up(&a, "link", &["192.0.2.1/24", "2001:db8::1/64"]);
    bring_up(&b, "link", &["192.0.2.2/24"]);
    a.set_sysctls(&[("net/ipv4/ip_forward", "1")])?;
    a.run(|| {
        assert_eq!(sysctl("net/ipv4/ip_forward").unwrap(), "1");
        let tun = Tun::open("pc0", 1400, TunOffload::TcpAndUdp).unwrap();
        let protected = vec![portcullis::guard::desired::Protected {
            network: "203.0.113.20/32".parse().unwrap(),
            source: None,
            mtu: None,
        }];
        let applied = guard::apply(&Desired { tun: "pc0".into(), mtu: 1400, protected }).unwrap();
        assert!(applied.barrier && applied.tun && applied.routes == 2);
        drop(tun);
        assert!(guard::release().unwrap());
        UdpSocket::bind(ip("192.0.2.1"), 500).unwrap();
        RawEsp::bind(ip("192.0.2.1")).unwrap();
        RawEsp::bind(ip("2001:db8::1")).unwrap();
    })?;
    Ok(())
}
