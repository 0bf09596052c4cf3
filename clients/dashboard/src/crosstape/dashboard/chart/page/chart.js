// Draws the bars of one market with lightweight-charts: candles with fills and benchmarks, volume, volume delta, CVD.
//
// Streamlit hands over everything each second; what is drawn already is updated bar by bar, so that zoom and position
// stay. The page tells the server which bars it has, and gets only the newest ones from then on.
"use strict";

const { createChart, createSeriesMarkers, CandlestickSeries, HistogramSeries, LineSeries, LineStyle, CrosshairMode } =
  LightweightCharts;

const LOAD_OLDER_BARS = 20; // so near to the first bar older ones are asked for

const COLORS = {
  light: { up: "#0f8f7e", down: "#d6453d", grid: "#e9edf2", text: "#5b6675", line: "#2f5fd0", benchmark: "#b7791f", border: "#d7dde5" },
  dark: { up: "#2bb8a3", down: "#f0645c", grid: "#1b2330", text: "#8d98a8", line: "#7aa2ff", benchmark: "#f2b84b", border: "#2a3442" },
};

const element = (id) => document.getElementById(id);
let view = null; // the chart and its series, made at the first rows
let bars = []; // [time, open, high, low, close, volume, delta, cvd | null], oldest first
let shown = { key: "", market: "", theme: "" };
let said = { have: "", older_than: null };
let latest = {};
let pointed = null; // the time of the bar under the cross
let redraws = 0;

function make(colors) {
  const chart = createChart(element("chart"), {
    autoSize: true,
    layout: { attributionLogo: true, panes: { separatorColor: colors.border, enableResize: true } },
    crosshair: { mode: CrosshairMode.Normal },
    timeScale: { timeVisible: true, rightOffset: 4, minBarSpacing: 1 },
    handleScale: { axisPressedMouseMove: true },
  });
  const histogram = { priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: true };
  const candles = chart.addSeries(CandlestickSeries, { borderVisible: false }, 0);
  const made = {
    chart,
    candles,
    volume: chart.addSeries(HistogramSeries, histogram, 1),
    delta: chart.addSeries(HistogramSeries, histogram, 2),
    cvd: chart.addSeries(LineSeries, { lineWidth: 2, priceFormat: { type: "volume" }, priceLineVisible: false }, 3),
    markers: createSeriesMarkers(candles, []),
    benchmarks: new Map(),
  };
  chart.panes().forEach((pane, index) => pane.setStretchFactor(index === 0 ? 6 : 1.4));
  chart.subscribeCrosshairMove((event) => {
    pointed = event.logical === undefined ? null : event.time;
    writeLegend();
  });
  chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
    if (!range || !bars.length) return;
    element("latest").hidden = range.to > bars.length - 2;
    if (range.from < LOAD_OLDER_BARS && said.older_than !== bars[0][0]) tell({ older_than: bars[0][0] });
  });
  element("latest").onclick = () => chart.timeScale().scrollToRealTime();
  return made;
}

function paint(colors) {
  const { chart, candles, cvd } = view;
  chart.applyOptions({
    layout: {
      background: { color: "transparent" },
      textColor: colors.text,
      fontFamily: latest.font,
      panes: { separatorColor: colors.border },
    },
    grid: { vertLines: { color: colors.grid }, horzLines: { color: colors.grid } },
    rightPriceScale: { borderColor: colors.border },
    timeScale: { borderColor: colors.border },
  });
  candles.applyOptions({
    upColor: colors.up,
    downColor: colors.down,
    wickUpColor: colors.up,
    wickDownColor: colors.down,
  });
  cvd.applyOptions({ color: colors.line });
}

const price = (value) =>
  value.toLocaleString("en-US", { minimumFractionDigits: latest.precision, maximumFractionDigits: latest.precision });
const rising = (bar) => bar[4] >= bar[1];
const point = {
  candles: ([time, open, high, low, close]) => ({ time, open, high, low, close }),
  volume: (bar, colors) => ({ time: bar[0], value: bar[5], color: (rising(bar) ? colors.up : colors.down) + "99" }),
  delta: (bar, colors) => ({ time: bar[0], value: bar[6], color: bar[6] >= 0 ? colors.up : colors.down }),
  cvd: (bar) => (bar[7] === null ? { time: bar[0] } : { time: bar[0], value: bar[7] }),
};

function drawAll(colors) {
  redraws += 1;
  for (const [name, of] of Object.entries(point)) view[name].setData(bars.map((bar) => of(bar, colors)));
}

function drawRows(rows, colors) {
  for (const row of rows) {
    const at = bars.length && row[0] <= bars.at(-1)[0] ? bars.findLastIndex((bar) => bar[0] === row[0]) : bars.length;
    if (at < 0 || String(bars[at]) === String(row)) continue;
    const isNewest = at >= bars.length - 1;
    bars[at] = row;
    for (const [name, of] of Object.entries(point)) view[name].update(of(row, colors), !isNewest);
  }
}

function drawFills(args, colors) {
  const marks = args.markers.map(({ time, side, fills }) => ({
    time,
    position: side === "buy" ? "belowBar" : "aboveBar",
    shape: side === "buy" ? "arrowUp" : "arrowDown",
    color: side === "buy" ? colors.line : colors.benchmark,
    size: 1,
    text: fills > 1 ? String(fills) : "",
  }));
  view.markers.setMarkers(marks.sort((a, b) => a.time - b.time));
  const wanted = new Set(args.benchmarks.map((line) => line.id));
  for (const [id, series] of view.benchmarks) {
    if (!wanted.has(id)) {
      view.chart.removeSeries(series);
      view.benchmarks.delete(id);
    }
  }
  for (const { id, from, to, price } of args.benchmarks) {
    if (!view.benchmarks.has(id)) {
      const options = { lineWidth: 2, lineStyle: LineStyle.Dashed, priceLineVisible: false, lastValueVisible: true, crosshairMarkerVisible: false, title: "TWAP" };
      view.benchmarks.set(id, view.chart.addSeries(LineSeries, options, 0));
    }
    const series = view.benchmarks.get(id);
    series.applyOptions({ color: colors.benchmark });
    series.setData(bars.filter((bar) => bar[0] >= from && bar[0] <= to).map((bar) => ({ time: bar[0], value: price })));
  }
}

function writeLegend() {
  const bar = (pointed && bars.find((one) => one[0] === pointed)) || bars.at(-1);
  const legend = element("legend");
  if (!bar) return legend.replaceChildren();
  const [, open, high, low, close, volume, delta, cvd] = bar;
  const amount = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 5 }).replace("-", "−");
  const tone = (value) => (value >= 0 ? "up" : "down");
  const change = open ? ((close - open) / open) * 100 : 0;
  const parts = [
    ["b", latest.label, ""],
    ["span", "O", price(open), ""], ["span", "H", price(high), ""], ["span", "L", price(low), ""],
    ["span", "C", price(close), tone(close - open)],
    ["span", "", `${change >= 0 ? "+" : "−"}${Math.abs(change).toFixed(2)} %`, tone(change)],
    ["span", "Vol", amount(volume), ""],
    ["span", "Δ", amount(delta), tone(delta)],
    ["span", "CVD", cvd === null ? "–" : amount(cvd), ""],
  ];
  legend.replaceChildren(
    ...parts.map(([tag, name, value, mood]) => {
      const node = document.createElement(tag);
      node.textContent = tag === "b" ? name : name && `${name} `;
      if (tag === "span") {
        const number = document.createElement("i");
        number.textContent = value;
        if (mood) number.className = mood;
        node.append(number);
      }
      return node;
    }),
  );
}

function namePanes() {
  document.querySelectorAll(".pane-name").forEach((node) => node.remove());
  let top = 0;
  view.chart.panes().forEach((pane, index) => {
    if (latest.panes[index]) {
      const node = document.createElement("div");
      node.className = "pane-name";
      node.textContent = latest.panes[index];
      node.style.top = `${top + 5}px`;
      document.body.append(node);
    }
    top += pane.getHeight() + 1;
  });
}

function tell(changes) {
  said = { ...said, ...changes };
  Streamlit.setValue(said);
}

function say(args) {
  const message = element("message");
  const isRefused = args.state === "refused" || args.state === "signed_out";
  message.hidden = bars.length > 0;
  message.textContent =
    isRefused ? "This market cannot be shown." :
    args.state === "live" ? "No trades yet in this market. Bars appear with the first trade." :
    args.state === "disconnected" ? "No connection to the platform. It is tried again by itself." : "Loading bars…";
}

function fit() {
  const height = window.innerWidth < 560 ? 460 : 660;
  element("chart").style.height = `${height}px`;
  Streamlit.setHeight(height);
}

function render({ args, theme }) {
  const name = theme?.base === "dark" ? "dark" : "light";
  const colors = COLORS[name];
  latest = { ...args, font: theme?.font || "sans-serif" };
  document.documentElement.dataset.theme = name;
  document.documentElement.style.setProperty("--font", latest.font);
  const isOther = args.market !== shown.market;
  if (isOther) bars = [];
  const hadBars = bars.length > 0;
  const isNew = args.rows.length > 0 && !view;
  if (isNew) view = make(colors);
  if (view) {
    if (isNew || name !== shown.theme || isOther) {
      paint(colors);
      drawAll(colors);
    }
    view.chart.applyOptions({ timeScale: { secondsVisible: args.seconds } });
    const priceFormat = { type: "custom", formatter: price, minMove: 10 ** -args.precision };
    view.candles.applyOptions({ priceFormat });
    view.benchmarks.forEach((series) => series.applyOptions({ priceFormat }));
    if (args.whole) {
      bars = args.rows;
      drawAll(colors);
      if (isNew || isOther || !hadBars) view.chart.timeScale().setVisibleLogicalRange({ from: bars.length - Math.max(60, Math.min(window.innerWidth / 8, bars.length)), to: bars.length + 4 });
    } else if (bars.length && args.rows.length && args.rows[0][0] <= bars.at(-1)[0]) {
      drawRows(args.rows, colors);
    }
    drawFills(args, colors);
    writeLegend();
    namePanes();
  }
  const isBehind = !args.whole && (!bars.length || (args.rows.length && args.rows[0][0] > bars.at(-1)[0]));
  if (args.whole && args.bars_key !== said.have) tell({ have: args.bars_key, older_than: isOther ? null : said.older_than });
  else if (isBehind) tell({ have: "" });
  shown = { key: args.bars_key, market: args.market, theme: name };
  say(args);
  Object.assign(document.documentElement.dataset, {
    market: args.market,
    bars: bars.length,
    redraws,
    close: bars.at(-1)?.[4] ?? "",
    volume: bars.at(-1)?.[5] ?? "",
    time: bars.at(-1)?.[0] ?? "",
    fills: args.markers.reduce((sum, mark) => sum + mark.fills, 0),
    benchmarks: args.benchmarks.length,
    state: args.state,
  });
}

// The app's typeface lies in its own style sheets, which a frame does not share: its rules are taken over.
async function takeFonts() {
  const rules = [];
  for (const sheet of window.parent.document.styleSheets) {
    for (const rule of sheet.cssRules) {
      if (rule.constructor.name !== "CSSFontFaceRule" || !/Source Sans/.test(rule.cssText)) continue;
      const base = sheet.href || window.parent.location.href;
      rules.push(rule.cssText.replace(/url\("(.+?)"\)/g, (_, address) => `url("${new URL(address, base)}")`));
    }
  }
  const style = document.createElement("style");
  style.textContent = rules.join("\n");
  document.head.append(style);
  await Promise.all([document.fonts.load('12px "Source Sans"'), document.fonts.load('600 12px "Source Sans"')]);
  shown.theme = ""; // painted anew with the next rows
}

window.addEventListener("resize", fit);
takeFonts();
Streamlit.start(render);
fit();
