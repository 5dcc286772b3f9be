//! Recordings: what was written is read back, later loss or damage is reported, and no file makes
//! the reader panic or allocate without bound.

// clippy.toml allows these in tests, but doesn't count the helpers beside them as tests.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

#[path = "report/fixtures.rs"]
mod fixtures;

use std::path::{Path, PathBuf};

use peak_alloc::PeakAlloc;
use pinscope::{
    model::{Capture, Window},
    recording::{
        Frame, Frames, Header, Recording, RecordingError, Writer,
        block::{self, HEADER, Kind},
    },
    snapshot::{Event, Snapshot},
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn header() -> Header {
    Header {
        pinscope: "0.1.0".into(),
        host: fixtures::host(),
        start: "2026-08-01T12:00:00.250Z".into(),
        interval: 1.0,
        events_asked: true,
    }
}

/// Returns samples of different kinds, a second apart.
fn samples() -> Vec<(Snapshot, Vec<Event>)> {
    let all = [
        (fixtures::nothing(), vec![]),
        (fixtures::quiet(), vec![]),
        (fixtures::busy(), vec![fixtures::event(), fixtures::event()]),
        (fixtures::missing_hooks(), vec![]),
        (fixtures::many_victims(), vec![fixtures::event()]),
    ];
    all.into_iter()
        .enumerate()
        .map(|(i, (mut snapshot, events))| {
            snapshot.elapsed = i as f64 + 1.0 / 3.0;
            (snapshot, events)
        })
        .collect()
}

struct Temporary(tempfile::TempDir);

impl Temporary {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn recorded(path: &Path, samples: &[(Snapshot, Vec<Event>)]) -> Vec<u8> {
    let mut writer = Writer::create(path, &header()).unwrap();
    for (snapshot, events) in samples {
        writer.frame(snapshot, events).unwrap();
    }
    writer.finish().unwrap();
    std::fs::read(path).unwrap()
}

/// Returns the offset of each block of a sound recording, and that of the file's end.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut all = vec![0];
    while at < bytes.len() {
        let stored = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        at += HEADER + stored as usize;
        all.push(at);
    }
    all
}

fn read_all(recording: &Recording) -> Vec<Frame> {
    (0..recording.count())
        .map(|i| recording.frame(i).unwrap())
        .collect()
}

/// A sound recording.
struct Sound {
    bytes: Vec<u8>,
    /// The offset of each block, and that of the file's end.
    ends: Vec<usize>,
    whole: Vec<Frame>,
}

impl Sound {
    /// Records the first `count` samples.
    fn of(count: usize) -> Self {
        let temporary = Temporary::new();
        let bytes = recorded(&temporary.file("a.pscope"), &samples()[..count]);
        let recording = Recording::from_bytes(bytes.clone()).unwrap();
        Self {
            ends: boundaries(&bytes),
            whole: read_all(&recording),
            bytes,
        }
    }
}

#[test]
fn what_was_written_is_read_number_by_number() {
    let _alone = alone();
    let temporary = Temporary::new();
    let path = temporary.file("a.pscope");
    let samples = samples();
    recorded(&path, &samples);
    let recording = Recording::open(&path).unwrap();
    assert_eq!(recording.header(), &header());
    assert_eq!(recording.incomplete(), None);
    assert_eq!(recording.count(), samples.len());
    let frames = read_all(&recording);
    for (frame, (snapshot, events)) in frames.iter().zip(&samples) {
        assert_eq!(&frame.events, events);
        // Everything is stored but trailing empty buckets.
        let capture = |s: &Snapshot| {
            let window = Window::new(recording.start(), s.elapsed);
            Capture::between(recording.host(), window, None, s, events)
        };
        assert_eq!(capture(&frame.snapshot), capture(snapshot));
        assert_eq!(frame.snapshot.groups, snapshot.groups);
        assert_eq!(frame.snapshot.hooks, snapshot.hooks);
        assert_eq!(frame.snapshot.cost, snapshot.cost);
        assert_eq!(frame.snapshot.elapsed.to_bits(), snapshot.elapsed.to_bits());
    }
    let elapsed: Vec<f64> = samples.iter().map(|(s, _)| s.elapsed).collect();
    assert_eq!(recording.times(), elapsed);
    assert!(recording.frame(samples.len()).is_err());
}

#[test]
fn a_recording_is_never_written_over() {
    let _alone = alone();
    let temporary = Temporary::new();
    let path = temporary.file("a.pscope");
    let before = recorded(&path, &samples());
    let error = Writer::create(&path, &header()).unwrap_err().to_string();
    assert!(error.contains("never overwrites"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn cut_off_anywhere_it_opens_up_to_its_last_whole_block() {
    let _alone = alone();
    let Sound { bytes, ends, whole } = Sound::of(3);
    for length in 0..bytes.len() {
        let blocks = ends.iter().filter(|e| **e > 0 && **e <= length).count();
        match Recording::from_bytes(bytes[..length].to_vec()) {
            Ok(recording) => {
                // The first block is the header; the last one, which is missing, is the end.
                assert_eq!(recording.count(), blocks - 1, "cut at {length}");
                let why = recording.incomplete().expect("it is cut off");
                assert!(why.contains(&format!("sample {}", blocks - 1)), "{why}");
                assert_eq!(read_all(&recording), whole[..blocks - 1]);
            }
            Err(RecordingError::NotOne(_)) => assert_eq!(blocks, 0, "cut at {length}"),
            Err(RecordingError::Empty(_)) => assert_eq!(blocks, 1, "cut at {length}"),
            Err(error) => panic!("cut at {length}: {error}"),
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_and_what_came_before_stays() {
    let _alone = alone();
    let Sound { bytes, ends, whole } = Sound::of(3);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let before = ends.iter().filter(|e| **e > 0 && **e <= at).count();
        match Recording::from_bytes(damaged) {
            Ok(recording) => {
                assert!(recording.incomplete().is_some(), "byte {at} unnoticed");
                assert_eq!(recording.count(), before - 1, "byte {at}");
                assert_eq!(read_all(&recording), whole[..before - 1]);
            }
            Err(_) => assert!(before <= 1, "byte {at}"),
        }
    }
}

#[test]
fn a_block_of_a_kind_to_come_is_skipped() {
    let _alone = alone();
    let Sound { bytes, ends, .. } = Sound::of(2);
    let mut newer = block::make(Kind::End, 0.0, b"something new").unwrap();
    newer[5] = 77;
    let crc = crc32fast::hash(&newer[..28]);
    newer[28..32].copy_from_slice(&crc.to_le_bytes());
    let mut with = bytes[..ends[2]].to_vec();
    with.extend(&newer);
    with.extend(&bytes[ends[2]..]);
    let recording = Recording::from_bytes(with).unwrap();
    assert_eq!(recording.count(), 2);
    assert_eq!(recording.incomplete(), None);
}

#[test]
fn hostile_lengths_take_no_memory() {
    let _alone = alone();
    let Sound { bytes, ends, .. } = Sound::of(1);
    let second = ends[1];
    for (at, value) in [
        (8, u32::MAX),
        (8, 60 << 20),
        (12, u32::MAX),
        (12, 63 << 20),
        (12, 0),
    ] {
        let mut hostile = bytes.clone();
        hostile[second + at..second + at + 4].copy_from_slice(&value.to_le_bytes());
        let crc = crc32fast::hash(&hostile[second..second + 28]);
        hostile[second + 28..second + 32].copy_from_slice(&crc.to_le_bytes());
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        if let Ok(recording) = Recording::from_bytes(hostile) {
            assert!(recording.frame(0).is_err(), "{at}: {value}");
        }
        let taken = MEMORY.peak_usage().saturating_sub(before);
        assert!(taken < 8 << 20, "{at}: {value} took {taken} bytes");
    }
    // Many megabytes of spaces, compressed to a few bytes, claim to be a frame.
    let bomb = block::make(Kind::Frame, 1.0, &vec![b' '; 60 << 20]).unwrap();
    let mut bombed = bytes[..second].to_vec();
    bombed.extend(bomb);
    let recording = Recording::from_bytes(bombed).unwrap();
    let error = recording.frame(0).unwrap_err();
    assert!(error.contains("decoded"), "{error}");
}

/// Serialises the tests, because memory is measured for the whole process.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// xorshift64*, so that the files are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

#[test]
fn ten_thousand_fuzzed_files_do_no_harm() {
    let _alone = alone();
    let Sound {
        bytes: sound, ends, ..
    } = Sound::of(5);
    let mut random = Random(0x1234_5678_9abc_def1);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let mut opened = 0;
    for round in 0..10_000 {
        let mut file = sound.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(file.len());
            match random.below(6) {
                0 => file[at] = random.next() as u8,
                1 => file.truncate(at.max(1)),
                2 => {
                    // A block that is repeated or out of order.
                    let which = random.below(ends.len() - 1);
                    let again = sound[ends[which]..ends[which + 1]].to_vec();
                    file.extend(again);
                }
                3 => file.insert(at, random.next() as u8),
                4 => {
                    // A damaged header with the right CRC.
                    let start = ends[random.below(ends.len() - 1)];
                    if start + HEADER <= file.len() {
                        let byte = start + random.below(28);
                        file[byte] = random.next() as u8;
                        let crc = crc32fast::hash(&file[start..start + 28]);
                        file[start + 28..start + 32].copy_from_slice(&crc.to_le_bytes());
                    }
                }
                _ => {
                    let end = (at + random.below(64)).min(file.len());
                    file.drain(at..end);
                    if file.is_empty() {
                        file.push(0);
                    }
                }
            }
        }
        if round % 10 == 9 {
            let length = random.below(4096);
            file = (0..length).map(|_| random.next() as u8).collect();
        }
        if let Ok(recording) = Recording::from_bytes(file) {
            opened += 1;
            let times = recording.times();
            assert!(times.windows(2).all(|w| w[0] <= w[1]));
            for index in 0..recording.count() {
                // An error is as good as a frame here.
                let _ = recording.frame(index);
            }
        }
    }
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(taken < 32 << 20, "{taken} bytes at the peak");
    assert!(opened > 100, "only {opened} files could be opened");
}

/// The block and its CRCs are right, but its JSON makes no sense.
#[test]
fn nonsense_in_a_sound_block_is_an_error_in_words() {
    let _alone = alone();
    let temporary = Temporary::new();
    let bytes = recorded(&temporary.file("a.pscope"), &samples()[2..3]);
    let first = boundaries(&bytes)[1];
    for json in [
        "",
        "null",
        "[]",
        "{}",
        "{\"elapsed\":1e999}",
        &"[".repeat(100_000),
        "{\"elapsed\":1,\"groups\":[{\"reclaimer\":\"x\",\"memory\":\"y\",\"order\":0,\"victim\":null,\"by_verdict\":{\"no-such\":{\"folios\":1,\"pages\":1,\"notifier_calls\":0,\"notifier_ns\":0,\"unmap_ns\":0}}}]}",
    ] {
        let mut file = bytes[..first].to_vec();
        file.extend(block::make(Kind::Frame, 1.0, json.as_bytes()).unwrap());
        let recording = Recording::from_bytes(file).unwrap();
        let error = recording.frame(0).unwrap_err();
        assert!(error.contains("sample 1"), "{error}");
    }
}

/// A recording of a newer version: its words come out as they went in, and its counts count.
#[test]
fn words_of_a_newer_version_survive() {
    let _alone = alone();
    let temporary = Temporary::new();
    let bytes = recorded(&temporary.file("a.pscope"), &samples()[2..3]);
    let first = boundaries(&bytes)[1];
    let counts = |folios: u64| {
        serde_json::json!({ "folios": folios, "pages": folios, "notifier_calls": 1,
            "notifier_ns": 5, "unmap_ns": 7 })
    };
    let empty = serde_json::json!({ "sum": 0, "min": null, "max": null, "buckets": [] });
    let hook = |name: &str| {
        serde_json::json!({ "name": name, "symbol": name, "attach": "fentry", "state": "active",
            "reason": null, "hits": 1, "missed": 0 })
    };
    let group = |road: &str, by_verdict: serde_json::Value| {
        serde_json::json!({ "road": road, "reclaimer": "compaction", "memory": "device_private",
            "order": 0, "victim": null, "by_verdict": by_verdict })
    };
    let reclaim = group(
        "reclaim",
        serde_json::json!({ "requeued": counts(3), "freed": counts(2) }),
    );
    let other = group("promotion", serde_json::json!({ "freed": counts(50) }));
    let frame = serde_json::json!({
        "elapsed": 1, "groups": [reclaim, other], "victims": [], "subscribers": [],
        "unmap_ns": { "requeued": empty }, "notifier_ns": {}, "excess": empty,
        "per_folio": empty,
        "hooks": [hook("shrink_list"), hook("reclaim_pages"), hook("try_to_unmap"),
            hook("notifier_start")],
    });
    let mut file = bytes[..first].to_vec();
    file.extend(block::make(Kind::Frame, 1.0, frame.to_string().as_bytes()).unwrap());
    let recording = Recording::from_bytes(file).unwrap();
    let last = recording.frame(0).unwrap().snapshot;
    let window = Window::new(recording.start(), last.elapsed);
    let capture = Capture::between(recording.host(), window, None, &last, &[]);
    let json = serde_json::to_value(&capture).unwrap();
    assert_eq!(json["unmaps"]["total"], 5, "only reclaim's unmaps");
    assert_eq!(json["unmaps"]["by_verdict"]["requeued"]["folios"], 3);
    assert_eq!(json["notifier"]["calls"], 2);
    let groups = json["groups"].as_array().unwrap();
    let of = |road: Option<&str>| {
        let mut all = groups.iter();
        all.find(|g| g["road"].as_str() == road).unwrap()
    };
    assert_eq!(of(None)["reclaimer"], "compaction");
    assert_eq!(of(None)["memory"], "device_private");
    assert_eq!(of(None)["by_verdict"]["requeued"]["folios"], 3);
    assert_eq!(of(Some("promotion"))["by_verdict"]["freed"]["folios"], 50);
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/v1.pscope");

/// A file written by the first version must open for ever. Its report is a snapshot test.
#[test]
fn a_file_of_the_first_version_opens() {
    let _alone = alone();
    let recording = Recording::open(Path::new(GOLDEN)).unwrap();
    assert_eq!(recording.incomplete(), None);
    assert_eq!(recording.count(), 5);
    let last = recording.frame(2).unwrap();
    let window = Window::new(recording.start(), last.snapshot.elapsed);
    let capture = Capture::between(recording.host(), window, None, &last.snapshot, &last.events);
    insta::assert_json_snapshot!(capture);
}

/// Writes the golden file. Run it by hand when the format gets a new version.
#[test]
#[ignore = "writes tests/data/v1.pscope"]
fn write_golden() {
    let _alone = alone();
    let path = Path::new(GOLDEN);
    let _ = std::fs::remove_file(path);
    recorded(path, &samples());
}
