"use strict";

// What a rater has done so far, and in which order the sounds come. Nothing here knows of the page.

const SCALES = ["rel", "ovl"];
const LOWEST = 1;
const HIGHEST = 5;
const FORMAT = "soundsieve ratings 1";

/** FNV-1a of a text: 32 bits that a seed is made of. */
function hashOf(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

/** Numbers from 0 to 1, the same ones for the same seed: a 32-bit counter (Weyl sequence), each value mixed. */
function randomFrom(seed) {
  let state = seed >>> 0;
  return function () {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return ((x ^ (x >>> 15)) >>> 0) / 4294967296;
  };
}

/** A copy in random order (Fisher and Yates). */
function shuffled(list, random) {
  const mixed = list.slice();
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [mixed[i], mixed[j]] = [mixed[j], mixed[i]];
  }
  return mixed;
}

/** The sounds as one rater gets them: questions in random order, the answers to each in a row, in random order. */
function orderFor(stimuli, test, rater) {
  const random = randomFrom(hashOf(test + "\n" + nameOf(rater)));
  const items = shuffled([...new Set(stimuli.map((stimulus) => stimulus.item))], random);
  return items.flatMap((item) => shuffled(stimuli.filter((stimulus) => stimulus.item === item), random));
}

/** A rater's name as it is compared. */
function nameOf(rater) {
  return rater.trim().replace(/\s+/g, " ").toLowerCase();
}

function newSession(test, rater) {
  return { format: FORMAT, test: test, rater: rater.trim(), ratings: {} };
}

/** Notes a rating; what is not a whole number from 1 to 5 is not noted. Says whether it was. */
function rate(session, token, scale, value) {
  if (!SCALES.includes(scale) || !Number.isInteger(value) || value < LOWEST || value > HIGHEST) {
    return false;
  }
  session.ratings[token] = { ...session.ratings[token], [scale]: value };
  return true;
}

function isRated(session, token) {
  const rating = session.ratings[token] || {};
  return SCALES.every((scale) => scale in rating);
}

/** The scale that a number on the keyboard is for: the one in focus, else the first that is open, else the first. */
function scaleToRate(session, token, focused) {
  const rating = session.ratings[token] || {};
  return focused || SCALES.find((scale) => !(scale in rating)) || SCALES[0];
}

/** Place of the first sound that is not rated in full; the number of sounds if all are. */
function firstOpen(session, order) {
  const place = order.findIndex((stimulus) => !isRated(session, stimulus.token));
  return place < 0 ? order.length : place;
}

/** A session that was stored, without what does not belong into it; null for one of another test, rater or kind. */
function restored(text, test, rater, stimuli) {
  let stored;
  try {
    stored = JSON.parse(text);
  } catch {
    return null;
  }
  if (!stored || stored.format !== FORMAT || stored.test !== test || nameOf(stored.rater || "") !== nameOf(rater)) {
    return null;
  }
  const session = newSession(test, rater);
  for (const { token } of stimuli) {
    for (const [scale, value] of Object.entries((stored.ratings || {})[token] || {})) {
      rate(session, token, scale, value);
    }
  }
  return session;
}

/** What the file of ratings is called: letters, digits and dashes alone. */
function fileNameOf(rater) {
  return "ratings-" + (nameOf(rater).replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "rater") + ".json";
}
