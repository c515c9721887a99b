//! Bodies and identifiers that a program may send over the socket: what is taken is given back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use sightline::domain::view::{Export, Import, Ingest, Intent, JournalQuery, Nothing, Relabel, Remove, Trusted};
use sightline::domain::{Entry, ImageId, Label, SightingId};

fn body<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(data) else { return };
    let once = serde_json::to_string(&read).expect("it was read");
    let again: T = serde_json::from_str(&once).expect("it was written");
    assert_eq!(once, serde_json::to_string(&again).expect("it was read"));
}

fuzz_target!(|data: &[u8]| {
    body::<Intent<Nothing>>(data);
    body::<Intent<Ingest>>(data);
    body::<Intent<Relabel>>(data);
    body::<Intent<Remove>>(data);
    body::<Intent<Import>>(data);
    body::<Intent<Export>>(data);
    body::<Trusted>(data);
    body::<JournalQuery>(data);
    body::<Entry>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(label) = Label::new(text) {
            assert_eq!(Label::new(label.as_str()).as_ref(), Ok(&label));
        }
        if let Ok(id) = text.parse::<ImageId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        if let Ok(id) = text.parse::<SightingId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        drop(text.parse::<sightline::journal::PublicKey>());
        drop(sightline::journal::Checkpoint::parse(text));
    }
});
