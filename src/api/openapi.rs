//! The description of the interface (OpenAPI 3.1), made from one table.

use serde_json::{Value, json};

/// Method, path, what it does, the record it takes (or `-`), the record it gives; records are those of `domain::view`.
pub(super) const ROUTES: &[(&str, &str, &str, &str, &str)] = &[
    ("get", "/openapi.json", "This description", "-", "OpenAPI"),
    ("get", "/v1/status", "The engine, its models and warnings", "-", "Status"),
    ("get", "/v1/stats", "Live figures", "-", "Stats"),
    ("get", "/v1/events", "Server-sent events: one Event a data line", "-", "Event"),
    ("get", "/v1/queue/stats", "Counts by state", "-", "QueueStats"),
    ("get", "/v1/queue/items", "Files (?state=, after=, limit=, newest=)", "-", "[Item]"),
    ("get", "/v1/queue/items/{id}", "One file with its objects", "-", "ItemDetail"),
    (
        "post",
        "/v1/queue/items/{id}/release",
        "Send a quarantined or failed file through again",
        "Intent<Nothing>",
        "Item",
    ),
    ("post", "/v1/queue/items/{id}/discard", "Drop a quarantined or failed file", "Intent<Nothing>", "Item"),
    ("post", "/v1/queue/ingest", "Queue copies of files and folders", "Intent<Ingest>", "Ingested"),
    ("post", "/v1/identify", "Ask the gallery about a picture (the body)", "bytes", "Identified"),
    ("get", "/v1/gallery/stats", "The gallery in numbers", "-", "GalleryStats"),
    ("get", "/v1/gallery/labels", "Labels (?filter=, after=, limit=)", "-", "[LabelRow]"),
    ("get", "/v1/gallery/sightings", "A label's sightings (?label=, after=, limit=)", "-", "[SightingRow]"),
    ("get", "/v1/gallery/sightings/{id}", "One sighting", "-", "SightingRow"),
    ("get", "/v1/gallery/sightings/{id}/neighbours", "What is enrolled near it", "-", "[Neighbour]"),
    ("get", "/v1/gallery/sightings/{id}/crop", "Its crop as PNG (?width=, height=)", "-", "PNG"),
    ("post", "/v1/gallery/relabel", "Give a sighting or a label another label", "Intent<Relabel>", "Changed"),
    ("post", "/v1/gallery/remove", "Take a sighting or a label out", "Intent<Remove>", "Changed"),
    ("post", "/v1/gallery/import", "Enrol a file of vectors", "Intent<Import>", "Changed"),
    ("post", "/v1/gallery/export", "Write the gallery to a file", "Intent<Export>", "Changed"),
    ("post", "/v1/gallery/reembed", "Embed everything anew with the weights in use", "Intent<Nothing>", "Changed"),
    (
        "get",
        "/v1/journal/entries",
        "Entries, newest first (?actor=, action=, subject=, text=, from_ms=, to_ms=, before=, limit=)",
        "-",
        "[Entry]",
    ),
    ("get", "/v1/journal/entries/{sequence}", "One entry", "-", "Entry"),
    ("get", "/v1/journal/checkpoint", "The last signed checkpoint, to be kept elsewhere", "-", "SignedCheckpoint"),
    (
        "post",
        "/v1/journal/verify",
        "Prove every entry up to the last checkpoint, against a key and a checkpoint kept elsewhere (both optional)",
        "Trusted",
        "JournalVerified",
    ),
    (
        "post",
        "/v1/db/verify",
        "Compare the projection, the vectors and the archive with the journal",
        "-",
        "DbVerified",
    ),
    ("get", "/v1/db/stats", "Records and bytes", "-", "DbStats"),
    ("get", "/v1/images/{id}", "An original", "-", "bytes"),
    (
        "get",
        "/v1/images/{id}/picture",
        "An original, upright and reduced, boxes and masks drawn (?width=, height=, plain=)",
        "-",
        "PNG",
    ),
];

pub(super) fn document() -> Value {
    let mut paths = serde_json::Map::new();
    for (method, path, summary, takes, gives) in ROUTES {
        let mut operation = json!({
            "summary": summary,
            "responses": {
                "200": { "description": gives },
                "default": { "description": "Failure: {code, error}" }
            }
        });
        let parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        if *takes != "-" {
            let kind = if *takes == "bytes" { "application/octet-stream" } else { "application/json" };
            operation["requestBody"] = json!({ "description": takes, "content": { kind: {} } });
        }
        let entry = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "sightline", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths
    })
}
