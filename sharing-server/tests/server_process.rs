//! The program itself: made, served, ended by a signal, and looked through.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keyfold-server"))
}

/// Ends the process also when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn the_program_serves_until_it_is_told_to_end_and_logs_no_path_and_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server");
    let made = program().arg("init").arg(&server).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let again = program().arg("init").arg(&server).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let mut serve = program();
    serve
        .arg("serve")
        .arg(&server)
        .args(["--listen", "127.0.0.1:0"]);
    let child = serve
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut line = String::new();
    let out = running.0.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let address = line
        .trim()
        .strip_prefix("Listening on ")
        .unwrap()
        .to_owned();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer secret-token-of-somebody\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/health").starts_with("HTTP/1.1 200"));
    assert!(ask("/ready").ends_with("ready\n"));
    assert!(ask("/v1/users/planted-name/chain").starts_with("HTTP/1.1 401"));
    let pid = running.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(running.0.wait().unwrap().success());
    let mut log = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(log.contains("Chain"), "{log}");
    for secret in ["planted-name", "secret-token"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let audit = program()
        .args(["audit", "verify"])
        .arg(&server)
        .output()
        .unwrap();
    assert!(audit.status.success());
}

#[test]
fn without_tls_the_program_listens_on_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server");
    assert!(
        program()
            .arg("init")
            .arg(&server)
            .status()
            .unwrap()
            .success()
    );
    let mut serve = program();
    serve
        .arg("serve")
        .arg(&server)
        .args(["--listen", "0.0.0.0:0"]);
    let refused = serve.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("loopback"));
}
