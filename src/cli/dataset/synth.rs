//! `dataset synth`: drawn packs, photographed or as crops.

use std::path::Path;

use serde_json::json;

use super::progress;
use crate::cli::arguments::Synth;
use crate::cli::output::Out;
use crate::cli::{Ended, Outcome};
use crate::domain::RawPath;
use crate::learn::synth::crop_set;
use crate::learn::synth::set::{self, Order};

pub(super) fn run(out: &mut Out, asked: &Synth) -> Ended {
    let Synth { packs, seed, first_design: first, val, test, .. } = *asked;
    let Some(crops_each) = asked.cut.crops else {
        let images = asked.images.unwrap_or(0);
        return photographs(out, &Order { images, packs, first, seed, val, test }, &asked.out);
    };
    let cut = &asked.cut;
    let order = crop_set::Order {
        by: if cut.by == "strength" { crop_set::By::Strength } else { crop_set::By::Pack },
        packs,
        crops: crops_each,
        side: cut.side,
        masked: cut.mask_background,
        align: cut.align,
        stretched: cut.stretch,
        upright: cut.upright,
        pairs: cut.pairs,
        first,
        seed,
        val,
        test,
    };
    crops(out, &order, &asked.out)
}

fn photographs(out: &mut Out, order: &Order, dir: &Path) -> Ended {
    let bar = progress(u64::from(order.images), "pictures");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let drawn = set::write(order, dir, threads, || bar.inc(1));
    bar.finish_and_clear();
    let set::Summary { pictures: [train, val, test], background, instances } = drawn?;
    if out.json {
        let pictures = json!({"train": train, "val": val, "test": test});
        out.value(&json!({
            "out": RawPath::from(dir), "pictures": pictures, "background": background, "instances": instances, "packs": order.packs,
            "first_design": order.first, "seed": order.seed,
        }))?;
    } else {
        out.line(format!(
            "{}: {} pictures ({train} train, {val} val, {test} test; {background} without a pack), {instances} packs",
            dir.display(),
            order.images
        ))?;
    }
    Ok(Outcome::Done)
}

fn crops(out: &mut Out, order: &crop_set::Order, dir: &Path) -> Ended {
    let bar = progress(u64::from(order.packs), "packs");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let drawn = crop_set::write(order, dir, threads, || bar.inc(1));
    bar.finish_and_clear();
    let [train, val, test] = drawn?;
    if out.json {
        out.value(&json!({
            "out": RawPath::from(dir), "packs": {"train": train, "val": val, "test": test}, "crops": order.crops, "side": order.side,
            "first_design": order.first, "seed": order.seed,
        }))?;
    } else {
        out.line(format!(
            "{}: {} crops of each of {} packs ({train} train, {val} val, {test} test)",
            dir.display(),
            order.crops,
            order.packs
        ))?;
    }
    Ok(Outcome::Done)
}
