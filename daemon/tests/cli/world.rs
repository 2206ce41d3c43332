//! A sharing server in this process, and vaults that use it.

use std::fs;
use std::thread::JoinHandle;

use keyfold_server::config::Config;
use keyfold_server::operation;
use keyfold_server::server::{Remote, Server};

use crate::sandbox::{Outcome, Sandbox};

/// A server that listens on a port of its own.
pub(crate) struct World {
    folder: tempfile::TempDir,
    running: Option<(Remote, JoinHandle<()>)>,
    pub(crate) url: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(mut config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        config.listen.set_port(0);
        config.registrations_per_hour = 1000;
        config.mail_folder = Some(folder.path().join("mail"));
        fs::create_dir(folder.path().join("mail")).unwrap();
        operation::init(&folder.path().join("server"), &config).unwrap();
        let mut world = Self {
            folder,
            running: None,
            url: String::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let path = self.folder.path().join("server");
        let config = Config::read(&path).unwrap();
        let scheme = if config.tls_key.is_some() {
            "https"
        } else {
            "http"
        };
        let server = Server::open(&path, config).unwrap();
        let remote = server.remote();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let thread = std::thread::spawn(move || runtime.block_on(server.serve()).unwrap());
        let waiter = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let address = waiter.block_on(remote.address()).unwrap();
        self.url = format!("{scheme}://{address}");
        self.running = Some((remote, thread));
    }

    pub(crate) fn stop(&mut self) {
        if let Some((remote, thread)) = self.running.take() {
            remote.end();
            thread.join().unwrap();
        }
    }

    /// The text of the one mail that is there.
    pub(crate) fn mail(&self) -> String {
        let folder = self.folder.path().join("mail");
        let mails = || -> Vec<_> {
            let all = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
            all.filter(|path| path.extension().is_some_and(|e| e == "eml"))
                .collect()
        };
        crate::sandbox::wait_until("a mail came", || !mails().is_empty());
        let mails = mails();
        assert_eq!(mails.len(), 1);
        fs::read_to_string(&mails[0]).unwrap()
    }
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

/// What makes an account's password known to a command.
pub(crate) const OLD: [&str; 2] = ["--account-password-file", "account-pw"];
pub(crate) const NEW: [&str; 2] = ["--new-account-password-file", "account-pw"];
const VAULT: [&str; 2] = ["--password-file", "pw"];

impl Sandbox {
    /// One with vaults of these names.
    pub(crate) fn with_vaults(names: &[&str]) -> Self {
        let sandbox = Self::new();
        fs::write(sandbox.path("account-pw"), "tall giraffe\n").unwrap();
        for name in names {
            sandbox
                .run(["init", name, "--password-file", "pw", "--iter-time", "1"])
                .expect(0);
        }
        sandbox
    }

    /// Runs a command that needs the vault's password.
    pub(crate) fn with_password(&self, args: &[&[&str]]) -> Outcome {
        let words = args.iter().copied().flatten().chain(&VAULT);
        self.run(words)
    }

    /// Makes an account in a vault; its kit is in the file `USER.kit`.
    pub(crate) fn register(&self, world: &World, user: &str, vault: &str) {
        let email = format!("{user}@example.org");
        let kit = format!("{user}.kit");
        self.with_password(&[
            &["account", "register", user, vault, "--server", &world.url],
            &["--email", &email, "--kit-file", &kit],
            &NEW,
        ])
        .expect(0);
    }

    /// Logs in with the kit.
    pub(crate) fn login(&self, world: &World, user: &str, vault: &str) -> Outcome {
        let kit = format!("{user}.kit");
        self.with_password(&[
            &["account", "login", user, vault, "--server", &world.url],
            &["--kit", &kit],
            &OLD,
        ])
    }

    /// What a command with `--json` prints.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let outcome = self.with_password(&[args, &["--json"]]).expect(0);
        serde_json::from_str(&outcome.out).unwrap()
    }
}
