//! Pixels, and letters that come with this program: a picture looks the same wherever it is drawn.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::FONT_8X13;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::Pixel;
use embedded_graphics::text::{Baseline, Text};
use plotters_backend::{
    BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    text_anchor::{HPos, VPos},
};

/// Public domain (X11's misc-fixed), as part of embedded-graphics.
const FONT: &MonoFont<'_> = &FONT_8X13;

/// A picture of red, green and blue bytes.
pub(super) struct Canvas {
    size: (u32, u32),
    bytes: Vec<u8>,
}

impl Canvas {
    pub(super) fn white(size: (u32, u32)) -> Self {
        Self { size, bytes: vec![0xff; (size.0 * size.1 * 3) as usize] }
    }

    /// As a PNG file.
    pub(super) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.size.0, self.size.1);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        writer.finish()?;
        Ok(file)
    }

    fn mix(&mut self, (x, y): BackendCoord, (red, green, blue): (u8, u8, u8), alpha: f64) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if x >= self.size.0 || y >= self.size.1 {
            return;
        }
        let at = ((y * self.size.0 + x) * 3) as usize;
        for (byte, new) in self.bytes[at..at + 3].iter_mut().zip([red, green, blue]) {
            *byte = (f64::from(*byte) * (1.0 - alpha) + f64::from(new) * alpha).round() as u8;
        }
    }
}

fn extent(text: &str) -> (u32, u32) {
    let Size { width, height } = FONT.character_size;
    (width * text.chars().count() as u32, height)
}

impl DrawingBackend for &mut Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Result<(), DrawingErrorKind<Infallible>> {
        self.mix(at, color.rgb, color.alpha);
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let (width, height) = extent(text);
        let (width, height) = (width as i32, height as i32);
        let x = match style.anchor().h_pos {
            HPos::Left => at.0,
            HPos::Center => at.0 - width / 2,
            HPos::Right => at.0 - width,
        };
        let y = match style.anchor().v_pos {
            VPos::Top => at.1,
            VPos::Center => at.1 - height / 2,
            VPos::Bottom => at.1 - height,
        };
        let (red, green, blue) = style.color().rgb;
        let letters = MonoTextStyle::new(FONT, Rgb888::new(red, green, blue));
        let Ok(_) = Text::with_baseline(text, Point::new(x, y), letters, Baseline::Top).draw(*self);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok(extent(text))
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.size.0, self.size.1)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            self.mix((at.x, at.y), (color.r(), color.g(), color.b()), 1.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_drawn_without_any_font_of_the_system() {
        let mut canvas = Canvas::white((40, 20));
        let style = MonoTextStyle::new(FONT, Rgb888::BLACK);
        let Ok(_) = Text::with_baseline("µ", Point::new(2, 2), style, Baseline::Top).draw(&mut canvas);
        assert!(canvas.bytes.contains(&0));
        assert!(canvas.png().unwrap().starts_with(b"\x89PNG"));
    }
}
