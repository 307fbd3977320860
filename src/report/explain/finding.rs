//! One negotiation, judged: rows side by side, what differs, and the reason in one sentence.

use serde::Serialize;

use super::compare::{self, Apart, Nearest};
use super::mend::{self, Here};
use crate::event::IkeReason;
use crate::ike::account::{Explained, Offered, Ours, Outcome, Page, Said, Topic};
use crate::policy::selector::TrafficSelector;
use crate::report::peer_config::Device;
use crate::wire::ike::numbers::{AuthMethod, NotifyType};

/// Proposals that are shown beside each other, and selectors.
const SHOWN: usize = 6;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// Ours.
    pub ours: String,
    /// Theirs.
    pub theirs: String,
    /// Whether they fit.
    pub same: bool,
}

/// One negotiation.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The exchange by its RFC's name.
    pub exchange: &'static str,
    /// What it was about.
    pub topic: Topic,
    /// Whether we began it.
    pub by_us: bool,
    /// Whether the peer had proved who it is.
    pub authenticated: bool,
    /// How many seconds ago.
    pub ago_s: u64,
    /// `agreed`, `failed`, `open`.
    pub outcome: &'static str,
    /// The reason as it stands in counters, if it failed.
    pub code: Option<String>,
    /// Ours beside theirs.
    pub rows: Vec<Row>,
    /// The first thing that differs.
    pub differs: Option<String>,
    /// Why, in one sentence.
    pub reason: String,
    /// The line of our file.
    pub change_ours: Option<String>,
    /// What to change at the peer.
    pub change_peer: Option<String>,
}

/// What differs, why, and what to do about it.
#[derive(Default)]
struct Judged {
    rows: Vec<Row>,
    differs: Option<String>,
    reason: String,
    ours: Option<String>,
    peer: Option<String>,
}

struct Case<'a> {
    all: &'a Explained,
    page: &'a Page,
    here: Option<&'a Here<'a>>,
    device: Option<Device>,
}

/// Judges one page.
pub(super) fn judge(all: &Explained, page: &Page, here: Option<&Here<'_>>, device: Option<Device>) -> Finding {
    let case = Case { all, page, here, device };
    let judged = match page.topic {
        Topic::IkeSaInit | Topic::RekeyIke => case.proposals(&all.ours.ike, true),
        Topic::IkeAuth => case.identities(),
        Topic::FirstChild => case.child(false),
        Topic::Child | Topic::RekeyChild => case.child(true),
    };
    let exchange = match page.topic {
        Topic::IkeSaInit => "IKE_SA_INIT",
        Topic::IkeAuth => "IKE_AUTH",
        Topic::FirstChild => "IKE_AUTH (first child SA)",
        Topic::Child => "CREATE_CHILD_SA (child SA)",
        Topic::RekeyChild => "CREATE_CHILD_SA (rekeying of a child SA)",
        Topic::RekeyIke => "CREATE_CHILD_SA (rekeying of the IKE SA)",
    };
    let (outcome, code) = match &page.outcome {
        Outcome::Agreed => ("agreed", None),
        Outcome::Open => ("open", None),
        Outcome::Failed { reason, .. } => ("failed", Some(reason.clone())),
    };
    let Judged { rows, differs, reason, ours, peer } = judged;
    Finding {
        exchange,
        topic: page.topic,
        by_us: page.by_us,
        authenticated: page.authenticated,
        ago_s: page.ago_s,
        outcome,
        code,
        rows,
        differs,
        reason,
        change_ours: ours,
        change_peer: peer,
    }
}

impl Case<'_> {
    fn ours(&self) -> &Ours {
        &self.all.ours
    }

    fn theirs(&self) -> &Said {
        &self.page.theirs
    }

    /// The reason as a counter has it.
    fn code(&self) -> Option<IkeReason> {
        let Outcome::Failed { reason, .. } = &self.page.outcome else { return None };
        IkeReason::ALL.iter().copied().find(|known| known.as_str() == reason)
    }

    fn detail(&self) -> &str {
        match &self.page.outcome {
            Outcome::Failed { detail, .. } => detail,
            _ => "",
        }
    }

    fn says(&self) -> &'static str {
        if self.page.authenticated { "the peer says" } else { "the peer (unauthenticated) says" }
    }

    fn errors(&self) -> String {
        let errors = self.theirs().errors.iter().map(|kind| NotifyType(*kind).to_string());
        errors.collect::<Vec<_>>().join(", ")
    }

    fn line(&self, keys: &[&str], text: impl AsRef<str>) -> Option<String> {
        Some(self.here?.line(keys, text.as_ref()))
    }

    /// What the peer offered when it asked for the same thing itself, where it answers ours with a mere no.
    fn told_elsewhere(&self, esp: bool) -> Option<&[Offered]> {
        let other = self.all.pages.iter().find(|page| {
            !page.by_us && page.theirs.proposals.iter().any(|offered| offered.esp == esp && !offered.parts.is_empty())
        })?;
        Some(&other.theirs.proposals)
    }

    /// Proposals against proposals.
    fn proposals(&self, ours: &[Offered], groups: bool) -> Judged {
        let esp = ours.first().is_some_and(|offered| offered.esp);
        let said = &self.theirs().proposals;
        let elsewhere = if said.is_empty() { self.told_elsewhere(esp) } else { None };
        let theirs: &[Offered] = elsewhere.unwrap_or(said);
        let near = compare::nearest(ours, theirs, groups);
        let mut judged = Judged { rows: side_by_side(ours, theirs, near, groups), ..Judged::default() };
        let Some(near) = near else { return self.untold(judged, esp) };
        let (our, their) = (ours.get(near.ours), theirs.get(near.theirs));
        let (Some(our), Some(their)) = (our, their) else { return judged };
        match near.differs {
            Some(kind) => {
                self.transform_differs(&mut judged, our, their, kind);
                if elsewhere.is_some() {
                    judged.reason = format!("{} (so it offered when it asked itself)", judged.reason);
                }
            }
            None => self.proposals_fit(&mut judged, our, esp),
        }
        judged
    }

    /// The peer has said no proposal at all.
    fn untold(&self, mut judged: Judged, esp: bool) -> Judged {
        let keys: &[&str] = if esp { &["esp", "preset"] } else { &["ike", "preset"] };
        let has_group = self.ours().esp.iter().any(|offered| !compare::parts(offered, 4).is_empty());
        let rekeyed = matches!(self.page.topic, Topic::Child | Topic::RekeyChild);
        judged.reason = match self.code() {
            Some(IkeReason::NoProposalChosen) if rekeyed && has_group => {
                judged.differs = Some("group of the child SA's own key exchange (PFS)".to_owned());
                let group = self.ours().esp.first().map(|our| compare::names(&compare::parts(our, 4), 4));
                judged.peer = self.device.and_then(|device| mend::peer_transform(device, self.ours().esp.first()?, 4));
                judged.ours = self.line(keys, "leave the group out of `esp`, or name that of the peer");
                format!(
                    "{} {}: IKE_AUTH, which names no group, worked, so it is the PFS group (ours: {}) that it does not take.",
                    self.says(),
                    self.errors(),
                    group.unwrap_or_default()
                )
            }
            Some(IkeReason::NoProposalChosen) => {
                judged.ours = self.line(keys, "compare with what the peer is configured for (`explain --proposal`)");
                format!("{} {}, and not what it would take.", self.says(), self.errors())
            }
            Some(IkeReason::InvalidKe) => self.group_refused(&mut judged, esp),
            Some(IkeReason::TimedOut) => "The peer does not answer: its address, a filter on UDP 500, or a peer that \
                                          knows nobody at our address."
                .to_owned(),
            Some(other) => sentence(other, self.detail()),
            None if self.page.outcome == Outcome::Agreed => "Both sides agree.".to_owned(),
            None => "Nothing to compare yet.".to_owned(),
        };
        judged
    }

    /// INVALID_KE_PAYLOAD that no second try has mended.
    fn group_refused(&self, judged: &mut Judged, esp: bool) -> String {
        let (list, keys): (_, &[&str]) =
            if esp { (&self.ours().esp, &["esp", "preset"]) } else { (&self.ours().ike, &["ike", "preset"]) };
        let ours = list.first().map(|our| compare::names(&compare::parts(our, 4), 4)).unwrap_or_default();
        let Some(wanted) = self.theirs().wants_group else {
            return sentence(IkeReason::InvalidKe, self.detail());
        };
        judged.differs = Some(format!("group: ours {ours}, theirs {}", compare::group(wanted)));
        judged.ours = self.line(keys, format!("add a suite with group {}", compare::group(wanted)));
        judged.peer = self.device.and_then(|device| mend::peer_transform(device, list.first()?, 4));
        format!("{} that it wants group {}, which none of our suites has.", self.says(), compare::group(wanted))
    }

    /// The proposals fit, and yet it may have failed.
    fn proposals_fit(&self, judged: &mut Judged, our: &Offered, esp: bool) {
        let suite = mend::written(our).unwrap_or_else(|| "a suite".to_owned());
        judged.reason = match self.code() {
            None if self.page.outcome == Outcome::Agreed => format!("Both sides agree on {suite}."),
            None => format!("Both sides have {suite}: these proposals are no obstacle."),
            Some(IkeReason::NoProposalChosen) if !self.ours().lab => {
                format!("Both sides have {suite}, but an agreement takes nothing below AES-256.")
            }
            Some(IkeReason::InvalidKe) => {
                let ours = compare::names(&compare::parts(our, 4), 4);
                let theirs = self.theirs().group.map_or("none".to_owned(), compare::group);
                if compare::names(&compare::parts(our, 4), 4) == theirs {
                    sentence(IkeReason::InvalidKe, self.detail())
                } else if self.page.by_us {
                    self.group_refused(judged, esp)
                } else {
                    judged.differs = Some(format!("group of the KE payload: ours {ours}, theirs {theirs}"));
                    format!("The peer guessed group {theirs}; it was asked for {ours}, which it offers too.")
                }
            }
            Some(IkeReason::NoProposalChosen) => {
                format!("Both sides have {suite} now; the negotiation was older, or the peer has other wishes.")
            }
            Some(other) => sentence(other, self.detail()),
        };
    }

    /// The first transform that differs.
    fn transform_differs(&self, judged: &mut Judged, our: &Offered, their: &Offered, kind: u8) {
        let (here, there) = (compare::parts(our, kind), compare::parts(their, kind));
        let (ours, theirs) = (compare::names(&here, kind), compare::names(&there, kind));
        let what = match (kind, our.esp) {
            (4, true) => "group of the child SA's own key exchange (PFS)".to_owned(),
            _ => compare::kind_name(kind),
        };
        judged.differs = Some(format!("{what}: ours {ours}, theirs {theirs}"));
        let same_cipher = kind == 1 && here.iter().any(|one| there.iter().any(|other| one.id == other.id));
        let aead =
            |list: &[crate::ike::account::Part]| list.iter().any(|part| (14..=20).contains(&part.id) || part.id == 28);
        judged.reason = match kind {
            1 if same_cipher => {
                let bits = |list: &[crate::ike::account::Part]| {
                    let bits: Vec<_> = list.iter().filter_map(|part| Some(part.bits?.to_string())).collect();
                    bits.join(" or ")
                };
                format!("The key length differs: ours {} bits, theirs {}.", bits(&here), bits(&there))
            }
            1 if aead(&here) != aead(&there) => format!(
                "One side has a cipher that brings its own integrity (GCM), the other CBC with a separate one: ours {ours}, \
                 theirs {theirs}."
            ),
            4 if our.esp && there.is_empty() => {
                format!("We want a key exchange for child SAs (PFS, {ours}), the peer none.")
            }
            4 if our.esp && here.is_empty() => {
                format!("The peer wants a key exchange for child SAs (PFS, {theirs}), we none.")
            }
            4 if our.esp => format!("The PFS groups differ: ours {ours}, theirs {theirs}."),
            _ => format!("No proposal has the same {what} on both sides: ours {ours}, theirs {theirs}."),
        };
        let keys: &[&str] = if our.esp { &["esp", "preset"] } else { &["ike", "preset"] };
        let key = keys.first().copied().unwrap_or_default();
        judged.ours = match mend::suite_for_theirs(self.ours(), our, their) {
            Some(suite) => self.line(keys, format!("{key} = [.., \"{suite}\"]")),
            None => self.line(keys, format!("nothing: {theirs} is not offered here, or not allowed by the agreement")),
        };
        judged.peer = self.device.and_then(|device| mend::peer_transform(device, our, kind));
    }

    /// A child SA: its proposals, then its selectors.
    fn child(&self, groups: bool) -> Judged {
        let mut judged = self.proposals(&self.ours().esp, groups);
        let theirs = self.theirs();
        // TSi is the side of whoever asks.
        let (local, remote) = if self.page.by_us {
            (&theirs.initiator_selectors, &theirs.responder_selectors)
        } else {
            (&theirs.responder_selectors, &theirs.initiator_selectors)
        };
        let told = !local.is_empty() || !remote.is_empty();
        let apart = compare::selectors_apart(&self.ours().selectors, local, remote);
        if told {
            for (index, [here, there]) in self.ours().selectors.iter().take(SHOWN).enumerate() {
                let ours = format!("{here} === {there}");
                let theirs = if index == 0 { format!("{} === {}", list(local), list(remote)) } else { String::new() };
                judged.rows.push(Row { what: "selectors".to_owned(), ours, theirs, same: apart.is_none() });
            }
        }
        if self.code() != Some(IkeReason::TsUnacceptable) {
            return judged;
        }
        let nearest = apart.map_or(0, |(index, _)| index);
        let Some([here, there]) = self.ours().selectors.get(nearest) else { return judged };
        let side = match apart {
            Some((_, Apart::Local)) if told => Some(("our side", here, local)),
            Some((_, Apart::Remote)) if told => Some(("the peer's side", there, remote)),
            _ => None,
        };
        judged.differs = Some(match side {
            Some((side, ours, theirs)) => format!("selectors, {side}: ours {ours}, theirs {}", list(theirs)),
            None => "selectors".to_owned(),
        });
        judged.reason = if told {
            "No rule of ours has both of the peer's sides.".to_owned()
        } else {
            format!("{} {}, and not which selectors it would take.", self.says(), self.errors())
        };
        judged.ours = self.rule_line(nearest);
        let shown = |selector: &TrafficSelector| selector.to_string();
        judged.peer = self.device.map(|device| mend::peer_selectors(device, &shown(there), &shown(here)));
        judged
    }

    fn rule_line(&self, nearest: usize) -> Option<String> {
        let [here, there] = self.ours().selectors.get(nearest)?;
        let here_at = self.here?;
        let text = format!("`from` and `to` of the rule for {here} === {there}");
        let line = here_at.places.rules_of(here_at.tunnel).min();
        Some(line.map_or(format!("{}: {text}", here_at.file), |line| format!("{}:{line}: {text}", here_at.file)))
    }

    /// Who is who, and the proof.
    fn identities(&self) -> Judged {
        let (ours, theirs) = (self.ours(), self.theirs());
        let mut judged = Judged::default();
        let mut row = |what: &str, ours: &str, theirs: Option<&String>| {
            if let Some(theirs) = theirs {
                let same = ours == theirs;
                judged.rows.push(Row { what: what.to_owned(), ours: ours.to_owned(), theirs: theirs.clone(), same });
            }
        };
        row("peer's identity", &ours.peer_id, theirs.identity.as_ref());
        row("our identity", &ours.local_id, theirs.asks_for.as_ref());
        let method = theirs.auth.map(|method| proof(AuthMethod(method)));
        row("proof", &ours.peer_auth, method.as_ref());
        let wrong = theirs.identity.as_ref().filter(|identity| **identity != ours.peer_id);
        let wrong_ours = theirs.asks_for.as_ref().filter(|asked| **asked != ours.local_id);
        let wrong_method = method.as_ref().filter(|method| **method != ours.peer_auth);
        let refused = theirs.errors.contains(&NotifyType::AUTHENTICATION_FAILED.0);
        judged.reason = match self.code() {
            None if self.page.outcome == Outcome::Agreed => "Each side knows who the other is.".to_owned(),
            None => "The exchange is not over.".to_owned(),
            Some(IkeReason::AuthenticationFailed | IkeReason::WrongIdentity | IkeReason::PeerError) => {
                if let Some(identity) = wrong {
                    judged.differs = Some(format!("the peer's identity: ours {}, theirs {identity}", ours.peer_id));
                    judged.ours =
                        self.line(&["peer_id", "peer"], format!("peer_id = \"{identity}\", if that is who it is"));
                    judged.peer = self.device.map(|device| mend::peer_identity(device, ours, false));
                    format!("{} it is {identity}, and we expect {}.", self.says(), ours.peer_id)
                } else if let Some(asked) = wrong_ours {
                    judged.differs = Some(format!("our identity: ours {}, theirs {asked}", ours.local_id));
                    judged.ours = self.line(&["local_id", "local"], format!("local_id = \"{asked}\""));
                    judged.peer = self.device.map(|device| mend::peer_identity(device, ours, true));
                    format!("The peer asks for {asked}, and we are {}.", ours.local_id)
                } else if let Some(method) = wrong_method {
                    judged.differs = Some(format!("proof: ours {}, theirs {method}", ours.peer_auth));
                    judged.ours = self.line(&["peer_auth", "auth"], "the method of the peer's proof");
                    format!("The peer proves itself by {method}, and we expect {}.", ours.peer_auth)
                } else {
                    self.wrong_proof(&mut judged, refused)
                }
            }
            Some(IkeReason::TimedOut) => {
                "The peer answered IKE_SA_INIT and not IKE_AUTH: a filter on UDP 4500, a path that \
                                          loses long datagrams, or a peer that does not take our identity."
                    .to_owned()
            }
            Some(other) => sentence(other, self.detail()),
        };
        judged
    }

    fn wrong_proof(&self, judged: &mut Judged, refused: bool) -> String {
        let ours = self.ours();
        judged.differs = Some("the key, or whom it belongs to".to_owned());
        judged.ours = self.line(&["auth", "local_id"], "the secret, which must be the peer's to the last byte");
        judged.peer = self.device.map(|device| mend::peer_key(device).to_owned());
        if refused {
            format!(
                "{} {}: the pre-shared keys differ, or it has none for {} at our address.",
                self.says(),
                self.errors(),
                ours.local_id
            )
        } else {
            "The identity is the expected one, and the proof does not fit: the pre-shared keys differ.".to_owned()
        }
    }
}

/// The kind of proof, in the words of `LocalAuth` and `PeerAuth`.
fn proof(method: AuthMethod) -> String {
    match method {
        AuthMethod::SHARED_KEY => "pre-shared key".to_owned(),
        AuthMethod::RSA
        | AuthMethod::ECDSA_256
        | AuthMethod::ECDSA_384
        | AuthMethod::ECDSA_521
        | AuthMethod::DIGITAL_SIGNATURE => "certificate".to_owned(),
        other => other.to_string(),
    }
}

/// Sentence and detail of a reason.
fn sentence(reason: IkeReason, detail: &str) -> String {
    if detail.is_empty() { format!("{}.", reason.sentence()) } else { format!("{}: {detail}.", reason.sentence()) }
}

fn list(selectors: &[TrafficSelector]) -> String {
    if selectors.is_empty() {
        return "nothing".to_owned();
    }
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The proposals that come nearest, type by type, and the others in a line each.
fn side_by_side(ours: &[Offered], theirs: &[Offered], near: Option<Nearest>, groups: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let whole = |offered: &Offered| {
        let kinds = compare::KINDS.iter().filter(|kind| !compare::parts(offered, **kind).is_empty());
        kinds.map(|kind| compare::names(&compare::parts(offered, *kind), *kind)).collect::<Vec<_>>().join(", ")
    };
    for index in 0..ours.len().max(theirs.len()).min(SHOWN) {
        let cell = |list: &[Offered]| list.get(index).map(whole).unwrap_or_default();
        let what = format!("proposal {}", index + 1);
        rows.push(Row { what, ours: cell(ours), theirs: cell(theirs), same: true });
    }
    let Some(near) = near else { return rows };
    if let (Some(our), Some(their)) = (ours.get(near.ours), theirs.get(near.theirs)) {
        for kind in compare::KINDS {
            let (here, there) = (compare::parts(our, kind), compare::parts(their, kind));
            let counts = groups || !(kind == 4 || (6..=12).contains(&kind));
            if counts && !(here.is_empty() && there.is_empty()) {
                rows.push(Row {
                    what: format!("nearest ({} / {}): {}", near.ours + 1, near.theirs + 1, compare::kind_name(kind)),
                    ours: compare::names(&here, kind),
                    theirs: compare::names(&there, kind),
                    same: compare::fits(our, their, kind),
                });
            }
        }
    }
    rows
}
