// The camera: frames as pixels, each with the time at which it was captured or, where the browser does not say, shown.
const WANTED = { width: { ideal: 640 }, height: { ideal: 480 } };

export class Camera {
  constructor(video) {
    this.video = video;
    this.pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    this.facing = "environment";
    this.ageFrom = "presentation";
    this.stream = null;
  }

  get running() {
    return this.stream !== null;
  }

  async start() {
    if (!navigator.mediaDevices) throw new Error("This page came over plain HTTP, where browsers give no camera. See below for two ways.");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { ...WANTED, facingMode: { ideal: this.facing } }, audio: false });
    } catch (error) {
      const reasons = { NotAllowedError: "Permission was not given.", NotFoundError: "This device has none.", NotReadableError: "Another program uses it." };
      throw new Error(`No camera: ${reasons[error.name] ?? error.message}`);
    }
    this.stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  async turn() {
    this.facing = this.facing === "environment" ? "user" : "environment";
    this.stop();
    await this.start();
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  // The next frame's time on performance.now()'s clock; null where the camera has ended.
  next() {
    return new Promise((resolve) => {
      if (!this.running) { resolve(null); return; }
      const watch = setInterval(() => { if (!this.running) { clearInterval(watch); resolve(null); } }, 200);
      const done = (atMs) => { clearInterval(watch); resolve(atMs); };
      if (!this.video.requestVideoFrameCallback) { requestAnimationFrame((nowMs) => done(nowMs)); return; }
      this.video.requestVideoFrameCallback((nowMs, { captureTime }) => {
        this.ageFrom = captureTime === undefined ? "presentation" : "capture";
        done(captureTime ?? nowMs);
      });
    });
  }

  // The frame that the video shows now.
  pixels() {
    const { videoWidth: width, videoHeight: height } = this.video, { canvas } = this.pen;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    this.pen.drawImage(this.video, 0, 0);
    return this.pen.getImageData(0, 0, width, height);
  }
}
