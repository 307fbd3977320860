//! The cipher suites of TLS that a rule can name: the IANA registry's names and numbers of those that encrypt and are in use.

/// Suites by name.
pub const SUITES: [(&str, u16); 38] = [
    ("TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_AES_256_GCM_SHA384", 0x1302),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
    ("TLS_AES_128_CCM_SHA256", 0x1304),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030),
    ("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", 0x009e),
    ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", 0x009f),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", 0x009c),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", 0x009d),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8),
    ("TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xccaa),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CCM", 0xc0ac),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CCM", 0xc0ad),
    ("TLS_DHE_RSA_WITH_AES_128_CCM", 0xc09e),
    ("TLS_DHE_RSA_WITH_AES_256_CCM", 0xc09f),
    ("TLS_RSA_WITH_AES_128_CCM", 0xc09c),
    ("TLS_RSA_WITH_AES_256_CCM", 0xc09d),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", 0xc023),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", 0xc024),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", 0xc027),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", 0xc028),
    ("TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", 0x0067),
    ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", 0x006b),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", 0x003c),
    ("TLS_RSA_WITH_AES_256_CBC_SHA256", 0x003d),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xc009),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", 0xc00a),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xc013),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", 0xc014),
    ("TLS_DHE_RSA_WITH_AES_128_CBC_SHA", 0x0033),
    ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA", 0x0039),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", 0x002f),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", 0x0035),
    ("TLS_AES_128_CCM_8_SHA256", 0x1305),
];

/// The word for all suites with AES-256.
pub const AES256: &str = "aes256";
/// The word for those of them with GCM and keys that are made anew for each connection.
pub const AES256_GCM: &str = "aes256-gcm";

/// The suites that a word means: a suite by its name, [`AES256`] or [`AES256_GCM`]. Empty: it is no such word.
pub fn meant(word: &str) -> impl Iterator<Item = u16> {
    let fits = move |name: &str| match word {
        AES256 => name.contains("_AES_256_"),
        AES256_GCM => name.contains("_AES_256_GCM_") && !name.starts_with("TLS_RSA_"),
        _ => name == word,
    };
    SUITES.into_iter().filter(move |(name, _)| fits(name)).map(|(_, number)| number)
}

/// A suite by number: its name, or the number.
#[must_use]
pub fn name(number: u16) -> String {
    let known = SUITES.iter().find(|(_, suite)| *suite == number).map(|(name, _)| (*name).to_owned());
    known.unwrap_or_else(|| format!("0x{number:04x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_suites() {
        let gcm: Vec<_> = meant(AES256_GCM).collect();
        assert_eq!(gcm, [0x1302, 0xc02c, 0xc030, 0x009f]);
        let all: Vec<_> = meant(AES256).collect();
        assert_eq!(all.len(), 16);
        assert!([0x1302, 0xc024, 0xc028, 0x006b, 0x003d].iter().all(|suite| all.contains(suite)));
        assert_eq!(meant("TLS_AES_128_GCM_SHA256").collect::<Vec<_>>(), [0x1301]);
        assert_eq!(meant("aes").count(), 0);
        assert_eq!((name(0x1302).as_str(), name(0xfafa).as_str()), ("TLS_AES_256_GCM_SHA384", "0xfafa"));
    }

    #[test]
    fn no_suite_stands_there_twice() {
        for (place, (name, number)) in SUITES.iter().enumerate() {
            assert!(SUITES.iter().skip(place + 1).all(|(other, suite)| other != name && suite != number), "{name}");
        }
    }
}
