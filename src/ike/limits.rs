//! Every bound that an attacker meets, with its reason (RFC 7296 §2.4, §2.6, §2.21; figures from notes on abuse).

use std::time::Duration;

/// Longest IKE datagram: UDP over IPv4 carries no more (RFC 768, 791).
pub const MAX_DATAGRAM: usize = 65_507;

/// Longest IP datagram that carries an encrypted message whole: the least MTU of IPv6 (RFC 8200 §5), which every path has.
pub const UNFRAGMENTED_DATAGRAM: usize = 1280;

/// The same for an IPv4 path that has not let the former through: what every host takes (RFC 791 §3.1, RFC 7383 §2.5.1).
pub const NARROW_DATAGRAM: usize = 576;

/// Transmissions of one message before its fragments become narrow: a path that is only lossy carries one of three.
pub const WIDE_TRANSMISSIONS: u32 = 3;

/// Fragments of one message. At 576 bytes each they hold a chain of certificates of 30 KiB.
pub const MAX_FRAGMENTS: usize = 64;

/// Bytes of a message that is put together from fragments.
pub const MAX_REASSEMBLED: usize = 65_536;

/// How long the fragments of a message wait for the others. A retransmission brings them again before that.
pub const REASSEMBLY_TIME: Duration = Duration::from_secs(10);

/// How long a responder waits for the next key exchange of a series (RFC 9370 §2.2.4 finds 5 to 20 seconds appropriate).
pub const FOLLOWUP_TIME: Duration = Duration::from_secs(20);

/// Series of key exchanges that the peer has begun in one IKE SA at a time. One is usual: it has one request under way.
pub const MAX_PENDING: usize = 4;

/// Length of our links between the exchanges of a series: enough that none is guessed or comes twice.
pub const LINK_LEN: usize = 8;

/// Longest link of a peer that is sent back.
pub const MAX_LINK: usize = 1_024;

/// How often in a row the peer may have forgotten a series before the IKE SA counts as broken (RFC 9370 §2.2.4:
/// several retries).
pub const MAX_STATES_LOST: u8 = 4;

/// Half-open IKE SAs from which on a cookie is asked for. Honest peers are few and finish in a second, so thirty at once
/// are a flood.
pub const COOKIE_THRESHOLD: usize = 30;

/// Half-open IKE SAs in all; with valid cookies only real addresses get here, and each costs some KiB.
pub const MAX_HALF_OPEN: usize = 1_000;

/// Half-open IKE SAs of one source address. A peer needs one; a few more are left for its restarts and ours.
pub const MAX_HALF_OPEN_PER_SOURCE: usize = 5;

/// From how many half-open IKE SAs of one source address on a cookie is asked for.
pub const COOKIE_THRESHOLD_PER_SOURCE: usize = 3;

/// Half-open IKE SAs from which on a first request must bring the solution of a puzzle, where puzzles are on (RFC 8019):
/// so many from addresses that answer are a botnet.
pub const PUZZLE_THRESHOLD: usize = 200;

/// Difficulty of the puzzle at the threshold: 4 times 2^10 PRF calls, a few milliseconds for whoever solves it.
pub const PUZZLE_DIFFICULTY: u8 = 10;

/// Half-open IKE SAs for each further bit of difficulty.
pub const PUZZLE_STEP: usize = 150;

/// Most difficult puzzle that is posed, and solved: 4 times 2^15 PRF calls are a tenth of a second of this thread.
pub const MAX_PUZZLE_DIFFICULTY: u8 = 15;

/// Puzzles that an initiator solves within one attempt: anybody can pose one in the responder's name.
pub const MAX_PUZZLES_SOLVED: u8 = 2;

/// RFC 8019 §7.1.4 lets some requests pass that bring a cookie but no solution, for peers that know no puzzles: one in this
/// many.
pub const UNSOLVED_SHARE: u64 = 8;

/// Answers within [`CRASH_WINDOW`] to strangers that use an IKE SA which is gone (RFC 6290): peers that we have lost ask
/// once each, others are not worth more.
pub const MAX_CRASH_ANSWERS: u32 = 50;

/// See [`MAX_CRASH_ANSWERS`].
pub const CRASH_WINDOW: Duration = Duration::from_secs(1);

/// RFC 6290 §4.5: a taker looks at four tokens in one answer at least. We look at no more.
pub const MAX_TOKENS_TAKEN: usize = 4;

/// How long everybody is asked for a cookie after somebody without one has cost a key agreement for nothing, or would
/// have got an answer that is much longer than its request.
pub const WARY_TIME: Duration = Duration::from_secs(30);

/// Longest answer to a first request without a cookie, in percent of the request.
pub const MAX_AMPLIFICATION: usize = 150;

/// How long a responder waits for IKE_AUTH. Longer than a lossy line needs, short enough that the table empties.
pub const HALF_OPEN_TIME: Duration = Duration::from_secs(30);

/// Junk IKE_AUTH messages that one half-open SA is tried against; each costs an integrity check. Later ones are not
/// looked at for as long as [`JUNK_PAUSE`], so that the true peer's retransmissions still get through.
pub const MAX_JUNK: u32 = 16;

/// How long a half-open SA that met [`MAX_JUNK`] is deaf.
pub const JUNK_PAUSE: Duration = Duration::from_millis(100);

/// Age at which the cookie secret changes; the one before is accepted for as long again (RFC 7296 §2.6).
pub const COOKIE_ROTATION: Duration = Duration::from_mins(1);

/// RFC 7296 §2.6: the data of a COOKIE notify is between 1 and 64 octets.
pub const MAX_COOKIE: usize = 64;

/// Cookies that an initiator echoes within one attempt: one is honest, some more are a secret that rotates, endless ones
/// are somebody else's.
pub const MAX_COOKIES_ECHOED: u8 = 5;

/// Length of our nonces. RFC 7296 §2.10: at least 128 bits and half the key size of the PRF (SHA-512: 256 bits).
pub const NONCE_LEN: usize = 32;

/// Transmissions of one request. With loss of 30 % each way ten reach 99.8 % of handshakes, six only 96.5 %.
pub const TRANSMISSIONS: u32 = 10;

/// Wait after the first transmission.
pub const RETRANSMIT_FIRST: Duration = Duration::from_millis(500);

/// Longest wait between transmissions: all ten take about 46 s, below the minute after which a peer counts as dead.
pub const RETRANSMIT_MAX: Duration = Duration::from_secs(8);

/// Longest life of one negotiation, whatever cookies and other groups the peer asks for.
pub const NEGOTIATION_TIME: Duration = Duration::from_mins(1);

/// How long the answer to a failed authentication is kept for a peer that did not get it. It counts as half-open all the
/// while, so it is short: a peer whose key was just corrected must not be turned away for its earlier attempts.
pub const REFUSED_TIME: Duration = Duration::from_secs(5);

/// How long a deletion is repeated; the process ends within five seconds of its signal.
pub const CLOSING_TIME: Duration = Duration::from_secs(4);

/// How long the deletion of an IKE SA is repeated that another one has replaced. Nobody waits for it.
pub const REPLACED_CLOSING_TIME: Duration = Duration::from_secs(15);

/// How long an IKE SA stays whose peer has proved itself with what is not accepted any more: time for the peer to be
/// reconfigured as well and for a new IKE SA to take its place, but a withdrawn key is worth nothing after it.
pub const ANEW_TIME: Duration = Duration::from_mins(1);

/// Pause before the next attempt, doubled each time.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest pause between attempts.
pub const RETRY_MAX: Duration = Duration::from_mins(1);

/// How long the responder of an IKE SA leaves the making of child SAs to its initiator, so that two gateways that want
/// the same ones do not make each twice.
pub const RESPONDER_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after TEMPORARY_FAILURE (RFC 7296 §2.25: the peer is busy, not unwilling).
pub const TEMPORARY_FAILURE_PAUSE: Duration = Duration::from_secs(3);

/// Pause after a rekeying that the peer refused. The old keys last for some time yet, and what has to change is a
/// configuration.
pub const REKEY_RETRY: Duration = Duration::from_mins(1);

/// A child SA whose rekeying the peer leaves to itself is replaced from scratch after this part of its age. Renewal begins
/// at 85 % of a limit by default, so 15/85 of the age are left then: half of that.
pub const REFUSED_SHARE: u32 = 11;

/// How long an SA that was replaced goes on receiving: packets that were under way when it was deleted still count.
pub const LINGER: Duration = Duration::from_secs(5);

/// How long a side that has answered a request for a child SA waits before it asks for that SA's renewal, if nothing shows that
/// the answer has arrived: many round trips. An answer that takes longer was lost, and "not found" says so.
pub const ARRIVAL_TIME: Duration = Duration::from_secs(2);

/// How long the peer has for deleting what its own rekeying replaced (RFC 7296 §2.8: the initiator of the rekeying does
/// it). Then we do.
pub const REPLACED_GRACE: Duration = Duration::from_secs(30);

/// The same for what was replaced in an IKE SA that was replaced itself meanwhile.
pub const INHERITED_GRACE: Duration = Duration::from_secs(10);

/// Message IDs from which on the IKE SA is rekeyed: half of what there is.
pub const MANY_MESSAGES: u32 = 1 << 31;

/// NAT keepalive (RFC 3948 §4: 20 seconds by default).
pub const KEEPALIVE: Duration = Duration::from_secs(20);

/// How long an IKE SA that lost against its twin stays, so that the winner's children are there before it goes.
pub const TWIN_GRACE: Duration = Duration::from_secs(2);

/// How long an IKE SA of ours stays beside the newer one that was opened in its place: each child SA takes a round trip.
pub const SUCCESSION_TIME: Duration = Duration::from_secs(10);

/// Attempts to open an IKE SA in place of one that the peer does not rekey, before that one ends.
pub const REAUTHENTICATIONS: u32 = 4;

/// Longest wait for the answer of a head-end where there are others: half a dozen transmissions.
pub const HEAD_END_TIME: Duration = Duration::from_secs(10);

/// Pause between two questions whether the first head-end is there again. Each may cost it a half-open IKE SA.
pub const PROBE_PAUSE: Duration = Duration::from_secs(15);

/// How long such a question waits for its answer.
pub const PROBE_TIME: Duration = Duration::from_secs(5);

/// Inner addresses that are taken from a peer: one of each family, and one to spare.
pub const MAX_INNER_ADDRESSES: usize = 3;

/// Name servers that are taken from a peer.
pub const MAX_DNS: usize = 8;

/// Further addresses of a peer that are remembered (RFC 4555 §3.4).
pub const MAX_ADDITIONAL_ADDRESSES: usize = 8;

/// Transmissions of a request to one address before the peer's other addresses are tried too.
pub const TRANSMISSIONS_HERE: u32 = 4;

/// Child SAs of one IKE SA beyond two for each shape (old and new). An authenticated peer cannot fill the SAD.
pub const SPARE_CHILDREN: usize = 4;

/// Child SAs beyond that which were replaced, or lost against their twins, and whose delete is still to come. They carry
/// nothing, and each goes after some seconds.
pub const SPARE_REKEYED: usize = 64;

/// How long the peer has for deleting what it made itself and what has lost against ours.
pub const REDUNDANT_GRACE: Duration = Duration::from_secs(10);

/// IKE SAs of one tunnel that are established at the same time; more are an authenticated peer gone wrong.
pub const MAX_ESTABLISHED_PER_TUNNEL: usize = 4;

/// Proposals of a peer's message that `explain` keeps; honest peers send up to a dozen.
pub const MAX_TOLD_PROPOSALS: usize = 16;

/// Transforms in all of them: strongSwan's default proposals have fifty.
pub const MAX_TOLD_TRANSFORMS: usize = 96;

/// Selectors of either side that `explain` keeps.
pub const MAX_TOLD_SELECTORS: usize = 8;

/// Error notifications of one message that `explain` keeps.
pub const MAX_TOLD_ERRORS: usize = 4;

/// Longest detail text in an event.
pub const MAX_DETAIL: usize = 1_000;

/// Refused datagrams are told once per remote address and reason within this time, with a count.
pub const REFUSAL_WINDOW: Duration = Duration::from_secs(10);

/// Pairs of remote address and reason that are counted at a time; others are counted by reason alone.
pub const MAX_REFUSALS: usize = 256;

/// Longest EAP packet. RFC 3748 §3.1 asks for 1,020 bytes at least; what is longer than a few datagrams is cut by the
/// method (RFC 5216 §2.1.5), and nobody's fragments are longer than this.
pub const MAX_EAP_PACKET: usize = 4_096;

/// All TLS messages that one side sends at a time in EAP-TLS: a chain of four long RSA certificates and the list of the
/// authorities that are accepted, with room to spare.
pub const MAX_TLS_FLIGHT: usize = 32 << 10;

/// Bytes of TLS in one of our own fragments: with EAP, IKE and UDP around it a datagram stays below 1,280 bytes.
pub const TLS_FRAGMENT: usize = 1_024;

/// Rounds of EAP in one negotiation: [`MAX_TLS_FLIGHT`] in fragments of 1,000 bytes each way, and a handful more.
pub const MAX_EAP_ROUNDS: u32 = 80;

/// How long a responder waits for the end of EAP, from the first message on. It holds a place in the half-open table all
/// the while; the rounds of EAP-TLS take a few seconds even on a long line.
pub const EAP_TIME: Duration = Duration::from_mins(1);

/// Longest name in EAP-MSCHAPv2 (RFC 2759 §4: 0 to 256 characters).
pub const MAX_EAP_NAME: usize = 256;

/// First requests a second, of whomever, from which on the kernel is asked to refuse some. A thousand peers that come back
/// at the same moment are no harm: none of them is refused for it.
pub const FLOOD_BEGINS: u64 = 1_000;

/// First requests a second below which a flood is over; half of the former, so that one at the edge does not go to and fro.
pub const FLOOD_ENDS: u64 = 500;

/// How long it must stay below [`FLOOD_ENDS`]: whoever floods in bursts does not get a pair of events for each.
pub const FLOOD_CALM: Duration = Duration::from_secs(3);

/// How long first requests are counted before they are judged: a few times within the three seconds in which an honest peer
/// wants to be heard.
pub const FLOOD_WINDOW: Duration = Duration::from_millis(250);

/// First requests a second in names that are flooded, of each kind, all names together: as many as are no flood yet. At 30
/// microseconds each, here and again where the answer goes, they are some hundredths of a core.
pub const FLOOD_ADMITTED: u64 = FLOOD_BEGINS;

/// First requests a second in one name, of one kind, from which on it counts as flooded. A peer sends a handful.
pub const FLOOD_OF_ONE: u64 = 100;

/// Fewest that are let in are one in 2 to the power of this: 1,000 of 65 million a second.
pub const FLOOD_SCARCEST: u8 = 16;
