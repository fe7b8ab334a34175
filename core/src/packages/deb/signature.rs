//! OpenPGP signatures of release files.
//!
//! [`Verified`] is text that at least one trusted key signed with a strong hash, and that no trusted key contradicts; it
//! is made here alone. What a key may do is read from its strong self-signatures only: the archive keys of distros carry
//! certifications of other people, so a key is never asked to verify everything that is attached to it.

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey,
    SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag, VerifyingKey};
use thiserror::Error;

/// How far in the future, in seconds, a time stamp may lie before it is refused: clocks differ.
pub const CLOCK_TOLERANCE: i64 = 24 * 60 * 60;

/// The smallest RSA key that counts, in bits; apt has the same limit since version 3.
pub const RSA_BITS: u16 = 2048;

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
    /// The key's own signatures can be forged.
    #[error("the key vouches for itself with {0} alone, which is too weak; its owner has to sign it anew")]
    WeakBinding(String),
    /// The key can be broken.
    #[error("the key is {0}, which is too weak; at least RSA with {RSA_BITS} bits is needed")]
    WeakKey(String),
    /// The key has no self-signature, or may not sign.
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
    let signed_by = keys.signers(message.signatures(), text.as_bytes(), now)?;
    Ok(Verified {
        text: text.replace("\r\n", "\n"),
        signed_by,
    })
}

/// A text, if one of the keys made one of the signatures in a file of its own, armoured or not.
pub fn verify_detached(
    text: &[u8],
    signatures: &[u8],
    keys: &Keyring,
    now: i64,
) -> Result<Verified, SignatureError> {
    if keys.0.is_empty() {
        return Err(SignatureError::NoKey);
    }
    let not_signed = |reason: String| SignatureError::NotSigned(reason);
    let found = detached(signatures).map_err(|error| not_signed(error.to_string()))?;
    let signed_by = keys.signers(&found, text, now)?;
    let text = std::str::from_utf8(text).map_err(|_| not_signed("it is no text in UTF-8".to_owned()))?;
    Ok(Verified {
        text: text.replace("\r\n", "\n"),
        signed_by,
    })
}

fn detached(file: &[u8]) -> pgp::errors::Result<Vec<Signature>> {
    let mut found = Vec::new();
    for block in blocks(file, "-----BEGIN PGP SIGNATURE-----") {
        let (signatures, _) = DetachedSignature::from_reader_many_buf(block)?;
        for signature in signatures {
            found.push(signature?.signature);
        }
    }
    Ok(found)
}

/// The armoured blocks of a file; the whole file where it has none.
fn blocks<'a>(file: &'a [u8], begin: &str) -> Vec<&'a [u8]> {
    let starts: Vec<usize> = file
        .windows(begin.len())
        .enumerate()
        .filter(|(_, part)| *part == begin.as_bytes())
        .map(|(at, _)| at)
        .collect();
    if starts.is_empty() {
        return vec![file];
    }
    let ends = starts.iter().skip(1).copied().chain([file.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &file[*start..end])
        .collect()
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

/// How an armoured key begins.
pub const BEGIN_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// What a file without a key is, where that can be told.
fn no_key(file: &[u8]) -> Option<&'static str> {
    let has = |text: &str| {
        file.windows(text.len())
            .any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
    };
    let start = file.trim_ascii_start();
    // The packet's tag in the new and in the old form (RFC 9580, 4.2).
    let tag = match start.first() {
        Some(first) if first & 0xc0 == 0xc0 => Some(first & 0x3f),
        Some(first) if first & 0x80 == 0x80 => Some((first & 0x3c) >> 2),
        _ => None,
    };
    if start.is_empty() {
        Some("it is empty")
    } else if has("-----BEGIN PGP PRIVATE KEY BLOCK-----") || tag == Some(5) {
        Some("it is a private key; never give that away")
    } else if start.starts_with(b"<") || has("<html") {
        Some("it is a web page, not what the page links to")
    } else if file.get(8..12) == Some(b"KBXf") {
        Some("it is a keybox of GnuPG; `gpg --export` writes a key")
    } else if has("-----BEGIN PGP SIGNATURE-----") || tag == Some(2) {
        Some("it is a signature")
    } else if tag.is_none() && !has(BEGIN_KEY) {
        Some("it has no public key block")
    } else {
        None
    }
}

/// Keys that are trusted for one package source.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<SignedPublicKey>);

impl Keyring {
    /// The keys in ASCII-armoured texts; a text may hold several blocks, and a block several keys.
    pub fn from_armoured<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, SignatureError> {
        let mut keys = Vec::new();
        for text in texts {
            keys.extend(Keyring::of_file(text.as_bytes())?.0);
        }
        Ok(Keyring(keys))
    }

    /// The keys in a file, armoured or not.
    pub fn of_file(file: &[u8]) -> Result<Self, SignatureError> {
        let unreadable = |error: pgp::errors::Error| {
            SignatureError::UnreadableKey(no_key(file).map_or_else(|| error.to_string(), str::to_owned))
        };
        let mut keys = Vec::new();
        for block in blocks(file, BEGIN_KEY) {
            let (block, _) = SignedPublicKey::from_reader_many_buf(block).map_err(unreadable)?;
            keys.extend(block.collect::<Result<Vec<_>, _>>().map_err(unreadable)?);
        }
        if keys.is_empty() {
            let reason = no_key(file).unwrap_or("it has no public key");
            return Err(SignatureError::UnreadableKey(reason.to_owned()));
        }
        Ok(Keyring(keys))
    }

    /// The keys as one armoured text.
    pub fn armored(&self) -> String {
        let text = |key: &SignedPublicKey| {
            key.to_armored_string(ArmorOptions::default())
                .expect("a key that was read can be written")
        };
        self.0.iter().map(text).collect()
    }

    /// Fingerprints of the keys whose signatures of a text count.
    fn signers(
        &self,
        signatures: &[Signature],
        text: &[u8],
        now: i64,
    ) -> Result<Vec<String>, SignatureError> {
        let outcomes = signatures
            .iter()
            .map(|signature| self.judge(signature, text, now));
        judged(outcomes.collect())
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
    if let Some(weak) = weak_key(key.primary_key.public_params()) {
        return Some(weak);
    }
    let Some(own) = newest_self_signature(key) else {
        return Some(no_self_signature(key));
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
    if let Some(weak) = weak_key(subkey.key.public_params()) {
        return Some(weak);
    }
    let Some(own) = newest_self_signature(key) else {
        return Some(no_self_signature(key));
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
    let bindings = subkey
        .signatures
        .iter()
        .filter(|binding| is(binding, SignatureType::SubkeyBinding));
    let binding = bindings
        .clone()
        .filter(|binding| is_strong(binding))
        .filter(bound)
        .max_by_key(|binding| binding.created().map(|time| time.as_secs()));
    let Some(binding) = binding else {
        return Some(weak_binding(bindings));
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

/// Why a key that no strong signature speaks for is refused.
fn no_self_signature(key: &SignedPublicKey) -> Refusal {
    let users = key.details.users.iter().flat_map(|user| &user.signatures);
    let all = key.details.direct_signatures.iter().chain(users);
    weak_binding(all.filter(|own| names(own, &key.primary_key)))
}

fn weak_binding<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Refusal {
    let mut weak = signatures.filter(|signature| !is_strong(signature));
    match weak.next().and_then(Signature::hash_alg) {
        Some(hash) => Refusal::WeakBinding(hash.to_string()),
        None => Refusal::NotASigningKey,
    }
}

/// Why a key is refused whatever it signs.
fn weak_key(parameters: &PublicParams) -> Option<Refusal> {
    match parameters {
        PublicParams::RSA(rsa) => {
            // The modulus comes first, and a number begins with its length in bits (RFC 9580, 3.2).
            let bytes = rsa.to_bytes().ok()?;
            let bits = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
            (bits < RSA_BITS).then(|| Refusal::WeakKey(format!("RSA with {bits} bits")))
        }
        PublicParams::DSA(_) => Some(Refusal::WeakKey("DSA".to_owned())),
        PublicParams::ECDSA(_)
        | PublicParams::ECDH(_)
        | PublicParams::Elgamal(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::X25519(_)
        | PublicParams::X448(_)
        | PublicParams::Ed448(_)
        | PublicParams::Unknown { .. } => None,
    }
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
