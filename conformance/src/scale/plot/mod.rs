//! Cost against the number of services, as a picture: SVG, and PNG where that cannot be shown.
//!
//! ```text
//! first sync │ one change
//! ───────────┼────────────────
//! memory     │ first packet
//! ```

mod canvas;

use std::path::{Path, PathBuf};
use std::{fs, io};

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::RelativeSize;

use self::canvas::Canvas;
use super::measured::Measured;
use super::table::time;

/// Width and height in pixels.
const SIZE: (u32, u32) = (1280, 880);
const FONT: (&str, u32) = ("sans-serif", 15);
const TITLE: (&str, u32) = ("sans-serif", 16);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// Something cannot be drawn.
    #[error("plot: {0}")]
    Drawing(String),
    /// A file cannot be written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A line in a panel: its name, and where it goes.
struct Curve {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// What is drawn beside each other.
struct Panel {
    title: &'static str,
    axis: Axis,
    curves: Vec<Curve>,
}

/// How a value is written at its axis, and how the axis goes.
#[derive(Clone, Copy)]
enum Axis {
    /// Seconds, a decade as high as the next.
    Seconds,
    /// Megabytes, a decade as high as the next.
    Megabytes,
    /// Microseconds, from 0.
    Microseconds,
}

const OURS: RGBColor = RGBColor(0, 110, 180);
const OURS_TOO: RGBColor = RGBColor(90, 180, 230);
const TEXT: RGBColor = RGBColor(0, 150, 110);
const CHAINS: RGBColor = RGBColor(210, 90, 0);
const LIMIT: RGBColor = RGBColor(110, 110, 110);

/// Draws `scale.svg` and `scale.png` into `folder`.
///
/// # Errors
/// [`PlotError`].
pub fn plot(measured: &[Measured], folder: &Path) -> Result<(), PlotError> {
    let mut svg = String::new();
    draw(measured, SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())?;
    write(&folder.join("scale.svg"), svg.as_bytes())?;
    let mut canvas = Canvas::white(SIZE);
    draw(measured, (&mut canvas).into_drawing_area())?;
    write(&folder.join("scale.png"), &canvas.png().map_err(drawing)?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PlotError> {
    fs::write(path, bytes).map_err(|source| PlotError::File { path: path.to_owned(), source })
}

fn drawing(error: impl std::fmt::Display) -> PlotError {
    PlotError::Drawing(error.to_string())
}

fn draw<B: DrawingBackend>(measured: &[Measured], area: DrawingArea<B, Shift>) -> Result<(), PlotError> {
    area.fill(&WHITE).map_err(drawing)?;
    for (part, panel) in area.split_evenly((2, 2)).iter().zip(panels(measured)) {
        match panel.axis {
            Axis::Microseconds => draw_panel(part, &panel, 0.0..1.15 * highest(&panel))?,
            Axis::Seconds | Axis::Megabytes => draw_panel(part, &panel, decades(&panel).log_scale())?,
        }
    }
    area.present().map_err(drawing)
}

fn panels(measured: &[Measured]) -> [Panel; 4] {
    let curve = |name, color, value: &dyn Fn(&Measured) -> Option<f64>| Curve {
        name,
        color,
        points: measured.iter().filter_map(|m| Some((f64::from(m.services), value(m)?))).collect(),
    };
    [
        Panel {
            title: "first sync",
            axis: Axis::Seconds,
            curves: vec![
                curve("Switchyard", OURS, &|m| Some(m.first_sync_seconds)),
                curve("of which the kernel", OURS_TOO, &|m| Some(m.sync_phases.kernel).filter(|s| *s > 0.0)),
                curve("the same state as text", TEXT, &|m| m.compared.as_text_seconds),
                curve("a chain per service, nft -f", CHAINS, &|m| m.compared.chain_per_service_load_seconds),
            ],
        },
        Panel {
            title: "one endpoint changed",
            axis: Axis::Seconds,
            curves: vec![
                curve("Switchyard, p50", OURS, &|m| m.change_seconds.map(|spread| spread.p50)),
                curve("Switchyard, p99", OURS_TOO, &|m| m.change_seconds.map(|spread| spread.p99)),
                curve("a chain per service, nft -f", CHAINS, &|m| m.compared.chain_per_service_change_seconds),
            ],
        },
        Panel {
            title: "memory",
            axis: Axis::Megabytes,
            curves: vec![
                curve("agent, after the first sync", OURS, &|m| Some(m.rss_bytes.after_sync as f64 / 1e6)),
                curve("kernel", OURS_TOO, &|m| Some(m.kernel_bytes as f64 / 1e6).filter(|mb| *mb > 0.0)),
            ],
        },
        Panel {
            title: "first packet of a connection and its answer",
            axis: Axis::Microseconds,
            curves: vec![
                curve("Switchyard", OURS, &|m| m.connect.as_ref().map(|c| c.seconds * 1e6)),
                curve("one static DNAT rule", LIMIT, &|m| m.connect.as_ref().map(|c| c.single_dnat_seconds * 1e6)),
                curve("a chain per service", CHAINS, &|m| {
                    m.connect.as_ref()?.chain_per_service_seconds.map(|s| s * 1e6)
                }),
            ],
        },
    ]
}

fn values(panel: &Panel) -> impl Iterator<Item = f64> {
    panel.curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value)
}

fn highest(panel: &Panel) -> f64 {
    values(panel).fold(1.0, f64::max)
}

/// The decades in which all values are; the upper one leaves room for names.
fn decades(panel: &Panel) -> std::ops::Range<f64> {
    let (low, high) = values(panel).fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return 0.1..1.0;
    }
    10f64.powf(low.log10().floor())..10f64.powf((high.log10() + 0.8).ceil())
}

fn draw_panel<B, Y>(area: &DrawingArea<B, Shift>, panel: &Panel, y: Y) -> Result<(), PlotError>
where
    B: DrawingBackend,
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let services = panel.curves.iter().flat_map(|curve| &curve.points).map(|(services, _)| *services);
    let (least, most) = services.fold((f64::MAX, 2.0f64), |(least, most), n| (least.min(n), most.max(n)));
    let x = least.min(most / 2.0) * 0.8..most * 1.25;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, TITLE)
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(x.log_scale(), y)
        .map_err(drawing)?;
    let axis = panel.axis;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .label_style(FONT)
        .x_desc("services")
        .x_label_formatter(&|services| format!("{services:.0}"))
        .y_label_formatter(&|value| axis.label(*value))
        .draw()
        .map_err(drawing)?;
    for Curve { name, color, points } in &panel.curves {
        if points.is_empty() {
            continue;
        }
        let color = *color;
        let style = color.stroke_width(2);
        let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(drawing)?;
        drawn.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, color.filled()))).map_err(drawing)?;
    }
    let place = match axis {
        Axis::Microseconds => SeriesLabelPosition::LowerLeft,
        Axis::Seconds | Axis::Megabytes => SeriesLabelPosition::UpperLeft,
    };
    chart
        .configure_series_labels()
        .position(place)
        .margin(RelativeSize::Smaller(0.03))
        .label_font(FONT)
        .background_style(WHITE.mix(0.85))
        .draw()
        .map_err(drawing)
}

impl Axis {
    fn label(self, value: f64) -> String {
        match self {
            Self::Seconds => time(value),
            Self::Megabytes => format!("{value} MB"),
            Self::Microseconds => format!("{value:.0} µs"),
        }
    }
}
