//! The second factor.

use serde::{Deserialize, Serialize};

use super::Key;

/// Reply of `SecondFactor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecondFactorReply {
    /// Whether a login needs a code.
    pub on: bool,
    /// Recovery codes that were not used.
    pub recovery_codes: u64,
}

/// Body of `BeginSecondFactor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BeginSecondFactor {
    /// By the password or by the recovery key.
    pub current_auth: Key,
}

/// Reply of `BeginSecondFactor`: RFC 6238 with SHA-1, six digits, 30 seconds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewSecondFactor {
    /// 20 bytes in base32.
    pub secret: String,
    /// The same for a program that shows codes.
    pub uri: String,
}

impl std::fmt::Debug for NewSecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSecondFactor(..)")
    }
}

/// Body of `ConfirmSecondFactor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfirmSecondFactor {
    /// A code of the new secret.
    pub code: String,
}

/// Reply of `ConfirmSecondFactor`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecoveryCodes {
    /// Each is good once, in place of a code. They are shown only now.
    pub codes: Vec<String>,
}

impl std::fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecoveryCodes({})", self.codes.len())
    }
}

/// Body of `EndSecondFactor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndSecondFactor {
    /// By the password or by the recovery key.
    pub current_auth: Key,
    /// A code, or a recovery code.
    pub code: String,
}
