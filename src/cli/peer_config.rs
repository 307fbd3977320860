//! `peer-config`: the other side's configuration, from our own file.

use std::io::Write;
use std::path::Path;

use super::exit::{Exit, Failure};
use super::words::Device;
use crate::config;
use crate::report::peer_config::{self, peer_config};
use crate::report::plain;

impl From<Device> for peer_config::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::CiscoIosXe => Self::CiscoIosXe,
            Device::CiscoAsa => Self::CiscoAsa,
            Device::Strongswan => Self::Strongswan,
        }
    }
}

/// Prints it; what the device has no words for is told on standard error too.
pub(super) fn print(
    name: &str,
    device: Device,
    file: &Path,
    with_secret: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let (loaded, places) = config::load_with_places(file, with_secret)?;
    let Some(page) = peer_config(device.into(), &loaded, &places, name, with_secret) else {
        let known: Vec<_> = loaded.tunnels.iter().map(|tunnel| tunnel.name.as_str()).collect();
        let sentence =
            format!("there is no tunnel {} in {}; there are {}", plain(name), file.display(), known.join(", "));
        return Err(Failure::Usage(sentence));
    };
    out.write_all(page.text.as_bytes())?;
    out.flush()?;
    for left_out in &page.left_out {
        eprintln!("portcullis: not expressed: {}", plain(left_out));
    }
    if !page.whole {
        eprintln!("portcullis: the tunnel does not come up with this");
    }
    Ok(if page.whole { Exit::Done } else { Exit::Differs })
}
