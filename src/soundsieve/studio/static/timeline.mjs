// Times and places along a recording. Nothing here knows of the page.

const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
const MARK_PX = 56;
const SHORTEST_S = 0.1;

/** A moment as people write it: 3.4, or 1:03.4 from a minute on; `digits` behind the point. */
export function clock(seconds, digits = 1) {
  const unit = 10 ** digits;
  const parts = Math.round(Math.max(0, seconds) * unit);
  const minutes = Math.floor(parts / (60 * unit));
  const rest = ((parts - minutes * 60 * unit) / unit).toFixed(digits);
  return minutes ? minutes + ":" + rest.padStart(digits ? digits + 3 : 2, "0") : rest;
}

/** Seconds that somebody wrote as 3.4, 3,4 or 1:03.4; NaN for anything else. */
export function readSeconds(text) {
  const match = /^(?:(\d+):)?(\d+(?:[.,]\d*)?|[.,]\d+)$/.exec(text.trim());
  return match ? 60 * Number(match[1] || 0) + Number(match[2].replace(",", ".")) : NaN;
}

/** Marks of the time axis, as many as fit: where (0 to 1) and what is written there. */
export function timeMarks(seconds, widthPx) {
  const most = Math.max(1, widthPx / MARK_PX);
  const step = STEPS_S.find((one) => seconds / one <= most) || STEPS_S[STEPS_S.length - 1];
  const marks = [];
  for (let i = 0; i * step <= seconds * (1 + 1e-9); i++) {
    marks.push({ place: (i * step) / seconds, text: clock(i * step, step < 1 ? 1 : 0) });
  }
  return marks;
}

/** The stretch between two moments, within the recording and in order; null where it is too short to be an example. */
export function stretch(one, other, seconds) {
  const within = (moment) => Math.min(seconds, Math.max(0, moment));
  const start = Math.round(within(Math.min(one, other)) * 100) / 100;
  const end = Math.min(seconds, Math.round(within(Math.max(one, other)) * 100) / 100);
  return end - start >= SHORTEST_S - 1e-9 ? { start, end } : null;
}

/** What is wrong with a stretch that somebody typed, as a sentence; empty if nothing is. */
export function complaint(startText, endText, seconds) {
  if (!startText.trim() && !endText.trim()) {
    return "";
  }
  const [start, end] = [readSeconds(startText), readSeconds(endText)];
  if (Number.isNaN(start) || Number.isNaN(end)) {
    return "Give both moments in seconds, such as 1.5, or in minutes, such as 1:02.5.";
  }
  if (end > seconds + 0.005) {
    return "The recording ends at " + clock(seconds, 2) + " s.";
  }
  const fits = start < end && stretch(start, end, seconds);
  return fits ? "" : "The end lies at least " + SHORTEST_S + " s after the start.";
}

/** A stretch in words. */
export function between(start, end) {
  return clock(start) + "\u2013" + clock(end) + (end < 60 ? " s" : "");
}
