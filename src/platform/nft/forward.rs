//! Whether somebody else's forward chain drops by default, as a firewall or a container engine leaves it.

use std::io;

use super::GET_CHAIN;
use super::attribute::Attributes;
use super::exchange::{DUMP, Exchange};

const NF_INET_FORWARD: u32 = 2;
const NF_DROP: u32 = 0;

/// A base chain at the forward hook whose policy is to drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardChain {
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

/// All chains at the forward hook that drop what no rule of theirs accepts.
pub fn dropping_forward_chains() -> io::Result<Vec<ForwardChain>> {
    let chains = Exchange::open()?.dump(GET_CHAIN, libc::NFPROTO_UNSPEC as u8, DUMP, |_| ())?;
    let dropping = chains.iter().map(|message| Attributes::of_message(message)).filter(|chain| {
        chain.nested(4).and_then(|hook| hook.number(1)) == Some(NF_INET_FORWARD) && chain.number(5) == Some(NF_DROP)
    });
    Ok(dropping
        .map(|chain| ForwardChain {
            table: chain.text(1).unwrap_or_default().to_owned(),
            chain: chain.text(3).unwrap_or_default().to_owned(),
        })
        .collect())
}
