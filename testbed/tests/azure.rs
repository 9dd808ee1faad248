//! The Azure stand-ins, by real requests.

mod support;

use std::time::Duration;

use support::{Client, Seen, gzip};
use testbed::{
    azure::{Azure, AzureConfig, Losses, Role, role_missing, throttled},
    ca::{Ca, ClientCertificates},
    faults::{RetryAfter, Rule},
    ledger::{Digest, Keep},
};

const AUDIT: &str = "Custom-MiroAuditLogs_CL";

struct Test {
    ca: Ca,
    azure: Azure,
    config: AzureConfig,
}

fn start(change: impl FnOnce(&mut AzureConfig)) -> Test {
    let ca = Ca::new().expect("ca");
    let tls = ca.local_server().and_then(|server| server.server_config(ClientCertificates::NotAsked)).expect("tls");
    let mut config = AzureConfig::new(tls);
    change(&mut config);
    Test { ca, azure: Azure::start(config.clone()).expect("start"), config }
}

impl Test {
    async fn ask_entra(&self, form: &str) -> Seen {
        self.ask_tenant(&self.config.tenant_id, form).await
    }

    async fn ask_tenant(&self, tenant: &str, form: &str) -> Seen {
        let head =
            format!("POST /{tenant}/oauth2/v2.0/token HTTP/1.1\r\nhost: entra\r\ncontent-type: application/x-www-form-urlencoded\r\n");
        let mut client = Client::tls(self.azure.entra().addr(), &self.ca).await;
        client.send(&head, form.as_bytes()).await.expect("an answer")
    }

    fn secret_form(&self, secret: &str) -> String {
        let client_id = &self.config.client_id;
        let scope = "https%3A%2F%2Fmonitor.azure.com%2F.default";
        format!("client_id={client_id}&client_secret={secret}&grant_type=client_credentials&scope={scope}")
    }

    async fn token(&self) -> String {
        let seen = self.ask_entra(&self.secret_form("entra-client-secret%7E1")).await;
        assert_eq!(seen.status, 200, "{}", seen.text());
        seen.json()["access_token"].as_str().expect("a token").to_owned()
    }

    async fn post(&self, token: &str, headers: &str, body: &[u8]) -> Seen {
        self.post_to(&self.azure.ingest().service().path(AUDIT), token, headers, body).await
    }

    async fn post_to(&self, path: &str, token: &str, headers: &str, body: &[u8]) -> Seen {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: ingest\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{headers}");
        let mut client = Client::tls(self.azure.ingest().addr(), &self.ca).await;
        client.send(&head, body).await.expect("an answer")
    }

    fn losses(&self) -> Losses {
        self.azure.ingest().service().losses()
    }
}

fn error_code(seen: &Seen) -> String {
    seen.json()["error"]["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn a_token_is_issued_for_a_secret_or_an_assertion_and_for_nothing_else() {
    let test = start(|_| {});
    let base = "grant_type=client_credentials&scope=https://monitor.azure.com//.default&client_id=";
    let base = format!("{base}{}", test.config.client_id);
    let typed = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    let assertion = &test.config.client_assertion;
    for (form, status, number) in [
        (test.secret_form("entra-client-secret~1"), 200, None),
        (format!("{base}&client_assertion={assertion}&{typed}"), 200, None),
        (format!("{base}&client_assertion={assertion}"), 401, Some(700_213)),
        (format!("{base}&client_assertion=x&{typed}"), 401, Some(700_213)),
        (test.secret_form("wrong"), 401, Some(7_000_215)),
        (base.clone(), 401, Some(7_000_218)),
        (base.replace(&test.config.client_id, "x"), 400, Some(700_016)),
        (test.secret_form("entra-client-secret~1").replace("monitor", "graph"), 400, Some(70_011)),
        ("grant_type=password".to_owned(), 400, Some(70_003)),
    ] {
        let seen = test.ask_entra(&form).await;
        assert_eq!((seen.status, seen.json()["error_codes"][0].as_i64()), (status, number), "{form}");
    }
    assert_eq!(test.ask_tenant("elsewhere", "").await.json()["error_codes"][0], 90_002);
    test.azure.entra().service().set_client_secret("second");
    assert_eq!(test.ask_entra(&test.secret_form("entra-client-secret~1")).await.status, 401);
    assert_eq!(test.ask_entra(&test.secret_form("second")).await.status, 200);
}

#[tokio::test]
async fn entra_describes_itself() {
    let test = start(|_| {});
    let tenant = &test.config.tenant_id;
    let path = format!("/{tenant}/v2.0/.well-known/openid-configuration");
    let mut client = Client::tls(test.azure.entra().addr(), &test.ca).await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: here:1\r\n");
    let seen = client.send(&head, b"").await.expect("an answer").json();
    assert_eq!(seen["token_endpoint"], format!("https://here:1/{tenant}/oauth2/v2.0/token"));
    let head = "GET /common/discovery/instance?api-version=1.1 HTTP/1.1\r\nhost: here:1\r\n";
    let seen = client.send(head, b"").await.expect("an answer").json();
    assert_eq!(seen["tenant_discovery_endpoint"], format!("https://here:1{path}"));
}

#[tokio::test]
async fn a_managed_identity_gets_a_token_that_the_ingestion_takes() {
    let test = start(|_| {});
    let endpoint = test.azure.identity_endpoint();
    let (_, path) = endpoint.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a plain URL");
    let ask = async |query: &str, header: &str| {
        let head = format!("GET /{path}?{query} HTTP/1.1\r\nhost: identity\r\nX-IDENTITY-HEADER: {header}\r\n");
        Client::plain(test.azure.identity().addr()).await.send(&head, b"").await.expect("an answer")
    };
    let query = "api-version=2019-08-01&resource=https%3A%2F%2Fmonitor.azure.com";
    let header = test.config.identity_header.as_str();
    assert_eq!(ask(query, "wrong").await.status, 401);
    assert_eq!(ask("resource=https://monitor.azure.com", header).await.status, 400);
    assert_eq!(ask("api-version=2019-08-01&resource=https://other", header).await.status, 400);
    assert_eq!(ask(&format!("{query}&client_id=other"), header).await.status, 400);
    let seen = ask(query, header).await;
    assert_eq!(seen.status, 200);
    seen.json()["expires_on"].as_str().expect("text").parse::<u64>().expect("unix seconds");
    let token = seen.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(test.post(&token, "", br#"[{"id":"a"}]"#).await.status, 204);
}

#[tokio::test]
async fn an_array_is_stored_and_the_bytes_of_its_elements_are_filed() {
    let test = start(|config| config.keep = Keep::Bytes);
    let token = test.token().await;
    let body = r#"[ {"id":"a#1", "event":"e" ,"extra":{}} , {"id":"b"},7]"#;
    let seen = test.post(&token, "content-encoding: gzip\r\n", &gzip(body.as_bytes())).await;
    seen.is(204, "");
    assert_eq!(seen.header("content-length"), None);
    let ledger = test.azure.ingest().ledger();
    assert_eq!(ledger.ids(), ["a#1", "b"]);
    assert_eq!(ledger.digest_of("a#1"), Some(Digest::of(br#"{"id":"a#1", "event":"e" ,"extra":{}}"#)));
    let stored = String::from_utf8(ledger.kept("a#1").expect("kept").context).expect("UTF-8");
    assert!(stored.starts_with(r#"{"id":"a#1","event":"e","TimeGenerated":""#), "{stored}");
    let losses = Losses { elements_dropped: 1, members_dropped: 1, times_replaced: 2, ..Losses::default() };
    assert_eq!(test.losses(), losses);
}

#[tokio::test]
async fn a_body_that_is_no_array_is_accepted_and_lost() {
    let test = start(|_| {});
    let token = test.token().await;
    assert_eq!(test.post(&token, "", br#"{"id":"a"}"#).await.status, 204);
    assert_eq!(test.losses().bodies_dropped, 1);
    assert_eq!(test.post(&token, "", br#"[{"id":"a"}"#).await.status, 400);
    assert_eq!(test.post(&token, "", b"").await.status, 400);
    assert!(test.azure.ingest().ledger().is_empty());
}

#[tokio::test]
async fn a_value_above_64_kb_is_cut_in_silence() {
    let test = start(|_| {});
    let token = test.token().await;
    let body = format!(r#"[{{"id":"a","details":{{"x":"{}"}}}}]"#, "x".repeat(65_536));
    assert_eq!(test.post(&token, "", body.as_bytes()).await.status, 204);
    assert_eq!(test.losses().values_cut, 1);
}

#[tokio::test]
async fn the_limit_is_on_the_body_as_sent_and_another_one_on_the_unpacked_body() {
    let test = start(|_| {});
    let token = test.token().await;
    let array = |len: usize| format!(r#"[{{"id":"a"}}{}]"#, " ".repeat(len - 12)).into_bytes();
    let fits = array(1 << 20);
    assert_eq!(test.post(&token, "", &fits).await.status, 204);
    let seen = test.post(&token, "", &array((1 << 20) + 1)).await;
    assert_eq!((seen.status, error_code(&seen).as_str()), (413, "ContentLengthLimitExceeded"));
    let packed = "content-encoding: gzip\r\n";
    assert_eq!(test.post(&token, packed, &gzip(&array(50 << 20))).await.status, 204);
    let seen = test.post(&token, packed, &gzip(&array((50 << 20) + 1))).await;
    assert_eq!((seen.status, error_code(&seen).as_str()), (413, "PayloadSizeLimitExceeded"));
    assert_eq!(test.azure.ingest().ledger().times_seen("a"), 2);
}

#[tokio::test]
async fn a_token_that_is_missing_unknown_expired_or_revoked_is_a_401() {
    let test = start(|config| config.token_lifetime = Duration::from_millis(1500));
    let body = br#"[{"id":"a"}]"#;
    assert_eq!(test.post("x", "", body).await.status, 401);
    let token = test.token().await;
    assert_eq!(test.post(&token, "", body).await.status, 204);
    test.azure.revoke_tokens();
    assert_eq!(test.post(&token, "", body).await.status, 401);
    let token = test.token().await;
    tokio::time::sleep(Duration::from_millis(1550)).await;
    assert_eq!(test.post(&token, "", body).await.status, 401);
}

#[tokio::test]
async fn a_missing_role_is_a_403_for_good_for_a_count_or_for_a_time() {
    let test = start(|_| {});
    let token = test.token().await;
    let ingest = test.azure.ingest();
    let status = async || test.post(&token, "", br#"[{"id":"a"}]"#).await.status;
    ingest.service().set_role(Role::Missing);
    assert_eq!(status().await, 403);
    ingest.service().set_role(Role::Granted);
    ingest.faults().next(2, role_missing());
    assert_eq!([status().await, status().await, status().await], [403, 403, 204]);
    ingest.faults().add(Rule::during(Duration::from_millis(1000), role_missing()));
    assert_eq!(status().await, 403);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(status().await, 204);
}

#[tokio::test]
async fn a_wrong_rule_stream_version_or_content_type_is_refused() {
    let test = start(|_| {});
    let token = test.token().await;
    let path = test.azure.ingest().service().path(AUDIT);
    for (path, status) in [
        (path.replace("dcr-0", "dcr-1"), 404),
        (path.replace(AUDIT, "Custom-Other_CL"), 404),
        ("/elsewhere".to_owned(), 404),
        (path.replace("2023-01-01", "2020-01-01"), 400),
        (path.split('?').next().unwrap_or_default().to_owned(), 400),
    ] {
        assert_eq!(test.post_to(&path, &token, "", b"[]").await.status, status, "{path}");
    }
    let head = format!("POST {path} HTTP/1.1\r\nhost: ingest\r\nauthorization: Bearer {token}\r\n");
    let mut client = Client::tls(test.azure.ingest().addr(), &test.ca).await;
    assert_eq!(client.send(&head, b"[]").await.expect("an answer").status, 415);
}

#[tokio::test]
async fn throttling_names_its_wait() {
    let test = start(|_| {});
    let token = test.token().await;
    test.azure.ingest().faults().next(1, throttled(RetryAfter::Seconds(Duration::from_secs(3))));
    let seen = test.post(&token, "", br#"[{"id":"a"}]"#).await;
    assert_eq!((seen.status, seen.header("retry-after")), (429, Some("3")));
    assert!(test.azure.ingest().ledger().is_empty());
}
