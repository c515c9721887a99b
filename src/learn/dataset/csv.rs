//! Tables with commas between their fields (RFC 4180).

/// The rows of a table with the lines on which they begin, from 1; empty lines are passed over.
///
/// # Errors
/// What the reader says, with its line.
pub(super) fn rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let (mut rows, mut line, mut at) = (Vec::new(), 1, 0);
    for row in reader.records() {
        let row = row.map_err(|error| error.to_string())?;
        // The reader's own count stands before the end of the line before and before empty lines.
        let from = row.position().map_or(at, |position| position.byte() as usize);
        let ends = text.get(from..).map_or(0, |rest| rest.len() - rest.trim_start_matches(['\r', '\n']).len());
        line += text.get(at..from + ends).map_or(0, |passed| passed.matches('\n').count());
        at = from + ends;
        rows.push((line, row.iter().map(str::to_owned).collect()));
    }
    Ok(rows)
}

/// A row as a line, its end included.
///
/// # Errors
/// It cannot be written.
pub(super) fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
    let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    writer.write_record(fields).map_err(|error| error.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_know_their_lines() {
        let found = rows("file,note\r\na.png,\"two\nlines, \"\"so\"\"\"\n\nb.png,\"\"\n").unwrap();
        let texts = |row: &[&str]| row.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let expected =
            [(1, texts(&["file", "note"])), (2, texts(&["a.png", "two\nlines, \"so\""])), (5, texts(&["b.png", ""]))];
        assert_eq!(found, expected);
        assert_eq!(rows("").unwrap(), []);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(table in prop::collection::vec(prop::collection::vec("[a, \"\n\r\\t]{0,4}", 2..4), 0..5)) {
            let text: String = table.iter().map(|row| line(row.iter().map(String::as_str)).unwrap()).collect();
            let found: Vec<Vec<String>> = rows(&text).unwrap().into_iter().map(|(_, row)| row).collect();
            prop_assert_eq!(found, table);
        }
    }
}
