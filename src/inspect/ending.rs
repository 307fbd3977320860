//! What a segment says decides whether its flow goes on; and when a flow ends, who is told and how.

use std::collections::VecDeque;

use super::case::{Case, Refusal};
use super::ear::{self, Ear};
use super::flow::{Flow, State};
use super::flow_table::Course;
use super::stream::{Heard, Streams};
use super::tcp;
use super::verdict::{Cause, Ending, Pass, Reset};
use crate::event::DropReason;
use crate::policy::Allowed;
use crate::wire::tcp::TcpView;

/// Endings that wait to be told; they are asked for after every packet, and after so many places were swept.
pub(super) const ENDINGS: usize = 256;

/// Judges a segment that carries bytes and is legal otherwise.
#[inline]
pub(super) fn speak(
    flow: &mut Flow,
    streams: &mut Streams<Ear>,
    endings: &mut VecDeque<Ending>,
    case: &Case<'_>,
    segment: &TcpView<'_>,
) -> Result<Course, Refusal> {
    let Allowed { rule, opener_is_local, .. } = flow.allowed;
    let from_opener = case.outbound() == opener_is_local;
    let pass = flow.pass(false);
    let refusal = flow.refuse(DropReason::OutOfState);
    let port = flow.id.opening(opener_is_local).port;
    let State::Tcp(connection) = &mut flow.state else { return Err(refusal) };
    let known = connection.settled;
    let heard = streams.speak(
        connection,
        from_opener,
        (case.packet, segment, case.rest),
        || ear::demands(case.policy, rule),
        || ear::listener(case.policy, rule, port),
    );
    let pass = Pass { recognised: connection.settled && !known, ..pass };
    let course = match heard {
        Heard::Pass => Course::Goes(pass),
        Heard::Bare => Course::Goes(Pass { bare: true, ..pass }),
        Heard::Waits => Course::Waits,
        Heard::Split => return Ok(Course::Splits(pass)),
        Heard::Objection(reason) | Heard::Refused(reason @ (DropReason::HoldFull | DropReason::RetainFull))
            if ear::observes(case.policy, rule) =>
        {
            streams.hear_no_more(connection, from_opener);
            streams.commit(connection, from_opener, &tcp::Facts::of(segment));
            Course::Goes(Pass { observed: Some(reason), ..pass })
        }
        Heard::Refused(reason) => return Err(Refusal { reason, ..refusal }),
        Heard::Objection(reason) => {
            streams.forget(connection.voice.take());
            connection.end();
            flow.touch(case.now, case.outbound(), 0);
            answer(flow, endings, case, Some(reason));
            return Err(Refusal { reason, ..refusal });
        }
    };
    flow.touch(case.now, case.outbound(), case.bytes());
    Ok(course)
}

/// Tells the other end than the sender of a refused packet, and the sender if it is not ours: that one is answered.
pub(super) fn answer(flow: &mut Flow, endings: &mut VecDeque<Ending>, case: &Case<'_>, reason: Option<DropReason>) {
    let cause = reason.map(Cause::Refused);
    // Later packets are answered to their sender alone.
    let news = cause.is_some();
    let before = endings.len();
    tell(flow, endings, cause, (news && !case.outbound(), news || !case.outbound()));
    if endings.len() == before {
        return;
    }
    // What the peer's segment acknowledges is what its sender waits for.
    if let (Some(Ending { remote: Some(reset), .. }), Some(segment)) = (endings.back_mut(), case.packet.tcp())
        && !case.outbound()
    {
        reset.sequence = segment.acknowledgement();
    }
}

/// Notes that a flow has ended, and who is to be told.
pub(super) fn tell(flow: &Flow, endings: &mut VecDeque<Ending>, cause: Option<Cause>, (local, remote): (bool, bool)) {
    let Flow { id, allowed, .. } = *flow;
    let (ours, theirs) = (id.local(), id.remote());
    let reset = |to_local: bool| {
        let State::Tcp(connection) = &flow.state else { return None };
        let (sequence, acknowledgement) = connection.reset_from(to_local != allowed.opener_is_local);
        let (from, to) = if to_local { (theirs, ours) } else { (ours, theirs) };
        Some(Reset { from, to, sequence, acknowledgement })
    };
    let open = matches!(&flow.state, State::Tcp(connection) if connection.is_open() || connection.is_ended());
    let ending = Ending {
        cause,
        bytes: flow.bytes,
        flow: id.opener_key(allowed.opener_is_local),
        tunnel: allowed.tunnel,
        shape: allowed.shape,
        rule: allowed.rule,
        local: reset(true).filter(|_| local && open),
        remote: reset(false).filter(|_| remote && open),
    };
    if endings.len() < ENDINGS && (ending.cause, ending.local, ending.remote) != (None, None, None) {
        endings.push_back(ending);
    }
}

/// Forgets a flow that has ended or expired, and tells so. `tells`: our own side is told of a connection that it believes
/// to be open.
pub(super) fn bury(flow: &Flow, streams: &mut Streams<Ear>, endings: &mut VecDeque<Ending>, tells: bool) {
    let mut cause = Cause::Expired;
    let mut open = false;
    if let State::Tcp(connection) = &flow.state {
        streams.forget(connection.voice);
        if connection.is_ended() {
            // It was told when it was ended.
            return;
        }
        open = connection.is_synchronised();
        if !connection.is_open() {
            cause = Cause::Closed;
        }
    }
    tell(flow, endings, Some(cause), (tells && open, false));
}
