//! Puzzles (RFC 8019): under heavy load a first request must have cost its sender some work, beside a cookie.
//!
//! ```text
//! HDR, SA, KE, Ni                      -->
//!                                      <--  HDR, N(COOKIE), N(PUZZLE)
//! HDR, N(COOKIE), PS, SA, KE, Ni       -->
//! ```
//! Left out: puzzles in IKE_AUTH (§7.2); a half-open SA is bounded by the number of junk messages there.

use super::limits;
use crate::crypto::suite::PrfAlg;
use crate::wire::ike::numbers::{NotifyType, PayloadType, Prf, TransformType};
use crate::wire::ike::payload::{Notify, Payload, Sa};
use crate::wire::reader::Reader;

/// RFC 8019 §8.2: the solution is four different keys.
const KEYS: usize = 4;
/// Octets of one key of ours: a counter. The longest a PRF prefers is 64.
const KEY_LEN: usize = 4;
/// Longest key that is taken: the preferred key length of our largest PRF.
const MAX_KEY_LEN: usize = 64;

/// What has to be solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// With which PRF.
    pub prf: PrfAlg,
    /// How many bits at the end of its output must be zero.
    pub difficulty: u8,
}

impl Puzzle {
    /// A puzzle for whoever offers these proposals; none if no PRF is common.
    pub fn pose(offered: &Sa, difficulty: u8) -> Option<Self> {
        let transforms = offered.proposals.iter().flat_map(|proposal| proposal.transforms_of(TransformType::PRF));
        let prf = transforms.into_iter().find_map(|transform| algorithm(Prf(transform.id)))?;
        Some(Self { prf, difficulty })
    }

    /// N(PUZZLE): §8.1, the PRF and the difficulty.
    pub fn notify(self) -> Notify {
        let [high, low] = self.prf.number().0.to_be_bytes();
        Notify::status(NotifyType::PUZZLE, vec![high, low, self.difficulty])
    }

    /// The puzzle that a responder poses, if it is one that we solve.
    pub fn read(notify: &Notify) -> Option<Self> {
        let mut reader = Reader::new(&notify.data);
        let (prf, difficulty) = (reader.u16().ok()?, reader.u8().ok()?);
        let prf = algorithm(Prf(prf))?;
        (reader.is_empty() && difficulty <= limits::MAX_PUZZLE_DIFFICULTY).then_some(Self { prf, difficulty })
    }

    fn is_key(self, key: &[u8], cookie: &[u8]) -> bool {
        let result = self.prf.prf(key, &[cookie]);
        let mut zeros = 0_u32;
        for octet in result.expose().iter().rev() {
            zeros += octet.trailing_zeros();
            if *octet != 0 {
                break;
            }
        }
        zeros >= u32::from(self.difficulty)
    }

    /// The Puzzle Solution payload for `cookie`; `None` if it takes more work than we do.
    pub fn solve(self, cookie: &[u8]) -> Option<Payload> {
        // Each key takes 2^difficulty trials on average; eight times as many are a stroke of bad luck in 3,000.
        let trials = 8_u32.checked_shl(u32::from(self.difficulty))?;
        let mut body = Vec::with_capacity(KEYS * KEY_LEN);
        for counter in 0..trials.saturating_mul(KEYS as u32) {
            let key = counter.to_be_bytes();
            if self.is_key(&key, cookie) {
                body.extend(key);
                if body.len() == KEYS * KEY_LEN {
                    return Some(Payload::Unknown { kind: PayloadType::PS, critical: false, body });
                }
            }
        }
        None
    }

    /// Whether `solution` solves it for `cookie`: four different keys of one length.
    pub fn is_solved_by(self, cookie: &[u8], solution: &[u8]) -> bool {
        let length = solution.len() / KEYS;
        if length == 0 || length > MAX_KEY_LEN || solution.len() != length * KEYS {
            return false;
        }
        let keys: Vec<&[u8]> = solution.chunks_exact(length).collect();
        let distinct =
            keys.iter().enumerate().all(|(index, key)| !keys.iter().skip(index + 1).any(|other| other == key));
        distinct && keys.iter().all(|key| self.is_key(key, cookie))
    }
}

fn algorithm(prf: Prf) -> Option<PrfAlg> {
    [PrfAlg::HmacSha256, PrfAlg::HmacSha384, PrfAlg::HmacSha512].into_iter().find(|known| known.number() == prf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(payload: Payload) -> Vec<u8> {
        match payload {
            Payload::Unknown { kind: PayloadType::PS, critical: false, body } => body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn four_different_keys_for_this_cookie_solve_it_and_nothing_else() {
        for prf in [PrfAlg::HmacSha256, PrfAlg::HmacSha384, PrfAlg::HmacSha512] {
            let puzzle = Puzzle { prf, difficulty: 6 };
            let solution = body(puzzle.solve(b"cookie").unwrap());
            assert_eq!(solution.len(), 16);
            assert!(puzzle.is_solved_by(b"cookie", &solution));
            assert!(!puzzle.is_solved_by(b"another", &solution));
            assert!(!Puzzle { difficulty: 30, ..puzzle }.is_solved_by(b"cookie", &solution));
            let one_key_four_times = solution[..4].repeat(4);
            assert!(!puzzle.is_solved_by(b"cookie", &one_key_four_times));
            for end in 0..16 {
                assert!(!puzzle.is_solved_by(b"cookie", &solution[..end]));
            }
            assert!(!puzzle.is_solved_by(b"cookie", &vec![0; 4 * 65]));
            assert_eq!(Puzzle::read(&puzzle.notify()), Some(puzzle));
        }
    }

    #[test]
    fn what_would_cost_too_much_is_not_begun() {
        let mut notify = Puzzle { prf: PrfAlg::HmacSha256, difficulty: limits::MAX_PUZZLE_DIFFICULTY }.notify();
        assert!(Puzzle::read(&notify).is_some());
        notify.data[2] += 1;
        assert_eq!(Puzzle::read(&notify), None);
        notify.data = vec![0, 2, 1];
        assert_eq!(Puzzle::read(&notify), None, "a PRF that is not offered here");
        notify.data = vec![0, 5];
        assert_eq!(Puzzle::read(&notify), None);
    }
}
