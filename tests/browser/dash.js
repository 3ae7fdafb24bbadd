// Plays a manifest of DASH with Shaka Player and reports what the browser made of it.

const PATIENCE_MS = 60_000;
const video = document.getElementById("video");
const troubles = [];
let player;
let givenUp;

function guarded(promise) {
  const late = new Promise((_, reject) => {
    AbortSignal.timeout(PATIENCE_MS).addEventListener("abort", () => {
      reject(new Error(`it never came: ${JSON.stringify(state())}`));
    });
  });
  return Promise.race([promise, givenUp, late]);
}

function state() {
  return {
    time: video.currentTime,
    duration: video.duration,
    ended: video.ended,
    size: [video.videoWidth, video.videoHeight],
    decoded: video.getVideoPlaybackQuality().totalVideoFrames,
    troubles,
  };
}

// Take up a manifest; what it offers.
async function load(url) {
  shaka.polyfill.installAll();
  player = new shaka.Player();
  givenUp = new Promise((_, reject) => {
    player.addEventListener("error", ({ detail }) => {
      troubles.push(`${detail.category}.${detail.code}`);
      reject(new Error(`Shaka Player gave up: ${detail.category}.${detail.code} ${JSON.stringify(detail.data)}`));
    });
    video.addEventListener("error", () => reject(new Error(`the decoder gave up: ${video.error.message}`)));
  });
  givenUp.catch(() => {}); // whoever waits hears of it
  await player.attach(video);
  player.configure({ abr: { enabled: false } });
  await guarded(player.load(url));
  return {
    pictures: player.getVariantTracks().map(({ width, height, language }) => [width, height, language]),
    texts: player.getTextTracks().map(({ language, label, roles }) => ({ language, label, roles: [...roles] })),
    duration: video.duration,
  };
}

// Change to a rendition in a language, from the beginning; once so many frames of it were shown.
async function choose(height, language, count) {
  const wanted = player.getVariantTracks().find((one) => one.height === height && one.language === language);
  video.pause();
  if (video.currentTime > 0) {
    const there = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
    video.currentTime = 0;
    await guarded(there);
  }
  player.selectVariantTrack(wanted, true);
  let left = count;
  const shown = new Promise((resolve) => {
    const look = (_, frame) => {
      if (frame.height === height) left -= 1;
      if (left <= 0) resolve();
      else video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
  await guarded(video.play());
  await guarded(shown);
  return state();
}

async function seek(time) {
  video.pause();
  const frame = new Promise((resolve) => {
    const look = (_, { mediaTime }) => {
      if (mediaTime <= time + 0.001 && mediaTime > time - 0.041) resolve(mediaTime);
      else video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
  video.currentTime = time;
  return guarded(frame);
}

// Show subtitles in a language; the cues of the whole film.
async function read(language, count) {
  player.selectTextTrack(player.getTextTracks().find((one) => one.language === language));
  const shown = (one) => one.mode === "showing" && one.language === language;
  const found = () => [...video.textTracks].flatMap((one) => (shown(one) ? [...one.cues] : []));
  while (found().length < count) await guarded(new Promise(requestAnimationFrame));
  return found().map(({ startTime, endTime, text }) => [startTime, endTime, text]);
}

async function end() {
  if (!video.ended) await guarded(new Promise((resolve) => video.addEventListener("ended", resolve, { once: true })));
  return state();
}
