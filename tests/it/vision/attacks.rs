//! Hostile and damaged model files: each is refused, quickly, without a panic and without running anything.

use std::time::{Duration, Instant};

use sightline::vision::checkpoint::{Fault, parse, vectors};

use proptest::prelude::*;

use super::files::{Pickle, Record, one_tensor, pt, zip};
use super::golden;

/// Refused within a second: a bomb would take longer, or all memory.
fn refused(bytes: &[u8]) -> Fault {
    let start = Instant::now();
    let fault = parse(bytes).expect_err("a hostile file was accepted");
    assert!(start.elapsed() < Duration::from_secs(5), "{fault} took {:?}", start.elapsed());
    fault
}

fn is_unsafe(bytes: &[u8]) {
    let fault = refused(bytes);
    assert!(matches!(fault, Fault::Unsafe(_)), "{fault:?}");
}

fn is_damaged(bytes: &[u8]) {
    let fault = refused(bytes);
    assert!(matches!(fault, Fault::Damaged(_)), "{fault:?}");
}

fn is_limit(bytes: &[u8]) {
    let fault = refused(bytes);
    assert!(matches!(fault, Fault::Limit(_)), "{fault:?}");
}

#[test]
fn the_well_formed_file_is_read() {
    let weights = parse(&one_tensor(6, 0, &[2, 3], &[3, 1])).expect("a good file");
    let tensor = weights.get("w").expect("the tensor");
    assert_eq!(tensor.shape, [2, 3]);
    let turned = parse(&one_tensor(6, 0, &[3, 2], &[1, 3])).expect("a transposed tensor");
    let values: Vec<f32> = turned
        .get("w")
        .expect("it")
        .bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    assert_eq!(values, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let last = parse(&one_tensor(6, 5, &[1], &[1])).expect("the last number");
    assert_eq!(last.get("w").expect("it").bytes, 5f32.to_le_bytes());
}

#[test]
fn names_no_model_needs_are_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torchevil", "x"),
        ("runpy", "_run_code"),
        ("torch", "hub.load"),
    ] {
        let pickle = Pickle::new().global(module, name).raw(b"(").text("echo owned").raw(b"tR").stop();
        let fault = refused(&pt(pickle));
        assert!(matches!(&fault, Fault::Unsafe(what) if what.contains(name)), "{fault:?}");
    }
}

#[test]
fn names_made_on_the_stack_or_through_the_memo_are_refused_too() {
    let direct = Pickle::new().text("os").text("system").raw(b"\x93(").text("id").raw(b"tR").stop();
    is_unsafe(&pt(direct));
    // STACK_GLOBAL with both parts recalled from the memo, so that a scan for `os system` finds nothing adjacent.
    let memo = Pickle::new().text("system").raw(b"q\x00").text("os").raw(b"q\x010").raw(b"0h\x01h\x00\x93.").0;
    is_unsafe(&pt(memo));
}

#[test]
fn old_ways_to_call_are_refused() {
    for pickle in [
        Pickle::new().raw(b"(").text("id").raw(b"ios\nsystem\n").stop(),
        Pickle::new().raw(b"(").global("collections", "OrderedDict").raw(b"o").stop(),
        Pickle::new().raw(b"\x82\x01").stop(),
        Pickle::new().raw(b"P0\n").stop(),
        Pickle::new().text("not a name").raw(b")R").stop(),
        Pickle::new().global("torch.storage", "_load_from_bytes").raw(b"(").text("x").raw(b"tR").stop(),
    ] {
        is_unsafe(&pt(pickle));
    }
}

#[test]
fn a_known_class_is_only_a_name() {
    // An object of an allowed module that is no network: nothing is called, and there is nothing to read.
    let pickle = Pickle::new().global("torch.hub", "load").raw(b"(").text("evil/repo").raw(b"tR").stop();
    let fault = refused(&pt(pickle));
    assert!(matches!(&fault, Fault::Unsupported(what) if what.contains("no tensors")), "{fault:?}");
}

#[test]
fn memo_bombs_stay_small() {
    // Each list holds the last one twice: 2^5000 elements, were they ever counted.
    let mut pickle = Pickle::new().raw(b"]r\x00\x00\x00\x00");
    for level in 1u32..5000 {
        let (last, this) = ((level - 1).to_le_bytes(), level.to_le_bytes());
        pickle = pickle.raw(b"0](j").raw(&last).raw(b"j").raw(&last).raw(b"er").raw(&this);
    }
    let fault = refused(&pt(pickle.stop()));
    assert!(matches!(fault, Fault::Unsupported(_)), "{fault:?}");
}

#[test]
fn modules_that_hold_each_other_twice_are_not_walked_for_ever() {
    // A module whose `_modules` holds the next twice, 40 deep; and one that holds itself.
    let module = |pickle: Pickle| {
        pickle.global("torch.nn.modules.container", "Sequential").raw(b")\x81}").text("_modules").raw(b"}(")
    };
    let mut nested = Pickle::new();
    for _ in 0..30 {
        nested = module(nested).text("a");
    }
    nested = nested.raw(b"N");
    for level in 0u8..30 {
        let again = [b'q', level];
        nested = nested.raw(&again).text("b").raw(&[b'h', level]).raw(b"usb");
    }
    is_limit(&pt(nested.stop()));
    let circle = Pickle::new()
        .global("torch.nn.modules.container", "Sequential")
        .raw(b")\x81q\x00}")
        .text("_modules")
        .raw(b"}")
        .text("a")
        .raw(b"h\x00ssb")
        .stop();
    is_limit(&pt(circle));
}

#[test]
fn deep_nesting_is_neither_a_stack_overflow_nor_a_crash() {
    let marks = Pickle::new().raw(&vec![b'('; 100_000]).stop();
    is_limit(&pt(marks));
    // Tuples in tuples: built flat, dropped flat.
    let tuples = Pickle::new().raw(b"N").raw(&vec![0x85; 1_000_000]).stop();
    let fault = refused(&pt(tuples));
    assert!(matches!(fault, Fault::Unsupported(_)), "{fault:?}");
}

#[test]
fn claimed_lengths_allocate_nothing() {
    for head in [
        b"X\xff\xff\xff\xff".as_slice(),
        b"B\xff\xff\xff\xff",
        b"T\xff\xff\xff\x7f",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x96\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\x8b\xff\xff\xff\x7f",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        is_damaged(&pt(Pickle::new().raw(head).raw(b"short").stop()));
    }
}

#[test]
fn long_values_named_often_are_not_copied_often() {
    let latin = "a".repeat(1 << 20);
    let mut pickle =
        Pickle::new().global("_codecs", "encode").raw(b"q\x00").text(&latin).raw(b"q\x01").text("latin1").raw(b"q\x02");
    for _ in 0..10_000 {
        pickle = pickle.raw(b"h\x00h\x01h\x02\x86R0");
    }
    is_limit(&pt(pickle.stop()));
    let mut pickle = Pickle::new().global("collections", "OrderedDict").raw(b"q\x00]q\x01(");
    for _ in 0..100_000 {
        pickle = pickle.raw(b"NN\x86");
    }
    pickle = pickle.raw(b"e");
    for _ in 0..10_000 {
        pickle = pickle.raw(b"h\x00h\x01\x85R0");
    }
    is_limit(&pt(pickle.stop()));
}

#[test]
fn unbalanced_and_cut_pickles_are_damaged() {
    for body in [
        b"".as_slice(),
        b"0",
        b"t",
        b"e",
        b"NNe",
        b"(t(",
        b"h\x07",
        b"\x86",
        b"Ns",
        b"N}s",
        b"(Nd",
        b"\xff",
        b"\x80\x09",
        b"Nb",
        b"JJ",
    ] {
        let fault = refused(&pt(Pickle::new().raw(body).0));
        assert!(matches!(fault, Fault::Damaged(_)), "{body:?}: {fault:?}");
    }
    // A mark cannot be undermined by popping below it.
    is_damaged(&pt(Pickle::new().raw(b"N(0t").stop()));
    let good = Pickle::new().raw(b"}").text("w").tensor("FloatStorage", "0", 6, 0, &[6], &[1]).raw(b"s").stop();
    for cut in 0..good.len() {
        assert!(parse(&pt(good[..cut].to_vec())).is_err(), "cut at {cut}");
    }
}

#[test]
fn several_pickles_in_one_are_refused() {
    let first = Pickle::new().raw(b"}").stop();
    let second = Pickle::new().global("os", "system").raw(b"(").text("id").raw(b"tR").stop();
    is_unsafe(&pt([first, second].concat()));
    let one = Pickle::new().raw(b"}").stop();
    is_unsafe(&zip(&[Record::new("a/data.pkl", &one), Record::new("b/data.pkl", &one)]));
}

#[test]
fn tensors_cannot_reach_outside_their_storage() {
    for (len, offset, shape, stride) in [
        (6, 0, [7].as_slice(), [1].as_slice()),
        (6, 1, &[6], &[1]),
        (6, 6, &[1], &[1]),
        (6, 0, &[2, 3], &[4, 1]),
        (6, 0, &[i32::MAX, i32::MAX, i32::MAX], &[1, 1, 1]),
        (6, i32::MAX, &[2], &[i32::MAX]),
        (6, 0, &[1000], &[0]),
        (7, 0, &[6], &[1]),
        (-1, 0, &[6], &[1]),
        (6, -1, &[6], &[1]),
        (6, 0, &[-6], &[1]),
        (6, 0, &[6], &[-1]),
        (6, 0, &[6], &[1, 1]),
        (6, 0, &[1; 40], &[1; 40]),
    ] {
        is_damaged(&one_tensor(len, offset, shape, stride));
    }
    let elsewhere =
        Pickle::new().raw(b"}").text("w").tensor("FloatStorage", "../../etc/passwd", 6, 0, &[6], &[1]).raw(b"s");
    is_damaged(&pt(elsewhere.stop()));
    let missing = Pickle::new().raw(b"}").text("w").tensor("FloatStorage", "9", 6, 0, &[6], &[1]).raw(b"s");
    is_damaged(&pt(missing.stop()));
    let odd = Pickle::new().raw(b"}").text("w").tensor("QInt8Storage", "0", 6, 0, &[6], &[1]).raw(b"s");
    assert!(matches!(refused(&pt(odd.stop())), Fault::Unsupported(_)));
}

#[test]
fn one_storage_under_many_names_is_bounded() {
    let numbers = vec![0u8; 4 << 20];
    let mut pickle = Pickle::new().raw(b"}(");
    for name in 0..1000 {
        pickle = pickle.text(&format!("w{name}")).tensor("FloatStorage", "0", 1 << 20, 0, &[1 << 20], &[1]);
    }
    is_limit(&zip(&[Record::new("m/data.pkl", &pickle.raw(b"u").stop()), Record::new("m/data/0", &numbers)]));
}

#[test]
fn odd_zips_are_refused() {
    let good = Pickle::new().raw(b"}").text("w").tensor("FloatStorage", "0", 6, 0, &[6], &[1]).raw(b"s").stop();
    let pickle = Record::new("m/data.pkl", &good);
    let data = Record::new("m/data/0", &[0; 24]);
    assert!(parse(&zip(&[pickle.clone(), data.clone()])).is_ok());
    let with = |odd: Record| zip(&[pickle.clone(), data.clone(), odd]);
    is_unsafe(&with(Record::new("m/data.pkl", b"other")));
    for name in ["../evil", "m/../../evil", "/etc/passwd", "C:\\evil", "a\\b", "nul\0l"] {
        is_unsafe(&with(Record::new(name, b"x")));
    }
    is_unsafe(&with(Record { method: 8, ..Record::new("m/bomb", b"x") }));
    is_unsafe(&with(Record { flags: 1, ..Record::new("m/encrypted", b"x") }));
    is_unsafe(&with(Record { flags: 0x2000, ..Record::new("m/masked", b"x") }));
    is_unsafe(&with(Record { local_name: Some("m/b".into()), ..Record::new("m/a", b"x") }));
    is_damaged(&with(Record { claimed_size: Some(1 << 30), ..Record::new("m/long", b"x") }));
    is_damaged(&zip(&[pickle.clone(), Record { crc: Some(1), ..data.clone() }]));
    // Two entries over the same bytes: how a quine or a bomb of overlapping files is made.
    let nested = zip(std::slice::from_ref(&pickle));
    is_unsafe(&with(Record {
        header_at: Some(0),
        local_name: Some("m/x".into()),
        ..Record::new("m/data.pkl2", &nested)
    }));
    is_unsafe(&zip(&[Record::new("m/code/x.py", b"import os"), Record::new("m/constants.pkl", b"."), pickle.clone()]));
    let whole = zip(&[pickle, data]);
    for cut in (0..whole.len()).step_by(7) {
        assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
    }
    is_damaged(&[whole.as_slice(), b"trailing"].concat());
}

#[test]
fn overlapping_records_are_refused() {
    let good = Pickle::new().raw(b"}").stop();
    let twin = Record { header_at: Some(0), ..Record::new("m/data.pkl", &good) };
    // The same name twice is caught first, so the second entry gets its own name by editing the directory.
    let mut bytes = zip(&[Record::new("m/data.pkl", &good), twin]);
    let at = bytes.windows(10).rposition(|w| w == b"m/data.pkl").expect("the directory's name");
    bytes[at] = b'n';
    is_unsafe(&bytes);
}

#[test]
fn files_of_old_or_other_kinds_say_what_to_do() {
    let legacy = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.rest";
    let fault = refused(legacy);
    assert!(
        matches!(&fault, Fault::Unsupported(what) if what.contains("before 1.6") && what.contains("torch.save")),
        "{fault:?}"
    );
    for bytes in [b"".as_slice(), b"GIF89a", b"\x80\x04N.", b"PK", b"PK\x03\x04", &[0; 100]] {
        refused(bytes);
    }
}

#[test]
fn safetensors_headers_are_not_trusted() {
    let file = |len: u64, header: &str, data: usize| {
        [len.to_le_bytes().as_slice(), header.as_bytes(), &vec![0; data]].concat()
    };
    let header = |text: &str, data: usize| file(text.len() as u64, text, data);
    assert!(parse(&header(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8)).is_ok());
    is_limit(&file(u64::MAX, "{", 100));
    is_limit(&file(1 << 30, "{", 100));
    for (text, data) in [
        (r#"{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
        (
            r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            8,
        ),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 800),
        (r#"{"w":{"dtype":"WAT","shape":[2],"data_offsets":[0,8]}}"#, 8),
        (r#"{"w":"#, 0),
    ] {
        is_damaged(&header(text, data));
    }
    let nested = format!("{}{}", "{\"a\":".repeat(10_000), "1");
    is_damaged(&header(&nested, 0));
}

#[test]
fn an_empty_tensor_of_absurd_shape_is_harmless() {
    let weights = parse(&one_tensor(6, 0, &[i32::MAX, 0, i32::MAX, i32::MAX], &[1, 1, 1, 1])).ok();
    assert!(weights.is_none_or(|weights| weights.get("w").is_some_and(|tensor| tensor.is_empty())));
}

#[test]
fn zip64_places_past_the_end_are_damaged() {
    let mut bytes = one_tensor(6, 0, &[6], &[1]);
    let end = bytes.split_off(bytes.len() - 22);
    bytes.extend(b"PK\x06\x07\x00\x00\x00\x00");
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(end);
    is_damaged(&bytes);
}

/// Changes some bytes of a file.
fn damage(mut bytes: Vec<u8>, edits: &[(usize, u8)]) -> Vec<u8> {
    for (at, value) in edits {
        let len = bytes.len();
        bytes[at % len] = *value;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // Whatever the bytes, there is an answer: no panic, no hang, no abort.
    #[test]
    fn altered_files_are_answered(edits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6), which in 0..5usize) {
        let name = ["torch_run.pt", "torch_state.pt", "vectors.2.pkl", "vectors.4.pkl", "vectors.5.pkl"][which];
        let bytes = damage(std::fs::read(golden(name)).expect("a golden file"), &edits);
        // Both readers see every file; most answers are errors, and that is fine.
        let _answers = (parse(&bytes).is_ok(), vectors::parse(&bytes).is_ok());
    }

    #[test]
    fn altered_pickles_in_good_zips_are_answered(edits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let pickle = Pickle::new().raw(b"}(").text("w").tensor("FloatStorage", "0", 6, 0, &[2, 3], &[3, 1]);
        let pickle = pickle.text("v").tensor("FloatStorage", "0", 6, 1, &[2, 2], &[2, 1]).raw(b"u").stop();
        if let Ok(weights) = parse(&pt(damage(pickle, &edits))) {
            for tensor in weights.tensors.values() {
                prop_assert_eq!(tensor.shape.iter().product::<usize>() * tensor.dtype.size(), tensor.bytes.len());
            }
        }
    }

    #[test]
    fn noise_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _answers = (parse(&bytes).is_ok(), vectors::parse(&bytes).is_ok());
        let _inside = parse(&pt([b"\x80\x02".as_slice(), &bytes].concat())).is_ok();
    }
}
