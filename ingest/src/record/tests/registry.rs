//! Records with the id of their schema before them, and a registry that answers, refuses, fails or is not there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::avro::{long, text};
use super::protobuf::{GOLDEN, GOLDEN_ROW, KIND, PAYMENT};
use super::*;

const V1: &str =
    r#"{"type":"record","name":"P","fields":[{"name":"id","type":"long"},{"name":"at","type":"long"},{"name":"customer","type":"int"}]}"#;

/// A registry of a few answers. It ends with its test.
struct Stub {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Status and body by path.
    answers: HashMap<String, (u16, String)>,
    /// What was asked, with the authorization that came with it.
    asked: Vec<(String, Option<String>)>,
}

impl Stub {
    fn start() -> Stub {
        Stub::at("127.0.0.1:0".parse().expect("an address"))
    }

    fn at(address: SocketAddr) -> Stub {
        let listener = TcpListener::bind(address).expect("a free port");
        let stub = Stub { address: listener.local_addr().expect("bound"), shared: Arc::default() };
        let shared = stub.shared.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let mut lines = BufReader::new(&connection).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                let Some(first) = lines.next() else { continue };
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let authorization = lines.find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned));
                let _ = lines.last();
                let mut shared = shared.lock().expect("not poisoned");
                let none = (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned());
                let (status, body) = shared.answers.get(&path).cloned().unwrap_or(none);
                shared.asked.push((path, authorization));
                let length = body.len();
                let _ = write!(&connection, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            }
        });
        stub
    }

    fn answer(&self, path: &str, status: u16, body: impl ToString) {
        self.shared.lock().expect("not poisoned").answers.insert(path.to_owned(), (status, body.to_string()));
    }

    fn schema(&self, id: u32, schema: &str) {
        self.answer(&format!("/schemas/ids/{id}"), 200, json!({ "schema": schema }));
    }

    fn asked(&self) -> Vec<String> {
        self.shared.lock().expect("not poisoned").asked.iter().map(|(path, _)| path.clone()).collect()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn avro(&self) -> Decoder {
        Decoder::avro_registry(&self.url()).expect("a URL")
    }

    fn protobuf(&self) -> Decoder {
        Decoder::protobuf_registry(&self.url()).expect("a URL")
    }
}

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

fn v1(id: u32) -> Vec<u8> {
    framed(id, &[long(1), long(0), long(7)].concat())
}

const V1_ROW: &str = r#"0 {"id":1,"at":"1970-01-01T00:00:00.000000Z","customer":7,"amount":null,"fraud":null,"note":null}"#;

fn error(decoder: &mut Decoder, record: &[u8]) -> RegistryError {
    let mut rows = RowBuilder::new(&payments(), &[2]);
    let error = decoder.take(0, record, &mut rows).expect_err("no answer");
    assert!(rows.is_empty(), "nothing was taken");
    error
}

fn reason(decoder: &mut Decoder, record: &[u8]) -> String {
    let batch = batch(decoder, &payments(), &[record]);
    assert!(batch.offsets.is_empty() && batch.rejects.len() == 1);
    batch.rejects[0].reason.to_string()
}

#[test]
fn each_record_is_read_with_the_schema_that_it_was_written_with() {
    let stub = Stub::start();
    stub.schema(1, V1);
    stub.schema(
        0x0102_0304,
        r#"{"type":"record","name":"P","fields":[{"name":"note","type":"string"},{"name":"id","type":"long"},
        {"name":"at","type":"long"},{"name":"customer","type":["null","int"]}]}"#,
    );
    let newer = framed(0x0102_0304, &[text("new"), long(2), long(0), long(1), long(8)].concat());
    let mut decoder = stub.avro();
    let batch = batch(&mut decoder, &payments(), &[&v1(1), &newer, &v1(1), &newer]);
    assert_eq!((batch.offsets.len(), batch.rejects.len()), (4, 0));
    assert!(show(&batch).contains(r#""customer":8,"amount":null,"fraud":null,"note":"new"}"#));
    assert_eq!(stub.asked(), ["/schemas/ids/1", "/schemas/ids/16909060"], "each once, by the number in its bytes");
}

#[test]
fn a_newer_schema_that_no_longer_fits_is_a_reject_and_no_stop() {
    let stub = Stub::start();
    stub.schema(1, V1);
    stub.schema(2, &V1.replace(r#""name":"customer","type":"int""#, r#""name":"client","type":"int""#));
    stub.schema(3, &V1.replace(r#""name":"customer","type":"int""#, r#""name":"customer","type":"string""#));
    let text_key = framed(3, &[long(1), long(0), text("c7")].concat());
    let batch = batch(&mut stub.avro(), &payments(), &[&v1(2), &text_key, &v1(9), &v1(1)]);
    assert_eq!(
        show(&batch),
        format!(
            "{}\n0 null_key {}\n1 wrong_type {}\n2 unknown_schema {}\nend 4",
            V1_ROW.replacen('0', "3", 1),
            r#"{"id":1,"at":0,"client":7}"#,
            r#"{"id":1,"at":0,"customer":"c7"}"#,
            "\0\0\0\0\t\u{2}\0\u{e}",
        )
    );
}

#[test]
fn what_is_not_framed_is_rejected_without_asking() {
    let stub = Stub::start();
    for record in [&b""[..], &[0, 0, 0, 1], &[1, 0, 0, 0, 1, 2], br#"{"id":1}"#] {
        assert_eq!(reason(&mut stub.avro(), record), "record does not begin with the id of its schema");
        assert_eq!(reason(&mut stub.protobuf(), record), "record does not begin with the id of its schema");
    }
    assert_eq!(shown(&mut stub.avro(), br#"{"id":1}"#), r#"0 not_framed {"id":1}"#);
    assert!(stub.asked().is_empty());
}

#[test]
fn an_unknown_schema_is_asked_for_again_after_a_while() {
    let stub = Stub::start();
    let mut decoder = stub.avro();
    let unknown = "schema of the record is not known. id=1 detail=the registry has none";
    for _ in 0..3 {
        assert_eq!(reason(&mut decoder, &v1(1)), unknown);
    }
    assert_eq!(stub.asked().len(), 1);
    let Format::AvroOf(schemas) = &mut decoder.format else { panic!("a registry") };
    schemas.ask_again_after = Duration::ZERO;
    assert_eq!(reason(&mut decoder, &v1(1)), unknown);
    stub.schema(1, V1);
    assert_eq!(shown(&mut decoder, &v1(1)), V1_ROW);
    assert_eq!(shown(&mut decoder, &v1(1)), V1_ROW);
    assert_eq!(stub.asked().len(), 3);
}

#[test]
fn a_schema_that_cannot_be_read_says_so() {
    let stub = Stub::start();
    stub.schema(1, r#"{"type":"record","name":"P","fields":[{"name":"id","type":"Lost"}]}"#);
    stub.answer("/schemas/ids/2", 200, json!({ "schema": "{}", "schemaType": "JSON" }));
    stub.answer("/schemas/ids/3", 200, json!({ "schema": "message {", "schemaType": "PROTOBUF" }));
    let reason = |mut decoder, id| reason(&mut decoder, &v1(id));
    assert_eq!(reason(stub.avro(), 1), "schema of the record is not known. id=1 detail=there is no such type. type=Lost");
    assert_eq!(reason(stub.avro(), 2), "schema of the record is not known. id=2 detail=it is of another type. expected=AVRO found=JSON");
    assert_eq!(
        reason(stub.protobuf(), 1),
        "schema of the record is not known. id=1 detail=it is of another type. expected=PROTOBUF found=AVRO"
    );
    assert!(reason(stub.protobuf(), 3).starts_with("schema of the record is not known. id=3 detail="));
}

#[test]
fn a_registry_that_is_down_is_an_error_until_it_is_up() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut decoder = Decoder::avro_registry(&format!("http://{address}/")).expect("a URL");
    for _ in 0..2 {
        let down = error(&mut decoder, &v1(1));
        assert!(matches!(down, RegistryError::Unreachable { .. }), "{down}");
        assert!(down.to_string().starts_with(&format!("schema registry did not answer. url=http://{address} error=")), "{down}");
    }
    let stub = Stub::at(address);
    stub.answer("/schemas/ids/1", 500, r#"{"error_code":50001}"#);
    assert!(error(&mut decoder, &v1(1)).to_string().ends_with("error=status 500"));
    stub.schema(1, V1);
    assert_eq!(shown(&mut decoder, &v1(1)), V1_ROW);
}

#[test]
fn only_a_registry_says_that_there_is_no_schema() {
    let stub = Stub::start();
    let mut decoder = stub.avro();
    // Another server has a 404 too: to reject by it would lose every record because of one wrong path.
    for (status, body) in [(404, "not found"), (404, r#"{"error_code":404}"#), (200, "<html>"), (200, "{}")] {
        stub.answer("/schemas/ids/1", status, body);
        let other = error(&mut decoder, &v1(1));
        assert!(matches!(other, RegistryError::NotARegistry { .. }), "{other}");
    }
    for status in [401, 403] {
        stub.answer("/schemas/ids/1", status, "");
        assert!(matches!(error(&mut decoder, &v1(1)), RegistryError::Denied { status: s, .. } if s == status));
    }
    stub.schema(1, V1);
    assert_eq!(shown(&mut decoder, &v1(1)), V1_ROW);
}

#[test]
fn a_name_and_a_password_are_sent_and_not_shown() {
    let stub = Stub::start();
    stub.schema(1, V1);
    let url = format!("http://ann:p%40ss@{}/", stub.address);
    let mut decoder = Decoder::avro_registry(&url).expect("a URL");
    assert_eq!(shown(&mut decoder, &v1(1)), V1_ROW);
    // printf 'ann:p@ss' | base64
    assert_eq!(stub.shared.lock().expect("not poisoned").asked[0].1.as_deref(), Some("Basic YW5uOnBAc3M="));
    stub.answer("/schemas/ids/2", 401, "");
    let denied = error(&mut decoder, &v1(2)).to_string();
    let shown = format!("{denied} {decoder:?}");
    assert!(shown.contains(&stub.url()) && !shown.contains("p%40ss") && !shown.contains("YW5u"), "{shown}");
}

#[test]
fn a_url_is_checked_when_it_is_given() {
    for url in ["", "registry:8081", "ftp://registry", "http://", "http://a b", "http://u:secret@", "http://h/?a=b"] {
        let error = Decoder::avro_registry(url).expect_err("no URL").to_string();
        assert!(error.starts_with("URL is not that of a schema registry") && !error.contains("secret"), "{url}: {error}");
    }
    for url in ["http://registry:8081", "https://u:p@registry/apis/ccompat/v7/"] {
        assert!(Decoder::protobuf_registry(url).is_ok(), "{url}");
    }
}

#[test]
fn avro_may_refer_to_other_schemas() {
    let stub = Stub::start();
    let refers = |name: &str, subject: &str, version: i64| json!([{ "name": name, "subject": subject, "version": version }]);
    let fields = r#"{"name":"at","type":"long"},{"name":"customer","type":"a.Customer"}"#;
    let top = format!(r#"{{"type":"record","name":"P","namespace":"a","fields":[{{"name":"id","type":"long"}},{fields}]}}"#);
    stub.answer("/schemas/ids/1", 200, json!({ "schema": top, "references": refers("a.Customer", "customers/eu", 3) }));
    stub.answer(
        "/subjects/customers%2Feu/versions/3",
        200,
        json!({ "schema": r#"{"type":"record","name":"a.Customer","fields":[{"name":"kind","type":"a.Kind"}]}"#, "references": refers("a.Kind", "kinds", 1) }),
    );
    stub.answer("/subjects/kinds/versions/1", 200, json!({ "schema": r#"{"type":"enum","name":"a.Kind","symbols":["X","Y"]}"# }));
    let record = framed(1, &[long(1), long(0), long(1)].concat());
    assert_eq!(shown(&mut stub.avro(), &record), r#"0 wrong_type {"id":1,"at":0,"customer":{"kind":"Y"}}"#);
    assert_eq!(stub.asked(), ["/schemas/ids/1", "/subjects/customers%2Feu/versions/3", "/subjects/kinds/versions/1"]);

    // A circle, and a reference to what is not there.
    stub.answer("/schemas/ids/2", 200, json!({ "schema": top, "references": refers("loop", "loop", 1) }));
    stub.answer("/subjects/loop/versions/1", 200, json!({ "schema": "\"string\"", "references": refers("loop", "loop", 1) }));
    assert!(reason(&mut stub.avro(), &v1(2)).ends_with("there is no such type. type=a.Customer"));
    stub.answer("/schemas/ids/3", 200, json!({ "schema": top, "references": refers("x", "gone", 4) }));
    assert!(reason(&mut stub.avro(), &v1(3)).ends_with("detail=the registry has none that it refers to. subject=gone version=4"));
}

#[test]
fn protobuf_says_which_message_of_its_schema_it_is() {
    let stub = Stub::start();
    let schema = |text: &str| json!({ "schema": text, "schemaType": "PROTOBUF", "references": [{ "name": "kind.proto", "subject": "kinds", "version": 1 }] });
    stub.answer("/subjects/kinds/versions/1", 200, json!({ "schema": KIND, "schemaType": "PROTOBUF" }));
    stub.answer("/schemas/ids/1", 200, schema(PAYMENT));
    // The same message as the second of its file, and as the second in the second of another.
    let message = &PAYMENT[PAYMENT.find("message Payment").expect("there")..];
    let head = &PAYMENT[..PAYMENT.len() - message.len()];
    stub.answer("/schemas/ids/2", 200, schema(&format!("{head} message Other {{}} {message}")));
    stub.answer("/schemas/ids/3", 200, schema(&format!("{head} message A {{}} message B {{ message C {{}} {message} }}")));
    let mut decoder = stub.protobuf();
    let cases: [(u32, &[u8]); 4] = [(1, &[0]), (1, &[2, 0]), (2, &[2, 2]), (3, &[4, 2, 2])];
    for (id, indices) in cases {
        assert_eq!(shown(&mut decoder, &framed(id, &[indices, GOLDEN].concat())), GOLDEN_ROW, "{id} {indices:?}");
    }
    // Indices of no message, below none, and cut off.
    for indices in [&[2, 9][..], &[1], &[4, 0], &[0xff], &[], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0]] {
        assert_eq!(
            reason(&mut decoder, &framed(1, indices)),
            "record is not a protobuf message. detail=schema has no message of its indices",
            "{indices:?}"
        );
    }
    assert_eq!(stub.asked().len(), 6, "three schemas, each with its import, once");
}

#[test]
fn damaged_records_have_one_outcome() {
    let stub = Stub::start();
    stub.schema(1, V1);
    stub.answer(
        "/schemas/ids/2",
        200,
        json!({ "schema": PAYMENT, "schemaType": "PROTOBUF", "references": [{ "name": "kind.proto", "subject": "kinds", "version": 1 }] }),
    );
    stub.answer("/subjects/kinds/versions/1", 200, json!({ "schema": KIND, "schemaType": "PROTOBUF" }));
    whatever_its_bytes_are(&mut stub.avro(), &v1(1));
    whatever_its_bytes_are(&mut stub.protobuf(), &framed(2, &[&[0], GOLDEN].concat()));
}
