//! What comes of a record, in words for people.

use std::fmt;

use super::outcome::{Event, Stop, Void};

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAMember => "its author is no member any more",
            Self::KeySuperseded => "its author has other keys by now",
            Self::Expired => "its author's time had passed",
            Self::WrongRoster => "its author did not know who took part then",
            Self::EpochNotInForce => "its author did not know the key in force then",
            Self::RoleMayNot => "its author may not do that",
            Self::Malformed => "it is malformed",
            Self::Unopened => "it was not sealed for this place",
            Self::Empty => "it changes nothing",
            Self::UnknownMember => "it names somebody who takes no part",
            Self::AlreadyAMember => "it adds somebody who takes part already",
            Self::OnlyTheCreator => "only who made the share takes anything from its owners",
            Self::CreatorStays => "who made the share stays in it",
            Self::OwnersDoNotExpire => "an owner's access does not end by itself",
            Self::RotationMissing => "it removes somebody and begins no new key",
            Self::ExpiredMember => "it begins a key while somebody whose time passed takes part",
            Self::WrongGrants => "it gives the key to others than it has to",
            Self::BadKeyChain => "it names keys that do not verify",
            Self::StrayNonce => "it has a number that only a first record has",
            Self::TooMany => "it makes more of something than there may be",
            Self::NoSuchNode => "it changes what is not there",
            Self::NodeExists => "it makes what is there already",
            Self::NotADirectory => "it puts a name into what is no directory",
            Self::NotAFile => "it writes to what is no file, or links it",
            Self::EntryTaken => "it gives a name that is taken",
            Self::WrongEntry => "it changes a name that means something else",
            Self::NotEmpty => "it removes a directory that is not empty",
            Self::OtherKind => "it puts something in the place of another kind",
            Self::Cycle => "it moves a directory into itself",
            Self::KeyKnown => "it gives a file a key that it has",
            Self::UnknownKey => "it uses a key that the file does not have",
            Self::KeyOfEarlierEpoch => "it seals with a key that is out of force",
            Self::UnknownBlob => "it names data that the share does not have",
            Self::WrongBase => "it changes another version of a file than there is",
            Self::NoSuchBlock => "it puts data elsewhere that a file does not have",
            Self::WrongContentRoot => "its hash of a file is not that of what it writes",
            Self::WrongSnapshot => "it is no snapshot of the record before it",
        })
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Genesis => "it begins with another share's record",
            Self::Signature => "a signature is false",
            Self::UnknownAuthor => "a record is by somebody who never took part",
            Self::OutOfOrder => "a record is missing or came twice",
            Self::Chain => "a record does not follow the one before",
            Self::Fork => "a record is another than before",
            Self::Body => "a record has another body than was signed, or none",
            Self::ForgedGrant => "a key was handed out that no owner gave",
            Self::NotOurKey => "an owner names this account with keys that are not its own",
            Self::UnknownVersion => "a newer Keyfold wrote to it",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GrantWithheld => "the server withholds the key that it gives this account",
            Self::BadGrant => "the key that it gives this account is not the share's",
            Self::BadPreviousKey => "it hides the key before its own",
            Self::FalseSnapshot => "its snapshot is of something else than there was",
            Self::SnapshotWithheld => "the server withholds its snapshot, or has altered it",
            Self::DroppedInUse => "it drops data that is still needed",
        })
    }
}
