//! Whether an image decodes to its last pixel, under limits.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::gif::GifDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::{ImageError, LimitErrorKind};
use image::{AnimationDecoder, ImageDecoder, Limits};
use quick_xml::events::Event;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::{Kind, parts, png};

/// Longest image that is decoded, in bytes as stored.
pub(in crate::verify) const ENCODED: u64 = 128 << 20;
/// Most pixels of an image, or of one frame, that is decoded as a whole.
const PIXELS: u64 = 64 << 20;
/// Most bytes of memory that one image takes while it is decoded as a whole.
const DECODED: u64 = 192 << 20;
/// Most pixels of all frames of an animation.
const ALL_PIXELS: u64 = 1 << 30;
/// Deepest nesting of an SVG's elements.
const DEPTH: usize = 1024;

/// Why an image was not decoded to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::verify) enum Fault {
    /// It is cut off or corrupt.
    Damaged(String),
    /// It has, or claims, more than is decoded.
    TooLarge(String),
    /// It is of a form that is not decoded here.
    Unsupported(String),
}

/// Bytes of memory that decoding takes beside the image as stored, as far as its header tells; never
/// more than is given to one.
pub(in crate::verify) fn need(kind: Kind, bytes: &[u8]) -> u64 {
    let size = guarded(|| match kind {
        Kind::Png => Ok(png::NEED),
        // The frame, the picture it is put into, and a copy of that.
        Kind::Gif => Ok(12 * dimensions(GifDecoder::new(Cursor::new(bytes)))?),
        Kind::WebP => Ok(8 * dimensions(WebPDecoder::new(Cursor::new(bytes)))?),
        Kind::Jpeg => {
            let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
            decoder.decode_headers().map_err(jpeg_fault)?;
            Ok(jpeg_need(&mut decoder))
        }
        _ => Ok(0),
    });
    size.unwrap_or(0).min(DECODED)
}

/// A progressive image is held as coefficients of two bytes, of all its colours in full size at
/// worst; beside them stand its pixels.
fn jpeg_need(decoder: &mut JpegDecoder<ZCursor<&[u8]>>) -> u64 {
    let pixels = decoder.dimensions().map_or(0, |(width, height)| area(width, height));
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let output = decoder.output_buffer_size().map_or(0, number);
    let colours = decoder.input_colorspace().map_or(4, |colours| number(colours.num_components()));
    let coefficients = if decoder.info().is_some_and(|info| info.sof.is_progressive()) {
        pixels.saturating_mul(2).saturating_mul(colours)
    } else {
        0
    };
    coefficients.saturating_add(output)
}

fn dimensions<D: ImageDecoder>(decoder: Result<D, ImageError>) -> Result<u64, Fault> {
    let (width, height) = decoder.map_err(fault)?.dimensions();
    Ok(u64::from(width) * u64::from(height))
}

/// Decodes an image of a type that [`Kind::decodes`].
pub(in crate::verify) fn decode(kind: Kind, bytes: &[u8]) -> Result<(), Fault> {
    guarded(|| {
        match kind {
            Kind::Png => png::rows(bytes)?,
            Kind::Gif => frames(GifDecoder::new(Cursor::new(bytes)).map_err(fault)?)?,
            Kind::Jpeg | Kind::WebP => {}
            Kind::Svg => return svg(bytes),
            _ => return Err(Fault::Unsupported(format!("{} is not decoded", kind.media_type()))),
        }
        // A decoder is content once it has all pixels; what follows may be cut off.
        parts::follow(kind, bytes)?;
        match kind {
            Kind::Jpeg => jpeg(bytes),
            Kind::WebP => webp(bytes),
            _ => Ok(()),
        }
    })
}

/// Follows an image of a type that [`Kind::decodes`] to its end, without its pixels.
pub(in crate::verify) fn follow(kind: Kind, bytes: &[u8]) -> Result<(), Fault> {
    if kind == Kind::Svg { guarded(|| svg(bytes)) } else { parts::follow(kind, bytes) }
}

/// Decoders are written with care, and yet a hostile image may find a panic in one.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let gave_up = || Fault::Damaged("the decoder gave up on it".into());
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(gave_up()))
}

fn fault(error: ImageError) -> Fault {
    match error {
        ImageError::Limits(error) => match error.kind() {
            LimitErrorKind::Unsupported { .. } => Fault::Unsupported(error.to_string()),
            _ => Fault::TooLarge("it claims more memory than is given to it".into()),
        },
        ImageError::Unsupported(error) => Fault::Unsupported(error.to_string()),
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Fault::Damaged("it is cut off".into())
        }
        error => Fault::Damaged(error.to_string()),
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED);
    limits
}

fn area(width: usize, height: usize) -> u64 {
    u64::try_from(width)
        .unwrap_or(u64::MAX)
        .saturating_mul(u64::try_from(height).unwrap_or(u64::MAX))
}

fn fits(width: u64, height: u64, bytes: u64) -> Result<(), Fault> {
    if width.saturating_mul(height) > PIXELS || bytes > DECODED {
        let what = format!("it claims {width} x {height} pixels, {bytes} bytes");
        return Err(Fault::TooLarge(what));
    }
    Ok(())
}

fn whole(mut decoder: impl ImageDecoder) -> Result<(), Fault> {
    let (width, height) = decoder.dimensions();
    fits(u64::from(width), u64::from(height), decoder.total_bytes().saturating_mul(2))?;
    decoder.set_limits(limits()).map_err(fault)?;
    let length = usize::try_from(decoder.total_bytes())
        .map_err(|_| Fault::TooLarge("it is longer than memory".into()))?;
    let mut pixels = vec![0; length];
    decoder.read_image(&mut pixels).map_err(fault)
}

fn frames<'a>(mut decoder: impl ImageDecoder + AnimationDecoder<'a>) -> Result<(), Fault> {
    let (width, height) = decoder.dimensions();
    let frame = u64::from(width) * u64::from(height);
    fits(u64::from(width), u64::from(height), frame.saturating_mul(12))?;
    decoder.set_limits(limits()).map_err(fault)?;
    let (mut all, mut count) = (0_u64, 0_u64);
    for decoded in decoder.into_frames() {
        decoded.map_err(fault)?;
        count += 1;
        all = all.saturating_add(frame);
        if all > ALL_PIXELS {
            return Err(Fault::TooLarge(format!("{count} frames of {width} x {height} pixels")));
        }
    }
    if count == 0 { Err(Fault::Damaged("it has no picture".into())) } else { Ok(()) }
}

fn webp(bytes: &[u8]) -> Result<(), Fault> {
    let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(fault)?;
    if decoder.has_animation() { frames(decoder) } else { whole(decoder) }
}

fn jpeg_fault(error: DecodeErrors) -> Fault {
    match error {
        DecodeErrors::Unsupported(what) => Fault::Unsupported(format!("{what:?}")),
        DecodeErrors::LargeDimensions(_) => Fault::TooLarge("it claims too many pixels".into()),
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => {
            Fault::Damaged("it is cut off".into())
        }
        DecodeErrors::HuffmanDecode(what)
        | DecodeErrors::DqtError(what)
        | DecodeErrors::SosError(what)
        | DecodeErrors::SofError(what)
        | DecodeErrors::MCUError(what)
        | DecodeErrors::Format(what) => Fault::Damaged(what),
        DecodeErrors::FormatStatic(what) => Fault::Damaged(what.into()),
        _ => Fault::Damaged("it is no JPEG".into()),
    }
}

/// Strictly: a lenient decoder fills what is missing with grey and says nothing.
fn jpeg(bytes: &[u8]) -> Result<(), Fault> {
    let most = usize::from(u16::MAX);
    let options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(most).set_max_height(most);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(jpeg_fault)?;
    // All of the data is read in any case. Brightness alone saves two thirds of the pixels.
    if matches!(decoder.input_colorspace(), Some(ColorSpace::YCbCr | ColorSpace::Luma)) {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::Luma));
    }
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    fits(number(width), number(height), jpeg_need(&mut decoder))?;
    let mut pixels = vec![0; decoder.output_buffer_size().unwrap_or(0)];
    decoder.decode_into(&mut pixels).map_err(jpeg_fault)
}

/// An SVG is read as XML: well-formed, one root, and that is `svg`. Nothing in it is expanded or
/// fetched.
fn svg(bytes: &[u8]) -> Result<(), Fault> {
    let damaged = |what: String| Fault::Damaged(what);
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Fault::Unsupported("an SVG that is not UTF-8".into()))?;
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let (mut depth, mut roots) = (0_usize, 0_u64);
    let element = |start: &quick_xml::events::BytesStart<'_>, depth: usize, roots: &mut u64| {
        for attribute in start.attributes() {
            attribute.map_err(|error| damaged(error.to_string()))?;
        }
        if depth == 0 {
            *roots += 1;
            if *roots > 1 || start.local_name().as_ref() != b"svg" {
                return Err(damaged("it is not one svg element".into()));
            }
        }
        Ok(())
    };
    loop {
        match reader.read_event().map_err(|error| damaged(error.to_string()))? {
            Event::Start(start) => {
                element(&start, depth, &mut roots)?;
                depth += 1;
                if depth > DEPTH {
                    return Err(Fault::TooLarge(format!("elements nested deeper than {DEPTH}")));
                }
            }
            Event::Empty(start) => element(&start, depth, &mut roots)?,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => {
                return Err(damaged("text stands outside of its root".into()));
            }
            Event::Eof if depth > 0 => return Err(damaged("it is cut off".into())),
            Event::Eof if roots == 0 => return Err(damaged("it has no root".into())),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    //! A lenient decoder shows a broken image grey and says that all is well.
    use super::super::sniff;
    use super::*;

    fn pictures() -> Vec<(String, Vec<u8>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sample/images");
        let mut all: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
            })
            .collect();
        all.sort_by_key(|(_, bytes)| bytes.len());
        all
    }

    #[test]
    fn whole_images_decode() {
        let mut kinds = Vec::new();
        for (name, bytes) in pictures() {
            let kind = sniff(&bytes).unwrap();
            kinds.push(kind);
            assert_eq!(decode(kind, &bytes), Ok(()), "{name}");
            assert!(need(kind, &bytes) > 0, "{name}");
        }
        for kind in [Kind::Png, Kind::Jpeg, Kind::Gif, Kind::WebP] {
            assert!(kinds.contains(&kind), "{kind:?}");
        }
    }

    /// Of each type the smallest, cut off everywhere.
    #[test]
    fn cut_off_images_do_not() {
        for kind in [Kind::Png, Kind::Jpeg, Kind::Gif, Kind::WebP] {
            let all = pictures();
            let (name, bytes) = all.iter().find(|(_, bytes)| sniff(bytes) == Some(kind)).unwrap();
            let step = (bytes.len() / 200).max(1);
            let places = (12..bytes.len()).step_by(step).chain(bytes.len() - 12..bytes.len());
            for length in places {
                let part = &bytes[..length];
                assert!(
                    matches!(decode(kind, part), Err(Fault::Damaged(_))),
                    "{name}: {length} of {} bytes",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn bombs_are_refused_before_they_are_unpacked() {
        let (_, png) = pictures().into_iter().find(|(_, b)| sniff(b) == Some(Kind::Png)).unwrap();
        let mut bomb = png;
        bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let sum = crc32(&bomb[12..29]).to_be_bytes();
        bomb[29..33].copy_from_slice(&sum);
        assert!(matches!(decode(Kind::Png, &bomb), Err(Fault::TooLarge(_))));
        let deep = format!("<svg>{}", "<g>".repeat(DEPTH + 1));
        assert!(matches!(decode(Kind::Svg, deep.as_bytes()), Err(Fault::TooLarge(_))));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        !crc
    }

    #[test]
    fn an_svg_is_well_formed_xml() {
        let good =
            ["<svg/>", "<?xml version=\"1.0\"?><!-- x -->\n<svg a='1'><g>&amp;x</g></svg>\n"];
        for text in good {
            assert_eq!(decode(Kind::Svg, text.as_bytes()), Ok(()), "{text}");
        }
        let bad = [
            "<svg>",
            "<svg><g></svg></g>",
            "<svg a='1' a='2'/>",
            "<svg/><svg/>",
            "<svg/>x",
            "<svg a=1/>",
            "<svg",
            "<rss/>",
            "<svg></svg",
            "",
        ];
        for text in bad {
            assert!(matches!(decode(Kind::Svg, text.as_bytes()), Err(Fault::Damaged(_))), "{text}");
        }
    }
}
