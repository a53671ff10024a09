//! Who is at the other end of the socket.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use nix::unistd::{Uid, User};
use tokio::net::UnixListener;

/// The user who connected, as the kernel says; none if it does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// The longest name that is taken from a header.
const LONGEST_NAME: usize = 64;

impl Peer {
    /// The user's name; root may say who became root.
    pub(super) async fn author(self, claimed: Option<String>) -> String {
        match (self.0, claimed) {
            (Some(0), Some(name)) if is_name(&name) => format!("{name} (sudo)"),
            (Some(uid), _) => name(uid).await,
            (None, _) => "unknown".into(),
        }
    }
}

/// Whether a header holds a user's name, and nothing that could deceive a reader of the log.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '$');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(allowed)
}

/// The name of a user, or its number.
async fn name(uid: u32) -> String {
    // The directory of users may be on a network.
    let user = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    match user {
        Ok(Ok(Some(user))) => user.name,
        _ => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_root_may_say_who_became_root() {
        let claimed = || Some("alice".to_owned());
        assert_eq!(Peer(Some(0)).author(claimed()).await, "alice (sudo)");
        assert_eq!(Peer(Some(0)).author(None).await, "root");
        assert_eq!(Peer(Some(0)).author(Some("a\x1b[31m".into())).await, "root");
        assert_eq!(Peer(Some(4_000_000_000)).author(claimed()).await, "uid 4000000000");
        assert_eq!(Peer(None).author(claimed()).await, "unknown");
    }
}
