//! To whom something is given, as it is written: `bob`, `@team`, or `bob@example.org`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use keyfold_protocol::names::{Email, Title, UserName};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::words::Said;

/// To whom something is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Somebody by his name.
    User(UserName),
    /// Everybody in a group.
    Group(Title),
    /// Whoever has an e-mail address.
    Address(Email),
}

impl FromStr for Whom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no user name, @group or e-mail address");
        if let Some(group) = text.strip_prefix('@') {
            return group_name(group).map(Self::Group);
        }
        if text.contains('@') {
            return text.parse().map(Self::Address).map_err(|_| wrong());
        }
        text.parse().map(Self::User).map_err(|_| wrong())
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Group(group) => write!(f, "@{group}"),
            Self::Address(email) => email.fmt(f),
        }
    }
}

impl Serialize for Whom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Whom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The name of a group: of the characters of user names, so that it is one word everywhere.
pub(super) fn group_name(text: &str) -> Result<Title, String> {
    let wrong = || "a group's name has 2 to 32 of the characters a-z 0-9 . _ -".to_owned();
    text.parse::<UserName>().map_err(|_| wrong())?;
    text.parse().map_err(|_| wrong())
}

/// Until when something is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// For this time from now on.
    For(Duration),
    /// For as long as nobody ends it.
    Ever,
}

impl Said for Until {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Ever),
            text => Duration::read(text).map(Self::For),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_reads_names_groups_and_addresses_and_nothing_between() {
        for (text, is) in [
            ("bob", Whom::User("bob".parse().unwrap())),
            ("@team", Whom::Group("team".parse().unwrap())),
            (
                "bob@example.org",
                Whom::Address("bob@example.org".parse().unwrap()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(is.clone()));
            assert_eq!(is.to_string(), text);
        }
        for text in ["", "@", "@a b", "BOB", "bob@", "@@team", "a b@example.org"] {
            assert!(text.parse::<Whom>().is_err(), "{text}");
        }
    }
}
