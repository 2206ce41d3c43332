//! The client against servers that are silent, endless, malformed, or say no.

mod events;
pub(crate) mod script;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::Seq;
use keyfold_protocol::names::UserName;
use keyfold_protocol::wire::{KdfParameters, Key, PullQuery, SetPassword};

use self::script::{Answer, Script, Seen};
use super::{Deadlines, Remote, RemoteError, Server, Token};

/// Short, for a server that never answers.
const SHORT: Deadlines = Deadlines {
    connect: Duration::from_secs(10),
    call: Duration::from_millis(400),
    idle: Duration::from_secs(10),
};

fn remote(url: &str, deadlines: Deadlines) -> Remote {
    let server = Server {
        address: url.parse().unwrap(),
        ca: None,
    };
    Remote::new(&server, deadlines).unwrap()
}

/// Runs something of the client to its end.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn alice() -> UserName {
    "alice".parse().unwrap()
}

/// What the client makes of an answer to a question about parameters.
fn asked(play: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (RemoteError, usize) {
    let script = Script::play(play);
    let remote = remote(&script.url, Deadlines::default());
    let error = run(remote.login_parameters(&alice())).unwrap_err();
    (error, script.seen().len())
}

#[test]
fn a_silent_server_is_given_up_on() {
    let script = Script::play(|_| Answer::Silence);
    let remote = remote(&script.url, SHORT);
    let error = run(remote.login_parameters(&alice())).unwrap_err();
    assert!(matches!(error, RemoteError::TimedOut { .. }), "{error:?}");
}

#[test]
fn a_reply_that_drips_is_given_up_on() {
    let script = Script::play(|_| Answer::Drip);
    let remote = remote(&script.url, SHORT);
    let error = run(remote.login_parameters(&alice())).unwrap_err();
    assert!(matches!(error, RemoteError::TimedOut { .. }), "{error:?}");
}

#[test]
fn an_endless_reply_is_read_up_to_its_limit() {
    for status in [200, 500] {
        let (error, _) = asked(move |_| Answer::Endless(status));
        assert!(matches!(error, RemoteError::TooLarge { .. }), "{error:?}");
    }
}

#[test]
fn a_reply_of_another_form_is_malformed_and_not_asked_for_again() {
    for body in [
        "",
        "<html>Welcome to the hotel</html>",
        "{}",
        "{\"salt\":\"AA\",\"rounds\":600000,\"mac\":\"AA\"}",
        "{\"salt\":7,\"rounds\":-1,\"mac\":[]}",
        "\u{0}\u{1}\u{2}",
    ] {
        let (error, calls) = asked(move |_| Answer::Reply(200, body.into()));
        assert!(matches!(error, RemoteError::Malformed { .. }), "{error:?}");
        assert_eq!(calls, 1);
    }
    let script = Script::play(|_| Answer::Reply(200, vec![0xff; 4000]));
    let pulled = remote(&script.url, Deadlines::default());
    let share = keyfold_protocol::ids::ShareId([1; 32]);
    let query = PullQuery {
        from: Seq(0),
        limit: None,
        bodies_from: None,
    };
    let error = run(pulled.pull(share, &query)).unwrap_err();
    assert!(matches!(error, RemoteError::Malformed { .. }), "{error:?}");
}

#[test]
fn what_breaks_off_is_asked_for_again_only_where_that_cannot_harm() {
    let (error, calls) = asked(|_| Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()));
    assert!(matches!(error, RemoteError::Broken { .. }), "{error:?}");
    assert_eq!(calls, 4);

    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}".to_vec();
    let script = Script::play(move |_| Answer::Bytes(cut.clone()));
    let remote = remote(&script.url, Deadlines::default());
    let key = || Key([1; 32].into());
    let body = SetPassword {
        current_auth: key(),
        kdf: KdfParameters {
            salt: key(),
            rounds: 600_000,
            mac: key(),
        },
        auth: key(),
        recovery_auth: key(),
        roots: keyfold_protocol::wire::SealedRoots {
            password: keyfold_protocol::wire::Base64(vec![]),
            recovery: keyfold_protocol::wire::Base64(vec![]),
        },
    };
    let error = run(remote.set_password(&body)).unwrap_err();
    assert!(error.may_have_arrived(), "{error:?}");
    assert_eq!(script.seen().len(), 1);
}

#[test]
fn a_server_that_starts_is_asked_until_it_can_answer() {
    let parameters = KdfParameters {
        salt: Key([1; 32].into()),
        rounds: 600_000,
        mac: Key([2; 32].into()),
    };
    let right = serde_json::to_vec(&parameters).unwrap();
    let asked = AtomicUsize::new(0);
    let script = Script::play(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::Reply(503, br#"{"code":"unavailable","message":"m"}"#.to_vec()),
        1 => Answer::Reply(502, b"proxy".to_vec()),
        _ => Answer::Reply(200, right.clone()),
    });
    let remote = remote(&script.url, Deadlines::default());
    assert_eq!(run(remote.login_parameters(&alice())).unwrap(), parameters);
}

#[test]
fn a_refusal_has_the_code_and_what_comes_with_it() {
    let reply = format!(
        r#"{{"code":"head-moved","message":"m","head":{{"seq":7,"record":"{}"}},"new":1}}"#,
        "ab".repeat(32)
    );
    let (error, calls) = asked(move |_| Answer::Reply(409, reply.clone().into()));
    assert_eq!((error.code(), calls), (Some(ErrorCode::HeadMoved), 1));
    let RemoteError::Refused { reply, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(reply.head.unwrap().seq, Seq(7));
    let (error, _) = asked(|_| Answer::Reply(418, br#"{"code":"teapot","message":"m"}"#.to_vec()));
    assert!(
        matches!(error, RemoteError::Status { status: 418, .. }),
        "{error:?}"
    );
}

#[test]
fn nobody_is_sent_elsewhere_with_his_session() {
    let elsewhere = Script::play(|_| Answer::Reply(200, b"{}".to_vec()));
    let location = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}/v1/account/devices\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        elsewhere.url
    );
    let script = Script::play(move |_| Answer::Bytes(location.clone().into()));
    let remote = remote(&script.url, Deadlines::default());
    let token = Token::new("secret-token".to_owned()).unwrap();
    let remote = remote.with_session(&token);
    let error = run(remote.devices()).unwrap_err();
    assert!(
        matches!(error, RemoteError::Status { status: 307, .. }),
        "{error:?}"
    );
    assert!(elsewhere.seen().is_empty());
    let sent = script.seen().remove(0);
    assert!(sent.head.contains("authorization: Bearer secret-token"));
    assert!(!format!("{remote:?} {token:?}").contains("secret-token"));
}

#[test]
fn a_token_that_could_not_be_sent_back_is_none() {
    for text in ["", "a b", "a\r\nX: y", "caf\u{e9}", &"a".repeat(513)] {
        assert!(Token::new(text.to_owned()).is_none(), "{text:?}");
    }
}

#[test]
fn nothing_listens_is_said_as_such() {
    let url = Script::play(|_| Answer::Silence).url.clone();
    let remote = remote(&url, Deadlines::default());
    let error = run(remote.login_parameters(&alice())).unwrap_err();
    assert!(
        matches!(error, RemoteError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(!error.may_have_arrived());
}
