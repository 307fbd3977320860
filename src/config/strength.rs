//! How strong is a pre-shared key? An estimate in bits that errs on the low side.
//!
//! A peer that knows the method still has to guess as often as the estimate says; what it cannot know is how the key
//! came about, so a key that was drawn at random may be estimated lower than it is. The method stands in
//! `docs/CONFIG.md`, and the numbers below are those of that text.

/// Below this a key is refused: 112 bits is what NIST SP 800-131A asks for.
pub const REFUSED_BELOW: u32 = 112;
/// Below this a key is warned of: the strength of the AES-256 that it leads to.
pub const WARNED_BELOW: u32 = 256;

/// Bits for each letter of something that looks like a word (12.9 bits for a word of about five letters, the size of
/// the usual word lists for passphrases).
const BITS_PER_WORD_LETTER: f64 = 2.5;

/// Estimates a key that is used as it was written: text, or bytes if it is not printable.
#[must_use]
pub fn of_text(key: &[u8]) -> u32 {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => {
            let bits = floor(text_bits(&text.chars().collect::<Vec<_>>()));
            // A sequence of bytes is easier to see in the bytes than in their digits.
            hex::decode(key).map_or(bits, |bytes| bits.min(of_bytes(&bytes)))
        }
        _ => of_bytes(key),
    }
}

/// Estimates a key that was given as `hex:` or `base64:`: bytes that should be random.
#[must_use]
pub fn of_bytes(key: &[u8]) -> u32 {
    let symbols: Vec<u32> = key.iter().map(|byte| u32::from(*byte)).collect();
    let fresh = fresh_symbols(&symbols, 256.0);
    // Somebody who writes a passphrase in hexadecimal has a passphrase.
    let as_text = match std::str::from_utf8(key) {
        Ok(text) if key.len() >= 8 && !text.chars().any(char::is_control) => {
            text_bits(&text.chars().collect::<Vec<_>>())
        }
        _ => f64::INFINITY,
    };
    floor(fresh.min(few_symbols(&symbols, 256.0)).min(as_text))
}

fn floor(bits: f64) -> u32 {
    #[expect(clippy::cast_sign_loss, reason = "max(0) stands before it")]
    let bits = bits.max(0.0).floor() as u32;
    bits
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

fn text_bits(text: &[char]) -> f64 {
    let pool = pool_of(text);
    let symbols: Vec<u32> = text.iter().map(|c| u32::from(*c)).collect();
    fresh_symbols(&symbols, pool).min(few_symbols(&symbols, pool)).min(words(text, pool))
}

/// A kind of character.
type Class = fn(&char) -> bool;

/// How many characters the writer chose from, judged by the classes that occur.
fn pool_of(text: &[char]) -> f64 {
    if text.iter().all(char::is_ascii_digit) {
        return 10.0;
    }
    let one_case = !(text.iter().any(char::is_ascii_lowercase) && text.iter().any(char::is_ascii_uppercase));
    if one_case && text.iter().all(char::is_ascii_hexdigit) {
        return 16.0;
    }
    let base64 = |c: &char| c.is_ascii_alphanumeric() || "+/-_=".contains(*c);
    let classes: [(Class, f64); 5] = [
        (char::is_ascii_lowercase, 26.0),
        (char::is_ascii_uppercase, 26.0),
        (char::is_ascii_digit, 10.0),
        (|c| c.is_ascii() && !c.is_ascii_alphanumeric(), 33.0),
        (|c| !c.is_ascii(), 100.0),
    ];
    let pool: f64 = classes.iter().filter(|(class, _)| text.iter().any(class)).map(|(_, size)| size).sum();
    if text.iter().all(base64) { pool.min(64.0) } else { pool }
}

/// Each symbol that could not be foretold counts in full. A stretch of at least four that repeats what stood before,
/// or goes on in equal steps (aaaa, 1234, 2468), counts as one symbol and its length.
fn fresh_symbols(symbols: &[u32], pool: f64) -> f64 {
    let mut bits = 0.0;
    let mut at = 0;
    while at < symbols.len() {
        let foretold = stepping(symbols, at).max(repeating(symbols, at));
        bits += pool.log2();
        if foretold >= 4 {
            bits += count(foretold).log2();
            at += foretold;
        } else {
            at += 1;
        }
    }
    bits
}

/// How many symbols from `at` on go on in equal steps of at most two.
fn stepping(symbols: &[u32], at: usize) -> usize {
    let step = |i: usize| Some(i64::from(*symbols.get(i + 1)?) - i64::from(*symbols.get(i)?));
    let Some(first) = step(at).filter(|step| step.abs() <= 2) else { return 1 };
    1 + (at..symbols.len()).take_while(|i| step(*i) == Some(first)).count()
}

/// How many symbols from `at` on stood in the same order before.
fn repeating(symbols: &[u32], at: usize) -> usize {
    let (before, rest) = symbols.split_at(at);
    (0..before.len())
        .map(|from| symbols[from..].iter().zip(rest).take_while(|(a, b)| a == b).count())
        .max()
        .unwrap_or(0)
}

/// Naming the few symbols that occur, and then one of them at each place.
fn few_symbols(symbols: &[u32], pool: f64) -> f64 {
    let mut distinct = symbols.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let distinct = count(distinct.len());
    distinct * pool.log2() + count(symbols.len()) * distinct.max(1.0).log2()
}

/// Letters that look like words count as letters of words, everything else in full. Short words happen by chance in
/// random text, so that they count only where they make up two thirds of it.
fn words(text: &[char], pool: f64) -> f64 {
    let mut bits = 0.0;
    let mut letters = 0;
    let mut at = 0;
    while let Some(first) = text.get(at) {
        // A word is letters of one case, or one capital before small ones.
        let small = text[at + 1..].iter().take_while(|c| c.is_ascii_lowercase()).count();
        let capital = text[at + 1..].iter().take_while(|c| c.is_ascii_uppercase()).count();
        let len = match first {
            'a'..='z' => 1 + small,
            'A'..='Z' => 1 + small.max(capital),
            _ => 1,
        };
        if len >= 3 && looks_spoken(&text[at..at + len]) {
            bits += BITS_PER_WORD_LETTER * count(len);
            letters += len;
            at += len;
        } else {
            bits += pool.log2();
            at += 1;
        }
    }
    if letters * 3 < text.len() * 2 { f64::INFINITY } else { bits }
}

/// Vowels in the measure of a language, and no five consonants in a row.
fn looks_spoken(word: &[char]) -> bool {
    let vowel = |c: &char| "aeiouy".contains(c.to_ascii_lowercase());
    let vowels = word.iter().filter(|c| vowel(c)).count();
    let longest = word.split(vowel).map(<[char]>::len).max().unwrap_or(0);
    vowels * 5 >= word.len() && vowels * 10 <= word.len() * 7 && longest < 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::{Entropy, SeededEntropy};
    use base64::Engine as _;

    #[test]
    fn what_people_type_is_below_112_bits() {
        for weak in [
            "",
            "cisco123",
            "swordfish",
            "Password1Password1Password1Password1",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "abababababababababababababababababababab",
            "correct horse battery staple",
            "correcthorsebatterystaple",
            "1234567890123456789012345678901234567890",
            "0102030405060708090a0b0c0d0e0f101112131415161718",
            "ThisIsOurSharedSecretForTheTunnel",
        ] {
            let bits = of_text(weak.as_bytes());
            assert!(bits < REFUSED_BELOW, "{weak:?} is estimated at {bits} bits");
        }
    }

    #[test]
    fn random_keys_are_not_underestimated_much() {
        let mut entropy = SeededEntropy::new(1);
        let (mut text, mut hex, mut bytes, mut phrase) = (0, 0, 0, 0);
        for _ in 0..500 {
            let mut key = [0; 32];
            entropy.fill(&mut key);
            text += u32::from(of_text(base64::engine::general_purpose::STANDARD.encode(key).as_bytes()) >= 248);
            hex += u32::from(of_text(hex::encode(key).as_bytes()) >= 240);
            bytes += u32::from(of_bytes(&key) >= 248);
            phrase += u32::from(
                of_text(&base64::engine::general_purpose::STANDARD.encode(&key[..18]).as_bytes()[..24]) >= 112,
            );
        }
        assert!(text > 490 && hex > 490 && bytes > 490 && phrase > 480, "{text} {hex} {bytes} {phrase}");
    }

    #[test]
    fn bytes_that_are_not_random_are_weak() {
        assert!(of_bytes(&[0; 32]) < 32);
        assert!(of_bytes(&(0..32).collect::<Vec<u8>>()) < 32);
        assert!(of_bytes(b"correct horse battery staple") < REFUSED_BELOW);
        assert!(of_bytes(&[0xde, 0xad, 0xbe, 0xef].repeat(8)) < REFUSED_BELOW);
    }

    #[test]
    fn more_of_the_same_never_makes_a_key_much_stronger() {
        let once = of_text(b"x7Kp2QvL9s");
        let often = of_text("x7Kp2QvL9s".repeat(10).as_bytes());
        assert!(often < once + 16, "{once} {often}");
    }
}
