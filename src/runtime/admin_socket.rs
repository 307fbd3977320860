//! The control socket: a Unix socket of mode 0600 that answers the gateway's own user and root, nobody else.
//!
//! One JSON object a line each way (`protocol`). A connection is bounded in line length, in number and in time.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use super::protocol::{Answer, Request};

/// Longest request line: every request of the protocol fits many times over.
pub const MAX_LINE: usize = 64 * 1024;
/// Connections at a time; a monitor holds one for as long as it listens.
const MAX_CONNECTIONS: usize = 64;
/// A client that connects must ask within this time.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// A request on its way to the control loop, with the way back.
pub(super) struct Call {
    pub(super) request: Request,
    /// The user who asks.
    pub(super) caller: u32,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The bound socket; the file is removed when this is dropped.
pub(super) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Binds `path`, taking the place of a socket that nobody listens on any more.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("another gateway answers on {}", path.display()),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(_) => {}
        }
        // Bound under a private name and renamed, so that it is never there with a wider mode.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&draft, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves connections until the task is dropped.
    pub(super) async fn serve(self, calls: mpsc::Sender<Call>, events: broadcast::Sender<Arc<str>>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control socket: accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (calls, events) = (calls.clone(), events.clone());
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = converse(stream, calls, events).await {
                    tracing::debug!(%error, "control socket: connection ended");
                }
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One request a line until the client hangs up.
async fn converse(
    stream: UnixStream,
    calls: mpsc::Sender<Call>,
    events: broadcast::Sender<Arc<str>>,
) -> io::Result<()> {
    let caller = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    if caller != 0 && caller != nix::unistd::geteuid().as_raw() {
        return send(&mut write, &refused("this socket answers root and the gateway's own user only")).await;
    }
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let count = tokio::time::timeout(REQUEST_TIME, (&mut read).take(limit).read_until(b'\n', &mut line)).await??;
        if count == 0 {
            return Ok(());
        }
        let request = match parse_request(&line) {
            Ok(request) => request,
            Err(error) => return send(&mut write, &refused(&error)).await,
        };
        if matches!(request, Request::Monitor {}) {
            let mut events = events.subscribe();
            send(&mut write, &Answer::Done { ok: true }).await?;
            return monitor(&mut read, &mut write, &mut events).await;
        }
        let (answer, answered) = oneshot::channel();
        if calls.send(Call { request, caller, answer }).await.is_err() {
            return send(&mut write, &refused("the gateway is shutting down")).await;
        }
        let answer = answered.await.unwrap_or_else(|_| refused("the gateway is shutting down"));
        send(&mut write, &answer).await?;
    }
}

/// Events until the client hangs up. One that reads too slowly is told how many it missed.
async fn monitor(
    read: &mut (impl AsyncReadExt + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
    events: &mut broadcast::Receiver<Arc<str>>,
) -> io::Result<()> {
    let mut byte = [0];
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(line) => write.write_all(line.as_bytes()).await?,
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    write.write_all(format!("{{\"event\":\"missed\",\"count\":{count}}}\n").as_bytes()).await?;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            gone = read.read(&mut byte) => if gone? == 0 { return Ok(()) },
        }
    }
}

fn refused(error: &str) -> Answer {
    Answer::Refused { error: error.to_owned() }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Decodes one line; the error is a sentence for the client.
pub fn parse_request(line: &[u8]) -> Result<Request, String> {
    if !line.ends_with(b"\n") && line.len() >= MAX_LINE {
        return Err(format!("a request has at most {MAX_LINE} bytes"));
    }
    let sentence = |error: serde_json::Error| format!("not a request: {error}");
    let request = serde_json::from_slice(line).map_err(sentence)?;
    // `serde` also takes a list for an object whose members come in the right order, and an object for a word.
    let (read, written) = (serde_json::from_slice(line).map_err(sentence)?, serde_json::to_value(&request));
    let same = written.is_ok_and(|written| is_written_so(&read, &written));
    same.then_some(request).ok_or_else(|| "not a request: a list for an object, or an object for a word".to_owned())
}

/// Whether a value has the form of another; what is missing there says nothing here.
fn is_written_so(value: &Value, form: &Value) -> bool {
    match (value, form) {
        (Value::Object(members), Value::Object(forms)) => members.iter().all(|(name, value)| match forms.get(name) {
            Some(form) => is_written_so(value, form),
            None => matches!(value, Value::Null | Value::Bool(false)) || value.as_array().is_some_and(Vec::is_empty),
        }),
        (Value::Array(values), Value::Array(forms)) => {
            values.len() == forms.len() && values.iter().zip(forms).all(|(value, form)| is_written_so(value, form))
        }
        _ => std::mem::discriminant(value) == std::mem::discriminant(form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_operations_and_fields_are_refused_with_a_sentence() {
        assert_eq!(parse_request(b"{\"op\":\"status\"}\n"), Ok(Request::Status {}));
        assert_eq!(parse_request(b"{\"op\":\"up\",\"tunnel\":\"cbp\"}\n"), Ok(Request::Up { tunnel: "cbp".into() }));
        assert!(parse_request(b"{\"op\":\"explode\"}\n").unwrap_err().contains("not a request"));
        assert!(parse_request(b"{\"op\":\"up\",\"tunnel\":\"cbp\",\"force\":true}\n").is_err());
        for op in ["status", "reload", "monitor"] {
            let line = format!("{{\"op\":\"{op}\",\"tunnel\":\"cbp\"}}\n");
            assert!(parse_request(line.as_bytes()).is_err(), "{op} names no tunnel");
        }
        assert!(parse_request(b"\xff\xfe\n").is_err());
        assert!(parse_request(&vec![b' '; MAX_LINE]).unwrap_err().contains("at most"));
    }

    #[test]
    fn a_request_is_an_object_with_named_members_and_so_is_what_stands_in_it() {
        for list in [r#"["policy"]"#, r#"["up","cbp"]"#, "\t[\"agreements\",null]", r#""status""#, "[]"] {
            assert!(parse_request(list.as_bytes()).unwrap_err().starts_with("not a request"), "{list}");
        }
        let wish = |wish: &str| {
            let line = format!("{{\"op\":\"agreement\",\"name\":\"cbp\",\"wish\":{wish}}}\n");
            parse_request(line.as_bytes()).map(|_| ())
        };
        assert_eq!(wish(r#"{"act":"activate","authorisation":null,"trust_clock":false}"#), Ok(()), "and says nothing");
        assert!(wish(r#"["activate","so it is",true]"#).is_err());
        let evidence = |file: &str| wish(&format!(r#"{{"act":"resume","evidence":[{file}]}}"#));
        let digest = format!("sha256:{}", "5a".repeat(32));
        assert_eq!(evidence(&format!(r#"{{"file":"log","size":7,"digest":"{digest}"}}"#)), Ok(()));
        assert!(evidence(&format!(r#"["log",7,"{digest}"]"#)).is_err());
        assert_eq!(wish(r#"{"act":"terminate","effective":"now"}"#), Ok(()));
        assert!(wish(r#"{"act":"terminate","effective":{"now":null}}"#).is_err(), "an object for a word");
    }

    #[tokio::test]
    async fn a_live_socket_is_not_taken_over_and_a_dead_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let first = AdminSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = AdminSocket::bind(&path).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        std::mem::forget(std::mem::replace(&mut { first }.path, PathBuf::from("/nonexistent")));
        // The listener is gone but its file stays, as after SIGKILL.
        assert!(path.exists());
        AdminSocket::bind(&path).unwrap();
    }
}
