//! Pickled dicts of name to vectors, as PillTrack writes them.

use sightline::vision::checkpoint::Fault;
use sightline::vision::checkpoint::vectors::{parse, read_pickle};

use super::files::Pickle;
use super::golden;

#[test]
fn every_way_numpy_and_python_write_vectors_is_read() {
    // One file a pickle protocol, each with the same content in several forms.
    for protocol in 2..=5 {
        let named = read_pickle(&golden(&format!("vectors.{protocol}.pkl"))).expect("a good file");
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["matrix", "list of arrays", "one array", "double", "half", "lists", "flat list", "scalars", "Müsli"]
        );
        for (name, vectors) in &named {
            let expected: &[&[f32]] = match name.as_str() {
                "one array" | "flat list" | "scalars" | "half" => &[&[0.5, -1.25, 3.0]],
                "Müsli" => &[],
                _ => &[&[0.5, -1.25, 3.0], &[1.0, 2.0, -4.0]],
            };
            assert_eq!(vectors, expected, "`{name}` in protocol {protocol}");
        }
    }
}

#[test]
fn hostile_and_odd_files_are_refused() {
    let evil = Pickle::new().raw(b"}").text("a").global("os", "system").raw(b"(").text("id").raw(b"tRs").stop();
    assert!(matches!(parse(&evil), Err(Fault::Unsafe(_))));
    let torch =
        Pickle::new().raw(b"}").text("a").global("torch.storage", "_load_from_bytes").raw(b"(").text("x").raw(b"tRs");
    assert!(matches!(parse(&torch.stop()), Err(Fault::Unsafe(_))));
    let circle = Pickle::new().raw(b"}").text("a").raw(b"]q\x00h\x00as").stop();
    assert!(matches!(parse(&circle), Err(Fault::Limit(_))));
    let uneven =
        Pickle::new().raw(b"}").text("a").raw(b"](](").float(1.0).raw(b"e](").float(1.0).float(2.0).raw(b"ees").stop();
    assert!(matches!(parse(&uneven), Err(Fault::Damaged(_))));
    let nan = Pickle::new().raw(b"}").text("a").raw(b"](").float(f64::NAN).raw(b"es").stop();
    assert!(matches!(parse(&nan), Err(Fault::Damaged(_))));
    for pickle in [Pickle::new().raw(b"]").stop(), Pickle::new().raw(b"}").text("a").text("b").raw(b"s").stop()] {
        assert!(matches!(parse(&pickle), Err(Fault::Unsupported(_))));
    }
    assert!(parse(b"").is_err());
    // A long list named often.
    let mut shared = Pickle::new().raw(b"}").text("a").raw(b"](");
    for _ in 0..1000 {
        shared = shared.float(1.0);
    }
    shared = shared.raw(b"eq\x00s(");
    for name in 0..1000 {
        shared = shared.text(&name.to_string()).raw(b"h\x00");
    }
    assert!(matches!(parse(&shared.raw(b"u").stop()), Err(Fault::Limit(_))));
}
