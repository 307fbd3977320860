//! `genpsk`: a pre-shared key that both sides can type or store.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use super::exit::{Exit, Failure};
use crate::config::strength;
use crate::entropy::Entropy;
use crate::platform::entropy::OsEntropy;

/// Prints 256 random bits in base64. The text itself is the key, so that it may be stored as `file:` on both sides.
pub(super) fn genpsk(out: &mut dyn Write) -> Result<Exit, Failure> {
    let text = key(&mut OsEntropy);
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(Exit::Done)
}

fn key(entropy: &mut dyn Entropy) -> Zeroizing<String> {
    loop {
        let mut bits = entropy.array::<32>();
        let text = Zeroizing::new(STANDARD.encode(bits));
        bits.zeroize();
        // One key in some hundreds happens to hold a word or a sequence; `check` would warn of it for ever.
        if strength::of_text(text.as_bytes()) >= strength::WARNED_BELOW {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn no_generated_key_is_warned_of() {
        let mut entropy = SeededEntropy::new(3);
        for _ in 0..200 {
            let key = key(&mut entropy);
            assert_eq!(STANDARD.decode(key.as_bytes()).unwrap().len(), 32);
            assert!(strength::of_text(key.as_bytes()) >= strength::WARNED_BELOW);
        }
    }
}
