//! A DICOM file as a stream of elements (PS3.5 chapter 7, PS3.10 chapter 7), read from first to
//! last with nothing kept but the few values that place and decode an image. None of them tells
//! who the patient is.
//!
//! Written here because what exists allocates what any element's length promises and keeps whole
//! clips in memory.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::io::pixels::is_dicom;
use crate::io::source::{Packing, Source, open_file, quoted};
use crate::{Error, Result};

/// Group in the upper half, element in the lower.
pub(super) type Tag = u32;

pub(super) const PIXEL_DATA: Tag = 0x7fe0_0010;
const REGIONS: Tag = 0x0018_6011;
const ITEM: Tag = 0xfffe_e000;
const ITEM_END: Tag = 0xfffe_e00d;
const SEQUENCE_END: Tag = 0xfffe_e0dd;

/// What is kept, with its value representation for files that do not state it.
const KEPT: [(Tag, &[u8; 2]); 48] = [
    (0x0008_0016, b"UI"), // SOPClassUID
    (0x0008_0060, b"CS"), // Modality
    (0x0018_0050, b"DS"), // SliceThickness
    (0x0018_1164, b"DS"), // ImagerPixelSpacing
    (0x0018_6012, b"US"), // RegionSpatialFormat
    (0x0018_6018, b"UL"), // RegionLocationMinX0
    (0x0018_601a, b"UL"), // RegionLocationMinY0
    (0x0018_601c, b"UL"), // RegionLocationMaxX1
    (0x0018_601e, b"UL"), // RegionLocationMaxY1
    (0x0018_6024, b"US"), // PhysicalUnitsXDirection
    (0x0018_6026, b"US"), // PhysicalUnitsYDirection
    (0x0018_602c, b"FD"), // PhysicalDeltaX
    (0x0018_602e, b"FD"), // PhysicalDeltaY
    (0x0020_000e, b"UI"), // SeriesInstanceUID
    (0x0020_0011, b"IS"), // SeriesNumber
    (0x0020_0013, b"IS"), // InstanceNumber
    (0x0020_0032, b"DS"), // ImagePositionPatient
    (0x0020_0037, b"DS"), // ImageOrientationPatient
    (0x0028_0002, b"US"), // SamplesPerPixel
    (0x0028_0004, b"CS"), // PhotometricInterpretation
    (0x0028_0006, b"US"), // PlanarConfiguration
    (0x0028_0008, b"IS"), // NumberOfFrames
    (0x0028_0010, b"US"), // Rows
    (0x0028_0011, b"US"), // Columns
    (0x0028_0030, b"DS"), // PixelSpacing
    (0x0028_0a02, b"CS"), // PixelSpacingCalibrationType
    (0x0028_0100, b"US"), // BitsAllocated
    (0x0028_0101, b"US"), // BitsStored
    (0x0028_0102, b"US"), // HighBit
    (0x0028_0103, b"US"), // PixelRepresentation
    (0x0028_1052, b"DS"), // RescaleIntercept
    (0x0028_1053, b"DS"), // RescaleSlope
    (0x0028_1101, b"US"), // red, green, blue palette: descriptor
    (0x0028_1102, b"US"),
    (0x0028_1103, b"US"),
    (0x0028_1201, b"OW"), // … and data
    (0x0028_1202, b"OW"),
    (0x0028_1203, b"OW"),
    (0x0028_1221, b"OW"), // … segmented
    (0x0028_3000, b"SQ"), // ModalityLUTSequence
    (0x5200_9229, b"SQ"), // SharedFunctionalGroupsSequence
    (0x5200_9230, b"SQ"), // PerFrameFunctionalGroupsSequence
    (REGIONS, b"SQ"),
    (0x7fe0_0008, b"OF"), // FloatPixelData
    (0x7fe0_0009, b"OD"), // DoubleFloatPixelData
    (PIXEL_DATA, b"OW"),
    (0x0002_0002, b"UI"), // MediaStorageSOPClassUID
    (0x0002_0010, b"UI"), // TransferSyntaxUID
];

/// Longest value that is kept: a palette of 65536 words.
const LONGEST_VALUE: u32 = 1 << 17;

/// Sequences in sequences, deeper than any image has them.
const DEEPEST: usize = 16;

/// The group before the data set, which is read as a whole.
const LONGEST_META: u64 = 1 << 16;

/// Values by tag.
#[derive(Default)]
pub(super) struct Values(BTreeMap<Tag, Vec<u8>>);

impl Values {
    pub fn has(&self, tag: Tag) -> bool {
        self.0.contains_key(&tag)
    }

    pub fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        self.0.get(&tag).map(Vec::as_slice)
    }

    pub fn text(&self, tag: Tag) -> Option<String> {
        let text = String::from_utf8_lossy(self.0.get(&tag)?).into_owned();
        Some(text.trim_matches([' ', '\0']).to_owned())
    }

    /// The numbers of a DS or IS; `None` where one of them is none.
    pub fn numbers(&self, tag: Tag) -> Option<Vec<f64>> {
        self.text(tag)?.split('\\').map(|n| n.trim().parse().ok()).collect()
    }

    pub fn words(&self, tag: Tag) -> Option<Vec<u16>> {
        let bytes = self.0.get(&tag)?;
        Some(bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect())
    }

    pub fn word(&self, tag: Tag) -> Option<u16> {
        self.words(tag)?.first().copied()
    }

    pub fn long(&self, tag: Tag) -> Option<u32> {
        Some(u32::from_le_bytes(self.0.get(&tag)?.as_slice().try_into().ok()?))
    }

    pub fn double(&self, tag: Tag) -> Option<f64> {
        Some(f64::from_le_bytes(self.0.get(&tag)?.as_slice().try_into().ok()?))
    }
}

/// An element's head: its tag, and the length of its value in bytes where that is stated.
struct Head {
    tag: Tag,
    sequence: bool,
    /// A sequence that somebody passed on without knowing it; its items are in implicit VR
    /// (PS3.5 6.2.2, note 2).
    unknown: bool,
    /// Bytes in fragments instead of a value: compressed pixels.
    fragments: bool,
    length: Option<u32>,
}

/// A file read up to its pixel data.
pub(super) struct DataSet {
    pub path: PathBuf,
    pub syntax: String,
    pub values: Values,
    /// One per item of the SequenceOfUltrasoundRegions.
    pub regions: Vec<Values>,
    /// Stands at the first byte of the pixel data's value.
    pub source: Source,
    /// Bytes of the pixel data's value; `None` for fragments. Zero where there is no pixel data.
    pub length: Option<u32>,
    position: u64,
    explicit: bool,
    depth: usize,
}

impl DataSet {
    pub fn open(path: &Path) -> Result<DataSet> {
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        let (mut file, length) = open_file(path)?;
        let mut start = Vec::new();
        file.by_ref().take(LONGEST_META).read_to_end(&mut start).map_err(unreadable)?;
        if !is_dicom(&start) {
            let found = "none";
            return Err(wrong(path, "DICOM prefix", "DICM after 128 bytes", found));
        }
        let (values, end) = meta(path, &start)?;
        let syntax = values
            .text(0x0002_0010)
            .ok_or_else(|| wrong(path, "TransferSyntaxUID", "a value", "none"))?;
        let (explicit, packing) = match syntax.as_str() {
            "1.2.840.10008.1.2" => (false, Packing::Plain),
            "1.2.840.10008.1.2.1.99" => (true, Packing::BareDeflate),
            "1.2.840.10008.1.2.2" => {
                let found = "Explicit VR Big Endian (retired)";
                return Err(unsupported(path, found));
            }
            _ => (true, Packing::Plain),
        };
        file.seek(SeekFrom::Start(end)).map_err(unreadable)?;
        let source = Source::new(path, file, length.saturating_sub(end), packing)?;
        let mut set = DataSet {
            path: path.to_owned(),
            syntax,
            values,
            regions: Vec::new(),
            source,
            length: Some(0),
            position: 0,
            explicit,
            depth: 0,
        };
        let values = set.elements(None)?;
        set.values.0.extend(values.0);
        Ok(set)
    }

    pub fn wrong(&self, what: &str, expected: impl Into<String>, found: impl ToString) -> Error {
        wrong(&self.path, what, expected, found)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.source.fill(buffer)?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn word(&mut self) -> Result<u16> {
        let mut bytes = [0; 2];
        self.fill(&mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn long(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn skip(&mut self, count: u32) -> Result<()> {
        self.source.holds(count.into(), 0)?;
        self.source.skip(count.into())?;
        self.position += u64::from(count);
        Ok(())
    }

    /// The next element's head; `None` at the end of the file.
    fn head(&mut self) -> Result<Option<Head>> {
        let mut group = [0; 2];
        match self.source.read(&mut group)? {
            0 => return Ok(None),
            2 => self.position += 2,
            found => {
                let path = self.path.clone();
                return Err(Error::Truncated { path, expected: 2, found: found as u64 });
            }
        }
        let tag = Tag::from(u16::from_le_bytes(group)) << 16 | Tag::from(self.word()?);
        let mut vr = *KEPT.iter().find(|(t, _)| *t == tag).map_or(b"UN", |(_, vr)| *vr);
        let known = vr;
        let delimiter = tag >> 16 == 0xfffe;
        let length = if delimiter || !self.explicit {
            self.long()?
        } else {
            self.fill(&mut vr)?;
            match &vr {
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN"
                | b"UR" | b"UT" | b"UV" => {
                    self.word()?;
                    self.long()?
                }
                _ if vr.iter().all(u8::is_ascii_uppercase) => self.word()?.into(),
                _ => {
                    let found = shown(&String::from_utf8_lossy(&vr));
                    return Err(self.wrong("value representation", "two capital letters", found));
                }
            }
        };
        let length = (length != u32::MAX).then_some(length);
        let fragments = matches!(&vr, b"OB" | b"OW") && length.is_none();
        let known = vr == *b"UN" && known == *b"SQ";
        let sequence = vr == *b"SQ" || known || length.is_none();
        let unknown = vr == *b"UN" && sequence;
        Ok(Some(Head { tag, sequence, unknown, fragments, length }))
    }

    /// Reads elements to the end of the file, to position `end` or to an item's end, and returns
    /// those that are kept. At the top it ends before the pixel data's value.
    fn elements(&mut self, end: Option<u64>) -> Result<Values> {
        let mut values = Values::default();
        while end.is_none_or(|end| self.position < end) {
            let Some(head) = self.head()? else { break };
            let kept = KEPT.iter().any(|(tag, _)| *tag == head.tag);
            match head {
                Head { tag: ITEM_END, .. } if self.depth > 0 => break,
                Head { tag: PIXEL_DATA, length, .. } if self.depth == 0 => {
                    self.length = length;
                    values.0.insert(PIXEL_DATA, Vec::new());
                    break;
                }
                // An icon.
                Head { fragments: true, .. } => while self.fragment()?.is_some() {},
                Head { tag, sequence: true, unknown, length, .. } => {
                    let explicit = self.explicit;
                    self.explicit = explicit && !unknown;
                    let items = self.sequence(length)?;
                    self.explicit = explicit;
                    values.0.insert(tag, Vec::new());
                    if tag == REGIONS && self.depth == 0 {
                        self.regions = items;
                    }
                }
                Head { tag, length: Some(length), .. } if kept && length <= LONGEST_VALUE => {
                    self.source.holds(length.into(), 0)?;
                    let mut value = vec![0; length as usize];
                    self.fill(&mut value)?;
                    values.0.insert(tag, value);
                }
                Head { length, .. } => self.skip(length.unwrap_or(0))?,
            }
        }
        if end.is_some_and(|end| self.position > end) {
            return Err(self.wrong("item", "elements that end with it", "a longer one"));
        }
        Ok(values)
    }

    fn sequence(&mut self, length: Option<u32>) -> Result<Vec<Values>> {
        if self.depth == DEEPEST {
            return Err(self.wrong("sequences", format!("at most {DEEPEST} deep"), "more"));
        }
        self.depth += 1;
        let end = length.map(|length| self.position + u64::from(length));
        let mut items = Vec::new();
        while end.is_none_or(|end| self.position < end) {
            match self.head()? {
                Some(Head { tag: ITEM, length, .. }) => {
                    let end = length.map(|length| self.position + u64::from(length));
                    items.push(self.elements(end)?);
                }
                Some(Head { tag: SEQUENCE_END, .. }) => break,
                Some(Head { tag, .. }) => {
                    return Err(self.wrong("sequence", "an item", format!("tag {tag:08x}")));
                }
                None => return Err(self.wrong("sequence", "an item", "the end of the file")),
            }
        }
        self.depth -= 1;
        Ok(items)
    }

    /// The next fragment of compressed pixel data; `None` after the last. The first is the table
    /// of offsets.
    pub fn fragment(&mut self) -> Result<Option<Vec<u8>>> {
        let head = self.head()?;
        match head {
            Some(Head { tag: ITEM, length: Some(length), .. }) => {
                // No more than the file has is allocated.
                self.source.holds(length.into(), 0)?;
                let mut bytes = vec![0; length as usize];
                self.fill(&mut bytes)?;
                Ok(Some(bytes))
            }
            Some(Head { tag: SEQUENCE_END, .. }) | None => Ok(None),
            Some(Head { tag, .. }) => {
                Err(self.wrong("fragments of pixel data", "an item", format!("tag {tag:08x}")))
            }
        }
    }
}

/// The values of the group before the data set, and where it ends: always explicit, little endian.
fn meta(path: &Path, start: &[u8]) -> Result<(Values, u64)> {
    let mut values = Values::default();
    let mut at = 132;
    while let Some(head) = start.get(at..at + 12)
        && head[..2] == [2, 0]
    {
        let tag = 0x0002_0000 | Tag::from(u16::from_le_bytes([head[2], head[3]]));
        let (skip, length) = match &head[4..6] {
            b"OB" | b"UN" => (12, u32::from_le_bytes([head[8], head[9], head[10], head[11]])),
            _ => (8, u16::from_le_bytes([head[6], head[7]]).into()),
        };
        let value = start.get(at + skip..).and_then(|rest| rest.get(..length as usize));
        let Some(value) = value else {
            return Err(wrong(
                path,
                "file meta information",
                "a whole group 0002",
                "its beginning",
            ));
        };
        values.0.insert(tag, value.to_vec());
        at += skip + value.len();
    }
    Ok((values, at as u64))
}

fn wrong(path: &Path, what: &str, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::malformed(path, what, expected, found.to_string(), "export or copy the file again")
}

/// A value as a message may show it: identifiers and terms, nothing that may be a name.
pub(super) fn shown(text: &str) -> String {
    let plain = |c| matches!(c, 'A'..='Z' | '0'..='9' | ' ' | '_' | '.');
    if text.chars().all(plain) { quoted(text) } else { "another text".into() }
}

/// A coding of the pixel data that cannot be read.
pub(super) fn unsupported(path: &Path, found: impl Into<String>) -> Error {
    Error::malformed(
        path,
        "transfer syntax",
        "uncompressed, deflated, RLE, JPEG baseline or JPEG lossless",
        found,
        "decompress the file first, for example with gdcmconv --raw IN OUT",
    )
}
