//! The README's commands exist as they are written.

use clap::Parser as _;
use sightline::cli::Arguments;

/// Words as a shell would split them: double quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            _ => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn every_command_of_the_readme_parses() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let makefile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    let mut seen = 0;
    for block in readme.split("```sh\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let command = line.split(" #").next().unwrap().trim();
            if let Some(target) = command.strip_prefix("make ") {
                assert!(makefile.contains(&format!("\n{target}:")), "the Makefile has no `{target}`");
            } else {
                let parsed = Arguments::try_parse_from(words(command));
                assert!(parsed.is_ok(), "`{command}` does not parse: {}", parsed.unwrap_err());
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
}
