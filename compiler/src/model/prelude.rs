//! The source text of the layers and optimizers that every model file can use.

/// The prelude's files: name and text. The caller parses them into the same source map as the user's file.
pub fn prelude() -> [(&'static str, &'static str); 2] {
    [
        ("prelude/layers.lstm", include_str!("../../prelude/layers.lstm")),
        ("prelude/optimizers.lstm", include_str!("../../prelude/optimizers.lstm")),
    ]
}
