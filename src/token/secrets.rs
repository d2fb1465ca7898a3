//! What proves to WeChat that we may act for an app: text, or where it is kept.

use std::path::PathBuf;

use crate::secret::Secret;

/// The secret of an app or a third-party platform, or the key of a token server; or where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptSecret {
    /// As it stands in the settings.
    Text(Secret),
    /// In a file, read again for each token, so that a corrected secret needs no restart.
    File(PathBuf),
}

impl KeptSecret {
    /// The secret of the moment. The error says which file, never what is in it.
    pub fn read(&self) -> Result<Secret, String> {
        let file = match self {
            Self::Text(secret) => return Ok(secret.clone()),
            Self::File(file) => file,
        };
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        match text.trim() {
            "" => Err(format!("{} is empty", file.display())),
            secret => Ok(Secret::from(secret)),
        }
    }
}
