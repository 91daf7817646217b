//! Arrivals as files: JSON lines and Parquet, in the order of arrival, with the columns that the demo's source declares.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use floodmark_features::time::Time;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::Arrival;

/// Rows that are turned into columns at once.
const ROWS: usize = 65_536;

/// One JSON object a line. A lost customer leaves its field out, a lost amount is null.
pub(crate) fn write_json_lines(path: &Path, arrivals: &[Arrival]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for Arrival { transaction: t, lost_customer, lost_amount, .. } in arrivals {
        write!(out, "{{\"transaction_id\":{},\"tx_datetime\":\"{}\"", t.transaction_id, Time::from_micros(t.tx_datetime))?;
        if !lost_customer {
            write!(out, ",\"customer_id\":{}", t.customer_id)?;
        }
        write!(out, ",\"terminal_id\":{}", t.terminal_id)?;
        match lost_amount {
            true => write!(out, ",\"amount\":null")?,
            false => write!(out, ",\"amount\":{:.2}", t.amount)?,
        }
        writeln!(out, ",\"fraud\":{}}}", t.fraud)?;
    }
    out.flush()
}

/// The same as Parquet; what got lost is null.
pub(crate) fn write_parquet(path: &Path, arrivals: &[Arrival]) -> io::Result<()> {
    let settings = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let schema = columns(&[]).map_err(io::Error::other)?.schema();
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema, Some(settings)).map_err(io::Error::other)?;
    for chunk in arrivals.chunks(ROWS) {
        let batch = columns(chunk).map_err(io::Error::other)?;
        writer.write(&batch).map_err(io::Error::other)?;
    }
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

fn columns(arrivals: &[Arrival]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let each = || arrivals.iter().map(|a| &a.transaction);
    let customers = arrivals.iter().map(|a| (!a.lost_customer).then_some(a.transaction.customer_id));
    let amounts = arrivals.iter().map(|a| (!a.lost_amount).then_some(a.transaction.amount));
    let times = TimestampMicrosecondArray::from_iter_values(each().map(|t| t.tx_datetime));
    let fields: [(&str, ArrayRef); 6] = [
        ("transaction_id", Arc::new(Int64Array::from_iter_values(each().map(|t| t.transaction_id)))),
        ("tx_datetime", Arc::new(times.with_timezone_utc())),
        ("customer_id", Arc::new(customers.collect::<Int64Array>())),
        ("terminal_id", Arc::new(Int64Array::from_iter_values(each().map(|t| t.terminal_id)))),
        ("amount", Arc::new(amounts.collect::<Float64Array>())),
        ("fraud", Arc::new(BooleanArray::from_iter(each().map(|t| Some(t.fraud))))),
    ];
    RecordBatch::try_from_iter_with_nullable(fields.map(|(name, column)| (name, column, true)))
}
