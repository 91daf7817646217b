//! Where the library is looked for, and what is said when it is not there.

use std::fs;
use std::path::Path;

use super::RuntimeError;
use super::places::{find, folders, library_in};

#[test]
fn a_path_that_somebody_gave_is_taken_at_its_word() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("libonnxruntime.so");
    let error = find(Some(&gone), None).unwrap_err();
    assert_eq!(error, RuntimeError::NotThere { by: "the configuration", path: gone.clone() });
    assert!(error.to_string().contains("make setup"), "{error}");
    assert!(matches!(find(None, Some(gone.clone())), Err(RuntimeError::NotThere { by: "ORT_DYLIB_PATH", .. })));

    fs::write(&gone, b"").unwrap();
    assert_eq!(find(Some(&gone), Some("elsewhere".into())).unwrap(), gone);
    assert_eq!(find(Some(folder.path()), None).unwrap(), gone, "a folder will do");
}

#[test]
fn beside_the_executable_comes_before_the_set_up() {
    let found = folders(Path::new("/a/target/debug/floodmark"), Path::new("/a"));
    let expected = [
        "/a/target/debug/lib",
        "/a/.runtime/onnxruntime",
        "/a/target/debug/.runtime/onnxruntime",
        "/a/target/.runtime/onnxruntime",
        "/.runtime/onnxruntime",
    ];
    assert_eq!(found, expected.map(Path::new));
}

#[test]
fn a_folder_may_hold_other_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["libonnxruntime_providers_shared.so", "notes.txt"] {
        fs::write(folder.path().join(name), b"").unwrap();
    }
    assert_eq!(library_in(folder.path()), None);
    for name in ["libonnxruntime.so.1.30.0", "libonnxruntime.so.1.31.1"] {
        fs::write(folder.path().join(name), b"").unwrap();
    }
    assert_eq!(library_in(folder.path()), Some(folder.path().join("libonnxruntime.so.1.31.1")));
    fs::write(folder.path().join("libonnxruntime.so"), b"").unwrap();
    assert_eq!(library_in(folder.path()), Some(folder.path().join("libonnxruntime.so")));
}

#[test]
fn a_missing_library_says_where_it_was_looked_for() {
    let error = RuntimeError::Missing { looked_for: folders(Path::new("/a/b/floodmark"), Path::new("/a")) };
    let expected = "looked_for=/a/b/lib, /a/.runtime/onnxruntime, /a/b/.runtime/onnxruntime, /.runtime/onnxruntime";
    assert!(error.to_string().ends_with(expected), "{error}");
}
