//! One log of one organisation, page by page.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{
    Connection, Endpoint, LogKind, MiroError, OrgId, Page, PageRequest, Pages, Priority, Quota, QuotaReading, TokenInfo,
    api::{Api, Get},
    auth::TokenSource,
    decode::{self, Decoding},
    sentence::{Call, Place},
};
use crate::event::{OrgName, StreamId, Timestamp};

/// Miro's side of one stream.
#[derive(Debug)]
pub struct LogClient {
    kind: LogKind,
    api: Api,
    org_id: Arc<OrgId>,
}

impl LogClient {
    /// The client of that log. `auth` and `quota` belong together: streams that share a token share both.
    pub fn new(connection: Connection, org: OrgName, kind: LogKind, org_id: Arc<OrgId>, auth: Arc<dyn TokenSource>, quota: Quota) -> Self {
        let api = Api { connection, stream: StreamId::new(org, kind.stream()), auth, quota };
        Self { kind, api, org_id }
    }

    /// The stream that this client feeds.
    pub fn stream(&self) -> &StreamId {
        &self.api.stream
    }

    /// Asks Miro what this client's token is and may do.
    ///
    /// # Errors
    /// As [`super::token_info`].
    pub async fn token_info(&self) -> Result<TokenInfo, MiroError> {
        super::org::ask(&self.api).await
    }

    /// The quota that this client draws on.
    pub fn quota(&self) -> &Quota {
        &self.api.quota
    }

    async fn fetch(&self, request: PageRequest<'_>) -> Result<Page, MiroError> {
        let get = self.get(request).await?;
        let answer = self.api.get(get, |body| decode::page(body, self.kind.time_field())).await?;
        let Decoding { events, next } = answer.value;
        tracing::debug!(stream = %self.api.stream, events = events.len(), last = next.is_none(), "page received");
        Ok(Page { events, next, quota: answer.quota, server_time: answer.server_time })
    }

    async fn get<'a>(&self, request: PageRequest<'a>) -> Result<Get<'a>, MiroError> {
        let kind = self.kind;
        let org_id = if kind.needs_org() { self.org_id.get(&self.api).await? } else { "" };
        let limit = kind.page_size(request.limit);
        let (window, limit_text) = (kind.window(request.window), limit.to_string());
        let mut query = vec![
            (window.from.0, window.from.1.as_str()),
            (window.to.0, window.to.1.as_str()),
            ("limit", limit_text.as_str()),
            ("sorting", window.sorting),
        ];
        let cursor = request.cursor.map(super::Cursor::as_str);
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let place = if cursor.is_some() { Place::Later } else { Place::First };
        let url = self.api.connection.url(&kind.path(org_id), &query);
        Ok(Get { call: Call::Page { kind, limit, place }, url, priority: request.priority, cursor })
    }
}

impl Pages for LogClient {
    fn page<'a>(&'a self, request: PageRequest<'a>) -> BoxFuture<'a, Result<Page, MiroError>> {
        Box::pin(self.fetch(request))
    }

    fn ready_in(&self, now: Timestamp, priority: Priority) -> Option<Duration> {
        self.api.quota.ready_in(Endpoint::Log(self.kind), priority, now)
    }

    fn plan_live(&self, at: Timestamp) {
        self.api.quota.plan_live(Endpoint::Log(self.kind), at);
    }

    fn quota(&self) -> QuotaReading {
        self.api.quota.reading()
    }

    fn token_expires_at(&self) -> Option<Timestamp> {
        self.api.auth.expires_at()
    }

    fn grant_expires_at(&self) -> Option<Timestamp> {
        self.api.auth.grant_expires_at()
    }
}
