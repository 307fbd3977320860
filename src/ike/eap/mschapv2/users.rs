//! The users whom an authenticator knows, looked up so that the time does not tell whether there is such a user.

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::legacy::{HASH_LEN, PasswordHash};

/// Names and the hashes of their passwords.
#[derive(Debug, Default)]
pub struct Users {
    all: Vec<User>,
}

#[derive(Debug)]
struct User {
    name: [u8; 32],
    hash: PasswordHash,
}

impl Users {
    /// Adds one.
    pub fn add(&mut self, name: &str, password: &str) {
        self.all.push(User { name: digest(name.as_bytes()), hash: PasswordHash::of(password) });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The hash for a name. For a name that nobody has it is `decoy`, with which no proof is right; the way to it is the
    /// same: all names are looked at, by digests of one length.
    #[must_use]
    pub fn hash_of(&self, name: &[u8], decoy: [u8; HASH_LEN]) -> PasswordHash {
        let wanted = digest(name);
        let mut found = Zeroizing::new(decoy);
        for user in &self.all {
            let is_it = user.name.ct_eq(&wanted);
            for (place, byte) in found.iter_mut().zip(user.hash.expose()) {
                place.conditional_assign(byte, is_it);
            }
        }
        PasswordHash::from_bytes(*found)
    }
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        let same =
            |(one, two): (&User, &User)| one.name == two.name && bool::from(one.hash.expose().ct_eq(two.hash.expose()));
        self.all.len() == other.all.len() && self.all.iter().zip(&other.all).all(same)
    }
}

impl Eq for Users {}

fn digest(name: &[u8]) -> [u8; 32] {
    Sha256::digest(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_its_hash_and_a_stranger_the_decoy() {
        let mut users = Users::default();
        users.add("alice", "one");
        users.add("bob", "two");
        assert_eq!(users.hash_of(b"alice", [9; 16]).expose(), PasswordHash::of("one").expose());
        assert_eq!(users.hash_of(b"bob", [9; 16]).expose(), PasswordHash::of("two").expose());
        for stranger in [&b"Alice"[..], b"", b"alice\0", b"DOMAIN\\alice"] {
            assert_eq!(users.hash_of(stranger, [9; 16]).expose(), [9; 16]);
        }
        assert!(!format!("{users:?}").contains("one"));
    }
}
