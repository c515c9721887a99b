//! The key that signs checkpoints, and its public half in the form of C2SP `signed-note`.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::JournalError;
use crate::files;

/// The signature type of Ed25519 in signed notes.
const ED25519: u8 = 1;

/// The public half of a journal's key: who may have signed its checkpoints.
///
/// Written as a verifier key of C2SP `signed-note`: `NAME+ID+BASE64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// The name in signatures and in the origin line: `sightline-journal-` and 16 hex digits of the key's SHA-256.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id: the first 4 bytes of SHA-256 over name, newline, signature type and key.
    pub(super) fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Whether this key signed the text.
    pub(super) fn verifies(&self, text: &str, signature: &[u8; 64]) -> bool {
        self.key.verify_strict(text.as_bytes(), &Signature::from_bytes(signature)).is_ok()
    }

    fn of(key: VerifyingKey) -> Self {
        let digest = Sha256::digest(key.as_bytes());
        Self { name: format!("sightline-journal-{}", hex::encode(&digest[..8])), key }
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut typed = vec![ED25519];
        typed.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), BASE64.encode(typed))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why: &str| format!("`{}` is not a journal's public key: {why}", text.trim());
        // Base64 may hold a `+` itself, so only the first two divide.
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(typed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused("it must read NAME+ID+BASE64, as in key.pub"));
        };
        let typed = BASE64.decode(typed).map_err(|_| refused("the last part is not base64"))?;
        let Some((&ED25519, bytes)) = typed.split_first() else {
            return Err(refused("it is not an Ed25519 key"));
        };
        let bytes = bytes.try_into().map_err(|_| refused("an Ed25519 key has 32 bytes"))?;
        let key =
            Self::of(VerifyingKey::from_bytes(bytes).map_err(|_| refused("the key is not a point of the curve"))?);
        if key.name != name || hex::encode(key.id()) != id {
            return Err(refused("name or id do not belong to the key"));
        }
        Ok(key)
    }
}

/// The signing key.
pub(super) struct Signer {
    secret: SigningKey,
    public: PublicKey,
}

impl Signer {
    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, text: &str) -> [u8; 64] {
        self.secret.sign(text.as_bytes()).to_bytes()
    }

    /// Reads `key`; makes one where there is none and nothing has been signed yet.
    ///
    /// Returns the key, its open file (to lock), and whether it is new.
    pub(super) fn open(dir: &Path, signed_before: bool) -> Result<(Self, File, bool), JournalError> {
        let path = dir.join("key");
        let refuse = |detail: String| JournalError::Key { file: path.clone(), detail };
        let file = match files::open_with(&path, OpenOptions::new().read(true).write(true)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && signed_before => {
                return Err(refuse(
                    "the signing key is missing although checkpoints were signed with it; restore it from a backup. \
                     Without it, move the whole journal folder away, keep it, and begin a new one"
                        .into(),
                ));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|e| refuse(format!("the system gives no random numbers: {e}")))?;
                let signer = Self::from_seed(seed);
                write_new(dir, "key", &format!("{}\n", hex::encode(seed)), 0o600)?;
                write_new(dir, "key.pub", &format!("{}\n", signer.public), 0o644)?;
                let file = File::open(&path).map_err(JournalError::io("open", &path))?;
                return Ok((signer, file, true));
            }
            Err(e) => return Err(JournalError::io("open", &path)(e)),
        };
        let mode = file.metadata().map_err(JournalError::io("look at", &path))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(refuse(format!(
                "others can read the signing key (mode {:o}); run `chmod 600` on it",
                mode & 0o777
            )));
        }
        let text = files::read_to_string(&path).map_err(JournalError::io("read", &path))?;
        let mut seed = [0; 32];
        hex::decode_to_slice(text.trim(), &mut seed)
            .map_err(|_| refuse("this is not a signing key (64 hex digits); restore it from a backup".into()))?;
        let signer = Self::from_seed(seed);
        // The public half is only for people and `verify`: made again where a crash came between the two files.
        let public = dir.join("key.pub");
        match files::read_to_string(&public) {
            Ok(text) if text.trim() == signer.public.to_string() => {}
            Ok(_) => {
                return Err(JournalError::Key {
                    file: public,
                    detail: "the public key does not belong to the signing key beside it; restore both from a backup"
                        .into(),
                });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                write_new(dir, "key.pub", &format!("{}\n", signer.public), 0o644)?;
            }
            Err(e) => return Err(JournalError::io("read", &public)(e)),
        }
        Ok((signer, file, false))
    }

    fn from_seed(seed: [u8; 32]) -> Self {
        let secret = SigningKey::from_bytes(&seed);
        let public = PublicKey::of(secret.verifying_key());
        Self { secret, public }
    }
}

/// Writes a small file whole or not at all, and makes it last.
fn write_new(dir: &Path, name: &str, text: &str, mode: u32) -> Result<(), JournalError> {
    let (path, partial) = (dir.join(name), dir.join(format!("{name}.part")));
    let write = || {
        match fs::remove_file(&partial) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(JournalError::io("write", &path))
}

#[cfg(test)]
impl Signer {
    /// A key for tests that must not change from run to run.
    pub(super) fn for_tests() -> Self {
        Self::from_seed([42; 32])
    }
}
