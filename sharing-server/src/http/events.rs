//! Events: hints, as a stream that ends with the session.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::IntoResponse;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::stream::unfold;
use keyfold_protocol::wire::{Event, EventKind};
use tokio::sync::watch::Receiver;

use super::call::Call;
use super::reply::Reply;
use crate::app::App;
use crate::cap::{Full, Place};
use crate::db::{accounts, events, sessions};
use crate::service::access::Caller;
use crate::service::{Failure, Outcome, Work};

/// How often events that another process noted are looked for, and whether the session is over.
const LOOK: Duration = Duration::from_secs(5);

/// Seconds after which somebody with too many streams may ask again.
const AGAIN: u64 = 60;

struct Stream {
    app: App,
    caller: Caller,
    last: u64,
    waiting: VecDeque<(u64, Event)>,
    bell: Receiver<u64>,
    _place: Place,
}

pub(super) async fn stream(app: &App, call: Call) -> Outcome<Reply> {
    let place = app.streams.take(&call.caller()?.root().0);
    let place = place.map_err(|full| match full {
        Full::InAll => Failure::Unavailable,
        Full::Each => Failure::TooOften(AGAIN),
    })?;
    // From here on the bell is heard, so nothing falls between looking and waiting.
    let bell = app.bell.subscribe();
    let caller = call.caller()?.clone();
    let root = caller.root();
    let now = app
        .read(move |work: &Work<'_>| Ok(accounts::by_root(work.tx, &root)?))
        .await?;
    let now = now.map_or(0, |account| account.last_event);
    let seen = call
        .headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let seen: Option<u64> = seen.and_then(|text| text.parse().ok());
    let stream = Stream {
        app: app.clone(),
        caller,
        last: seen.unwrap_or(now),
        waiting: VecDeque::new(),
        bell,
        _place: place,
    };
    let messages = unfold(stream, |mut stream| async move {
        let (number, event) = stream.next().await?;
        let data = serde_json::to_string(&event).unwrap_or_default();
        let message = Message::default().id(number.to_string()).data(data);
        Some((Ok::<_, Infallible>(message), stream))
    });
    let response = Sse::new(messages).keep_alive(KeepAlive::new().interval(LOOK * 3));
    Ok(Reply::Response(Box::new(response.into_response())))
}

impl Stream {
    /// The next event, as soon as there is one; none when the session or the server ends.
    async fn next(&mut self) -> Option<(u64, Event)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.last = event.0;
                return Some(event);
            }
            self.bell.mark_unchanged();
            self.look().await?;
            if !self.waiting.is_empty() {
                continue;
            }
            tokio::select! {
                () = self.app.ending.cancelled() => return None,
                _ = tokio::time::timeout(LOOK, self.bell.changed()) => {}
            }
        }
    }

    async fn look(&mut self) -> Option<()> {
        let (token, root, last) = (self.caller.session.token, self.caller.root(), self.last);
        let found = self.app.read(move |work: &Work<'_>| {
            let session = sessions::find(work.tx, token, work.now)?;
            let account = accounts::by_root(work.tx, &root)?;
            let newest = account.map_or(0, |account| account.last_event);
            Ok((session, newest, events::after(work.tx, &root, last)?))
        });
        let (session, newest, found) = found.await.ok()?;
        session?;
        let follows = found
            .first()
            .map_or(newest == last, |(first, _)| *first == last + 1);
        if !follows {
            // Some were forgotten, or the numbers are another database's.
            let reset = Event {
                kind: EventKind::Reset,
                share: None,
                request: None,
            };
            self.waiting.push_back((newest, reset));
            return Some(());
        }
        self.waiting.extend(found);
        Some(())
    }
}
