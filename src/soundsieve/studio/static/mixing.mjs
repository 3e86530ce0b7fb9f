// What is heard: which sounds, and how loud. Nothing here knows of the page.

export const LOWEST_DB = -30;
export const HIGHEST_DB = 6;

/** A track as the mixing desk keeps it: heard, at its own level. */
export function newTrack(id) {
  return { id, muted: false, solo: false, gainDb: 0 };
}

/** The tracks that are part of the mix: where some are solo, those; never one that is muted. */
export function kept(tracks) {
  const alone = tracks.some((track) => track.solo);
  return tracks.filter((track) => !track.muted && (!alone || track.solo));
}

/** A level as a factor; the lowest one is silence. */
export function factor(gainDb) {
  return gainDb <= LOWEST_DB ? 0 : 10 ** (gainDb / 20);
}

/** Sound -> factor for what is listened to: "mixture", "target" or "rest" of the chosen track, or the "mix". */
export function heard(listening, chosen, tracks) {
  if (listening === "mix") {
    return new Map(kept(tracks).map((track) => [track.id + ".target", factor(track.gainDb)]));
  }
  if (listening === "mixture" || !chosen) {
    return new Map([["mixture", 1]]);
  }
  return new Map([[chosen + "." + listening, 1]]);
}

/** What has to be at hand so that another choice is heard at once. */
export function neighbours(chosen) {
  return chosen ? ["mixture", chosen + ".target", chosen + ".rest"] : ["mixture"];
}

/** The mix as it is asked of the server: track -> level in dB, without those that are silent. */
export function levels(tracks) {
  return kept(tracks)
    .filter((track) => factor(track.gainDb) > 0)
    .map((track) => [track.id, track.gainDb]);
}
