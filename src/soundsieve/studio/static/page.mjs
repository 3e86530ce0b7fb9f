// The page: what the server tells is put where people see it, and what they do is told to the server.
//
// Gradio owns the fields, the upload, the microphone and the queue; every message of the server is the whole state.

import { address, fetched, find, say, sentence } from "./dom.mjs";
import { Desk } from "./desk.mjs";
import { Lanes, momentButtons, soundPath } from "./lanes.mjs";
import { downloads, trackLinks, trackPath } from "./links.mjs";
import { heard, neighbours } from "./mixing.mjs";
import { between, clock } from "./timeline.mjs";
import { Transport } from "./transport.mjs";

const FIELDS = {
  source: "#sources",
  text: "#ask-text",
  exclude: "#ask-exclude",
  like: "#ask-like",
  unlike: "#ask-unlike",
  ask: "#ask-button",
};
const QUESTION = "#ask-text :is(textarea, input)";
const UPLOADS = ["source", "like", "unlike"];
const PLACES = ["recording-name", "said", "listen", "model", "choose-title"];
const HEALTH_MS = 1000;

export class Page {
  constructor() {
    this.state = { recording: null, chosen: null, errors: {}, busy: null, said: "", limits: null };
    this.transport = null;
    this.listening = "mixture";
    this.lanes = new Lanes((seconds) => this.seek(seconds), (part) => this.partChanged(part));
    this.desk = new Desk((id) => this.choose(id), (id) => this.remove(id), () => this.hear());
    this.wire();
    this.setStage();
    this.watchModel();
    requestAnimationFrame(() => this.follow());
  }

  /** A message of the server: the whole state. */
  tell(message) {
    const before = this.state;
    this.state = { ...before, ...message };
    const { recording, errors, busy, said } = this.state;
    const other = recording && (!before.recording || before.recording.id !== recording.id);
    if (other) {
      this.open(recording);
    }
    for (const field of Object.keys(FIELDS)) {
      this.complain(field, errors[field] || "");
    }
    if (errors.region) {
      this.lanes.complain(errors.region);
    }
    say(find("said"), busy ? busy.words : said);
    find("said").classList.toggle("unseen", Boolean(message.chosen)); // it stands over the answer, too
    find("progress").hidden = !busy;
    if (busy && busy.fraction !== null) {
      find("progress").value = busy.fraction;
    } else {
      find("progress").removeAttribute("value");
    }
    document.body.classList.toggle("sieve-busy", Boolean(busy));
    find("ask-button").disabled = Boolean(busy);
    if (recording && (other || this.signature(before) !== this.signature(this.state))) {
      const fresh = this.state.chosen && this.state.chosen !== before.chosen;
      this.draw();
      if (fresh) {
        this.listen("target");
        this.bringIntoView();
      }
    }
    this.setStage();
    if (!busy && Object.values(errors).some(Boolean)) {
      this.focusWrong();
    } else if (other) {
      this.focusQuestion();
    }
  }

  signature(state) {
    return JSON.stringify([state.chosen, state.recording && state.recording.tracks.map((track) => track.id)]);
  }

  get track() {
    const { recording, chosen } = this.state;
    return (recording && recording.tracks.find((track) => track.id === chosen)) || null;
  }

  open(recording) {
    if (this.transport) {
      this.transport.close();
    }
    this.transport = new Transport(
      recording,
      (sound, start, frames) =>
        fetched(address(soundPath(recording, sound, "wav"), [["start", start], ["frames", frames]])).then((got) => got.arrayBuffer()),
      () => this.played(),
    );
    say(find("recording-name"), recording.name);
    const channels = { 1: "mono", 2: "stereo" }[recording.channels] || recording.channels + " channels";
    const facts = [recording.seconds < 60 ? clock(recording.seconds) + " s" : clock(recording.seconds, 0) + " min", channels, recording.sampleRate / 1000 + " kHz"];
    say(find("recording-facts"), facts.join(" \u00b7 "));
    find("seek").max = recording.seconds;
    this.choosing = false;
    this.listen("mixture");
    this.played();
  }

  draw() {
    const { recording } = this.state;
    const track = this.track;
    this.lanes.show(recording, track);
    this.desk.show(recording, track && track.id);
    say(find("listen-title"), track ? track.description : "Listen");
    say(find("verdict"), track ? (track.verdict + " Answered in " + track.took.toFixed(1) + " s.").trim() : "");
    find("verdict").classList.toggle("absent", Boolean(track && track.wanted && !track.found));
    const spans = track ? track.spans : [];
    find("found-at").hidden = !spans.length;
    find("moments").replaceChildren(...momentButtons(spans, recording.seconds, (start) => this.playFrom(start)));
    find("downloads").replaceChildren(...(track ? downloads(trackLinks(recording, track)) : []));
    find("code").hidden = !track;
    say(find("command"), track ? track.command : "");
    say(find("python"), track ? track.python : "");
    if (!track && this.listening !== "mixture") {
      this.listen("mixture");
    }
    this.hear();
  }

  choose(id) {
    this.state.chosen = id;
    this.draw();
    if (this.listening === "mixture") {
      this.listen("target");
    }
    find("listen-title").focus();
  }

  async remove(id) {
    const { recording } = this.state;
    say(find("wrong-tracks"), "");
    try {
      await fetched(trackPath(recording, id), { method: "DELETE" });
    } catch (error) {
      say(find("wrong-tracks"), error.message);
      return;
    }
    recording.tracks = recording.tracks.filter((track) => track.id !== id);
    const last = recording.tracks[recording.tracks.length - 1];
    if (this.state.chosen === id) {
      this.state.chosen = last ? last.id : null;
    }
    this.draw();
    find(last ? "desk-title" : "listen-title").focus();
  }

  // Listening

  listen(what) {
    this.listening = what;
    find("hear-" + what).checked = true;
    for (const lane of find("lanes").querySelectorAll("[data-sound]")) {
      lane.classList.toggle("heard", lane.dataset.sound === what);
    }
    this.hear();
  }

  hear() {
    if (this.transport) {
      const chosen = this.track && this.track.id;
      this.transport.hear(heard(this.listening, chosen, this.desk.tracks), neighbours(chosen));
    }
  }

  toggle() {
    if (this.transport.state === "stopped") {
      this.transport.play();
    } else {
      this.transport.pause();
    }
  }

  seek(seconds) {
    this.transport.seek(seconds * this.transport.recording.sampleRate);
  }

  async playFrom(seconds) {
    await this.transport.seek(seconds * this.transport.recording.sampleRate);
    if (this.transport.state === "stopped") {
      await this.transport.play();
    }
  }

  get seconds() {
    return this.transport ? this.transport.position / this.transport.recording.sampleRate : 0;
  }

  /** It started, stopped, moved or failed. */
  played() {
    const going = this.transport.state !== "stopped";
    find("play").classList.toggle("going", going);
    find("play").setAttribute("aria-label", going ? "Pause" : "Play");
    say(find("wrong-sound"), this.transport.failure);
    this.place();
  }

  place() {
    const seconds = this.seconds;
    const all = this.state.recording ? this.state.recording.seconds : 0;
    this.lanes.drawPlayhead(seconds);
    if (document.activeElement !== find("seek") || this.transport.state === "playing") {
      find("seek").value = seconds;
    }
    find("seek").setAttribute("aria-valuetext", clock(seconds) + " of " + clock(all) + " seconds");
    say(find("clock"), clock(seconds) + " / " + clock(all));
  }

  follow() {
    if (this.transport && this.transport.state === "playing") {
      this.place();
    }
    requestAnimationFrame(() => this.follow());
  }

  // Asking

  partChanged(part) {
    find("stretch-chip").hidden = !part;
    if (part) {
      say(find("stretch-told"), "Example: " + between(part.start, part.end) + " of this recording");
    }
  }

  /** The stretch that is asked with, for the server. */
  get part() {
    return this.lanes.part;
  }

  complain(field, sentence) {
    const place = document.querySelector(FIELDS[field]);
    if (!place) {
      return; // what is folded away is not on the page
    }
    const id = "wrong-" + field;
    let told = find(id);
    if (!told) {
      told = document.createElement("p");
      told.id = id;
      told.className = "sieve-wrong";
      told.setAttribute("role", "alert");
      place.after(told);
    }
    say(told, sentence);
    for (const input of [place, ...place.querySelectorAll("*")].filter((one) => one.matches("input, textarea, button"))) {
      input.setAttribute("aria-describedby", id);
      if (input.matches("input, textarea")) {
        input.setAttribute("aria-invalid", String(Boolean(sentence)));
      }
    }
  }

  /** Says at once, before it is sent, what is too large; Gradio does not see it. */
  refuseLarge(event) {
    const field = UPLOADS.find((one) => event.target.closest(FIELDS[one]));
    const files = event.dataTransfer ? event.dataTransfer.files : event.target.files;
    if (!field || !files) {
      return;
    }
    const { limits } = this.state;
    const large = limits && [...files].find((file) => file.size > limits.megabytes * 1e6);
    this.complain(field, large ? large.name + " is larger than " + limits.megabytes + " MB, the most that is taken here." : "");
    if (large) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  }

  /** An answer that begins too far down is not seen, above all on a phone. */
  bringIntoView() {
    if (find("listen-title").getBoundingClientRect().bottom > 0.6 * innerHeight) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      find("listen").scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
    }
  }

  /** To the first field that is wrong. */
  focusWrong() {
    const wrong = Object.keys(FIELDS).find((field) => this.state.errors[field]);
    const place = wrong ? document.querySelector(FIELDS[wrong]) : find("part-start");
    const input = place.matches("input, button") ? place : place.querySelector("textarea, input:not([type=file]), button");
    if (input) {
      input.focus();
    }
  }

  /** To where the question is typed; where fingers type, to its heading, so that no keyboard covers the page. */
  focusQuestion() {
    const typed = matchMedia("(pointer: coarse)").matches ? find("recording-name") : document.querySelector(QUESTION);
    typed.focus();
  }

  setStage() {
    if (!this.state.recording && this.transport) {
      this.transport.close();
      this.transport = null;
    }
    const choosing = !this.state.recording || this.choosing;
    document.body.classList.toggle("sieve-choosing", choosing);
    find("listen").hidden = choosing;
    find("desk").hidden = choosing || !this.state.recording.tracks.length;
    find("back").hidden = !(this.choosing && this.state.recording);
  }

  // What is pressed

  wire() {
    find("play").addEventListener("click", () => this.toggle());
    find("seek").addEventListener("input", () => this.seek(Number(find("seek").value)));
    for (const what of ["mixture", "target", "rest", "mix"]) {
      find("hear-" + what).addEventListener("change", () => this.listen(what));
    }
    find("stretch-drop").addEventListener("click", () => {
      this.lanes.setPart(null);
      document.querySelector(QUESTION).focus();
    });
    find("part-start-here").addEventListener("click", () => this.lanes.mark("part-start", this.seconds));
    find("part-end-here").addEventListener("click", () => this.lanes.mark("part-end", this.seconds));
    find("another").addEventListener("click", () => {
      this.transport.pause();
      this.choosing = true;
      this.setStage();
      find("choose-title").focus();
    });
    find("back").addEventListener("click", () => {
      this.choosing = false;
      this.setStage();
      find("recording-name").focus();
    });
    for (const button of document.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => this.copy(button));
    }
    for (const name of ["drop", "change"]) {
      document.addEventListener(name, (event) => this.refuseLarge(event), true);
    }
    find("listen").addEventListener("keydown", (event) => this.pressed(event));
  }

  /** Space plays wherever it does nothing else. */
  pressed(event) {
    if (event.key === " " && !event.target.closest("button, summary, input[type=text], a")) {
      event.preventDefault();
      this.toggle();
    }
  }

  async copy(button) {
    const text = find(button.dataset.copies).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const range = document.createRange(); // pages that are not local or https may not write: mark it instead
      range.selectNodeContents(find(button.dataset.copies));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      say(find("said"), "Press Ctrl+C to copy what is marked.");
      return;
    }
    say(find("said"), "Copied.");
  }

  /** Says how the model is until it is there. */
  async watchModel() {
    try {
      const health = await (await fetched(address("health"))).json();
      const loading = "The model is loading. You can ask already: it will answer as soon as it can.";
      say(find("model"), health.ready ? "" : health.state === "loading" ? loading : sentence(health.state));
      if (health.state !== "loading") {
        return;
      }
    } catch (error) {
      say(find("model"), error.message);
    }
    setTimeout(() => this.watchModel(), HEALTH_MS);
  }
}

/** Begins once Gradio has put everything on the page. */
export function start(bridge) {
  const begin = () => {
    if (!PLACES.every(find) || !document.querySelector(QUESTION)) {
      requestAnimationFrame(begin);
      return;
    }
    const page = new Page();
    window.soundsieve = page;
    bridge.watch("value", () => bridge.props.value && page.tell(bridge.props.value));
    if (bridge.props.value) {
      page.tell(bridge.props.value);
    }
  };
  begin();
}
