//! The datatypes of the protocol.

use std::fmt;

use floodmark_features::value::Type;
use floodmark_models::signature::Element;
use floodmark_proto::inference::DataType;

/// What the values of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

/// All of them, as the protocol writes them.
pub(crate) const ALL: [(&str, Datatype); 14] = [
    ("BOOL", Datatype::Bool),
    ("UINT8", Datatype::Uint8),
    ("UINT16", Datatype::Uint16),
    ("UINT32", Datatype::Uint32),
    ("UINT64", Datatype::Uint64),
    ("INT8", Datatype::Int8),
    ("INT16", Datatype::Int16),
    ("INT32", Datatype::Int32),
    ("INT64", Datatype::Int64),
    ("FP16", Datatype::Fp16),
    ("BF16", Datatype::Bf16),
    ("FP32", Datatype::Fp32),
    ("FP64", Datatype::Fp64),
    ("BYTES", Datatype::Bytes),
];

impl Datatype {
    /// The datatype of that name.
    pub(crate) fn named(name: &str) -> Option<Datatype> {
        match name {
            "FP32" => Some(Datatype::Fp32), // most tensors
            _ => ALL.iter().find(|(known, _)| *known == name).map(|(_, datatype)| *datatype),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        ALL.iter().find(|(_, datatype)| *datatype == self).map_or("BYTES", |(name, _)| name)
    }

    /// Bytes of a value; `None` where they vary.
    pub(crate) fn size(self) -> Option<usize> {
        match self {
            Datatype::Bool | Datatype::Uint8 | Datatype::Int8 => Some(1),
            Datatype::Uint16 | Datatype::Int16 | Datatype::Fp16 | Datatype::Bf16 => Some(2),
            Datatype::Uint32 | Datatype::Int32 | Datatype::Fp32 => Some(4),
            Datatype::Uint64 | Datatype::Int64 | Datatype::Fp64 => Some(8),
            Datatype::Bytes => None,
        }
    }

    /// As Triton's configuration calls it.
    pub(crate) fn config(self) -> DataType {
        match self {
            Datatype::Bool => DataType::TypeBool,
            Datatype::Uint8 => DataType::TypeUint8,
            Datatype::Uint16 => DataType::TypeUint16,
            Datatype::Uint32 => DataType::TypeUint32,
            Datatype::Uint64 => DataType::TypeUint64,
            Datatype::Int8 => DataType::TypeInt8,
            Datatype::Int16 => DataType::TypeInt16,
            Datatype::Int32 => DataType::TypeInt32,
            Datatype::Int64 => DataType::TypeInt64,
            Datatype::Fp16 => DataType::TypeFp16,
            Datatype::Bf16 => DataType::TypeBf16,
            Datatype::Fp32 => DataType::TypeFp32,
            Datatype::Fp64 => DataType::TypeFp64,
            Datatype::Bytes => DataType::TypeString,
        }
    }
}

impl From<Element> for Datatype {
    fn from(element: Element) -> Datatype {
        match element {
            Element::Float => Datatype::Fp32,
            Element::Double => Datatype::Fp64,
            Element::Int64 => Datatype::Int64,
            Element::Bool => Datatype::Bool,
            Element::String => Datatype::Bytes,
        }
    }
}

/// How a key or a request field is best given.
impl From<Type> for Datatype {
    fn from(kind: Type) -> Datatype {
        match kind {
            Type::Bool => Datatype::Bool,
            Type::Int64 => Datatype::Int64,
            Type::Float64 => Datatype::Fp64,
            Type::String => Datatype::Bytes,
            Type::Timestamp => Datatype::Bytes,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
