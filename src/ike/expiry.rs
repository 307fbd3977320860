//! Certificates that are about to expire: our own chains, and the authorities that peers are checked against. Each is told of
//! 30, 14, 7 and 1 days ahead and when it is over, once each, whichever tunnels share it.

use std::collections::BTreeMap;

use super::auth::{LocalAuth, PeerAuth};
use super::config::Config;
use super::step::Outbox;
use crate::crypto::certificate::Certificate;
use crate::event::Event;

/// How many days ahead it is told of.
const DAYS: [i64; 5] = [0, 1, 7, 14, 30];
const DAY: i64 = 86_400;
/// Seconds between looks.
const PERIOD: u64 = 3600;

/// What has been told.
#[derive(Debug, Default)]
pub struct Expiry {
    /// By subject, serial number and end: the fewest days that were told.
    told: BTreeMap<(Vec<u8>, Vec<u8>, i64), i64>,
    next: u64,
}

impl Expiry {
    /// Other certificates are configured.
    pub fn look_again(&mut self) {
        self.next = 0;
    }

    /// Tells of what is about to expire, at the time `unix_now` in seconds since 1970.
    pub fn look(&mut self, unix_now: u64, config: &Config, out: &mut Outbox) {
        if unix_now < self.next || unix_now == 0 {
            return;
        }
        self.next = unix_now + PERIOD;
        for tunnel in &config.tunnels {
            if let LocalAuth::Certificate(credential) = &tunnel.local_auth {
                credential.chain().iter().for_each(|of| self.judge(unix_now, of, &tunnel.name, true, out));
            }
            if let PeerAuth::Certificate(trust) = &tunnel.peer_auth {
                trust.anchors().iter().for_each(|of| self.judge(unix_now, of, &tunnel.name, false, out));
            }
        }
    }

    fn judge(&mut self, unix_now: u64, certificate: &Certificate, tunnel: &str, ours: bool, out: &mut Outbox) {
        let left = certificate.not_after.saturating_sub(i64::try_from(unix_now).unwrap_or(i64::MAX));
        let days = left.div_euclid(DAY) + i64::from(left.rem_euclid(DAY) > 0);
        let Some(step) = DAYS.into_iter().find(|step| days <= *step) else { return };
        let key = (certificate.subject.clone(), certificate.serial.clone(), certificate.not_after);
        if self.told.get(&key).is_some_and(|told| *told <= step) {
            return;
        }
        self.told.insert(key, step);
        out.event(Event::CertificateExpires {
            tunnel: tunnel.to_owned(),
            ours,
            subject: certificate.subject_text.clone(),
            days: days.max(0),
        });
    }
}
