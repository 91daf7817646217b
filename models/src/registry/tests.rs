//! Who scores, before, during and after a change.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

use super::{Registry, RegistryError, Selection, State};
use crate::matrix::Input;
use crate::model::Settings;
use crate::repository::{Policy, Repository};
use crate::testing::{self, Fraud, MANIFEST, golden};

/// A registry with versions on disk; the empty ones are no models.
fn registry(good: &[u64], bad: &[u64]) -> Option<(Registry, TempDir)> {
    testing::runtime()?;
    let folder = tempfile::tempdir().unwrap();
    let model = testing::bytes(&testing::logistic());
    for version in good {
        testing::write(&folder.path().join("fraud"), &version.to_string(), &model, MANIFEST, &golden());
    }
    for version in bad {
        testing::write(&folder.path().join("fraud"), &version.to_string(), b"", MANIFEST, &golden());
    }
    let settings = Settings { instances: 1, warm_up_runs: 5, ..Settings::default() };
    Some((Registry::new(Repository::new(folder.path()), None, settings), folder))
}

fn version(registry: &Registry, selection: Selection<'_>) -> Result<u64, RegistryError> {
    registry.pick("fraud", selection).map(|model| model.version())
}

fn states(registry: &Registry) -> Vec<(u64, State)> {
    registry.list().into_iter().map(|status| (status.version, status.state)).collect()
}

#[test]
fn the_stable_version_scores_and_without_one_the_greatest() {
    let Some((registry, _folder)) = registry(&[1, 2, 10], &[]) else { return };
    assert!(matches!(version(&registry, Selection::Default), Err(RegistryError::UnknownModel { .. })));
    for number in [10, 1, 2] {
        registry.load("fraud", number, &Fraud).unwrap();
    }
    assert_eq!(version(&registry, Selection::Default).unwrap(), 10);
    assert_eq!(version(&registry, Selection::Version(2)).unwrap(), 2);
    registry.promote("fraud", "stable", 1).unwrap();
    assert_eq!(version(&registry, Selection::Default).unwrap(), 1);
    assert_eq!(version(&registry, Selection::Label("stable")).unwrap(), 1);
    let error = version(&registry, Selection::Label("canary")).unwrap_err().to_string();
    assert_eq!(error, "no such version is ready. model=fraud wanted=canary ready=1,2,10");
    assert!(matches!(registry.promote("fraud", "stable", 3), Err(RegistryError::NotReady { .. })));
    assert!(matches!(registry.promote("fraud", "Stable!", 1), Err(RegistryError::BadLabel { .. })));
    assert!(matches!(registry.unload("fraud", 1), Err(RegistryError::Labelled { .. })));
    registry.remove_label("fraud", "stable").unwrap();
    assert_eq!(version(&registry, Selection::Default).unwrap(), 10);
}

#[test]
fn labels_outlive_the_registry() {
    let Some((registry, _folder)) = registry(&[1, 2], &[]) else { return };
    registry.follow("fraud", &Policy::All, &Fraud).unwrap();
    registry.promote("fraud", "stable", 1).unwrap();
    registry.set_canary_share("fraud", 12.5).unwrap();
    let next = Registry::new(registry.repository().clone(), None, Settings::default());
    next.follow("fraud", &Policy::Latest(1), &Fraud).unwrap();
    assert_eq!(states(&next), [(1, State::Ready), (2, State::Ready)], "a label keeps a version");
    assert_eq!(version(&next, Selection::Default).unwrap(), 1);
    assert_eq!(next.repository().labels("fraud").unwrap().canary_share, 12.5);
}

#[test]
fn a_version_that_is_refused_changes_nothing_but_the_list() {
    let Some((registry, folder)) = registry(&[7], &[8]) else { return };
    registry.load("fraud", 7, &Fraud).unwrap();
    let error = registry.load("fraud", 8, &Fraud).unwrap_err().to_string();
    assert!(error.starts_with("model fraud version 8 refused at step file"), "{error}");
    assert_eq!(version(&registry, Selection::Default).unwrap(), 7);
    assert_eq!(states(&registry), [(7, State::Ready), (8, State::Unavailable)]);
    assert_eq!(registry.list()[1].reason.as_ref(), Some(&error));

    // What serves is loaded again from a file that has gone bad meanwhile.
    fs::write(folder.path().join("fraud/7/model.onnx"), b"").unwrap();
    registry.load("fraud", 7, &Fraud).unwrap_err();
    assert_eq!(version(&registry, Selection::Version(7)).unwrap(), 7);
    let status = &registry.list()[0];
    assert!(status.state == State::Ready && status.reason.is_some(), "{status:?}");
}

#[test]
fn who_holds_a_model_that_was_replaced_finishes_with_it() {
    let Some((registry, _folder)) = registry(&[7], &[]) else { return };
    registry.load("fraud", 7, &Fraud).unwrap();
    let held = registry.pick("fraud", Selection::Default).unwrap();
    registry.load("fraud", 7, &Fraud).unwrap();
    let fresh = registry.pick("fraud", Selection::Default).unwrap();
    assert!(!Arc::ptr_eq(&held, &fresh));
    assert_eq!(registry.list()[0].retiring, 1);

    let mut rows = held.matrix();
    rows.push(|_| Input::Int(1)).unwrap();
    let mut scores = Vec::new();
    held.score(&rows, &mut scores).unwrap();
    fresh.score(&rows, &mut scores).unwrap(); // the same signature takes the same rows
    drop(held);
    assert_eq!((registry.list()[0].retiring, registry.list()[0].runs), (0, 1));

    registry.unload("fraud", 7).unwrap();
    assert_eq!((states(&registry), registry.list()[0].retiring), (vec![(7, State::Retired)], 1));
    drop(fresh);
    assert_eq!(registry.list()[0].retiring, 0);
    assert!(matches!(version(&registry, Selection::Default), Err(RegistryError::NotReady { .. })));
}

#[test]
fn the_canary_scores_its_share_of_entities_and_always_the_same() {
    let Some((registry, _folder)) = registry(&[1, 2, 3], &[]) else { return };
    registry.follow("fraud", &Policy::All, &Fraud).unwrap();
    for (label, number) in [("stable", 1), ("canary", 2), ("shadow", 3), ("shadow_b", 2), ("shadowy", 1)] {
        registry.promote("fraud", label, number).unwrap();
    }
    let chosen = || -> Vec<bool> {
        (0u32..10_000).map(|key| registry.choose("fraud").unwrap().pick_for(&key.to_be_bytes()).unwrap().canary).collect()
    };
    assert!(!chosen().contains(&true), "without a share there is no canary");
    registry.set_canary_share("fraud", 10.0).unwrap();
    let first = chosen();
    let share = first.iter().filter(|canary| **canary).count();
    assert!((900..1100).contains(&share), "{share}");
    assert_eq!(first, chosen());
    registry.set_canary_share("fraud", 20.0).unwrap();
    assert!(first.iter().zip(chosen()).all(|(before, now)| !before || now), "a greater share keeps those of the smaller");
    assert!(matches!(registry.set_canary_share("fraud", 101.0), Err(RegistryError::BadShare { .. })));
    let choice = registry.choose("fraud").unwrap();
    let picked = choice.pick_for(b"card-7").unwrap();
    assert_eq!(picked.beside.iter().map(|model| model.version()).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn a_policy_loads_what_it_wants_and_retires_the_rest() {
    let Some((registry, folder)) = registry(&[1, 2], &[]) else { return };
    registry.follow("fraud", &Policy::Latest(1), &Fraud).unwrap();
    assert_eq!(states(&registry), [(2, State::Ready)]);
    testing::write(&folder.path().join("fraud"), "3", b"", MANIFEST, &golden());
    let loaded = registry.follow("fraud", &Policy::Latest(1), &Fraud).unwrap();
    assert!(loaded.len() == 1 && loaded[0].0 == 3 && loaded[0].1.is_err());
    assert_eq!(states(&registry), [(2, State::Ready), (3, State::Unavailable)], "the newest is refused, the one before serves on");
    testing::write(&folder.path().join("fraud"), "3", &testing::bytes(&testing::logistic()), MANIFEST, &golden());
    registry.follow("fraud", &Policy::Latest(1), &Fraud).unwrap();
    assert_eq!(states(&registry), [(2, State::Retired), (3, State::Ready)]);
    registry.follow("fraud", &Policy::Specific(vec![1]), &Fraud).unwrap();
    assert_eq!(states(&registry), [(1, State::Ready), (2, State::Retired), (3, State::Retired)]);
}

#[test]
fn of_the_latest_one_that_is_refused_gives_way_to_the_one_before_it() {
    let Some((registry, _folder)) = registry(&[1, 2], &[3]) else { return };
    let tried = registry.follow("fraud", &Policy::Latest(1), &Fraud).unwrap();
    assert_eq!(tried.iter().map(|(version, loaded)| (*version, loaded.is_ok())).collect::<Vec<_>>(), [(3, false), (2, true)]);
    assert_eq!(version(&registry, Selection::Default).unwrap(), 2);
}

#[test]
fn names_that_callers_make_up_leave_no_trace() {
    let Some((registry, folder)) = registry(&[1], &[]) else { return };
    for (model, version) in [("../elsewhere", 1), ("/tmp", 1), ("nobody", 1), ("fraud", 7), ("", 1)] {
        registry.load(model, version, &Fraud).unwrap_err();
        assert!(registry.set_canary_share(model, 5.0).is_err(), "{model:?}");
        assert!(registry.remove_label(model, "stable").is_err(), "{model:?}");
    }
    assert_eq!(registry.list(), []);
    assert!(!folder.path().parent().unwrap().join("elsewhere").exists());
    assert!(matches!(registry.repository().versions("../fraud"), Err(crate::repository::RepositoryError::Name { .. })));
}

#[test]
fn who_scores_beside_whom() {
    let Some((registry, _folder)) = registry(&[1, 2, 3], &[]) else { return };
    registry.follow("fraud", &Policy::All, &Fraud).unwrap();
    for (label, version) in [("stable", 1), ("canary", 2), ("shadow", 3)] {
        registry.promote("fraud", label, version).unwrap();
    }
    let beside = |share| {
        registry.set_canary_share("fraud", share).unwrap();
        let choice = registry.choose("fraud").unwrap();
        let picked = choice.pick_for(b"card").unwrap();
        (picked.primary.version(), picked.beside.iter().map(|model| model.version()).collect::<Vec<_>>())
    };
    assert_eq!(beside(0.0), (1, vec![3]));
    assert_eq!(beside(100.0), (2, vec![3, 1]), "a canary is compared with what it may replace");
    registry.promote("fraud", "shadow", 2).unwrap();
    assert_eq!(beside(100.0), (2, vec![1]), "nobody is beside itself");
}

#[test]
fn nobody_who_scores_notices_a_swap() {
    let Some((registry, _folder)) = registry(&[7], &[]) else { return };
    registry.load("fraud", 7, &Fraud).unwrap();
    let done = AtomicBool::new(false);
    let score_until_done = || {
        let (mut rows, mut scores, mut runs) = (registry.pick("fraud", Selection::Default).unwrap().matrix(), Vec::new(), 0);
        rows.push(|_| Input::Int(1)).unwrap();
        while !done.load(Ordering::Relaxed) {
            let model = registry.choose("fraud").unwrap().pick_for(b"card-7").unwrap().primary.clone();
            model.score(&rows, &mut scores).unwrap();
            assert!((scores[0] - testing::expected([1.0; 3])).abs() < 1e-6);
            runs += 1;
        }
        runs
    };
    let runs: usize = thread::scope(|threads| {
        let scoring: Vec<_> = (0..3).map(|_| threads.spawn(score_until_done)).collect();
        for _ in 0..20 {
            registry.load("fraud", 7, &Fraud).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        scoring.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(runs > 0);
    assert_eq!(registry.list()[0].retiring, 0, "nobody holds what was replaced");
}
