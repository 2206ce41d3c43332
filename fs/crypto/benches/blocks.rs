//! What sealing and opening blocks costs, whole and by halves.

#![allow(
    missing_docs,
    reason = "the macros of criterion make undocumented functions"
)]

use std::hint::black_box;

use aes::Aes256;
use aes::cipher::KeyInit;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keyfold_crypto::halves::{HmacKey, Xts};
use keyfold_crypto::{BLOCK_SIZE, FileId, FileKey, MasterKey, Sealed};
use xts_mode::Xts128;

const MEBIBYTE: usize = 256;

fn blocks(c: &mut Criterion) {
    let key = FileKey::generate().expect("random bytes");
    let file = FileId([7; 16]);
    let cipher = key.cipher();
    let mut group = c.benchmark_group("block");
    for (name, count) in [
        ("4K", 1),
        ("16K", 4),
        ("32K", 8),
        ("64K", 16),
        ("1M", MEBIBYTE),
    ] {
        let indexes: Vec<u64> = (0..count as u64).collect();
        let mut data = vec![0x5a; count * BLOCK_SIZE];
        let mut out = vec![Sealed::default(); count];
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(format!("seal {name}"), |b| {
            b.iter(|| cipher.seal_run(&file, &indexes, black_box(&mut data), &mut out));
        });
        cipher
            .seal_run(&file, &indexes, &mut data, &mut out)
            .expect("random bytes");
        let items: Vec<(u64, Sealed)> = indexes.iter().copied().zip(out).collect();
        let sealed = data.clone();
        // Includes copying the ciphertext into place, as a read from a file would.
        group.bench_function(format!("open {name}"), |b| {
            b.iter(|| {
                data.copy_from_slice(&sealed);
                cipher
                    .open_run(&file, &items, black_box(&mut data))
                    .expect("a fitting tag");
            });
        });
    }
    let mut block = [0; BLOCK_SIZE];
    group.throughput(Throughput::Bytes(BLOCK_SIZE as u64));
    let mut sealed = [Sealed::default()];
    cipher
        .seal_run(&file, &[0], &mut block, &mut sealed)
        .expect("random bytes");
    group.bench_function("open 4K reference", |b| {
        b.iter(|| {
            let mut copy = block;
            cipher
                .open_block_reference(&file, 0, &sealed[0], &mut copy)
                .expect("a fitting tag");
            copy
        });
    });
    group.bench_function("expand file key", |b| b.iter(|| black_box(&key).cipher()));
    group.finish();
}

fn halves(c: &mut Criterion) {
    let mut keys = [1; 64];
    keys[32..].fill(2);
    let mut group = c.benchmark_group("half");
    let mut data = vec![[0x5a; BLOCK_SIZE]; MEBIBYTE];
    let tweaks = vec![[3; 16]; MEBIBYTE];
    group.throughput(Throughput::Bytes((MEBIBYTE * BLOCK_SIZE) as u64));
    let xts = Xts::new(&keys);
    group.bench_function("xts encrypt 1M", |b| {
        b.iter(|| xts.encrypt(&tweaks, black_box(&mut data)));
    });
    group.bench_function("xts decrypt 1M", |b| {
        b.iter(|| xts.decrypt(&tweaks, black_box(&mut data)));
    });
    let reference = Xts128::new(Aes256::new(&[1; 32].into()), Aes256::new(&[2; 32].into()));
    group.bench_function("xts-mode encrypt 1M", |b| {
        b.iter(|| {
            for block in black_box(&mut data) {
                reference.encrypt_sector(block, [3; 16].into());
            }
        });
    });
    let mac = HmacKey::new(&[4; 32]);
    group.bench_function("hmac 256 x 4K", |b| {
        b.iter(|| data.iter().fold(0, |sum, block| sum ^ mac.mac(&[block])[0]));
    });
    group.finish();
}

fn rows(c: &mut Criterion) {
    let key = MasterKey::generate()
        .expect("random bytes")
        .state_hash_key();
    let mut group = c.benchmark_group("state");
    for size in [64, 200, 3600] {
        let value = vec![0x5a; size];
        group.bench_function(format!("row of {size} bytes"), |b| {
            b.iter(|| key.row(1, &[0; 16], black_box(&value)));
        });
    }
    group.finish();
}

criterion_group!(benches, blocks, halves, rows);
criterion_main!(benches);
