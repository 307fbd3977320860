//! The documents that are known: which clauses each has, which services those name, and for which purposes.
//!
//! The clauses are those of the documents as received; what stands beside them are our words, for people. A document of
//! another title is taken as it is written: nothing is known of its clauses. What follows from a clause that does not
//! exist, or from a purpose that does not go with its service, is said where the file and its line are known, in `config`.

use super::rule::Service;

/// A document whose clauses are known.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// The title under which the profiles name it.
    pub title: &'static str,
    /// Other ways to write it.
    other_titles: &'static [&'static str],
    /// Its clauses, in its order.
    pub clauses: &'static [Clause],
    /// What it exchanges data for, where it says so.
    pub purposes: &'static [Purpose],
}

/// A clause, or a paragraph that has a number of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Clause {
    /// Its number.
    pub number: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The services that it names; empty where it names none.
    pub services: &'static [Service],
}

/// What data are exchanged for.
#[derive(Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The word in the configuration.
    pub word: &'static str,
    /// What it means.
    pub about: &'static str,
    /// The services that the document gives to it.
    pub services: &'static [Service],
}

impl Document {
    /// Every known document.
    pub const ALL: [&'static Self; 3] = [&CBP, &TAXII, &AIS];

    /// The document with this title, however it is spaced and capitalised.
    #[must_use]
    pub fn titled(title: &str) -> Option<&'static Self> {
        let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let wanted: String = letters(title);
        Self::ALL.into_iter().find(|document| {
            let mut titles = std::iter::once(document.title).chain(document.other_titles.iter().copied());
            titles.any(|title| letters(title) == wanted)
        })
    }

    /// A clause as people write it: `1a`, `§1a`, `1.a`, `1 (a)`, `Section 3.4`.
    #[must_use]
    pub fn clause(&self, written: &str) -> Option<&'static Clause> {
        let wanted = number(written);
        self.clauses.iter().find(|clause| number(clause.number) == wanted)
    }

    /// A purpose by its word.
    #[must_use]
    pub fn purpose(&self, word: &str) -> Option<&'static Purpose> {
        self.purposes.iter().find(|purpose| purpose.word == word)
    }

    /// Whether data may go by `service` only for a named purpose.
    #[must_use]
    pub fn wants_purpose(&self, service: Service) -> bool {
        // The first bullet of CBP §1a gives MQ to every filer; the other two give SFTP and mail to certain filings alone.
        self == &CBP && matches!(service, Service::Sftp | Service::Smtp)
    }

    /// Whether any clause names `service`.
    #[must_use]
    pub fn names(&self, service: Service) -> bool {
        self.clauses.iter().any(|clause| clause.services.contains(&service))
    }
}

impl Purpose {
    /// The purpose of any known document.
    #[must_use]
    pub fn any(word: &str) -> Option<&'static Self> {
        Document::ALL.into_iter().find_map(|document| document.purpose(word))
    }
}

/// The bare number of a clause: no sign, no brackets, no spaces, no dot but between digits, `3` for `3.0`.
fn number(written: &str) -> String {
    let lower = written.trim().to_lowercase();
    let bare =
        ["§", "section", "clause"].iter().fold(lower.as_str(), |text, sign| text.trim_start_matches(sign).trim());
    let mut out = String::new();
    let letters: Vec<char> = bare.chars().filter(|c| !c.is_whitespace() && !"()".contains(*c)).collect();
    for (at, letter) in letters.iter().enumerate() {
        let digit = |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(char::is_ascii_digit);
        if *letter != '.' || (digit(at.checked_sub(1)) && digit(at.checked_add(1))) {
            out.push(*letter);
        }
    }
    out.strip_suffix(".0").map(str::to_owned).unwrap_or(out)
}

const fn clause(number: &'static str, about: &'static str) -> Clause {
    Clause { number, about, services: &[] }
}

const fn naming(number: &'static str, services: &'static [Service], about: &'static str) -> Clause {
    Clause { number, about, services }
}

/// The trade agreement of U.S. Customs and Border Protection.
static CBP: Document = Document {
    title: "CBP Interconnection Security Agreement",
    other_titles: &[
        "CBP ISA",
        "CBP Trade ISA",
        "Interconnection Security Agreement (CBP)",
        "U.S. Customs and Border Protection Interconnection Security Agreement",
    ],
    clauses: &[
        naming("1", &[Service::Mq, Service::Sftp, Service::Smtp], "statement of requirements"),
        naming(
            "1a",
            &[Service::Mq, Service::Sftp, Service::Smtp],
            "MQ client/server; SFTP and mail for stow plans; SFTP for container status and export commodity data",
        ),
        naming(
            "1b",
            &[Service::Mq, Service::Sftp, Service::Smtp],
            "nothing else, but control signals of TCP/IP and MQ",
        ),
        clause("1c", "encryption from the designated end-point system to CBP"),
        clause("2", "system security"),
        clause("2a", "AES-256, FIPS 140-2; user ID and password or pre-shared keys"),
        clause("2b", "a layer-3 IPsec tunnel with Cisco equipment"),
        clause("2c", "sensitive but unclassified"),
        clause("2d", "FIPS 199 high"),
        clause("2e", "user community"),
        clause("2f", "AES-256 over the public Internet"),
        clause("2g", "trusted behaviour"),
        clause("2h", "policies that govern"),
        clause("2i", "incidents"),
        clause("2j", "audit trail and intrusion detection"),
        clause("3", "drawing with the lines of demarcation"),
        clause("4", "three years from the acknowledgement; thirty days' notice"),
    ],
    purposes: &[
        Purpose {
            word: "stow-plan",
            about: "stow plans of a security filing",
            services: &[Service::Sftp, Service::Smtp],
        },
        Purpose {
            word: "container-status",
            about: "container status messages of a security filing",
            services: &[Service::Sftp],
        },
        Purpose {
            word: "aes-commodity",
            about: "commodity data of the Automated Export System, which is no cipher",
            services: &[Service::Sftp],
        },
    ],
};

/// The agreement of the DHS TAXII server.
static TAXII: Document = Document {
    title: "DHS TAXII Interconnection Security Agreement",
    other_titles: &[
        "TAXII ISA",
        "Interconnection Security Agreement (ISA) for the DHS Trusted Automated Exchange of Indicator Information (TAXII)",
    ],
    clauses: &[
        clause("1.0", "the provider's section"),
        clause("1.1", "overview"),
        clause("1.1.1", "background"),
        clause("1.2", "security considerations; an agreement for each connection"),
        naming("1.3", &[Service::Tls], "HTTP over TLS, machine to machine, one client and one server"),
        clause("1.4", "sensitive but unclassified"),
        clause("1.5", "user community"),
        naming("1.6", &[Service::Tls], "TLS on TCP port 8443 with AES-256 at least; trusted certificates"),
        clause("1.7", "expectations"),
        clause("1.8", "incidents"),
        clause("1.9", "technical support"),
        naming("1.10", &[Service::Tls], "formal security policy: HTTP over TLS, ports of Appendix A"),
        clause("1.11", "drawing"),
        clause("1.12", "three years from the latest signature; yearly review; thirty days' notice"),
        clause("1.13", "the provider's signatures"),
        clause("2.0", "the connecting organisation's section"),
        clause("2.1", "summary"),
        naming("2.2", &[Service::Tls], "services offered: HTTP over TLS"),
        clause("2.3", "data sensitivity"),
        clause("2.4", "technical support; formal security policy"),
        clause("2.5", "drawings"),
        clause("2.6", "the connecting organisation's signatures"),
        naming("Appendix A", &[Service::Tls], "ports, protocols and services: TCP 8443, TLS, AES-256"),
    ],
    purposes: &[
        Purpose { word: "indicators", about: "cyber threat indicators in STIX", services: &[Service::Tls] },
        Purpose { word: "defensive-measures", about: "defensive measures in STIX", services: &[Service::Tls] },
    ],
};

/// The agreement of CISA's Automated Indicator Sharing.
static AIS: Document = Document {
    title: "Automated Indicator Sharing Interconnection Agreement",
    other_titles: &[
        "AIS Interconnection Agreement",
        "CISA AIS Interconnection Agreement",
        "Automated Indicator Sharing (AIS) Interconnection Agreement",
    ],
    clauses: &[
        clause("1.0", "purpose and points of contact"),
        clause("2.0", "justification"),
        clause("3.0", "security considerations"),
        naming("3.1", &[Service::Tls], "TLS 1.2 and 1.3"),
        clause("3.2", "physical security"),
        clause("3.3", "sensitive but unclassified"),
        naming("3.4", &[Service::Tls], "https://ais2.cisa.dhs.gov, port 443; the feeds"),
        naming(
            "3.5",
            &[Service::Tls],
            "opened by the external organisation alone, and only when there is something to do",
        ),
        clause("3.6", "user community"),
        clause("3.7", "boundary protection; static addresses, registered at the firewall"),
        clause("3.8", "rules of behaviour"),
        clause("3.9", "incidents"),
        clause("3.10", "monitoring"),
        clause("3.11", "audit trail"),
        clause("4.0", "three years from the latest signature; thirty days' notice"),
    ],
    purposes: &[
        Purpose { word: "ais-ingest", about: "submission to AIS_INGEST", services: &[Service::Tls] },
        Purpose { word: "public", about: "the feed PUBLIC", services: &[Service::Tls] },
        Purpose { word: "federal", about: "the feed FEDERAL", services: &[Service::Tls] },
        Purpose { word: "ciscp", about: "the feed CISCP", services: &[Service::Tls] },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_known_however_its_title_is_written() {
        assert_eq!(Document::titled("cbp  interconnection security agreement"), Some(&CBP));
        assert_eq!(Document::titled("TAXII-ISA"), Some(&TAXII));
        assert_eq!(Document::titled("Automated Indicator Sharing (AIS) Interconnection Agreement"), Some(&AIS));
        assert_eq!(Document::titled("Port of Rotterdam Interconnection Agreement"), None);
        assert_eq!(Document::titled(""), None);
    }

    #[test]
    fn a_clause_is_found_however_it_is_written_and_no_other() {
        for written in ["1a", "§1a", "§ 1.a", "1(a)", "1 A", "Clause 1a", "section 1a."] {
            assert_eq!(CBP.clause(written).map(|clause| clause.number), Some("1a"), "{written}");
        }
        for (document, written, found) in
            [(&AIS, "3", "3.0"), (&AIS, "3.11", "3.11"), (&TAXII, "appendix a", "Appendix A"), (&TAXII, "1.1", "1.1")]
        {
            assert_eq!(document.clause(written).map(|clause| clause.number), Some(found));
        }
        for written in ["1d", "3a", "5", "", "1ab", "1.", "11a"] {
            let found = CBP.clause(written).map(|clause| clause.number);
            assert_eq!(found, (written == "1.").then_some("1"), "{written}");
        }
        assert!(AIS.clause("3.12").is_none() && AIS.clause("311").is_none() && TAXII.clause("16").is_none());
    }

    #[test]
    fn mail_is_for_stow_plans_alone() {
        let by_mail: Vec<_> = CBP.purposes.iter().filter(|of| of.services.contains(&Service::Smtp)).collect();
        assert_eq!(by_mail.iter().map(|of| of.word).collect::<Vec<_>>(), ["stow-plan"]);
        assert!(CBP.purposes.iter().all(|of| of.services.contains(&Service::Sftp)));
        assert!(
            CBP.wants_purpose(Service::Smtp) && !CBP.wants_purpose(Service::Mq) && !AIS.wants_purpose(Service::Tls)
        );
    }

    #[test]
    fn no_number_and_no_purpose_stands_twice() {
        for document in Document::ALL {
            for clause in document.clauses {
                assert!(std::ptr::eq(document.clause(clause.number).unwrap(), clause), "{}", clause.number);
            }
        }
        let mut words: Vec<_> = Document::ALL.iter().flat_map(|of| of.purposes).map(|of| of.word).collect();
        words.sort_unstable();
        let count = words.len();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
