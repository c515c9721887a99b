//! Hostile and clumsy clients on the engine's socket.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Desk, Served, answer, ask, drawn, text};

/// The engine still answers, quickly.
fn well(engine: &Served) {
    let began = Instant::now();
    engine.get("/v1/status");
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

#[test]
fn every_route_of_the_description_is_answered() {
    let desk = Desk::new(&[]);
    desk.json("enroll A", &[&desk.picture("in/1.png", 1)], 0);
    let engine = desk.serve();
    let described = engine.get("/openapi.json");
    let image = engine.get("/v1/queue/items?limit=10")[0]["sha256"].as_str().unwrap().to_owned();
    let item = engine.get("/v1/queue/items?limit=10")[0]["id"].as_str().unwrap().to_owned();
    let mut answered = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let id = match path.as_str() {
                path if path.contains("/queue/items/") => item.clone(),
                path if path.contains("/sightings/") => format!("{image}:0"),
                _ => image.clone(),
            };
            let path = path.replace("{id}", &id).replace("{sequence}", "0");
            let path = if path.ends_with("/sightings") { format!("{path}?label=A") } else { path };
            if path == "/v1/events" {
                continue;
            }
            let (status, body) = ask(&desk.socket(), &method.to_uppercase(), &path, b"{}").unwrap();
            let said = text(&body[..body.len().min(300)]);
            assert!(
                !said.contains("no such address") && status != 405 && status < 500,
                "{method} {path}: {status} {said}"
            );
            if method == "get" {
                assert_eq!(status, 200, "{path}: {said}");
            }
            answered += 1;
        }
    }
    assert!(answered > 20);
    // The routes are those that are described: the source names no other.
    let source = include_str!("../../../src/api/routes.rs");
    let routed: BTreeSet<&str> =
        source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let paths: BTreeSet<&str> = described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(routed, paths);
}

#[test]
fn events_come_as_they_happen() {
    let desk = Desk::new(&[]);
    let engine = desk.serve();
    let mut stream = UnixStream::connect(desk.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    desk.picture("watch/inbox/1.png", 1);
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while !seen.contains("\"done\":1") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the stream ended: {seen}");
        seen.push_str(&text(&buffer[..read]));
    }
    engine.stop();
    let mut rest = String::new();
    drop(stream.read_to_string(&mut rest));
    assert!(rest.contains("stopping"), "{rest}");
}

#[test]
fn nonsense_is_refused_in_words_and_hurts_nothing() {
    let desk = Desk::new(&[("intake.max_file_mb", "1")]);
    let engine = desk.serve();
    let refused = |method: &str, path: &str, body: &[u8], status: u16| {
        let (found, answer) = ask(&desk.socket(), method, path, body).unwrap();
        assert_eq!(found, status, "{method} {path}: {}", text(&answer));
        let failure: Value =
            serde_json::from_slice(&answer).unwrap_or_else(|e| panic!("{path}: {e} {}", text(&answer)));
        assert!(failure["code"].is_string() && !failure["error"].as_str().unwrap().is_empty(), "{failure}");
    };
    refused("GET", "/v1/nothing", b"", 404);
    refused("GET", "/v1/queue/ingest", b"", 405);
    refused("POST", "/v1/status", b"{}", 405);
    refused("POST", "/v1/queue/ingest", b"{", 400);
    refused("POST", "/v1/queue/ingest", b"{\"intent\": 7}", 422);
    refused("POST", "/v1/gallery/relabel", b"[]", 422);
    refused("GET", "/v1/images/nonsense", b"", 400);
    refused("GET", "/v1/queue/items?state=eaten", b"", 400);
    refused("GET", "/v1/queue/items?limit=-1", b"", 400);
    refused("GET", "/v1/gallery/sightings", b"", 400);
    refused("GET", "/v1/queue/items/..%2f..%2fetc%2fpasswd", b"", 404);
    refused("POST", "/v1/identify", b"no picture", 400);
    refused("POST", "/v1/identify", &vec![0xAB; 2 << 20], 413);
    refused("POST", "/v1/queue/ingest", &vec![b' '; 3 << 20], 413);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    refused("POST", "/v1/queue/ingest", deep.as_bytes(), 422);
    let silent = json!({ "intent": "", "reason": "x", "which": { "label": "A" } });
    refused("POST", "/v1/gallery/remove", silent.to_string().as_bytes(), 400);
    well(&engine);

    for garbage in
        [&b"\x00\xff\xfe garbage\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut stream = UnixStream::connect(desk.socket()).unwrap();
        stream.write_all(garbage).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        drop(answer(stream));
        well(&engine);
    }
    let mut stream = UnixStream::connect(desk.socket()).unwrap();
    drop(stream.write_all(format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(4 << 20)).as_bytes()));
    let (status, _) = answer(stream).unwrap_or((431, Vec::new()));
    assert_eq!(status, 431, "a header of 4 MB");
    well(&engine);

    // Half a request, then silence, many times over.
    let half: Vec<UnixStream> = (0..100)
        .map(|n| {
            let mut stream = UnixStream::connect(desk.socket()).unwrap();
            let head = match n % 3 {
                0 => "POST /v1/identify HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\nhalf".to_owned(),
                1 => "GET /v1/status HTTP/1.1\r\nhos".to_owned(),
                _ => {
                    "POST /v1/queue/ingest HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n5\r\nha".to_owned()
                }
            };
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    well(&engine);
    desk.picture("watch/inbox/1.png", 1);
    engine.wait(1);
    let (code, took) = engine.stop();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
    drop(half);
    desk.prove();
}

#[test]
fn the_database_is_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new(&[]);
    let engine = desk.serve();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(desk.path("database")), mode(desk.socket())), (0o750, 0o660));
    assert_eq!(engine.get("/v1/status")["you"].as_str().map(str::is_empty), Some(false));
    // A socket file that a killed engine left is no obstacle.
    let mut engine = engine;
    engine.kill();
    assert!(desk.socket().exists());
    let engine = desk.serve();
    assert!(ask(&desk.socket(), "POST", "/v1/identify", &drawn(1)).is_some_and(|(status, _)| status == 200));
    engine.stop();
}

/// One request over TCP.
fn ask_tcp(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn programs_on_the_network_may_look_and_ask_but_not_act() {
    let desk = Desk::new(&[]);
    desk.json("enroll A", &[&desk.picture("in/1.png", 1)], 0);
    let engine = desk.serve_with("serve --listen 127.0.0.1:0");
    let said = std::fs::read_to_string(desk.path("stderr")).unwrap();
    let address = said.split("http://").nth(1).unwrap().lines().next().unwrap().to_owned();
    let (status, body) = ask_tcp(&address, "GET", "/v1/status", "");
    assert_eq!(status, 200, "{body}");
    let seen: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((seen["you"].as_str(), seen["role"].as_str()), (Some("tcp"), Some("viewer")), "{body}");
    let act = json!({ "intent": "x", "reason": "x", "which": { "label": "A" } }).to_string();
    let (status, body) = ask_tcp(&address, "POST", "/v1/gallery/remove", &act);
    assert_eq!(status, 409, "{body}");
    assert!(body.contains("over the workspace's socket"), "{body}");
    assert_eq!(engine.get("/v1/gallery/labels")[0]["label"], "A");
    let taken = desk.path("other");
    std::fs::create_dir(&taken).unwrap();
    let second =
        super::program().arg("--workspace").arg(&taken).args(["serve", "--listen", &address]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains(&address), "{}", text(&second.stderr));
    engine.stop();
}

#[test]
fn who_is_not_listed_may_look_and_is_refused_to_act() {
    use std::os::unix::process::CommandExt;
    // SAFETY: asks who runs this test.
    if unsafe { libc::geteuid() } != 0 {
        return eprintln!("skipped: only root can run a command as somebody else");
    }
    let desk = Desk::new(&[]);
    desk.json("enroll A", &[&desk.picture("in/1.png", 1)], 0);
    let open = |path| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    open(desk.dir.path().to_owned());
    // The program itself may lie where others cannot reach it.
    let program = desk.path("sightline");
    if std::fs::hard_link(env!("CARGO_BIN_EXE_sightline"), &program).is_err() {
        std::fs::copy(env!("CARGO_BIN_EXE_sightline"), &program).unwrap();
    }
    let as_nobody = |words: &str| {
        let mut command = std::process::Command::new(&program);
        command.arg("--workspace").arg(desk.dir.path()).args(words.split(' ')).uid(65534).gid(0);
        command.output().unwrap()
    };
    let engine = desk.serve();
    let look = as_nobody("gallery list");
    if text(&look.stderr).contains("libtorch") {
        return eprintln!("skipped: others cannot read libtorch here");
    }
    assert_eq!(look.status.code(), Some(0), "{}", text(&look.stderr));
    let act = as_nobody("gallery remove A --reason x");
    assert_eq!(act.status.code(), Some(3), "{}", text(&act.stderr));
    assert!(text(&act.stderr).contains("access.operators"), "{}", text(&act.stderr));
    engine.stop();
    // Listed, the same user may.
    let config = std::fs::read_to_string(desk.path("config.yaml")).unwrap();
    let name = text(&std::process::Command::new("id").args(["-nu", "65534"]).output().unwrap().stdout);
    if name.trim().is_empty() {
        return println!("no user has the id 65534 here, so none can be listed");
    }
    let listed = config.replace("operators: []", &format!("operators: [{}]", name.trim()));
    assert_ne!(config, listed);
    std::fs::write(desk.path("config.yaml"), listed).unwrap();
    let engine = desk.serve();
    let act = as_nobody("gallery remove A --reason x");
    assert_eq!(act.status.code(), Some(0), "{}", text(&act.stderr));
    let last = desk.json("journal tail -n 1", &[], 0);
    assert_eq!((&last[0]["actor"], &last[0]["action"]), (&name.trim().into(), &"gallery.removed".into()));
    engine.stop();
}
