// Plays a ladder with hls.js and reports what the browser made of it. Every function waits for events of the player or
// of the video element, and ends with an error as soon as one of them gives up.

const PATIENCE_MS = 60_000;
const FRAME_S = 0.04;
const video = document.getElementById("video");
const troubles = []; // every error that hls.js reported, fatal or not
const frames = []; // every frame that came to the screen
let hls;
let givenUp; // rejects with the first fatal error

function guarded(promise) {
  const late = new Promise((_, reject) => {
    AbortSignal.timeout(PATIENCE_MS).addEventListener("abort", () => {
      reject(new Error(`it never came: ${JSON.stringify(state())}`));
    });
  });
  return Promise.race([promise, givenUp, late]);
}

function heard(event) {
  return guarded(new Promise((resolve) => video.addEventListener(event, resolve, { once: true })));
}

function happened(event, fits = () => true) {
  return guarded(new Promise((resolve) => {
    const listen = (_, data) => {
      if (!fits(data)) return;
      hls.off(event, listen);
      resolve(data);
    };
    hls.on(event, listen);
  }));
}

function shown(fits) {
  return guarded(new Promise((resolve) => {
    const look = (_, frame) => {
      if (fits(frame)) resolve(frame);
      else video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  }));
}

function state() {
  return {
    time: video.currentTime,
    duration: video.duration,
    ended: video.ended,
    size: [video.videoWidth, video.videoHeight],
    decoded: video.getVideoPlaybackQuality().totalVideoFrames,
    audioBytes: video.webkitAudioDecodedByteCount,
    troubles,
    frames,
  };
}

// Take up a ladder; the renditions that it offers.
async function load(url, config = {}) {
  hls = new Hls(config);
  givenUp = new Promise((_, reject) => {
    hls.on(Hls.Events.ERROR, (_, { type, details, fatal, error }) => {
      troubles.push({ type, details, fatal });
      if (fatal) reject(new Error(`hls.js gave up: ${details}: ${error?.message}`));
    });
    video.addEventListener("error", () => reject(new Error(`the decoder gave up: ${video.error.message}`)));
  });
  givenUp.catch(() => {}); // whoever waits hears of it
  const note = (_, { width, height, mediaTime }) => {
    frames.push({ size: [width, height], time: mediaTime });
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  const parsed = happened(Hls.Events.MANIFEST_PARSED);
  hls.loadSource(url);
  hls.attachMedia(video);
  return (await parsed).levels.map(({ width, height }) => [width, height]);
}

async function play() {
  await guarded(video.play());
}

// Change to a rendition at once; what the browser tells before and after it has shown so many frames of it.
async function choose(level, count) {
  if (hls.currentLevel !== level) {
    const arrived = happened(Hls.Events.FRAG_BUFFERED, ({ frag }) => frag.type === "main" && frag.level === level);
    hls.currentLevel = level;
    await arrived;
  }
  await seek(0); // what was taken from under the decoder is seen again only from the next key frame on
  frames.length = 0;
  const before = structuredClone(state());
  await play();
  let left = count;
  await shown(() => (left -= 1) < 0);
  return { before, after: state() };
}

// Pause and go to another place; the time of the frame that is shown there.
async function seek(time) {
  video.pause();
  const there = heard("seeked");
  const frame = shown(({ mediaTime }) => mediaTime <= time + 0.001 && mediaTime > time - FRAME_S - 0.001);
  video.currentTime = time;
  await there;
  const landed = video.currentTime;
  return { landed, frame: (await frame).mediaTime };
}

// Change to another sound, and wait until that frequency is to be heard.
async function listen(track, wanted) {
  const folder = hls.audioTracks[track].url.replace(/[^/]*$/, "");
  if (hls.audioTrack !== track) {
    const arrived = happened(Hls.Events.FRAG_BUFFERED, ({ frag }) => frag.type === "audio" && frag.url.startsWith(folder));
    hls.audioTrack = track;
    await arrived;
  }
  await play(); // from the beginning, where the end has been reached
  return tone(video, wanted);
}

// Show subtitles; the cues of the whole film.
async function read(track, count) {
  hls.subtitleDisplay = true;
  hls.subtitleTrack = track;
  const shown = (one) => one.mode === "showing" && one.language === hls.subtitleTracks[track].lang;
  const found = () => [...video.textTracks].flatMap((one) => (shown(one) ? [...one.cues] : []));
  while (found().length < count) await guarded(new Promise(requestAnimationFrame));
  return found().map(({ startTime, endTime, text }) => [startTime, endTime, text]);
}

async function end() {
  if (!video.ended) await heard("ended");
  return state();
}
