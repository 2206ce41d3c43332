//! A vault to test with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::mount::{Mount, alive, detach, mounted};
use crate::program::{Outcome, keyfold, keyfold_path, state_home};
use crate::sandbox::Sandbox;

/// The password of every test vault.
pub const PASSWORD: &str = "correct horse battery staple";

/// What stands behind the mount point of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The program under test.
    Keyfold,
    /// A plain directory, to try the tests themselves against the system's own filesystem.
    Directory,
}

impl Backend {
    /// What `KEYFOLD_TEST_BACKEND` asks for; the program under test when it is not set.
    pub fn chosen() -> Self {
        match std::env::var("KEYFOLD_TEST_BACKEND").as_deref() {
            Err(_) | Ok("keyfold") => Self::Keyfold,
            Ok("dir") => Self::Directory,
            Ok(other) => panic!("KEYFOLD_TEST_BACKEND={other}: use keyfold or dir"),
        }
    }
}

/// A vault in a sandbox of its own.
#[derive(Debug)]
pub struct Vault {
    path: PathBuf,
    mount_point: PathBuf,
    password_file: PathBuf,
    backend: Backend,
    logs: AtomicU32,
    sandbox: Sandbox,
}

impl Vault {
    /// A new, empty vault.
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        let parent = sandbox.path().to_owned();
        Self::beneath(&parent, sandbox)
    }

    /// A new vault on an ext4 filesystem of its own that is `mebibytes` large.
    pub fn on_small_disk(mebibytes: u64) -> Self {
        let sandbox = Sandbox::new();
        let disk = sandbox.small_disk(mebibytes);
        Self::beneath(&disk, sandbox)
    }

    fn beneath(parent: &Path, sandbox: Sandbox) -> Self {
        let backend = Backend::chosen();
        let path = parent.join("vault");
        let password_file = sandbox.file("password", PASSWORD);
        match backend {
            Backend::Keyfold => {
                // As cheap to unlock as the floor allows: tests do it again and again.
                let cost = ["--iter-time", "1", "--password-file"];
                let mut words = vec![Path::new("init"), &path];
                words.extend(cost.map(Path::new));
                words.push(&password_file);
                keyfold(words).expect_success("keyfold init");
            }
            Backend::Directory => std::fs::create_dir(&path).unwrap(),
        }
        let mount_point = match backend {
            Backend::Keyfold => sandbox.dir("mnt"),
            Backend::Directory => path.clone(),
        };
        Self {
            path,
            mount_point,
            password_file,
            backend,
            logs: AtomicU32::new(0),
            sandbox,
        }
    }

    /// The vault directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// A file that holds its password.
    pub fn password_file(&self) -> &Path {
        &self.password_file
    }

    /// The sandbox it lies in.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Mounts it.
    #[track_caller]
    pub fn mount(&self) -> Mount {
        self.mount_with(&[])
    }

    /// Mounts it with more options. A dead mount left at the mount point is the daemon's to
    /// detach.
    #[track_caller]
    pub fn mount_with(&self, options: &[&str]) -> Mount {
        if self.backend == Backend::Directory {
            return Mount::plain(self.mount_point.clone());
        }
        let taken = mounted(&self.mount_point) && alive(&self.mount_point);
        assert!(!taken, "{} is mounted already", self.mount_point.display());
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        let log = self.sandbox.path().join(format!("daemon-{number}.log"));
        let process = Command::new(keyfold_path())
            .arg("mount")
            .args([&self.path, &self.mount_point])
            .arg("--password-file")
            .arg(&self.password_file)
            .arg("-f")
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .env("XDG_STATE_HOME", state_home())
            .current_dir("/")
            .spawn()
            .unwrap();
        Mount::served_by(process, self.mount_point.clone(), log)
    }

    /// Runs `keyfold COMMAND VAULT ARGUMENTS... --password-file FILE`.
    pub fn keyfold(&self, command: &str, arguments: &[&str]) -> Outcome {
        let mut line = vec![command.into(), self.path.clone().into_os_string()];
        line.extend(arguments.iter().map(Into::into));
        line.push("--password-file".into());
        line.push(self.password_file.clone().into_os_string());
        keyfold(line)
    }

    /// Detaches a dead mount, as an administrator would with `umount -l`.
    pub fn detach(&self) {
        if self.backend == Backend::Keyfold {
            detach(&self.mount_point);
        }
    }

    /// Runs the vault through `keyfold check --read-data`; panics when that finds anything.
    #[track_caller]
    pub fn check(&self) {
        if self.backend == Backend::Keyfold {
            self.keyfold("check", &["--read-data"])
                .expect_success("keyfold check --read-data");
        }
    }
}

impl Default for Vault {
    fn default() -> Self {
        Self::new()
    }
}
