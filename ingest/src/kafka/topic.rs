//! What is read, and from where: `kafka://BROKER[,BROKER...]/TOPIC[?OPTION=VALUE&...]`, and a file of client properties.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use floodmark_features::definition::Source;

use crate::record::{Decoder, FormatError};

/// A longer record is rejected, unless the topic's options say otherwise.
const MAX_RECORD_BYTES: usize = 4 << 20;

/// A topic as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// `HOST:PORT`, one or more, with commas.
    pub brokers: String,
    /// Its name.
    pub name: String,
    /// What to do where records are gone that were not read.
    pub lost: Lost,
    /// A longer record is rejected, in bytes.
    pub max_record_bytes: usize,
    /// How its records are read.
    pub format: Format,
    /// What stands beside a record's value, and the column that it is for where the value says nothing of it.
    pub beside: Vec<(Beside, String)>,
    /// Properties of the client, by librdkafka's names: TLS, SASL, buffers.
    pub properties: Vec<(String, String)>,
}

/// Where a field stands that is not in a record's value. Its bytes are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// The record's key.
    Key,
    /// The last of its headers with that name.
    Header(String),
}

/// How the records of a topic are read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Each is one JSON object.
    #[default]
    Json,
    /// Each is Avro.
    Avro(Schema),
    /// Each is a protobuf message, of that name where the schema is a file.
    Protobuf(Schema, String),
}

/// Where the schemas of records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// One for all records, in that file.
    File(String),
    /// Each record says which, as Confluent's clients do; a registry at that URL knows it.
    Registry(String),
}

impl Format {
    /// What reads records of it.
    pub fn decoder(&self) -> Result<Decoder, FormatError> {
        match self {
            Format::Json => Ok(Decoder::json()),
            Format::Avro(Schema::File(file)) => Decoder::avro_schema_file(Path::new(file)),
            Format::Avro(Schema::Registry(url)) => Decoder::avro_registry(url),
            Format::Protobuf(Schema::File(file), message) => Decoder::protobuf_file(Path::new(file), message),
            Format::Protobuf(Schema::Registry(url), _) => Decoder::protobuf_registry(url),
        }
    }

    /// From the options of a URL; `None` if they do not go together.
    fn of(name: &str, schema: Option<Schema>, message: Option<String>) -> Option<Format> {
        match (name, schema, message) {
            ("json", None, None) => Some(Format::Json),
            ("avro", Some(schema), None) => Some(Format::Avro(schema)),
            ("protobuf", Some(schema @ Schema::Registry(_)), None) => Some(Format::Protobuf(schema, String::new())),
            ("protobuf", Some(schema @ Schema::File(_)), Some(message)) => Some(Format::Protobuf(schema, message)),
            _ => None,
        }
    }
}

/// What to do where the topic no longer has records that were not read (its retention was shorter than the pause).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lost {
    /// Stop and say so.
    #[default]
    Stop,
    /// Go on with the oldest that is there.
    Skip,
}

/// Why a topic cannot be told from a text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is not of the form.
    #[error("expected kafka://HOST:PORT/TOPIC, such as kafka://127.0.0.1:9092/transactions. found={0}")]
    Form(String),
    /// No such option, or not a value of it.
    #[error(
        "not an option of a topic. expected=lost=stop|skip, max_record_bytes=N, format=json|avro|protobuf, schema=FILE, registry=URL, message=NAME, key=COLUMN, header=NAME:COLUMN found={0}"
    )]
    Option(String),
    /// The options say too little or too much of the format.
    #[error(
        "the format needs other options: json none, avro schema=FILE or registry=URL, protobuf registry=URL or schema=FILE&message=NAME. found={0}"
    )]
    Format(String),
    /// A file of properties has a line that is none.
    #[error("{file}:{line}: expected NAME=VALUE, such as security.protocol=SASL_SSL")]
    Property {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A file of properties cannot be read.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
}

impl Topic {
    /// What every URL of a topic begins with.
    pub const SCHEME: &str = "kafka://";

    /// Whether a text is meant as the URL of a topic.
    pub fn is_url(text: &str) -> bool {
        text.starts_with(Topic::SCHEME)
    }

    /// What stands beside values, with the positions of its columns in a source.
    pub(super) fn beside_of(&self, source: &Source) -> Result<Arc<[(Beside, usize)]>, FormatError> {
        let position = |(place, column): &(Beside, String)| {
            let none = || FormatError::NoColumn { source_name: source.name.clone(), column: column.clone() };
            Ok((place.clone(), source.schema.position(column).ok_or_else(none)?))
        };
        self.beside.iter().map(position).collect()
    }

    /// The name of a partition, as positions and metrics show it.
    pub fn partition(&self, number: i32) -> String {
        format!("{}-{number}", self.name)
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Topic, TopicError> {
        let form = || TopicError::Form(text.to_owned());
        let (path, options) = text.split_once('?').unwrap_or((text, ""));
        let (brokers, name) = path.strip_prefix(Topic::SCHEME).and_then(|rest| rest.split_once('/')).ok_or_else(form)?;
        if brokers.is_empty() || name.is_empty() || name.contains('/') {
            return Err(form());
        }
        let (brokers, name) = (brokers.to_owned(), name.to_owned());
        let (format, beside, properties) = (Format::Json, Vec::new(), Vec::new());
        let mut topic = Topic { brokers, name, lost: Lost::Stop, max_record_bytes: MAX_RECORD_BYTES, format, beside, properties };
        let (mut named, mut schema, mut message) = ("json", None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let wrong = || TopicError::Option(option.to_owned());
            match option.split_once('=').ok_or_else(wrong)? {
                ("lost", "stop") => topic.lost = Lost::Stop,
                ("lost", "skip") => topic.lost = Lost::Skip,
                ("max_record_bytes", bytes) => topic.max_record_bytes = bytes.parse().map_err(|_| wrong())?,
                ("format", format) => named = format,
                ("schema", file) => schema = Some(Schema::File(file.to_owned())),
                ("registry", url) => schema = Some(Schema::Registry(url.to_owned())),
                ("message", name) => message = Some(name.to_owned()),
                ("key", column) => topic.beside.push((Beside::Key, column.to_owned())),
                ("header", named) => {
                    let (name, column) = named.rsplit_once(':').ok_or_else(wrong)?;
                    topic.beside.push((Beside::Header(name.to_owned()), column.to_owned()));
                }
                _ => return Err(wrong()),
            }
        }
        topic.format = Format::of(named, schema, message).ok_or_else(|| TopicError::Format(options.to_owned()))?;
        Ok(topic)
    }
}

/// Reads a file of `NAME=VALUE` lines; those that begin with `#` are comments.
pub fn read_properties(path: &Path) -> Result<Vec<(String, String)>, TopicError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| TopicError::File { file: file.clone(), reason: error.to_string() })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines
        .map(|(at, line)| {
            let (name, value) = line.split_once('=').ok_or_else(|| TopicError::Property { file: file.clone(), line: at + 1 })?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_told_from_its_url() {
        let topic: Topic = "kafka://a:9092,b:9092/payments.v1?lost=skip&max_record_bytes=1000".parse().expect("a topic");
        assert_eq!((topic.brokers.as_str(), topic.name.as_str()), ("a:9092,b:9092", "payments.v1"));
        assert_eq!((topic.lost, topic.max_record_bytes), (Lost::Skip, 1000));
        assert_eq!(topic.partition(3), "payments.v1-3");
        let topic: Topic = "kafka://a:9092/t?key=card&header=x:tenant:shop".parse().expect("a topic");
        let beside = [(Beside::Key, "card".to_owned()), (Beside::Header("x:tenant".to_owned()), "shop".to_owned())];
        assert_eq!(topic.beside, beside);
    }

    #[test]
    fn what_is_no_topic_is_told() {
        for text in ["kafka://a:9092", "kafka:///t", "kafka://a:9092/", "kafka://a:9092/t/u", "http://a/t"] {
            assert_eq!(text.parse::<Topic>(), Err(TopicError::Form(text.to_owned())), "{text}");
        }
        for option in ["lost=maybe", "lost", "max_record_bytes=many", "from=end", "header=tenant"] {
            assert_eq!(format!("kafka://a:9092/t?{option}").parse::<Topic>(), Err(TopicError::Option(option.to_owned())));
        }
    }

    #[test]
    fn the_format_of_records_is_told_from_options_that_go_together() {
        let format = |options: &str| format!("kafka://a:9092/t?{options}").parse::<Topic>().map(|topic| topic.format);
        assert_eq!(format(""), Ok(Format::Json));
        assert_eq!(format("format=avro&registry=http://r:8081"), Ok(Format::Avro(Schema::Registry("http://r:8081".to_owned()))));
        let file = Format::Protobuf(Schema::File("p.proto".to_owned()), "shop.Payment".to_owned());
        assert_eq!(format("format=protobuf&schema=p.proto&message=shop.Payment"), Ok(file));
        for options in ["format=avro", "format=xml", "schema=a.avsc", "format=protobuf&schema=p.proto", "format=avro&schema=a&message=b"] {
            assert_eq!(format(options), Err(TopicError::Format(options.to_owned())), "{options}");
        }
    }

    #[test]
    fn a_line_that_is_no_property_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("client.properties");
        std::fs::write(&path, "# TLS\nsecurity.protocol = SASL_SSL\n\nsasl.password=a=b\n").expect("a file");
        let expected = [("security.protocol", "SASL_SSL"), ("sasl.password", "a=b")];
        assert_eq!(read_properties(&path).expect("properties"), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        std::fs::write(&path, "a=1\nnothing\n").expect("a file");
        assert!(read_properties(&path).expect_err("no property").to_string().contains("client.properties:2"));
    }
}
