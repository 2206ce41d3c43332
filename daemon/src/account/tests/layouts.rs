//! What a vault keeps of an account has one form, and only that form is read.

use std::fmt::Debug;

use keyfold_crypto::{AccountKdf, AccountRounds, AccountSecret, IdentityKey, KemKey};
use keyfold_protocol::account::{AccountRoot, Contact};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{ChainEntry, SignedEntry};
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{
    BodyHash, ChainRoot, DeviceId, EntryHash, Epoch, NodeId, RecordHash, RequestHash, Seq, ShareId,
    Time,
};
use keyfold_protocol::record::{Author, Header, Kind, Record};
use keyfold_protocol::roster::Role;
use zeroize::Zeroizing;

use crate::account::kept::{
    Happened, Invitation, KeptBook, KeptRecord, KeptToken, Keys, Known, Listed, Next, Offered,
    Pinned, Profile, Revocation, Ring, ShareHead, ShownRequest, Standing, Staying,
};
use crate::remote::{Server, Token};

fn profile() -> Profile {
    Profile {
        server: Server {
            address: "https://files.example.org:8443".parse().unwrap(),
            ca: None,
        },
        user: "alice".parse().unwrap(),
        root: ChainRoot([1; 32]),
        device: DeviceId([2; 16]),
        device_name: "laptop".parse().unwrap(),
        pinned: Pinned {
            kdf: AccountKdf {
                salt: [3; 32],
                rounds: AccountRounds::new(600_000).unwrap(),
            },
            mac: [4; 32],
        },
    }
}

fn keys() -> Keys {
    let identity = IdentityKey::from_seed(&[5; 32]);
    let kem = KemKey::from_seed([6; 32]);
    let entry = ChainEntry {
        seq: 0,
        previous: EntryHash([0; 32]),
        user: "alice".parse().unwrap(),
        identity: identity.public(),
        kem: kem.public(),
        time: Time(7),
    };
    let hash = entry.hash();
    Keys {
        secret: AccountSecret::from_bytes([8; 16]),
        recovery: Some(Zeroizing::new("words".to_owned())),
        chain: vec![SignedEntry::first(entry, &identity)],
        earlier: vec![(EntryHash([11; 32]), IdentityKey::from_seed(&[12; 32]))],
        account: AccountRoot {
            user: "alice".parse().unwrap(),
            root: ChainRoot(hash.0),
            entry: hash,
            identity,
            kem,
            earlier: vec![(EntryHash([9; 32]), KemKey::from_seed([10; 32]))],
        },
    }
}

/// A value reads back as it was written, and nothing near it reads at all.
fn one_form<T: Encoded>(value: &T) -> Vec<u8> {
    let bytes = value.encode();
    let read = T::decode(&bytes).unwrap_or_else(|_| panic!("not read back"));
    assert_eq!(read.encode(), bytes);
    for length in 0..bytes.len() {
        assert!(T::decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    assert!(T::decode(&[&bytes[..], &[0]].concat()).is_err());
    bytes
}

fn begins(bytes: &[u8], with: &[u8]) {
    assert_eq!(&bytes[..with.len()], with);
}

fn same<T: Encoded + PartialEq + Debug>(value: &T) -> Vec<u8> {
    let bytes = one_form(value);
    assert_eq!(T::decode(&bytes).unwrap(), *value);
    bytes
}

#[test]
fn every_value_has_one_form_and_no_other_is_read() {
    let first = same(&profile());
    begins(
        &first,
        b"\x8a\x01\x78\x1ehttps://files.example.org:8443\xf6\x65alice\x58\x20",
    );
    let first = one_form(&keys());
    begins(
        &first,
        &[[0x86, 1, 0x50].as_slice(), &[8; 16], b"\x65words\x58"].concat(),
    );
    let next = Next {
        profile: profile(),
        keys: keys(),
    };
    begins(&one_form(&next), b"\x83\x01\x8a\x01");
    let token = Token::new("secret".to_owned()).unwrap();
    assert_eq!(
        one_form(&KeptToken::new(&token, Time(9))),
        b"\x83\x01\x66secret\x09"
    );
    let mut book = KeptBook {
        generation: 3,
        ..KeptBook::default()
    };
    assert_eq!(same(&book), [0x83, 1, 3, 0x83, 1, 0x80, 0x80]);
    book.book.contacts.push(Contact {
        user: "bob".parse().unwrap(),
        root: ChainRoot([1; 32]),
        since: Time(5),
    });
    same(&book);
    let people = Listed(vec![Known {
        user: "bob".parse().unwrap(),
        since: Time(5),
        entries: vec![EntryHash([1; 32])],
    }]);
    begins(&same(&people), b"\x82\x01\x81\x83\x63bob\x05\x81\x58\x20");
    let heads = Listed(vec![ShareHead {
        share: ShareId([1; 32]),
        seq: Seq(4),
        record: RecordHash([2; 32]),
    }]);
    begins(&same(&heads), b"\x82\x01\x81\x83\x58\x20");
    let shown = Listed(vec![ShownRequest {
        request: RequestHash([1; 32]),
        root: ChainRoot([2; 32]),
        entry: EntryHash([3; 32]),
    }]);
    begins(&same(&shown), b"\x82\x01\x81\x83\x58\x20");
    let published = Listed(vec![Offered {
        share: ShareId([1; 32]),
        slug: "plan".parse().unwrap(),
    }]);
    begins(&same(&published), b"\x82\x01\x81\x82\x58\x20");
    let activity = Listed(vec![Happened {
        time: Time(5),
        what: "bob asks".to_owned(),
    }]);
    assert_eq!(same(&activity), b"\x82\x01\x81\x82\x05\x68bob asks");
    let read_only = Listed(vec![ShareId([1; 32])]);
    begins(&same(&read_only), b"\x82\x01\x81\x58\x20");
    let staying = Listed(vec![Staying {
        share: ShareId([1; 32]),
        node: NodeId([2; 16]),
    }]);
    begins(&same(&staying), b"\x82\x01\x81\x82\x58\x20");
    let share = ShareId([1; 32]);
    let revocations = Listed(vec![
        Revocation { share, user: None },
        Revocation {
            share,
            user: Some("bob".parse().unwrap()),
        },
    ]);
    begins(&same(&revocations), b"\x82\x01\x82\x82\x58\x20");
    let invitations = Listed(vec![Invitation {
        share,
        email: "bob@example.org".parse().unwrap(),
        role: Role::Writer,
        lasts: Some(60),
        with_history: true,
        since: Time(5),
    }]);
    begins(&same(&invitations), b"\x82\x01\x81\x86\x58\x20");
}

#[test]
fn what_is_kept_of_a_log_has_one_form_and_no_other_is_read() {
    let share = ShareId([1; 32]);
    let ring = Ring {
        share,
        first: Seq(3),
        end: Seq(9),
        bytes: 10,
        standing: Standing::InDoubt,
    };
    let bytes = same(&ring);
    begins(&bytes, b"\x86\x01\x58\x20");
    assert!(bytes.ends_with(&[3, 9, 10, 1]));
    let header = Header {
        kind: Kind::Roster,
        share: ShareId::GENESIS,
        seq: Seq(0),
        previous: RecordHash::NONE,
        roster: RecordHash::NONE,
        author: Author {
            user: "alice".parse().unwrap(),
            root: ChainRoot([1; 32]),
            entry: EntryHash([2; 32]),
        },
        epoch: Epoch(0),
        body: BodyHash([0; 32]),
        added: Vec::new(),
        dropped: Vec::new(),
        time: Time(5),
    };
    let record = Record::sign(header, b"body".to_vec(), &IdentityKey::from_seed(&[3; 32]));
    let append = Append {
        record,
        grants: Vec::new(),
    };
    begins(
        &one_form(&KeptRecord { share, append }),
        b"\x83\x01\x58\x20",
    );
}

#[test]
fn no_key_of_an_account_is_printed() {
    assert_eq!(format!("{:?}", keys()), "Keys(..)");
}
