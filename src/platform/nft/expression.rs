//! The few words of nf_tables that our rules are made of, to the kernel and back.

use super::attribute::{Attributes, Message};

const LIST_ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const NF_DROP: u32 = 0;

/// What a rule looks at beside the packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    /// Name of the device it came in by.
    InputName = 6,
    /// Name of the device it goes out by.
    OutputName = 7,
    /// IP version, as the packet filter numbers them.
    Family = 15,
}

/// One expression of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads something about the packet.
    Load(Meta),
    /// Goes on if what was loaded equals these bytes.
    Equals(Vec<u8>),
    /// Goes on if it differs.
    Differs(Vec<u8>),
    /// Loads bytes of the IP header.
    Header { offset: u32, length: u32 },
    /// Goes on if what was loaded lies in the set.
    InSet(String),
    /// Counts.
    Count { packets: u64, bytes: u64 },
    /// Drops the packet.
    Drop,
    /// Something that we do not say.
    Foreign,
}

impl Expression {
    /// Appends the expression to a list of expressions.
    pub(super) fn write(&self, list: &mut Message) {
        let name = match self {
            Self::Load(_) => "meta",
            Self::Equals(_) | Self::Differs(_) => "cmp",
            Self::Header { .. } => "payload",
            Self::InSet(_) => "lookup",
            Self::Count { .. } => "counter",
            Self::Drop => "immediate",
            Self::Foreign => return,
        };
        list.nested(LIST_ELEMENT, |element| {
            element.text(NAME, name);
            element.nested(DATA, |data| self.write_data(data));
        });
    }

    fn write_data(&self, data: &mut Message) {
        match self {
            Self::Load(meta) => {
                data.number(1, REGISTER).number(2, *meta as u32);
            }
            Self::Equals(bytes) => compare(data, 0, bytes),
            Self::Differs(bytes) => compare(data, 1, bytes),
            Self::Header { offset, length } => {
                data.number(1, REGISTER).number(2, NETWORK_HEADER).number(3, *offset).number(4, *length);
            }
            Self::InSet(set) => {
                data.text(1, set).number(2, REGISTER);
            }
            Self::Count { packets, bytes } => {
                data.bytes(1, &bytes.to_be_bytes()).bytes(2, &packets.to_be_bytes());
            }
            Self::Drop => {
                data.number(1, VERDICT_REGISTER).nested(2, |data| {
                    data.nested(VERDICT, |verdict| {
                        verdict.number(1, NF_DROP);
                    });
                });
            }
            Self::Foreign => {}
        }
    }

    /// The expressions of a rule's list.
    pub(super) fn read_list(list: Attributes<'_>) -> Vec<Self> {
        list.list(LIST_ELEMENT).map(|element| Self::read(element).unwrap_or(Self::Foreign)).collect()
    }

    fn read(element: Attributes<'_>) -> Option<Self> {
        let data = element.nested(DATA)?;
        let on_register = |kind| data.number(kind) == Some(REGISTER);
        match element.text(NAME)? {
            "meta" if on_register(1) => match data.number(2)? {
                6 => Some(Self::Load(Meta::InputName)),
                7 => Some(Self::Load(Meta::OutputName)),
                15 => Some(Self::Load(Meta::Family)),
                _ => None,
            },
            "cmp" if on_register(1) => {
                let bytes = data.nested(3)?.get(VALUE)?.to_vec();
                match data.number(2)? {
                    0 => Some(Self::Equals(bytes)),
                    1 => Some(Self::Differs(bytes)),
                    _ => None,
                }
            }
            "payload" if on_register(1) && data.number(2) == Some(NETWORK_HEADER) => {
                Some(Self::Header { offset: data.number(3)?, length: data.number(4)? })
            }
            // A lookup with flags is one that is inverted.
            "lookup" if on_register(2) && data.number(5).unwrap_or(0) == 0 => {
                Some(Self::InSet(data.text(1)?.to_owned()))
            }
            "counter" => Some(Self::Count { packets: data.long(2)?, bytes: data.long(1)? }),
            "immediate" if data.number(1) == Some(VERDICT_REGISTER) => {
                let code = data.nested(2)?.nested(VERDICT)?.number(1)?;
                (code == NF_DROP).then_some(Self::Drop)
            }
            _ => None,
        }
    }
}

fn compare(message: &mut Message, operator: u32, bytes: &[u8]) {
    message.number(1, REGISTER).number(2, operator);
    message.nested(3, |data| {
        data.bytes(VALUE, bytes);
    });
}
