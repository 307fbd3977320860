//! Where a peer is started, and what stands then: processes at both gateways that end with it, its device, the commands that were run.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;

use crate::lab::bench::BenchError;
use crate::lab::bench::pins::Pins;
use crate::lab::bench::site::{HOST_B, NETS, Site};
use crate::lab::gateway::Gateway;
use crate::lab::standing::Standing;
use crate::lab::topology::spawn_in;
use crate::platform::child::dies_with_its_parent;
use crate::platform::clock;
use crate::platform::namespace::Namespace;
use crate::platform::netlink::{Netlink, Route};
use crate::platform::privileges::bind_process;

/// How long a peer may take to make its device or socket.
const PATIENCE: Duration = Duration::from_secs(10);
/// No word of a command but a key is so long.
const KEY: usize = 40;

/// Where a peer is started.
pub(super) struct Stage<'a> {
    pub(super) site: &'a Site,
    pub(super) standing: &'a Standing,
    pub(super) folder: &'a Path,
    /// What was run at gateway A.
    pub(super) commands: RefCell<Vec<String>>,
}

/// A tunnel that stands, until this is dropped.
#[derive(Default)]
pub(in crate::lab::bench) struct Running {
    pub(super) children: Children,
    /// Ours, which can be spoken to.
    pub(in crate::lab::bench) gateways: Option<Box<[Gateway; 2]>>,
    /// Gateway A's device, which has the tunnel's MTU where no route has another.
    pub(super) device: Option<String>,
    /// Its version, where it tells that only while it runs.
    pub(in crate::lab::bench) version: Option<String>,
    pub(super) logs: Vec<PathBuf>,
    pub(super) sockets: Sockets,
    /// What was run at gateway A to have it.
    pub(in crate::lab::bench) commands: Vec<String>,
}

impl Running {
    /// The processes of both gateways.
    pub(in crate::lab::bench) fn processes(&self) -> Vec<u32> {
        let ours = self.gateways.iter().flat_map(|pair| pair.iter().map(Gateway::pid));
        self.children.0.iter().map(Child::id).chain(ours).collect()
    }

    /// Binds the processes of each gateway to its processor.
    pub(in crate::lab::bench) fn bind(&self, pins: Pins) -> Result<(), BenchError> {
        // Each peer is started at gateway A, then at gateway B, and so on.
        let sides = pins.gateways.into_iter().cycle();
        let mut each = self.processes().into_iter().zip(sides);
        each.try_for_each(|(process, processor)| bind_process(process, processor))
            .map_err(BenchError::system("binding a gateway to a processor"))
    }

    /// The longest packet that it takes: the MTU of its route, or else of its device.
    pub(in crate::lab::bench) fn mtu(&self, site: &Site) -> Option<u32> {
        let device = self.device.as_ref()?;
        let look = || -> io::Result<Option<u32>> {
            let mut netlink = Netlink::open()?;
            let Some(link) = netlink.link(device)? else { return Ok(None) };
            let routes = netlink.routes()?;
            let leads = |route: &&Route| route.device == Some(link.index) && route.destination.contains(&HOST_B);
            Ok(Some(routes.iter().find(leads).and_then(|route| route.mtu).unwrap_or(link.mtu)))
        };
        site.gateway_a.run(look).ok()?.ok()?
    }

    /// What its processes said at last.
    pub(in crate::lab::bench) fn last_words(&self) -> String {
        let mut words: Vec<String> = self.logs.iter().filter_map(|log| fs::read_to_string(log).ok()).collect();
        words.extend(self.gateways.iter().flat_map(|pair| pair.iter().map(Gateway::log)));
        let last = |text: &String| text.lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<String> = words.iter().flat_map(|text| last(text).into_iter().rev()).collect();
        lines.join("; ")
    }
}

/// Files that peers make outside their folder, and leave behind when they are killed.
#[derive(Default)]
pub(super) struct Sockets(pub(super) Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}

/// Processes that end with this.
#[derive(Default)]
pub(super) struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(site: &'a Site, standing: &'a Standing, folder: &'a Path) -> Self {
        Self { site, standing, folder, commands: RefCell::default() }
    }

    /// What was run at gateway A, for what comes of it.
    pub(super) fn commands(self) -> Vec<String> {
        self.commands.into_inner()
    }

    /// Gateway A, then gateway B.
    pub(super) fn gateways(&self) -> [&Namespace; 2] {
        [&self.site.gateway_a, &self.site.gateway_b]
    }

    /// Remembers a command, for whoever wants to do the same: without the keys in it, and without the place of its files.
    fn note(&self, side: usize, command: &Command) {
        if side == 0 {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            self.commands
                .borrow_mut()
                .push(words.map(|word| told(&word.to_string_lossy(), self.folder)).collect::<Vec<_>>().join(" "));
        }
    }

    /// Starts a process at a gateway, with what it says in a file beside it. Call it from the thread that outlives it.
    pub(super) fn spawn(&self, running: &mut Running, side: usize, command: &mut Command) -> Result<(), BenchError> {
        self.note(side, command);
        let log = self.folder.join(format!("log-{side}-{}", running.children.0.len()));
        let mut spawn = || {
            let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            spawn_in(self.gateways()[side], dies_with_its_parent(command))
        };
        let child = spawn().map_err(BenchError::system("its process"))?;
        self.standing.watch(child.id());
        running.children.0.push(child);
        running.logs.push(log);
        Ok(())
    }

    /// Runs a command at a gateway to its end.
    pub(super) fn run(&self, side: usize, command: &mut Command) -> Result<String, BenchError> {
        self.note(side, command);
        let what = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null());
        let output = self.gateways()[side].run(move || command.output()).and_then(|output| output);
        let output = output.map_err(BenchError::system(&what))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            return Err(BenchError::Failed(format!("{what}: {said}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits for a device at a gateway, brings it up with this MTU and sends the other side's network into it.
    pub(super) fn route_into(&self, side: usize, device: &str, mtu: Option<u32>) -> Result<(), BenchError> {
        let far: IpNet = NETS[1 - side].parse().expect("a network of this room");
        let end = clock::now() + PATIENCE;
        let done = self.gateways()[side].run(|| -> io::Result<()> {
            let mut netlink = Netlink::open()?;
            let index = loop {
                match netlink.link(device)? {
                    Some(link) => break link.index,
                    None if clock::now() < end => std::thread::sleep(Duration::from_millis(20)),
                    None => return Err(io::Error::new(io::ErrorKind::NotFound, "it does not appear")),
                }
            };
            if let Some(mtu) = mtu {
                netlink.set_mtu(index, mtu)?;
            }
            netlink.set_up(index, true)?;
            netlink.replace_route(&Route::by_device(far, index))
        });
        done.and_then(|done| done).map_err(BenchError::system(&format!("the device {device}")))
    }
}

/// A word of a command as it is shown.
fn told(word: &str, folder: &Path) -> String {
    let word = word.replace(&*folder.to_string_lossy(), "FOLDER");
    // A key in hexadecimal or base64: made for this run, and nobody's business all the same.
    let is_key = word.len() >= KEY && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    let is_text = word.contains([' ', '(', ')', '\'']);
    match () {
        () if is_key => "KEY".to_owned(),
        () if is_text => format!("\"{word}\""),
        () => word,
    }
}

/// Waits until `is` holds.
pub(super) fn wait_for(mut is: impl FnMut() -> bool) -> bool {
    let end = clock::now() + PATIENCE;
    while !is() {
        if clock::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_without_keys_and_places() {
        let folder = Path::new("/tmp/a");
        for (word, shown) in [
            ("--config=/tmp/a/x.conf", "--config=FOLDER/x.conf"),
            (&*format!("0x{}", "ab".repeat(36)), "KEY"),
            ("mKFxKpWe0nBnJ6ZbNHfBlI3p7wq0Fl3g8V4i7TV/1Xk=", "KEY"),
            ("rfc4106(gcm(aes))", "\"rfc4106(gcm(aes))\""),
            ("203.0.113.5:51820", "203.0.113.5:51820"),
        ] {
            assert_eq!(told(word, folder), shown);
        }
    }
}
