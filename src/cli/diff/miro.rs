//! Asks Miro for the ids of hours again, only to name them. Nothing that comes is stored or delivered.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{super::report, compare::Lacking};
use crate::{
    clock::Clock,
    config::Settings,
    event::{StreamId, TimeRange, Timestamp},
    journal::proof::{Fingerprint, FingerprintMaker},
    metrics::Metrics,
    miro::{MiroClass, MiroError, OrgApi, OrgParts, Page, PageRequest, Pages, Priority},
};

const HOUR: Duration = Duration::from_secs(3_600);
/// So often a page is asked for before the hour is given up.
const ATTEMPTS_MAX: u32 = 6;
/// The first wait after an error; it doubles.
const WAIT_FIRST: Duration = Duration::from_secs(2);
/// An hour with more pages goes in circles.
const PAGES_MAX: usize = 100_000;

/// Names what it can of the ids that have no name yet.
pub(super) async fn name(settings: &Settings, stream: &StreamId, lacking: &mut [Lacking]) -> anyhow::Result<()> {
    let (pages, limit) = pages(settings, stream)?;
    let mut wanted: BTreeMap<Fingerprint, usize> =
        lacking.iter().enumerate().filter(|(_, one)| one.id.is_none()).map(|(at, one)| (one.fingerprint, at)).collect();
    let hours: BTreeSet<String> = lacking.iter().filter(|one| one.id.is_none()).map(|one| one.hour.clone()).collect();
    let maker = FingerprintMaker::new(stream);
    for hour in hours {
        let begins = Timestamp::parse(&hour).context("failed to understand the report")?;
        let Some(window) = TimeRange::new(begins, begins.plus(HOUR).min(Clock::system().now())) else { continue };
        let (mut cursor, mut followed) = (None, HashSet::new());
        while !wanted.is_empty() {
            let page = page(&*pages, PageRequest { window, cursor: cursor.as_ref(), limit, priority: Priority::Backfill }).await?;
            for event in &page.events {
                if let Some(at) = wanted.remove(&maker.id(event.id.as_bytes())) {
                    lacking[at].id = Some(event.id.to_string());
                }
            }
            // A cursor that comes again goes in circles: there is nothing more to be had.
            cursor = page.next.filter(|next| followed.len() < PAGES_MAX && followed.insert(next.clone()));
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(())
}

fn pages(settings: &Settings, stream: &StreamId) -> anyhow::Result<(Arc<dyn Pages>, u32)> {
    let org = settings.orgs.iter().find(|org| org.name == stream.org);
    let wanted = org.and_then(|org| Some((org, org.streams.iter().find(|one| one.kind == stream.kind)?)));
    let Some((org, one)) = wanted else { bail!("the stream {stream} is not configured, so there are no credentials to ask Miro with") };
    let parts = OrgParts { tls: &settings.tls, state_dir: &settings.state.dir, clock: Clock::system(), metrics: Metrics::new() };
    let api = OrgApi::new(org, parts).context("failed to set up the connection to Miro")?;
    Ok((api.pages(one).context("failed to set up the connection to Miro")?, one.page_size))
}

async fn page(pages: &dyn Pages, request: PageRequest<'_>) -> anyhow::Result<Page> {
    let mut wait = WAIT_FIRST;
    for _ in 1..ATTEMPTS_MAX {
        if let Some(wait) = pages.ready_in(Clock::system().now(), Priority::Backfill) {
            tokio::time::sleep(wait).await;
        }
        match pages.page(request).await {
            Ok(page) => return Ok(page),
            Err(error) => {
                let Some(pause) = pause(&error, &mut wait) else { return Err(error.into()) };
                report(&format!("Miro is asked again in {} s: {error}", pause.as_secs()));
                tokio::time::sleep(pause).await;
            }
        }
    }
    Ok(pages.page(request).await?)
}

/// How long to wait after an error; `None` where waiting does not help.
fn pause(error: &MiroError, wait: &mut Duration) -> Option<Duration> {
    let own = *wait;
    *wait *= 2;
    match error.class() {
        MiroClass::Throttled(after) => Some(after.unwrap_or(own)),
        MiroClass::Retryable => Some(own),
        _ => None,
    }
}
