//! How long keys live: `child_lifetime`, `ike_lifetime`, `rekey`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::problem::Problems;
use crate::config::raw::{self, At, bounded};
use crate::esp::limits::{MOST_BYTES, MOST_PACKETS};
use crate::ike::config::IkeLifetime;
use crate::sa::lifetime::Lifetime;

/// A child SA carries an hour of traffic,
const CHILD_TIME: u64 = 3600;
/// or a tebibyte, which is a quarter of an hour at 10 Gbit/s,
const CHILD_BYTES: u64 = 1 << 40;
/// or as many packets as 32 bits count, with or without extended sequence numbers: beyond that AES-GCM begins to tell.
const CHILD_PACKETS: u64 = u32::MAX as u64;
/// An IKE SA carries few messages; a day is what most gateways give it.
const IKE_TIME: u64 = 86_400;
/// Renewal begins at this percentage of each limit,
const REKEY_AT: u64 = 85;
/// or up to this percentage of that earlier, so that two gateways with equal limits do not begin together each time.
const JITTER: u32 = 10;

/// A minute to 30 days.
const TIME: RangeInclusive<i64> = 60..=2_592_000;
const BYTES: RangeInclusive<i64> = 1 << 20..=MOST_BYTES.cast_signed();
const PACKETS: RangeInclusive<i64> = 1000..=MOST_PACKETS.cast_signed();

/// When the SAs of a tunnel are renewed, and when they end.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Lifetimes {
    pub(in crate::config) child: Lifetime,
    pub(in crate::config) ike: IkeLifetime,
    pub(in crate::config) jitter: u32,
}

/// Checks the three keys.
pub(super) fn check(raw: &raw::Tunnel, problems: &mut Problems) -> Option<Lifetimes> {
    let mut or = |key: &str, value: Option<&At<i64>>, bounds: RangeInclusive<i64>, default: u64| match value {
        Some(value) => bounded(key, value, bounds, problems),
        None => Some(default),
    };
    let child = raw.child_lifetime.as_ref().map(At::get_ref);
    let time = or("time", child.and_then(|child| child.time.as_ref()), TIME, CHILD_TIME);
    let bytes = or("bytes", child.and_then(|child| child.bytes.as_ref()), BYTES, CHILD_BYTES);
    let packets = or("packets", child.and_then(|child| child.packets.as_ref()), PACKETS, CHILD_PACKETS);
    let ike = or("ike_lifetime", raw.ike_lifetime.as_ref(), TIME, IKE_TIME);
    let rekey = raw.rekey.as_ref().map(At::get_ref);
    let at = or("at", rekey.and_then(|rekey| rekey.at.as_ref()), 50..=95, REKEY_AT);
    let jitter = or("jitter", rekey.and_then(|rekey| rekey.jitter.as_ref()), 0..=50, JITTER.into());

    let at = at?;
    let soft = |limit: u64| limit / 100 * at + limit % 100 * at / 100;
    let (time, bytes, packets, ike) = (time?, bytes?, packets?, ike?);
    let seconds = Duration::from_secs;
    Some(Lifetimes {
        child: Lifetime {
            soft_packets: soft(packets),
            hard_packets: packets,
            soft_bytes: soft(bytes),
            hard_bytes: bytes,
            soft_time: seconds(soft(time)),
            hard_time: seconds(time),
        },
        ike: IkeLifetime { soft: seconds(soft(ike)), hard: seconds(ike) },
        jitter: u32::try_from(jitter?).ok()?,
    })
}
