// The page: what the server tells is put where people see it, and what they do is told to the server.
//
// Gradio owns the fields, the upload, the microphone and the queue; every message of the server is the whole state.

import { address, fetched, find, say, sentence } from "./dom.mjs";
import { Desk } from "./desk.mjs";
import { Ear } from "./ear.mjs";
import { areThere, complainAll, focusQuestion, focusWrong, keepPage, refuseLarge } from "./fields.mjs";
import { Lanes, momentButtons } from "./lanes.mjs";
import { downloads, trackLinks, trackPath } from "./links.mjs";
import { between, clock } from "./timeline.mjs";

const PLACES = ["choose-title", "recording-name", "said", "listen", "model"];
const HEALTH_MS = 1000;
const LOADING = "The model is loading. You can ask already: it will answer as soon as it can.";
const FAR_DOWN = 0.6; // of the window's height

export class Page {
  constructor() {
    const limits = { minutes: Infinity, megabytes: Infinity };
    this.state = { recording: null, chosen: null, errors: {}, busy: null, said: "", limits };
    this.choosing = false;
    this.ear = new Ear((seconds) => this.lanes.drawPlayhead(seconds));
    this.lanes = new Lanes((seconds) => this.ear.seek(seconds), (part) => this.partChanged(part));
    this.desk = new Desk((id) => this.choose(id), (id) => this.remove(id), () => this.ear.hear());
    this.wire();
    this.setStage();
    this.watchModel();
  }

  /** The stretch of the recording that is asked with. */
  get part() {
    return this.lanes.part;
  }

  /** Where it plays. */
  get seconds() {
    return this.ear.seconds;
  }

  get track() {
    const { recording, chosen } = this.state;
    return (recording && recording.tracks.find((track) => track.id === chosen)) || null;
  }

  /** A message of the server: the whole state, but for the chosen track, which is named when it is a new one. */
  tell(message) {
    const before = this.state;
    const other = idOf(before) !== idOf(message);
    this.state = { ...before, chosen: other ? null : before.chosen, ...message };
    if (other) {
      this.open();
    } else if (this.state.recording && trackIds(before) !== trackIds(this.state)) {
      this.draw();
    }
    if (message.chosen && message.chosen !== before.chosen) {
      this.ear.listen("target");
      this.bringIntoView();
    }
    this.report();
    this.setStage();
    if (!message.busy && Object.keys(message.errors).length) {
      focusWrong(message.errors);
    } else if (other && message.recording) {
      this.focusNext();
    }
  }

  /** What goes on, and what went wrong. */
  report() {
    const { errors, busy, said, limits } = this.state;
    const most = limits.minutes + " min and " + limits.megabytes + " MB.";
    say(find("limits"), "Wav, flac, mp3, ogg and more, of up to " + most);
    complainAll(errors);
    if (errors.region) {
      this.lanes.complain(errors.region);
    }
    const percent = busy ? busy.words.match(/: \d+%/) || "" : ""; // not read aloud: it changes all the time
    say(find("said"), busy ? busy.words.replace(String(percent), "") : said);
    say(find("percent"), String(percent));
    find("said").classList.toggle("unseen", !busy && Boolean(this.track) && said.startsWith(this.track.description));
    find("progress").hidden = !busy;
    if (busy && busy.fraction !== null) {
      find("progress").value = busy.fraction;
    } else {
      find("progress").removeAttribute("value");
    }
    document.body.classList.toggle("sieve-busy", Boolean(busy && busy.fraction !== null));
    find("ask-button").disabled = Boolean(busy);
  }

  open() {
    const { recording } = this.state;
    this.ear.open(recording);
    this.choosing = false;
    if (recording) {
      const { seconds, channels, sampleRate } = recording;
      const length = seconds < 60 ? clock(seconds) + " s" : clock(seconds, 0) + " min";
      const width = { 1: "mono", 2: "stereo" }[channels] || channels + " channels";
      say(find("recording-name"), recording.name);
      say(find("recording-facts"), [length, width, sampleRate / 1000 + " kHz"].join(" \u00b7 "));
      this.draw();
    }
  }

  draw() {
    const { recording } = this.state;
    const track = this.track;
    const spans = track ? track.spans : [];
    this.lanes.show(recording, track);
    this.desk.show(recording, track && track.id);
    this.ear.choose(track && track.id, this.desk.tracks);
    say(find("listen-title"), track ? track.description : "Listen");
    say(find("verdict"), track ? (track.verdict + " Answered in " + track.took.toFixed(1) + " s.").trim() : "");
    say(find("about-rest"), track && track.warning ? sentence(track.warning) : "");
    find("found-at").hidden = !spans.length;
    find("moments").replaceChildren(...momentButtons(spans, recording.seconds, (start) => this.ear.playFrom(start)));
    find("downloads").replaceChildren(...(track ? downloads(trackLinks(recording, track)) : []));
    find("code").hidden = !track;
    say(find("command"), track ? track.command : "");
    say(find("python"), track ? track.python : "");
  }

  choose(id) {
    this.state.chosen = id;
    this.draw();
    if (this.ear.listening === "mixture") {
      this.ear.listen("target");
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

  partChanged(part) {
    find("stretch-chip").hidden = !part;
    if (part) {
      say(find("stretch-told"), "Example: " + between(part.start, part.end) + " of this recording");
    }
  }

  /** To where the question is typed; where fingers type, only to the heading, so that no keyboard covers the page. */
  focusNext() {
    if (matchMedia("(pointer: coarse)").matches) {
      find("recording-name").focus();
    } else {
      focusQuestion();
    }
  }

  /** An answer that begins too far down is not seen, above all on a phone. */
  bringIntoView() {
    if (find("listen-title").getBoundingClientRect().bottom > FAR_DOWN * innerHeight) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      find("listen").scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
    }
  }

  /** To choose a recording, or to ask about it. */
  setStage() {
    const { recording } = this.state;
    const choosing = !recording || this.choosing;
    document.body.classList.toggle("sieve-choosing", choosing);
    find("listen").hidden = choosing;
    find("desk").hidden = choosing || !recording.tracks.length;
    find("back").hidden = !(recording && this.choosing);
  }

  chooseAgain(choosing) {
    this.choosing = choosing;
    this.setStage();
    find(choosing ? "choose-title" : "recording-name").focus();
  }

  wire() {
    find("another").addEventListener("click", () => {
      this.ear.pause();
      this.chooseAgain(true);
    });
    find("back").addEventListener("click", () => this.chooseAgain(false));
    find("stretch-drop").addEventListener("click", () => {
      this.lanes.setPart(null);
      focusQuestion();
    });
    find("part-start-here").addEventListener("click", () => this.lanes.mark("part-start", this.seconds));
    find("part-end-here").addEventListener("click", () => this.lanes.mark("part-end", this.seconds));
    for (const button of document.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => this.copy(find(button.dataset.copies)));
    }
    for (const name of ["dragover", "drop"]) {
      document.addEventListener(name, keepPage);
    }
    for (const name of ["drop", "change"]) {
      document.addEventListener(name, (event) => refuseLarge(event, this.state.limits.megabytes), true);
    }
  }

  async copy(element) {
    find("said").classList.remove("unseen");
    try {
      await navigator.clipboard.writeText(element.textContent);
      say(find("said"), "Copied.");
    } catch {
      getSelection().selectAllChildren(element); // a page that is neither local nor https may not copy
      say(find("said"), "Press Ctrl+C to copy what is marked.");
    }
  }

  /** Says how the model is until it is there. */
  async watchModel() {
    let health;
    try {
      health = await (await fetched(address("health"))).json();
      say(find("model"), { loading: LOADING, ready: "" }[health.state] ?? sentence(health.state));
    } catch (error) {
      say(find("model"), error.message);
    }
    if (!health || health.state === "loading") {
      setTimeout(() => this.watchModel(), HEALTH_MS);
    }
  }
}

const idOf = (state) => (state.recording ? state.recording.id : null);
const trackIds = (state) => state.recording.tracks.map((track) => track.id).join(" ");

/** Begins once Gradio has put everything on the page. */
export function start(bridge) {
  if (!PLACES.every(find) || !areThere()) {
    requestAnimationFrame(() => start(bridge));
    return;
  }
  const page = new Page();
  window.soundsieve = page;
  bridge.watch("value", () => bridge.props.value && page.tell(bridge.props.value));
  if (bridge.props.value) {
    page.tell(bridge.props.value);
  }
}
