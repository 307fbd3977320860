//! What was said in the last negotiations of a tunnel, for `portcullis explain`: one page for each kind of exchange and
//! for who began it, each of bounded size.
//!
//! A page holds what the peer said and what became of it; what we say follows from the configuration. Until IKE_AUTH has
//! signed it, everything is hearsay: such a page never takes the place of one that was authenticated.

use std::collections::BTreeMap;

use super::account::{Heard, Outcome, Page, Said, Topic, failed};
use super::step::Notice;
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::numbers::ExchangeType;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    topic: Topic,
    by_us: bool,
    authenticated: bool,
}

#[derive(Debug)]
struct Entry {
    spi: IkeSpi,
    at: Instant,
    outcome: Outcome,
    theirs: Said,
}

/// The pages of one tunnel: at most one for each kind of exchange, for who began, and for whether it was authenticated.
#[derive(Debug, Default)]
pub struct Accounts(BTreeMap<Key, Entry>);

impl Accounts {
    /// Writes down what one step of the IKE SA with our SPI `spi` has brought.
    pub fn follow(&mut self, now: Instant, spi: IkeSpi, notices: &mut [Notice]) {
        let mut open: Option<(Topic, bool)> = None;
        let mut made = false;
        for notice in notices.iter_mut() {
            match notice {
                Notice::Heard(heard) => {
                    open = Some((heard.topic, heard.by_us));
                    self.hear(now, spi, std::mem::take(heard));
                }
                Notice::ChildUp { .. } | Notice::ChildRekeyed | Notice::IkeRekeyed => made = true,
                _ => {}
            }
        }
        let authenticated = notices.iter().any(|notice| matches!(notice, Notice::Authenticated { .. }));
        if authenticated {
            let by_us = open.is_some_and(|(_, by_us)| by_us);
            self.settle(spi, Topic::IkeAuth, by_us, Outcome::Agreed);
            self.confirm(spi);
        }
        if made && let Some((topic, by_us)) = open {
            let topic = if topic == Topic::IkeAuth { Topic::FirstChild } else { topic };
            self.settle(spi, topic, by_us, Outcome::Agreed);
        }
        for notice in notices.iter() {
            let (exchange, by_us, reason, detail) = match notice {
                Notice::Failed { exchange, reason, detail } | Notice::ChildFailed { exchange, reason, detail, .. } => {
                    (*exchange, true, *reason, detail)
                }
                Notice::RekeyFailed { reason, detail } => (ExchangeType::CREATE_CHILD_SA, true, *reason, detail),
                Notice::Declined { exchange, reason, detail } => (*exchange, false, *reason, detail),
                _ => continue,
            };
            let topic = match (exchange, open) {
                (ExchangeType::IKE_SA_INIT, _) => Topic::IkeSaInit,
                (ExchangeType::IKE_AUTH, _) if authenticated => Topic::FirstChild,
                (ExchangeType::IKE_AUTH, _) => Topic::IkeAuth,
                (ExchangeType::CREATE_CHILD_SA, Some((topic, _))) => topic,
                _ => continue,
            };
            let outcome = failed(reason, detail);
            if !self.settle(spi, topic, by_us, outcome.clone()) {
                self.hear(now, spi, Heard { topic, by_us, said: Said::default(), outcome });
            }
        }
    }

    /// A message has come in.
    pub fn hear(&mut self, now: Instant, spi: IkeSpi, heard: Heard) {
        let Heard { topic, by_us, said, outcome } = heard;
        // An answer that proves who the peer is may hold an error in place of the first child SA.
        let child = !said.proposals.is_empty() || (by_us && said.auth.is_some() && !said.errors.is_empty());
        if topic == Topic::IkeAuth && child {
            let said = said.clone();
            self.hear(now, spi, Heard { topic: Topic::FirstChild, by_us, said, outcome: Outcome::Open });
        }
        // Whoever can say something here after IKE_AUTH is the peer.
        let authenticated = !matches!(topic, Topic::IkeSaInit | Topic::IkeAuth | Topic::FirstChild);
        let entry = self.0.entry(Key { topic, by_us, authenticated });
        match entry {
            std::collections::btree_map::Entry::Occupied(mut entry) if entry.get().spi == spi && !authenticated => {
                let page = entry.get_mut();
                page.theirs.add(said);
                (page.at, page.outcome) = (now, outcome);
            }
            entry => {
                entry.insert_entry(Entry { spi, at: now, outcome, theirs: said });
            }
        }
    }

    /// What became of a page of this IKE SA; false if there is none.
    fn settle(&mut self, spi: IkeSpi, topic: Topic, by_us: bool, outcome: Outcome) -> bool {
        let mut pages = self.0.iter_mut().filter(|(key, page)| {
            key.topic == topic && key.by_us == by_us && page.spi == spi && page.outcome != Outcome::Agreed
        });
        match pages.next() {
            Some((_, page)) => {
                page.outcome = outcome;
                true
            }
            None => false,
        }
    }

    /// The peer has signed what this IKE SA has heard so far.
    fn confirm(&mut self, spi: IkeSpi) {
        let heard: Vec<Key> = self.0.iter().filter(|(_, page)| page.spi == spi).map(|(key, _)| *key).collect();
        for key in heard {
            if let Some(page) = self.0.remove(&key) {
                self.0.insert(Key { authenticated: true, ..key }, page);
            }
        }
    }

    /// Everything that is known, the newest first.
    #[must_use]
    pub fn pages(&self, now: Instant) -> Vec<Page> {
        let mut pages: Vec<_> = self.0.iter().collect();
        pages.sort_by_key(|(key, page)| (std::cmp::Reverse(page.at), std::cmp::Reverse(key.topic)));
        let page = |(key, page): (&Key, &Entry)| Page {
            topic: key.topic,
            by_us: key.by_us,
            authenticated: key.authenticated,
            ago_s: now.since(page.at).as_secs(),
            outcome: page.outcome.clone(),
            theirs: page.theirs.clone(),
        };
        pages.into_iter().map(page).collect()
    }

    /// Another configuration: what was said to the old one explains nothing any more.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
