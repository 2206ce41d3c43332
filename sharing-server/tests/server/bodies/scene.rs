//! Somebody who may call every route, and a body for each that the route takes.

use keyfold_protocol::act::Order;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::{BlobId, PublicationHash, RequestHash, Time};
use keyfold_protocol::publication::Audience;
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::request::{Decision, Verdict};
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{
    AddressQuery, AdminSetUser, AdoptBlobs, AppendChain, Base64, BeginSecondFactor, BlobList,
    ConfirmSecondFactor, EndSecondFactor, Find, Invite, Login, LoginParameters, PutBook, PutPin,
    RecoveryLogin, SetPassword, Standing, VerifyEmail,
};
use keyfold_server::config::Config;
use keyfold_server::operation;

use crate::http::{Client, json};
use crate::people::{Person, Share, person};
use crate::requests::{ask, offer, publish, wish};
use crate::world::{World, auth, device, kdf, push, registration, roots, signed_act, upload};

/// A server, and somebody who may call every route.
pub(crate) struct Scene {
    pub(super) world: World,
    pub(super) alice: Person,
    pub(crate) client: Client,
    share: Share,
    /// A record that could be appended.
    next: Share,
    publication: PublicationHash,
    request: RequestHash,
}

impl Scene {
    /// Alice, who may call every route.
    pub(crate) fn new() -> Self {
        let world = World::with(&Config {
            requests_per_second: 1_000_000,
            ..Config::default()
        });
        let (alice, bob) = (person("alice"), person("bob"));
        let (client, at_bob) = (world.join(&alice), world.join(&bob));
        let change = AdminSetUser {
            standing: Some(Standing::Admin),
            ..AdminSetUser::default()
        };
        operation::set_user(&world.path(), &alice.account.user, &change).unwrap();
        let share = Share::with(&alice, &[]);
        upload(&client, &share);
        let publication = publish(&client, &alice, &share, Audience::Everyone, 1);
        let request = ask(&at_bob, &bob, publication);
        let mut next = Share::begin(&alice);
        next.id = share.id;
        next.log = share.log.clone();
        next.keys.clone_from(&share.keys);
        next.write(&alice, vec![]);
        Self {
            world,
            alice,
            client,
            share,
            next,
            publication,
            request,
        }
    }

    pub(crate) fn path(&self, route: Route) -> String {
        let path = route.spec().path;
        let path = path.replace("{share}", &self.share.id.to_string());
        let path = path.replace("{blob}", &"11".repeat(32));
        let path = path.replace("{vault}", &"22".repeat(16));
        let path = path.replace("{device}", &"33".repeat(16));
        let record = match route {
            Route::Restore => self.next.log.head().unwrap().1.to_string(),
            _ => "44".repeat(32),
        };
        let path = path.replace("{record}", &record);
        let path = path.replace("{request}", &self.request.to_string());
        let path = path.replace("{user}", "bob").replace("{slug}", "plan");
        match route {
            Route::PutBlob => path + "?offset=0&size=100",
            Route::Pull => path + "?from=0",
            _ => path,
        }
    }

    fn act(&self, order: Order) -> Vec<u8> {
        signed_act(&self.world, &self.alice, order)
    }

    /// A body that the route takes; none where it takes no body, or any bytes. A route that is added
    /// to the table does not compile here until it has its place.
    pub(crate) fn body(&self, route: Route) -> Option<Vec<u8>> {
        let (alice, share) = (&self.alice, self.share.id);
        let user = || alice.account.user.clone();
        let list = || BlobList {
            blobs: vec![BlobId([1; 32]), BlobId([2; 32])],
        };
        Some(match route {
            Route::Register => json(&registration(&person("dave"))),
            Route::VerifyEmail => json(&VerifyEmail {
                token: "A".repeat(43),
            }),
            Route::ResendVerification => json(&AddressQuery { user: user() }),
            Route::LoginParameters => json(&LoginParameters { user: user() }),
            Route::Login => json(&Login {
                user: user(),
                auth: auth(alice, "guess"),
                device: device(alice),
                device_name: "laptop".parse().unwrap(),
                second_factor: Some("123456".into()),
            }),
            Route::RecoveryLogin => json(&RecoveryLogin {
                user: user(),
                auth: auth(alice, "guess"),
                device: device(alice),
                device_name: "laptop".parse().unwrap(),
                second_factor: None,
            }),
            Route::SetPassword => json(&SetPassword {
                current_auth: auth(alice, "password"),
                kdf: kdf(),
                auth: auth(alice, "new"),
                recovery_auth: auth(alice, "new recovery"),
                roots: roots(),
            }),
            Route::BeginSecondFactor => json(&BeginSecondFactor {
                current_auth: auth(alice, "password"),
            }),
            Route::ConfirmSecondFactor => json(&ConfirmSecondFactor {
                code: "123456".into(),
            }),
            Route::EndSecondFactor => json(&EndSecondFactor {
                current_auth: auth(alice, "password"),
                code: "123456".into(),
            }),
            Route::AppendChain => json(&AppendChain {
                entry: Base64(alice.with_new_keys().chain[1].encode()),
                roots: roots(),
                remove_devices: vec![device(alice)],
            }),
            Route::PutBook => json(&PutBook {
                generation: 1,
                sealed: Base64(vec![1; 100]),
            }),
            Route::PutPin => json(&PutPin {
                counter: 1,
                sealed: Base64(vec![1; 100]),
            }),
            Route::FindUser => json(&Find {
                email: "bob@example.org".parse().unwrap(),
            }),
            Route::Invite => json(&Invite {
                email: "carol@example.org".parse().unwrap(),
            }),
            Route::MissingBlobs | Route::ReviveBlobs => json(&list()),
            Route::AdoptBlobs => json(&AdoptBlobs {
                from: share,
                blobs: list().blobs,
            }),
            Route::AdminSetUser => json(&AdminSetUser {
                standing: Some(Standing::Auditor),
                disabled: Some(true),
                quota: Some(1),
            }),
            Route::DeleteAccount => self.act(Order::DeleteAccount),
            Route::DeleteShare => self.act(Order::DeleteShare(share)),
            Route::SetRetention => self.act(Order::SetRetention(share, 60)),
            Route::PurgeBlobs => self.act(Order::PurgeBlobs(share, list().blobs)),
            Route::CreateShare => Share::begin(alice).appended[0].encode(),
            Route::Append | Route::Restore => self.next.appended.last().unwrap().encode(),
            Route::PutReceipt => self.receipt(),
            Route::Publish => offer(alice, &self.share, Audience::Nobody, 2),
            Route::Request => {
                let wish = wish(alice, self.publication);
                Signed::sign(wish, &alice.account.identity).encode()
            }
            Route::Decide => self.decision(),
            Route::PutBlob
            | Route::Health
            | Route::Ready
            | Route::Metrics
            | Route::ServerInfo
            | Route::OpenApi
            | Route::Logout
            | Route::Account
            | Route::Book
            | Route::Pin
            | Route::Devices
            | Route::SecondFactor
            | Route::RemoveDevice
            | Route::Chain
            | Route::Shares
            | Route::Share
            | Route::Pull
            | Route::FindRecord
            | Route::BlobState
            | Route::Blob
            | Route::DroppedBlobs
            | Route::Publications
            | Route::FindPublication
            | Route::Requests
            | Route::Events
            | Route::AdminUsers
            | Route::AdminFigures
            | Route::AdminAudit => return None,
        })
    }

    fn receipt(&self) -> Vec<u8> {
        let (seq, record) = self.share.log.head().unwrap();
        let receipt = Receipt {
            share: self.share.id,
            seq,
            record,
            device: device(&self.alice),
            root: self.alice.root(),
            entry: self.alice.account.entry,
            time: Time(1),
        };
        Signed::sign(receipt, &self.alice.account.identity).encode()
    }

    fn decision(&self) -> Vec<u8> {
        let decision = Decision {
            request: self.request,
            verdict: Verdict::Denied,
            root: self.alice.root(),
            entry: self.alice.account.entry,
            time: Time(1),
        };
        Signed::sign(decision, &self.alice.account.identity).encode()
    }

    /// All rows of all tables but those that count and note what was tried.
    fn stored(&self) -> Vec<String> {
        let path = self.world.path().join("server.db");
        let database = rusqlite::Connection::open(path).unwrap();
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut names = database.prepare(names).unwrap();
        let tables = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let tables: Vec<String> = tables.map(Result::unwrap).collect();
        let counted = ["audit", "throttle", "session"];
        let kept = tables.iter().filter(|t| !counted.contains(&t.as_str()));
        let rows = kept.flat_map(|table| {
            let mut all = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = all.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let values = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
                let values: Vec<_> = values.map(Result::unwrap).collect();
                Ok(format!("{table} {values:?}"))
            };
            all.query_map([], row)
                .unwrap()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        });
        let objects = crate::world::files(&self.world.path().join("blobs"));
        let objects = objects.iter().map(|path| path.display().to_string());
        rows.chain(objects).collect()
    }

    /// Runs `attack`, after which everything is as it was and every body is still taken as before.
    pub(super) fn unharmed(self, attack: impl FnOnce(&Self)) {
        let before = self.stored();
        assert!(before.len() > 10, "{before:?}");
        attack(&self);
        assert_eq!(self.stored(), before);
        push(&self.client, &self.next).done();
        assert_eq!(self.client.get(Route::Ready, "/ready").body, b"ready\n");
    }
}
