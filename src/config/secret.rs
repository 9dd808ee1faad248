//! Secrets: where they come from, and that they never show.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use thiserror::Error;

/// Tokens, keys and secret URLs are short; a larger file is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret comes from. It is read at each use, so that a changed file is picked up without a restart.
#[derive(Clone)]
pub enum Secret {
    /// Written in the configuration itself.
    Literal(SecretString),
    /// A file of its own: `{ file = "…" }`.
    File(PathBuf),
    /// An environment variable: `{ env = "…" }`.
    Env(String),
    /// A file under systemd's `$CREDENTIALS_DIRECTORY`: `{ credential = "…" }`.
    Credential(String),
}

/// Why a secret could not be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("failed to read the secret file {path}: {source}; check that it exists and that the service's user may read it")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The file is no secret.
    #[error("the secret file {path} {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The variable is not set.
    #[error("the environment variable {name} is not set or not text; set it for the service, or name another source for the secret")]
    Env {
        /// The variable.
        name: String,
    },
    /// The variable holds nothing.
    #[error("the environment variable {name} is empty; set it for the service, or name another source for the secret")]
    EnvEmpty {
        /// The variable.
        name: String,
    },
    /// systemd has passed no credentials.
    #[error(
        "the credential {name} cannot be read because $CREDENTIALS_DIRECTORY is not set; add LoadCredential={name}:/path/of/the/secret to the systemd unit"
    )]
    NoCredentials {
        /// The credential.
        name: String,
    },
}

impl Secret {
    /// A secret that is known already.
    pub fn literal(secret: impl Into<String>) -> Self {
        Self::Literal(SecretString::from(secret.into()))
    }

    /// Reads it. White space around the content of a file or a variable is not part of the secret: what is made with `echo` ends with a line
    /// break, in a file as in a Kubernetes secret that becomes a variable.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::File(path) => read_file(path),
            Self::Env(name) => from_variable(name, std::env::var(name).ok().as_deref()),
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(dir) => read_file(&Path::new(&dir).join(name)),
                None => Err(SecretError::NoCredentials { name: name.clone() }),
            },
        }
    }
}

fn from_variable(name: &str, value: Option<&str>) -> Result<SecretString, SecretError> {
    match value.map(str::trim) {
        None => Err(SecretError::Env { name: name.to_owned() }),
        Some("") => Err(SecretError::EnvEmpty { name: name.to_owned() }),
        Some(secret) => Ok(SecretString::from(secret.to_owned())),
    }
}

fn read_file(path: &Path) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > SECRET_BYTES_MAX {
        return Err(SecretError::Content { path: path.to_owned(), problem: "is larger than 64 KiB: not a secret" });
    }
    let content = std::fs::read_to_string(path).map_err(failed)?;
    match content.trim() {
        "" => Err(SecretError::Content { path: path.to_owned(), problem: "is empty" }),
        secret => Ok(SecretString::from(secret.to_owned())),
    }
}

impl fmt::Debug for Secret {
    /// The source, never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Env(name) => write!(f, "Env({name})"),
            Self::Credential(name) => write!(f, "Credential({name})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[track_caller]
    fn check(value: Option<&str>, expected: Result<&str, &str>) {
        let found = from_variable("T", value).map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_variable_counts_without_the_white_space_around_it() {
        check(Some("abc"), Ok("abc"));
        check(Some(" abc\n"), Ok("abc"));
        check(Some("\n"), Err("T is empty"));
        check(Some(""), Err("T is empty"));
        check(None, Err("T is not set"));
    }
}
