//! Bombs are bounded: pictures that are far larger than their files are refused at once, within the memory allowed.

use std::fs;
use std::time::{Duration, Instant};

use image::ImageFormat;

use super::{Desk, ask, drawn, text};
use crate::support::{encoded, picture};
use crate::torture::Campaign;

/// Megabytes that decoding may take (`intake.max_decode_mb`).
const ALLOWED: u64 = 64;

/// A zlib stream of so many zeroes, about 159 times smaller than they (RFC 1950 and 1951, fixed Huffman codes).
fn zeroes(count: u64) -> Vec<u8> {
    let (mut bytes, mut bits, mut held) = (vec![0x78, 0x01], 0_u64, 0);
    // Huffman codes go in with their highest bit first.
    let mut put = |code: u64, length: u32| {
        for bit in (0..length).rev() {
            bits |= (code >> bit & 1) << held;
            held += 1;
            if held == 8 {
                bytes.push(bits as u8);
                (bits, held) = (0, 0);
            }
        }
    };
    put(0b110, 3);
    put(0b0011_0000, 8);
    let mut left = count - 1;
    while left >= 258 {
        put(0b1100_0101, 8);
        put(0, 5);
        left -= 258;
    }
    (0..left).for_each(|_| put(0b0011_0000, 8));
    put(0, 7);
    put(0, 7);
    bytes.extend((((count % 65521) as u32) << 16 | 1).to_be_bytes());
    bytes
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    let named = [kind.as_slice(), body].concat();
    bytes.extend_from_slice(&named);
    bytes.extend(crc32fast::hash(&named).to_be_bytes());
    bytes
}

/// A grey PNG of a size, whose pixels are zeroes, with more chunks before them.
fn png(width: u32, height: u32, more: &[Vec<u8>], pixels: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", &header));
    more.iter().for_each(|chunk| bytes.extend(chunk));
    bytes.extend(chunk(b"IDAT", pixels));
    bytes.extend(chunk(b"IEND", b""));
    bytes
}

/// A JPEG whose frame header claims another size.
fn lying_jpeg(side: u16) -> Vec<u8> {
    let mut bytes = encoded(&picture(1, 64, 64), ImageFormat::Jpeg);
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[side.to_be_bytes(), side.to_be_bytes()].concat());
    bytes
}

/// A progressive JPEG that sends its last scan thousands of times: small, and slow.
fn endless_jpeg() -> Vec<u8> {
    let mut encoder = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    encoder.set_size(2000, 2000);
    encoder.set_progressive_mode();
    let mut started = encoder.start_compress(Vec::new()).unwrap();
    started.write_scanlines(picture(2, 2000, 2000).as_raw()).unwrap();
    let bytes = started.finish().unwrap();
    let last = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    let scan = &bytes[last..bytes.len() - 2];
    let times = (8 << 20) / scan.len().max(1) + 1;
    [&bytes[..bytes.len() - 2], &scan.repeat(times.min(20_000)), &[0xFF, 0xD9]].concat()
}

fn lying(format: ImageFormat, at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = encoded(&picture(3, 64, 64), format);
    bytes[at..at + field.len()].copy_from_slice(field);
    bytes
}

fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let huge = |side: u64| zeroes(side * (side + 1));
    let compressed = |name: &[u8], more: &[u8], count| [name, more, &zeroes(count)].concat();
    vec![
        ("png of 16000x16000", png(16_000, 16_000, &[], &huge(16_000))),
        ("png of 9000x9000, within the pixels allowed", png(9000, 9000, &[], &huge(9000))),
        ("png that claims 60000x60000", png(60_000, 60_000, &[], &zeroes(1000))),
        ("png with 60 MB more data than pixels", png(64, 64, &[], &zeroes(60_000_000))),
        ("png with a colour profile of 1 GB", {
            let profile = chunk(b"iCCP", &compressed(b"p\0", b"\0", 1_000_000_000));
            png(64, 64, &[profile], &huge(64))
        }),
        ("png with a text of 1 GB", {
            let comment = chunk(b"zTXt", &compressed(b"Comment\0", b"\0", 1_000_000_000));
            png(64, 64, &[comment], &huge(64))
        }),
        ("jpeg that claims 65500x65500", lying_jpeg(65_500)),
        ("jpeg that claims 9000x9000", lying_jpeg(9000)),
        ("jpeg with thousands of scans", endless_jpeg()),
        ("bmp that claims 30000x30000", lying(ImageFormat::Bmp, 18, &[0x30, 0x75, 0, 0, 0x30, 0x75, 0, 0])),
        ("webp that claims 16384x16384", lying(ImageFormat::WebP, 21, &[0xFF, 0xFF, 0xFF, 0x0F])),
    ]
}

/// The most memory a process has had, bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_zlib_stream_made_by_hand_is_one() {
    // A whole grey picture through the same bytes: were the stream wrong, every bomb would be refused for that.
    let limits = sightline::intake::clean::Limits {
        max_pixels: 1 << 30,
        max_decode_bytes: 1 << 30,
        min_side: 1,
        min_contrast: 0.0,
    };
    let bytes = png(300, 200, &[], &zeroes(301 * 200));
    let picture = sightline::intake::clean::clean(&bytes, &limits).unwrap().image;
    assert_eq!(picture.dimensions(), (300, 200));
}

#[test]
fn bombs_are_refused_at_once_and_within_the_memory_allowed() {
    let bombs = bombs();
    let mut campaign = Campaign::new(
        "bombs",
        "a picture far larger than its file is refused within 1 s and within the memory allowed and a tenth",
        bombs.len() as u64,
        bombs.len() as u64 * 5,
    );
    let allowed = ALLOWED.to_string();
    let desk = Desk::new(&[("intake.max_decode_mb", allowed.as_str()), ("intake.min_contrast", "0.0")]);
    let engine = desk.serve();
    assert_eq!(ask(&desk.socket(), "POST", "/v1/identify", &drawn(1)).unwrap().0, 200);
    for run in 0..campaign.runs {
        let (name, bytes) = &bombs[run as usize % bombs.len()];
        let before = peak(engine.id());
        let began = Instant::now();
        let (status, body) = ask(&desk.socket(), "POST", "/v1/identify", bytes).unwrap();
        let took = began.elapsed();
        // The file itself is held as it came.
        let taken = (peak(engine.id()) - before).saturating_sub(bytes.len() as u64);
        // What unpacks to no more than is allowed may be read; what does not must be refused.
        let harmless = name.contains("than pixels") || name.contains("profile") || name.contains("text");
        if status != 400 && !(harmless && status == 200) {
            campaign.fail(run, format!("{name}: {status} {}", text(&body)));
        } else if taken > (ALLOWED << 20) * 11 / 10 {
            campaign.fail(run, format!("{name}: {} MB were taken", taken >> 20));
        } else if took > campaign.patience(Duration::from_secs(1)) {
            campaign.fail(run, format!("{name}: it took {took:?}"));
        } else {
            campaign.count(if status == 400 { "refused" } else { "read within bounds" });
        }
        println!("{name}: {status} after {took:?}, {} KB, file {} KB", taken >> 10, bytes.len() >> 10);
    }
    engine.stop();
    campaign.end();
}
