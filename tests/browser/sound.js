// What is to be heard: the frequency that is loudest in a video element, once it is about the one that is waited for.

let ear;

async function tone(video, wanted, within_ms = 20_000) {
  if (!ear) {
    const context = new AudioContext();
    ear = context.createAnalyser();
    ear.fftSize = 8192;
    context.createMediaElementSource(video).connect(ear);
    ear.connect(context.destination);
    video.muted = false;
  }
  const levels = new Float32Array(ear.frequencyBinCount);
  const end = performance.now() + within_ms;
  let heard = 0;
  while (performance.now() < end) {
    await new Promise(requestAnimationFrame);
    ear.getFloatFrequencyData(levels);
    const loudest = levels.reduce((best, level, at) => (level > levels[best] ? at : best), 0);
    if (levels[loudest] > -60) heard = (loudest * ear.context.sampleRate) / ear.fftSize;
    if (Math.abs(heard - wanted) < 20) return heard;
  }
  throw new Error(`${wanted} Hz were not to be heard, but ${heard}`);
}
