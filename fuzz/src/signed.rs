//! Release files with good signatures: what an owner of a trusted key can send.

use std::fmt;

use kcompose_core::packages::deb::release::{Expected, Release};
use kcompose_core::packages::deb::signature::Keyring;
use pgp::composed::{CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// 2026-01-03, the day after the files of the tests were signed.
const NOW: u32 = 1_767_398_400;

/// A key of this run.
pub(crate) struct Signer {
    key: SignedSecretKey,
    trusted: Keyring,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// The same key in each run.
    pub(crate) fn new() -> Self {
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(Timestamp::from_secs(NOW - 86_400))
            .primary_user_id("Fuzz <fuzz@example.org>".into());
        let parameters = parameters.build().expect("the parameters are complete");
        let key = parameters
            .generate(StdRng::seed_from_u64(1))
            .expect("a key can be made");
        let public = key.to_public_key();
        let armored = public
            .to_armored_bytes(pgp::composed::ArmorOptions::default())
            .expect("a key is text");
        let trusted = Keyring::of_file(&armored).expect("the key is a key");
        Signer { key, trusted }
    }

    /// Signs a text, and reads it.
    pub(crate) fn read(&self, text: &str) {
        let mut config = SignatureConfig::v4(
            SignatureType::Text,
            self.key.primary_key.algorithm(),
            pgp::crypto::hash::HashAlgorithm::Sha256,
        );
        let packets = [
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(NOW - 3600)),
            SubpacketData::IssuerFingerprint(self.key.primary_key.fingerprint()),
        ];
        let packets: Result<Vec<Subpacket>, _> = packets.into_iter().map(Subpacket::regular).collect();
        config.hashed_subpackets = packets.expect("short packets");
        let signed = CleartextSignedMessage::new(text, config, &self.key.primary_key, &Password::empty());
        let signed = signed.expect("a key signs every text");
        let file = signed.to_armored_string(pgp::composed::ArmorOptions::default());
        read(file.expect("a signed text is text").as_bytes(), &self.trusted);
    }
}

/// Reads a release file, and looks into it.
pub(crate) fn read(file: &[u8], keys: &Keyring) {
    let expected = Expected {
        suite: "probe",
        named: true,
        keys,
        now: i64::from(NOW),
        fresh: true,
        not_before: None,
    };
    let Ok(release) = Release::read(file, &expected) else {
        return;
    };
    for component in release.components.iter().take(100) {
        release.indexes(component, "amd64");
        release.lists(component, "amd64");
    }
}
