//! Following a backfill of the running daemon to its end.

use std::time::{Duration, Instant};

use super::{
    super::daemon::{self, DaemonError, Request},
    PATH,
    progress::Progress,
};
use crate::{
    admin::control::{BackfillState, BackfillStatus},
    config::settings::AdminSettings,
};

/// How often the daemon is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// A daemon that is started anew is back by then.
const ABSENCE_MAX: Duration = Duration::from_secs(120);

/// What came of following.
pub(super) enum Followed {
    /// The backfill has ended.
    Ended(BackfillStatus),
    /// The person has gone; the backfill goes on.
    Interrupted(BackfillStatus),
    /// The daemon does not know it any more.
    Forgotten(BackfillStatus),
}

/// Asks again and again, until it has ended or Ctrl-C is pressed. A daemon that is started anew in between goes on with it.
pub(super) async fn through(admin: &AdminSettings, first: BackfillStatus, progress: &mut Progress) -> Result<Followed, DaemonError> {
    let request = Request::get(format!("{PATH}/{}", escaped(&first.id)));
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let (mut status, mut absent_since) = (first, None::<Instant>);
    loop {
        if status.state != BackfillState::Running {
            return Ok(Followed::Ended(status));
        }
        if absent_since.is_none() {
            progress.show(&status);
        }
        let next = async {
            tokio::time::sleep(INTERVAL).await;
            daemon::call::<BackfillStatus>(admin, &request).await
        };
        let answer = tokio::select! {
            _ = &mut interrupt => return Ok(Followed::Interrupted(status)),
            answer = next => answer,
        };
        match answer {
            Ok(newer) => {
                status = newer;
                absent_since = None;
            }
            Err(error) if error.is_absence() => {
                let since = *absent_since.get_or_insert_with(Instant::now);
                if since.elapsed() > ABSENCE_MAX {
                    return Err(error);
                }
                progress.say("the daemon does not answer; when it runs again, it goes on with the backfill");
            }
            Err(DaemonError::Refused { status: code, .. }) if code.as_u16() == 404 => return Ok(Followed::Forgotten(status)),
            Err(error) => return Err(error),
        }
    }
}

/// An id as a part of a path.
pub(super) fn escaped(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect()
}
