//! A real server, somebody between it and its clients, and vaults.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use keyfold_crypto::{Password, Rounds};
use keyfold_fs::vault::{CreateOptions, KdfCost, UnlockedVault};
use keyfold_protocol::account::Kit;
use keyfold_server::config::Config;
use keyfold_server::operation;
use keyfold_server::server::{Remote as Running, Server as RealServer};
use serde_json::Value;

use crate::account::{
    Account, AccountError, Entry, Parameters, Profile, Proof, Registration, Session, login,
    register,
};
use crate::engine::{Engine, EngineError, EngineOptions};
use crate::remote::tests::run;
use crate::remote::tests::script::{Answer, Script, Seen};
use crate::remote::{Deadlines, Server};

type Meddle = Arc<dyn Fn(&Seen, SocketAddr) -> Option<Answer> + Send + Sync>;

/// A server with somebody before it who may do what he likes.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    running: Mutex<Option<(Running, JoinHandle<()>)>>,
    meddle: Arc<Mutex<Option<Meddle>>>,
    pub(crate) script: Script,
    real: Arc<Mutex<SocketAddr>>,
}

/// Serves what is in a folder, on a port of its own.
fn serve(path: &Path) -> (SocketAddr, (Running, JoinHandle<()>)) {
    let server = RealServer::open(path, Config::read(path).unwrap()).unwrap();
    let remote = server.remote();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let thread = std::thread::spawn(move || runtime.block_on(server.serve()).unwrap());
    let address = run(remote.address()).unwrap();
    (address, (remote, thread))
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.listen.set_port(0);
        config.registrations_per_hour = 1000;
        let path = folder.path().join("server");
        operation::init(&path, &config).unwrap();
        let (address, running) = serve(&path);
        let real = Arc::new(Mutex::new(address));
        let served = Arc::clone(&real);
        let meddle: Arc<Mutex<Option<Meddle>>> = Arc::default();
        let meddling = Arc::clone(&meddle);
        let script = Script::play(move |seen| {
            let meddle = meddling.lock().unwrap().clone();
            let real = *served.lock().unwrap();
            let answer = meddle.and_then(|meddle| meddle(seen, real));
            answer.unwrap_or_else(|| {
                if seen.path() == "/v1/events" {
                    Answer::Stream(real)
                } else {
                    Answer::Forward(real, Box::new(|body| body))
                }
            })
        });
        Self {
            folder,
            running: Mutex::new(Some(running)),
            meddle,
            script,
            real,
        }
    }

    /// Copies all that the server has.
    pub(crate) fn back_up(&self) {
        let path = self.folder.path();
        operation::backup(&path.join("server"), &path.join("backup")).unwrap();
    }

    /// The server has what the copy has from now on, and nothing else.
    pub(crate) fn restore(&self) {
        let path = self.folder.path();
        self.end();
        std::fs::remove_dir_all(path.join("server")).unwrap();
        operation::restore(&path.join("backup"), &path.join("server")).unwrap();
        let (address, running) = serve(&path.join("server"));
        *self.real.lock().unwrap() = address;
        *self.running.lock().unwrap() = Some(running);
    }

    fn end(&self) {
        if let Some((remote, thread)) = self.running.lock().unwrap().take() {
            remote.end();
            let ended = thread.join().is_ok();
            assert!(ended || std::thread::panicking(), "the server panicked");
        }
    }

    /// From now on requests are answered so, where the answer is some.
    pub(crate) fn meddle(
        &self,
        meddle: impl Fn(&Seen, SocketAddr) -> Option<Answer> + Send + Sync + 'static,
    ) {
        *self.meddle.lock().unwrap() = Some(Arc::new(meddle));
    }

    /// From now on replies of a path are edited.
    pub(crate) fn edit(
        &self,
        path: &str,
        edit: impl Fn(&mut Value) + Send + Sync + Clone + 'static,
    ) {
        let path = path.to_owned();
        self.meddle(move |seen, real| {
            let edit = edit.clone();
            let edited = move |body: Vec<u8>| {
                let Ok(mut value) = serde_json::from_slice(&body) else {
                    return body;
                };
                edit(&mut value);
                serde_json::to_vec(&value).unwrap()
            };
            (seen.path() == path).then(|| Answer::Forward(real, Box::new(edited)))
        });
    }

    /// From now on nobody is in the way.
    pub(crate) fn be_honest(&self) {
        *self.meddle.lock().unwrap() = None;
    }

    /// What the real server answers to a request.
    pub(crate) fn real(&self) -> SocketAddr {
        *self.real.lock().unwrap()
    }

    pub(crate) fn server(&self) -> Server {
        Server {
            address: self.script.url.parse().unwrap(),
            ca: None,
        }
    }

    /// A new vault.
    pub(crate) fn vault(&self, name: &str) -> Engine {
        let options = CreateOptions {
            password: Password::new("correct horse".to_owned()),
            cost: KdfCost::Fixed(Rounds::new(Rounds::FLOOR).unwrap()),
        };
        let path = self.folder.path().join(name);
        let made: Result<_, EngineError> = UnlockedVault::create(&path, &options, Engine::format);
        let (vault, _) = made.unwrap();
        Engine::open(vault, EngineOptions::default()).unwrap()
    }

    /// A new vault with a new account, and the account's kit.
    pub(crate) fn registered(&self, user: &str) -> (Engine, Kit) {
        let engine = self.vault(user);
        let password = password();
        let wanted = Registration {
            server: self.server(),
            user: user.parse().unwrap(),
            email: format!("{user}@example.org").parse().unwrap(),
            device_name: "laptop".parse().unwrap(),
            password: &password,
            invitation: None,
        };
        let made = run(register(&engine, &wanted, Deadlines::default())).unwrap();
        (engine, made.kit)
    }

    pub(crate) fn entry(&self, user: &str, proof: Proof) -> Entry {
        Entry {
            server: self.server(),
            user: user.parse().unwrap(),
            device_name: "desktop".parse().unwrap(),
            proof,
            second_factor: None,
            parameters: Parameters::AsFirstSeen,
        }
    }

    pub(crate) fn login(
        &self,
        engine: &Engine,
        user: &str,
        kit: Option<&Kit>,
    ) -> Result<Profile, AccountError> {
        let entry = self.entry(user, Proof::Password(password()));
        enter(engine, &entry, kit)
    }
}

/// Logs in.
pub(crate) fn enter(
    engine: &Engine,
    entry: &Entry,
    kit: Option<&Kit>,
) -> Result<Profile, AccountError> {
    let kit = kit.map(|kit| Kit::parse(&kit.to_text()).unwrap());
    run(login(engine, entry, kit, Deadlines::default()))
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.end();
    }
}

/// The password of every account here.
pub(crate) fn password() -> Password {
    Password::new("tall giraffe".to_owned())
}

/// The account of a vault, logged in.
pub(crate) fn session(engine: &Engine) -> Session<'_> {
    let account = Account::of(engine, Deadlines::default()).unwrap();
    run(account.session()).unwrap()
}
