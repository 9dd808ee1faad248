use super::*;
use crate::config::settings::Compression;

fn settings(credential: AzureCredential) -> AzureMonitorSettings {
    AzureMonitorSettings {
        endpoint: "https://rule.westeurope-1.ingest.monitor.azure.com".parse().expect("a URL"),
        dcr_id: "dcr-1".to_owned(),
        credential,
        authority: "https://login.microsoftonline.com".parse().expect("a URL"),
        scope: "https://monitor.azure.com/.default".to_owned(),
        audit_stream: "Custom-A".to_owned(),
        content_stream: "Custom-C".to_owned(),
        ai_stream: "Custom-I".to_owned(),
        licenses_stream: "Custom-L".to_owned(),
        compression: Compression::Gzip,
    }
}

/// The instance metadata service of a virtual machine, whose address is a constant that no test can have.
#[derive(Debug)]
struct Metadata {
    status: u16,
}

#[async_trait::async_trait]
impl HttpClient for Metadata {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let url = request.url();
        assert_eq!((url.host_str(), url.path()), (Some("169.254.169.254"), "/metadata/identity/oauth2/token"));
        assert!(url.query_pairs().any(|(name, value)| name == "resource" && value == "https://monitor.azure.com"), "{url}");
        assert!(url.query_pairs().any(|(name, value)| name == "client_id" && value == "my-identity"), "{url}");
        let body = r#"{"access_token":"hush","expires_on":"4102444800","resource":"r","token_type":"Bearer"}"#;
        let body = if self.status == 200 { body } else { r#"{"error":"invalid_request","error_description":"Identity not found"}"# };
        Ok(AsyncRawResponse::from_bytes(self.status.into(), Headers::new(), body))
    }
}

fn tokens(status: u16) -> Tokens {
    let settings = settings(AzureCredential::ManagedIdentity { client_id: Some("my-identity".to_owned()) });
    Tokens::over(&settings, Duration::from_secs(5), Arc::new(Metadata { status }))
}

#[tokio::test]
async fn a_virtual_machine_gets_its_token_from_the_metadata_service() {
    let token = tokens(200).token().await.expect("a token");
    assert_eq!(token.expose_secret(), "hush");
    let refused = tokens(400).token().await.expect_err("refused");
    assert_eq!(refused.class(), ErrorClass::Auth);
    assert!(refused.to_string().contains("managed identity"), "{refused}");
}

#[test]
fn nothing_secret_shows_in_debug() {
    let secret = crate::config::Secret::literal("hush-hush");
    let credential = AzureCredential::ClientSecret { tenant_id: "t".to_owned(), client_id: "c".to_owned(), client_secret: secret };
    let connection = Connection { timeout: Duration::from_secs(5), tls: Default::default() };
    let tokens = Tokens::new(&settings(credential), &connection).expect("tokens");
    tokens.current().expect("a credential");
    assert!(!format!("{tokens:?}").contains("hush"), "{tokens:?}");
}
