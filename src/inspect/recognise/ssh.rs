//! SSH 2: the banner of each side, its KEXINIT, and which ciphers come out of the two (RFC 4253 §4.2, §6, §7.1); then the frames
//! of the key exchange up to NEWKEYS. Behind that everything is encrypted: whether it is SFTP, a shell or a forwarded port
//! cannot be seen.

use super::name::Heard;
use super::{FOR_EVER, Listener, Speaker};
use crate::event::DropReason;
use crate::policy::inspection::SshLimits;

/// RFC 4253 §4.2: "The maximum length of the string is 255 characters, including the Carriage Return and Line Feed."
const BANNER: u32 = 255;
const VERSION: &[u8] = b"SSH-2.0-";
/// RFC 4253 §6.1: what every implementation must take, counted with the length itself.
const PACKET: u32 = 35_000;
/// The most ciphers in one list: no implementation has half as many.
const CIPHERS: usize = 32;
/// RFC 4253 §7.1: ten lists of names; the third and fourth are the ciphers each way.
const LISTS: u8 = 10;
const FIRST_CIPHERS: u8 = 2;

const MSG_KEXINIT: u8 = 20;
const MSG_NEWKEYS: u8 = 21;
/// RFC 4250 §4.1.2: numbers that belong to the method of the key exchange.
const METHOD_FIRST: u8 = 30;
const METHOD_LAST: u8 = 49;

/// What is remembered of an SSH flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Ssh {
    opener: Side,
    responder: Side,
    /// Whether the ciphers were judged, from the client to the server and back.
    judged: [bool; 2],
}

/// Where a side is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Banner,
    /// Behind its CR, which nothing but LF may follow.
    Return,
    PacketLength,
    PaddingLength,
    Message,
    Cookie,
    ListLength,
    List,
    /// `first_kex_packet_follows` and the reserved word.
    Tail,
    /// The rest of a packet, which is not judged.
    Rest,
    Sealed,
}

/// One direction.
#[derive(Clone, Debug, Default)]
struct Side {
    stage: Stage,
    /// How much of the stage was heard.
    at: u32,
    value: u32,
    /// What is left of the packet behind its length.
    packet: u32,
    padding: u32,
    /// What is left of a list.
    left: u32,
    list: u8,
    kexinit: bool,
    /// Whether it has said something of the method: every one has words of both sides.
    exchanged: bool,
    newkeys: bool,
    name: Heard,
    known: bool,
    hash: u32,
    ciphers: [List; 2],
}

/// The ciphers of one direction in a side's order: a hash of each, and whether the rule names it. Two names may have one
/// hash; then an agreement is seen where there is none, which refuses a flow that has no right to be understood.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    hashes: [u32; CIPHERS],
    /// A bit for each that the rule names.
    named: u32,
    len: u8,
    whole: bool,
}

impl List {
    fn push(&mut self, hash: u32, named: bool) -> bool {
        let place = usize::from(self.len);
        let Some(slot) = self.hashes.get_mut(place) else { return false };
        *slot = hash;
        self.named |= u32::from(named) << place;
        self.len += 1;
        true
    }

    fn names(&self) -> &[u32] {
        self.hashes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// RFC 4253 §7.1: "The chosen encryption algorithm to each direction MUST be the first algorithm on the client's
    /// name-list that is also on the server's name-list."
    fn agrees_with(&self, server: &Self) -> bool {
        let chosen = self.names().iter().position(|name| server.names().contains(name));
        chosen.is_some_and(|place| self.named >> place & 1 == 1)
    }
}

impl Ssh {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn side(&self, speaker: Speaker) -> &Side {
        match speaker {
            Speaker::Opener => &self.opener,
            Speaker::Responder => &self.responder,
        }
    }

    fn side_mut(&mut self, speaker: Speaker) -> &mut Side {
        match speaker {
            Speaker::Opener => &mut self.opener,
            Speaker::Responder => &mut self.responder,
        }
    }

    /// As soon as both sides have named their ciphers for a direction, it is known which one it will be.
    fn judge(&mut self) -> Result<(), DropReason> {
        let pairs = self.opener.ciphers.iter().zip(&self.responder.ciphers);
        for ((client, server), judged) in pairs.zip(&mut self.judged) {
            if client.whole && server.whole && !*judged {
                *judged = true;
                if !client.agrees_with(server) {
                    return Err(DropReason::SshCipher);
                }
            }
        }
        Ok(())
    }
}

impl Listener for Ssh {
    type Limits = SshLimits;

    fn byte(&mut self, limits: &SshLimits, speaker: Speaker, byte: u8) -> Result<(), DropReason> {
        self.side_mut(speaker).byte(limits, byte)?;
        self.judge()
    }

    fn unheard(&self, speaker: Speaker) -> u64 {
        let side = self.side(speaker);
        match side.stage {
            // What follows NEWKEYS is encrypted; but as long as the ciphers were not judged the other side is awaited.
            Stage::Sealed => FOR_EVER,
            Stage::Rest => side.packet.into(),
            _ => 0,
        }
    }

    fn skip(&mut self, speaker: Speaker, count: u64) {
        let side = self.side_mut(speaker);
        if side.stage == Stage::Rest {
            side.packet = side.packet.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
            side.end_of_packet();
        }
    }

    fn settled(&self) -> bool {
        self.judged == [true; 2] && self.opener.newkeys && self.responder.newkeys
    }
}

impl Side {
    fn byte(&mut self, limits: &SshLimits, byte: u8) -> Result<(), DropReason> {
        if !matches!(self.stage, Stage::Banner | Stage::Return | Stage::PacketLength) {
            self.packet = self.packet.checked_sub(1).ok_or(DropReason::SshKexinit)?;
        }
        self.value = self.value << 8 | u32::from(byte);
        self.at += 1;
        match self.stage {
            Stage::Banner => return self.banner(byte),
            Stage::Return if byte == b'\n' && self.at <= BANNER => self.enter(Stage::PacketLength),
            Stage::Return => return Err(DropReason::NotSsh),
            Stage::PacketLength => return self.packet_length(),
            Stage::PaddingLength => {
                self.padding = byte.into();
                // RFC 4253 §6: "There MUST be at least four bytes of padding." A message has one byte at least.
                if self.padding < 4 || self.padding + 1 > self.packet {
                    return Err(DropReason::SshKexinit);
                }
                self.enter(Stage::Message);
            }
            Stage::Message => self.message(byte)?,
            Stage::Cookie if self.at == 16 => self.enter(Stage::ListLength),
            Stage::ListLength if self.at == 4 => self.begin_list(limits)?,
            Stage::List => self.list(limits, byte)?,
            // RFC 4253 §7.1: the last word is reserved and 0.
            Stage::Tail if self.at > 1 && byte != 0 => return Err(DropReason::SshKexinit),
            Stage::Tail if self.at == 5 => {
                // Nothing but the padding is left.
                if self.packet != self.padding {
                    return Err(DropReason::SshKexinit);
                }
                self.enter(Stage::Rest);
            }
            Stage::Cookie | Stage::ListLength | Stage::Tail | Stage::Rest | Stage::Sealed => {}
        }
        self.end_of_packet();
        Ok(())
    }

    fn enter(&mut self, stage: Stage) {
        (self.stage, self.at, self.value) = (stage, 0, 0);
    }

    fn banner(&mut self, byte: u8) -> Result<(), DropReason> {
        let place = self.at as usize - 1;
        if let Some(letter) = VERSION.get(place) {
            return match () {
                () if byte == *letter => Ok(()),
                // RFC 4253 §5.1: "1.99" is a server that speaks 1 as well.
                () if place > 3 => Err(DropReason::SshVersion),
                () => Err(DropReason::NotSsh),
            };
        }
        if self.at > BANNER {
            return Err(DropReason::NotSsh);
        }
        match byte {
            b'\r' => self.stage = Stage::Return,
            // Old servers leave the CR out, and everybody takes that.
            b'\n' => self.enter(Stage::PacketLength),
            b' '..=b'~' => {}
            _ => return Err(DropReason::NotSsh),
        }
        Ok(())
    }

    fn packet_length(&mut self) -> Result<(), DropReason> {
        let missing = 4_u32.saturating_sub(self.at);
        if u64::from(self.value) << (8 * missing) > u64::from(PACKET - 4) {
            return Err(DropReason::SshKexinit);
        }
        if missing == 0 {
            // RFC 4253 §6: length, padding length, payload and padding are a multiple of 8, and 16 at least.
            if self.value < 12 || !(self.value + 4).is_multiple_of(8) {
                return Err(DropReason::SshKexinit);
            }
            self.packet = self.value;
            self.enter(Stage::PaddingLength);
        }
        Ok(())
    }

    /// RFC 4253 §7.1: after KEXINIT only 1 to 19 but for two of them, 21 and the method's own 30 to 49 may follow, until NEWKEYS.
    fn message(&mut self, byte: u8) -> Result<(), DropReason> {
        let legal = match byte {
            MSG_KEXINIT => !self.kexinit,
            // DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG
            1..=4 => true,
            METHOD_FIRST..=METHOD_LAST => self.kexinit,
            // RFC 4253 §7.3: key exchange ends by it; it is this byte alone.
            MSG_NEWKEYS => self.exchanged && self.packet == self.padding,
            _ => false,
        };
        if !legal {
            return Err(DropReason::SshKexinit);
        }
        self.exchanged |= matches!(byte, METHOD_FIRST..=METHOD_LAST);
        self.newkeys = byte == MSG_NEWKEYS;
        if byte == MSG_KEXINIT {
            self.kexinit = true;
            self.enter(Stage::Cookie);
        } else {
            self.enter(Stage::Rest);
        }
        Ok(())
    }

    /// The list of ciphers that is being heard, if it is one.
    fn ciphers(&mut self) -> Option<&mut List> {
        let place = self.list.checked_sub(FIRST_CIPHERS)?;
        self.ciphers.get_mut(usize::from(place))
    }

    fn begin_list(&mut self, limits: &SshLimits) -> Result<(), DropReason> {
        self.left = self.value;
        // The list and what has to come behind it fit the packet.
        if self.left.saturating_add(self.padding) > self.packet {
            return Err(DropReason::SshKexinit);
        }
        self.enter(Stage::List);
        self.begin_name();
        if self.left == 0 { self.end_of_list(limits) } else { Ok(()) }
    }

    fn begin_name(&mut self) {
        (self.name, self.known, self.hash) = (Heard::begin(), true, 0x811c_9dc5);
    }

    fn list(&mut self, limits: &SshLimits, byte: u8) -> Result<(), DropReason> {
        self.left = self.left.saturating_sub(1);
        match byte {
            b',' => self.end_of_name(limits)?,
            // RFC 4251 §5, §6: printable US-ASCII.
            b'!'..=b'~' => {
                // FNV-1a.
                self.hash = (self.hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
                self.known = self.known && self.name.letter(&limits.ciphers, byte);
            }
            _ => return Err(DropReason::SshKexinit),
        }
        if self.left == 0 { self.end_of_list(limits) } else { Ok(()) }
    }

    fn end_of_name(&mut self, limits: &SshLimits) -> Result<(), DropReason> {
        // RFC 4251 §5: "A name MUST have a non-zero length".
        if self.name.is_blank() {
            return Err(DropReason::SshKexinit);
        }
        let named = self.known && self.name.end(&limits.ciphers);
        let hash = self.hash;
        if let Some(list) = self.ciphers()
            && !list.push(hash, named)
        {
            return Err(DropReason::SshKexinit);
        }
        self.begin_name();
        Ok(())
    }

    fn end_of_list(&mut self, limits: &SshLimits) -> Result<(), DropReason> {
        if self.at > 0 {
            self.end_of_name(limits)?;
        }
        if let Some(list) = self.ciphers() {
            list.whole = true;
        }
        self.list += 1;
        self.enter(if self.list < LISTS { Stage::ListLength } else { Stage::Tail });
        Ok(())
    }

    fn end_of_packet(&mut self) {
        if self.stage == Stage::Rest && self.packet == 0 {
            self.enter(if self.newkeys { Stage::Sealed } else { Stage::PacketLength });
        }
    }
}
