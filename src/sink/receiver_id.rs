//! One id for an event that holds at the receiver, where events of several organisations and streams meet.

use sha2::{Digest as _, Sha256};

use crate::event::{Event, StreamId};

/// Longer ids are told by their digest: receivers remember each of them, in memory.
const ID_BYTES_MAX: usize = 256;

/// `acme/audit/<id>`, with the id as Miro wrote it. An id that no header could carry (beyond visible ASCII, or too long) is told by its
/// SHA-256 instead; Miro's own ids are all of the first form.
pub(crate) fn receiver_id(stream: &StreamId, event: &Event) -> String {
    let id = event.id.as_bytes();
    if (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic) {
        return format!("{stream}/{}", event.id);
    }
    Sha256::digest(id).iter().fold(format!("{stream}/sha256-"), |id, byte| id + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, OrgName, Origin, Position, StreamKind, Timestamp};

    #[track_caller]
    fn check(id: &str, expected: &str) {
        let now = Timestamp::from_millis(0);
        let event = Event {
            position: Position(1),
            id: EventId::new(id),
            time: None,
            collected_at: now,
            origin: Origin::Live,
            raw: Vec::new().into(),
        };
        assert_eq!(receiver_id(&StreamId::new(OrgName::new("acme"), StreamKind::Audit), &event), expected);
    }

    #[test]
    fn an_id_is_readable_where_a_header_can_carry_it() {
        check("2026-01-31T09:30:10.840687Z#1-DDB", "acme/audit/2026-01-31T09:30:10.840687Z#1-DDB");
        // sha256sum of "a b" and of nothing.
        check("a b", "acme/audit/sha256-c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e6fcc6d65");
        check("", "acme/audit/sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let long = "x".repeat(257);
        assert_eq!(long.len(), 257);
        check(&long, &format!("acme/audit/sha256-{}", Sha256::digest(&long).iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    }
}
