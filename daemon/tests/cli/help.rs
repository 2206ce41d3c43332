//! What the program says about itself.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::sandbox::Sandbox;

/// Every command that `--help` names, with its subcommands.
const COMMANDS: [&[&str]; 61] = [
    &[],
    &["init"],
    &["mount"],
    &["unmount"],
    &["passwd"],
    &["passwd", "list"],
    &["passwd", "add"],
    &["passwd", "change"],
    &["passwd", "remove"],
    &["info"],
    &["check"],
    &["backup-hold"],
    &["snapshot"],
    &["snapshot", "create"],
    &["snapshot", "list"],
    &["snapshot", "delete"],
    &["snapshot", "restore"],
    &["ls"],
    &["cat"],
    &["get"],
    &["export"],
    &["header"],
    &["header", "backup"],
    &["header", "restore"],
    &["status"],
    &["account"],
    &["account", "register"],
    &["account", "verify"],
    &["account", "login"],
    &["account", "logout"],
    &["account", "show"],
    &["account", "devices"],
    &["account", "devices", "list"],
    &["account", "devices", "remove"],
    &["account", "kit"],
    &["account", "password"],
    &["account", "delete"],
    &["trust"],
    &["people"],
    &["share"],
    &["unshare"],
    &["wait-synced"],
    &["keep"],
    &["free"],
    &["history"],
    &["purge"],
    &["accept"],
    &["shares"],
    &["members"],
    &["role"],
    &["group"],
    &["leave"],
    &["publish"],
    &["unpublish"],
    &["inbox"],
    &["approve"],
    &["deny"],
    &["request"],
    &["withdraw"],
    &["completions"],
    &["man"],
];

#[test]
fn the_help_of_every_command_is_as_documented() {
    let sandbox = Sandbox::new();
    let mut all = String::new();
    for command in COMMANDS {
        let mut args = command.to_vec();
        args.push("--help");
        let mut run = sandbox.command(&args);
        let output = run.env("COLUMNS", "100").output().unwrap();
        assert!(output.status.success());
        writeln!(all, "$ keyfold {}", args.join(" ")).unwrap();
        all.push_str(&String::from_utf8(output.stdout).unwrap());
        all.push('\n');
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn the_manual_pages_render_without_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.run(["man", "pages"]).expect(0);
    let pages: Vec<_> = fs::read_dir(sandbox.path("pages"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(pages.len(), COMMANDS.len());
    for page in pages {
        let output = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&page)
            .env("MANROFFSEQ", "")
            .env("MANWIDTH", "100")
            .output()
            .unwrap();
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && warnings.is_empty(),
            "{}: {warnings}",
            page.display()
        );
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.contains("EXIT STATUS"), "{}", page.display());
    }
}

#[test]
fn completions_are_a_script_that_the_shell_accepts() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "zsh"] {
        let script = sandbox.run(["completions", shell]).expect(0).out;
        assert!(script.contains("unmount"), "{shell}");
        assert!(!script.contains("serve-mount"), "{shell}");
        if shell == "bash" {
            fs::write(sandbox.path("script"), script).unwrap();
            let path = sandbox.path("script");
            assert!(
                Command::new("bash")
                    .arg("-n")
                    .arg(path)
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
}

#[test]
fn a_command_line_without_sense_is_a_usage_error() {
    let sandbox = Sandbox::new();
    for args in [
        &["dance"][..],
        &[],
        &["mount", "v"],
        &["mount", "v", "m", "--idle", "soon"],
        &["init", "v", "--password-file", "pw", "--password-stdin"],
        &["init", "v", "--password", "secret"],
        &["passwd", "remove", "v", "one"],
        &["unmount", "m", "--lazy", "--force"],
    ] {
        let outcome = sandbox.run(args).expect(2);
        assert!(!outcome.err.is_empty());
        assert_eq!(outcome.out, "");
    }
    assert!(!sandbox.path("v").exists());
}

#[test]
fn the_systemd_unit_is_one_that_systemd_accepts() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/keyfold@.service");
    let text = fs::read_to_string(unit).unwrap();
    assert!(text.contains("Type=notify"));
    let Ok(output) = Command::new("systemd-analyze")
        .args(["verify", "--user", "--man=no"])
        .arg(unit)
        .output()
    else {
        return;
    };
    let complaints: Vec<_> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("keyfold@") && !line.contains("is not executable"))
        .map(str::to_owned)
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
