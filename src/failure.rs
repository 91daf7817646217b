//! How a command fails: a message on stderr that says what to do, and an exit code that says whose turn it is.

use std::any::Any;
use std::io::{self, Write};
use std::process::ExitCode;

use floodmark_features::definition::DefinitionErrors;
use floodmark_store::OpenError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments or the definitions are wrong: correct them and try again (exit code 2).
    Usage(String),
    /// It was understood, and did not work (exit code 1).
    Failed(String),
    /// Whoever reads the output has gone: nothing to say, and no failure.
    NobodyReads,
}

impl Failure {
    /// The arguments are wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::Usage(message.into())
    }

    /// It did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::Failed(message.into())
    }

    /// A definition file is wrong; each error names its place.
    pub(crate) fn definitions(errors: &DefinitionErrors) -> Failure {
        Failure::Usage(errors.to_string())
    }

    /// A store could not be opened; other definitions than its own are the caller's to correct.
    pub(crate) fn open(error: &OpenError) -> Failure {
        match error {
            OpenError::Definitions { .. }
            | OpenError::NewViews { .. }
            | OpenError::NoHistory { .. }
            | OpenError::EmitsFromHistory { .. } => Failure::Usage(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        }
    }

    /// Says it, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (code, message) = match self {
            Failure::Usage(message) => (2, message),
            Failure::Failed(message) => (1, message),
            Failure::NobodyReads => return ExitCode::SUCCESS,
        };
        // Where stderr is gone too, the exit code has to do.
        let _ = writeln!(io::stderr(), "error: {message}");
        ExitCode::from(code)
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        match (&error as &dyn Any).downcast_ref::<io::Error>() {
            Some(io) if io.kind() == io::ErrorKind::BrokenPipe => Failure::NobodyReads,
            _ => Failure::Failed(error.to_string()),
        }
    }
}
