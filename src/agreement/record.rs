//! What is written down of an agreement: with whom, by which document, since when, and who is to be called.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::digest::Digest;
use super::term::{Term, Zone};

/// `[agreement.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Whether it is of kind `lab`: not a real agreement, for demonstrations and tests.
    pub lab: bool,
    /// Title of the document.
    pub document: Option<String>,
    /// SHA-256 of the document as it was signed or acknowledged.
    pub document_digest: Option<Digest>,
    /// The other organisation.
    pub organisation: Option<String>,
    /// Who is to be called, by role.
    pub contacts: BTreeMap<Role, String>,
    /// The highest classification of what may cross.
    pub classification: Option<Classification>,
    /// What its term is counted from.
    pub basis: Option<Basis>,
    /// The day from which its term runs.
    pub date: Option<Date>,
    /// Its term in years.
    pub years: Option<u8>,
    /// Where its days begin and end.
    pub zone: Zone,
    /// Days for which traffic passes after the end of the term.
    pub grace_days: u16,
    /// When it was reviewed last, as far as the file knows.
    pub reviewed: Option<Date>,
    /// Its last day, where notice has been given.
    pub termination: Option<Date>,
    /// Who puts it in force for the first time.
    pub activation: Activation,
}

impl Record {
    /// The kind as it is stamped on status lines and events.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        if self.lab { "lab" } else { "agreement" }
    }

    /// Its term as the file says it.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        Some(Term { date: self.date?, years: self.years?, zone: self.zone, grace_days: self.grace_days })
    }

    /// What a complete record would have and this one has not: key, and what belongs there. Nothing is missing of a lab
    /// agreement.
    #[must_use]
    pub fn missing(&self) -> Vec<(String, &'static str)> {
        if self.lab {
            return Vec::new();
        }
        let keys = [
            ("document", self.document.is_none(), "the title of the agreement"),
            ("document_digest", self.document_digest.is_none(), "sha256: and the digest of the signed document"),
            ("organisation", self.organisation.is_none(), "the other organisation"),
            (
                "classification",
                self.classification.is_none(),
                "\"unclassified\", \"sensitive-but-unclassified\" or \"controlled-unclassified\"",
            ),
        ];
        let keys = keys.into_iter().filter(|(_, missing, _)| *missing).map(|(key, _, what)| (key.to_owned(), what));
        let contacts = Role::REQUIRED.into_iter().filter(|role| !self.contacts.contains_key(role));
        keys.chain(contacts.map(|role| (format!("contacts.{}", role.as_str()), role.what()))).collect()
    }
}

/// What the term of an agreement is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The date of the acknowledgement e-mail (CBP ISA §4).
    Acknowledgement,
    /// The date of the last signature (TAXII ISA §1.12, AIS agreement §4.0).
    LatestSignature,
}

impl Basis {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledgement => "acknowledgement",
            Self::LatestSignature => "latest-signature",
        }
    }
}

/// Who puts an agreement in force for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Its standing in the file does.
    #[default]
    File,
    /// It is a draft until `portcullis agreement activate`.
    Operator,
}

/// What the data may be at most. None of the documents has provisions for anything higher (TAXII ISA §1.4: "There are no
/// provisions in place to transmit Confidential, or higher").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classification {
    /// Public.
    Unclassified,
    /// CBP ISA §2c, AIS agreement §3.3.
    SensitiveButUnclassified,
    /// TAXII ISA §2.3 names it beside the former.
    ControlledUnclassified,
}

impl Classification {
    /// Every one that an agreement has provisions for.
    pub const ALL: [Self; 3] = [Self::Unclassified, Self::SensitiveButUnclassified, Self::ControlledUnclassified];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unclassified => "unclassified",
            Self::SensitiveButUnclassified => "sensitive-but-unclassified",
            Self::ControlledUnclassified => "controlled-unclassified",
        }
    }
}

/// Who somebody is to an agreement (AIS agreement §1.0, TAXII ISA §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Signs.
    AuthorisingOfficial,
    /// Owns the connected system.
    SystemOwner,
    /// ISSO.
    SecurityOfficer,
    /// ISSM.
    SecurityManager,
    /// Whom to write to.
    Primary,
    /// Whom to call when it does not work.
    Technical,
    /// The security operations centre: whom to call at an incident.
    Incident,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] = [
        Self::AuthorisingOfficial,
        Self::SystemOwner,
        Self::SecurityOfficer,
        Self::SecurityManager,
        Self::Primary,
        Self::Technical,
        Self::Incident,
    ];
    /// Those without whom a record is not complete.
    pub const REQUIRED: [Self; 5] =
        [Self::AuthorisingOfficial, Self::SystemOwner, Self::SecurityOfficer, Self::SecurityManager, Self::Primary];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorisingOfficial => "authorising-official",
            Self::SystemOwner => "system-owner",
            Self::SecurityOfficer => "security-officer",
            Self::SecurityManager => "security-manager",
            Self::Primary => "primary",
            Self::Technical => "technical",
            Self::Incident => "incident",
        }
    }

    /// Who that is.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::AuthorisingOfficial => "who signs for the other organisation",
            Self::SystemOwner => "who owns its system",
            Self::SecurityOfficer => "its information system security officer",
            Self::SecurityManager => "its information system security manager",
            Self::Primary => "whom to write to",
            Self::Technical => "whom to call when it does not work",
            Self::Incident => "whom to call at an incident",
        }
    }
}
