//! `check`: what does this file mean, and is this machine ready for it? Nothing is touched.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use serde_json::json;

use super::exit::{Exit, Failure};
use crate::config::{self, ConfigError, Loaded};
use crate::platform::clock;
use crate::platform::host_check::{self, Finding, Needs};
use crate::policy::Rule;
use crate::report;

/// What else is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Also {
    /// This machine.
    pub(super) host: bool,
    /// Every warning is an error.
    pub(super) strict: bool,
}

/// Loads the file and shows what it means.
pub(super) fn check(file: &Path, also: Also, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(refused) if json => return refuse(&refused, out),
        Err(refused) => return Err(refused.into()),
    };
    let warnings: Vec<_> = loaded.warnings_at(clock::wall()).cloned().collect();
    if also.strict && !warnings.is_empty() {
        let refused = ConfigError::of_warnings(file, warnings);
        return if json { refuse(&refused, out) } else { Err(refused.into()) };
    }
    let findings = also.host.then(|| host_check::check(&needs(&loaded)));
    if json {
        let mut answer = report::check::json(&loaded, &warnings);
        if let Some(findings) = &findings {
            answer["host"] = report::check::host_json(findings);
        }
        writeln!(out, "{answer}")?;
    } else {
        for warning in &warnings {
            writeln!(out, "{}", warning.render(super::has_colour(&std::io::stdout())))?;
        }
        out.write_all(report::check::check(&loaded, warnings.len(), report::width()).as_bytes())?;
        if let Some(findings) = &findings {
            out.write_all(report::check::host(findings, report::width()).as_bytes())?;
        }
    }
    Ok(exit(findings.as_deref().unwrap_or_default()))
}

fn refuse(refused: &ConfigError, out: &mut dyn Write) -> Result<Exit, Failure> {
    let answer = json!({
        "file": refused.path, "holds": false,
        "errors": report::check::problems(&refused.errors),
        "warnings": report::check::problems(&refused.warnings),
    });
    writeln!(out, "{answer}")?;
    Ok(Exit::Config)
}

fn exit(findings: &[Finding]) -> Exit {
    if findings.iter().all(|finding| finding.ok) { Exit::Done } else { Exit::Host }
}

/// What the file asks of this machine. Packets are forwarded for every local host that is not the gateway itself.
fn needs(loaded: &Loaded) -> Needs {
    let locals: BTreeSet<IpAddr> = loaded.tunnels.iter().map(|tunnel| tunnel.local).collect();
    let forwards = |v6: bool| {
        let hosts = loaded.policy.rules().iter().flat_map(Rule::local);
        hosts
            .filter(|host| host.addr().is_ipv6() == v6)
            .any(|host| host.prefix_len() < host.max_prefix_len() || !locals.contains(&host.addr()))
            || loaded.policy.translations().list().iter().any(|of| of.outside.is_ipv6() == v6)
    };
    Needs {
        tun: loaded.gateway.tun.clone(),
        forward_v4: forwards(false),
        forward_v6: forwards(true),
        locals: locals.iter().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_lacks_something_is_8() {
        let finding = |ok| Finding { name: "ip-forward", ok, sentence: String::new() };
        assert_eq!(exit(&[finding(true)]), Exit::Done);
        assert_eq!(exit(&[finding(true), finding(false)]).code(), 8);
    }
}
