//! The unix socket: made for the service's own user, and never in the way of the next start.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// For the owner alone.
const MODE: u32 = 0o600;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Something else has that name.
    #[error("{path} is there and is no socket; remove it, or choose another path (admin.socket)")]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// Somebody listens on it.
    #[error("another process answers on {path}; is another miro-siem running? Choose another path (admin.socket), or \"off\"")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("failed to {action} {path} (admin.socket): {source}; its directory has to be there and writable for the service's user")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// A bound socket. Its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// What tells our file from one that another process has put in its place.
    identity: (u64, u64),
    owner: u32,
}

impl Socket {
    /// Makes the socket, in the place of one that nobody answers on any more.
    pub(super) async fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).map_err(failed("make the socket"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed("protect the socket"))?;
        let file = fs::symlink_metadata(path).map_err(failed("look at the socket"))?;
        Ok(Self { listener, path: path.to_owned(), identity: (file.dev(), file.ino()), owner: file.uid() })
    }

    /// The next connection, with the user at its other end. Between the socket's making and its protection anybody could have connected, so
    /// the user counts and not the mode: whoever is neither the owner nor root is turned away.
    pub(super) async fn accept(&self) -> io::Result<(UnixStream, u32)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.owner || peer.uid() == 0 => return Ok((stream, peer.uid())),
                Ok(peer) => tracing::warn!(uid = peer.uid(), "turned away a user at the admin socket"),
                Err(error) => tracing::debug!(%error, "a caller at the admin socket was gone at once"),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if is_ours {
            // What stays is found to be stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at the socket")(error)),
        Ok(file) if !file.file_type().is_socket() => return Err(SocketError::Occupied { path: path.to_owned() }),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed("remove the stale socket")),
        // Whoever it is lives, also where it has no room for one more caller or turns us away.
        _ => Err(SocketError::InUse { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists(), "the file of a killed process stays");
        let socket = Socket::bind(&path).await.expect("nobody answers there");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
        assert!(matches!(Socket::bind(&path).await, Err(SocketError::InUse { .. })));
        drop(socket);
        assert!(!path.exists(), "it goes with its process");
        fs::write(&path, "something").expect("written");
        assert!(matches!(Socket::bind(&path).await, Err(SocketError::Occupied { .. })));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "something");
        let error = Socket::bind(&dir.path().join("none/admin.sock")).await.expect_err("no such directory").to_string();
        assert!(error.contains("admin.socket") && error.contains("directory"), "{error}");
    }

    #[tokio::test]
    async fn what_another_process_has_put_in_its_place_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.sock");
        let socket = Socket::bind(&path).await.expect("a socket");
        fs::remove_file(&path).expect("removed");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("another socket");
        drop(socket);
        assert!(path.exists());
    }
}
