//! Listings show exactly what is visible, in every order and page size, the same bytes every time.

mod common;

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use common::{collect, days, get, listing, raws, small, start_time, started, token};
use miro_simulator::{LastPage, SimConfig, Simulator, Stream};

#[tokio::test]
async fn paging_covers_exactly_the_truth_at_every_limit_and_in_both_orders() {
    let running = started(small()).await;
    let (from, to) = (start_time() - days(6), start_time() - days(1));
    for (stream, limits, descending) in [
        (Stream::Audit, vec![1, 7, 99, 100, 101, 500], "&sorting=DESC"),
        (Stream::Content, vec![1, 13, 100, 999, 1_000], "&sorting=desc"),
        (Stream::Ai, vec![1, 7, 100], "&sorting=desc"),
    ] {
        let truth = raws(&running.sim().truth(stream, from, to));
        assert!(truth.len() > 80, "{stream}: {}", truth.len());
        let mut backwards = truth.clone();
        backwards.reverse();
        for limit in limits {
            assert!(collect(&running, stream, from, to, limit, "").await == truth, "{stream} {limit}");
            assert!(collect(&running, stream, from, to, limit, descending).await == backwards, "{stream} {limit} descending");
        }
    }
}

#[tokio::test]
async fn adjoining_windows_share_no_event_and_miss_none() {
    let running = started(small()).await;
    for stream in Stream::ALL {
        let whole = running.sim().truth(stream, start_time() - days(8), start_time());
        // Cut at the very moment of an event: it belongs to the later window.
        let cut = whole[whole.len() / 2].created_at;
        let mut halves = collect(&running, stream, start_time() - days(8), cut, 100, "").await;
        halves.extend(collect(&running, stream, cut, start_time(), 100, "").await);
        assert!(halves == raws(&whole), "{stream}");
        assert!(collect(&running, stream, cut, cut, 100, "").await.is_empty(), "{stream}: an empty window");
    }
}

#[tokio::test]
async fn equal_seeds_give_equal_bytes_and_others_do_not() {
    let truth = |seed| {
        let sim = Simulator::new(SimConfig { seed, ..small() });
        Stream::ALL.map(|stream| raws(&sim.truth(stream, start_time() - days(8), start_time())))
    };
    let first = truth(5);
    assert!(first == truth(5));
    let other = truth(6);
    for (stream, (a, b)) in first.iter().zip(&other).enumerate() {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| a != b), "stream {stream}");
    }
}

#[tokio::test]
async fn ids_are_unique_and_stand_in_the_bytes() {
    let sim = Simulator::new(SimConfig { audit_events: 20_000, content_events: 3_000, ai_events: 3_000, ..small() });
    for stream in Stream::ALL {
        let truth = sim.truth(stream, start_time() - days(8), start_time());
        let ids: HashSet<&String> = truth.iter().filter_map(|event| event.id.as_ref()).collect();
        assert_eq!(ids.len(), truth.len(), "{stream}");
        for event in &truth {
            let value: serde_json::Value = serde_json::from_slice(&event.raw).expect("an event is JSON");
            assert_eq!(value["id"].as_str(), event.id.as_deref());
        }
    }
}

#[tokio::test]
async fn several_events_share_a_millisecond() {
    let sim = Simulator::new(SimConfig { audit_events: 20_000, ..small() });
    let truth = sim.truth(Stream::Audit, start_time() - days(8), start_time());
    assert!(truth.windows(2).filter(|pair| pair[0].created_at == pair[1].created_at).count() > 200);
}

#[tokio::test]
async fn a_late_event_is_listed_from_the_moment_it_is_visible() {
    let running = started(SimConfig { late_fraction: 0.2, late_max: Duration::from_secs(7_200), ..small() }).await;
    let (from, to) = (start_time() - days(3), start_time());
    for stream in Stream::ALL {
        let truth = running.sim().truth(stream, from, to);
        for hours in [50, 48, 47, 1, 0] {
            let now = start_time() - TimeDelta::hours(hours);
            running.sim().clock().freeze_at(now);
            let visible: Vec<_> = truth.iter().filter(|event| event.visible_at <= now).map(|event| event.raw.clone()).collect();
            assert!(collect(&running, stream, from, to, 100, "").await == visible, "{stream} {hours} h before");
        }
        assert!(truth.iter().any(|event| event.visible_at - event.created_at > TimeDelta::hours(1)), "{stream}");
    }
}

#[tokio::test]
async fn injected_events_are_served_byte_for_byte_in_their_place() {
    let running = started(small()).await;
    let at = start_time() - days(2);
    for stream in Stream::ALL {
        let raw = br#"{ "id" : "mine\u00e9", "n": 1.0e3 }"#.to_vec();
        running.sim().inject(stream, raw.clone(), at, at);
        running.sim().inject(stream, b"{\"later\":true}".to_vec(), at, start_time() + days(1));
        let events = collect(&running, stream, at, at + TimeDelta::seconds(1), 100, "").await;
        assert!(events.contains(&raw), "{stream}");
        assert!(!events.iter().any(|event| event == b"{\"later\":true}"), "{stream}: not visible yet");
        let truth = running.sim().truth(stream, at, at + TimeDelta::seconds(1));
        assert!(truth.iter().any(|event| event.id.as_deref() == Some("mineé") && event.raw == raw));
        assert!(truth.iter().any(|event| event.id.is_none() && !event.decodable));
    }
}

#[tokio::test]
async fn audit_listings_end_in_each_of_the_ways_that_clients_must_survive() {
    let (from, to) = (start_time() - days(2), start_time());
    for way in [LastPage::WithCursor, LastPage::CursorToTheEnd, LastPage::Absent, LastPage::Null, LastPage::Empty] {
        let running = started(SimConfig { last_page: way, ..small() }).await;
        let count = running.sim().truth(Stream::Audit, from, to).len();
        assert!((1..500).contains(&count));
        let path = listing(&running, Stream::Audit, from, to, "&limit=500");
        let page = get(&running, &path, token(&running, "siem")).await.json();
        let cursor = page.get("cursor").cloned();
        match way {
            LastPage::Absent => assert_eq!(cursor, None),
            LastPage::Null => assert_eq!(cursor, Some(serde_json::Value::Null)),
            LastPage::Empty => assert_eq!(cursor, Some("".into())),
            _ => {
                let cursor = cursor.expect("a cursor").as_str().expect("a string").to_owned();
                let path = format!("{path}&cursor={}", common::encode(&cursor));
                let end = get(&running, &path, token(&running, "siem")).await.json();
                assert_eq!(end["data"].as_array().map(Vec::len), Some(0));
                let wanted = (way == LastPage::CursorToTheEnd).then(|| cursor.into());
                assert_eq!(end.get("cursor").cloned(), wanted);
            }
        }
    }
}

#[tokio::test]
async fn windows_end_differently_by_default() {
    let running = started(small()).await;
    let mut seen = HashSet::new();
    for minutes in 0..40 {
        let from = start_time() - days(1) - TimeDelta::minutes(minutes);
        let path = listing(&running, Stream::Audit, from, start_time(), "&limit=500");
        let (page, again) = (get(&running, &path, token(&running, "siem")).await, get(&running, &path, token(&running, "siem")).await);
        assert_eq!(page.body, again.body, "a window ends the same way each time");
        seen.insert(match page.json().get("cursor") {
            None => "absent",
            Some(serde_json::Value::Null) => "null",
            Some(cursor) if cursor == "" => "empty",
            Some(_) => "cursor",
        });
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[tokio::test]
async fn an_unencoded_cursor_never_stops_giving_cursors() {
    let running = started(small()).await;
    let path = listing(&running, Stream::Audit, start_time() - days(2), start_time(), "&limit=10");
    let first = get(&running, &path, token(&running, "siem")).await;
    let cursor = first.json()["cursor"].as_str().expect("a cursor").to_owned();
    assert!(cursor.contains('#') && cursor.ends_with("-DDB"), "{cursor}");
    // A client that does not encode '#' sends what is before it: the rest is a fragment.
    let cut = format!("{path}&cursor={}", cursor.split('#').next().expect("a first part"));
    let page = get(&running, &cut, token(&running, "siem")).await;
    assert_eq!(page.body, first.body);
}

#[tokio::test]
async fn filters_narrow_content_and_ai_listings() {
    let running = started(small()).await;
    let (from, to) = (start_time() - days(8), start_time());
    for (stream, filter, object) in [(Stream::Content, "board_ids", "/contentId"), (Stream::Ai, "object_ids", "/object/id")] {
        let all: Vec<serde_json::Value> =
            running.sim().truth(stream, from, to).iter().map(|event| serde_json::from_slice(&event.raw).expect("JSON")).collect();
        let (email, id) = (all[3].pointer("/actor/email").expect("an email"), all[9].pointer(object).expect("an object"));
        for (name, pointer, value) in [("emails", "/actor/email", email), (filter, object, id)] {
            let wanted = all.iter().filter(|event| event.pointer(pointer) == Some(value)).count();
            let more = format!("&{name}={}&{name}=nobody", encode_value(value));
            assert_eq!(collect(&running, stream, from, to, 100, &more).await.len(), wanted, "{stream} {name}");
        }
    }
}

fn encode_value(value: &serde_json::Value) -> String {
    common::encode(value.as_str().expect("a string"))
}

#[tokio::test]
async fn events_beyond_retention_are_gone_from_listings_but_not_from_the_truth() {
    let running = started(SimConfig { audit_retention: Duration::from_secs(3 * 86_400), retention_lag: Duration::ZERO, ..small() }).await;
    let (from, edge) = (start_time() - days(8), start_time() - days(3));
    let truth = running.sim().truth(Stream::Audit, from, start_time());
    let kept: Vec<_> = truth.iter().filter(|event| event.created_at >= edge).map(|event| event.raw.clone()).collect();
    assert!(kept.len() < truth.len());
    assert!(collect(&running, Stream::Audit, from, start_time(), 500, "").await == kept);
}

/// Windows and limits by a linear congruence: arbitrary, and the same in every run.
#[tokio::test]
async fn any_window_at_any_moment_and_limit_lists_what_was_visible_in_it() {
    let running = started(SimConfig { late_fraction: 0.3, late_max: Duration::from_secs(86_400), ..small() }).await;
    let mut state: i64 = 42;
    let mut below = |bound: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).rem_euclid(bound)
    };
    for round in 0..60 {
        let from = start_time() - days(7) + TimeDelta::milliseconds(below(7 * 86_400_000));
        let to = from + TimeDelta::milliseconds(below(3 * 86_400_000));
        let now = start_time() - TimeDelta::milliseconds(below(4 * 86_400_000));
        let limit = 1 + below(100) as usize;
        for stream in Stream::ALL {
            running.sim().clock().freeze_at(start_time());
            let truth = running.sim().truth(stream, from, to);
            running.sim().clock().freeze_at(now);
            let visible: Vec<_> = truth.into_iter().filter(|event| event.visible_at <= now).map(|event| event.raw).collect();
            assert!(
                collect(&running, stream, from, to, limit, "").await == visible,
                "round {round}: {stream} [{from}, {to}) at {now} by {limit}"
            );
        }
    }
}
