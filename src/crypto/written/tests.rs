//! What is read, what is refused, and with which words.

use super::*;

fn ike(text: &str) -> Result<IkeSuite, SuiteError> {
    text.parse()
}

fn esp(text: &str) -> Result<EspSuite, SuiteError> {
    text.parse()
}

#[test]
fn the_words_of_a_suite_are_understood() {
    let gcm = IkeSuite {
        cipher: Cipher::Aes256Gcm16,
        mac: None,
        prf: PrfAlg::HmacSha384,
        group: Group::Ecp384,
        additional: Additional::NONE,
    };
    assert_eq!(ike("aes256gcm16-prfsha384-ecp384"), Ok(gcm));
    let cbc = IkeSuite {
        cipher: Cipher::Aes256Cbc,
        mac: Some(Mac::HmacSha384),
        prf: PrfAlg::HmacSha384,
        group: Group::Modp2048,
        additional: Additional::NONE,
    };
    assert_eq!(ike("aes256-sha384-modp2048"), Ok(cbc));
    assert_eq!(ike("aes256-sha384-prfsha512-modp2048"), Ok(IkeSuite { prf: PrfAlg::HmacSha512, ..cbc }));
    let esn = EspSuite {
        cipher: Cipher::Aes256Gcm16,
        mac: None,
        group: Some(Group::Ecp384),
        additional: Additional::NONE,
        esn: true,
    };
    assert_eq!(esp("aes256gcm16-ecp384-esn"), Ok(esn));
    assert_eq!(esp("aes256gcm16-ecp384"), Ok(EspSuite { esn: false, ..esn }));
    assert_eq!(esp("aes256gcm16-noesn"), Ok(EspSuite { esn: false, group: None, ..esn }));
    let cbc = EspSuite {
        cipher: Cipher::Aes256Cbc,
        mac: Some(Mac::HmacSha256),
        group: None,
        additional: Additional::NONE,
        esn: false,
    };
    assert_eq!(esp("aes256-sha256"), Ok(cbc));
}

#[test]
fn key_exchanges_that_follow_have_a_number_and_come_after_a_classical_one() {
    let suite = ike("aes256gcm16-prfsha384-ecp384-ke1_mlkem768").unwrap();
    assert_eq!(suite.additional, Additional::one(Group::MlKem768));
    let text = "aes256gcm16-prfsha384-x25519-ke1_ecp384-ke7_mlkem1024";
    let suite = ike("aes256gcm16-KE7_MLKEM1024-ke1_ecp384-prfsha384-x25519").unwrap();
    assert_eq!((suite.to_string().as_str(), suite.additional.is_post_quantum()), (text, true));
    assert_eq!(ike(text), Ok(suite));
    assert_eq!(suite.additional.iter().collect::<Vec<_>>(), [(1, Group::Ecp384), (7, Group::MlKem1024)]);
    let text = "aes256gcm16-ecp384-ke1_mlkem768-esn";
    assert_eq!(esp(text).map(|suite| suite.to_string()), Ok(text.into()));
    for (text, why) in [
        ("aes256gcm16-prfsha384-mlkem768", "with `ke1_` in front"),
        ("aes256gcm16-ke1_mlkem768", "no key exchange that it could follow"),
        ("aes256gcm16-ecp384-ke1_mlkem512", "use `mlkem768`"),
        ("aes256gcm16-ecp384-ke8_mlkem768", "no algorithm known here"),
        ("aes256gcm16-ecp384-ke0_mlkem768", "no algorithm known here"),
        ("aes256gcm16-ecp384-ke1_aes256", "only a key exchange"),
        ("aes256gcm16-ecp384-ke1_ecp384", "another kind than the first"),
        ("aes256gcm16-ecp384-ke1_mlkem768-ke2_mlkem768", "`ke2_mlkem768` is a second"),
        ("aes256gcm16-ecp384-ke1_mlkem768-ke1_mlkem1024", "`ke1_mlkem1024` is a second"),
    ] {
        let error = esp(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn aliases_capitals_and_order_do_not_matter() {
    assert_eq!(ike("chacha20poly1305-prfsha256-curve25519"), ike("x25519-PRFSHA256-ChaCha20Poly1305"));
    assert_eq!(ike("aes256cbc-sha256-modp2048"), ike("aes256-sha256-modp2048"));
}

#[test]
fn every_suite_prints_as_it_is_read() {
    use std::iter::once;
    let choices = || ALGORITHMS.iter().map(|row| row.choice);
    let mut seen = 0;
    for cipher in choices().filter_map(|it| if let Choice::Cipher(it) = it { Some(it) } else { None }) {
        let macs = || choices().filter_map(|it| if let Choice::Mac(it) = it { Some(it) } else { None });
        let macs: Vec<_> = if cipher.is_aead() { vec![None] } else { macs().map(Some).collect() };
        for mac in macs {
            for group in choices()
                .filter_map(|it| if let Choice::Group(it) = it { Some(it) } else { None })
                .filter(|group| !group.is_post_quantum())
            {
                for prf in choices().filter_map(|it| if let Choice::Prf(it) = it { Some(it) } else { None }) {
                    let suite = IkeSuite { cipher, mac, prf, group, additional: Additional::NONE };
                    assert_eq!(ike(&suite.to_string()), Ok(suite));
                    seen += 1;
                }
                for (group, esn) in
                    once(None).chain(once(Some(group))).flat_map(|group| [(group, true), (group, false)])
                {
                    let suite = EspSuite { cipher, mac, group, additional: Additional::NONE, esn };
                    assert_eq!(esp(&suite.to_string()), Ok(suite));
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 6 * 7 * (3 + 4));
    assert_eq!(ike("aes256-sha384-prfsha384-ecp384").map(|suite| suite.to_string()), Ok("aes256-sha384-ecp384".into()));
}

#[test]
fn an_error_names_the_word_says_where_it_stands_and_suggests_another() {
    let error = ike("aes265gcm16-prfsha384-ecp384").expect_err("a slip");
    assert_eq!(error.at, 0..11);
    assert_eq!(error.to_string(), "`aes265gcm16` is no algorithm known here; did you mean `aes256gcm16`?");
    let error = esp("aes256gcm16-ecp348").expect_err("a slip");
    assert_eq!(error.at, 12..18);
    assert_eq!(error.to_string(), "`ecp348` is no algorithm known here; did you mean `ecp384`?");
    let error = ike("aes256gcm16-prfsha384-rot13").expect_err("nonsense");
    assert!(error.to_string().starts_with("`rot13` is no algorithm known here; known are aes256gcm16, aes256,"));
    let error = ike("3des-sha1-modp1024").expect_err("weak");
    assert_eq!(error.to_string(), "`3des` is not offered here: it is too weak; use `aes256gcm16`");
}

#[test]
fn what_is_missing_is_named() {
    let missing = |error: Option<SuiteError>| match error {
        Some(SuiteError { at, fault: Fault::Missing { place, example } }) => (at, place, example),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(ike("prfsha384-ecp384").err()), (0..16, CIPHER, "aes256gcm16"));
    assert_eq!(missing(ike("aes256-ecp384").err()), (0..13, MAC, "sha384"));
    assert_eq!(missing(ike("aes256gcm16-ecp384").err()), (0..18, PRF, "prfsha384"));
    assert_eq!(missing(ike("aes256gcm16-prfsha384").err()), (0..21, GROUP, "ecp384"));
    assert_eq!(missing(esp("ecp384-esn").err()), (0..10, CIPHER, "aes256gcm16"));
    assert_eq!(missing(esp("aes256").err()), (0..6, MAC, "sha384"));
}

#[test]
fn what_does_not_belong_is_refused() {
    let misplaced = |error: Option<SuiteError>| match error {
        Some(SuiteError { at, fault: Fault::Misplaced { word, .. } }) => (at, word),
        other => panic!("{other:?}"),
    };
    assert_eq!(misplaced(ike("aes256gcm16-sha384-ecp384").err()), (12..18, "sha384".into()));
    assert_eq!(misplaced(ike("aes256gcm16-prfsha384-ecp384-esn").err()), (29..32, "esn".into()));
    assert_eq!(misplaced(esp("aes256gcm16-sha384").err()), (12..18, "sha384".into()));
    assert_eq!(misplaced(esp("aes256gcm16-prfsha384").err()), (12..21, "prfsha384".into()));
    let error = ike("aes256gcm16-prfsha384-ecp384-x25519").expect_err("two groups");
    let fault = Fault::Repeated { word: "x25519".into(), first: "ecp384", place: GROUP };
    assert_eq!(error, SuiteError { at: 29..35, fault });
}

#[test]
fn words_that_are_refused_are_no_words_of_ours() {
    for (word, _, instead) in NOT_OFFERED {
        assert!(matches!(look_up(word), Err(Fault::NotOffered { .. })), "{word}");
        assert!(look_up(instead).is_ok(), "{instead}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_within_its_bounds(text in "[-a-z0-9é]{0,40}") {
        for error in [ike(&text).err(), esp(&text).err()].into_iter().flatten() {
            proptest::prop_assert!(text.get(error.at.clone()).is_some(), "{:?} in {:?}", error.at, text);
        }
    }
}
