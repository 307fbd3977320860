//! Choosing proposals, both roles (RFC 7296 §2.7).

use proptest::prelude::*;

use super::*;

const GCM: IkeSuite = IkeSuite {
    cipher: Cipher::Aes256Gcm16,
    mac: None,
    prf: PrfAlg::HmacSha384,
    group: Group::Ecp384,
    additional: Additional::NONE,
};
const CBC: IkeSuite = IkeSuite {
    cipher: Cipher::Aes256Cbc,
    mac: Some(Mac::HmacSha384),
    prf: PrfAlg::HmacSha384,
    group: Group::Ecp384,
    additional: Additional::NONE,
};
const AES128: IkeSuite = IkeSuite { cipher: Cipher::Aes128Gcm16, ..GCM };
const ESP: EspSuite = EspSuite {
    cipher: Cipher::Aes256Gcm16,
    mac: None,
    group: Some(Group::Ecp384),
    additional: Additional::NONE,
    esn: true,
};

fn spi() -> Spi {
    Spi::new(0x1234_5678).unwrap()
}

fn proposal(transforms: Vec<Transform>) -> Sa {
    Sa { proposals: vec![Proposal { number: 1, protocol: ProtocolId::IKE, spi: vec![], transforms }] }
}

fn esp_proposal(transforms: Vec<Transform>) -> Sa {
    let spi = spi().get().to_be_bytes().to_vec();
    Sa { proposals: vec![Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms }] }
}

fn gcm256() -> Transform {
    Transform::encr(Encr::AES_GCM_16, Some(256))
}

#[test]
fn our_preference_decides_and_the_peers_number_is_kept() {
    let offer = ike_offer(&[CBC, GCM]);
    let chosen = choose_ike(&offer, &[GCM, CBC], false, true).unwrap();
    assert_eq!((chosen.suite, chosen.proposal.number), (GCM, 2));
    let answer = Sa { proposals: vec![chosen.proposal] };
    assert_eq!(accept_ike(&answer, &[CBC, GCM], false), Some(GCM));
}

/// §3.3, §3.3.1, §3.3.5: our order, numbers from one on, one transform of each type, a key length where there are several and
/// nowhere else, no integrity algorithm beside a combined-mode cipher.
#[test]
fn offers_are_numbered_in_our_order_and_hold_one_of_each_transform() {
    let chacha = IkeSuite { cipher: Cipher::ChaCha20Poly1305, ..GCM };
    let suites = [CBC, GCM, chacha, CBC, AES128];
    let offer = ike_offer(&suites);
    let numbers: Vec<u8> = offer.proposals.iter().map(|proposal| proposal.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4], "the repeated one is left out");
    for (proposal, suite) in offer.proposals.iter().zip([CBC, GCM, chacha, AES128]) {
        assert!(proposal.spi.is_empty());
        let mut kinds: Vec<_> = proposal.transforms.iter().map(|transform| transform.kind).collect();
        kinds.sort_unstable();
        let mut wanted = vec![TransformType::ENCR, TransformType::PRF, TransformType::KE];
        wanted.extend(suite.mac.map(|_| TransformType::INTEG));
        wanted.sort_unstable();
        assert_eq!(kinds, wanted);
        for transform in &proposal.transforms {
            let bits = match (transform.kind, suite.cipher) {
                (TransformType::ENCR, Cipher::Aes128Gcm16) => Some(128),
                (TransformType::ENCR, Cipher::Aes256Gcm16 | Cipher::Aes256Cbc) => Some(256),
                _ => None,
            };
            assert_eq!(transform.key_bits(), bits);
            assert_eq!(transform.attributes.len(), usize::from(bits.is_some()));
        }
    }
    let [in_place] = &ike_rekey_offer(&[GCM], 0x0102_0304_0506_0708).proposals[..] else { panic!("one proposal") };
    assert_eq!(in_place.spi, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn an_answer_that_was_not_offered_is_refused() {
    let ours = [CBC, GCM];
    let good = choose_ike(&ike_offer(&ours), &[GCM], false, true).unwrap().proposal;
    let answer = |change: &dyn Fn(&mut Proposal)| {
        let mut proposal = good.clone();
        change(&mut proposal);
        accept_ike(&Sa { proposals: vec![proposal] }, &ours, false)
    };
    assert_eq!(answer(&|_| {}), Some(GCM));
    assert_eq!(answer(&|proposal| proposal.number = 1), None, "the number is of another proposal");
    assert_eq!(answer(&|proposal| proposal.number = 9), None);
    assert_eq!(answer(&|proposal| proposal.protocol = ProtocolId::ESP), None);
    assert_eq!(answer(&|proposal| proposal.transforms[0] = Transform::encr(Encr::AES_GCM_16, Some(128))), None);
    assert_eq!(answer(&|proposal| proposal.transforms[0] = Transform::encr(Encr::AES_GCM_16, None)), None);
    assert_eq!(answer(&|proposal| drop(proposal.transforms.pop())), None);
    assert_eq!(answer(&|proposal| proposal.transforms.push(Transform::ke(KeMethod::ECP_256))), None);
    let two = Sa { proposals: vec![good.clone(), good.clone()] };
    assert_eq!(accept_ike(&two, &ours, false), None);
    assert_eq!(accept_ike(&Sa::default(), &ours, false), None);
}

#[test]
fn a_real_agreement_never_ends_below_aes_256() {
    assert!(choose_ike(&ike_offer(&[AES128]), &[AES128], false, true).is_none());
    assert!(choose_ike(&ike_offer(&[AES128]), &[AES128], true, true).is_some());
    let answer = Sa { proposals: ike_offer(&[AES128]).proposals };
    assert_eq!(accept_ike(&answer, &[AES128], false), None);
    let chacha = EspSuite { cipher: Cipher::ChaCha20Poly1305, ..ESP };
    let offer = esp_offer(&[chacha], spi(), Place::IkeAuth);
    assert!(choose_esp(&offer, &[chacha], false, Place::IkeAuth).is_none());
    assert_eq!(accept_esp(&offer, &[chacha], false, Place::IkeAuth), None);
    assert_eq!(accept_esp(&offer, &[chacha], true, Place::IkeAuth), Some((chacha, spi())));
}

/// What Cisco peers and strongSwan send: several transforms of each type in one proposal.
#[test]
fn one_of_each_transform_is_picked_from_a_proposal_with_many() {
    let offer = proposal(vec![
        Transform::encr(Encr::AES_CBC, Some(128)),
        Transform::encr(Encr::AES_CBC, Some(256)),
        Transform::integ(Integ::HMAC_SHA1_96),
        Transform::integ(Integ::HMAC_SHA2_384_192),
        Transform::prf(Prf::HMAC_SHA1),
        Transform::prf(Prf::HMAC_SHA2_384),
        Transform::ke(KeMethod(2)),
        Transform::ke(KeMethod::ECP_384),
    ]);
    let chosen = choose_ike(&offer, &[GCM, CBC], false, true).unwrap();
    assert_eq!(chosen.suite, CBC);
    assert!(same_set(&ike_transforms(CBC), &chosen.proposal.transforms));
}

#[test]
fn what_is_not_understood_is_not_chosen() {
    let mut with_attribute = gcm256();
    with_attribute.attributes.push(TransformAttribute::Short { kind: 99, value: 1 });
    let base = [Transform::prf(Prf::HMAC_SHA2_384), Transform::ke(KeMethod::ECP_384)];
    let with = |extra: &[Transform]| proposal([extra, &base].concat());
    assert!(choose_ike(&with(&[gcm256()]), &[GCM], false, true).is_some());
    assert!(choose_ike(&with(&[with_attribute]), &[GCM], false, true).is_none());
    // RFC 9370 reserves further transform types.
    assert!(choose_ike(&with(&[gcm256(), Transform::new(TransformType(13), 35)]), &[GCM], false, true).is_none());
    assert!(choose_ike(&with(&[gcm256(), Transform::integ(Integ::HMAC_SHA2_256_128)]), &[GCM], false, true).is_none());
    let none = choose_ike(&with(&[gcm256(), Transform::integ(Integ::NONE)]), &[GCM], false, true).unwrap();
    assert!(none.proposal.transforms.contains(&Transform::integ(Integ::NONE)));
}

#[test]
fn the_group_is_left_out_in_ike_auth_and_used_afterwards() {
    let in_auth = esp_offer(&[ESP], spi(), Place::IkeAuth);
    assert!(in_auth.proposals[0].transforms_of(TransformType::KE).next().is_none());
    let later = esp_offer(&[ESP], spi(), Place::CreateChildSa);
    assert_eq!(later.proposals[0].transforms_of(TransformType::KE).count(), 1);
    assert!(choose_esp(&in_auth, &[ESP], false, Place::IkeAuth).is_some());
    assert!(choose_esp(&in_auth, &[ESP], false, Place::CreateChildSa).is_none(), "PFS is not given up");
    let two = [ESP, EspSuite { group: Some(Group::Ecp256), ..ESP }];
    assert_eq!(esp_offer(&two, spi(), Place::IkeAuth).proposals.len(), 1, "they differ in the group alone");
    // A peer that names groups in IKE_AUTH all the same gets one of them back.
    let (chosen, _) = choose_esp(&later, &[ESP], false, Place::IkeAuth).unwrap();
    assert_eq!(chosen.proposal.transforms_of(TransformType::KE).count(), 1);
    let none = EspSuite { group: None, ..ESP };
    assert!(choose_esp(&later, &[none], false, Place::CreateChildSa).is_none());
}

#[test]
fn esn_is_what_the_suite_says_and_absence_means_no() {
    let with = |esn: &[Transform]| esp_proposal([&[gcm256()], esn].concat());
    let (yes, no) = (EspSuite { group: None, ..ESP }, EspSuite { group: None, esn: false, ..ESP });
    let choose = |offer: &Sa, ours: &[EspSuite]| {
        choose_esp(offer, ours, false, Place::IkeAuth).map(|(chosen, _)| chosen.suite.esn)
    };
    let (esn_yes, esn_no) = (Transform::esn(Esn::YES), Transform::esn(Esn::NO));
    assert_eq!(choose(&with(&[esn_no.clone(), esn_yes.clone()]), &[yes, no]), Some(true));
    assert_eq!(choose(&with(&[esn_no]), &[yes, no]), Some(false));
    assert_eq!(choose(&with(&[esn_yes]), &[no]), None);
    assert_eq!(choose(&with(&[]), &[yes, no]), Some(false));
    assert_eq!(choose(&with(&[]), &[yes]), None);
}

#[test]
fn a_proposal_without_a_usable_spi_is_passed_over() {
    for spi in [vec![], vec![0, 0, 0, 255], vec![1, 2, 3], vec![0; 8]] {
        let mut offer = esp_offer(&[ESP], self::spi(), Place::IkeAuth);
        offer.proposals[0].spi = spi;
        assert!(choose_esp(&offer, &[ESP], false, Place::IkeAuth).is_none());
        assert_eq!(accept_esp(&offer, &[ESP], false, Place::IkeAuth), None);
    }
}

#[test]
fn the_comparison_names_both_sides_and_is_bounded() {
    let theirs = proposal(vec![Transform::encr(Encr(3), None), Transform::new(TransformType(77), 5)]);
    let text = compare(&ike_offer(&[GCM]), Some(&theirs));
    assert_eq!(text, "ours: IKE AES_GCM_16-256 PRF_HMAC_SHA2_384 ECP_384; theirs: IKE 3DES 77/5");
    let many = Sa { proposals: vec![theirs.proposals[0].clone(); 1000] };
    assert!(compare(&many, Some(&many)).len() <= limits::MAX_DETAIL + 4);
}

fn any_transform() -> impl Strategy<Value = Transform> {
    let attributes = prop_oneof![
        Just(vec![]),
        Just(vec![TransformAttribute::KeyLength(256)]),
        Just(vec![TransformAttribute::KeyLength(128)]),
    ];
    let known = prop_oneof![
        Just((1, 20)),
        Just((1, 12)),
        Just((1, 28)),
        Just((2, 5)),
        Just((2, 6)),
        Just((3, 0)),
        Just((3, 12)),
        Just((3, 13)),
        Just((4, 0)),
        Just((4, 20)),
        Just((4, 19)),
        Just((5, 0)),
        Just((5, 1)),
        Just((6, 1)),
    ];
    (known, attributes).prop_map(|((kind, id), attributes)| Transform { kind: TransformType(kind), id, attributes })
}

proptest! {
    /// A naive oracle: every way to take one transform of each type is tried.
    #[test]
    fn a_suite_is_chosen_exactly_if_some_combination_spells_it(
        transforms in proptest::collection::vec(any_transform(), 0..12),
    ) {
        let ours = [GCM, CBC, AES128];
        let offer = proposal(transforms.clone());
        let chosen = choose_ike(&offer, &ours, true, true);
        let mut kinds: Vec<_> = transforms.iter().map(|transform| transform.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut combinations: Vec<Vec<Transform>> = vec![vec![]];
        for kind in kinds {
            let of_kind: Vec<_> = transforms.iter().filter(|transform| transform.kind == kind).collect();
            combinations = combinations
                .iter()
                .flat_map(|before| of_kind.iter().map(move |next| [&before[..], &[(*next).clone()]].concat()))
                .collect();
        }
        let none = [Transform::integ(Integ::NONE), Transform::ke(KeMethod::NONE)];
        let spells = |suite: &IkeSuite| {
            let wanted = ike_transforms(*suite);
            combinations.iter().any(|combination| {
                let rest: Vec<_> = combination.iter().filter(|transform| !wanted.contains(transform)).collect();
                wanted.iter().all(|transform| combination.contains(transform))
                    && rest.iter().all(|transform| none.contains(transform))
            })
        };
        let expected = ours.iter().find(|suite| spells(suite));
        prop_assert_eq!(chosen.as_ref().map(|chosen| &chosen.suite), expected);
        if let Some(chosen) = chosen {
            for transform in &chosen.proposal.transforms {
                prop_assert!(transforms.contains(transform), "only what was offered goes back");
            }
        }
    }
}

/// RFC 9370 §2.2.1.
#[test]
fn an_additional_key_exchange_is_chosen_by_type_and_none_makes_it_optional() {
    let pq = IkeSuite { additional: Additional::one(Group::MlKem768), ..GCM };
    let mut later = Additional::NONE;
    later.put(4, Group::MlKem768);
    let later = IkeSuite { additional: later, ..GCM };
    let chosen = |offer: &Sa, ours: &[IkeSuite], further| choose_ike(offer, ours, false, further).map(|of| of.suite);
    assert_eq!(chosen(&ike_offer(&[pq]), &[pq], true), Some(pq));
    assert_eq!(chosen(&ike_offer(&[pq]), &[pq], false), None, "without IKE_INTERMEDIATE");
    assert_eq!(chosen(&ike_offer(&[later]), &[pq], true), None, "ADDKE4 is not ADDKE1");
    assert_eq!(chosen(&ike_offer(&[pq]), &[GCM], true), None, "what is asked for cannot be left out");
    assert_eq!(chosen(&ike_offer(&[GCM]), &[pq], true), None);
    assert!(lacks_post_quantum(&ike_offer(&[GCM]), &[pq], false));
    assert!(!lacks_post_quantum(&ike_offer(&[CBC]), &[pq], false), "that is not what is wrong");
    assert!(!lacks_post_quantum(&ike_offer(&[CBC]), &[pq, GCM], false), "it is not required");

    let mut offer = ike_offer(&[pq]);
    offer.proposals[0].transforms.push(Transform::additional(1, KeMethod::ML_KEM_512));
    offer.proposals[0].transforms.push(Transform::additional(1, KeMethod::NONE));
    assert_eq!(chosen(&offer, &[pq], true), Some(pq), "others beside it do no harm");
    let classical = choose_ike(&offer, &[GCM], false, true).unwrap();
    assert!(classical.proposal.transforms.contains(&Transform::additional(1, KeMethod::NONE)), "NONE is answered");
    let answer = Sa { proposals: vec![choose_ike(&ike_offer(&[GCM, pq]), &[pq], false, true).unwrap().proposal] };
    assert_eq!(accept_ike(&answer, &[GCM, pq], false), Some(pq));
    assert_eq!(accept_ike(&answer, &[GCM], false), None);
}
