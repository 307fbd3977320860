//! `rekey`: new keys now, and a word on how it went.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::client::Client;
use super::exit::{Exit, Failure};
use crate::platform::clock;
use crate::report::rekey::{Wish, Word, judge};
use crate::runtime::protocol::{Answer, Request, Status};

/// An exchange is repeated for three quarters of a minute before the peer counts as gone.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often the gateway is asked how far it is.
const PAUSE: Duration = Duration::from_millis(50);

/// Has the gateway rekey a tunnel, and waits for the end of it.
pub(super) fn rekey(socket: Option<PathBuf>, tunnel: &str, wish: Wish, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut client = Client::connect(socket)?;
    let before = status(&mut client)?;
    let request = Request::Rekey { tunnel: tunnel.to_owned(), children: wish.children, ike: wish.ike, pfs: wish.pfs };
    client.ask(&request)?;
    let end = clock::now() + PATIENCE;
    loop {
        let now = status(&mut client)?;
        match judge(tunnel, wish, &before, &now) {
            Word::Done(text) => {
                out.write_all(text.as_bytes())?;
                return Ok(Exit::Done);
            }
            Word::Refused(text) => return Err(Failure::Refused(text)),
            Word::NotYet if clock::now() < end => std::thread::sleep(PAUSE),
            Word::NotYet => {
                let text = format!("tunnel {tunnel}: no answer to the rekeying within a minute; what is in use stays");
                return Err(Failure::Refused(text));
            }
        }
    }
}

fn status(client: &mut Client) -> Result<Status, Failure> {
    match client.ask(&Request::Status {})? {
        (Answer::Status(status), _) => Ok(*status),
        _ => Err(Failure::Refused("the gateway answers something else than its status".to_owned())),
    }
}
