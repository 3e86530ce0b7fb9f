// Small helpers around the document.

export const find = (id) => document.getElementById(id);

/** An element with properties, and texts or elements in it. */
export function make(tag, properties = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && !name.startsWith("aria") && name !== "role") {
      element[name] = value;
    } else {
      element.setAttribute(name, value);
    }
  }
  element.append(...content);
  return element;
}

/** Puts text where it is not already, so that nothing is told twice. */
export function say(element, text) {
  if (element && element.textContent !== text) {
    element.textContent = text;
  }
}

/** An address on the studio's own server, wherever the page is mounted. */
export function address(path, parameters = []) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of parameters) {
    url.searchParams.append(name, value);
  }
  return url.href;
}

/** What the server answers, or an error that a person can read. */
export async function fetched(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The studio does not answer: is soundsieve studio still running?");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    const words = told.error || told.detail;
    throw new Error(sentence(typeof words === "string" ? words : "the studio answered with error " + answer.status));
  }
  return answer;
}

/** With a capital, unless the first word is a name with signs in it, and a full stop at the end. */
export function sentence(text) {
  const begun = /^\p{L}+(\s|$)/u.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(begun) ? begun : begun + ".";
}
