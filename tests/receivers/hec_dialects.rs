//! LogScale and Cribl, which speak HEC's protocol in their own ways.

use miro_siem::{
    config::{
        Secret,
        settings::{HecAuthScheme, HecDialect, SplunkHecSettings},
    },
    sink::{ErrorClass, Receipt, Sink as _},
};
use testbed::{
    Running,
    ledger::Keep,
    lookalikes::{Lookalike, LookalikeConfig, Product},
};

use crate::{
    splunk_hec::{self, sink_with},
    support::{Events, SHORT, Scripted, TIMEOUT, answer, error, odd, ordinary, outcome},
};

const BOTH: [(Product, HecDialect); 2] = [(Product::LogScale, HecDialect::LogScale), (Product::Cribl, HecDialect::Cribl)];

fn collector(product: Product) -> Running<Lookalike> {
    Lookalike::start(LookalikeConfig { keep: Keep::Bytes, ..LookalikeConfig::of(product) }).expect("a collector")
}

fn settings(dialect: HecDialect, url: &str) -> SplunkHecSettings {
    let token = LookalikeConfig::of(Product::Cribl).token;
    SplunkHecSettings { dialect, token: Secret::literal(token), ..splunk_hec::settings(url) }
}

#[tokio::test]
async fn every_odd_record_arrives_byte_for_byte() {
    for (product, dialect) in BOTH {
        let collector = collector(product);
        let sink = sink_with(settings(dialect, &collector.url()), TIMEOUT);
        assert_eq!(sink.probe().await, Ok(()));
        let records = odd();
        assert_eq!(outcome(&sink, &Events::audit(&records)).await, Ok(Receipt::All));
        for (n, record) in records.iter().enumerate() {
            let kept = collector.ledger().kept(&format!("event#{n}")).expect("the event");
            assert_eq!(String::from_utf8(kept.bytes).expect("UTF-8"), *record);
            let sourcetype = if dialect == HecDialect::LogScale { "" } else { "\"miro:audit\"" };
            assert_eq!(String::from_utf8(kept.context).expect("UTF-8"), sourcetype, "LogScale would look for a parser of that name");
        }
    }
}

#[tokio::test]
async fn path_and_scheme_can_be_others() {
    let config = LookalikeConfig { endpoint: "/custom/hec".to_owned(), ..LookalikeConfig::of(Product::Cribl) };
    let cribl = Lookalike::start(config).expect("a collector");
    let with_path = |path: &str| SplunkHecSettings { path: Some(path.to_owned()), ..settings(HecDialect::Cribl, &cribl.url()) };
    for path in ["/custom/hec", "/custom/hec/"] {
        let sink = sink_with(with_path(path), TIMEOUT);
        assert_eq!((sink.probe().await, outcome(&sink, &Events::ordinary(2)).await), (Ok(()), Ok(Receipt::All)));
    }
    let elsewhere = sink_with(with_path("/services/collector"), TIMEOUT);
    assert_eq!(outcome(&elsewhere, &Events::ordinary(1)).await, Err(ErrorClass::Config));
    let receiver = Scripted::start([answer(200, "", r#"{"text":"Success","code":0}"#)]).await;
    let sink = sink_with(
        SplunkHecSettings {
            path: Some("/api/ingest/hec/1a2b/v1/services/collector".to_owned()),
            auth_scheme: Some(HecAuthScheme::Splunk),
            ..settings(HecDialect::LogScale, receiver.url.as_str())
        },
        TIMEOUT,
    );
    assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Ok(Receipt::All));
    let seen = &receiver.seen()[0];
    assert!(seen.head.starts_with("POST /api/ingest/hec/1a2b/v1/services/collector HTTP/1.1"), "{}", seen.head);
    assert!(seen.header("authorization").is_some_and(|value| value.starts_with("Splunk ")), "{}", seen.head);
}

#[tokio::test]
async fn a_token_that_is_not_taken_pauses_and_says_whose_it_is() {
    for (product, dialect, name) in [(Product::LogScale, HecDialect::LogScale, "LogScale"), (Product::Cribl, HecDialect::Cribl, "Cribl")] {
        let collector = collector(product);
        let wrong = SplunkHecSettings { token: Secret::literal("wrong"), ..settings(dialect, &collector.url()) };
        let sink = sink_with(wrong, TIMEOUT);
        let fault = error(&sink, &Events::ordinary(1)).await;
        assert_eq!((fault.class(), sink.probe().await.map_err(|fault| fault.class())), (ErrorClass::Auth, Err(ErrorClass::Auth)));
        assert!(fault.to_string().contains(name), "{fault}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_without_a_code_is_searched_for_the_event() {
    for (product, dialect) in BOTH {
        let collector = collector(product);
        collector.service().refuse_requests_with(Some(b"poison"));
        let sink = sink_with(settings(dialect, &collector.url()), TIMEOUT);
        let poison = r#"{"id":"event#1","x":"poison"}"#.to_owned();
        let fault = error(&sink, &Events::audit([ordinary(0), poison])).await;
        assert_eq!(fault.class(), ErrorClass::Rejected);
        assert!(fault.to_string().contains("Could not handle input"), "{fault}");
        collector.service().refuse_requests_with(None);
        collector.service().set_busy(true);
        assert_eq!(outcome(&sink, &Events::ordinary(1)).await, Err(ErrorClass::Retryable));
        assert!(collector.ledger().is_empty());
    }
}

#[tokio::test]
async fn what_splunk_has_a_code_for_is_not_guessed_for_splunk() {
    let receiver = Scripted::start([answer(400, "", "Bad Request"), answer(400, "", "Bad Request")]).await;
    let classes = [(HecDialect::Splunk, ErrorClass::Config), (HecDialect::LogScale, ErrorClass::Rejected)];
    for (dialect, class) in classes {
        let sink = sink_with(settings(dialect, receiver.url.as_str()), SHORT);
        assert_eq!(outcome(&sink, &Events::ordinary(2)).await, Err(class), "{dialect:?}");
    }
}
