//! Every reason for which a packet goes no further is reached by a test, and counted under its name. A reason that is new does
//! not compile here before somebody has said by which.

#![allow(clippy::unwrap_used)] // what helps a test may panic as the test may

#[path = "../conversations/mod.rs"]
mod conversations;
#[path = "../esp_support/mod.rs"]
mod esp_support;
mod packets;
mod said;

use std::collections::BTreeMap;
use std::path::Path;

use portcullis::event::DropReason;

/// What both data paths of a pair have counted.
type Counted = BTreeMap<DropReason, u64>;

/// Where a reason is reached.
enum Reached {
    /// Here: through two data paths back to back, whose counters come back.
    Here(fn(DropReason) -> Counted),
    /// By a test of that file in which the reason stands: through a data path too, or through a running gateway.
    There(&'static str, &'static str),
    /// By the flood of `tests/hostile`, which fails if a running gateway has not counted it.
    Flood,
}

fn reached(reason: DropReason) -> Reached {
    use DropReason as R;
    use Reached::{Flood, Here, There};
    const UNDERLAY: Reached = There("esp_pipeline.rs", "what_comes_from_the_underlay_and_is_no_esp_of_ours_is_named");
    const INNER: Reached = There("esp_pipeline.rs", "each_hostile_inner_packet_is_named");
    const OFFLOAD: Reached = There("esp_trains.rs", "lies_about_a_packet_are_named_and_harm_nobody");
    const OUTSIDE: Reached = There("esp_translate.rs", "the_outside_name_is_the_gateways_alone_and_ports_have_an_end");
    match reason {
        R::NotIke
        | R::ShortEsp
        | R::ReservedSpi
        | R::UnknownSpi
        | R::Replayed
        | R::TooOld
        | R::ZeroSequence
        | R::Forged => UNDERLAY,
        R::TooLongDatagram | R::BadPadding | R::BadNextHeader | R::Dummy | R::SendFailed => Flood,
        R::HardLimit => There("esp_pipeline.rs", "limits_are_told_to_ike_by_the_name_of_the_child_and_stop_it"),
        R::BadIpChecksum
        | R::IpOptions
        | R::InnerFragment
        | R::BadSource
        | R::BadTransport
        | R::Selector
        | R::TtlExpired
        | R::NoRule
        | R::WrongDirection
        | R::BadTcpFlags
        | R::IcmpNotError => INNER,
        R::EcnDrop => There("esp_pipeline.rs", "all_sixteen_ecn_cells_hold_through_the_data_path"),
        R::TooBig => There("esp_pipeline.rs", "what_does_not_fit_is_answered_with_the_mtu_that_does"),
        R::NoSa => There("esp_pipeline.rs", "without_an_sa_one_acquire_a_second_is_told_and_the_sender_is_answered"),
        R::NotOurs => Here(packets::to_nobodys_host),
        R::TunnelDisabled => Here(packets::through_a_disabled_tunnel),
        R::AgreementDraft
        | R::AgreementNotYet
        | R::AgreementExpired
        | R::AgreementSuspended
        | R::AgreementRemediation
        | R::AgreementAwaitingAuthorisation
        | R::AgreementTerminated
        | R::AgreementClock
        | R::AgreementStateLost => Here(packets::under_a_closed_agreement),
        R::UrgentData => Here(packets::urgent),
        R::DataInSyn => Here(packets::data_in_a_syn),
        R::BadTcpOptions => Here(packets::broken_options),
        R::NoConnection => There("esp_pipeline.rs", "a_segment_of_no_connection_is_answered_with_a_reset_inwards_only"),
        R::OutOfState => Here(packets::acknowledges_what_was_not_sent),
        R::OutOfWindow => Here(packets::behind_the_window),
        R::ResetNotBelieved => Here(packets::a_blind_reset),
        R::BadTcpChecksum => Here(packets::a_wrong_checksum),
        R::StaleTimestamp => Here(packets::a_stale_timestamp),
        R::HoldFull => Here(packets::more_than_may_wait),
        R::RetainFull => Here(packets::more_than_is_kept),
        R::OverlapDiffers => Here(packets::again_and_different),
        R::FlowEnded => There("stream_pipeline.rs", "the_first_illegal_byte_ends_the_flow_at_both_ends"),
        R::InspectionChanged => Here(packets::a_rule_that_demands_something_else),
        R::IcmpNoFlow => {
            There("esp_pipeline.rs", "an_icmp_error_from_a_router_passes_only_about_a_live_flow_of_its_sa")
        }
        R::FlowTableFull | R::OutsideSource | R::NoOutsidePort => OUTSIDE,
        R::NoMapping => There("esp_translate.rs", "a_reload_keeps_the_ports_of_those_who_are_still_behind_the_address"),
        R::SpokeFirst => Here(said::by_the_wrong_side_first),
        R::TlsRequired | R::TlsRefused => Here(said::wrapped_or_not),
        R::NotMq
        | R::MqSegment
        | R::MqLength
        | R::MqRole
        | R::MqXa
        | R::MqCompressed
        | R::MqChannel
        | R::MqQueueManager
        | R::MqQueue
        | R::MqAdministration => Here(said::in_mq),
        R::NotSsh | R::SshVersion | R::SshKexinit | R::SshCipher => Here(said::in_ssh),
        R::NotSmtp | R::SmtpCommand => Here(said::in_mail),
        R::NotTls
        | R::TlsOldHello
        | R::TlsHello
        | R::TlsVersion
        | R::TlsSuite
        | R::TlsServerName
        | R::TlsHiddenHello => Here(said::in_tls),
        R::BadIpHeader | R::BadOffload | R::SegmentSize => OFFLOAD,
        R::QueueFull => There("esp_pipeline.rs", "ike_on_port_4500_is_handed_on_and_keepalives_are_swallowed"),
        R::HandoverFull => There("esp_workers.rs", "a_full_ring_drops_by_name_and_what_is_in_it_keeps_its_order"),
    }
}

#[test]
fn every_reason_that_is_reached_here_is_counted_and_no_other() {
    let mut here = 0;
    for reason in DropReason::ALL {
        if let Reached::Here(scene) = reached(*reason) {
            let counted = scene(*reason);
            let reasons: Vec<_> = counted.iter().filter(|(_, count)| **count > 0).map(|(reason, _)| *reason).collect();
            assert_eq!(reasons, [*reason], "{counted:?}");
            here += 1;
        }
    }
    assert!(here > 40, "{here}");
}

#[test]
fn every_other_reason_stands_in_the_test_that_is_named_for_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let elsewhere = text("hostile/reasons.rs");
    let (_, elsewhere) = elsewhere.split_once("fn is_elsewhere").unwrap();
    let (elsewhere, _) = elsewhere.split_once("\n}\n").unwrap();
    for reason in DropReason::ALL {
        let names = [format!("DropReason::{reason:?}"), format!("R::{reason:?}"), format!("\"{reason}\"")];
        match reached(*reason) {
            Reached::Here(_) => {}
            Reached::There(file, test) => {
                let text = text(file);
                let (_, body) =
                    text.split_once(&format!("#[test]\nfn {test}()")).unwrap_or_else(|| panic!("no {test}"));
                let (body, _) = body.split_once("\n}\n").unwrap();
                assert!(names.iter().any(|name| body.contains(name)), "{test} does not name {reason}");
            }
            Reached::Flood => {
                let pattern = &names[1];
                let named = elsewhere.split(|letter: char| !letter.is_alphanumeric() && letter != ':');
                assert!(named.into_iter().all(|word| word != pattern), "the flood does not ask for {reason}");
            }
        }
    }
}
