use super::*;
use crate::Rounds;
use crate::vectors::{Vector, read};

fn keys_of(vector: &Vector) -> SlotKeys {
    let salt = vector.array("salt");
    if let Some(words) = vector.get("recovery") {
        return SlotKeys::derive_recovery(&RecoveryKey::parse(words).unwrap(), &salt);
    }
    let password = Password::new(String::from_utf8(vector.hex("password")).unwrap());
    let rounds = Rounds::new(vector.number("rounds") as u32).unwrap();
    SlotKeys::derive_password(&password, &KdfParams { salt, rounds })
}

#[test]
fn golden_slots_open() {
    let vectors = read(include_str!("../../tests/vectors/slot.txt"));
    assert!(
        vectors
            .iter()
            .any(|vector| vector.get("recovery").is_some())
    );
    for vector in vectors {
        let keys = keys_of(&vector);
        let params = vector.hex("params");
        assert_eq!(keys.params_mac(&params)[..], vector.hex("params-mac"));
        let context = Context::of(vector.text("label"))
            .bytes(&vector.hex("field"))
            .u64(vector.number("number"));
        let master = keys.unwrap(&context, &vector.hex("sealed")).unwrap();
        assert_eq!(
            master.expose()[..],
            vector.hex("master"),
            "{}",
            vector.text("name")
        );
        let again = keys.wrap(&context, &master).unwrap();
        assert_eq!(
            keys.unwrap(&context, &again).unwrap().expose(),
            master.expose()
        );
    }
}

#[test]
fn golden_schedule_holds() {
    for vector in read(include_str!("../../tests/vectors/schedule.txt")) {
        let master = MasterKey::from_slice(&vector.hex("master")).unwrap();
        assert_eq!(master.meta_db_key().expose()[..], vector.hex("meta-db"));
        assert_eq!(master.account_key().expose()[..], vector.hex("account"));
        assert_eq!(master.journal_key().expose()[..], vector.hex("journal"));
        assert_eq!(master.pin_key().expose()[..], vector.hex("pin"));
        let superblock = vector.hex("superblock");
        let key = master.superblock_mac_key();
        assert_eq!(key.mac(&superblock)[..], vector.hex("superblock-mac"));
        assert_eq!(
            key.verify(&superblock, &vector.array("superblock-mac")),
            Ok(())
        );
        assert_eq!(
            key.verify(b"another", &vector.array("superblock-mac")),
            Err(CryptoError::Tampered)
        );
    }
}

#[test]
fn wrong_secret_and_edited_parameters_look_the_same() {
    let key = RecoveryKey::generate().unwrap();
    let keys = SlotKeys::derive_recovery(&key, &[1; 32]);
    let mac = keys.params_mac(b"params");
    assert_eq!(keys.verify_params(b"params", &mac), Ok(()));
    assert_eq!(
        keys.verify_params(b"edited", &mac),
        Err(CryptoError::WrongKey)
    );
    let salted = SlotKeys::derive_recovery(&key, &[2; 32]);
    let other = SlotKeys::derive_recovery(&RecoveryKey::generate().unwrap(), &[1; 32]);
    for wrong in [salted, other] {
        assert_eq!(
            wrong.verify_params(b"params", &mac),
            Err(CryptoError::WrongKey)
        );
    }
}

#[test]
fn a_sealed_value_of_another_length_is_no_master_key() {
    let keys = SlotKeys::derive_recovery(&RecoveryKey::generate().unwrap(), &[1; 32]);
    let context = Context::of("t");
    let sealed = seal(&keys.kek, &context, &[0; 31]).unwrap();
    assert_eq!(
        keys.unwrap(&context, &sealed).err(),
        Some(CryptoError::Tampered)
    );
}

#[test]
fn password_and_recovery_labels_keep_equal_inputs_apart() {
    let password = schedule::slot(SlotSecret::Password(&[5; 32]), &[6; 32]);
    let recovery = schedule::slot(SlotSecret::Recovery(&[5; 32]), &[6; 32]);
    let all = [
        &password.params,
        &password.kek,
        &recovery.params,
        &recovery.kek,
    ];
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            assert_ne!(a, b);
        }
    }
}

#[test]
fn no_key_prints_its_bytes() {
    let master = MasterKey::from_slice(&[0xab; 32]).unwrap();
    let file = crate::FileKey::from_parts(crate::KeyId([1; 16]), [0xab; 32]);
    let keys = SlotKeys::derive_recovery(&RecoveryKey::generate().unwrap(), &[1; 32]);
    let printed = format!(
        "{master:?} {:?} {:?} {:?} {:?} {file:?} {:?} {keys:?}",
        master.meta_db_key(),
        master.superblock_mac_key(),
        master.state_hash_key(),
        master.account_key(),
        file.cipher(),
    );
    assert_eq!(
        printed,
        "MasterKey(..) DatabaseKey(..) SuperblockKey(..) StateHashKey(..) SealKey(..) \
         FileKey { id: KeyId([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), .. } \
         BlockCipher { key: KeyId([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), .. } \
         SlotKeys(..)"
    );
}
