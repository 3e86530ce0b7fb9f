// Listening: the play button, the position, and which sound is heard.

import { address, fetched, find, say } from "./dom.mjs";
import { soundPath } from "./links.mjs";
import { heard, neighbours } from "./mixing.mjs";
import { clock } from "./timeline.mjs";
import { Transport } from "./transport.mjs";

const SOUNDS = ["mixture", "target", "rest", "mix"];

export class Ear {
  /** @param {(seconds: number) => void} moved is told where it plays, again and again */
  constructor(moved) {
    this.moved = moved;
    this.transport = null;
    this.listening = "mixture";
    this.chosen = null;
    this.tracks = [];
    this.wire();
    const follow = () => {
      if (this.transport && this.transport.state === "playing") {
        this.place();
      }
      requestAnimationFrame(follow);
    };
    follow();
  }

  /** Another recording; null for none. */
  open(recording) {
    if (this.transport) {
      this.transport.close();
    }
    this.transport = null;
    this.chosen = null;
    this.tracks = [];
    if (!recording) {
      return;
    }
    const samples = async (sound, start, frames) => {
      const part = [["start", start], ["frames", frames]];
      return (await fetched(address(soundPath(recording, sound, "wav"), part))).arrayBuffer();
    };
    this.transport = new Transport(recording, samples, () => this.changed());
    find("seek").max = recording.seconds;
    this.listen("mixture");
    this.changed();
  }

  /** Listens to the recording ("mixture"), to "target" or "rest" of the chosen track, or to the "mix". */
  listen(what) {
    this.listening = what;
    find("hear-" + what).checked = true;
    for (const lane of find("lanes").querySelectorAll("[data-sound]")) {
      lane.classList.toggle("heard", lane.dataset.sound === what);
    }
    this.hear();
  }

  /** The chosen track, and how loud each one is in the mix. */
  choose(chosen, tracks) {
    this.chosen = chosen;
    this.tracks = tracks;
    if (!chosen && this.listening !== "mixture") {
      this.listen("mixture");
    }
    this.hear();
  }

  hear() {
    if (this.transport) {
      this.transport.hear(heard(this.listening, this.chosen, this.tracks), neighbours(this.chosen));
    }
  }

  get seconds() {
    return this.transport ? this.transport.position / this.transport.recording.sampleRate : 0;
  }

  seek(seconds) {
    return this.transport.seek(seconds * this.transport.recording.sampleRate);
  }

  async playFrom(seconds) {
    await this.seek(seconds);
    if (this.transport.state === "stopped") {
      await this.transport.play();
    }
  }

  pause() {
    this.transport.pause();
  }

  toggle() {
    if (this.transport.state === "stopped") {
      this.transport.play();
    } else {
      this.transport.pause();
    }
  }

  /** It started, stopped, moved or failed. */
  changed() {
    const going = this.transport.state !== "stopped";
    find("play").classList.toggle("going", going);
    find("play").setAttribute("aria-label", going ? "Pause" : "Play");
    say(find("wrong-sound"), this.transport.failure);
    this.place();
  }

  place() {
    const seconds = this.seconds;
    const all = this.transport.recording.seconds;
    if (document.activeElement !== find("seek") || this.transport.state === "playing") {
      find("seek").value = seconds;
    }
    find("seek").setAttribute("aria-valuetext", clock(seconds) + " of " + clock(all) + " seconds");
    say(find("clock"), clock(seconds) + " / " + clock(all));
    this.moved(seconds);
  }

  wire() {
    find("play").addEventListener("click", () => this.toggle());
    find("seek").addEventListener("input", () => this.seek(Number(find("seek").value)));
    for (const what of SOUNDS) {
      find("hear-" + what).addEventListener("change", () => this.listen(what));
    }
    find("listen").addEventListener("keydown", (event) => {
      if (event.key === " " && !event.target.closest("button, summary, input[type=text], a")) {
        event.preventDefault(); // Space plays wherever it does nothing else
        this.toggle();
      }
    });
  }
}
