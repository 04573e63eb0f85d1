use std::fmt;
use std::io::{self, Write};

/// The type of one sample in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScalarType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl ScalarType {
    /// Every type, for tables and tests.
    pub const ALL: [ScalarType; 10] = [
        ScalarType::U8,
        ScalarType::I8,
        ScalarType::U16,
        ScalarType::I16,
        ScalarType::U32,
        ScalarType::I32,
        ScalarType::U64,
        ScalarType::I64,
        ScalarType::F32,
        ScalarType::F64,
    ];

    /// Bytes of one sample.
    pub fn bytes(self) -> usize {
        match self {
            ScalarType::U8 | ScalarType::I8 => 1,
            ScalarType::U16 | ScalarType::I16 => 2,
            ScalarType::U32 | ScalarType::I32 | ScalarType::F32 => 4,
            ScalarType::U64 | ScalarType::I64 | ScalarType::F64 => 8,
        }
    }

    /// numpy's name of the type, as reports print it.
    pub fn name(self) -> &'static str {
        match self {
            ScalarType::U8 => "uint8",
            ScalarType::I8 => "int8",
            ScalarType::U16 => "uint16",
            ScalarType::I16 => "int16",
            ScalarType::U32 => "uint32",
            ScalarType::I32 => "int32",
            ScalarType::U64 => "uint64",
            ScalarType::I64 => "int64",
            ScalarType::F32 => "float32",
            ScalarType::F64 => "float64",
        }
    }

    /// Passes every whole sample in `bytes` to `sink`. An f64 holds every label (i32) exactly, and
    /// a 64-bit integer that it rounds is far outside i32, so no label can come out as another.
    pub(super) fn decode(self, bytes: &[u8], big_endian: bool, mut sink: impl FnMut(f64)) {
        macro_rules! each {
            ($t:ty) => {{
                for sample in bytes.chunks_exact(size_of::<$t>()) {
                    let sample = sample.try_into().expect("chunks_exact gives this length");
                    let value = match big_endian {
                        true => <$t>::from_be_bytes(sample),
                        false => <$t>::from_le_bytes(sample),
                    };
                    sink(value as f64);
                }
            }};
        }
        match self {
            ScalarType::U8 => each!(u8),
            ScalarType::I8 => each!(i8),
            ScalarType::U16 => each!(u16),
            ScalarType::I16 => each!(i16),
            ScalarType::U32 => each!(u32),
            ScalarType::I32 => each!(i32),
            ScalarType::U64 => each!(u64),
            ScalarType::I64 => each!(i64),
            ScalarType::F32 => each!(f32),
            ScalarType::F64 => each!(f64),
        }
    }

    /// Appends `value` in little-endian order; integer types take the nearest value they hold.
    #[inline]
    fn encode(self, value: f64, out: &mut Vec<u8>) {
        // `as` from f64 to an integer saturates.
        match self {
            ScalarType::U8 => out.extend((value.round() as u8).to_le_bytes()),
            ScalarType::I8 => out.extend((value.round() as i8).to_le_bytes()),
            ScalarType::U16 => out.extend((value.round() as u16).to_le_bytes()),
            ScalarType::I16 => out.extend((value.round() as i16).to_le_bytes()),
            ScalarType::U32 => out.extend((value.round() as u32).to_le_bytes()),
            ScalarType::I32 => out.extend((value.round() as i32).to_le_bytes()),
            ScalarType::U64 => out.extend((value.round() as u64).to_le_bytes()),
            ScalarType::I64 => out.extend((value.round() as i64).to_le_bytes()),
            ScalarType::F32 => out.extend((value as f32).to_le_bytes()),
            ScalarType::F64 => out.extend(value.to_le_bytes()),
        }
    }
}

/// Writes `values` as samples of type `scalar`, little-endian.
pub(super) fn write_samples(
    scalar: ScalarType,
    values: impl Iterator<Item = f64>,
    out: &mut dyn Write,
) -> io::Result<()> {
    const CHUNK: usize = 1 << 16;
    let mut bytes = Vec::with_capacity(CHUNK + size_of::<f64>());
    for value in values {
        scalar.encode(value, &mut bytes);
        if bytes.len() >= CHUNK {
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    out.write_all(&bytes)
}

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_and_clamp() {
        let encoded = |scalar: ScalarType, value: f64| {
            let mut bytes = Vec::new();
            scalar.encode(value, &mut bytes);
            let mut back = f64::NAN;
            scalar.decode(&bytes, false, |v| back = v);
            assert_eq!(bytes.len(), scalar.bytes());
            back
        };
        assert_eq!(encoded(ScalarType::U8, 300.0), 255.0);
        assert_eq!(encoded(ScalarType::U8, -3.0), 0.0);
        assert_eq!(encoded(ScalarType::I16, -1.6), -2.0);
        assert_eq!(encoded(ScalarType::I8, 1e9), 127.0);
        assert_eq!(encoded(ScalarType::F32, 0.5), 0.5);
    }
}
