// Where sounds, pictures and downloads lie.

import { address, make } from "./dom.mjs";
import { levels } from "./mixing.mjs";

const path = (recording, ...parts) => ["api/recordings", recording.id, ...parts].map(encodePart).join("/");
const encodePart = (part) => part.split("/").map(encodeURIComponent).join("/");

/** A sound's picture, or with another `ending` its samples. */
export function soundPath(recording, sound, ending = "png") {
  return "studio/sounds/" + encodeURIComponent(recording.id) + "/" + encodeURIComponent(sound) + "." + ending;
}

/** What a track can be downloaded as: a title, and links by what they are called. */
export function trackLinks(recording, track) {
  const of = (part, kind) => address(path(recording, "tracks", track.id, part + "." + kind));
  return [
    ["The sound", { wav: of("target", "wav"), flac: of("target", "flac") }],
    ["The rest", { wav: of("rest", "wav"), flac: of("rest", "flac") }],
  ];
}

/** Likewise for the mix of some tracks, if any is heard, and for all tracks together. */
export function mixLinks(recording, tracks) {
  const gains = levels(tracks).map(([id, gainDb]) => ["track", id + ":" + gainDb]);
  const of = (kind) => address(path(recording, "mix." + kind), gains);
  const mix = gains.length ? [["The mix", { wav: of("wav"), flac: of("flac") }]] : [];
  return [...mix, ["All tracks", { zip: address(path(recording, "archive.zip"), gains) }]];
}

/** As elements: "The sound WAV FLAC". */
export function downloads(groups) {
  return groups.map(([title, links]) =>
    make(
      "span",
      { className: "download" },
      title + " ",
      ...Object.entries(links).map(([kind, href]) => {
        const named = "Download " + title.toLowerCase() + " as " + kind;
        return make("a", { href, download: "", "aria-label": named }, "\u2193 " + kind.toUpperCase());
      }),
    ),
  );
}

/** Where a track is removed. */
export function trackPath(recording, id) {
  return address(path(recording, "tracks", id));
}
