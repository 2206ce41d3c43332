use super::roster::RoleOrNone;
use super::*;

#[test]
fn a_command_parses_from_words_and_from_json_alike() {
    for (line, json, command) in [
        ("status", r#"{"command":"status"}"#, Command::Status),
        (" sync ", r#" {"command" : "sync"}"#, Command::Sync),
        (
            "check",
            r#"{"command":"check"}"#,
            Command::Check(ReadData::No),
        ),
        (
            "check '--read-data'",
            r#"{"command":"check","read_data":true}"#,
            Command::Check(ReadData::Yes),
        ),
        (
            "snapshot create",
            r#"{"command":"snapshot","action":"create"}"#,
            Command::Snapshot(SnapshotCommand::Create(None)),
        ),
        (
            r#"snapshot create 'be "fore'"#,
            r#"{"command":"snapshot","action":"create","name":"be \"fore"}"#,
            Command::Snapshot(SnapshotCommand::Create(Some("be \"fore".to_owned()))),
        ),
        ("hold", r#"{"command":"hold"}"#, Command::Hold),
        ("release", r#"{"command":"release"}"#, Command::Release),
        (
            "snapshot list",
            r#"{"command":"snapshot","action":"list"}"#,
            Command::Snapshot(SnapshotCommand::List),
        ),
        (
            "snapshot delete x",
            r#"{"command":"snapshot","action":"delete","name":"x"}"#,
            Command::Snapshot(SnapshotCommand::Delete("x".to_owned())),
        ),
    ] {
        assert_eq!(Command::parse(line).as_ref(), Ok(&command));
        assert_eq!(Command::parse(json).as_ref(), Ok(&command));
        assert_eq!(Command::parse(&command.line()), Ok(command));
    }
}

#[test]
fn a_command_about_shares_is_the_same_in_words_in_json_and_as_it_is_sent() {
    let share = |write, owner, with_history| {
        Command::Folder(FolderCommand::Share(Share {
            path: "My Reports".to_owned(),
            user: "bob".parse().unwrap(),
            write,
            owner,
            with_history,
            expires: None,
            key: None,
        }))
    };
    let role = |role| {
        Command::Roster(RosterCommand::Role(RoleOf {
            share: "ab12".to_owned(),
            user: "bob".parse().unwrap(),
            role,
            expires: None,
        }))
    };
    for (line, json, command) in [
        (
            "share 'My Reports' bob",
            r#"{"command":"share","path":"My Reports","user":"bob"}"#,
            share(false, false, false),
        ),
        (
            "share --write \"My Reports\" bob",
            r#"{"command":"share","path":"My Reports","user":"bob","write":true}"#,
            share(true, false, false),
        ),
        (
            "share My\\ Reports bob --owner --with-history",
            r#"{"command":"share","path":"My Reports","user":"bob","owner":true,
                "with_history":true}"#,
            share(false, true, true),
        ),
        (
            "unshare Reports --all",
            r#"{"command":"unshare","path":"Reports","all":true}"#,
            Command::Folder(FolderCommand::Unshare(Unshare {
                path: "Reports".to_owned(),
                user: None,
                all: true,
                end: false,
            })),
        ),
        (
            "accept alice/Reports",
            r#"{"command":"accept","share":"alice/Reports"}"#,
            Command::Folder(FolderCommand::Accept(Accept {
                share: "alice/Reports".to_owned(),
            })),
        ),
        (
            "keep 'My Reports'",
            r#"{"command":"keep","path":"My Reports"}"#,
            Command::Storage(StorageCommand::Keep(Keep {
                path: "My Reports".to_owned(),
            })),
        ),
        (
            "history Reports --restore 2 --to Old",
            r#"{"command":"history","path":"Reports","restore":2,"to":"Old"}"#,
            Command::Storage(StorageCommand::History(History {
                path: "Reports".to_owned(),
                restore: Some(2),
                to: Some("Old".to_owned()),
                undelete: None,
                retention: None,
            })),
        ),
        (
            "role ab12 bob none",
            r#"{"command":"role","share":"ab12","user":"bob","role":"none"}"#,
            role(RoleOrNone::None),
        ),
        (
            "shares",
            r#"{"command":"shares"}"#,
            Command::Roster(RosterCommand::Shares(Nothing {})),
        ),
        (
            "approve 1234abcd --write --expires 30d",
            r#"{"command":"approve","id":"1234abcd","write":true,"expires":"30d"}"#,
            Command::Roster(RosterCommand::Approve(Approve {
                id: "1234abcd".to_owned(),
                write: true,
                read: false,
                expires: Some("30d".parse().unwrap()),
                with_history: false,
                key: None,
            })),
        ),
        (
            "publish 'My Plan' --title 'Plan 2027' --to bob,carol --slug plan",
            r#"{"command":"publish","path":"My Plan","title":"Plan 2027","to":["bob","carol"],"slug":"plan"}"#,
            Command::Offer(OfferCommand::Publish(Publish {
                path: "My Plan".to_owned(),
                title: "Plan 2027".parse().unwrap(),
                to: vec!["bob".parse().unwrap(), "carol".parse().unwrap()],
                everyone: false,
                slug: Some("plan".parse().unwrap()),
            })),
        ),
        (
            "unpublish Plan",
            r#"{"command":"unpublish","path":"Plan"}"#,
            Command::Offer(OfferCommand::Unpublish(Unpublish {
                path: "Plan".to_owned(),
            })),
        ),
        (
            "request 'Shared/alice/Plan 2027' --write",
            r#"{"command":"request","what":"Shared/alice/Plan 2027","write":true}"#,
            Command::Roster(RosterCommand::Request(Request {
                what: "Shared/alice/Plan 2027".parse().unwrap(),
                write: true,
                message: None,
                expires: None,
            })),
        ),
    ] {
        assert_eq!(Command::parse(line).as_ref(), Ok(&command), "{line}");
        assert_eq!(Command::parse(json).as_ref(), Ok(&command), "{json}");
        assert_eq!(Command::parse(&command.line()), Ok(command));
    }
    for line in [
        "share",
        "share Reports",
        "share Reports bob --write --owner",
        "share Reports 'no name'",
        "unshare Reports",
        "unshare Reports bob --all",
        "approve 1234 --expires never",
        "shares extra",
        "publish Plan --title Plan",
        "publish Plan --everyone",
        "publish Plan --title Plan --everyone --to bob",
        "publish Plan --title Plan --to 'no name'",
        "publish Plan --title 'a\u{202e}b' --everyone",
        "publish Plan --title Plan --everyone --slug 'No Slug'",
        "approve 1234 --write --read",
        "keep",
        "history Reports --to Old",
        "history Reports --restore 1 --retention 30d",
        "history Reports --restore 1 --undelete 1h",
        "history Reports --retention 30d --undelete 1h",
        "purge Reports Other",
        "help",
        "share --help",
        r#"{"command":"share","path":"x","user":"bob","json":true}"#,
        r#"{"command":"shares","x":1}"#,
    ] {
        assert!(Command::parse(line).is_err(), "{line}");
    }
}

#[test]
fn words_are_split_as_in_a_shell() {
    let split = |line| split_words(line).unwrap();
    assert_eq!(
        split(r#"a  "b c" 'd\e' f\ g "" h'i'"j\"k""#),
        ["a", "b c", "d\\e", "f g", "", "hij\"k"]
    );
    assert_eq!(split_words("a 'b"), Err(ParseError::Unfinished));
    assert_eq!(split_words("a \"b"), Err(ParseError::Unfinished));
    assert_eq!(split_words("a\\"), Err(ParseError::Unfinished));
    assert_eq!(
        split_words(&"x ".repeat(100)),
        Err(ParseError::TooManyWords)
    );
}

#[test]
fn what_is_no_command_is_refused_by_name() {
    assert_eq!(Command::parse(""), Err(ParseError::Empty));
    assert_eq!(
        Command::parse("dance"),
        Err(ParseError::Unknown("dance".to_owned()))
    );
    assert_eq!(Command::parse("sync now"), Err(unexpected("sync", "now")));
    for line in [
        "snapshot",
        "snapshot dance",
        "snapshot list x",
        "snapshot create a b",
        "snapshot delete",
        "snapshot delete a b",
        r#"{"command":"snapshot"}"#,
        r#"{"command":"snapshot","action":"delete"}"#,
        r#"{"command":"snapshot","action":"list","name":"x"}"#,
    ] {
        assert!(Command::parse(line).is_err(), "{line}");
    }
    assert_eq!(
        Command::parse("check --all"),
        Err(unexpected("check", "--all"))
    );
    assert!(matches!(
        Command::parse("{\"command\":\"x\"}"),
        Err(ParseError::Json(_))
    ));
    assert!(matches!(
        Command::parse("{\"command\":\"sync\",\"x\":1}"),
        Err(ParseError::Json(_))
    ));
    assert!(matches!(Command::parse("{"), Err(ParseError::Json(_))));
}
