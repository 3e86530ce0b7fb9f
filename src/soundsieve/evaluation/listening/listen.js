
// The page: three views (start, sound, end), of which one is shown.

(function () {
  const { test, stimuli } = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const audio = new Audio();
  let session = null;
  let order = [];
  let place = 0;
  let heard = new Set();

  const storeName = (rater) => "soundsieve-listen:" + test + ":" + nameOf(rater);

  function load(rater) {
    try {
      return restored(localStorage.getItem(storeName(rater)) || "", test, rater, stimuli);
    } catch {
      return null; // some browsers keep nothing for files
    }
  }

  function store() {
    try {
      localStorage.setItem(storeName(session.rater), JSON.stringify(session));
    } catch {
      find("unkept").hidden = false;
    }
  }

  function show(view) {
    for (const name of ["start", "sound", "end"]) {
      find(name).hidden = name !== view;
    }
  }

  function begin(event) {
    event.preventDefault();
    const rater = find("rater").value;
    if (!nameOf(rater)) {
      return;
    }
    session = load(rater) || newSession(test, rater);
    order = orderFor(stimuli, test, rater);
    heard = new Set(Object.keys(session.ratings));
    go(firstOpen(session, order));
  }

  function go(to) {
    audio.pause();
    place = Math.max(0, to);
    if (place >= order.length) {
      show("end");
      const left = order.length - order.filter((stimulus) => isRated(session, stimulus.token)).length;
      find("left").textContent = left ? left + " sounds are not rated yet." : "All " + order.length + " sounds are rated.";
      find("save").focus();
      return;
    }
    audio.src = order[place].audio;
    find("place").textContent = "Sound " + (place + 1) + " of " + order.length;
    find("done").max = order.length;
    find("done").value = place;
    find("query").textContent = order[place].query;
    show("sound");
    refresh();
    find("play").focus();
  }

  function refresh() {
    const token = order[place].token;
    for (const scale of SCALES) {
      const value = (session.ratings[token] || {})[scale];
      for (let i = LOWEST; i <= HIGHEST; i++) {
        find(scale + i).checked = value === i;
      }
    }
    const ready = heard.has(token) && isRated(session, token);
    find("next").disabled = !ready;
    find("back").disabled = place === 0;
    find("hint").textContent = !heard.has(token) ? "Play the sound first." : ready ? "" : "Rate it on both scales.";
    find("play").textContent = audio.paused ? "Play" : "Pause";
  }

  function toggle() {
    if (audio.paused) {
      audio.play().then(() => {
        heard.add(order[place].token);
        refresh();
      }, () => {
        find("hint").textContent = "This browser cannot play the sound.";
      });
    } else {
      audio.pause();
    }
  }

  function note(scale, value, byKey) {
    if (rate(session, order[place].token, scale, value)) {
      store();
      refresh();
      if (byKey) {
        find(scale + value).focus();
        const open = SCALES.find((other) => !(other in session.ratings[order[place].token]));
        if (open) {
          find(open + "3").focus();
        } else if (!find("next").disabled) {
          find("next").focus();
        }
      }
    }
  }

  function focusedScale() {
    const group = document.activeElement && document.activeElement.closest("fieldset");
    return group ? group.id : null;
  }

  function pressed(event) {
    if (find("sound").hidden || event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (event.key === " ") {
      event.preventDefault();
      if (!event.repeat) {
        toggle();
      }
    } else if (/^[1-5]$/.test(event.key)) {
      event.preventDefault();
      note(scaleToRate(session, order[place].token, focusedScale()), Number(event.key), true);
    } else if (event.key === "Enter" && document.activeElement.tagName !== "BUTTON" && !find("next").disabled) {
      event.preventDefault();
      go(place + 1);
    } else if (event.key === "Backspace" && place > 0) {
      event.preventDefault();
      go(place - 1);
    }
  }

  function save() {
    const file = new Blob([JSON.stringify(session, null, 1) + "\n"], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = fileNameOf(session.rater);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    find("saved").textContent = "Saved as " + link.download + ".";
  }

  find("begin").addEventListener("submit", begin);
  find("play").addEventListener("click", toggle);
  find("back").addEventListener("click", () => go(place - 1));
  find("next").addEventListener("click", () => go(place + 1));
  find("again").addEventListener("click", () => go(order.length - 1));
  find("save").addEventListener("click", save);
  for (const scale of SCALES) {
    for (let i = LOWEST; i <= HIGHEST; i++) {
      find(scale + i).addEventListener("change", () => note(scale, i, false));
    }
  }
  document.addEventListener("keydown", pressed);
  document.addEventListener("keyup", (event) => {
    if (event.key === " " && !find("sound").hidden) {
      event.preventDefault(); // else it would press the button in focus, too
    }
  });
  for (const name of ["play", "pause", "ended"]) {
    audio.addEventListener(name, () => session && place < order.length && refresh());
  }
  find("count").textContent = stimuli.length;
  show("start");
  find("rater").focus();
})();
