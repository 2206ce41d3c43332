#!/usr/bin/env python3
"""Computes Keyfold's own vectors with Python's hashlib and the `cryptography` package (OpenSSL).

It shares no code with the product, so that a vector is a second opinion and not an echo. Run it in
this directory; the files it writes are checked in, and a change to one is a change of the format.
"""

import hashlib
import hmac
import struct
import unicodedata

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILES = {}


def record(target, **fields):
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in fields.items()]
    FILES[target] = FILES.get(target, "") + "\n" + "\n".join(lines) + "\n"


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block = b"", b""
    while len(out) < length:
        block = mac(prk, block + info + bytes([len(out) // 32 + 1]))
        out += block
    return out[:length]


def stream(seed, length):
    return hashlib.shake_256(seed.encode()).digest(length)


def context(label, *fields):
    out = b""
    for field in (label.encode(), *fields):
        out += struct.pack("<Q", len(field)) + field
    return out


def seal(key, ctx, plaintext, salt):
    keys = expand(mac(salt, key), hashlib.sha256(ctx).digest(), 64)
    return b"\x01" + salt + keys[32:] + AESGCM(keys[:32]).encrypt(bytes(12), plaintext, ctx)


def seals():
    for i, (length, fields) in enumerate([(0, []), (1, [b""]), (32, [b"slot", b"\0" * 16]), (100, [stream("f", 300)])]):
        key, salt, plain = stream(f"seal key {i}", 32), stream(f"seal salt {i}", 32), stream(f"seal plain {i}", length)
        sealed = seal(key, context("keyfold/1/test", *fields, struct.pack("<Q", i)), plain, salt)
        record("seal.txt", name=f"{length} bytes", key=key.hex(), label="keyfold/1/test",
               fields=" ".join(f.hex() or "-" for f in fields), number=i, salt=salt.hex(),
               plaintext=plain.hex(), sealed=sealed.hex())


def schedule():
    for i in range(2):
        master = stream(f"master {i}", 32)
        block = b"a superblock"
        record("schedule.txt", name=f"master {i}", master=master.hex(),
               meta_db=expand(master, b"keyfold/1/meta-db", 32).hex(),
               superblock=block.hex(),
               superblock_mac=mac(expand(master, b"keyfold/1/superblock-mac", 32), block).hex(),
               account=expand(master, b"keyfold/1/account", 32).hex(),
               journal=expand(master, b"keyfold/1/journal", 32).hex(),
               pin=expand(master, b"keyfold/1/pin", 32).hex())


def slots():
    ctx = context("keyfold/1/test-slot", b"vault", struct.pack("<Q", 3))
    params, master = b"canonical parameters", stream("slot master", 32)
    for i, password in enumerate(["correct horse battery staple", "Cafe\u0301 \u212b \u3042", ""]):
        salt, rounds = stream(f"slot salt {i}", 32), 600_000 + i
        nfc = unicodedata.normalize("NFC", password).encode()
        keys = mac(salt, hashlib.pbkdf2_hmac("sha256", nfc, salt, rounds))
        kek = expand(keys, b"keyfold/1/password/kek", 32)
        record("slot.txt", name=f"password {i}", password=password.encode().hex(), salt=salt.hex(), rounds=rounds,
               params=params.hex(), params_mac=mac(expand(keys, b"keyfold/1/password/params", 32), params).hex(),
               label="keyfold/1/test-slot", field=b"vault".hex(), number=3, master=master.hex(),
               sealed=seal(kek, ctx, master, stream(f"wrap salt {i}", 32)).hex())
    recovery, salt = stream("recovery 0", 32), stream("recovery salt", 32)
    keys = mac(salt, recovery)
    record("slot.txt", name="recovery key", recovery=words(recovery), salt=salt.hex(), params=params.hex(),
           params_mac=mac(expand(keys, b"keyfold/1/recovery/params", 32), params).hex(),
           label="keyfold/1/test-slot", field=b"vault".hex(), number=3, master=master.hex(),
           sealed=seal(expand(keys, b"keyfold/1/recovery/kek", 32), ctx, master, stream("wrap salt r", 32)).hex())


def crc24(data):
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def words(key):
    number = int.from_bytes(key + crc24(key).to_bytes(3, "big"), "big")
    letters = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * i & 31] for i in reversed(range(56)))
    return "-".join(letters[i:i + 4] for i in range(0, 56, 4))


def recoveries():
    for name, key in [("zero", bytes(32)), ("ones", b"\xff" * 32), ("counting", bytes(range(32))),
                      ("random", stream("recovery 0", 32))]:
        record("recovery.txt", name=name, key=key.hex(), words=words(key))


def blocks():
    for i, index in enumerate([0, 1, 2**32 + 5, 2**64 - 1]):
        secret, key_id = stream(f"file key {i}", 32), stream(f"key id {i}", 16)
        file, tweak, plain = stream(f"file {i}", 16), stream(f"tweak {i}", 16), stream(f"pattern {i}", 64) * 64
        cipher = Cipher(algorithms.AES(expand(secret, b"keyfold/1/file/xts", 64)), modes.XTS(tweak)).encryptor()
        text = cipher.update(plain) + cipher.finalize()
        trailer = b"kf/block" + struct.pack("<I", 1) + file + struct.pack("<Q", index) + key_id
        record("block.txt", name=f"block {index}", secret=secret.hex(), key_id=key_id.hex(), file=file.hex(),
               index=index, tweak=tweak.hex(), plaintext_repeats=plain[:64].hex(),
               ciphertext_sha256=hashlib.sha256(text).hexdigest(), ciphertext_head=text[:64].hex(),
               tag=mac(expand(secret, b"keyfold/1/file/mac", 32), text + tweak + trailer).hex())


def states():
    master = stream("state master", 32)
    keys = expand(master, b"keyfold/1/state-hash", 64)
    total = 0
    for i in range(5):
        key, value = stream(f"row key {i}", 7 * i), stream(f"row value {i}", 70 * i)
        row = mac(keys[:32], bytes([i]) + struct.pack("<I", len(key)) + key + value)
        total = (total + int.from_bytes(row, "little")) % 2**256
        state = total.to_bytes(32, "little")
        record("state.txt", name=f"after row {i}", master=master.hex(), table=i, key=key.hex(), value=value.hex(),
               state=state.hex(), counter=i, pin=mac(keys[32:], struct.pack("<Q", i) + state).hex())


def written(kind, value):
    number = int.from_bytes(value + crc24(bytes([kind]) + value).to_bytes(3, "big"), "big")
    text = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * i & 31] for i in reversed(range(32)))
    return "-".join(text[i:i + 4] for i in range(0, 32, 4))


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def sharing():
    for i in range(2):
        key = stream(f"epoch key {i}", 32)
        children = {name: expand(key, f"keyfold/1/epoch/{name}".encode(), 32) for name in ("record", "prev", "snapshot", "commit")}
        password, secret, salt = f"account password {i}", stream(f"account secret {i}", 16), stream(f"account salt {i}", 32)
        stretched = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 600_000)
        prk = mac(secret, stretched)
        account = {name: expand(prk, f"keyfold/1/account-password/{name}".encode(), 32) for name in ("params", "kek", "auth")}
        identity, message = stream(f"identity {i}", 32), stream(f"message {i}", 50)
        signature = Ed25519PrivateKey.from_private_bytes(identity).sign(b"keyfold/1/sign-record\0" + message)
        file, tag, index = stream(f"shared file {i}", 16), stream(f"tag {i}", 32), 5
        leaf = sha(b"\0", struct.pack("<Q", index), b"\1", tag, b"\0" * 63)
        top = sha(b"\1", bytes(32), sha(b"\1", sha(b"\1", bytes(32), leaf), bytes(32)))
        root = sha(b"\2", file, struct.pack("<Q", 6 * 262144), top)
        record("sharing.txt", name=f"sharing {i}", epoch_key=key.hex(), **{f"epoch_{k}": v.hex() for k, v in children.items()},
               password=password, secret=secret.hex(), secret_written=written(2, b"\0" + secret), salt=salt.hex(),
               rounds=600_000, auth=account["auth"].hex(), kek=account["kek"].hex(),
               parameters=message.hex(), parameters_mac=mac(account["params"], message).hex(),
               identity=identity.hex(), book=expand(identity, b"keyfold/1/identity/book", 32).hex(),
               message=message.hex(), signature=signature.hex(),
               hash=sha(b"keyfold/1/hash-record\0", message).hex(), fingerprint=written(1, tag[:17]),
               file=file.hex(), tag=tag.hex(), leaf=index, leaf_hash=leaf.hex(), size=6 * 262144, root=root.hex())


def labeled_extract(suite, salt, label, ikm):
    return mac(salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite + label + info, length)


def wrappings():
    """HPKE (RFC 9180) in base mode over the shared secrets that the X-Wing draft publishes."""
    suite = b"HPKE" + struct.pack(">HHH", 0x647A, 1, 2)
    with open("xwing.txt", encoding="utf-8") as published:
        blocks = published.read().split("\n\n")[1:]
    for i, block in enumerate(blocks):
        known = dict(line.split(" = ") for line in block.strip().split("\n"))
        secret, plain = bytes.fromhex(known["ss"]), stream(f"wrapped {i}", 32)
        ctx = context("keyfold/1/grant", b"share", struct.pack("<Q", 3))
        hashed = labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", sha(ctx))
        schedule_context = b"\0" + hashed
        prk = labeled_extract(suite, secret, b"secret", b"")
        key = labeled_expand(suite, prk, b"key", schedule_context, 32)
        nonce = labeled_expand(suite, prk, b"base_nonce", schedule_context, 12)
        record("wrapping.txt", name=f"X-Wing vector {i}", seed=known["seed"], eseed=known["eseed"],
               plaintext=plain.hex(), ciphertext=AESGCM(key).encrypt(nonce, plain, ctx).hex())


HEADS = {
    "wrapping.txt": "# What follows the encapsulation, wrapped with the randomness of the X-Wing draft's vectors.\n",
    "sharing.txt": "# What sharing derives, signs and hashes. One block, the first of its leaf, is all the file has.\n",
    "seal.txt": "# The sealing primitive. `-` is an empty field; after the fields comes `number` as a field.\n",
    "schedule.txt": "# What is derived from the master key.\n",
    "slot.txt": "# Key slots. The password is given in UTF-8 before normalisation.\n",
    "recovery.txt": "# Recovery keys as they are written down.\n",
    "block.txt": "# Sealed blocks of 4096 bytes. The plaintext is 64 bytes, 64 times over.\n",
    "state.txt": "# The state hash, row added after row.\n",
}

for make in (seals, schedule, slots, recoveries, blocks, states, sharing, wrappings):
    make()
for file, text in FILES.items():
    with open(file, "w", encoding="utf-8") as out:
        out.write(HEADS[file] + text)
