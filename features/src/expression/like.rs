//! `LIKE` patterns: `%` stands for any text, `_` for any one character.

/// A pattern, ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Exactly(char),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Pattern {
        let parts = text.chars().map(|c| match c {
            '%' => Part::Any,
            '_' => Part::One,
            c => Part::Exactly(c),
        });
        Pattern { text: text.into(), parts: parts.collect() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Greedy with one step back, so that no pattern takes more than length times length.
    pub(super) fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut part = 0;
        let mut resume: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let mut after = rest.clone();
            match (self.parts.get(part), after.next()) {
                (Some(Part::Any), _) => {
                    resume = Some((part, rest.clone()));
                    part += 1;
                    continue;
                }
                (Some(Part::One), Some(_)) => {
                    (rest, part) = (after, part + 1);
                    continue;
                }
                (Some(Part::Exactly(expected)), Some(found)) if *expected == found => {
                    (rest, part) = (after, part + 1);
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            // The last `%` takes one character more.
            let Some((any, from)) = resume.as_mut() else { return false };
            if from.next().is_none() {
                return false;
            }
            (rest, part) = (from.clone(), *any + 1);
        }
    }
}
