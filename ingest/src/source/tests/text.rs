//! CSV and JSON lines.

use super::*;

fn shown(name: &str, bytes: impl AsRef<[u8]>) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let batches = all(&write(folder.path(), name, bytes), &payments(), 0);
    batches.iter().map(show).collect::<Vec<_>>().join("\n")
}

#[test]
fn good_and_bad_json_lines() {
    let mut file = Vec::from(
        "\u{feff}{\"id\":1,\"at\":\"2018-04-01T00:00:31Z\",\"customer\":596,\"amount\":57.16,\"fraud\":false,\"note\":\"é\",\"x\":{}}\r
{\"id\":2,\"at\":\"2018-04-01T02:00:31+02:00\",\"customer\":596}

   \t
not json
{\"id\":3,\"at\":1,\"customer\":1} {}
{\"id\":3,\"at\":1,\"customer\":1
[3]
\"text\"
{\"id\":3,\"at\":1}
{\"id\":3,\"customer\":1}
{\"id\":3,\"at\":1,\"customer\":1,\"amount\":1e999}
{\"id\":3,\"at\":1,\"customer\":1,\"amount\":\"12\"}
{\"id\":3,\"at\":1,\"customer\":9223372036854775808}
",
    );
    file.extend(b"{\"id\":3,\"note\":\"\xff\"}\n{\"id\":4,\"at\":\"2018-04-02\",\"customer\":-1,\"note\":\"last, without an end\"}");
    assert_eq!(
        shown("events.jsonl", file),
        r#"0 {"id":1,"at":"2018-04-01T00:00:31.000000Z","customer":596,"amount":57.16,"fraud":false,"note":"é"}
1 {"id":2,"at":"2018-04-01T00:00:31.000000Z","customer":596,"amount":null,"fraud":null,"note":null}
15 {"id":4,"at":"2018-04-02T00:00:00.000000Z","customer":-1,"amount":null,"fraud":null,"note":"last, without an end"}
4 malformed_json not json
5 malformed_json {"id":3,"at":1,"customer":1} {}
6 malformed_json {"id":3,"at":1,"customer":1
7 not_an_object [3]
8 not_an_object "text"
9 null_key {"id":3,"at":1}
10 null_event_time {"id":3,"customer":1}
11 malformed_json {"id":3,"at":1,"customer":1,"amount":1e999}
12 wrong_type {"id":3,"at":1,"customer":1,"amount":"12"}
13 out_of_range {"id":3,"at":1,"customer":9223372036854775808}
14 invalid_utf8 {"id":3,"note":"�"}
end 16"#
    );
}

#[test]
fn good_and_bad_csv_records() {
    let mut file = Vec::from(
        "\u{feff}at,more,customer,id,amount,fraud,note\r
2018-04-01 00:00:31,x,596,1,57.16,TRUE,\"two
lines, \"\"quoted\"\"\"\r

1522540831000000,,596, 2 ,-1e3,0,
,,596,3,1,0,
2018-04-01,,,3,1,0,
soon,,596,3,1,0,
2018-04-01,,596,3,NaN,0,
2018-04-01,,596,3,inf,0,
2018-04-01,,596,3,1,maybe,
2018-04-01,,596,9223372036854775808,1,0,
2018-04-01,,596,3.5,1,0,
2018-04-01,,596
",
    );
    file.extend(b"2018-04-01,,596,3,1,0,\xff\xfe\n2018-04-01,\xc3,\xa9,4,1,0,\n2018-04-01,,596,4,1,0,end");
    assert_eq!(
        shown("events.csv", file),
        r#"0 {"id":1,"at":"2018-04-01T00:00:31.000000Z","customer":596,"amount":57.16,"fraud":true,"note":"two\nlines, \"quoted\""}
1 {"id":2,"at":"2018-04-01T00:00:31.000000Z","customer":596,"amount":-1000.0,"fraud":false,"note":null}
13 {"id":4,"at":"2018-04-01T00:00:00.000000Z","customer":596,"amount":1.0,"fraud":false,"note":"end"}
2 null_event_time {"at":"","more":"","customer":"596","id":"3","amount":"1","fraud":"0","note":""}
3 null_key {"at":"2018-04-01","more":"","customer":"","id":"3","amount":"1","fraud":"0","note":""}
4 wrong_type {"at":"soon","more":"","customer":"596","id":"3","amount":"1","fraud":"0","note":""}
5 not_finite {"at":"2018-04-01","more":"","customer":"596","id":"3","amount":"NaN","fraud":"0","note":""}
6 not_finite {"at":"2018-04-01","more":"","customer":"596","id":"3","amount":"inf","fraud":"0","note":""}
7 wrong_type {"at":"2018-04-01","more":"","customer":"596","id":"3","amount":"1","fraud":"maybe","note":""}
8 out_of_range {"at":"2018-04-01","more":"","customer":"596","id":"9223372036854775808","amount":"1","fraud":"0","note":""}
9 wrong_type {"at":"2018-04-01","more":"","customer":"596","id":"3.5","amount":"1","fraud":"0","note":""}
10 field_count ["2018-04-01","","596"]
11 invalid_utf8 ["2018-04-01","","596","3","1","0","��"]
12 invalid_utf8 ["2018-04-01","�","�","4","1","0",""]
end 14"#
    );
}

#[test]
fn a_record_that_is_too_long_is_rejected_and_the_next_one_read() {
    let long = "x".repeat(MAX_RECORD_BYTES + 7);
    let json = format!("{{\"id\":1,\"at\":0,\"customer\":1,\"note\":\"{long}\"}}\n{{\"id\":2,\"at\":0,\"customer\":1}}\n");
    let quoted = format!("id,at,customer,amount,fraud,note\n1,0,1,,,\"{long}\n\"\n2,0,1,,,ok\n");
    let many = format!("id,at,customer,amount,fraud,note\n1,0,1,,,{}\n2,0,1,,,ok\n", ",".repeat(200_000));
    for (name, file) in [("events.json", json), ("events.csv", quoted), ("many.csv", many)] {
        let folder = tempfile::tempdir().expect("a folder");
        let batches = all(&write(folder.path(), name, file), &payments(), 0);
        assert_eq!(batches.len(), 1, "{name}");
        let batch = &batches[0];
        assert_eq!((batch.end, &batch.offsets), (2, &floodmark_intake::offsets::Offsets::Range(1..2)), "{name}");
        assert_eq!((batch.rejects[0].offset, batch.rejects[0].reason.code()), (0, "too_long"), "{name}");
        assert!(batch.rejects[0].payload.len() <= floodmark_intake::payload::MAX_PAYLOAD_BYTES, "{name}");
    }
}

#[test]
fn a_read_goes_on_where_it_stopped() {
    let rows = 3 * BATCH_ROWS + 5;
    let json: String = (0..rows).map(|n| format!("{{\"id\":{n},\"at\":{n},\"customer\":{}}}\n", n % 7)).collect();
    let csv: String = (0..rows).map(|n| format!("{n},{n},{},,,\n", n % 7)).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let json = write(folder.path(), "events.ndjson", json);
    let csv = write(folder.path(), "events.csv", format!("id,at,customer,amount,fraud,note\n{csv}"));
    for path in [json, csv] {
        let whole = all(&path, &payments(), 0);
        assert_eq!(whole.iter().map(|b| b.columns.num_rows()).collect::<Vec<_>>(), [BATCH_ROWS, BATCH_ROWS, BATCH_ROWS, 5]);
        let tail = all(&path, &payments(), whole[1].end);
        assert_eq!(tail.len(), 2);
        for (resumed, first) in tail.iter().zip(&whole[2..]) {
            assert_eq!((&resumed.columns, &resumed.offsets, resumed.end), (&first.columns, &first.offsets, first.end));
        }
        assert!(all(&path, &payments(), rows as u64).is_empty());
        let error = open(&path, &payments(), rows as u64 + 1, &[]).err().expect("an error").to_string();
        assert!(error.contains("fewer records") && error.contains("read_before=98310"), "{error}");

        let mut opened = open(&path, &payments(), 0, &[]).expect("opens");
        assert_eq!((opened.total_rows(), opened.total_bytes()), (None, path.metadata().expect("there").len()));
        while opened.next_batch().expect("reads").is_some() {}
        assert_eq!(opened.bytes_read(), opened.total_bytes());
    }
}

#[test]
fn any_bytes_are_rows_or_rejects_with_every_position_once() {
    let json: &[u8] = b"{\"id\":1,\"at\":\"2018-04-01T00:00:31Z\",\"customer\":596,\"amount\":5.5,\"note\":\"\\u00e9\"}\n";
    let csv: &[u8] = b"1,2018-04-01,596,5.5,true,\"a \"\"b\"\"\"\r\n";
    let mut seed = 1_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..300 {
        let (name, head, line): (_, &[u8], _) = match round % 2 {
            0 => ("events.jsonl", b"", json),
            _ => ("events.csv", b"id,at,customer,amount,fraud,note\n", csv),
        };
        let mut body = line.repeat(20);
        for _ in 0..next(12) {
            let place = next(body.len());
            body[place] = b"\"\n\r,{}[]:\\\0\xff\xc3e-9"[next(16)];
        }
        let path = write(folder.path(), name, [head, &body].concat());
        for batch in all(&path, &payments(), 0) {
            let mut positions: Vec<u64> = batch.offsets.iter().chain(batch.rejects.iter().map(|r| r.offset)).collect();
            positions.sort_unstable();
            assert!(positions.windows(2).all(|pair| pair[0] < pair[1]) && positions.iter().all(|p| *p < batch.end));
            assert!(name == "events.jsonl" || positions.len() as u64 == batch.end, "a CSV record has no gaps");
            assert!(batch.rejects.is_sorted_by_key(|r| r.offset));
        }
    }
}
