//! Names that come from others, each with the form it must have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer};
use crate::limits;

/// What a pattern says of text that may be any, but for rules on its characters.
#[cfg(feature = "openapi")]
const ANY: &str = "^.+$";

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident($limit:expr, $check:expr, $pattern:expr);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Decoded<Self> {
                let check: fn(&str) -> bool = $check;
                if text.len() <= $limit && check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(DecodeError::Malformed)
                }
            }
        }

        impl Encoded for $name {
            const LIMIT: usize = $limit + 5;

            fn write(&self, w: &mut Writer) {
                w.text(&self.0);
            }

            fn read(r: &mut Reader<'_>) -> Decoded<Self> {
                r.text($limit)?.parse()
            }
        }

        crate::schema::text!($name, $pattern);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

names! {
    /// An account's name on its server: `[a-z0-9][a-z0-9._-]{1,31}`. Never given twice.
    UserName(32, is_user_name, "^[a-z0-9][a-z0-9._-]{1,31}$");
    /// A name in a directory. Leads nowhere else, and shows as what it is.
    EntryName(limits::NAME_BYTES, is_entry_name, ANY);
    /// What a share or publication is called: one line that shows as what it is.
    Title(limits::TITLE_BYTES, is_title, ANY);
    /// The name of a publication in an address: `[a-z0-9][a-z0-9-]{0,63}`.
    Slug(64, is_slug, "^[a-z0-9][a-z0-9-]{0,63}$");
    /// Where a symlink leads.
    LinkTarget(limits::TARGET_BYTES, is_link_target, ANY);
    /// An extended attribute that travels: `user.` and not `user.keyfold.`.
    XattrName(limits::NAME_BYTES, is_xattr_name, r"^user\.");
    /// What somebody writes: lines of text.
    Message(limits::MESSAGE_BYTES, is_message, ANY);
    /// Where mail is sent to: a local part, one at sign, and a host.
    Email(254, is_email, "^[^@]+@[^@]+$");
    /// A device, as its user calls it.
    DeviceName(64, is_title, ANY);
}

fn is_user_name(text: &str) -> bool {
    let [first, rest @ ..] = text.as_bytes() else {
        return false;
    };
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let rest_is_plain = rest
        .iter()
        .all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
    plain(first) && !rest.is_empty() && rest_is_plain
}

fn is_entry_name(text: &str) -> bool {
    let reserved = ["", ".", "..", ".keyfold"];
    !reserved.contains(&text) && !text.contains('/') && !text.chars().any(deceives)
}

fn is_title(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(deceives)
}

fn is_slug(text: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain) && bytes.iter().all(|b| plain(b) || *b == b'-')
}

fn is_link_target(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

fn is_xattr_name(text: &str) -> bool {
    let travels = text
        .strip_prefix("user.")
        .is_some_and(|rest| !rest.is_empty());
    travels && !text.starts_with("user.keyfold.") && !text.contains('\0')
}

fn is_message(text: &str) -> bool {
    let hidden = |c: char| deceives(c) && c != '\n' && c != '\t';
    !text.trim().is_empty() && !text.chars().any(hidden)
}

fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else {
        return false;
    };
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    let quiet = !text.contains(['<', '>', '(', ')', '[', ']', '\\', '"', ',', ';', ':']);
    !local.is_empty() && host.contains('.') && !host.contains('@') && printable && quiet
}

/// Characters that make a name look like another: controls, line separators, and those that turn
/// the direction of writing.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_plain_and_two_to_32_long() {
        for name in ["al", "alice", "0x", "a.b_c-d", &"a".repeat(32)] {
            assert!(name.parse::<UserName>().is_ok(), "{name}");
        }
        for name in [
            "",
            "a",
            "Alice",
            ".a",
            "-a",
            "a b",
            "a/b",
            "ä1",
            &"a".repeat(33),
        ] {
            assert!(name.parse::<UserName>().is_err(), "{name}");
        }
    }

    #[test]
    fn entry_names_lead_nowhere_else_and_show_as_they_are() {
        for name in [
            "a",
            " ",
            "Ä ö.txt",
            ".hidden",
            "...",
            ".keyfold2",
            &"x".repeat(255),
        ] {
            assert!(name.parse::<EntryName>().is_ok(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            ".keyfold",
            "a/b",
            "a\0",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            "invoice\u{202e}fdp.exe",
            "\u{200f}",
            "\u{2066}x",
            "\u{61c}",
            &"x".repeat(256),
        ] {
            assert!(name.parse::<EntryName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn attributes_that_do_not_travel_are_refused() {
        assert!("user.mime".parse::<XattrName>().is_ok());
        for name in [
            "user.",
            "user.keyfold.grant",
            "security.capability",
            "trusted.x",
            "mime",
        ] {
            assert!(name.parse::<XattrName>().is_err(), "{name}");
        }
    }

    #[test]
    fn an_email_address_cannot_bring_a_second_recipient_or_a_header() {
        assert!("a@example.org".parse::<Email>().is_ok());
        for address in [
            "",
            "a",
            "@example.org",
            "a@b",
            "a@b@example.org",
            "a@example.org,b@example.org",
            "a@example.org\r\nBcc: b@example.org",
            "A <a@example.org>",
            "a b@example.org",
        ] {
            assert!(address.parse::<Email>().is_err(), "{address}");
        }
    }

    #[test]
    fn messages_have_lines_and_titles_have_one() {
        assert!("one\ntwo\t3".parse::<Message>().is_ok());
        assert!("\u{202e}".parse::<Message>().is_err());
        assert!("Plan 2027".parse::<Title>().is_ok());
        for title in ["", " ", "a\nb"] {
            assert!(title.parse::<Title>().is_err());
        }
    }
}
