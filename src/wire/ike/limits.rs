//! How much one message may hold, so that a datagram of 64 KiB cannot make the decoder build more than a few hundred
//! KiB of values nor spend more than one pass over its bytes (RFC 7296 sets no such bounds).
//!
//! A counted thing (proposal, selector, ..) may be as small as 4 bytes on the wire and ten times that as a value.
//! What real peers send stays an order of magnitude below each of these numbers.

use super::malformed::Flaw;

/// Payloads in one chain. A long IKE_AUTH (certificates, requests, notifies) has about 30.
pub const MAX_PAYLOADS: usize = 128;

/// Proposals in one chain. RFC 7296 §3.3.1 numbers them in one byte; default configurations offer up to 20.
pub const MAX_PROPOSALS: usize = 64;

/// Transforms in one chain. One proposal that offers everything ever registered has about 80.
pub const MAX_TRANSFORMS: usize = 1024;

/// Transform attributes in one chain. Only Key Length is registered, once per encryption transform.
pub const MAX_TRANSFORM_ATTRIBUTES: usize = 1024;

/// Traffic selectors in one chain. One TS payload counts them in one byte; a message has two.
pub const MAX_SELECTORS: usize = 512;

/// SPIs in all Delete payloads of one chain. A peer that removes more sends more messages.
pub const MAX_DELETED_SPIS: usize = 1024;

/// Configuration attributes in one chain. About 20 kinds are registered.
pub const MAX_CONFIG_ATTRIBUTES: usize = 256;

/// What is left of each limit while a chain is decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    proposals: usize,
    transforms: usize,
    transform_attributes: usize,
    selectors: usize,
    deleted_spis: usize,
    config_attributes: usize,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self {
            proposals: MAX_PROPOSALS,
            transforms: MAX_TRANSFORMS,
            transform_attributes: MAX_TRANSFORM_ATTRIBUTES,
            selectors: MAX_SELECTORS,
            deleted_spis: MAX_DELETED_SPIS,
            config_attributes: MAX_CONFIG_ATTRIBUTES,
        }
    }

    pub(super) fn proposal(&mut self) -> Result<(), Flaw> {
        spend(&mut self.proposals, "proposals", MAX_PROPOSALS)
    }

    pub(super) fn transform(&mut self) -> Result<(), Flaw> {
        spend(&mut self.transforms, "transforms", MAX_TRANSFORMS)
    }

    pub(super) fn transform_attribute(&mut self) -> Result<(), Flaw> {
        spend(&mut self.transform_attributes, "transform attributes", MAX_TRANSFORM_ATTRIBUTES)
    }

    pub(super) fn selector(&mut self) -> Result<(), Flaw> {
        spend(&mut self.selectors, "traffic selectors", MAX_SELECTORS)
    }

    pub(super) fn deleted_spi(&mut self) -> Result<(), Flaw> {
        spend(&mut self.deleted_spis, "deleted SPIs", MAX_DELETED_SPIS)
    }

    pub(super) fn config_attribute(&mut self) -> Result<(), Flaw> {
        spend(&mut self.config_attributes, "configuration attributes", MAX_CONFIG_ATTRIBUTES)
    }
}

fn spend(left: &mut usize, what: &'static str, limit: usize) -> Result<(), Flaw> {
    *left = left.checked_sub(1).ok_or(Flaw::TooMany { what, limit })?;
    Ok(())
}
