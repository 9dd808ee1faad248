//! Where a file's whole records end: what a crash left behind them is cut off before the file is written to again.
//!
//! What a sink has answered for is synced and therefore whole, so only what nobody was promised is ever cut.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

/// Unsynced data is at most one batch; after a power cut a page of it that never reached the disk reads as zeros. Four times the default
/// batch, and still read within milliseconds, since every opening does it.
const UNSYNCED_BYTES_MAX: u64 = 8 * 1024 * 1024;
const STEP_BYTES: u64 = 64 * 1024;

/// The length of the whole lines at the beginning of the file. Our lines hold no NUL byte, so one marks a page that was lost.
pub(super) fn whole_lines(file: &mut File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let lost = first_nul(file, len.saturating_sub(UNSYNCED_BYTES_MAX), len)?;
    let mut end = lost.unwrap_or(len);
    while end > 0 {
        let start = end.saturating_sub(STEP_BYTES);
        if let Some(at) = memchr::memrchr(b'\n', &piece(file, start, end)?) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn first_nul(file: &mut File, mut from: u64, to: u64) -> io::Result<Option<u64>> {
    while from < to {
        let end = to.min(from + STEP_BYTES);
        if let Some(at) = memchr::memchr(0, &piece(file, from, end)?) {
            return Ok(Some(from + at as u64));
        }
        from = end;
    }
    Ok(None)
}

fn piece(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The length of the whole zstd frames at the beginning of the file (RFC 8878 section 3.1.1). Frames are stepped over by their headers;
/// the last one, which may have been written in part, is unpacked and held against its checksum.
pub(super) fn whole_frames(file: &mut File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let (mut end, mut last) = (0, 0);
    while let Some(next) = frame_end(file, end, len)? {
        (last, end) = (end, next);
    }
    if end > 0 && !unpacks(file, last, end)? {
        end = last;
    }
    Ok(end)
}

/// Whether the frame's content is what its checksum says.
fn unpacks(file: &mut File, start: u64, end: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(start))?;
    let frame = file.take(end - start);
    let Ok(mut decoder) = zstd::stream::read::Decoder::new(frame) else { return Ok(false) };
    Ok(io::copy(&mut decoder, &mut io::sink()).is_ok())
}

const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Where the frame that begins at `start` ends; `None` if it is no whole frame of ours.
fn frame_end(file: &mut File, start: u64, len: u64) -> io::Result<Option<u64>> {
    let Some([magic @ .., descriptor]) = read_at::<5>(file, start, len)? else { return Ok(None) };
    if magic != FRAME_MAGIC {
        return Ok(None);
    }
    let mut at = start + 5 + header_rest(descriptor);
    loop {
        // Three bytes, little endian: last block, type, size.
        let Some([low, middle, high]) = read_at::<3>(file, at, len)? else { return Ok(None) };
        let block = u32::from_le_bytes([low, middle, high, 0]);
        let size = match block >> 1 & 3 {
            // A run-length block holds one byte, whatever size it unpacks to.
            1 => 1,
            3 => return Ok(None),
            _ => u64::from(block >> 3),
        };
        at += 3 + size;
        if block & 1 == 1 {
            break;
        }
    }
    let checksum = if descriptor & 4 == 0 { 0 } else { 4 };
    Ok(Some(at + checksum).filter(|&end| end <= len))
}

/// Bytes of the frame header after its descriptor: window, dictionary id, content size.
fn header_rest(descriptor: u8) -> u64 {
    let single_segment = descriptor >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => u64::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    u64::from(1 - single_segment) + dictionary + content_size
}

fn read_at<const N: usize>(file: &mut File, at: u64, len: u64) -> io::Result<Option<[u8; N]>> {
    if at + N as u64 > len {
        return Ok(None);
    }
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        file
    }

    #[track_caller]
    fn check_lines(content: &[u8], whole: u64) {
        assert_eq!(whole_lines(&mut file(content)).expect("read"), whole);
    }

    #[test]
    fn lines_end_at_the_last_line_end_before_a_lost_page() {
        check_lines(b"", 0);
        check_lines(b"half", 0);
        check_lines(b"one\n", 4);
        check_lines(b"one\nhalf", 4);
        check_lines(b"one\n\0\0\0\0", 4);
        check_lines(b"one\ntw\0\0\0\nthree\n", 4);
        let long = [b"one\n".as_slice(), &[b'x'; 200_000]].concat();
        check_lines(&long, 4);
    }

    /// Bytes that do not compress.
    fn noise(len: usize) -> Vec<u8> {
        use rand::{Rng, SeedableRng};
        let mut bytes = vec![0; len];
        rand::rngs::StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
        bytes
    }

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
        encoder.include_checksum(true).expect("an option");
        encoder.write_all(content).expect("packed");
        encoder.finish().expect("packed")
    }

    #[test]
    fn frames_end_where_the_last_whole_one_does_wherever_the_file_was_torn() {
        // Noise makes raw blocks, a long run of one byte makes run-length blocks.
        let frames = [frame(b"{\"a\":1}\n"), frame(&noise(300_000)), frame(&[b'x'; 500_000]), frame(b"")];
        let all: Vec<u8> = frames.concat();
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        let near_ends = ends.iter().flat_map(|&end| [end - 1, end, end + 1, end + 4, end + 9]);
        for cut in (0..all.len()).step_by(9_973).chain(near_ends).filter(|&cut| cut <= all.len()) {
            let whole = ends.iter().copied().filter(|&end| end <= cut).max().unwrap_or(0);
            assert_eq!(whole_frames(&mut file(&all[..cut])).expect("read"), whole as u64, "cut at {cut}");
        }
    }

    #[test]
    fn a_last_frame_with_a_lost_page_is_not_whole() {
        let (first, mut second) = (frame(b"first\n"), frame(&noise(50_000)));
        second[9_000..13_096].fill(0);
        assert_eq!(whole_frames(&mut file(&[first.clone(), second].concat())).expect("read"), first.len() as u64);
        let zeros = [first.clone(), vec![0; 4_096]].concat();
        assert_eq!(whole_frames(&mut file(&zeros)).expect("read"), first.len() as u64);
    }
}
