//! The program killed at any moment: what it acknowledged is there when it serves again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use keyfold_protocol::log::Log;
use keyfold_server::config::Config;
use keyfold_server::operation;

use crate::http::{Answer, Client};
use crate::people::{Share, person};
use crate::world::{append, create, join_at, login_at, pull};

/// Times that the program is killed.
const KILLS: u64 = 4;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn serve(folder: &Path) -> (Running, std::net::SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfold-server"));
    command
        .arg("serve")
        .arg(folder)
        .args(["--listen", "127.0.0.1:0"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut running = Running(child.unwrap());
    let mut line = String::new();
    let out = running.0.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("Listening on ").unwrap();
    (running, address.parse().unwrap())
}

/// The answer, or none if the server was killed before it gave one.
fn perhaps(client: &Client, share: &Share, place: usize) -> Option<Answer> {
    let (client, id) = (client.clone(), share.id);
    let next = share.appended[place].clone();
    std::thread::spawn(move || append(&client, id, &next))
        .join()
        .ok()
}

#[test]
fn what_was_acknowledged_is_there_after_the_program_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    operation::init(&path, &Config::default()).unwrap();
    let alice = person("alice");
    let mut share = Share::begin(&alice);
    let (mut running, address) = serve(&path);
    create(&join_at(address, &alice), &share.appended[0]);
    let mut client = login_at(address, &alice);
    for round in 0..KILLS {
        let from = share.appended.len();
        for _ in 0..200 {
            share.write(&alice, vec![]);
        }
        // Killed while appends are under way, later in each round.
        let mut victim = running;
        let killer = std::thread::spawn({
            let (client, id) = (client.clone(), share.id);
            move || {
                while pull(&client, id, 0).head_seq.0 < from as u64 + 3 * (round + 1) {}
                victim.0.kill().unwrap();
                drop(victim);
            }
        });
        let acknowledged = (from..share.appended.len())
            .take_while(|place| perhaps(&client, &share, *place).is_some_and(|a| a.status == 200))
            .count();
        killer.join().unwrap();
        let (again, address) = serve(&path);
        running = again;
        client = login_at(address, &alice);
        let mut log = Log::new(alice.own(), share.id);
        loop {
            let next = log.head().map_or(0, |(seq, _)| seq.0 + 1);
            let pulled = pull(&client, share.id, next);
            if pulled.records.is_empty() {
                break;
            }
            log.absorb(&pulled.records).unwrap();
        }
        let kept = log.head().unwrap().0.0 as usize + 1;
        assert!(
            kept >= from + acknowledged,
            "round {round}: {kept} of {acknowledged}"
        );
        // What was not acknowledged is sent again, and stands once whether it had arrived or not.
        for next in &share.appended[from..] {
            append(&client, share.id, next).done();
        }
    }
    let head = pull(&client, share.id, 0).head_seq;
    assert_eq!(head.0 as usize + 1, share.appended.len());
}
