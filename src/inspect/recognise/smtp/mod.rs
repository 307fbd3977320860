//! Mail: the server speaks first, then commands and answers (RFC 5321), STARTTLS (RFC 3207), and on port 465 TLS from the first
//! byte (RFC 8314). Where the rule requires TLS nothing of a mail may be said before it.
//!
//! Commands may be sent ahead of their answers (RFC 2920), so it is counted how many are open: an answer is that to the last one
//! when none is left. Left out: who writes to whom, and the mail itself.

mod command;
mod reply;

use super::tls::Tls;
use super::{Listener, Speaker};
use crate::event::DropReason;
use crate::policy::inspection::{Names, SmtpLimits, Wrapping};
use command::{Commands, Heard};
use reply::{Expected, Reply};

/// RFC 8314 §3.3: where mail is submitted in TLS from the first byte.
const SUBMISSIONS: u16 = 465;
/// More commands than this are never sent ahead: what a window of TCP holds of the shortest ones is less.
const AHEAD: u16 = 4096;

/// What is remembered of a mail flow.
#[derive(Clone, Debug)]
pub(super) enum Smtp {
    /// Commands and answers.
    Bare(Conversation),
    /// TLS, from its first record on.
    Wrapped(Tls),
}

/// Commands and answers in the clear.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    commands: Commands,
    reply: Reply,
    /// Whether the port wants TLS from the first byte.
    implicit: bool,
    /// Answers that are to come.
    open: u16,
    /// What the last command waits for.
    waits: Waits,
    /// Whether the server has greeted.
    greeted: bool,
    /// Whether the client has greeted, and was welcome.
    welcome: bool,
}

/// What stands at the end of the commands that were sent ahead: behind these the client has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// For nothing: any command may follow.
    No,
    Hello,
    StartTls,
    Auth,
    Data,
}

impl Smtp {
    pub(super) fn new(port: u16) -> Self {
        Self::Bare(Conversation {
            commands: Commands::default(),
            reply: Reply::default(),
            implicit: port == SUBMISSIONS,
            open: 1,
            waits: Waits::No,
            greeted: false,
            welcome: false,
        })
    }
}

impl Listener for Smtp {
    type Limits = SmtpLimits;

    fn byte(&mut self, limits: &SmtpLimits, speaker: Speaker, byte: u8) -> Result<(), DropReason> {
        let conversation = match self {
            Self::Wrapped(tls) => return tls.hear(&limits.handshake, &Names::default(), speaker, byte),
            Self::Bare(conversation) if conversation.implicit => {
                if limits.wrapping == Wrapping::Refused {
                    return Err(DropReason::TlsRefused);
                }
                let mut tls = Tls::new();
                tls.hear(&limits.handshake, &Names::default(), speaker, byte)?;
                *self = Self::Wrapped(tls);
                return Ok(());
            }
            Self::Bare(conversation) => conversation,
        };
        match speaker {
            Speaker::Opener => conversation.command(limits, byte),
            Speaker::Responder => {
                if conversation.answer(byte)? {
                    *self = Self::Wrapped(Tls::new());
                }
                Ok(())
            }
        }
    }

    fn unheard(&self, speaker: Speaker) -> u64 {
        match (self, speaker) {
            (Self::Wrapped(tls), _) => tls.unheard(speaker),
            (Self::Bare(conversation), Speaker::Opener) => conversation.commands.unheard(),
            (Self::Bare(_), Speaker::Responder) => 0,
        }
    }

    fn skip(&mut self, speaker: Speaker, count: u64) {
        match (self, speaker) {
            (Self::Wrapped(tls), _) => tls.skip(speaker, count),
            (Self::Bare(conversation), Speaker::Opener) => conversation.commands.skip(count),
            (Self::Bare(_), Speaker::Responder) => {}
        }
    }

    fn settled(&self) -> bool {
        match self {
            Self::Wrapped(tls) => tls.settled(),
            Self::Bare(conversation) => conversation.welcome,
        }
    }
}

impl Conversation {
    /// A byte of the client's.
    fn command(&mut self, limits: &SmtpLimits, byte: u8) -> Result<(), DropReason> {
        // RFC 5321 §3.1: the client waits for the greeting. RFC 2920 §3.1: behind some commands it waits for the answer.
        if !self.greeted || self.waits != Waits::No {
            return Err(DropReason::SpokeFirst);
        }
        let Some(heard) = self.commands.byte(limits.wrapping, byte)? else { return Ok(()) };
        self.waits = match heard {
            Heard::Hello => Waits::Hello,
            Heard::StartTls => Waits::StartTls,
            Heard::Auth => Waits::Auth,
            Heard::Data => Waits::Data,
            Heard::Other => Waits::No,
        };
        self.open += 1;
        if self.open > AHEAD { Err(DropReason::SmtpCommand) } else { Ok(()) }
    }

    /// A byte of the server's. `true`: TLS begins behind it.
    fn answer(&mut self, byte: u8) -> Result<bool, DropReason> {
        let expected = match (self.greeted, self.open) {
            (false, _) => Expected::Greeting,
            (true, 0) => Expected::Goodbye,
            (true, _) => Expected::Any,
        };
        let Some(code) = self.reply.byte(byte, expected)? else { return Ok(false) };
        // What nobody asked for is a goodbye.
        self.open = self.open.saturating_sub(1);
        if !self.greeted {
            self.greeted = true;
            return Ok(false);
        }
        if self.open > 0 {
            return Ok(false);
        }
        let waited = std::mem::replace(&mut self.waits, Waits::No);
        match (waited, code) {
            (Waits::Hello, 200..=299) => self.welcome = true,
            (Waits::StartTls, 220) => return Ok(true),
            // RFC 4954 §4: a challenge, which is answered with a line of base64.
            (Waits::Auth, 334) => self.commands.expect_response(),
            (Waits::Data, 354) => self.commands.expect_mail(),
            _ => {}
        }
        Ok(false)
    }
}
