//! Nothing planted is found on the server: no password, no key, no name and no content.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use keyfold_crypto::{
    AccountAccess, AccountKdf, AccountRounds, AccountSecret, FileId, FileKey, Password,
    RecoveryKey, Sealed,
};
use keyfold_protocol::account::{WayIn, parameters};
use keyfold_protocol::ids::{NodeId, OperationId};
use keyfold_protocol::operation::{Action, Mode, Mtime, Operation, Place, What};
use keyfold_protocol::pack::{Descriptor, PackKey, blob_id, pack};
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{
    Base64, Key, Login, LoginReply, PutBook, Register, SealedRoots, VerifyEmail,
};
use keyfold_server::config::Config;
use keyfold_server::operation;

use crate::http::{Client, json};
use crate::people::{Person, Share, person};
use crate::world::{device, files, kdf, registration, upload};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The program, with as much as it ever logs in a file.
fn serve(folder: &Path, log: &Path) -> (Running, Client) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfold-server"));
    command
        .env("KEYFOLD_SERVER_LOG", "trace")
        .arg("serve")
        .arg(folder);
    command.args(["--listen", "127.0.0.1:0"]);
    command.stderr(std::fs::File::create(log).unwrap());
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let out = running.0.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("Listening on ").unwrap();
    let client = Client {
        address: address.parse().unwrap(),
        token: None,
    };
    (running, client)
}

/// A secret, and what it is.
struct Planted(&'static str, Vec<u8>);

impl Planted {
    /// The secret as it may be written down.
    fn forms(&self) -> Vec<Vec<u8>> {
        let texts = [
            HEXLOWER.encode(&self.1),
            BASE64.encode(&self.1),
            BASE64URL_NOPAD.encode(&self.1),
        ];
        let spaced = HEXLOWER.encode(&self.1).to_uppercase();
        let debugged = format!("{:?}", self.1);
        let texts = texts.into_iter().chain([spaced, debugged]);
        std::iter::once(self.1.clone())
            .chain(texts.map(String::into_bytes))
            .collect()
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Registers with secrets as a real client makes them; what must never be seen, and what logs in.
fn register(client: &Client, who: &Person) -> (Vec<Planted>, Key) {
    let text = "planted password of somebody";
    let secret = AccountSecret::generate().unwrap();
    let recovery = RecoveryKey::generate().unwrap();
    let stretched = AccountKdf {
        salt: *kdf().salt.0,
        rounds: AccountRounds::new(AccountRounds::FLOOR).unwrap(),
    };
    let password = Password::new(text.into());
    let by_password = AccountAccess::derive_password(&password, &secret, &stretched);
    let by_recovery = AccountAccess::derive_recovery(&recovery, &stretched.salt);
    let auth = |access: &AccountAccess| Key((*access.auth_key().expose()).into());
    let parameters = parameters(&who.account.user, &stretched);
    let body = Register {
        kdf: keyfold_protocol::wire::KdfParameters {
            mac: Key(by_password.params_mac(&parameters).into()),
            ..kdf()
        },
        auth: auth(&by_password),
        recovery_auth: auth(&by_recovery),
        roots: SealedRoots {
            password: Base64(who.account.seal(&by_password, WayIn::Password).unwrap()),
            recovery: Base64(who.account.seal(&by_recovery, WayIn::Recovery).unwrap()),
        },
        ..registration(who)
    };
    let answer = client.call(Route::Register, "/v1/accounts", &json(&body));
    answer.done();
    let planted = vec![
        Planted("password", text.into()),
        Planted("account secret", secret.secret().to_vec()),
        Planted(
            "account secret in words",
            secret.to_words().as_bytes().to_vec(),
        ),
        Planted(
            "recovery key in words",
            recovery.to_words().as_bytes().to_vec(),
        ),
        Planted("what proves a login", auth(&by_password).0.to_vec()),
        Planted("what proves a recovery", auth(&by_recovery).0.to_vec()),
        Planted("identity seed", who.account.identity.seed().to_vec()),
        Planted("kem seed", who.account.kem.seed().to_vec()),
    ];
    (planted, auth(&by_password))
}

fn login(client: &Client, who: &Person, auth: &Key) -> Client {
    let body = Login {
        user: who.account.user.clone(),
        auth: auth.clone(),
        device: device(who),
        device_name: "laptop".parse().unwrap(),
        second_factor: None,
    };
    let reply: LoginReply = client.call(Route::Login, "/v1/login", &json(&body)).json();
    Client {
        token: Some(reply.token),
        ..client.clone()
    }
}

/// Names and contents in a share: what must never be seen, and a part of what is stored.
fn write(client: &Client, alice: &Person, bob: &Person) -> (Vec<Planted>, Vec<u8>) {
    let mut share = Share::with(alice, &[(bob, Role::Writer)]);
    let name = "planted-name-of-a-file.txt";
    let operations = vec![
        Operation {
            id: OperationId::generate().unwrap(),
            action: Action::Make {
                at: Place {
                    parent: NodeId::ROOT,
                    name: name.parse().unwrap(),
                },
                node: NodeId([1; 16]),
                what: What::File,
                mode: Mode::new(6).unwrap(),
                mtime: Mtime {
                    seconds: 1,
                    nanoseconds: 0,
                },
            },
        },
        Operation {
            id: OperationId::generate().unwrap(),
            action: Action::Message("planted message to members".parse().unwrap()),
        },
    ];
    share.write(alice, operations);
    upload(client, &share);
    let content = b"planted content of a file ".repeat(200);
    let key = FileKey::generate().unwrap();
    let mut block = content[..4096].to_vec();
    let mut sealed = [Sealed::default()];
    let file = FileId::generate().unwrap();
    key.cipher()
        .seal_run(&file, &[0], &mut block, &mut sealed)
        .unwrap();
    let pack_key = PackKey::generate().unwrap();
    let descriptor = Descriptor {
        sealed: sealed[0],
        key: key.id(),
    };
    let bytes = pack(&pack_key, &[(descriptor, &block)]).unwrap();
    let path = Route::PutBlob.path(&[&share.id, &blob_id(&bytes)]);
    let path = format!("{path}?offset=0&size={}", bytes.len());
    client.call(Route::PutBlob, &path, &bytes).done();
    let book = PutBook {
        generation: 1,
        sealed: Base64(vec![3; 128]),
    };
    client
        .call(Route::PutBook, "/v1/account/book", &json(&book))
        .done();
    let mut planted = vec![
        Planted("name of a file", name.into()),
        Planted("message", b"planted message to members".to_vec()),
        Planted("content", b"planted content of a file".to_vec()),
        Planted("file key", key.secret().to_vec()),
        Planted("pack key", pack_key.secret().to_vec()),
    ];
    let epochs = share.keys.iter();
    planted.extend(epochs.map(|key| Planted("epoch key", key.secret().to_vec())));
    (planted, block[..64].to_vec())
}

/// Calls that fail, which are logged too.
fn stumble(client: &Client, who: &Person) {
    let planted = client.token.clone().unwrap();
    let body = json(&VerifyEmail { token: planted });
    client.call(Route::VerifyEmail, "/v1/accounts/verify", &body);
    client.call(
        Route::Login,
        "/v1/login",
        b"{\"user\":\"planted-user\",\"auth\":1}",
    );
    let path = Route::Chain.path(&[&who.account.user]);
    client.get(Route::Chain, &path).done();
    client.get(Route::Chain, "/v1/users/planted-user/chain");
    client.call(Route::CreateShare, "/v1/shares", b"planted body");
}

#[test]
fn nothing_planted_is_found_in_folder_database_log_and_backup_after_a_busy_session() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("server"), folder.path().join("log"));
    operation::init(&path, &Config::default()).unwrap();
    let (running, anyone) = serve(&path, &log);
    let (alice, bob) = (person("alice"), person("bob"));
    let (mut planted, auth) = register(&anyone, &alice);
    register(&anyone, &bob);
    let client = login(&anyone, &alice, &auth);
    let (written, stored) = write(&client, &alice, &bob);
    planted.extend(written);
    stumble(&client, &alice);
    let token = client.token.clone().unwrap();
    planted.push(Planted("token", token.clone().into_bytes()));
    planted.push(Planted("body of a failed call", b"planted body".to_vec()));
    // While it serves, its log beside the database has what was written last.
    operation::backup(&path, &folder.path().join("backup")).unwrap();
    search(folder.path(), &planted);
    drop(running);
    search(folder.path(), &planted);
    let everything: Vec<u8> = files(folder.path())
        .iter()
        .flat_map(|file| std::fs::read(file).unwrap())
        .collect();
    assert!(
        has(&everything, &stored),
        "what is searched is not what the server keeps"
    );
    let log = std::fs::read(&log).unwrap();
    assert!(has(&log, b"CreateShare"), "what is searched is not the log");
    for name in ["alice", "bob", "planted-user", "example.org"] {
        assert!(!has(&log, name.as_bytes()), "{name} is in the log");
    }
}

fn search(folder: &Path, planted: &[Planted]) {
    let found = files(folder);
    assert!(found.len() > 5, "{found:?}");
    for file in found {
        let bytes = std::fs::read(&file).unwrap();
        for secret in planted {
            for form in secret.forms() {
                assert!(!has(&bytes, &form), "{} is in {}", secret.0, file.display());
            }
        }
    }
}
