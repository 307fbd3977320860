//! `portcullis algs`: every word that a suite can be made of.

use serde_json::{Value, json};

use super::table::table;
use crate::crypto::provider::{ALGORITHMS, Algorithm, Choice};

/// Both answers to extended sequence numbers are transforms too (RFC 7296 §3.3.2), without code of any crate.
const SEQUENCE_NUMBERS: [(&str, u16, &str); 2] =
    [("esn", 1, "extended sequence numbers"), ("noesn", 0, "no extended sequence numbers")];

/// The table.
#[must_use]
pub fn algs(width: usize) -> String {
    let mut rows: Vec<_> = ALGORITHMS.iter().map(row).collect();
    for (word, number, name) in SEQUENCE_NUMBERS {
        let cells =
            [word, name, "ESN", &number.to_string(), "esp", "RFC 4303, RFC 7296", "agreement, lab", "portcullis"];
        rows.push(cells.map(str::to_owned));
    }
    let headings = ["WORD", "ALGORITHM", "TRANSFORM", "IANA", "IN", "SPECIFIED IN", "ALLOWED FOR", "PROVIDER"];
    let mut out = table(headings, &rows, width);
    out.push_str("\nx25519 may be written curve25519, aes256 may be written aes256cbc\n");
    out.push_str(
        "ADDKE: a key exchange that follows another one, written ke1_mlkem768; ke1_ to ke7_ take KE as well\n",
    );
    out
}

fn row(algorithm: &Algorithm) -> [String; 8] {
    let (_, number) = algorithm.choice.transform();
    let number = match key_bits(algorithm.choice) {
        Some(bits) => format!("{number} ({bits} bits)"),
        None => number.to_string(),
    };
    [
        algorithm.word.to_owned(),
        algorithm.name.to_owned(),
        transform_name(algorithm.choice).to_owned(),
        number,
        places(algorithm.choice).join(", "),
        algorithm.choice.rfc().to_owned(),
        allowed(algorithm).join(", "),
        format!("{} {}", algorithm.implementation, algorithm.version),
    ]
}

/// IANA's names of the transform types.
const fn transform_name(choice: Choice) -> &'static str {
    match choice {
        Choice::Cipher(_) => "ENCR",
        Choice::Mac(_) => "INTEG",
        Choice::Prf(_) => "PRF",
        Choice::Group(group) if group.is_post_quantum() => "ADDKE",
        Choice::Group(_) => "KE",
    }
}

const fn key_bits(choice: Choice) -> Option<u16> {
    match choice {
        Choice::Cipher(cipher) => cipher.encr().1,
        Choice::Mac(_) | Choice::Prf(_) | Choice::Group(_) => None,
    }
}

fn places(choice: Choice) -> Vec<&'static str> {
    let (ike, esp) = choice.places();
    [("ike", ike), ("esp", esp)].into_iter().filter_map(|(word, is)| is.then_some(word)).collect()
}

fn allowed(algorithm: &Algorithm) -> Vec<&'static str> {
    if algorithm.agreement { vec!["agreement", "lab"] } else { vec!["lab"] }
}

/// The same as JSON.
#[must_use]
pub fn json() -> Value {
    let mut all: Vec<Value> = ALGORITHMS
        .iter()
        .map(|algorithm| {
            let (transform, number) = algorithm.choice.transform();
            json!({
                "word": algorithm.word, "name": algorithm.name, "transform": transform_name(algorithm.choice),
                "transform_type": transform.0, "number": number, "key_bits": key_bits(algorithm.choice),
                "in": places(algorithm.choice), "specified_in": algorithm.choice.rfc(),
                "allowed_for": allowed(algorithm), "provider": algorithm.implementation, "version": algorithm.version,
            })
        })
        .collect();
    all.extend(SEQUENCE_NUMBERS.map(|(word, number, name)| {
        json!({
            "word": word, "name": name, "transform": "ESN", "transform_type": 5, "number": number, "key_bits": null,
            "in": ["esp"], "specified_in": "RFC 4303, RFC 7296", "allowed_for": ["agreement", "lab"],
            "provider": "portcullis", "version": env!("CARGO_PKG_VERSION"),
        })
    }));
    json!(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::suite::{EspSuite, IkeSuite};

    #[test]
    fn every_word_of_the_table_can_be_written_where_it_says() {
        let fits = |word: &str, fill: [&str; 3]| {
            // A word beside what is still missing of a suite.
            let others = fill.iter().filter(|other| !other.is_empty()).map(ToString::to_string);
            let text = [word.to_owned()].into_iter().chain(others).collect::<Vec<_>>().join("-");
            (text.parse::<IkeSuite>().is_ok(), text.parse::<EspSuite>().is_ok())
        };
        for row in json().as_array().unwrap() {
            let word = row["word"].as_str().unwrap();
            let word = if row["transform"] == "ADDKE" { format!("ke1_{word}") } else { word.to_owned() };
            let word = word.as_str();
            let tries = match row["transform"].as_str().unwrap() {
                "ENCR" => vec![["prfsha384", "ecp384", ""], ["", "", ""], ["sha384", "ecp384", ""]],
                "INTEG" => vec![["aes256", "ecp384", ""]],
                "KE" => vec![["aes256gcm16", "prfsha384", ""], ["aes256gcm16", "", ""]],
                "ADDKE" => vec![["aes256gcm16", "prfsha384", "ecp384"], ["aes256gcm16", "ecp384", ""]],
                _ => vec![["aes256gcm16", "ecp384", ""]],
            };
            let found = tries.into_iter().map(|fill| fits(word, fill)).reduce(|a, b| (a.0 || b.0, a.1 || b.1)).unwrap();
            let said = |place: &str| row["in"].as_array().unwrap().iter().any(|it| it == place);
            assert_eq!(found, (said("ike"), said("esp")), "{word}");
        }
    }

    #[test]
    fn the_table_names_number_rfc_and_provider() {
        let text = algs(200);
        let line = |word: &str| text.lines().find(|line| line.starts_with(word)).unwrap().to_owned();
        let gcm = line("aes256gcm16 ");
        for part in ["ENCR", "20 (256 bits)", "ike, esp", "RFC 4106", "agreement, lab", "ring 0."] {
            assert!(gcm.contains(part), "{gcm}");
        }
        assert!(!line("chacha20poly1305").contains("agreement"), "a real agreement takes AES-256 only");
        assert!(line("prfsha384").contains("  ike  "));
    }
}
