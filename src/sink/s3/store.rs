//! One bucket: its address, the credential for it, and the two requests that the sink makes.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use object_store::{
    Attribute, Attributes, CredentialProvider, ObjectStore, PutMode, PutOptions, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, Checksum},
    list::{PaginatedListOptions, PaginatedListStore as _},
    path::Path,
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    answer::{self, Bucket},
    wire::{Outcome, Seen, Wire},
};
use crate::{
    config::{
        Secret,
        settings::{S3Addressing, S3Credential, S3Settings},
    },
    sink::{
        Batch, ErrorClass, SinkError,
        http::{BuildError, Connection, read_secret},
    },
};

/// With none in the configuration and in the environment; also what stores that are not AWS's expect.
const REGION: &str = "us-east-1";
/// Objects that begin with the same position: one, or one more for each change of the sink's format.
const KEYS_MAX: usize = 100;

/// What the environment says of credentials, by the names that AWS's own tools have for it. Nothing else is taken from there.
const ENVIRONMENT: [(&str, AmazonS3ConfigKey); 9] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];

/// A bucket.
pub(super) struct Store {
    s3: AmazonS3,
    bucket: Bucket,
    storage_class: Option<String>,
}

impl Store {
    pub(super) fn new(settings: &S3Settings, connection: &Connection) -> Result<Self, BuildError> {
        let region = settings.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(Wire::new(connection)?)
            // Waits and repeats are the driver's.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_bucket_name(&settings.bucket)
            .with_region(region.unwrap_or_else(|| REGION.to_owned()))
            // A bucket with an object lock takes nothing without a checksum.
            .with_checksum_algorithm(Checksum::SHA256)
            .with_virtual_hosted_style_request(settings.addressing == S3Addressing::VirtualHost);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(address(endpoint, &settings.bucket, settings.addressing));
        }
        if let Some(key_id) = &settings.kms_key_id {
            builder = builder.with_sse_kms_encryption(key_id);
        }
        let s3 = with_credential(builder, &settings.credential).build();
        let s3 =
            s3.map_err(|error| BuildError::setting("endpoint", format!("and the keys beside it make no bucket's address: {error}")))?;
        Ok(Self { s3, bucket: Bucket::new(settings), storage_class: settings.storage_class.clone() })
    }

    /// Writes an object unless it is there already, which is a success too.
    pub(super) async fn put_new(&self, key: &str, body: Vec<u8>, content_type: &'static str, batch: &Batch<'_>) -> Result<(), SinkError> {
        let path = Path::parse(key).map_err(|error| {
            SinkError::new(ErrorClass::Config, format!("put an object into {}: its key cannot be used: {error}; check prefix", self.bucket))
        })?;
        let seen = Seen::default();
        let mut attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
        if let Some(class) = &self.storage_class {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        let options = PutOptions { mode: PutMode::Create, attributes, extensions: seen.extensions(), ..PutOptions::default() };
        match self.s3.put_opts(&path, PutPayload::from(body), options).await {
            Ok(_) => Ok(()),
            Err(error) => self.bucket.put(seen.take(), &error, batch),
        }
    }

    /// The keys that begin so, at most a hundred.
    pub(super) async fn keys_that_begin_with(&self, beginning: &str) -> Result<Vec<String>, SinkError> {
        let seen = Seen::default();
        let options = PaginatedListOptions { max_keys: Some(KEYS_MAX), extensions: seen.extensions(), ..PaginatedListOptions::default() };
        match self.s3.list_paginated(Some(beginning), options).await {
            Ok(page) => Ok(page.result.objects.into_iter().map(|object| object.location.to_string()).collect()),
            Err(error) => Err(self.bucket.refusal("list", seen.take(), &error, None)),
        }
    }

    /// Asks for any key. A credential that may only write is refused that, which shows all the same that it is known.
    pub(super) async fn look(&self) -> Result<(), SinkError> {
        let seen = Seen::default();
        let options = PaginatedListOptions { max_keys: Some(1), extensions: seen.extensions(), ..PaginatedListOptions::default() };
        let Err(error) = self.s3.list_paginated(None, options).await else { return Ok(()) };
        match seen.take() {
            Some(Outcome::Answer(answer)) if answer::is_want_of_permission(&answer) => Ok(()),
            outcome => Err(self.bucket.refusal("list", outcome, &error, None)),
        }
    }
}

/// Where the library looks for the bucket: with its name in the host's it wants the whole of it.
fn address(endpoint: &Url, bucket: &str, addressing: S3Addressing) -> String {
    let text = endpoint.as_str().trim_end_matches('/');
    match (addressing, text.split_once("://")) {
        (S3Addressing::VirtualHost, Some((scheme, rest))) => format!("{scheme}://{bucket}.{rest}"),
        _ => text.to_owned(),
    }
}

fn with_credential(builder: AmazonS3Builder, credential: &S3Credential) -> AmazonS3Builder {
    match credential {
        S3Credential::Keys { access_key_id, secret_access_key, session_token } => builder.with_credentials(Arc::new(Keys {
            access_key_id: access_key_id.clone(),
            secret_access_key: secret_access_key.clone(),
            session_token: session_token.clone(),
        })),
        S3Credential::WebIdentity { role_arn, token_file, sts_endpoint } => {
            let builder = builder
                .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, token_file.display().to_string())
                .with_config(AmazonS3ConfigKey::RoleArn, role_arn)
                .with_config(AmazonS3ConfigKey::RoleSessionName, "miro-siem");
            match sts_endpoint {
                Some(endpoint) => builder.with_config(AmazonS3ConfigKey::StsEndpoint, endpoint.as_str()),
                None => builder,
            }
        }
        S3Credential::Environment => ENVIRONMENT.iter().fold(builder, |builder, (name, key)| {
            variable(name).into_iter().fold(builder, |builder, value| builder.with_config(*key, value))
        }),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Access keys that are read for each request, so that changed files are picked up.
#[derive(Debug)]
struct Keys {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
}

impl Keys {
    fn read(&self) -> Result<AwsCredential, SinkError> {
        let secret_key = plain("secret_access_key", read_secret("secret_access_key", &self.secret_access_key)?)?;
        let token = self.session_token.as_ref().map(|token| plain("session_token", read_secret("session_token", token)?)).transpose()?;
        Ok(AwsCredential { key_id: self.access_key_id.clone(), secret_key, token })
    }
}

/// The library takes for granted that a header can carry it.
fn plain(key: &str, secret: SecretString) -> Result<String, SinkError> {
    let text = secret.expose_secret();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    let message = format!("use {key}: it holds characters that no key of S3 has; check how it was written");
    Err(SinkError::new(ErrorClass::Auth, message))
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.read().map(Arc::new).map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buckets_name_stands_where_it_is_meant() {
        let check = |endpoint: &str, addressing, expected: &str| {
            assert_eq!(address(&endpoint.parse().expect("a URL"), "logs", addressing), expected);
        };
        // The library adds the bucket to a path itself.
        check("https://minio:9000/", S3Addressing::Path, "https://minio:9000");
        check("https://minio:9000", S3Addressing::VirtualHost, "https://logs.minio:9000");
        check("https://proxy/s3/", S3Addressing::VirtualHost, "https://logs.proxy/s3");
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_without_being_shown() {
        let keys = |secret: &str| Keys {
            access_key_id: "AK".to_owned(),
            secret_access_key: Secret::literal("k"),
            session_token: Some(Secret::literal(secret)),
        };
        assert!(keys("abc/+=").read().is_ok());
        let error = keys("s3cr3t\nx").read().expect_err("a line break");
        assert_eq!(error.class(), ErrorClass::Auth);
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }
}
