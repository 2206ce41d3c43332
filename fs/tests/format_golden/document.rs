//! The document, and the blocks of it that tests print.

pub(crate) const TEXT: &str = include_str!("../../../docs/format.md");

/// The other document that has labels: those of sharing.
pub(crate) const PROTOCOL: &str = include_str!("../../../docs/protocol.md");

/// Name and text of a block.
pub(crate) type Section = (String, String);

/// Fails with what a block ought to be, where the document has it otherwise.
pub(crate) fn compare(sections: &[Section]) {
    let wrong: Vec<_> = sections
        .iter()
        .filter(|(name, text)| block(name).as_ref() != Some(text))
        .collect();
    for (name, text) in &wrong {
        println!("```golden {name}\n{text}```\n");
    }
    let names: Vec<_> = wrong.iter().map(|(name, _)| name).collect();
    assert!(
        wrong.is_empty(),
        "docs/format.md differs in {names:?}; what was printed above is what is written. If a \
         layout changed, vaults that exist can no longer be read: that takes a new version"
    );
}

fn block(name: &str) -> Option<String> {
    let (_, after) = TEXT.split_once(&format!("```golden {name}\n"))?;
    let (text, _) = after.split_once("```\n")?;
    Some(text.to_owned())
}

/// Names of all blocks that tests print.
pub(crate) fn names() -> Vec<String> {
    TEXT.lines()
        .filter_map(|line| line.strip_prefix("```golden "))
        .map(str::to_owned)
        .collect()
}

/// The labels of key derivation between two of `quote`.
pub(crate) fn labels(text: &str, quote: char) -> Vec<String> {
    text.match_indices(&format!("{quote}keyfold/1/"))
        .filter_map(|(at, _)| text[at + 1..].split_once(quote))
        .map(|(label, _)| label.to_owned())
        .collect()
}
