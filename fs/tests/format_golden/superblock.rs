//! The superblock's authentication code, recomputed from the document alone.

use std::fs;

use keyfold_crypto::Password;
use keyfold_fs::vault::{Access, LockedVault, Secret};
use serde_json::Value;

const GOLDEN: &str = include_str!("../vault_directory/golden/superblock-1.json");

/// Length (4 bytes) and bytes of each field, one after the other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(&mut self, field: &[u8]) {
        self.0.extend((field.len() as u32).to_le_bytes());
        self.0.extend(field);
    }

    fn text(&mut self, value: &Value) {
        self.bytes(value.as_str().unwrap().as_bytes());
    }

    fn hex(&mut self, value: &Value) {
        self.bytes(&hex(value));
    }

    fn number(&mut self, value: &Value) {
        self.bytes(&value.as_u64().unwrap_or(0).to_le_bytes());
    }
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    data_encoding::HEXLOWER.decode(text).unwrap()
}

#[test]
fn the_superblocks_code_is_over_the_documented_fields_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("segments")).unwrap();
    fs::write(dir.path().join("meta.db"), b"").unwrap();
    for copy in ["superblock.json", "superblock.bak"] {
        fs::write(dir.path().join(copy), GOLDEN).unwrap();
    }
    let password = Password::new("golden password".to_owned());
    let vault = LockedVault::open(dir.path(), Access::ReadOnly)
        .unwrap()
        .unlock(&Secret::Password(password))
        .unwrap();
    let json: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut fields = Fields::default();
    fields.text(&json["format"]);
    fields.number(&json["version"]);
    fields.hex(&json["vault_id"]);
    fields.text(&json["created"]);
    fields.text(&json["cipher_suite"]);
    fields.number(&json["block_size"]);
    fields.number(&json["segment_size"]);
    fields.text(&json["kdf"]);
    fields.number(&json["revision"]);
    let slots = json["slots"].as_array().unwrap();
    fields.bytes(&(slots.len() as u64).to_le_bytes());
    for slot in slots {
        fields.number(&slot["id"]);
        fields.text(&slot["kind"]);
        fields.text(&slot["label"]);
        fields.text(&slot["created"]);
        fields.hex(&slot["salt"]);
        fields.number(&slot["rounds"]);
        fields.hex(&slot["params_mac"]);
        fields.hex(&slot["sealed_master"]);
        assert_eq!(hex(&slot["sealed_master"]).len(), 1 + 32 + 32 + 32 + 16);
    }
    let mac = vault.master().superblock_mac_key().mac(&fields.0);
    assert_eq!(mac.to_vec(), hex(&json["mac"]));
}
