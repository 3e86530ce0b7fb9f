// Gradio's fields: what is wrong with them stands below them, and is told with them.

import { find, say } from "./dom.mjs";

const FIELDS = {
  source: "#sources",
  text: "#ask-text",
  exclude: "#ask-exclude",
  like: "#ask-like",
  unlike: "#ask-unlike",
  ask: "#ask-button",
};
const UPLOADS = ["source", "like", "unlike"];
const QUESTION = "#ask-text :is(textarea, input)";

/** Whether Gradio has put the fields on the page. */
export function areThere() {
  return Boolean(document.querySelector(QUESTION));
}

/** Tells what is wrong with each field, as sentences by field; what is not named is right. */
export function complainAll(errors) {
  for (const field of Object.keys(FIELDS)) {
    complain(field, errors[field] || "");
  }
}

function complain(field, sentence) {
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
  for (const input of [place, ...place.querySelectorAll("*")]) {
    if (input.matches("input, textarea, button")) {
      input.setAttribute("aria-describedby", id);
    }
    if (input.matches("input, textarea")) {
      input.setAttribute("aria-invalid", String(Boolean(sentence)));
    }
  }
}

/** Refuses a file that is too large before it is sent: Gradio does not get to see it. */
export function refuseLarge(event, megabytes) {
  const field = UPLOADS.find((one) => event.target.closest(FIELDS[one]));
  const files = event.dataTransfer ? event.dataTransfer.files : event.target.files;
  if (!field || !files) {
    return;
  }
  const large = [...files].find((file) => file.size > megabytes * 1e6);
  complain(field, large ? large.name + " is larger than " + megabytes + " MB, the most that is taken here." : "");
  if (large) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}

/** A file that is dropped beside a field would take the place of the page, and of all that is on it. */
export function keepPage(event) {
  if (!UPLOADS.some((field) => event.target.closest(FIELDS[field]))) {
    event.preventDefault();
  }
}

/** To the first field that is wrong, if any is. */
export function focusWrong(errors) {
  const wrong = Object.keys(FIELDS).find((field) => errors[field]);
  const place = wrong && document.querySelector(FIELDS[wrong]);
  const inner = place && place.querySelector("textarea, input:not([type=file]), button");
  if (place) {
    (inner || place).focus();
  }
}

/** To where the question is typed. */
export function focusQuestion() {
  document.querySelector(QUESTION).focus();
}
