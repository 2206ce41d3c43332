//! Everything a user without privileges does, through fusermount3.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use keyfold_tests::{OrdinaryUser, Outcome, PASSWORD, Sandbox, keyfold_path, mounted};

/// A home directory of an ordinary user, with a copy of the program in a place open to all.
struct Home {
    user: OrdinaryUser,
    path: PathBuf,
    program: PathBuf,
    _sandbox: Sandbox,
}

impl Home {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let user = OrdinaryUser::get();
        let path = sandbox.dir("home");
        let program = sandbox.path().join("keyfold");
        fs::copy(keyfold_path(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join("password"), PASSWORD).unwrap();
        for owned in [path.join("password"), path.clone()] {
            chown(owned, Some(user.uid), Some(user.gid)).unwrap();
        }
        Self {
            user,
            path,
            program,
            _sandbox: sandbox,
        }
    }

    fn run(&self, script: &str) -> Outcome {
        let mut command = self.user.command("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.path)
            .env("HOME", &self.path)
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env("KEYFOLD", &self.program);
        let output = command.output().unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    fn expect(&self, script: &str) -> String {
        let done = self.run(script);
        done.expect_success(format_args!("`{script}`"));
        done.stdout.trim_end().to_owned()
    }

    fn mount(&self) -> PathBuf {
        self.expect(
            "\"$KEYFOLD\" init vault --password-file password >/dev/null
             mkdir mnt; \"$KEYFOLD\" mount vault mnt --password-file password",
        );
        self.path.join("mnt")
    }
}

#[test]
fn a_user_makes_mounts_uses_and_unmounts_a_vault() {
    let home = Home::new();
    let root = home.mount();
    assert!(mounted(&root));
    home.expect(
        "cd mnt; mkdir dir; seq 100000 >dir/file; ln -s dir/file link; chmod 600 dir/file
         setfattr -n user.note -v text dir/file; mkfifo fifo
         test $(stat -c %U dir) = keyfold-test; rm fifo; sync dir/file
         head -c 3000000 /dev/urandom >random; cp random copy; cmp random copy",
    );
    home.expect("\"$KEYFOLD\" unmount mnt");
    assert!(!mounted(&root));
    home.expect("\"$KEYFOLD\" mount vault mnt --password-file password; cd mnt; cmp random copy");
    assert_eq!(home.expect("tail -1 mnt/link"), "100000");
    home.expect("\"$KEYFOLD\" unmount mnt");
}

#[test]
fn the_mount_of_a_user_is_closed_to_others_and_nosuid() {
    let home = Home::new();
    let root = home.mount();
    home.expect("echo private >mnt/file; chmod 777 mnt; chmod 666 mnt/file");
    let error = fs::read(root.join("file")).unwrap_err();
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::PermissionDenied,
        "even root is kept out"
    );
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(root.to_str().unwrap()))
        .unwrap();
    assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
    home.expect("\"$KEYFOLD\" unmount mnt");
}

#[test]
fn a_mount_point_of_somebody_else_is_refused() {
    let home = Home::new();
    home.expect("\"$KEYFOLD\" init vault --password-file password >/dev/null");
    let foreign = home.path.parent().unwrap().join("foreign");
    fs::create_dir(&foreign).unwrap();
    let script = format!(
        "\"$KEYFOLD\" mount vault {} --password-file password",
        foreign.display()
    );
    let done = home.run(&script);
    assert!(
        !done.succeeded() && done.stderr.starts_with("keyfold: "),
        "{done}"
    );
    assert!(!mounted(&foreign));
}

#[test]
fn a_vault_of_somebody_else_is_refused() {
    let home = Home::new();
    home.expect("\"$KEYFOLD\" init vault --password-file password >/dev/null; mkdir mnt");
    chown(home.path.join("vault"), Some(0), Some(0)).unwrap();
    let done = home.run("\"$KEYFOLD\" mount vault mnt --password-file password");
    assert!(
        !done.succeeded() && done.stderr.starts_with("keyfold: "),
        "{done}"
    );
    assert!(!mounted(&home.path.join("mnt")));
}

#[test]
fn a_dead_mount_of_a_user_is_taken_over_by_the_users_next_one() {
    let home = Home::new();
    let root = home.mount();
    home.expect("echo content >mnt/file; sync mnt/file mnt");
    let script = "
        pid=$(tr -dc 0-9 <vault/lock)
        kill -9 $pid; for n in $(seq 400); do kill -0 $pid 2>/dev/null || break; sleep 0.05; done
        ! df mnt 2>/dev/null";
    home.expect(script);
    home.expect("\"$KEYFOLD\" mount vault mnt --password-file password");
    assert_eq!(home.expect("cat mnt/file"), "content");
    home.expect("\"$KEYFOLD\" unmount mnt");
    assert!(!mounted(&root));
}

#[test]
fn the_vault_directory_and_its_files_are_closed_to_others() {
    let home = Home::new();
    home.mount();
    home.expect("seq 100000 >mnt/file; \"$KEYFOLD\" unmount mnt");
    let open = home.expect("find vault -perm /077");
    assert_eq!(open, "", "open to group or others");
    assert!(Path::new(&home.path).join("vault/superblock.json").exists());
}
