// Plays aligned sounds of one recording: one position for all, whichever is heard.
//
// Every sound is fetched in pieces of a few seconds and set on one clock, that of the audio hardware, so that sounds
// stay together to the sample, long recordings take little memory, and changing what is heard is a change of level.

const PIECE_S = 6;
const AHEAD_S = 1.5;
const START_S = 0.05;
const FADE_S = 0.012;
const TICK_MS = 100;
const MOST_BYTES = 128 * 2 ** 20;

/** The pieces that hold the frames from `first` to `last` (not included), by number. */
export function piecesBetween(first, last, pieceFrames, frames) {
  const numbers = [];
  const end = Math.min(last, frames);
  for (let number = Math.floor(first / pieceFrames); first < end && number * pieceFrames < end; number++) {
    numbers.push(number);
  }
  return numbers;
}

export class Transport {
  /**
   * @param {object} recording frames, sampleRate and channels
   * @param {(sound: string, start: number, frames: number) => Promise<ArrayBuffer>} fetchPiece a sound file
   * @param {() => void} changed is told when it starts, stops, waits or fails
   */
  constructor(recording, fetchPiece, changed, makeContext = (rate) => newContext(rate)) {
    this.recording = recording;
    this.pieceFrames = PIECE_S * recording.sampleRate;
    this.fetchPiece = fetchPiece;
    this.changed = changed;
    this.makeContext = makeContext;
    this.context = null;
    this.state = "stopped"; // stopped, waiting, playing
    this.failure = "";
    this.at = 0; // frame; where it stands, or where it started to play
    this.since = 0; // of the hardware's clock, when it started there
    this.gains = new Map(); // sound -> factor
    this.nearby = []; // sounds that are kept ready
    this.nodes = new Map(); // sound -> its level
    this.pieces = new Map(); // sound and number -> buffer, the one used last at the end
    this.loading = new Map();
    this.running = new Map(); // sound and number -> source
    this.timer = null;
    this.turn = 0; // counts starts and stops: what was begun before the last one is out of date
  }

  get position() {
    if (this.state !== "playing") {
      return this.at;
    }
    const gone = Math.max(0, this.context.currentTime - this.since) * this.recording.sampleRate;
    return Math.min(this.recording.frames, this.at + gone);
  }

  /** What is heard: sound -> factor; the others in `nearby` are kept ready. */
  hear(gains, nearby) {
    this.gains = gains;
    this.nearby = nearby;
    for (const [sound, node] of this.nodes) {
      node.gain.setTargetAtTime(gains.get(sound) || 0, this.context.currentTime, FADE_S);
    }
    if (this.state === "playing") {
      this.tick();
    }
  }

  async play() {
    if (this.state !== "stopped") {
      return;
    }
    this.failure = "";
    try {
      this.context = this.context || this.makeContext(this.recording.sampleRate);
    } catch {
      this.fail("This browser cannot play sounds at " + this.recording.sampleRate + " Hz; the downloads hold them.");
      return;
    }
    if (this.at >= this.recording.frames - 1) {
      this.at = 0;
    }
    await this.begin();
  }

  pause() {
    const place = this.position;
    this.silence();
    this.at = place;
    this.become("stopped");
  }

  async seek(frame) {
    const going = this.state !== "stopped";
    this.silence();
    this.at = Math.min(this.recording.frames - 1, Math.max(0, Math.round(frame)));
    this.become("stopped");
    if (going) {
      await this.begin();
    }
  }

  close() {
    this.pause();
    this.turn++;
    this.pieces.clear();
    if (this.context) {
      this.context.close();
    }
  }

  /** Waits for the first pieces, then starts all of them on one moment. */
  async begin() {
    const turn = ++this.turn;
    this.become("waiting");
    const audible = [...this.gains.keys()];
    try {
      await this.context.resume();
      await Promise.all(audible.flatMap((sound) => this.ahead(this.at).map((number) => this.load(sound, number))));
    } catch (error) {
      if (turn === this.turn) {
        this.fail(error.message);
      }
      return;
    }
    if (turn !== this.turn) {
      return;
    }
    this.since = this.context.currentTime + START_S;
    this.become("playing");
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.tick();
  }

  /** Sets what comes next on the clock; waits where it is not there yet; stops at the end. */
  tick() {
    if (this.state !== "playing") {
      return;
    }
    const place = this.position;
    if (place >= this.recording.frames) {
      this.silence();
      this.at = 0;
      this.become("stopped");
      return;
    }
    const numbers = this.ahead(place);
    if ([...this.gains].some(([sound, factor]) => factor && !this.pieces.has(sound + " " + numbers[0]))) {
      this.silence();
      this.at = place;
      this.begin();
      return;
    }
    for (const sound of new Set([...this.gains.keys(), ...this.nearby])) {
      for (const number of numbers) {
        const key = sound + " " + number;
        if (this.pieces.has(key)) {
          this.schedule(sound, number);
        } else if (!this.loading.has(key)) {
          this.load(sound, number).then(() => this.tick(), () => {}); // `begin` asks again, and tells
        }
      }
    }
    this.forget();
  }

  ahead(place) {
    const last = place + Math.max(1, AHEAD_S * this.recording.sampleRate);
    return piecesBetween(place, last, this.pieceFrames, this.recording.frames);
  }

  schedule(sound, number) {
    const key = sound + " " + number;
    if (this.running.has(key)) {
      return;
    }
    const rate = this.recording.sampleRate;
    const starts = this.since + (number * this.pieceFrames - this.at) / rate;
    const buffer = this.touched(key);
    const late = Math.max(0, this.context.currentTime + 0.005 - starts);
    if (late >= buffer.duration) {
      return;
    }
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.nodeOf(sound));
    source.onended = () => this.running.get(key) === source && this.running.delete(key);
    source.start(starts + late, late);
    this.running.set(key, source);
  }

  nodeOf(sound) {
    if (!this.nodes.has(sound)) {
      const node = new GainNode(this.context, { gain: this.gains.get(sound) || 0 });
      node.connect(this.context.destination);
      this.nodes.set(sound, node);
    }
    return this.nodes.get(sound);
  }

  load(sound, number) {
    const key = sound + " " + number;
    if (this.pieces.has(key)) {
      return Promise.resolve();
    }
    if (!this.loading.has(key)) {
      const start = number * this.pieceFrames;
      const frames = Math.min(this.pieceFrames, this.recording.frames - start);
      const work = this.fetchPiece(sound, start, frames)
        .then((bytes) => this.context.decodeAudioData(bytes))
        .then((buffer) => void this.pieces.set(key, buffer))
        .finally(() => this.loading.delete(key));
      this.loading.set(key, work);
    }
    return this.loading.get(key);
  }

  touched(key) {
    const buffer = this.pieces.get(key);
    this.pieces.delete(key);
    this.pieces.set(key, buffer);
    return buffer;
  }

  /** Lets go of the pieces that were not used for longest. */
  forget() {
    const most = Math.max(8, MOST_BYTES / (this.pieceFrames * this.recording.channels * 4));
    for (const key of this.pieces.keys()) {
      if (this.pieces.size <= most) {
        break;
      }
      if (!this.running.has(key)) {
        this.pieces.delete(key);
      }
    }
  }

  silence() {
    this.turn++;
    clearInterval(this.timer);
    for (const source of this.running.values()) {
      source.onended = null;
      source.stop();
    }
    this.running.clear();
  }

  fail(sentence) {
    this.silence();
    this.failure = sentence;
    this.become("stopped");
  }

  become(state) {
    this.state = state;
    this.changed();
  }
}

function newContext(sampleRate) {
  return new AudioContext({ sampleRate, latencyHint: "interactive" });
}
