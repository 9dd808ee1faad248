//! The simulator's state, and the handle through which tests look at it and change it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use axum::Router;
use chrono::{DateTime, Utc};

use crate::api;
use crate::api::quota::Quota;
use crate::auth::{AuthConfig, TokenStore};
use crate::clock::SimClock;
use crate::config::{SimConfig, Stream};
use crate::faults::{FaultOrder, FaultPlan, Faults};
use crate::mix::Mix;
use crate::org::{Member, Organisation, members_at_start};
use crate::render::Renderer;
use crate::requests::{RequestCount, RequestLog, RequestSeen};
use crate::timeline::{Injected, Timeline, story};

const KEY_LATENCY: u64 = 701;

/// A simulated Miro organisation and its API. Clones are handles of the same simulator.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: SimConfig,
    pub(crate) clock: SimClock,
    pub(crate) org: Arc<Organisation>,
    pub(crate) renderer: Renderer,
    timelines: [RwLock<Timeline>; 3],
    pub(crate) tokens: TokenStore,
    pub(crate) quota: Quota,
    pub(crate) faults: Faults,
    members: RwLock<BTreeMap<u64, Member>>,
    pub(crate) requests: RequestLog,
    served: AtomicU64,
}

impl Inner {
    pub(crate) fn now_us(&self) -> i64 {
        self.clock.now().timestamp_micros()
    }

    pub(crate) fn timeline(&self, stream: Stream) -> RwLockReadGuard<'_, Timeline> {
        self.timelines[stream.index()].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeline_mut(&self, stream: Stream) -> RwLockWriteGuard<'_, Timeline> {
        self.timelines[stream.index()].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the events that exist by now.
    pub(crate) fn catch_up(&self, stream: Stream, now_us: i64) {
        if self.timeline(stream).is_behind(now_us) {
            self.timeline_mut(stream).catch_up(now_us);
        }
    }

    pub(crate) fn members(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the next answer takes.
    pub(crate) fn latency(&self) -> Duration {
        let (least, most) = (*self.config.latency.start(), *self.config.latency.end());
        let served = self.served.fetch_add(1, Ordering::Relaxed);
        let spread = most.saturating_sub(least).as_micros() as u64;
        least + Duration::from_micros(Mix::of(&[self.config.seed, KEY_LATENCY, served]).below(spread + 1))
    }
}

impl Simulator {
    /// A simulator with its whole history. Making it costs about 16 bytes and 50 ns an event in a release build.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        let org = Arc::new(Organisation::new(config.seed, config.members));
        let script = Arc::new(story::write(&org, config.now, config.days, config.audit_events, config.is_live()));
        let nothing = Arc::new(Vec::new());
        let timelines = Stream::ALL.map(|stream| {
            let script = if stream == Stream::Audit { &script } else { &nothing };
            RwLock::new(Timeline::new(&config, stream, Arc::clone(script)))
        });
        let members = members_at_start(&org, config.now).into_iter().filter_map(|member| Some((member.id.parse().ok()?, member)));
        Self(Arc::new(Inner {
            clock: SimClock::starting_at(config.now),
            renderer: Renderer::new(&config, Arc::clone(&org), script),
            timelines,
            tokens: TokenStore::new(config.seed, config.auth.clone(), config.now),
            quota: Quota::new(config.credits_per_minute, config.quota_window),
            faults: Faults::new(config.seed, config.faults.clone()),
            members: RwLock::new(members.collect()),
            requests: RequestLog::default(),
            served: AtomicU64::new(0),
            org,
            config,
        }))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// The API and, under `/_sim`, the control endpoints. Served through [`Simulator::serve`] every fault works; another server
    /// cannot cut connections, so resets and silent closes show as broken bodies there.
    pub fn router(&self) -> Router {
        api::router(self.clone())
    }

    /// The configuration that it was made from.
    #[must_use]
    pub fn config(&self) -> &SimConfig {
        &self.0.config
    }

    /// The simulator's clock.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.0.clock
    }

    /// The organisation's id, as paths need it.
    #[must_use]
    pub fn org_id(&self) -> &str {
        &self.0.org.named.id
    }

    /// Tokens and apps as they were at the start; refreshed pairs are not among them.
    #[must_use]
    pub fn auth(&self) -> &AuthConfig {
        self.0.tokens.config()
    }

    /// Ends a static token, as when an admin switches its integration off.
    pub fn revoke_token(&self, token: &str) {
        self.0.tokens.revoke_static(token);
    }

    /// Puts an event into a stream as it stands: `raw` is served byte for byte. Its id, if it is JSON with one, becomes part of the truth.
    pub fn inject(&self, stream: Stream, raw: Vec<u8>, created_at: DateTime<Utc>, visible_at: DateTime<Utc>) {
        let id = serde_json::from_slice::<serde_json::Value>(&raw).ok().and_then(|event| Some(event.get("id")?.as_str()?.to_owned()));
        let event = Injected { raw, id, visible_us: visible_at.timestamp_micros() };
        self.0.timeline_mut(stream).inject(created_at.timestamp_micros(), event);
    }

    /// How many events of a stream exist at the simulator's present moment, visible or not.
    #[must_use]
    pub fn count(&self, stream: Stream) -> usize {
        let now_us = self.0.now_us();
        self.0.catch_up(stream, now_us);
        self.0.timeline(stream).len(now_us)
    }

    /// Replaces the faults that come by chance.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.0.faults.set_plan(plan);
    }

    /// Orders a fault for the next fitting requests, after those that were ordered before.
    pub fn order_fault(&self, order: FaultOrder) {
        self.0.faults.order(order);
    }

    /// Forgets all orders, and lets nothing go wrong by chance any more.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// The latest requests, oldest first; 20 000 at most.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestSeen> {
        self.0.requests.latest()
    }

    /// All requests by endpoint and status.
    #[must_use]
    pub fn request_counts(&self) -> Vec<RequestCount> {
        self.0.requests.counts()
    }

    /// Forgets requests and their counts.
    pub fn forget_requests(&self) {
        self.0.requests.forget();
    }

    /// All members, by id.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.0.members().values().cloned().collect()
    }

    /// Adds a member, or replaces the one with that id.
    ///
    /// # Errors
    /// Where the id is not a number; the list is sorted by it.
    pub fn put_member(&self, member: Member) -> Result<(), std::num::ParseIntError> {
        let id = member.id.parse()?;
        self.0.members.write().unwrap_or_else(PoisonError::into_inner).insert(id, member);
        Ok(())
    }

    /// Removes a member; `None` where there is no such.
    pub fn remove_member(&self, id: &str) -> Option<Member> {
        self.0.members.write().unwrap_or_else(PoisonError::into_inner).remove(&id.parse().ok()?)
    }
}
