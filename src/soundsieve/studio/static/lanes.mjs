// The recording's picture, and those of a track's target and rest below it: one time axis, one line where it plays.

import { address, find, make, say } from "./dom.mjs";
import { soundPath } from "./links.mjs";
import { between, clock, complaint, readSeconds, stretch, timeMarks } from "./timeline.mjs";

const DRAG_PX = 5;
const NAMES = { mixture: "the recording", target: "what was asked for", rest: "everything else" };

export class Lanes {
  /**
   * @param {(seconds: number) => void} seek
   * @param {(part: {start: number, end: number} | null) => void} changed is told of another stretch
   */
  constructor(seek, changed) {
    this.seek = seek;
    this.changed = changed;
    this.recording = null;
    this.part = null;
    this.lanes = Object.fromEntries(
      [...find("lanes").querySelectorAll("[data-sound]")].map((lane) => [lane.dataset.sound, lane]),
    );
    this.wireSelection();
    this.wireFields();
    new ResizeObserver(() => this.drawTimes()).observe(find("times"));
  }

  get picture() {
    return find("selectable");
  }

  /** Another recording, or the same one with another chosen track (null: none). */
  show(recording, track) {
    if (!this.recording || this.recording.id !== recording.id) {
      this.recording = recording;
      this.setPart(null);
      this.drawTimes();
    }
    this.draw("mixture", "mixture", "Recording");
    for (const [name, told] of [["target", track && track.description], ["rest", "Everything else"]]) {
      this.lanes[name].hidden = !track;
      if (track) {
        this.draw(name, track.id + "." + name, told);
      }
    }
    find("found").hidden = !track || !track.spans.length;
    const seconds = recording.seconds;
    find("spans-drawn").replaceChildren(
      ...(track ? track.spans : []).map(({ start, end }) => {
        const bar = make("div");
        bar.style.left = (100 * start) / seconds + "%";
        bar.style.width = Math.max(0.3, (100 * (end - start)) / seconds) + "%";
        return bar;
      }),
    );
  }

  draw(name, sound, told) {
    const lane = this.lanes[name];
    say(lane.querySelector(".which span"), told);
    const image = lane.querySelector("img");
    const source = address(soundPath(this.recording, sound));
    if (image.src !== source) {
      image.src = source;
    }
    const { seconds, sampleRate } = this.recording;
    const [across, up] = ["time from 0 to " + clock(seconds) + " s", "frequency up to " + sampleRate / 2000 + " kHz"];
    image.alt = "Spectrogram of " + NAMES[name] + ": " + across + " from left to right, " + up;
    const marks = this.recording.marks.map(({ place, text }) => {
      const mark = make("span", {}, text);
      mark.style.bottom = 100 * place + "%";
      return mark;
    });
    lane.querySelector(".marks").replaceChildren(...marks);
  }

  drawTimes() {
    if (!this.recording) {
      return;
    }
    const width = find("times").clientWidth;
    const marks = timeMarks(this.recording.seconds, width).map(({ place, text }) => {
      const mark = make("span", { className: place > 0.97 ? "last" : "" }, text);
      mark.style.left = 100 * place + "%";
      return mark;
    });
    find("times").replaceChildren(...marks);
  }

  drawPlayhead(seconds) {
    const place = this.recording ? (100 * seconds) / this.recording.seconds : 0;
    for (const head of find("lanes").querySelectorAll(".playhead")) {
      head.style.left = place + "%";
    }
  }

  /** Marks a stretch as the example, or none; the fields follow unless somebody types there. */
  setPart(part, typed = false) {
    this.part = part;
    const box = this.picture.querySelector(".part-box");
    box.hidden = !part;
    if (part) {
      box.style.left = (100 * part.start) / this.recording.seconds + "%";
      box.style.width = (100 * (part.end - part.start)) / this.recording.seconds + "%";
    }
    if (!typed) {
      find("part-start").value = part ? clock(part.start, 2) : "";
      find("part-end").value = part ? clock(part.end, 2) : "";
      this.complain("");
    }
    find("part-clear").disabled = !part && !find("part-start").value && !find("part-end").value;
    this.changed(part);
  }

  complain(sentence) {
    say(find("wrong-region"), sentence);
    for (const id of ["part-start", "part-end"]) {
      find(id).setAttribute("aria-invalid", String(Boolean(sentence)));
    }
  }

  wireSelection() {
    const picture = this.picture;
    let from = null;
    let dragged = false;
    const place = (event) => {
      const box = picture.getBoundingClientRect();
      return ((event.clientX - box.left) / box.width) * this.recording.seconds;
    };
    picture.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        from = { seconds: place(event), x: event.clientX };
        dragged = false;
        picture.setPointerCapture(event.pointerId);
      }
    });
    picture.addEventListener("pointermove", (event) => {
      if (from && (dragged || Math.abs(event.clientX - from.x) >= DRAG_PX)) {
        dragged = true;
        this.setPart(stretch(from.seconds, place(event), this.recording.seconds));
      }
    });
    picture.addEventListener("pointerup", (event) => {
      if (from && !dragged) {
        this.seek(place(event));
      }
      from = null;
    });
    picture.addEventListener("pointercancel", () => (from = null));
    for (const plot of find("lanes").querySelectorAll(".plot:not(#selectable)")) {
      plot.addEventListener("click", (event) => this.seek(place(event)));
    }
  }

  wireFields() {
    const typed = () => {
      const [start, end] = [find("part-start").value, find("part-end").value];
      const wrong = complaint(start, end, this.recording.seconds);
      const some = start.trim() && end.trim() && !wrong;
      this.setPart(some ? stretch(readSeconds(start), readSeconds(end), this.recording.seconds) : null, true);
      return wrong;
    };
    for (const id of ["part-start", "part-end"]) {
      find(id).addEventListener("input", () => {
        typed();
        this.complain("");
      });
      find(id).addEventListener("change", () => {
        const both = find("part-start").value.trim() && find("part-end").value.trim();
        this.complain(both ? typed() : "");
      });
      find(id).addEventListener("keydown", (event) => this.step(event));
    }
    find("part-clear").addEventListener("click", () => {
      this.setPart(null);
      find("part-start").focus();
    });
  }

  /** The arrow keys move a moment by a tenth of a second, with shift by one; Enter asks, as it does in every field. */
  step(event) {
    if (event.key === "Enter") {
      find("ask-button").click();
      return;
    }
    const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const now = readSeconds(event.target.value);
    if (direction && !Number.isNaN(now)) {
      event.preventDefault();
      const next = now + direction * (event.shiftKey ? 1 : 0.1);
      event.target.value = clock(Math.min(this.recording.seconds, Math.max(0, next)), 2);
      event.target.dispatchEvent(new Event("input"));
    }
  }

  /** Sets one end to where it plays; the other one, if it is not there yet, to the recording's own. */
  mark(id, seconds) {
    find(id).value = clock(seconds, 2);
    const other = id === "part-start" ? "part-end" : "part-start";
    if (!find(other).value) {
      find(other).value = clock(id === "part-start" ? this.recording.seconds : 0, 2);
    }
    find(id).dispatchEvent(new Event("input"));
    find(id).dispatchEvent(new Event("change"));
  }
}

/** Moments as buttons that play from there, the first of them if there are many. */
export function momentButtons(spans, seconds, play, most = 12) {
  const items = spans.slice(0, most).map(({ start, end }) => {
    const told = end - start > 0.98 * seconds ? "all along" : between(start, end);
    const button = make("button", { type: "button", className: "moment", title: "Play from here" }, told);
    button.addEventListener("click", () => play(start));
    return make("li", {}, button);
  });
  const more = spans.length - most;
  return more > 0 ? [...items, make("li", { className: "faint" }, "and " + more + " more")] : items;
}
