//! A member with a client of his own, that says what it likes.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use keyfold_crypto::{AccountAccess, AccountKdf, AccountRounds, KemKey, Password};
use keyfold_protocol::account::{AccountRoot, Kit, WayIn};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::{Append, Pulled};
use keyfold_protocol::ids::{BlobId, BodyHash, DeviceId, EntryHash, ShareId, Time};
use keyfold_protocol::log::{Log, Own};
use keyfold_protocol::names::UserName;
use keyfold_protocol::record::{Author, Header, Kind, Record};
use keyfold_protocol::wire::{KdfParameters, Key, Login, LoginParameters, LoginReply};
use keyfold_tests::{Reply, Request};

use crate::scene::Person;

/// A member who has his kit and password, and knows the protocol.
pub(crate) struct Insider {
    server: SocketAddr,
    pub(crate) token: String,
    pub(crate) account: AccountRoot,
}

fn now() -> Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(now.unwrap().as_secs())
}

fn post(server: SocketAddr, path: &str, body: &impl serde::Serialize) -> Vec<u8> {
    let body = serde_json::to_vec(body).unwrap();
    let request = Request::new("POST", path, None).with("application/json", body);
    let reply = request.ask(server).unwrap();
    let said = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status, 200, "{path}: {said}");
    reply.body
}

impl Insider {
    /// Logs in as another device of somebody.
    pub(crate) fn of(person: &Person, server: SocketAddr) -> Self {
        let kit = fs::read_to_string(person.kit()).unwrap();
        let kit = Kit::parse(&kit).unwrap();
        let user: UserName = person.name.parse().unwrap();
        let asked = LoginParameters { user: user.clone() };
        let offered = post(server, "/v1/login/parameters", &asked);
        let offered: KdfParameters = serde_json::from_slice(&offered).unwrap();
        let kdf = AccountKdf {
            salt: *offered.salt.0,
            rounds: AccountRounds::new(offered.rounds).unwrap(),
        };
        let password = Password::new("tall giraffe".to_owned());
        let access = AccountAccess::derive_password(&password, &kit.secret, &kdf);
        let login = Login {
            user: user.clone(),
            auth: Key((*access.auth_key().expose()).into()),
            device: DeviceId::generate().unwrap(),
            device_name: "own client".parse().unwrap(),
            second_factor: None,
        };
        let reply = post(server, "/v1/login", &login);
        let reply: LoginReply = serde_json::from_slice(&reply).unwrap();
        let account = AccountRoot::open(&user, &access, WayIn::Password, &reply.root.0);
        Self {
            server,
            token: reply.token,
            account: account.unwrap(),
        }
    }

    /// What the server gives him of a share.
    pub(crate) fn pulled(&self, share: ShareId) -> Pulled {
        let path = format!("/v1/shares/{share}/records?from=0");
        let reply = Request::new("GET", &path, Some(&self.token)).ask(self.server);
        Pulled::decode(&reply.unwrap().body).unwrap()
    }

    fn own(&self) -> Own {
        let account = &self.account;
        let now = (account.entry, account.kem.clone());
        let earlier = account.earlier.iter().cloned();
        let keys: BTreeMap<EntryHash, KemKey> = earlier.chain([now]).collect();
        Own {
            user: account.user.clone(),
            root: account.root,
            keys,
        }
    }

    /// A share's log, as far as he is given it.
    pub(crate) fn log(&self, share: ShareId) -> Log {
        let mut log = Log::new(self.own(), share);
        log.absorb(&self.pulled(share).records).unwrap();
        log
    }

    /// A content record that follows a log, with this body.
    pub(crate) fn content(&self, log: &Log, body: &[u8], added: Vec<BlobId>) -> Append {
        let roster = log.roster().unwrap();
        let (seq, previous) = log.head().unwrap();
        let header = Header {
            kind: Kind::Content,
            share: log.share(),
            seq: seq.next(),
            previous,
            roster: log.roster_record(),
            author: Author {
                user: self.account.user.clone(),
                root: self.account.root,
                entry: self.account.entry,
            },
            epoch: roster.epoch,
            body: BodyHash([0; 32]),
            added,
            dropped: Vec::new(),
            time: now(),
        };
        let key = log.epoch_key(roster.epoch).unwrap();
        let record = Record::seal(header, body, key, &self.account.identity).unwrap();
        Append {
            record,
            grants: Vec::new(),
        }
    }

    /// Asks the server to append a record.
    pub(crate) fn append(&self, share: ShareId, append: &Append) -> Reply {
        let path = format!("/v1/shares/{share}/records");
        let request = Request::new("POST", &path, Some(&self.token));
        let request = request.with("application/cbor", append.encode());
        request.ask(self.server).unwrap()
    }
}
