//! A schema registry with the interface of Confluent's: the schema of an id, with all that it refers to.

mod schemas;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};

pub(super) use schemas::Schemas;

use super::{FormatError, RegistryError};

/// How long an answer may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A longer answer is not a schema.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;
/// A schema that needs more others is not compiled.
const MAX_REFERENCES: usize = 256;

/// A schema with what it needs.
#[derive(Debug)]
pub(super) struct Found {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub(super) kind: String,
    pub(super) text: String,
    /// Names and texts of all that it refers to, each after those that it refers to itself.
    pub(super) references: Vec<(String, String)>,
}

/// Why there is no schema to compile.
#[derive(Debug)]
pub(super) enum Missing {
    /// The registry has answered, and asking again would change nothing soon.
    Unusable(String),
    /// It is to be asked again.
    Registry(RegistryError),
}

impl From<RegistryError> for Missing {
    fn from(error: RegistryError) -> Missing {
        Missing::Registry(error)
    }
}

/// Asks a registry; remembers nothing.
pub(super) struct Client {
    agent: ureq::Agent,
    /// Without name and password, without a slash at the end.
    url: String,
    authorization: Option<String>,
}

/// The answer to a schema's id, and to a version of a subject.
#[derive(Deserialize)]
struct Answer {
    schema: String,
    /// Left out for Avro.
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

/// What comes with a status that is an error.
#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
}

impl Client {
    /// A name and a password may stand in the URL, percent-encoded: `https://name:password@host:port/path`.
    pub(super) fn new(url: &str) -> Result<Client, FormatError> {
        let (url, authorization) = without_user(url.trim_end_matches('/'));
        let parsed = url.parse::<Uri>();
        if !parsed.is_ok_and(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some() && u.query().is_none()) {
            return Err(FormatError::Url { url });
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).tls_config(tls);
        // It stands beside the brokers, which know no proxy either.
        let agent = config.proxy(None).user_agent("floodmark").build().new_agent();
        Ok(Client { agent, url, authorization })
    }

    /// The schema of an id.
    pub(super) fn schema(&self, id: u32) -> Result<Found, Missing> {
        let answer = self.get(&format!("/schemas/ids/{id}"))?.ok_or_else(|| Missing::Unusable("the registry has none".to_owned()))?;
        let mut references = Vec::new();
        self.collect(answer.references, &mut HashSet::new(), &mut references)?;
        Ok(Found { kind: answer.kind.unwrap_or_else(|| "AVRO".to_owned()), text: answer.schema, references })
    }

    /// `seen` are the names on the way too: a circle ends there, and is left to the compiler.
    fn collect(&self, references: Vec<Reference>, seen: &mut HashSet<String>, found: &mut Vec<(String, String)>) -> Result<(), Missing> {
        for Reference { name, subject, version } in references {
            if !seen.insert(name.clone()) {
                continue;
            }
            if seen.len() > MAX_REFERENCES {
                return Err(Missing::Unusable(format!("it refers to too many schemas. limit={MAX_REFERENCES}")));
            }
            let path = format!("/subjects/{}/versions/{version}", utf8_percent_encode(&subject, NON_ALPHANUMERIC));
            let answer = self.get(&path)?.ok_or_else(|| {
                Missing::Unusable(format!("the registry has none that it refers to. subject={subject} version={version}"))
            })?;
            self.collect(answer.references, seen, found)?;
            found.push((name, answer.schema));
        }
        Ok(())
    }

    /// `None` if the registry says that there is no such thing.
    fn get(&self, path: &str) -> Result<Option<Answer>, RegistryError> {
        let unreachable = |detail: String| RegistryError::Unreachable { url: self.url.clone(), detail };
        let mut request = self.agent.get(format!("{}{path}", self.url));
        request = request.header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut answer = request.call().map_err(|error| unreachable(error.to_string()))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(|error| unreachable(error.to_string()))?;
        match status {
            StatusCode::OK => match serde_json::from_slice(&body) {
                Ok(answer) => Ok(Some(answer)),
                Err(error) => Err(RegistryError::NotARegistry { url: self.url.clone(), detail: error.to_string() }),
            },
            // Its own codes have two digits more. Any other server has a 404 too, and says nothing about schemas with it.
            StatusCode::NOT_FOUND => match serde_json::from_slice(&body) {
                Ok(Refusal { error_code: 40_400..=40_499 }) => Ok(None),
                _ => Err(RegistryError::NotARegistry { url: self.url.clone(), detail: format!("status 404 for {path}") }),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RegistryError::Denied { url: self.url.clone(), status: status.as_u16() })
            }
            status => Err(unreachable(format!("status {}", status.as_u16()))),
        }
    }
}

/// The URL as it may be shown, and what its name and password are in a request.
fn without_user(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@') else { return (url.to_owned(), None) };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut credentials: Vec<u8> = percent_decode_str(name).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password));
    (format!("{scheme}://{host}{path}"), Some(format!("Basic {}", STANDARD.encode(credentials))))
}

/// Without what must not be shown.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}
