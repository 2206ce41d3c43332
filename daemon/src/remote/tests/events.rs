//! Events: from a real server, and from servers that send something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::roster::Role;

use super::script::{Answer, Script};
use super::{remote, run};
use crate::account::tests::scene::{Scene, session};
use crate::remote::events::{Events, Hint};
use crate::remote::{Deadlines, RemoteError, Token};
use crate::sharing::tests::newcomer;
use crate::sharing::{Outgoing, Shared};

/// Short, for a server that says nothing.
const SHORT: Deadlines = Deadlines {
    connect: Duration::from_secs(10),
    call: Duration::from_secs(10),
    idle: Duration::from_millis(300),
};
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// What comes of a stream that begins so, after the first hint.
fn told(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Result<Vec<Hint>, RemoteError> {
    let script = Script::play(move |_| answer());
    let mut events = remote(&script.url, SHORT).events();
    run(async {
        assert_eq!(events.next().await?, Hint::Everything);
        let mut hints = Vec::new();
        loop {
            match events.next().await {
                Ok(hint) => hints.push(hint),
                Err(_) if !hints.is_empty() => return Ok(hints),
                Err(error) => return Err(error),
            }
        }
    })
}

fn text(body: &'static str) -> impl Fn() -> Answer + Send + Sync + 'static {
    move || Answer::Bytes(format!("{HEAD}{body}").into())
}

async fn append(shared: &mut Shared<'_, '_>) {
    let record = shared.draft_content(Outgoing::default()).unwrap();
    shared.append_content(&record).await.unwrap();
}

/// Waits for a hint about this share.
async fn until_told_of(events: &mut Events, share: ShareId) {
    let told = async { while events.next().await.unwrap() != Hint::Share(share) {} };
    tokio::time::timeout(Duration::from_mins(1), told)
        .await
        .unwrap();
}

#[test]
fn a_member_hears_of_records_that_others_append() {
    let scene = Scene::new();
    let [alice, bob] = ["alice", "bob"].map(|user| scene.registered(user).0);
    let (alice, bob) = (session(&alice), session(&bob));
    let mut shared = run(Shared::create(&alice)).unwrap();
    let id = shared.id();
    run(shared.add(&newcomer(&alice, "bob", Role::Writer))).unwrap();
    run(async {
        let mut events = bob.remote().events();
        assert_eq!(events.next().await.unwrap(), Hint::Everything);
        append(&mut shared).await;
        until_told_of(&mut events, id).await;
    });
}

#[test]
fn what_happened_between_two_connections_is_heard_after_the_second() {
    let scene = Scene::new();
    let engine = scene.registered("alice").0;
    let alice = session(&engine);
    let mut shared = run(Shared::create(&alice)).unwrap();
    let id = shared.id();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    scene.meddle(move |seen, real| {
        let events = seen.path() == "/v1/events";
        let first = events && counted.fetch_add(1, Ordering::Relaxed) == 0;
        // One event, and the end of the connection.
        let cut =
            format!("{HEAD}id: 1\r\ndata: {{\"kind\":\"membership\",\"share\":\"{id}\"}}\r\n\r\n");
        (first)
            .then(|| Answer::Bytes(cut.into()))
            .or(events.then_some(Answer::Stream(real)))
    });
    run(async {
        let mut events = alice.remote().events();
        assert_eq!(events.next().await.unwrap(), Hint::Everything);
        assert_eq!(events.next().await.unwrap(), Hint::Membership(id));
        let error = events.next().await.unwrap_err();
        assert!(matches!(error, RemoteError::Broken { .. }), "{error:?}");
        append(&mut shared).await;
        assert_eq!(events.next().await.unwrap(), Hint::Everything);
        until_told_of(&mut events, id).await;
    });
    let seen = scene.script.seen();
    let mut asked = seen.iter().filter(|seen| seen.path() == "/v1/events");
    assert!(!asked.next().unwrap().head.contains("last-event-id"));
    assert!(asked.next().unwrap().head.contains("last-event-id: 1"));
}

#[test]
fn a_call_that_is_dropped_loses_no_hint() {
    let scene = Scene::new();
    let engine = scene.registered("alice").0;
    let alice = session(&engine);
    let mut shared = run(Shared::create(&alice)).unwrap();
    let id = shared.id();
    run(async {
        let mut events = alice.remote().events();
        assert_eq!(events.next().await.unwrap(), Hint::Everything);
        let nothing = tokio::time::timeout(Duration::from_millis(50), events.next());
        assert!(nothing.await.is_err());
        append(&mut shared).await;
        until_told_of(&mut events, id).await;
    });
}

#[test]
fn a_session_that_ended_is_told_as_such() {
    let scene = Scene::new();
    let other = remote(&scene.script.url, Deadlines::default());
    let token = Token::new("none-of-this-server".to_owned()).unwrap();
    let mut events = other.with_session(&token).events();
    let error = run(events.next()).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unauthenticated), "{error:?}");
}

#[test]
fn kinds_fields_and_comments_that_are_not_known_mean_no_harm() {
    let share = ShareId([0xab; 32]);
    let hints = told(move || {
        let body = format!(
            "{HEAD}: still here\n\nretry: 5\nevent: x\nid: 7\n\n\
             data: {{\"kind\":\"tea\",\"leaf\":1}}\r\n\r\n\
             data:{{\"kind\":\"share\",\ndata: \"share\":\"{share}\",\"new\":2}}\n\n\
             data: {{\"kind\":\"publication\"}}\n\ndata: {{\"kind\":\"account\"}}\n\n\
             data: {{\"kind\":\"reset\"}}\n\ndata: {{\"kind\":\"share\"}}"
        );
        Answer::Bytes(body.into())
    });
    let expected = [
        Hint::Everything,
        Hint::Share(share),
        Hint::Publications,
        Hint::Account,
        Hint::Everything,
    ];
    assert_eq!(hints.unwrap(), expected);
}

#[test]
fn what_is_no_event_ends_the_stream() {
    for body in [
        "data: tea\n\n",
        "data: []\n\n",
        "data: {\"kind\":7}\n\n",
        "data: {\"kind\":\"share\"}\n\n",
        "data: {\"kind\":\"share\",\"share\":\"../../etc\"}\n\n",
        "id: -1\n",
        "id: 99999999999999999999999\n",
        "data: \u{0}\n\n",
    ] {
        let error = told(text(body)).unwrap_err();
        assert!(
            matches!(error, RemoteError::Malformed { .. }),
            "{body} {error:?}"
        );
    }
}

#[test]
fn a_line_or_message_without_an_end_is_given_up_on() {
    for again in [&b"x"[..], b"data: 0123456789abcdef\n"] {
        let again = again.repeat(400);
        let error = told(move || Answer::Repeat(HEAD.into(), again.clone())).unwrap_err();
        assert!(matches!(error, RemoteError::TooLarge { .. }), "{error:?}");
    }
}

#[test]
fn a_stream_that_falls_silent_is_over() {
    for body in ["", ": still here\n\n", "data: {\"kind\""] {
        let error = told(move || Answer::Held(format!("{HEAD}{body}").into())).unwrap_err();
        assert!(matches!(error, RemoteError::TimedOut { .. }), "{error:?}");
    }
    let deadlines = Deadlines {
        call: Duration::from_millis(300),
        ..Deadlines::default()
    };
    let script = Script::play(|_| Answer::Silence);
    let error = run(remote(&script.url, deadlines).events().next()).unwrap_err();
    assert!(matches!(error, RemoteError::TimedOut { .. }), "{error:?}");
}

#[test]
fn a_reply_that_is_no_stream_is_malformed() {
    for reply in [
        Answer::Reply as fn(u16, Vec<u8>) -> Answer,
        |_, _| Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\ndata: 1".to_vec()),
        |_, _| Answer::Bytes(b"HTTP/1.1 204 Nothing\r\n\r\n".to_vec()),
    ] {
        let error = told(move || reply(200, b"{}".to_vec())).unwrap_err();
        assert!(matches!(error, RemoteError::Malformed { .. }), "{error:?}");
    }
    let error = told(|| Answer::Endless(500)).unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error:?}");
}
