// Where downloads lie.

import { address, make } from "./dom.mjs";
import { levels } from "./mixing.mjs";

const path = (recording, ...parts) => ["api/recordings", recording.id, ...parts].map(encodePart).join("/");
const encodePart = (part) => part.split("/").map(encodeURIComponent).join("/");

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
      ...Object.entries(links).map(([kind, href]) =>
        make("a", { href, download: "", "aria-label": "Download " + title.toLowerCase() + " as " + kind }, "\u2193 " + kind.toUpperCase()),
      ),
    ),
  );
}

/** Where a track is removed. */
export function trackPath(recording, id) {
  return address(path(recording, "tracks", id));
}
