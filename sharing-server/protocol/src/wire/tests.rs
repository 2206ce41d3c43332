use super::*;
use crate::error_code::{ErrorCode, ErrorReply};

#[test]
fn a_request_with_an_unknown_field_is_refused() {
    let json = r#"{"user":"alice"}"#;
    assert!(serde_json::from_str::<LoginParameters>(json).is_ok());
    let json = r#"{"user":"alice","password":"hunter2"}"#;
    assert!(serde_json::from_str::<LoginParameters>(json).is_err());
}

#[test]
fn a_reply_with_an_unknown_field_is_understood() {
    let json = r#"{"user":"alice","since":3}"#;
    assert!(serde_json::from_str::<FoundReply>(json).is_ok());
    let json = r#"{"code":"head-moved","message":"m","hint":1}"#;
    let reply: ErrorReply = serde_json::from_str(json).unwrap();
    assert_eq!(reply, ErrorReply::new(ErrorCode::HeadMoved, "m"));
}

#[test]
fn names_and_keys_that_are_none_are_refused() {
    for json in [
        r#"{"user":"Alice"}"#,
        r#"{"user":"a"}"#,
        r#"{"user":7}"#,
        r#"{"user":"al/ice"}"#,
    ] {
        assert!(
            serde_json::from_str::<LoginParameters>(json).is_err(),
            "{json}"
        );
    }
    assert!(serde_json::from_str::<Key>(&format!("\"{}\"", "A".repeat(42))).is_err());
    assert!(serde_json::from_str::<Base64>("\"====\"").is_err());
}

#[test]
fn no_key_and_no_token_is_printed() {
    let key = Key([7; 32].into());
    assert_eq!(format!("{key:?}"), "Key(..)");
    let reply = LoginReply {
        token: "secret-token".into(),
        expires: crate::ids::Time(1),
        root: Base64(vec![7; 9]),
        chain: vec![],
    };
    assert!(!format!("{reply:?}").contains("secret-token"));
}
