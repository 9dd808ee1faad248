//! `type = "s3"`

use std::path::PathBuf;

use chrono::format::{Item, StrftimeItems};
use serde_json::Value as Json;

use super::{Connects, SinkType};
use crate::config::{
    Secret,
    address::BaseUrl,
    key::{Defaulted, Key, Keys, Optional, Required},
    node::Node,
    problem::Faulty,
    schema,
    settings::{Compression, Provenance, S3Addressing, S3Credential, S3Settings, SinkKindSettings},
    table::{At, Table},
    value::{FromText, Unfit, Value},
};

/// A key has at most 1 024 bytes; what the sink adds to the prefix needs some of them.
const PREFIX_BYTES_MAX: usize = 512;

const BUCKET: Key<Bucket, Required> = Key::required("bucket", "\"acme-miro-logs\"", "The bucket. It has to be there already.");
const REGION: Key<String, Optional> =
    Key::optional("region", "\"eu-central-1\"", "$AWS_REGION, $AWS_DEFAULT_REGION, else us-east-1", "The bucket's region.");
const ENDPOINT: Key<BaseUrl, Optional> =
    Key::optional("endpoint", "\"https://minio.example.com:9000\"", "AWS's own", "The address of a store that is not AWS's.");
const PATH_STYLE: Key<S3Addressing, Optional> = Key::optional(
    "path_style",
    "true",
    "true with `endpoint`, and where the bucket's name has a dot, else false",
    "Whether the bucket's name stands in the path, instead of in the host's name.",
);
const PREFIX: Key<Prefix, Defaulted> = Key::defaulted(
    "prefix",
    "miro/{org}/{stream}/date=%Y-%m-%d/",
    "What every key begins with. `{org}` and `{stream}` stand for their names, `%Y-%m-%d` and so on for the event's own time in UTC.",
);
const COMPRESSION: Key<Compression, Defaulted> = Key::defaulted(
    "compression",
    "zstd",
    "How objects are compressed: none, gzip or zstd. The key's end tells: .ndjson, .ndjson.gz, .ndjson.zst.",
);
const ACCESS_KEY_ID: Key<String, Optional> =
    Key::optional("access_key_id", "\"AKIAIOSFODNN7EXAMPLE\"", "`web_identity`, or what the environment has", "The id of an access key.")
        .limited("without spaces", |id| id.bytes().all(|byte| byte.is_ascii_graphic()));
const SECRET_ACCESS_KEY: Key<Secret, Optional> =
    Key::optional("secret_access_key", "{ file = \"/etc/miro-siem/s3.key\" }", "required with `access_key_id`", "The access key.");
const SESSION_TOKEN: Key<Secret, Optional> = Key::optional(
    "session_token",
    "{ file = \"/etc/miro-siem/s3.token\" }",
    "the key is not temporary",
    "The token of a temporary access key.",
);
const WEB_IDENTITY: Key<WebIdentity, Optional> = Key::optional(
    "web_identity",
    "{ role_arn = \"arn:aws:iam::123456789012:role/miro-siem\", token_file = \"/var/run/secrets/eks.amazonaws.com/serviceaccount/token\" }",
    "access keys, or what the environment has: keys, web identity (IRSA), the role of a container (ECS, EKS Pod Identity), \
     the role of an instance. Profiles in ~/.aws are not read",
    "Assume a role with a token in a file.",
);
const KMS_KEY_ID: Key<String, Optional> =
    Key::optional("kms_key_id", "\"alias/miro-logs\"", "the bucket's own encryption", "The KMS key that encrypts objects.");
const STORAGE_CLASS: Key<String, Optional> =
    Key::optional("storage_class", "\"STANDARD_IA\"", "the bucket's own", "The storage class of objects.")
        .limited("capital letters, digits and `_`", |class| {
            class.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        });

pub(super) const TYPE: SinkType = SinkType {
    name: "s3",
    doc: "Objects in Amazon S3 and stores with its API, one record per line. An event counts as delivered when the store has its object. \
          The same events make the same key, and none is written twice; the credential needs s3:PutObject, and s3:ListBucket so that this \
          holds across a restart as well.",
    keys: &[
        &BUCKET,
        &REGION,
        &ENDPOINT,
        &PATH_STYLE,
        &PREFIX,
        &COMPRESSION,
        &ACCESS_KEY_ID,
        &SECRET_ACCESS_KEY,
        &SESSION_TOKEN,
        &WEB_IDENTITY,
        &KMS_KEY_ID,
        &STORAGE_CLASS,
    ],
    connects: Connects::Yes,
    provenance: Provenance::On,
    read,
};

fn read(table: &Table<'_>) -> Result<SinkKindSettings, Faulty> {
    let (bucket, region, endpoint) = (table.take(&BUCKET), table.take(&REGION), table.take(&ENDPOINT));
    let (addressing, prefix, compression) = (table.take(&PATH_STYLE), table.take(&PREFIX), table.take(&COMPRESSION));
    let (credential, kms_key_id, storage_class) = (credential(table), table.take(&KMS_KEY_ID), table.take(&STORAGE_CLASS));
    let (Bucket(bucket), endpoint) = (bucket?, endpoint?.map(|endpoint| endpoint.0));
    // A certificate for *.s3.amazonaws.com does not cover a name with a dot.
    let usual = if endpoint.is_some() || bucket.contains('.') { S3Addressing::Path } else { S3Addressing::VirtualHost };
    Ok(SinkKindSettings::S3(S3Settings {
        bucket,
        region: region?,
        endpoint,
        addressing: addressing?.unwrap_or(usual),
        prefix: prefix?.0,
        compression: compression?,
        credential: credential?,
        kms_key_id: kms_key_id?,
        storage_class: storage_class?,
    }))
}

/// The one credential that is there.
fn credential(table: &Table<'_>) -> Result<S3Credential, Faulty> {
    let (id, key, token) = (table.take(&ACCESS_KEY_ID), table.take(&SECRET_ACCESS_KEY), table.take(&SESSION_TOKEN));
    let web_identity = table.take(&WEB_IDENTITY);
    match (id?, key?, token?, web_identity?) {
        (Some(_), Some(_), _, Some(_)) => Err(table.problem(WEB_IDENTITY.name, "stands beside `access_key_id`; one of the two is meant")),
        (Some(access_key_id), Some(secret_access_key), session_token, None) => {
            Ok(S3Credential::Keys { access_key_id, secret_access_key, session_token })
        }
        (Some(_), None, ..) => Err(table.problem(SECRET_ACCESS_KEY.name, "is missing; `access_key_id` needs it")),
        (None, Some(_), ..) => Err(table.problem(ACCESS_KEY_ID.name, "is missing; `secret_access_key` needs it")),
        (None, None, Some(_), _) => Err(table.problem(ACCESS_KEY_ID.name, "is missing; `session_token` needs it and `secret_access_key`")),
        (None, None, None, Some(WebIdentity { role_arn, token_file, sts_endpoint })) => {
            Ok(S3Credential::WebIdentity { role_arn, token_file, sts_endpoint: sts_endpoint.map(|endpoint| endpoint.0) })
        }
        (None, None, None, None) => Ok(S3Credential::Environment),
    }
}

/// `bucket`
struct Bucket(String);

impl FromText for Bucket {
    const MEANT: &'static str = "a bucket's name: 3 to 63 lower-case letters, digits, `-` and `.`";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (3..=63).contains(&text.len())
            && text.bytes().all(|byte| is_plain(byte) || byte == b'-' || byte == b'.')
            && text.bytes().next().is_some_and(is_plain)
            && text.bytes().last().is_some_and(is_plain);
        if text.starts_with("s3://") {
            return Err(Unfit::Because("write the name without s3://".to_owned()));
        }
        if is_name { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }
}

/// `prefix`
struct Prefix(String);

impl FromText for Prefix {
    const MEANT: &'static str = "the beginning of a key, with {org}, {stream} and the event's date as %Y-%m-%d where they are wanted";

    fn from_text(text: &str) -> Result<Self, Unfit> {
        let bare = text.replace("{org}", "x").replace("{stream}", "x");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "!-_.'()/=%+,@".contains(c);
        if bare.contains(['{', '}']) {
            return Err(Unfit::Because("only {org} and {stream} can stand in braces".to_owned()));
        }
        if bare.starts_with('/') || bare.contains("//") || bare.split('/').any(|part| part == "." || part == "..") {
            return Err(Unfit::Because("it begins with `/`, or a part of it is empty, `.` or `..`".to_owned()));
        }
        if StrftimeItems::new(text).any(|item| matches!(item, Item::Error)) {
            return Err(Unfit::Because("a `%` in it is followed by no specifier of strftime".to_owned()));
        }
        if text.len() <= PREFIX_BYTES_MAX && bare.chars().all(is_plain) { Ok(Self(text.to_owned())) } else { Err(Unfit::Plainly) }
    }
}

impl Value for S3Addressing {
    const MEANT: &'static str = bool::MEANT;

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        bool::read(at, node).map(|in_path| if in_path { Self::Path } else { Self::VirtualHost })
    }

    fn form() -> Json {
        bool::form()
    }
}

/// `web_identity`
struct WebIdentity {
    role_arn: String,
    token_file: PathBuf,
    sts_endpoint: Option<BaseUrl>,
}

mod web_identity {
    use super::{BaseUrl, Key, Keys, Optional, PathBuf, Required};

    pub(super) const ROLE_ARN: Key<String, Required> =
        Key::required("role_arn", "\"arn:aws:iam::123456789012:role/miro-siem\"", "The role to assume.");
    pub(super) const TOKEN_FILE: Key<PathBuf, Required> = Key::required(
        "token_file",
        "\"/var/run/secrets/eks.amazonaws.com/serviceaccount/token\"",
        "The file with the identity's token; it is read at each renewal.",
    );
    pub(super) const STS_ENDPOINT: Key<BaseUrl, Optional> =
        Key::optional("sts_endpoint", "\"https://sts.example.com\"", "AWS's own in the region", "Where the role is assumed.");
    pub(super) const KEYS: Keys = &[&ROLE_ARN, &TOKEN_FILE, &STS_ENDPOINT];
}

impl Value for WebIdentity {
    const MEANT: &'static str = "a table of role_arn and token_file";

    fn read(at: &At<'_>, node: &Node) -> Result<Self, Faulty> {
        let table = Table::of_keys(at.clone(), node, web_identity::KEYS)?;
        let (role_arn, token_file) = (table.take(&web_identity::ROLE_ARN), table.take(&web_identity::TOKEN_FILE));
        let sts_endpoint = table.take(&web_identity::STS_ENDPOINT);
        Ok(Self { role_arn: role_arn?, token_file: token_file?, sts_endpoint: sts_endpoint? })
    }

    fn sub_keys() -> Keys {
        web_identity::KEYS
    }

    fn form() -> Json {
        schema::table(web_identity::KEYS)
    }
}
