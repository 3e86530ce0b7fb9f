// The tracks: which are heard in the mix and how loud, which one is looked at, and what can be downloaded.

import { find, make, say } from "./dom.mjs";
import { downloads, mixLinks } from "./links.mjs";
import { HIGHEST_DB, LOWEST_DB, newTrack } from "./mixing.mjs";

const decibels = (gainDb) => (gainDb <= LOWEST_DB ? "silent" : (gainDb > 0 ? "+" : "") + gainDb + " dB");

export class Desk {
  /**
   * @param {(id: string) => void} choose a track is to be looked at
   * @param {(id: string) => void} remove a track is to go
   * @param {() => void} changed what is heard in the mix is another
   */
  constructor(choose, remove, changed) {
    this.choose = choose;
    this.remove = remove;
    this.changed = changed;
    this.tracks = [];
    this.rows = new Map();
  }

  /** The recording's tracks, and which one is looked at. */
  show(recording, chosen) {
    this.recording = recording;
    const settings = new Map(this.tracks.map((track) => [track.id, track]));
    this.tracks = recording.tracks.map(({ id }) => settings.get(id) || newTrack(id));
    for (const [id, row] of this.rows) {
      if (!recording.tracks.some((track) => track.id === id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    recording.tracks.forEach((track, index) => {
      if (!this.rows.has(track.id)) {
        this.rows.set(track.id, this.row(track, this.tracks[index]));
        find("tracks").append(this.rows.get(track.id));
      }
      const shown = this.rows.get(track.id).querySelector(".shown");
      shown.setAttribute("aria-pressed", String(track.id === chosen));
    });
    find("desk").hidden = !recording.tracks.length;
    this.mixChanged();
  }

  row(track, setting) {
    const name = make("button", { type: "button", className: "shown", title: "Show this track" }, track.description);
    name.addEventListener("click", () => this.choose(track.id));
    const mute = this.toggle("Mute", "muted", track, setting);
    const solo = this.toggle("Solo", "solo", track, setting);
    const id = "level-" + track.id;
    const level = make("input", { type: "range", id, min: LOWEST_DB, max: HIGHEST_DB, step: 1, value: 0 });
    const told = make("output", { htmlFor: id }, decibels(0));
    level.setAttribute("aria-valuetext", decibels(0));
    level.addEventListener("input", () => {
      setting.gainDb = Number(level.value);
      say(told, decibels(setting.gainDb));
      level.setAttribute("aria-valuetext", decibels(setting.gainDb));
      this.mixChanged();
      this.changed();
    });
    const named = "Remove " + track.description;
    const remove = make("button", { type: "button", className: "quiet", "aria-label": named }, "Remove");
    remove.addEventListener("click", () => this.remove(track.id));
    const label = make("label", { className: "unseen", htmlFor: id }, "Volume of " + track.description);
    const volume = make("span", { className: "level" }, label, level, told);
    return make(
      "li",
      { className: "track" },
      make("div", { className: "about" }, name, make("span", { className: "faint" }, track.verdict)),
      make("div", { className: "controls" }, mute, solo, volume, remove),
    );
  }

  toggle(word, setting, track, of) {
    const named = { "aria-label": word + " " + track.description, "aria-pressed": "false" };
    const button = make("button", { type: "button", className: "toggle", ...named }, word);
    button.addEventListener("click", () => {
      of[setting] = !of[setting];
      button.setAttribute("aria-pressed", String(of[setting]));
      this.mixChanged();
      this.changed();
    });
    return button;
  }

  mixChanged() {
    find("mix-downloads").replaceChildren(...downloads(mixLinks(this.recording, this.tracks)));
  }
}
