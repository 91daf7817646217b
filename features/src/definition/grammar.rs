//! The keys of a definition file: name, meaning and kind of value, in tables. They drive the check for unknown and missing
//! keys and the JSON Schema, so that the two cannot disagree.

/// The keys of one kind of mapping.
pub(super) struct Table {
    /// Under `$defs` of the JSON Schema.
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    /// Exactly one of them must be there: what the noun says.
    pub(super) choice: Option<(&'static str, &'static [Key])>,
    pub(super) keys: &'static [Key],
}

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// What a value looks like.
pub(super) enum Shape {
    /// The name of something defined, or of a column.
    Name,
    /// A column, or `"*"` for whole events.
    ColumnOrAll,
    Type,
    /// `30s 5m 1h 7d`
    Duration,
    /// A duration that may have a leading minus.
    Offset,
    /// An expression.
    Expression,
    Whole(u32, u32),
    Fraction,
    OneOf(&'static [&'static str]),
    /// `true`, `false` or that word.
    FlagOr(&'static str),
    /// Whatever the feature gives.
    AnyValue,
    /// A window: a duration, `lifetime` or a mapping.
    Window,
    List(&'static Shape),
    /// Names to that.
    Map(&'static Shape),
    Object(&'static Table),
}

const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, doc, shape, required: true }
}

const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, doc, shape, required: false }
}

pub(super) static FILE: Table = Table {
    name: "definitions",
    doc: "Definitions of floodmark: sources, entities, views and services.",
    choice: None,
    keys: &[
        required("sources", Shape::Map(&Shape::Object(&SOURCE)), "Where events come from."),
        required("entities", Shape::Map(&Shape::Object(&ENTITY)), "What features describe."),
        required("views", Shape::Map(&Shape::Object(&VIEW)), "Groups of features over one entity and one source."),
        optional("services", Shape::Map(&Shape::Object(&SERVICE)), "What a model or a client asks for together."),
    ],
};

pub(super) static SOURCE: Table = Table {
    name: "source",
    doc: "A stream of events.",
    choice: None,
    keys: &[
        required("schema", Shape::Map(&Shape::Type), "The columns of an event and their types."),
        required("event_time", Shape::Name, "The timestamp column that says when an event happened."),
        optional("event_id", Shape::Name, "The int64 or string column that identifies an event; else made from partition and offset."),
        optional("max_out_of_orderness", Shape::Duration, "How far behind the newest event another may come and be on time. Default 0s."),
        optional("allowed_lateness", Shape::Duration, "How long after the watermark values may still change. Default 0s."),
        optional("max_future_skew", Shape::Duration, "An event more than this ahead of its append time is rejected. Default 10m."),
        optional("idle_timeout", Shape::Duration, "A caught-up partition is idle after this long. Default 1m."),
        optional(
            "when_all_idle",
            Shape::OneOf(&["hold", "advance"]),
            "What the watermark does when every partition is idle. Default hold.",
        ),
        optional("retention", Shape::Duration, "How far back of the watermark values can be asked for. Default: everything is kept."),
    ],
};

pub(super) static ENTITY: Table = Table {
    name: "entity",
    doc: "What features describe, by its key columns.",
    choice: None,
    keys: &[required("keys", Shape::List(&Shape::Name), "The key columns; their types are those of the sources' columns.")],
};

pub(super) static VIEW: Table = Table {
    name: "view",
    doc: "Features of one entity, computed from one source.",
    choice: None,
    keys: &[
        required("entity", Shape::Name, "What the features describe."),
        required("source", Shape::Name, "Where the events come from."),
        required("features", Shape::Map(&Shape::Object(&FEATURE)), "The features by name."),
        optional("keys", Shape::Map(&Shape::Name), "For keys of the entity, the source's column where it has another name."),
        optional("bounds", Shape::OneOf(&["(]", "[)", "[]", "()"]), "Which ends of a rolling window belong to it. Default (]."),
        optional("ttl", Shape::Duration, "A value is EXPIRED if the newest event is older than this."),
        optional(
            "emit_closed_windows",
            Shape::FlagOr("discarding"),
            "Whether tumbling, sliding and session windows are emitted when they close.",
        ),
    ],
};

pub(super) static FEATURE: Table = Table {
    name: "feature",
    doc: "A function of a column, over one or more windows.",
    choice: Some(("function", FUNCTIONS)),
    keys: &[
        required("windows", Shape::List(&Shape::Window), "What the function is over; one output each."),
        optional("where", Shape::Expression, "Only events for which this is true."),
        optional("delay", Shape::Duration, "The window ends this long before the as-of time. Default 0s."),
        optional("default", Shape::AnyValue, "The value where there is nothing to aggregate."),
        optional("k", Shape::Whole(1, MAX_K), "How many values first_k, last_k and top_k give."),
        optional("q", Shape::Fraction, "Which quantile, in 0..=1."),
        optional("exact_up_to", Shape::Whole(1, MAX_EXACT), "distinct is exact up to this many values. Default 1024."),
    ],
};

/// The greatest `k`.
pub(super) const MAX_K: u32 = 1_000;
/// The greatest `exact_up_to`.
pub(super) const MAX_EXACT: u32 = 100_000;
/// `exact_up_to` where none is given.
pub(super) const DEFAULT_EXACT: u32 = 1_024;

/// The functions of features.
static FUNCTIONS: &[Key] = &[
    optional("count", Shape::ColumnOrAll, "Number of events (\"*\"), or of non-null values."),
    optional("sum", Shape::Name, "Sum of a numeric column."),
    optional("mean", Shape::Name, "Mean of a numeric column; of a bool, the share of true."),
    optional("min", Shape::Name, "The least value."),
    optional("max", Shape::Name, "The greatest value."),
    optional("var_pop", Shape::Name, "Population variance."),
    optional("var_samp", Shape::Name, "Sample variance."),
    optional("stddev_pop", Shape::Name, "Population standard deviation."),
    optional("stddev_samp", Shape::Name, "Sample standard deviation."),
    optional("first", Shape::Name, "The value of the first event."),
    optional("last", Shape::Name, "The value of the last event."),
    optional("first_k", Shape::Name, "The first k values, oldest first."),
    optional("last_k", Shape::Name, "The last k values, newest first."),
    optional("distinct", Shape::Name, "Number of different values: exact up to a bound, then HyperLogLog."),
    optional("quantile", Shape::Name, "The q-quantile, within 1 % of the value."),
    optional("top_k", Shape::Name, "The k most frequent values."),
    optional("rate", Shape::ColumnOrAll, "Events a second over the length of the window."),
    optional("time_since_last", Shape::ColumnOrAll, "Seconds since the last event."),
];

pub(super) static WINDOW: Table = Table {
    name: "window",
    doc: "A window that is not a plain duration (rolling) or `lifetime`.",
    choice: Some(("kind of window", WINDOWS)),
    keys: &[
        optional("every", Shape::Duration, "Distance of two starts of a sliding window."),
        optional("offset", Shape::Offset, "Shift of the starts of a tumbling or sliding window from the epoch."),
    ],
};

static WINDOWS: &[Key] = &[
    optional("rolling", Shape::Duration, "Ends at the as-of time; the same as the plain duration."),
    optional("tumbling", Shape::Duration, "One after the other, aligned to the epoch."),
    optional("sliding", Shape::Duration, "A new one every `every`, aligned to the epoch."),
    optional("session", Shape::Duration, "Events whose neighbours are less than this apart."),
];

pub(super) static SERVICE: Table = Table {
    name: "service",
    doc: "Features that are asked for together, in order.",
    choice: None,
    keys: &[
        required("features", Shape::List(&Shape::Name), "view.output or view.*"),
        optional("request", Shape::Map(&Shape::Type), "Fields that a request carries, for derived features."),
        optional("derived", Shape::Map(&Shape::Expression), "Expressions over the features and request fields."),
    ],
};

impl Table {
    /// Every key, those of the choice first.
    pub(super) fn all(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.choice.map(|(_, keys)| keys).unwrap_or_default().iter().chain(self.keys)
    }
}
