//! Private keys in files, and what they sign (RFC 4253, 5656, 8332, 8709).
//!
//! `ssh-key` reads OpenSSH's format, `ring` signs. A key with a passphrase is refused: nobody could be asked for it.

use ring::rand::SystemRandom;
use ring::rsa::KeyPairComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use ssh_key::private::{EcdsaKeypair, KeypairData, RsaKeypair};
use ssh_key::{Mpint, PrivateKey};

use crate::protocol::put;

/// A private key with what it is known by.
pub(crate) struct Key {
    blob: Vec<u8>,
    comment: String,
    signer: Signer,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("comment", &self.comment).finish_non_exhaustive()
    }
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    /// With the name of its signatures.
    Ecdsa(EcdsaKeyPair, &'static str),
    Rsa(Box<RsaKeyPair>),
}

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is something else, or it is damaged, or (for some keys on the curve P-521) not understood.
    #[error(
        "it is no private key in OpenSSH's format that can be read ({0}); an agent may know it (ssh-add)"
    )]
    Format(String),
    /// It is a private key in an older format.
    #[error("it is a private key in PEM form; `ssh-keygen -p -f FILE` rewrites it in OpenSSH's format")]
    OldFormat,
    /// It has a passphrase.
    #[error("it has a passphrase; give it to an agent with ssh-add, and use --ssh default")]
    Encrypted,
    /// Of a kind that cannot sign here.
    #[error("keys of the type {0} are not read from files; give it to an agent with ssh-add")]
    Algorithm(String),
    /// Its numbers are none that sign: too short, or not of one key.
    #[error("it cannot sign: {0}")]
    Rejected(String),
}

impl From<ring::error::KeyRejected> for KeyError {
    fn from(rejected: ring::error::KeyRejected) -> Self {
        Self::Rejected(rejected.to_string())
    }
}

/// The flags of a request: which hash an RSA key signs with.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

impl Key {
    /// Reads a file's content; a key without a comment is called `name`.
    pub(crate) fn parse(content: &[u8], name: &str) -> Result<Self, KeyError> {
        let key = PrivateKey::from_openssh(content).map_err(|error| other_format(content, &error))?;
        if key.is_encrypted() {
            return Err(KeyError::Encrypted);
        }
        let signer = match key.key_data() {
            KeypairData::Ed25519(pair) => Signer::Ed25519(Ed25519KeyPair::from_seed_and_public_key(
                pair.private.as_ref(),
                pair.public.as_ref(),
            )?),
            KeypairData::Ecdsa(pair) => ecdsa(pair)?,
            KeypairData::Rsa(pair) => Signer::Rsa(Box::new(rsa(pair)?)),
            _ => return Err(KeyError::Algorithm(key.algorithm().to_string())),
        };
        let blob = key.public_key().to_bytes().map_err(|error| KeyError::Format(error.to_string()))?;
        let comment = if key.comment().is_empty() { name } else { key.comment() };
        Ok(Self { blob, comment: comment.to_owned(), signer })
    }

    /// The public key as the protocol has it.
    pub(crate) fn blob(&self) -> &[u8] {
        &self.blob
    }

    pub(crate) fn comment(&self) -> &str {
        &self.comment
    }

    /// A signature: `string` algorithm, `string` blob. `None` for SHA-1, which OpenSSH does not take any more either.
    pub(crate) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let (algorithm, signature) = match &self.signer {
            Signer::Ed25519(pair) => ("ssh-ed25519", pair.sign(data).as_ref().to_vec()),
            Signer::Ecdsa(pair, algorithm) => {
                let fixed = pair.sign(&random, data).ok()?;
                let (r, s) = fixed.as_ref().split_at(fixed.as_ref().len() / 2);
                let mut both = Vec::new();
                for number in [r, s] {
                    put(&mut both, Mpint::from_positive_bytes(number).ok()?.as_bytes());
                }
                (*algorithm, both)
            }
            Signer::Rsa(pair) => {
                let (algorithm, hash) = if flags & RSA_SHA2_512 != 0 {
                    ("rsa-sha2-512", &RSA_PKCS1_SHA512)
                } else if flags & RSA_SHA2_256 != 0 {
                    ("rsa-sha2-256", &RSA_PKCS1_SHA256)
                } else {
                    return None;
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(hash, &random, data, &mut signature).ok()?;
                (algorithm, signature)
            }
        };
        let mut bytes = Vec::new();
        put(&mut bytes, algorithm.as_bytes());
        put(&mut bytes, &signature);
        Some(bytes)
    }
}

fn other_format(content: &[u8], error: &ssh_key::Error) -> KeyError {
    let text = String::from_utf8_lossy(content);
    let begins = |name: &str| text.trim_start().starts_with(&format!("-----BEGIN {name}PRIVATE KEY-----"));
    if begins("ENCRYPTED ") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return KeyError::Encrypted;
    }
    if ["RSA ", "EC ", "DSA ", ""].into_iter().any(begins) {
        KeyError::OldFormat
    } else {
        KeyError::Format(error.to_string())
    }
}

fn ecdsa(pair: &EcdsaKeypair) -> Result<Signer, KeyError> {
    let (kind, name) = match pair {
        EcdsaKeypair::NistP256 { .. } => (&ECDSA_P256_SHA256_FIXED_SIGNING, "ecdsa-sha2-nistp256"),
        EcdsaKeypair::NistP384 { .. } => (&ECDSA_P384_SHA384_FIXED_SIGNING, "ecdsa-sha2-nistp384"),
        EcdsaKeypair::NistP521 { .. } => return Err(KeyError::Algorithm("ecdsa-sha2-nistp521".to_owned())),
    };
    let (private, public) = (pair.private_key_bytes(), pair.public_key_bytes());
    let random = SystemRandom::new();
    Ok(Signer::Ecdsa(EcdsaKeyPair::from_private_key_and_public_key(kind, private, public, &random)?, name))
}

fn rsa(pair: &RsaKeypair) -> Result<RsaKeyPair, KeyError> {
    fn positive(number: &Mpint) -> Result<&[u8], KeyError> {
        number.as_positive_bytes().ok_or_else(|| KeyError::Rejected("a number below zero".to_owned()))
    }
    let [n, e] = [positive(&pair.public.n)?, positive(&pair.public.e)?];
    let private = &pair.private;
    let [d, p, q] = [positive(&private.d)?, positive(&private.p)?, positive(&private.q)?];
    // The format leaves these two out.
    let (d_p, d_q) = (remainder(d, &less_one(p)), remainder(d, &less_one(q)));
    Ok(RsaKeyPair::from_components(&KeyPairComponents {
        public_key: ring::rsa::PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: d_p.as_slice(),
        dQ: d_q.as_slice(),
        qInv: positive(&private.iqmp)?,
    })?)
}

/// An odd number without its last bit.
fn less_one(number: &[u8]) -> Vec<u8> {
    let mut less = number.to_vec();
    if let Some(last) = less.last_mut() {
        *last &= 0xfe;
    }
    less
}

/// `number` modulo `by`, both big-endian: bit by bit, once for each key that is read. Without leading zeros; `by` is above zero.
fn remainder(number: &[u8], by: &[u8]) -> Vec<u8> {
    // One byte longer, for the bit that is shifted out.
    let by: Vec<u8> = std::iter::once(0).chain(by.iter().copied()).collect();
    let mut rest = vec![0_u8; by.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |shift| (byte >> shift) & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            let out = *byte >> 7;
            *byte = (*byte << 1) | carry;
            carry = out;
        }
        if rest >= by {
            let mut borrow = false;
            for (byte, less) in rest.iter_mut().rev().zip(by.iter().rev()) {
                let (once, first) = byte.overflowing_sub(*less);
                let (twice, second) = once.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (twice, first || second);
            }
        }
    }
    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
    rest.split_off(zeros)
}

#[cfg(test)]
mod tests {
    use super::remainder;

    #[test]
    fn remainders_are_those_of_plain_numbers() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> (state >> 60)
        };
        for _ in 0..2000 {
            let (number, by) = (u128::from(next()) * u128::from(next()), u128::from(next()) + 1);
            let expected = (number % by).to_be_bytes();
            let zeros = expected.iter().take_while(|byte| **byte == 0).count();
            let by = by.to_be_bytes();
            assert_eq!(remainder(&number.to_be_bytes(), &by[8..]), expected[zeros..], "{number}");
        }
    }
}
