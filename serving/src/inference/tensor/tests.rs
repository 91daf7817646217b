//! Contents of every datatype, raw and typed, and what is wrong with them.

#![allow(clippy::unwrap_used)] // in a test, a panic is the message

use floodmark_proto::inference::InferTensorContents;
use proptest::prelude::*;

use super::*;

fn input(datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor { name: "X".to_owned(), datatype: datatype.to_owned(), shape: shape.to_vec(), ..InferInputTensor::default() }
}

/// The values of a tensor, or why it has none.
fn read(input: &InferInputTensor, raw: Option<&[u8]>) -> Result<Vec<String>, String> {
    let tensor = Tensor::read(0, input, raw).map_err(|error| format!("{}: {error}", error.reason()))?;
    let values = (0..count(tensor.shape).unwrap()).map(|at| match tensor.value(at) {
        Input::Float(x) => format!("{:016x}", x.to_bits()), // NaN too
        other => format!("{other:?}"),
    });
    Ok(values.collect())
}

#[track_caller]
fn refused(input: &InferInputTensor, raw: Option<&[u8]>, expected: &str) {
    let said = read(input, raw).expect_err("it is refused");
    assert!(said.starts_with(expected), "{said}");
}

/// Raw bytes and typed contents of the same values.
type Both = (&'static str, Vec<u8>, InferTensorContents);

fn raw_texts(values: &[String]) -> Vec<u8> {
    values.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()).collect()
}

fn both() -> impl Strategy<Value = (usize, Vec<Both>)> {
    proptest::collection::vec((any::<u64>(), ".{0,9}"), 0..20).prop_map(|values| {
        let words: Vec<u64> = values.iter().map(|(word, _)| *word).collect();
        let texts: Vec<String> = values.into_iter().map(|(_, text)| text).collect();
        let none = InferTensorContents::default;
        macro_rules! of {
            ($name:literal, $field:ident, $wide:ty, $narrow:ty, $from:expr) => {{
                let values: Vec<$narrow> = words.iter().map(|word| $from(*word)).collect();
                let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                ($name, raw, InferTensorContents { $field: values.into_iter().map(<$wide>::from).collect(), ..none() })
            }};
        }
        let bools: Vec<bool> = words.iter().map(|word| word % 2 == 1).collect();
        let all = vec![
            ("BOOL", bools.iter().map(|b| u8::from(*b)).collect(), InferTensorContents { bool_contents: bools, ..none() }),
            of!("INT8", int_contents, i32, i8, |w| w as i8),
            of!("INT16", int_contents, i32, i16, |w| w as i16),
            of!("INT32", int_contents, i32, i32, |w| w as i32),
            of!("INT64", int64_contents, i64, i64, |w| w as i64),
            of!("UINT8", uint_contents, u32, u8, |w| w as u8),
            of!("UINT16", uint_contents, u32, u16, |w| w as u16),
            of!("UINT32", uint_contents, u32, u32, |w| w as u32),
            of!("UINT64", uint64_contents, u64, u64, |w: u64| w >> 1),
            of!("FP32", fp32_contents, f32, f32, |w| f32::from_bits(w as u32)),
            of!("FP64", fp64_contents, f64, f64, f64::from_bits),
            (
                "BYTES",
                raw_texts(&texts),
                InferTensorContents { bytes_contents: texts.iter().cloned().map(Bytes::from).collect(), ..none() },
            ),
        ];
        (words.len(), all)
    })
}

proptest! {
    #[test]
    fn raw_and_typed_contents_are_the_same((count, all) in both()) {
        for (datatype, raw, contents) in all {
            let untyped = input(datatype, &[count as i64]);
            let typed = InferInputTensor { contents: Some(contents), ..untyped.clone() };
            let values = read(&untyped, Some(&raw)).unwrap();
            prop_assert_eq!(values.len(), count);
            prop_assert_eq!(&values, &read(&typed, None).unwrap(), "{}", datatype);
            // One byte or one value too few or too many is never passed over.
            if count > 0 {
                prop_assert!(read(&untyped, Some(&raw[..raw.len() - 1])).is_err(), "{}", datatype);
                let short = InferInputTensor { shape: vec![count as i64 - 1], ..typed.clone() };
                prop_assert!(read(&short, None).is_err(), "{}", datatype);
                prop_assert!(read(&typed, Some(&raw)).unwrap_err().starts_with("RAW_AND_TYPED"));
            }
            prop_assert!(read(&untyped, Some(&[&raw[..], &[0]].concat())).is_err(), "{}", datatype);
        }
    }

    #[test]
    fn bytes_that_nobody_made_are_read_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..64), count in 0..9_i64) {
        for (datatype, _) in ALL {
            let _ = read(&input(datatype, &[count]), Some(&raw)); // without a panic
        }
    }
}

#[test]
fn floats_of_sixteen_bits_come_raw() {
    let halves = [f16::from_f32(1.5), f16::from_f32(-0.25), f16::NAN].map(f16::to_le_bytes).concat();
    let expected = [1.5, -0.25, f64::NAN].map(|x: f64| format!("{:016x}", x.to_bits()));
    assert_eq!(read(&input("FP16", &[3, 1]), Some(&halves)).unwrap(), expected);
    let brains = [bf16::from_f32(1.5), bf16::from_f32(-0.25), bf16::NAN].map(bf16::to_le_bytes).concat();
    assert_eq!(read(&input("BF16", &[3]), Some(&brains)).unwrap(), expected);
    let typed = InferTensorContents { fp32_contents: vec![1.5], ..InferTensorContents::default() };
    refused(&InferInputTensor { contents: Some(typed), ..input("FP16", &[1]) }, None, "CONTENTS_FIELD: contents of this datatype come raw");
}

#[test]
fn what_is_wrong_is_said_with_the_tensors_name() {
    refused(
        &input("fp32", &[1]),
        Some(&[0; 4]),
        "UNKNOWN_DATATYPE: datatype is none of the protocol's. tensor=X datatype=fp32 expected=BOOL,",
    );
    refused(&input("FP32", &[-1, 2]), Some(&[0; 8]), "WRONG_SHAPE: tensor has the wrong shape. tensor=X");
    refused(&input("FP32", &[i64::MAX, 3]), Some(&[0; 8]), "WRONG_SHAPE");
    refused(&input("FP64", &[i64::MAX]), Some(&[0; 8]), "CONTENTS_LENGTH");
    let length = "CONTENTS_LENGTH: contents do not have the length that shape and datatype ask for. tensor=X expected=12 found=8 bytes";
    refused(&input("FP32", &[3]), Some(&[0; 8]), length);
    refused(&input("FP32", &[3]), None, "CONTENTS_LENGTH");
    refused(
        &input("BOOL", &[2]),
        Some(&[1, 2]),
        "OUT_OF_RANGE: value is out of its datatype's range, or of int64's. tensor=X datatype=BOOL value=1",
    );
    refused(&input("UINT64", &[1]), Some(&[255; 8]), "OUT_OF_RANGE");
    let wide = InferTensorContents { int_contents: vec![7, 300], ..InferTensorContents::default() };
    let wide = |datatype| InferInputTensor { contents: Some(wide.clone()), ..input(datatype, &[2]) };
    refused(&wide("INT8"), None, "OUT_OF_RANGE");
    assert_eq!(read(&wide("INT16"), None).unwrap(), ["Int(7)", "Int(300)"]);
    refused(
        &wide("INT64"),
        None,
        "CONTENTS_FIELD: contents are in the field of another datatype. tensor=X datatype=INT64 expected=int64_contents",
    );
}

#[test]
fn texts_are_whole() {
    let raw = raw_texts(&["ab".to_owned(), String::new()]);
    assert_eq!(read(&input("BYTES", &[2]), Some(&raw)).unwrap(), ["Text(\"ab\")", "Text(\"\")"]);
    assert_eq!(read(&input("BYTES", &[0]), Some(&[])).unwrap(), [""; 0]);
    for cut in 0..raw.len() {
        refused(&input("BYTES", &[2]), Some(&raw[..cut]), "CONTENTS_LENGTH: contents end in the middle of a value");
    }
    refused(&input("BYTES", &[1]), Some(&raw), "CONTENTS_LENGTH: contents have bytes after the last value. tensor=X values=1 bytes_left=4");
    refused(&input("BYTES", &[i64::MAX]), Some(&raw), "CONTENTS_LENGTH");
    refused(&input("BYTES", &[1]), Some(&[1, 0, 0, 0, 0xff]), "NOT_TEXT");
}
