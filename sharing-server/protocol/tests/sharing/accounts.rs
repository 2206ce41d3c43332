//! Key chains, the sealed account root and book, and what people read, type and keep.

use keyfold_crypto::{
    AccountAccess, AccountKdf, AccountRounds, AccountSecret, CryptoError, Password, RecoveryKey,
};
use keyfold_protocol::account::{
    AccountBook, AccountRoot, Address, Contact, Group, Kit, NewAccount, WayIn, fingerprint,
    parameters, read_fingerprint, safety_words,
};
use keyfold_protocol::chain::{BadChain, KeyChain, SignedEntry};
use keyfold_protocol::ids::{ChainRoot, EntryHash};

use crate::people::{NOW, named, person};

fn access(secret: u8) -> AccountAccess {
    let kdf = AccountKdf {
        salt: [2; 32],
        rounds: AccountRounds::new(AccountRounds::FLOOR).unwrap(),
    };
    let secret = AccountSecret::from_bytes([secret; 16]);
    AccountAccess::derive_password(&Password::new("horse".into()), &secret, &kdf)
}

#[test]
fn a_chain_is_verified_from_its_first_entry_on() {
    let alice = person("alice").with_new_keys().with_new_keys();
    let chain = KeyChain::verify(&alice.chain).unwrap();
    assert_eq!(chain.root(), alice.root());
    assert_eq!(chain.key().entry, alice.account.entry);
    assert_eq!(KeyChain::verify(&[]), Err(BadChain::Length));
    assert_eq!(KeyChain::verify(&alice.chain[1..]), Err(BadChain::Link));
    let gap = [alice.chain[0].clone(), alice.chain[2].clone()];
    assert_eq!(KeyChain::verify(&gap), Err(BadChain::Link));
}

#[test]
fn an_entry_that_the_key_before_or_its_own_did_not_sign_is_no_part_of_a_chain() {
    let alice = person("alice");
    let renewed = alice.with_new_keys();
    let entry = renewed.chain[1].unverified().clone();
    let other = &person("mallory").account.identity;
    let by = |own, before| {
        let forged = SignedEntry::next(entry.clone(), own, before);
        KeyChain::verify(&[alice.chain[0].clone(), forged])
    };
    assert!(by(&renewed.account.identity, &alice.account.identity).is_ok());
    let forged = [
        by(&renewed.account.identity, other),
        by(other, &alice.account.identity),
    ];
    assert_eq!(forged, [Err(BadChain::Signature), Err(BadChain::Signature)]);
    let first = SignedEntry::first(alice.chain[0].unverified().clone(), other);
    assert_eq!(KeyChain::verify(&[first]), Err(BadChain::Signature));
}

#[test]
fn the_account_root_opens_for_its_way_in_and_user_alone() {
    let alice = person("alice").with_new_keys().account;
    let access = access(1);
    let sealed = alice.seal(&access, WayIn::Password).unwrap();
    let opened = AccountRoot::open(&alice.user, &access, WayIn::Password, &sealed).unwrap();
    let chain = KeyChain::verify(&person("alice").with_new_keys().chain).unwrap();
    assert_eq!(opened.verify(&chain), Ok(()));
    assert_eq!(opened.earlier.len(), 1);
    let bob = "bob".parse().unwrap();
    let wrong = [
        AccountRoot::open(&bob, &access, WayIn::Password, &sealed),
        AccountRoot::open(&alice.user, &access, WayIn::Recovery, &sealed),
        AccountRoot::open(&alice.user, &self::access(2), WayIn::Password, &sealed),
    ];
    for opened in wrong {
        assert_eq!(opened.map(|_| ()), Err(CryptoError::Tampered));
    }
}

#[test]
fn an_older_root_or_one_whose_keys_do_not_match_the_chain_is_refused() {
    let (old, new) = (person("alice"), person("alice").with_new_keys());
    let chain = KeyChain::verify(&new.chain).unwrap();
    assert_eq!(old.account.verify(&chain), Err(CryptoError::WrongKey));
    let mut mixed = new.account.clone();
    mixed.kem = old.account.kem.clone();
    assert_eq!(mixed.verify(&chain), Err(CryptoError::WrongKey));
    let other = named("alice", "mallory");
    assert_eq!(other.account.verify(&chain), Err(CryptoError::WrongKey));
}

#[test]
fn a_new_account_is_the_head_of_its_own_chain() {
    let new = NewAccount::generate("alice".parse().unwrap(), NOW).unwrap();
    let chain = KeyChain::verify(&[new.entry]).unwrap();
    assert_eq!(new.root.verify(&chain), Ok(()));
}

#[test]
fn parameters_differ_by_user_salt_and_rounds() {
    let kdf = |salt, rounds| AccountKdf {
        salt: [salt; 32],
        rounds: AccountRounds::new(rounds).unwrap(),
    };
    let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    let all = [
        parameters(&alice, &kdf(1, 600_000)),
        parameters(&bob, &kdf(1, 600_000)),
        parameters(&alice, &kdf(2, 600_000)),
        parameters(&alice, &kdf(1, 600_001)),
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(!all[i + 1..].contains(one));
    }
}

#[test]
fn a_book_of_another_generation_or_account_does_not_open() {
    let (alice, bob) = (person("alice"), person("bob"));
    let book = AccountBook {
        contacts: vec![Contact {
            user: bob.account.user.clone(),
            root: bob.root(),
            since: NOW,
        }],
        groups: vec![Group {
            name: "team".parse().unwrap(),
            members: vec![bob.root()],
        }],
    };
    let identity = &alice.account.identity;
    let sealed = book.seal(identity, alice.root(), 3).unwrap();
    assert_eq!(
        AccountBook::open(identity, alice.root(), 3, &sealed),
        Ok(book)
    );
    assert!(AccountBook::open(identity, alice.root(), 2, &sealed).is_err());
    assert!(AccountBook::open(identity, bob.root(), 3, &sealed).is_err());
    assert!(AccountBook::open(&bob.account.identity, alice.root(), 3, &sealed).is_err());
}

#[test]
fn safety_words_and_fingerprints_are_of_the_first_bits_of_a_root() {
    let mut root = ChainRoot([0; 32]);
    assert_eq!(safety_words(root), ["abandon"; 12]);
    root.0[0] = 0xff;
    root.0[1] = 0xe0;
    assert_eq!(safety_words(root)[..2], ["zoo", "abandon"]);
    root.0[16] = 0x10;
    assert_eq!(safety_words(root)[11], "ability");
    let text = fingerprint(root);
    assert!(read_fingerprint(&text.to_lowercase()).unwrap().fits(root));
    assert!(!read_fingerprint(&text).unwrap().fits(ChainRoot([0; 32])));
    assert!(read_fingerprint(&text[1..]).is_err());
}

#[test]
fn the_words_are_those_of_bip_39() {
    let list = include_bytes!("../../src/safety-words.txt");
    let published = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda";
    let hash = keyfold_crypto::sha256(&[list]);
    assert_eq!(data_encoding::HEXLOWER.encode(&hash), published);
}

#[test]
fn an_address_is_read_as_it_is_written() {
    let key = fingerprint(ChainRoot([7; 32]));
    for text in [
        "alice@files.example.org".to_owned(),
        "alice@localhost:8443/plan-2027".to_owned(),
        format!("alice@files.example.org/plan-2027#{key}"),
        format!("alice@files.example.org#{key}"),
    ] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "alice",
        "@host",
        "alice@",
        "alice@host/",
        "alice@host#",
        "alice@ho st",
        "alice@host/../x",
        "alice@host:0",
        "alice@host:99999",
        "alice@HOST",
        "alice@host:+1",
    ] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

#[test]
fn a_kit_is_read_as_it_is_printed_and_prints_nothing_by_accident() {
    let kit = Kit {
        address: "alice@files.example.org".parse().unwrap(),
        secret: AccountSecret::from_bytes([9; 16]),
        recovery: Some(RecoveryKey::generate().unwrap()),
    };
    let text = kit.to_text();
    let read = Kit::parse(&format!("# Keep this safe.\n\n{}", &*text)).unwrap();
    assert_eq!(*read.to_text(), *text);
    assert_eq!(format!("{kit:?}"), "Kit(..)");
    let first_line = text.lines().next().unwrap();
    for wrong in [
        "",
        first_line,
        &format!("{}{first_line}\n", &*text),
        &format!("{}pin: 1234\n", &*text),
        &text.replace("account secret", "account key"),
    ] {
        assert!(Kit::parse(wrong).is_err());
    }
}

#[test]
fn no_account_prints_its_keys() {
    let text = format!("{:?}", person("alice").account);
    assert!(
        !text.contains("identity") && !text.contains("kem"),
        "{text}"
    );
    assert_eq!(EntryHash([0; 32]).to_string().len(), 64);
}
