//! What has become of each message of a batch in one session.

use std::collections::VecDeque;

use super::frame::Frame;

/// How many messages may wait for their answer at once: librelp's own number, so that no receiver is surprised.
pub(super) const WINDOW: usize = 128;

/// What is known of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Answered with 200.
    Accepted,
    /// Answered with another code, in the receiver's words.
    Refused(String),
    /// Written as a whole and not answered: the receiver may have it.
    Unanswered,
    /// Not written, or not to its end: the receiver cannot have it.
    Unsent,
}

/// A message that was queued and is not answered.
#[derive(Debug)]
struct Waiting {
    txnr: u32,
    index: usize,
    /// Where its frame ends among all bytes that are written for this batch.
    end: u64,
}

/// The messages of one batch.
#[derive(Debug)]
pub(super) struct Tally {
    fates: Vec<Fate>,
    waiting: VecDeque<Waiting>,
    /// The first message that is not queued.
    next: usize,
    queued_bytes: u64,
    written_bytes: u64,
}

impl Tally {
    pub(super) fn new(messages: usize) -> Self {
        Self { fates: vec![Fate::Unsent; messages], waiting: VecDeque::new(), next: 0, queued_bytes: 0, written_bytes: 0 }
    }

    /// The message to queue next, if there is one and the window has room.
    pub(super) fn to_queue(&self) -> Option<usize> {
        (self.next < self.fates.len() && self.waiting.len() < WINDOW).then_some(self.next)
    }

    /// That message stands in the queue for the wire, in a frame of so many bytes.
    pub(super) fn queued(&mut self, txnr: u32, frame_bytes: usize) {
        self.queued_bytes += frame_bytes as u64;
        self.waiting.push_back(Waiting { txnr, index: self.next, end: self.queued_bytes });
        self.next += 1;
    }

    /// So many more bytes are written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.written_bytes += bytes as u64;
    }

    /// Files an answer; says what is wrong with one that fits to nothing. Answers may come in any order.
    pub(super) fn answered(&mut self, frame: &Frame) -> Result<(), String> {
        match frame.command.as_str() {
            "rsp" => {}
            "serverclose" => return Err("the receiver closed the session".to_owned()),
            _ => return Err("the receiver sent a command that is none of RELP's".to_owned()),
        }
        let place = self.waiting.iter().position(|waiting| waiting.txnr == frame.txnr);
        let waiting = place.and_then(|place| self.waiting.remove(place)).ok_or("the receiver answered what it was not sent")?;
        self.fates[waiting.index] = match Response::of(&frame.data) {
            Some(Response { code: 200, .. }) => Fate::Accepted,
            Some(Response { code, words }) => Fate::Refused(format!("{code} {words}")),
            None => {
                self.waiting.push_back(waiting);
                return Err("the receiver's answer has no code".to_owned());
            }
        };
        Ok(())
    }

    /// Whether every message is answered.
    pub(super) fn is_complete(&self) -> bool {
        self.next == self.fates.len() && self.waiting.is_empty()
    }

    /// What is known of each message, now that nothing more will be.
    pub(super) fn into_fates(mut self) -> Vec<Fate> {
        for waiting in &self.waiting {
            if waiting.end <= self.written_bytes {
                self.fates[waiting.index] = Fate::Unanswered;
            }
        }
        self.fates
    }
}

/// The data of a `rsp`: `CODE [SP WORDS] [LF OFFERS]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) code: u16,
    pub(super) words: String,
}

impl Response {
    /// Reads its first line; `None` if it does not begin with three digits.
    pub(super) fn of(data: &[u8]) -> Option<Self> {
        let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let (code, words) = line.split_at_checked(3)?;
        if !code.iter().all(u8::is_ascii_digit) || !matches!(words.first(), None | Some(b' ')) {
            return None;
        }
        let code = std::str::from_utf8(code).ok()?.parse().ok()?;
        Some(Self { code, words: String::from_utf8_lossy(words).trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rsp(txnr: u32, data: &str) -> Frame {
        Frame { txnr, command: "rsp".to_owned(), data: data.as_bytes().to_vec() }
    }

    #[test]
    fn answers_are_filed_by_their_number_in_whatever_order() {
        let mut tally = Tally::new(4);
        for txnr in [999_999_998, 999_999_999, 1, 2] {
            tally.queued(txnr, 10);
        }
        tally.written(25);
        assert_eq!(tally.answered(&rsp(999_999_999, "500 no room")), Ok(()));
        assert_eq!(tally.answered(&rsp(999_999_998, "200 OK")), Ok(()));
        assert!(!tally.is_complete());
        assert_eq!(tally.answered(&rsp(999_999_998, "200 OK")), Err("the receiver answered what it was not sent".to_owned()));
        assert_eq!(tally.answered(&rsp(1, "fine")), Err("the receiver's answer has no code".to_owned()));
        let unwritten = [Fate::Unsent, Fate::Unsent];
        assert_eq!(tally.into_fates(), [&[Fate::Accepted, Fate::Refused("500 no room".to_owned())], &unwritten[..]].concat());
    }

    #[test]
    fn a_message_that_was_written_whole_and_not_answered_may_have_arrived() {
        let mut tally = Tally::new(4);
        for txnr in 2..5 {
            tally.queued(txnr, 10);
        }
        tally.written(25);
        assert_eq!(tally.into_fates(), [Fate::Unanswered, Fate::Unanswered, Fate::Unsent, Fate::Unsent]);
    }

    #[test]
    fn no_more_wait_for_an_answer_than_the_window_holds() {
        let mut tally = Tally::new(WINDOW + 2);
        for txnr in 1.. {
            if tally.to_queue().is_none() {
                break;
            }
            tally.queued(txnr, 1);
        }
        assert_eq!(tally.waiting.len(), WINDOW);
        assert_eq!(tally.answered(&rsp(5, "200")), Ok(()));
        assert_eq!(tally.to_queue(), Some(WINDOW));
    }

    #[test]
    fn a_response_begins_with_a_code_of_three_digits() {
        let check = |data: &str, expected: Option<(u16, &str)>| {
            let expected = expected.map(|(code, words)| Response { code, words: words.to_owned() });
            assert_eq!(Response::of(data.as_bytes()), expected, "{data:?}");
        };
        check("200 OK", Some((200, "OK")));
        check("200 OK\nrelp_version=0\n", Some((200, "OK")));
        check("200", Some((200, "")));
        check("500 \n", Some((500, "")));
        check("", None);
        check("20 OK", None);
        check("2000 OK", None);
        check("OK", None);
    }
}
