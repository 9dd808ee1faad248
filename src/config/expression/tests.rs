use proptest::prelude::*;

use super::*;

#[track_caller]
fn fine(source: &str) {
    if let Err(error) = Expression::parse(source) {
        panic!("{source}: {error}");
    }
}

/// `expected` is the beginning of the message, with its position.
#[track_caller]
fn wrong(source: &str, expected: &str) {
    let error = Expression::parse(source).expect_err(source).to_string();
    assert!(error.starts_with(expected), "{source}: {error}");
}

#[test]
fn expressions_that_make_sense_are_taken() {
    fine("true");
    fine("event.event == 'board_opened' && !late");
    fine("event.createdBy.email.endsWith('@example.com') || backfill");
    fine("has(event.details) && has(event.details.role) && event.details.role in ['OWNER', 'EDITOR']");
    fine("stream == 'content' ? event.itemType != 'widget' : org.startsWith('acme')");
    fine("event.relationships.exists(r, r.type == 'parent' && r.itemId.size() > 3)");
    fine("event.?details.?role.orValue('none') != 'none'");
    fine("event['event'].matches('^(board|team)_')");
    fine("size(event.details) > 2 && int(event.details.n) % 2 == 0");
    fine("type(event.details) == map");
    fine("event.details == null || event.tags.all(t, t != 'x')");
    fine("event.keep");
    fine("[1, 2].exists_one(n, n == 1)");
}

#[test]
fn what_is_wrong_is_told_with_its_position() {
    wrong("evnt.event == 'x'", "line 1, column 1: unknown variable \"evnt\"; did you mean \"event\"?");
    wrong(
        "event.a == 'x' && nobody",
        "line 1, column 19: unknown variable \"nobody\"; the variables are event, stream, org, late, backfill",
    );
    wrong("true &&\n  'é' == strem", "line 2, column 10: unknown variable \"strem\"; did you mean \"stream\"?");
    wrong("event.event.startWith('x')", "line 1, column 22: unknown function \"startWith\"; did you mean \"startsWith\"?");
    wrong("event.event == ", "line 1, column ");
    wrong("", "line 1, column 1");
    wrong("timestamp(event.createdAt) > 3", "line 1, column 10: unknown function \"timestamp\"");
}

#[test]
fn types_are_checked_as_far_as_they_are_known() {
    wrong("1 + 2", "line 1, column 3: has to be true or false, and is a number");
    wrong("stream", "line 1, column 1: has to be true or false, and is a text");
    wrong("late == 'yes'", "line 1, column 6: `==` stands between true or false and a text");
    wrong("late && stream", "line 1, column 9: `&&` takes true or false, and this is a text");
    wrong("stream.kind == 'x'", "line 1, column 7: a text has no member \"kind\"");
    wrong("'a' in stream", "line 1, column 8: `in` takes a list or a map, and this is a text");
    wrong("stream.contains(1)", "line 1, column 16: `contains` cannot be called with a text, a number");
    wrong("size(late) == 1", "line 1, column 5: `size` cannot be called with true or false");
    wrong("stream > 1", "line 1, column 8: `>` stands between a text and a number");
    wrong("-stream == 1", "line 1, column 2: `-` takes a number, and this is a text");
    wrong("event.tags.map(t, t)", "line 1, column 15: has to be true or false, and is a list");
    wrong("Message{a: 1}", "line 1, column 8: there is no message type \"Message\"");
}

#[test]
fn what_could_take_without_bounds_is_refused() {
    wrong("event.a.exists(x, event.b.exists(y, y == x))", "line 1, column 33: a macro cannot stand in another one");
    wrong("event.a.exists(x, x.exists(y, y == 1))", "line 1, column 27: a macro cannot stand in another one");
    wrong("event.a.exists(x, x == event.id)", "line 1, column 24: a macro's own expression cannot name `event`");
    wrong("event.a.matches(event.b)", "line 1, column 16: `matches` takes a pattern that is written out");
    wrong("event.a.matches('(')", "line 1, column 16: the pattern is no regular expression: unclosed group");
    wrong("stream.exists(x, x == 1)", "line 1, column 1: a macro goes through a list, and this is a text");
    wrong(&format!("stream == '{}'", "x".repeat(CHARS_MAX)), "line 1, column 1: an expression has at most 4096 characters");
    for nested in ["(", "[", "!", "-", "a(", "a?b:", "a[", "{1: "] {
        let few = OPENINGS_MAX / nested.matches(['(', '[', '{', '!', '-', '?']).count();
        wrong(&nested.repeat(few), "line 1, column ");
        // An even number of some signs is no sign at all; what matters is that it comes back.
        drop(Expression::parse(&format!("{}late", nested.repeat(few))));
        wrong(&nested.repeat(few + 1), "line 1, column 1: an expression has at most 512 of the signs");
    }
    wrong(&format!("{}late{}", "(".repeat(500), ")".repeat(500)), "line 1, column ");
    wrong(&format!("{}1 == 1", "1 + ".repeat(1_000)), "line 1, column ");
    wrong(&format!("event{} == 1", ".a".repeat(2_000)), "line 1, column ");
    fine(&vec!["org == 'x'"; 250].join(" || "));
}

#[test]
fn the_debug_form_is_the_text() {
    let expression = Expression::parse("late").expect("an expression");
    assert_eq!(format!("{expression:?}"), "Expression(\"late\")");
    assert_eq!(expression, Expression::parse("late").expect("an expression"));
}

proptest! {
    #[test]
    fn no_text_upsets_the_compiler(source in any::<String>()) {
        drop(Expression::parse(&source));
    }

    #[test]
    fn no_mixture_of_its_own_words_does_either(words in prop::collection::vec(prop::sample::select(vec![
        "event", ".", "a", "(", ")", "[", "]", "{", "}", "'x'", "1", "-", "!", "==", "&&", "||", "?", ":", ",", "in", "exists", "x", "has",
        "matches", "size", "late", "stream", "\n", "0x", "b'", "r'", "`", "?.", "9999999999999999999", "1e999",
    ]), 0..24)) {
        drop(Expression::parse(&words.concat()));
        drop(Expression::parse(&words.join(" ")));
    }
}
