//! The definitions that the tests of this crate share: payments, by customer and by terminal.

use std::sync::Arc;

use floodmark_features::definition::Definitions;

/// Service `fraud`: `customer_spend.nb_tx_1d`, `customer_spend.nb_tx_7d`, `terminal_risk.nb_tx_1d`; request `amount`, `tx_datetime`.
pub(crate) const TEXT: &str = r#"
sources:
  transactions:
    schema: { transaction_id: int64, tx_datetime: timestamp, customer_id: int64, terminal_id: string, amount: float64 }
    event_time: tx_datetime
    event_id: transaction_id
entities:
  customer: { keys: [customer_id] }
  terminal: { keys: [terminal_id] }
views:
  customer_spend:
    entity: customer
    source: transactions
    features: { nb_tx: { count: "*", windows: [1d, 7d] } }
  terminal_risk:
    entity: terminal
    source: transactions
    features: { nb_tx: { count: "*", windows: [1d] } }
services:
  fraud:
    features: [customer_spend.*, terminal_risk.*]
    request: { amount: float64, tx_datetime: timestamp }
"#;

pub(crate) fn definitions() -> Arc<Definitions> {
    Arc::new(Definitions::parse("payments.yaml", TEXT).expect("proven definitions"))
}
