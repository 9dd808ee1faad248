//! Parameters, errors, tokens, scopes, credits and members, by real requests.

mod common;

use std::time::Duration;

use common::{Answer, Ask, days, encode, get, listing, send, small, start_time, started, token};
use miro_simulator::{BeyondRetention, RetryAfter, Running, SimConfig, Stream};
use serde_json::{Value, json};

/// Expects Miro's error object.
fn check_error(answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    let body = answer.json();
    assert_eq!((answer.status, body["status"].as_u64(), body["type"].as_str()), (status, Some(u64::from(status)), Some("error")), "{body}");
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body.pointer("/context/fields/0/field").and_then(Value::as_str), field, "{body}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
}

async fn get_as(running: &Running, path: &str, name: &str) -> Answer {
    get(running, path, token(running, name)).await
}

#[tokio::test]
async fn audit_parameters_are_checked_and_the_field_at_fault_is_named() {
    let running = started(small()).await;
    let (after, before) = ("createdAfter=2026-11-19T00:00:00.000Z", "createdBefore=2026-11-20T00:00:00.000Z");
    for (query, field) in [
        (before.to_owned(), Some("createdAfter")),
        (after.to_owned(), Some("createdBefore")),
        (format!("createdAfter=2026-11-19&{before}"), Some("createdAfter")),
        (format!("{after}&createdBefore=tomorrow"), Some("createdBefore")),
        (format!("{after}&{before}&limit=0"), Some("limit")),
        (format!("{after}&{before}&limit=501"), Some("limit")),
        (format!("{after}&{before}&limit=many"), Some("limit")),
        (format!("{after}&{before}&sorting=asc"), Some("sorting")),
        (format!("{after}&{before}&cursor=%23"), Some("cursor")),
        ("createdAfter=2026-11-20T00:00:00.000Z&createdBefore=2026-11-19T00:00:00.000Z".to_owned(), Some("createdAfter")),
        (format!("{after}&{before}&limit=500&sorting=ASC"), None),
        (format!("{after}&{before}&sorting=DESC&unknown=ignored"), None),
        ("createdAfter=2026-11-19T00:00:00Z&createdBefore=2026-11-20T00:00:00.000000Z".to_owned(), None),
    ] {
        let answer = get_as(&running, &format!("/v2/audit/logs?{query}"), "siem").await;
        match field {
            Some(field) => check_error(&answer, 400, "invalidParameters", Some(field)),
            None => assert_eq!(answer.status, 200, "{query}"),
        }
    }
}

#[tokio::test]
async fn the_largest_audit_limit_and_the_default_can_be_lowered() {
    let running = started(SimConfig { audit_limit_max: 50, ..small() }).await;
    let path = |more| listing(&running, Stream::Audit, start_time() - days(7), start_time(), more);
    check_error(&get_as(&running, &path("&limit=51"), "siem").await, 400, "invalidParameters", Some("limit"));
    assert_eq!(get_as(&running, &path(""), "siem").await.json()["limit"], 50);
}

#[tokio::test]
async fn pages_have_the_documented_defaults_and_type() {
    let running = started(small()).await;
    for (stream, limit) in [(Stream::Audit, 100), (Stream::Content, 1_000), (Stream::Ai, 100)] {
        let page = get_as(&running, &listing(&running, stream, start_time() - days(7), start_time(), ""), "admin").await.json();
        assert_eq!((page["limit"].as_u64(), page["type"].as_str()), (Some(limit), Some("cursor-list")), "{stream}");
        assert_eq!(page["size"].as_u64(), page["data"].as_array().map(|data| data.len() as u64));
        let first = &page["data"][0];
        assert!(first["id"].is_string(), "oldest first by default: {first}");
    }
}

#[tokio::test]
async fn content_and_ai_parameters_are_checked() {
    let running = started(small()).await;
    for stream in [Stream::Content, Stream::Ai] {
        let over = if stream == Stream::Content { 1_001 } else { 101 };
        let sixteen = "&emails=a@example.com".repeat(16);
        for (more, field) in [
            (format!("&limit={over}"), "limit"),
            ("&limit=0".to_owned(), "limit"),
            ("&sorting=ASC".to_owned(), "sorting"),
            ("&cursor=%25%25".to_owned(), "cursor"),
            (sixteen, "emails"),
        ] {
            let path = listing(&running, stream, start_time() - days(1), start_time(), &more);
            check_error(&get_as(&running, &path, "admin").await, 400, "2.0703", Some(field));
        }
        let path = listing(&running, stream, start_time() - days(1), start_time(), "");
        let without_to = path.split("&to=").next().expect("a first part");
        check_error(&get_as(&running, without_to, "admin").await, 400, "2.0703", Some("to"));
    }
}

#[tokio::test]
async fn each_endpoint_wants_its_scope() {
    let running = started(small()).await;
    let org = running.sim().org_id().to_owned();
    let window = |stream| listing(&running, stream, start_time() - days(1), start_time(), "");
    let endpoints =
        [window(Stream::Audit), window(Stream::Content), window(Stream::Ai), format!("/v2/orgs/{org}"), format!("/v2/orgs/{org}/members")];
    for (at, path) in endpoints.iter().enumerate() {
        for (name, allowed) in [("siem", at == 0), ("ediscovery", at == 1), ("ai", at == 2), ("admin", true)] {
            let answer = get_as(&running, path, name).await;
            if allowed {
                assert_eq!(answer.status, 200, "{path} as {name}");
            } else {
                check_error(&answer, 403, "insufficientPermissions", None);
            }
        }
    }
}

#[tokio::test]
async fn missing_unknown_and_revoked_tokens_get_401() {
    let running = started(small()).await;
    let path = listing(&running, Stream::Audit, start_time() - days(1), start_time(), "");
    let none = send(&running, Ask { token: None, ..Ask::get(&path, "") }).await.expect("an answer");
    check_error(&none, 401, "tokenNotProvided", None);
    check_error(&get(&running, &path, "nonsense").await, 401, "invalidToken", None);
    let siem = token(&running, "siem").to_owned();
    assert_eq!(get(&running, &path, &siem).await.status, 200);
    running.sim().revoke_token(&siem);
    check_error(&get(&running, &path, &siem).await, 401, "invalidToken", None);
    check_error(&get(&running, "/v1/oauth-token", &siem).await, 400, "invalidToken", None);
}

#[tokio::test]
async fn wrong_paths_methods_and_organisations_get_miros_errors() {
    let running = started(small()).await;
    check_error(&get_as(&running, "/v2/audit/nothing", "admin").await, 404, "notFound", None);
    check_error(&get_as(&running, "/v2/orgs/3074457345821140000", "admin").await, 403, "forbiddenAccess", None);
    check_error(&get_as(&running, "/v2/orgs/acme", "admin").await, 404, "notFound", None);
    let post = send(&running, Ask::post("/v2/audit/logs", b"", "text/plain")).await.expect("an answer");
    check_error(&post, 405, "methodNotSupported", None);
}

#[tokio::test]
async fn token_information_names_organisation_scopes_and_app() {
    let running = started(small()).await;
    let info = get_as(&running, "/v1/oauth-token", "siem").await.json();
    assert_eq!((info["type"].as_str(), info["organization"]["id"].as_str()), (Some("oAuthToken"), Some(running.sim().org_id())));
    assert_eq!(info["scopes"], json!(["auditlogs:read"]));
    for part in ["application", "team", "user", "createdBy"] {
        assert!(info[part]["id"].is_string() && info[part]["name"].is_string(), "{info}");
    }
}

#[tokio::test]
async fn every_answer_has_rate_limit_headers_and_the_quota_ends_in_429() {
    let running = started(SimConfig { credits_per_minute: Some(2_250), quota_window: Duration::from_secs(3), ..small() }).await;
    let audit = listing(&running, Stream::Audit, start_time() - days(1), start_time(), "&limit=1");
    let content = listing(&running, Stream::Content, start_time() - days(1), start_time(), "&limit=1");
    let remaining = |answer: &Answer| -> u32 {
        assert_eq!(answer.header("x-ratelimit-limit"), Some("2250"));
        answer.header("x-ratelimit-remaining").and_then(|text| text.parse().ok()).expect("a number")
    };
    assert_eq!(remaining(&get_as(&running, &audit, "admin").await), 2_150);
    assert_eq!(remaining(&get_as(&running, &content, "admin").await), 150);
    assert_eq!(remaining(&get_as(&running, &audit, "admin").await), 50);
    let refused = get_as(&running, &audit, "admin").await;
    check_error(&refused, 429, "tooManyRequests", None);
    assert_eq!((remaining(&refused), refused.header("retry-after")), (50, None));
    assert_eq!(remaining(&get_as(&running, "/v1/oauth-token", "admin").await), 0, "a cheaper operation still fits");
    assert_eq!(remaining(&get_as(&running, &audit, "siem").await), 2_150, "another token has its own credits");
    let unauthorised = get(&running, &audit, "nonsense").await;
    assert_eq!((unauthorised.status, remaining(&unauthorised)), (401, 2_250));
    let reset: u64 = refused.header("x-ratelimit-reset").and_then(|text| text.parse().ok()).expect("a number");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert!(reset >= now.as_secs() && reset <= now.as_secs() + 4, "{reset} is soon after {now:?}");
    tokio::time::sleep(Duration::from_secs(reset).saturating_sub(now)).await;
    assert_eq!(get_as(&running, &audit, "admin").await.status, 200, "credits are back at the time of the header");
}

#[tokio::test]
async fn retry_after_is_sent_only_where_it_is_asked_for() {
    for (how, wanted) in [(RetryAfter::Absent, None), (RetryAfter::Seconds, Some(2)), (RetryAfter::HttpDate, Some(29))] {
        let running = started(SimConfig { credits_per_minute: Some(0), retry_after: how, ..small() }).await;
        let answer = get_as(&running, "/v1/oauth-token", "admin").await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("retry-after").map(str::len), wanted, "{how:?}");
    }
}

#[tokio::test]
async fn windows_beyond_retention_are_clamped_or_refused() {
    for (beyond_retention, status) in [(BeyondRetention::Clamp, 200), (BeyondRetention::Reject, 400)] {
        let running = started(SimConfig { beyond_retention, ..small() }).await;
        let path = listing(&running, Stream::Audit, start_time() - days(91), start_time(), "");
        assert_eq!(get_as(&running, &path, "siem").await.status, status, "{beyond_retention:?}");
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

async fn refresh(running: &Running, refresh_token: &str, secret: Option<&str>) -> Answer {
    let app = &running.sim().auth().apps[0];
    let secret = secret.unwrap_or(&app.client_secret);
    let form = format!("grant_type=refresh_token&client_id={}&client_secret={secret}&refresh_token={refresh_token}", app.client_id);
    send(running, Ask::post("/v1/oauth/token", form.as_bytes(), FORM)).await.expect("an answer")
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_and_kills_the_old_one() {
    let running = started(small()).await;
    let app = running.sim().auth().apps[0].clone();
    assert_eq!(get(&running, "/v1/oauth-token", &app.access_token).await.status, 200);
    let answer = refresh(&running, &app.refresh_token, None).await;
    assert_eq!(answer.status, 200);
    let pair = answer.json();
    assert_eq!((pair["token_type"].as_str(), pair["expires_in"].as_u64()), (Some("bearer"), Some(3_599)));
    assert!(pair["scope"].as_str().is_some_and(|scope| scope.contains("auditlogs:read contentlogs:export")));
    assert!(pair["team_id"].as_u64().is_some_and(|id| id > 1 << 53 && id.to_string().len() == 19), "{pair}");
    let (access, next) = (pair["access_token"].as_str().expect("a token"), pair["refresh_token"].as_str().expect("a token"));
    let audit = listing(&running, Stream::Audit, start_time() - days(1), start_time(), "");
    assert_eq!(get(&running, &audit, access).await.status, 200);
    assert_eq!(get(&running, &audit, &app.access_token).await.status, 401);
    check_error(&refresh(&running, &app.refresh_token, None).await, 401, "oauthError", None);
    assert_eq!(refresh(&running, next, None).await.status, 200);
    let used: Vec<_> = running.sim().requests().into_iter().filter_map(|request| request.refresh_token).collect();
    assert_eq!(used, [&app.refresh_token, &app.refresh_token, next].map(str::to_owned));
}

#[tokio::test]
async fn token_errors_have_miros_shape_and_the_client_is_checked_first() {
    let running = started(small()).await;
    let app = running.sim().auth().apps[0].clone();
    check_error(&refresh(&running, "unknown", Some("wrong")).await, 401, "secretKeyNotFound", None);
    check_error(&refresh(&running, "unknown", None).await, 401, "oauthError", None);
    let form = format!("grant_type=password&client_id={}&client_secret={}", app.client_id, app.client_secret);
    let answer = send(&running, Ask::post("/v1/oauth/token", form.as_bytes(), FORM)).await.expect("an answer");
    check_error(&answer, 401, "oauthError", None);
    assert_eq!(answer.json()["message"], "Unauthorized grant type");
    let answer = send(&running, Ask::post("/v1/oauth/token", b"client_id=1", FORM)).await.expect("an answer");
    check_error(&answer, 400, "invalidParameters", Some("grant_type"));
    assert_eq!(refresh(&running, &app.refresh_token, None).await.status, 200, "failed attempts cost nothing");
}

#[tokio::test]
async fn parameters_of_a_refresh_may_stand_in_the_query() {
    let running = started(small()).await;
    let app = running.sim().auth().apps[0].clone();
    let path = format!("/v1/oauth/token?grant_type=refresh_token&refresh_token={}", app.refresh_token);
    let form = format!("client_id={}&client_secret={}", app.client_id, app.client_secret);
    assert_eq!(send(&running, Ask::post(&path, form.as_bytes(), FORM)).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn access_and_refresh_tokens_expire_by_the_simulators_clock() {
    let running = started(small()).await;
    let app = running.sim().auth().apps[0].clone();
    let audit = listing(&running, Stream::Audit, start_time() - days(1), start_time(), "");
    running.sim().clock().advance(Duration::from_secs(3_598));
    assert_eq!(get(&running, &audit, &app.access_token).await.status, 200);
    running.sim().clock().advance(Duration::from_secs(1));
    check_error(&get(&running, &audit, &app.access_token).await, 401, "tokenExpired", None);
    running.sim().clock().advance(app.refresh_lifetime);
    check_error(&refresh(&running, &app.refresh_token, None).await, 401, "oauthError", None);
}

#[tokio::test]
async fn revoking_ends_both_tokens_and_fails_with_404_for_others() {
    let running = started(small()).await;
    let app = running.sim().auth().apps[0].clone();
    let revoke = async |secret: &str| {
        let body = json!({ "accessToken": app.access_token, "clientId": app.client_id, "clientSecret": secret }).to_string();
        send(&running, Ask::post("/v2/oauth/revoke", body.as_bytes(), "application/json")).await.expect("an answer")
    };
    check_error(&revoke("wrong").await, 404, "notFound", None);
    let done = revoke(&app.client_secret).await;
    assert_eq!((done.status, done.body.len()), (204, 0));
    check_error(&get(&running, "/v1/oauth-token", &app.access_token).await, 400, "invalidToken", None);
    check_error(&refresh(&running, &app.refresh_token, None).await, 401, "oauthError", None);
    check_error(&revoke(&app.client_secret).await, 404, "notFound", None);
}

#[tokio::test]
async fn a_code_from_the_consent_page_is_exchanged_once() {
    let running = started(small()).await;
    let app = running.sim().auth().apps[0].clone();
    let path = format!(
        "/oauth/authorize?response_type=code&client_id={}&redirect_uri={}&state=a%20b",
        app.client_id,
        encode("http://localhost:3000/callback")
    );
    let answer = get(&running, &path, "").await;
    let location = answer.header("location").expect("a location").to_owned();
    assert_eq!(answer.status, 302);
    assert!(location.starts_with("http://localhost:3000/callback?code=") && location.ends_with("&state=a%20b"), "{location}");
    let code = location.split(['=', '&']).nth(1).expect("a code");
    let form = format!("grant_type=authorization_code&client_id={}&client_secret={}&code={code}", app.client_id, app.client_secret);
    let exchange = async || send(&running, Ask::post("/v1/oauth/token", form.as_bytes(), FORM)).await.expect("an answer");
    let pair = exchange().await.json();
    assert_eq!(get(&running, "/v1/oauth-token", pair["access_token"].as_str().expect("a token")).await.status, 200);
    check_error(&exchange().await, 401, "oauthError", None);
}

#[tokio::test]
async fn members_are_paged_by_their_last_id_and_filtered() {
    let running = started(SimConfig { members: 333, ..small() }).await;
    let org = running.sim().org_id().to_owned();
    let all = running.sim().members();
    let list = async |filter: &str, limit: usize| {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v2/orgs/{org}/members?limit={limit}&cursor={cursor}{filter}");
            let page = get_as(&running, &path, "admin").await.json();
            ids.extend(page["data"].as_array().expect("data").iter().map(|member| member["id"].as_str().expect("an id").to_owned()));
            cursor = page["cursor"].as_str().expect("a cursor").to_owned();
            if cursor.is_empty() {
                return ids;
            }
            assert_eq!(ids.last(), Some(&cursor));
        }
    };
    let ids = |wanted: &dyn Fn(&miro_simulator::Member) -> bool| -> Vec<String> {
        all.iter().filter(|member| wanted(member)).map(|member| member.id.clone()).collect()
    };
    for limit in [1, 100, 37] {
        assert_eq!(list("", limit).await, ids(&|_| true));
    }
    assert_eq!(list("&active=false", 100).await, ids(&|member| !member.active));
    assert_eq!(
        list("&license=full&role=organization_internal_user", 10).await,
        ids(&|member| member.license == "full" && member.role == "organization_internal_user")
    );
    check_error(&get_as(&running, &format!("/v2/orgs/{org}/members?limit=101"), "admin").await, 400, "invalidParameters", Some("limit"));
}

#[tokio::test]
async fn members_by_email_are_a_bare_array_and_one_member_can_be_asked_for() {
    let running = started(small()).await;
    let org = running.sim().org_id().to_owned();
    let all = running.sim().members();
    let path = format!("/v2/orgs/{org}/members?active=false&emails={},{},nobody@example.com", all[3].email, all[1].email);
    let found = get_as(&running, &path, "admin").await.json();
    let found: Vec<&Value> = found.as_array().expect("a bare array").iter().map(|member| &member["id"]).collect();
    assert_eq!(found, [&all[1].id, &all[3].id]);
    let eleven = ["a@example.com"; 11].join(",");
    check_error(
        &get_as(&running, &format!("/v2/orgs/{org}/members?emails={eleven}"), "admin").await,
        400,
        "invalidParameters",
        Some("emails"),
    );
    let one = get_as(&running, &format!("/v2/orgs/{org}/members/{}", all[5].id), "admin").await.json();
    assert_eq!((one["email"].as_str(), one["type"].as_str()), (Some(all[5].email.as_str()), Some("organization-member")));
    check_error(&get_as(&running, &format!("/v2/orgs/{org}/members/1"), "admin").await, 404, "notFound", None);
    let organisation = get_as(&running, &format!("/v2/orgs/{org}"), "admin").await.json();
    assert_eq!((organisation["plan"].as_str(), organisation["fullLicensesPurchased"].as_u64()), (Some("company"), Some(275)));
}

#[tokio::test]
async fn somebody_who_never_signed_in_has_each_of_the_empty_last_activities() {
    let running = started(SimConfig { members: 900, ..small() }).await;
    let org = running.sim().org_id().to_owned();
    let mut seen = std::collections::BTreeSet::new();
    for member in running.sim().members().iter().filter(|member| member.last_activity_at.is_none()) {
        let body = get_as(&running, &format!("/v2/orgs/{org}/members/{}", member.id), "admin").await.json();
        seen.insert(match body.get("lastActivityAt") {
            None => "absent",
            Some(Value::Null) => "null",
            Some(text) if text == "" => "empty",
            Some(other) => panic!("{other}"),
        });
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test]
async fn members_can_be_changed_while_the_simulator_runs() {
    let running = started(small()).await;
    let org = running.sim().org_id().to_owned();
    let mut member = running.sim().members()[4].clone();
    member.license = "brand_new_license".to_owned();
    member.active = false;
    running.sim().put_member(member.clone()).expect("the id is a number");
    let path = format!("/v2/orgs/{org}/members/{}", member.id);
    let body = get_as(&running, &path, "admin").await.json();
    assert_eq!((body["license"].as_str(), body["active"].as_bool()), (Some("brand_new_license"), Some(false)));
    assert_eq!(running.sim().remove_member(&member.id), Some(member));
    check_error(&get_as(&running, &path, "admin").await, 404, "notFound", None);
}
