//! OpenPGP signatures of release files.
//!
//! [`Verified`] is text that at least one trusted key signed with a strong hash, and that no trusted key contradicts; it
//! is made here alone. What a key may do is read from its strong self-signatures only: the archive keys of distros carry
//! certifications of other people, so a key is never asked to verify everything that is attached to it.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Tag, VerifyingKey};
use thiserror::Error;

/// How far in the future, in seconds, a time stamp may lie before it is refused: clocks differ.
pub const CLOCK_TOLERANCE: i64 = 24 * 60 * 60;

/// Why a signed text is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// It is no signed text at all.
    #[error("it is not signed: {0}")]
    NotSigned(String),
    /// No key is given that it could be signed by.
    #[error("no key is given to check it with")]
    NoKey,
    /// A key that is given cannot be read.
    #[error("a key that is given cannot be read: {0}")]
    UnreadableKey(String),
    /// The signature of a trusted key does not fit the text.
    #[error("the signature of key {0} does not fit: the text was changed")]
    Tampered(String),
    /// All signatures are by other keys.
    #[error("it is signed by {}, and none of these keys is trusted here", .0.join(", "))]
    UntrustedKeys(Vec<String>),
    /// A trusted key signed it in a way that counts for nothing.
    #[error("the signature of key {key} does not count: {reason}")]
    Refused {
        /// The key's fingerprint.
        key: String,
        /// Why.
        reason: Refusal,
    },
}

/// Why the signature of a trusted key counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The hash can be forged.
    #[error("its hash {0} is too weak")]
    WeakHash(String),
    /// The signature is no longer valid.
    #[error("the signature is expired")]
    SignatureExpired,
    /// The signature is from the future.
    #[error("the signature is from the future")]
    FromTheFuture,
    /// The key is no longer valid.
    #[error("the key is expired")]
    KeyExpired,
    /// The key's owner took it back.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The key has no strong self-signature, or may not sign.
    #[error("the key may not sign")]
    NotASigningKey,
    /// It signs something else than a text.
    #[error("it is not the signature of a text")]
    OtherPurpose,
}

/// A text that trusted keys signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    text: String,
    signed_by: Vec<String>,
}

impl Verified {
    /// The signed text, and nothing that stood around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Fingerprints of the primary keys whose signatures count, sorted.
    pub fn signed_by(&self) -> &[String] {
        &self.signed_by
    }
}

/// The signed text in a file, if one of the keys signed it; `now` is in seconds since 1970.
pub fn verify(file: &[u8], keys: &Keyring, now: i64) -> Result<Verified, SignatureError> {
    if keys.0.is_empty() {
        return Err(SignatureError::NoKey);
    }
    let (message, _) = CleartextSignedMessage::from_armor(file)
        .map_err(|error| SignatureError::NotSigned(error.to_string()))?;
    let text = message.signed_text();
    let outcomes: Vec<Outcome> = message
        .signatures()
        .iter()
        .map(|signature| keys.judge(signature, text.as_bytes(), now))
        .collect();
    let signed_by = judged(outcomes)?;
    Ok(Verified {
        text: text.replace("\r\n", "\n"),
        signed_by,
    })
}

/// What one signature is worth.
enum Outcome {
    Good(String),
    Unknown(String),
    Refused(String, Refusal),
    Tampered(String),
}

fn judged(outcomes: Vec<Outcome>) -> Result<Vec<String>, SignatureError> {
    let (mut good, mut unknown, mut refused) = (Vec::new(), Vec::new(), None);
    for outcome in outcomes {
        match outcome {
            Outcome::Good(key) => good.push(key),
            Outcome::Unknown(key) => unknown.push(key),
            Outcome::Refused(key, reason) => refused = refused.or(Some((key, reason))),
            Outcome::Tampered(key) => return Err(SignatureError::Tampered(key)),
        }
    }
    good.sort();
    good.dedup();
    match (good.is_empty(), refused) {
        (false, _) => Ok(good),
        (true, Some((key, reason))) => Err(SignatureError::Refused { key, reason }),
        (true, None) if unknown.is_empty() => {
            Err(SignatureError::NotSigned("it has no signature".to_owned()))
        }
        (true, None) => Err(SignatureError::UntrustedKeys(unknown)),
    }
}

/// Keys that are trusted for one package source.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<SignedPublicKey>);

impl Keyring {
    /// The keys in ASCII-armoured texts; a text may hold several blocks, and a block several keys.
    pub fn from_armoured<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, SignatureError> {
        const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
        let unreadable = |error: pgp::errors::Error| SignatureError::UnreadableKey(error.to_string());
        let mut keys = Vec::new();
        for text in texts {
            let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
            if starts.is_empty() {
                return Err(SignatureError::UnreadableKey(
                    "it has no public key block".to_owned(),
                ));
            }
            for (number, start) in starts.iter().enumerate() {
                let end = starts.get(number + 1).copied().unwrap_or(text.len());
                let (block, _) = SignedPublicKey::from_string_many(&text[*start..end]).map_err(unreadable)?;
                keys.extend(block.collect::<Result<Vec<_>, _>>().map_err(unreadable)?);
            }
        }
        Ok(Keyring(keys))
    }

    /// The fingerprints of the primary keys, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        let mut all: Vec<String> = self.0.iter().map(fingerprint).collect();
        all.sort();
        all
    }

    fn judge(&self, signature: &Signature, text: &[u8], now: i64) -> Outcome {
        for key in &self.0 {
            if names(signature, &key.primary_key) {
                return judge(
                    signature,
                    &key.primary_key,
                    primary_refusal(key, now),
                    key,
                    text,
                    now,
                );
            }
            if let Some(subkey) = key
                .public_subkeys
                .iter()
                .find(|subkey| names(signature, &subkey.key))
            {
                return judge(
                    signature,
                    &subkey.key,
                    subkey_refusal(key, subkey, now),
                    key,
                    text,
                    now,
                );
            }
        }
        Outcome::Unknown(issuer(signature))
    }
}

fn judge(
    signature: &Signature,
    signer: &impl VerifyingKey,
    refusal: Option<Refusal>,
    key: &SignedPublicKey,
    text: &[u8],
    now: i64,
) -> Outcome {
    let name = fingerprint(key);
    if let Some(reason) = signature_refusal(signature, now) {
        return Outcome::Refused(name, reason);
    }
    if signature.verify(signer, text).is_err() {
        return Outcome::Tampered(name);
    }
    match refusal {
        Some(reason) => Outcome::Refused(name, reason),
        None => Outcome::Good(name),
    }
}

fn signature_refusal(signature: &Signature, now: i64) -> Option<Refusal> {
    if !is_strong(signature) {
        return Some(Refusal::WeakHash(
            signature
                .hash_alg()
                .map_or("unknown".to_owned(), |hash| hash.to_string()),
        ));
    }
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Some(Refusal::OtherPurpose);
    }
    let created = signature
        .created()
        .map_or(i64::MAX, |time| i64::from(time.as_secs()));
    if created > now.saturating_add(CLOCK_TOLERANCE) {
        return Some(Refusal::FromTheFuture);
    }
    let lifetime = signature
        .signature_expiration_time()
        .map_or(0, |time| i64::from(time.as_secs()));
    (lifetime > 0 && created.saturating_add(lifetime) < now).then_some(Refusal::SignatureExpired)
}

/// Why the primary key of a certificate may not sign now.
fn primary_refusal(key: &SignedPublicKey, now: i64) -> Option<Refusal> {
    let Some(own) = newest_self_signature(key) else {
        return Some(Refusal::NotASigningKey);
    };
    // Without key flags a primary key may do everything (RFC 9580, 5.2.3.29).
    let flags = own.key_flags();
    let says_nothing = !(flags.sign() || flags.certify() || flags.encrypt_comms() || flags.authentication());
    if !(flags.sign() || says_nothing) {
        return Some(Refusal::NotASigningKey);
    }
    certificate_refusal(key, own, now)
}

/// Why a whole certificate is good for nothing now.
fn certificate_refusal(key: &SignedPublicKey, own: &Signature, now: i64) -> Option<Refusal> {
    let revoked = key
        .details
        .revocation_signatures
        .iter()
        .any(|revocation| revocation.verify_key(&key.primary_key).is_ok());
    if revoked {
        return Some(Refusal::KeyRevoked);
    }
    is_expired(own, key.primary_key.created_at().as_secs(), now).then_some(Refusal::KeyExpired)
}

/// Why a subkey may not sign now.
fn subkey_refusal(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: i64) -> Option<Refusal> {
    let Some(own) = newest_self_signature(key) else {
        return Some(Refusal::NotASigningKey);
    };
    if let Some(refusal) = certificate_refusal(key, own, now) {
        return Some(refusal);
    }
    let bound = |signature: &&Signature| {
        signature
            .verify_subkey_binding(&key.primary_key, &subkey.key)
            .is_ok()
    };
    let is = |signature: &Signature, typ: SignatureType| signature.typ() == Some(typ);
    if subkey
        .signatures
        .iter()
        .any(|own| is(own, SignatureType::SubkeyRevocation) && bound(&own))
    {
        return Some(Refusal::KeyRevoked);
    }
    let binding = subkey
        .signatures
        .iter()
        .filter(|binding| is(binding, SignatureType::SubkeyBinding) && is_strong(binding))
        .filter(bound)
        .max_by_key(|binding| binding.created().map(|time| time.as_secs()));
    let Some(binding) = binding else {
        return Some(Refusal::NotASigningKey);
    };
    // A subkey that signs must itself say that it belongs to the primary key (RFC 9580, 5.2.3.34).
    let says_so = |back: &Signature| {
        is_strong(back)
            && back
                .verify_primary_key_binding(&subkey.key, &key.primary_key)
                .is_ok()
    };
    if !binding.key_flags().sign() || !binding.embedded_signature().is_some_and(says_so) {
        return Some(Refusal::NotASigningKey);
    }
    is_expired(binding, subkey.key.created_at().as_secs(), now).then_some(Refusal::KeyExpired)
}

/// The newest strong signature by which a key speaks about itself.
fn newest_self_signature(key: &SignedPublicKey) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key
        .details
        .direct_signatures
        .iter()
        .filter(|own| own.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures
            .iter()
            .filter(|own| own.typ() != Some(SignatureType::CertRevocation) && names(own, primary))
            .filter(|own| own.verify_certification(primary, Tag::UserId, &user.id).is_ok())
    });
    direct
        .chain(users)
        .filter(|own| is_strong(own))
        .max_by_key(|own| own.created().map(|time| time.as_secs()))
}

fn is_expired(own: &Signature, key_created: u32, now: i64) -> bool {
    let lifetime = own
        .key_expiration_time()
        .map_or(0, |time| i64::from(time.as_secs()));
    lifetime > 0 && i64::from(key_created) + lifetime < now
}

fn is_strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

/// Whether a signature says that a key made it.
fn names(signature: &Signature, key: &(impl KeyDetails + Serialize)) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|print| format!("{print:X}"));
    let id = || {
        signature
            .issuer_key_id()
            .first()
            .map(|id| id.to_string().to_uppercase())
    };
    fingerprint
        .or_else(id)
        .unwrap_or_else(|| "a key without a name".to_owned())
}

fn fingerprint(key: &SignedPublicKey) -> String {
    format!("{:X}", key.primary_key.fingerprint())
}
