//! Why bytes are not an IKE message: one variant per reason. `Display` is one sentence for the log; it shows numbers
//! and never a byte string that the peer chose.
//!
//! Whoever refuses a message answers each of these with INVALID_SYNTAX or with silence (RFC 7296 §3.10.1); which of
//! the two is decided in `ike`.

use super::header::HEADER_LEN;
use super::limits::MAX_PAYLOADS;
use super::numbers::{PayloadType, ProtocolId, TsType};
use crate::wire::reader::Truncated;

/// Why bytes are not an IKE message or payload chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The datagram ends within the header.
    #[error("header: the datagram has {have} bytes, an IKE header has {HEADER_LEN}")]
    ShortHeader {
        /// The datagram's length.
        have: usize,
    },
    /// The header's length field and the datagram disagree.
    #[error("header: says that the message has {header} bytes, the datagram has {datagram}")]
    MessageLength {
        /// The header's length field.
        header: u32,
        /// The datagram's length.
        datagram: usize,
    },
    /// A generic payload header was announced and the bytes end before or within it.
    #[error("{payload} payload: announced, but only {left} bytes are left for its header")]
    NoPayloadHeader {
        /// The type that was announced.
        payload: PayloadType,
        /// How many bytes there were.
        left: usize,
    },
    /// A payload's length field is below the four bytes of its own header.
    #[error("{payload} payload: its length field says {length}, less than its own header")]
    PayloadTooShort {
        /// The payload.
        payload: PayloadType,
        /// Its length field.
        length: u16,
    },
    /// A payload goes past the end of the chain.
    #[error("{payload} payload: its length field says {length}, only {left} bytes are left")]
    PayloadTooLong {
        /// The payload.
        payload: PayloadType,
        /// Its length field.
        length: u16,
        /// How many bytes there were, its header included.
        left: usize,
    },
    /// The chain says that it is over and bytes follow.
    #[error("{left} bytes follow the last payload")]
    BytesAfterChain {
        /// How many.
        left: usize,
    },
    /// More payloads than [`MAX_PAYLOADS`].
    #[error("more than {MAX_PAYLOADS} payloads")]
    TooManyPayloads,
    /// Bytes follow an SK or SKF payload.
    #[error("{payload} payload: must be the last one, {left} bytes follow")]
    EncryptedNotLast {
        /// SK or SKF.
        payload: PayloadType,
        /// How many bytes follow.
        left: usize,
    },
    /// SK or SKF within SK or SKF.
    #[error("{payload} payload: stands inside an encrypted payload")]
    NestedEncrypted {
        /// SK or SKF.
        payload: PayloadType,
    },
    /// The decrypted content of SK or SKF is shorter than its padding says, or empty.
    #[error("SK payload: {have} decrypted bytes cannot hold the padding of {pad_length} and its length field")]
    Padding {
        /// The Pad Length field, 0 if there is none.
        pad_length: u8,
        /// How many bytes were decrypted.
        have: usize,
    },
    /// The body of one payload is wrong.
    #[error("{payload} payload: {flaw}")]
    Payload {
        /// Which payload.
        payload: PayloadType,
        /// What is wrong.
        flaw: Flaw,
    },
}

/// What is wrong within the body of one payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// A field goes past the end of what holds it.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// More of a counted thing than [`limits`](super::limits) allows.
    #[error("the message has more than {limit} {what}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// SA: no proposal at all.
    #[error("no proposal")]
    NoProposal,
    /// SA: a proposal's or transform's length field is below its own header.
    #[error("a {what} says it has {length} bytes, less than its own header")]
    SubstructureTooShort {
        /// `proposal`, `transform`, ..
        what: &'static str,
        /// Its length field.
        length: u16,
    },
    /// SA: the Last Substruc field is none of its values.
    #[error("a {what} has {value} in its Last Substruc field")]
    LastSubstruc {
        /// `proposal` or `transform`.
        what: &'static str,
        /// The field.
        value: u8,
    },
    /// SA: the Last Substruc field says "last" and more follow, or "more" and none follows.
    #[error("the Last Substruc field of a {what} contradicts where the bytes end")]
    LastSubstrucPlace {
        /// `proposal` or `transform`.
        what: &'static str,
    },
    /// SA: a proposal's count of transforms is not the number of transforms in it.
    #[error("a proposal says it has {said} transforms and has {counted}")]
    TransformCount {
        /// The count field.
        said: u8,
        /// How many there are.
        counted: usize,
    },
    /// Nonce: shorter than 16 or longer than 256 bytes.
    #[error("a nonce of {have} bytes, not of 16 to 256")]
    NonceLength {
        /// Its length.
        have: usize,
    },
    /// Delete: an SPI length that does not belong to the protocol.
    #[error("SPIs of {spi_size} bytes do not belong to protocol {protocol}")]
    DeleteSpiSize {
        /// The protocol.
        protocol: ProtocolId,
        /// The SPI Size field.
        spi_size: u8,
    },
    /// Delete: count times size is not what follows.
    #[error("{count} SPIs of {spi_size} bytes do not fill {have} bytes")]
    DeleteCount {
        /// The Num of SPIs field.
        count: u16,
        /// The SPI Size field.
        spi_size: u8,
        /// How many bytes follow.
        have: usize,
    },
    /// TS: no selector at all.
    #[error("no traffic selector")]
    NoSelector,
    /// TS: the count of selectors is not the number of selectors.
    #[error("says it has {said} selectors, {left} bytes follow them")]
    SelectorCount {
        /// The count field.
        said: u8,
        /// How many bytes were left when that many had been read.
        left: usize,
    },
    /// TS: a selector's length does not belong to its type.
    #[error("a selector of type {kind} says it has {length} bytes")]
    SelectorLength {
        /// Its type.
        kind: TsType,
        /// Its length field.
        length: u16,
    },
    /// SKF: a fragment number of zero, or above the total.
    #[error("fragment {number} of {total}")]
    FragmentNumber {
        /// The Fragment Number field.
        number: u16,
        /// The Total Fragments field.
        total: u16,
    },
}
