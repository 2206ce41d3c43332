//! A server in this process, and people with accounts on it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use keyfold_crypto::sha256;
use keyfold_protocol::act::{Act, Order};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::exchange::{Append, Pulled};
use keyfold_protocol::ids::{DeviceId, Nonce, ShareId, Time};
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{
    AppendReply, Base64, KdfParameters, Key, Login, LoginReply, Register, RegisterReply,
    SealedRoots, ShareItem,
};
use keyfold_server::clock::Clock;
use keyfold_server::config::Config;
use keyfold_server::operation;
use keyfold_server::server::{Remote, Server};

use crate::http::{Answer, Client, json};
use crate::people::{Person, Share};

pub(crate) struct World {
    folder: tempfile::TempDir,
    running: Option<(Remote, JoinHandle<()>)>,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
}

impl World {
    pub(crate) fn new() -> Self {
        // Tests ask one request after another, of everybody from one address.
        Self::with(&Config {
            requests_per_second: 1_000_000,
            ..Config::default()
        })
    }

    pub(crate) fn with(config: &Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config.clone();
        config.listen.set_port(0);
        config.registrations_per_hour = config.registrations_per_hour.max(1000);
        operation::init(&folder.path().join("server"), &config).unwrap();
        let mut world = Self {
            address: config.listen,
            folder,
            running: None,
            clock: Clock::default(),
        };
        world.start();
        world
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn start(&mut self) {
        self.start_at(&self.path());
    }

    pub(crate) fn start_at(&mut self, path: &Path) {
        let server =
            Server::open_at(path, Config::read(path).unwrap(), self.clock.clone()).unwrap();
        let remote = server.remote();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let thread = std::thread::spawn(move || runtime.block_on(server.serve()).unwrap());
        let waiting = remote.clone();
        let waiter = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        self.address = waiter.block_on(waiting.address()).unwrap();
        self.running = Some((remote, thread));
    }

    /// Starts the server anew with another configuration.
    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop();
        let mut config = Config::read(&self.path()).unwrap();
        change(&mut config);
        let text = toml::to_string(&config).unwrap();
        std::fs::write(self.path().join("server.toml"), text).unwrap();
        self.start();
    }

    /// Starts the server anew, so much later.
    pub(crate) fn restart_after(&mut self, seconds: u64) {
        self.stop();
        self.clock.set_ahead(seconds);
        self.start();
    }

    pub(crate) fn stop(&mut self) {
        if let Some((remote, thread)) = self.running.take() {
            remote.end();
            thread.join().unwrap();
        }
    }

    pub(crate) fn anonymous(&self) -> Client {
        anonymous(self.address)
    }

    /// Registers somebody and logs him in.
    pub(crate) fn join(&self, person: &Person) -> Client {
        join_at(self.address, person)
    }

    pub(crate) fn login(&self, person: &Person) -> Client {
        login_at(self.address, person)
    }

    pub(crate) fn try_login(&self, person: &Person, auth: Key) -> Answer {
        try_login(self.address, person, auth)
    }
}

fn anonymous(address: SocketAddr) -> Client {
    Client {
        address,
        token: None,
    }
}

pub(crate) fn join_at(address: SocketAddr, person: &Person) -> Client {
    let body = json(&registration(person));
    let answer = anonymous(address).call(Route::Register, "/v1/accounts", &body);
    let reply: RegisterReply = answer.json();
    assert_eq!(reply.root, person.root());
    login_at(address, person)
}

pub(crate) fn login_at(address: SocketAddr, person: &Person) -> Client {
    let answer = try_login(address, person, auth(person, "password"));
    Client {
        address,
        token: Some(answer.json::<LoginReply>().token),
    }
}

fn try_login(address: SocketAddr, person: &Person, auth: Key) -> Answer {
    let body = Login {
        user: person.account.user.clone(),
        auth,
        device: device(person),
        device_name: "laptop".parse().unwrap(),
        second_factor: None,
    };
    anonymous(address).call(Route::Login, "/v1/login", &json(&body))
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((remote, thread)) = self.running.take() {
            remote.end();
            let ended = thread.join().is_ok();
            assert!(ended || std::thread::panicking(), "the server panicked");
        }
    }
}

pub(crate) fn auth(person: &Person, way: &str) -> Key {
    let name = person.account.user.as_str();
    Key(sha256(&[name.as_bytes(), way.as_bytes()]).into())
}

pub(crate) fn device(person: &Person) -> DeviceId {
    let hash = sha256(&[person.account.user.as_str().as_bytes(), b"device"]);
    DeviceId(hash[..16].try_into().unwrap())
}

pub(crate) fn kdf() -> KdfParameters {
    KdfParameters {
        salt: Key([5; 32].into()),
        rounds: 600_000,
        mac: Key([6; 32].into()),
    }
}

pub(crate) fn roots() -> SealedRoots {
    SealedRoots {
        password: Base64(vec![1; 300]),
        recovery: Base64(vec![2; 300]),
    }
}

pub(crate) fn registration(person: &Person) -> Register {
    let name = person.account.user.as_str();
    Register {
        user: person.account.user.clone(),
        email: format!("{name}@example.org").parse().unwrap(),
        kdf: kdf(),
        auth: auth(person, "password"),
        recovery_auth: auth(person, "recovery"),
        roots: roots(),
        entry: Base64(person.chain[0].encode()),
        invitation: None,
    }
}

pub(crate) fn now() -> Time {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Time(since.as_secs())
}

pub(crate) fn create(client: &Client, append: &Append) -> ShareItem {
    client
        .call(Route::CreateShare, "/v1/shares", &append.encode())
        .json()
}

pub(crate) fn append(client: &Client, share: ShareId, append: &Append) -> Answer {
    client.call(
        Route::Append,
        &Route::Append.path(&[&share]),
        &append.encode(),
    )
}

/// Sends all records of a share, the first of which begins it.
pub(crate) fn upload(client: &Client, share: &Share) {
    create(client, &share.appended[0]);
    for next in &share.appended[1..] {
        let reply: AppendReply = append(client, share.id, next).json();
        assert_eq!(reply.seq, next.record.header.seq);
    }
}

/// Sends the last record of a share.
pub(crate) fn push(client: &Client, share: &Share) -> Answer {
    append(client, share.id, share.appended.last().unwrap())
}

pub(crate) fn pull(client: &Client, share: ShareId, from: u64) -> Pulled {
    let path = format!("{}?from={from}", Route::Pull.path(&[&share]));
    let answer = client.get(Route::Pull, &path);
    answer.done();
    Pulled::decode(&answer.body).unwrap()
}

pub(crate) fn refused(answer: &Answer, code: ErrorCode) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.code(), Some(code), "{text}");
}

pub(crate) const DAY: u64 = 24 * 3600;

/// An act as its author signs it now, by the server's clock.
pub(crate) fn signed_act(world: &World, by: &Person, order: Order) -> Vec<u8> {
    let act = Act {
        order,
        root: by.root(),
        entry: by.account.entry,
        nonce: Nonce::generate().unwrap(),
        time: world.clock.now(),
    };
    Signed::sign(act, &by.account.identity).encode()
}

/// Waits until something holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// All files under a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let under = entries.map(|entry| entry.unwrap().path());
    let all = under.flat_map(|path| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    });
    all.collect()
}

/// The code in a mail to somebody that is not among those read before, once it is there.
pub(crate) fn mailed_code(folder: &Path, to: &str, read: &mut Vec<PathBuf>) -> String {
    let found = std::cell::RefCell::new(None);
    until("no mail came", || {
        let mails = files(folder).into_iter();
        let mut mails = mails.filter(|path| path.extension().is_some_and(|e| e == "eml"));
        let text = mails.find_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let new = text.starts_with(&format!("To: {to}\r\n")) && !read.contains(&path);
            new.then_some((path, text))
        });
        *found.borrow_mut() = text;
        found.borrow().is_some()
    });
    let (path, text) = found.into_inner().unwrap();
    read.push(path);
    text.trim_end().lines().last().unwrap().trim().to_owned()
}
