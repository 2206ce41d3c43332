//! A sharing server of one test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{keyfold_path, outcome};
use crate::sandbox::Sandbox;

/// A server on this machine. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    log: PathBuf,
    level: &'static str,
    listen: String,
    has_tls: bool,
    process: Option<Child>,
}

/// The `keyfold-server` program, beside the `keyfold` under test.
fn program() -> PathBuf {
    let path = keyfold_path().with_file_name("keyfold-server");
    assert!(
        path.is_file(),
        "no keyfold-server beside keyfold: build it with `cargo build -p keyfold-server`"
    );
    path
}

fn restore(backup: &Path, folder: &Path) {
    outcome(
        Command::new(program())
            .arg("restore")
            .args([backup, folder]),
    )
    .expect_success("keyfold-server restore");
}

impl Server {
    /// A new server in `sandbox` that serves on a port of its own.
    pub fn new(sandbox: &Sandbox) -> Self {
        Self::logging(sandbox.path(), "warn")
    }

    /// A new server in a directory that logs as much as that.
    pub fn logging(dir: &Path, level: &'static str) -> Self {
        let folder = dir.join("server");
        outcome(Command::new(program()).arg("init").arg(&folder))
            .expect_success("keyfold-server init");
        Self::serving(folder, dir.join("server.log"), level)
    }

    fn serving(folder: PathBuf, log: PathBuf, level: &'static str) -> Self {
        let mut server = Self {
            folder,
            log,
            level,
            listen: "127.0.0.1:0".to_owned(),
            has_tls: false,
            process: None,
        };
        server.start();
        server
    }

    /// One that wants addresses proved, and puts its mails into a folder.
    pub fn with_mail(sandbox: &Sandbox) -> Self {
        let mut server = Self::new(sandbox);
        server.stop();
        let (path, mails) = (server.folder.join("server.toml"), server.mail_folder());
        std::fs::create_dir(&mails).unwrap();
        let config = std::fs::read_to_string(&path).unwrap();
        let wanted = "verify_email = true";
        let mut config = config.replacen("verify_email = false", wanted, 1);
        assert!(config.contains(wanted), "{config}");
        config.insert_str(0, &format!("mail_folder = \"{}\"\n", mails.display()));
        std::fs::write(&path, config).unwrap();
        server.start();
        server
    }

    fn mail_folder(&self) -> PathBuf {
        self.folder.with_file_name("mails")
    }

    /// The mails that it sent, oldest first.
    pub fn mails(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.mail_folder()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mails = paths.filter(|path| path.extension().is_some_and(|e| e == "eml"));
        let mut mails: Vec<_> = mails
            .map(|path| (path.metadata().unwrap().modified().unwrap(), path))
            .collect();
        mails.sort();
        let text = |(_, path)| std::fs::read_to_string(path).unwrap();
        mails.into_iter().map(text).collect()
    }

    /// Its address.
    pub fn url(&self) -> String {
        let scheme = if self.has_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.listen)
    }

    /// Copies all that it has, while it serves or not.
    pub fn back_up(&self, to: &Path) {
        outcome(
            Command::new(program())
                .arg("backup")
                .args([self.folder.as_path(), to]),
        )
        .expect_success("keyfold-server backup");
    }

    /// Has what a backup has from now on, and nothing else. Said while it does not serve.
    pub fn restore(&self, backup: &Path) {
        std::fs::remove_dir_all(&self.folder).unwrap();
        restore(backup, &self.folder);
    }

    /// Another server with a copy of all that this one has, on a port of its own.
    #[must_use]
    pub fn copied_to(&self, folder: &Path, beside: &Path) -> Self {
        let backup = beside.join("backup");
        self.back_up(&backup);
        restore(&backup, folder);
        Self::serving(folder.to_owned(), beside.join("copy.log"), self.level)
    }

    /// Sets something of a user while it does not serve.
    pub fn set_user(&self, user: &str, what: &[&str]) {
        let mut command = Command::new(program());
        command.args(["user", "set"]).arg(&self.folder).arg(user);
        outcome(command.args(what)).expect_success("keyfold-server user set");
    }

    /// Serves with this certificate and key from now on, or without. Said while it does not serve.
    pub fn set_tls(&mut self, files: Option<[PathBuf; 2]>) {
        let path = self.folder.join("server.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let rest = text.lines().filter(|line| !line.starts_with("tls_"));
        self.has_tls = files.is_some();
        let files = files
            .into_iter()
            .flatten()
            .map(|file| file.display().to_string());
        let names = ["tls_certificate", "tls_key"].into_iter();
        let lines = names
            .zip(files)
            .map(|(name, file)| format!("{name} = {file:?}"));
        let lines: Vec<String> = lines.chain(rest.map(str::to_owned)).collect();
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }

    /// Where it logs to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen.parse().unwrap()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Serves again, where it served before.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "the server serves already");
        let mut process = Command::new(program())
            .arg("serve")
            .arg(&self.folder)
            .args(["--listen", &self.listen])
            .env("KEYFOLD_SERVER_LOG", self.level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(&self.log)
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        let out = process.stdout.take().unwrap();
        self.process = Some(process);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Listening on ");
        let address = address.unwrap_or_else(|| panic!("the server did not start: {line:?}"));
        address.clone_into(&mut self.listen);
    }

    /// Ends it as a service manager does.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("a server that serves");
        kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(process.wait().unwrap().success(), "the server ended badly");
    }

    /// Kills it with SIGKILL.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("a server that serves");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Lets it stand still, so that it takes connections and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a server that serves");
        kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        if process.kill().and_then(|()| process.wait()).is_err() {
            eprintln!("the server {} cannot be killed", process.id());
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the server said\n{log}");
        }
    }
}
