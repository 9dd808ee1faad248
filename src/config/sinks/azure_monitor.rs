//! `type = "azure_monitor"`

use std::path::PathBuf;

use serde_json::Value as Json;
use url::Url;

use super::{Connects, SinkType, is_written};
use crate::config::{
    Secret,
    address::BaseUrl,
    key::{Defaulted, Key, Keys, Optional, Required},
    node::Node,
    problem::Faulty,
    schema,
    settings::{AzureCredential, AzureMonitorSettings, Compression, Provenance, SinkKindSettings},
    table::{At, Table},
    value::{FromText, Unfit, Value, switch},
};

const ENDPOINT: Key<BaseUrl, Required> = Key::required(
    "endpoint",
    "\"https://miro-abcd.westeurope-1.ingest.monitor.azure.com\"",
    "The logs ingestion endpoint of the data collection rule, or of a data collection endpoint.",
)
.limited("without /dataCollectionRules, which is added where it is needed", |url| !url.0.path().contains("/dataCollectionRules"));
const DCR_ID: Key<DcrId, Required> =
    Key::required("dcr_id", "\"dcr-00000000000000000000000000000000\"", "The immutable id of the data collection rule.");
const TENANT_ID: Key<String, Optional> = Key::optional(
    "tenant_id",
    "\"00000000-0000-0000-0000-000000000000\"",
    "required with `client_secret`",
    "The Entra tenant of the application.",
);
const CLIENT_ID: Key<String, Optional> =
    Key::optional("client_id", "\"00000000-0000-0000-0000-000000000000\"", "required with `client_secret`", "The application.");
const CLIENT_SECRET: Key<Secret, Optional> = Key::optional(
    "client_secret",
    "{ file = \"/etc/miro-siem/azure.secret\" }",
    "one of `managed_identity` and `workload_identity` has to be there",
    "The application's secret.",
);
const MANAGED_IDENTITY: Key<ManagedIdentity, Optional> = Key::optional(
    "managed_identity",
    "true",
    "off",
    "Authenticate as the machine's own identity: true, or { client_id = \"…\" } for a user-assigned one.",
);
const WORKLOAD_IDENTITY: Key<WorkloadIdentity, Optional> = Key::optional(
    "workload_identity",
    "true",
    "off",
    "Authenticate as a Kubernetes service account: true, or { tenant_id = \"…\", client_id = \"…\", token_file = \"…\" } \
     for what the environment does not say.",
);
const AUTHORITY: Key<BaseUrl, Optional> = Key::optional(
    "authority",
    "\"https://login.microsoftonline.com\"",
    "the one of the endpoint's cloud: https://login.microsoftonline.com, but for Azure Government and Azure in China",
    "Where tokens come from.",
)
.limited("an https:// URL, because secrets are sent there", |url| url.0.scheme() == "https");
const SCOPE: Key<String, Optional> =
    Key::optional("scope", "\"https://monitor.azure.com/.default\"", "the one of the endpoint's cloud", "What the token is asked for.");
const AUDIT_STREAM: Key<StreamName, Defaulted> =
    Key::defaulted("audit_stream", "Custom-MiroAuditLogs_CL", "The rule's stream for audit logs.");
const CONTENT_STREAM: Key<StreamName, Defaulted> =
    Key::defaulted("content_stream", "Custom-MiroContentLogs_CL", "The rule's stream for content logs.");
const AI_STREAM: Key<StreamName, Defaulted> =
    Key::defaulted("ai_stream", "Custom-MiroAiLogs_CL", "The rule's stream for AI interaction logs.");
const COMPRESSION: Key<Compression, Defaulted> = Key::defaulted("compression", "gzip", "How requests are compressed: none or gzip.")
    .limited("\"none\" or \"gzip\"", |compression| matches!(compression, Compression::None | Compression::Gzip));

pub(super) const TYPE: SinkType = SinkType {
    name: "azure_monitor",
    doc: "Microsoft Sentinel and Azure Monitor, through the Logs Ingestion API. \
          One of `client_secret`, `managed_identity` and `workload_identity` authenticates it.",
    keys: &[
        &ENDPOINT,
        &DCR_ID,
        &TENANT_ID,
        &CLIENT_ID,
        &CLIENT_SECRET,
        &MANAGED_IDENTITY,
        &WORKLOAD_IDENTITY,
        &AUTHORITY,
        &SCOPE,
        &AUDIT_STREAM,
        &CONTENT_STREAM,
        &AI_STREAM,
        &COMPRESSION,
    ],
    connects: Connects::Yes,
    // A table drops every column that it does not declare, and Miro's own tables declare none of ours.
    provenance: Provenance::Off,
    read,
};

/// The stream of snapshots has no key yet; nothing is sent to it.
const LICENSES_STREAM: &str = "Custom-MiroLicenses_CL";

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (endpoint, dcr_id, credential) = (table.take(&ENDPOINT), table.take(&DCR_ID), credential(table));
    let (authority, scope) = (table.take(&AUTHORITY), table.take(&SCOPE));
    let (audit, content, ai) = (table.take(&AUDIT_STREAM), table.take(&CONTENT_STREAM), table.take(&AI_STREAM));
    let compression = table.take(&COMPRESSION);
    let endpoint = endpoint?.0;
    let cloud = Cloud::of(&endpoint);
    Ok(SinkKindSettings::AzureMonitor(AzureMonitorSettings {
        dcr_id: dcr_id?.0,
        credential: credential?,
        authority: match authority? {
            Some(authority) => authority.0,
            None => Url::parse(cloud.authority).map_err(|_| Faulty)?,
        },
        scope: scope?.unwrap_or_else(|| cloud.scope.to_owned()),
        endpoint,
        audit_stream: audit?.0,
        content_stream: content?.0,
        ai_stream: ai?.0,
        licenses_stream: LICENSES_STREAM.to_owned(),
        compression: compression?,
    }))
}

/// What belongs to an endpoint's cloud. Source: the page "Logs Ingestion API in Azure Monitor" and Entra's page of national clouds.
struct Cloud {
    authority: &'static str,
    scope: &'static str,
}

impl Cloud {
    fn of(endpoint: &Url) -> Self {
        let host = endpoint.host_str().unwrap_or_default();
        if host.ends_with(".azure.us") {
            Self { authority: "https://login.microsoftonline.us", scope: "https://monitor.azure.us/.default" }
        } else if host.ends_with(".azure.cn") {
            Self { authority: "https://login.chinacloudapi.cn", scope: "https://monitor.azure.cn/.default" }
        } else {
            Self { authority: "https://login.microsoftonline.com", scope: "https://monitor.azure.com/.default" }
        }
    }
}

fn credential(table: &Table<'_>) -> Result<AzureCredential, Faulty> {
    let (tenant_id, client_id, secret) = (table.take(&TENANT_ID), table.take(&CLIENT_ID), table.take(&CLIENT_SECRET));
    let (managed, workload) = (table.take(&MANAGED_IDENTITY), table.take(&WORKLOAD_IDENTITY));
    let (tenant_id, client_id, secret) = (tenant_id?, client_id?, secret?);
    let managed = managed?.and_then(|identity| identity.0);
    let workload = workload?.and_then(|identity| identity.0);
    match (secret, managed, workload) {
        (Some(secret), None, None) => client_secret(table, tenant_id, client_id, secret),
        (None, Some(identity), None) | (None, None, Some(identity)) => {
            refuse_beside_identity(table)?;
            Ok(identity)
        }
        (None, None, None) => {
            let message = "is missing; one of client_secret, managed_identity = true and workload_identity = true has to be there";
            Err(table.problem(CLIENT_SECRET.name, message))
        }
        _ => {
            let ways = [CLIENT_SECRET.name, MANAGED_IDENTITY.name, WORKLOAD_IDENTITY.name];
            let written: Vec<&str> = ways.into_iter().filter(|name| is_written(table, name)).collect();
            Err(table
                .problem(written[0], format!("stands beside other ways to authenticate: {}; one of them is meant", written.join(", "))))
        }
    }
}

fn client_secret(
    table: &Table<'_>,
    tenant_id: Option<String>,
    client_id: Option<String>,
    client_secret: Secret,
) -> Result<AzureCredential, Faulty> {
    let needed = |value: Option<String>, name: &str| value.ok_or_else(|| table.problem(name, "is missing; it belongs to client_secret"));
    let (tenant_id, client_id) = (needed(tenant_id, TENANT_ID.name), needed(client_id, CLIENT_ID.name));
    Ok(AzureCredential::ClientSecret { tenant_id: tenant_id?, client_id: client_id?, client_secret })
}

/// Beside an identity, these keys would do nothing.
fn refuse_beside_identity(table: &Table<'_>) -> Result<(), Faulty> {
    for name in [TENANT_ID.name, CLIENT_ID.name] {
        if is_written(table, name) {
            let message = "belongs to client_secret; for an identity of your choice \
                           write managed_identity = { client_id = \"…\" } or workload_identity = { … }";
            return Err(table.problem(name, message));
        }
    }
    Ok(())
}

/// `managed_identity`; nothing inside for `false`.
struct ManagedIdentity(Option<AzureCredential>);

const USER_ASSIGNED: Key<String, Optional> =
    Key::optional("client_id", "\"00000000-0000-0000-0000-000000000000\"", "the system-assigned identity", "The user-assigned identity.");
const MANAGED_KEYS: Keys = &[&USER_ASSIGNED];

impl Value for ManagedIdentity {
    const MEANT: &'static str = "true, or a table with client_id";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        match switch(node) {
            Some(true) => return Ok(Self(Some(AzureCredential::ManagedIdentity { client_id: None }))),
            Some(false) => return Ok(Self(None)),
            None => {}
        }
        let table = Table::of_keys(at.clone(), node, MANAGED_KEYS)?;
        Ok(Self(Some(AzureCredential::ManagedIdentity { client_id: table.take(&USER_ASSIGNED)? })))
    }

    fn sub_keys() -> Keys {
        MANAGED_KEYS
    }

    fn form() -> Json {
        schema::table_or_switch(MANAGED_KEYS)
    }
}

/// `workload_identity`; nothing inside for `false`.
struct WorkloadIdentity(Option<AzureCredential>);

const WORKLOAD_TENANT: Key<String, Optional> =
    Key::optional("tenant_id", "\"00000000-0000-0000-0000-000000000000\"", "$AZURE_TENANT_ID", "The tenant.");
const WORKLOAD_CLIENT: Key<String, Optional> =
    Key::optional("client_id", "\"00000000-0000-0000-0000-000000000000\"", "$AZURE_CLIENT_ID", "The application.");
const WORKLOAD_TOKEN: Key<PathBuf, Optional> = Key::optional(
    "token_file",
    "\"/var/run/secrets/azure/tokens/azure-identity-token\"",
    "$AZURE_FEDERATED_TOKEN_FILE",
    "The projected token.",
);
const WORKLOAD_KEYS: Keys = &[&WORKLOAD_TENANT, &WORKLOAD_CLIENT, &WORKLOAD_TOKEN];

impl Value for WorkloadIdentity {
    const MEANT: &'static str = "true, or a table with tenant_id, client_id and token_file";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        match switch(node) {
            Some(true) => {
                return Ok(Self(Some(AzureCredential::WorkloadIdentity { tenant_id: None, client_id: None, token_file: None })));
            }
            Some(false) => return Ok(Self(None)),
            None => {}
        }
        let table = Table::of_keys(at.clone(), node, WORKLOAD_KEYS)?;
        let (tenant_id, client_id, token_file) = (table.take(&WORKLOAD_TENANT), table.take(&WORKLOAD_CLIENT), table.take(&WORKLOAD_TOKEN));
        Ok(Self(Some(AzureCredential::WorkloadIdentity { tenant_id: tenant_id?, client_id: client_id?, token_file: token_file? })))
    }

    fn sub_keys() -> Keys {
        WORKLOAD_KEYS
    }

    fn form() -> Json {
        schema::table_or_switch(WORKLOAD_KEYS)
    }
}

/// The immutable id of a data collection rule.
struct DcrId(String);

impl FromText for DcrId {
    const MEANT: &'static str = "the immutable id of a data collection rule, such as \"dcr-00000000000000000000000000000000\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        if text.starts_with("/subscriptions/") {
            return Err(Unfit::Because("this is its resource id; the immutable one is on its overview page, under JSON view".to_owned()));
        }
        path_segment(text).map(Self)
    }
}

/// The name of a stream that a data collection rule declares.
struct StreamName(String);

impl FromText for StreamName {
    const MEANT: &'static str = "a stream of the data collection rule, such as \"Custom-MiroAuditLogs_CL\"";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        path_segment(text).map(Self)
    }
}

/// Both stand in the path of a URL as they are.
fn path_segment(text: &str) -> Result<String, Unfit> {
    let is_plain = !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_plain { Ok(text.to_owned()) } else { Err(Unfit::Plainly) }
}
