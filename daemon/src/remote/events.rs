//! The stream of events: hints where to look, and nothing of what is there.
//!
//! A hint is believed in nothing: it only says that a look may be worth while, and a server that gives
//! none delays what others changed until the next look that needs no hint. The stream is of lines; what
//! of them is kept has a bound, and a stream that says nothing for too long, not even that it is still
//! there, is over.

use keyfold_protocol::ids::{RequestHash, ShareId};
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{Event, EventKind};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Call, Remote, RemoteError};

/// Bytes of the longest line, and of the longest message.
const LONGEST: usize = 4 << 10;

/// Where something may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Anywhere: hints may have been missed. The first after each connecting is this.
    Everything,
    /// A share has another head, or another state.
    Share(ShareId),
    /// The account became a member of the share, or is none any more.
    Membership(ShareId),
    /// What is offered to the account.
    Publications,
    /// A request to or by the account stands otherwise.
    Request(RequestHash),
    /// The account: chain, book, devices.
    Account,
}

/// The events of an account, from one connection to the next.
#[derive(Debug)]
pub(crate) struct Events {
    remote: Remote,
    /// The number of the last event.
    last: Option<u64>,
    stream: Option<Stream>,
}

/// A connection that brings events.
#[derive(Debug)]
struct Stream {
    response: Response,
    /// Bytes that came and were not taken apart yet.
    bytes: Vec<u8>,
    /// Up to where they were looked at.
    taken: usize,
    message: Message,
}

/// A message in the making.
#[derive(Debug, Default)]
struct Message {
    id: Option<u64>,
    data: Vec<u8>,
}

/// A line or message that is none.
enum Odd {
    TooLong,
    Malformed,
}

impl Remote {
    /// Events of the session's account from now on. Connects to nothing yet.
    pub(crate) fn events(&self) -> Events {
        Events {
            remote: self.clone(),
            last: None,
            stream: None,
        }
    }
}

impl Events {
    /// The next hint, as soon as there is one. Connects where there is no connection, and says that
    /// with [`Hint::Everything`].
    ///
    /// After an error there is none any more: the next call connects again, and goes on where the last
    /// event was. How long to wait before that is for the caller to say. A call that is dropped
    /// loses no hint.
    pub(crate) async fn next(&mut self) -> Result<Hint, RemoteError> {
        let Some(stream) = &mut self.stream else {
            self.stream = Some(self.connect().await?);
            return Ok(Hint::Everything);
        };
        match stream.next(&self.remote).await {
            Ok((id, hint)) => {
                self.last = id.or(self.last);
                Ok(hint)
            }
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Stream, RemoteError> {
        let remote = &self.remote;
        let call = Call {
            route: Route::Events,
            path: Route::Events.path(&[]),
            body: Vec::new(),
            range: None,
        };
        let mut request = remote.request_of(&call);
        if let Some(last) = self.last {
            request = request.header("Last-Event-ID", last.to_string());
        }
        let deadline = Instant::now() + remote.deadlines.call;
        let late = |_| remote.timed_out(Route::Events);
        let sent = timeout_at(deadline, request.send()).await.map_err(late)?;
        let response = sent.map_err(|e| remote.transport(Route::Events, &e))?;
        if !response.status().is_success() {
            let refused = timeout_at(deadline, remote.take(Route::Events, response));
            refused.await.map_err(late)??;
            return Err(remote.malformed(Route::Events));
        }
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.map_or(&b""[..], |kind| kind.as_bytes());
        if !kind.starts_with(b"text/event-stream") {
            return Err(remote.malformed(Route::Events));
        }
        Ok(Stream {
            response,
            bytes: Vec::new(),
            taken: 0,
            message: Message::default(),
        })
    }
}

impl Stream {
    async fn next(&mut self, remote: &Remote) -> Result<(Option<u64>, Hint), RemoteError> {
        loop {
            match self.take_message() {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                Err(Odd::TooLong) => return Err(remote.too_large(Route::Events)),
                Err(Odd::Malformed) => return Err(remote.malformed(Route::Events)),
            }
            let more = timeout(remote.deadlines.idle, self.response.chunk()).await;
            let more = more.map_err(|_| remote.timed_out(Route::Events))?;
            match more.map_err(|e| remote.transport(Route::Events, &e))? {
                Some(more) => self.bytes.extend_from_slice(&more),
                None => {
                    return Err(RemoteError::Broken {
                        server: remote.address.to_string(),
                        why: "the stream of events ended".to_owned(),
                    });
                }
            }
        }
    }

    /// The next message of what came; none where more is needed.
    fn take_message(&mut self) -> Result<Option<(Option<u64>, Hint)>, Odd> {
        while let Some(length) = self.bytes[self.taken..].iter().position(|b| *b == b'\n') {
            let line = self.taken..self.taken + length;
            self.taken = line.end + 1;
            let line = &self.bytes[line];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > LONGEST {
                return Err(Odd::TooLong);
            }
            if !line.is_empty() {
                self.message.take_line(line)?;
                continue;
            }
            let message = std::mem::take(&mut self.message);
            if !message.data.is_empty() {
                return Ok(Some((message.id, hint(&message.data)?)));
            }
        }
        self.bytes.drain(..self.taken);
        self.taken = 0;
        if self.bytes.len() > LONGEST {
            return Err(Odd::TooLong);
        }
        Ok(None)
    }
}

impl Message {
    fn take_line(&mut self, line: &[u8]) -> Result<(), Odd> {
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"id" => {
                let text = std::str::from_utf8(value).map_err(|_| Odd::Malformed)?;
                self.id = Some(text.parse().map_err(|_| Odd::Malformed)?);
            }
            b"data" => {
                if self.data.len() + value.len() > LONGEST {
                    return Err(Odd::TooLong);
                }
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            // A comment says that the stream is there; other fields mean nothing here.
            _ => {}
        }
        Ok(())
    }
}

fn hint(data: &[u8]) -> Result<Hint, Odd> {
    let value: serde_json::Value = serde_json::from_slice(data).map_err(|_| Odd::Malformed)?;
    let kind = value.get("kind").ok_or(Odd::Malformed)?;
    if serde_json::from_value::<EventKind>(kind.clone()).is_err() {
        // Of a newer server: something changed, and what is not known here.
        let known_form = kind.is_string();
        return known_form.then_some(Hint::Everything).ok_or(Odd::Malformed);
    }
    let event: Event = serde_json::from_value(value).map_err(|_| Odd::Malformed)?;
    let share = event.share.ok_or(Odd::Malformed);
    Ok(match event.kind {
        EventKind::Share => Hint::Share(share?),
        EventKind::Membership => Hint::Membership(share?),
        EventKind::Publication => Hint::Publications,
        EventKind::Request => Hint::Request(event.request.ok_or(Odd::Malformed)?),
        EventKind::Account => Hint::Account,
        EventKind::Reset => Hint::Everything,
    })
}
